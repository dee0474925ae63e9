import copy
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import spearmanr
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSAdHocRegressor,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
    VariogramFeatures,
    make_dxa_phantoms,
    saliency,
)

pytest.importorskip("captum", reason="captum is not installed")

N_TRAIN = 28
ADHOC = {"blocks": 2, "filters": (4, 8), "fc": (8,), "max_epochs": 6}


@pytest.fixture(scope="module")
def scans():
    scans = make_dxa_phantoms(
        N_TRAIN + 2, class_shares=(1, 0, 1), return_masks=True, random_state=0
    )
    table = scans.frame.assign(mask=list(scans.masks), degraded=scans.tbs < 1.2)
    return LumbarCropper(96, scale=0.45).transform_table(table)


@pytest.fixture(scope="module")
def crops(scans):
    return np.stack(scans["image"])


def make(name):
    settings = {"weights": None, "random_state": 0}
    return {
        "texture": lambda: TBSPretrainedClassifier(**settings),
        "full": lambda: TBSPretrainedClassifier(
            "squeezenet1_0", "full", max_epochs=1, **settings
        ),
        "head": lambda: TBSPretrainedClassifier(
            "squeezenet1_0", "head", max_epochs=2, **settings
        ),
        "ad hoc": lambda: TBSAdHocClassifier(**ADHOC, random_state=0),
        "texture regressor": lambda: TBSPretrainedRegressor(**settings),
        "ad hoc regressor": lambda: TBSAdHocRegressor(**ADHOC, random_state=0),
    }[name]()


NAMES = ["texture", "full", "head", "ad hoc", "texture regressor", "ad hoc regressor"]


@pytest.fixture(scope="module")
def fitted(scans, crops):
    """Return a model by its name, fitted once."""
    models = {}

    def get(name):
        if name not in models:
            y = scans["tbs" if "regressor" in name else "degraded"][:N_TRAIN]
            models[name] = make(name).fit(crops[:N_TRAIN], y)
        return models[name]

    return get


def even(crops):
    """Return scans of one grey each, that of their mean, at full precision."""
    means = crops.mean(axis=(1, 2), keepdims=True)
    return np.broadcast_to(np.rint(means), crops.shape).astype(crops.dtype)


@pytest.mark.parametrize("name", NAMES)
def test_attributions_of_a_scan_sum_to_what_its_score_gains_over_an_even_grey(
    fitted, crops, name
):
    model, X = fitted(name), crops[N_TRAIN:]
    maps = saliency(model, X, n_steps=24)
    assert maps.shape == X.shape
    assert maps.dtype == np.float32
    if "regressor" in name:
        gain = model.predict(even(X)) - model.predict(X)
    else:
        gain = model.decision_function(X) - model.decision_function(even(X))
    # Means of grey levels are rounded in `even`, and the integral is a sum.
    assert_allclose(maps.sum(axis=(1, 2)), gain, rtol=0.15, atol=0.03)


@pytest.mark.parametrize("name", ["texture", "full", "head", "ad hoc"])
def test_random_weights_change_the_map(fitted, crops, name):
    model = fitted(name)
    maps = saliency(model, crops[N_TRAIN:], n_steps=4)
    randomised = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in randomised.net_.module_.parameters():
            if weight.numel() > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.copy_(weight.std() * noise)
    others = saliency(randomised, crops[N_TRAIN:], n_steps=4)
    for one, other in zip(maps, others, strict=True):
        assert one.any()
        assert abs(spearmanr(one.ravel(), other.ravel()).statistic) < 0.5


@pytest.mark.parametrize("method", ["integrated_gradients", "gradients"])
@pytest.mark.parametrize("name", ["texture", "full", "ad hoc"])
def test_evidence_lies_inside_vertebrae_more_than_outside(
    fitted, scans, crops, name, method
):
    maps = saliency(fitted(name), crops[N_TRAIN:], n_steps=4, method=method)
    for strength, mask in zip(np.abs(maps), scans["mask"][N_TRAIN:], strict=True):
        inside = (mask >= 1) & (mask <= 4)
        assert strength[inside].mean() > 1.3 * strength[~inside].mean()


def test_behind_a_cropper_maps_are_those_of_the_crops(fitted):
    phantoms = make_dxa_phantoms(2, random_state=0)
    cropper = LumbarCropper(96, scale=0.45)
    model = make_pipeline(cropper, fitted("ad hoc"))
    expected = saliency(fitted("ad hoc"), cropper.transform(phantoms.frame))
    assert_array_equal(saliency(model, phantoms.frame), expected)


def test_a_search_stands_for_its_best_estimator(scans, crops):
    X, y = crops[:N_TRAIN], scans["degraded"][:N_TRAIN]
    search = GridSearchCV(make("ad hoc"), {"lr": [0.001]}, cv=2).fit(X, y)
    assert_array_equal(saliency(search, X[:1]), saliency(search.best_estimator_, X[:1]))


def test_the_other_class_has_the_opposite_map(fitted, crops):
    model, X = fitted("ad hoc"), crops[:1]
    degraded = saliency(model, X)
    assert_allclose(saliency(model, X, target=True), degraded)
    assert_allclose(saliency(model, X, target=False), -degraded, atol=1e-6)


def test_without_a_target_degraded_bone_is_that_of_the_lowest_tbs(scans, crops):
    # Alphabetically, degraded bone comes first.
    y = np.where(scans["degraded"], "degraded", "normal")
    model = make("texture").fit(crops, y, tbs=scans["tbs"])
    X = crops[:2]
    maps = saliency(model, X, n_steps=4)
    assert_allclose(maps, saliency(model, X, target="degraded", n_steps=4))
    assert_allclose(maps, -saliency(model, X, target="normal", n_steps=4), atol=1e-6)


def test_three_classes_learned_from_tbs_have_a_map_each():
    phantoms = make_dxa_phantoms(24, class_shares=(1, 1, 1), random_state=0)
    crops = LumbarCropper(64, scale=0.3).transform(phantoms.frame)
    y = np.where(phantoms.tbs > 1.35, 0, np.where(phantoms.tbs < 1.2, 2, 1))
    model = make("texture").fit(crops, y, tbs=phantoms.tbs)
    X = crops[:1]
    log_odds = lambda X: np.diff(np.log(  # noqa: E731
        [1 - model.predict_proba(X)[:, 1], model.predict_proba(X)[:, 1]]
    ), axis=0)[0]  # fmt: skip
    middle = saliency(model, X, target=1, n_steps=24)
    gain = log_odds(X) - log_odds(even(X))
    assert_allclose(middle.sum(axis=(1, 2)), gain, rtol=0.15, atol=0.03)
    assert_allclose(saliency(model, X), saliency(model, X, target=2))


def test_the_model_and_random_states_are_left_as_they_were(fitted, crops):
    model = fitted("full")
    before = model.predict_proba(crops[:3])
    state, weights = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    saliency(model, crops[:2], n_steps=2)
    assert_array_equal(model.predict_proba(crops[:3]), before)
    assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(np.random.get_state()[1], weights)  # noqa: NPY002
    assert all(weight.grad is None for weight in model.net_.module_.parameters())


def test_each_layer_stays_in_training_or_not_as_it_was(fitted, crops):
    model = copy.deepcopy(fitted("ad hoc"))
    layers = [*model.net_.module_.modules()]
    for i, layer in enumerate(layers):
        layer.training = i % 2 == 0
    maps = saliency(model, crops[:1], n_steps=2)
    assert all(layer.training == (i % 2 == 0) for i, layer in enumerate(layers))
    assert_array_equal(maps, saliency(fitted("ad hoc"), crops[:1], n_steps=2))


@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
def test_where_gradients_are_switched_off_maps_are_the_same(fitted, crops, without):
    model, X = fitted("ad hoc"), crops[:1]
    with without():
        maps = saliency(model, X, n_steps=2)
    assert_array_equal(maps, saliency(model, X, n_steps=2))


def test_scans_with_pixels_of_another_size_are_warned_of(scans):
    X = scans[["image"]].assign(row_spacing=0.6, column_spacing=0.6)
    model = make("ad hoc").fit(X[:N_TRAIN], scans["degraded"][:N_TRAIN])
    with pytest.warns(UserWarning, match=r"0\.3 mm, but TBSAdHocClassifier was fitted"):
        saliency(model, X[:1].assign(row_spacing=0.3, column_spacing=0.3), n_steps=1)


def test_where_classes_are_names_the_target_has_to_be_told(scans, crops):
    y = np.where(scans["degraded"], "degraded", "normal")[:N_TRAIN]
    model = make("ad hoc").fit(crops[:N_TRAIN], y)
    with pytest.raises(ValueError, match=r"one of the classes .* got None\. Names"):
        saliency(model, crops[:1])
    assert saliency(model, crops[:1], target="degraded", n_steps=1).any()


def test_maps_do_not_depend_on_which_scans_come_along(fitted, crops):
    model = fitted("texture")
    together = saliency(model, crops[:2], n_steps=2)
    assert_allclose(saliency(model, crops[1:2], n_steps=2)[0], together[1], atol=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "bad"}, ValueError, "Expected target to be one of the classes"),
        ({"method": "lime"}, ValueError, "Expected method to be one of"),
        ({"n_steps": 0}, ValueError, "Expected n_steps"),
    ],
)
def test_options_are_checked(fitted, crops, options, error, message):
    with pytest.raises(error, match=message):
        saliency(fitted("ad hoc"), crops[:1], **options)


def test_a_regressor_has_no_target(fitted, crops):
    with pytest.raises(ValueError, match="None for a regressor"):
        saliency(fitted("ad hoc regressor"), crops[:1], target=1)


def test_a_model_without_a_network_is_refused(scans, crops):
    model = make_pipeline(VariogramFeatures(), LogisticRegression())
    model.fit(crops, scans["degraded"])
    with pytest.raises(TypeError, match=r"got LogisticRegression\. If it holds"):
        saliency(model, crops)


def test_an_unfitted_model_is_refused(crops):
    search = GridSearchCV(make("ad hoc"), {"lr": [0.001]})
    for model in (make("ad hoc"), search):
        with pytest.raises(NotFittedError, match="is not fitted"):
            saliency(model, crops)


def test_without_captum_the_error_says_how_to_install_it(fitted, crops, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"tbsclassify\[explain\]"):
        saliency(fitted("ad hoc"), crops[:1])
