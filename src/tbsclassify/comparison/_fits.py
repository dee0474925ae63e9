"""The trials of a comparison: which model learns which scans, and one of them run."""

import hashlib
import time
from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold, check_cv
from sklearn.pipeline import Pipeline

from tbsclassify._pipelines import fit_metadata
from tbsclassify._sklearn_compat import safe_indexing
from tbsclassify._validation import check_groups

THRESHOLD_MEASURES = ("f1", "balanced_accuracy")
_THRESHOLD_FOLDS = 5


def derive_seed(seed, *words):
    """Return a seed that depends on all the words and on nothing else."""
    digest = hashlib.sha256(repr((seed, *words)).encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


@dataclass(frozen=True, eq=False)
class Trial:
    """One model, fitted on one training set and tested on one test set."""

    name: str  # of the file that it is kept in
    permuted: bool
    model: str
    repeat: int
    fold: int
    y: np.ndarray  # of all scans
    train: np.ndarray
    test: np.ndarray
    seed: int


def plan_trials(models, X, y, groups, *, cv, n_repeats, seed, permuted=False):
    """List the trials of all models, on the same splits and labels for each."""
    patient, _ = check_groups(groups, len(y))
    splits = []
    for repeat in range(n_repeats):
        labels = y
        if permuted:
            labels = permute_labels(y, patient, derive_seed(seed, "labels", repeat))
        splitter, by = check_cv(cv), groups
        if isinstance(cv, int | np.integer):
            fold_seed = derive_seed(seed, "folds", repeat)
            splitter = StratifiedGroupKFold(cv, shuffle=True, random_state=fold_seed)
            by = patient
        for fold, (train, test) in enumerate(splitter.split(X, labels, by)):
            _check_no_patient_on_both_sides(patient[train], patient[test], fold)
            splits.append((repeat, fold, labels, np.asarray(train), np.asarray(test)))
    kind = "permuted-" if permuted else ""
    return [
        Trial(
            name=f"{kind}{i:02d}-{repeat}-{fold}",
            permuted=permuted,
            model=model,
            repeat=repeat,
            fold=fold,
            y=labels,
            train=train,
            test=test,
            seed=derive_seed(seed, kind, model, repeat, fold),
        )
        for i, model in enumerate(models)
        for repeat, fold, labels, train, test in splits
    ]


def permute_labels(y, patient, seed):
    """Give each patient the labels of another one.

    Where the other has fewer scans, the labels start again; where more, the last
    ones are left out.
    """
    by_patient = np.argsort(patient, kind="stable")
    scans = np.split(by_patient, np.cumsum(np.bincount(patient))[:-1])
    permuted = np.empty_like(y)
    others = np.random.default_rng(seed).permutation(len(scans))
    for own, other in zip(scans, others, strict=True):
        permuted[own] = np.resize(y[scans[other]], len(own))
    return permuted


def _check_no_patient_on_both_sides(train, test, fold):
    shared = np.intersect1d(train, test)
    if shared.size:
        raise ValueError(
            f"cv puts {shared.size} patient(s) on both sides of split {fold}, which "
            "makes results too good. Use an int, or a splitter that keeps groups "
            "together, such as StratifiedGroupKFold."
        )


def run_trial(trial, model, X, groups, *, classes, threshold, pos_label, checkpoint):
    """Fit and test a model.

    Returns
    -------
    outcome : dict of str to array
        ``proba`` of the test scans, ``threshold``, ``fit_seconds``,
        ``n_parameters``, ``n_trainable_parameters``, ``best_epoch`` and, with
        ``history_`` before their name, training curves; or ``error`` alone.
    """
    try:
        learner = _Learner(_seeded(model, trial.seed), X, trial.y, groups, classes)
        if trial.permuted:
            threshold = 0.5  # its ROC AUC alone is looked at
        elif isinstance(threshold, str):
            threshold = learner.best_threshold(
                trial.train, threshold, pos_label, trial.seed
            )
        start = time.perf_counter()
        fitted = learner.fit(trial.train)
        seconds = time.perf_counter() - start
        outcome = {
            "proba": learner.probabilities(fitted, trial.test),
            "threshold": threshold,
            "fit_seconds": seconds,
            **_training_record(fitted),
        }
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if checkpoint is not None:
        checkpoint.write(trial.name, outcome)
    return outcome


def _seeded(model, seed):
    """Clone a model and seed what has no seed of its own."""
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

    def __init__(self, model, X, y, groups, classes):
        self.model, self.X, self.y, self.classes = model, X, y, classes
        self.patient, _ = check_groups(groups, len(y))
        self.groups = groups

    def fit(self, rows):
        groups = None if self.groups is None else self.patient[rows]
        options = fit_metadata(self.model, groups=groups)
        X = safe_indexing(self.X, rows)
        return clone(self.model).fit(X, self.y[rows], **options)

    def probabilities(self, fitted, rows):
        """Probabilities of all classes, those that were not learnt being 0."""
        found = fitted.predict_proba(safe_indexing(self.X, rows))
        proba = np.zeros((len(rows), len(self.classes)))
        proba[:, np.searchsorted(self.classes, fitted.classes_)] = found
        if not np.isfinite(proba).all():
            raise ValueError("predict_proba gave NaN or infinite probabilities.")
        return proba

    def best_threshold(self, rows, measure, pos_label, seed):
        """Choose a threshold on out-of-fold predictions of these scans."""
        positive = self.classes.tolist().index(pos_label)
        score = np.empty(len(rows))
        folds = StratifiedGroupKFold(_THRESHOLD_FOLDS, shuffle=True, random_state=seed)
        for train, valid in folds.split(rows, self.y[rows], self.patient[rows]):
            fitted = self.fit(rows[train])
            score[valid] = self.probabilities(fitted, rows[valid])[:, positive]
        return best_threshold(self.y[rows] == pos_label, score, measure)


def best_threshold(positive, score, measure):
    """Return the score between two scans at which a measure is highest."""
    order = np.argsort(score, kind="stable")
    score, positive = score[order], positive[order]
    last = np.flatnonzero(np.diff(score) > 0)  # that is not called positive
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


def _training_record(fitted):
    """Sizes and training curves of the network in a fitted model, if it has one."""
    while isinstance(fitted, Pipeline) or hasattr(fitted, "best_estimator_"):
        is_pipeline = isinstance(fitted, Pipeline)
        fitted = fitted[-1] if is_pipeline else fitted.best_estimator_
    record = {
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
    if isinstance(history, dict):
        record |= {
            f"history_{name}": values
            for name, values in history.items()
            if np.asarray(values).dtype.kind in "biuf"
        }
    return record
