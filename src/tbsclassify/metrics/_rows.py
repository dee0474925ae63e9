"""Rows of results tables from labels and scores, with patient-level intervals."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from tbsclassify._scores import check_scores, scores_of_class
from tbsclassify._validation import check_folds, check_groups, check_number
from tbsclassify.metrics._bootstrap import widen_where_alike, with_intervals
from tbsclassify.metrics._tallies import (
    COUNTS,
    MEASURES,
    MulticlassTallies,
    Tallies,
)


def classification_row(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    threshold: float | ArrayLike = 0.5,
    pos_label: int | str | bool = 1,
    classes: ArrayLike | None = None,
    n_bootstrap: int = 2000,
    confidence_level: float = 0.95,
    random_state: np.random.RandomState | int | None = None,
) -> pd.Series:
    """Score a binary classifier as one row of a results table.

    The columns are those of the paper's Tables III to V [1]_, with two
    corrections. The area under the ROC curve is computed from the scores; in the
    paper's Table IV it is that of hard decisions, which is balanced accuracy and
    has a column of its own here. And every measure has a percentile bootstrap
    interval [2]_.

    Parameters
    ----------
    y_true : array-like of shape (n_scans,)
        True classes, two at the most.
    y_score : array-like of shape (n_scans,) or (n_scans, 2)
        Probability of the positive class; or the output of `predict_proba`, of
        which the column of `pos_label` is taken.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. The bootstrap draws whole patients, because scans of one
        patient are not independent. With None, each scan is a patient of its own.
    folds : array-like of shape (n_scans,), default=None
        Fold of a cross-validation that each scan was tested in. Scores of
        different folds come from different fits and are not on one scale.
        With `folds`, ROC AUC compares only scans of the same fold. Without them, a
        classifier that always predicts the share of a class in training falls
        below 0.5.
    threshold : float or array-like of shape (n_scans,), default=0.5
        A scan counts as positive if its score is *above* this value, as in `predict`
        at 0.5. An array gives each scan its own threshold, such as that of the fold it
        was tested in.
    pos_label : int, str or bool, default=1
        The class that counts as positive: degraded, where `TBSLabeler` made
        the labels.
    classes : array-like of shape (2,), default=None
        Class of each column of `y_score`, such as the estimator's `classes_`.
        None takes the names of a table's columns, where these are the classes, or
        else the classes of `y_true` in sorted order.
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
        ``balanced_accuracy``, ``brier_score`` and ``quadratic_kappa`` the value
        under the name and the interval under the name with ``_low`` and
        ``_high``. The last, for two classes, is Cohen's kappa. A measure that is
        not defined is NaN, such as the sensitivity where no scan is positive, or
        the Brier score where scores are not all from 0 to 1.

    Raises
    ------
    ValueError
        If lengths differ, a label or a score is missing, there are more than two
        classes, `pos_label` is not one of them, or scores have two columns and
        `y_true` one class, so that `classes` must be given.

    See Also
    --------
    multiclass_table : The same for more than two classes.
    difference_row : How far two classifiers are apart.
    format_table : Format rows for reading.
    regression_row : The measures of predicted values.
    tbsclassify.plotting.RocIntervalDisplay : The area as a picture.

    Notes
    -----
    Replicates in which a measure is not defined (a draw without a positive
    patient) are left out of that measure's interval.

    Where all scans are alike, such as no degraded scan found, every draw is the same.
    An accuracy, sensitivity or specificity of 0 or 1 has the exact interval of Clopper
    and Pearson for its number of patients instead [3]_. F1 and areas keep an interval
    without width, which is too narrow.

    Repeated cross-validation gives several rows for each scan, each with another
    score. Pass `groups` then: a patient is drawn with all rows, so that repetition
    does not narrow the interval. Do not average the scores over the repeats first:
    that would score an ensemble of the fits, which is better than the model.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Tables III-V.
    .. [2] Efron B, Tibshirani RJ, "An Introduction to the Bootstrap", chapter
       13, 1993.
    .. [3] Clopper CJ, Pearson ES, "The use of confidence or fiducial limits
       illustrated in the case of the binomial", Biometrika 26(4), 1934.

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
    tallies = _binary_tallies(y_true, y_score, threshold, folds, pos_label, classes)
    row, patient = _sizes(groups, np.shape(y_score)[0])
    weight = np.ones((1, len(patient)))
    row |= dict(zip(COUNTS, tallies.count(weight)[0].astype(int).tolist(), strict=True))
    row |= with_intervals(
        tallies.measure, MEASURES, patient, n_bootstrap, confidence_level, random_state
    )
    widen_where_alike(row, tallies.n_patients(patient), confidence_level)
    return pd.Series(row, dtype=object).infer_objects()


def multiclass_table(
    y_true: ArrayLike,
    y_proba: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    n_bootstrap: int = 2000,
    confidence_level: float = 0.95,
    random_state: np.random.RandomState | int | None = None,
) -> pd.DataFrame:
    """Score a classifier of several classes, over all classes and for each one.

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
        all classes. Accuracy is the share of scans put into their class. The
        Brier score is the sum of those of the classes. Sensitivity, specificity,
        F1 and ROC AUC are means over the classes, and balanced accuracy is mean
        sensitivity. Counts are sums; ``tp`` counts the scans put into their
        class. ``quadratic_kappa`` is Cohen's kappa with quadratic weights [1]_:
        agreement beyond chance, in which a scan that is two classes off counts
        four times as much as one that is one class off. A row for each class
        against the rest follows.

    Raises
    ------
    ValueError
        If `y_proba` does not have a column for each class, or a label or a
        probability is missing.

    See Also
    --------
    classification_row : The same for two classes.

    Notes
    -----
    The predicted class is the most probable one. Definitions of the first row
    are scikit-learn's: macro averages, one-vs-rest for the ROC.

    ``quadratic_kappa`` assumes that `classes` are in order of severity, as the labels
    of `TBSLabeler` are. It is NaN for three or more names in alphabetical order: pass
    numbers, or names in order of severity in `classes`.

    References
    ----------
    .. [1] Cohen J, "Weighted kappa: nominal scale agreement with provision for
       scaled disagreement or partial credit", Psychol Bull 70(4), 1968.

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
    tallies, known = _multiclass_tallies(y_true, y_proba, folds, classes)
    sizes, patient = _sizes(groups, np.shape(y_proba)[0])
    counts = tallies.count(np.ones((1, len(patient))))[0].astype(int)
    columns = with_intervals(
        tallies.measure, MEASURES, patient, n_bootstrap, confidence_level, random_state
    )
    widen_where_alike(columns, tallies.n_patients(patient), confidence_level)
    return pd.DataFrame(
        sizes | dict(zip(COUNTS, counts.T, strict=True)) | columns,
        index=["macro", *known.tolist()],
    )


def difference_row(
    y_true: ArrayLike,
    y_score: ArrayLike,
    other_score: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    thresholds: tuple[float | ArrayLike, float | ArrayLike] = (0.5, 0.5),
    pos_label: int | str | bool = 1,
    classes: ArrayLike | None = None,
    n_bootstrap: int = 2000,
    confidence_level: float = 0.95,
    random_state: np.random.RandomState | int | None = None,
) -> pd.Series:
    """Compute how much better one classifier is than another on the same scans.

    Both are scored on the same bootstrap draws of patients, so the difficulty of a draw
    cancels out. An interval that excludes zero shows that one is better. Two
    overlapping intervals of `classification_row` do not show that they are equal.

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
        Class of each column of the scores; None takes the classes of `y_true` in
        sorted order.
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
        minus that of `other_score`, with ``_low`` and ``_high`` of its interval.
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
    row, patient = _sizes(groups, np.shape(y_score)[0])
    row |= with_intervals(
        lambda weight: ours(weight) - others(weight),
        MEASURES,
        patient,
        n_bootstrap,
        confidence_level,
        random_state,
    )
    return pd.Series(row, dtype=object).infer_objects()


def _binary_tallies(y_true, y_score, threshold, folds, pos_label, classes) -> Tallies:
    y_true, y_score, known = check_scores(y_true, y_score, classes)
    if len(known) > 2:
        raise ValueError(
            f"Expected two classes, got {len(known)} different values in "
            f"{'y_true' if classes is None else 'classes'}. For more classes use "
            "multiclass_table."
        )
    score = scores_of_class(y_score, known, pos_label)
    called = score > _check_threshold(threshold, len(score))
    return Tallies(y_true == pos_label, score, called, check_folds(folds, len(score)))


def _multiclass_tallies(
    y_true, y_proba, folds, classes
) -> tuple[MulticlassTallies, np.ndarray]:
    y_true, y_proba, known = check_scores(y_true, y_proba, classes)
    if y_proba.ndim == 1:
        raise ValueError(
            "Expected y_proba to hold a column for each class, got one score a scan. "
            "For the scores of one class use classification_row."
        )
    codes = (y_true[:, np.newaxis] == known).argmax(axis=1)
    fold = check_folds(folds, len(y_true))
    # Names in alphabetical order are not in order of severity. Two need no order.
    in_alphabet = known.dtype.kind not in "biuf" and (known == np.sort(known)).all()
    ordered = len(known) == 2 or not in_alphabet
    return MulticlassTallies(codes, y_proba, fold, ordered=ordered), known


def _check_threshold(threshold, n_scans: int) -> float | np.ndarray:
    if np.ndim(threshold) == 0:
        return check_number(threshold, "threshold")
    threshold = check_array(
        threshold, ensure_2d=False, dtype=np.float64, input_name="threshold"
    )
    if threshold.shape != (n_scans,):
        raise ValueError(
            f"Expected threshold to be one number or of shape ({n_scans},), got shape "
            f"{threshold.shape}."
        )
    return threshold


def _headline(
    y_true, y_score, threshold, folds, pos_label, classes
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that computes measures for two or more classes."""
    if np.ndim(y_score) == 2 and np.shape(y_score)[1] > 2:
        several, _ = _multiclass_tallies(y_true, y_score, folds, classes)
        return lambda weight: several.measure(weight)[:, 0]
    return _binary_tallies(
        y_true, y_score, threshold, folds, pos_label, classes
    ).measure


def _sizes(groups, n_scans: int) -> tuple[dict, np.ndarray]:
    patient, n_patients = check_groups(groups, n_scans)
    return {"n_scans": n_scans, "n_patients": n_patients}, patient
