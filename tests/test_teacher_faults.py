"""Odd use of the models that learn from TBS values or read texture."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from tbsclassify import (
    DeepTextureFeatures,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
    make_clinical_baseline,
)
from tbsclassify.estimators._closed_form import fit_ridge
from tbsclassify.plotting import BlandAltmanDisplay

N_SCANS = 24
rng = np.random.default_rng(0)
TBS = rng.permutation(np.linspace(1.05, 1.5, N_SCANS))
X = rng.normal(120, 20 * (TBS[:, None, None] - 0.9), (N_SCANS, 32, 32))
X = X.clip(0, 255).astype(np.uint8)
Y = TBSLabeler().fit_transform(TBS)


def texture(**parameters):
    return TBSPretrainedClassifier(weights=None, random_state=0, **parameters)


def ad_hoc(**parameters):
    small = {"blocks": 2, "filters": (4, 6), "max_epochs": 1, "random_state": 0}
    return TBSAdHocClassifier(**small | parameters)


def test_layers_that_draw_random_numbers_draw_them_from_the_seed():
    # EfficientNet drops paths while batch normalisation gets its statistics.
    scans = np.kron(X[:6], np.ones((1, 2, 2), dtype=np.uint8))
    model = texture(
        backbone="efficientnet_b0",
        mode="full",
        pooling="statistics",
        layers=["features.2"],
        scales=[1.0],
        max_epochs=1,
    )
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = model.fit(scans, Y[:6]).predict_proba(scans)
    assert_array_equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert_array_equal(model.fit(scans, Y[:6]).predict_proba(scans), first)


def test_a_refit_that_fails_leaves_features_unfitted():
    features = DeepTextureFeatures(weights=None, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X holds images of 5 x 5 pixels"):
        features.fit(X[:, :5, :5])
    with pytest.raises(NotFittedError):
        features.transform(X[:, :5, :5])


def test_values_may_be_a_column():
    column = texture().fit(X, Y, tbs=TBS[:, np.newaxis])
    assert_array_equal(
        column.predict_tbs(X), texture().fit(X, Y, tbs=TBS).predict_tbs(X)
    )


@pytest.mark.parametrize("tbs", [1.2, "tbs", np.ones((N_SCANS, 2))])
def test_values_of_another_shape_are_refused_by_name(tbs):
    with pytest.raises(ValueError, match="Expected tbs to hold one value a scan, got"):
        texture().fit(X, Y, tbs=tbs)


def test_scans_of_one_patient_are_refused_without_a_mode_that_is_not_there():
    with pytest.raises(ValueError, match="more patients") as raised:
        ad_hoc().fit(X, Y, groups=["one"] * N_SCANS)
    assert "mode" not in str(raised.value)


def test_statistics_of_no_block_are_refused():
    with pytest.raises(ValueError, match="Expected blocks to be 1 at least"):
        ad_hoc(blocks=0, filters=()).fit(X, Y)


def test_few_weights_are_no_fault_of_early_stopping():
    weight = np.arange(N_SCANS) == 0
    with pytest.raises(ValueError, match="hold none out"):
        ad_hoc().fit(X, Y, sample_weight=weight, tbs=TBS)


def test_scales_that_leave_no_image_are_named():
    with pytest.raises(ValueError, match="Use larger scales"):
        texture(scales=[1e-9]).fit(X, Y)


def test_a_layer_without_positions_is_refused_by_name():
    features = DeepTextureFeatures("resnet18", weights=None, layers=["relu", "fc"])
    with pytest.raises(ValueError, match="got 'fc', whose output is none"):
        features.fit(X)


def test_scans_without_weight_do_not_weaken_the_penalty():
    weight = (np.arange(N_SCANS) % 3 > 0).astype(float)
    kept = weight > 0
    model = TBSPretrainedRegressor(weights=None, alpha=10.0, random_state=0)
    weighted = model.fit(X, TBS, sample_weight=weight).predict(X)
    assert_allclose(weighted, model.fit(X[kept], TBS[kept]).predict(X), rtol=1e-6)


def test_a_feature_that_hardly_ever_responds_is_not_blown_up_where_it_does():
    features = rng.normal(size=(40, 5))
    features[:, 4] = 0
    features[7, 4] = 1e-4
    head = fit_ridge(
        features,
        features[:, :1] + rng.normal(size=(40, 1)),
        np.ones(40),
        np.arange(40),
        alpha=1.0,
        seed=0,
    )
    usual, responds = np.zeros((2, 1, 5))
    responds[0, 4] = 1
    assert abs(head.predict(responds) - head.predict(usual)) < 2


def test_a_clinical_column_that_is_not_in_a_list_is_refused():
    with pytest.raises(ValueError, match="Expected columns to be a list of names"):
        make_clinical_baseline("age")


def test_the_agreement_of_classes_is_not_drawn():
    model = texture().fit(X, Y, tbs=TBS)
    with pytest.raises(ValueError, match="Expected estimator to be a regressor"):
        BlandAltmanDisplay.from_estimator(model, X, TBS)
