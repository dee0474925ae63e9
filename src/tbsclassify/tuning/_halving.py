"""Asynchronous successive halving that pauses trials instead of ending them early."""

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

# One of this many trials is promoted at each rung.
_REDUCTION = 4
# Share of the epochs at which the rung lies. Earlier, small networks that will be the
# best in the end are often among the worst.
_RUNG = 0.2


def rungs_of(n_epochs: int) -> tuple[int, ...]:
    """Return the rungs: the epochs of each fold after which trials are compared.

    Parameters
    ----------
    n_epochs : int
        Epochs of one fold of the longest trial.
    """
    rung = round(n_epochs * _RUNG)
    return (rung,) if rung else ()


class Halving(FIFOScheduler):
    """Asynchronous successive halving as it was first described, with pauses.

    Ray's own scheduler decides at once, by the trials that reached the rung before:
    the first one is always promoted, however bad, and a good one that comes after a
    better one is lost. Here a trial pauses at a rung while others begin. It is promoted
    once it is among the best of those at the rung, and ends when too many are better.

    Parameters
    ----------
    n_trials : int
        Number of trials of the whole search.
    n_rungs : int
        Number of rungs, at each of which trials are compared.
    waits : bool
        Whether trials may pause. If not, a trial that is not among the best ends at
        once. Search algorithms need this, because they learn from ended trials.
    """

    def __init__(self, n_trials: int, n_rungs: int, *, waits: bool):
        super().__init__()
        self._rungs: list[_Rung] = []
        for _ in range(n_rungs):
            self._rungs.append(_Rung(n_trials, waits=waits))
            n_trials = self._rungs[-1].n_places

    def on_trial_result(self, tune_controller, trial, result):
        if "rung" not in result:
            return self.CONTINUE
        rung, name = self._rungs[result["rung"]], _name(trial)
        rung.scores[name] = result[self.metric]
        if rung.promotes(name):
            return self.CONTINUE
        return self.PAUSE if rung.may_promote_later(name) else self.STOP

    def on_trial_complete(self, tune_controller, trial, result):
        """Rank a trial that failed before a rung as the worst there."""
        name = _name(trial)
        for rung in self._rungs:
            if name not in rung.promoted:
                rung.scores.setdefault(name, -math.inf)
                return

    def on_trial_error(self, tune_controller, trial):
        self.on_trial_complete(tune_controller, trial, None)

    def on_trial_remove(self, tune_controller, trial):
        self.on_trial_complete(tune_controller, trial, None)

    def choose_trial_to_run(self, tune_controller):
        """Return a promoted trial, from the highest rung that has one.

        If there is none, Ray starts a new trial.
        """
        trials = {_name(trial): trial for trial in tune_controller.get_trials()}
        for rung in reversed(self._rungs):
            for name in rung.ranked():
                trial = trials.get(name)
                if trial is None or self._rung_of(name) is not rung:
                    continue
                if trial.status == Trial.PENDING and name in rung.promoted:
                    return trial  # promoted before, and still without a worker
                if trial.status != Trial.PAUSED:
                    continue
                if rung.promotes(name):
                    return trial
                if not rung.may_promote_later(name):
                    tune_controller.stop_trial(trial)
        return None

    def _rung_of(self, name):
        """Return the highest rung that a trial has reached."""
        return next(rung for rung in reversed(self._rungs) if name in rung.scores)


class _Rung:
    """The trials that have reached a rung, and those promoted from it."""

    def __init__(self, n_expected: int, *, waits: bool):
        self.n_expected, self.waits = n_expected, waits
        self.n_places = math.ceil(n_expected / _REDUCTION)  # in the end
        self.scores: dict[Any, float] = {}
        self.promoted: set = set()

    def ranked(self) -> list:
        """Return the names of the trials, best first."""
        # Among equals, who came first would depend on the speed of the workers.
        return sorted(self.scores, key=lambda name: (-self.scores[name], str(name)))

    def promotes(self, name: Any) -> bool:
        """Tell whether a trial is promoted now, and remember that it is."""
        n_here = len(self.scores)
        n_places = n_here // _REDUCTION
        if not self.waits or n_here >= self.n_expected:
            n_places = math.ceil(n_here / _REDUCTION)
        if name in self.ranked()[:n_places]:
            self.promoted.add(name)
        return name in self.promoted

    def may_promote_later(self, name: Any) -> bool:
        """Tell whether a trial may be promoted when more have reached the rung."""
        is_open = self.waits and len(self.scores) < self.n_expected
        return is_open and name in self.ranked()[: self.n_places]


def _name(trial: Trial) -> Any:
    """Return the key of a trial; that of a drawn candidate survives an interruption."""
    return trial.config.get("candidate", trial.trial_id)
