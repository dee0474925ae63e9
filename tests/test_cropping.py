import numpy as np
import pandas as pd
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.pipeline import make_pipeline

from tbsclassify import LumbarCropper, VariogramFeatures
from tbsclassify.cropping import crop_square
from tbsclassify.datasets import make_dxa_phantoms

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


# --- Grey levels and sizes that cannot be --------------------------------------


@pytest.mark.parametrize(
    ("fill", "dtype"),
    [(300, np.uint8), (0.5, np.uint8), (-1, np.uint16), (70_000, np.uint16), (2, bool)],
)
def test_a_fill_that_scans_cannot_hold_is_refused(fill, dtype):
    scan = np.ones((9, 9), dtype)
    message = rf"Expected fill to be a grey level of {np.dtype(dtype)} .* got {fill}"
    with pytest.raises(ValueError, match=message):
        LumbarCropper(20, fill=fill).transform([scan])
    with pytest.raises(ValueError, match=message):
        crop_square(scan, (4, 4), 20, fill=fill)


def test_a_fill_that_scans_can_hold_is_painted_whatever_its_type():
    assert crop_square(np.ones((2, 2), np.uint8), (1, 1), 4, fill=255.0)[0, 0] == 255
    assert crop_square(np.ones((2, 2), np.float32), (1, 1), 4, fill=0.5)[0, 0] == 0.5


@pytest.mark.parametrize(
    "parameters", [{"scale": 1e-3}, {"size": 10_000}, {"size": 9000, "scale": 2.0}]
)
def test_a_window_that_would_fill_the_memory_is_refused_at_once(parameters):
    with pytest.raises(ValueError, match="at most 8000 pixels, got size="):
        LumbarCropper(**parameters).fit([numbered(20, 20)])


def test_a_box_that_would_fill_the_memory_is_refused():
    with pytest.raises(ValueError, match=r"at most 8000 pixels.* check the boxes"):
        LumbarCropper(224, scale="fit").transform(
            [numbered(20, 20)], boxes=[[0, 0, 1e6, 10]]
        )


# --- What scikit-learn and others do with a cropper ----------------------------


@pytest.mark.parametrize("container", ["pandas", "default"])
def test_a_pipeline_with_a_cropper_can_be_told_its_output(container):
    X = np.random.default_rng(0).integers(256, size=(3, 40, 40)).astype(np.uint8)
    pipeline = make_pipeline(LumbarCropper(30), VariogramFeatures(lags=2))
    features = pipeline.set_output(transform=container).fit_transform(X)
    if container == "pandas":
        assert features.columns[0] == "log_v(0,1)"
    assert_array_equal(
        features, VariogramFeatures(lags=2).transform(LumbarCropper(30).transform(X))
    )


def test_crops_stay_images_under_a_global_choice_of_output():
    with sklearn.config_context(transform_output="pandas"):
        crops = LumbarCropper(20).fit_transform([numbered(30, 30)])
    assert isinstance(crops, np.ndarray)
    assert crops.shape == (1, 20, 20)


@pytest.mark.parametrize("scale", [1.0, 2.0, "fit"])
def test_the_square_of_a_scan_is_what_its_crop_shows(scale):
    scan = numbered(60, 60, np.float32)
    cropper = LumbarCropper(20, scale=scale, margin=0)
    box = [21, 24, 30, 32]
    top, left, bottom, right = cropper.square_of(scan.shape, box)
    shown = crop_square(
        scan, ((top + bottom) / 2, (left + right) / 2), 20, scale=20 / (bottom - top)
    )
    assert_allclose(cropper.transform([scan], boxes=[box])[0], shown, rtol=1e-5)


def test_a_warning_points_at_the_line_that_crops():
    with pytest.warns(UserWarning, match="less than half") as record:
        LumbarCropper(20).transform([numbered(60, 60)])
    assert record[0].filename == __file__


def test_boxes_in_a_table_may_lack_levels_and_be_spelt_otherwise():
    scan = numbered(60, 60)
    table = pd.DataFrame({"image": [scan]})
    for level, rows in (("l1", (10, 20)), ("l4", (30, 50))):
        table[f"{level} top"], table[f"{level} bottom"] = rows
        table[f"{level} left"], table[f"{level} right"] = 12, 28
    expected = LumbarCropper(44).transform([scan], boxes=[[10, 12, 50, 28]])
    assert_array_equal(LumbarCropper(44).transform(table), expected)


def test_text_among_the_boxes_of_a_table_is_refused():
    table = pd.DataFrame({"image": [numbered(60, 60)]})
    table[["top", "left", "bottom", "right"]] = [["3,5", "4", "20", "20"]]
    with pytest.raises(ValueError, match="Expected columns top, left, bottom, right"):
        LumbarCropper(30).transform(table)


def test_the_box_of_the_whole_counts_where_no_vertebra_is_known():
    scans = make_dxa_phantoms(3, random_state=0)
    table, boxes = scans.frame.copy(), scans.boxes.copy()
    whole = np.array([20.0, 30.0, 180.0, 150.0])
    table[["top", "left", "bottom", "right"]] = whole
    table.loc[1, [name for name in table if name[:1] == "L"]] = np.nan
    boxes[1] = whole
    cropper = LumbarCropper(200)
    assert_array_equal(
        cropper.transform(table), cropper.transform(scans.images, boxes=boxes)
    )


# --- Scans with boxes and without ------------------------------------------------


@pytest.fixture
def boxed():
    scans = [numbered(40, 50) + i for i in range(3)]
    return scans, np.array([[8.0, 10, 28, 30]] * 3)


def test_scans_with_and_without_boxes_in_one_call_warn(boxed):
    scans, boxes = boxed
    boxes[1] = np.nan
    with pytest.warns(UserWarning, match=r"others none\. Those without are cropped"):
        LumbarCropper(20).transform(scans, boxes=boxes)


def test_scans_that_lost_the_boxes_of_the_fit_warn(boxed):
    scans, boxes = boxed
    cropper = LumbarCropper(20).fit(scans, boxes=boxes)
    with pytest.warns(UserWarning, match="fitted on scans with boxes .* have none"):
        cropper.transform(scans)


def test_boxes_that_the_scans_of_the_fit_lacked_warn(boxed):
    scans, boxes = boxed
    cropper = LumbarCropper(20).fit(scans)
    with pytest.warns(UserWarning, match="fitted on scans without boxes .* have some"):
        cropper.transform(scans, boxes=boxes)


@pytest.mark.parametrize("present", [True, False])
def test_scans_like_those_of_the_fit_do_not_warn(boxed, present):
    scans, boxes = boxed
    boxes = boxes if present else None
    cropper = LumbarCropper(20).fit(scans, boxes=boxes)
    assert cropper.transform(scans[:1], boxes[:1] if present else None).shape[0] == 1


def test_a_texture_model_warns_of_scans_that_lost_their_boxes():
    frame = make_dxa_phantoms(2, random_state=0).frame
    features = VariogramFeatures(lags=2).fit(frame)
    with pytest.warns(
        UserWarning, match="have none. They are described by their middle"
    ):
        features.transform(frame[["image"]])
