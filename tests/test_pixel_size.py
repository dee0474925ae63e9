"""Pixel sizes that travel with the scans, and crops at one size in mm."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import small_adhoc
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from tbsclassify import (
    AugmentationSampler,
    DeepTextureFeatures,
    LumbarCropper,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
    VariogramFeatures,
    make_dxa_phantoms,
)
from tbsclassify.cropping import crop_square
from tbsclassify.plotting import ContactSheetDisplay
from tbsclassify.texture import TextureMatrixFeatures

RADIUS = 15.0  # mm


def disc(row_spacing, column_spacing, centre=(40.0, 40.0)):
    """Scan 80 x 80 mm with a disc of `RADIUS` around a centre in mm."""
    rows = (np.arange(round(80 / row_spacing)) + 0.5) * row_spacing
    columns = (np.arange(round(80 / column_spacing)) + 0.5) * column_spacing
    distance = np.hypot(rows[:, None] - centre[0], columns - centre[1])
    return np.where(distance <= RADIUS, 200, 0).astype(np.uint8)


def scans_of_two_scanners():
    """Return a table of 8 crops, half of them of 0.25 mm and half of 0.6 mm."""
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(8, 32, 32)).astype(np.uint8)
    table = pd.DataFrame({"image": pd.Series(list(images), dtype=object)})
    table["row_spacing"] = table["column_spacing"] = [0.25, 0.6] * 4
    return table


def numbered(height, width, dtype=np.uint16):
    return np.arange(1, height * width + 1).reshape(height, width).astype(dtype)


# --- Geometry ------------------------------------------------------------------

sizes = st.floats(0.25, 1.0)


@settings(deadline=None)
@given(sizes, sizes, sizes, st.floats(30, 50), st.floats(30, 50))
def test_a_disc_keeps_its_size_in_mm_and_becomes_round(height, width, to, row, col):
    scan = disc(height, width, (row, col))
    size = round(60 / to)
    box = [(row - 15) / height, (col - 15) / width]
    box += [(row + 15) / height, (col + 15) / width]
    cropper = LumbarCropper(size, spacing=to)
    crop = cropper.transform([scan], boxes=[box], spacings=[[height, width]])[0]
    inside = crop / 200.0
    tolerance = height + width + to
    area = inside.sum() * to**2
    assert area == pytest.approx(np.pi * RADIUS**2, abs=2 * RADIUS * tolerance)
    middle = (np.arange(size) + 0.5 - size / 2) * to
    assert_allclose(np.average(middle, weights=inside.sum(axis=1)), 0, atol=tolerance)
    assert_allclose(np.average(middle, weights=inside.sum(axis=0)), 0, atol=tolerance)
    for axis in (0, 1):
        diameter = (inside.max(axis=axis) > 0.5).sum() * to
        assert diameter == pytest.approx(2 * RADIUS, abs=2 * tolerance)


@settings(deadline=None)
@given(st.integers(1, 60), sizes, sizes, st.floats(-30, 90), st.floats(-30, 90))
def test_every_window_can_be_resampled(size, down, across, row, col):
    scan = np.full((60, 50), 7, np.uint8)
    crop = crop_square(scan, (row, col), size, scale=(down, across), fill=7)
    assert_array_equal(crop, np.full((size, size), 7))


@given(st.floats(0.9991, 1.0009), st.floats(0.9991, 1.0009))
def test_pixels_that_have_the_size_are_copied(down, across):
    scan = numbered(40, 50)
    spacing = [[0.6 * down, 0.6 * across]]
    crop = LumbarCropper(30, spacing=0.6).transform([scan], spacings=spacing)
    assert_array_equal(crop, LumbarCropper(30).transform([scan]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_axis_that_has_the_size_is_copied(dtype):
    stripes = np.zeros((40, 60), dtype)
    stripes[::2] = 200
    crop = LumbarCropper(30, spacing=0.6).transform([stripes], spacings=[[0.6, 0.3]])
    assert_array_equal(crop[0], stripes[5:35, :30])
    crop = LumbarCropper(30, spacing=0.6).transform([stripes.T], spacings=[[0.3, 0.6]])
    assert_array_equal(crop[0], stripes.T[:30, 5:35])


def test_each_scan_of_a_table_has_a_factor_of_its_own():
    table = pd.DataFrame({"image": [disc(0.3, 0.3), disc(0.6, 0.6), disc(0.6, 0.3)]})
    table["row_spacing"], table["column_spacing"] = [0.3, 0.6, 0.6], [0.3, 0.6, 0.3]
    crops = LumbarCropper(100, spacing=0.6).transform(table).astype(float)
    for i in (0, 2):
        # At the rim pixels are partly covered.
        assert np.abs(crops[i] - crops[1]).sum() < 0.05 * crops[1].sum()


@pytest.mark.parametrize("spacing", [(0.6, 0.6), (0.3, 0.45), (0.9, 0.6)])
def test_the_square_is_what_the_crop_shows(spacing):
    scan = numbered(60, 60, np.float32)
    cropper = LumbarCropper(20, spacing=0.6)
    box = [21, 24, 30, 32]
    top, left, bottom, right = cropper.square_of(scan.shape, box, spacing)
    assert (bottom - top) * spacing[0] == pytest.approx(20 * 0.6)
    assert (right - left) * spacing[1] == pytest.approx(20 * 0.6)
    shown = crop_square(
        scan,
        ((top + bottom) / 2, (left + right) / 2),
        20,
        scale=(20 / (bottom - top), 20 / (right - left)),
    )
    crop = cropper.transform([scan], boxes=[box], spacings=[spacing])[0]
    assert_allclose(crop, shown, rtol=1e-5)


def test_what_a_crop_cuts_off_is_measured_in_mm():
    box = [[5, 5, 45, 45]]
    cropper = LumbarCropper(20, spacing=0.6)
    cropper.transform([numbered(60, 60)], boxes=box, spacings=[0.3])
    with pytest.warns(UserWarning, match=r"cut off .* or a larger spacing"):
        cropper.transform([numbered(60, 60)], boxes=box, spacings=[[0.3, 0.6]])


def test_a_contact_sheet_shows_what_is_cropped_of_each_scan():
    table = pd.DataFrame({"image": [disc(0.5, 0.5), disc(1, 0.5)]})
    table["row_spacing"], table["column_spacing"] = [0.5, 1.0], 0.5
    cropper = LumbarCropper(60, spacing=1.0)
    squares = ContactSheetDisplay.from_scans(table, cropper=cropper).squares
    assert_array_equal(squares, [[20, 20, 140, 140], [10, 20, 70, 140]])


# --- Where sizes come from -----------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["row_spacing", "column_spacing"],
        ["Row Spacing (mm)", "COLUMN-SPACING"],
        ["spacing"],
        ["pixel_spacing"],
        ["Pixel size mm"],
    ],
)
def test_sizes_are_found_however_their_columns_are_spelt(names):
    table = pd.DataFrame({"image": [disc(0.4, 0.4)] * 2})
    table[names] = 0.4
    expected = LumbarCropper(60, spacing=0.8).transform(
        table["image"], spacings=[0.4, 0.4]
    )
    assert_array_equal(LumbarCropper(60, spacing=0.8).transform(table), expected)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["row_spacing"], "got 'row_spacing'"),
        (["row_spacing", "Row spacing", "column_spacing"], "column 'row_spacing', got"),
        (["spacing", "pixel_size"], "one column 'spacing', got 2"),
        (["row_spacing", "column_spacing", "spacing"], "Expected pixel sizes in row_"),
    ],
)
def test_columns_that_could_mean_two_things_are_refused(names, message):
    table = pd.DataFrame({"image": [disc(0.6, 0.6)]})
    table[names] = 0.6
    with pytest.raises(ValueError, match=message):
        LumbarCropper(60, spacing=0.6).transform(table)


def test_sizes_in_the_argument_take_the_place_of_those_in_the_table():
    table = scans_of_two_scanners()
    crops = LumbarCropper(16, spacing=0.6).transform(table, spacings=[0.6] * 8)
    assert_array_equal(crops, LumbarCropper(16).transform(list(table["image"])))


def test_scans_of_unknown_size_are_refused_by_number():
    table = scans_of_two_scanners()
    table.loc[[1, 4], "row_spacing"] = np.nan
    cropper = LumbarCropper(16, spacing=0.6)
    for act in (cropper.fit, cropper.transform):
        with pytest.raises(ValueError, match=r"none of 2 of 8 scans, index \[1, 4\]"):
            act(table)
    with pytest.raises(ValueError, match="none of 1 of 1 scans"):
        cropper.square_of((40, 40))


@pytest.mark.parametrize("size", [0.0, 0.06, 600.0, np.inf])
def test_sizes_in_another_unit_are_refused(size):
    with pytest.raises(ValueError, match=r"spacings to hold pixel sizes in mm.*at ind"):
        LumbarCropper(16, spacing=0.6).transform([disc(1, 1)], spacings=[size])
    table = pd.DataFrame({"image": [disc(1, 1)], "spacing": [size]})
    with pytest.raises(ValueError, match=r"column 'spacing' to hold pixel sizes in mm"):
        LumbarCropper(16, spacing=0.6).transform(table)


@pytest.mark.parametrize("size", ["0,6", [0.6, 0.6], np.array([0.6, 0.6]), (0.6,)])
def test_sizes_that_are_no_numbers_are_refused(size):
    table = pd.DataFrame({"image": [np.ones((9, 9))] * 2})
    table["pixel_spacing"] = pd.Series([size] * 2, dtype=object)
    with pytest.raises(ValueError, match="columns pixel_spacing to hold a number"):
        LumbarCropper(8, spacing=0.6).transform(table)


def test_sizes_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) or \(2, 2\).* got \(3,\)"):
        LumbarCropper(16, spacing=0.6).transform([disc(1, 1)] * 2, spacings=[1, 1, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"spacing": 600}, "^Expected spacing to be .* got 600"),
        ({"spacing": 0}, "^Expected spacing "),
        (
            {"spacing": 0.6, "scale": 2.0},
            "^Expected scale to be left at 1 where sp",
        ),
        ({"spacing": 0.6, "scale": "fit"}, "^Expected scale to be left at 1 .*'fit'"),
    ],
)
def test_parameters_that_make_no_size_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        LumbarCropper(**parameters).fit([disc(1, 1)], spacings=[1])


def test_sizes_follow_their_scans_by_metadata_routing():
    scans = [disc(0.3, 0.3), disc(0.6, 0.6)]
    with sklearn.config_context(enable_metadata_routing=True):
        cropper = LumbarCropper(80, spacing=0.6)
        cropper.set_fit_request(spacings=True).set_transform_request(spacings=True)
        pipeline = make_pipeline(cropper, VariogramFeatures(lags=2))
        features = pipeline.fit_transform(scans, spacings=[0.3, 0.6])
    crops = cropper.transform(scans, spacings=[0.3, 0.6])
    assert_array_equal(features, VariogramFeatures(lags=2).transform(crops))


def test_copies_of_augmentation_keep_the_size_of_their_scan():
    table = scans_of_two_scanners()
    sampler = AugmentationSampler(n_copies=1, random_state=0)
    resampled, _ = sampler.fit_resample(table, [0, 1] * 4)
    assert_array_equal(
        resampled["row_spacing"], table["row_spacing"].iloc[sampler.sample_indices_]
    )


# --- Tables that mix sizes -----------------------------------------------------

MIXED = r"pixels of 0\.25 to 0\.6 mm.* LumbarCropper\(spacing=\.\.\.\)"


@pytest.mark.parametrize(
    "act",
    [
        LumbarCropper(20).transform,
        LumbarCropper(20, scale="fit").fit_transform,
        VariogramFeatures(lags=2).transform,
        VariogramFeatures(lags=2).fit_transform,
        TextureMatrixFeatures(["glcm"]).transform,
        make_pipeline(VariogramFeatures(lags=2)).fit_transform,
        DeepTextureFeatures(weights=None, batch_size=2).fit,
    ],
)
def test_a_table_of_two_sizes_is_reported_once(act):
    with pytest.warns(UserWarning, match=MIXED) as record:
        act(scans_of_two_scanners())
    assert len(record) == 1
    assert record[0].filename == __file__


@pytest.mark.parametrize(
    ("model", "method", "y"),
    [
        (TBSPretrainedClassifier(weights=None, random_state=0), "predict", [0, 1]),
        (TBSPretrainedRegressor(weights=None, random_state=0), "predict", [1, 1.3]),
        (DeepTextureFeatures(weights=None, batch_size=2), "transform", None),
    ],
)
def test_networks_that_learn_or_predict_from_two_sizes_report_it(model, method, y):
    table, y = scans_of_two_scanners(), y and y * 4
    model = clone(model)
    for act in (lambda: model.fit(table, y), lambda: getattr(model, method)(table)):
        with pytest.warns(UserWarning, match=MIXED) as record:
            act()
        assert len(record) == 1
        assert record[0].filename == __file__


@pytest.mark.parametrize("sizes", [[0.6, 0.61], [0.6, np.nan], [np.nan, np.nan]])
def test_sizes_that_are_alike_or_not_known_are_not_reported(sizes):
    table = scans_of_two_scanners()
    table["row_spacing"] = table["column_spacing"] = sizes * 4
    LumbarCropper(20).transform(table)
    VariogramFeatures(lags=2).transform(table)


def test_a_cropper_to_one_size_leaves_nothing_to_report():
    table = scans_of_two_scanners()
    pipeline = make_pipeline(
        LumbarCropper(20, spacing=0.6), TBSPretrainedClassifier(weights=None)
    )
    assert pipeline.fit(table, [0, 1] * 4).predict(table).shape == (8,)


# --- What it is for ------------------------------------------------------------


def test_texture_of_another_scanner_comes_closer_at_one_size():
    coarse = make_dxa_phantoms(4, size=(280, 300), noise=0, random_state=0)
    fine = make_dxa_phantoms(4, size=(560, 600), noise=0, random_state=0)
    features = make_pipeline(LumbarCropper(spacing=0.6), VariogramFeatures())
    expected = features.transform(coarse.frame)
    at_one_size = features.transform(fine.frame)
    as_it_is = make_pipeline(LumbarCropper(448), VariogramFeatures())
    error = np.abs(at_one_size - expected).mean()
    assert error < np.abs(as_it_is.transform(fine.frame) - expected).mean() / 4


# --- Sizes that a model was fitted on ------------------------------------------


def table_of(spacing):
    """Return a table of 8 scans whose pixels have one size in mm."""
    table = scans_of_two_scanners()
    table["row_spacing"] = table["column_spacing"] = spacing
    return table


def fitted_on(spacing):
    """Yield how models predict that were fitted on scans of one pixel size."""
    table, y, tbs = table_of(spacing), [0, 1] * 4, np.linspace(1.1, 1.4, 8)
    deep = {"weights": None, "random_state": 0}
    yield VariogramFeatures(2).fit(table).transform
    unscaled = VariogramFeatures(2)
    unscaled.fit_transform(table)
    yield unscaled.transform
    yield TextureMatrixFeatures(["firstorder"]).fit(table).transform
    yield DeepTextureFeatures(**deep).fit(table).transform
    yield TBSPretrainedClassifier(**deep).fit(table, y).predict_proba
    yield TBSPretrainedRegressor(**deep).fit(table, tbs).predict
    yield small_adhoc(max_epochs=1).fit(table, y).predict


def test_scans_of_another_pixel_size_than_those_of_the_fit_are_warned_of():
    for predict in fitted_on(0.6):
        with pytest.warns(UserWarning, match=r"pixels of 0\.25 mm, but .* of 0\.6 mm"):
            predict(table_of(0.25))


def test_scans_of_the_same_or_an_unknown_pixel_size_are_not_warned_of():
    for predict in fitted_on(0.6):
        for table in (table_of(0.605), table_of(np.nan), table_of(0.6)[["image"]]):
            predict(table)


def test_a_fit_on_scans_of_unknown_pixel_size_warns_of_none():
    model = VariogramFeatures(2).fit(table_of(0.6)[["image"]])
    assert model.spacing_ is None
    model.transform(table_of(0.25))


def test_oblong_pixels_are_told_from_square_ones():
    table = table_of(0.6).assign(column_spacing=0.9)
    model = VariogramFeatures(2).fit(table_of(0.6))
    with pytest.warns(UserWarning, match=r"pixels of 0\.6 x 0\.9 mm"):
        model.transform(table)


def test_a_second_fit_forgets_the_pixel_size_of_the_first():
    model = VariogramFeatures(2).fit(table_of(0.6)).fit(table_of(0.25))
    assert_array_equal(model.spacing_, [0.25, 0.25])
    model.transform(table_of(0.25))


def test_mixed_sizes_are_warned_of_once():
    model = VariogramFeatures(2).fit(scans_of_two_scanners())
    assert model.spacing_ is None
    model.transform(table_of(0.25))
    with pytest.warns(UserWarning, match="mixes scans") as caught:
        VariogramFeatures(2).fit(table_of(0.6)).transform(scans_of_two_scanners())
    assert len(caught) == 1
