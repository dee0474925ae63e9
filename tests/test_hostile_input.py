"""What the guide's table of hostile input promises; a row here is a row there."""

import errno
import io
import os
import struct
import zlib

import fuzz
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_adhoc
from numpy.testing import assert_array_equal
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from tbsclassify import (
    LumbarCropper,
    _compressed,
    _files,
    check_scans,
    load_scans,
    read_scan,
)
from tbsclassify._files import write_whole
from tbsclassify._spreadsheet import plain_cell, plain_table
from tbsclassify.datasets._table import not_a_number
from tbsclassify.images import UnreadableScanError

GREY = np.random.default_rng(0).integers(0, 256, (24, 20)).astype(np.uint8)
DEEP = GREY.astype(np.uint16) * 257


def saved(image_format, pixels=GREY, **options):
    """Return the bytes of an image file."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, format=image_format, **options)
    return file.getvalue()


def half(data):
    return data[: len(data) // 2]


def with_size(png, width, height):
    """Let the header of a PNG file claim another size."""
    return fuzz.mend_png(png[:16] + struct.pack(">II", width, height) + png[24:])


def with_tag(tiff, tag, value):
    """Let the header of a little endian TIFF file claim another number."""
    (at,) = struct.unpack("<I", tiff[4:8])
    (n_tags,) = struct.unpack("<H", tiff[at : at + 2])
    tiff = bytearray(tiff)
    for entry in range(at + 2, at + 2 + 12 * n_tags, 12):
        if struct.unpack("<H", tiff[entry : entry + 2])[0] == tag:
            tiff[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, value)
    return bytes(tiff)


def dicom(syntax=ExplicitVRLittleEndian, pixels=GREY, **elements):
    """Return a DICOM file some of whose elements say something else."""
    data = fuzz.dicom_file(pixels, syntax)
    dataset = _parsed(data)
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _parsed(data):
    import pydicom

    return pydicom.dcmread(io.BytesIO(data))


def deflated_bomb():
    """Return 300 kB that inflate to 300 MB."""
    plain = fuzz.dicom_file(GREY, ExplicitVRLittleEndian)
    return fuzz.deflate_dicom(plain + bytes(300_000_000))


def frames(image_format, **options):
    return saved(
        image_format,
        save_all=True,
        append_images=[Image.fromarray(255 - GREY)],
        **options,
    )


# What a file holds, its name, and how the reason begins for which it is refused.
REFUSED = {
    "zero bytes": (b"", "scan.png", r"is empty \(0 bytes\)"),
    "truncated PNG": (half(saved("PNG")), "scan.png", "is truncated or damaged"),
    "truncated JPEG": (half(saved("JPEG")), "scan.jpg", "is truncated or damaged"),
    "truncated TIFF": (
        half(saved("TIFF")),
        "scan.tif",
        "is (truncated|not a readable)",
    ),
    "truncated DICOM": (dicom()[:-100], "scan.dcm", "is truncated"),
    "PNG cut off in its header": (saved("PNG")[:20], "scan.png", "is (truncated|not)"),
    "text called an image": (b"Patient;TBS\n", "scan.png", "is not a readable PNG"),
    "text called DICOM": (b"Patient;TBS\n" * 9, "scan.dcm", "is not|holds no image"),
    "damaged DICOM header": (
        dicom().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"),
        "scan.dcm",
        "has an unknown transfer syntax",
    ),
    "20000 x 20000 PNG": (
        with_size(saved("PNG"), 20000, 20000),
        "scan.png",
        "has more than the 64000000 pixels",
    ),
    "deflated bomb": (deflated_bomb(), "scan.dcm", "inflates to more than"),
    "DICOM that claims 60000 x 60000": (
        dicom(Rows=60000, Columns=60000),
        "scan.dcm",
        "claims 60000 x 60000 pixels",
    ),
    "DICOM that claims 100 frames": (
        dicom(NumberOfFrames=100),
        "scan.dcm",
        "holds 100 frames",
    ),
    "DICOM that claims one frame of two": (
        dicom(PixelData=np.stack([GREY, GREY]).tobytes()),
        "scan.dcm",
        "holds several frames",
    ),
    "DICOM of two transfer syntaxes": (
        dicom().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.1\\1.2.840.1\0"),
        "scan.dcm",
        "has an unknown transfer syntax",
    ),
    "JPEG in DICOM of another size": (
        dicom(JPEGBaseline8Bit, Rows=12),
        "scan.dcm",
        "has compressed data of 12 x 20 x 1 .* and of 24 x 20 x 1 by their own",
    ),
    "JPEG 2000 in DICOM of another size": (
        dicom(JPEG2000Lossless, Columns=2000),
        "scan.dcm",
        "has compressed data of 24 x 2000 x 1 .* and of 24 x 20 x 1 by their own",
    ),
    "no JPEG where DICOM claims one": (
        dicom(JPEGBaseline8Bit, PixelData=encapsulate([saved("PNG")])),
        "scan.dcm",
        "has compressed data of .* and of another format",
    ),
    "run lengths without end": (
        dicom(
            RLELossless,
            PixelData=encapsulate(
                [struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 10_000]
            ),
        ),
        "scan.dcm",
        "has compressed data for more than its 480 pixels",
    ),
    "TIFF of more rows than it holds": (
        with_tag(saved("TIFF"), 257, 2000),
        "scan.tif",
        "holds fewer pixels than its header claims",
    ),
    "TIFF of floats": (
        saved("TIFF", np.full((9, 9), np.nan, np.float32)),
        "scan.tif",
        "has pixels of Pillow's mode F",
    ),
    "transparent PNG": (
        saved("PNG", np.stack([GREY, GREY], axis=2)),
        "scan.png",
        "has transparent pixels",
    ),
    "GIF": (saved("GIF"), "scan.gif", "is not a readable PNG"),
    "animated PNG": (frames("PNG"), "scan.png", "holds several frames"),
    "TIFF of two pages": (frames("TIFF"), "scan.tif", "holds several frames"),
    "palette": (
        saved("PNG", Image.fromarray(GREY).convert("P")),
        "scan.png",
        "has palette colours",
    ),
    "CMYK": (
        saved("JPEG", Image.fromarray(GREY).convert("CMYK")),
        "scan.jpg",
        "has pixels of Pillow's mode CMYK",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_is_refused_by_its_name_and_the_reason(tmp_path, kind):
    data, name, reason = REFUSED[kind]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UnreadableScanError, match=f"^{name} ({reason})") as info:
        read_scan(path)
    assert str(tmp_path) not in str(info.value)


READ = {
    "a 1 x 1 PNG": (saved("PNG", GREY[:1, :1]), "scan.png", GREY[:1, :1]),
    "all black": (saved("PNG", GREY * 0), "scan.png", GREY * 0),
    "16 bits": (saved("PNG", DEEP), "scan.png", DEEP),
    "an opaque alpha channel": (
        saved("PNG", np.stack([GREY, GREY * 0 + 255], axis=2)),
        "scan.png",
        GREY,
    ),
    "a PNG called DICOM": (saved("PNG"), "scan.dcm", GREY),
    "a TIFF called JPEG": (saved("TIFF"), "scan.jpg", GREY),
    "DICOM called PNG": (dicom(), "scan.png", GREY),
    "MONOCHROME1": (
        dicom(PhotometricInterpretation="MONOCHROME1"),
        "scan.dcm",
        255 - GREY,
    ),
    "deflated DICOM": (
        fuzz.deflate_dicom(fuzz.dicom_file(GREY, ExplicitVRLittleEndian)),
        "scan.dcm",
        GREY,
    ),
    "run lengths in DICOM": (dicom(RLELossless), "scan.dcm", GREY),
    "JPEG 2000 in DICOM": (dicom(JPEG2000Lossless), "scan.dcm", GREY),
    "tiles": (fuzz._tiled_tiff(GREY), "scan.tif", GREY),
}


@pytest.mark.parametrize("kind", READ)
def test_what_is_odd_but_sound_is_read(tmp_path, kind):
    data, name, expected = READ[kind]
    path = tmp_path / name
    path.write_bytes(data)
    scan = read_scan(path)
    assert scan.dtype == expected.dtype
    assert_array_equal(scan, expected)


def test_a_deflated_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    inflated = []
    monkeypatch.setattr(_compressed, "MAX_BYTES", 10_000_000)
    make = zlib.decompressobj

    class Counted:
        def __init__(self, wbits):
            self.inflater = make(wbits)

        def decompress(self, data):
            inflated.append(self.inflater.decompress(data))
            return inflated[-1]

    monkeypatch.setattr(zlib, "decompressobj", Counted)
    (tmp_path / "scan.dcm").write_bytes(REFUSED["deflated bomb"][0])
    with pytest.raises(UnreadableScanError, match="inflates to more than"):
        read_scan(tmp_path / "scan.dcm")
    assert sum(map(len, inflated)) < 30_000_000


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        ({"Modality": "CT"}, "scan.dcm is no image of a densitometer.*CT, expected"),
        ({"Modality": "MR"}, "scan.dcm is no image of a densitometer.*MR, expected"),
        ({"ProtocolName": "Left Femur"}, r"scan.dcm shows another region.*\(femur\)"),
        ({"ProtocolName": "Forearm"}, r"another region.*\(forearm\)"),
        ({"ProtocolName": "LVA Lateral"}, r"another region.*\(lateral_spine\)"),
        ({"ProtocolName": "Whole Body"}, r"another region.*\(total_body\)"),
        ({"BurnedInAnnotation": "YES"}, "scan.dcm has text burnt into its pixels"),
    ],
)
def test_a_header_that_speaks_against_a_scan_is_warned_of(tmp_path, elements, warning):
    path = tmp_path / "scan.dcm"
    path.write_bytes(dicom(**elements))
    with pytest.warns(UserWarning, match=warning) as caught:
        read_scan(path)
    assert len(caught) == 1
    table = pd.DataFrame({"file": ["scan.dcm"], "patient": ["a"], "tbs": [1.3]})
    with pytest.warns(UserWarning, match=r"^Scan in row\(s\) 0 of table") as caught:
        load_scans(table, tmp_path)
    assert len(caught) == 1


@pytest.mark.parametrize("level", [np.nan, np.inf, -np.inf])
def test_arrays_with_levels_that_are_not_finite_are_refused_by_index(level):
    scans = [np.zeros((9, 9)), np.full((9, 9), level)]
    with pytest.raises(ValueError, match="NaN or infinite grey levels at index 1"):
        LumbarCropper(size=8).fit_transform(scans)


# --- Names and kinds of files ------------------------------------------------


def test_a_folder_is_no_scan(tmp_path):
    (tmp_path / "scan.png").mkdir()
    with pytest.raises(UnreadableScanError, match=r"^scan.png is a folder, expected"):
        read_scan(tmp_path / "scan.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "scan.png")
    with pytest.raises(UnreadableScanError, match=r"^scan.png is a pipe, a device"):
        read_scan(tmp_path / "scan.png")
    with pytest.raises(ValueError, match=r"scan.png is a pipe, a device"):
        load_scans(tmp_path / "scan.png", tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="there is no /dev/zero")
def test_a_device_without_end_is_refused():
    with pytest.raises(UnreadableScanError, match=r"^zero is a pipe, a device"):
        read_scan("/dev/zero")


def test_links_in_a_circle_are_an_os_error_without_folders(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "b.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(OSError, match=r"'a\.png'") as info:
        read_scan(tmp_path / "a.png")
    assert info.value.errno == errno.ELOOP
    assert str(tmp_path) not in str(info.value)
    table = pd.DataFrame({"file": ["a.png"], "patient": ["a"], "tbs": [1.3]})
    with pytest.raises(ValueError, match=r"row 0 .*levels of symbolic links"):
        load_scans(table, tmp_path)


def test_a_file_that_may_not_be_read_is_a_permission_error(tmp_path, monkeypatch):
    path = tmp_path / "scan.png"
    path.write_bytes(saved("PNG"))

    # The rights of a file do not hold for root, whom tests may run as.
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(PermissionError, match=r"'scan\.png'") as info:
        read_scan(path)
    assert str(tmp_path) not in str(info.value)
    table = pd.DataFrame({"file": ["scan.png"], "patient": ["a"], "tbs": [1.3]})
    with pytest.raises(ValueError, match=r"row 0 \(scan\.png\): Permission denied"):
        load_scans(table, tmp_path)
    assert check_scans([path])["reasons"].tolist() == [
        "not readable: Permission denied"
    ]


def test_a_file_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "scan.png").write_bytes(saved("PNG"))
    monkeypatch.setattr(_files, "MAX_BYTES", 100)
    with pytest.raises(UnreadableScanError, match=r"has \d+ bytes, more than the 100"):
        read_scan(tmp_path / "scan.png")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"two\nlines.png", r"two\nlines.png"),
        (b"\x1b[31mred.png", r"\x1b[31mred.png"),
        (b"latin-\xe9.png", r"latin-\udce9.png"),
        ("left\u202eright.png".encode(), r"left\u202eright.png"),
        ("Zoë.png".encode(), "Zoë.png"),
        (b"n" * 300 + b".png", "n" * 120 + "..."),
    ],
)
def test_any_name_can_be_printed(tmp_path, name, shown):
    path = os.path.join(tmp_path, os.fsdecode(name))
    with pytest.raises((FileNotFoundError, OSError)) as info:
        read_scan(path)
    text = str(info.value).replace("\\\\", "\\")
    assert shown in text
    assert text.isprintable()
    text.encode()
    table = pd.DataFrame({"patient": ["a"], "tbs": [1.3]})
    table["file"] = pd.Series([os.path.basename(path)], dtype=object)
    with pytest.raises(ValueError, match="row 0") as info:
        load_scans(table, tmp_path)
    str(info.value).encode()
    assert str(info.value).count("\n") == 2  # a heading, one row, the next step


def test_an_existing_file_of_any_name_is_read(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"two\nlines-\xe9.png")
    try:
        with open(path, "wb") as file:
            file.write(saved("PNG"))
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    assert_array_equal(read_scan(os.fsdecode(path)), GREY)


@pytest.mark.parametrize("name", ["a\0b.png", ""])
def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path, name):
    table = pd.DataFrame({"file": [name], "patient": ["a"], "tbs": [1.3]})
    with pytest.raises(ValueError, match=r"row 0 .*(NUL character|no file name)"):
        load_scans(table, tmp_path)
    if name:
        with pytest.raises(FileNotFoundError, match=r"a\\x00b.png: there is no such"):
            read_scan(tmp_path / name)


# --- Tables ------------------------------------------------------------------

HEAD = "file,patient,tbs\n"


@pytest.fixture
def folder(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(saved("PNG", GREY + i))
    return tmp_path


TABLES = {
    "empty": (b"", "the first line of t.csv to name the columns"),
    "NUL bytes": (HEAD.encode() + b"0.png,a\0b,1.3\n", "t.csv to be text"),
    "bytes that are no text": (b"\x81\x8d\x8f" * 9, "t.csv to be text"),
    "an odd byte of UTF-16": (b"\xff\xfef\0i\0l", "t.csv to be text"),
    "one column": (b"file\n0.png\n", "no column 'patient' .* 'tbs'"),
    "no header": (
        b"0.png,Garcia,1.3\n1.png,Smith,1.2\n",
        "first line may be no header",
    ),
    "an open quotation mark": (
        HEAD.encode() + b'0.png,"a,1.3\n1.png,b,1.2\n' + b"x" * 200_000,
        "t.csv to be a CSV file, got text that is none",
    ),
    "duplicate rows": (
        HEAD.encode() + b"0.png,a,1.3\n0.png,a,1.3\n",
        r"row 3 \(0.png\): the file is listed in an earlier row",
    ),
    "one file of two patients": (
        HEAD.encode() + b"0.png,a,1.3\n0.png,b,1.3\n",
        r"row 2 \(0.png\): the file is listed under another patient in row 3",
    ),
    "TBS that is no number": (
        HEAD.encode() + b"0.png,a,Garcia\n",
        r"row 2 \(0.png\): TBS is not a number",
    ),
    "TBS without end": (HEAD.encode() + b"0.png,a,inf\n", "row 2 .* outside 0.5-2.0"),
    "a number of 400 digits": (
        HEAD.encode() + b"0.png,a," + b"9" * 400 + b"\n",
        "row 2 .* TBS (is not a number|inf lies outside)",  # pandas 3 or 2
    ),
    "a row in the file name": (
        HEAD.encode() + b'"0.png;Garcia;1.3",,\n',
        r"row 2 \(name not shown\): no patient",
    ),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_refused_with_the_reason_and_without_names(folder, kind):
    data, reason = TABLES[kind]
    (folder / "t.csv").write_bytes(data)
    with pytest.raises(ValueError, match=reason) as info:
        load_scans(folder / "t.csv", folder)
    assert type(info.value) is ValueError
    assert "Garcia" not in str(info.value)
    assert "Smith" not in str(info.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + HEAD.encode() + b"0.png,a,1.25\n1.png,b,1.35\n",
        b"file;patient;tbs\r\n0.png;a;1,25\r\n1.png;b;1,35\r\n",
        "file;patient;tbs\n0.png;Zoë;1,25\n1.png;b;1,35\n".encode("cp1252"),
        "file\tpatient\ttbs\n0.png\tZoë\t1.25\n1.png\tb\t1.35\n".encode("utf-16"),
        HEAD.encode() + b"0.png,=cmd|' /C calc'!A0,1.25\n1.png,@b,1.35\n",
        HEAD.replace("patient", "pa\u200btient").encode()
        + b"0.png,a,1.25\n1.png,b,1.35",
    ],
)
def test_tables_of_other_programs_are_read(folder, data):
    (folder / "t.csv").write_bytes(data)
    assert load_scans(folder / "t.csv", folder).tbs.tolist() == [1.25, 1.35]


def test_a_table_of_very_many_columns_is_refused_at_once(folder):
    (folder / "t.csv").write_text(",".join(["file", *map(str, range(10**5))]))
    with pytest.raises(ValueError, match="at most 10000 columns, got 100001"):
        load_scans(folder / "t.csv", folder)


def test_only_the_first_of_many_columns_are_listed(folder):
    columns = ["file", "age", *(f"c{i}" for i in range(97))]
    table = pd.DataFrame([[0] * 99], columns=columns)
    with pytest.raises(ValueError, match=r"no column 'patient' .* and 79 more"):
        load_scans(table, folder)


def test_text_where_a_number_should_be_is_not_repeated():
    assert not_a_number("Garcia") == "is not a number"
    assert not_a_number("19480229,4711000000000000000000000000") == "is not a number"
    assert "'1,2' is not a number (expected 1.2," in not_a_number(" 1,2 ")


# --- What is written ---------------------------------------------------------


@pytest.mark.parametrize(
    "cell",
    [
        "=cmd|' /C calc'!A0",
        "+1+cmd",
        "-1+cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "  =1",
        "\uff1d1",
        "-",
    ],
)
def test_a_cell_that_begins_like_a_formula_becomes_text(cell):
    assert plain_cell(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell", [-1.2, 7, None, "-1.2", "+3,5", "-1e-5", "a=b", "0.png"]
)
def test_numbers_and_other_text_stay_as_they_are(cell):
    assert plain_cell(cell) is cell


def test_a_table_loses_formulas_in_its_names_too():
    table = pd.DataFrame({"=f()": ["=g()", "x"], "n": [-1.5, 2.0]}, index=["@h", "b"])
    text = plain_table(table).to_csv()
    assert text.splitlines() == [",'=f(),n", "'@h,'=g(),-1.5", "b,x,2.0"]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("before")

    def write(file):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: 'scores\.csv'"):
        write_whole(path, write)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["scores.csv"]


# --- Memory of a GPU ---------------------------------------------------------


def test_a_training_without_memory_names_the_batch_size(spines, monkeypatch):
    model = small_adhoc(batch_size=7)

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("tbsclassify.estimators._net.TBSNet.train_step", fail)
    with pytest.raises(torch.OutOfMemoryError, match=r"batch_size=7\. Lower it"):
        model.fit(spines.X, spines.y)
    assert not model.__sklearn_is_fitted__()


def test_a_prediction_without_memory_names_the_remedy(spines, monkeypatch):
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)

    def fail(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(torch.nn.Conv2d, "forward", fail)
    with pytest.raises(
        torch.OutOfMemoryError, match=r"predict a batch .*device=\"cpu\""
    ):
        model.predict(spines.X)


# --- Mutated files -----------------------------------------------------------


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_files_raise_what_is_documented_and_tell_nothing(target):
    report = fuzz.run(fuzz.TARGETS[target], 250, seed=2026)
    assert report.faults == {}
    assert report.outcomes["read"] > 0
    assert report.outcomes["refused"] > 0


def test_the_fuzzer_finds_the_faults_of_a_bad_reader():
    def bad(path):
        data = path.read_bytes()
        if len(data) % 2:
            raise KeyError("odd")
        raise ValueError(data.decode("latin-1"))

    target = fuzz.Target(fuzz.table_seeds, bad, (ValueError,))
    faults = " ".join(fuzz.run(target, 40, seed=0).faults)
    assert "KeyError in" in faults
    assert "tells what the file holds" in faults
