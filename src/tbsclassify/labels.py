"""From trabecular bone scores to ordered classes."""

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_is_fitted

from tbsclassify._validation import check_option

# Borders of the partially degraded range in clinical use. Both belong to the range.
TBS_THRESHOLDS = (1.200, 1.350)
# No TBS outside this range has been reported for a patient.
TBS_RANGE = (0.5, 2.0)

_CLASS_NAMES = {
    "binary": ("normal", "degraded"),
    "three-class": ("normal", "partially degraded", "degraded"),
}


class TBSLabeler(TransformerMixin, BaseEstimator):
    """Turn trabecular bone scores into classes ordered by severity.

    A transformer of the *target*: it turns the TBS values that come with the scans
    into the ``y`` of a classifier. In the binary scheme the positive class is 1,
    degraded, so ``scoring="f1"`` means what the literature reports.

    Parameters
    ----------
    thresholds : tuple of two floats, default=(1.200, 1.350)
        Borders of the partially degraded range, in TBS units and increasing.
        Both borders belong to the range: degraded is below the first, normal
        above the second. The default is the range in clinical use [1]_.
    scheme : {"binary", "three-class"}, default="binary"
        ``"binary"`` gives 0 (normal) and 1 (degraded); ``"three-class"`` gives
        0 (normal), 1 (partially degraded) and 2 (degraded).
    partially_degraded : {"normal", "degraded"}, default="normal"
        The class that the binary scheme puts the middle range into. To leave
        the range out instead, select scans with `partially_degraded_mask`.

    Attributes
    ----------
    class_names_ : ndarray of str of shape (n_classes,)
        Name of each class, at the index that `transform` gives it.

    See Also
    --------
    tbsclassify.datasets.load_scans : Reads TBS values together with the scans.

    References
    ----------
    .. [1] Silva BC et al., "Trabecular bone score: a noninvasive analytical
       method based upon the DXA image", J Bone Miner Res 29(3), 2014.

    Examples
    --------
    >>> from tbsclassify import TBSLabeler
    >>> TBSLabeler().fit_transform([1.41, 1.35, 1.27, 1.20, 1.199])
    array([0, 0, 0, 0, 1])
    >>> labeler = TBSLabeler(scheme="three-class").fit([1.41, 1.27, 1.10])
    >>> labeler.class_names_[labeler.transform([1.41, 1.27, 1.10])].tolist()
    ['normal', 'partially degraded', 'degraded']
    """

    def __init__(
        self,
        thresholds: tuple[float, float] = TBS_THRESHOLDS,
        scheme: Literal["binary", "three-class"] = "binary",
        partially_degraded: Literal["normal", "degraded"] = "normal",
    ) -> None:
        self.thresholds = thresholds
        self.scheme = scheme
        self.partially_degraded = partially_degraded

    def fit(self, tbs: ArrayLike, y: Any = None) -> Self:
        """Check the parameters and the scores.

        Parameters
        ----------
        tbs : array-like of shape (n_scans,)
            Trabecular bone scores.
        y : None
            Ignored, there for scikit-learn's convention.

        Returns
        -------
        self : TBSLabeler
            The fitted labeler.
        """
        check_option(self.scheme, "scheme", _CLASS_NAMES)
        check_option(
            self.partially_degraded, "partially_degraded", ("normal", "degraded")
        )
        self._check_thresholds()
        check_tbs(tbs)
        self.class_names_ = np.array(_CLASS_NAMES[self.scheme])
        return self

    def transform(self, tbs: ArrayLike) -> np.ndarray:
        """Label scores.

        Parameters
        ----------
        tbs : array-like of shape (n_scans,)
            Trabecular bone scores.

        Returns
        -------
        y : ndarray of int of shape (n_scans,)
            Class of each scan, an index into `class_names_`.

        Raises
        ------
        ValueError
            If a score is missing, infinite, not positive or above 2, as values in
            per cent are; the message names the indices.
        """
        check_is_fitted(self)
        values = check_tbs(tbs)
        lower, upper = self._check_thresholds()
        degraded, below_normal = values < lower, values <= upper
        if self.scheme == "three-class":
            return degraded.astype(np.intp) + below_normal
        if self.partially_degraded == "degraded":
            return below_normal.astype(np.intp)
        return degraded.astype(np.intp)

    def partially_degraded_mask(self, tbs: ArrayLike) -> np.ndarray:
        """Tell which scores lie in the partially degraded range.

        Parameters
        ----------
        tbs : array-like of shape (n_scans,)
            Trabecular bone scores.

        Returns
        -------
        mask : ndarray of bool of shape (n_scans,)
            True from the lower to the upper threshold, both included.

        Examples
        --------
        >>> from tbsclassify import TBSLabeler
        >>> TBSLabeler().partially_degraded_mask([1.41, 1.35, 1.20, 1.10])
        array([False,  True,  True, False])
        """
        values = check_tbs(tbs)
        lower, upper = self._check_thresholds()
        return (lower <= values) & (values <= upper)

    def _check_thresholds(self) -> np.ndarray:
        thresholds = np.asarray(self.thresholds, dtype=float)
        if (
            thresholds.shape != (2,)
            or not np.isfinite(thresholds).all()
            or not 0 < thresholds[0] < thresholds[1] <= TBS_RANGE[1]
        ):
            raise ValueError(
                "Expected thresholds to be two increasing positive TBS values, such as "
                f"(1.200, 1.350), got {self.thresholds!r}."
            )
        return thresholds

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.positive_only = True
        return tags


def check_tbs(tbs: ArrayLike, n_scans: int | None = None) -> np.ndarray:
    """Return TBS values as floats, one for each scan.

    Raises
    ------
    ValueError
        If a value is missing, infinite, not positive or above 2, or there are not
        `n_scans` of them.
    """
    if hasattr(tbs, "columns"):
        raise ValueError(
            "Expected tbs to hold one value a scan, got a table. Pass its column, such "
            "as scans.tbs."
        )
    shape = np.shape(tbs)
    if len(shape) != 1 and shape[1:] != (1,):
        raise ValueError(
            f"Expected tbs to hold one value a scan, got {_described(tbs, shape)}. "
            "Pass an array of shape (n_scans,)."
        )
    values = column_or_1d(tbs, dtype=np.float64)
    if n_scans is not None and len(values) != n_scans:
        raise ValueError(
            f"Expected tbs to hold the value of each of {n_scans} scans, got "
            f"{len(values)} entries."
        )
    dtype = str(getattr(tbs, "dtype", "")).lower().rpartition(".")[2]
    if dtype in ("float16", "float32"):
        # By their printed digits, since 1.35 in single precision lies above 1.35.
        values = values.astype(dtype).astype(str).astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if bad.size:
        raise ValueError(
            f"tbs holds {bad.size} value(s) that are missing, infinite or not "
            f"positive, at index {_shown(values, bad)}. Leave these scans out, for "
            "instance with keep = np.isfinite(tbs)."
        )
    large = np.flatnonzero(values > TBS_RANGE[1])
    if large.size:
        raise ValueError(
            "Expected tbs in TBS units such as 1.25, got "
            f"{values[large[0]]:g}: {large.size} value(s) above {TBS_RANGE[1]}, at "
            f"index {_shown(values, large)}. Divide values in per cent by 100."
        )
    return values


def _described(tbs: Any, shape: tuple[int, ...]) -> str:
    return f"an array of shape {shape}" if shape else repr(tbs)


def _shown(values: np.ndarray, indices: np.ndarray) -> str:
    shown = ", ".join(f"{i} ({values[i]:g})" for i in indices[:10])
    return shown + (f" and {indices.size - 10} more" if indices.size > 10 else "")
