"""The paper's table row from labels and scores, with patient-level intervals."""

import numpy as np
import pandas as pd
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target

from tbsclassify._validation import check_groups, check_number, check_random_seed

COUNTS = ("tp", "fp", "tn", "fn")
MEASURES = (
    "accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "roc_auc",
    "balanced_accuracy",
)
# Replicates are drawn in blocks, so that memory stays at about this many numbers.
_BLOCK_SIZE = 4_000_000


def classification_row(
    y_true,
    y_score,
    *,
    groups=None,
    threshold=0.5,
    pos_label=1,
    n_bootstrap=2000,
    confidence_level=0.95,
    random_state=None,
):
    """Score a binary classifier as one row of a results table.

    The columns are those of the paper's Tables III to V [1]_, with two
    corrections: the area under the ROC curve is computed from the scores (in
    the paper's Table IV it is that of hard decisions, which is balanced
    accuracy and stands here under its own name), and every measure has a
    percentile bootstrap interval [2]_.

    Parameters
    ----------
    y_true : array-like of shape (n_scans,)
        True classes, two at the most.
    y_score : array-like of shape (n_scans,) or (n_scans, 2)
        Probability of the positive class, or what `predict_proba` gives, its
        second column being the positive class.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. The bootstrap draws whole patients, since scans of
        one patient are not independent. None takes each scan for a patient of
        its own.
    threshold : float, default=0.5
        A scan is called positive where its score is *above* this value, which
        at 0.5 is what `predict` does.
    pos_label : int, str or bool, default=1
        The class that counts as positive: degraded, where `TBSLabeler` made
        the labels.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals.
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap.

    Returns
    -------
    row : pandas.Series
        ``n_scans``, ``n_patients``, ``tp``, ``fp``, ``tn``, ``fn``, and for
        ``accuracy``, ``sensitivity``, ``specificity``, ``f1``, ``roc_auc`` and
        ``balanced_accuracy`` the value under the name and the interval under
        the name with ``_low`` and ``_high``. A measure without meaning, such as
        the sensitivity where no scan is positive, is NaN.

    Raises
    ------
    ValueError
        If lengths differ, a score is missing, there are more than two classes,
        or `pos_label` is not a class of a two-class `y_true`.

    See Also
    --------
    format_table : Lay rows out for reading.

    Notes
    -----
    Replicates in which a measure has no meaning (a draw without a positive
    patient) are left out of that measure's interval.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Tables III-V.
    .. [2] Efron B, Tibshirani RJ, "An Introduction to the Bootstrap", chapter
       13, 1993.

    Examples
    --------
    >>> from tbsclassify.metrics import classification_row
    >>> row = classification_row(
    ...     [0, 0, 0, 1, 1], [0.1, 0.3, 0.6, 0.4, 0.9], random_state=0
    ... )
    >>> row[["tp", "fp", "tn", "fn"]].astype(int).tolist()
    [1, 1, 2, 1]
    >>> print(f"{row['roc_auc']:.3f}")
    0.833
    """
    positive, score = _check_scores(y_true, y_score, pos_label)
    patient, n_patients = check_groups(groups, len(positive))
    check_number(threshold, "threshold")
    check_number(n_bootstrap, "n_bootstrap", low=0, integer=True)
    check_number(
        confidence_level, "confidence_level", low=0, high=1, inclusive=(False, False)
    )
    tallies = _Tallies(positive, score, threshold)
    counts, measures = tallies.evaluate(np.ones((1, len(positive))))
    row = {"n_scans": len(positive), "n_patients": n_patients}
    row |= dict(zip(COUNTS, counts[0].astype(int).tolist(), strict=True))

    low = high = np.full(len(MEASURES), np.nan)
    if n_bootstrap:
        rng = np.random.default_rng(check_random_seed(random_state))
        replicates = _bootstrap(tallies, patient, n_patients, n_bootstrap, rng)
        tail = (1 - confidence_level) / 2
        defined = ~np.isnan(replicates).all(axis=0)
        low, high = low.copy(), high.copy()
        low[defined], high[defined] = np.nanquantile(
            replicates[:, defined], [tail, 1 - tail], axis=0
        )
    for i, name in enumerate(MEASURES):
        row[name] = measures[0, i]
        if n_bootstrap:
            row[f"{name}_low"], row[f"{name}_high"] = low[i], high[i]
    return pd.Series(row, dtype=object).infer_objects()


def format_table(rows, *, decimals=3):
    """Lay rows of `classification_row` out for reading.

    Parameters
    ----------
    rows : dict of str to pandas.Series
        A row for each model, by the model's name.
    decimals : int, default=3
        Digits after the point.

    Returns
    -------
    table : pandas.DataFrame of str
        A row for each model, a column for each measure, written as
        ``value [low, high]`` where the interval is known.

    Examples
    --------
    >>> from tbsclassify.metrics import classification_row, format_table
    >>> row = classification_row([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], n_bootstrap=0)
    >>> print(format_table({"a model": row}, decimals=2)[["tp", "f1", "roc_auc"]])
            tp    f1 roc_auc
    a model  1  0.50    0.75
    """

    def cell(row, name):
        value = f"{row[name]:.{decimals}f}"
        if f"{name}_low" not in row:
            return value
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return f"{value} [{low:.{decimals}f}, {high:.{decimals}f}]"

    return pd.DataFrame(
        {
            model: {name: str(int(row[name])) for name in COUNTS}
            | {name: cell(row, name) for name in MEASURES}
            for model, row in rows.items()
        }
    ).T


def _check_scores(y_true, y_score, pos_label):
    y_true = column_or_1d(y_true)
    y_score = check_array(
        y_score, ensure_2d=False, dtype=np.float64, input_name="y_score"
    )
    if y_score.ndim == 2 and y_score.shape[1] == 2:
        y_score = y_score[:, 1]
    if y_score.shape != y_true.shape:
        raise ValueError(
            f"y_score has shape {y_score.shape} for {len(y_true)} true labels, but "
            f"({len(y_true)},) or ({len(y_true)}, 2) is wanted."
        )
    classes = np.unique(y_true)
    if type_of_target(y_true) not in ("binary", "multiclass") or len(classes) > 2:
        raise ValueError(
            f"y_true holds {len(classes)} different values, but two classes are "
            "wanted. Score one class against the rest: y_true == label, y_score[:, i]."
        )
    if len(classes) == 2 and pos_label not in classes:
        raise ValueError(
            f"pos_label={pos_label!r} is not a class of y_true, whose classes are "
            f"{classes.tolist()}."
        )
    return y_true == pos_label, y_score


class _Tallies:
    """Scans sorted by score, ready to be counted under many weightings."""

    def __init__(self, positive, score, threshold):
        called = score > threshold
        self._cells = np.stack(
            [
                positive & called,
                ~positive & called,
                ~positive & ~called,
                positive & ~called,
            ],
            axis=1,
        ).astype(float)
        # Scans with equal scores share a step of the ROC curve.
        self._order = np.argsort(score, kind="stable")
        self._steps = np.flatnonzero(np.diff(score[self._order], prepend=np.nan) != 0)
        self._positive = positive[self._order]

    def evaluate(self, weight):
        """Count and measure for each row of weights, shape (n_draws, n_scans)."""
        counts = weight @ self._cells
        tp, fp, tn, fn = counts.T
        with np.errstate(divide="ignore", invalid="ignore"):
            sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
            measures = [
                (tp + tn) / counts.sum(axis=1),
                sensitivity,
                specificity,
                2 * tp / (2 * tp + fp + fn),
                self._roc_auc(weight[:, self._order]),
                (sensitivity + specificity) / 2,
            ]
        return counts, np.stack(measures, axis=1)

    def _roc_auc(self, weight):
        """Share of positive-negative pairs in the right order, ties as halves."""
        positive = np.add.reduceat(weight * self._positive, self._steps, axis=1)
        negative = np.add.reduceat(weight * ~self._positive, self._steps, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return (positive * below).sum(axis=1) / pairs


def _bootstrap(tallies, patient, n_patients, n_bootstrap, rng):
    """Measures of patients drawn with replacement, (n_bootstrap, n_measures)."""
    block = max(1, _BLOCK_SIZE // len(patient))
    share = np.full(n_patients, 1 / n_patients)
    return np.concatenate(
        [
            tallies.evaluate(
                rng.multinomial(
                    n_patients, share, size=min(block, n_bootstrap - start)
                )[:, patient].astype(float)
            )[1]
            for start in range(0, n_bootstrap, block)
        ]
    )
