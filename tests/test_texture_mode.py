"""The closed form: ridge on channel statistics, its strength, its probabilities."""

import pickle

import joblib
import numpy as np
import pytest
import torch
from conftest import small_pretrained, small_texture
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from skorch.callbacks import EarlyStopping

from tbsclassify import TBSPretrainedRegressor
from tbsclassify.estimators._closed_form import (
    _ALPHAS,
    LinearHead,
    calibrate,
    code_classes,
    fit_ridge,
)

# --- Ridge -------------------------------------------------------------------


def make_table(n_scans, n_features, seed=0):
    """Make features on several scales, targets, weights of mean 1, and patients."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_scans, n_features)) * rng.uniform(1, 9, n_features)
    features += rng.normal(size=n_features)
    targets = features[:, :1] / 5 + rng.normal(size=(n_scans, 2))
    weight = rng.uniform(0.2, 2, n_scans)
    return features, targets, weight / weight.mean(), np.arange(n_scans) // 2


def standardised(features, weight):
    center = np.average(features, axis=0, weights=weight)
    spread = np.average((features - center) ** 2, axis=0, weights=weight)
    return (features - center) / np.sqrt(spread)


@pytest.mark.parametrize("shape", [(40, 6), (20, 50)], ids=["tall", "wide"])
@pytest.mark.parametrize("alpha", [0.5, 200.0])
def test_the_closed_form_is_scikit_learns_ridge(shape, alpha):
    features, targets, weight, patient = make_table(*shape)
    head = fit_ridge(features, targets, weight, patient, alpha=alpha, seed=0)
    X = standardised(features, weight)
    expected = Ridge(alpha).fit(X, targets, sample_weight=weight)
    assert_allclose(head.coef.T, expected.coef_, atol=1e-6)
    assert_allclose(head.predict(features), expected.predict(X), atol=1e-6)


@pytest.mark.parametrize("shape", [(60, 6), (40, 70)], ids=["tall", "wide"])
def test_the_strength_is_the_one_that_scikit_learns_cross_validation_prefers(shape):
    features, targets, weight, patient = make_table(*shape)
    head = fit_ridge(features, targets, weight, patient, alpha=None, seed=3)
    X = standardised(features, weight)
    held_out = [
        cross_val_predict(
            Ridge(alpha),
            X,
            targets,
            groups=patient,
            cv=GroupKFold(5, shuffle=True, random_state=3),
            params={"sample_weight": weight},
        )
        for alpha in _ALPHAS
    ]
    errors = [
        np.average((one - targets) ** 2, axis=0, weights=weight).sum()
        for one in held_out
    ]
    best = int(np.argmin(errors))
    assert head.alpha == _ALPHAS[best]
    assert 0 < best < len(_ALPHAS) - 1
    assert_allclose(head.held_out, held_out[best], atol=1e-6)


def test_scans_of_a_patient_never_help_to_predict_each_other():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 90)), 2, axis=0)
    targets = np.repeat(rng.normal(size=(30, 1)), 2, axis=0)
    weight, patient = np.ones(60), np.arange(60) // 2
    options = {"alpha": 0.1, "seed": 0}
    by_patient = fit_ridge(features, targets, weight, patient, **options)
    by_scan = fit_ridge(features, targets, weight, np.arange(60), **options)
    assert np.mean((by_patient.held_out - targets) ** 2) > 0.8
    assert np.mean((by_scan.held_out - targets) ** 2) < 0.3


def test_the_strongest_penalty_is_taken_where_all_are_equally_good():
    _, targets, weight, patient = make_table(30, 1)
    features = np.full((30, 3), 0.7)
    head = fit_ridge(features, targets, weight, patient, alpha=None, seed=0)
    assert head.alpha == max(_ALPHAS)


def test_a_feature_that_never_changes_has_no_say():
    features, targets, weight, patient = make_table(30, 4)
    features[:, 2] = 1e5 + 1e-3 * np.random.default_rng(0).normal(size=30)
    head = fit_ridge(features, targets, weight, patient, alpha=1.0, seed=0)
    rest = np.delete(features, 2, axis=1)
    expected = fit_ridge(rest, targets, weight, patient, alpha=1.0, seed=0)
    assert_allclose(head.coef[2], 0, atol=1e-12)
    assert_allclose(head.predict(features), expected.predict(rest))


def test_scans_of_one_patient_are_refused():
    features, targets, weight, _ = make_table(6, 3)
    with pytest.raises(ValueError, match="two patients at least, got n_samples=6"):
        fit_ridge(features, targets, weight, np.zeros(6), alpha=None, seed=0)


# --- Probabilities -----------------------------------------------------------


def head_of(held_out):
    """Make a head of whose fit only the predictions for held-out scans count."""
    nothing = np.ones(1)
    coef = np.ones((1, held_out.shape[1]))
    rows = np.arange(len(held_out))
    intercept = np.zeros(held_out.shape[1])
    return LinearHead(nothing, nothing, coef, intercept, 1.0, rows, held_out)


def test_two_classes_get_the_logits_that_they_were_drawn_by():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20000, 1))
    codes = (rng.random(20000) < expit(2 * scores[:, 0] - 1)).astype(int)
    head = calibrate(head_of(scores), codes, np.ones(20000))
    assert head.coef.item() == pytest.approx(2, abs=0.1)
    assert head.intercept.item() == pytest.approx(-1, abs=0.1)


def test_three_classes_get_the_logits_that_they_were_drawn_by():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(20000, 3))
    proba = softmax(1.5 * scores + [0.0, 1.0, -0.5], axis=1)
    codes = (rng.random((20000, 1)) > proba.cumsum(axis=1)).sum(axis=1)
    head = calibrate(head_of(scores), codes, np.ones(20000))
    assert_allclose(head.coef[0], 1.5, atol=0.1)
    assert_allclose(head.intercept, [0, 1, -0.5], atol=0.1)


def test_the_slope_is_never_negative():
    scores = np.linspace(-1, 1, 40)[:, None]
    codes = (np.arange(40) < 10).astype(int)  # the lowest scores are class 1
    head = calibrate(head_of(scores), codes, np.ones(40))
    assert head.coef.item() == 0
    assert expit(head.intercept.item()) == pytest.approx(11 / 42, abs=0.02)


def test_classes_told_apart_without_an_error_still_have_finite_logits():
    scores = np.repeat([-1.0, 1.0], 20)[:, None]
    head = calibrate(head_of(scores), np.repeat([0, 1], 20), np.ones(40))
    assert_allclose(expit(head.held_out[[0, -1], 0]), [1 / 22, 21 / 22], atol=1e-3)


def test_codes_of_classes_are_what_a_ridge_should_give():
    assert_array_equal(code_classes(np.array([0, 1, 1]), 2), [[-1], [1], [1]])
    assert_array_equal(code_classes(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])


def test_probabilities_for_new_scans_are_calibrated(graded):
    rng = np.random.default_rng(0)
    y = (rng.random(60) < expit((1.275 - graded.tbs) * 12)).astype(int)
    train = graded.patient < 20
    model = small_texture(layers=["features.1"]).fit(graded.X[train], y[train])
    proba = model.predict_proba(graded.X[~train])
    share = np.full((20, 2), [1 - y[train].mean(), y[train].mean()])
    assert log_loss(y[~train], proba) < log_loss(y[~train], share)


# --- The classifier ----------------------------------------------------------


def test_rough_and_smooth_are_told_apart(spines):
    train = spines.patient < 10
    model = small_texture().fit(
        spines.X[train], spines.y[train], groups=spines.patient[train]
    )
    assert model.score(spines.X[~train], spines.y[~train]) == 1


def test_three_classes_are_learned(graded):
    y = np.digitize(graded.tbs, [1.2, 1.35])
    model = small_texture().fit(graded.X, y, groups=graded.patient)
    proba = model.predict_proba(graded.X)
    assert proba.shape == (60, 3)
    assert_allclose(proba.sum(axis=1), 1)
    assert roc_auc_score(y, proba, multi_class="ovr") > 0.85


def test_labels_may_be_text(spines):
    y = np.array(["normal", "degraded"])[spines.y]
    model = small_texture().fit(spines.X, y)
    assert set(model.predict(spines.X)) == {"normal", "degraded"}


def test_rows_without_weight_are_as_if_they_were_not_there():
    features, targets, weight, patient = make_table(30, 6)
    weight[patient % 5 == 0] = 0
    kept = weight > 0
    options = {"alpha": None, "seed": 0}
    weighted = fit_ridge(features, targets, weight, patient, **options)
    without = fit_ridge(
        features[kept], targets[kept], weight[kept], patient[kept], **options
    )
    assert weighted.alpha == without.alpha
    assert_array_equal(weighted.coef, without.coef)
    assert_array_equal(weighted.held_out, without.held_out)


def test_a_scan_without_weight_is_as_if_it_were_not_there(graded):
    weight = np.where(graded.patient % 5 == 0, 0.0, 1.0)
    kept = weight > 0
    model = TBSPretrainedRegressor(
        weights=None, alpha=100.0, precision="float32", random_state=0
    )
    extreme = graded.X.copy()
    extreme[~kept] //= 8
    weighted = clone(model).fit(extreme, graded.tbs, sample_weight=weight)
    without = clone(model).fit(graded.X[kept], graded.tbs[kept])
    assert weighted.tbs_mean_ == without.tbs_mean_
    assert_array_equal(weighted.intensity_mean_, without.intensity_mean_)
    assert weighted.residual_std_ == pytest.approx(without.residual_std_, rel=1e-4)
    assert_allclose(weighted.predict(graded.X), without.predict(graded.X), rtol=1e-5)


def test_balanced_class_weights_are_sample_weights_by_class(graded):
    balanced = small_texture(class_weight="balanced").fit(graded.X, graded.y)
    weight = 1 / np.bincount(graded.y)[graded.y]
    weighted = small_texture().fit(graded.X, graded.y, sample_weight=weight)
    assert_allclose(
        balanced.predict_proba(graded.X), weighted.predict_proba(graded.X), rtol=1e-5
    )


def test_patients_decide_what_is_held_out(graded):
    twice = np.repeat(graded.X[:30], 2, axis=0)
    noise = np.repeat(np.random.default_rng(0).permutation(graded.tbs[:30]), 2)
    y = (noise < 1.2).astype(int)
    fits = [
        small_texture(alpha=0.1).fit(twice, y, groups=groups, tbs=noise)
        for groups in (None, np.arange(60) // 2)
    ]
    assert fits[0].residual_std_ < 0.6 * fits[1].residual_std_


def test_a_given_strength_is_used(spines):
    model = small_texture(alpha=12.5).fit(spines.X, spines.y)
    assert model.alpha_ == 12.5


def test_a_strong_penalty_shrinks_what_is_predicted(graded):
    spread = [
        small_texture(alpha=alpha)
        .fit(graded.X, graded.y, tbs=graded.tbs)
        .predict_tbs(graded.X)
        .std()
        for alpha in (1.0, 1e5)
    ]
    assert spread[1] < 0.1 * spread[0]


@pytest.mark.parametrize("alpha", [0, -1.0, np.inf])
def test_a_strength_that_is_not_above_zero_is_refused(alpha, spines):
    with pytest.raises(ValueError, match=f"alpha .* got {alpha}"):
        small_texture(alpha=alpha).fit(spines.X, spines.y)


def test_a_fit_counts_as_one_epoch_with_the_loss_of_its_cross_validation(graded):
    model = small_texture(max_epochs=50).fit(graded.X, graded.y)
    assert model.resolve_max_epochs() == model.n_epochs_ == model.best_epoch_ == 1
    assert model.history_.shape[0] == 1
    assert list(model.history_) == ["epoch", "train_loss", "valid_loss", "seconds"]
    row = model.history_.loc[0]
    assert row["train_loss"] < row["valid_loss"] < np.log(2)
    assert row["train_loss"] == pytest.approx(
        log_loss(graded.y, model.predict_proba(graded.X)), rel=1e-4
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": True},
        {"callbacks": [EarlyStopping(load_best=True)]},
        {"lr_schedule": "one-cycle"},
        {"optimizer": "sgd", "lr": 5.0},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_what_is_for_training_in_epochs_changes_nothing(parameters, spines):
    plain, other = (
        small_texture(**one).fit(spines.X, spines.y) for one in ({}, parameters)
    )
    assert other.best_epoch_ == 1
    assert_array_equal(other.predict_proba(spines.X), plain.predict_proba(spines.X))


def test_a_fit_can_be_followed_and_predicts_in_its_one_epoch(graded):
    model, seen = small_texture(), []

    def report(epoch, max_epochs):
        seen.append((epoch, max_epochs, model.predict_proba(graded.X)))

    with model.monitored(report):
        model.fit(graded.X, graded.y, tbs=graded.tbs)
    (one,) = seen
    assert one[:2] == (1, 1)
    assert_allclose(one[2], model.predict_proba(graded.X), rtol=1e-5)


def test_the_same_seed_gives_the_same_bits_in_threads_and_leaves_torch_alone(graded):
    def fit():
        model = small_texture().fit(graded.X, graded.y, groups=graded.patient)
        return model.predict_proba(graded.X)

    alone = fit()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(3)(joblib.delayed(fit)() for _ in range(3))
    for one in together:
        assert_array_equal(one, alone)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_makes_another_random_network(spines):
    one, other = (
        small_texture(random_state=seed).fit(spines.X, spines.y) for seed in (0, 1)
    )
    assert not np.array_equal(
        one.predict_proba(spines.X), other.predict_proba(spines.X)
    )


def test_a_scan_and_its_mirror_image_are_judged_alike(spines):
    model = small_texture().fit(spines.X, spines.y)
    mirrored = np.ascontiguousarray(spines.X[:, :, ::-1])
    assert_allclose(
        model.decision_function(mirrored), model.decision_function(spines.X), atol=1e-4
    )


def test_it_is_small_when_pickled_and_predicts_the_same(spines):
    model = small_texture().fit(spines.X, spines.y)
    content = pickle.dumps(model)
    assert len(content) < 1e6
    again = pickle.loads(content)
    assert_array_equal(again.predict_proba(spines.X), model.predict_proba(spines.X))
    assert not hasattr(clone(again), "net_")


def test_layers_and_scales_are_those_that_are_asked_for(spines):
    model = small_texture(layers=["features.4"], scales=[0.5]).fit(spines.X, spines.y)
    names = model.net_.module_.backbone.names
    assert {name.split("/")[0] for name in names} == {"features.4@0.5"}


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"layers": "features.1"}, TypeError, "layers .* got 'features.1'"),
        ({"layers": ["conv9"]}, ValueError, "layers .* got 'conv9'"),
        ({"layers": ["features.1"] * 2}, ValueError, "each name in layers once"),
        ({"scales": 0.5}, TypeError, "scales .* got 0.5"),
        ({"scales": [0.0]}, ValueError, r"scales\[0\] .* got 0.0"),
        ({"scales": [1, 1.0]}, ValueError, "each number in scales once"),
        ({"pooling": "max"}, ValueError, "pooling .* got 'max'"),
        ({"backbone": "mobilenet_v2"}, ValueError, "layers .*mobilenet_v2.* got None"),
    ],
)
def test_bad_parameters_are_named(parameters, error, message, spines):
    with pytest.raises(error, match=message):
        small_texture(**parameters).fit(spines.X, spines.y)


# --- Fine-tuning from there --------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_training_starts_from_the_closed_form(n_classes, graded):
    y = graded.y if n_classes == 2 else np.digitize(graded.tbs, [1.2, 1.35])
    settings = {"backbone": "squeezenet1_0", "precision": "float32"}
    tuned = small_pretrained(
        pooling="statistics", lr=1e-30, max_epochs=1, **settings
    ).fit(graded.X, y)
    closed = small_texture().fit(graded.X, y)
    assert tuned.alpha_ == closed.alpha_
    assert_allclose(
        tuned.predict_proba(graded.X), closed.predict_proba(graded.X), atol=1e-5
    )


def test_training_from_there_lowers_the_loss_and_moves_the_layers(graded):
    tuned, start = (
        small_pretrained(
            backbone="squeezenet1_0",
            pooling="statistics",
            optimizer="adamw",
            alpha=1000.0,
            lr=lr,
            max_epochs=3,
            precision="float32",
        ).fit(graded.X, graded.y, tbs=graded.tbs, groups=graded.patient)
        for lr in (0.0001, 1e-30)
    )
    assert list(tuned.history_["epoch"]) == [1, 2, 3]
    assert tuned.history_["train_loss"].is_monotonic_decreasing
    name = "backbone.maps.features.0.weight"
    before, after = (model.net_.module_.state_dict()[name] for model in (start, tuned))
    assert not torch.allclose(before, after, rtol=0, atol=1e-5)
