"""The last step of Pipelines and searches, and the metadata that their fit takes."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify._pipelines import fit_metadata, last_step, last_step_prefix


class Grouped(ClassifierMixin, BaseEstimator):
    """Takes the patients in fit."""

    def fit(self, X, y, *, groups=None, sample_weight=None):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


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
