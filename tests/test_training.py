"""How networks are trained: random numbers, weights, validation set, callbacks."""

import signal
import warnings
from functools import partial

import joblib
import numpy as np
import pytest
import torch
from conftest import small_adhoc, small_pretrained
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    ProgressBar,
)
from skorch.utils import noop

from tbsclassify import AugmentationSampler, LumbarCropper
from tbsclassify.estimators import _monitor
from tbsclassify.estimators._batches import as_tensor
from tbsclassify.estimators._networks import PretrainedNetwork
from tbsclassify.estimators._random import RandomStream
from tbsclassify.estimators._validation_split import validation_split
from tbsclassify.plotting import TrainingHistoryDisplay

MAKERS = [small_adhoc, small_pretrained]
both = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
HEAD = {"mode": "head", "lr": 0.1, "precision": "float32"}


# --- Random numbers ----------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (small_adhoc, {"max_epochs": 3}),
        (small_pretrained, HEAD | {"max_epochs": 5}),
        (small_pretrained, {"max_epochs": 1}),
    ],
    ids=["ad hoc", "head", "full"],
)
def test_fits_in_threads_are_bit_for_bit_those_alone(make, parameters, spines):
    def fit():
        model = make(**parameters).fit(spines.X, spines.y)
        return model.predict_proba(spines.X)

    alone = fit()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(3)(joblib.delayed(fit)() for _ in range(6))
    for one in together:
        assert_array_equal(one, alone)
    assert torch.equal(torch.get_rng_state(), before)


def test_searches_in_threads_of_threads_find_what_one_finds_alone(spines):
    def search(n_jobs):
        grid = {"lr": [0.01, 0.1], "random_state": [0, 1]}
        found = GridSearchCV(
            small_pretrained(**HEAD), grid, cv=2, n_jobs=n_jobs, scoring="neg_log_loss"
        ).fit(spines.X, spines.y)
        return found.cv_results_["mean_test_score"]

    alone = search(None)
    with joblib.parallel_config("threading"):
        together = joblib.Parallel(2)(joblib.delayed(search)(2) for _ in range(2))
    assert_array_equal(together[0], alone)
    assert_array_equal(together[1], alone)


def test_streams_that_take_turns_draw_what_each_draws_alone():
    with torch.random.fork_rng([]):
        torch.manual_seed(5)
        alone = [torch.randn(3), torch.rand(2)]
    stream, other = RandomStream(5, "cpu"), RandomStream(6, "cpu")
    with stream.drawing():
        first = torch.randn(3)
    with other.drawing():
        torch.randn(100)
    with stream.drawing():
        second = torch.rand(2)
    assert torch.equal(first, alone[0])
    assert torch.equal(second, alone[1])


def test_a_seed_means_the_initial_weights_that_it_means_to_torch(spines):
    model = small_pretrained(lr=1e-30, max_epochs=1).fit(spines.X, spines.y)
    seed = np.random.SeedSequence(0).generate_state(3)[1] >> 1
    with torch.random.fork_rng([]):
        torch.manual_seed(int(seed))
        expected = model._make_module(2)().state_dict()
    found = model.net_.module_.state_dict()
    for name, value in expected.items():  # a step of 1e-30 moves biases from zero
        assert torch.allclose(found[name].cpu(), value, rtol=0, atol=1e-20)


def test_an_error_inside_a_stream_gives_the_global_generator_back():
    before = torch.get_rng_state()
    stream = RandomStream(0, "cpu")
    with pytest.raises(RuntimeError), stream.drawing():
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_read_only_array_becomes_a_tensor_without_a_copy_or_a_warning(tmp_path):
    np.save(tmp_path / "scans.npy", np.arange(6, dtype=np.uint16).reshape(2, 3))
    array = np.load(tmp_path / "scans.npy", mmap_mode="r")
    filters = list(warnings.filters)
    tensor = as_tensor(array)
    assert tensor.data_ptr() == array.ctypes.data
    assert_array_equal(tensor.numpy(), array)
    assert warnings.filters == filters


@both
def test_read_only_scans_are_trained_on_and_predicted(make, spines):
    X = spines.X.copy()
    X.flags.writeable = False
    expected = make().fit(spines.X, spines.y).predict_proba(spines.X)
    assert_array_equal(make().fit(X, spines.y).predict_proba(X), expected)


# --- Weights -----------------------------------------------------------------


def test_class_weights_count_where_a_batch_is_one_scan(spines):
    plain, weighted = (
        small_adhoc(
            batch_size=1, class_weight=weight, max_epochs=1, early_stopping=False
        )
        .fit(spines.X, spines.y)
        .predict_proba(spines.X)[:, 1]
        for weight in (None, {0: 1, 1: 1000})
    )
    assert weighted.mean() > plain.mean() + 0.1


@pytest.mark.parametrize("batch_size", [1, 5, 24])
@pytest.mark.parametrize("order", ["mixed", "by class"])
def test_the_validation_loss_is_the_weighted_mean_of_the_set(batch_size, order, spines):
    """A learning rate of nearly zero keeps the network as it is."""
    rows = np.arange(32) if order == "mixed" else np.argsort(spines.y, kind="stable")
    X, y, patient = spines.X[rows], spines.y[rows], spines.patient[rows]
    model = small_pretrained(
        lr=1e-30,
        batch_size=batch_size,
        class_weight={0: 1, 1: 1000},
        early_stopping=True,
        validation_fraction=0.25,
        max_epochs=1,
        precision="float32",
    ).fit(X, y, groups=patient)
    seed = np.random.SeedSequence(0).generate_state(3)[0] >> 1
    _, valid = model._split(y, patient, int(seed), learns_tbs=False)
    expected = log_loss(
        y[valid],
        model.predict_proba(X[valid]),
        sample_weight=np.where(y[valid] == 1, 1000, 1),
    )
    assert model.history_["valid_loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [5, 32])
def test_the_training_loss_is_the_weighted_mean_over_all_scans(batch_size, spines):
    weight = np.linspace(0, 9, 32)
    model = small_pretrained(
        lr=1e-30, dropout=0.0, batch_size=batch_size, max_epochs=1, precision="float32"
    ).fit(spines.X, spines.y, sample_weight=weight)
    expected = log_loss(spines.y, model.predict_proba(spines.X), sample_weight=weight)
    assert model.history_["train_loss"][0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_equal_weights_of_any_size_are_no_weights(early_stopping, spines):
    model = small_adhoc(early_stopping=early_stopping, max_epochs=3)
    plain = model.fit(spines.X, spines.y).predict_proba(spines.X)
    model.fit(spines.X, spines.y, sample_weight=np.full(32, 7.0))
    assert_array_equal(model.predict_proba(spines.X), plain)


@pytest.mark.parametrize("size", [1e-310, 1e-3, 1e307])
def test_weights_of_extreme_sizes_neither_overflow_nor_vanish(size, spines):
    model = small_adhoc(early_stopping=False, max_epochs=1)
    plain = model.fit(spines.X, spines.y).predict_proba(spines.X)
    model.fit(spines.X, spines.y, sample_weight=np.full(32, size))
    assert_array_equal(model.predict_proba(spines.X), plain)


@pytest.mark.parametrize("value", ["balance", [1, 2], 3])
def test_a_class_weight_of_another_kind_is_refused_by_name(value, spines):
    with pytest.raises(ValueError, match=r"Expected class_weight to be .*, got "):
        small_adhoc(class_weight=value).fit(spines.X, spines.y)


def test_weights_that_are_all_zero_are_refused(spines):
    with pytest.raises(ValueError, match=r"above zero .*Change sample_weight"):
        small_adhoc(class_weight={0: 0, 1: 0}).fit(spines.X, spines.y)


def test_weights_that_are_all_zero_in_the_validation_set_are_refused(spines):
    weight = np.eye(32)[0]
    with pytest.raises(ValueError, match=r"a part in which all are zero"):
        small_adhoc().fit(spines.X, spines.y, sample_weight=weight)


def test_fit_takes_weights_and_groups_by_name_only(spines):
    with pytest.raises(TypeError, match="positional"):
        small_adhoc().fit(spines.X, spines.y, np.ones(32))


# --- The validation set ------------------------------------------------------


def split(y, groups=None, fraction=0.125, seed=0):
    classes, codes = np.unique(y, return_inverse=True)
    parts = validation_split(
        codes, groups, fraction=fraction, seed=seed, classes=classes
    )
    for part in parts:
        assert_array_equal(np.unique(codes[part]), np.unique(codes))
    assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))
    if groups is not None:
        assert not set(groups[parts[0]]) & set(groups[parts[1]])
    return parts


@pytest.mark.parametrize(
    ("n_scans", "fraction", "expected"),
    [
        ([3, 4, 8, 4, 4], 0.1, 3),
        ([10, 1, 3, 6, 2, 1, 1], 0.8, 19),
        ([3, 4, 4], 0.8, 8),
    ],
)
def test_a_few_large_patients_are_chosen_to_meet_the_fraction(
    n_scans, fraction, expected
):
    patient = np.repeat(np.arange(len(n_scans)), n_scans)
    y = np.concatenate([np.arange(n) % 2 for n in n_scans])
    for seed in range(5):
        assert len(split(y, patient, fraction, seed)[1]) == expected


def test_a_class_of_two_patients_does_not_take_half_of_all_scans():
    y = np.r_[np.zeros(198, int), np.ones(2, int)].repeat(3)
    patient = np.arange(200).repeat(3)
    _, valid = split(y, patient)
    assert len(valid) == 75
    assert y[valid].sum() == 3


@pytest.mark.parametrize("n_rare", [2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_a_class_of_few_scans_is_in_both_parts(n_rare, seed):
    y = np.r_[np.zeros(200 - n_rare, int), np.ones(n_rare, int)]
    _, valid = split(y, seed=seed)
    assert len(valid) == 25
    assert y[valid].sum() == 1


@pytest.mark.parametrize("fraction", [0.05, 0.125, 0.3, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_the_fraction_is_met_with_patients_of_unequal_sizes(fraction, seed):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    y = rng.permuted(np.arange(60) % 3)[patient]
    _, valid = split(y, patient, fraction, seed)
    assert abs(len(valid) - fraction * len(y)) <= 1


def test_the_smallest_patients_that_suffice_are_set_aside_where_all_are_large():
    """Two patients of class 1 have half of all scans; one of them must be used."""
    y = np.r_[np.zeros(100, int), np.ones(100, int)]
    patient = np.r_[np.arange(100), np.full(40, 100), np.full(60, 101)]
    _, valid = split(y, patient)
    assert len(valid) == 41


def test_patients_are_exchanged_where_that_meets_the_fraction():
    """Of patients with 4, 3, 10 and 8 scans, 4 and 8 make up the half of 25."""
    _, valid = split(
        np.repeat([0, 1, 0, 1], [4, 3, 10, 8]),
        np.repeat([0, 1, 2, 3], [4, 3, 10, 8]),
        fraction=0.5,
    )
    assert len(valid) in (12, 13)


def test_patients_with_scans_of_several_classes_are_split():
    y = np.array([0, 1, 0, 2, 1, 2, 0, 1, 2])
    patient = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3])
    split(y, patient, fraction=0.3)


def test_a_split_that_no_choice_of_patients_allows_is_refused():
    y, patient = np.array([0, 1, 0, 2, 1, 2]), np.array([0, 0, 1, 1, 2, 2])
    with pytest.raises(ValueError, match=r"No split by patient .* 3 patients"):
        split(y, patient)


def test_a_seed_decides_the_split():
    y, patient = np.arange(80) % 2, np.arange(80) // 2
    same, again, other = (split(y, patient, seed=seed)[1] for seed in (0, 0, 1))
    assert_array_equal(same, again)
    assert not np.array_equal(same, other)


# --- Groups ------------------------------------------------------------------


def test_groups_are_not_looked_at_without_early_stopping(spines):
    model = small_adhoc(early_stopping=False, max_epochs=1)
    plain = model.fit(spines.X, spines.y).predict_proba(spines.X)
    for groups in (spines.patient[:5], ["p", None]):
        model.fit(spines.X, spines.y, groups=groups)
        assert_array_equal(model.predict_proba(spines.X), plain)


def test_a_sampler_may_add_scans_before_a_classifier_that_gets_groups(spines):
    model = make_imblearn_pipeline(
        AugmentationSampler(random_state=0),
        small_adhoc(early_stopping=False, max_epochs=1),
    )
    model.fit(spines.X, spines.y, tbsadhocclassifier__groups=spines.patient)
    assert model.predict(spines.X).shape == (32,)


def test_groups_of_another_length_say_what_to_do(spines):
    message = "each of 32 scans, got 31 .*early_stopping=False.*sample_indices_"
    with pytest.raises(ValueError, match=message):
        small_adhoc().fit(spines.X, spines.y, groups=spines.patient[:-1])


# --- Callbacks that end the training, and Ctrl-C -----------------------------


class _StopAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("epoch", [1, 2, 5])
def test_a_callback_that_ends_the_training_keeps_the_best_epoch(epoch, spines):
    model = small_adhoc(max_epochs=50, callbacks=[_StopAt(epoch)])
    model.fit(spines.X, spines.y)
    assert model.n_epochs_ == epoch
    assert model.best_epoch_ == model.history_["valid_loss"].argmin() + 1
    shorter = small_adhoc(max_epochs=model.best_epoch_, patience=99)
    shorter.fit(spines.X, spines.y)
    assert_array_equal(model.predict_proba(spines.X), shorter.predict_proba(spines.X))


def test_the_best_epoch_before_a_callback_ended_the_training_is_restored(spines):
    """Labels at random: the validation loss soon rises."""
    y = np.random.default_rng(0).permutation(spines.y)
    model = small_adhoc(max_epochs=50, patience=99, lr=0.1, callbacks=[_StopAt(12)])
    model.fit(spines.X, y)
    assert model.best_epoch_ < 12
    shorter = small_adhoc(max_epochs=model.best_epoch_, patience=99, lr=0.1)
    shorter.fit(spines.X, y)
    assert_array_equal(model.predict_proba(spines.X), shorter.predict_proba(spines.X))


class _StopInside(Callback):
    """Ends the training in the midst of an epoch."""

    def __init__(self, epoch, event):
        self.epoch = epoch
        setattr(self, event, self.stop)

    def stop(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("event", ["on_batch_end", "on_batch_begin", "on_epoch_begin"])
def test_an_epoch_that_a_callback_cut_off_is_not_counted(event, spines):
    model = small_adhoc(max_epochs=50, callbacks=[_StopInside(4, event)])
    model.fit(spines.X, spines.y)
    assert model.n_epochs_ == len(model.history_) == 3
    assert model.history_.notna().all(axis=None)
    shorter = small_adhoc(max_epochs=model.best_epoch_, patience=99)
    shorter.fit(spines.X, spines.y)
    assert_array_equal(model.predict_proba(spines.X), shorter.predict_proba(spines.X))


def test_a_callback_that_cuts_off_the_first_epoch_leaves_no_model(spines):
    model = small_adhoc(callbacks=[_StopInside(1, "on_batch_end")])
    with pytest.raises(KeyboardInterrupt):
        model.fit(spines.X, spines.y)
    with pytest.raises(NotFittedError):
        model.predict(spines.X)


def test_a_training_that_a_callback_ended_at_once_is_drawn(spines):
    model = small_adhoc(callbacks=[_StopAt(1)]).fit(spines.X, spines.y)
    display = TrainingHistoryDisplay.from_estimator(model)
    assert display.best_.get_xdata().tolist() == [1]


def test_the_epoch_that_a_callback_restores_is_the_best_one(spines):
    stopper = EarlyStopping(monitor="train_loss", patience=2, load_best=True, sink=noop)
    model = small_adhoc(
        early_stopping=False, callbacks=[stopper], lr=3.0, max_epochs=30
    ).fit(spines.X, spines.y)
    assert model.n_epochs_ == model.best_epoch_ + 2
    shorter = small_adhoc(early_stopping=False, lr=3.0, max_epochs=model.best_epoch_)
    shorter.fit(spines.X, spines.y)
    assert_array_equal(model.predict_proba(spines.X), shorter.predict_proba(spines.X))


class _Recorder(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("seen", True)


def test_callbacks_after_one_that_ends_the_training_hear_of_the_epoch(spines):
    model = small_adhoc(callbacks=[_StopAt(2), _Recorder()]).fit(spines.X, spines.y)
    assert model.history_["seen"].tolist() == [True, True]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Have Python's own handler, which processes of pytest-xdist do without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _interrupt():
    signal.raise_signal(signal.SIGINT)


def _interrupt_and_tidy_up():
    try:
        _interrupt()
    except KeyboardInterrupt:
        raise


def _interrupt_and_raise_anew():
    try:
        _interrupt()
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


class _Sigint(Callback):
    def __init__(self, how):
        self.how = how

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2:
            self.how()


@pytest.mark.parametrize(
    "how", [_interrupt, _interrupt_and_tidy_up, _interrupt_and_raise_anew]
)
@both
def test_ctrl_c_inside_a_callback_is_raised_and_leaves_the_model_unfitted(
    make, how, spines
):
    model = make(callbacks=[_Sigint(how)], max_epochs=50)
    with pytest.raises(KeyboardInterrupt):
        model.fit(spines.X, spines.y)
    with pytest.raises(NotFittedError):
        model.predict(spines.X)
    assert not hasattr(model, "history_")


def _handle(number, frame, task=None):
    raise KeyboardInterrupt


class _Handler:
    def __call__(self, number, frame):
        raise KeyboardInterrupt

    def handle(self, number, frame):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    "handler",
    [_handle, partial(_handle, task=1), _Handler(), _Handler().handle],
    ids=["function", "partial", "object", "method"],
)
def test_ctrl_c_is_known_where_a_program_has_its_own_handler(handler, spines):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            small_adhoc(callbacks=[_Sigint(_interrupt)]).fit(spines.X, spines.y)
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_that_is_over_does_not_make_a_later_end_look_like_one(spines):
    try:
        _interrupt()
    except KeyboardInterrupt:
        model = small_adhoc(callbacks=[_StopAt(1)]).fit(spines.X, spines.y)
    assert model.n_epochs_ == 1


# --- Any skorch callback -----------------------------------------------------


@pytest.mark.parametrize("use_caching", [True, False])
@pytest.mark.parametrize("on_train", [True, False])
@pytest.mark.parametrize("kind", [EpochScoring, BatchScoring])
@pytest.mark.parametrize("mode", ["full", "head"])
def test_scores_of_callbacks_see_classes(use_caching, on_train, kind, mode, spines):
    callback = kind(
        accuracy_score,
        name="score",
        lower_is_better=False,
        on_train=on_train,
        use_caching=use_caching,
    )
    model = small_pretrained(
        mode=mode,
        lr=1e-30,
        dropout=0.0,
        max_epochs=1,
        early_stopping=True,
        validation_fraction=0.25,
        callbacks=[callback],
    )
    y = np.array(["normal", "degraded"])[spines.y]
    model.fit(spines.X, y)
    seed = np.random.SeedSequence(0).generate_state(3)[0] >> 1
    codes = np.searchsorted(model.classes_, y)
    part = model._split(codes, None, int(seed), learns_tbs=False)[0 if on_train else 1]
    expected = model.score(spines.X[part], y[part])
    assert model.history_["score"][0] == pytest.approx(expected)


class _Predictor(Callback):
    def __init__(self, X):
        self.X = X

    def on_epoch_end(self, net, **kwargs):
        net.history.record("predicted", float(net.predict_proba(self.X)[:, 1].mean()))


@both
def test_a_callback_may_predict_scans_of_its_own(make, spines):
    callback = _Predictor(spines.X)
    model = make(callbacks=[callback], early_stopping=False, max_epochs=2)
    model.fit(spines.X, spines.y)
    expected = model.predict_proba(spines.X)[:, 1].mean()
    assert model.history_["predicted"][1] == pytest.approx(expected, abs=1e-3)


def test_other_callbacks_of_skorch_work_together(spines, tmp_path, capsys):
    model = small_adhoc(
        max_epochs=3,
        callbacks=[
            LRScheduler("ReduceLROnPlateau", monitor="valid_loss"),
            Checkpoint(dirname=str(tmp_path), monitor="valid_loss_best"),
            GradientNormClipping(1.0),
            ProgressBar(),
        ],
    ).fit(spines.X, spines.y)
    capsys.readouterr()
    assert model.n_epochs_ == 3
    assert {file.name for file in tmp_path.iterdir()} >= {"params.pt", "history.json"}


# --- Predictions -------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@both
def test_log_probabilities_are_the_logarithms_of_probabilities(make, n_classes, spines):
    model = make().fit(spines.X, np.arange(32) % n_classes)
    proba, log_proba = model.predict_proba(spines.X), model.predict_log_proba(spines.X)
    assert_allclose(log_proba, np.log(proba), rtol=1e-6)


def test_log_probabilities_are_accurate_where_probabilities_round_to_zero(spines):
    model = small_adhoc(max_epochs=1).fit(spines.X, spines.y)
    with torch.no_grad():
        model.net_.module_[-1][-1].bias.fill_(900.0)
    score = model.decision_function(spines.X)
    log_proba = model.predict_log_proba(spines.X)
    assert_allclose(log_proba[:, 0], -score)
    assert (log_proba[:, 1] <= 0).all()


def test_a_loss_that_is_nan_before_the_first_step_does_not_blame_the_rate(
    spines, monkeypatch
):
    class _Break(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_[-1][-1].bias.data.fill_(np.nan)

    model = small_adhoc(callbacks=[_Break()], early_stopping=False)
    with pytest.raises(FloatingPointError, match="not the reason"):
        model.fit(spines.X, spines.y)


# --- Following a training ----------------------------------------------------


@both
def test_a_monitored_training_is_bit_for_bit_the_plain_one(make, spines):
    plain = make().fit(spines.X, spines.y)
    model = make()
    with model.monitored(lambda *epochs: model.predict(spines.X)):
        model.fit(spines.X, spines.y)
    assert_array_equal(model.predict_proba(spines.X), plain.predict_proba(spines.X))


def test_a_pipeline_predicts_raw_scans_while_its_last_step_is_monitored(spines):
    model, seen = make_pipeline(LumbarCropper(20), small_adhoc(max_epochs=2)), []
    with model[-1].monitored(lambda *_: seen.append(model.predict_proba(spines.X))):
        model.fit(spines.X, spines.y)
    assert [one.shape for one in seen] == [(32, 2), (32, 2)]
    assert not np.array_equal(*seen)


@pytest.mark.parametrize("mode", ["full", "head"])
def test_a_monitored_classifier_stands_as_if_it_ended_there(mode, spines):
    seen = []
    model = small_pretrained(mode=mode, max_epochs=3, precision="float32")

    def report(epoch, max_epochs):
        assert (epoch, max_epochs) == (model.n_epochs_, 3)
        assert model.history_["epoch"].tolist() == list(range(1, epoch + 1))
        assert model.best_epoch_ == epoch
        seen.append(model.predict_proba(spines.X))

    with model.monitored(report):
        model.fit(spines.X, spines.y)
    for epoch in (1, 2, 3):
        shorter = small_pretrained(mode=mode, max_epochs=epoch, precision="float32")
        shorter.fit(spines.X, spines.y)
        assert_allclose(seen[epoch - 1], shorter.predict_proba(spines.X), atol=1e-6)


def test_a_monitored_head_passes_the_same_scans_through_the_backbone_once(
    spines, monkeypatch
):
    n_images = []
    features = PretrainedNetwork.features

    def count(self, images):
        n_images.append(len(images))
        return features(self, images)

    monkeypatch.setattr(PretrainedNetwork, "features", count)
    model = small_pretrained(mode="head", max_epochs=4)
    with model.monitored(lambda *epochs: model.predict(spines.X[:10])):
        model.fit(spines.X, spines.y)
    assert sum(n_images) == 32 + 10


def test_features_beyond_the_limit_are_computed_anew(spines, monkeypatch):
    def follow():
        seen = []
        model = small_pretrained(mode="head", max_epochs=2)
        with model.monitored(lambda *_: seen.append(model.predict_proba(spines.X))):
            model.fit(spines.X, spines.y)
        return seen

    remembered = follow()
    monkeypatch.setattr(_monitor, "_MEMO_BYTES", 0)
    assert_allclose(follow(), remembered, atol=1e-6)


def test_other_scans_after_an_epoch_are_not_taken_for_remembered_ones(spines):
    model = small_pretrained(mode="head", max_epochs=2)
    seen = {}

    def report(epoch, max_epochs):
        seen[epoch] = [model.predict_proba(spines.X[rows]) for rows in ([0, 1], [1, 0])]

    with model.monitored(report):
        model.fit(spines.X, spines.y)
    for forward, backward in seen.values():
        assert_allclose(forward, backward[::-1], atol=1e-6)
        assert not np.array_equal(*forward)


def test_a_report_that_raises_ends_the_fit_and_leaves_no_model(spines):
    def report(epoch, max_epochs):
        if epoch == 2:
            raise RuntimeError("enough")

    model = small_adhoc()
    with pytest.raises(RuntimeError, match="enough"), model.monitored(report):
        model.fit(spines.X, spines.y)
    with pytest.raises(NotFittedError):
        model.predict(spines.X)


def test_an_epoch_that_a_callback_ends_the_training_with_is_reported(spines):
    seen = []
    model = small_adhoc(callbacks=[_StopAt(2)])
    with model.monitored(lambda epoch, _: seen.append(epoch)):
        model.fit(spines.X, spines.y)
    model.fit(spines.X, spines.y)  # after the block nothing is reported
    assert seen == [1, 2]


@both
def test_a_classifier_can_be_pickled_while_it_is_monitored(make, spines):
    import pickle

    model, copies = make(max_epochs=2), []

    def report(epoch, max_epochs):
        copies.append((pickle.dumps(model), model.predict_proba(spines.X)))

    with model.monitored(report):
        model.fit(spines.X, spines.y)
    for pickled, proba in copies:
        assert_array_equal(pickle.loads(pickled).predict_proba(spines.X), proba)


@pytest.mark.parametrize("weight", ["balanced", {0: 1, 1: 3}])
def test_weights_of_classes_in_place_of_those_of_scans_are_refused(weight, spines):
    with pytest.raises(TypeError, match="Weights of classes are a parameter"):
        small_adhoc().fit(spines.X, spines.y, sample_weight=weight)
