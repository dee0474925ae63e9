from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.texture import (
    DIRECTIONS,
    VariogramFeatures,
    initial_slope,
    make_texture_classifier,
    variogram,
)

ROWS, COLUMNS, DOWNWARDS, UPWARDS = range(4)  # places in DIRECTIONS
LEVELS = ("L1", "L2", "L3", "L4")
SIDES = ("top", "left", "bottom", "right")

grey_images = arrays(
    np.uint8,
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    elements=st.integers(0, 255),
)
few_examples = settings(max_examples=40, deadline=None)


@lru_cache
def fractional_covariance_factor(hurst, size):
    """Cholesky factor of the covariance of a fractional Brownian surface."""
    points = np.indices((size, size)).reshape(2, -1).T + 1.0
    from_origin = np.hypot(*points.T) ** (2 * hurst)
    apart = np.hypot(*(points[:, None] - points).T) ** (2 * hurst)
    return np.linalg.cholesky(from_origin[:, None] + from_origin - apart)


def fractional_surface(hurst, seed, size=40):
    """Exact sample of a surface with the variogram ``2 * |h|**(2 * hurst)``."""
    white = np.random.default_rng(seed).normal(size=size**2)
    factor = fractional_covariance_factor(hurst, size)
    return (factor @ white).reshape(size, size)


def smooth_noise(shape, seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return noise + np.cumsum(np.cumsum(noise, axis=0), axis=1) / 10


def naive_variogram(image, lags, mask):
    height, width = image.shape
    result = np.full((len(DIRECTIONS), len(lags)), np.nan)
    for i, (dy, dx) in enumerate(DIRECTIONS):
        for j, k in enumerate(lags):
            squares = []
            for y in range(height):
                for x in range(width):
                    y2, x2 = y + k * dy, x + k * dx
                    inside = 0 <= y2 < height and 0 <= x2 < width
                    if inside and mask[y, x] and mask[y2, x2]:
                        squares.append((float(image[y, x]) - float(image[y2, x2])) ** 2)
            if squares:
                result[i, j] = np.mean(squares)
    return result


@pytest.fixture(scope="module")
def spine():
    """Image with four vertebrae, their boxes and their label map."""
    image = smooth_noise((170, 80))
    boxes = np.array([[4 + 40 * i, 15, 38 + 40 * i, 65] for i in range(4)], dtype=float)
    labels = np.zeros(image.shape, dtype=np.uint8)
    for i, (top, left, bottom, right) in enumerate(boxes.astype(int)):
        labels[top:bottom, left:right] = i + 1
    return image, boxes, labels


# The variogram


@few_examples
@given(image=grey_images, data=st.data())
def test_variogram_equals_a_double_loop_over_pixels(image, data):
    mask = data.draw(arrays(bool, image.shape))
    lags = [1, 2, 5, 9]
    expected = naive_variogram(image, lags, mask)
    assert_allclose(variogram(image, lags, mask=mask), expected)


@pytest.mark.filterwarnings("default")
def test_variogram_is_twice_the_semivariogram_of_gstools():
    gstools = pytest.importorskip("gstools")
    image = smooth_noise((23, 31))
    ours = variogram(image, lags=6)
    down, right = (gstools.vario_estimate_axis(image, direction=d) for d in ("x", "y"))
    assert_allclose(ours[COLUMNS], 2 * down[1:7])
    assert_allclose(ours[ROWS], 2 * right[1:7])


@pytest.mark.filterwarnings("default")
def test_masked_variogram_is_twice_the_semivariogram_of_gstools():
    gstools = pytest.importorskip("gstools")
    image = smooth_noise((23, 31))
    mask = np.random.default_rng(1).random(image.shape) < 0.7
    masked = np.ma.array(image, mask=~mask)
    ours = variogram(image, lags=6, mask=mask)
    down, right = (gstools.vario_estimate_axis(masked, direction=d) for d in ("x", "y"))
    assert_allclose(ours[COLUMNS], 2 * down[1:7])
    assert_allclose(ours[ROWS], 2 * right[1:7])


@few_examples
@given(image=grey_images)
def test_flipping_swaps_the_diagonals_and_nothing_else(image):
    swapped = [ROWS, COLUMNS, UPWARDS, DOWNWARDS]
    for flipped in (image[::-1], image[:, ::-1]):
        assert_allclose(variogram(flipped, 4), variogram(image, 4)[swapped])


@few_examples
@given(image=grey_images)
def test_transposing_swaps_rows_and_columns(image):
    swapped = [COLUMNS, ROWS, DOWNWARDS, UPWARDS]
    assert_allclose(variogram(image.T, 4), variogram(image, 4)[swapped])


def test_opposite_directions_have_one_variogram():
    image = smooth_noise((12, 15))
    there = variogram(image, 3, directions=[(2, -1), (0, 1)])
    back = variogram(image, 3, directions=[(-2, 1), (0, -1)])
    assert_allclose(there, back)


def test_variogram_of_white_noise_is_twice_its_variance_at_every_lag():
    noise = np.random.default_rng(0).normal(scale=3, size=(400, 400))
    assert_allclose(variogram(noise, 5), 18, rtol=0.03)


def test_unsigned_grey_levels_do_not_wrap_around():
    image = np.array([[0, 255]], dtype=np.uint8)
    assert variogram(image, 1)[ROWS, 0] == 255**2


def test_lags_without_pairs_are_nan():
    assert_array_equal(np.isnan(variogram(np.ones((3, 5)), 5)[ROWS]), [0, 0, 0, 0, 1])


def test_distances_are_the_lengths_of_the_displacements():
    _, distances = variogram(np.ones((9, 9)), [1, 3], return_distances=True)
    assert_allclose(distances[[ROWS, COLUMNS]], [[1, 3], [1, 3]])
    assert_allclose(distances[[DOWNWARDS, UPWARDS]], np.sqrt(2) * distances[:2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lags": 0}, r"Expected lags .* got 0\."),
        ({"lags": []}, "Expected lags .* got none"),
        ({"lags": [1, -2]}, r"Expected lags .* got -2\."),
        ({"mask": np.ones((2, 2), bool)}, r"Expected mask .* got shape \(2, 2\)"),
        ({"mask": np.ones((4, 4))}, "dtype float64"),
        ({"mask": "L1.png"}, "got a str. Read masks from their files first"),
        ({"mask": np.nan}, "got a float.* put None where a scan has none"),
        ({"directions": [(0, 0)]}, "no step"),
        ({"directions": [(0.5, 1)]}, "pairs of integers"),
        ({"directions": (0, 1)}, "pairs of integers"),
        ({"image": np.ones((4, 4, 3))}, "dim 3"),
        ({"image": np.full((4, 4), np.nan)}, "image contains NaN"),
    ],
)
def test_variogram_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        variogram(**({"image": np.ones((4, 4))} | arguments))


def test_a_fractional_number_of_lags_is_refused():
    with pytest.raises(TypeError, match=r"Expected lags .* got 2\.5"):
        variogram(np.ones((4, 4)), 2.5)


# The slope


@pytest.mark.parametrize("hurst", [0.3, 0.5, 0.7])
def test_slope_of_a_fractional_brownian_surface_is_twice_its_hurst_exponent(hurst):
    slopes = [initial_slope(fractional_surface(hurst, seed)) for seed in range(30)]
    assert np.mean(slopes) == pytest.approx(2 * hurst, abs=0.03)


def test_variogram_of_a_fractional_brownian_surface_is_its_power_law():
    hurst = 0.3  # a larger one makes distant pixels agree, and samples vary more
    surfaces = [fractional_surface(hurst, seed) for seed in range(30)]
    values = np.mean([variogram(surface, 4) for surface in surfaces], axis=0)
    _, distances = variogram(surfaces[0], 4, return_distances=True)
    assert_allclose(values, 2 * distances ** (2 * hurst), rtol=0.1)


def test_slope_of_a_plane_is_two():
    y, x = np.mgrid[:30, :30]
    assert initial_slope(2.0 * y + x, lag_range=(1, 6)) == pytest.approx(2, abs=0.05)


def test_slope_of_white_noise_is_zero():
    noise = np.random.default_rng(0).normal(size=(300, 300))
    assert initial_slope(noise) == pytest.approx(0, abs=0.02)


def test_noise_lowers_the_slope_and_blur_raises_it():
    surface = fractional_surface(0.5, seed=0)
    surface /= surface.std()
    noisy = surface + np.random.default_rng(0).normal(scale=0.2, size=surface.shape)
    assert initial_slope(noisy) < initial_slope(surface) - 0.2
    assert initial_slope(surface, sigma=1) > initial_slope(surface) + 0.2


def test_robust_slope_moves_less_with_noise_than_the_plain_one():
    surface = fractional_surface(0.5, seed=0)
    surface /= surface.std()
    noisy = surface + np.random.default_rng(0).normal(scale=0.2, size=surface.shape)
    robust = {"sigma": 0.8, "lag_range": (3, 8)}
    plain_change = initial_slope(surface) - initial_slope(noisy)
    robust_change = initial_slope(surface, **robust) - initial_slope(noisy, **robust)
    assert abs(robust_change) < plain_change / 2


@few_examples
@given(gain=st.floats(0.01, 100), negative=st.booleans(), offset=st.floats(-1e3, 1e3))
def test_slope_does_not_change_with_linear_changes_of_grey_levels(
    gain, negative, offset
):
    image = smooth_noise((20, 25))
    changed = (-gain if negative else gain) * image + offset
    assert initial_slope(changed) == pytest.approx(initial_slope(image), abs=1e-6)


@few_examples
@given(image=grey_images)
def test_slope_does_not_change_with_flips_and_transposition(image):
    slope = initial_slope(image)
    for turned in (image[::-1], image[:, ::-1], image.T):
        assert initial_slope(turned) == pytest.approx(slope, abs=1e-9, nan_ok=True)


def test_slope_is_the_mean_over_the_boxes(spine):
    image, boxes, _ = spine
    singly = [initial_slope(image, boxes=box) for box in boxes]
    assert_allclose(initial_slope(image, boxes=boxes, average=False), singly)
    assert initial_slope(image, boxes=boxes) == pytest.approx(np.mean(singly))


def test_slope_sees_only_the_inside_of_a_box_less_its_margin(spine):
    image, boxes, _ = spine
    top, left, bottom, right = boxes[1].astype(int)
    inside = np.s_[top + 3 : bottom - 3, left + 3 : right - 3]
    outside_changed = np.full_like(image, 1e6)
    outside_changed[inside] = image[inside]
    slope = initial_slope(outside_changed, boxes=boxes[1], margin=3)
    assert slope == pytest.approx(initial_slope(image[inside]))


def test_a_box_between_pixels_shrinks_to_whole_pixels(spine):
    image, _, _ = spine
    between = initial_slope(image, boxes=[9.2, 10.9, 50.8, 60.1], margin=0)
    assert between == pytest.approx(initial_slope(image[10:50, 11:60]))


def test_a_box_beyond_the_image_ends_at_its_border(spine):
    image, _, _ = spine
    beyond = initial_slope(image, boxes=[-9, -9, 50, 500], margin=2)
    assert beyond == pytest.approx(initial_slope(image[:48]))


@pytest.mark.parametrize("margin", [0, 3])
def test_label_map_and_boxes_of_the_same_regions_agree(spine, margin):
    image, boxes, labels = spine
    by_boxes = initial_slope(image, boxes=boxes, margin=margin, average=False)
    by_labels = initial_slope(image, mask=labels, margin=margin, average=False)
    assert_allclose(by_labels, by_boxes)


def test_the_border_of_the_image_is_no_wall_of_a_labelled_vertebra(spine):
    image, _, _ = spine
    labels = np.zeros(image.shape, dtype=int)
    labels[:30] = 1
    slope = initial_slope(image, mask=labels, margin=4)
    assert slope == pytest.approx(initial_slope(image[:26]))


def test_mask_of_bool_is_one_vertebra(spine):
    image, _, labels = spine
    expected = initial_slope(image, mask=labels, labels=[2])
    assert initial_slope(image, mask=labels == 2) == pytest.approx(expected)


def test_vertebrae_outside_the_labels_are_left_out(spine):
    image, _, labels = spine
    each = initial_slope(image, mask=labels, average=False)
    upper = initial_slope(image, mask=labels, labels=(1, 2))
    assert upper == pytest.approx(each[:2].mean())


def test_unknown_vertebrae_are_left_out_of_the_mean(spine):
    image, boxes, _ = spine
    partly = boxes.copy()
    partly[2] = np.nan
    each = initial_slope(image, boxes=partly, average=False)
    assert np.isnan(each[2])
    expected = initial_slope(image, boxes=boxes[[0, 1, 3]])
    assert initial_slope(image, boxes=partly) == pytest.approx(expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": np.full((20, 20), 7)},
        {"boxes": np.full((4, 4), np.nan)},
        {"boxes": [5, 5, 10, 10]},
        {"mask": np.zeros((20, 20), int)},
        {"image": np.ones((1, 1))},
    ],
    ids=["constant", "no box known", "box within its margins", "no label", "a pixel"],
)
def test_slope_is_nan_where_there_is_none(arguments):
    assert np.isnan(initial_slope(**({"image": smooth_noise((20, 20))} | arguments)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"boxes": [0, 0, 9, 9], "mask": np.ones((20, 20), int)},
            "Expected boxes or mask, got both",
        ),
        ({"lag_range": (1, 1)}, "two lags at least"),
        ({"lag_range": (6, 1)}, "two lags at least"),
        ({"lag_range": 6}, "two numbers"),
        ({"sigma": -1}, r"Expected sigma .* got -1\."),
        ({"margin": -1}, r"Expected margin .* got -1\."),
        ({"boxes": [0, 0, 9]}, "Expected boxes to have shape"),
    ],
)
def test_slope_refuses_what_it_cannot_use(arguments, message):
    with pytest.raises(ValueError, match=message):
        initial_slope(smooth_noise((20, 20)), **arguments)


def test_noise_takes_the_plain_slope_apart_before_the_robust_one():
    def shared_with_tbs(scans, **parameters):
        pairs = zip(scans.images, scans.boxes, strict=True)
        slopes = [initial_slope(scan, boxes=box, **parameters) for scan, box in pairs]
        return np.corrcoef(slopes, scans.tbs_latent)[0, 1] ** 2

    robust = {"sigma": 0.8, "lag_range": (3, 8)}
    clean, noisy = (
        make_dxa_phantoms(70, noise=noise, random_state=0) for noise in (0, 0.05)
    )
    assert shared_with_tbs(clean) > shared_with_tbs(clean, **robust)
    assert shared_with_tbs(noisy) < shared_with_tbs(noisy, **robust) - 0.1


# The features

NO_FEATURE_COUNT = (
    "Images are described whatever their size, and nothing is learnt in fit: there "
    "is no number of input features to keep to."
)


@parametrize_with_checks(
    [VariogramFeatures()],
    expected_failed_checks=lambda estimator: {
        "check_n_features_in": NO_FEATURE_COUNT,
        "check_n_features_in_after_fitting": NO_FEATURE_COUNT,
    },
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_features_are_mean_log_variograms_of_the_boxes(spine):
    image, boxes, _ = spine
    features = VariogramFeatures(margin=2).transform([image], boxes=[boxes])
    each = [
        np.log(variogram(image[top + 2 : bottom - 2, left + 2 : right - 2]))
        for top, left, bottom, right in boxes.astype(int)
    ]
    assert_allclose(features[0], np.mean(each, axis=0).ravel())


def test_features_without_boxes_are_those_of_the_central_region():
    image = smooth_noise((100, 100))
    features = VariogramFeatures(central_region=(0.6, 0.4)).transform(image[None])
    assert_allclose(features[0], np.log(variogram(image[20:80, 30:70])).ravel())


def test_vertebrae_and_scans_without_boxes_may_be_mixed(spine):
    image, boxes, _ = spine
    partly, none = boxes.copy(), np.full_like(boxes, np.nan)
    partly[1:] = np.nan
    transform = VariogramFeatures().transform
    with pytest.warns(UserWarning, match=r"others none\. Those without are described"):
        together = transform([image] * 3, boxes=[boxes, partly, none])
    assert_allclose(together[0], transform([image], boxes=[boxes])[0])
    assert_allclose(together[1], transform([image], boxes=[boxes[:1]])[0])
    assert_allclose(together[2], transform([image])[0])


def test_boxes_travel_in_a_table(spine):
    image, boxes, _ = spine
    names = [f"{level}_{side}" for level in LEVELS for side in SIDES]
    table = pd.DataFrame([boxes.ravel()] * 2, columns=names, index=["a", "b"])
    table["image"] = [image, image[:, ::-1]]
    expected = VariogramFeatures().transform(list(table["image"]), boxes=[boxes] * 2)
    assert_array_equal(VariogramFeatures().fit_transform(table), expected)


def test_paths_and_scans_of_unequal_sizes_are_described(tmp_path):
    scans = [
        np.random.default_rng(i).integers(256, size=(90 + i, 80), dtype=np.uint8)
        for i in range(2)
    ]
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for scan, path in zip(scans, paths, strict=True):
        Image.fromarray(scan).save(path)
    transform = VariogramFeatures().transform
    assert_array_equal(transform(paths), transform(scans))


def test_features_of_a_constant_image_are_finite_and_at_the_floor():
    features = VariogramFeatures().transform(np.full((1, 60, 60), 9, np.uint8))
    assert_allclose(features, np.log(1e-6))


def test_lags_that_no_pair_spans_are_at_the_floor():
    features = VariogramFeatures(lags=3, central_region=(1.0, 1.0))
    row = features.transform([[5.0, 1.0, 2.0]]).reshape(4, 3)
    assert_allclose(row[ROWS], np.log([(16 + 1) / 2, 9, 1e-6]))
    assert_allclose(row[1:], np.log(1e-6))


def test_boxes_that_are_too_small_are_named(spine):
    image, boxes, _ = spine
    with pytest.warns(UserWarning, match=r"1 scan\(s\), index \[1\].*margin=4"):
        VariogramFeatures().transform([image] * 2, boxes=[boxes, boxes / 5])


def test_contrast_adds_one_number_to_all_features():
    image = smooth_noise((1, 60, 60))
    change = VariogramFeatures().transform(
        3 * image + 5
    ) - VariogramFeatures().transform(image)
    assert_allclose(change, 2 * np.log(3))


def test_names_tell_direction_and_lag():
    names = VariogramFeatures(lags=[1, 4]).get_feature_names_out()
    assert names.tolist() == [
        "log_v(0,1)",
        "log_v(0,4)",
        "log_v(1,0)",
        "log_v(4,0)",
        "log_v(1,1)",
        "log_v(4,4)",
        "log_v(1,-1)",
        "log_v(4,-4)",
    ]


def test_features_come_as_a_table_where_pandas_is_asked_for():
    features = VariogramFeatures(lags=2).set_output(transform="pandas")
    table = features.fit_transform(smooth_noise((3, 40, 40)))
    assert table.columns.tolist() == features.get_feature_names_out().tolist()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"lags": 0}, r"Expected lags .* got 0\."),
        ({"sigma": -1}, r"Expected sigma .* got -1\."),
        ({"margin": -1}, r"Expected margin .* got -1\."),
        ({"central_region": (0, 1)}, r"Expected central_region .* got 0\."),
        ({"central_region": 0.5}, "two numbers"),
    ],
)
def test_features_refuse_bad_parameters_in_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        VariogramFeatures(**parameters).fit(smooth_noise((2, 40, 40)))


# The baseline


@pytest.fixture(scope="module")
def rough_and_smooth():
    surfaces = [fractional_surface(h, s) for s in range(15) for h in (0.3, 0.6)]
    return np.array([s / s.std() for s in surfaces]), np.arange(30) % 2


def test_baseline_tells_rough_from_smooth_texture(rough_and_smooth):
    X, y = rough_and_smooth
    classifier = make_texture_classifier(VariogramFeatures(lags=4))
    assert classifier.fit(X[:20], y[:20]).score(X[20:], y[20:]) >= 0.9


def test_baseline_can_be_searched_with_patients_as_groups(rough_and_smooth):
    X, y = rough_and_smooth
    grid = {"logisticregression__C": [0.1, 10], "variogramfeatures__lags": [2, 4]}
    search = GridSearchCV(make_texture_classifier(), grid, cv=GroupKFold(3))
    search.fit(X, y, groups=np.arange(30) // 2)
    assert set(search.best_params_) == set(grid)


def test_baseline_clones_with_its_parameters():
    features = VariogramFeatures(lags=3)
    copy = clone(make_texture_classifier(features, C=2.0, class_weight="balanced"))
    assert copy["variogramfeatures"] is not features
    assert copy["variogramfeatures"].lags == 3
    assert copy["logisticregression"].C == 2.0
    assert copy["logisticregression"].class_weight == "balanced"
