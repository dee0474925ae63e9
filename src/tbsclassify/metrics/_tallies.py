"""Counts and measures of scans under many weightings at once."""

from statistics import NormalDist
from typing import Any

import numpy as np

COUNTS = ("tp", "fp", "tn", "fn")
MEASURES = (
    "accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "roc_auc",
    "balanced_accuracy",
    "brier_score",
    "quadratic_kappa",
)
REGRESSION_MEASURES = ("r", "mae", "rmse", "bias", "lower_limit", "upper_limit")

# A variance below this share of the mean square is zero but for rounding.
_NO_VARIANCE = 1e-12


class RocSteps:
    """Scans of one fold, sorted by score, whose ROC curve can be weighted.

    Weights say how often each scan was drawn. They have shape (n_draws, n_scans), for
    all scans, not only for those of the fold.

    Parameters
    ----------
    positive : ndarray of bool of shape (n_scans,)
        Whether a scan is of the class.
    score : ndarray of shape (n_scans,)
        Its score.
    rows : ndarray of int
        The scans of the fold.
    """

    def __init__(self, positive: np.ndarray, score: np.ndarray, rows: np.ndarray):
        self._rows = rows[np.argsort(-score[rows], kind="stable")]
        # Scans with equal scores share a step of the curve.
        in_order = score[self._rows]
        self._steps = np.flatnonzero(np.diff(in_order, prepend=np.nan) != 0)
        self._is_positive = positive[self._rows]

    def steps(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positive and negative scans at each step, the highest score first."""
        drawn = weight[:, self._rows]
        positive = np.add.reduceat(drawn * self._is_positive, self._steps, axis=1)
        negative = np.add.reduceat(drawn * ~self._is_positive, self._steps, axis=1)
        return positive, negative

    def pairs(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count the pairs of a positive and a negative scan in order, and all pairs.

        Ties count as half a pair in order.
        """
        positive, negative = self.steps(weight)
        n_negative = negative.sum(axis=1)
        below = n_negative[:, np.newaxis] - np.cumsum(negative, axis=1) + negative / 2
        return (positive * below).sum(axis=1), positive.sum(axis=1) * n_negative

    def points(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ROC curve, false and true positive rates of one weighting."""
        positive, negative = (side[0] for side in self.steps(weight[np.newaxis]))
        fpr = np.append(0, np.cumsum(negative) / negative.sum())
        return fpr, np.append(0, np.cumsum(positive) / positive.sum())


def roc_by_fold(
    positive: np.ndarray, score: np.ndarray, fold: np.ndarray
) -> list[RocSteps]:
    """Return the ROC steps of each fold; only scores of one fit are comparable."""
    return [
        RocSteps(positive, score, np.flatnonzero(fold == k)) for k in np.unique(fold)
    ]


class Tallies:
    """Scans ready to be counted and measured under many weightings."""

    def __init__(
        self,
        positive: np.ndarray,
        score: np.ndarray,
        called: np.ndarray,
        fold: np.ndarray,
    ):
        self._cells = np.stack(
            [
                positive & called,
                ~positive & called,
                ~positive & ~called,
                positive & ~called,
            ],
            axis=1,
        ).astype(float)
        self._positive = positive
        self._folds = roc_by_fold(positive, score, fold)
        is_probability = score.min() >= 0 and score.max() <= 1
        self._error = (score - positive) ** 2 if is_probability else score * np.nan

    def n_patients(self, patient: np.ndarray) -> dict[str, Any]:
        """Return of how many patients each share is, by its name."""
        return {
            "accuracy": len(np.unique(patient)),
            "sensitivity": len(np.unique(patient[self._positive])),
            "specificity": len(np.unique(patient[~self._positive])),
        }

    def count(self, weight: np.ndarray) -> np.ndarray:
        """Return `COUNTS`, shape (n_draws, 4)."""
        return weight @ self._cells

    def measure(self, weight: np.ndarray) -> np.ndarray:
        """Return `MEASURES`, shape (n_draws, 8)."""
        tp, fp, tn, fn = self.count(weight).T
        # Pairs of scans of one fold, all folds together.
        in_order, pairs = np.sum([one.pairs(weight) for one in self._folds], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
            measures = [
                (tp + tn) / (tp + fp + tn + fn),
                sensitivity,
                specificity,
                2 * tp / (2 * tp + fp + fn),
                in_order / pairs,
                (sensitivity + specificity) / 2,
                weight @ self._error / weight.sum(axis=1),
            ]
        true, called = tp + fn, tp + fp  # sums of codes 0 and 1, and of their squares
        sums = np.stack([true, called, true, called, tp], axis=1)
        measures.append(_kappa(sums, weight.sum(axis=1)))
        return np.stack(measures, axis=1)


class MulticlassTallies:
    """All classes together, then each class against the rest.

    Codes that are not `ordered` have no quadratic kappa over all classes.
    """

    def __init__(
        self, codes: np.ndarray, proba: np.ndarray, fold: np.ndarray, *, ordered: bool
    ):
        winner = proba.argmax(axis=1)
        unit = 1.0 if ordered else np.nan
        t, p = codes * unit, winner * unit
        self._moments = np.stack([t, p, t**2, p**2, t * p], axis=1)
        self._by_class = [
            Tallies(codes == k, score, winner == k, fold)
            for k, score in enumerate(proba.T)
        ]

    def n_patients(self, patient: np.ndarray) -> dict[str, Any]:
        """Return the numbers of `Tallies`; means over classes are no shares."""
        each = [one.n_patients(patient) for one in self._by_class]
        numbers = {name: [np.inf, *(one[name] for one in each)] for name in each[0]}
        numbers["accuracy"][0] = len(np.unique(patient))
        return {name: np.array(values) for name, values in numbers.items()}

    def count(self, weight: np.ndarray) -> np.ndarray:
        """Return `COUNTS`, shape (n_draws, 1 + n_classes, 4)."""
        counts = np.stack([tallies.count(weight) for tallies in self._by_class], axis=1)
        return np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1)

    def measure(self, weight: np.ndarray) -> np.ndarray:
        """Return `MEASURES`, shape (n_draws, 1 + n_classes, 8)."""
        each = np.stack([tallies.measure(weight) for tallies in self._by_class], axis=1)
        over_all = dict(zip(MEASURES, each.mean(axis=1).T, strict=True))
        right = self.count(weight)[:, 0, COUNTS.index("tp")]
        over_all["accuracy"] = right / weight.sum(axis=1)
        over_all["balanced_accuracy"] = over_all["sensitivity"]
        over_all["brier_score"] = over_all["brier_score"] * len(self._by_class)
        over_all["quadratic_kappa"] = _kappa(weight @ self._moments, weight.sum(axis=1))
        first = np.stack(list(over_all.values()), axis=1)
        return np.concatenate([first[:, np.newaxis], each], axis=1)


def _kappa(sums: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Compute quadratic-weighted kappa from sums over n scans.

    The columns are sums of true and predicted codes, of their squares and of their
    product. Observed and expected squared differences need no more.
    """
    t, p, tt, pp, tp = sums.T
    observed = n * (tt + pp - 2 * tp)
    expected = n * (tt + pp) - 2 * t * p
    kappa = np.full_like(expected, np.nan)  # where all scans are of one class
    np.divide(observed, expected, out=kappa, where=expected > 0)
    return 1 - kappa


class RegressionTallies:
    """True and predicted values ready to be compared under many weightings."""

    def __init__(self, true: np.ndarray, predicted: np.ndarray):
        error = predicted - true
        x, y = true - true.mean(), predicted - predicted.mean()
        self._terms = np.stack(
            [np.abs(error), error, error**2, x, y, x**2, y**2, x * y], axis=1
        )

    def measure(self, weight: np.ndarray) -> np.ndarray:
        """Return `REGRESSION_MEASURES`, shape (n_draws, 6)."""
        n = weight.sum(axis=1)
        means = (weight @ self._terms).T / n
        mae, bias, square, x, y, xx, yy, xy = means
        product = np.sqrt(_variance(x, xx) * _variance(y, yy))
        r = np.full_like(product, np.nan)  # where either is constant
        np.divide(xy - x * y, product, out=r, where=product > 0)
        with np.errstate(divide="ignore", invalid="ignore"):  # a single scan
            deviation = np.sqrt(_variance(bias, square) * n / (n - 1))
        reach = NormalDist().inv_cdf(0.975) * deviation
        measures = [
            r.clip(-1, 1),
            mae,
            np.sqrt(square),
            bias,
            bias - reach,
            bias + reach,
        ]
        return np.stack(measures, axis=1)


def _variance(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    variance = mean_square - mean**2
    return np.where(variance > _NO_VARIANCE * mean_square, variance, 0)
