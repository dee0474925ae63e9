"""The last step of Pipelines and searches, and the metadata that their fit takes."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify import RayTuneSearchCV
from tbsclassify._pipelines import (
    decline_metadata,
    fit_metadata,
    last_step,
    last_step_prefix,
    request_metadata,
)


class Grouped(ClassifierMixin, BaseEstimator):
    """Takes the patients in fit."""

    def fit(self, X, y, *, groups=None, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Taught(Grouped):
    """Takes TBS values, too, and notes how many scans and values a fit is given."""

    seen: list = []  # noqa: RUF012

    def __init__(self, pace=1):
        self.pace = pace

    def fit(self, X, y, *, groups=None, tbs=None):
        self.seen.append((len(X), None if tbs is None else len(tbs)))
        return super().fit(X, y)

    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))


def nested(model):
    return Pipeline([("scale", StandardScaler()), ("in", Pipeline([("clf", model)]))])


def test_the_last_step_is_found_in_nested_pipelines():
    model = Grouped()
    assert last_step(nested(model)) is model
    assert last_step(model) is model
    assert last_step_prefix(nested(model)) == "in__clf__"
    assert last_step_prefix(model) == ""


def test_a_search_stands_for_itself_until_it_is_fitted():
    X, y = np.arange(12.0)[:, np.newaxis], np.tile([0, 1], 6)
    search = GridSearchCV(make_pipeline(LogisticRegression()), {}, cv=2)
    assert last_step(make_pipeline(search)) is search
    search.fit(X, y)
    assert isinstance(last_step(search), LogisticRegression)
    fitted = Pipeline([("search", search)])
    assert last_step(fitted) is search.best_estimator_[-1]


@pytest.mark.parametrize(
    ("estimator", "names"),
    [
        (Grouped(), {"groups"}),
        (nested(Grouped()), {"in__clf__groups"}),
        (LogisticRegression(), set()),
        (nested(LogisticRegression()), set()),
        (GridSearchCV(LogisticRegression(), {}, cv=GroupKFold(2)), {"groups"}),
    ],
    ids=["takes", "nested", "takes none", "nested none", "search"],
)
def test_patients_go_to_the_last_step_where_it_takes_them(estimator, names):
    groups = np.arange(3)
    assert set(fit_metadata(estimator, groups=groups)) == names
    assert fit_metadata(estimator, groups=None) == {}


def test_metadata_that_fit_takes_travel_together():
    given = {"groups": [1], "sample_weight": [2], "tbs": [3]}
    assert fit_metadata(make_pipeline(Grouped()), **given) == {
        "grouped__groups": [1],
        "grouped__sample_weight": [2],
    }


@pytest.mark.parametrize("wrap", [lambda model: model, nested, make_pipeline])
@pytest.mark.parametrize(
    ("request_", "taken"), [(True, {"groups"}), (False, set()), (None, set())]
)
def test_with_metadata_routing_patients_go_where_they_were_requested(
    wrap, request_, taken
):
    with config_context(enable_metadata_routing=True):
        estimator = wrap(Grouped().set_fit_request(groups=request_))
        assert set(fit_metadata(estimator, groups=[1, 2])) == taken


def test_with_metadata_routing_a_splitter_by_patient_gets_them():
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(LogisticRegression(), {}, cv=GroupKFold(2))
        assert set(fit_metadata(search, groups=[1, 2])) == {"groups"}
        plain = GridSearchCV(LogisticRegression(), {}, cv=2)
        assert fit_metadata(plain, groups=[1, 2]) == {}


def searched(model, prefix="", **options):
    return GridSearchCV(model, {f"{prefix}pace": [1, 2]}, **options)


WRAPPED = {
    "alone": (Taught(), "tbs"),
    "pipeline": (nested(Taught()), "in__clf__tbs"),
    "search": (searched(Taught(), cv=2), "tbs"),
    "pipeline in a search": (
        searched(nested(Taught()), "in__clf__", cv=2),
        "in__clf__tbs",
    ),
    "search in a pipeline": (
        nested(searched(make_pipeline(Taught()), "taught__", cv=2)),
        "in__clf__taught__tbs",
    ),
    "calibrated": (CalibratedClassifierCV(nested(Taught()), cv=2), "in__clf__tbs"),
}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(("estimator", "name"), WRAPPED.values(), ids=WRAPPED)
def test_values_reach_every_fit_inside_of_searches_cut_to_its_scans(
    estimator, name, routing
):
    X, y = np.arange(24.0)[:, np.newaxis], np.tile([0, 1], 12)
    estimator = clone(estimator)
    Taught.seen.clear()
    with config_context(enable_metadata_routing=routing):
        if routing:
            assert fit_metadata(estimator, tbs=np.ones(24)) == {}
            request_metadata(estimator, "tbs")
        options = fit_metadata(estimator, tbs=np.ones(24))
        estimator.fit(X, y, **options)
    assert set(options) == {"tbs" if routing else name}
    assert Taught.seen
    assert set(Taught.seen) <= {(12, 12), (24, 24)}


@pytest.mark.parametrize("model", [Taught(), make_pipeline(Taught())])
def test_a_search_on_ray_is_given_values_and_patients(model):
    search = RayTuneSearchCV(model, {}, cv=2)
    name = last_step_prefix(model) + "tbs"
    assert set(fit_metadata(search, groups=[1], tbs=[2])) == {"groups", name}
    with config_context(enable_metadata_routing=True):
        assert set(fit_metadata(search, groups=[1], tbs=[2])) == {"groups"}
        request_metadata(search, "groups", "tbs")
        assert set(fit_metadata(search, groups=[1], tbs=[2])) == {"groups", "tbs"}


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        nested(Grouped()),
        GridSearchCV(make_pipeline(Grouped()), {}),
        CalibratedClassifierCV(),
        RayTuneSearchCV(Grouped(), {}),
    ],
)
@pytest.mark.parametrize("routing", [False, True])
def test_no_values_go_to_what_takes_none(estimator, routing):
    with config_context(enable_metadata_routing=routing):
        request_metadata(estimator, "tbs")
        assert fit_metadata(estimator, tbs=[1]) == {}


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("wrap", [lambda model: model, nested, searched])
def test_who_declines_values_gets_none_with_routing_and_without(wrap, routing):
    model = Taught()
    decline_metadata(model, "tbs")
    estimator = clone(wrap(model))
    with config_context(enable_metadata_routing=routing):
        request_metadata(estimator, "tbs")
        assert fit_metadata(estimator, tbs=[1]) == {}


def test_values_may_be_declined_by_what_takes_none():
    model = LogisticRegression()
    decline_metadata(model, "tbs")
    with config_context(enable_metadata_routing=True):
        assert fit_metadata(model, tbs=[1]) == {}
