"""Successive halving that lets trials wait, rather than ending them too soon."""

import math
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

# Of so many trials that were compared at a rung, one goes on.
_REDUCTION = 4
# Share of the epochs after which they are compared. After less, small networks that
# will be the best are often still among the worst.
_RUNG = 0.2


def rungs_of(n_epochs: int) -> tuple[int, ...]:
    """Return after how many epochs of each fold trials are compared.

    Parameters
    ----------
    n_epochs : int
        Epochs of a fold of the longest trial.
    """
    rung = round(n_epochs * _RUNG)
    return (rung,) if rung else ()


class Halving(FIFOScheduler):
    """Asynchronous successive halving as it was first described, with pauses.

    Ray's own ends a trial at a rung, or lets it go on, by those that have got as far
    before it: the first always goes on, however bad, and a good one that comes after a
    better one is lost. Here a trial waits while others begin. It goes on when it is
    among the best of those that have got as far, and ends when too many are better.

    Parameters
    ----------
    n_trials : int
        Trials of the whole search.
    n_rungs : int
        How often a trial that runs to the end is compared with others.
    waits : bool
        Whether trials may wait. If not, one that is not among the best ends at once,
        for search algorithms, which learn from trials that have ended.
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
        if rung.lets_go_on(name):
            return self.CONTINUE
        return self.PAUSE if rung.may_yet(name) else self.STOP

    def on_trial_complete(self, tune_controller, trial, result):
        """Count a trial that failed before a rung as the worst there."""
        name = _name(trial)
        for rung in self._rungs:
            if name not in rung.gone_on:
                rung.scores.setdefault(name, -math.inf)
                return

    def on_trial_error(self, tune_controller, trial):
        self.on_trial_complete(tune_controller, trial, None)

    def on_trial_remove(self, tune_controller, trial):
        self.on_trial_complete(tune_controller, trial, None)

    def choose_trial_to_run(self, tune_controller):
        """Return a trial that has waited and goes on, at the highest rung if any.

        If there is none, Ray begins a new trial.
        """
        trials = {_name(trial): trial for trial in tune_controller.get_trials()}
        for rung in reversed(self._rungs):
            for name in rung.ranked():
                trial = trials.get(name)
                if trial is None or self._rung_of(name) is not rung:
                    continue
                if trial.status == Trial.PENDING and name in rung.gone_on:
                    return trial  # chosen before, and still without a worker
                if trial.status != Trial.PAUSED:
                    continue
                if rung.lets_go_on(name):
                    return trial
                if not rung.may_yet(name):
                    tune_controller.stop_trial(trial)
        return None

    def _rung_of(self, name):
        """Return the highest rung that a trial has come to."""
        return next(rung for rung in reversed(self._rungs) if name in rung.scores)


class _Rung:
    """The trials that have come as far, and those that have gone on."""

    def __init__(self, n_expected: int, *, waits: bool):
        self.n_expected, self.waits = n_expected, waits
        self.n_places = math.ceil(n_expected / _REDUCTION)  # in the end
        self.scores: dict[Any, float] = {}
        self.gone_on: set = set()

    def ranked(self) -> list:
        """Return the names of trials, the best first."""
        return sorted(self.scores, key=lambda name: -self.scores[name])

    def lets_go_on(self, name: Any) -> bool:
        """Tell whether a trial goes on now, and note that it does."""
        n_here = len(self.scores)
        n_places = n_here // _REDUCTION
        if not self.waits or n_here >= self.n_expected:
            n_places = math.ceil(n_here / _REDUCTION)
        if name in self.ranked()[:n_places]:
            self.gone_on.add(name)
        return name in self.gone_on

    def may_yet(self, name: Any) -> bool:
        """Tell whether a trial may go on later, when more have come as far."""
        is_open = self.waits and len(self.scores) < self.n_expected
        return is_open and name in self.ranked()[: self.n_places]


def _name(trial: Trial) -> Any:
    """Return what a trial is known by, the same after an interruption if possible."""
    return trial.config.get("candidate", trial.trial_id)
