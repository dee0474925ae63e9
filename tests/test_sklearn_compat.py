"""Private names of scikit-learn, each as it is used.

A test that fails here after an upgrade says which name moved or changed;
`_sklearn_compat.py` is then the one file to mend.
"""

import ast
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import check_scoring

import tbsclassify
from tbsclassify import RayTuneSearchCV
from tbsclassify._sklearn_compat import (
    BaseSearchCV,
    MultimetricScorer,
    check_method_params,
    check_sample_weight,
    fit_and_score,
    num_samples,
    safe_indexing,
    score,
    scorers_by_name,
    warn_or_raise_about_fit_failures,
)

X, Y = np.zeros((6, 1)), np.array([0, 0, 1, 0, 0, 1])


def failing(estimator, X, y):
    raise RuntimeError("no luck today")


@pytest.fixture
def two_scorers():
    return check_scoring(DummyClassifier(), ["accuracy", "f1"])


def test_a_list_of_measures_makes_a_multimetric_scorer(two_scorers):
    assert isinstance(two_scorers, MultimetricScorer)
    assert list(scorers_by_name(two_scorers)) == ["accuracy", "f1"]
    assert scorers_by_name(check_scoring(DummyClassifier(), "f1")) is None


def test_a_multimetric_scorer_returns_the_traceback_of_what_failed():
    scorers = MultimetricScorer(
        scorers={"bad": failing, "good": lambda estimator, X, y: 1.0}, raise_exc=False
    )
    scores = scorers(DummyClassifier(), X, Y)
    assert scores["good"] == 1.0
    assert "no luck today" in scores["bad"]


def test_fit_and_score_returns_what_the_search_reads():
    result = fit_and_score(
        DummyClassifier(),
        X,
        Y,
        scorer=check_scoring(DummyClassifier()),
        train=np.array([0, 1, 2]),
        test=np.array([3, 4]),
        verbose=0,
        parameters=None,
        fit_params={"sample_weight": np.ones(6)},
        score_params=None,
        return_train_score=True,
        return_n_test_samples=True,
        return_times=True,
        error_score=np.nan,
    )
    assert result["fit_error"] is None
    assert result["test_scores"] == 1.0
    assert result["train_scores"] == pytest.approx(2 / 3)
    assert result["n_test_samples"] == 2
    assert {"fit_time", "score_time"} <= set(result)


def test_score_warns_with_the_words_that_the_search_filters():
    model = DummyClassifier().fit(X, Y)
    with pytest.warns(UserWarning, match="^Scoring failed"):
        assert score(model, X, Y, failing, {}, 0.5) == 0.5
    with pytest.raises(RuntimeError, match="no luck today"):
        score(model, X, Y, failing, {}, "raise")


def test_fits_that_failed_are_warned_of_and_raised_if_all_did():
    results = [{"fit_error": "no luck today"}, {"fit_error": None}]
    with pytest.warns(FitFailedWarning, match="no luck today"):
        warn_or_raise_about_fit_failures(results, np.nan)
    with pytest.raises(ValueError, match="no luck today"):
        warn_or_raise_about_fit_failures(results[:1], np.nan)


def test_metadata_with_an_entry_for_each_sample_is_indexed():
    params = {"sample_weight": np.arange(6), "other": "as it is"}
    indexed = check_method_params(X, params, indices=np.array([1, 4]))
    assert_array_equal(indexed["sample_weight"], [1, 4])
    assert indexed["other"] == "as it is"


def test_weights_default_to_one_and_are_not_negative():
    weight = check_sample_weight(None, X, dtype=float, ensure_non_negative=True)
    assert_array_equal(weight, np.ones(6))
    with pytest.raises(ValueError, match="egative"):
        check_sample_weight(-np.ones(6), X, dtype=float, ensure_non_negative=True)


@pytest.mark.parametrize(
    "values", [list("abcdef"), np.array(list("abcdef")), pd.Series(list("abcdef"))]
)
def test_samples_are_counted_and_indexed_in_lists_arrays_and_tables(values):
    assert num_samples(values) == 6
    assert list(safe_indexing(values, np.array([1, 4]))) == ["b", "e"]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_get_scorers", ["self"]),
        ("_get_routed_params_for_fit", ["self", "params"]),
        (
            "_format_results",
            ["self", "candidate_params", "n_splits", "out", "more_results"],
        ),
        ("_check_refit_for_multimetric", ["self", "scores"]),
        ("_select_best_index", ["refit", "refit_metric", "results"]),
    ],
)
def test_the_search_inherits_the_methods_that_it_calls(method, parameters):
    assert list(signature(getattr(BaseSearchCV, method)).parameters) == parameters


def test_results_of_folds_become_the_columns_of_a_search():
    search = RayTuneSearchCV(DummyClassifier(), {}, return_train_score=True)
    fold = {"fit_error": None, "fit_time": 1.0, "score_time": 1.0, "n_test_samples": 3}
    folds = [
        fold | {"test_scores": one, "train_scores": 1.0, "score_errors": {}}
        for one in (0.5, 0.7)
    ]
    results = search._format_results([{"a": 1}], 2, folds)
    assert results["mean_test_score"] == pytest.approx([0.6])
    assert results["split1_test_score"] == [0.7]
    assert results["rank_test_score"] == [1]
    assert results["params"] == [{"a": 1}]


def test_without_routing_groups_go_to_the_splitter_and_the_rest_to_fit():
    search = RayTuneSearchCV(DummyClassifier(), {})
    routed = search._get_routed_params_for_fit({"groups": Y, "sample_weight": X})
    assert routed.splitter.split == {"groups": Y}
    assert list(routed.estimator.fit) == ["sample_weight"]
    assert list(routed.scorer.score) == ["sample_weight"]


def test_no_other_module_imports_a_private_name_of_scikit_learn():
    package = Path(tbsclassify.__file__).parent
    offending = [
        f"{path.relative_to(package)}: {node.module}.{alias.name}"
        for path in package.rglob("*.py")
        if path.name != "_sklearn_compat.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("sklearn")
        for alias in node.names
        if "._" in node.module or alias.name.startswith("_")
    ]
    assert offending == []
