"""Rows of results tables from labels and scores, with patient-level intervals."""

import numpy as np
import pandas as pd
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import type_of_target

from tbsclassify._validation import (
    check_confidence_level,
    check_folds,
    check_groups,
    check_number,
    check_random_seed,
)

COUNTS = ("tp", "fp", "tn", "fn")
MEASURES = (
    "accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "roc_auc",
    "balanced_accuracy",
    "brier_score",
)
# Replicates are drawn in blocks, so that memory stays at about this many numbers.
_BLOCK_SIZE = 4_000_000


def classification_row(
    y_true,
    y_score,
    *,
    groups=None,
    folds=None,
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
    folds : array-like of shape (n_scans,), default=None
        Fold of a cross-validation that each scan was tested in. Scores of
        different folds are of different fits and not on one scale, so that ROC
        AUC then compares scans of the same fold only; pooled, a classifier
        that always says how common a class was in training falls below 0.5.
    threshold : float or array-like of shape (n_scans,), default=0.5
        A scan is called positive where its score is *above* this value, which
        at 0.5 is what `predict` does. An array gives each scan its own, such as
        that of the fold it was tested in.
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
        ``accuracy``, ``sensitivity``, ``specificity``, ``f1``, ``roc_auc``,
        ``balanced_accuracy`` and ``brier_score`` the value under the name and
        the interval under the name with ``_low`` and ``_high``. A measure
        without meaning is NaN, such as the sensitivity where no scan is
        positive, or the Brier score where scores are not all from 0 to 1.

    Raises
    ------
    ValueError
        If lengths differ, a score is missing, there are more than two classes,
        or `pos_label` is not a class of a two-class `y_true`.

    See Also
    --------
    multiclass_table : The same for more than two classes.
    difference_row : How far two classifiers are apart.
    format_table : Lay rows out for reading.

    Notes
    -----
    Replicates in which a measure has no meaning (a draw without a positive
    patient) are left out of that measure's interval.

    A scan may come several times, each time with another score, as repeated
    cross-validation gives them. Give `groups` then: a patient is drawn with all
    rows, so that repetition does not narrow the interval. Scores are not to be
    averaged over the repeats first, since that scores an ensemble, which is
    better than the model is.

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
    called = score > _check_threshold(threshold, len(score))
    tallies = _Tallies(positive, score, called, check_folds(folds, len(score)))
    row, patient = _sizes(groups, len(score))
    weight = np.ones((1, len(score)))
    row |= dict(zip(COUNTS, tallies.count(weight)[0].astype(int).tolist(), strict=True))
    row |= _with_intervals(
        tallies.measure, patient, n_bootstrap, confidence_level, random_state
    )
    return pd.Series(row, dtype=object).infer_objects()


def multiclass_table(
    y_true,
    y_proba,
    *,
    classes=None,
    groups=None,
    folds=None,
    n_bootstrap=2000,
    confidence_level=0.95,
    random_state=None,
):
    """Score a classifier of several classes, over all of them and each by itself.

    Parameters
    ----------
    y_true : array-like of shape (n_scans,)
        True classes.
    y_proba : array-like of shape (n_scans, n_classes)
        Probability of each class.
    classes : array-like of shape (n_classes,), default=None
        Class of each column of `y_proba`; None takes the classes of `y_true` in
        sorted order, as `classes_` of a classifier has them.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan; see `classification_row`.
    folds : array-like of shape (n_scans,), default=None
        Fold that each scan was tested in; see `classification_row`.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals.
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap.

    Returns
    -------
    table : pandas.DataFrame
        The columns of `classification_row`. The first row, ``"macro"``, is over
        all classes: accuracy is the share of scans put into their class, the
        Brier score the sum of that of the classes, sensitivity, specificity, F1
        and ROC AUC are their mean over the classes, balanced accuracy is mean
        sensitivity, and the counts are sums, ``tp`` being the scans put into
        their class. A row for each class follows, that class against the rest.

    Raises
    ------
    ValueError
        If `y_proba` has not a column for each class, or a probability is
        missing.

    See Also
    --------
    classification_row : The same for two classes.

    Notes
    -----
    The predicted class is the most probable one. Definitions of the first row
    are scikit-learn's: macro averages, one-vs-rest for the ROC.

    Examples
    --------
    >>> from tbsclassify.metrics import multiclass_table
    >>> proba = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3], [0.0, 0.3, 0.7]]
    >>> table = multiclass_table([0, 1, 2, 2], proba, n_bootstrap=0)
    >>> table[["tp", "fp", "sensitivity", "roc_auc"]].round(3)
           tp  fp  sensitivity  roc_auc
    macro   3   1        0.833    1.0
    0       1   0        1.000    1.0
    1       1   1        1.000    1.0
    2       1   0        0.500    1.0
    """
    codes, proba, classes = _check_probabilities(y_true, y_proba, classes)
    tallies = _MulticlassTallies(codes, proba, check_folds(folds, len(codes)))
    sizes, patient = _sizes(groups, len(codes))
    counts = tallies.count(np.ones((1, len(codes))))[0].astype(int)
    columns = _with_intervals(
        tallies.measure, patient, n_bootstrap, confidence_level, random_state
    )
    return pd.DataFrame(
        sizes | dict(zip(COUNTS, counts.T, strict=True)) | columns,
        index=["macro", *classes.tolist()],
    )


def difference_row(
    y_true,
    y_score,
    other_score,
    *,
    groups=None,
    folds=None,
    thresholds=(0.5, 0.5),
    pos_label=1,
    classes=None,
    n_bootstrap=2000,
    confidence_level=0.95,
    random_state=None,
):
    """Compute how much better one classifier is than another on the same scans.

    Both are scored on the same bootstrap draws of patients, so that what makes
    a draw easy or hard for both cancels out. An interval without zero tells the
    two apart; two overlapping intervals of `classification_row` do not say that
    they are equal.

    Parameters
    ----------
    y_true : array-like of shape (n_scans,)
        True classes.
    y_score, other_score : array-like of shape (n_scans,) or (n_scans, n_classes)
        Scores of the two classifiers, as in `classification_row` for two
        classes and as in `multiclass_table` for more.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan; see `classification_row`.
    folds : array-like of shape (n_scans,), default=None
        Fold that each scan was tested in; see `classification_row`.
    thresholds : tuple of two floats or array-likes, default=(0.5, 0.5)
        Threshold of each classifier, where there are two classes.
    pos_label : int, str or bool, default=1
        The class that counts as positive, where there are two.
    classes : array-like of shape (n_classes,), default=None
        Class of each column of the scores, where there are more than two.
    n_bootstrap : int, default=2000
        Number of bootstrap replicates; 0 leaves the intervals out.
    confidence_level : float, default=0.95
        Confidence level of the intervals. Where one classifier is compared with
        k others, ``1 - 0.05 / k`` keeps all intervals right at once with 95 %
        confidence (Bonferroni).
    random_state : int, RandomState or None, default=None
        Seed of the bootstrap.

    Returns
    -------
    row : pandas.Series
        ``n_scans``, ``n_patients``, and for each measure the value of `y_score`
        less that of `other_score`, with ``_low`` and ``_high`` of its interval.
        For the Brier score *less* is better.

    See Also
    --------
    classification_row : The measures of one classifier.

    Examples
    --------
    >>> from tbsclassify.metrics import difference_row
    >>> row = difference_row(
    ...     [0, 0, 0, 1, 1],
    ...     [0.1, 0.3, 0.2, 0.4, 0.9],
    ...     [0.1, 0.3, 0.6, 0.4, 0.9],
    ...     random_state=0,
    ... )
    >>> print(f"{row['roc_auc']:.3f}")
    0.167
    """
    ours, others = (
        _headline(y_true, score, threshold, folds, pos_label, classes)
        for score, threshold in zip((y_score, other_score), thresholds, strict=True)
    )
    row, patient = _sizes(groups, len(y_true))
    row |= _with_intervals(
        lambda weight: ours(weight) - others(weight),
        patient,
        n_bootstrap,
        confidence_level,
        random_state,
    )
    return pd.Series(row, dtype=object).infer_objects()


def format_table(rows, *, decimals=3):
    """Lay rows of results out for reading.

    Parameters
    ----------
    rows : dict of str to pandas.Series
        A row of `classification_row` or `multiclass_table` for each model, by
        the model's name.
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
            "wanted. For more there is multiclass_table."
        )
    if len(classes) == 2 and pos_label not in classes:
        raise ValueError(
            f"pos_label={pos_label!r} is not a class of y_true, whose classes are "
            f"{classes.tolist()}."
        )
    return y_true == pos_label, y_score


def _check_probabilities(y_true, y_proba, classes):
    """Return the code of each true class, the probabilities and the classes."""
    y_true = column_or_1d(y_true)
    y_proba = check_array(y_proba, dtype=np.float64, input_name="y_proba")
    classes = np.unique(y_true) if classes is None else column_or_1d(classes)
    if y_proba.shape != (len(y_true), len(classes)):
        raise ValueError(
            f"y_proba has shape {y_proba.shape} for {len(y_true)} true labels and "
            f"{len(classes)} classes, but ({len(y_true)}, {len(classes)}) is wanted. "
            "Name the class of each column by classes."
        )
    match = y_true[:, np.newaxis] == classes
    if not match.any(axis=1).all():
        raise ValueError(
            f"y_true holds classes that are not in classes={classes.tolist()!r}."
        )
    return match.argmax(axis=1), y_proba, classes


def _check_threshold(threshold, n_scans):
    if np.ndim(threshold) == 0:
        return check_number(threshold, "threshold")
    threshold = check_array(
        threshold, ensure_2d=False, dtype=np.float64, input_name="threshold"
    )
    if threshold.shape != (n_scans,):
        raise ValueError(
            f"threshold has shape {threshold.shape} for {n_scans} scans, but one "
            f"number or shape ({n_scans},) is wanted."
        )
    return threshold


def _headline(y_true, y_score, threshold, folds, pos_label, classes):
    """Return the function that measures a classifier of two or more classes."""
    fold = check_folds(folds, len(y_true))
    if classes is not None or (np.ndim(y_score) == 2 and np.shape(y_score)[1] > 2):
        codes, proba, _ = _check_probabilities(y_true, y_score, classes)
        tallies = _MulticlassTallies(codes, proba, fold)
        return lambda weight: tallies.measure(weight)[:, 0]
    positive, score = _check_scores(y_true, y_score, pos_label)
    called = score > _check_threshold(threshold, len(score))
    return _Tallies(positive, score, called, fold).measure


class _Tallies:
    """Scans sorted by score, ready to be counted under many weightings.

    A weighting is how often each scan was drawn. Weights have shape
    (n_draws, n_scans).
    """

    def __init__(self, positive, score, called, fold):
        self._cells = np.stack(
            [
                positive & called,
                ~positive & called,
                ~positive & ~called,
                positive & ~called,
            ],
            axis=1,
        ).astype(float)
        self._folds = []
        for k in np.unique(fold):
            rows = np.flatnonzero(fold == k)
            rows = rows[np.argsort(score[rows], kind="stable")]
            # Scans with equal scores share a step of the ROC curve.
            steps = np.flatnonzero(np.diff(score[rows], prepend=np.nan) != 0)
            self._folds.append((rows, steps, positive[rows]))
        is_probability = score.min() >= 0 and score.max() <= 1
        self._error = (score - positive) ** 2 if is_probability else score * np.nan

    def count(self, weight):
        """Return true and false positives and negatives, shape (n_draws, 4)."""
        return weight @ self._cells

    def measure(self, weight):
        """Return `MEASURES`, shape (n_draws, 7)."""
        tp, fp, tn, fn = self.count(weight).T
        with np.errstate(divide="ignore", invalid="ignore"):
            sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
            measures = [
                (tp + tn) / (tp + fp + tn + fn),
                sensitivity,
                specificity,
                2 * tp / (2 * tp + fp + fn),
                self._roc_auc(weight),
                (sensitivity + specificity) / 2,
                weight @ self._error / weight.sum(axis=1),
            ]
        return np.stack(measures, axis=1)

    def _roc_auc(self, weight):
        """Share of a fold's positive-negative pairs in order, ties as halves."""
        in_order = pairs = np.zeros(len(weight))
        for rows, steps, is_positive in self._folds:
            drawn = weight[:, rows]
            positive = np.add.reduceat(drawn * is_positive, steps, axis=1)
            negative = np.add.reduceat(drawn * ~is_positive, steps, axis=1)
            below = np.cumsum(negative, axis=1) - negative / 2
            in_order = in_order + (positive * below).sum(axis=1)
            pairs = pairs + positive.sum(axis=1) * negative.sum(axis=1)
        return in_order / pairs


class _MulticlassTallies:
    """Each class against the rest, and before them all classes together."""

    def __init__(self, codes, proba, fold):
        winner = proba.argmax(axis=1)
        self._by_class = [
            _Tallies(codes == k, score, winner == k, fold)
            for k, score in enumerate(proba.T)
        ]

    def count(self, weight):
        """Return counts, shape (n_draws, 1 + n_classes, 4)."""
        counts = np.stack([tallies.count(weight) for tallies in self._by_class], axis=1)
        return np.concatenate([counts.sum(axis=1, keepdims=True), counts], axis=1)

    def measure(self, weight):
        """Return `MEASURES`, shape (n_draws, 1 + n_classes, 7)."""
        each = np.stack([tallies.measure(weight) for tallies in self._by_class], axis=1)
        over_all = dict(zip(MEASURES, each.mean(axis=1).T, strict=True))
        right = self.count(weight)[:, 0, COUNTS.index("tp")]
        over_all["accuracy"] = right / weight.sum(axis=1)
        over_all["balanced_accuracy"] = over_all["sensitivity"]
        over_all["brier_score"] = over_all["brier_score"] * len(self._by_class)
        first = np.stack(list(over_all.values()), axis=1)
        return np.concatenate([first[:, np.newaxis], each], axis=1)


def _sizes(groups, n_scans):
    patient, n_patients = check_groups(groups, n_scans)
    return {"n_scans": n_scans, "n_patients": n_patients}, patient


def _with_intervals(measure, patient, n_bootstrap, confidence_level, random_state):
    """Return each measure, and its interval where there are replicates.

    `measure` is a function of weights that gives an array whose first axis is
    the draws and whose last one is `MEASURES`.
    """
    check_number(n_bootstrap, "n_bootstrap", low=0, integer=True)
    check_confidence_level(confidence_level)
    parts = {"": measure(np.ones((1, len(patient))))[0]}
    if n_bootstrap:
        rng = np.random.default_rng(check_random_seed(random_state))
        replicates = _bootstrap(measure, patient, n_bootstrap, rng)
        tail = (1 - confidence_level) / 2
        limits = np.full((2, *replicates.shape[1:]), np.nan)
        defined = ~np.isnan(replicates).all(axis=0)
        limits[:, defined] = np.nanquantile(
            replicates[:, defined], [tail, 1 - tail], axis=0
        )
        parts |= {"_low": limits[0], "_high": limits[1]}
    return {
        name + suffix: values[..., i][()]  # of no dimension: a number
        for i, name in enumerate(MEASURES)
        for suffix, values in parts.items()
    }


def _bootstrap(measure, patient, n_bootstrap, rng):
    """Measure patients drawn with replacement; the first axis is the draws."""
    n_patients = patient.max() + 1
    block = max(1, _BLOCK_SIZE // len(patient))
    share = np.full(n_patients, 1 / n_patients)
    return np.concatenate(
        [
            measure(
                rng.multinomial(
                    n_patients, share, size=min(block, n_bootstrap - start)
                )[:, patient].astype(float)
            )
            for start in range(0, n_bootstrap, block)
        ]
    )
