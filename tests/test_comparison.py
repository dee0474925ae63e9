import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import small_adhoc, small_pretrained
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed, parallel_config
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import auc, balanced_accuracy_score, f1_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC
from sklearn.utils import Bunch

from tbsclassify import LumbarCropper, RayTuneSearchCV, TBSAdHocClassifier
from tbsclassify._pipelines import fit_metadata
from tbsclassify.comparison import (
    all_models,
    compare_models,
    paper_models,
    radiomics_models,
)
from tbsclassify.comparison._checks import check_models
from tbsclassify.comparison._control import permute_patients
from tbsclassify.comparison._fits import best_threshold
from tbsclassify.metrics import MEASURES, classification_row, multiclass_table
from tbsclassify.splitting import paper_split

FAST = {"n_bootstrap": 200, "random_state": 0}
SECONDS = ["seconds_per_10_epochs", "fit_seconds"]


def make_table(n_patients=60, n_classes=2, shift=1.0, seed=0):
    """Two scans of each patient; the first feature tells the classes apart."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), 2)
    y = (np.arange(n_patients) % n_classes)[patient]
    X = rng.normal(size=(len(y), 4))
    X[:, 0] += shift * y
    return Bunch(X=X, y=y, patient=patient)


@pytest.fixture(scope="module")
def scans():
    return make_table()


def plain_models():
    return {"good": GaussianNB(), "poor": DummyClassifier()}


class Failing(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        raise RuntimeError("no luck today")

    def predict_proba(self, X):
        raise AssertionError("never fitted")


class Seeded(ClassifierMixin, BaseEstimator):
    """Predict a random probability for each scan, by the seed."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        positive = np.random.default_rng(self.random_state).random(len(X))
        return np.stack([1 - positive, positive], axis=1)


class Recorder(Seeded):
    """Note the groups of every fit."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y, groups=None):
        self.seen.append(groups)
        return super().fit(X, y)


class Remembering(ClassifierMixin, BaseEstimator):
    """Know the labels of all earlier fits, as a model does that is never reset."""

    memory: dict = {}  # noqa: RUF012

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.memory |= dict(zip(X[:, 1].tolist(), y.tolist(), strict=True))
        return self

    def predict_proba(self, X):
        positive = np.array([self.memory.get(key, 0.5) for key in X[:, 1].tolist()])
        return np.stack([1 - positive, positive], axis=1)


# --- what the table says


def test_a_row_is_that_of_the_pooled_predictions(scans):
    result = compare_models(
        plain_models(), scans.X, scans.y, scans.patient, n_repeats=2, **FAST
    )
    tested = result.predictions.query("model == 'good'")
    row = classification_row(
        tested["y_true"],
        tested["proba_1"],
        groups=tested["patient"],
        folds=tested["repeat"] * 5 + tested["fold"],
        n_bootstrap=0,
    )
    assert (
        result.table.loc["good", list(MEASURES)].tolist()
        == row[list(MEASURES)].tolist()
    )
    assert len(tested) == 2 * len(scans.y)


def test_a_model_that_knows_nothing_has_half_the_area(scans):
    result = compare_models(plain_models(), scans.X, scans.y, scans.patient, **FAST)
    assert result.table.loc["poor", "roc_auc"] == 0.5


def test_every_scan_is_tested_once_a_repeat_and_no_patient_in_two_folds(scans):
    result = compare_models(
        plain_models(), scans.X, scans.y, scans.patient, n_repeats=3, **FAST
    )
    for _, tested in result.predictions.groupby(["model", "repeat"]):
        assert sorted(tested["scan"]) == list(range(len(scans.y)))
        assert tested.groupby("patient")["fold"].nunique().max() == 1
    folds = result.predictions.query("model == 'good'").pivot(
        index="scan", columns="repeat", values="fold"
    )
    assert not folds[0].equals(folds[1])


def test_a_fixed_test_set_is_tested_and_nothing_else(scans):
    train, validation, test = paper_split(scans.y, scans.patient, random_state=0)
    pair = (np.concatenate([train, validation]), test)
    result = compare_models(
        plain_models(), scans.X, scans.y, scans.patient, cv=[pair], **FAST
    )
    tested = result.predictions.query("model == 'good'")
    assert_array_equal(tested["scan"], test)
    fitted = GaussianNB().fit(scans.X[pair[0]], scans.y[pair[0]])
    assert_array_equal(tested["proba_1"], fitted.predict_proba(scans.X[test])[:, 1])


def test_a_model_that_fails_is_a_row_with_its_error_and_the_others_go_on(scans):
    models = plain_models() | {"failing": Failing()}
    with pytest.warns(UserWarning, match="failing failed and is not") as warned:
        result = compare_models(models, scans.X, scans.y, scans.patient, **FAST)
    assert len(warned) == 1
    assert result.table["error"].tolist() == ["", "", "RuntimeError: no luck today"]
    assert np.isnan(result.table.loc["failing", "roc_auc"])
    assert set(result.predictions["model"]) == {"good", "poor"}
    assert "failing failed: RuntimeError: no luck today" in result.to_text()


@pytest.mark.parametrize("weights", ["missing.pth", "imagenet"])
def test_weights_are_checked_for_all_models_before_the_first_fit(
    scans, weights, tmp_path, monkeypatch
):
    def refuse(*_, **__):
        attempts.append(1)
        raise OSError("no connection")

    attempts = []
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    monkeypatch.setattr(
        GaussianNB, "fit", lambda *_, **__: pytest.fail("a model was fitted")
    )
    models = {"plain": GaussianNB(), "random": small_pretrained(weights=None)}
    for mode in ("full", "head"):
        models[mode] = make_pipeline(
            FunctionTransformer(), small_pretrained(mode=mode, weights=weights)
        )
    models["other"] = small_pretrained(backbone="resnet18", weights=weights)
    with pytest.raises(ValueError, match="weights to start from, got 3") as info:
        compare_models(models, scans.X, scans.y, scans.patient, **FAST)
    told = str(info.value).splitlines()
    assert told[1].startswith("  full, head, other: ")
    if weights == "imagenet":
        assert "squeezenet1_1-" in told[2]
        assert "resnet18-" in told[2]
    assert len(attempts) == (weights == "imagenet")


def test_a_file_of_another_network_is_refused_before_the_first_fit(scans, tmp_path):
    import torch

    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "w.pth")
    models = {
        "plain": GaussianNB(),
        "fits": small_pretrained(backbone="resnet18", weights=tmp_path / "w.pth"),
        "misfits": small_pretrained(weights=tmp_path / "w.pth"),
    }
    with pytest.raises(ValueError, match="got 1 that cannot") as info:
        compare_models(models, scans.X, scans.y, scans.patient, **FAST)
    assert "misfits: Expected weights='w.pth' to hold keys of" in str(info.value)


def test_a_table_of_failures_alone_can_be_read():
    scans = make_table(20)
    with pytest.warns(UserWarning, match="failing failed"):
        result = compare_models({"failing": Failing()}, scans.X, scans.y, **FAST)
    assert result.table["roc_auc"].isna().all()
    assert result.differences().empty
    assert "failing failed" in result.to_text()


def test_three_classes_work_all_the_way():
    scans = make_table(90, n_classes=3, shift=2.0)
    result = compare_models(
        plain_models(), scans.X, scans.y, scans.patient, check="permuted", **FAST
    )
    tested = result.predictions.query("model == 'good'")
    expected = multiclass_table(
        tested["y_true"],
        tested[["proba_0", "proba_1", "proba_2"]],
        groups=tested["patient"],
        folds=tested["fold"],
        n_bootstrap=0,
    )
    by_class = result.by_class("good")
    assert by_class.index.tolist() == ["macro", 0, 1, 2]
    for measure in MEASURES:
        assert result.table.loc["good", measure] == expected.loc["macro", measure]
        assert_array_equal(by_class[measure], expected[measure])
    assert result.differences().loc["poor", "differs"]
    assert set(result.roc_points("good", label=2)["fold"]) == set(range(5))
    with pytest.raises(ValueError, match=r"one of the classes \[0, 1, 2\], got None"):
        result.roc_points("good")


def test_the_area_under_the_roc_points_is_the_table_s(scans):
    train, validation, test = paper_split(scans.y, scans.patient, random_state=0)
    result = compare_models(
        plain_models(), scans.X, scans.y, cv=[(np.r_[train, validation], test)], **FAST
    )
    points = result.roc_points("good")
    area = auc(points["fpr"], points["tpr"])
    assert area == pytest.approx(result.table.loc["good", "roc_auc"])


LABELS = {
    "bool": np.array([False, True]),
    "float": np.array([0.0, 1.0]),
    "text": np.array(["degraded", "normal"]),
    "objects": np.array(["degraded", "normal"], dtype=object),
}
COLUMNS = {"bool": "proba_True", "float": "proba_1.0"}


def as_labels(y, kind):
    if kind in LABELS:
        return LABELS[kind][y]
    if kind == "category":
        return pd.Series(LABELS["text"][y], dtype="category")
    return pd.Series(y, dtype=kind)


@pytest.mark.parametrize(
    "kind", [*LABELS, "Int64", "boolean", "category", "Float64", "int8"]
)
def test_labels_of_any_kind_give_the_same_figures(scans, kind):
    y = as_labels(scans.y, kind)
    label = "normal" if kind in ("text", "objects", "category") else 1
    call = {"n_repeats": 2, "check": "permuted", **FAST}
    plain = compare_models(plain_models(), scans.X, scans.y, scans.patient, **call)
    result = compare_models(
        plain_models(), scans.X, y, scans.patient, pos_label=label, **call
    )
    measured = [*MEASURES, "tp", "fn", "error"]
    assert_frame_equal(result.table[measured], plain.table[measured])
    assert_frame_equal(result.control, plain.control)
    assert_frame_equal(result.differences(), plain.differences())
    assert_frame_equal(result.roc_points("good"), plain.roc_points("good"))
    assert_frame_equal(
        result.roc_points("good", label), result.roc_points("good", result.pos_label)
    )
    assert_array_equal(result.by_class("good"), plain.by_class("good"))
    assert result.to_text() == plain.to_text()
    if kind in COLUMNS:
        assert COLUMNS[kind] in result.predictions


def test_the_first_class_may_be_the_positive_one(scans):
    first, second = (
        compare_models(
            plain_models(), scans.X, scans.y, scans.patient, pos_label=label, **FAST
        )
        for label in (0, 1)
    )
    assert first.table.loc["good", "roc_auc"] > 0.6
    assert_array_equal(
        first.table.loc["good", ["tp", "fp", "sensitivity"]],
        second.table.loc["good", ["tn", "fn", "specificity"]],
    )
    area = auc(*first.roc_points("good").query("fold == 0")[["fpr", "tpr"]].T.values)
    assert area > 0.5


def test_the_positive_class_may_be_a_string(scans):
    names = np.array(["normal", "degraded"])[scans.y]
    result = compare_models(
        plain_models(), scans.X, names, scans.patient, pos_label="degraded", **FAST
    )
    plain = compare_models(plain_models(), scans.X, scans.y, scans.patient, **FAST)
    shown = ["tp", "fp", "tn", "fn", "roc_auc"]
    assert_frame_equal(result.table[shown], plain.table[shown])


@pytest.mark.parametrize("cv", [LeaveOneGroupOut(), 60])
def test_without_a_test_set_of_two_classes_there_is_no_roc_curve(cv):
    scans = make_table(60)
    if cv == 60:
        cv = [(np.flatnonzero(scans.patient != p), [2 * p]) for p in range(60)]
    result = compare_models(
        plain_models(), scans.X, scans.y, scans.patient, cv=cv, **FAST
    )
    assert np.isnan(result.table.loc["good", "roc_auc"])
    with pytest.raises(ValueError, match=r"No test set of 'good' .*cv=5"):
        result.roc_points("good")
    assert result.differences("roc_auc").empty
    assert "No model has a roc_auc" in result.to_text()
    assert result.table.loc["good", "accuracy"] > 0.5


def test_the_reference_must_have_been_compared(scans):
    result = compare_models(plain_models(), scans.X, scans.y, **FAST)
    with pytest.raises(ValueError, match="reference to be one of 'good', 'poor'"):
        result.differences(reference="best")


# --- who is better


def test_models_are_told_apart_only_where_the_interval_excludes_zero(scans):
    models = {"bayes": GaussianNB(), "lda": LinearDiscriminantAnalysis()}
    models["poor"] = DummyClassifier()
    result = compare_models(models, scans.X, scans.y, scans.patient, **FAST)
    differences = result.differences("roc_auc")
    best = result.table["roc_auc"].idxmax()
    other = ({"bayes", "lda"} - {best}).pop()
    assert list(differences.index) == [name for name in models if name != best]
    assert differences["differs"].to_dict() == {other: False, "poor": True}
    assert f"Not shown to differ: {other}." in result.to_text()


def test_the_best_brier_score_is_the_smallest(scans):
    result = compare_models(plain_models(), scans.X, scans.y, scans.patient, **FAST)
    assert list(result.differences("brier_score").index) == ["poor"]


# --- the same again


def test_the_same_seed_gives_the_same_table_whatever_n_jobs(scans):
    models = {"sgd": SGDClassifier(loss="log_loss"), "bayes": GaussianNB()}
    options = {"n_repeats": 2, "threshold": "f1", **FAST}
    first = compare_models(models, scans.X, scans.y, scans.patient, **options)
    side_by_side = compare_models(
        models, scans.X, scans.y, scans.patient, n_jobs=2, **options
    )
    with parallel_config(backend="threading", n_jobs=2):
        threads = compare_models(models, scans.X, scans.y, scans.patient, **options)
    for other in (side_by_side, threads):
        assert_frame_equal(first.predictions, other.predictions)
        assert_frame_equal(
            first.table.drop(columns=SECONDS), other.table.drop(columns=SECONDS)
        )


def test_a_model_s_figures_do_not_depend_on_the_other_models(scans):
    alone = compare_models({"seeded": Seeded()}, scans.X, scans.y, **FAST)
    models = plain_models() | {"seeded": Seeded()}
    among = compare_models(models, scans.X, scans.y, **FAST)
    assert alone.table.loc["seeded", "f1"] == among.table.loc["seeded", "f1"]


def test_seeds_differ_from_fit_to_fit_and_a_user_s_own_seed_stays(scans):
    models = {"free": Seeded(), "other": Seeded(), "own": Seeded(random_state=7)}
    result = compare_models(models, scans.X, scans.y, scans.patient, **FAST)
    first = result.predictions.groupby(["model", "fold"])["proba_1"].first()
    assert first.loc[["free", "other"]].nunique() == 10
    assert first.loc["own"].nunique() == 1
    assert models["free"].random_state is None


def test_global_random_states_are_left_alone(scans):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    compare_models({"sgd": SGDClassifier(loss="log_loss")}, scans.X, scans.y, **FAST)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


# --- patients


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: make_pipeline(FunctionTransformer(), model),
    ],
)
def test_fit_gets_the_patients_of_its_scans_where_it_takes_them(scans, wrap):
    Recorder.seen.clear()
    compare_models({"model": wrap(Recorder())}, scans.X, scans.y, scans.patient, **FAST)
    assert [len(groups) for groups in Recorder.seen] == [96] * 5


def test_fit_gets_no_patients_where_none_are_given(scans):
    Recorder.seen.clear()
    compare_models({"model": Recorder()}, scans.X, scans.y, **FAST)
    assert Recorder.seen == [None] * 5


def test_a_search_splits_by_patient_inside(scans):
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=GroupKFold(3))
    result = compare_models({"m": search}, scans.X, scans.y, scans.patient, **FAST)
    assert result.table.loc["m", "error"] == ""


def test_a_split_of_patients_over_both_sides_is_refused(scans):
    pair = (np.arange(0, 120, 2), np.arange(1, 120, 2))
    with pytest.raises(ValueError, match=r"60 patient\(s\) on both sides of split 0"):
        compare_models(plain_models(), scans.X, scans.y, scans.patient, cv=[pair])


def test_ids_of_patients_may_be_of_several_kinds(scans):
    mixed = np.array([p if p % 2 else f"P{p} " for p in scans.patient], dtype=object)
    plain = compare_models(plain_models(), scans.X, scans.y, scans.patient, **FAST)
    result = compare_models(plain_models(), scans.X, scans.y, mixed, **FAST)
    assert result.predictions["patient"].nunique() == 60
    assert len(result.predictions) == len(plain.predictions)
    for _, tested in result.predictions.groupby("model"):
        assert tested.groupby("patient")["fold"].nunique().max() == 1


# --- TBS values


@pytest.fixture(scope="module")
def valued():
    """Return scans whose first feature is their TBS, and the second their row."""
    scans = make_table(shift=0)
    scans.tbs = np.random.default_rng(1).uniform(1.0, 1.4, len(scans.y)).round(3)
    scans.y = (scans.tbs < 1.2).astype(int)
    scans.X = np.column_stack([scans.tbs, np.arange(len(scans.y))])
    return scans


class Taught(ClassifierMixin, BaseEstimator):
    """Learn a line through the TBS values, and from the classes nothing."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y, *, tbs=None):
        self.seen.append((X[:, 1].astype(int), y, tbs))
        self.classes_ = np.unique(y)
        self.line_ = np.polyfit(X[:, 0], np.ones(len(X)) if tbs is None else tbs, 1)
        return self

    def predict_proba(self, X):
        degraded = 1 / (1 + np.exp(20 * (np.polyval(self.line_, X[:, 0]) - 1.2)))
        return np.stack([1 - degraded, degraded], axis=1)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def taught_models():
    step = make_pipeline(FunctionTransformer(), Taught())
    search = GridSearchCV(step, {}, cv=GroupKFold(2))
    return {"alone": Taught(), "step": step, "search": search}


@pytest.mark.parametrize("kind", ["alone", "step", "search"])
def test_every_fit_gets_the_values_of_its_own_scans(valued, kind):
    Taught.seen.clear()
    models = {"m": taught_models()[kind], "other": GaussianNB()}
    result = compare_models(
        models, valued.X, valued.y, valued.patient, tbs=valued.tbs, cv=2, **FAST
    )
    assert result.table["error"].tolist() == ["", ""]
    assert result.table.loc["m", "roc_auc"] == 1
    assert len(Taught.seen) == (6 if kind == "search" else 2)
    for rows, _, tbs in Taught.seen:
        assert_array_equal(tbs, valued.tbs[rows])


def test_fits_that_choose_the_threshold_get_the_values_too(valued):
    Taught.seen.clear()
    compare_models(
        {"m": Taught()},
        valued.X,
        valued.y,
        valued.patient,
        tbs=valued.tbs,
        cv=2,
        threshold="f1",
        **FAST,
    )
    assert len(Taught.seen) == 2 * (5 + 1)
    for rows, _, tbs in Taught.seen:
        assert_array_equal(tbs, valued.tbs[rows])


def test_values_change_nothing_for_models_that_take_none(valued):
    call = {"X": valued.X, "y": valued.y, "check": "permuted", **FAST}
    plain, given = (
        compare_models(plain_models(), tbs=tbs, **call) for tbs in (None, valued.tbs)
    )
    assert_frame_equal(plain.predictions, given.predictions)
    assert_frame_equal(plain.control, given.control)


def test_metadata_routing_changes_nothing_about_values(valued):
    models = taught_models()
    call = {"X": valued.X, "y": valued.y, "groups": valued.patient, "tbs": valued.tbs}
    plain = compare_models(models, **call, **FAST)
    with config_context(enable_metadata_routing=True):
        routed = compare_models(models, **call, **FAST)
    assert routed.table["roc_auc"].tolist() == [1, 1, 1]
    assert_frame_equal(plain.predictions, routed.predictions)


@pytest.mark.parametrize("routing", [False, True])
def test_of_two_equal_models_one_may_do_without_the_values(valued, routing):
    with config_context(enable_metadata_routing=True):
        without = Taught().set_fit_request(tbs=False)
    with config_context(enable_metadata_routing=routing):
        result = compare_models(
            {"with": Taught(), "without": make_pipeline(without)},
            valued.X,
            valued.y,
            tbs=valued.tbs,
            **FAST,
        )
    assert result.table["roc_auc"].tolist() == [1, 0.5]


def test_the_control_shuffles_values_with_their_classes(valued):
    Taught.seen.clear()
    result = compare_models(
        {"m": Taught()},
        valued.X,
        valued.y,
        valued.patient,
        tbs=valued.tbs,
        check="permuted",
        n_bootstrap=0,
        random_state=1,
    )
    assert result.table.loc["m", "roc_auc"] == 1
    control = result.control.loc["m"]
    assert control["roc_auc_low"] <= 0.5 <= control["roc_auc_high"]
    for rows, y, tbs in Taught.seen[5:]:
        assert_array_equal(y, tbs < 1.2)
        assert np.mean(tbs == valued.tbs[rows]) < 0.1


class RememberingValues(ClassifierMixin, BaseEstimator):
    """Know the values of all earlier fits."""

    memory: dict = {}  # noqa: RUF012

    def fit(self, X, y, *, tbs):
        self.classes_ = np.unique(y)
        self.memory |= dict(zip(X[:, 1].tolist(), tbs.tolist(), strict=True))
        return self

    def predict_proba(self, X):
        known = np.array([self.memory.get(row, 1.2) for row in X[:, 1].tolist()])
        return np.stack([known - 0.5, 1.5 - known], axis=1)


def test_the_control_finds_a_model_that_remembers_values(valued):
    RememberingValues.memory.clear()
    with pytest.warns(UserWarning, match=r"not 0\.5 for leaky \("):
        compare_models(
            {"leaky": RememberingValues()},
            valued.X,
            valued.y,
            valued.patient,
            tbs=valued.tbs,
            check="permuted",
            **FAST,
        )


def test_a_checkpoint_with_other_values_is_refused(valued, tmp_path):
    call = {"X": valued.X, "y": valued.y, "checkpoint_dir": tmp_path, **FAST}
    first = compare_models({"m": Taught()}, tbs=valued.tbs, **call)
    Taught.seen.clear()
    again = compare_models({"m": Taught()}, tbs=valued.tbs.tolist(), **call)
    assert_frame_equal(first.table, again.table)
    assert Taught.seen == []
    for tbs in (None, np.r_[1.001, valued.tbs[1:]]):
        with pytest.raises(ValueError, match="run with other data"):
            compare_models({"m": Taught()}, tbs=tbs, **call)


# --- metadata routing and workers


def test_metadata_routing_changes_nothing(scans):
    models = {
        "pipeline": make_pipeline(FunctionTransformer(), Recorder(random_state=1)),
        "search": GridSearchCV(
            GaussianNB(), {"var_smoothing": [1e-9, 0.1]}, cv=GroupKFold(3)
        ),
    }
    call = {"models": models, "X": scans.X, "y": scans.y, "groups": scans.patient}
    plain = compare_models(**call, **FAST)
    Recorder.seen.clear()
    with config_context(enable_metadata_routing=True):
        routed = compare_models(**call, **FAST)
    assert routed.table["error"].tolist() == ["", ""]
    assert_frame_equal(routed.predictions, plain.predictions)
    assert [len(groups) for groups in Recorder.seen] == [96] * 5


@pytest.mark.parametrize("routing", [False, True])
def test_a_search_on_ray_gets_the_patients_whatever_the_routing(
    scans, routing, monkeypatch
):
    seen = []

    def fit(self, X, y, groups=None):
        seen.append(groups)
        return GaussianNB().fit(X, y)

    monkeypatch.setattr(RayTuneSearchCV, "fit", fit)
    search = RayTuneSearchCV(GaussianNB(), {"var_smoothing": [1e-9]})
    with config_context(enable_metadata_routing=routing):
        compare_models({"m": search}, scans.X, scans.y, scans.patient, **FAST)
    assert [len(groups) for groups in seen] == [96] * 5


def test_a_request_of_the_user_is_kept_under_metadata_routing(scans):
    Recorder.seen.clear()
    with config_context(enable_metadata_routing=True):
        model = make_pipeline(Recorder().set_fit_request(groups=False))
        result = compare_models({"m": model}, scans.X, scans.y, scans.patient, **FAST)
    assert result.table.loc["m", "error"] == ""
    assert Recorder.seen == [None] * 5


class Configured(Seeded):
    """Say whether the caller's configuration is there."""

    def fit(self, X, y, groups=None):
        config = get_config()
        assert config["enable_metadata_routing"]
        assert config["working_memory"] == 7
        assert groups is not None
        return super().fit(X, y)


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_have_the_caller_s_configuration(scans, backend):
    models = {"m": make_pipeline(Configured()), "sgd": SGDClassifier(loss="log_loss")}
    call = {"models": models, "X": scans.X, "y": scans.y, "groups": scans.patient}
    with config_context(enable_metadata_routing=True, working_memory=7):
        one = compare_models(**call, **FAST)
        with parallel_config(backend=backend):
            two = compare_models(**call, n_jobs=2, **FAST)
    assert two.table["error"].tolist() == ["", ""]
    assert_frame_equal(one.predictions, two.predictions)


# --- any form of cv


@pytest.mark.parametrize("make", [iter, lambda splits: (one for one in splits)])
def test_splits_may_be_an_iterator_and_the_control_still_runs(scans, make):
    splits = list(StratifiedGroupKFold(3).split(scans.X, scans.y, scans.patient))
    call = {"check": "permuted", **FAST}
    results = [
        compare_models(plain_models(), scans.X, scans.y, scans.patient, cv=cv, **call)
        for cv in (splits, make(splits))
    ]
    assert results[1].control["roc_auc"].notna().all()
    assert_frame_equal(results[0].control, results[1].control)
    assert_frame_equal(results[0].predictions, results[1].predictions)


def test_an_iterator_that_was_used_before_is_refused(scans):
    splits = StratifiedGroupKFold(3).split(scans.X, scans.y, scans.patient)
    list(splits)
    with pytest.raises(ValueError, match="cv holds no split"):
        compare_models(plain_models(), scans.X, scans.y, scans.patient, cv=splits)


# --- the threshold


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(["f1", "balanced_accuracy"]))
def test_no_other_threshold_is_better_on_the_scans_it_was_chosen_on(seed, measure):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(30) % 3 == 0)
    score = (rng.random(30) + 0.3 * positive).round(1) / 2
    metric = f1_score if measure == "f1" else balanced_accuracy_score
    chosen = metric(positive, score > best_threshold(positive, score, measure))
    assert chosen >= max(metric(positive, score > cut) for cut in score[score < 0.65])


def test_the_threshold_is_chosen_without_the_test_scans(scans):
    train, validation, test = paper_split(scans.y, scans.patient, random_state=0)
    options = {"cv": [(np.r_[train, validation], test)], "threshold": "f1", **FAST}
    models = {"m": GaussianNB()}
    one = compare_models(models, scans.X, scans.y, scans.patient, **options)
    X, y = scans.X.copy(), scans.y.copy()
    X[test], y[test] = 100 - X[test], 1 - y[test]
    other = compare_models(models, X, y, scans.patient, **options)
    assert one.predictions["threshold"][0] == other.predictions["threshold"][0] != 0.5


# --- the negative control


@given(st.lists(st.integers(1, 4), min_size=2, max_size=12), st.integers(0, 99))
def test_shuffled_labels_move_from_patient_to_patient_as_a_whole(n_scans, seed):
    patient = np.repeat(np.arange(len(n_scans)), n_scans)
    labels = patient[permute_patients(patient, seed)]
    given = [set(labels[patient == p].tolist()) for p in range(len(n_scans))]
    assert all(len(each) == 1 for each in given)
    assert {one for each in given for one in each} == {*patient.tolist()}


def test_honest_models_find_nothing_in_shuffled_labels(scans):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = compare_models(
            plain_models(), scans.X, scans.y, scans.patient, check="permuted", **FAST
        )
    assert result.table.loc["good", "roc_auc_low"] > 0.6
    control = result.control.loc["good"]
    assert control["roc_auc_low"] <= 0.5 <= control["roc_auc_high"]


def test_the_control_needs_no_bootstrap(scans):
    result = compare_models(
        plain_models(), scans.X, scans.y, check="permuted", n_bootstrap=0
    )
    assert result.control["p_value"].between(0, 1).all()
    assert result.control.loc["poor", ["roc_auc", "p_value"]].tolist() == [0.5, 1]


def test_the_control_tests_the_same_splits_on_other_labels(scans):
    seen = []

    class Spy(Seeded):
        def fit(self, X, y):
            seen.append((X, y))
            return super().fit(X, y)

    compare_models(
        {"spy": Spy()}, scans.X, scans.y, scans.patient, check="permuted", **FAST
    )
    for (X, y), (shuffled_X, shuffled_y) in zip(seen[:5], seen[5:], strict=True):
        assert_array_equal(X, shuffled_X)
        assert 0.2 < np.mean(y == shuffled_y) < 0.8


def test_a_control_that_could_find_nothing_is_refused_before_the_first_fit(scans):
    Recorder.seen.clear()
    with pytest.raises(ValueError, match="no test set of cv holds two"):
        compare_models(
            {"m": Recorder()},
            scans.X,
            scans.y,
            scans.patient,
            cv=LeaveOneGroupOut(),
            check="permuted",
        )
    assert Recorder.seen == []


@pytest.mark.parametrize("model", [Seeded(), KNeighborsClassifier(3)])
def test_the_control_warns_about_as_often_as_it_says(model):
    """Scans of a patient are alike, so that neighbours and labels go together."""
    n_warned = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(40), rng.integers(1, 4, 40))
        y = (rng.permutation(40) < 12).astype(int)[patient]
        X = rng.normal(size=(40, 2))[patient] + rng.normal(size=(len(y), 2)) / 4
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            compare_models(
                {"m": model},
                X,
                y,
                patient,
                cv=3,
                check="permuted",
                n_bootstrap=0,
                random_state=seed,
            )
        n_warned += len(caught)
    # At 5 %, more than 6 of 40 happen in 1 of 300 series.
    assert n_warned <= 6


def test_a_model_with_a_memory_is_found_beside_many_honest_ones(scans):
    Remembering.memory.clear()
    models = {f"honest {i}": Seeded() for i in range(6)} | {"leaky": Remembering()}
    with pytest.warns(UserWarning, match=r"not 0\.5 for leaky \(\S+ \[.*about 5 %"):
        result = compare_models(
            models, scans.X, scans.y, scans.patient, check="permuted", **FAST
        )
    assert (result.control.drop(index="leaky")["p_value"] > 0.05 / 7).all()


def test_a_memory_is_found_for_three_classes_and_over_repeats():
    scans = make_table(90, n_classes=3)

    class RememberingThree(Remembering):
        memory: dict = {}  # noqa: RUF012

        def predict_proba(self, X):
            known = [self.memory.get(key, 0) for key in X[:, 1].tolist()]
            return np.eye(3)[known]

    with pytest.warns(UserWarning, match="not 0"):
        compare_models(
            {"leaky": RememberingThree()},
            scans.X,
            scans.y,
            scans.patient,
            cv=3,
            n_repeats=2,
            check="permuted",
            **FAST,
        )


def test_a_model_that_outlives_its_fits_is_found_out(scans):
    Remembering.memory.clear()
    models = {"honest": GaussianNB(), "leaky": Remembering()}
    with pytest.warns(UserWarning, match=r"not 0\.5 for leaky \("):
        compare_models(
            models, scans.X, scans.y, scans.patient, check="permuted", **FAST
        )


# --- killed and called again

RUN = """
import sys, time
import numpy as np
from sklearn.naive_bayes import GaussianNB
from tbsclassify.comparison import compare_models

class Counting(GaussianNB):
    def fit(self, X, y):
        with open(sys.argv[1], "a") as file:
            file.write("fit\\n")
        time.sleep(float(sys.argv[3]))
        return super().fit(X, y)

rng = np.random.default_rng(0)
y = np.arange(60) % 2
X = rng.normal(size=(60, 3)) + y[:, None]
models = {"a/b": Counting(), "A/B": Counting()}
for folder in sys.argv[2:3] if float(sys.argv[3]) else (sys.argv[2], None):
    result = compare_models(
        models, X, y, n_repeats=2, random_state=0, checkpoint_dir=folder
    )
    print(result.table.drop(columns="fit_seconds").to_csv(), end="---")
"""


def test_models_in_another_order_are_the_same_run(scans, tmp_path):
    call = {"X": scans.X, "y": scans.y, "checkpoint_dir": tmp_path, **FAST}
    models = plain_models()
    first = compare_models(models, **call)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    again = compare_models(dict(reversed(models.items())), **call)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    assert list(again.table.index) == list(reversed(models))
    pd.testing.assert_frame_equal(again.table.loc[first.table.index], first.table)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_run_goes_on_where_it_was_and_repeats_nothing(tmp_path):
    script, fits, folder = (tmp_path / name for name in ("run.py", "fits", "kept"))
    script.write_text(RUN)
    command = [sys.executable, str(script), str(fits), str(folder)]
    killed = subprocess.Popen([*command, "0.2"])
    deadline = time.monotonic() + 100
    while len(list(folder.glob("*.npz"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    n_begun = len(fits.read_text().split())
    n_finished = len(list(folder.glob("*.npz")))
    assert 3 <= n_finished < 20

    again = subprocess.run(
        [*command, "0"], check=True, capture_output=True, text=True
    ).stdout
    resumed, unbroken, _ = again.split("---")
    assert len(fits.read_text().split()) == n_begun + (20 - n_finished) + 20
    assert resumed == unbroken


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"y": 0}, "data"),
        ({"models": {"good": GaussianNB(var_smoothing=1)}}, "models"),
        ({"random_state": 1}, "splits, settings"),
        ({"threshold": 0.4}, "settings"),
        ({"cv": 4}, "splits"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, what):
    scans = make_table(20)
    call = {"models": {"good": GaussianNB()}, "X": scans.X, "y": scans.y, **FAST}
    compare_models(**call, checkpoint_dir=tmp_path)
    if "y" in change:
        change = {"y": np.r_[1 - scans.y[:4], scans.y[4:]], "cv": 5}
    with pytest.raises(ValueError, match=f"holds a run with other {what}"):
        compare_models(**call | change, checkpoint_dir=tmp_path)


def test_what_failed_is_tried_again_and_the_control_may_be_added_later(tmp_path):
    scans = make_table(20)
    call = {"X": scans.X, "y": scans.y, "checkpoint_dir": tmp_path, **FAST}
    models = {"failing": Failing(), "good": GaussianNB()}
    with pytest.warns(UserWarning, match="failing failed"):
        compare_models(models, **call)
    assert len(list(tmp_path.glob("*.npz"))) == 5
    with pytest.warns(UserWarning, match="failing failed"):
        result = compare_models(models, check="permuted", **call)
    assert len(list(tmp_path.glob("*.npz"))) == 10
    assert result.table.loc["failing", "error"] == "RuntimeError: no luck today"
    assert not list(tmp_path.glob("*.tmp"))


def test_a_checkpoint_knows_tables_of_scans_by_their_pixels_and_paths(tmp_path):
    scans = make_table(20)
    table = pd.DataFrame({"image": list(scans.X[:, None]), "path": "a.png"})
    model = make_pipeline(FunctionTransformer(stacked), GaussianNB())
    call = {"models": {"m": model}, "y": scans.y, "checkpoint_dir": tmp_path, **FAST}
    compare_models(X=table, **call)
    copied = pd.DataFrame({"image": [x.copy() for x in table["image"]]})
    compare_models(X=copied.assign(path="a.png"), **call)
    with pytest.raises(ValueError, match="other data"):
        compare_models(X=copied.assign(path="b.png"), **call)


def stacked(table):
    return np.concatenate(list(table["image"]))


def test_a_checkpoint_without_a_seed_is_refused(scans, tmp_path):
    with pytest.raises(ValueError, match=r"random_state to be a seed .* got None"):
        compare_models(plain_models(), scans.X, scans.y, checkpoint_dir=tmp_path)


def write_scans(folder, n_scans=40, shift=0):
    """Write scans whose first bytes tell the class, and return their paths."""
    paths = [folder / f"{i}.npy" for i in range(n_scans)]
    for i, path in enumerate(paths):
        np.save(path, np.random.default_rng(i).normal(size=4) + (i + shift) % 2)
    return [str(path) for path in paths]


def load(paths):
    paths = paths["path"] if hasattr(paths, "columns") else paths
    return np.stack([np.load(path) for path in paths])


@pytest.mark.parametrize(
    "form",
    [list, np.array, lambda paths: pd.DataFrame({"path": paths})],
    ids=["list", "array", "table"],
)
def test_files_that_were_rewritten_are_other_data(tmp_path, form):
    (tmp_path / "scans").mkdir()
    paths = write_scans(tmp_path / "scans")
    model = make_pipeline(FunctionTransformer(load), GaussianNB())
    call = {"models": {"m": model}, "y": np.arange(40) % 2, **FAST}
    folder = tmp_path / "runs"
    first = compare_models(X=form(paths), checkpoint_dir=folder, **call)
    again = compare_models(X=form(paths), checkpoint_dir=folder, **call)
    assert_frame_equal(first.table, again.table)
    assert first.table.loc["m", "error"] == ""
    time.sleep(0.01)
    write_scans(tmp_path / "scans", shift=1)
    with pytest.raises(ValueError, match="run with other data"):
        compare_models(X=form(paths), checkpoint_dir=folder, **call)


class Weighted(Seeded):
    """Take a file of weights and a function, as networks do."""

    def __init__(self, weights=None, score=None, random_state=None):
        self.weights, self.score = weights, score
        super().__init__(random_state)


def scaled_score(factor):
    return make_scorer(lambda y, p: factor * np.mean(y == p))


@pytest.mark.parametrize("what", ["weights", "score"])
def test_a_changed_file_or_function_of_a_model_is_another_model(tmp_path, what):
    scans = make_table(20)
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"first")
    call = {"X": scans.X, "y": scans.y, "checkpoint_dir": tmp_path / "runs", **FAST}
    compare_models({"m": Weighted(weights, scaled_score(1))}, **call)
    compare_models({"m": Weighted(weights, scaled_score(1))}, **call)
    factor = 1
    if what == "weights":
        weights.write_bytes(b"the second")
    else:
        factor = 2
    with pytest.raises(ValueError, match="run with other models"):
        compare_models({"m": Weighted(weights, scaled_score(factor))}, **call)


def test_equal_models_are_resumed_whether_they_share_objects_or_not(tmp_path):
    scans = make_table(20)
    grid = (1e-9, 1e-3)
    models = {
        name: GridSearchCV(GaussianNB(), {"var_smoothing": grid}, cv=2)
        for name in ("one", "two")
    }
    call = {"X": scans.X, "y": scans.y, "checkpoint_dir": tmp_path, **FAST}
    first = compare_models(models, **call)
    cloned = {name: clone(model) for name, model in models.items()}
    assert_frame_equal(first.table, compare_models(cloned, **call).table)
    fitted = {
        name: clone(model).fit(scans.X, scans.y) for name, model in models.items()
    }
    assert_frame_equal(first.table, compare_models(fitted, **call).table)


def test_another_fold_threshold_or_class_is_never_resumed_by_the_control(tmp_path):
    scans = make_table(30)
    call = {"X": scans.X, "y": scans.y, "checkpoint_dir": tmp_path, **FAST}
    with_control = compare_models({"m": Seeded()}, check="permuted", **call)
    without = compare_models({"m": Seeded()}, **call)
    assert without.control is None
    assert_frame_equal(with_control.table, without.table)
    with pytest.raises(ValueError, match="with other settings"):
        compare_models({"m": Seeded()}, check="permuted", pos_label=0, **call)


def compare_beside_another(started, folder):
    """Compare two models once another process is about to do the same."""
    (started / str(os.getpid())).touch()
    deadline = time.monotonic() + 100
    while len(list(started.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    scans = make_table(30)
    models = {"a": GaussianNB(), "b": GaussianNB(var_smoothing=0.1)}
    options = {"n_repeats": 4, "n_bootstrap": 0, "random_state": 0}
    result = compare_models(models, scans.X, scans.y, checkpoint_dir=folder, **options)
    return result.table[["tp", "roc_auc", "error"]]


def test_two_processes_may_share_a_folder(tmp_path):
    started, folder = tmp_path / "started", tmp_path / "kept"
    started.mkdir()
    call = delayed(compare_beside_another)(started, folder)
    one, other = Parallel(2, "loky")([call, call])
    assert len(list(started.iterdir())) == 2
    assert one["error"].tolist() == ["", ""]
    assert_frame_equal(one, other)
    assert len(list(folder.glob("*.npz"))) == 40
    assert not list(folder.glob("*.tmp"))


# --- networks and progress


def test_a_network_s_size_time_and_training_curve_are_kept(spines, tmp_path):
    models = {"network": small_adhoc(random_state=None), "plain": Seeded()}
    call = {"X": spines.X, "y": spines.y, "groups": spines.patient, "cv": 2, **FAST}
    result = compare_models(models, checkpoint_dir=tmp_path, **call)
    row = result.table.loc["network"]
    assert row["error"] == ""
    assert row["n_parameters"] == row["n_trainable_parameters"] > 1000
    assert row["seconds_per_10_epochs"] > 0
    assert np.isnan(result.table.loc["plain", SECONDS[0]])
    assert set(result.histories) == {("network", 0, 0), ("network", 0, 1)}
    history = result.histories["network", 0, 0]
    assert {"epoch", "train_loss", "valid_loss"} <= set(history.columns)
    assert history["epoch"].tolist() == list(range(1, len(history) + 1))
    assert result.fits.loc[("network", 0, 0), "best_epoch"] >= 1
    again = compare_models(models, checkpoint_dir=tmp_path, **call)
    assert_frame_equal(result.table, again.table)
    assert_frame_equal(history, again.histories["network", 0, 0])


class WithHistory(Seeded):
    """Has training curves as a table or as a mapping of columns."""

    def __init__(self, form=dict, random_state=None):
        self.form = form
        super().__init__(random_state)

    def fit(self, X, y):
        self.history_ = self.form({"epoch": [1, 2], "seconds": [3.0, 5.0]})
        self.history_["event"] = ["", "saved"]
        return super().fit(X, y)


@pytest.mark.parametrize("form", [dict, pd.DataFrame])
def test_histories_are_tables_of_the_numbers_of_each_epoch(scans, form, tmp_path):
    models = {"m": make_pipeline(WithHistory(form))}
    call = {"cv": 2, "checkpoint_dir": tmp_path, **FAST}
    for _ in range(2):  # run, and read from the folder
        result = compare_models(models, scans.X, scans.y, **call)
        history = result.histories["m", 0, 1]
        assert_frame_equal(
            history, pd.DataFrame({"epoch": [1, 2], "seconds": [3.0, 5.0]})
        )
        assert result.table.loc["m", "seconds_per_10_epochs"] == 40


def test_progress_is_a_line_a_fit_on_stderr(scans, capsys):
    compare_models(plain_models(), scans.X, scans.y, verbose=1, **FAST)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"{done}/10 fits" for done in range(1, 11)
    ]
    assert lines[8].endswith(" left")
    assert lines[9].endswith(" taken")


def test_nothing_is_printed_unasked(scans, capsys):
    compare_models(plain_models(), scans.X, scans.y, **FAST)
    assert capsys.readouterr().err == ""


# --- the models of the paper


def test_the_paper_s_models_are_fourteen_networks_and_the_texture_baseline():
    models = paper_models(max_epochs=3, weights=None)
    assert len(models) == 15
    assert models["vgg16-head"][-1].get_params()["mode"] == "head"
    assert models["model2"][-1].filters == (8, 16, 32)
    assert {models[name][-1].max_epochs for name in models if name != "texture"} == {3}
    assert models["alexnet-full"][-1].weights is None


def test_the_paper_s_networks_learn_classes_even_where_there_are_values():
    models = paper_models()
    assert [fit_metadata(models[name], tbs=[1.2]) for name in models] == [{}] * 15


@pytest.mark.parametrize("make", [paper_models, all_models])
def test_a_parameter_that_no_network_has_is_refused(make):
    with pytest.raises(TypeError, match="'max_epoch' is no parameter of any"):
        make(max_epoch=3)


def test_all_models_are_the_paper_s_and_our_own_behind_one_cropper():
    cropper = LumbarCropper(size=96)
    models = all_models(cropper=cropper, max_epochs=3, weights=None)
    paper = paper_models(cropper=cropper, max_epochs=3, weights=None)
    assert list(models) == [*paper, *radiomics_models(), "deep-texture", "ad-hoc"]
    assert {name: repr(model) for name, model in paper.items()}.items() <= {
        name: repr(model) for name, model in models.items()
    }.items()
    assert models["deep-texture"][-1].mode == "texture"
    assert models["deep-texture"][-1].weights is None
    croppers = [model[0] for model in models.values() if hasattr(model[0], "size")]
    assert {cropper.size for cropper in croppers} == {96}
    assert len(croppers) == 14 + 2
    assert models["ad-hoc"][-1].get_params() == TBSAdHocClassifier().get_params() | {
        "max_epochs": 3
    }


TABLES = {
    "scan": pd.DataFrame({"image": ["a.png"], "TBS": [1.2]}),
    "clinical": pd.DataFrame({"image": ["a.png"], "Age": [70]}),
    "array": np.zeros((1, 8, 8)),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    ("name", "make"),
    [("paper", paper_models), ("radiomics", radiomics_models), ("all", all_models)],
)
def test_a_baseline_without_images_is_there_where_the_table_has_its_columns(
    name, make, kind
):
    expected = [*make(), "clinical"] if kind == "clinical" else [*make()]
    assert list(check_models(name, TABLES[kind])) == expected


def test_models_of_the_user_are_left_as_they_are(scans):
    table = pd.DataFrame(scans.X, columns=["age", "bmi", "bmd", "sex"])
    result = compare_models({"m": GaussianNB()}, table, scans.y, cv=2, **FAST)
    assert list(result.table.index) == ["m"]


# --- bad input


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": [GaussianNB()]}, TypeError, "Expected models .* of type list"),
        ({"models": {"m": GaussianNB}}, TypeError, "to be a classifier"),
        ({"models": {1: GaussianNB()}}, TypeError, "names of models to be strings"),
        (
            {"pos_label": 2},
            ValueError,
            r"pos_label to be one of the classes \[0, 1\], got 2",
        ),
        ({"threshold": "auc"}, ValueError, "'f1', 'balanced_accuracy'"),
        ({"check": "random"}, ValueError, "'permuted'"),
        ({"n_bootstrap": -1}, ValueError, "n_bootstrap to be an integer at least 0"),
        (
            {"n_repeats": 2, "cv": KFold(5)},
            ValueError,
            "where n_repeats is 2",
        ),
        ({"groups": [1, 2]}, ValueError, "each of 120 scans, got 2 entries"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(scans, change, error, message):
    call = {"models": plain_models(), "X": scans.X, "y": scans.y, **FAST}
    with pytest.raises(error, match=message):
        compare_models(**call | change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"confidence_level": 95}, ValueError, "confidence_level to be .* got 95"),
        ({"confidence_level": "95 %"}, TypeError, "confidence_level to be"),
        ({"n_bootstrap": -1}, ValueError, "n_bootstrap to be .* got -1"),
        ({"n_bootstrap": 10.5}, TypeError, "n_bootstrap to be an integer"),
        ({"random_state": -1}, ValueError, "random_state to be"),
        ({"random_state": "seed"}, TypeError, "random_state to be"),
        ({"threshold": np.nan}, ValueError, "threshold to be a finite number"),
        ({"threshold": None}, TypeError, "threshold to be"),
        (
            {"check": True},
            ValueError,
            "check to be one of 'permuted', 'duplicates', got True",
        ),
        ({"pos_label": "degraded"}, ValueError, "got 'degraded'"),
        ({"n_repeats": 0}, ValueError, "n_repeats to be an integer at least 1"),
        ({"n_jobs": 0}, ValueError, "n_jobs to be an integer other than 0"),
        ({"n_jobs": 1.5}, TypeError, "n_jobs to be an integer"),
        ({"cv": 1}, ValueError, "k-fold cross-validation requires at least one"),
        ({"cv": 61}, ValueError, "n_splits=61 cannot be greater"),
        ({"cv": "five"}, ValueError, "Expected `?cv`? as an integer"),
        ({"cv": 2.5}, ValueError, "Expected `?cv`? as an integer"),
        ({"cv": []}, ValueError, "cv holds no split"),
        ({"cv": [(range(100), range(100, 130))]}, ValueError, "names row 129"),
        ({"X": np.zeros((3, 2))}, ValueError, "inconsistent numbers of samples"),
        ({"y": np.zeros(120)}, ValueError, "two classes or more, got"),
        ({"y": np.linspace(0, 1, 120)}, ValueError, "Unknown label type"),
        (
            {"y": pd.Series([0, 1, None] * 40, dtype="Int64")},
            ValueError,
            r"y lacks the class of 40 scan\(s\), at index \[2, 5",
        ),
        ({"y": pd.Series([True, None] * 60)}, ValueError, "y lacks the class of 60"),
        ({"groups": [None] * 120}, ValueError, "groups lacks the patient of 120"),
        ({"tbs": [1.2] * 3}, ValueError, "tbs .* each of 120 scans, got 3 entries"),
        ({"tbs": [1.2, np.nan] * 60}, ValueError, r"tbs holds 60 value\(s\) that are"),
        ({"tbs": [1.2] * 119 + [0]}, ValueError, r"not positive, at index 119 \(0\)"),
        ({"tbs": [120] * 120}, ValueError, "tbs in TBS units such as 1.25, got 120"),
        (
            {"models": {"r": Recorder(), "m": SVC()}},
            TypeError,
            r"to have predict_proba, got SVC\(\)",
        ),
        ({"models": {}}, TypeError, "Expected models to be a dict"),
        ({"models": "best"}, TypeError, "Expected models .* got 'best'"),
        ({"checkpoint_dir": "runs", "random_state": None}, ValueError, "to be a seed"),
    ],
)
def test_what_can_be_refused_is_refused_before_the_first_fit(
    scans, change, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Recorder.seen.clear()
    call = {"models": {"m": Recorder()}, "X": scans.X, "y": scans.y, **FAST}
    with pytest.raises(error, match=message):
        compare_models(**call | change)
    assert Recorder.seen == []


def test_a_folder_that_cannot_be_written_to_is_refused_before_the_first_fit(
    scans, tmp_path
):
    (tmp_path / "file").write_text("")
    Recorder.seen.clear()
    with pytest.raises(OSError, match="checkpoint_dir to be a folder"):
        compare_models(
            {"m": Recorder()},
            scans.X,
            scans.y,
            checkpoint_dir=tmp_path / "file",
            **FAST,
        )
    assert Recorder.seen == []


def test_a_stack_with_its_default_last_estimator_is_a_classifier(scans):
    stack = StackingClassifier([("bayes", GaussianNB())], cv=2)
    models = {"stack": stack, "inside": make_pipeline(stack)}
    result = compare_models(models, scans.X, scans.y, cv=2, **FAST)
    assert result.table["error"].tolist() == ["", ""]


def test_a_threshold_has_no_place_with_three_classes():
    scans = make_table(30, n_classes=3)
    with pytest.raises(ValueError, match=r"left out for 3 classes.* got 'f1'"):
        compare_models(plain_models(), scans.X, scans.y, threshold="f1")
