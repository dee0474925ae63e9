"""Phantoms: their population, their reproducibility and what they promise."""

import re
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.datasets._anatomy import Grid
from tbsclassify.datasets._population import (
    LUMBAR,
    draw_patients,
    report_tbs,
    tbs_class,
)
from tbsclassify.datasets._scanner import Settings, scan_density
from tbsclassify.datasets._texture import (
    TEXTURE_STEP,
    draw_textures,
    hurst_exponent,
)

SMALL = {"size": (70, 75)}


@pytest.fixture(scope="module")
def population():
    """Latent numbers of many patients."""
    return draw_patients(0, range(6000))


@pytest.fixture(scope="module")
def reported(population):
    """TBS of two scans of each of these patients, (6000, 2)."""
    vertebrae = population.level_tbs[:, LUMBAR]
    return np.array(
        [
            [report_tbs(0, i, scan, latent).mean() for scan in (0, 1)]
            for i, latent in enumerate(vertebrae)
        ]
    )


@pytest.fixture(scope="module")
def phantoms():
    """Full-size scans with everything that can be returned."""
    return make_dxa_phantoms(12, return_masks=True, random_state=0)


# Population: set to published figures, within sampling error and rounding.


def test_mean_and_spread_of_tbs_are_those_of_a_clinic(reported):
    assert reported[:, 0].mean() == pytest.approx(1.285, abs=0.015)
    assert reported[:, 0].std() == pytest.approx(0.100, abs=0.010)


@pytest.mark.parametrize(
    ("decade", "tbs"), [(40, 1.369), (50, 1.325), (60, 1.281), (70, 1.234), (80, 1.171)]
)
def test_tbs_falls_with_age_as_published(population, reported, decade, tbs):
    group = (population.age >= decade) & (population.age < decade + 10)
    assert reported[group, 0].mean() == pytest.approx(tbs, abs=0.02)


def test_classes_have_the_shares_of_a_cohort(reported):
    shares = np.bincount(tbs_class(reported[:, 0])) / len(reported)
    assert_allclose(shares, [0.23, 0.50, 0.27], atol=0.05)


def test_levels_differ_as_published(population):
    means = population.level_tbs[:, LUMBAR].mean(axis=0)
    assert_allclose(means, [1.234, 1.296, 1.308, 1.301], atol=0.012)


def test_tbs_of_a_patient_is_the_mean_of_four_vertebrae(population):
    means = population.level_tbs[:, LUMBAR].mean(axis=1)
    assert_allclose(means, population.tbs, atol=1e-12)


@pytest.mark.parametrize(("name", "r"), [("age", -0.48), ("bmi", -0.17), ("bmd", 0.32)])
def test_tbs_is_tied_to_the_patient_as_published(population, reported, name, r):
    found = np.corrcoef(reported[:, 0], getattr(population, name))[0, 1]
    assert found == pytest.approx(r, abs=0.05)


@pytest.mark.parametrize(
    ("name", "mean", "sd", "low", "high"),
    [
        ("age", 63, 10.3, 40, 90),
        ("bmi", 26.9, 4.4, 16, 42),
        ("bmd", 1.10, 0.15, 0.55, 1.9),
    ],
)
def test_patients_are_those_of_a_clinic(population, name, mean, sd, low, high):
    values = getattr(population, name)
    assert values.mean() == pytest.approx(mean, rel=0.015)
    assert values.std() == pytest.approx(sd, rel=0.05)
    assert values.min() >= low
    assert values.max() <= high


def test_repeat_scans_agree_as_well_as_two_scans_on_a_densitometer(reported):
    difference = reported[:, 0] - reported[:, 1]
    cv = np.sqrt(np.mean(difference**2 / 2 / reported.mean(axis=1) ** 2))
    assert 0.012 < cv < 0.018


def test_image_carries_three_quarters_of_the_variance_of_tbs(population):
    in_image = population.image_tbs[:, LUMBAR].mean(axis=1)
    r = np.corrcoef(in_image, population.tbs)[0, 1]
    assert r**2 == pytest.approx(0.76, abs=0.03)


def test_image_carries_all_of_tbs_without_decoupling():
    patients = draw_patients(0, range(20), decouple=0)
    assert_array_equal(patients.image_tbs, patients.level_tbs)


# Texture.


def test_hurst_exponent_rises_with_tbs_at_the_given_slope():
    below, above = hurst_exponent(np.array([1.249, 1.251]), 1.35)
    assert (above - below) / 0.002 == pytest.approx(1.35, rel=1e-3)


def test_literal_hurst_exponent_is_half_the_tbs():
    assert hurst_exponent(1.3, "literal") == pytest.approx(0.65)


@pytest.mark.parametrize("tbs", [1.10, 1.25, 1.40])
def test_variogram_of_the_texture_rises_as_the_lag_to_the_power_2h(tbs):
    patient = draw_patients(0, [0])[0]
    patient.image_tbs[:] = tbs
    patient.level_bmd[:] = 1
    rng = np.random.default_rng(0)
    textures = np.concatenate([draw_textures(rng, patient, 1.35) for _ in range(10)])
    lags = np.array([2, 3, 4, 6])  # 0.8 to 2.4 mm, well below 10 mm
    variogram = [np.mean((textures - np.roll(textures, k, axis=2)) ** 2) for k in lags]
    slope = np.polyfit(np.log(lags * TEXTURE_STEP), np.log(variogram), 1)[0]
    assert slope == pytest.approx(2 * hurst_exponent(tbs, 1.35), abs=0.2)


# Reproducibility.


def test_scans_do_not_depend_on_the_number_of_processes():
    arguments = dict(scans_per_patient=2, random_state=3)
    one = make_dxa_phantoms(10, n_jobs=1, **arguments)
    two = make_dxa_phantoms(10, n_jobs=2, **arguments)
    assert_array_equal(one.images, two.images)
    assert_array_equal(one.boxes, two.boxes)
    assert_array_equal(one.tbs, two.tbs)


@pytest.mark.parametrize("shares", [None, (1, 1, 1)])
def test_a_patient_is_the_same_in_a_larger_population(shares):
    few = make_dxa_phantoms(3, class_shares=shares, random_state=0, **SMALL)
    more = make_dxa_phantoms(9, class_shares=shares, random_state=0, **SMALL)
    assert_array_equal(few.images, more.images[:3])
    assert_array_equal(few.tbs, more.tbs[:3])


def test_another_seed_gives_other_scans():
    first, second = (make_dxa_phantoms(2, random_state=s, **SMALL) for s in (0, 1))
    assert not np.any(np.all(first.images == second.images, axis=(1, 2)))


def test_no_seed_gives_other_scans_every_time():
    first, second = (make_dxa_phantoms(2, **SMALL) for _ in range(2))
    assert not np.array_equal(first.images, second.images)


def test_random_state_instance_is_used_up_as_it_goes():
    rng = np.random.RandomState(0)
    first, second = (make_dxa_phantoms(2, random_state=rng, **SMALL) for _ in range(2))
    again = make_dxa_phantoms(2, random_state=np.random.RandomState(0), **SMALL)
    assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, second.images)


@pytest.mark.parametrize("seed", [None, 0])
def test_global_random_state_is_left_alone(seed):
    before = np.random.get_state()[1:3]  # noqa: NPY002
    make_dxa_phantoms(2, random_state=seed, **SMALL)
    after = np.random.get_state()[1:3]  # noqa: NPY002
    assert_array_equal(before[0], after[0])
    assert before[1] == after[1]


# What a scan is.


def test_every_entry_has_one_row_a_scan():
    phantoms = make_dxa_phantoms(
        3, scans_per_patient=2, return_masks=True, random_state=0, **SMALL
    )
    scalars = {"DESCR"}
    lengths = {key: len(phantoms[key]) for key in phantoms if key not in scalars}
    assert set(lengths.values()) == {6}


def test_scans_of_a_patient_share_the_patient_but_not_the_scan():
    phantoms = make_dxa_phantoms(2, scans_per_patient=2, random_state=0, **SMALL)
    assert_array_equal(phantoms.patient, [0, 0, 1, 1])
    assert phantoms.tbs_latent[0] == phantoms.tbs_latent[1]
    assert phantoms.bmd[0] == phantoms.bmd[1]
    assert phantoms.tbs[0] != phantoms.tbs[1]
    assert not np.array_equal(phantoms.shift[0], phantoms.shift[1])


def test_repeat_scans_show_the_same_texture():
    # Without noise, a vertebra looks alike in both scans once it is found there.
    phantoms = make_dxa_phantoms(4, scans_per_patient=2, noise=0, random_state=0)

    def centre_of_l3(i):
        top, left, bottom, right = phantoms.boxes[i, 2]
        row, column = round((top + bottom) / 2), round((left + right) / 2)
        return phantoms.images[i, row - 12 : row + 12, column - 20 : column + 20]

    def likeness(i, j):
        return np.corrcoef(centre_of_l3(i).ravel(), centre_of_l3(j).ravel())[0, 1]

    same = [likeness(2 * k, 2 * k + 1) for k in range(4)]
    other = [likeness(2 * k, (2 * k + 2) % 8) for k in range(4)]
    assert np.median(same) > np.median(other) + 0.2


def test_reported_tbs_is_the_rounded_mean_of_its_vertebrae(phantoms):
    assert_array_equal(phantoms.tbs, phantoms.tbs_vertebrae.mean(axis=1).round(3))


@pytest.mark.parametrize(("bit_depth", "dtype"), [(8, np.uint8), (16, np.uint16)])
def test_grey_levels_use_the_bit_depth(bit_depth, dtype):
    images = make_dxa_phantoms(2, bit_depth=bit_depth, random_state=0).images
    assert images.dtype == dtype
    assert images.max() > 2 ** (bit_depth - 1)


def test_bit_depth_changes_nothing_but_the_grey_levels():
    fine = make_dxa_phantoms(2, bit_depth=16, random_state=0).images
    coarse = make_dxa_phantoms(2, bit_depth=8, random_state=0).images
    assert_allclose(fine / 257, coarse, atol=0.51)


def test_any_size_shows_l1_to_l4():
    phantoms = make_dxa_phantoms(150, size=(60, 90), random_state=0)
    assert phantoms.images.shape == (150, 60, 90)
    assert phantoms.boxes[..., :2].min() > 0
    assert phantoms.boxes[..., 2].max() < 60
    assert phantoms.boxes[..., 3].max() < 90


def test_varied_sizes_come_as_a_list_of_images():
    phantoms = make_dxa_phantoms(5, size="varied", return_masks=True, random_state=0)
    shapes = [image.shape for image in phantoms.images]
    assert len(set(shapes)) > 1
    assert [mask.shape for mask in phantoms.masks] == shapes
    assert_array_equal(phantoms.pixel_spacing, 0.6)


def test_boxes_are_the_hulls_of_the_masks(phantoms):
    for mask, boxes in zip(phantoms.masks, phantoms.boxes, strict=True):
        for label, box in enumerate(boxes, start=1):
            rows, columns = np.nonzero(mask == label)
            hull = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
            assert_allclose(box, hull, atol=1.5)


def test_boxes_of_adjacent_vertebrae_lie_above_and_below(phantoms):
    t12, l5 = phantoms.boxes_adjacent[:, 0], phantoms.boxes_adjacent[:, 1]
    visible = ~np.isnan(t12[:, 0])
    assert np.all(t12[visible, 2] < phantoms.boxes[visible, 0, 2])
    visible = ~np.isnan(l5[:, 0])
    assert np.all(l5[visible, 0] > phantoms.boxes[visible, 3, 0])


def test_bone_is_brighter_than_soft_tissue(phantoms):
    for image, mask in zip(phantoms.images, phantoms.masks, strict=True):
        assert np.median(image[mask > 0]) > 2 * np.median(image[mask == 0])


def test_masks_come_only_on_request():
    assert "masks" not in make_dxa_phantoms(1, random_state=0, **SMALL)


@pytest.mark.parametrize("grid", [Grid(280, 300, 0.6), Grid(140, 150, 1.2)])
def test_noise_of_an_image_has_the_standard_deviation_it_was_given(grid):
    settings = Settings(psf_sd=0.36, noise_sd=0.05, low=-0.3, high=2.0, gamma=1.0)
    nothing = np.zeros((grid.height, grid.width), dtype=np.float32)
    scan = scan_density(nothing, grid, settings, np.random.default_rng(0))
    assert scan.std() == pytest.approx(0.05, rel=0.05)


def test_noise_grows_with_the_bmi():
    phantoms = make_dxa_phantoms(60, random_state=0, **SMALL)
    slope = np.polyfit(phantoms.bmi, np.log(phantoms.noise_sd), 1)[0]
    assert slope == pytest.approx(0.045, abs=0.015)


def test_no_noise_is_no_noise():
    assert np.all(make_dxa_phantoms(3, noise=0, random_state=0, **SMALL).noise_sd == 0)


def test_frame_holds_the_same_scans():
    phantoms = make_dxa_phantoms(2, random_state=0, **SMALL)
    frame = phantoms.frame
    assert_array_equal(frame["tbs"], phantoms.tbs)
    assert_array_equal(frame["L3_bottom"], phantoms.boxes[:, 2, 2])
    for image, expected in zip(frame["image"], phantoms.images, strict=True):
        assert np.shares_memory(image, expected)


def test_class_shares_are_kept():
    phantoms = make_dxa_phantoms(
        40, class_shares=(0.25, 0.25, 0.5), random_state=0, **SMALL
    )
    assert_array_equal(np.bincount(tbs_class(phantoms.tbs)), [10, 10, 20])


def test_memory_grows_with_what_is_returned():
    def peak(n_patients):
        tracemalloc.start()
        make_dxa_phantoms(n_patients, random_state=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(2)  # fills caches
    assert peak(50) - peak(10) < 1.5 * 40 * 280 * 300


def test_grey_levels_do_not_give_the_class_away():
    phantoms = make_dxa_phantoms(300, random_state=0)

    def describe(image, boxes):
        top, left = boxes[:, :2].min(axis=0).astype(int)
        bottom, right = boxes[:, 2:].max(axis=0).astype(int)
        parts = image, image[top:bottom, left:right]
        levels = [1, 5, 25, 50, 75, 95, 99]
        return np.concatenate(
            [[part.mean(), part.std(), *np.percentile(part, levels)] for part in parts]
        )

    X = [describe(*scan) for scan in zip(phantoms.images, phantoms.boxes, strict=True)]
    degraded = phantoms.tbs < 1.2
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, X, degraded, cv=folds, method="predict_proba")
    assert roc_auc_score(degraded, scores[:, 1]) < 0.70


# Bad arguments.


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("n_patients", 0, ValueError),
        ("n_patients", 2.0, TypeError),
        ("scans_per_patient", -1, ValueError),
        ("scans_per_patient", "2", TypeError),
        ("size", (280,), ValueError),
        ("size", (16, 300), ValueError),
        ("size", (280.0, 300.0), ValueError),
        ("size", "huge", ValueError),
        ("size", 280, TypeError),
        ("bit_depth", 12, ValueError),
        ("noise", -0.1, ValueError),
        ("noise", np.nan, ValueError),
        ("noise", "low", TypeError),
        ("h_gain", "steep", ValueError),
        ("h_gain", -1, ValueError),
        ("decouple", None, TypeError),
        ("class_shares", (0.5, 0.5), ValueError),
        ("class_shares", (1, -1, 1), ValueError),
        ("class_shares", (0, 0, 0), ValueError),
        ("class_shares", "paper", ValueError),
        ("random_state", -1, ValueError),
        ("random_state", "seed", TypeError),
    ],
)
def test_bad_argument_is_named_with_what_came(argument, value, error):
    arguments = {"n_patients": 1, argument: value}
    message = rf"^Expected {argument} .* got {re.escape(repr(value))}"
    with pytest.raises(error, match=message):
        make_dxa_phantoms(**arguments)


def test_pixel_sizes_stand_in_the_frame_as_those_of_loaded_scans_do():
    phantoms = make_dxa_phantoms(1, size=(140, 150), random_state=0)
    assert phantoms.spacing.tolist() == [[1.2, 1.2]]
    frame = phantoms.frame[["row_spacing", "column_spacing"]]
    assert frame.to_numpy().tolist() == [[1.2, 1.2]]
