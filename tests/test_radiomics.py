import json
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from tbsclassify import TBSLabeler
from tbsclassify.comparison import compare_models, radiomics_models
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.texture import (
    TextureMatrixFeatures,
    make_radiomics_classifier,
    texture_matrix_features,
)
from tbsclassify.texture._matrices import discretise, tone_difference
from tbsclassify.texture._radiomics import FAMILIES

# Our names of the measures in the IBSI's tables, by its tags.
NAMES = {
    "stat": {
        "mean": "Mean",
        "var": "Variance",
        "skew": "Skewness",
        "kurt": "Kurtosis",
        "median": "Median",
        "min": "Minimum",
        "p10": "10Percentile",
        "p90": "90Percentile",
        "max": "Maximum",
        "iqr": "InterquartileRange",
        "range": "Range",
        "mad": "MeanAbsoluteDeviation",
        "rmad": "RobustMeanAbsoluteDeviation",
        "energy": "Energy",
        "rms": "RootMeanSquared",
    },
    "ih": {"entropy": "Entropy", "uniformity": "Uniformity"},
    "cm": {
        "joint_max": "MaximumProbability",
        "joint_avg": "JointAverage",
        "joint_var": "SumSquares",
        "joint_entr": "JointEntropy",
        "diff_avg": "DifferenceAverage",
        "diff_var": "DifferenceVariance",
        "diff_entr": "DifferenceEntropy",
        "sum_entr": "SumEntropy",
        "energy": "JointEnergy",
        "contrast": "Contrast",
        "inv_diff": "Id",
        "inv_diff_norm": "Idn",
        "inv_diff_mom": "Idm",
        "inv_diff_mom_norm": "Idmn",
        "inv_var": "InverseVariance",
        "corr": "Correlation",
        "auto_corr": "Autocorrelation",
        "clust_tend": "ClusterTendency",
        "clust_shade": "ClusterShade",
        "clust_prom": "ClusterProminence",
        "info_corr1": "Imc1",
        "info_corr2": "Imc2",
    },
    "rlm": {
        "sre": "ShortRunEmphasis",
        "lre": "LongRunEmphasis",
        "lgre": "LowGrayLevelRunEmphasis",
        "hgre": "HighGrayLevelRunEmphasis",
        "srlge": "ShortRunLowGrayLevelEmphasis",
        "srhge": "ShortRunHighGrayLevelEmphasis",
        "lrlge": "LongRunLowGrayLevelEmphasis",
        "lrhge": "LongRunHighGrayLevelEmphasis",
        "glnu": "GrayLevelNonUniformity",
        "glnu_norm": "GrayLevelNonUniformityNormalized",
        "rlnu": "RunLengthNonUniformity",
        "rlnu_norm": "RunLengthNonUniformityNormalized",
        "r_perc": "RunPercentage",
        "gl_var": "GrayLevelVariance",
        "rl_var": "RunVariance",
        "rl_entr": "RunEntropy",
    },
    "szm": {
        "sze": "SmallAreaEmphasis",
        "lze": "LargeAreaEmphasis",
        "lgze": "LowGrayLevelZoneEmphasis",
        "hgze": "HighGrayLevelZoneEmphasis",
        "szlge": "SmallAreaLowGrayLevelEmphasis",
        "szhge": "SmallAreaHighGrayLevelEmphasis",
        "lzlge": "LargeAreaLowGrayLevelEmphasis",
        "lzhge": "LargeAreaHighGrayLevelEmphasis",
        "glnu": "GrayLevelNonUniformity",
        "glnu_norm": "GrayLevelNonUniformityNormalized",
        "zsnu": "SizeZoneNonUniformity",
        "zsnu_norm": "SizeZoneNonUniformityNormalized",
        "z_perc": "ZonePercentage",
        "gl_var": "GrayLevelVariance",
        "zs_var": "ZoneVariance",
        "zs_entr": "ZoneEntropy",
    },
    "ngl": {
        "lde": "SmallDependenceEmphasis",
        "hde": "LargeDependenceEmphasis",
        "lgce": "LowGrayLevelEmphasis",
        "hgce": "HighGrayLevelEmphasis",
        "ldlge": "SmallDependenceLowGrayLevelEmphasis",
        "ldhge": "SmallDependenceHighGrayLevelEmphasis",
        "hdlge": "LargeDependenceLowGrayLevelEmphasis",
        "hdhge": "LargeDependenceHighGrayLevelEmphasis",
        "glnu": "GrayLevelNonUniformity",
        "glnu_norm": "GrayLevelNonUniformityNormalized",
        "dcnu": "DependenceNonUniformity",
        "dcnu_norm": "DependenceNonUniformityNormalized",
        "gl_var": "GrayLevelVariance",
        "dc_var": "DependenceVariance",
        "dc_entr": "DependenceEntropy",
    },
    "ngt": {
        "coarseness": "Coarseness",
        "contrast": "Contrast",
        "busyness": "Busyness",
        "complexity": "Complexity",
        "strength": "Strength",
    },
}
FAMILY_OF = {
    "stat": "firstorder",
    "ih": "firstorder",
    "cm": "glcm",
    "rlm": "glrlm",
    "szm": "glszm",
    "ngl": "gldm",
    "ngt": "ngtdm",
}
# The IBSI's digital phantom, slice by slice; 0 is outside the region.
DIGITAL_PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [0, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
)
# Its published values, to three digits, by slice (2D) and, for cm and rlm, averaged
# over directions. Those of stat and ih are of the whole phantom.
PUBLISHED = {
    "stat": "2.15 3.05 1.08 -0.355 1 1 1 4 6 3 5 1.55 1.11 567 2.77",
    "ih": "1.27 0.512",
    "cm": "0.519 2.14 2.69 2.05 1.42 2.9 1.4 1.6 0.368 5.28 0.678 0.851 0.619 0.899 "
    "0.0567 -0.0121 5.09 5.47 7 79.1 -0.155 0.487",
    "rlm": "0.641 3.78 0.604 9.82 0.294 8.57 3.14 17.4 5.2 0.46 6.12 0.492 0.627 3.35 "
    "0.761 2.17",
    "szm": "0.363 43.9 0.371 16.4 0.0259 10.3 40.4 113 1.41 0.323 1.49 0.333 0.24 3.97 "
    "21 1.93",
    "ngl": "0.158 19.2 0.702 7.49 0.0473 3.06 17.6 49.5 10.2 0.562 3.96 0.212 2.7 2.73 "
    "2.71",
    "ngt": "0.121 0.925 2.99 10.4 2.88",
}
REFERENCE = json.loads(Path(__file__).with_name("radiomics_reference.json").read_text())
few_examples = settings(max_examples=40, deadline=None)


def measures_of(levels, tag, n_levels):
    """Our measures of one family, of a map of levels that needs no binning."""
    mask = (np.asarray(levels) > 0).astype(int)
    row = texture_matrix_features(
        levels,
        mask=mask,
        labels=[1],
        families=[FAMILY_OF[tag]],
        n_levels=n_levels,
        margin=0,
    ).iloc[0]
    return [row[f"{FAMILY_OF[tag]}_{name}"] for name in NAMES[tag].values()]


@pytest.mark.parametrize("tag", ["cm", "rlm", "szm", "ngl", "ngt"])
def test_matrices_of_the_digital_phantom_have_the_published_values(tag):
    # A slice that lacks levels 1 or 6 would be binned otherwise; all have both.
    found = np.mean([measures_of(one, tag, 6) for one in DIGITAL_PHANTOM], axis=0)
    assert [float(f"{value:.3g}") for value in found] == [
        float(value) for value in PUBLISHED[tag].split()
    ]


@pytest.mark.parametrize("tag", ["stat", "ih"])
def test_first_order_values_of_the_digital_phantom_are_the_published_ones(tag):
    found = measures_of(DIGITAL_PHANTOM.reshape(16, 5), tag, 6)
    assert [float(f"{value:.3g}") for value in found] == [
        float(value) for value in PUBLISHED[tag].split()
    ]


@pytest.mark.parametrize("region", ["box", "ellipse"])
@pytest.mark.parametrize("tag", NAMES)
def test_features_agree_with_a_second_implementation(tag, region):
    row = texture_matrix_features(
        REFERENCE["image"],
        mask=REFERENCE[region]["mask"],
        labels=[1],
        families=[FAMILY_OF[tag]],
        n_levels=16,
        margin=0,
    ).iloc[0]
    theirs = REFERENCE[region]["features"]
    for short, name in NAMES[tag].items():
        assert_allclose(
            row[f"{FAMILY_OF[tag]}_{name}"],
            theirs[f"{tag}_{short}"],
            rtol=1e-9,
            err_msg=name,
        )


def test_every_feature_is_compared_with_the_second_implementation():
    compared = {
        f"{FAMILY_OF[tag]}_{name}"
        for tag, names in NAMES.items()
        for name in names.values()
    }
    assert compared == set(TextureMatrixFeatures().get_feature_names_out())


@parametrize_with_checks(
    [TextureMatrixFeatures()],
    expected_failed_checks=lambda estimator: dict.fromkeys(
        ("check_n_features_in_after_fitting", "check_n_features_in"),
        "Images are described whatever their size, and nothing is learnt in fit: "
        "there is no number of input features to keep to.",
    ),
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def scans():
    return make_dxa_phantoms(12, return_masks=True, random_state=0)


def test_a_scan_has_the_mean_over_its_vertebrae(scans):
    found = TextureMatrixFeatures().transform(scans.images[:1], boxes=scans.boxes[:1])
    each = texture_matrix_features(scans.images[0], boxes=scans.boxes[0])
    assert each.index.tolist() == ["L1", "L2", "L3", "L4"]
    assert_allclose(found[0], each.mean())


def test_unknown_vertebrae_are_left_out_of_the_mean(scans):
    boxes = scans.boxes[:1].copy()
    boxes[0, :2] = np.nan
    found = TextureMatrixFeatures().transform(scans.images[:1], boxes=boxes)
    each = texture_matrix_features(scans.images[0], boxes=boxes[0])
    assert each.loc[["L1", "L2"]].isna().all(axis=None)
    assert_allclose(found[0], each.loc[["L3", "L4"]].mean())


def test_masks_travel_with_the_scans_in_a_table(scans):
    table = pd.DataFrame({"image": list(scans.images), "mask": list(scans.masks)})
    found = TextureMatrixFeatures(["glcm"]).transform(table)
    each = texture_matrix_features(
        scans.images[3], mask=scans.masks[3], families=["glcm"]
    )
    assert_allclose(found[3], each.mean())


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_scan_without_a_mask_is_described_by_its_boxes(scans, missing):
    masks = [scans.masks[0], missing]
    table = scans.frame[:2].assign(mask=pd.Series(masks, dtype=object))
    radiomics = TextureMatrixFeatures(["gldm"])
    found = radiomics.transform(table)
    assert_array_equal(found[1], radiomics.transform(scans.frame[:2])[1])
    assert (found[0] != radiomics.transform(scans.frame[:2])[0]).any()


def test_the_column_of_masks_is_found_however_it_is_spelt(scans):
    table = scans.frame[:2].assign(mask=list(scans.masks[:2]))
    radiomics = TextureMatrixFeatures(["gldm"])
    assert_array_equal(
        radiomics.transform(table.rename(columns={"mask": "Mask"})),
        radiomics.transform(table),
    )
    with pytest.raises(ValueError, match="one column 'mask', got 2"):
        radiomics.transform(table.assign(Mask=0))


@pytest.mark.parametrize("mask", [np.ones((3, 3), int), 0.5, "L1.png"])
def test_a_mask_that_is_none_is_refused_with_its_row(scans, mask):
    table = scans.frame[:2].assign(mask=[scans.masks[0], mask])
    with pytest.raises(ValueError, match=r"mask at index 1 .*got (shape|a [fs])"):
        TextureMatrixFeatures(["gldm"]).transform(table)


def test_a_mask_with_other_labels_warns(scans):
    table = scans.frame[:2].assign(mask=[scans.masks[0], 255 * (scans.masks[1] > 0)])
    with pytest.warns(UserWarning, match=r"1 label map\(s\), index \[1\]"):
        TextureMatrixFeatures(["gldm"]).transform(table)


@pytest.mark.parametrize("labels", [1, "12", (), [1.5]])
def test_labels_that_are_no_integers_are_refused(scans, labels):
    with pytest.raises(ValueError, match="labels to be a sequence of integers"):
        texture_matrix_features(scans.images[0], mask=scans.masks[0], labels=labels)


def test_a_mask_of_a_whole_box_gives_what_the_box_gives(scans):
    box = scans.boxes[0, 2].astype(int)
    mask = np.zeros(scans.images[0].shape, dtype=int)
    mask[box[0] : box[2], box[1] : box[3]] = 1
    by_mask = texture_matrix_features(scans.images[0], mask=mask, labels=[1])
    by_box = texture_matrix_features(scans.images[0], boxes=box)
    assert_allclose(by_mask, by_box)


def test_a_table_with_boxes_gives_what_boxes_give(scans):
    radiomics = TextureMatrixFeatures(["gldm"])
    assert_array_equal(
        radiomics.transform(scans.frame),
        radiomics.transform(scans.images, boxes=scans.boxes),
    )


def test_families_come_in_the_order_asked_for(scans):
    names = TextureMatrixFeatures(["ngtdm", "firstorder"]).get_feature_names_out()
    assert names[0] == "ngtdm_Coarseness"
    assert names[-1] == "firstorder_Uniformity"


@few_examples
@given(
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    st.integers(2, 40),
)
def test_features_are_finite_of_any_image(image, n_levels):
    features = texture_matrix_features(image, n_levels=n_levels, margin=0)
    assert np.isfinite(features.to_numpy()).all()


@few_examples
@given(arrays(np.uint8, (7, 6), elements=st.integers(0, 40)), st.integers(2, 5))
def test_turning_an_image_by_a_right_angle_changes_no_feature(image, n_levels):
    features = texture_matrix_features(image, n_levels=n_levels)
    turned = texture_matrix_features(np.rot90(image), n_levels=n_levels)
    assert_allclose(features, turned, rtol=1e-7, atol=1e-9)


@few_examples
@given(arrays(np.uint8, (7, 6)), st.integers(2, 30))
def test_brightness_and_contrast_change_first_order_features_alone(image, n_levels):
    families = [family for family in FAMILIES if family != "firstorder"]
    other = image * 4.0 + 3
    assert_allclose(
        texture_matrix_features(image, families=families, n_levels=n_levels),
        texture_matrix_features(other, families=families, n_levels=n_levels),
    )


def test_a_level_at_the_border_of_two_bins_is_in_the_upper_one():
    levels = np.arange(197.0)  # of which 49, 98 and 147 begin bins 3, 5 and 7 of 8
    assert_array_equal(
        discretise(levels, 8), np.minimum(np.arange(197) * 8 // 196, 7) + 1
    )


def test_levels_in_balance_are_not_busy():
    # 2 with a share of 3/5 is 3 with a share of 2/5, but not in floating point.
    assert tone_difference(np.array([[3], [2], [3], [2], [2]]), 3)["Busyness"] == 0


def test_pairs_of_many_levels_take_no_more_memory_than_the_pixels_need():
    image = np.random.default_rng(0).normal(size=(40, 40))
    tracemalloc.start()
    texture_matrix_features(image, families=["glcm"], n_levels=4000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_a_constant_vertebra_has_no_texture():
    features = texture_matrix_features(np.full((9, 9), 7.0)).iloc[0]
    assert features["glcm_Contrast"] == 0
    assert features["glcm_Correlation"] == 1
    assert features["firstorder_Kurtosis"] == 0
    assert features["glszm_ZonePercentage"] == 1 / 81


def test_a_box_without_a_pixel_inside_its_margin_warns(scans):
    boxes = scans.boxes[:2].copy()
    boxes[1, 0] = [10, 10, 17, 17]
    radiomics = TextureMatrixFeatures(["gldm"])
    with pytest.warns(UserWarning, match=r"1 scan\(s\), index \[1\].*margin=4"):
        found = radiomics.transform(scans.images[:2], boxes=boxes)
    boxes[1, 0] = np.nan
    assert_array_equal(found, radiomics.transform(scans.images[:2], boxes=boxes))


def test_a_region_of_a_mask_thinner_than_its_margin_warns(scans):
    mask = np.zeros(scans.images[0].shape, dtype=int)
    mask[10:60, 10:60], mask[70:73, 10:60] = 1, 2
    table = pd.DataFrame({"image": [scans.images[0]], "mask": [mask]})
    with pytest.warns(UserWarning, match="no pixel"):
        found = TextureMatrixFeatures(["gldm"]).transform(table)
    mask[mask == 2] = 0
    assert_array_equal(found, TextureMatrixFeatures(["gldm"]).transform(table))


def test_scans_without_boxes_are_described_by_their_centre(scans):
    image = scans.images[0]
    found = TextureMatrixFeatures(central_region=(0.5, 0.1)).transform([image])
    height, width = image.shape
    centre = image[
        round(height * 0.25) : round(height * 0.25) + round(height * 0.5),
        (width - round(width * 0.1)) // 2 : (width + round(width * 0.1)) // 2,
    ]
    assert_allclose(found[0], texture_matrix_features(centre).iloc[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"families": "glcm"}, "families .* got 'glcm'"),
        ({"families": []}, r"families .* got \[\]"),
        ({"families": ["glcm", "lbp"]}, "names from firstorder, glcm.*'lbp'"),
        ({"families": ["glcm", "glcm"]}, "families once"),
        ({"families": [["glcm"]]}, r"families .* got \[\['glcm'\]\]"),
        ({"n_levels": 1}, "n_levels"),
        ({"margin": -1}, "margin"),
        ({"central_region": (0.5, 1.5)}, "central_region"),
    ],
)
def test_wrong_parameters_are_refused(scans, parameters, message):
    with pytest.raises(ValueError, match=message):
        TextureMatrixFeatures(**parameters).fit(scans.images)


@pytest.mark.parametrize("name", ["svm", "logistic", "boosting"])
def test_each_classifier_learns_from_crops_in_a_table(scans, name):
    y = np.arange(12) % 2
    model = make_radiomics_classifier(name).fit(scans.frame, y)
    assert isinstance(model, Pipeline)
    assert_allclose(model.predict_proba(scans.frame).sum(axis=1), 1)


def test_a_classifier_of_ones_own_takes_the_place_of_the_papers():
    forest = RandomForestClassifier(n_estimators=3)
    assert make_radiomics_classifier(forest)[-1] is forest


def test_an_unknown_classifier_is_refused():
    with pytest.raises(ValueError, match=r"classifier .*'svm', 'logistic'"):
        make_radiomics_classifier("knn")


def test_a_support_vector_machine_has_probabilities_after_three_rows_of_a_class():
    X, y = np.random.default_rng(0).normal(size=(7, 30)), ["a"] * 3 + ["b"] * 4
    model = make_radiomics_classifier("svm").fit(X, y)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_a_class_of_one_row_is_refused_with_what_to_do():
    X, y = np.random.default_rng(0).normal(size=(7, 30)), [0] * 6 + [1]
    with pytest.raises(ValueError, match=r"got one of class 1\..*'logistic'"):
        make_radiomics_classifier("svm").fit(X, y)


class Doubler:
    """A resampler that notes what it was given."""

    def __init__(self):
        self.seen = []

    def fit_resample(self, X, y):
        self.seen.append(len(X))
        return np.concatenate([X, X]), np.concatenate([y, y])

    def get_params(self, deep=True):
        return {}


def test_only_the_training_set_is_resampled(scans):
    y, resampler = np.arange(12) % 2, Doubler()
    model = make_radiomics_classifier("logistic", resampler=resampler)
    model.fit(scans.frame.iloc[:8], y[:8])
    assert model.predict(scans.frame.iloc[8:]).shape == (4,)
    assert resampler.seen == [8]


def test_the_models_of_the_second_paper_can_be_compared_by_name():
    scans = make_dxa_phantoms(40, class_shares=(0.5, 0.3, 0.2), random_state=0)
    y = TBSLabeler().fit_transform(scans.tbs)
    result = compare_models(
        "radiomics", scans.frame, y, scans.patient, cv=2, n_bootstrap=0, random_state=0
    )
    assert result.table.index.tolist() == [*radiomics_models(), "clinical"]
    assert (result.table["error"] == "").all()
