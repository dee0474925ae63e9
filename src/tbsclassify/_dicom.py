"""DICOM densitometry images to grey levels, without anything of the patient."""

import re
import threading
import warnings

import numpy as np

# Only these elements are parsed; names, ids and dates are never in memory.
_TAGS = [
    "BitsAllocated",
    "BitsStored",
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

# ProtocolName is free text, so only a region found in it is handed on.
_REGIONS = {
    r"\b(ap|pa)\b.*spine|lumbar": "ap_spine",
    r"\blva\b|lateral": "lateral_spine",
    r"femur|hip": "femur",
    r"total body|whole body": "total_body",
    r"forearm": "forearm",
}


class UnreadableScanError(ValueError):
    """A file that is no readable scan; the message says which and why."""


_FILTERING = threading.Lock()


def looks_like_dicom(path):
    """Tell whether a file is DICOM by its magic number, or else by its name."""
    with open(path, "rb") as file:
        head = file.read(132)
    return head[128:] == b"DICM" or path.suffix.lower() in (".dcm", ".dicom")


def read_dicom(path, max_pixels):
    """Read one DICOM file.

    Returns
    -------
    pixels : ndarray of uint8 or uint16, (h, w) grey or (h, w, 3) colour
    metadata : dict
    """
    import pydicom

    # What pydicom warns of quotes values of the header, which may be identity.
    # Filters of warnings are common to all threads: one file at a time.
    with _FILTERING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, specific_tags=_TAGS, force=True)
        except Exception as error:
            raise UnreadableScanError(
                f"is not readable as DICOM ({type(error).__name__})"
            ) from None
        _check_single_frame(dataset, max_pixels)
        try:
            pixels = dataset.pixel_array
        except Exception as error:
            raise UnreadableScanError(_decoding_reason(dataset, error)) from None
        try:
            if pixels.ndim == 2:
                pixels = _presentation_values(pixels, dataset)
            elif pixels.dtype != np.uint8:
                raise ValueError("colour deeper than 8 bits")
            metadata = _metadata(dataset)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise UnreadableScanError(
                f"has grey-scale elements that make no sense ({type(error).__name__} "
                "while applying its modality and VOI transformations)"
            ) from None
    return pixels, metadata


def _check_single_frame(dataset, max_pixels):
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
        raise UnreadableScanError(f"holds {frames} frames, but one image is wanted")
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise UnreadableScanError("has palette colours, but grey levels are wanted")


def _decoding_reason(dataset, error):
    syntax = dataset.file_meta.get("TransferSyntaxUID") if dataset.file_meta else None
    if syntax is None or not syntax.is_compressed:
        return "is truncated or has pixel data of the wrong length"
    reason = f"cannot be decoded from {syntax.name}"
    if "missing dependencies" in str(error) or "missing required" in str(error):
        reason += '; try: pip install "tbsclassify[dicom-codecs]"'
    return reason


def _presentation_values(stored, dataset):
    """Apply modality LUT, VOI LUT or window and polarity; bright is dense.

    The result spans what the file's stored bits can hold, so that an image
    without any of these elements comes back as it was stored.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    bits = int(dataset.BitsStored)
    full = 2**bits - 1
    values = apply_modality_lut(stored, dataset)
    low, high = _output_range(dataset, bits)
    values = apply_voi_lut(values, dataset).astype(np.float64)
    values = np.clip((values - low) / (high - low), 0, 1) * full
    if not np.isfinite(values).all():
        raise ValueError("not finite")
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = full - values
    return np.rint(values).astype(np.uint8 if bits <= 8 else np.uint16)


def _output_range(dataset, bits):
    """Lowest and highest value that can come out of the transformations."""
    for name in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(name):
            return 0, 2 ** int(dataset[name].value[0].LUTDescriptor[2]) - 1
    low, high = 0, 2**bits - 1
    if dataset.get("PixelRepresentation", 0) == 1:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    return low * slope + intercept, high * slope + intercept


def _metadata(dataset):
    spacing, source = _pixel_spacing(dataset)
    protocol = str(dataset.get("ProtocolName") or "").lower()
    region = [name for word, name in _REGIONS.items() if re.search(word, protocol)]
    return {
        "format": "DICOM",
        "bits_stored": int(dataset.BitsStored),
        "pixel_spacing": spacing,
        "pixel_spacing_source": source,
        "modality": str(dataset.get("Modality") or "") or None,
        "manufacturer": str(dataset.get("Manufacturer") or "") or None,
        "model": str(dataset.get("ManufacturerModelName") or "") or None,
        "region": region[0] if region else None,
    }


def _pixel_spacing(dataset):
    """Height and width of a pixel in mm and the element that tells them."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        spacing = _two_positive(dataset.get(name))
        if spacing:
            return spacing, name
    # GE densitometers state the scanned width and height in mm instead.
    area = _two_positive(dataset.get("ExposedArea"))
    if area:
        width, height = area
        return (height / dataset.Rows, width / dataset.Columns), "ExposedArea"
    return None, None


def _two_positive(values):
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return (first, second) if min(first, second) > 0 else None
