"""Probabilities of classes that are ranges of TBS, from a predicted TBS."""

from typing import Any, Self

import numpy as np
from scipy.special import log_ndtr, logsumexp

from tbsclassify.labels import TBSLabeler


class TBSRanges:
    """The ranges of TBS that classes stand for.

    Parameters
    ----------
    thresholds : tuple of two floats
        Borders of the partially degraded range.
    class_of_range : ndarray of int of shape (3,)
        Class of the normal, partially degraded and degraded range; -1 if no scan is in
        the range.
    """

    def __init__(self, thresholds: tuple[float, float], class_of_range: np.ndarray):
        self.thresholds = thresholds
        self.class_of_range = class_of_range

    @classmethod
    def of_classes(
        cls, tbs: Any, codes: np.ndarray, classes: np.ndarray, thresholds: Any
    ) -> Self:
        """Find the ranges that each class stands for.

        Parameters
        ----------
        tbs : array-like of shape (n_scans,)
            TBS of each scan.
        codes : ndarray of int of shape (n_scans,)
            Class of each scan, as an index into `classes`.
        classes : ndarray of shape (n_classes,)
            Labels of the classes.
        thresholds : tuple of two floats
            As `TBSLabeler` takes them.

        Raises
        ------
        ValueError
            If values are not TBS; if scans of one range are of several classes, or
            the ranges of a class are not next to each other.
        """
        labeler = TBSLabeler(thresholds, scheme="three-class").fit(tbs)
        found = labeler.transform(tbs)
        if len(found) != len(codes):
            raise ValueError(
                f"Expected tbs to hold the value of each of {len(codes)} scans, got "
                f"{len(found)} values. Behind a step that adds or removes scans, "
                "values do not follow: resample first, and pass "
                "tbs[sampler.sample_indices_]."
            )
        counts = np.zeros((3, len(classes)), dtype=int)
        np.add.at(counts, (found, codes), 1)
        class_of_range = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
        wrong = np.flatnonzero(codes != class_of_range[found])
        if wrong.size:
            row = wrong[0]
            raise ValueError(
                "Expected tbs to agree with the classes in y, got TBS "
                f"{np.asarray(tbs, dtype=float)[row]:g} with class "
                f"{classes[codes[row]]} in row {row}: by "
                f"thresholds={tuple(thresholds)!r} it is "
                f"{labeler.class_names_[found[row]]}, as are scans of class "
                f"{classes[class_of_range[found[row]]]}. Make y by TBSLabeler, and "
                "give the classifier the labeler's thresholds."
            )
        normal, middle, degraded = class_of_range
        if normal == degraded != middle:
            raise ValueError(
                "Expected the classes in y to be ordered by TBS, got class "
                f"{classes[normal]} both above and below class {classes[middle]}. Make "
                "y by TBSLabeler."
            )
        return cls(tuple(thresholds), class_of_range)

    def log_proba(self, tbs: np.ndarray, std: float) -> np.ndarray:
        """Compute log-probabilities of the classes around predicted values.

        Parameters
        ----------
        tbs : ndarray of shape (n_scans,)
            Predicted values, around which the true ones are normally distributed.
        std : float
            Standard deviation of the true values.

        Returns
        -------
        log_proba : ndarray of shape (n_scans, n_classes)
            Accurate even for the smallest probabilities. A range without a class counts
            as impossible.
        """
        low, high = ((border - tbs) / std for border in self.thresholds)
        of_range = np.stack([log_ndtr(-high), _log_between(low, high), log_ndtr(low)])
        of_class = [
            logsumexp(of_range[self.class_of_range == k], axis=0)
            for k in range(self.class_of_range.max() + 1)
        ]
        return np.transpose(of_class - logsumexp(of_class, axis=0))


def _log_between(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Compute the logarithm of the normal probability of `low` to `high`."""
    # Use the side on which both tails are small, so that their difference is accurate.
    above = low > 0
    near = log_ndtr(np.where(above, -low, high))
    far = log_ndtr(np.where(above, -high, low))
    return near + np.log1p(-np.exp(far - near))
