"""Feed mutated files to a reader, and report all that should not come out of it.

Run from the root of the repository, for instance::

    python tests/fuzz.py --target read_scan --cases 40000 --seed 0

A fault is an undocumented exception, a text that cannot be printed, anything that
repeats what the files say of the patient, and a case that takes too long or too much
memory. What is mutated and how the cases run does not depend on the target: add one to
`TARGETS` for another reader.
"""

import argparse
import contextlib
import faulthandler
import hashlib
import io
import json
import logging
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# Stands in every file that has room for text, and must not come out again.
MARKER = "GARCIA"
_SECONDS = 10
# The largest scan allowed has 64 million pixels, and there are several copies of it.
_MEGABYTES = 1500


@dataclass
class Seed:
    """A valid file; `pack` mends what no reader would look behind, such as CRCs."""

    data: bytes
    suffix: str
    pack: Callable[[bytes], bytes] = bytes


@dataclass
class Target:
    """A reader: its valid files, a call with a path, and exceptions it may raise."""

    seeds: Callable[[], list[Seed]]
    call: Callable[[Path], Any]
    errors: tuple[type[Exception], ...]


@dataclass
class Report:
    """What came out of the cases."""

    outcomes: Counter = field(default_factory=Counter)
    faults: dict[str, list[int]] = field(default_factory=dict)  # cases by fault
    slowest: float = 0.0
    slowest_case: int = 0
    megabytes: int = 0
    seconds: float = 0.0


# --- Mutations ---------------------------------------------------------------

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one way, or in a few; some take pieces of another."""
    for _ in range(min(rng.geometric(0.6), 6)):
        data = rng.choice(_MUTATIONS)(bytearray(data), other, rng)
    return bytes(data)


def _flip_bits(data, other, rng):
    for at in rng.integers(0, max(1, len(data)), rng.integers(1, 9)):
        data[at : at + 1] = bytes([b ^ 1 << rng.integers(8) for b in data[at : at + 1]])
    return data


def _set_bytes(data, other, rng):
    at, n = rng.integers(0, len(data) + 1), int(rng.integers(1, 9))
    data[at : at + n] = rng.integers(0, 256, n, dtype=np.uint8).tobytes()
    return data


def _set_number(data, other, rng):
    """Write a number into what may be a length, a size or an offset."""
    order, n = rng.choice(["little", "big"]), int(rng.choice([1, 2, 4]))
    value = int(rng.choice([*_EXTREMES, len(data), rng.integers(0, 2**16)]))
    at = _place(data, rng)
    data[at : at + n] = (value % 256**n).to_bytes(n, order)
    return data


def _truncate(data, other, rng):
    return data[: rng.integers(0, len(data) + 1)]


def _delete(data, other, rng):
    at, n = _place(data, rng), _length(rng)
    del data[at : at + n]
    return data


def _duplicate(data, other, rng):
    at, n, to = _place(data, rng), _length(rng), _place(data, rng)
    return data[:to] + data[at : at + n] * int(rng.integers(1, 4)) + data[to:]


def _splice(data, other, rng):
    """Go on with another file, from anywhere or from the same place on."""
    at = rng.integers(0, len(data) + 1)
    return data[:at] + other[at if rng.random() < 0.5 else _place(other, rng) :]


def _insert(data, other, rng):
    """Insert a piece of another file, or one byte many times."""
    at, n = _place(data, rng), _length(rng)
    start = _place(other, rng)
    piece = other[start : start + n]
    if rng.random() < 0.3:
        piece = bytes([rng.integers(256)]) * 50 * n
    return data[:at] + piece + data[at:]


_MUTATIONS = [
    _flip_bits,
    _set_bytes,
    _set_number,
    _set_number,
    _truncate,
    _delete,
    _duplicate,
    _splice,
    _insert,
]


def _place(data, rng):
    """Return a place, often near the beginning, where headers are."""
    end = len(data) if rng.random() < 0.5 else min(len(data), 400)
    return int(rng.integers(0, end + 1))


def _length(rng):
    return int(2 ** rng.uniform(0, 8))


# --- Running -----------------------------------------------------------------


class CaseTimeoutError(BaseException):
    """Passes through handlers of `Exception`."""


def run(
    target: Target,
    n_cases: int,
    seed: int,
    *,
    keep: Path | None = None,
    first: int = 0,
) -> Report:
    """Feed mutated files to a target; each case has its own random numbers."""
    seeds, report, start = target.seeds(), Report(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, _alarm():
        for case in range(first, first + n_cases):
            rng = np.random.default_rng([seed, case])
            one, other = (seeds[i] for i in rng.integers(0, len(seeds), 2))
            data = one.pack(mutate(one.data, other.data, rng))
            path = Path(folder, f"case{one.suffix}")
            path.write_bytes(data)
            begin = time.perf_counter()
            outcome, faults = _run_case(target, path, report)
            seconds = time.perf_counter() - begin
            report.outcomes[outcome] += 1
            if seconds > report.slowest:
                report.slowest, report.slowest_case = seconds, case
            for fault in faults:
                report.faults.setdefault(fault, []).append(case)
                if keep is not None and len(report.faults[fault]) == 1:
                    Path(keep, f"{seed}-{case}{one.suffix}").write_bytes(data)
    report.seconds = time.perf_counter() - start
    return report


def _run_case(target: Target, path: Path, report: Report) -> tuple[str, list[str]]:
    said, log = [], io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    _reset_peak()
    before = _peak()  # of a process that other tests may have made large
    outcome, faults = "read", []
    signal.setitimer(signal.ITIMER_REAL, _SECONDS)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
        ):
            warnings.simplefilter("always")
            said.append(repr(target.call(path)))
    except target.errors as error:
        outcome = "refused"
        said.append(str(error))
        chain = error.__cause__ or (
            None if error.__suppress_context__ else error.__context__
        )
        said.append(str(chain))
        if not str(error).replace("\n", "").isprintable():
            faults.append(f"unprintable error {type(error).__name__}")
    except CaseTimeoutError as error:
        outcome = "timed out"
        faults.append(f"over {_SECONDS} s in {_innermost(error)}")
    except Exception as error:
        outcome = "failed"
        faults.append(f"{type(error).__name__} in {_innermost(error)}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        logging.getLogger().removeHandler(handler)
    faults += [
        f"{one.category.__name__}: {str(one.message)[:60]!r}"
        for one in caught
        # Of the library, and of those that it reads with.
        if one.category not in (UserWarning, _bomb_warning())
    ]
    said += [str(one.message) for one in caught]
    if MARKER in " ".join([*said, log.getvalue()]):
        faults.append(f"tells what the file holds ({outcome})")
    megabytes = _peak() - before
    report.megabytes = max(report.megabytes, megabytes)
    if megabytes > _MEGABYTES:
        faults.append(f"over {_MEGABYTES} MB")
    return outcome, faults


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    """Interrupt what takes too long, and end the process where that is in C."""

    def expire(*_: Any) -> None:
        raise CaseTimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    faulthandler.enable()
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def _innermost(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def _bomb_warning() -> type[Warning]:
    from PIL import Image

    return Image.DecompressionBombWarning


def _reset_peak() -> None:
    with contextlib.suppress(OSError):  # known to Linux alone
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the peak of resident memory since the reset, in MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) // 1024
    return 0


# --- Valid files of every format ---------------------------------------------


def scan_seeds() -> list[Seed]:
    """Return small PNG, JPEG, BMP, TIFF and DICOM files of every kind."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (24, 20)).astype(np.uint8)
    return [*_raster_seeds(grey), *_dicom_seeds(grey)]


def _raster_seeds(grey: np.ndarray) -> list[Seed]:
    from PIL import Image, PngImagePlugin

    note = PngImagePlugin.PngInfo()
    note.add_text("Patient", f"{MARKER}^MARIA", zip=True)
    note.add_itxt("Description", f"{MARKER}^MARIA")
    deep = grey.astype(np.uint16) * 257
    images = {
        "grey": Image.fromarray(grey),
        "deep": Image.fromarray(deep),
        "colour": Image.fromarray(np.stack([grey] * 3, axis=2)),
        "alpha": Image.fromarray(np.stack([grey, grey * 0 + 255], axis=2)),
        "palette": Image.fromarray(grey).convert("P"),
        "bilevel": Image.fromarray(grey > 127),
        "cmyk": Image.fromarray(np.stack([grey] * 3, axis=2)).convert("CMYK"),
    }
    turned = Image.Exif()
    turned[0x0112], turned[0x010E] = 6, f"{MARKER}^MARIA"
    tags = {270: f"{MARKER}^MARIA", 315: MARKER}
    seeds = []

    def add(kind, image_format, suffix, pack=bytes, **options):
        file = io.BytesIO()
        images[kind].save(file, format=image_format, **options)
        seeds.append(Seed(file.getvalue(), suffix, pack))

    for kind in ("grey", "deep", "colour", "alpha", "palette", "bilevel"):
        add(kind, "PNG", ".png", pack=mend_png, pnginfo=note)
    add("grey", "PNG", ".png", pack=mend_png, exif=turned)
    add(
        "grey",
        "PNG",
        ".png",
        pack=mend_png,
        save_all=True,
        append_images=[images["grey"].rotate(9)],
    )
    for kind in ("grey", "colour", "cmyk"):
        add(kind, "JPEG", ".jpg", comment=MARKER, exif=turned)
    add("grey", "JPEG", ".jpg", progressive=True)
    for kind in ("grey", "colour", "palette", "bilevel"):
        add(kind, "BMP", ".bmp")
    for kind in ("grey", "deep", "colour", "cmyk"):
        for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
            add(kind, "TIFF", ".tif", compression=compression, tiffinfo=tags)
    add("grey", "TIFF", ".tif", compression="jpeg")
    add("bilevel", "TIFF", ".tif", compression="group4")
    add("grey", "TIFF", ".tif", save_all=True, append_images=[images["grey"]])
    seeds.append(Seed(_tiled_tiff(grey), ".tif"))
    return seeds


def _tiled_tiff(grey: np.ndarray) -> bytes:
    """Return a TIFF of four tiles of 16 x 16, deflated, which Pillow does not write."""
    padded = np.zeros((32, 32), np.uint8)
    padded[:24, :20] = grey
    tiles = [
        zlib.compress(padded[i : i + 16, j : j + 16].tobytes())
        for i in (0, 16)
        for j in (0, 16)
    ]
    entries = [(256, 20), (257, 24), (258, 8), (259, 8), (262, 1), (277, 1)]
    entries += [(322, 16), (323, 16)]
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    data = start + 32
    offsets = np.cumsum([data, *map(len, tiles[:3])])
    ifd = struct.pack("<2sHIH", b"II", 42, 8, len(entries) + 2)
    for tag, value in entries:
        ifd += struct.pack("<HHII", tag, 4, 1, value)
    ifd += struct.pack("<HHII", 324, 4, 4, start)
    ifd += struct.pack("<HHIII", 325, 4, 4, start + 16, 0)
    lists = struct.pack("<8I", *offsets, *map(len, tiles))
    return ifd + lists + b"".join(tiles)


def mend_png(data: bytes) -> bytes:
    """Set the CRC of every chunk, so that a reader looks at what is in it."""
    mended, at = bytearray(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(data):
            break
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(mended)


def _dicom_seeds(grey: np.ndarray) -> list[Seed]:
    from pydicom.uid import (
        ExplicitVRBigEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEGBaseline8Bit,
        RLELossless,
    )

    deep = grey.astype(np.uint16) * 4
    lut = {"window": False}
    plain = dicom_file(grey, ExplicitVRLittleEndian)
    seeds = [
        plain,
        dicom_file(grey, ImplicitVRLittleEndian),
        dicom_file(grey, ExplicitVRBigEndian),
        dicom_file(deep, ExplicitVRLittleEndian, bits=10),
        dicom_file(deep, ImplicitVRLittleEndian, bits=10, **lut),
        dicom_file(np.stack([grey] * 3, axis=2), ExplicitVRLittleEndian),
        dicom_file(grey, RLELossless),
        dicom_file(deep, RLELossless, bits=10),
        dicom_file(grey, JPEGBaseline8Bit),
        dicom_file(grey, JPEG2000Lossless),
        plain[132:],
    ]
    # What is inflated is mutated, or else nothing but the checks of zlib.
    return [Seed(data, ".dcm") for data in seeds] + [Seed(plain, ".dcm", deflate_dicom)]


def dicom_file(
    pixels: np.ndarray, syntax: str, *, bits: int | None = None, window: bool = True
) -> bytes:
    """Return a DICOM file with a patient, sequences, private elements and a LUT."""
    from PIL import Image
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import (
        UID,
        ComputedRadiographyImageStorage,
        ExplicitVRLittleEndian,
        RLELossless,
    )

    syntax = UID(syntax)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName = f"{MARKER}^MARIA"
    dataset.PatientID = f"{MARKER}4711"
    dataset.PatientComments = f"Daughter of {MARKER}"
    dataset.Modality, dataset.ProtocolName = "CR", "AP Spine"
    dataset.Manufacturer, dataset.ManufacturerModelName = "GE", "Prodigy"
    dataset.BurnedInAnnotation = "NO"
    other = Dataset()
    other.PatientID = MARKER
    dataset.OtherPatientIDsSequence = [other, other]
    block = dataset.private_block(0x0009, "TBS", create=True)
    block.add_new(1, "LO", f"{MARKER}^MARIA")
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = 8 * pixels.dtype.itemsize
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = 1
    dataset.PixelSpacing = [0.6, 0.6]
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
    if window:
        dataset.WindowCenter, dataset.WindowWidth = [128, 40], [256, 80]
        dataset.VOILUTFunction = "LINEAR"
    else:
        table = Dataset()
        table.LUTDescriptor = [1024, 0, 16]
        table["LUTDescriptor"].VR = "US"
        table.LUTData = np.arange(1024, dtype="<u2").tobytes()
        table["LUTData"].VR = "OW"
        dataset.VOILUTSequence = [table]
    if syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = pixels.tobytes()
        dataset.compress(RLELossless, generate_instance_uid=False)
    elif syntax.is_compressed:
        file = io.BytesIO()
        kind = "JPEG" if "JPEG Baseline" in syntax.name else "JPEG2000"
        options = {} if kind == "JPEG" else {"no_jp2": True}
        Image.fromarray(pixels).save(file, format=kind, **options)
        dataset.PixelData = encapsulate([file.getvalue()])
    else:
        order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
        dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if pixels.dtype.itemsize == 2 else "OB"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def deflate_dicom(data: bytes) -> bytes:
    """Deflate an explicit little endian file, as far as its first group goes."""
    length = int.from_bytes(data[140:144], "little")
    start = 144 + length if length < len(data) else 144
    head = bytearray(data[:start])
    plain, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    at = head.find(plain)
    if at >= 2:
        head[at - 2 : at + len(plain)] = struct.pack("<H", len(deflated)) + deflated
        head[140:144] = (length + len(deflated) - len(plain)).to_bytes(4, "little")
    packer = zlib.compressobj(wbits=-15)
    return bytes(head) + packer.compress(data[start:]) + packer.flush()


_COLUMNS = "file,patient,tbs,L1_top,L1_left,L1_bottom,L1_right,spacing"


def table_seeds() -> list[Seed]:
    """Return tables of every kind, of the three scans beside them."""
    rows = [f"{i}.png,{MARKER}{i},1.{20 + i},1,2,5,6,0.{60 + i}" for i in range(3)]
    text = "\n".join([_COLUMNS, *rows, ""])
    semicolons = text.replace(",", ";").replace("1.2", "1,2")
    quoted = text.replace(MARKER, f'"{MARKER}, Zoë "').replace("\n", "\r\n")
    formulas = text.replace(f"{MARKER}1", f'"=cmd|{MARKER}"')
    texts = [text, semicolons, quoted, formulas, "sep=;\n" + semicolons]
    seeds = [Seed(one.encode(), ".csv") for one in texts]
    seeds += [Seed(quoted.encode(code), ".csv") for code in ("utf-16", "utf-8-sig")]
    return [*seeds, Seed(semicolons.replace("GARCIA1", "Zoë").encode("cp1252"), ".csv")]


def model_seeds() -> list[Seed]:
    """Return a model file, and the parts of one around which it is made good again."""
    import skops.io
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from tbsclassify import LumbarCropper, TBSAdHocClassifier, save_model

    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (8, 12, 12)).astype(np.uint8), [0, 1] * 4
    network = TBSAdHocClassifier(1, (2,), (), max_epochs=1, random_state=0)
    seeds = []
    for model in (
        make_pipeline(LumbarCropper(size=12), network),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ):
        rows = X if network in dict(model.steps).values() else X[:, 0]
        model.fit(rows, y)
        file = io.BytesIO(skops.io.dumps(model))
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with tempfile.TemporaryDirectory() as folder:
            save_model(model, path := Path(folder, "model"), X=rows, y=y)
            seeds.append(Seed(path.read_bytes(), ""))
            header = zipfile.ZipFile(path).read("header.json")
        # The text that says what is made has most to say, and comes most often.
        for name in ["schema.json"] * 6 + sorted(members)[:4]:
            pack = partial(_pack_model, header=header, members=members, name=name)
            seeds.append(Seed(members[name], "", pack))
    return seeds


def _pack_model(
    data: bytes, *, header: bytes, members: dict[str, bytes], name: str
) -> bytes:
    """Return a model file with good checksums around a member that was mutated."""
    from tbsclassify.persistence._container import _checksum

    content, file = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for one, original in members.items():
            archive.writestr(one, data if one == name else original)
    about = json.loads(header)
    about["fingerprint"] = hashlib.sha256(content.getvalue()).hexdigest()
    about["checksum"] = _checksum(about)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("header.json", json.dumps(about))
        archive.writestr("model.skops", content.getvalue())
    return file.getvalue()


# --- Targets -----------------------------------------------------------------


def _read_scan(path: Path) -> Any:
    from tbsclassify import read_scan

    scan, metadata = read_scan(path, return_metadata=True)
    if scan.ndim != 2 or scan.dtype not in (np.uint8, np.uint16):
        raise AssertionError("no grey levels")
    # The manufacturer's own words, which a splice may fill with anything.
    return {**metadata, "manufacturer": None, "model": None}


def _load_scans(path: Path) -> Any:
    from PIL import Image

    from tbsclassify import load_scans

    if not Path(path.parent, "2.png").exists():
        for i in range(3):
            Image.new("L", (20, 24), i).save(path.parent / f"{i}.png")
    load_scans(path, path.parent, on_bad_rows="warn")  # what it returns are the ids


def _load_model(path: Path) -> Any:
    from sklearn.exceptions import InconsistentVersionWarning

    from tbsclassify import load_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        load_model(path, "cpu")


def _model_errors() -> tuple[type[Exception], ...]:
    from tbsclassify import ModelFileError

    return (ModelFileError,)


def _scan_errors() -> tuple[type[Exception], ...]:
    from tbsclassify.images import UnreadableScanError

    return (UnreadableScanError,)


TARGETS = {
    "read_scan": Target(scan_seeds, _read_scan, _scan_errors()),
    "load_scans": Target(table_seeds, _load_scans, (ValueError, FileNotFoundError)),
    "load_model": Target(model_seeds, _load_model, _model_errors()),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=sorted(TARGETS), required=True)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the files of faults")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    report = run(
        TARGETS[options.target],
        options.cases,
        options.seed,
        keep=options.keep,
        first=options.first,
    )
    print(
        f"{options.target}, seed {options.seed}: {options.cases} cases in "
        f"{report.seconds:.0f} s, {dict(report.outcomes)}, slowest "
        f"{report.slowest:.2f} s (case {report.slowest_case}), at most "
        f"{report.megabytes} MB"
    )
    for fault, cases in report.faults.items():
        print(f"  {len(cases)} x {fault}: case {', '.join(map(str, cases[:5]))}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
