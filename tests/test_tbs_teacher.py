"""TBS as the teacher: ranges, spread, metadata, regressors, and the recipe."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from conftest import small_adhoc, small_pretrained, small_texture
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    StratifiedGroupKFold,
    cross_validate,
)
from sklearn.pipeline import Pipeline
from skorch.callbacks import Callback

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSAdHocRegressor,
    TBSLabeler,
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
)
from tbsclassify.estimators._ranges import TBSRanges

MAKERS = [small_texture, small_pretrained, small_adhoc]
every = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def ranges(class_of_range=(0, 1, 2), thresholds=(1.2, 1.35)):
    return TBSRanges(thresholds, np.array(class_of_range))


# --- From a value to ranges --------------------------------------------------

values = st.lists(st.floats(0.5, 2.0), min_size=1, max_size=5).map(np.array)
spreads = st.floats(0.001, 0.5)


@given(values, spreads, st.sampled_from([(0, 1, 2), (0, 0, 1), (1, 0, 0), (0, -1, 1)]))
def test_probabilities_sum_to_one(tbs, std, class_of_range):
    proba = np.exp(ranges(class_of_range).log_proba(tbs, std))
    assert_allclose(proba.sum(axis=1), 1)


@given(values, st.floats(0.05, 0.5))
def test_probabilities_are_differences_of_the_normal_distribution(tbs, std):
    below = norm.cdf([1.2, 1.35], tbs[:, None], std)
    expected = np.column_stack(
        [1 - below[:, 1], below[:, 1] - below[:, 0], below[:, 0]]
    )
    proba = np.exp(ranges().log_proba(tbs, std))
    assert_allclose(proba, expected, atol=1e-12)


@given(values, spreads)
def test_a_higher_value_is_never_more_probably_degraded(tbs, std):
    log_proba = ranges().log_proba(np.sort(tbs), std)
    assert (np.diff(log_proba[:, 2]) <= 1e-9).all()
    assert (np.diff(log_proba[:, 0]) >= -1e-9).all()


@pytest.mark.parametrize("side", [-1, 1])
def test_logarithms_are_accurate_at_30_standard_deviations(side):
    std = 0.01
    tbs = np.array([1.2 - 30 * std if side < 0 else 1.35 + 30 * std])
    found = ranges().log_proba(tbs, std)[0]
    near, far = norm.logsf(30), norm.logsf(45)
    expected = [far, near, 0.0] if side < 0 else [0.0, near, far]
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_a_range_without_a_class_is_impossible():
    log_proba = ranges((0, -1, 1)).log_proba(np.array([1.275, 1.1]), 0.05)
    assert_allclose(np.exp(log_proba[0]), [0.5, 0.5])
    below, above = norm.cdf(1.2, 1.1, 0.05), norm.sf(1.35, 1.1, 0.05)
    assert np.exp(log_proba[1, 1]) == pytest.approx(below / (below + above))


def of_classes(tbs, y, thresholds=(1.2, 1.35)):
    classes, codes = np.unique(y, return_inverse=True)
    return TBSRanges.of_classes(tbs, codes, classes, thresholds)


@pytest.mark.parametrize(
    ("labeler", "expected"),
    [
        (TBSLabeler(), [0, 0, 1]),
        (TBSLabeler(partially_degraded="degraded"), [0, 1, 1]),
        (TBSLabeler(scheme="three-class"), [0, 1, 2]),
    ],
    ids=["normal", "degraded", "three"],
)
def test_classes_of_the_labeler_are_found(labeler, expected):
    tbs = np.array([1.1, 1.2, 1.3, 1.35, 1.4])
    found = of_classes(tbs, labeler.fit_transform(tbs))
    assert_array_equal(found.class_of_range, expected)


def test_the_order_of_classes_may_be_any():
    found = of_classes([1.4, 1.1, 1.3], np.array(["well", "bad", "so-so"]))
    assert_array_equal(found.class_of_range, [2, 1, 0])


def test_single_precision_values_are_those_that_are_printed(graded):
    tbs = graded.tbs.copy()
    tbs[:4] = 1.35, 1.2, 1.35, 1.2
    y = TBSLabeler(scheme="three-class").fit_transform(tbs)
    expected, found = (
        small_texture().fit(graded.X, y, tbs=one).predict_tbs(graded.X)
        for one in (tbs, tbs.astype(np.float32))
    )
    assert_array_equal(found, expected)


def test_the_first_row_that_disagrees_is_named(graded):
    y = graded.y.copy()
    y[[17, 30]] = 1 - y[[17, 30]]
    message = f"TBS {graded.tbs[17]:g} with class {y[17]} in row 17: .*Make y by"
    with pytest.raises(ValueError, match=message):
        small_texture().fit(graded.X, y, tbs=graded.tbs)


def test_other_thresholds_than_those_of_the_labeler_are_told(graded):
    y = TBSLabeler(thresholds=(1.23, 1.31)).fit_transform(graded.tbs)
    with pytest.raises(ValueError, match=r"thresholds=\(1.2, 1.35\).*the labeler's"):
        small_texture().fit(graded.X, y, tbs=graded.tbs)
    model = small_texture(thresholds=(1.23, 1.31)).fit(graded.X, y, tbs=graded.tbs)
    assert model.score(graded.X, y) > 0.9


def test_classes_that_are_not_ordered_by_tbs_are_refused():
    with pytest.raises(ValueError, match="class 0 both above and below class 1"):
        of_classes([1.4, 1.3, 1.1], [0, 1, 0])


@pytest.mark.parametrize(
    ("tbs", "message"),
    [
        (lambda tbs: np.where(np.arange(60) == 5, np.nan, tbs), r"index 5 \(nan\)"),
        (lambda tbs: 100 * tbs, "values in per cent by 100"),
        (lambda tbs: tbs[:-1], "each of 60 scans, got 59"),
        (
            lambda tbs: np.column_stack([tbs, tbs]),
            "one value a scan, got an array of shape",
        ),
        (lambda tbs: pd.DataFrame({"tbs": tbs}), "got a table"),
        (lambda tbs: -tbs, "not positive"),
    ],
    ids=["missing", "per cent", "short", "two columns", "table", "negative"],
)
def test_values_that_are_not_tbs_are_refused(tbs, message, graded):
    with pytest.raises(ValueError, match=message):
        small_texture().fit(graded.X, graded.y, tbs=tbs(graded.tbs))


@pytest.mark.parametrize(
    "form", [list, pd.Series, partial(pd.Series, index=range(60, 0, -1))]
)
def test_values_may_be_a_list_or_a_column(form, graded):
    expected, found = (
        small_texture().fit(graded.X, graded.y, tbs=tbs).predict_proba(graded.X)
        for tbs in (graded.tbs, form(graded.tbs))
    )
    assert_array_equal(found, expected)


# --- What a classifier learns from values ------------------------------------


@every
def test_probabilities_are_those_of_ranges_around_the_predicted_value(make, graded):
    model = make().fit(graded.X, graded.y, groups=graded.patient, tbs=graded.tbs)
    tbs, std = model.predict_tbs(graded.X, return_std=True)
    assert_array_equal(std, model.residual_std_)
    proba = model.predict_proba(graded.X)
    assert_allclose(proba[:, 1], norm.cdf(1.2, tbs, std[0]), atol=1e-9)
    assert_allclose(np.exp(model.predict_log_proba(graded.X)), proba)
    odds = np.log(proba[:, 1]) - np.log(proba[:, 0])
    assert_allclose(model.decision_function(graded.X), odds, rtol=1e-6, atol=1e-6)


def test_values_teach_more_than_classes(graded):
    train = graded.patient < 20
    model = small_texture(layers=["features.1"])
    model.fit(graded.X[train], graded.y[train], tbs=graded.tbs[train])
    assert r2_score(graded.tbs[~train], model.predict_tbs(graded.X[~train])) > 0.5


def test_three_ordered_classes_follow_from_values(graded):
    y = np.array(["c", "b", "a"])[np.digitize(graded.tbs, [1.2, 1.35])]
    model = small_texture().fit(graded.X, y, tbs=graded.tbs)
    assert list(model.classes_) == ["a", "b", "c"]
    proba = model.predict_proba(graded.X)
    tbs = model.predict_tbs(graded.X)
    assert_allclose(proba[:, 2], norm.cdf(1.2, tbs, model.residual_std_), atol=1e-9)
    assert model.score(graded.X, y) > 0.8


def test_scans_without_a_middle_range_are_learned(graded):
    kept = ~TBSLabeler().partially_degraded_mask(graded.tbs)
    model = small_texture().fit(
        graded.X[kept], graded.y[kept], tbs=graded.tbs[kept], groups=None
    )
    tbs, std = model.predict_tbs(graded.X), model.residual_std_
    below, above = norm.cdf(1.2, tbs, std), norm.sf(1.35, tbs, std)
    proba = model.predict_proba(graded.X)[:, 1]
    assert_allclose(proba, below / (below + above), rtol=1e-6, atol=1e-9)


@every
def test_the_spread_is_that_of_values_which_no_texture_tells(make, graded):
    tbs = np.random.default_rng(1).permutation(graded.tbs)
    y = TBSLabeler().fit_transform(tbs)
    options = {} if make is small_texture else {"validation_fraction": 0.5}
    model = make(**options).fit(graded.X, y, tbs=tbs)
    assert 0.8 * tbs.std() < model.residual_std_ < 1.6 * tbs.std()


@pytest.mark.parametrize("make", [small_pretrained, small_adhoc])
def test_the_spread_is_measured_on_patients_that_were_held_out(make, graded):
    model = make(early_stopping=False, precision="float32", validation_fraction=0.25)
    model.fit(graded.X, graded.y, groups=graded.patient, tbs=graded.tbs)
    seed = int(np.random.SeedSequence(0).generate_state(3)[0] >> 1)
    train, valid = model._split(graded.y, graded.patient, seed, learns_tbs=True)
    assert not set(graded.patient[train]) & set(graded.patient[valid])
    errors = model.predict_tbs(graded.X[valid]) - graded.tbs[valid]
    assert model.residual_std_ == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3)
    assert model.tbs_mean_ == pytest.approx(graded.tbs[train].mean())
    assert "valid_loss" in model.history_


def test_values_that_are_all_equal_are_learned(graded):
    model = TBSPretrainedRegressor(weights=None, random_state=0)
    model.fit(graded.X, np.full(60, 1.25))
    assert_allclose(model.predict(graded.X), 1.25)
    assert model.residual_std_ == 0.001


def test_values_are_not_needed_to_predict_nor_kept(graded):
    model = small_texture().fit(graded.X, graded.y, tbs=graded.tbs)
    again = pickle.loads(pickle.dumps(model))
    assert len(pickle.dumps(model)) < 1e6
    assert_array_equal(again.predict_tbs(graded.X), model.predict_tbs(graded.X))
    assert again.residual_std_ == model.residual_std_


@every
def test_a_fit_without_values_forgets_those_of_the_fit_before(make, graded):
    taught = make().fit(graded.X, graded.y, tbs=graded.tbs)
    taught.fit(graded.X, graded.y)
    plain = make().fit(graded.X, graded.y)
    assert not hasattr(taught, "predict_tbs")
    assert not hasattr(taught, "residual_std_")
    assert not hasattr(taught, "tbs_mean_")
    assert_array_equal(taught.predict_proba(graded.X), plain.predict_proba(graded.X))


def test_another_mode_forgets_the_strength_of_the_closed_form(spines):
    model = small_texture(max_epochs=1).fit(spines.X, spines.y)
    assert model.alpha_ > 0
    model.set_params(mode="head").fit(spines.X, spines.y)
    assert not hasattr(model, "alpha_")


def test_only_who_learned_values_predicts_them(graded):
    model = small_texture()
    assert not hasattr(model, "predict_tbs")
    with pytest.raises(NotFittedError):
        model.predict(graded.X)
    with pytest.raises(AttributeError, match="predict_tbs"):
        model.fit(graded.X, graded.y).predict_tbs(graded.X)


@every
def test_the_same_seed_gives_the_same_bits(make, graded):
    one, same = (
        make().fit(graded.X, graded.y, tbs=graded.tbs).predict_tbs(graded.X)
        for _ in range(2)
    )
    assert_array_equal(one, same)


@every
def test_a_followed_training_predicts_values_and_goes_on_as_without(make, graded):
    plain = make().fit(graded.X, graded.y, tbs=graded.tbs)
    model, seen = make(), []

    def report(epoch, max_epochs):
        seen.append((epoch, model.residual_std_, model.predict_tbs(graded.X[:5])))

    with model.monitored(report):
        model.fit(graded.X, graded.y, tbs=graded.tbs)
    assert [epoch for epoch, *_ in seen] == list(plain.history_["epoch"])
    assert all(std > 0 for _, std, _ in seen)
    assert model.residual_std_ == plain.residual_std_
    assert_array_equal(model.predict_tbs(graded.X), plain.predict_tbs(graded.X))


def test_a_class_of_one_patient_cannot_teach_in_epochs(graded):
    tbs = np.full(60, 1.4)
    tbs[0] = 1.1
    y = TBSLabeler().fit_transform(tbs)
    with pytest.raises(ValueError, match=r"Class 1 has one scan only.* and no tbs"):
        small_adhoc(early_stopping=False).fit(graded.X, y, tbs=tbs)


# --- Through scikit-learn ----------------------------------------------------


def make_pipeline_of_two():
    return Pipeline([("crop", LumbarCropper(20)), ("clf", small_texture())])


def test_values_go_through_cross_validation_row_by_row(graded):
    cv = GroupKFold(3)
    result = cross_validate(
        make_pipeline_of_two(),
        graded.X,
        graded.y,
        groups=graded.patient,
        cv=cv,
        params={"clf__tbs": graded.tbs},
        return_estimator=True,
        error_score="raise",
    )
    train, test = next(cv.split(graded.X, graded.y, graded.patient))
    model = make_pipeline_of_two()
    model.fit(graded.X[train], graded.y[train], clf__tbs=graded.tbs[train])
    assert_array_equal(
        result["estimator"][0].predict_proba(graded.X[test]),
        model.predict_proba(graded.X[test]),
    )


def test_values_go_through_a_grid_search(graded):
    search = GridSearchCV(
        make_pipeline_of_two(),
        {"clf__alpha": [1.0, 1e6]},
        cv=2,
        scoring="roc_auc",
        error_score="raise",
    ).fit(graded.X, graded.y, clf__tbs=graded.tbs)
    assert search.best_estimator_["clf"].predict_tbs(
        LumbarCropper(20).transform(graded.X)
    ).shape == (60,)


def test_values_are_routed_as_metadata(graded):
    with sklearn.config_context(enable_metadata_routing=True):
        model = small_texture().set_fit_request(tbs=True, groups=True)
        result = cross_validate(
            Pipeline([("clf", model)]),
            graded.X,
            graded.y,
            params={"tbs": graded.tbs, "groups": graded.patient},
            cv=StratifiedGroupKFold(2),
            return_estimator=True,
            error_score="raise",
        )
    assert all(hasattr(one["clf"], "predict_tbs") for one in result["estimator"])


def test_values_left_out_of_routing_do_not_reach_the_classifier(graded):
    with sklearn.config_context(enable_metadata_routing=True):
        model = Pipeline([("clf", small_texture().set_fit_request(tbs=False))])
        with pytest.raises(TypeError, match="tbs"):
            model.fit(graded.X, graded.y, tbs=graded.tbs)


# --- Regressors --------------------------------------------------------------


def small_texture_regressor(**parameters):
    settings = {"weights": None, "precision": "float32", "random_state": 0}
    return TBSPretrainedRegressor(**settings | parameters)


def small_full_regressor():
    return small_texture_regressor(mode="full", backbone="squeezenet1_1", max_epochs=2)


def small_adhoc_regressor(**parameters):
    settings = {"lr": 0.01, "batch_size": 16, "max_epochs": 12, "random_state": 0}
    return TBSAdHocRegressor(1, (4,), (8,), **settings | parameters)


REGRESSORS = [small_texture_regressor, small_full_regressor, small_adhoc_regressor]
every_regressor = pytest.mark.parametrize(
    "make", REGRESSORS, ids=lambda make: make.__name__
)


@every_regressor
def test_regressors_give_a_value_and_its_spread(make, graded):
    model = make().fit(graded.X, graded.tbs, groups=graded.patient)
    tbs, std = model.predict(graded.X, return_std=True)
    assert_array_equal(model.predict(graded.X), tbs)
    assert_array_equal(std, np.full(60, model.residual_std_))
    assert model.score(graded.X, graded.tbs) == pytest.approx(r2_score(graded.tbs, tbs))


@pytest.mark.parametrize("make", [small_texture_regressor, small_adhoc_regressor])
def test_regressors_follow_the_texture(make, graded):
    train = graded.patient < 22
    model = make().fit(graded.X[train], graded.tbs[train])
    found = model.predict(graded.X[~train])
    assert np.corrcoef(found, graded.tbs[~train])[0, 1] > 0.6


def test_a_regressor_predicts_what_a_taught_classifier_does(graded):
    regressor = small_texture_regressor().fit(graded.X, graded.tbs)
    classifier = small_texture().fit(graded.X, graded.y, tbs=graded.tbs)
    assert_array_equal(regressor.predict(graded.X), classifier.predict_tbs(graded.X))
    assert regressor.residual_std_ == classifier.residual_std_


@every_regressor
def test_scans_of_one_patient_cannot_be_regressed_on(make, graded):
    with pytest.raises(ValueError, match="two patients at least, got n_samples=60"):
        make().fit(graded.X, graded.tbs, groups=np.zeros(60))


def test_class_weights_are_no_weights_of_scans(graded):
    with pytest.raises(TypeError, match=r"sample_weight to hold .* got 'balanced'"):
        small_texture_regressor().fit(graded.X, graded.tbs, sample_weight="balanced")


def test_a_regressor_is_cloned_and_searched(graded):
    search = GridSearchCV(
        small_texture_regressor(), {"alpha": [10.0, 1e6]}, cv=2, error_score="raise"
    ).fit(graded.X, graded.tbs)
    assert search.best_params_ == {"alpha": 10.0}
    assert not hasattr(clone(search.best_estimator_), "net_")


# --- The recipe --------------------------------------------------------------


class NoteRate(Callback):
    """Note the learning rate of the last step of each epoch."""

    def on_batch_begin(self, net, **_):
        self.rate = net.optimizer_.param_groups[0]["lr"]

    def on_epoch_end(self, net, **_):
        net.history.record("rate", self.rate)


def rates(lr_schedule, **parameters):
    model = TBSAdHocClassifier(
        1,
        (2,),
        (),
        lr=0.01,
        lr_schedule=lr_schedule,
        batch_size=16,
        max_epochs=10,
        callbacks=[NoteRate()],
        random_state=0,
        **parameters,
    )
    return lambda X, y: model.fit(X, y).history_["rate"].to_numpy()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_without_a_schedule_the_rate_stays(optimizer, spines):
    assert_array_equal(rates(None, optimizer=optimizer)(spines.X, spines.y), 0.01)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_falls_as_half_a_cosine_does(optimizer, spines):
    found = rates("cosine", optimizer=optimizer)(spines.X, spines.y)
    expected = 0.005 * (1 + np.cos(np.pi * (2 * np.arange(10) + 1) / 20))
    assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_rate_rises_before_it_falls_in_one_cycle(optimizer, spines):
    found = rates("one-cycle", optimizer=optimizer)(spines.X, spines.y)
    top = found.argmax()
    assert 0 < top < 5
    assert 0.008 < found[top] <= 0.01
    assert (np.diff(found[top:]) < 0).all()
    assert found[-1] < 1e-6


@pytest.mark.parametrize(
    ("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)]
)
def test_the_optimiser_is_the_one_that_is_asked_for(optimizer, kind, spines):
    model = small_adhoc(optimizer=optimizer, weight_decay=0.03, max_epochs=1)
    used = model.fit(spines.X, spines.y).net_.optimizer_
    assert type(used) is kind
    assert used.param_groups[0]["weight_decay"] == 0.03


def test_weight_decay_keeps_weights_small(spines):
    norms = [
        sum(
            one.detach().norm().item()
            for one in small_adhoc(optimizer="adamw", weight_decay=decay, max_epochs=30)
            .fit(spines.X, spines.y)
            .net_.module_.parameters()
        )
        for decay in (0.0, 5.0)
    ]
    assert norms[1] < 0.7 * norms[0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"optimizer": "adam"}, "optimizer .* got 'adam'"),
        ({"lr_schedule": "step"}, "lr_schedule .* got 'step'"),
        ({"weight_decay": -0.1}, "weight_decay .* got -0.1"),
        ({"pooling": "mean"}, "pooling .* got 'mean'"),
    ],
)
def test_bad_parameters_of_the_recipe_are_named(parameters, message, spines):
    with pytest.raises(ValueError, match=message):
        small_adhoc(**parameters).fit(spines.X, spines.y)


def test_statistics_of_the_last_maps_take_the_place_of_their_pixels(spines):
    flat, pooled = (
        small_adhoc(pooling=pooling, fc=()).fit(spines.X, spines.y)
        for pooling in ("flatten", "statistics")
    )
    first = {
        model.pooling: next(
            layer
            for layer in model.net_.module_.modules()
            if isinstance(layer, torch.nn.Linear)
        )
        for model in (flat, pooled)
    }
    assert first["statistics"].in_features == 2 * 4
    assert first["flatten"].in_features == 4 * 11 * 11


def test_statistics_of_the_last_maps_tell_textures_apart(spines):
    train = spines.patient < 10
    model = small_adhoc(
        pooling="statistics",
        fc=(),
        optimizer="adamw",
        lr=0.03,
        max_epochs=20,
        early_stopping=False,
    ).fit(spines.X[train], spines.y[train])
    assert model.score(spines.X[~train], spines.y[~train]) > 0.9


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("model1", {"lr": 0.001, "momentum": 0.6, "batch_size": 24, "blocks": 5}),
        ("model2", {"lr": 0.0001, "momentum": 0.7, "batch_size": 24, "blocks": 3}),
        ("model3", {"lr": 0.001, "momentum": 0.9, "batch_size": 24, "fc": (100,)}),
        ("model4", {"lr": 0.0001, "momentum": 0.9, "batch_size": 48, "fc": (1000,)}),
    ],
)
def test_the_papers_small_models_keep_their_training(name, settings):
    found = TBSAdHocClassifier.from_paper(name).get_params()
    settings = settings | {
        "optimizer": "sgd",
        "weight_decay": 0.0,
        "lr_schedule": None,
        "pooling": "flatten",
        "max_epochs": 200,
        "early_stopping": True,
        "patience": 15,
        "augmentation": None,
    }
    assert {key: found[key] for key in settings} == settings


@pytest.mark.parametrize(("mode", "epochs"), [("full", 50), ("head", 20)])
def test_the_papers_pretrained_models_keep_their_training(mode, epochs):
    model = TBSPretrainedClassifier.from_paper("vgg16", mode, random_state=1)
    found, settings = (
        model.get_params(),
        {
            "backbone": "vgg16",
            "mode": mode,
            "weights": "imagenet",
            "pooling": "network",
            "dropout": 0.4,
            "optimizer": "sgd",
            "lr": 0.0001,
            "momentum": 0.9,
            "weight_decay": 0.0,
            "lr_schedule": None,
            "batch_size": 24,
            "early_stopping": False,
            "random_state": 1,
        },
    )
    assert {key: found[key] for key in settings} == settings
    assert model.resolve_max_epochs() == epochs


def test_the_paper_has_no_closed_form():
    with pytest.raises(ValueError, match=r"mode .*'full', 'head', got 'texture'"):
        TBSPretrainedClassifier.from_paper("resnet18", "texture")
