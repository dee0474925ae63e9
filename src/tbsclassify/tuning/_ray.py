"""Run the trials of a search on Ray."""

import pickle
import sys
import tempfile
import time
import uuid
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from threadpoolctl import threadpool_limits

from tbsclassify.tuning._session import (
    check_resources,
    interruption_told_to,
    kept_as_found,
    running_ray,
)
from tbsclassify.tuning._trial import evaluate

# How often a trial whose worker died is started again.
_MAX_RETRIES = 3
# What becomes of a worker whose data or whose machine went away.
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError)


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
    search_alg, scheduler = as_last_kept(journal, proposals.search_alg, scheduler)
    param_space, n_samples = {}, pending
    if search_alg is None:
        numbers = set(range(proposals.n_trials)) - set(journal.records)
        param_space, n_samples = {"candidate": tune.grid_search(sorted(numbers))}, 1
    with (
        kept_as_found(seed),
        running_ray(verbose) as is_ours,
        _shelved(task) as shelf,
        tempfile.TemporaryDirectory(prefix="tbsclassify-") as folder,
    ):
        resources = check_resources(resources, task.estimator, is_ours)
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
        with interruption_told_to(follower):
            tuner.fit()
        follower.end()
    if follower.error is not None:
        raise follower.error


def as_last_kept(journal, search_alg, scheduler):
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
        self.record(trial).update(result, time.monotonic() - self.began)
        self.show()

    def on_trial_complete(self, iteration, trials, trial, **info):
        if self.error is not None:
            return
        others = [t.trial_id for t in trials if t is not trial and not t.is_finished()]
        try:
            self.journal.finish(
                self.record(trial), (self.search_alg, self.scheduler, others)
            )
        except Exception as error:  # which Ray would swallow: a full disk, say
            self.error = error
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
