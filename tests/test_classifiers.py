"""What the classifiers promise beyond scikit-learn's own checks."""

import io
import pickle
import re

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import load_real_scans, small_adhoc, small_pretrained
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import Callback, EarlyStopping, EpochScoring, LRScheduler

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSPretrainedClassifier,
    make_dxa_phantoms,
)
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.estimators import _base
from tbsclassify.estimators._device import resolve_precision
from tbsclassify.estimators._losses import probabilities
from tbsclassify.estimators._net import Batches, ImageData, TBSNet
from tbsclassify.estimators._networks import PretrainedNetwork

MAKERS = [small_adhoc, small_pretrained]
both = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)


def test_a_texture_is_learnt(spines):
    model = small_adhoc(max_epochs=30, random_state=1)
    model.fit(spines.X[:20], spines.y[:20])
    assert model.score(spines.X[20:], spines.y[20:]) > 0.9


# --- Repeatability -----------------------------------------------------------


@both
def test_one_seed_gives_the_same_bits_whatever_happens_between(make, spines):
    first = make().fit(spines.X, spines.y).predict_proba(spines.X)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    make(random_state=5).fit(spines.X[:12], spines.y[:12])
    assert_array_equal(make().fit(spines.X, spines.y).predict_proba(spines.X), first)


@both
def test_other_seeds_give_other_probabilities(make, spines):
    probabilities = [
        make(random_state=seed).fit(spines.X, spines.y).predict_proba(spines.X)
        for seed in (0, 1)
    ]
    assert not np.array_equal(*probabilities)


@both
@pytest.mark.parametrize("seed", [0, None])
def test_global_random_states_are_left_as_found(make, seed, spines):
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    make(random_state=seed).fit(spines.X, spines.y).predict(spines.X)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@both
def test_a_refit_starts_from_the_beginning(make, spines):
    model = make().fit(spines.X, spines.y)
    once = model.predict_proba(spines.X)
    assert_array_equal(model.fit(spines.X, spines.y).predict_proba(spines.X), once)


@both
def test_a_fit_that_fails_leaves_the_model_unfitted(make, spines):
    model = make().fit(spines.X, spines.y)
    check_is_fitted(model)
    model.set_params(lr=1e30, precision="float32")
    with pytest.raises(FloatingPointError):
        model.fit(1000.0 * spines.X, spines.y)
    with pytest.raises(NotFittedError):
        check_is_fitted(model)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"early_stopping": "no"}, "Expected early_stopping to be True or False"),
        ({"early_stopping": None}, "Expected early_stopping to be True or False"),
        ({"callbacks": [3]}, r"Expected callbacks\[0\] to be a skorch callback"),
        ({"callbacks": ["LRScheduler"]}, r"Expected callbacks\[0\]"),
        ({"callbacks": [("name", None)]}, r"Expected callbacks\[0\]"),
    ],
)
def test_flags_and_callbacks_of_another_kind_are_refused(parameters, match, spines):
    with pytest.raises(TypeError, match=match):
        small_adhoc(**parameters).fit(spines.X, spines.y)


# --- Forms of X and y --------------------------------------------------------


@both
def test_all_forms_of_the_same_images_give_the_same_result(make, spines, tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(len(spines.X))]
    for path, image in zip(paths, spines.X, strict=True):
        Image.fromarray(image).save(path)
    objects = np.empty(len(spines.X), dtype=object)
    objects[:] = list(spines.X)
    expected = make().fit(spines.X, spines.y).predict_proba(spines.X)
    table = pd.DataFrame({"image": objects})
    for X in (spines.X[:, None], list(spines.X), objects, paths, table):
        model = make().fit(X, spines.y)
        assert_array_equal(model.predict_proba(X), expected)


def test_grey_levels_of_any_depth_carry_the_same_texture(spines):
    expected = small_adhoc().fit(spines.X, spines.y).predict_proba(spines.X)
    for X in (spines.X.astype(np.uint16) * 257, spines.X / 255):
        proba = small_adhoc().fit(X, spines.y).predict_proba(X)
        assert_allclose(proba, expected, atol=1e-3)


def test_another_depth_at_prediction_is_refused(spines):
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)
    with pytest.raises(ValueError, match=r"holds float32 images.*fitted on uint8"):
        model.predict(spines.X / 255)


def test_another_size_at_prediction_is_refused(spines):
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)
    with pytest.raises(ValueError, match=r"\(1, 24, 20\).*fitted on \(1, 24, 24\)"):
        model.predict(spines.X[..., :20])


def test_images_of_unequal_sizes_point_to_the_cropper(spines):
    X = [*spines.X[:-1], spines.X[-1][:20]]
    with pytest.raises(ValueError, match="LumbarCropper"):
        small_adhoc().fit(X, spines.y)


@both
@pytest.mark.parametrize(
    "labels", [["normal", "degraded"], [3, 1], [True, False]], ids=str
)
def test_labels_of_any_kind_come_back(make, labels, spines):
    y = np.array(labels)[spines.y]
    model = make().fit(spines.X, y)
    assert_array_equal(model.classes_, np.unique(labels))
    assert set(model.predict(spines.X)) <= set(labels)


@both
def test_three_classes_have_probabilities_that_sum_to_one(make, spines):
    y = np.arange(len(spines.X)) % 3
    model = make().fit(spines.X, y)
    proba = model.predict_proba(spines.X)
    assert proba.shape == (32, 3)
    assert_allclose(proba.sum(axis=1), 1, atol=1e-12)
    assert_array_equal(
        model.decision_function(spines.X).argmax(axis=1), proba.argmax(axis=1)
    )


@both
def test_the_decision_function_is_the_log_odds(make, spines):
    model = make().fit(spines.X, spines.y)
    proba = model.predict_proba(spines.X)
    assert_allclose(
        model.decision_function(spines.X),
        np.log(proba[:, 1] / proba[:, 0]),
        atol=1e-5,
    )


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(32, int), "one class only"),
        (np.arange(32) == 0, "has one scan only"),
        (np.linspace(0, 1, 32), "Unknown label type.*TBSLabeler"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(y, message, spines):
    with pytest.raises(ValueError, match=message):
        small_adhoc().fit(spines.X, y)


@both
def test_scans_that_were_not_cropped_to_their_boxes_warn(make):
    scans = make_dxa_phantoms(8, size=(64, 72), random_state=0)
    y = scans.tbs > np.median(scans.tbs)
    with pytest.warns(UserWarning, match=r"not at boxes.*make_pipeline\(LumbarCropper"):
        make().fit(scans.frame, y)


@both
def test_crops_with_their_boxes_do_not_warn(make):
    scans = make_dxa_phantoms(8, random_state=0)
    table = scans.frame.drop(columns=["row_spacing", "column_spacing"])
    crops = LumbarCropper(64, scale="fit").transform_table(table)
    model = make().fit(crops, scans.tbs > np.median(scans.tbs))
    assert model.image_shape_ == (1, 64, 64)


@both
def test_the_default_dtype_of_torch_makes_no_difference(make, spines):
    augmented = {"augmentation": RandomAugmentation()}
    expected = make(**augmented).fit(spines.X, spines.y).predict_proba(spines.X)
    torch.set_default_dtype(torch.float64)
    try:
        model = make(**augmented).fit(spines.X, spines.y)
        model = pickle.loads(pickle.dumps(model))
        assert torch.get_default_dtype() == torch.float64
        assert_array_equal(model.predict_proba(spines.X), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@both
def test_crops_without_an_excluded_vertebra_do_not_warn(make):
    scans = make_dxa_phantoms(8, random_state=0)
    crops = LumbarCropper(224).transform_table(scans.frame)
    crops.loc[:, [name for name in crops if name.startswith("L1_")]] = np.nan
    model = make(max_epochs=1).fit(crops, scans.tbs > np.median(scans.tbs))
    assert model.image_shape_ == (1, 224, 224)


@both
def test_a_missing_grey_level_is_refused(make, spines):
    X = spines.X.astype(float)
    X[3, 5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        make().fit(X, spines.y)


# --- Training ----------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(2, 60), st.integers(1, 12), st.booleans())
def test_every_image_is_in_one_batch_and_none_is_alone(n, batch_size, shuffle):
    images = np.arange(n, dtype=np.uint8)[:, None]
    data = ImageData(images, np.zeros(n), np.ones(n), "cpu")
    generator = torch.Generator().manual_seed(0) if shuffle else None
    batches = Batches(data, batch_size, generator)
    sizes, seen = [], []
    for batch, _ in batches:
        sizes.append(len(batch["images"]))
        seen += batch["images"][:, 0].tolist()
    assert sorted(seen) == list(range(n))
    assert len(batches) == len(sizes)
    assert max(sizes) <= batch_size + 1
    assert min(sizes) > 1 or batch_size == 1


def test_a_last_batch_of_one_image_is_trained_on(spines):
    """Batch normalisation of a 1 x 1 map refuses a batch of one."""
    model = small_pretrained(backbone="resnet18", batch_size=8)
    assert model.fit(spines.X[:9], spines.y[:9]).n_epochs_ == 2


def test_early_stopping_ends_and_restores_the_best_epoch(spines):
    rng = np.random.default_rng(0)
    y = rng.permutation(spines.y)  # nothing to learn: validation gets worse
    model = small_adhoc(max_epochs=100, patience=3).fit(spines.X, y)
    assert model.n_epochs_ == model.best_epoch_ + 3
    best = model.history_["valid_loss"].argmin() + 1
    assert model.best_epoch_ == best
    shorter = small_adhoc(max_epochs=int(best), patience=100).fit(spines.X, y)
    assert_array_equal(model.predict_proba(spines.X), shorter.predict_proba(spines.X))


def test_patients_do_not_straddle_the_internal_split(spines):
    model = small_adhoc(validation_fraction=0.25).fit(
        spines.X, spines.y, groups=spines.patient
    )
    train, valid = model._split(spines.y, spines.patient, seed=0, learns_tbs=False)
    assert not set(spines.patient[train]) & set(spines.patient[valid])
    assert len(valid) == pytest.approx(8, abs=2)


def test_groups_change_what_is_validated_on(spines):
    models = [
        small_adhoc().fit(spines.X, spines.y, groups=groups)
        for groups in (None, spines.patient)
    ]
    losses = [model.history_["valid_loss"][0] for model in models]
    assert losses[0] != losses[1]


def test_a_class_of_one_patient_cannot_be_split(spines):
    patient = np.where(spines.y == 1, 0, np.arange(32) + 1)
    with pytest.raises(ValueError, match="Class 1 has one patient only"):
        small_adhoc().fit(spines.X, spines.y, groups=patient)


@both
def test_weights_of_zero_take_scans_out_of_the_loss(make, spines):
    """A class of no weight is not learnt: all go to the other one."""
    weight = (spines.y == 0).astype(float)
    model = make(max_epochs=5, lr=0.05).fit(spines.X, spines.y, sample_weight=weight)
    assert model.predict_proba(spines.X)[:, 0].mean() > 0.5


def test_class_weights_are_sample_weights_by_label(spines):
    y = np.array(["normal", "degraded"])[spines.y]
    weight = np.where(y == "degraded", 3.0, 1.0)
    by_class = small_adhoc(class_weight={"degraded": 3, "normal": 1}).fit(spines.X, y)
    by_sample = small_adhoc().fit(spines.X, y, sample_weight=weight)
    assert_array_equal(
        by_class.predict_proba(spines.X), by_sample.predict_proba(spines.X)
    )


def test_balanced_weights_move_predictions_to_the_rare_class(spines):
    rare = np.flatnonzero((spines.y == 0) | (np.arange(32) < 12))
    X, y = spines.X[rare], spines.y[rare]
    plain, balanced = (
        small_adhoc(max_epochs=2, class_weight=weight).fit(X, y).predict_proba(X)[:, 1]
        for weight in (None, "balanced")
    )
    assert balanced.mean() > plain.mean()


@both
def test_a_loss_that_explodes_is_reported_with_its_epoch(make, spines):
    model = make(lr=1e30, early_stopping=False, max_epochs=20)
    with pytest.raises(FloatingPointError, match=r"NaN or infinite in epoch \d+"):
        model.fit(spines.X, spines.y)


class _Interrupt(Callback):
    def on_batch_begin(self, net, **kwargs):
        raise KeyboardInterrupt


@both
def test_ctrl_c_is_raised_and_leaves_no_half_trained_model(make, spines):
    model = make().fit(spines.X, spines.y).set_params(callbacks=[_Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        model.fit(spines.X, spines.y)
    with pytest.raises(NotFittedError):
        model.predict(spines.X)


def test_a_callback_can_end_the_training(spines):
    stopper = EarlyStopping(monitor="train_loss", threshold=10.0, patience=2)
    model = small_adhoc(callbacks=[stopper], early_stopping=False)
    assert model.fit(spines.X, spines.y).n_epochs_ < 8


class _Counter(Callback):
    def initialize(self):
        self.epochs_ = 0
        return self

    def on_epoch_end(self, net, **kwargs):
        self.epochs_ += 1
        net.history.record("counted", self.epochs_)


def test_callbacks_are_called_copied_and_may_add_to_the_history(spines):
    counter = _Counter()
    model = small_adhoc(callbacks=[counter], max_epochs=3).fit(spines.X, spines.y)
    assert model.history_["counted"].tolist() == [1, 2, 3]
    assert not hasattr(counter, "epochs_")


@both
def test_skorchs_own_callbacks_work_inside(make, spines):
    callbacks = [
        LRScheduler("CosineAnnealingLR", T_max=10),
        EpochScoring("roc_auc", lower_is_better=False, name="valid_auc"),
    ]
    model = make(callbacks=callbacks, early_stopping=True, max_epochs=3)
    aucs = model.fit(spines.X, spines.y).history_["valid_auc"]
    assert ((aucs >= 0) & (aucs <= 1)).all()
    assert len(aucs) == 3


def test_the_history_holds_an_entry_an_epoch(spines):
    model = small_adhoc(max_epochs=4).fit(spines.X, spines.y)
    assert list(model.history_) == ["epoch", "train_loss", "valid_loss", "seconds"]
    assert model.history_["epoch"].tolist() == [1, 2, 3, 4]
    assert (model.history_["seconds"] > 0).all()


def test_training_is_silent_by_default(spines, capfd):
    small_adhoc(max_epochs=2).fit(spines.X, spines.y)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_training_shows_epochs_losses_and_the_time_on_request_and_nothing_else(
    n_jobs, spines, capfd
):
    names = np.char.add("SECRET", spines.patient.astype(str))
    model = small_adhoc(max_epochs=30, patience=30, verbose=1)
    models = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(clone(model).fit)(spines.X, spines.y, groups=names) for _ in range(2)
    )
    out, err = capfd.readouterr()
    assert out == ""
    number = r"\d+(\.\d+)?(e-\d+)?"
    line = rf"epoch \d+/30, train_loss {number}, valid_loss {number}, \d:\d\d:\d\d \w+"
    assert all(re.fullmatch(line, one) for one in err.splitlines())
    assert 20 < len(err.splitlines()) <= 42
    assert len(re.findall("epoch 30/30, .* taken\n", err)) == 2
    silent = model.set_params(verbose=0).fit(spines.X, spines.y, groups=names)
    for one in models:
        assert_array_equal(one.predict_proba(spines.X), silent.predict_proba(spines.X))


def test_what_callbacks_measure_is_shown_with_the_losses(spines, capsys):
    score = EpochScoring("roc_auc", lower_is_better=False, name="valid_auc")
    small_adhoc(max_epochs=3, callbacks=[score], verbose=1).fit(spines.X, spines.y)
    assert capsys.readouterr().err.count(", valid_auc ") == 3


def test_a_training_that_stops_early_shows_its_last_epoch(spines, capsys):
    model = small_adhoc(max_epochs=500, patience=2, lr=0.1, verbose=1)
    model.fit(spines.X, spines.y)
    assert model.n_epochs_ < 500
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(rf"epoch {model.n_epochs_}/500, .* taken", last)


def test_head_mode_trains_the_head_alone(spines):
    model = small_pretrained(mode="head", lr=0.1).fit(spines.X, spines.y)
    network = model.net_.module_
    fresh = small_pretrained(mode="head", lr=1e-12, max_epochs=1).fit(
        spines.X, spines.y
    )
    start = dict(fresh.net_.module_.named_parameters())
    changed = {
        name
        for name, value in network.named_parameters()
        if not torch.allclose(value, start[name])
    }
    assert changed == {"head.1.weight", "head.1.bias"}


@pytest.mark.parametrize("verbose", [0, 1])
def test_training_talks_on_request_only_even_where_print_was_replaced(
    verbose, spines, monkeypatch, capsys
):
    plain = print
    monkeypatch.setattr("builtins.print", lambda *args, **options: plain(*args))
    small_adhoc(verbose=verbose).fit(spines.X, spines.y)
    assert bool(capsys.readouterr().out) == bool(verbose)


@pytest.mark.parametrize("backbone", ["squeezenet1_1", "resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_features_computed_once_train_the_same_head(
    backbone, early_stopping, spines, monkeypatch
):
    """Dropout of the head included: the long way draws the same.

    In bfloat16, which some processors take by themselves, features depend in their
    last digit on the batch they are computed in, and at this rate losses on that.
    """

    def fit():
        model = small_pretrained(
            backbone=backbone,
            mode="head",
            precision="float32",
            lr=0.1,
            batch_size=8,
            max_epochs=4,
            early_stopping=early_stopping,
        )
        return model.fit(spines.X, spines.y)

    short = fit()
    monkeypatch.setattr(TBSNet, "precompute", lambda self, data: data)
    long = fit()
    for part in ("train_loss", "valid_loss")[: 1 + early_stopping]:
        assert_allclose(short.history_[part], long.history_[part], rtol=1e-4)
    assert_allclose(
        short.predict_proba(spines.X), long.predict_proba(spines.X), atol=1e-4
    )


def test_head_mode_passes_each_scan_through_the_backbone_once(spines, monkeypatch):
    seen = []
    features = PretrainedNetwork.features

    def count(self, images):
        seen.append(len(images))
        return features(self, images)

    monkeypatch.setattr(PretrainedNetwork, "features", count)
    small_pretrained(mode="head", max_epochs=5).fit(spines.X, spines.y)
    assert sum(seen) == len(spines.X)


@pytest.mark.parametrize(("mode", "epochs"), [("full", 50), ("head", 20)])
def test_epochs_default_to_the_papers_by_mode(mode, epochs):
    assert TBSPretrainedClassifier(mode=mode).resolve_max_epochs() == epochs


# --- Augmentation ------------------------------------------------------------


@both
def test_augmentation_reaches_the_training_scans_and_no_others(
    make, spines, monkeypatch
):
    n_images = []
    apply = RandomAugmentation.apply

    def count(images, draws):
        n_images.append(len(images))
        return apply(images, draws)

    monkeypatch.setattr(RandomAugmentation, "apply", staticmethod(count))
    model = make(
        augmentation=RandomAugmentation(),
        early_stopping=True,
        validation_fraction=0.25,
        max_epochs=2,
    )
    model.fit(spines.X, spines.y).predict(spines.X)
    assert sum(n_images) == 2 * 24


@both
def test_augmentation_of_no_strength_changes_nothing(make, spines):
    off = RandomAugmentation(0, rotation=0, brightness=None)
    plain, augmented = (
        make(augmentation=augmentation).fit(spines.X, spines.y)
        for augmentation in (None, off)
    )
    assert_array_equal(plain.predict_proba(spines.X), augmented.predict_proba(spines.X))


@both
def test_augmented_training_is_repeatable(make, spines):
    model = make(augmentation=RandomAugmentation(), max_epochs=2)
    first = model.fit(spines.X, spines.y).predict_proba(spines.X)
    assert_array_equal(model.fit(spines.X, spines.y).predict_proba(spines.X), first)
    plain = make(max_epochs=2).fit(spines.X, spines.y).predict_proba(spines.X)
    assert not np.array_equal(plain, first)


def test_augmentation_is_drawn_anew_in_every_epoch(spines, monkeypatch):
    angles = []
    draw = RandomAugmentation.draw

    def keep(self, n_images, generator):
        draws = draw(self, n_images, generator)
        angles.append(draws.angle)
        return draws

    monkeypatch.setattr(RandomAugmentation, "draw", keep)
    small_adhoc(
        augmentation=RandomAugmentation(),
        early_stopping=False,
        batch_size=32,
        max_epochs=3,
    ).fit(spines.X, spines.y)
    assert len(torch.stack(angles).unique(dim=0)) == 3


def test_a_frozen_backbone_sees_augmented_scans(spines):
    """Features are then not computed once, but for every epoch."""
    plain, augmented = (
        small_pretrained(mode="head", augmentation=augmentation, max_epochs=3)
        .fit(spines.X, spines.y)
        .history_["train_loss"]
        for augmentation in (None, RandomAugmentation())
    )
    assert not np.allclose(plain, augmented, rtol=1e-4)


def test_settings_of_the_augmentation_can_be_searched(spines):
    search = GridSearchCV(
        small_adhoc(augmentation=RandomAugmentation(), max_epochs=1),
        {"augmentation__rotation": [0, 20]},
        cv=2,
    ).fit(spines.X, spines.y)
    rotations = [p["augmentation__rotation"] for p in search.cv_results_["params"]]
    assert rotations == [0, 20]


# --- Parameters --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "batch_size", "lr", "momentum"),
    [
        ("model1", 24, 0.001, 0.6),
        ("model2", 24, 0.0001, 0.7),
        ("model3", 24, 0.001, 0.9),
        ("model4", 48, 0.0001, 0.9),
    ],
)
def test_the_papers_models_have_its_hyperparameters(name, batch_size, lr, momentum):
    model = TBSAdHocClassifier.from_paper(name, random_state=7)
    assert (model.batch_size, model.lr, model.momentum) == (batch_size, lr, momentum)
    assert (model.max_epochs, model.patience, model.random_state) == (200, 15, 7)


def test_an_unknown_paper_model_lists_the_known_ones():
    with pytest.raises(ValueError, match="'model1', 'model2', 'model3', 'model4'"):
        TBSAdHocClassifier.from_paper("model5")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"filters": (8, 8)}, ValueError, r"filters .* blocks=1 .*, got 2: \(8, 8\)"),
        ({"filters": 8}, TypeError, "filters to be a sequence of integers .*, got 8"),
        ({"fc": (0,)}, ValueError, r"fc\[0\] .* got 0"),
        ({"lr": 0}, ValueError, "lr .* above 0, got 0"),
        ({"lr": np.inf}, ValueError, "lr to be a finite number above 0, got inf"),
        ({"max_epochs": None}, TypeError, "max_epochs to be an integer .* got None"),
        ({"max_epochs": 0}, ValueError, "max_epochs .* at least 1, got 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size .* got 1.5"),
        ({"momentum": 1.0}, ValueError, "momentum .* got 1.0"),
        ({"augmentation": True}, TypeError, "augmentation .* got True"),
        ({"precision": "float16"}, ValueError, "precision .* got 'float16'"),
        ({"device": "gpu"}, ValueError, "device .* got 'gpu'"),
        ({"device": None}, ValueError, "device .* got None"),
        ({"callbacks": Callback()}, TypeError, "callbacks to be a list .* got <"),
        ({"random_state": -1}, ValueError, "random_state .* got -1"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction .* got 1.0"),
        ({"class_weight": {0: 1, 1: np.nan}}, ValueError, "class 1 .* got .*nan"),
        ({"class_weight": {0: -1, 1: 1}}, ValueError, "class 0 .* got .*-1"),
    ],
)
def test_bad_parameters_are_named_at_fit(parameters, error, message, spines):
    with pytest.raises(error, match=message):
        small_adhoc(**parameters).fit(spines.X, spines.y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"backbone": "resnet19"}, "backbone .* got 'resnet19'"),
        ({"mode": "both"}, "mode .* got 'both'"),
        ({"weights": "cifar"}, "weights .* got 'cifar'"),
        ({"dropout": 1.0}, "dropout .* got 1.0"),
        ({"max_epochs": -5}, "max_epochs .* got -5"),
    ],
)
def test_bad_backbone_parameters_are_named_at_fit(parameters, message, spines):
    with pytest.raises(ValueError, match=message):
        small_pretrained(**parameters).fit(spines.X, spines.y)


# --- What is left after fitting ----------------------------------------------


@both
def test_a_pickle_predicts_alike(make, spines):
    model = make().fit(spines.X, spines.y)
    copied = pickle.loads(pickle.dumps(model))
    assert_array_equal(copied.predict_proba(spines.X), model.predict_proba(spines.X))
    assert copied.device_ == "cpu"


@both
def test_a_pickle_carries_little_more_than_the_weights(make, spines):
    model = make(callbacks=[_Counter()], max_epochs=5).fit(spines.X, spines.y)
    weights = io.BytesIO()
    torch.save(model.net_.module_.state_dict(), weights)
    assert len(pickle.dumps(model)) < len(weights.getvalue()) + 60_000


def test_a_clone_of_a_fitted_model_is_unfitted_and_has_no_weights(spines):
    model = clone(small_adhoc().fit(spines.X, spines.y))
    assert not hasattr(model, "net_")


@pytest.mark.parametrize("form", [np.asarray, list], ids=["array", "list"])
def test_large_data_are_predicted_in_several_batches(form, spines, monkeypatch):
    model = small_adhoc(max_epochs=2).fit(spines.X, spines.y)
    at_once = model.predict_proba(spines.X)
    monkeypatch.setattr(_base, "_PIXELS_PER_BATCH", (5 * 24 * 24,) * 2)
    assert_allclose(model.predict_proba(form(spines.X)), at_once, atol=1e-6)


def test_an_error_in_a_later_batch_is_raised(spines, monkeypatch):
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)
    monkeypatch.setattr(_base, "_PIXELS_PER_BATCH", (5 * 24 * 24,) * 2)
    with pytest.raises(ValueError, match=r"\(1, 20, 24\).*fitted on \(1, 24, 24\)"):
        model.predict([*spines.X[:10], *spines.X[10:, :20]])


@both
def test_prediction_leaves_the_model_as_it_is(make, spines):
    model = make().fit(spines.X, spines.y)
    before = {k: v.clone() for k, v in model.net_.module_.state_dict().items()}
    model.predict(spines.X)
    after = model.net_.module_.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


# --- Weights, precision, devices ---------------------------------------------


def test_random_weights_are_fed_standardised_scans(spines):
    model = small_pretrained().fit(spines.X, spines.y)
    assert_allclose(model.intensity_mean_, spines.X.mean())
    assert_allclose(model.intensity_std_, spines.X.std())


def test_imagenet_weights_are_fed_what_they_were_trained_on(spines, monkeypatch):
    model = TBSPretrainedClassifier("resnet18")
    model.image_shape_ = (1, 24, 24)
    model._fit_normalization(spines.X[:, None])
    assert_allclose(model.intensity_mean_ / 255, [0.485, 0.456, 0.406])
    assert_allclose(model.intensity_std_ / 255, [0.229, 0.224, 0.225])
    deep = spines.X[:, None].astype(np.uint16) * 16  # 12 bits in a 16-bit array
    model._fit_normalization(deep)
    width = float(deep.max()) - float(deep.min())
    assert_allclose((model.intensity_mean_[0] - deep.min()) / width, 0.485)


# Shapes at which the last maps of a ResNet are one pixel wide; at the second, those
# before them are two.
@pytest.mark.parametrize("shape", [(40, 16), (96, 32)])
def test_narrow_images_are_in_float32_whatever_the_precision(shape):
    # In bfloat16, strided convolutions to maps one pixel wide are wrong on some CPUs.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, *shape)), np.arange(12) % 2
    probabilities = [
        TBSPretrainedClassifier(
            "resnet18",
            mode="full",
            weights=None,
            max_epochs=1,
            precision=precision,
            random_state=0,
        )
        .fit(X, y)
        .predict_proba(X)
        for precision in ("float32", "bfloat16")
    ]
    assert_array_equal(*probabilities)


@pytest.mark.parametrize(
    ("shape", "narrow"),
    [((1, 300, 63), True), ((1, 300, 128), False), ((3, 63, 63), False)],
)
def test_bfloat16_is_left_out_where_images_are_narrow_and_tall(shape, narrow):
    dtype = resolve_precision("bfloat16", "cpu", shape)
    assert dtype is (None if narrow else torch.bfloat16)


def test_bfloat16_predicts_nearly_as_float32(spines):
    probabilities = [
        small_adhoc(precision=precision).fit(spines.X, spines.y).predict_proba(spines.X)
        for precision in ("float32", "bfloat16")
    ]
    assert not np.array_equal(*probabilities)
    assert_allclose(*probabilities, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@both
def test_a_gpu_is_used_where_there_is_one(make, spines):
    model = make().fit(spines.X, spines.y)
    assert model.device_.startswith("cuda")
    copied = pickle.loads(pickle.dumps(model))
    assert_allclose(copied.predict_proba(spines.X), model.predict_proba(spines.X))


def test_targets_that_are_on_a_device_go_with_what_replaces_the_images():
    images, target = np.zeros((2, 1, 4, 4), np.uint8), np.array([0.5, 1.5])
    # Tensors of this device cannot become arrays, as those of a GPU cannot.
    data = ImageData(images, target, np.ones(2), "meta")
    features = np.zeros((2, 3), np.float32)
    again = ImageData(features, data.target, data.weight, "meta", kind="features")
    assert again.target.device.type == "meta"
    assert again.target.dtype == torch.float32


def test_real_scans_are_classified():
    """Bone density classes, not TBS: that it runs, not that it is right."""
    scans = load_real_scans()
    has_box = ~np.isnan(scans.boxes).all(axis=(1, 2))
    keep = has_box & (scans.frame["bone_density_class"] != "osteopenia")
    keep = np.flatnonzero(keep)[::4]
    y = scans.frame["bone_density_class"].to_numpy()[keep]
    X = LumbarCropper(160).transform(scans.frame.iloc[keep])
    model = small_adhoc().fit(X, y, groups=scans.patient[keep])
    assert model.predict_proba(X).shape == (len(keep), 2)


@pytest.mark.parametrize(("dtype", "kind"), [("Int64", "i"), ("boolean", "b")])
def test_nullable_labels_are_predicted_as_the_kind_they_are(dtype, kind):
    X = np.random.default_rng(0).integers(256, size=(12, 8, 8), dtype=np.uint8)
    y = pd.array([0, 1] * 6, dtype="Int64").astype(dtype)
    net = TBSAdHocClassifier(
        1, (2,), (2,), max_epochs=1, early_stopping=False, random_state=0
    )
    net.fit(X, y)
    assert net.classes_.dtype.kind == net.predict(X).dtype.kind == kind


def test_labels_of_numbers_and_text_are_refused():
    X = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="labels of one kind, got number, str"):
        TBSAdHocClassifier(1, (2,), (2,)).fit(X, [0, "1", 0, "1"])


@pytest.mark.parametrize("backbone", ["regnet_y_400mf", "mnasnet0_5", "swin_t"])
def test_copies_of_other_networks_of_torchvision_predict_the_same(backbone):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 256, (6, 64, 64)).astype(np.uint8), np.arange(6) % 2
    model = small_pretrained(backbone=backbone, max_epochs=1, device="cpu").fit(X, y)
    found = model.predict_proba(X)
    with torch.inference_mode():
        plain = probabilities(model.net_.module_.eval()(torch.from_numpy(X[:, None])))
    assert_allclose(found, plain, atol=1e-4)
    state = torch.get_rng_state()
    copied = pickle.loads(pickle.dumps(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert_array_equal(copied.predict_proba(X), found)
