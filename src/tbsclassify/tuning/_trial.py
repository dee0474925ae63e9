"""One trial of a search: a configuration fitted and scored on every fold."""

import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from numbers import Integral, Real
from pathlib import Path
from traceback import format_exc
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._files import write_whole
from tbsclassify._pipelines import keep_training, last_step
from tbsclassify._sklearn_compat import (
    MultimetricScorer,
    check_method_params,
    fit_and_score,
    safe_indexing,
    score,
    scorers_by_name,
)


@dataclass(frozen=True)
class Task:
    """What all trials of a search have in common; it goes to the workers once."""

    estimator: Any
    X: Any
    y: Any
    splits: list
    scorer: Any
    metric: str | None  # the one that decides, where there are several
    fit_params: dict
    score_params: dict
    error_score: float | str
    return_train_score: bool
    sklearn_config: dict
    decode: Callable[[dict], dict] = dict  # from Ray's configuration to parameters
    checkpoint: Checkpoint | None = None  # from which stopped trials are resumed
    rungs: tuple[int, ...] = ()  # epochs of every fold after which trials are compared

    def configured(self, parameters: dict[str, Any]) -> Any:
        """Return an unfitted clone of the estimator with these parameters."""
        return clone(self.estimator).set_params(**clone(parameters, safe=False))

    def deciding(self, scores: Any) -> float:
        """Return the score that decides, where there are several."""
        if isinstance(scores, dict):
            scores = scores[self.metric or next(iter(scores))]
        return float(scores)


def evaluate(
    task: Task,
    parameters: dict[str, Any],
    report: Callable[[dict], None],
    place: Callable[[str], Path] | None = None,
) -> None:
    """Fit and score one configuration on all folds.

    A classifier with epochs is scored on the held-out scans after each of them, as
    the whole estimator would be if its training ended there, and the score is reported
    at once. Other estimators are reported once, after all folds.

    Folds are fitted one after another. With rungs, every fold is first trained up to
    the first rung, then every fold up to the next, and so on, so that trials are
    compared by their means over all folds. This needs a training that can be kept in a
    file.

    Parameters
    ----------
    task : Task
        The search.
    parameters : dict
        Parameters of the estimator, by name.
    report : callable
        Takes a dict: ``score``, the mean over the folds begun; ``epoch``, counted
        through the folds, each of which counts as `max_epochs`; ``n_epochs``, the
        number really trained; ``rows``, (fold, epoch, score) of epochs not reported
        yet; ``splits``, scikit-learn's result of each finished fold, with
        ``score_errors``, the traceback of each scorer that failed; ``complete``,
        whether all folds are finished; ``rung``, counted from 0, when all folds have
        reached one.
    place : callable or None
        Gives the files, by name, from which a stopped trial is resumed: its reports,
        which it repeats, and the training of each fold.
    """
    with ExitStack() as stack:
        stack.enter_context(config_context(**task.sklearn_config))
        rungs = task.rungs
        if rungs and not keep_training(task.configured(parameters), "training"):
            rungs = ()  # a paused fold would start again
        if rungs and place is None:
            folder = tempfile.TemporaryDirectory(prefix="tbsclassify-")
            place = Path(stack.enter_context(folder)).joinpath
        trial = _Trial(task, report, place)
        trial.repeat_reports()
        for rung, until in enumerate((*rungs, None)):
            for fold in trial.folds_before(until):
                trial.run(fold, task.configured(parameters), until)
            trial.end_rung(rung)


class _FoldPaused(BaseException):
    """Leaves the fit of a fold, which is later resumed from its file.

    It is not an Exception, which scikit-learn would take for a failed fit.
    """


class _Trial:
    """The folds of a configuration, one after another."""

    def __init__(
        self,
        task: Task,
        report: Callable[[dict], None],
        place: Callable[[str], Path] | None,
    ):
        self.task, self.report, self.place = task, report, place
        self.reports: list[dict[str, Any]] = []
        self.known: dict[int, dict[int, float]] = {}  # score by fold and epoch
        self.results: dict[int, dict[str, Any]] = {}  # by finished fold
        self.rows: list[tuple] = []
        self.n_epochs = 0
        self.epochs_of_fold = 1

    @property
    def is_complete(self) -> bool:
        return len(self.results) == len(self.task.splits)

    def repeat_reports(self) -> None:
        """Report again what the trial reported before it was stopped."""
        if self.place is None:
            return
        with suppress(FileNotFoundError):
            self.reports = json.loads(self.place("reports").read_text())
        for sent in self.reports:
            for fold, epoch, value in sent["rows"]:
                self.known.setdefault(fold, {})[epoch] = value
            self.results = dict(enumerate(sent["splits"]))
            self.n_epochs = sent["n_epochs"]
            self.report(sent)

    def folds_before(self, until: int | None) -> list[int]:
        """Return the unfinished folds, or those with fewer epochs than `until`."""
        return [
            fold
            for fold in range(len(self.task.splits))
            if fold not in self.results
            and (until is None or max(self.known.get(fold, ()), default=0) < until)
        ]

    def run(self, fold: int, estimator: Any, until: int | None) -> None:
        """Fit a fold to its end or, if `until` is given, up to that epoch."""
        task = self.task
        train, test = task.splits[fold]
        if self.place is not None and not keep_training(
            estimator, self.place(f"fold-{fold}")
        ):
            self.place = None
        scorer = _noting(task)
        with warnings.catch_warnings():
            # Nobody sees the warnings of a worker. The reasons are in its results.
            warnings.filterwarnings("ignore", message="Scoring failed")
            try:
                with self._following(estimator, fold, test, scorer, until):
                    result = fit_and_score(
                        estimator,
                        task.X,
                        task.y,
                        scorer=scorer,
                        train=train,
                        test=test,
                        verbose=0,
                        parameters=None,
                        fit_params=task.fit_params,
                        score_params=task.score_params,
                        return_train_score=task.return_train_score,
                        return_n_test_samples=True,
                        return_times=True,
                        error_score=task.error_score,
                    )
            except _FoldPaused:
                return
        self.results[fold] = result | {"score_errors": scorer.errors}
        has_epochs = classifier_with_epochs(estimator) is not None
        if has_epochs or self.is_complete:
            self._send_report()
        if self.place is not None:  # the result has been reported
            self.place(f"fold-{fold}").unlink(missing_ok=True)

    def end_rung(self, rung: int) -> None:
        """Report that all folds have reached a rung."""
        reported = {sent.get("rung") for sent in self.reports}
        has_epochs = any(self.known.values())
        if has_epochs and not self.is_complete and rung not in reported:
            self._send_report(rung=rung)

    def _following(
        self,
        estimator: Any,
        fold: int,
        test: np.ndarray,
        scorer: Any,
        until: int | None,
    ) -> AbstractContextManager:
        """Score the held-out scans after each epoch, if the classifier has epochs."""
        classifier = classifier_with_epochs(estimator)
        if classifier is None:
            return nullcontext()
        task = self.task
        X, y = safe_indexing(task.X, test), safe_indexing(task.y, test)
        params = check_method_params(task.X, task.score_params, indices=test)
        known = self.known.setdefault(fold, {})

        def on_epoch(epoch: int, max_epochs: int) -> None:
            self.epochs_of_fold = max_epochs
            if epoch not in known:  # else scored before the trial was interrupted
                # The steps of a Pipeline before the classifier are fitted by now, so a
                # scorer can use the whole estimator.
                scores = score(estimator, X, y, scorer, params, task.error_score)
                self.n_epochs += 1
                known[epoch] = task.deciding(scores)
                self.rows.append((fold, epoch, known[epoch]))
                if epoch < max_epochs:  # the last one is reported with the fold
                    self._send_report()
            if until is not None and until <= epoch < max_epochs:
                raise _FoldPaused

        return classifier.monitored(on_epoch)

    def _progress(self) -> tuple[float, int]:
        """Return the mean of the last scores of the folds begun, and their epochs."""
        scores, epoch = [], 0
        for fold in range(len(self.task.splits)):
            if fold in self.results:
                scores.append(self.task.deciding(self.results[fold]["test_scores"]))
                epoch += self.epochs_of_fold
            elif self.known.get(fold):
                last = max(self.known[fold])
                scores.append(self.known[fold][last])
                epoch += last
        return float(np.mean(scores)), epoch

    def _send_report(self, **more: Any) -> None:
        """Report the results of finished folds and the last scores of the others."""
        rows, self.rows = self.rows, []
        score, epoch = self._progress()
        # Results go out in the order of the folds: a later one waits for earlier ones.
        n_first = next(n for n in count() if n not in self.results)
        sent: dict[str, Any] = {
            "score": score,
            "epoch": epoch,
            "n_epochs": self.n_epochs,
            "rows": rows,
            "splits": [self.results[fold] for fold in range(n_first)],
            "complete": self.is_complete,
            **more,
        }
        if np.isnan(sent["score"]):
            for name in {"epoch", "rung"} & set(sent):
                del sent[name]  # so that no scheduler compares it
        if self.place is not None:
            self.reports.append(sent)
            text = json.dumps(self.reports, default=float).encode()
            write_whole(self.place("reports"), lambda file: file.write(text))
        self.report(sent)


class _NotingScorer:
    """A scorer that keeps the traceback of its error, and raises it."""

    def __init__(self, scorer: Callable):
        self.scorer = scorer
        self.errors: dict[str, str] = {}

    def __call__(self, *args, **kwargs):
        try:
            scores = self.scorer(*args, **kwargs)
            _check_numbers(scores)
            return scores
        except Exception:
            self.errors["score"] = format_exc()
            raise


def _check_numbers(scores: Any) -> None:
    """Check that a scorer returned a number, or numbers by name."""
    for one in scores.values() if isinstance(scores, dict) else [scores]:
        if not isinstance(one.item() if hasattr(one, "item") else one, Real):
            raise TypeError(f"Expected scoring to return a number, got {one!r}.")


class _NotingScorers(MultimetricScorer):
    """Scorers of several measures that keep the traceback of each error.

    scikit-learn returns a traceback in place of the score, and then replaces it by
    `error_score` and warns, without the name of the measure.
    """

    def __init__(self, scorers: dict[str, Callable], raise_exc: bool):
        super().__init__(scorers=scorers, raise_exc=raise_exc)
        self.errors: dict[str, str] = {}

    def __call__(self, *args, **kwargs):
        scores = super().__call__(*args, **kwargs)
        self.errors |= {
            name: value for name, value in scores.items() if isinstance(value, str)
        }
        return scores


def _noting(task: Task) -> _NotingScorer | _NotingScorers:
    """Return the scorer of a task, which keeps the errors of one fold."""
    several = scorers_by_name(task.scorer)
    if several is None:
        return _NotingScorer(task.scorer)
    return _NotingScorers(several, raise_exc=task.error_score == "raise")


def classifier_with_epochs(estimator: Any) -> Any:
    """Return the classifier that an estimator is or ends in, if it has epochs."""
    classifier = last_step(estimator)
    return classifier if hasattr(classifier, "monitored") else None


def max_epochs(estimator: Any) -> int:
    """Return the maximum number of epochs of a fit, 0 without any."""
    classifier = classifier_with_epochs(estimator)
    found = 0 if classifier is None else classifier.resolve_max_epochs()
    return int(found) if isinstance(found, Integral) else 0
