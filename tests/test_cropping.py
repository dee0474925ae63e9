import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from tbsclassify import LumbarCropper
from tbsclassify.cropping import crop_square

DTYPES = [np.uint8, np.uint16, np.float32]


def numbered(height, width, dtype=np.uint16):
    """Return an image in which no two pixels are alike, and none is 0."""
    return np.arange(1, height * width + 1).reshape(height, width).astype(dtype)


@given(
    st.integers(1, 30),
    st.integers(1, 30),
    st.integers(1, 40),
    st.floats(-10, 40),
    st.floats(-10, 40),
)
def test_every_pixel_of_a_crop_is_copied_from_its_place_or_fill(h, w, size, row, col):
    scan = numbered(h, w)
    crop = crop_square(scan, (row, col), size)
    top = int(np.floor(row - size / 2 + 0.5))
    left = int(np.floor(col - size / 2 + 0.5))
    rows, columns = np.indices((size, size)) + np.array([top, left])[:, None, None]
    inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    expected = np.zeros((size, size), scan.dtype)
    expected[inside] = scan[rows[inside], columns[inside]]
    assert_array_equal(crop, expected)


@given(st.integers(2, 12), st.integers(2, 12), st.integers(20, 40))
def test_shifting_the_scan_and_its_box_together_changes_nothing(down, right, size):
    scan = numbered(40, 50)
    shifted = np.zeros((80, 80), scan.dtype)
    shifted[down : down + 40, right : right + 50] = scan
    box = np.array([10, 15, 25, 35])
    before = LumbarCropper(size).transform([scan], boxes=[box])
    moved = box + np.array([down, right, down, right])
    assert_array_equal(LumbarCropper(size).transform([shifted], boxes=[moved]), before)


@given(st.sampled_from([0.5, 0.8, 1.0, 1.5]))
def test_flipping_the_scan_flips_the_crop(scale):
    scan = numbered(32, 32, np.float32)
    cropper = LumbarCropper(24, scale=scale)
    flipped = cropper.transform([scan[:, ::-1]])
    assert_allclose(flipped, cropper.transform([scan])[..., ::-1], rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 0.7, "fit"])
def test_the_depth_of_the_scans_is_kept(dtype, scale):
    scan = numbered(60, 50, dtype)
    assert (
        LumbarCropper(32, scale=scale, margin=0)
        .fit_transform([scan], boxes=[[10, 10, 40, 30]])
        .dtype
        == dtype
    )


@pytest.mark.parametrize("resample", ["nearest", "box", "bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resampling_a_flat_scan_keeps_it_flat(resample, dtype):
    scan = np.full((60, 50), 200, dtype)
    crop = crop_square(scan, (30, 25), 16, scale=0.5, resample=resample)
    assert_array_equal(crop, np.full((16, 16), 200, dtype))


def test_sixteen_bit_levels_survive_resampling():
    scan = np.full((60, 50), 40_000, np.uint16)
    assert crop_square(scan, (30, 25), 16, scale=0.5).max() == 40_000


def test_a_box_fills_the_crop_with_its_margin_when_fitted():
    scan = np.zeros((300, 280), np.uint8)
    scan[60:260, 100:180] = 255
    crop = LumbarCropper(96, scale="fit", margin=0.1).transform(
        [scan], boxes=[[60, 100, 260, 180]]
    )[0]
    rows = np.flatnonzero(crop.max(axis=1) > 127)
    assert (rows[0], rows[-1] + 1) == pytest.approx((8, 88), abs=1)
    columns = np.flatnonzero(crop.max(axis=0) > 127)
    assert columns[-1] + 1 - columns[0] == pytest.approx(32, abs=1)


def test_the_crop_is_centred_on_the_hull_of_the_vertebrae():
    scan = numbered(100, 100)
    vertebrae = [
        [[10, 40, 20, 60], [22, 42, 32, 62], [34, 44, 44, 64], [46, 40, 70, 60]]
    ]
    by_level = LumbarCropper(64).transform([scan], boxes=vertebrae)
    assert_array_equal(
        by_level, LumbarCropper(64).transform([scan], boxes=[[10, 40, 70, 64]])
    )


def test_unknown_vertebrae_are_left_out_of_the_hull():
    scan = numbered(100, 100)
    unknown = [np.nan] * 4
    boxes = [[unknown, [22, 42, 32, 62], [34, 44, 44, 64], unknown]]
    assert_array_equal(
        LumbarCropper(24).transform([scan], boxes=boxes),
        LumbarCropper(24).transform([scan], boxes=[[22, 42, 44, 64]]),
    )


def test_a_scan_without_a_box_is_cropped_around_its_centre():
    scan = numbered(40, 60)
    crop = LumbarCropper(20).transform([scan], boxes=[[np.nan] * 4])
    assert_array_equal(crop[0], scan[10:30, 20:40])


def test_scans_of_unequal_sizes_come_out_equal():
    crops = LumbarCropper(32).fit_transform([numbered(40, 60), numbered(50, 30)])
    assert crops.shape == (2, 32, 32)


def test_paths_are_read(tmp_path):
    scan = numbered(40, 60)
    Image.fromarray(scan).save(tmp_path / "scan.png")
    crops = LumbarCropper(20).transform([tmp_path / "scan.png"])
    assert_array_equal(crops, LumbarCropper(20).transform([scan]))


@pytest.mark.parametrize("levels", [[""], ["L1_", "L2_", "L3_", "L4_"]])
def test_boxes_travel_with_their_scans_in_a_table(levels):
    scans = [numbered(60, 60), numbered(70, 50)]
    boxes = [[10, 12, 30, 40], [5, 6, 21, 30]]
    table = pd.DataFrame({"image": pd.Series(scans, dtype=object)})
    for level in levels:
        for i, side in enumerate(["top", "left", "bottom", "right"]):
            table[level + side] = [box[i] for box in boxes]
    expected = LumbarCropper(32).transform(scans, boxes=boxes)
    assert_array_equal(LumbarCropper(32).transform(table), expected)
    assert_array_equal(LumbarCropper(32).transform(table[::-1]), expected[::-1])


def test_a_crop_that_cuts_vertebrae_off_is_reported():
    with pytest.warns(UserWarning, match="1 of 2 crops cut off a part of L1-L4"):
        LumbarCropper(20).transform(
            [numbered(60, 60)] * 2, boxes=[[5, 10, 40, 30], [5, 10, 20, 20]]
        )


def test_a_narrow_crop_without_a_box_is_reported():
    with pytest.warns(UserWarning, match="less than half"):
        LumbarCropper(20).transform([numbered(60, 60)])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], r"Expected boxes to have shape .* got \(1, 3\)"),
        ([[1, 2, 3, 4]] * 2, "for 1 scans"),
        ([[9, 2, 3, 4]], r"ends before it begins, at index \[0\]"),
        ([[1, 2, np.nan, 4]], "partly missing"),
    ],
)
def test_boxes_without_meaning_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        LumbarCropper(10).transform([numbered(20, 20)], boxes=boxes)


def test_scans_of_different_depth_are_not_mixed():
    with pytest.raises(ValueError, match="mixes scans of uint8 and uint16"):
        LumbarCropper(20).transform([numbered(9, 9, np.uint8), numbered(9, 9)])


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"size": 0}, ValueError),
        ({"size": 2.5}, TypeError),
        ({"scale": 0}, ValueError),
        ({"scale": "fill"}, TypeError),
        ({"margin": -0.1}, ValueError),
        ({"resample": "cubic"}, ValueError),
    ],
)
def test_bad_parameters_are_named(parameters, error):
    with pytest.raises(error, match=f"^Expected {next(iter(parameters))} "):
        LumbarCropper(**parameters).fit([numbered(20, 20)])
