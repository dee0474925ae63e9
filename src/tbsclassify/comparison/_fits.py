"""The fits of a comparison: their plan, and how one is run."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold

from tbsclassify._checkpoint import Checkpoint
from tbsclassify._pipelines import (
    fit_metadata,
    keep_training,
    last_step,
    request_metadata,
)
from tbsclassify._scores import class_index, scores_of_class
from tbsclassify._sklearn_compat import safe_indexing
from tbsclassify._validation import check_groups
from tbsclassify.splitting import list_folds

THRESHOLD_MEASURES = ("f1", "balanced_accuracy")
_THRESHOLD_FOLDS = 5


def derive_seed(seed: int, *words: Any) -> int:
    """Return a seed that depends on all the words and on nothing else."""
    digest = hashlib.sha256(repr((seed, *words)).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a cross-validation."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class Target:
    """The targets of all scans: classes and, if known, TBS values."""

    y: np.ndarray
    tbs: np.ndarray | None = None

    def taken(self, scans: np.ndarray) -> "Target":
        """Return the targets of some scans."""
        return Target(self.y[scans], None if self.tbs is None else self.tbs[scans])


@dataclass(frozen=True, eq=False)
class Trial:
    """One model, fitted on one training set and tested on one test set."""

    name: str  # of the file of its outcome
    permuted: bool
    model: str
    split: Split
    target: Target  # of all scans
    seed: int


def list_splits(
    X: Any,
    y: np.ndarray,
    groups: np.ndarray | None,
    *,
    cv: Any,
    n_repeats: int,
    seed: int,
) -> list[Split]:
    """List the splits of all repeats, once: `cv` may be an iterator."""
    return [
        Split(repeat, fold, train, test)
        for repeat in range(n_repeats)
        for fold, (train, test) in enumerate(
            list_folds(cv, X, y, groups, seed=derive_seed(seed, "folds", repeat))
        )
    ]


def plan_trials(
    models: Mapping[str, Any],
    splits: list[Split],
    targets: list[Target],
    *,
    seed: int,
    permuted: bool = False,
) -> list[Trial]:
    """List the trials of all models, on the same splits for each.

    `targets` has the targets of all scans for each split.
    """
    kind = "permuted-" if permuted else ""
    return [
        Trial(
            name=f"{kind}{_file_name(model)}-{split.repeat}-{split.fold}",
            permuted=permuted,
            model=model,
            split=split,
            target=target,
            seed=derive_seed(seed, kind, model, split.repeat, split.fold),
        )
        for model in models
        for split, target in zip(splits, targets, strict=True)
    ]


def _file_name(model: str) -> str:
    """Return a file name that depends only on the name of the model."""
    return hashlib.sha256(model.encode()).hexdigest()[:12]


def run_trial(
    trial: Trial,
    model: Any,
    X: Any,
    groups: np.ndarray | None,
    *,
    classes: np.ndarray,
    threshold: float | str,
    pos_label: Any,
    checkpoint: Checkpoint | None,
) -> tuple[Trial, dict[str, Any]]:
    """Fit and test a model.

    Returns
    -------
    trial : Trial
        The trial, because trials end in any order.
    outcome : dict of str to array
        ``proba`` of the test scans, ``threshold``, ``fit_seconds``,
        ``n_parameters``, ``n_trainable_parameters``, ``best_epoch`` and, with
        ``history_`` before their name, training curves; or ``error`` alone.
    """
    train, test = trial.split.train, trial.split.test
    try:
        seeded = _seeded(model, trial.seed)
        if get_config()["enable_metadata_routing"]:
            # So that a comparison is the same with metadata routing and without.
            request_metadata(seeded, "groups", "tbs")
        place = (
            None
            if checkpoint is None
            else partial(checkpoint.training_file, trial.name)
        )
        learner = _Learner(seeded, X, trial.target, groups, classes, place)
        if trial.permuted:
            threshold = 0.5  # the control uses only the ROC AUC
        elif isinstance(threshold, str):
            threshold = learner.best_threshold(train, threshold, pos_label, trial.seed)
        start = time.perf_counter()
        fitted = learner.fit(train)
        seconds = time.perf_counter() - start
        outcome = {
            "proba": learner.probabilities(fitted, test),
            "threshold": threshold,
            "fit_seconds": max(seconds, _seconds_in_epochs(fitted)),
            **_training_record(fitted),
        }
    except Exception as error:
        return trial, {"error": f"{type(error).__name__}: {error}"}
    if checkpoint is not None:
        checkpoint.write(trial.name, outcome)
        checkpoint.forget_training(trial.name)
    return trial, outcome


def _seeded(model: Any, seed: int) -> Any:
    """Clone a model, and set all parameters `random_state` that are None."""
    model = clone(model)
    unseeded = sorted(
        name
        for name, value in model.get_params().items()
        if name.rpartition("__")[2] == "random_state" and value is None
    )
    seeds = np.random.SeedSequence(seed).generate_state(len(unseeded)) >> 1
    return model.set_params(**dict(zip(unseeded, seeds.tolist(), strict=True)))


class _Learner:
    """A model together with the scans that it is fitted and tested on."""

    def __init__(
        self,
        model: Any,
        X: Any,
        target: Target,
        groups: np.ndarray | None,
        classes: np.ndarray,
        place: Callable[[str], Path] | None = None,
    ):
        self.place = place  # of the file of a training, by name
        self.model, self.X, self.target, self.classes = model, X, target, classes
        self.patient, _ = check_groups(groups, len(target.y))
        self.groups = groups

    def fit(self, rows: np.ndarray, name: str = "fit") -> Any:
        """Fit a clone on some scans; `name` identifies a fit to be resumed."""
        model = clone(self.model)
        if self.place is not None:
            keep_training(model, self.place(name))
        groups = None if self.groups is None else self.patient[rows]
        target = self.target.taken(rows)
        options = fit_metadata(self.model, groups=groups, tbs=target.tbs)
        X = safe_indexing(self.X, rows)
        return model.fit(X, target.y, **options)

    def probabilities(self, fitted: Any, rows: np.ndarray) -> np.ndarray:
        """Return probabilities of all classes, 0 for classes not in the fit."""
        found = fitted.predict_proba(safe_indexing(self.X, rows))
        proba = np.zeros((len(rows), len(self.classes)))
        columns = [
            class_index(label, self.classes, "the model's classes_")
            for label in np.asarray(fitted.classes_).tolist()
        ]
        proba[:, columns] = found
        if not np.isfinite(proba).all():
            raise ValueError("predict_proba gave NaN or infinite probabilities.")
        return proba

    def best_threshold(
        self, rows: np.ndarray, measure: str, pos_label: Any, seed: int
    ) -> float:
        """Choose a threshold on out-of-fold predictions of these scans."""
        y, score = self.target.y[rows], np.empty(len(rows))
        folds = StratifiedGroupKFold(_THRESHOLD_FOLDS, shuffle=True, random_state=seed)
        splits = folds.split(rows, y, self.patient[rows])
        for fold, (train, valid) in enumerate(splits):
            fitted = self.fit(rows[train], f"fold-{fold}")
            proba = self.probabilities(fitted, rows[valid])
            score[valid] = scores_of_class(proba, self.classes, pos_label)
        return best_threshold(y == pos_label, score, measure)


def best_threshold(positive: np.ndarray, score: np.ndarray, measure: str) -> float:
    """Return the score between two scans at which a measure is highest."""
    order = np.argsort(score, kind="stable")
    score, positive = score[order], positive[order]
    last = np.flatnonzero(np.diff(score) > 0)  # the last scan below each threshold
    if not last.size:
        return 0.5
    n_positive, n_negative = positive.sum(), (~positive).sum()
    fn, tn = np.cumsum(positive)[last], np.cumsum(~positive)[last]
    tp, fp = n_positive - fn, n_negative - tn
    if measure == "f1":
        value = 2 * tp / (2 * tp + fp + fn)
    else:
        value = (tp / n_positive + tn / n_negative) / 2
    best = last[value.argmax()]
    return float((score[best] + score[best + 1]) / 2)


def _seconds_in_epochs(fitted: Any) -> float:
    """Return the time of all epochs, including those before a fit was resumed."""
    history = getattr(last_step(fitted), "history_", None)
    if not isinstance(history, pd.DataFrame) or "seconds" not in history:
        return 0.0
    return float(history["seconds"].sum())


def _training_record(fitted: Any) -> dict[str, Any]:
    """Return sizes and training curves of the network in a model, if there is one."""
    fitted = last_step(fitted)
    record = {
        "seconds_per_10_epochs": np.nan,
        "n_parameters": np.nan,
        "n_trainable_parameters": np.nan,
        "best_epoch": getattr(fitted, "best_epoch_", np.nan),
    }
    module = getattr(getattr(fitted, "net_", None), "module_", None)
    if module is not None:
        sizes = [(one.numel(), one.requires_grad) for one in module.parameters()]
        record["n_parameters"] = sum(size for size, _ in sizes)
        record["n_trainable_parameters"] = sum(size for size, free in sizes if free)
    history = getattr(fitted, "history_", None)
    if isinstance(history, pd.DataFrame | Mapping):
        curves = pd.DataFrame(history).select_dtypes(["number", "bool"])
        if "seconds" in curves and getattr(fitted, "_trains_in_epochs", True):
            record["seconds_per_10_epochs"] = 10 * curves["seconds"].mean()
        record |= {f"history_{name}": curves[name].to_numpy() for name in curves}
    return record
