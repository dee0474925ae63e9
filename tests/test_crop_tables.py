import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from tbsclassify import LumbarCropper, TextureMatrixFeatures, VariogramFeatures
from tbsclassify.datasets import make_dxa_phantoms

LEVELS = ("L1", "L2", "L3", "L4")
SIDES = ("top", "left", "bottom", "right")


@pytest.fixture(scope="module")
def scans():
    return make_dxa_phantoms(4, return_masks=True, random_state=0)


@pytest.fixture(scope="module")
def fine_scans():
    """The same patients in pixels of 0.3 mm."""
    return make_dxa_phantoms(4, size=(560, 600), return_masks=True, random_state=0)


def boxes_in(table):
    names = [f"{level}_{side}" for level in LEVELS for side in SIDES]
    return table[names].to_numpy().reshape(-1, 4, 4)


def test_crops_of_a_table_are_those_of_transform(scans):
    cropper = LumbarCropper(250)
    table = cropper.transform_table(scans.frame)
    assert_array_equal(np.stack(table["image"]), cropper.transform(scans.frame))
    assert table.columns.tolist() == scans.frame.columns.tolist()


def test_boxes_show_the_same_pixels_in_scan_and_crop(scans):
    table = LumbarCropper(250).transform_table(scans.frame)
    for image, box, crop, moved in zip(
        scans.images, scans.boxes, table["image"], boxes_in(table), strict=True
    ):
        top, left, bottom, right = np.floor(box[1]).astype(int)
        top2, left2, bottom2, right2 = np.floor(moved[1]).astype(int)
        assert_array_equal(
            image[top:bottom, left:right], crop[top2:bottom2, left2:right2]
        )


def test_texture_of_the_vertebrae_is_the_same_before_and_after_copying(scans):
    features = VariogramFeatures()
    table = LumbarCropper(250).transform_table(scans.frame)
    assert_allclose(features.transform(table), features.transform(scans.frame))


def test_boxes_move_with_scans_brought_to_another_pixel_size(scans, fine_scans):
    table = LumbarCropper(250, spacing=0.6).transform_table(fine_scans.frame)
    as_drawn = LumbarCropper(250).transform_table(scans.frame)
    assert_allclose(boxes_in(table), boxes_in(as_drawn), atol=1)
    assert (table[["row_spacing", "column_spacing"]] == 0.6).all(axis=None)


def test_label_maps_move_with_the_scans(scans, fine_scans):
    frame = fine_scans.frame.assign(mask=list(fine_scans.masks))
    table = LumbarCropper(250, spacing=0.6).transform_table(frame)
    for mask, boxes in zip(table["mask"], boxes_in(table), strict=True):
        rows, columns = np.nonzero(mask == 3)
        found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert_allclose(found, boxes[2], atol=1.5)
    assert TextureMatrixFeatures(["gldm"]).transform(table).shape == (4, 15)


def test_a_missing_label_map_stays_missing(scans):
    frame = scans.frame.assign(mask=[*scans.masks[:3], None])
    assert LumbarCropper(250).transform_table(frame)["mask"].iloc[3] is None


def test_boxes_are_cut_at_the_border_of_the_crop(scans):
    with pytest.warns(UserWarning, match="cut off a part of L1-L4"):
        table = LumbarCropper(60).transform_table(scans.frame)
    boxes = boxes_in(table)
    assert np.isnan(boxes[:, [0, 3]]).all()  # too far above and below
    assert np.nanmin(boxes) >= 0
    assert np.nanmax(boxes) <= 60


def test_unknown_boxes_and_the_rows_names_stay(scans):
    frame = scans.frame.set_index(pd.Index(list("dcba")))
    frame.loc["c", [f"L2_{side}" for side in SIDES]] = np.nan
    table = LumbarCropper(250).transform_table(frame)
    assert table.index.tolist() == list("dcba")
    assert np.isnan(boxes_in(table)[1, 1]).all()
    assert np.isfinite(np.delete(boxes_in(table)[1], 1, axis=0)).all()


def test_the_table_that_was_given_is_left_alone(scans):
    before = scans.frame.copy()
    LumbarCropper(100, scale="fit").transform_table(scans.frame)
    pd.testing.assert_frame_equal(scans.frame, before)


def test_scans_of_two_pixel_sizes_can_be_described_in_one_pipeline(scans, fine_scans):
    frame = pd.concat([scans.frame, fine_scans.frame], ignore_index=True)
    cropper = LumbarCropper(250, spacing=0.6)
    model = make_pipeline(
        FunctionTransformer(cropper.transform_table), VariogramFeatures(), RidgeCV()
    )
    assert model.fit(frame, np.tile(scans.tbs, 2)).predict(frame).shape == (8,)


def test_arrays_are_refused(scans):
    with pytest.raises(TypeError, match="table to be a pandas DataFrame, got ndarray"):
        LumbarCropper().transform_table(scans.images)
