"""Run the trials of a search on Ray."""

import pickle
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from threadpoolctl import threadpool_limits

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._progress import Progress
from tbsclassify.tuning._journal import (
    Journal,
    TrialRecord,
    place_of_trial,
    trial_name,
)
from tbsclassify.tuning._session import (
    interrupts_noted_in,
    kept_as_found,
    resolve_resources,
    resources_in_words,
    running_ray,
)
from tbsclassify.tuning._space import Proposals
from tbsclassify.tuning._trial import Task, evaluate

# How often a trial whose worker died is started again.
_MAX_RETRIES = 3
# Errors in a worker whose data or machine was lost.
_LOST = (ray.exceptions.ObjectLostError, ray.exceptions.RayActorError)


def run_trials(
    task: Task,
    proposals: Proposals,
    *,
    scheduler: tune.schedulers.TrialScheduler,
    resources: dict[str, float] | None,
    time_budget: float | None,
    stop_score: float | None,
    journal: Journal,
    seed: int,
    verbose: int,
) -> None:
    """Run the unfinished trials until all are finished or time is up.

    Parameters
    ----------
    task : Task
        What the trials have in common.
    proposals : Proposals
        The configurations of the trials.
    scheduler : TrialScheduler
        What ends bad trials.
    resources : dict or None
        What a trial takes, None for the defaults.
    time_budget : float or None
        Seconds.
    stop_score : float or None
        The search ends with the first complete trial that scores as high.
    journal : Journal
        Keeps finished trials.
    seed : int
        Seed of what schedulers draw.
    verbose : int
        1 for a line of progress, more for Ray's own messages.

    Raises
    ------
    ValueError
        If no machine has the resources.
    RuntimeError
        If no trial had begun when time was up.
    """
    if _is_over(journal, proposals, stop_score):
        return
    search_alg, scheduler = restore_proposers(journal, proposals.search_alg, scheduler)
    param_space, n_samples = _unfinished(journal, proposals)
    tune_config = tune.TuneConfig(
        search_alg=search_alg,
        scheduler=scheduler,
        num_samples=n_samples,
        time_budget_s=time_budget,
        reuse_actors=True,
    )
    follower = _Follower(
        journal, proposals.n_trials, search_alg, scheduler, stop_score, verbose
    )
    with (
        kept_as_found(seed),
        running_ray(verbose),
        tempfile.TemporaryDirectory(prefix="tbsclassify-") as folder,
    ):
        if task.rungs and task.checkpoint is None:
            # Paused trials are kept here, on the machine of the driver.
            follower.paused = Checkpoint(Path(folder, "paused"), {})
            task = replace(task, checkpoint=follower.paused)
        resources = resolve_resources(resources, task.estimator)
        _tune(task, resources, param_space, tune_config, follower, folder)
        if follower.error is None and not journal.records:
            raise RuntimeError(
                f"No trial had begun after time_budget={time_budget} seconds. "
                f"{resources_in_words(resources)} Ask for less, wait until other work "
                "on this Ray is done, or give more time for workers to start."
            )
    if follower.error is not None:
        raise follower.error


def _is_over(journal: Journal, proposals: Proposals, stop_score: float | None) -> bool:
    """Tell whether the finished trials are all, or one of them is good enough."""
    finished = journal.records.values()
    is_complete = len(finished) == proposals.n_trials
    return is_complete or any(_reaches(one, stop_score) for one in finished)


def _tune(
    task: Task,
    resources: dict[str, float],
    param_space: dict[str, Any],
    tune_config: tune.TuneConfig,
    follower: "_Follower",
    folder: str,
) -> None:
    """Let Ray Tune run the trials, followed by `follower`."""
    with (
        _in_object_store(task) as shelf,
        interrupts_noted_in(follower),
        follower.progress,
    ):
        follower.begin()
        tune.Tuner(
            tune.with_resources(_trial(shelf, resources), resources),
            param_space=param_space,
            tune_config=tune_config,
            run_config=_run_config(folder, follower),
        ).fit()
        follower.show()


def _unfinished(journal: Journal, proposals: Proposals) -> tuple[dict[str, Any], int]:
    """Return the space of the trials that are left, and the samples to draw from it."""
    if proposals.search_alg is not None:
        return {}, proposals.n_trials - len(journal.records)
    numbers = set(range(proposals.n_trials)) - set(journal.records)
    return {"candidate": tune.grid_search(sorted(numbers))}, 1


def _reaches(record: TrialRecord, stop_score: float | None) -> bool:
    """Tell whether a trial is complete and good enough to end the search."""
    return stop_score is not None and record.has_all and record.score >= stop_score


def _trial(shelf: str, resources: dict[str, float]) -> Callable[[dict], None]:
    """Return the function that a worker runs for each configuration."""
    module_path = list(sys.path)

    def trial(config):
        _run_in_worker(config, shelf, resources["cpu"], module_path)

    return trial


def _run_config(folder: str, follower: "_Follower") -> tune.RunConfig:
    return tune.RunConfig(
        storage_path=folder,
        callbacks=[follower],
        stop=_SearchStopper(follower),
        failure_config=tune.FailureConfig(max_failures=_MAX_RETRIES),
        verbose=max(0, follower.verbose - 1),
    )


def restore_proposers(journal: Journal, search_alg: Any, scheduler: Any) -> tuple:
    """Return search algorithm and scheduler as they were after the last trial.

    The search algorithm still waits for the trials that were running when the search
    was interrupted. It is told that they are lost, or it might wait forever.
    """
    kept = journal.read_proposers()
    if kept is None:
        return search_alg, scheduler
    search_alg, kept_scheduler, lost = kept
    if search_alg is not None:
        for trial_id in lost:
            search_alg.on_trial_complete(trial_id, error=True)
    return search_alg, kept_scheduler or scheduler


@contextmanager
def _in_object_store(task: Task) -> Iterator[str]:
    """Put the task into the object store; yield the name of an actor that holds it.

    Ray keeps data in its object store as long as there is a reference to them. A
    reference that is pickled with the function of the trials is never released, so the
    data of each search would stay until Ray itself ends. The actor holds the only
    reference that counts; killing it after the search frees the data.
    """

    # Defined here so that it is pickled by value: importing this module would take the
    # process of the actor seconds.
    class Shelf:
        def __init__(self, references):
            self.references = references

        def look(self):
            return self.references

    name = f"tbsclassify-{uuid.uuid4()}"
    actor: Any = ray.remote(num_cpus=0)(Shelf)
    shelf = actor.options(name=name).remote([ray.put(task)])
    try:
        yield name
    finally:
        ray.kill(shelf)


def _run_in_worker(
    config: dict, shelf: str, n_threads: float, module_path: list[str]
) -> None:
    """Run one trial, in a worker."""
    # Workers can import what the driver can, as workers of joblib can.
    sys.path += [folder for folder in module_path if folder not in sys.path]
    references: list = ray.get(ray.get_actor(shelf).look.remote())
    try:
        task = ray.get(references[0])
        with threadpool_limits(max(1, int(n_threads))):
            place = place_of_trial(task.checkpoint, config)
            evaluate(task, task.decode(config), tune.report, place)
    except Exception as error:
        if isinstance(error, _LOST):
            raise  # a retry may find a machine that works
        # Reported, not raised: Ray would take it for a dead worker and try again.
        tune.report({"score": np.nan, "epoch": 0, "error": _portable(error)})


def _portable(error: Exception) -> Exception:
    """Return the error, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Follower(tune.Callback):
    """Keeps what trials report, and shows the progress.

    Ray Tune swallows exceptions of its callbacks and keeps those of trials to itself.
    So an error that must end the search, of a trial, of the disk or Ctrl-C, is noted
    in `error`. Then `_SearchStopper` makes Ray end all trials in an orderly way, and
    `run_trials` raises the error when Ray is done.
    """

    def __init__(
        self,
        journal: Journal,
        n_trials: int,
        search_alg: Any,
        scheduler: Any,
        stop_score: float | None,
        verbose: int,
    ):
        self.journal, self.n_trials, self.verbose = journal, n_trials, verbose
        self.search_alg, self.scheduler = search_alg, scheduler
        self.stop_score = stop_score
        self.paused: Checkpoint | None = None
        self.is_over = False  # with `stop_score` reached
        self.progress = Progress(n_trials, len(journal.records), shown=verbose == 1)
        self.records: dict[str, TrialRecord] = {}
        self.began = time.monotonic()
        self.error: BaseException | None = None

    def begin(self):
        """Count seconds from here, when Ray is running."""
        self.began = time.monotonic()

    def record(self, trial):
        """Return the record of a trial, a new one for a new trial."""
        # Unlike the journal, Ray gives a trial a new id when the search is resumed.
        if trial.trial_id not in self.records:
            self.records[trial.trial_id] = self.journal.begin(dict(trial.config))
        return self.records[trial.trial_id]

    def on_trial_start(self, iteration, trials, trial, **info):
        record = self.record(trial)
        if trial.num_failures:
            # Its worker died: it starts again, and reports its epochs again.
            record.history.clear()

    def on_trial_result(self, iteration, trials, trial, result, **info):
        if "error" in result:
            self.error = result["error"]
            return
        self.record(trial).update(result, time.monotonic() - self.began)
        self.show()

    def on_trial_complete(self, iteration, trials, trial, **info):
        if self.error is not None:
            return
        record = self.record(trial)
        others = [t.trial_id for t in trials if t is not trial and not t.is_finished()]
        try:
            self.journal.finish(record, (self.search_alg, self.scheduler, others))
        except Exception as error:  # a full disk, for example
            self.error = error
        if self.paused is not None:
            self.paused.forget_training(trial_name(record.number))
        self.is_over = self.is_over or _reaches(record, self.stop_score)
        self.show()

    def on_trial_error(self, iteration, trials, trial, **info):
        reason = Path(trial.error_file).read_text() if trial.error_file else "unknown"
        self.record(trial).fail(
            f"The worker of the trial died {1 + _MAX_RETRIES} times. Ray says: {reason}"
        )
        self.show()

    def show(self):
        """Show how far the search has come."""
        records = list(self.journal.records.values())
        done = sum(record.status != "unfinished" for record in records)
        stopped = sum(record.status == "stopped" for record in records)
        best = max((r.score for r in records if r.status == "complete"), default=np.nan)
        self.progress.show(
            done,
            f"{done}/{self.n_trials} trials ({stopped} stopped), "
            f"{sum(record.n_epochs for record in records)} epochs, best {best:.4f}",
        )


class _SearchStopper(tune.Stopper):
    """Makes Ray end all trials once there is an error, or a good enough score.

    Ray asks a stopper in each round of its loop, and then ends trials in an orderly
    way. An exception raised in the loop would not.
    """

    def __init__(self, follower: _Follower):
        self.follower = follower

    def __call__(self, trial_id, result):
        return False

    def stop_all(self):
        return self.follower.error is not None or self.follower.is_over
