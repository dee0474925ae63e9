"""One trial of a search: a configuration fitted and scored on every fold."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from tbsclassify._sklearn_compat import (
    check_method_params,
    fit_and_score,
    safe_indexing,
    score,
)


@dataclass(frozen=True)
class Task:
    """What all trials of a search have in common; it goes to the workers once."""

    estimator: Any
    X: Any
    y: Any
    splits: list
    scorer: Any
    metric: str | None  # that decides, where there are several
    fit_params: dict
    score_params: dict
    error_score: float | str
    return_train_score: bool
    sklearn_config: dict
    decode: Callable | None = None  # from Ray's configuration to parameters

    def configured(self, parameters):
        """Return the estimator, unfitted, with these parameters."""
        return clone(self.estimator).set_params(**clone(parameters, safe=False))


def evaluate(task, parameters, report):
    """Fit and score one configuration on all folds.

    A classifier with epochs is scored on the held-out scans after each of them, and
    the score is reported at once. All others are reported when they have been through
    all folds.

    Parameters
    ----------
    task : Task
        The search.
    parameters : dict
        Parameters of the estimator, by name.
    report : callable
        Takes a dict: ``score``, mean over the folds begun; ``epoch``, counted through
        the folds, of which each counts as `max_epochs`; ``n_epochs``, those really
        trained; ``rows``, (fold, epoch, score) of epochs not reported yet; ``splits``,
        scikit-learn's result of each finished fold; ``complete``, whether that is all.
    """
    with config_context(**task.sklearn_config):
        trial = _Trial(task, report)
        for fold in range(len(task.splits)):
            trial.run(fold, task.configured(parameters))


class _Trial:
    """The folds of a configuration, one after another."""

    def __init__(self, task, report):
        self.task, self.report = task, report
        self.splits, self.rows, self.n_epochs = [], [], 0
        self.epochs_of_fold = 1

    def run(self, fold, estimator):
        task = self.task
        train, test = task.splits[fold]
        classifier = classifier_with_epochs(estimator)
        with self._following(classifier, estimator, fold, test):
            result = fit_and_score(
                estimator,
                task.X,
                task.y,
                scorer=task.scorer,
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
        self.splits.append(result)
        if classifier is not None or len(self.splits) == len(task.splits):
            self._tell((fold + 1) * self.epochs_of_fold)

    def _following(self, classifier, estimator, fold, test):
        """Score the held-out scans after each epoch of a classifier that has some."""
        if classifier is None:
            return nullcontext()
        task = self.task

        def on_epoch(epoch, max_epochs):
            scans = _transformed(estimator, safe_indexing(task.X, test))
            params = check_method_params(task.X, task.score_params, indices=test)
            y = safe_indexing(task.y, test)
            scores = score(classifier, scans, y, task.scorer, params, task.error_score)
            self.epochs_of_fold = max_epochs
            self.n_epochs += 1
            self.rows.append((fold, epoch, self._deciding(scores)))
            if epoch < max_epochs:  # the last is reported with the fold
                self._tell(fold * max_epochs + epoch, scores)

        return classifier.monitored(on_epoch)

    def _tell(self, epoch, *unfinished):
        """Report the finished folds and the scores of an unfinished one."""
        rows, self.rows = self.rows, []
        finished = [split["test_scores"] for split in self.splits]
        scores = [self._deciding(one) for one in (*finished, *unfinished)]
        told = {
            "score": float(np.mean(scores)),
            "epoch": epoch,
            "n_epochs": self.n_epochs,
            "rows": rows,
            "splits": self.splits,
            "complete": len(self.splits) == len(self.task.splits),
        }
        if np.isnan(told["score"]):
            del told["epoch"]  # or schedulers would compare it
        self.report(told)

    def _deciding(self, scores):
        """Return the score that decides, of one or several."""
        if isinstance(scores, dict):
            scores = scores[self.task.metric or next(iter(scores))]
        return float(scores)


def classifier_with_epochs(estimator):
    """Return the classifier that an estimator is or ends in, if it has epochs."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator if hasattr(estimator, "monitored") else None


def max_epochs(estimator):
    """Return how many epochs one fit of an estimator has at most, 0 without any."""
    classifier = classifier_with_epochs(estimator)
    found = 0 if classifier is None else classifier.resolve_max_epochs()
    return found if isinstance(found, Integral) else 0


def _transformed(pipeline, X):
    """Put scans through the fitted steps before the last one."""
    while isinstance(pipeline, Pipeline):
        for _, step in pipeline.steps[:-1]:
            if hasattr(step, "transform"):  # not "passthrough", not a sampler
                X = step.transform(X)
        pipeline = pipeline.steps[-1][1]
    return X
