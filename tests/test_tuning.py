"""The search as scikit-learn's and as Ray's: one Ray of two cores serves all tests."""

import _thread
import copy
import pickle
import random
import re
import threading
import time
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import ray
import sklearn
import torch
from conftest import (
    ONE_BY_ONE,
    count_threads,
    small_adhoc,
    small_pretrained,
    without_workers,
)
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from ray import tune
from ray.tune import schedulers
from scipy.stats import loguniform, norm, randint, uniform
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning, UnsetMetadataPassedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, check_scoring, log_loss, make_scorer
from sklearn.model_selection import (
    GroupKFold,
    RandomizedSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_fit_idempotent,
    parametrize_with_checks,
)
from sklearn.utils.metadata_routing import MetadataRequest

from tbsclassify import LumbarCropper, RandomAugmentation, RayTuneSearchCV
from tbsclassify._checkpoint import Checkpoint
from tbsclassify.tuning._journal import Journal
from tbsclassify.tuning._ray import restore_proposers
from tbsclassify.tuning._space import (
    make_proposals,
    sample_candidates,
    suggestion_space,
)
from tbsclassify.tuning._trial import Task, evaluate

LR = {"lr": [0.001, 0.01, 0.03, 0.1]}
# The default: trials of one core each.
SIDE_BY_SIDE = {"resources_per_trial": None}


pytestmark = pytest.mark.usefixtures("ray_of_two_cores")


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(80, n_features=6, random_state=0)
    return X, y


class Fussy(ClassifierMixin, BaseEstimator):
    """Fails on purpose, and notes what fit was given."""

    def __init__(self, fails=False):
        self.fails = fails

    def fit(self, X, y, groups=None):
        if self.fails:
            raise RuntimeError("no luck today")
        self.classes_ = np.unique(y)
        self.groups_ = groups
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def search(estimator, space, **options):
    defaults = {"n_trials": 3, "cv": 2, "random_state": 0, "error_score": "raise"}
    defaults |= ONE_BY_ONE
    return RayTuneSearchCV(estimator, space, **defaults | options)


# What it is to scikit-learn


@parametrize_with_checks([search(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=1)])
@pytest.mark.slow
# From scikit-learn's own look at a y that is infinite, before it refuses it.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_scikit_learns_checks_pass(estimator, check, trials_in_this_process):
    check(estimator)


@pytest.mark.slow
def test_one_of_scikit_learns_checks_passes_in_workers_of_ray():
    one = search(LogisticRegression(), {"C": [0.1, 1.0]}, n_trials=1)
    check_fit_idempotent("RayTuneSearchCV", one)


def test_without_epochs_it_finds_what_randomized_search_finds(table):
    space = {"C": loguniform(1e-3, 1e3), "fit_intercept": [True, False]}
    shared = {"scoring": "roc_auc", "cv": 3, "random_state": 7}
    theirs = RandomizedSearchCV(
        LogisticRegression(), space, n_iter=4, return_train_score=True, **shared
    ).fit(*table)
    ours = RayTuneSearchCV(
        LogisticRegression(), space, n_trials=4, return_train_score=True, **shared
    ).fit(*table)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    assert set(ours.cv_results_) == {*theirs.cv_results_, "status", "n_epochs"}
    for column, values in theirs.cv_results_.items():
        if not column.endswith("_time") and column != "params":
            assert_array_equal(ours.cv_results_[column], values)
    assert ours.best_index_ == theirs.best_index_
    assert ours.best_score_ == theirs.best_score_
    assert_array_equal(ours.predict_proba(table[0]), theirs.predict_proba(table[0]))
    assert ours.score(*table) == theirs.score(*table)


@pytest.fixture(scope="module")
def tuned(table):
    """Return a search with two measures over five configurations."""
    with without_workers():
        return search(
            LogisticRegression(),
            {"C": loguniform(1e-9, 1e3)},
            n_trials=5,
            scoring=["f1", "roc_auc"],
            refit="roc_auc",
        ).fit(*table)


def test_results_make_a_data_frame(tuned):
    frame = pd.DataFrame(tuned.cv_results_)
    assert len(frame) == 5
    assert {"param_C", "mean_test_f1", "rank_test_roc_auc", "status"} <= set(frame)


def test_several_measures_are_kept_and_one_chooses(tuned):
    assert tuned.multimetric_
    assert np.isfinite(tuned.cv_results_["mean_test_f1"]).all()
    assert tuned.best_score_ == tuned.cv_results_["mean_test_roc_auc"].max()
    assert set(tuned.scorer_) == {"f1", "roc_auc"}


def test_a_fitted_search_is_pickled(tuned, table):
    again = pickle.loads(pickle.dumps(tuned))
    assert_array_equal(again.predict(table[0]), tuned.predict(table[0]))


def test_an_estimator_without_epochs_is_never_ended(tuned):
    assert (tuned.cv_results_["status"] == "complete").all()
    assert tuned.history_.empty


def test_without_refit_there_is_a_choice_but_no_estimator(
    table, trials_in_this_process
):
    found = search(LogisticRegression(), {"C": [1.0, 2.0, 3.0]}, refit=False)
    found.fit(*table)
    assert found.best_params_ in found.cv_results_["params"]
    assert not hasattr(found, "best_estimator_")
    assert not hasattr(found, "predict")


def choose_the_second(results):
    return 1


def test_a_rule_may_choose(table, trials_in_this_process):
    found = search(
        LogisticRegression(), {"C": [1.0, 2.0, 3.0]}, refit=choose_the_second
    ).fit(*table)
    assert found.best_index_ == 1
    assert found.best_params_ == found.cv_results_["params"][1]


def count_and_accuracy(estimator, X, y):
    return {"n": len(X), "accuracy": estimator.score(X, y)}


def test_a_scorer_may_return_several_measures(table, trials_in_this_process):
    found = search(
        LogisticRegression(), {"C": [1.0]}, scoring=count_and_accuracy, refit="accuracy"
    )
    found.set_params(n_trials=1).fit(*table)
    assert_array_equal(found.cv_results_["mean_test_n"], [40])


def test_configurations_that_fail_are_warned_of_and_rank_last(
    table, trials_in_this_process
):
    found = search(Fussy(), {"fails": [True, False]}, n_trials=2, error_score=np.nan)
    with (
        pytest.warns(FitFailedWarning, match="no luck today"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        found.fit(*table)
    assert found.best_params_ == {"fails": False}
    failing = [one["fails"] for one in found.cv_results_["params"]].index(True)
    assert np.isnan(found.cv_results_["mean_test_score"][failing])


def wait_for_free_cores():
    until = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < until, "trials still run"
        time.sleep(0.1)


def test_the_error_of_a_configuration_is_raised_on_request(table):
    with pytest.raises(RuntimeError, match="no luck today"):
        search(Fussy(), {"fails": [True]}, n_trials=1).fit(*table)
    wait_for_free_cores()


def touch_and_score(file, estimator, X, y):
    file.touch()
    return estimator.score(X, y)


def test_ctrl_c_ends_the_search_and_its_trials(spines, tmp_path):
    begun = tmp_path / "begun"

    def interrupt():
        while not begun.exists():
            time.sleep(0.05)
        _thread.interrupt_main()

    model = small_adhoc(max_epochs=10**6, early_stopping=False)
    endless = search(model, LR, scheduler=None, scoring=partial(touch_and_score, begun))
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        endless.fit(spines.X, spines.y)
    wait_for_free_cores()


def test_an_unknown_parameter_is_an_error_before_anything_runs(table):
    space = {"C": [1.0], "shape": [1, 2, 3], "net__lr": tune.uniform(0, 1)}
    for search_alg in ("random", "optuna"):
        with pytest.raises(ValueError, match="got 'net__lr', 'shape'"):
            search(LogisticRegression(), space, search_alg=search_alg).fit(*table)


def test_an_int_of_folds_keeps_patients_together_where_there_are_groups(
    spines, trials_in_this_process
):
    found = search(small_adhoc(max_epochs=1), LR, cv=4, n_trials=1, refit=False)
    found.fit(spines.X, spines.y, groups=spines.patient)
    by_patient = cross_validate(
        small_adhoc(max_epochs=1, **found.best_params_),
        spines.X,
        spines.y,
        params={"groups": spines.patient},
        cv=list(StratifiedGroupKFold(4).split(spines.X, spines.y, spines.patient)),
    )
    ours = [found.cv_results_[f"split{fold}_test_score"][0] for fold in range(4)]
    assert_array_equal(ours, by_patient["test_score"])


def test_groups_reach_an_estimator_that_takes_them(table, trials_in_this_process):
    groups = np.arange(80) // 2
    model = make_pipeline(StandardScaler(), Fussy())
    found = search(model, {"fussy__fails": [False]}, n_trials=1, cv=GroupKFold(2))
    found.fit(*table, groups=groups)
    assert_array_equal(found.best_estimator_[-1].groups_, groups)


class Taught(Fussy):
    """Learns from values that its scans hold, too, so that it sees if they fit."""

    def fit(self, X, y, *, groups=None, tbs=None):
        assert_array_equal(X[:, 0], tbs)
        self.tbs_ = tbs
        return super().fit(X, y, groups)


@pytest.fixture(scope="module")
def valued(table):
    tbs = np.linspace(1.0, 1.4, 80)
    return tbs[:, np.newaxis], table[1], tbs


@pytest.mark.parametrize("name", ["tbs", "taught__tbs"])
def test_values_reach_every_fit_cut_to_its_scans(name, valued, trials_in_this_process):
    X, y, tbs = valued
    model = make_pipeline("passthrough", Taught())
    found = search(model, {"taught__fails": [False]}, n_trials=1)
    found.fit(X, y, groups=np.arange(80) // 2, **{name: tbs})
    assert_array_equal(found.best_estimator_[-1].tbs_, tbs)


def test_values_are_routed_where_they_were_requested(valued, trials_in_this_process):
    X, y, tbs = valued
    with sklearn.config_context(enable_metadata_routing=True):
        found = search(make_pipeline(Taught()), {"taught__fails": [False]}, n_trials=1)
        with pytest.raises(UnsetMetadataPassedError, match="tbs"):
            found.fit(X, y, tbs=tbs)
        found.estimator[-1].set_fit_request(tbs=True)
        found.fit(X, y, tbs=tbs)
    assert_array_equal(found.best_estimator_[-1].tbs_, tbs)


def test_a_search_does_not_go_on_with_other_values(
    valued, tmp_path, trials_in_this_process
):
    X, y, tbs = valued
    one = search(Taught(), {"fails": [False]}, n_trials=1, checkpoint_dir=tmp_path)
    one.fit(X, y, tbs=tbs)
    one.fit(X, y, tbs=tbs.tolist())
    with pytest.raises(ValueError, match="run with other fit_params"):
        one.fit(X, y, tbs=tbs[::-1])


def test_values_that_nobody_takes_or_of_another_length_are_an_error(valued):
    X, y, tbs = valued
    with pytest.raises(TypeError, match=r"fit takes tbs.*got LogisticRegression"):
        search(LogisticRegression(), {"C": [1.0]}).fit(X, y, tbs=tbs)
    with pytest.raises(ValueError, match="each of 80 scans, got 3 entries"):
        search(Taught(), {"fails": [False]}).fit(X, y, tbs=tbs[:3])


def test_groups_of_another_length_are_an_error(table):
    with pytest.raises(ValueError, match="each of 80 scans, got 3 entries"):
        search(LogisticRegression(), {"C": [1.0]}).fit(*table, groups=[1, 2, 3])


def test_metadata_is_routed(table):
    X, y = table
    weight = np.r_[np.ones(40), np.zeros(40)]
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=False)
        # A Pipeline takes weights under this name with routing only, so that a worker
        # without this configuration could not fit it.
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model)
        space = {"logisticregression__C": [1.0]}
        found = search(pipeline, space, n_trials=1, cv=GroupKFold(2), scoring=scorer)
        found.fit(X, y, sample_weight=weight, groups=np.arange(80) % 2)
    scaled = StandardScaler().fit_transform(X)
    direct = LogisticRegression().fit(scaled, y, sample_weight=weight)
    assert_allclose(found.best_estimator_[-1].coef_, direct.coef_)


@pytest.mark.parametrize("routing", [False, True])
def test_a_number_of_folds_keeps_patients_together_with_and_without_routing(
    routing, table, trials_in_this_process
):
    groups = np.arange(80) // 2
    with sklearn.config_context(enable_metadata_routing=routing):
        found = search(LogisticRegression(), {"C": [1.0]}, n_trials=1, cv=4)
        found.fit(*table, groups=groups)
    folds = list(StratifiedGroupKFold(4).split(*table, groups))
    ours = [found.cv_results_[f"split{fold}_test_score"][0] for fold in range(4)]
    theirs = cross_validate(LogisticRegression(**found.best_params_), *table, cv=folds)
    assert_array_equal(ours, theirs["test_score"])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "cv",
    [
        StratifiedKFold(5),
        list(StratifiedKFold(2).split(np.zeros(80), np.arange(80) % 2)),
    ],
    ids=["splitter", "list"],
)
# With routing off, scikit-learn's splitter is told the groups and warns.
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_a_patient_on_both_sides_of_a_fold_is_an_error(cv, routing, table):
    with (
        sklearn.config_context(enable_metadata_routing=routing),
        pytest.raises(ValueError, match=r"patient\(s\) on both sides"),
    ):
        search(LogisticRegression(), {"C": [1.0]}, cv=cv).fit(
            *table, groups=np.arange(80) // 3
        )


def test_folds_may_come_from_a_generator(table, trials_in_this_process):
    groups = np.arange(80) // 2
    folds = StratifiedGroupKFold(4).split(*table, groups)
    space = {"C": [1.0, 2.0]}
    found = search(LogisticRegression(), space, cv=folds, n_trials=2)
    found.fit(*table, groups=groups)
    listed = search(LogisticRegression(), space, cv=4, n_trials=2)
    listed.fit(*table, groups=groups)
    assert found.n_splits_ == 4
    assert_array_equal(
        found.cv_results_["mean_test_score"], listed.cv_results_["mean_test_score"]
    )


# Scorers that fail


def test_a_scorer_that_fails_in_every_fold_is_an_error_with_its_reason(
    table, trials_in_this_process
):
    X, y = table[0], np.array(["normal", "degraded"])[table[1]]
    found = search(
        LogisticRegression(), {"C": [1.0]}, n_trials=1, scoring="f1", error_score=np.nan
    )
    with pytest.raises(ValueError, match=r"(?s)all 2 folds.*pos_label=1 is not"):
        found.fit(X, y)
    assert not hasattr(found, "best_estimator_")


def count_in_words(estimator, X, y):
    return "many"


@pytest.mark.parametrize("with_epochs", [False, True])
def test_a_scorer_that_returns_no_number_is_told_as_one_that_fails(
    with_epochs, table, spines, trials_in_this_process
):
    estimator, data = LogisticRegression(), table
    if with_epochs:
        estimator, data = small_adhoc(max_epochs=1), (spines.X, spines.y)
    found = search(
        estimator,
        {"random_state": [0]},
        n_trials=1,
        scoring=count_in_words,
        error_score=np.nan,
    )
    with pytest.raises(ValueError, match=r"(?s)Scoring failed.*a number, got 'many'"):
        found.fit(*data)


@pytest.mark.parametrize("error_score", [np.nan, 0.0])
def test_a_measure_that_does_not_decide_may_fail_with_a_warning(
    error_score, table, trials_in_this_process
):
    X, y = table[0], np.array(["normal", "degraded"])[table[1]]
    found = search(
        LogisticRegression(),
        {"C": [1.0]},
        n_trials=1,
        scoring={"f1": "f1", "auc": "roc_auc"},
        error_score=error_score,
    )
    non_finite = (
        pytest.warns(UserWarning, match="non-finite")
        if np.isnan(error_score)
        else nullcontext()
    )
    with (
        non_finite,
        pytest.warns(UserWarning, match=r"(?s)2 of 2 folds.*f1: .*pos_label"),
    ):
        found.set_params(refit="auc").fit(X, y)
    assert found.best_score_ > 0.5
    assert_array_equal(found.cv_results_["mean_test_f1"], [error_score])
    with pytest.raises(ValueError, match=r"(?s)all 2 folds.*f1: .*pos_label"):
        found.set_params(refit="f1").fit(X, y)


def fail_on_strong_penalty(estimator, X, y):
    if estimator.C < 0.5:
        raise RuntimeError("too strong")
    return {"accuracy": estimator.score(X, y), "n": len(X)}


def test_a_scorer_of_several_measures_may_fail_for_some_configurations(
    table, trials_in_this_process
):
    found = search(
        LogisticRegression(),
        {"C": [0.1, 1.0]},
        n_trials=2,
        scoring=fail_on_strong_penalty,
        refit="accuracy",
        error_score=np.nan,
        return_train_score=True,
    )
    with (
        pytest.warns(UserWarning, match=r"(?s)2 of 4 folds.*too strong"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        found.fit(*table)
    assert found.best_params_ == {"C": 1.0}
    assert_array_equal(np.sort(found.cv_results_["mean_test_n"]), [40, np.nan])


def fail_always(estimator, X, y):
    raise RuntimeError("no luck today")


def test_a_notebook_shows_whether_a_search_is_fitted(table, trials_in_this_process):
    options = {"n_trials": 1, "error_score": np.nan, "scoring": fail_always}
    found = search(LogisticRegression(), {"C": [1.0]}, **options)
    with pytest.raises(ValueError, match="Scoring failed in all"):
        found.fit(*table)
    assert "<span>Not fitted</span>" in found._repr_html_()
    found.set_params(scoring="f1").fit(*table)
    assert "<span>Fitted</span>" in found._repr_html_()


def score_nan(estimator, X, y):
    return np.nan


def test_scores_that_are_all_nan_choose_nothing(table, trials_in_this_process):
    found = search(LogisticRegression(), {"C": [1.0]}, n_trials=1, scoring=score_nan)
    with (
        pytest.warns(UserWarning, match="non-finite"),
        pytest.raises(ValueError, match="got NaN for all 1"),
    ):
        found.fit(*table)
    assert not hasattr(found, "best_estimator_")


# Spaces


def test_domains_distributions_and_lists_stand_side_by_side():
    space = {
        "a": tune.loguniform(1e-4, 1e-1),
        "b": uniform(2, 3),
        "c": [(4, 8), (8, 16)],
        "d": tune.choice(["x", "y"]),
        "e": tune.randint(0, 3),
    }
    drawn = sample_candidates(space, 20, 0)
    assert all(1e-4 <= one["a"] <= 1e-1 and 2 <= one["b"] <= 5 for one in drawn)
    assert {one["c"] for one in drawn} == {(4, 8), (8, 16)}
    assert {one["d"] for one in drawn} == {"x", "y"}
    assert {one["e"] for one in drawn} == {0, 1, 2}
    assert drawn == sample_candidates(space, 20, 0)
    assert drawn != sample_candidates(space, 20, 1)


def test_of_several_spaces_one_is_drawn_first():
    spaces = [
        {"blocks": [1], "filters": [(4,), (8,)]},
        {"blocks": [2], "filters": [(4, 8)]},
    ]
    drawn = sample_candidates(spaces, 3, 0)
    assert sorted((one["blocks"], len(one["filters"])) for one in drawn) == [
        (1, 1),
        (1, 1),
        (2, 2),
    ]


def test_distributions_of_scipy_become_domains_for_search_algorithms():
    domains, choices = suggestion_space(
        {"a": loguniform(0.1, 10), "b": uniform(2, 3), "c": randint(1, 5), "d": ["x"]}
    )
    assert (domains["a"].lower, domains["a"].upper) == (0.1, 10)
    assert (domains["b"].lower, domains["b"].upper) == (2, 5)
    assert (domains["c"].lower, domains["c"].upper) == (1, 5)
    assert choices == {"d": ["x"]}


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        ({"C": 3}, TypeError, r"param_space\['C'\] to be .*, got 3"),
        ({"C": "abc"}, TypeError, r"param_space\['C'\] to be .*, got 'abc'"),
        ({"C": []}, ValueError, r"param_space\['C'\] to be .*, got an empty one"),
        (["C"], TypeError, r"param_space to be a dict .*, got \['C'\]"),
        ({"C": tune.grid_search([1])}, ValueError, "grid_search of Ray"),
    ],
)
def test_spaces_that_cannot_be_drawn_from_are_named(space, error, message, table):
    with pytest.raises(error, match=message):
        search(LogisticRegression(), space).fit(*table)


def test_a_distribution_that_ray_lacks_is_named():
    with pytest.raises(ValueError, match=r"param_space\['C'\] .*got norm"):
        suggestion_space({"C": norm()})


def test_parameters_of_steps_and_of_the_augmentation_are_searched(
    spines, trials_in_this_process
):
    model = Pipeline(
        [
            ("crop", LumbarCropper(20)),
            ("net", small_adhoc(augmentation=RandomAugmentation())),
        ]
    )
    space = {
        "crop__size": [16, 20],
        "net__filters": [(2,), (4,)],
        "net__augmentation__rotation": tune.uniform(0, 10),
    }
    found = search(model, space).fit(spines.X, spines.y, groups=spines.patient)
    assert set(found.best_params_) == set(space)
    best = found.best_estimator_["net"]
    assert best.filters == found.best_params_["net__filters"]
    assert (
        best.augmentation.rotation == found.best_params_["net__augmentation__rotation"]
    )


# Epochs


def test_every_epoch_of_every_fold_is_in_the_history(spines):
    model = small_adhoc(max_epochs=4, early_stopping=False)
    found = search(model, LR, scheduler=None, scoring="roc_auc").fit(spines.X, spines.y)
    assert_array_equal(found.cv_results_["n_epochs"], [8, 8, 8])
    assert (found.cv_results_["status"] == "complete").all()
    counted = found.history_.groupby(["trial", "fold"])["epoch"].apply(list)
    assert all(epochs == [1, 2, 3, 4] for epochs in counted)
    assert len(counted) == 6
    last = found.history_.query("epoch == 4")
    for trial, fold, score in zip(last.trial, last.fold, last.score, strict=True):
        assert found.cv_results_[f"split{fold}_test_score"][trial] == score


@pytest.mark.parametrize(
    "model",
    [
        small_adhoc(max_epochs=3),
        small_pretrained(mode="head", backbone="squeezenet1_0"),
        make_pipeline(
            LumbarCropper(40), small_adhoc(augmentation=RandomAugmentation())
        ),
    ],
    ids=["ad hoc", "head", "augmented in a pipeline"],
)
def test_being_watched_changes_nothing_in_a_training(
    model, spines, trials_in_this_process
):
    shared = {"scoring": "neg_log_loss", "error_score": "raise"}
    X = np.kron(spines.X, np.ones((1, 2, 2), np.uint8))
    found = search(model, {}, n_trials=1, refit=False, **shared).fit(X, spines.y)
    alone = cross_validate(model, X, spines.y, cv=2, **shared)["test_score"]
    ours = [found.cv_results_[f"split{fold}_test_score"][0] for fold in range(2)]
    assert_array_equal(ours, alone)


def test_a_head_trained_on_features_is_scored_on_features(
    spines, trials_in_this_process
):
    model = small_pretrained(mode="head", backbone="squeezenet1_0", max_epochs=3)
    X = np.kron(spines.X, np.ones((1, 2, 2), np.uint8))
    found = search(model, {"lr": [0.01]}, n_trials=1, scoring="neg_log_loss")
    found.fit(X, spines.y)
    last = found.history_.query("epoch == 3").sort_values("fold").score
    folds = [found.cv_results_[f"split{fold}_test_score"][0] for fold in range(2)]
    assert_allclose(last, folds, rtol=1e-5)


def reports_of(estimator, X, y, **options):
    """Run one trial in this process and return what it reports."""
    defaults = {"scorer": check_scoring(estimator), "metric": None, "fit_params": {}}
    defaults |= {"score_params": {}, "error_score": "raise"}
    task = Task(
        estimator=estimator,
        X=X,
        y=y,
        splits=list(StratifiedKFold(2).split(X, y)),
        return_train_score=False,
        sklearn_config=sklearn.get_config(),
        **defaults | options,
    )
    reports = []
    evaluate(task, {}, lambda told: reports.append(copy.deepcopy(told)))
    return reports


class Witness:
    """A scorer that keeps what it was given."""

    def __init__(self):
        self.epochs, self.seen = [], []

    def __call__(self, estimator, X, y):
        probabilities = estimator.predict_proba(X)
        # What belongs to Pipelines, and what belongs to classifiers.
        net = estimator.named_steps["net"]
        self.epochs.append((len(net.history_), net.best_epoch_))
        self.seen.append((X, y, probabilities, estimator.classes_))
        return -log_loss(y, probabilities)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_scorer_gets_the_whole_estimator_in_every_epoch_as_at_the_end(
    early_stopping, spines
):
    labels = np.array(["normal", "degraded"])[spines.y]
    net = small_adhoc(max_epochs=3, early_stopping=early_stopping, lr=0.001)
    model = Pipeline([("crop", LumbarCropper(20)), ("net", net)])
    witness = Witness()
    told = reports_of(model, spines.X, labels, scorer=witness)
    assert [n_epochs for n_epochs, _ in witness.epochs] == [1, 2, 3, 3] * 2
    rows = [row for one in told for row in one["rows"]]
    assert [row[:2] for row in rows] == [(f, e) for f in (0, 1) for e in (1, 2, 3)]
    for fold in (0, 1):
        first, end = 4 * fold, 4 * fold + 3
        best = witness.epochs[end][1] - 1  # without early stopping, the last
        for seen in witness.seen[first : end + 1]:
            assert_array_equal(seen[0], witness.seen[end][0])
            assert_array_equal(seen[1], witness.seen[end][1])
            assert_array_equal(seen[3], ["degraded", "normal"])
        assert_allclose(witness.seen[first + best][2], witness.seen[end][2], rtol=1e-5)
        score = told[-1]["splits"][fold]["test_scores"]
        assert rows[3 * fold + best][2] == pytest.approx(score, rel=1e-5)


def test_a_scorer_of_steps_ends_bad_trials(spines):
    def fails_never(estimator, X, y):
        return -estimator.named_steps["net"].lr

    model = Pipeline([("crop", LumbarCropper(20)), ("net", small_adhoc(max_epochs=3))])
    told = reports_of(model, spines.X, spines.y, scorer=fails_never, error_score=np.nan)
    assert all("epoch" in one and one["score"] == -0.01 for one in told)


class MeanGreyLevel:
    """A scorer that is routed boxes, and needs them to crop."""

    def __call__(self, estimator, X, y, boxes):
        return float(estimator[:-1].transform(X, boxes=boxes).mean())

    def get_metadata_routing(self):
        request = MetadataRequest(owner=self)
        request.score.add_request(param="boxes", alias=True)
        return request


def test_routed_boxes_reach_the_cropper_in_every_epoch(spines):
    X = np.pad(spines.X, [(0, 0), (0, 40), (0, 40)])  # the spine is not in the middle
    boxes = np.tile([2, 2, 22, 22], (32, 1))

    scorer = MeanGreyLevel()
    with sklearn.config_context(enable_metadata_routing=True):
        cropper = LumbarCropper(20, scale="fit")
        cropper.set_fit_request(boxes=True).set_transform_request(boxes=True)
        model = make_pipeline(cropper, small_adhoc(max_epochs=2, early_stopping=False))
        search_ = search(model, {}, n_trials=1, scoring=scorer)
        routed = search_._route(X, None, None, {"boxes": boxes})
        told = reports_of(
            model,
            X,
            spines.y,
            scorer=scorer,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
        )
        crops = cropper.fit_transform(X, boxes=boxes)
    assert crops.mean() > 2 * LumbarCropper(20, scale="fit").fit_transform(X).mean()
    for one in told:
        for fold, _, score in one["rows"]:
            test = list(StratifiedKFold(2).split(X, spines.y))[fold][1]
            assert score == pytest.approx(crops[test].mean())


def test_a_fold_that_stops_early_keeps_its_best_epoch(spines, trials_in_this_process):
    model = small_adhoc(max_epochs=30, patience=2, lr=0.1)
    found = search(model, {}, n_trials=1, scoring="neg_log_loss", scheduler=None)
    found.fit(spines.X, spines.y, groups=spines.patient)
    n_epochs = found.cv_results_["n_epochs"][0]
    assert n_epochs < 60
    assert len(found.history_) == n_epochs


def known_beforehand(estimator, X, y):
    return -estimator.lr


@pytest.mark.parametrize("scheduler", ["halving", "asha", "hyperband", "median"])
def test_bad_trials_end_early_and_the_best_does_not(scheduler, spines):
    model = small_adhoc(max_epochs=9, early_stopping=False)
    space = {"lr": np.geomspace(1e-5, 1e-1, 10)}
    found = search(
        model, space, n_trials=10, scheduler=scheduler, scoring=known_beforehand
    ).fit(spines.X, spines.y)
    stopped = found.cv_results_["status"] == "stopped"
    assert stopped.sum() >= 3
    assert found.best_params_["lr"] == 1e-5
    assert (found.cv_results_["n_epochs"][stopped] < 18).all()
    assert np.isnan(found.cv_results_["mean_test_score"][stopped]).all()
    ranks = found.cv_results_["rank_test_score"]
    assert ranks[~stopped].max() < ranks[stopped].min()


def test_a_scheduler_of_ray_is_used_and_left_as_it_was(spines):
    scheduler = schedulers.ASHAScheduler(
        time_attr="epoch", max_t=8, grace_period=2, reduction_factor=2
    )
    model = small_adhoc(max_epochs=4, early_stopping=False)
    found = search(model, LR, n_trials=4, scheduler=scheduler)
    found.fit(spines.X, spines.y)
    assert found.cv_results_["n_epochs"].min() >= 2
    assert scheduler.metric is None


@pytest.mark.parametrize(
    ("scheduler", "error", "message"),
    [
        ("fifo", ValueError, "scheduler to be one of .*, got 'fifo'"),
        (3, TypeError, "Expected scheduler to be .*, got 3"),
        (schedulers.ASHAScheduler(max_t=10), ValueError, "least 16, got .*max_t=10"),
        (
            schedulers.HyperBandScheduler(max_t=9),
            ValueError,
            "least 16, got .*max_t=9",
        ),
        (
            schedulers.PopulationBasedTraining(hyperparam_mutations={"lr": [1, 2]}),
            ValueError,
            "got PopulationBasedTraining, which changes a trial",
        ),
        (
            schedulers.ASHAScheduler(metric="loss", mode="min"),
            ValueError,
            "scheduler without metric, mode and space",
        ),
    ],
)
def test_schedulers_that_do_not_suit_are_named(scheduler, error, message, spines):
    with pytest.raises(error, match=message):
        search(small_adhoc(), LR, scheduler=scheduler).fit(spines.X, spines.y)


# Search algorithms


def proposals_of(table, **options):
    space = {"C": loguniform(1e-3, 1e3), "class_weight": [None, "balanced"]}
    found = search(LogisticRegression(), space, n_trials=12, **options).fit(*table)
    return found.cv_results_["params"], found


def test_optuna_proposes_the_same_for_the_same_seed(table):
    pytest.importorskip("optuna")
    one_at_a_time = {"search_alg": "optuna", "resources_per_trial": {"cpu": 2}}
    first, found = proposals_of(table, **one_at_a_time)
    second, _ = proposals_of(table, **one_at_a_time)
    assert first == second
    assert len(first) == 12
    assert found.best_params_["class_weight"] in (None, "balanced")


def test_a_searcher_of_ray_is_used_and_left_as_it_was(table):
    pytest.importorskip("optuna")
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    searcher = ConcurrencyLimiter(OptunaSearch(seed=3), max_concurrent=1)
    params, _ = proposals_of(table, search_alg=searcher)
    again, _ = proposals_of(table, search_alg=searcher)
    assert params == again


def test_a_searcher_goes_on_from_where_it_was_kept(tmp_path):
    pytest.importorskip("optuna")
    from ray.tune.search import ConcurrencyLimiter
    from ray.tune.search.optuna import OptunaSearch

    space = {"x": tune.uniform(0, 1)}
    limited = ConcurrencyLimiter(OptunaSearch(seed=0), max_concurrent=2)
    searcher = make_proposals(space, limited, 9, 0).search_alg
    checkpoint = Checkpoint(tmp_path, {})
    journal = Journal(checkpoint)
    configs = [searcher.suggest(name) for name in ("finished", "lost")]
    searcher.on_trial_complete("finished", {"score": 1.0})
    journal.finish(journal.begin(configs[0]), (searcher, "scheduler", ["lost"]))

    again = Journal(checkpoint)
    assert [record.config for record in again.records.values()] == configs[:1]
    restored, scheduler = restore_proposers(again, None, None)
    assert scheduler == "scheduler"
    # Neither is the trial that was lost waited for, nor are its values proposed again.
    proposed = [restored.suggest(name) for name in ("third", "fourth")]
    assert all(config is not None and config not in configs for config in proposed)


@pytest.mark.parametrize("search_alg", ["bayes", 3])
def test_search_algorithms_that_there_are_not_are_named(search_alg, table):
    with pytest.raises(TypeError, match="Expected search_alg to be"):
        search(LogisticRegression(), {"C": [1.0]}, search_alg=search_alg).fit(*table)


def test_a_searcher_takes_one_space_only(table):
    with pytest.raises(ValueError, match="list of spaces"):
        search(LogisticRegression(), [{"C": [1.0]}], search_alg="optuna").fit(*table)


# Machine, storage, manners


@pytest.mark.parametrize("n_cores", [1, 2])
def test_a_trial_computes_with_as_many_threads_as_it_has_cores(n_cores, spines):
    found = search(
        small_adhoc(max_epochs=1),
        {"lr": [0.01]},
        n_trials=1,
        scoring=count_threads,
        resources_per_trial={"cpu": n_cores},
        refit=False,
    ).fit(spines.X, spines.y)
    assert_array_equal(found.cv_results_["mean_test_score"], [n_cores])


def test_data_are_put_into_the_object_store_once_and_let_go(table, monkeypatch):
    X, y = np.zeros((80, 200_000), np.float32), table[1]  # 64 MB
    sizes = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: sizes.append(value) or put(value))
    found = search(DummyClassifier(), {"random_state": [1, 2, 3]}, refit=False)
    for _ in range(3):
        found.fit(X, y)
    assert len(sizes) == 3
    there_are = ray.cluster_resources()["object_store_memory"]
    free = ray.available_resources()["object_store_memory"]
    assert there_are - free < 3 * X.nbytes


def test_paths_are_read_by_the_workers(spines, tmp_path):
    paths = np.array([str(tmp_path / f"{i}.png") for i in range(32)])
    for path, image in zip(paths, spines.X, strict=True):
        Image.fromarray(image).save(path)
    model = make_pipeline(LumbarCropper(20), small_adhoc(max_epochs=2))
    space = {"lumbarcropper__size": [16, 20]}
    shared = {"n_trials": 2, "refit": False, "scheduler": None}
    by_path = search(model, space, **shared).fit(paths, spines.y)
    with without_workers():
        by_array = search(model, space, **shared).fit(spines.X, spines.y)
    assert_array_equal(
        by_path.cv_results_["mean_test_score"], by_array.cv_results_["mean_test_score"]
    )


def test_global_state_is_left_as_found(table):
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    state = np.random.get_state()[1].copy(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    search(
        LogisticRegression(), {"C": [1.0, 2.0]}, scheduler="hyperband", n_trials=2
    ).fit(*table)
    assert_array_equal(np.random.get_state()[1], state[0])  # noqa: NPY002
    assert random.getstate() == state[1]
    assert torch.equal(torch.get_rng_state(), state[2])
    assert ray.is_initialized()


def test_it_is_silent(table, capfd):
    search(LogisticRegression(), {"C": [1.0, 2.0]}, n_trials=2).fit(*table)
    out, err = capfd.readouterr()
    assert out == err == ""


def test_optuna_is_silent_too(table, capfd):
    pytest.importorskip("optuna")
    search(LogisticRegression(), {"C": tune.uniform(1, 2)}, search_alg="optuna").fit(
        *table
    )
    assert capfd.readouterr() == ("", "")


def test_progress_is_a_few_lines(table, capfd):
    search(LogisticRegression(), {"C": [1.0, 2.0]}, n_trials=2, verbose=1).fit(*table)
    out, err = capfd.readouterr()
    assert out == ""
    line = r"\d/2 trials \(0 stopped\), \d epochs, best \S+, \d:\d\d:\d\d (left|taken)"
    assert all(re.fullmatch(line, one) for one in err.splitlines())
    assert err.splitlines()[-1].startswith("2/2 trials")
    assert len(err.splitlines()) <= 2


def test_trials_that_time_does_not_suffice_for_are_unfinished(spines, monkeypatch):
    # By Ray's clock, an hour is over as soon as one trial has finished.
    finish, over = Journal.finish, threading.Event()

    def finish_and_be_late(journal, *args):
        finish(journal, *args)
        over.set()

    monkeypatch.setattr(Journal, "finish", finish_and_be_late)
    clock = SimpleNamespace(time=lambda: time.time() + 3600 * over.is_set())
    monkeypatch.setattr("ray.tune.stopper.timeout.time", clock)
    model = small_adhoc(early_stopping=False)
    space = {"max_epochs": [1, 2, 10**6, 10**6 + 1]}
    options = {"time_budget": 3600, "scheduler": None} | SIDE_BY_SIDE
    found = search(model, space, n_trials=4, **options).fit(spines.X, spines.y)
    assert found.best_params_["max_epochs"] in (1, 2)
    assert "unfinished" in found.cv_results_["status"]


def test_a_score_that_is_good_enough_ends_the_search(spines):
    model = small_adhoc(early_stopping=False)
    space = {"max_epochs": [1, 10**6]}
    options = {"scoring": known_beforehand, "scheduler": None} | SIDE_BY_SIDE
    found = search(model, space, n_trials=2, stop_score=-0.01, **options)
    found.fit(spines.X, spines.y)
    assert sorted(found.cv_results_["status"]) == ["complete", "unfinished"]
    assert found.best_params_ == {"max_epochs": 1}


def test_time_that_suffices_for_no_trial_is_an_error_that_says_so(spines):
    model = small_adhoc(max_epochs=10**6, early_stopping=False)
    with pytest.raises(RuntimeError, match="time_budget=4"):
        search(model, LR, time_budget=4, scheduler=None).fit(spines.X, spines.y)


def test_a_trial_that_cannot_be_kept_ends_the_search(table, tmp_path, monkeypatch):
    def full(self, name, arrays):
        raise OSError("No space left on device")

    monkeypatch.setattr(Checkpoint, "write", full)
    with pytest.raises(OSError, match="No space left"):
        search(
            LogisticRegression(), {"C": tune.uniform(1, 2)}, checkpoint_dir=tmp_path
        ).fit(*table)


def losses(**options):
    return make_scorer(log_loss, greater_is_better=False, **options)


def kept_search(folder, **options):
    """Make a search over one configuration, with objects made anew by each call."""
    defaults = {
        "n_trials": 1,
        "scheduler": schedulers.ASHAScheduler(time_attr="epoch", max_t=9),
        "scoring": {"accuracy": make_scorer(accuracy_score), "auc": "roc_auc"},
        "refit": "auc",
        "error_score": np.nan,
    }
    space = options.pop("space", {"C": loguniform(1e-3, 1e3)})
    folder = {"checkpoint_dir": folder}
    return search(LogisticRegression(), space, **defaults | folder | options)


@pytest.fixture(scope="module")
def kept(table, tmp_path_factory):
    """Return the folder of a finished search, and the search."""
    folder = tmp_path_factory.mktemp("kept")
    with without_workers():
        return folder, kept_search(folder).fit(*table)


def test_a_finished_search_is_read_from_its_folder(table, kept, monkeypatch):
    folder, first = kept
    monkeypatch.setattr(tune, "Tuner", None)  # nothing may run
    again = kept_search(folder).fit(*table)
    for column, values in first.cv_results_.items():
        assert_array_equal(again.cv_results_[column], values)


@pytest.mark.parametrize(
    ("differs", "options"),
    [
        ("scoring", {"scoring": {"accuracy": losses(), "auc": "roc_auc"}}),
        ("scoring", {"scoring": losses(), "refit": True}),
        ("scoring", {"scoring": losses(labels=[0, 1]), "refit": True}),
        ("measure of refit", {"refit": "accuracy"}),
        ("scheduler", {"scheduler": "asha"}),
        ("scheduler", {"scheduler": schedulers.ASHAScheduler(max_t=10)}),
        ("search_alg", {"search_alg": "optuna"}),
        ("error_score", {"error_score": 0.0}),
        ("error_score", {"error_score": "raise"}),
        ("return_train_score", {"return_train_score": True}),
        ("random_state", {"random_state": 1}),
        ("n_trials", {"n_trials": 2}),
        ("splits of cv", {"cv": 4}),
        ("param_space", {"space": {"C": [1.0, 2.0, 4.0]}}),
    ],
)
def test_another_search_does_not_go_on_in_the_same_folder(
    differs, options, table, kept
):
    with pytest.raises(ValueError, match=f"checkpoint_dir=.* other .*{differs}"):
        kept_search(kept[0], **options).fit(*table)


def test_a_search_does_not_go_on_with_other_data(table, kept):
    X, y = table
    for differs, data in [("X", (X + 1, y)), ("y", (X, 1 - y))]:
        with pytest.raises(ValueError, match=f"other .*{differs}"):
            kept_search(kept[0]).fit(*data)
    with pytest.raises(ValueError, match="other fit_params, score_params"):
        kept_search(kept[0]).fit(X, y, sample_weight=np.ones(80))


def test_a_search_does_not_go_on_in_another_configuration_of_scikit_learn(table, kept):
    with (
        sklearn.config_context(transform_output="pandas"),
        pytest.raises(ValueError, match="other configuration of scikit-learn"),
    ):
        kept_search(kept[0]).fit(*table)
    with sklearn.config_context(display="text", print_changed_only=False):
        kept_search(kept[0]).fit(*table)


def test_a_search_does_not_go_on_with_another_ray(table, kept, monkeypatch):
    monkeypatch.setattr(ray, "__version__", "2.0")
    with pytest.raises(ValueError, match="other version of ray"):
        kept_search(kept[0]).fit(*table)


def test_a_folder_needs_a_seed(table, tmp_path):
    with pytest.raises(ValueError, match="random_state to be a seed"):
        search(
            LogisticRegression(),
            {"C": tune.uniform(1, 2)},
            checkpoint_dir=tmp_path,
            random_state=None,
        ).fit(*table)


def test_a_folder_that_cannot_be_written_to_is_an_error_before_anything_runs(
    table, tmp_path, monkeypatch
):
    monkeypatch.setattr(tune, "Tuner", None)
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "folder"):
        with pytest.raises(OSError, match="Expected checkpoint_dir to be a folder"):
            kept_search(path).fit(*table)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"error_score": "rise"}, ValueError, "error_score .*, got 'rise'"),
        ({"error_score": None}, TypeError, "error_score .*, got None"),
        ({"error_score": True}, TypeError, "error_score .*, got True"),
        ({"refit": None}, TypeError, "refit .*, got None"),
        ({"refit": "auc", "scoring": ["f1"]}, ValueError, "refit"),
        ({"return_train_score": "yes"}, ValueError, "return_train_score .*'yes'"),
        ({"n_trials": 0}, ValueError, "n_trials .* at least 1, got 0"),
        ({"n_trials": 2.0}, TypeError, "n_trials to be an integer"),
        ({"time_budget": 0}, ValueError, "time_budget .* above 0, got 0"),
        ({"verbose": -1}, ValueError, "verbose .* at least 0, got -1"),
        ({"scoring": "f2"}, ValueError, "'f2'"),
        ({"cv": []}, ValueError, "cv holds no split"),
        ({"resources_per_trial": 2}, TypeError, "resources_per_trial .*, got 2"),
        ({"resources_per_trial": {"cpu": "all"}}, TypeError, r"\['cpu'\] .*'all'"),
        ({"resources_per_trial": {"gpu": -1}}, ValueError, r"\['gpu'\] .*got -1"),
    ],
)
def test_arguments_that_do_not_suit_are_named_before_anything_runs(
    options, error, message, table, monkeypatch
):
    monkeypatch.setattr(tune, "Tuner", None)
    with pytest.raises(error, match=message):
        search(LogisticRegression(), {"C": [1.0, 2.0, 3.0]}, **options).fit(*table)


# Resources


@pytest.mark.parametrize(
    "resources",
    [{"cpu": 3}, {"CPU": 3}, {"gpu": 0.25}, {"gpu": 9}, {"scanner": 1}],
    ids=repr,
)
def test_more_than_a_machine_has_is_an_error_before_anything_runs(
    resources, table, monkeypatch
):
    monkeypatch.setattr(tune, "Tuner", None)
    name = next(iter(resources))
    asked = rf"resources_per_trial .* got .*'{name.lower()}': {resources[name]}"
    has = {"cpu": "2 CPU", "scanner": "0 scanner"}.get(name.lower(), "0 GPU")
    with pytest.raises(ValueError, match=rf"{asked}.*1 machine \(.*{has}"):
        search(
            LogisticRegression(), {"C": [1.0, 2.0, 3.0]}, resources_per_trial=resources
        ).fit(*table)


def test_resources_that_others_hold_are_named_when_time_is_up(table):
    @ray.remote(num_cpus=2)
    class Holder:
        def hold(self):
            return True

    holder = Holder.remote()
    ray.get(holder.hold.remote())
    try:
        with pytest.raises(RuntimeError, match=r"{'cpu': 1}; .*free now: 0 CPU"):
            search(
                LogisticRegression(), {"C": [1, 2, 3]}, time_budget=2, **SIDE_BY_SIDE
            ).fit(*table)
    finally:
        ray.kill(holder)
        wait_for_free_cores()
