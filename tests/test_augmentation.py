import random

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import small_adhoc
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.preprocessing import FunctionTransformer

from tbsclassify import LumbarCropper, initial_slope, make_dxa_phantoms
from tbsclassify.augmentation import (
    AugmentationDraws,
    AugmentationSampler,
    RandomAugmentation,
    rotate,
)
from tbsclassify.augmentation._table import move_boxes

DTYPES = [torch.uint8, torch.uint16, torch.float32, torch.float64]
NOTHING = {"horizontal_flip": 0, "rotation": 0, "brightness": None}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_images(n=6, channels=1, height=20, width=27, dtype=torch.uint8, seed=0):
    """Return noise over the whole range of an integer dtype, or 0 to 1."""
    levels = torch.rand(n, channels, height, width, generator=seeded(seed))
    if dtype.is_floating_point:
        return levels.to(dtype)
    return (levels * torch.iinfo(dtype).max).round().to(dtype)


def draws_of(flip=(0,), angle=(0.0,), brightness=(1.0,)):
    return AugmentationDraws(
        torch.tensor(flip, dtype=torch.bool),
        torch.tensor(angle, dtype=torch.float32),
        torch.tensor(brightness, dtype=torch.float32),
    )


def as_float(images):
    return images.double().numpy()


# Drawing


def test_draws_stay_in_their_ranges_and_fill_them():
    draws = RandomAugmentation().draw(20_000, seeded())
    assert draws.flip.float().mean() == pytest.approx(0.5, abs=0.02)
    assert draws.angle.abs().max() <= 10
    assert_allclose(np.quantile(draws.angle, [0.01, 0.5, 0.99]), [-9.8, 0, 9.8], atol=1)
    change = (draws.brightness - 1).abs()
    assert change.min() >= 0.1 - 1e-6
    assert change.max() <= 0.4 + 1e-6
    assert change.mean() == pytest.approx(0.25, abs=0.01)
    assert (draws.brightness > 1).float().mean() == pytest.approx(0.5, abs=0.02)


def test_flips_angles_and_brightness_are_independent():
    draws = RandomAugmentation().draw(20_000, seeded())
    correlation = np.corrcoef(np.stack([column.numpy() for column in draws]))
    assert np.abs(correlation - np.eye(3)).max() < 0.03


def test_each_image_gets_draws_of_its_own():
    images = make_images(1).expand(8, -1, -1, -1)
    augmentation = RandomAugmentation()
    draws = augmentation.draw(8, seeded())
    assert len(draws.angle.unique()) == len(draws.brightness.unique()) == 8
    augmented = augmentation.apply(images, draws)
    assert len({image.numpy().tobytes() for image in augmented}) == 8


def test_the_same_seed_gives_the_same_bits():
    images = make_images(dtype=torch.float32)
    augmentation = RandomAugmentation()

    def augmented(seed):
        return augmentation.apply(images, augmentation.draw(6, seeded(seed)))

    assert torch.equal(augmented(3), augmented(3))
    assert not torch.equal(augmented(3), augmented(4))


def test_a_generator_goes_on_from_batch_to_batch():
    generator = seeded()
    augmentation = RandomAugmentation()
    first, second = (augmentation.draw(4, generator) for _ in range(2))
    assert not torch.equal(first.angle, second.angle)


def test_one_setting_does_not_change_the_draws_of_another():
    default = RandomAugmentation().draw(50, seeded())
    wider = RandomAugmentation(rotation=40, brightness=None).draw(50, seeded())
    assert torch.equal(default.flip, wider.flip)
    assert torch.equal(default.angle * 4, wider.angle)


def test_global_random_states_are_neither_used_nor_changed():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    torch_before, random_before = torch.get_rng_state(), random.getstate()
    sampler = AugmentationSampler(random_state=0)
    sampler.fit_resample(make_images()[:, 0].numpy(), [0, 0, 0, 0, 1, 1])
    AugmentationSampler().fit_resample(make_images()[:, 0].numpy(), [0, 1, 1, 1, 1, 1])
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert random.getstate() == random_before


# Applying


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(DTYPES),
    st.integers(0, 1000),
)
def test_a_batch_comes_out_as_its_images_one_at_a_time(n, c, h, w, dtype, seed):
    images = make_images(n, c, h, w, dtype, seed)
    augmentation = RandomAugmentation(rotation=180)
    draws = augmentation.draw(n, seeded(seed))
    draws.angle[::3] = 0  # not resampled, whatever their neighbours are
    draws.brightness[1::3] = 1
    batch = augmentation.apply(images, draws)
    for i in range(n):
        alone = AugmentationDraws(*(column[i : i + 1] for column in draws))
        one = augmentation.apply(images[i : i + 1], alone)
        assert_array_equal(as_float(one[0]), as_float(batch[i]))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float16])
@pytest.mark.parametrize("no_brightness", [None, (0, 0)])
def test_zero_strength_changes_nothing(dtype, no_brightness):
    images = make_images(dtype=dtype)
    augmentation = RandomAugmentation(**NOTHING).set_params(brightness=no_brightness)
    augmented = augmentation.apply(images, augmentation.draw(6, seeded()))
    assert augmented.dtype == dtype
    assert_array_equal(as_float(augmented), as_float(images))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_flip_without_rotation_mirrors_every_pixel(dtype):
    images = make_images(3, channels=2, dtype=dtype)
    draws = draws_of([1, 0, 1], [0, 0, 0], [1, 1, 1])
    flipped = as_float(RandomAugmentation.apply(images, draws))
    expected = as_float(images)
    expected[[0, 2]] = expected[[0, 2], ..., ::-1]
    assert_array_equal(flipped, expected)


def test_a_flip_beside_a_rotated_image_is_as_exact():
    images = make_images(2, dtype=torch.float32)
    flipped = RandomAugmentation.apply(images, draws_of([1, 0], [0, 7], [1, 1]))
    assert torch.equal(flipped[0], images[0].flip(-1))


def blob(height, width, row, column):
    rows, columns = np.indices((height, width))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 8)


@settings(deadline=None)
@given(
    st.integers(48, 90),
    st.integers(48, 90),
    st.floats(-180, 180, width=32),
    st.floats(-180, 180),
    st.booleans(),
)
def test_a_marker_turns_by_the_angle_drawn(height, width, angle, bearing, flip):
    centre = np.array([(height - 1) / 2, (width - 1) / 2])

    def place(degrees):  # counter-clockwise from the right, rows downwards
        radians = np.deg2rad(degrees)
        return centre + 12 * np.array([-np.sin(radians), np.cos(radians)])

    image = torch.tensor(blob(height, width, *place(bearing)))[None, None]
    draws = draws_of([flip], [angle])
    turned = RandomAugmentation.apply(image, draws)[0, 0].numpy()
    # Beyond this circle, reflections come into view.
    inside = np.hypot(*(np.indices(turned.shape) - centre[:, None, None])) < 23
    found = ndimage.center_of_mass(turned * inside)
    expected = place((180 - bearing if flip else bearing) + angle)
    assert_allclose(found, expected, atol=0.1)


@given(st.integers(2, 12), st.sampled_from([90, 180, -90]))
def test_quarter_turns_of_a_square_move_pixels_only(side, angle):
    image = make_images(1, height=side, width=side, dtype=torch.float64)
    turned = rotate(image, torch.tensor([float(angle)]))
    assert_allclose(turned, torch.rot90(image, angle // 90, (2, 3)), atol=1e-6)


def test_corners_that_turn_into_view_are_not_black():
    flat = torch.full((1, 1, 40, 60), 90, dtype=torch.uint8)
    assert_array_equal(RandomAugmentation.apply(flat, draws_of(angle=[35.0])), flat)
    noise = 100 + 50 * make_images(1, height=40, width=60, dtype=torch.float32)
    corners = rotate(noise, torch.tensor([10.0]))[..., [0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.min() >= 100


def bilinear(image, angle):
    return ndimage.rotate(image, angle, reshape=False, order=1, mode="reflect")


def test_rotation_keeps_more_of_the_finest_texture_than_bilinear_interpolation():
    noise = torch.randn(1, 1, 400, 400, generator=seeded())

    def energy(image):
        return np.square(np.diff(np.asarray(image), axis=-1)).mean()

    rotated = rotate(noise, torch.tensor([5.0]))
    assert energy(rotated) / energy(noise) == pytest.approx(0.63, abs=0.01)
    reference = bilinear(noise[0, 0].numpy(), 5)
    assert energy(reference) / energy(noise) == pytest.approx(0.34, abs=0.01)


def test_rotation_smooths_the_texture_of_phantoms_as_documented():
    phantoms = make_dxa_phantoms(24, random_state=0)
    crops = LumbarCropper().transform(phantoms.images, boxes=phantoms.boxes)
    crops = torch.from_numpy(crops)[:, None].float()
    rotated = rotate(crops, torch.full((24,), 5.0))

    def slopes(images):
        return np.array([initial_slope(np.asarray(i)[55:-55, 75:-75]) for i in images])

    before = slopes(crops[:, 0])
    assert np.mean(slopes(rotated[:, 0]) - before) == pytest.approx(0.04, abs=0.01)
    reference = slopes([bilinear(crop.numpy(), 5) for crop in crops[:, 0]])
    assert np.mean(reference - before) == pytest.approx(0.13, abs=0.02)
    assert np.std(before) < 0.15


@pytest.mark.parametrize("dtype", DTYPES)
def test_brightness_multiplies_the_grey_levels(dtype):
    images = make_images(2, dtype=dtype)
    changed = RandomAugmentation.apply(images, draws_of([0, 0], [0, 0], [0.7, 1.3]))
    factor = np.array([0.7, 1.3], dtype=np.float32)[:, None, None, None]
    expected, tolerance = as_float(images) * factor, 1e-6
    if not dtype.is_floating_point:
        expected = np.minimum(expected, torch.iinfo(dtype).max)
        tolerance = 0.51  # rounded, not cut off
    assert changed.dtype == dtype
    assert_allclose(as_float(changed), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_integer_levels_neither_wrap_nor_leave_their_range(dtype):
    images = make_images(64, dtype=dtype)
    augmentation = RandomAugmentation(brightness=(0.4, 0.4))
    draws = augmentation.draw(64, seeded())
    augmented = as_float(augmentation.apply(images, draws))
    darker = (draws.brightness < 1).numpy()
    top = torch.iinfo(dtype).max
    assert augmented[~darker].max() == top
    assert augmented[darker].max() <= np.ceil(0.6 * top)
    before, after = as_float(images).mean((1, 2, 3)), augmented.mean((1, 2, 3))
    assert_array_equal(after < before, darker)


@settings(deadline=None)
@given(st.floats(-180, 180, width=32), st.integers(1, 30), st.integers(1, 30))
def test_rotation_keeps_floating_point_levels_in_the_images_own_range(angle, h, w):
    images = 5 * make_images(2, 2, h, w, torch.float32) - 3
    rotated = rotate(images, torch.tensor([angle, angle / 2]))
    assert (rotated.amin((2, 3)) >= images.amin((2, 3))).all()
    assert (rotated.amax((2, 3)) <= images.amax((2, 3))).all()


def test_the_images_given_are_not_written_to():
    images = make_images(dtype=torch.float32)
    kept = images.clone()
    augmentation = RandomAugmentation()
    augmentation.apply(images, augmentation.draw(6, seeded()))
    assert torch.equal(images, kept)


# Parameters and errors


@pytest.mark.parametrize(
    ("parameter", "error", "match"),
    [
        ({"horizontal_flip": 1.5}, ValueError, "Expected horizontal_flip .* got 1.5"),
        ({"rotation": -1}, ValueError, "Expected rotation .* got -1"),
        ({"rotation": "10"}, TypeError, "Expected rotation .* got '10'"),
        ({"brightness": 0.4}, TypeError, r"\(0.10, 0.40\), or None, got 0.4"),
        ({"brightness": (0.1, 1)}, ValueError, r"brightness\[1\] .* got 1"),
        (
            {"brightness": (0.4, 0.1)},
            ValueError,
            r"brightness\[1\] .* at least 0.4 and below 1, got 0.1",
        ),
    ],
)
def test_a_parameter_out_of_range_is_refused_when_drawing(parameter, error, match):
    augmentation = RandomAugmentation(**parameter)  # scikit-learn's rule: not here
    with pytest.raises(error, match=match):
        augmentation.draw(2, seeded())


@pytest.mark.parametrize(
    ("images", "error", "match"),
    [
        (torch.zeros(2, 8, 8), ValueError, r"got \(2, 8, 8\).*images\[:, None\]"),
        (torch.zeros(3, 1, 8, 8), ValueError, "for 3 images, got draws for 2"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), TypeError, "torch.int64"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, error, match):
    draws = RandomAugmentation().draw(2, seeded())
    with pytest.raises(error, match=match):
        RandomAugmentation.apply(images, draws)


def test_parameters_can_be_cloned_and_searched():
    sampler = AugmentationSampler(RandomAugmentation(), random_state=1)
    copied = clone(sampler).set_params(augmentation__rotation=30)
    assert copied.get_params()["augmentation__rotation"] == 30
    assert sampler.augmentation.rotation == 10
    assert repr(copied.augmentation) == "RandomAugmentation(rotation=30)"


# Adding copies


def numbered_scans(n, height=6, width=5):
    """Return scans that each have a grey level of their own."""
    levels = np.arange(n, dtype=np.uint16)[:, None, None]
    return np.broadcast_to(levels, (n, height, width)).copy()


def resample(X, y, n_copies, augmentation=None, random_state=0):
    sampler = AugmentationSampler(
        augmentation, n_copies=n_copies, random_state=random_state
    )
    return *sampler.fit_resample(X, y), sampler


def test_originals_come_first_and_copies_after_them():
    X, y = numbered_scans(9), np.array(list("nndnnndnn"))
    X_new, y_new, sampler = resample(
        X, y, {"d": 5, "n": 2}, RandomAugmentation(**NOTHING)
    )
    rows = sampler.sample_indices_
    assert X_new.dtype == X.dtype
    assert_array_equal(rows[:9], np.arange(9))
    assert_array_equal(X_new, X[rows])  # nothing is augmented here
    assert_array_equal(y_new, y[rows])
    assert sampler.n_copies_ == {"d": 5, "n": 2}
    assert_array_equal(y_new[9:], list("dddddnn"))


def test_copies_differ_from_their_originals_and_from_each_other():
    X = make_images(4)[:, 0].numpy()
    X_new, _, sampler = resample(X, [0, 1, 0, 1], {1: 6})
    assert_array_equal(X_new[:4], X)
    assert len({scan.tobytes() for scan in X_new}) == 10
    assert set(sampler.sample_indices_[4:]) == {1, 3}


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=2, max_size=4),
    st.lists(st.integers(0, 20), min_size=4, max_size=4),
    st.integers(0, 100),
)
def test_copies_have_their_numbers_and_originals_take_turns(counts, wanted, seed):
    y = np.random.default_rng(seed).permutation(np.repeat(range(len(counts)), counts))
    strategy = dict(zip(range(len(counts)), wanted, strict=False))
    _, y_new, sampler = resample(numbered_scans(len(y)), y, strategy, None, seed)
    uses = np.bincount(sampler.sample_indices_[len(y) :], minlength=len(y))
    for code, n_copies in strategy.items():
        assert np.sum(y_new[len(y) :] == code) == n_copies
        assert np.ptp(uses[y == code]) <= 1


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.01, 0.95))
def test_a_share_is_reached_or_refused(n_normal, n_degraded, share):
    y = np.repeat([0, 1], [n_normal, n_degraded])
    X = numbered_scans(len(y), 1, 1)
    no_change = RandomAugmentation(**NOTHING)
    wanted = share * n_normal / (1 - share)
    if round(wanted) < n_degraded:
        with pytest.raises(ValueError, match=r"n_copies\[1\] .* larger share"):
            resample(X, y, {1: share}, no_change)
        return
    _, y_new, _ = resample(X, y, {1: share}, no_change)
    assert abs(np.sum(y_new == 1) - wanted) <= 0.5 + 1e-9
    assert np.sum(y_new == 0) == n_normal


def test_shares_of_several_classes_are_reached_together():
    y = np.repeat([0, 1, 2], [60, 20, 5])
    _, y_new, _ = resample(numbered_scans(85), y, {1: 0.3, 2: 0.2})
    assert_array_equal(np.bincount(y_new), [60, 36, 24])


@pytest.mark.parametrize(
    ("normal", "degraded", "copies"),
    [(979, 148, {0: 225, 1: 563}), (140, 21, {0: 32, 1: 80})],
    ids=["train", "validation"],
)
def test_table_i_of_the_paper_comes_out(normal, degraded, copies):
    y = np.repeat([0, 1], [normal, degraded])
    _, y_new, _ = resample(numbered_scans(len(y), 2, 2), y, copies)
    assert len(y_new) == normal + degraded + sum(copies.values())
    assert y_new.mean() == pytest.approx(0.37, abs=0.005)


def test_auto_brings_classes_to_the_size_of_the_largest():
    _, y_new, _ = resample(numbered_scans(9), np.repeat([0, 1, 2], [5, 1, 3]), "auto")
    assert_array_equal(np.bincount(y_new), [5, 5, 5])


def test_patients_follow_their_scans():
    patient = np.array(["a", "a", "b", "c", "d"])
    y = np.array([0, 0, 0, 1, 1])
    _, y_new, sampler = resample(numbered_scans(5), y, {1: 4})
    groups = patient[sampler.sample_indices_]
    assert set(groups[y_new == 1]) == {"c", "d"}
    assert set(groups[y_new == 0]) == {"a", "b"}


def test_the_same_random_state_gives_the_same_copies():
    X, y = make_images(5)[:, 0].numpy(), [0, 0, 0, 1, 1]
    first, _, _ = resample(X, y, {1: 9}, random_state=7)
    again, _, _ = resample(X, y, {1: 9}, random_state=7)
    other, _, _ = resample(X, y, {1: 9}, random_state=8)
    assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("shape", [(6, 5), (1, 6, 5), (3, 6, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_form_and_depth_of_the_scans_are_kept(shape, dtype):
    X = np.random.default_rng(0).integers(200, size=(4, *shape)).astype(dtype)
    X_new, _, _ = resample(X, [0, 0, 0, 1], "auto")
    assert X_new.shape == (6, *shape)
    assert X_new.dtype == dtype


def test_scans_may_come_one_by_one_or_in_a_table():
    X = numbered_scans(4)
    y = pd.Series([0, 0, 0, 1])
    from_array, y_new, _ = resample(X, y, "auto")
    from_list, _, _ = resample(list(X), y, "auto")
    from_table, _, _ = resample(pd.DataFrame({"image": list(X)}), y, "auto")
    assert_array_equal(from_list, from_array)
    assert_array_equal(np.stack(from_table["image"]), from_array)
    assert_array_equal(y_new, [0, 0, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("strategy", "error", "match"),
    [
        ("balanced", ValueError, "Expected n_copies .*, got 'balanced'"),
        ({2: 5}, ValueError, r"classes in y, \[0, 1\], got \[2\]"),
        ({1: -5}, ValueError, r"n_copies\[1\] .* got -5"),
        ({1: True}, TypeError, r"n_copies\[1\] .* got True"),
        ({1: 1.0}, ValueError, r"n_copies\[1\] .* got 1.0"),
        ({0: 0.5, 1: 0.5}, ValueError, "Leave one class out"),
        ({1: 0.2}, ValueError, "asks for 1 of 4 scans, but y holds 2"),
    ],
)
def test_a_strategy_that_cannot_be_met_is_refused(strategy, error, match):
    with pytest.raises(error, match=match):
        resample(numbered_scans(5), [0, 0, 0, 1, 1], strategy)


def test_features_are_not_taken_for_scans():
    with pytest.raises(ValueError, match=r"Expected X .* got \(4, 7\)"):
        resample(np.ones((4, 7)), [0, 0, 1, 1], "auto")


# Inside imbalanced-learn's Pipeline


def imblearn_pipeline(steps):
    reason = "imbalanced-learn is not installed"
    return pytest.importorskip("imblearn.pipeline", reason=reason).Pipeline(steps)


class Recorder(LogisticRegression):
    """Remembers how many scans of each class it was fitted and scored on."""

    def fit(self, X, y):
        self.fitted_on_ = np.bincount(y).tolist()
        return super().fit(X, y)

    def score(self, X, y):
        self.scored_on_ = np.bincount(y).tolist()
        return super().score(X, y)


def spread_of_each(images):
    images = images.reshape(len(images), -1)
    return np.stack([images.std(axis=1), np.ptp(images, axis=1)], axis=1) / 255


def test_scans_held_out_in_a_pipeline_are_never_augmented(spines):
    pipeline = imblearn_pipeline(
        [
            ("sample", AugmentationSampler(n_copies={1: 20}, random_state=0)),
            ("features", FunctionTransformer(spread_of_each)),
            ("classify", Recorder()),
        ]
    ).fit(spines.X, spines.y)
    assert pipeline["classify"].fitted_on_ == [16, 36]
    pipeline.score(spines.X[:10], spines.y[:10])
    assert pipeline["classify"].scored_on_ == [5, 5]


def test_a_grid_is_searched_over_the_sampler_in_a_pipeline(spines):
    pipeline = imblearn_pipeline(
        [
            ("sample", AugmentationSampler(RandomAugmentation(), random_state=0)),
            ("classify", small_adhoc(max_epochs=2, early_stopping=False)),
        ]
    )
    search = GridSearchCV(
        pipeline,
        {
            "sample__augmentation__rotation": [0, 10],
            "sample__n_copies": [{1: 10}, {1: 0.6}],
        },
        cv=StratifiedGroupKFold(2),
        error_score="raise",
    ).fit(spines.X, spines.y, groups=spines.patient)
    assert len(search.cv_results_["params"]) == 4
    assert search.predict(spines.X).shape == (32,)
    assert len(search.best_estimator_["sample"].sample_indices_) in (42, 40)


# Tables: boxes go with their copies


def box_columns_of(table):
    return [name for name in table if name.endswith(("top", "left", "bottom", "right"))]


def test_a_table_comes_back_as_a_table_that_crops_originals_as_before():
    phantoms = make_dxa_phantoms(10, random_state=0)
    y = np.repeat([0, 1], [7, 3])
    sampler = AugmentationSampler(random_state=0)
    table, y_new = sampler.fit_resample(phantoms.frame, y)
    assert table.columns.tolist() == phantoms.frame.columns.tolist()
    assert table.index.tolist() == list(range(14))
    assert_array_equal(table["tbs"], phantoms.tbs[sampler.sample_indices_])
    assert_array_equal(y_new, y[sampler.sample_indices_])
    cropper = LumbarCropper(64, scale="fit")
    crops = cropper.transform(table)
    assert_array_equal(crops[:10], cropper.transform(phantoms.frame))
    from_array, _ = AugmentationSampler(random_state=0).fit_resample(phantoms.images, y)
    assert_array_equal(np.stack(table["image"]), from_array)


def bright_box(height, width, box):
    image = np.zeros((height, width), np.uint8)
    top, left, bottom, right = box
    image[top:bottom, left:right] = 200
    return image


def lone_copy(table, augmentation):
    """Return the row of the one copy of a table's second scan."""
    sampler = AugmentationSampler(augmentation, n_copies={1: 1}, random_state=0)
    return sampler.fit_resample(table, [0, 1])[0].iloc[-1]


def test_a_mirrored_copy_has_a_mirrored_box():
    box = [10, 5, 30, 20]
    image = bright_box(40, 50, box)
    sides = ["top", "left", "bottom", "right"]
    table = pd.DataFrame([box] * 2, columns=sides)
    table["image"] = [image] * 2
    flip = RandomAugmentation(1.0, rotation=0, brightness=None)
    copy = lone_copy(table, flip)
    assert copy[sides].tolist() == [10, 30, 30, 45]
    assert (copy["image"][10:30, 30:45] == 200).all()


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-60, 60),
    st.booleans(),
    st.integers(30, 50),
    st.integers(30, 50),
)
def test_a_turned_copy_has_the_hull_of_its_turned_box(angle, flip, height, width):
    box = np.array([[12, 9, 18, 21]])
    image = torch.from_numpy(bright_box(height, width, box[0]))[None, None].float()
    draws = draws_of([flip], [angle])
    turned = RandomAugmentation.apply(image, draws)[0, 0].numpy()
    moved = move_boxes(box, [(height, width)], draws)[0]
    # Reflection at the border may show a second box in a corner.
    boxes, _ = ndimage.label(turned > 100)
    middle = ((moved[:2] + moved[2:]) / 2).astype(int)
    rows, columns = np.nonzero(boxes == boxes[tuple(middle)])
    found = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert_allclose(moved, found, atol=1.6)


def test_boxes_are_cut_at_the_border_and_unknown_ones_stay_unknown():
    boxes = np.array([[0.0, 0, 40, 50], [0, 48, 1, 50], [np.nan] * 4])
    draws = draws_of([0, 0, 0], [30.0, 45.0, 30.0])
    moved = move_boxes(boxes, [(40, 50)] * 3, draws)
    assert_array_equal(moved[0], [0, 0, 40, 50])
    assert np.isnan(moved[1:]).all()


def test_label_maps_are_refused_since_copies_would_not_fit_them():
    scans = list(numbered_scans(3))
    table = pd.DataFrame({"image": scans, "Mask": scans})
    with pytest.raises(ValueError, match=r"label maps.* column 'Mask'"):
        AugmentationSampler(random_state=0).fit_resample(table, [0, 0, 1])


def test_a_table_without_boxes_needs_none():
    table = pd.DataFrame({"image": list(numbered_scans(3))})
    new, _ = AugmentationSampler(random_state=0).fit_resample(table, [0, 0, 1])
    assert new.columns.tolist() == ["image"]
    assert len(new) == 4


def test_images_of_unequal_sizes_are_augmented_one_by_one():
    rng = np.random.default_rng(0)
    scans = [rng.integers(255, size=(8, w)).astype(np.uint8) for w in (9, 12, 9)]
    table = pd.DataFrame({"image": pd.Series(scans, dtype=object)})
    new, _ = AugmentationSampler(random_state=0).fit_resample(table, [0, 0, 1])
    assert [image.shape for image in new["image"]] == [(8, 9), (8, 12), (8, 9), (8, 9)]
    assert_array_equal(scans[2], new["image"][2])
    assert (new["image"][3] != scans[2]).any()
    as_list, _ = AugmentationSampler(random_state=0).fit_resample(scans, [0, 0, 1])
    assert_array_equal(as_list[3], new["image"][3])


class Table:
    """Stands in for a table of another library, such as polars."""

    def __init__(self, columns):
        self._series = {name: pd.Series(c, dtype=object) for name, c in columns.items()}
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._series[name]

    def __len__(self):
        return len(self._series[self.columns[0]])


def test_another_librarys_table_is_resampled_alike():
    columns = {"image": list(numbered_scans(3)), "top": [1, 1, 1], "left": [1, 1, 1]}
    columns |= {"bottom": [3, 3, 3], "right": [3, 3, 4]}
    sampler = AugmentationSampler(random_state=0)
    other, _ = sampler.fit_resample(Table(columns), [0, 0, 1])
    pandas, _ = sampler.set_params(random_state=0).fit_resample(
        pd.DataFrame(columns), [0, 0, 1]
    )
    assert_array_equal(other[box_columns_of(other)], pandas[box_columns_of(pandas)])
    assert_array_equal(np.stack(other["image"]), np.stack(pandas["image"]))


def test_depths_are_not_mixed():
    mixed = [*numbered_scans(2).astype(np.uint8), numbered_scans(1)[0]]
    with pytest.raises(ValueError, match=r"uint8 and uint16 \(index 2\)"):
        resample(mixed, [0, 1, 1], "auto")


def test_a_pipeline_crops_copies_around_their_own_boxes(spines):
    box = [2.0, 3.0, 20.0, 23.0]
    table = pd.DataFrame({"image": list(spines.X)})
    table[["top", "left", "bottom", "right"]] = box
    pipeline = imblearn_pipeline(
        [
            ("sample", AugmentationSampler(n_copies={1: 8}, random_state=0)),
            ("crop", LumbarCropper(24)),
            ("features", FunctionTransformer(spread_of_each)),
            ("classify", Recorder()),
        ]
    ).fit(table, spines.y)
    assert pipeline["classify"].fitted_on_ == [16, 24]
    assert pipeline.predict(table).shape == (32,)


def test_a_number_of_copies_is_that_of_each_scan():
    X = np.random.default_rng(0).integers(256, size=(5, 8, 8), dtype=np.uint8)
    sampler = AugmentationSampler(n_copies=3, random_state=0)
    _, y = sampler.fit_resample(X, [0, 0, 0, 1, 1])
    assert sampler.n_copies_ == {0: 9, 1: 6}
    assert np.bincount(sampler.sample_indices_).tolist() == [4] * 5
    assert np.bincount(y).tolist() == [12, 8]


@pytest.mark.parametrize(
    ("n_copies", "message"),
    [({1: 2.5}, "an integer, the copies to add, or a share below 1"), (2.5, "auto")],
)
def test_copies_that_are_no_number_of_scans_are_refused(n_copies, message):
    X = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises((TypeError, ValueError), match=message):
        AugmentationSampler(n_copies=n_copies).fit_resample(X, [0, 0, 1, 1])


def test_an_augmentation_that_is_none_is_refused():
    X = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(TypeError, match="Expected augmentation to be a RandomAugment"):
        AugmentationSampler("x", n_copies=1).fit_resample(X, [0, 0, 1, 1])


@pytest.mark.parametrize("dtype", ["Int64", "boolean"])
def test_nullable_labels_keep_their_kind(dtype):
    y = pd.array([0, 0, 0, 1], dtype="Int64").astype(dtype)
    sampler = AugmentationSampler(random_state=0)
    _, y_new = sampler.fit_resample(np.zeros((4, 8, 8), np.uint8), y)
    assert y_new.dtype.kind == {"Int64": "i", "boolean": "b"}[dtype]
    assert sampler.n_copies_ == {0: 0, 1: 2}
