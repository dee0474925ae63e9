"""LumbarLocalizer finds L1-L4, says how surely, and learns a site's boxes."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from safetensors import safe_open

from tbsclassify import LumbarCropper, LumbarLocalizer, make_dxa_phantoms, read_scan
from tbsclassify.localization import _weights


@pytest.fixture(scope="module")
def phantoms():
    return make_dxa_phantoms(8, random_state=5)


@pytest.fixture(scope="module")
def found(phantoms):
    return LumbarLocalizer(edges="endplate").locate(phantoms.images)


def off_by(boxes, truth):
    """Return by how many vertebrae boxes lie too low, shape (n,)."""
    rows = (boxes[..., [0, 2]] - truth[..., [0, 2]]).mean(axis=(-1, -2))
    return rows / ((truth[..., 3, 2] - truth[..., 0, 0]) / 4)


def overlap(boxes, truth):
    low = np.maximum(boxes[..., :2], truth[..., :2])
    high = np.minimum(boxes[..., 2:], truth[..., 2:])
    shared_area = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = sum(np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, truth))
    return shared_area / (area - shared_area)


def test_levels_of_phantoms_are_found(found, phantoms):
    assert np.abs(off_by(found.boxes, phantoms.boxes)).max() < 0.3


def test_boxes_at_the_endplates_cover_the_bodies(found, phantoms):
    assert overlap(found.boxes, phantoms.boxes).mean() > 0.75


def test_boxes_at_the_discs_touch(phantoms):
    boxes = LumbarLocalizer().locate(phantoms.images).boxes
    assert_allclose(boxes[:, 1:, 0], boxes[:, :-1, 2])


def test_the_axis_runs_through_the_boxes(found):
    x = (found.axis[:, 1:, 1] + found.axis[:, :-1, 1]) / 2
    assert (x > found.boxes[..., 1]).all()
    assert (x < found.boxes[..., 3]).all()


def test_confidences_are_shares(found):
    for confidence in (found.level_confidence, found.place_confidence):
        assert confidence.min() >= 0
        assert confidence.max() <= 1


def test_noise_is_no_spine():
    noise = np.random.default_rng(0).integers(0, 256, (2, 280, 300), dtype=np.uint8)
    assert LumbarLocalizer().locate(noise).place_confidence.max() < 0.4


def test_a_scan_of_one_grey_level_does_not_stop_the_others(phantoms):
    scans = [phantoms.images[0], np.zeros((50, 40), np.uint8)]
    assert np.isfinite(LumbarLocalizer().transform(scans)).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_the_depth_of_a_scan_does_not_matter(phantoms, dtype):
    scans = phantoms.images[:2].astype(dtype) * 200
    expected = LumbarLocalizer().transform(phantoms.images[:2])
    assert_allclose(LumbarLocalizer().transform(scans), expected, atol=0.5)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(1, 3), columns=st.integers(1, 3))
def test_boxes_grow_with_the_pixels(phantoms, rows, columns):
    scan = phantoms.images[0]
    larger = scan.repeat(rows, axis=0).repeat(columns, axis=1)
    small, large = LumbarLocalizer().locate([scan, larger]).boxes
    assert_allclose(large / np.tile([rows, columns], 2), small, atol=3)


@settings(max_examples=10, deadline=None)
@given(top=st.integers(0, 60), left=st.integers(0, 60))
def test_unscanned_borders_are_no_part_of_the_frame(phantoms, top, left):
    scan = np.minimum(phantoms.images[1], 250)
    larger = np.pad(
        scan, ((8 * (top // 8), 0), (8 * (left // 8), 0)), constant_values=252
    )
    alone, beside = LumbarLocalizer().locate([scan, larger]).boxes
    moved = beside - np.tile([8 * (top // 8), 8 * (left // 8)], 2)
    assert_allclose(moved, alone, atol=1e-3)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_padding_of_one_grey_level_is_no_part_of_the_frame(phantoms, level):
    scan = phantoms.images[1]
    padded = np.pad(scan, ((80, 40), (200, 240)), constant_values=level)
    alone, beside = LumbarLocalizer().locate([scan, padded]).boxes
    assert_allclose(beside - np.tile([80, 200], 2), alone, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e300])
def test_the_unit_of_grey_levels_does_not_matter(phantoms, factor):
    scans = phantoms.images[:1]
    expected = LumbarLocalizer().transform(scans)
    assert_allclose(LumbarLocalizer().transform(scans * factor), expected, rtol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (1, 200), (200, 1)])
def test_the_place_in_a_tiny_scan_is_unsure(shape):
    scan = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert LumbarLocalizer().locate([scan]).place_confidence < 0.5


def test_paths_and_unequal_sizes_are_taken(phantoms, tmp_path):
    sizes = [(280, 300), (140, 150)]
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    scans = []
    for path, (height, width), scan in zip(paths, sizes, phantoms.images, strict=False):
        image = Image.fromarray(scan).resize((width, height))
        image.save(path)
        scans.append(np.asarray(image))
    expected = LumbarLocalizer().transform(scans)
    assert_array_equal(LumbarLocalizer().transform(paths), expected)


def test_a_scan_alone_is_found_as_among_others(phantoms):
    localizer = LumbarLocalizer()
    together = localizer.transform(phantoms.images)
    alone = localizer.transform(phantoms.images[3:4])
    assert_allclose(alone, together[3:4], rtol=1e-4)


def test_columns_have_the_names_of_a_table(phantoms):
    localizer = LumbarLocalizer().set_output(transform="pandas")
    table = localizer.transform(phantoms.images[:1])
    assert [*table.columns[[0, 15, 16, 17]]] == [
        "L1_top",
        "L4_right",
        "level_confidence",
        "place_confidence",
    ]


def test_boxes_of_a_table_are_kept(phantoms):
    table = phantoms.frame.iloc[:2].copy()
    located = LumbarLocalizer().transform_table(table)
    assert_array_equal(located[table.columns[1:17]], table[table.columns[1:17]])
    assert located["level_confidence"].isna().all()


def test_scans_of_a_table_without_boxes_are_found(phantoms):
    table = phantoms.frame.iloc[:3].copy()
    boxes = [name for name in table.columns if name[:2] in ("L1", "L2", "L3", "L4")]
    table.loc[table.index[1], boxes] = np.nan
    located = LumbarLocalizer().transform_table(table)
    expected = LumbarLocalizer().transform(phantoms.images[1:2])[0, :16]
    assert_allclose(located[boxes].to_numpy()[1], expected)
    assert_array_equal(located["level_confidence"].isna(), [True, False, True])


def test_a_table_keeps_its_index_and_other_columns(phantoms):
    table = pd.DataFrame(
        {"image": list(phantoms.images[:2]), "age": [60, 70]}, index=["a", "b"]
    )
    located = LumbarLocalizer().transform_table(table)
    assert [*located.index] == ["a", "b"]
    assert [*located["age"]] == [60, 70]


def bare(phantoms, n=2):
    return phantoms.frame[["image"]].iloc[:n].copy()


def test_a_table_that_has_passed_passes_unchanged(phantoms):
    located = LumbarLocalizer().transform_table(bare(phantoms))
    pd.testing.assert_frame_equal(LumbarLocalizer().transform_table(located), located)


def test_the_table_that_is_passed_is_not_changed(phantoms):
    table = phantoms.frame.iloc[:2].copy()
    table.loc[0, [name for name in table if name[:1] == "L"]] = np.nan
    before = table.copy()
    LumbarLocalizer().transform_table(table)
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("dtype", ["Float64", "Int64", object])
def test_a_missing_box_may_be_any_missing_value_of_pandas(phantoms, dtype):
    table = phantoms.frame.iloc[:2].copy()
    boxes = [name for name in table if name[:1] == "L"]
    table[boxes] = table[boxes].round()
    table = table.astype(dict.fromkeys(boxes, dtype))
    table.loc[0, boxes] = pd.NA
    located = LumbarLocalizer().transform_table(table)
    expected = LumbarLocalizer().transform(phantoms.images[:1])[0, :16]
    assert_allclose(located[boxes].to_numpy(dtype=float)[0], expected)


def test_rows_are_told_apart_where_their_index_is_not(phantoms):
    table = phantoms.frame.iloc[:3].copy()
    boxes = [name for name in table if name[:1] == "L"]
    table.loc[1, boxes] = np.nan
    located = LumbarLocalizer().transform_table(table.set_axis([7, 7, 7]))
    assert_array_equal(located["level_confidence"].isna(), [True, False, True])


def test_other_columns_may_share_a_name(phantoms):
    table = bare(phantoms).assign(age=60)
    table = pd.concat([table, table[["age"]]], axis=1)
    assert LumbarLocalizer().transform_table(table).shape == (2, 3 + 18)


def test_a_box_of_the_whole_is_kept(phantoms):
    table = bare(phantoms).assign(top=[10, np.nan], left=[10, np.nan])
    table = table.assign(bottom=[200, np.nan], right=[90, np.nan])
    located = LumbarLocalizer().transform_table(table)
    assert_array_equal(located["L1_top"].isna(), [True, False])


@pytest.mark.parametrize("value", [np.nan, 500])
def test_a_box_without_meaning_is_refused_in_a_table(phantoms, value):
    table = phantoms.frame.iloc[:2].copy()
    table.loc[1, "L1_top"] = value
    with pytest.raises(ValueError, match=r"at index \[1\]"):
        LumbarLocalizer().transform_table(table)


def test_two_columns_of_one_confidence_are_refused(phantoms):
    table = bare(phantoms).assign(level_confidence=0.5)
    table = pd.concat([table, table[["level_confidence"]]], axis=1)
    with pytest.raises(ValueError, match="one column 'level_confidence', got 2"):
        LumbarLocalizer().transform_table(table)


@pytest.mark.parametrize("transformer", [LumbarLocalizer(), LumbarCropper()])
def test_a_table_without_scans_is_refused(transformer):
    with pytest.raises(ValueError, match=r"column 'image', got columns \['age'\]"):
        transformer.transform_table(pd.DataFrame({"age": [60, 70]}))


def test_only_tables_are_transformed_to_tables(phantoms):
    with pytest.raises(TypeError, match="Expected table to be a pandas DataFrame"):
        LumbarLocalizer().transform_table(phantoms.images)


@pytest.fixture(scope="module")
def site():
    """Boxes that end 4 pixels beyond those of phantoms, on every side."""
    scans = make_dxa_phantoms(6, random_state=6)
    return scans.images, scans.boxes + np.array([-4, -4, 4, 4])


@pytest.fixture(scope="module")
def fitted(site):
    images, boxes = site
    return LumbarLocalizer(max_steps=3, random_state=0).fit(images, boxes=boxes)


def test_fit_learns_where_boxes_end(fitted, site):
    images, boxes = site
    before = overlap(LumbarLocalizer().locate(images).boxes, boxes).mean()
    assert overlap(fitted.locate(images).boxes, boxes).mean() > before + 0.03


def test_fits_with_one_seed_are_equal(fitted, site):
    images, boxes = site
    again = LumbarLocalizer(max_steps=3, random_state=0).fit(images, boxes=boxes)
    assert_array_equal(again.transform(images[:2]), fitted.transform(images[:2]))


def test_fit_leaves_random_states_as_they_were(site):
    images, boxes = site
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    LumbarLocalizer(max_steps=1, random_state=0).fit(images, boxes=boxes)
    assert_array_equal(torch.get_rng_state(), states[0])
    assert_array_equal(np.random.get_state()[1], states[1])  # noqa: NPY002


def test_fit_learns_where_the_caller_has_switched_gradients_off(fitted, site):
    images, boxes = site
    with torch.inference_mode():
        localizer = LumbarLocalizer(max_steps=3, random_state=0)
        localizer.fit(images, boxes=boxes)
    assert_array_equal(localizer.transform(images[:1]), fitted.transform(images[:1]))


@pytest.mark.parametrize(
    "copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy]
)
def test_copies_find_the_same(fitted, site, copied):
    assert_array_equal(
        copied(fitted).transform(site[0][:1]), fitted.transform(site[0][:1])
    )


def test_fit_without_boxes_forgets(fitted, site):
    localizer = copy.deepcopy(fitted).fit(site[0])
    assert_array_equal(
        localizer.transform(site[0][:1]), LumbarLocalizer().transform(site[0][:1])
    )


def test_scans_without_all_boxes_are_left_out_of_fit(site):
    images, boxes = site
    boxes = boxes.copy()
    boxes[0, 2] = np.nan
    localizer = LumbarLocalizer(max_steps=1, random_state=0).fit(images, boxes=boxes)
    assert localizer.n_scans_ == len(images) - 1


def test_fit_takes_the_boxes_of_a_table(fitted, site):
    images, boxes = site
    names = LumbarLocalizer().get_feature_names_out()[:16]
    table = pd.DataFrame(boxes.reshape(-1, 16), columns=names)
    table["image"] = list(images)
    localizer = LumbarLocalizer(max_steps=3, random_state=0).fit(table)
    assert_array_equal(localizer.margins_, fitted.margins_)


def test_levels_in_another_order_are_refused(site):
    boxes = site[1].copy()
    boxes[3] = boxes[3, ::-1]
    with pytest.raises(ValueError, match=r"from L1 down to L4, got .* index \[3\]"):
        LumbarLocalizer().fit(site[0], boxes=boxes)


def test_boxes_of_scans_of_another_size_are_refused(site):
    smaller = site[0][:, ::2, ::2]
    with pytest.raises(ValueError, match="Expected boxes to lie in their scan"):
        LumbarLocalizer().fit(smaller, boxes=site[1])


def test_columns_of_boxes_are_refused_with_what_to_do(site):
    with pytest.raises(ValueError, match=r"reshape\(-1, 4, 4\)"):
        LumbarLocalizer().fit(site[0], boxes=site[1].reshape(-1, 16))


def test_too_few_boxes_are_refused(site):
    with pytest.raises(ValueError, match="at least 5 scans, got 4"):
        LumbarLocalizer().fit(site[0][:4], boxes=site[1][:4])


def test_one_box_of_the_whole_is_refused(site):
    with pytest.raises(ValueError, match="does not tell the levels"):
        LumbarLocalizer().fit(site[0], boxes=site[1][:, 0])


@pytest.mark.parametrize(
    ("parameter", "value"), [("edges", "vertebra"), ("max_steps", 0)]
)
def test_wrong_parameters_are_named(phantoms, parameter, value):
    with pytest.raises(ValueError, match=f"Expected {parameter}"):
        LumbarLocalizer(**{parameter: value}).transform(phantoms.images)


def test_the_weights_are_small_and_tell_where_they_come_from():
    assert _weights.FILE.stat().st_size < 3e6
    with safe_open(_weights.FILE, "numpy") as file:
        assert "phantoms" in file.metadata()


def test_crops_are_centred_on_what_is_found(phantoms):
    images = phantoms.images[:3]
    boxes = LumbarLocalizer().locate(images).boxes
    crops = LumbarCropper(boxes="auto", min_confidence=0).fit_transform(images)
    assert_array_equal(crops, LumbarCropper().fit_transform(images, boxes=boxes))


def test_given_boxes_come_before_found_ones(phantoms):
    boxes = phantoms.boxes[:2].copy()
    boxes[1] = np.nan
    crops = LumbarCropper(boxes="auto", min_confidence=0).transform(
        phantoms.images[:2], boxes=boxes
    )
    known = LumbarCropper().transform(phantoms.images[:1], boxes=boxes[:1])
    assert_array_equal(crops[:1], known)


def test_unsure_scans_are_warned_of(phantoms):
    cropper = LumbarCropper(boxes="auto", min_confidence=1)
    with pytest.warns(UserWarning, match="index \\[0, 1\\]"):
        cropper.transform(phantoms.images[:2])


def test_unsure_scans_are_refused_if_wanted(phantoms):
    cropper = LumbarCropper(boxes="auto", min_confidence=1, unsure="raise")
    with pytest.raises(ValueError, match="fit the localizer"):
        cropper.transform(phantoms.images[:2])


def test_unsure_scans_are_cropped_around_their_centre_if_wanted(phantoms):
    cropper = LumbarCropper(boxes="auto", min_confidence=1, unsure="centre")
    with pytest.warns(UserWarning, match="around their centre"):
        crops = cropper.transform(phantoms.images[:2])
    assert_array_equal(crops, LumbarCropper().transform(phantoms.images[:2]))


@pytest.mark.parametrize("method", ["fit_transform", "transform", "transform_table"])
def test_a_warning_of_unsure_scans_points_at_the_line_that_crops(phantoms, method):
    cropper = LumbarCropper(boxes="auto", min_confidence=1)
    with pytest.warns(UserWarning, match="could not be found") as record:
        getattr(cropper, method)(bare(phantoms))
    assert record[0].filename == __file__


def test_boxes_that_are_found_move_with_the_crops_of_a_table(phantoms):
    table = phantoms.frame[["image", "row_spacing", "column_spacing"]].iloc[:2]
    located = LumbarLocalizer().transform_table(table)
    expected = LumbarCropper(200, spacing=0.9).transform_table(located)
    cropped = LumbarCropper(200, spacing=0.9, boxes="auto").transform_table(table)
    names = [name for name in cropped if name != "image"]
    pd.testing.assert_frame_equal(cropped[names], expected[names])


def test_unsure_scans_have_no_boxes_where_they_are_cropped_around_their_centre(
    phantoms,
):
    cropper = LumbarCropper(boxes="auto", min_confidence=1, unsure="centre")
    with pytest.warns(UserWarning, match="around their centre"):
        table = cropper.transform_table(bare(phantoms))
    assert table[["L1_top", "L4_right"]].isna().all(axis=None)


def test_boxes_are_not_taken_for_the_parameter_boxes(phantoms):
    with pytest.raises(TypeError, match="Pass boxes of scans to fit and transform"):
        LumbarCropper(boxes=phantoms.boxes).fit(phantoms.images)


def test_sure_scans_are_not_warned_of(phantoms):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LumbarCropper(boxes="auto", min_confidence=0).transform(phantoms.images[:2])


def test_a_ge_export_with_white_borders_is_found():
    scan = read_scan(shared("data", "dicom", "ge_ap_spine.dcm"))
    boxes = LumbarLocalizer().locate([scan]).boxes[0]
    height, width = scan.shape
    assert boxes[:, 0].min() > 0
    assert boxes[:, 2].max() < height
    assert boxes[:, 1].min() > 0.2 * width
    assert boxes[:, 3].max() < 0.8 * width
