import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shared, small_adhoc
from numpy.testing import assert_array_equal
from PIL import Image

from tbsclassify import (
    AugmentationSampler,
    LumbarCropper,
    VariogramFeatures,
    images,
    read_scan,
)
from tbsclassify.images import (
    UnreadableScanError,
    iter_batches,
    iter_scans,
    stack_scans,
    unscanned_mask,
)
from tbsclassify.plotting import ContactSheetDisplay

GREY = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (40, 50)).astype(np.uint16)


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_eight_bit_files_come_back_as_they_were(tmp_path, suffix):
    scan = read_scan(save(tmp_path / f"scan.{suffix}", GREY))
    assert scan.dtype == np.uint8
    assert_array_equal(scan, GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_files_keep_their_depth(tmp_path, suffix):
    scan = read_scan(save(tmp_path / f"scan.{suffix}", DEEP))
    assert scan.dtype == np.uint16
    assert_array_equal(scan, DEEP)


def test_a_grey_jpeg_comes_back_nearly_as_it_was(tmp_path):
    smooth = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    scan = read_scan(save(tmp_path / "scan.jpg", smooth, quality=95))
    assert np.abs(scan.astype(int) - smooth).max() <= 4


def test_the_content_and_not_the_name_tells_the_format(tmp_path):
    path = save(tmp_path / "scan.png", GREY)
    renamed = path.rename(tmp_path / "scan.jpg")
    assert_array_equal(read_scan(renamed), GREY)


def test_colour_files_that_hold_grey_become_grey(tmp_path):
    path = save(tmp_path / "scan.png", np.repeat(GREY[..., None], 3, axis=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_array_equal(read_scan(path), GREY)


def test_the_chroma_of_a_grey_colour_jpeg_is_no_overlay(tmp_path):
    path = tmp_path / "scan.jpg"
    save(path, np.repeat(GREY[..., None], 3, axis=2), quality=80)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_scan(path).ndim == 2


def test_a_coloured_overlay_is_reported_with_its_extent(tmp_path):
    pixels = np.repeat(GREY[..., None], 3, axis=2)
    pixels[10, 5:25] = [255, 0, 0]
    path = save(tmp_path / "scan.png", pixels)
    with pytest.warns(UserWarning, match=r"scan.png: 20 of 2000 pixels \(1.0%\)"):
        scan = read_scan(path)
    assert_array_equal(scan[11:], GREY[11:])


def test_an_opaque_alpha_channel_is_dropped(tmp_path):
    opaque = np.full_like(GREY, 255)
    path = save(tmp_path / "scan.png", np.stack([GREY, opaque], axis=2))
    assert_array_equal(read_scan(path), GREY)


def test_a_white_is_zero_tiff_is_inverted(tmp_path):
    path = save(tmp_path / "scan.tif", DEEP, tiffinfo={262: 0})
    with Image.open(path) as image:
        assert image.tag_v2[262] == 0
    assert_array_equal(read_scan(path), 65535 - DEEP)


def break_file(path, kind):
    """Write a file that is broken or unfit in one way; return the reason."""
    if kind == "empty":
        path.write_bytes(b"")
        return "is empty"
    if kind == "text":
        path.write_text("not an image")
        return "is not a readable PNG"
    if kind == "truncated":
        data = save(path, np.tile(GREY, (10, 10))).read_bytes()
        path.write_bytes(data[: len(data) // 2])
        return "is truncated or damaged"
    if kind == "palette":
        Image.fromarray(GREY).convert("P").save(path)
        return "has palette colours"
    if kind == "frames":
        frames = [Image.fromarray(GREY), Image.fromarray(GREY // 2)]
        frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])
        return "holds several frames"
    if kind == "transparent":
        save(path, np.stack([GREY, GREY], axis=2))
        return "has transparent pixels"
    if kind == "bilevel":
        Image.fromarray(GREY > 127).save(path)
        return "has pixels of Pillow's mode 1"
    Image.new("L", (9000, 9000)).save(path)
    return "has more than the 64000000 pixels allowed"


@pytest.mark.parametrize(
    "kind",
    [
        "empty",
        "text",
        "truncated",
        "palette",
        "frames",
        "transparent",
        "bilevel",
        "bomb",
    ],
)
def test_an_unfit_file_is_refused_by_name_and_reason(tmp_path, kind):
    path = tmp_path / "scan7.png"
    reason = break_file(path, kind)
    with pytest.raises(UnreadableScanError, match=f"^scan7.png {reason}"):
        read_scan(path)


def test_a_bomb_beyond_pillows_own_limit_is_refused_alike(tmp_path, monkeypatch):
    path = save(tmp_path / "scan.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableScanError, match="more than"):
        read_scan(path)


def test_sixteen_bits_a_colour_are_refused_rather_than_halved(tmp_path):
    path = tmp_path / "scan.png"
    write_png_rgb16(path)
    with pytest.raises(UnreadableScanError, match="16 bits in each"):
        read_scan(path)


def write_png_rgb16(path):
    """Write a 2 x 2 PNG of 16 bits a channel, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(name, data):
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    rows = b"".join(b"\0" + bytes(range(12)) for _ in range(2))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_scan(tmp_path / "nowhere.png")


def test_unscanned_blocks_are_told_from_bright_bone_on_the_border():
    scan = np.full((64, 64), 90, np.uint8)
    scan[:32, :8] = scan[:16, 8:16] = 252  # a staircase of blocks
    rows, columns = np.indices(scan.shape)
    bone = (rows - 63) ** 2 + (columns - 40) ** 2 < 150
    scan[bone] = 252
    expected = np.zeros(scan.shape, bool)
    expected[:32, :8] = expected[:16, 8:16] = True
    assert_array_equal(unscanned_mask(scan), expected)


def test_unscanned_blocks_can_be_painted_over(tmp_path):
    scan = np.full((64, 64), 90, np.uint8)
    scan[:16, :16] = 252
    painted = read_scan(save(tmp_path / "scan.png", scan), fill_unscanned=7)
    assert (painted[:16, :16] == 7).all()
    assert (painted[16:] == 90).all()


def test_metadata_of_a_plain_file_say_what_is_known(tmp_path):
    _, metadata = read_scan(save(tmp_path / "s.png", DEEP), return_metadata=True)
    assert metadata["format"] == "PNG"
    assert metadata["bits_stored"] == 16
    assert metadata["pixel_spacing"] is None


def test_images_of_unequal_sizes_are_not_stacked():
    with pytest.raises(ValueError, match=r"2 sizes .*LumbarCropper"):
        stack_scans([GREY, GREY[:-1]])


@pytest.mark.parametrize("kind", [list, tuple, lambda p: np.array(p, dtype=str)])
def test_a_sequence_of_paths_is_read(tmp_path, kind):
    paths = [str(save(tmp_path / f"{i}.png", GREY + i)) for i in range(3)]
    assert_array_equal(stack_scans(kind(paths)), [GREY, GREY + 1, GREY + 2])


def test_real_scans_are_read_as_eight_bit_grey():
    folder = shared("data", "spine-dxa-bone-density", "images")
    for path in sorted(folder.iterdir())[:10]:
        scan = read_scan(path)
        assert (scan.shape, scan.dtype) == ((224, 224), np.uint8)


# --- Many scans --------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """Return the paths of 100 scans, each of one grey level: its number."""
    return [
        save(tmp_path / f"{i}.png", np.full((8, 8), i, dtype=np.uint8))
        for i in range(100)
    ]


def test_files_come_in_their_order_mixed_with_arrays(files):
    mixed = [np.full((8, 8), 200, np.uint8), *files]
    assert [int(scan[0, 0]) for scan in iter_scans(mixed)] == [200, *range(100)]


def test_files_are_read_when_they_are_needed_or_a_little_ahead(files, monkeypatch):
    read = []

    def count(path):
        read.append(path)
        return read_scan(path)

    monkeypatch.setattr(images, "read_scan", count)
    batches = iter_batches(files, 10)
    assert read == []
    assert [int(scan[0, 0]) for scan in next(batches)] == list(range(10))
    assert len(read) <= 10 + images._N_AHEAD + 1
    batches.close()


def test_a_damaged_file_is_reported_by_the_reader_of_many(files):
    files[50].write_bytes(b"nothing")
    with pytest.raises(UnreadableScanError, match=r"50\.png"):
        list(iter_scans(files))


@pytest.mark.parametrize("n", [0, 1, 10, 11])
def test_batches_hold_every_row_once(n):
    X = np.arange(n * 6).reshape(n, 2, 3)
    assert_array_equal(np.concatenate(list(iter_batches(X, 5))), X)


# --- Forms of X ---------------------------------------------------------------


SCANS = np.stack([GREY, GREY[::-1], GREY[:, ::-1]])


class OtherSeries:
    """Stands in for a column of polars."""

    def __init__(self, entries):
        self._entries = list(entries)

    def to_list(self):
        return self._entries

    def __len__(self):
        return len(self._entries)


class OtherTable(dict):
    """Stands in for a table of polars."""

    @property
    def columns(self):
        return list(self)


def as_objects(scans):
    array = np.empty(len(scans), dtype=object)
    array[:] = list(scans)
    return array


def as_rgb(scan):
    return Image.fromarray(np.repeat(scan[..., None], 3, axis=2))


FORMS = {
    "array": lambda scans: scans,
    "big-endian array": lambda scans: scans.astype(scans.dtype.newbyteorder(">")),
    "list": list,
    "tuple": tuple,
    "object array": as_objects,
    "series": lambda scans: pd.Series(list(scans), index=[7, 8, 9]),
    "table": lambda scans: pd.DataFrame({"image": list(scans), "age": 60}),
    "another library's column": OtherSeries,
    "another library's table": lambda scans: OtherTable(image=OtherSeries(scans)),
    "tensor": torch.from_numpy,
    "list of tensors": lambda scans: [torch.from_numpy(scan.copy()) for scan in scans],
    "Pillow images": lambda scans: [Image.fromarray(scan) for scan in scans],
}


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("form", FORMS)
def test_scans_are_the_same_in_every_form(form, depth):
    scans = SCANS.astype(depth) * (257 if depth == np.uint16 else 1)
    X = FORMS[form](scans)
    stacked = stack_scans(X)
    assert stacked.dtype == depth
    assert_array_equal(stacked, scans)
    batches = [stack_scans(batch) for batch in iter_batches(X, 2)]
    assert_array_equal(np.concatenate(batches), scans)
    assert_array_equal(
        LumbarCropper(30).transform(X), LumbarCropper(30).transform(scans)
    )
    assert_array_equal(
        VariogramFeatures(lags=2).transform(X),
        VariogramFeatures(lags=2).transform(scans),
    )


@pytest.mark.parametrize("form", ["table", "tensor", "Pillow images", "object array"])
def test_networks_predict_the_same_from_every_form(form):
    model = small_adhoc(max_epochs=1, early_stopping=False)
    expected = model.fit(SCANS, [0, 1, 0]).predict_proba(SCANS)
    X = FORMS[form](SCANS)
    assert_array_equal(model.fit(X, [0, 1, 0]).predict_proba(X), expected)


def test_colour_pillow_images_that_hold_grey_become_grey():
    assert_array_equal(stack_scans([as_rgb(scan) for scan in SCANS]), SCANS)


def test_pillow_images_follow_the_rules_for_files():
    palette = Image.fromarray(GREY).convert("P")
    with pytest.raises(UnreadableScanError, match=r"^X\[1\] has palette colours"):
        stack_scans([Image.fromarray(GREY), palette])


def test_bfloat16_tensors_become_floats():
    stacked = stack_scans(torch.ones(2, 8, 8, dtype=torch.bfloat16))
    assert stacked.dtype == np.float32


@pytest.mark.parametrize("one", ["scan.png", Image.new("L", (8, 8))])
def test_a_single_scan_is_refused_with_what_to_write(one):
    with pytest.raises(TypeError, match=r"got one .*\[scan\]"):
        stack_scans(one)


def test_rows_of_numbers_are_left_to_scikit_learn():
    rows = [[1.0, 2.0], [3.0, 4.0]]
    assert_array_equal(stack_scans(rows), rows)
    table = pd.DataFrame(rows, columns=["file", "path"])
    assert stack_scans(table) is table


@pytest.mark.parametrize("name", ["file", "Path", "images"])
def test_a_table_with_scans_under_another_name_says_to_rename_it(name):
    table = pd.DataFrame({name: ["0.png", "1.png"], "tbs": 1.2})
    message = rf"column 'image', got a column '{name}'.*rename"
    with pytest.raises(ValueError, match=message):
        stack_scans(table)
    with pytest.raises(ValueError, match=message):
        LumbarCropper().transform(table)


def test_two_columns_called_image_are_refused():
    table = pd.DataFrame([[GREY, GREY]], columns=["image", "image"])
    with pytest.raises(ValueError, match="one column 'image', got 2"):
        stack_scans(table)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize(
    "make", [list, pd.Series, lambda X: pd.DataFrame({"image": X})]
)
def test_missing_scans_are_named_by_index(make, missing):
    X = make(pd.Series([missing, "a.png", missing], dtype=object))
    with pytest.raises(ValueError, match=r"X lacks 2 scan\(s\).*index \[0, 2\]"):
        stack_scans(X)


@pytest.mark.parametrize(
    "X",
    [[], (), np.empty((0, 8, 8)), pd.Series([], dtype=object), as_objects([])],
    ids=["list", "tuple", "array", "series", "object array"],
)
def test_no_scans_are_called_so(X):
    with pytest.raises(ValueError, match="at least one scan, got none"):
        stack_scans(X)


@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_channels_that_come_last_are_refused_with_the_way_to_move_them(n_channels):
    X = np.zeros((5, 24, 32, n_channels), np.uint8)
    with pytest.raises(ValueError, match=r"channels come last.*np\.moveaxis\(X, -1, 1"):
        stack_scans(X)
    with pytest.raises(ValueError, match=r"index 0.*last.*np\.moveaxis\(scan, -1, 0"):
        stack_scans(list(X))


def test_channels_that_come_first_are_kept():
    X = np.zeros((5, 3, 24, 32), np.uint8)
    assert stack_scans(X).shape == stack_scans(list(X)).shape == X.shape


def test_an_array_that_has_lost_its_depth_is_refused():
    with pytest.raises(ValueError, match=r"dtype object.*np\.stack"):
        stack_scans(np.array([GREY, DEEP], dtype=object))


# --- Depths -------------------------------------------------------------------


USES = {
    "stack": stack_scans,
    "batches": lambda X: list(iter_batches(X, 1)),
    "network": lambda X: small_adhoc(max_epochs=1, early_stopping=False).fit(X, [0, 1]),
    "texture": VariogramFeatures(lags=2).transform,
    "cropper": LumbarCropper(30).transform,
    "sampler": lambda X: AugmentationSampler().fit_resample(X, [0, 1]),
    "display": ContactSheetDisplay.from_scans,
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("uint8", "uint16"),
        ("uint16", "uint8"),
        ("uint8", "float32"),
        ("float64", "int64"),
    ],
)
def test_depths_are_not_mixed_by_anyone(use, first, second):
    X = [GREY.astype(first), GREY.astype(second)]
    with pytest.raises(ValueError, match=rf"mixes .*{first} and {second} \(index 1\)"):
        USES[use](X)


@pytest.mark.parametrize("use", USES)
def test_files_of_different_depth_are_not_mixed_by_anyone(use, tmp_path):
    paths = [save(tmp_path / "a.png", GREY), save(tmp_path / "b.png", DEEP)]
    with pytest.raises(ValueError, match=r"uint8 and uint16 \(index 1\)"):
        USES[use](pd.DataFrame({"image": [str(path) for path in paths]}))


def test_one_odd_file_is_refused_when_predicting_too(tmp_path):
    deep = [DEEP, DEEP[::-1], DEEP[:, ::-1], DEEP.T.reshape(40, 50)]
    model = small_adhoc(max_epochs=1, early_stopping=False).fit(deep, [0, 1, 0, 1])
    paths = [save(tmp_path / f"{i}.png", scan) for i, scan in enumerate([*deep, GREY])]
    with pytest.raises(ValueError, match=r"uint16 and uint8 \(index 4\)"):
        model.predict(paths)
    with pytest.raises(ValueError, match="uint8"):
        model.predict(paths[4:])


@pytest.mark.parametrize("name", ["File Name", "image-path", "Scan"])
def test_a_table_that_names_its_files_otherwise_is_told_to_rename(name):
    with pytest.raises(ValueError, match=f"got a column {name!r}. Rename it"):
        stack_scans(pd.DataFrame({name: ["0.png", "1.png"]}))
