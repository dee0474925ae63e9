"""Read grey levels of DICOM densitometry images, and nothing about the patient."""

import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from tbsclassify._compressed import check_frame, inflate
from tbsclassify._files import UnreadableScanError
from tbsclassify._spacing import PLAUSIBLE_SPACING, are_plausible
from tbsclassify._warn import warn

# Only these elements are parsed; names, ids and dates are never in memory.
_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "BurnedInAnnotation",
    "Columns",
    "ExposedArea",
    "HighBit",
    "ImagerPixelSpacing",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "ProtocolName",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
    "VOILUTFunction",
    "VOILUTSequence",
    "WindowCenter",
    "WindowWidth",
]

# Modalities of densitometers. Captures of Hologic are OT, "other".
DENSITOMETRY_MODALITIES = frozenset({"BMD", "CR", "DX", "OT", "RG"})
# Other modalities of DICOM (PS3.3 C.7.3.1.1.1) that may come by mistake. No other text
# in this element is passed on.
_MODALITIES = DENSITOMETRY_MODALITIES | {
    *("BDUS", "CT", "DOC", "ES", "IO", "MG", "MR", "NM", "OPT", "PR", "PT", "PX"),
    *("RF", "RTIMAGE", "SEG", "SM", "SR", "US", "XA", "XC"),
}
# Other files begin like this, whatever the suffix of their name.
_RASTER = (b"\x89PNG", b"\xff\xd8", b"BM", b"II*\0", b"MM\0*")

# Tag of the element (0008,0005) in both byte orders, and its valid values.
_CHARACTER_SET = re.compile(rb"\x08\0\x05\0|\0\x08\0\x05")
_CHARACTER_SETS = re.compile(rb"((ISO_IR|ISO 2022 IR) \d{1,3}|\\)*[ \0]?")

# ProtocolName is free text, so only a region found in it is passed on.
_REGIONS = {
    "total_body": r"\b(total|whole) body\b",
    "forearm": r"\b(forearms?|wrists?|radius)\b",
    "femur": r"\b(femurs?|femora|hips?)\b",
    "lateral_spine": r"\b(lva|vfa|iva|lat|lateral)\b",
    "ap_spine": r"\b(ap|pa|a p|p a)\b.*\bspine\b|\bspine\b.*\b(ap|pa|a p|p a)\b"
    r"|\blumbar\b|\bl spine\b",
}

# Pixels of total-body scans in mm, which are larger than those of spine scans.
_PLAUSIBLE_SPACING_TOTAL_BODY = (0.2, 3.0)

# The validation setting of pydicom and the filters of warnings are shared by all
# threads.
PYDICOM_LOCK = threading.Lock()


def looks_like_dicom(data: bytes, suffix: str) -> bool:
    """Whether a file is DICOM, by its content or else by its name."""
    # Without preamble, a file begins with an element of group 2 or 8.
    bare = data[:2] in (b"\x02\x00", b"\x08\x00") and data[3:4] == b"\x00"
    named = suffix.lower() in (".dcm", ".dicom") and not data.startswith(_RASTER)
    return data[128:132] == b"DICM" or bare or named


def read_dicom(
    data: bytes, name: str, max_pixels: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one DICOM file.

    Returns
    -------
    pixels : ndarray of uint8 or uint16, (h, w) grey or (h, w, 3) colour
    metadata : dict
    """
    dataset = _parse(data)
    _check_single_frame(dataset, max_pixels)
    pixels = _decode(dataset)
    try:
        if pixels.ndim == 2:
            with np.errstate(all="ignore"):  # what is not finite is refused
                pixels = _presentation_values(pixels, dataset)
        elif pixels.dtype != np.uint8:
            raise ValueError("colour deeper than 8 bits")
        metadata = _metadata(dataset, name)
    except (UnreadableScanError, Warning):
        raise
    except Exception as error:
        # Anything may stand in any element.
        raise UnreadableScanError(
            f"has grey-scale elements that make no sense ({type(error).__name__} "
            "while applying its modality and VOI transformations)"
        ) from None
    return pixels, metadata


def _parse(data: bytes) -> Any:
    """Read the elements of `_TAGS`, converted, and make sure of a transfer syntax."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

    try:
        # Pydicom warns of values that DICOM forbids, and quotes them, although they
        # may identify the patient. So it must not validate: invalid values are found
        # when they are used. An invalid character set is quoted even then, so warnings
        # are filtered for such files, and only for these: a filter would hide warnings
        # of other threads.
        with PYDICOM_LOCK, pydicom.config.disable_value_validation():
            data = inflate(data)
            with quiet_pydicom() if _has_odd_character_set(data) else nullcontext():
                dataset = pydicom.dcmread(
                    io.BytesIO(data), specific_tags=_TAGS, force=True
                )
                for _ in (*dataset.file_meta, *dataset.iterall()):
                    pass  # converts
    except (UnreadableScanError, Warning):
        raise
    except Exception as error:
        raise UnreadableScanError(
            f"is not readable as DICOM ({type(error).__name__})"
        ) from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        # As pydicom guessed from the first element.
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        )
    return dataset


def _has_odd_character_set(data: bytes) -> bool:
    """Whether a Specific Character Set, or what looks like one, is invalid."""
    pixels = data.find(b"\xe0\x7f\x10\x00")
    for match in _CHARACTER_SET.finditer(data, 0, pixels if pixels >= 0 else len(data)):
        order: Any = "little" if match[0][0] else "big"
        head = data[match.end() : match.end() + 4]
        length = int.from_bytes(head[2:] if head[:2] == b"CS" else head, order)
        start = match.end() + 4
        value = data[start : start + min(length, 200)]
        if not (length <= 200 and _CHARACTER_SETS.fullmatch(value)):
            return True
    return False


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Mute the warnings and the log of pydicom, for one thread at a time."""
    log = logging.getLogger("pydicom")
    was = log.disabled
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pydicom")
        log.disabled = True
        try:
            yield
        finally:
            log.disabled = was


def _decode(dataset: Any) -> np.ndarray:
    from pydicom.uid import RLELossless

    try:
        if not dataset.file_meta.TransferSyntaxUID.is_compressed:
            n_values = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel
            if len(dataset.PixelData) >= 2 * n_values * dataset.BitsAllocated // 8:
                # Pydicom returns all frames, whatever number the header claims.
                raise UnreadableScanError("holds several frames, expected one")
            return dataset.pixel_array
        # Decoders warn of contradictions in a file that do not matter here. Filters
        # are shared by all threads: one file at a time, and only warnings of pydicom.
        check_frame(dataset)
        if dataset.file_meta.TransferSyntaxUID == RLELossless:
            # The decoder of pylibjpeg panics on damaged data and ends the interpreter.
            dataset.pixel_array_options(decoding_plugin="pydicom")
        with PYDICOM_LOCK, quiet_pydicom():
            return dataset.pixel_array
    except (UnreadableScanError, Warning):
        raise
    except Exception as error:
        raise UnreadableScanError(_decoding_reason(dataset, error)) from None


def _check_single_frame(dataset: Any, max_pixels: int) -> None:
    if "PixelData" not in dataset:
        raise UnreadableScanError("holds no image (no DICOM pixel data)")
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError):
        raise UnreadableScanError(
            "does not say its number of rows and columns"
        ) from None
    if rows * columns == 0:
        raise UnreadableScanError(f"has zero size ({rows} x {columns} pixels)")
    if rows * columns * frames > max_pixels:
        raise UnreadableScanError(
            f"claims {rows} x {columns} pixels in {frames} frame(s), more than the "
            f"{max_pixels} allowed"
        )
    if frames > 1:
        raise UnreadableScanError(f"holds {frames} frames, expected one")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise UnreadableScanError("has palette colours, expected grey levels")
    bits = dataset.get("BitsStored")
    if not (isinstance(bits, int) and 1 <= bits <= 16):
        got = bits if isinstance(bits, int) else "an unknown number of"
        raise UnreadableScanError(
            f"stores {got} bits a pixel, expected 1 to 16; export it with 16"
        )
    if dataset.get("SamplesPerPixel") not in (1, 3):
        raise UnreadableScanError("has pixels of neither one channel nor three")


def _decoding_reason(dataset: Any, error: Exception) -> str:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not (getattr(syntax, "keyword", None) and syntax.is_transfer_syntax):
        return "has an unknown transfer syntax"
    if not syntax.is_compressed:
        return "is truncated or has pixel data of the wrong length"
    reason = f"cannot be decoded from {syntax.name}"
    # An error of the plugins of pydicom, before they look at any data.
    if "missing dependencies" in str(error) or "missing required" in str(error):
        reason += '; try: pip install "tbsclassify[dicom-codecs]"'
    return reason


def _presentation_values(stored: np.ndarray, dataset: Any) -> np.ndarray:
    """Apply modality LUT, VOI LUT or window and polarity; bright is dense.

    The result spans what the file's stored bits can hold, so that an image
    without any of these elements comes back as it was stored.
    """
    from pydicom.pixels import apply_rescale, apply_windowing

    bits = int(dataset.BitsStored)
    full = 2**bits - 1
    low, high = 0, 0
    if dataset.get("ModalityLUTSequence"):
        values, high = _look_up(stored, dataset.ModalityLUTSequence[0], dataset)
    else:
        values = apply_rescale(stored, dataset)
    if dataset.get("VOILUTSequence"):
        values, high = _look_up(values, dataset.VOILUTSequence[0], dataset)
    elif None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        # The ends of the output of the window. A negative slope inverts them, as it
        # has inverted the input.
        low, high = apply_windowing(np.array([-1e300, 1e300]), dataset)
        values = apply_windowing(values, dataset)
    elif not dataset.get("ModalityLUTSequence"):
        signed = dataset.get("PixelRepresentation", 0) == 1
        first = -(2 ** (bits - 1)) if signed else 0
        # Sorted, so that a negative slope is not undone.
        low, high = sorted(
            apply_rescale(np.array([first, first + full]), dataset).tolist()
        )
    values = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * full
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = full - values
    return np.rint(values).astype(np.uint8 if bits <= 8 else np.uint16)


def _look_up(values: np.ndarray, item: Any, dataset: Any) -> tuple[np.ndarray, int]:
    """Return values after a look-up table, and the highest level it can give.

    Pydicom's own look-up is wrong for 8-bit tables with more than 256 entries.
    Tables of up to 8 bits span what they declare. Deeper ones often declare 16
    bits and fill fewer; they span the bits of their largest entry.
    """
    n_entries, first, declared = (int(value) for value in item.LUTDescriptor)
    n_entries = n_entries % 2**16 or 2**16
    entries = item.LUTData
    if isinstance(entries, bytes):
        # 8-bit entries, too, may take 16 bits each.
        wide = "<u2" if dataset.original_encoding[1] else ">u2"
        dtype = wide if len(entries) >= 2 * n_entries else "u1"
        entries = np.frombuffer(entries, dtype)
    entries = np.atleast_1d(np.asarray(entries, dtype=np.int64))[:n_entries]
    if np.isnan(values).any():
        raise ValueError("not a number")
    index = np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.intp)
    bits = int(entries.max()).bit_length()
    bits = max(bits, declared) if declared <= 8 else bits
    return entries[index], 2**bits - 1


def _metadata(dataset: Any, name: str) -> dict[str, Any]:
    region = _region(str(dataset.get("ProtocolName") or ""))
    modality = str(dataset.get("Modality") or "")
    burned_in = str(dataset.get("BurnedInAnnotation") or "")
    spacing, source = _pixel_spacing(dataset, region, name)
    return {
        "format": "DICOM",
        "bits_stored": int(dataset.BitsStored),
        "pixel_spacing": spacing,
        "pixel_spacing_source": source,
        "modality": modality if modality in _MODALITIES else None,
        "manufacturer": str(dataset.get("Manufacturer") or "") or None,
        "model": str(dataset.get("ManufacturerModelName") or "") or None,
        "region": region,
        "burned_in_annotation": {"YES": True, "NO": False}.get(burned_in),
    }


def _region(protocol: str) -> str | None:
    """Return the one region that a protocol names, or None."""
    # "DualFemur" and "APSpine" are two words.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", protocol)
    words = re.sub(r"[\W_]+", " ", words.lower())
    found = [name for name, word in _REGIONS.items() if re.search(word, words)]
    if "lateral_spine" in found:
        # "Lumbar Spine Lateral" is no AP spine, and "Lateral Hip" no spine.
        others = [name for name in found if name not in ("lateral_spine", "ap_spine")]
        found = others or ["lateral_spine"]
    return found[0] if len(found) == 1 else None


def _pixel_spacing(
    dataset: Any, region: str | None, name: str
) -> tuple[tuple[float, float] | None, str | None]:
    """Return height and width of a pixel in mm, and the element they come from."""
    total_body = region == "total_body"
    limits = _PLAUSIBLE_SPACING_TOTAL_BODY if total_body else PLAUSIBLE_SPACING
    for element in ("PixelSpacing", "ImagerPixelSpacing", "ExposedArea"):
        spacing = _two_positive(dataset.get(element))
        if spacing and element == "ExposedArea":
            # GE densitometers state the scanned width and height in mm instead.
            width, height = spacing
            spacing = height / dataset.Rows, width / dataset.Columns
        if not spacing:
            continue
        if are_plausible(np.array([spacing]), limits)[0]:
            return spacing, element
        warn(
            f"{name}: expected pixels of {limits[0]} to {limits[1]} mm, got "
            f"{spacing[0]:.3g} x {spacing[1]:.3g} mm from {element}. This size is not "
            "handed on: measure it, and put it into columns row_spacing and "
            "column_spacing of the table."
        )
    return None, None


def _two_positive(values: Any) -> tuple[float, float] | None:
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return (first, second) if min(first, second) > 0 else None
