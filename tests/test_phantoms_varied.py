"""Varied phantoms: as unlike each other as scans of a clinic, with known truth."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.datasets._anatomy import Grid, draw_spine
from tbsclassify.datasets._artefacts import add_marks, add_metal, add_streaks
from tbsclassify.datasets._pathology import REASONS, afflict, draw_reasons
from tbsclassify.datasets._population import draw_patients
from tbsclassify.texture import VariogramFeatures

SMALL = {"size": (70, 75)}
N_SCANS = 200
N_PLAIN = 10


@pytest.fixture(scope="module")
def phantoms():
    """Varied scans of the default size, with masks."""
    return make_dxa_phantoms(
        N_SCANS, appearance="varied", return_masks=True, random_state=0
    )


@pytest.fixture(scope="module")
def plain():
    """Plain scans of the first of these patients."""
    return make_dxa_phantoms(N_PLAIN, random_state=0)


@pytest.fixture
def vertebra():
    """L3 of some patient."""
    return draw_spine(np.random.default_rng(0), draw_patients(0, [0])[0]).vertebrae[4]


# What stays.


def test_plain_is_the_default():
    default = make_dxa_phantoms(3, random_state=0, **SMALL)
    plain = make_dxa_phantoms(3, appearance="plain", random_state=0, **SMALL)
    assert_array_equal(default.images, plain.images)
    assert_array_equal(default.boxes, plain.boxes)


@pytest.mark.parametrize(
    "name", ["age", "sex", "bmi", "bmd", "site", "tbs", "tbs_vertebrae", "tbs_latent"]
)
def test_a_patient_has_the_same_numbers_in_both_appearances(phantoms, plain, name):
    assert_array_equal(phantoms[name][:N_PLAIN], plain[name])


def test_both_appearances_return_the_same_entries(phantoms, plain):
    assert set(phantoms) == {*plain, "masks"}


def test_plain_vertebrae_are_not_excluded(plain):
    assert not plain.excluded.any()
    assert np.all(plain.exclusion_reason == "")


def test_texture_of_varied_scans_still_tells_degraded_bone(phantoms):
    X = VariogramFeatures().fit_transform(phantoms.images, boxes=phantoms.boxes)
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    predicted = cross_val_predict(
        model, X, phantoms.tbs, groups=phantoms.patient, cv=GroupKFold(5)
    )
    assert roc_auc_score(phantoms.tbs < 1.2, -predicted) > 0.6


# Reproducibility.


def test_a_varied_scan_depends_neither_on_other_patients_nor_on_processes():
    arguments = dict(
        appearance="varied", scans_per_patient=2, random_state=3, return_masks=True
    )
    few = make_dxa_phantoms(3, **arguments, **SMALL)
    more = make_dxa_phantoms(10, n_jobs=2, **arguments, **SMALL)
    for name in ("images", "masks", "boxes", "exclusion_reason"):
        assert_array_equal(few[name], more[name][:6])


def test_scans_of_a_patient_share_exclusions_but_not_the_frame():
    phantoms = make_dxa_phantoms(
        30, appearance="varied", scans_per_patient=2, random_state=0, **SMALL
    )
    first, second = slice(0, None, 2), slice(1, None, 2)
    reasons = phantoms.exclusion_reason
    assert np.any(reasons != "")
    assert_array_equal(reasons[first], reasons[second])
    assert not np.any(phantoms.boxes[first, 0, 0] == phantoms.boxes[second, 0, 0])


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1:3]  # noqa: NPY002
    make_dxa_phantoms(2, appearance="varied", random_state=None, **SMALL)
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert_array_equal(before[0], after[0])
    assert before[1] == after[1]


# Geometry, in shares of the frame.


def test_l1_to_l4_lie_within_every_frame(phantoms):
    height, width = phantoms.images.shape[1:]
    assert phantoms.boxes[..., :2].min() > 0
    assert phantoms.boxes[..., 2].max() < height
    assert phantoms.boxes[..., 3].max() < width


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("width", 0.24, 0.38), ("spacing", 0.13, 0.185), ("top", 0.08, 0.30)],
)
def test_geometry_spreads_over_that_of_real_scans(phantoms, name, low, high):
    top, left, bottom, right = np.moveaxis(phantoms.boxes, -1, 0)
    height, width = phantoms.images.shape[1:]
    shares = {
        "width": np.mean(right - left, axis=1) / width,
        "spacing": np.diff((top + bottom) / 2, axis=1).mean(axis=1) / height,
        "top": top[:, 0] / height,
    }
    lowest, highest = np.percentile(shares[name], [10, 90])
    assert lowest < low + 0.02
    assert highest > high - 0.02
    assert low - 0.04 < np.median(shares[name]) < high


def test_vertebrae_lie_in_order_without_overlap(phantoms):
    centres = phantoms.boxes[..., [0, 2]].mean(axis=-1)
    assert np.all(np.diff(centres, axis=1) > 0)


def test_boxes_are_the_hulls_of_the_masks(phantoms):
    # The tip of a tilted body's corner may be too thin to hold a pixel's centre.
    off = []
    for i, (mask, boxes) in enumerate(zip(phantoms.masks, phantoms.boxes, strict=True)):
        for label, box in enumerate(boxes, start=1):
            rows, columns = np.nonzero(mask == label)
            hull = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            off.append(np.abs(box - hull) * np.tile(phantoms.spacing[i], 2))
    assert np.percentile(off, 95) < 0.6  # mm
    assert np.max(off) < 1.8


def test_pixels_of_a_given_size_are_oblong(phantoms):
    ratio = phantoms.spacing[:, 1] / phantoms.spacing[:, 0]
    assert_array_equal(phantoms.pixel_spacing, phantoms.spacing[:, 0])
    assert_array_equal(phantoms.frame["column_spacing"], phantoms.spacing[:, 1])
    assert np.ptp(ratio) > 0.3


def test_bodies_have_the_size_of_vertebrae_in_millimetres(phantoms):
    boxes = phantoms.boxes[~phantoms.excluded.any(axis=1)]
    spacing = phantoms.spacing[~phantoms.excluded.any(axis=1)]
    height = np.mean(boxes[..., 2] - boxes[..., 0], axis=1) * spacing[:, 0]
    width = np.mean(boxes[..., 3] - boxes[..., 1], axis=1) * spacing[:, 1]
    assert np.median(height) == pytest.approx(25, abs=3)
    assert np.median(width) == pytest.approx(44, abs=4)


def test_varied_sizes_show_the_frame_in_pixels_of_a_clinic():
    phantoms = make_dxa_phantoms(
        8, appearance="varied", size="varied", return_masks=True, random_state=0
    )
    shapes = [image.shape for image in phantoms.images]
    assert len(set(shapes)) == 8
    assert [mask.shape for mask in phantoms.masks] == shapes
    assert np.all((phantoms.pixel_spacing > 0.49) & (phantoms.pixel_spacing < 0.76))


def test_sixteen_bits_show_the_same_scan():
    arguments = dict(appearance="varied", random_state=0, **SMALL)
    fine = make_dxa_phantoms(6, bit_depth=16, **arguments).images
    coarse = make_dxa_phantoms(6, bit_depth=8, **arguments).images
    assert_allclose(fine / 257, coarse, atol=1.01)


# Exclusions.


@pytest.fixture(scope="module")
def reasons():
    """Reasons of many patients, (10000, 4)."""
    rng = np.random.default_rng(0)
    return np.array([draw_reasons(rng) for _ in range(10000)])


def test_levels_are_excluded_as_often_as_in_nhanes(reasons):
    shares = (reasons != "").mean(axis=0)
    assert_allclose(shares, [0.045, 0.042, 0.058, 0.072], atol=0.006)
    assert np.any(reasons != "", axis=1).mean() == pytest.approx(0.138, abs=0.008)


def test_every_reason_occurs(reasons):
    assert set(np.unique(reasons)) == {"", *REASONS}


def test_excluded_levels_are_those_with_a_reason(phantoms):
    assert phantoms.excluded.any()
    assert_array_equal(phantoms.excluded, phantoms.exclusion_reason != "")


def test_fractured_bodies_are_lower_and_denser(vertebra):
    rng = np.random.default_rng(0)
    for _ in range(20):
        fractured, denser = afflict(rng, vertebra, "fracture")
        assert 0.5 < fractured.height / vertebra.height < 0.81
        assert denser > 1


@pytest.mark.parametrize("reason", REASONS)
def test_excluded_bodies_are_denser(vertebra, reason):
    _, denser = afflict(np.random.default_rng(0), vertebra, reason)
    assert denser > 1


@pytest.mark.parametrize("reason", ["degeneration", "cement", "fusion"])
def test_what_is_added_to_a_body_is_bright(vertebra, reason):
    afflicted, _ = afflict(np.random.default_rng(0), vertebra, reason)
    added = afflicted.parts[len(vertebra.parts) :]
    assert len(added) > 0
    assert np.all(added[:, 4] > 0)


# Artefacts.


@pytest.fixture
def grid():
    return Grid(120, 100, 1.5, aspect=0.8)


def test_metal_only_adds_density(grid):
    rng = np.random.default_rng(0)
    maps = np.zeros((100, grid.height, grid.width), dtype=np.float32)
    for density in maps:
        add_metal(rng, density, grid)
    assert maps.min() >= 0
    with_metal = np.mean(maps.max(axis=(1, 2)) > 0.2)
    assert 0.1 < with_metal < 0.5


def test_streaks_run_along_the_rows(grid):
    rng = np.random.default_rng(0)
    measured = np.zeros((grid.height, grid.width), dtype=np.float32)
    for _ in range(10):
        add_streaks(rng, measured, grid, 0.03)

    def likeness(step):
        a, b = measured[step[0] :, step[1] :], measured[: -step[0] or None]
        return np.corrcoef(a.ravel(), b[:, : -step[1] or None].ravel())[0, 1]

    assert likeness((0, 1)) > likeness((1, 0)) + 0.3


def test_there_are_no_streaks_without_noise(grid):
    measured = np.zeros((grid.height, grid.width), dtype=np.float32)
    for seed in range(5):
        add_streaks(np.random.default_rng(seed), measured, grid, 0.0)
    assert not measured.any()


def test_marks_leave_most_of_an_image_alone():
    rng = np.random.default_rng(0)
    image = rng.integers(30, 90, size=(200, 180)).astype(np.uint8)
    touched = []
    for _ in range(60):
        marked = image.copy()
        add_marks(rng, marked)
        touched.append(np.mean(marked != image))
    assert max(touched) < 0.15
    assert 0.2 < np.mean(np.array(touched) > 0) < 1


def test_bodies_shine_out_in_most_scans(phantoms):
    ratio = [
        np.median(image[mask > 0]) / max(np.median(image[mask == 0]), 1)
        for image, mask in zip(phantoms.images, phantoms.masks, strict=True)
    ]
    assert np.mean(np.array(ratio) > 1.5) > 0.98


def test_other_looks_are_refused():
    message = r"^Expected appearance to be one of 'plain', 'varied', got 'real'"
    with pytest.raises(ValueError, match=message):
        make_dxa_phantoms(1, appearance="real")
