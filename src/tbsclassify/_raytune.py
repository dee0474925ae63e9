"""Run the trials of a search on Ray."""

import copy
import logging
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune import schedulers
from threadpoolctl import threadpool_limits

from tbsclassify._evaluation import classifier_with_epochs, evaluate
from tbsclassify._space import with_objective
from tbsclassify._validation import check_option

# How often a trial whose worker died is started again.
_MAX_RETRIES = 3
# More epochs than anyone trains: rungs beyond the last epoch are never reached.
_UNLIMITED = 10**6
_SCHEDULERS = ("asha", "hyperband", "median")
_CHANGING = (
    schedulers.PopulationBasedTraining,
    schedulers.PopulationBasedTrainingReplay,
    schedulers.ResourceChangingScheduler,
)
# Those that Ray Tune sets handlers for, and leaves them set.
_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGUSR1") if hasattr(signal, name)
]
# What becomes of a worker whose data or whose machine went away.
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError)
# Settings that Ray Tune takes from the environment alone: no log files and no
# snapshots, which hold nothing that we do not keep; Ctrl-C and the working directory
# are left as they are.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def make_scheduler(scheduler, n_epochs):
    """Return a scheduler of Ray by name, or a copy of the one given.

    Parameters
    ----------
    scheduler : str, TrialScheduler or None
        As in `RayTuneSearchCV`.
    n_epochs : int
        Epochs of the longest trial over all folds, 0 where it has none.
    """
    if isinstance(scheduler, str):
        scheduler = _named_scheduler(check_option(scheduler, "scheduler", _SCHEDULERS))
    elif scheduler is None:
        scheduler = schedulers.FIFOScheduler()
    _check_scheduler(scheduler, n_epochs)
    return with_objective(copy.deepcopy(scheduler), "scheduler")


def _named_scheduler(name):
    if name == "median":
        return schedulers.MedianStoppingRule(
            time_attr="epoch",
            grace_period=1,
            min_samples_required=3,
            min_time_slice=_UNLIMITED,  # or it would pause trials, which begin anew
        )
    return schedulers.AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=_UNLIMITED,
        grace_period=1,
        reduction_factor=3,
        brackets=3 if name == "hyperband" else 1,
    )


def _check_scheduler(scheduler, n_epochs):
    if isinstance(scheduler, _CHANGING):
        raise ValueError(
            f"scheduler={type(scheduler).__name__}(...) changes a trial while it runs, "
            "but a trial is the cross-validation of one configuration. Use a scheduler "
            'that only stops trials, such as "asha", "hyperband" or "median".'
        )
    if not isinstance(scheduler, schedulers.TrialScheduler):
        raise TypeError(
            f'scheduler={scheduler!r}, but "asha", "hyperband", "median", None or a '
            "scheduler of ray.tune.schedulers is wanted."
        )
    # Schedulers do not tell their limit in any other way.
    longest = getattr(scheduler, "_max_t", getattr(scheduler, "_max_t_attr", None))
    if longest is not None and longest < n_epochs:
        raise ValueError(
            f"scheduler={type(scheduler).__name__}(...) ends every trial at max_t="
            f"{longest}, but epochs count through the folds, and all folds of one "
            f"configuration are {n_epochs} epochs. Give max_t={n_epochs} or more."
        )


def run_trials(
    task,
    proposals,
    *,
    scheduler,
    resources,
    time_budget,
    journal,
    seed,
    verbose,
):
    """Run the trials that are not finished yet, until all are, or time is up.

    Parameters
    ----------
    task : Task
        What each trial does.
    proposals : Proposals
        Their configurations.
    scheduler : TrialScheduler
        What ends bad trials.
    resources : dict or None
        What a trial takes, None for the defaults.
    time_budget : float or None
        Seconds.
    journal : Journal
        Where finished trials are kept.
    seed : int
        Seed of what schedulers draw.
    verbose : int
        1 for a line of progress, more for Ray's own messages.
    """
    pending = proposals.n_trials - len(journal.records)
    if not pending:
        return
    search_alg, scheduler = _as_last_kept(journal, proposals.search_alg, scheduler)
    param_space, n_samples = {}, pending
    if search_alg is None:
        numbers = set(range(proposals.n_trials)) - set(journal.records)
        param_space, n_samples = {"candidate": tune.grid_search(sorted(numbers))}, 1
    with (
        _kept_as_found(seed, verbose),
        _running_ray(verbose) as is_ours,
        _shelved(task) as shelf,
        tempfile.TemporaryDirectory(prefix="tbsclassify-") as folder,
    ):
        resources = _check_resources(resources, task.estimator, is_ours)
        follower = _Follower(
            journal, proposals.n_trials, search_alg, scheduler, verbose
        )
        module_path = list(sys.path)

        def trial(config):
            _work(config, shelf, resources["cpu"], module_path)

        tuner = tune.Tuner(
            tune.with_resources(trial, resources),
            param_space=param_space,
            tune_config=tune.TuneConfig(
                search_alg=search_alg,
                scheduler=scheduler,
                num_samples=n_samples,
                time_budget_s=time_budget,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                callbacks=[follower],
                stop=_Ending(follower),
                failure_config=tune.FailureConfig(max_failures=_MAX_RETRIES),
                verbose=max(0, verbose - 1),
            ),
        )
        with _interruption_told_to(follower):
            tuner.fit()
        follower.end()
    if follower.error is not None:
        raise follower.error


def _as_last_kept(journal, search_alg, scheduler):
    """Return search algorithm and scheduler as they were after the last trial."""
    kept = journal.read_proposers()
    if kept is None:
        return search_alg, scheduler
    search_alg, scheduler, lost = kept
    if search_alg is not None:
        for trial_id in lost:
            search_alg.on_trial_complete(trial_id, error=True)
    return search_alg, scheduler


class _Shelf:
    """An actor where workers find the task, which is let go when the actor is.

    A reference to the task that is pickled along with a trial would keep it in Ray's
    object store for as long as Ray runs.
    """

    def __init__(self, references):
        self._references = references

    def look(self):
        return self._references


@contextmanager
def _shelved(task):
    """Put the task on a shelf, and yield the name by which workers find that."""
    name = f"tbsclassify-{uuid.uuid4()}"
    actor: Any = ray.remote(num_cpus=0)(_Shelf)
    shelf = actor.options(name=name).remote([ray.put(task)])
    try:
        yield name
    finally:
        ray.kill(shelf)


def _work(config, shelf, n_threads, module_path):
    """Run one trial, in a worker."""
    # What the driver can import can be imported here, as in workers of joblib.
    sys.path += [folder for folder in module_path if folder not in sys.path]
    references: list = ray.get(ray.get_actor(shelf).look.remote())
    try:
        task = ray.get(references[0])
        with threadpool_limits(max(1, int(n_threads))):
            evaluate(task, task.decode(config), tune.report)
    except Exception as error:
        if isinstance(error, _LOST):
            raise  # another try may find a machine that works
        # Not raised, since Ray would take it for a dead worker and try again.
        tune.report({"score": np.nan, "epoch": 0, "error": _portable(error)})


def _portable(error):
    """Return the error, or one with its text where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Follower(tune.Callback):
    """Keeps what trials report, and shows how far the search is."""

    def __init__(self, journal, n_trials, search_alg, scheduler, verbose):
        self.journal, self.n_trials, self.verbose = journal, n_trials, verbose
        self.search_alg, self.scheduler = search_alg, scheduler
        self.n_before = len(journal.records)
        self.records = {}
        self.began = time.monotonic()
        self.error = None  # that ends the search

    def record(self, trial):
        """Return the record of a trial, a new one at first."""
        if trial.trial_id not in self.records:
            self.records[trial.trial_id] = self.journal.begin(dict(trial.config))
        return self.records[trial.trial_id]

    def on_trial_start(self, iteration, trials, trial, **info):
        self.record(trial).history.clear()  # where it begins anew

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if "error" in result:
            self.error = result["error"]
            return
        self.record(trial).update(result)
        self.show()

    def on_trial_complete(self, iteration, trials, trial, **info):
        if self.error is not None:
            return
        others = [t.trial_id for t in trials if t is not trial and not t.is_finished()]
        self.journal.finish(
            self.record(trial), (self.search_alg, self.scheduler, others)
        )
        self.show()

    def on_trial_error(self, iteration, trials, trial, **info):
        reason = Path(trial.error_file).read_text() if trial.error_file else "unknown"
        self.record(trial).fail(
            f"The worker of the trial died {1 + _MAX_RETRIES} times. Ray says: {reason}"
        )
        self.show()

    def show(self):
        """Write the line of progress anew."""
        if self.verbose != 1:
            return
        records = list(self.journal.records.values())
        done = sum(record.status != "unfinished" for record in records)
        stopped = sum(record.status == "stopped" for record in records)
        best = max((r.score for r in records if r.status == "complete"), default=np.nan)
        line = (
            f"{done}/{self.n_trials} trials ({stopped} stopped), "
            f"{sum(record.n_epochs for record in records)} epochs, best {best:.4f}"
        )
        fresh = done - self.n_before
        if fresh:
            seconds = (time.monotonic() - self.began) / fresh * (self.n_trials - done)
            line += f", {timedelta(seconds=round(seconds))} left"
        print(f"\r{line:<70}", end="", file=sys.stderr, flush=True)

    def end(self):
        """End the line of progress."""
        if self.verbose == 1:
            self.show()
            print(file=sys.stderr, flush=True)


class _Ending(tune.Stopper):
    """Lets Ray end all trials once there is an error."""

    def __init__(self, follower):
        self.follower = follower

    def __call__(self, trial_id, result):
        return False

    def stop_all(self):
        return self.follower.error is not None


@contextmanager
def _interruption_told_to(follower):
    """Let Ctrl-C end the trials first; a second one ends this process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {sign: signal.getsignal(sign) for sign in _SIGNALS}

    def note(number, frame):
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        follower.error = KeyboardInterrupt()

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


@contextmanager
def _running_ray(verbose):
    """Use the Ray that there is, or run one of our own inside the block.

    Yields whether it is our own.
    """
    level = logging.CRITICAL if verbose < 2 else logging.INFO
    address = os.environ.get("RAY_ADDRESS")
    if ray.util.client.ray.is_connected() or (address or "").startswith("ray://"):
        raise RuntimeError(
            "Ray Client (an address ray://...) cannot follow a search. Run it on a "
            "machine of the cluster, or send it there with `ray job submit`."
        )
    if ray.is_initialized():
        yield False
        return
    options = {"logging_level": level, "log_to_driver": verbose > 1}
    if not address:
        options |= {"address": "local", "include_dashboard": False}
    ray.init(**options)
    try:
        yield not address
    finally:
        ray.shutdown()


def _check_resources(resources, estimator, is_ours):
    """Return what each trial takes: by default a core, and a GPU if it will use one."""
    there_are = ray.cluster_resources()
    if resources is None:
        classifier = classifier_with_epochs(estimator)
        wants_gpu = classifier is not None and classifier.device != "cpu"
        has_gpu = there_are.get("GPU", 0) > 0
        resources = {"cpu": 1, "gpu": 1} if wants_gpu and has_gpu else {"cpu": 1}
    resources = {"cpu": 1} | resources
    if is_ours:
        for name, amount in resources.items():
            key = name.upper() if name in ("cpu", "gpu") else name
            if amount > there_are.get(key, 0):
                raise ValueError(
                    f"resources_per_trial={resources!r}, but this machine has "
                    f"{there_are.get(key, 0):g} of {name!r}. Ask for less, or start "
                    "Ray with more."
                )
    return resources


@contextmanager
def _kept_as_found(seed, verbose):
    """Put global state right for Ray Tune inside the block, and back after it.

    Schedulers draw from NumPy's global generator, which is seeded.
    """
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    loggers = [logging.getLogger(name) for name in ("ray", "optuna")]
    levels = [logger.level for logger in loggers]
    np.random.seed(seed)  # noqa: NPY002
    os.environ.update(_ENVIRONMENT)
    if verbose < 2:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)  # failures are told of by ourselves
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        for name, value in environment.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
