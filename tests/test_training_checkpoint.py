"""Trainings that are killed, or fail, and go on from a file."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import (
    ONE_BY_ONE,
    small_adhoc,
    small_pretrained,
    small_texture,
    without_workers,
)
from numpy.testing import assert_array_equal
from ray import cloudpickle
from ray.tune.schedulers import HyperBandScheduler
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from skorch.callbacks import Callback, EpochScoring, Freezer, LRScheduler

from tbsclassify import (
    RandomAugmentation,
    RayTuneSearchCV,
    TBSAdHocClassifier,
    TBSAdHocRegressor,
    TBSPretrainedRegressor,
    compare_models,
)
from tbsclassify._pipelines import last_step
from tbsclassify.estimators import _resume


@pytest.fixture
def every_epoch(monkeypatch):
    """Write after every epoch, however long a write takes."""
    monkeypatch.setattr(_resume, "_SHARE", float("inf"))


class Killed(BaseException):
    """Stands for what ends a process, which nobody handles."""


class Fuse(Callback):
    """Counts epochs that begin, and ends the process in the midst of one.

    Its numbers are of the class, and so no part of a training.
    """

    begun = SimpleNamespace(epochs=0, lethal=None)

    def on_epoch_begin(self, net, **kwargs):
        self.begun.epochs += 1

    def on_batch_end(self, net, **kwargs):
        if self.begun.epochs == self.begun.lethal:
            self.begun.lethal = None
            raise Killed


@pytest.fixture
def fuse():
    Fuse.begun.epochs, Fuse.begun.lethal = 0, None
    return Fuse.begun


SMALL = {"blocks": 1, "filters": (4,), "batch_size": 8, "random_state": 0}
TURN = RandomAugmentation(rotation=20)
STOP = {"early_stopping": True, "patience": 3}
MODELS = {
    "early stopping": small_adhoc(patience=3),
    "closed-form start": TBSAdHocClassifier(**SMALL, max_epochs=5),
    "augmentation": small_adhoc(augmentation=TURN, lr_schedule="cosine"),
    "head": small_pretrained(mode="head", max_epochs=5, **STOP),
    "head, augmented": small_pretrained(mode="head", augmentation=TURN, max_epochs=5),
    "full": small_pretrained(max_epochs=5, optimizer="adamw", lr_schedule="one-cycle"),
    "batch normalisation": small_pretrained(
        backbone="shufflenet_v2_x0_5", max_epochs=4, lr=0.01, **STOP
    ),
    "full, closed-form start": small_pretrained(
        backbone="resnet18", pooling="statistics", max_epochs=4, optimizer="adamw"
    ),
    "three classes": small_adhoc(loss="ordinal", class_weight="balanced"),
    "rate of NumPy": small_adhoc(lr=np.float64(0.01), max_epochs=4),
    "RandomState": small_adhoc(random_state=np.random.RandomState(3)),
    "regressor": TBSAdHocRegressor(**SMALL, max_epochs=5),
    "regressor's head": TBSPretrainedRegressor(
        "squeezenet1_1", "head", weights=None, max_epochs=5, random_state=0, **STOP
    ),
}


def fit(model, data, **options):
    """Fit a model to what it learns."""
    if hasattr(model, "classes_") or hasattr(model, "loss"):
        return model.fit(data.X, data.y, groups=data.patient, **options)
    return model.fit(data.X, data.tbs, groups=data.patient, **options)


def assert_same(one, two, X):
    """Compare trainings bit by bit."""
    weights = two.net_.module_.state_dict()
    for key, value in one.net_.module_.state_dict().items():
        assert torch.equal(value, weights[key]), key
    tables = [model.history_.drop(columns="seconds") for model in (one, two)]
    assert tables[0].equals(tables[1])
    for name in ("best_epoch_", "n_epochs_", "residual_std_", "alpha_", "tbs_scale_"):
        assert getattr(one, name, None) == getattr(two, name, None), name
    assert_array_equal(one.predict(X), two.predict(X))
    if hasattr(one, "classes_"):
        assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def break_off(model, data, epoch, **options):
    """Fit a model until whoever follows it raises an error."""

    def report(now, max_epochs):
        if now == epoch:
            raise Killed

    with pytest.raises(Killed), model.monitored(report):
        fit(model, data, **options)


def epochs_heard(model, data, **options):
    """Fit a model; return the epochs that it reports."""
    heard = []
    with model.monitored(lambda epoch, max_epochs: heard.append(epoch)):
        fit(model, data, **options)
    return heard


@pytest.mark.parametrize("name", MODELS)
def test_a_training_that_was_broken_off_ends_as_if_it_had_not_been(
    name, graded, tmp_path, fuse, every_epoch
):
    data = graded
    model = clone(MODELS[name]).set_params(callbacks=[("fuse", Fuse())])
    whole = fit(clone(model), data)
    n_epochs, fuse.epochs, fuse.lethal = fuse.epochs, 0, 3
    kept = clone(model).set_params(checkpoint=tmp_path / "training")
    with pytest.raises(Killed):
        fit(clone(kept), data)
    resumed = fit(clone(kept), data)
    assert fuse.epochs == n_epochs + 1  # the third began twice
    assert_same(whole, resumed, data.X)


@pytest.mark.parametrize("name", ["early stopping", "closed-form start", "head"])
def test_a_training_on_tbs_goes_on_with_its_values(
    name, graded, tmp_path, fuse, every_epoch
):
    model = MODELS[name]
    whole = fit(clone(model), graded, tbs=graded.tbs)
    kept = clone(model).set_params(checkpoint=tmp_path / "training")
    break_off(clone(kept), graded, 2, tbs=graded.tbs)
    resumed = fit(clone(kept), graded, tbs=graded.tbs)
    assert_same(whole, resumed, graded.X)


PROGRAM = """
import sys
import numpy as np, torch
sys.path.insert(0, {tests!r})
from conftest import small_adhoc
torch.set_num_threads(1)
data = np.load({data!r})
model = small_adhoc(max_epochs=100, early_stopping=False, checkpoint={file!r})
model.fit(data["X"], data["y"], groups=data["patient"])
"""


def test_a_process_killed_at_any_moment_leaves_what_the_next_goes_on_from(
    spines, tmp_path
):
    file, data = tmp_path / "training", tmp_path / "data.npz"
    np.savez(data, X=spines.X, y=spines.y, patient=spines.patient)
    code = PROGRAM.format(
        tests=os.path.dirname(__file__), data=str(data), file=str(file)
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not file.exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(np.random.default_rng().uniform(0, 0.3))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    model = small_adhoc(max_epochs=100, early_stopping=False)
    whole = fit(clone(model), spines)
    heard = epochs_heard(model.set_params(checkpoint=file), spines)
    assert heard == list(range(heard[0], 101))
    assert_same(whole, model, spines.X)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "training"]


def test_a_training_that_is_over_is_not_repeated(spines, tmp_path, fuse):
    model = small_adhoc(
        checkpoint=tmp_path / "new" / "training", callbacks=[Fuse()], patience=2
    )
    first = fit(clone(model), spines)
    n_epochs = fuse.epochs
    again = clone(model)
    assert epochs_heard(again, spines) == [first.n_epochs_]
    assert fuse.epochs == n_epochs
    assert_same(first, again, spines.X)


def test_closed_forms_have_no_epochs_to_keep(spines, tmp_path):
    fit(small_texture(checkpoint=tmp_path / "training"), spines)
    assert not list(tmp_path.iterdir())


def test_without_a_seed_the_training_in_the_file_goes_on(spines, tmp_path, every_epoch):
    model = small_adhoc(checkpoint=tmp_path / "training", random_state=None)
    seen = []

    def stop(epoch, max_epochs):
        seen.append(model.history_.train_loss.to_numpy())
        if epoch == 3:
            raise Killed

    with pytest.raises(Killed), model.monitored(stop):
        fit(model, spines)
    resumed = fit(clone(model), spines)
    assert_array_equal(resumed.history_.train_loss[:3], seen[-1])
    assert_same(resumed, fit(clone(model), spines), spines.X)


@pytest.mark.parametrize(
    ("what", "parameters", "options"),
    [
        ("lr", {"lr": 0.02}, {}),
        ("max_epochs", {"max_epochs": 9}, {}),
        ("augmentation", {"augmentation": TURN}, {}),
        ("random_state", {"random_state": 1}, {}),
        ("random_state", {"random_state": None}, {}),
        ("callbacks", {"callbacks": [Fuse()]}, {}),
        ("X", {}, {"X": "flipped"}),
        ("y", {}, {"y": "flipped"}),
        ("groups", {}, {"patient": "flipped"}),
        ("sample_weight", {}, {"sample_weight": np.arange(32.0)}),
    ],
)
def test_the_file_of_another_training_is_refused_with_what_differs(
    what, parameters, options, spines, tmp_path
):
    file = tmp_path / "training"
    fit(small_adhoc(checkpoint=file), spines)
    before = file.read_bytes()
    data = SimpleNamespace(**spines)
    data.patient = spines.patient % 9
    fit(small_adhoc(checkpoint=tmp_path / "grouped"), data)
    for name, value in options.items():
        if isinstance(value, str):
            setattr(data, name, getattr(data, name)[::-1])
    weights = {k: v for k, v in options.items() if not isinstance(v, str)}
    file = tmp_path / ("grouped" if "patient" in options else "training")
    if "patient" not in options:
        data.patient = spines.patient
    with pytest.raises(ValueError, match=rf"training with other {what}\. To go on"):
        fit(small_adhoc(checkpoint=file, **parameters), data, **weights)
    assert (tmp_path / "training").read_bytes() == before


def test_another_device_and_other_words_go_on_with_the_training(
    spines, tmp_path, capsys
):
    file = tmp_path / "training"
    fit(small_adhoc(checkpoint=file), spines)
    model = small_adhoc(checkpoint=os.fspath(file), verbose=1, device="cpu")
    assert len(epochs_heard(model, spines)) == 1


@pytest.mark.parametrize("damage", ["cut short", "one bit", "no such file"])
def test_what_is_no_training_is_refused_and_left_alone(damage, spines, tmp_path):
    file = tmp_path / "training"
    fit(small_adhoc(checkpoint=file), spines)
    content = bytearray(file.read_bytes())
    if damage == "cut short":
        content = content[:-100]
    elif damage == "one bit":
        content[content.find(b"tbsclassify training") + 300 + len(content) // 2] ^= 1
    else:
        content = b"something of the user's"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"holds no training of this library, or is"):
        fit(small_adhoc(checkpoint=file), spines)
    assert file.read_bytes() == content


def test_weights_that_torch_saved_are_no_training(spines, tmp_path):
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.ones(2)}, file)
    with pytest.raises(ValueError, match="Delete the file to begin anew"):
        fit(small_adhoc(checkpoint=file), spines)


@pytest.mark.parametrize("value", [3, b"bytes", ["list"]])
def test_checkpoint_must_be_a_path(value, spines):
    with pytest.raises(TypeError, match=r"Expected checkpoint to be the path of a fi"):
        fit(small_adhoc(checkpoint=value), spines)


def test_a_place_that_cannot_be_written_to_is_known_before_the_training(
    spines, tmp_path, fuse
):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "training"):
        with pytest.raises(OSError, match="Expected checkpoint to be a file that can"):
            fit(small_adhoc(checkpoint=place, callbacks=[Fuse()]), spines)
    assert fuse.epochs == 0


def test_a_full_disk_is_an_error_and_leaves_the_last_epoch_whole(
    spines, tmp_path, every_epoch
):
    file = tmp_path / "training"
    model = small_adhoc(checkpoint=file)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    whole = []

    def fill_disk(epoch, max_epochs):
        if epoch == 3:
            whole.append(file.read_bytes())
            room = (len(whole[0]) // 2, limits[1])
            resource.setrlimit(resource.RLIMIT_FSIZE, room)

    try:
        with (
            pytest.raises(OSError, match=r"checkpoint=.* could not be written .*Make"),
            model.monitored(fill_disk),
        ):
            fit(model, spines)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == whole
    assert epochs_heard(model, spines)[0] == 3
    assert_same(fit(small_adhoc(), spines), model, spines.X)


def test_writing_takes_a_small_share_of_the_time(spines, tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0, written=[])
    monkeypatch.setattr(_resume, "time", SimpleNamespace(monotonic=lambda: clock.now))
    write = _resume.write_whole

    def take_a_second(path, content):
        clock.written.append(clock.now)
        clock.now += 1
        write(path, content)

    monkeypatch.setattr(_resume, "write_whole", take_a_second)
    model = small_adhoc(
        checkpoint=tmp_path / "training", max_epochs=50, early_stopping=False
    )

    def take_three_seconds(epoch, max_epochs):
        clock.now += 3

    with model.monitored(take_three_seconds):
        fit(model, spines)
    *regular, last = np.diff(clock.written)
    assert len(regular) > 5
    assert min(regular) >= 20
    assert max(regular) <= 25
    assert last <= 25  # at the end whatever the time


def test_two_trainings_cannot_share_a_file(spines, tmp_path, every_epoch):
    file = tmp_path / "training"
    model = small_adhoc(checkpoint=file)

    def other_training(epoch, max_epochs):
        if epoch == 3:
            file.unlink()
            fit(small_adhoc(checkpoint=file, lr=0.5), spines)

    with (
        model.monitored(other_training),
        pytest.raises(ValueError, match=r"holds a training with other lr\."),
    ):
        fit(model, spines)


class Averaging(Callback):
    """Keeps what it has seen, in all ways that can be kept."""

    def on_train_begin(self, net, **kwargs):
        self.seen, self.best, self.mean = [], {}, None
        self.optimizer = torch.optim.SGD([torch.zeros(1)], lr=1, momentum=0.9)

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(np.float64(net.history[-1, "train_loss"]))
        self.best["epoch"] = int(np.argmin(self.seen))
        *_, weight = net.module_.parameters()
        weight = weight.detach().clone()
        self.mean = weight + (0 if self.mean is None else self.mean)
        self.optimizer.param_groups[0]["lr"] *= 2
        net.history.record("total", sum(self.seen))
        net.history.record("best", self.best["epoch"])
        net.history.record("rate", self.optimizer.param_groups[0]["lr"])
        net.history.record("level", float(self.mean.sum()))


CALLBACKS = {
    "state of many kinds": lambda: Averaging(),
    "score": lambda: EpochScoring("roc_auc", lower_is_better=False),
    "schedule": lambda: LRScheduler(
        "ReduceLROnPlateau", monitor="train_loss", patience=0
    ),
    "freezing": lambda: Freezer("1.0*", at=2),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_go_on_from_what_they_know(name, spines, tmp_path, every_epoch):
    model = small_adhoc(callbacks=[CALLBACKS[name]()], max_epochs=6)
    whole = fit(clone(model), spines)
    kept = clone(model).set_params(checkpoint=tmp_path / "training")
    break_off(clone(kept), spines, 3)
    assert_same(whole, fit(clone(kept), spines), spines.X)


class Drawing(Callback):
    def on_train_begin(self, net, **kwargs):
        self.rng = np.random.default_rng(0)

    def on_epoch_end(self, net, **kwargs):
        self.rng.normal()


class Late(Callback):
    def on_epoch_end(self, net, **kwargs):
        self.optimizer = torch.optim.SGD([torch.zeros(1)], lr=1)


class Odd(Callback):
    def on_epoch_end(self, net, **kwargs):
        net.history.record("odd", object())


@pytest.mark.parametrize(
    ("callback", "what"),
    [
        (
            Drawing(),
            r"callback 'Drawing': its attribute 'rng' has changed .* Generator",
        ),
        (Late(), r"callback 'Late': its attribute 'optimizer' .* SGD"),
        (Odd(), r"what a callback has recorded as 'odd', a object"),
    ],
)
def test_callbacks_whose_state_cannot_be_kept_are_refused(
    callback, what, spines, tmp_path
):
    model = small_adhoc(checkpoint=tmp_path / "training", callbacks=[callback])
    with pytest.raises(TypeError, match=what):
        fit(model, spines)
    assert not list(tmp_path.iterdir())


def test_models_with_a_file_are_cloned_and_pickled_as_others_are(spines, tmp_path):
    model = small_adhoc(checkpoint=tmp_path / "training")
    copies = []
    with model.monitored(lambda *epoch: copies.append(pickle.dumps(model))):
        fit(model, spines)
    assert clone(model).get_params() == model.get_params()
    during, after = pickle.loads(copies[-1]), pickle.loads(pickle.dumps(model))
    assert_array_equal(after.predict(spines.X), model.predict(spines.X))
    assert during.checkpoint == tmp_path / "training"


def test_paper_models_take_a_file(tmp_path):
    model = TBSAdHocClassifier.from_paper("model3", checkpoint=tmp_path / "training")
    assert model.checkpoint == tmp_path / "training"


def in_pipeline(model):
    """Put a model at the end of a Pipeline in a Pipeline."""
    return make_pipeline(
        FunctionTransformer(), make_pipeline(FunctionTransformer(), model)
    )


@pytest.mark.parametrize("threshold", [0.5, "f1"])
@pytest.mark.parametrize("wrap", [clone, in_pipeline])
def test_a_comparison_goes_on_inside_of_a_fit(
    wrap, threshold, spines, tmp_path, fuse, every_epoch
):
    network = small_adhoc(
        max_epochs=4, early_stopping=False, random_state=None, callbacks=[Fuse()]
    )
    arguments = ({"net": wrap(network)}, spines.X, spines.y, spines.patient)
    options = {"cv": 2, "threshold": threshold, "n_bootstrap": 0, "random_state": 0}
    whole = compare_models(*arguments, **options)
    n_epochs, fuse.epochs, fuse.lethal = fuse.epochs, 0, 7
    options["checkpoint_dir"] = tmp_path / "runs"
    with pytest.raises(Killed):
        compare_models(*arguments, **options)
    assert list((tmp_path / "runs").glob("*.training"))
    resumed = compare_models(*arguments, **options)
    assert fuse.epochs == n_epochs + 1
    assert_array_equal(whole.predictions.proba_1, resumed.predictions.proba_1)
    assert not list((tmp_path / "runs").glob("*.training*"))


def search(model, **options):
    prefix = "pipeline__" if hasattr(model, "steps") else ""
    name = f"{prefix}{'tbsadhocclassifier__' if prefix else ''}lr"
    defaults = {"n_trials": 2, "cv": 2, "scheduler": None, "random_state": 0}
    space = {name: [0.01, 0.003]}
    return RayTuneSearchCV(model, space, **defaults | options)


# With two trials of two folds of four epochs: the first fold, the second, and refit.
@pytest.mark.parametrize("lethal", [3, 6, 8, 14, 19])
@pytest.mark.parametrize("wrap", [clone, in_pipeline])
def test_a_search_goes_on_inside_of_a_fit(
    wrap, lethal, spines, tmp_path, fuse, every_epoch, trials_in_this_process
):
    model = wrap(small_adhoc(max_epochs=4, early_stopping=False, callbacks=[Fuse()]))
    whole = search(model).fit(spines.X, spines.y, groups=spines.patient)
    n_epochs, fuse.epochs, fuse.lethal = fuse.epochs, 0, lethal
    kept = search(model, checkpoint_dir=tmp_path / "runs")
    with pytest.raises(Killed):
        clone(kept).fit(spines.X, spines.y, groups=spines.patient)
    resumed = clone(kept).fit(spines.X, spines.y, groups=spines.patient)
    assert fuse.epochs == n_epochs + 1
    for name in ("mean_test_score", "n_epochs", "status"):
        assert_array_equal(whole.cv_results_[name], resumed.cv_results_[name])
    columns = ["trial", "fold", "epoch", "score"]
    assert whole.history_[columns].equals(resumed.history_[columns])
    last = resumed.best_estimator_
    assert_array_equal(last.predict(spines.X), whole.best_estimator_.predict(spines.X))
    assert last_step(last).checkpoint is None
    left = [path.name for path in (tmp_path / "runs").glob("*.training*")]
    assert len(left) == 1
    assert left[0].startswith("refit.")
    # Called again, even the best model is there at once.
    clone(kept).fit(spines.X, spines.y, groups=spines.patient)
    assert fuse.epochs == n_epochs + 1


def test_steps_without_a_seed_begin_again(
    spines, tmp_path, fuse, every_epoch, trials_in_this_process
):
    class Shaky(FunctionTransformer):
        def __init__(self, random_state=None):
            super().__init__()
            self.random_state = random_state

    network = small_adhoc(max_epochs=4, early_stopping=False, callbacks=[Fuse()])
    model = make_pipeline(Shaky(), network)
    space = {"tbsadhocclassifier__lr": [0.01]}
    kept = RayTuneSearchCV(
        model, space, n_trials=1, cv=2, random_state=0, checkpoint_dir=tmp_path
    )
    fuse.lethal = 7
    with pytest.raises(Killed):
        clone(kept).fit(spines.X, spines.y)
    assert not list(tmp_path.glob("*.training*"))
    clone(kept).fit(spines.X, spines.y)
    assert fuse.epochs == 7 + 8 + 4


class Suicide(Callback):
    """Kills the process once, in the third epoch, and counts those that begin."""

    def __init__(self, folder):
        self.folder = folder

    def on_epoch_begin(self, net, **kwargs):
        with open(f"{self.folder}/epochs", "a") as file:
            file.write(".")

    def on_batch_end(self, net, **kwargs):
        mark = f"{self.folder}/killed"
        if len(net.history) == 3 and not os.path.exists(mark):
            open(mark, "x").close()
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def pickled_by_value():
    """Send the classes of this file to workers, for this test alone."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow
def test_a_worker_of_ray_that_is_killed_goes_on_in_another(
    spines, tmp_path, ray_of_two_cores, pickled_by_value
):
    model = small_adhoc(
        max_epochs=8, early_stopping=False, callbacks=[Suicide(str(tmp_path))]
    )
    kept = search(model, checkpoint_dir=tmp_path / "runs", n_trials=1, refit=False)
    found = kept.fit(spines.X, spines.y, groups=spines.patient)
    assert found.cv_results_["status"].tolist() == ["complete"]
    assert found.history_.epoch.tolist() == [*range(1, 9)] * 2
    n_epochs = len((tmp_path / "epochs").read_text())
    assert 16 < n_epochs <= 18
    plain = search(small_adhoc(max_epochs=8, early_stopping=False), n_trials=1)
    with without_workers():
        plain.fit(spines.X, spines.y, groups=spines.patient)
    assert_array_equal(found.history_.score, plain.history_.score)


@pytest.mark.slow
def test_trials_that_a_scheduler_pauses_go_on(spines, tmp_path, ray_of_two_cores):
    model = small_adhoc(max_epochs=4, early_stopping=False)
    scheduler = HyperBandScheduler(time_attr="epoch", max_t=16)
    space = {"lr": [0.1, 0.03, 0.01, 0.003]}
    options = {"n_trials": 4, "cv": 2, "scheduler": scheduler, "random_state": 0}
    options |= ONE_BY_ONE
    kept = RayTuneSearchCV(model, space, checkpoint_dir=tmp_path / "runs", **options)
    found = kept.fit(spines.X, spines.y, groups=spines.patient)
    assert "complete" in found.cv_results_["status"]
    left = [path.name for path in (tmp_path / "runs").glob("*.training*")]
    assert [name.partition(".")[0] for name in left] == ["refit"]


@pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name, tmp_path, spines):
    model = small_adhoc(checkpoint=tmp_path / name)
    with pytest.raises(OSError, match="Expected checkpoint to be a file that can be"):
        model.fit(spines.X, spines.y)


def test_a_cross_validation_that_would_mix_trainings_is_told_why(tmp_path, spines):
    model = small_adhoc(checkpoint=tmp_path / "file", max_epochs=1)
    with pytest.raises(ValueError, match="Fits of a cross-validation, a search or an"):
        cross_val_score(model, spines.X, spines.y, cv=2, error_score="raise")
