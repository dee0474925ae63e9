"""How labels, classes and columns of scores belong together."""

from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from tbsclassify._warn import warn


def check_labels(y: Any, name: str = "y") -> np.ndarray:
    """Return labels as an array of one plain dtype: bool, number or text.

    Takes lists, arrays, and pandas' nullable, string and categorical columns.

    Raises
    ------
    ValueError
        If the label of a scan is missing, or labels are of several kinds, which
        cannot be sorted.
    """
    labels = np.asarray(y)
    if labels.dtype.kind in "US" and isinstance(y, list | tuple):
        # NumPy turns numbers and NaN beside text into text.
        labels = np.array(y, dtype=object)
    labels = column_or_1d(labels)
    missing = np.flatnonzero(pd.isna(labels))
    if missing.size:
        raise ValueError(
            f"{name} lacks the class of {missing.size} scan(s), at index "
            f"{missing[:10].tolist()}. Give each scan a class, or leave these scans "
            "out."
        )
    if labels.dtype.kind in "OT":
        kinds = {_kind(label) for label in labels}
        if len(kinds) > 1:
            raise ValueError(
                f"Expected {name} to hold labels of one kind, got "
                f"{', '.join(sorted(kinds))}. Convert them all to int or to str."
            )
        labels = np.array(labels.tolist())
    return labels


def check_targets(y: Any) -> np.ndarray:
    """Return the classes of scans as `check_labels` does, and refuse values.

    Raises
    ------
    ValueError
        If `y` holds values, such as TBS.
    """
    labels = check_labels(y)
    try:
        check_classification_targets(labels)
    except ValueError as error:
        raise ValueError(
            f"{error} If y holds TBS values, TBSLabeler().fit_transform(y) makes "
            "classes of them; networks learn the values as well where they are passed "
            "as tbs."
        ) from None
    return labels


def _kind(label: Any) -> str:
    if isinstance(label, bool | np.bool_):
        return "bool"
    return "number" if isinstance(label, Number) else type(label).__name__


def check_classes(classes: ArrayLike | None, y_true: np.ndarray) -> np.ndarray:
    """Return the classes in the order of the columns of scores.

    None stands for the sorted labels that occur, like `classes_` of a classifier.
    """
    if classes is None:
        return np.unique(y_true)
    classes = check_labels(classes, "classes")
    if len(np.unique(classes)) < len(classes):
        raise ValueError(
            f"Expected classes to name each class once, got {classes.tolist()}."
        )
    if not set(y_true.tolist()) <= set(classes.tolist()):
        raise ValueError(
            f"y_true holds classes that are not in classes={classes.tolist()!r}."
        )
    return classes


def class_index(label: Any, classes: ArrayLike, name: str) -> int:
    """Return the index of a label among the classes.

    Labels are compared as in Python, so True, 1 and 1.0 are one label.
    """
    known = np.asarray(classes).tolist()
    if label not in known:
        raise ValueError(
            f"Expected {name} to be one of the classes {known}, got {label!r}."
        )
    return known.index(label)


def scores_of_class(
    y_score: np.ndarray, classes: np.ndarray, label: Any, name: str = "pos_label"
) -> np.ndarray:
    """Return the scores of one class.

    Only this function chooses the column of a class. One-dimensional scores belong to
    the class asked for, which need not occur if all labels are of another class.
    """
    if y_score.ndim == 1 and len(classes) == 1:
        return y_score
    index = class_index(label, classes, name)
    return y_score if y_score.ndim == 1 else y_score[:, index]


def check_scores(
    y_true: Any, y_score: Any, classes: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return true labels, scores and classes, checked against each other.

    Parameters
    ----------
    y_true : array-like of shape (n_scans,)
        True classes.
    y_score : array-like of shape (n_scans,) or (n_scans, n_classes)
        Scores of one class, or of each in the order of `classes`.
    classes : array-like of shape (n_classes,), default=None
        Class of each column. None takes the names of the columns of a table or, if
        these are no classes, the sorted classes that occur in `y_true`.
    """
    y_true = check_labels(y_true, "y_true")
    whole = np.asarray(y_score).dtype.kind in "biu"
    if classes is None:
        classes = _classes_in_header(y_score, y_true)
    y_score = check_array(
        y_score, ensure_2d=False, dtype=np.float64, input_name="y_score"
    )
    if whole:
        warn(
            "The scores are whole numbers, as predict gives them. A ROC curve of hard "
            "decisions has one point, and its area is balanced accuracy. Pass "
            "probabilities, from predict_proba."
        )
    found = check_classes(classes, y_true)
    n_scans, n_columns = len(y_true), len(found)
    if classes is None and n_columns == 1 and y_score.shape == (n_scans, 2):
        raise ValueError(
            f"y_true holds the class {found.tolist()[0]!r} only, but y_score has 2 "
            "columns. Give the class of each column in classes, such as the "
            "estimator's classes_."
        )
    if y_score.shape not in ((n_scans,), (n_scans, n_columns)):
        raise ValueError(
            f"Expected scores of shape ({n_scans},) or ({n_scans}, {n_columns}) for "
            f"{n_scans} true labels and the classes {found.tolist()}, got "
            f"{y_score.shape}. Give the class of each column in classes."
        )
    return y_true, y_score, found


def _classes_in_header(y_score: Any, y_true: np.ndarray) -> list | None:
    """Return the classes in the names of the columns of scores, if there are any.

    The default numbers of pandas are no names.
    """
    columns = getattr(y_score, "columns", None)
    if columns is None or isinstance(columns, pd.RangeIndex):
        return None
    labels = np.unique(y_true).tolist()
    by_column = dict(zip(proba_columns(labels), labels, strict=True))
    names = [by_column.get(name, name) for name in columns]
    if all(isinstance(name, str) for name in names):
        names = [name.removeprefix("proba_") for name in names]
    return names if set(labels) <= set(names) else None


def proba_columns(classes: Sequence | np.ndarray) -> list[str]:
    """Return the names of the columns of classes in a table of predictions."""
    return [f"proba_{label}" for label in np.asarray(classes).tolist()]
