import warnings

import numpy as np
import pytest
from conftest import shared
from numpy.testing import assert_array_equal
from PIL import Image

from tbsclassify import images, read_scan
from tbsclassify.images import (
    UnreadableScanError,
    iter_batches,
    iter_scans,
    stack_scans,
    unscanned_mask,
)

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
        return "holds 2 frames"
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
