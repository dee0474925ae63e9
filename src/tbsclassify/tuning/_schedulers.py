"""What ends the bad trials of a search early: schedulers of Ray, by name or given."""

import copy

from ray.tune import schedulers

from tbsclassify._validation import check_option
from tbsclassify.tuning._space import with_objective

# More epochs than anyone trains: rungs beyond the last epoch are never reached.
_UNLIMITED = 10**6
# Epochs before anything is ended. After one alone, scores of small networks hardly say
# more than their initial weights.
_GRACE_PERIOD = 3
_SCHEDULERS = ("asha", "hyperband", "median")
_CHANGING = (
    schedulers.PopulationBasedTraining,
    schedulers.PopulationBasedTrainingReplay,
    schedulers.ResourceChangingScheduler,
)


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
            grace_period=_GRACE_PERIOD,
            min_samples_required=3,
            min_time_slice=_UNLIMITED,  # or it would pause trials, which begin anew
        )
    return schedulers.AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=_UNLIMITED,
        grace_period=_GRACE_PERIOD,
        reduction_factor=2,
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
