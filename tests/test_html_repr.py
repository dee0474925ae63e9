"""What a notebook shows of every public estimator."""

import copy
import re

import numpy as np
import pytest
from conftest import small_adhoc, small_texture
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tbsclassify
from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    LumbarLocalizer,
    PatientAggregator,
    RayTuneSearchCV,
    TBSAdHocClassifier,
    TBSAdHocRegressor,
    TBSLabeler,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
    TextureMatrixFeatures,
    VariogramFeatures,
    make_dxa_phantoms,
    make_texture_classifier,
)

NAMES = {name: getattr(tbsclassify, name) for name in tbsclassify.__all__}
PUBLIC = [
    one
    for one in NAMES.values()
    if isinstance(one, type) and issubclass(one, BaseEstimator)
]
# Arguments that have no default.
REQUIRED = {
    PatientAggregator: [make_texture_classifier()],
    RayTuneSearchCV: [make_texture_classifier(), {"logisticregression__C": [1.0]}],
}
FITTED, NOT_FITTED = "<span>Fitted</span>", "<span>Not fitted</span>"
NETWORK = {"backbone": "squeezenet1_0", "weights": None, "random_state": 0}


def make(kind):
    return kind(*REQUIRED.get(kind, []))


def fit_aggregator(data, patients):
    scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    frame = scans.frame.assign(patient=patients[:8])
    model = PatientAggregator(make_texture_classifier())
    return model.fit(frame, TBSLabeler().fit_transform(scans.tbs), groups=patients[:8])


def fit_adhoc_regressor(data, patients):
    model = TBSAdHocRegressor(1, (4,), max_epochs=1, random_state=0)
    return model.fit(data.X, data.tbs, groups=patients)


FITS = {
    DeepTextureFeatures: lambda d, p: DeepTextureFeatures(**NETWORK).fit(d.X),
    LumbarCropper: lambda d, p: LumbarCropper().fit(d.X),
    LumbarLocalizer: lambda d, p: LumbarLocalizer().fit(d.X),
    PatientAggregator: fit_aggregator,
    TBSAdHocClassifier: lambda d, p: small_adhoc().fit(d.X, d.y, groups=p),
    TBSAdHocRegressor: fit_adhoc_regressor,
    TBSLabeler: lambda d, p: TBSLabeler().fit(d.tbs),
    TBSPretrainedClassifier: lambda d, p: small_texture().fit(d.X, d.y, groups=p),
    TBSPretrainedRegressor: lambda d, p: TBSPretrainedRegressor(**NETWORK).fit(
        d.X, d.tbs, groups=p
    ),
    TextureMatrixFeatures: lambda d, p: TextureMatrixFeatures().fit(d.X),
    VariogramFeatures: lambda d, p: VariogramFeatures().fit(d.X),
}


def test_every_estimator_that_is_fitted_without_ray_is_among_these():
    assert {one for one in PUBLIC if hasattr(one, "fit")} == {*FITS, RayTuneSearchCV}


@pytest.mark.parametrize("kind", PUBLIC)
def test_all_parameters_are_shown(kind):
    estimator = make(kind)
    html = estimator._repr_html_()
    for name in estimator.get_params(deep=False):
        assert re.search(rf'class="param">\s*{name}\b', html)
    assert estimator._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("kind", PUBLIC)
def test_there_is_no_link_into_the_documentation_of_scikit_learn(kind):
    estimator = make(kind)
    assert estimator._get_doc_link() == ""
    label = f"Documentation for {kind.__name__}"
    assert label not in estimator._repr_html_()


@pytest.mark.parametrize("kind", PUBLIC)
def test_arrays_of_boxes_as_parameters_are_cut_short(kind):
    estimator = make(kind)
    names = sorted({*estimator.get_params(deep=False)} - {"estimator"})
    usual = len(estimator._repr_html_())
    uneven = [np.zeros((1 + i % 4, 4)) for i in range(20)]
    for boxes in (np.zeros((500, 4, 4)), uneven):
        estimator.set_params(**dict.fromkeys(names, boxes))
        assert len(estimator._repr_html_()) < usual + 5000


@pytest.mark.parametrize("kind", FITS)
def test_a_fitted_estimator_says_so_without_naming_patients(kind, graded):
    patients = np.char.add("SECRET", graded.patient.astype(str))
    estimator = FITS[kind](graded, patients)
    for one in (estimator, copy.deepcopy(estimator), make_pipeline(estimator)):
        html = one._repr_html_()
        assert FITTED in html
        assert NOT_FITTED not in html
        assert "SECRET" not in html
        assert len(html) < 200_000


@pytest.mark.parametrize("kind", [TBSAdHocClassifier, TBSLabeler, DeepTextureFeatures])
def test_one_that_is_not_fitted_says_so(kind):
    assert NOT_FITTED in make(kind)._repr_html_()
    steps = make_pipeline(LumbarCropper(), LogisticRegression())
    assert NOT_FITTED in steps._repr_html_()


def test_a_training_that_failed_leaves_an_estimator_that_is_not_fitted(graded):
    model = small_adhoc(lr=1e30, early_stopping=False, max_epochs=20)
    with pytest.raises(FloatingPointError):
        model.fit(graded.X, graded.y)
    assert NOT_FITTED in model._repr_html_()
