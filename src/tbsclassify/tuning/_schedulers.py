"""Schedulers of Ray, which end bad trials early."""

import copy
from typing import Any

from ray.tune import schedulers

from tbsclassify._validation import check_option
from tbsclassify.tuning._halving import Halving
from tbsclassify.tuning._session import most_epochs
from tbsclassify.tuning._space import with_objective

# More epochs than anyone trains: rungs beyond the last epoch are never reached.
_UNLIMITED = 10**6
# Epochs before any trial is ended. After one epoch, the score of a small network says
# little more than its initial weights do.
_GRACE_PERIOD = 3
_SCHEDULERS = ("halving", "asha", "hyperband", "median")
_CHANGING = (
    schedulers.PopulationBasedTraining,
    schedulers.PopulationBasedTrainingReplay,
    schedulers.ResourceChangingScheduler,
)


def make_scheduler(
    scheduler: Any, n_epochs: int, halving: Halving
) -> schedulers.TrialScheduler:
    """Return a scheduler of Ray by name, or a copy of the one given.

    Parameters
    ----------
    scheduler : str, TrialScheduler or None
        As in `RayTuneSearchCV`.
    n_epochs : int
        Epochs of the longest trial over all folds, 0 without epochs.
    halving : Halving
        The scheduler that "halving" names.
    """
    if isinstance(scheduler, str):
        name = check_option(scheduler, "scheduler", _SCHEDULERS)
        scheduler = halving if name == "halving" else _named_scheduler(name)
    elif scheduler is None:
        scheduler = schedulers.FIFOScheduler()
    _check_scheduler(scheduler, n_epochs)
    return with_objective(copy.deepcopy(scheduler), "scheduler")


def _named_scheduler(name: str) -> schedulers.TrialScheduler:
    if name == "median":
        return schedulers.MedianStoppingRule(
            time_attr="epoch",
            grace_period=_GRACE_PERIOD,
            min_samples_required=3,
            min_time_slice=_UNLIMITED,  # a paused trial would begin again
        )
    return schedulers.AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=_UNLIMITED,
        grace_period=_GRACE_PERIOD,
        reduction_factor=2,
        brackets=3 if name == "hyperband" else 1,
    )


def _check_scheduler(scheduler: Any, n_epochs: int) -> None:
    if isinstance(scheduler, _CHANGING):
        raise ValueError(
            "Expected a scheduler that only ends trials, got "
            f"{type(scheduler).__name__}, which changes a trial while it runs. A trial "
            "is the cross-validation of one configuration. Use "
            '"halving", "asha", "hyperband" or "median", or another scheduler of '
            "ray.tune.schedulers."
        )
    if not isinstance(scheduler, schedulers.TrialScheduler):
        raise TypeError(
            'Expected scheduler to be "halving", "asha", "hyperband", "median", None '
            f"or a scheduler of ray.tune.schedulers, got {scheduler!r}."
        )
    longest = most_epochs(scheduler)
    if longest is not None and longest < n_epochs:
        raise ValueError(
            f"Expected a scheduler with max_t of at least {n_epochs}, got "
            f"{type(scheduler).__name__} with max_t={longest}, which ends every trial "
            f"then. Epochs count through the folds: all folds of one configuration are "
            f"{n_epochs} epochs. Give max_t={n_epochs} or more."
        )
