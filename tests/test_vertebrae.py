"""Scans split into vertebrae, and classifiers that average over them."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from conftest import small_texture
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import check_estimator

from tbsclassify import (
    PatientAggregator,
    TBSLabeler,
    VariogramFeatures,
    VertebraSplitter,
    compare_models,
    make_dxa_phantoms,
    make_texture_classifier,
)
from tbsclassify.texture import TextureMatrixFeatures

SIDES = ("top", "left", "bottom", "right")
BOXES = [f"L{level}_{side}" for level in (1, 2, 3, 4) for side in SIDES]


@pytest.fixture(scope="module")
def scans():
    scans = make_dxa_phantoms(
        12,
        scans_per_patient=2,
        class_shares=(1, 0, 1),
        return_masks=True,
        random_state=0,
    )
    scans.y = TBSLabeler().fit_transform(scans.tbs)
    return scans


def without(frame, row, *levels):
    """Return a copy of a table in which some vertebrae of a row have no box."""
    frame = frame.copy()
    for level in levels:
        frame.loc[row, [f"L{level}_{side}" for side in SIDES]] = np.nan
    return frame


class Recorder(ClassifierMixin, BaseEstimator):
    """Keep what fit is given, and predict from the level alone."""

    def fit(self, X, y, groups=None, sample_weight=None, tbs=None):
        self.classes_ = np.unique(y)
        self.given_ = {"X": X, "y": y, "groups": groups}
        self.given_ |= {"sample_weight": sample_weight, "tbs": tbs}
        return self

    def predict_proba(self, X):
        second = X["level"].to_numpy() / 10
        return np.column_stack([1 - second, second])


# --- The table of vertebrae --------------------------------------------------


def test_each_vertebra_becomes_a_row_with_the_columns_of_its_scan(scans):
    vertebrae, scan = VertebraSplitter().split(scans.frame)
    assert vertebrae["level"].tolist() == [1, 2, 3, 4] * 24
    assert_array_equal(scan, np.repeat(np.arange(24), 4))
    for name in ("patient", "tbs", "age", "row_spacing"):
        assert_array_equal(vertebrae[name], scans.frame[name].to_numpy()[scan])
    assert vertebrae.index.equals(pd.RangeIndex(96))


def test_crops_copy_the_pixels_around_the_centre_of_the_vertebra(scans):
    vertebrae, _ = VertebraSplitter(100).split(scans.frame)
    box = scans.boxes[1, 2]
    top, left = (np.floor((box[:2] + box[2:]) / 2 - 49.5)).astype(int)
    window = scans.images[1, top : top + 100, left : left + 100]
    assert_array_equal(vertebrae["image"][6], window)


def test_the_box_moves_into_the_crop_and_others_are_unknown(scans):
    vertebrae, scan = VertebraSplitter(120).split(scans.frame)
    boxes = vertebrae[BOXES].to_numpy().reshape(-1, 4, 4)
    own = boxes[np.arange(96), vertebrae["level"] - 1]
    original = scans.boxes[scan, vertebrae["level"] - 1]
    assert_allclose(own[:, 2:] - own[:, :2], original[:, 2:] - original[:, :2])
    assert_allclose((own[:, :2] + own[:, 2:]) / 2, 60, atol=0.51)
    assert (np.isnan(boxes).all(axis=2).sum(axis=1) == 3).all()


def test_a_vertebra_without_a_box_is_left_out(scans):
    vertebrae, scan = VertebraSplitter().split(without(scans.frame, 1, 2, 4))
    assert vertebrae["level"][scan == 1].tolist() == [1, 3]
    assert len(vertebrae) == 94


def test_boxes_may_be_given_beside_any_form_of_scans(scans):
    by_table, _ = VertebraSplitter().split(scans.frame)
    for X in (scans.images, list(scans.images), scans.frame[["image"]]):
        vertebrae, scan = VertebraSplitter().split(X, boxes=scans.boxes)
        assert_array_equal(scan, np.repeat(np.arange(24), 4))
        assert_array_equal(vertebrae[BOXES], by_table[BOXES])
        assert_array_equal(np.stack(vertebrae["image"]), np.stack(by_table["image"]))


def test_given_boxes_take_the_place_of_those_in_the_table(scans):
    boxes = scans.boxes.copy()
    boxes[0, 0] = np.nan
    vertebrae, _ = VertebraSplitter().split(scans.frame, boxes=boxes)
    assert vertebrae["level"].tolist()[:4] == [2, 3, 4, 1]


def test_paths_are_read(scans, tmp_path):
    from PIL import Image

    path = tmp_path / "scan.png"
    Image.fromarray(scans.images[0]).save(path)
    frame = scans.frame.iloc[:1].assign(image=str(path))
    vertebrae, _ = VertebraSplitter().split(frame)
    expected, _ = VertebraSplitter().split(scans.frame.iloc[:1])
    assert_array_equal(np.stack(vertebrae["image"]), np.stack(expected["image"]))


def test_spacing_brings_vertebrae_to_one_size_of_pixel(scans):
    vertebrae, _ = VertebraSplitter(60, spacing=1.2).split(scans.frame)
    assert vertebrae["image"][0].shape == (60, 60)
    assert set(vertebrae["row_spacing"]) == {1.2}
    heights = vertebrae["L1_bottom"] - vertebrae["L1_top"]
    assert heights[0] == pytest.approx(
        (scans.boxes[0, 0, 2] - scans.boxes[0, 0, 0]) * scans.spacing[0, 0] / 1.2
    )


def test_a_label_map_keeps_the_vertebra_alone(scans):
    frame = scans.frame.assign(mask=list(scans.masks))
    vertebrae, _ = VertebraSplitter().split(frame)
    for level, mask in zip(vertebrae["level"], vertebrae["mask"], strict=True):
        assert set(np.unique(mask)) == {0, level}
    features = TextureMatrixFeatures(["firstorder"]).fit_transform(vertebrae)
    assert len(np.unique(features[:4], axis=0)) == 4


def test_a_level_that_a_label_map_lacks_has_no_map(scans):
    masks = [np.where(mask == 2, 2, 0) for mask in scans.masks]
    vertebrae, _ = VertebraSplitter().split(scans.frame.assign(mask=masks))
    assert [mask is None for mask in vertebrae["mask"][:4]] == [True, False, True, True]


def test_of_a_map_of_the_whole_spine_a_vertebra_keeps_what_is_in_its_box(scans):
    whole = scans.frame.assign(mask=list((scans.masks > 0).astype(np.uint8)))
    vertebrae, _ = VertebraSplitter().split(whole.iloc[:1])
    by_label, _ = VertebraSplitter().split(
        scans.frame.assign(mask=list(scans.masks)).iloc[:1]
    )
    for one, other in zip(vertebrae["mask"], by_label["mask"], strict=True):
        assert (one > 0).sum() == pytest.approx((other > 0).sum(), rel=0.15)


def test_features_of_a_row_are_those_of_its_vertebra(scans):
    vertebrae, _ = VertebraSplitter().split(scans.frame)
    alone = scans.boxes[0].copy()
    alone[[0, 2, 3]] = np.nan
    direct = VariogramFeatures().transform(scans.images[:1], boxes=alone[np.newaxis])
    assert_allclose(VariogramFeatures().transform(vertebrae)[1], direct[0], rtol=0.1)


def test_the_table_and_boxes_passed_are_not_changed(scans):
    before, boxes = scans.frame.copy(deep=True), scans.boxes.copy()
    VertebraSplitter().split(scans.frame, boxes=boxes)
    pd.testing.assert_frame_equal(scans.frame, before)
    assert_array_equal(boxes, scans.boxes)


# --- What is refused ---------------------------------------------------------


def test_a_scan_with_one_vertebra_is_refused_by_its_row(scans):
    frame = without(scans.frame, 3, 1, 2, 3)
    with pytest.raises(ValueError, match=r"fewer in 1 of 24 scans, index \[3\]"):
        VertebraSplitter().split(frame)
    vertebrae, scan = VertebraSplitter(min_vertebrae=1).split(frame)
    assert vertebrae["level"][scan == 3].tolist() == [4]


def test_a_scan_without_a_vertebra_is_always_refused(scans):
    frame = without(scans.frame, 3, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="min_vertebrae=1 vertebrae"):
        VertebraSplitter(min_vertebrae=1).split(frame)


def test_a_box_of_the_whole_is_no_vertebra(scans):
    frame = pd.DataFrame({"image": list(scans.images)})
    frame[list(SIDES)] = 10.0, 10.0, 50.0, 50.0
    with pytest.raises(ValueError, match=r"L1_top.* got none"):
        VertebraSplitter().split(frame)
    with pytest.raises(ValueError, match=r"got shape \(24, 4\)"):
        VertebraSplitter().split(scans.images, boxes=frame[list(SIDES)])


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (2.0, TypeError)])
def test_min_vertebrae_is_checked(value, error, scans):
    with pytest.raises(error, match="min_vertebrae"):
        VertebraSplitter(min_vertebrae=value).split(scans.frame)


def test_a_table_of_boxes_alone_is_refused(scans):
    with pytest.raises(ValueError, match="column 'image', got a table without it"):
        VertebraSplitter().split(scans.frame[BOXES])


def test_a_column_called_level_is_refused(scans):
    with pytest.raises(ValueError, match="no column 'level'"):
        VertebraSplitter().split(scans.frame.assign(level=1))


def test_crops_that_lose_a_part_of_a_vertebra_are_warned_of(scans):
    with pytest.warns(UserWarning, match="96 of 96 crops cut off"):
        VertebraSplitter(30).split(scans.frame)


# --- The mean over vertebrae -------------------------------------------------


def test_probabilities_are_means_over_the_vertebrae_of_a_scan(scans):
    frame = without(scans.frame, 1, 2, 4)
    model = PatientAggregator(Recorder()).fit(frame, scans.y)
    proba = model.predict_proba(frame)
    assert_allclose(proba[0], [0.75, 0.25])
    assert_allclose(proba[1], [0.8, 0.2])
    assert_allclose(model.predict_log_proba(frame), np.log(proba))
    assert_array_equal(model.predict(frame), np.zeros(24))


def test_each_vertebra_can_be_seen(scans):
    model = PatientAggregator(Recorder()).fit(scans.frame, scans.y)
    table = model.vertebra_proba(scans.frame)
    assert [*table] == ["scan", "level", "proba_0", "proba_1"]
    assert_allclose(table["proba_1"], table["level"] / 10)
    by_scan = table.groupby("scan")[["proba_0", "proba_1"]].mean()
    assert_allclose(by_scan, model.predict_proba(scans.frame))


def test_what_belongs_to_a_scan_follows_its_vertebrae(scans):
    frame, weight = without(scans.frame, 0, 1), np.arange(24.0)
    model = PatientAggregator(Recorder()).fit(
        frame, scans.y, groups=scans.patient, sample_weight=weight, tbs=scans.tbs
    )
    given, scan = model.estimator_.given_, np.repeat(np.arange(24), 4)[1:]
    assert_array_equal(given["X"]["patient"], scans.patient[scan])
    assert_array_equal(given["y"], scans.y[scan])
    assert_array_equal(given["groups"], scans.patient[scan])
    assert_array_equal(given["sample_weight"], weight[scan])
    assert_array_equal(given["tbs"], scans.tbs[scan])


def test_without_groups_vertebrae_of_a_scan_still_stay_together(scans):
    model = PatientAggregator(Recorder()).fit(scans.frame, scans.y)
    groups = model.estimator_.given_["groups"]
    assert_array_equal(groups, np.repeat(np.arange(24), 4))


def test_an_inner_search_parts_no_scan(scans):
    inner = GridSearchCV(
        make_texture_classifier(), {"logisticregression__C": [1, 10]}, cv=GroupKFold(3)
    )
    model = PatientAggregator(inner).fit(scans.frame, scans.y)
    assert model.estimator_.best_params_["logisticregression__C"] in (1, 10)


def test_a_network_learns_tbs_from_vertebrae(scans):
    model = PatientAggregator(small_texture())
    assert not hasattr(model, "predict_tbs")
    model.fit(scans.frame, scans.y, tbs=scans.tbs, groups=scans.patient)
    tbs = model.predict_tbs(scans.frame)
    assert np.corrcoef(tbs, scans.tbs)[0, 1] > 0.3


def test_values_do_not_reach_an_estimator_that_declines_them(scans):
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Recorder().set_fit_request(tbs=False)
    model = PatientAggregator(inner).fit(scans.frame, scans.y, tbs=scans.tbs)
    assert model.estimator_.given_["tbs"] is None


def test_metadata_routing_changes_nothing(scans):
    with sklearn.config_context(enable_metadata_routing=True):
        model = PatientAggregator(Recorder()).fit(
            scans.frame, scans.y, groups=scans.patient, tbs=scans.tbs
        )
    assert_array_equal(model.estimator_.given_["tbs"], np.repeat(scans.tbs, 4))
    assert_array_equal(model.estimator_.given_["groups"], np.repeat(scans.patient, 4))


def test_weights_that_the_estimator_does_not_take_are_refused(scans):
    model = PatientAggregator(
        make_pipeline(VariogramFeatures(), KNeighborsClassifier())
    )
    with pytest.raises(TypeError, match="take sample_weight"):
        model.fit(scans.frame, scans.y, sample_weight=np.ones(24))


def test_an_estimator_without_probabilities_is_refused(scans):
    model = PatientAggregator(make_pipeline(VariogramFeatures(), LinearSVC()))
    with pytest.raises(TypeError, match="predict_proba"):
        model.fit(scans.frame, scans.y)
    with pytest.raises(NotFittedError):
        model.predict(scans.frame)


def test_negative_weights_are_refused(scans):
    with pytest.raises(ValueError, match=r"Negative values .* `sample_weight`"):
        PatientAggregator(Recorder()).fit(
            scans.frame, scans.y, sample_weight=-np.ones(24)
        )


def test_a_splitter_of_another_kind_is_refused(scans):
    with pytest.raises(TypeError, match=r"splitter to be a VertebraSplitter.*got 96"):
        PatientAggregator(Recorder(), 96).fit(scans.frame, scans.y)


def test_a_fitted_estimator_inside_does_not_make_the_whole_fitted(scans):
    network = small_texture().fit(scans.images, scans.y, tbs=scans.tbs)
    with pytest.raises(NotFittedError):
        PatientAggregator(network).predict_tbs(scans.frame)


def test_a_fit_that_fails_leaves_the_one_before(scans):
    model = PatientAggregator(Recorder()).fit(scans.frame, scans.y)
    before = model.predict_proba(scans.frame)
    model.set_params(estimator=make_pipeline(VariogramFeatures(), LinearSVC()))
    with pytest.raises(TypeError, match="predict_proba"):
        model.fit(scans.frame, scans.y)
    assert_array_equal(model.predict_proba(scans.frame), before)


def test_lengths_that_differ_are_refused(scans):
    with pytest.raises(ValueError, match="inconsistent numbers"):
        PatientAggregator(Recorder()).fit(scans.frame, scans.y[:5])


# --- Among scikit-learn's tools ----------------------------------------------


def test_scikit_learns_checks_pass_where_they_apply():
    """They need a table of numbers as X, which has no boxes."""
    with pytest.warns(SkipTestWarning):
        results = check_estimator(PatientAggregator(DummyClassifier()), on_fail=None)
    assert results
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_it_is_a_classifier_that_can_be_cloned_and_pickled(scans):
    model = PatientAggregator(make_texture_classifier(), VertebraSplitter(100))
    assert is_classifier(model)
    copy = clone(model).set_params(splitter__size=90)
    assert (copy.splitter.size, model.splitter.size) == (90, 100)
    model.fit(scans.frame, scans.y)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(
        again.predict_proba(scans.frame), model.predict_proba(scans.frame)
    )


def test_the_estimator_passed_is_not_fitted(scans):
    inner = Recorder()
    PatientAggregator(inner).fit(scans.frame, scans.y)
    assert not hasattr(inner, "classes_")


def test_it_is_cross_validated_by_patient(scans):
    result = cross_validate(
        PatientAggregator(make_texture_classifier()),
        scans.frame,
        scans.y,
        groups=scans.patient,
        cv=StratifiedGroupKFold(3),
        scoring=["roc_auc", "neg_brier_score"],
        error_score="raise",
    )
    assert result["test_roc_auc"].mean() > 0.8


def test_its_parts_are_searched(scans):
    search = GridSearchCV(
        PatientAggregator(make_texture_classifier(), VertebraSplitter()),
        {"splitter__size": [90, 96], "estimator__logisticregression__C": [1.0]},
        cv=StratifiedGroupKFold(2),
        error_score="raise",
    )
    search.fit(scans.frame, scans.y, groups=scans.patient)
    assert search.best_params_["splitter__size"] in (90, 96)
    assert search.predict(scans.frame).shape == (24,)


def test_it_is_compared_with_other_models(scans):
    models = {
        "whole": make_texture_classifier(),
        "vertebrae": PatientAggregator(make_texture_classifier()),
        "network": PatientAggregator(small_texture()),
    }
    result = compare_models(
        models,
        scans.frame,
        scans.y,
        scans.patient,
        tbs=scans.tbs,
        cv=2,
        n_bootstrap=0,
        random_state=0,
    )
    assert (result.table["error"] == "").all()
    assert len(result.predictions) == 3 * 24


def test_the_level_can_be_a_feature(scans):
    features = make_column_transformer(
        (VariogramFeatures(), ["image", *BOXES]), (OneHotEncoder(), ["level"])
    )
    model = PatientAggregator(
        make_pipeline(features, LogisticRegression(max_iter=5000))
    ).fit(scans.frame, scans.y)
    assert model.estimator_[-1].coef_.shape == (1, 36)
    assert model.predict(scans.frame).shape == (24,)


def test_it_is_a_step_of_a_pipeline(scans):
    model = make_pipeline("passthrough", PatientAggregator(make_texture_classifier()))
    model.fit(scans.frame, scans.y, patientaggregator__groups=scans.patient)
    assert model.score(scans.frame, scans.y) > 0.8
