"""Names of classes, and what curves of one class against the rest share."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.multiclass import unique_labels

from tbsclassify._validation import check_option


class ClassCurvesDisplay:
    """What displays of predicted probabilities share: a curve for each class."""

    from_predictions: ClassVar[Callable[..., Any]]

    def __init__(self, curves):
        self.curves = curves

    @classmethod
    def from_estimator(cls, estimator, X, y, **options):
        """Draw the curves of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier with `predict_proba`.
        X : array, sequence or DataFrame
            Scans.
        y : array-like of shape (n_scans,)
            True classes.
        **options : dict
            As in `from_predictions`; `classes` are the estimator's classes.

        Returns
        -------
        display : RocIntervalDisplay or CalibrationIntervalDisplay
            The display, drawn.
        """
        options = {"classes": estimator.classes_} | options
        return cls.from_predictions(y, estimator.predict_proba(X), **options)


def tested_scans(result, model):
    """Return what a comparison tested a model on.

    Returns
    -------
    tested : pandas.DataFrame
        A row for each scan each time it was tested.
    proba : ndarray of shape (n_rows, n_classes)
        Probability of each class.
    """
    tested = result.predictions
    check_option(model, "model", tested["model"].unique())
    tested = tested[tested["model"] == model]
    return tested, tested[[f"proba_{label}" for label in result.classes]].to_numpy()


def known_options(result, tested):
    """Return the options of `from_predictions` that a comparison knows."""
    known = {"classes": result.classes, "groups": tested["patient"]}
    if len(result.classes) == 2:
        known["pos_label"] = result.pos_label
    return known


def check_class_names(classes, class_names):
    """Return a name for each class."""
    if class_names is None:
        return [str(label) for label in classes]
    if len(class_names) != len(classes):
        raise ValueError(
            f"class_names has {len(class_names)} names for the {len(classes)} "
            "classes, but one for each is wanted. Where a class does not occur, list "
            "all in classes."
        )
    return [str(name) for name in class_names]


def one_vs_rest(y_true, y_score, classes, pos_label, class_names):
    """Return what each curve is drawn from, by the name of its class.

    Returns
    -------
    targets : dict of str to tuple of two ndarrays of shape (n_scans,)
        Whether a scan is of the class, and its score.
    """
    y_true = column_or_1d(y_true)
    y_score = check_array(
        y_score, ensure_2d=False, dtype=np.float64, input_name="y_score"
    )
    if len(y_score) != len(y_true):
        raise ValueError(
            f"The scores are of {len(y_score)} scans, but there are {len(y_true)} true "
            "labels. Give one row of scores for each label."
        )
    classes = unique_labels(y_true) if classes is None else np.asarray(classes)
    if y_score.ndim == 2 and y_score.shape[1] != len(classes):
        raise ValueError(
            f"The scores have {y_score.shape[1]} columns, but the classes are "
            f"{classes.tolist()}. Give the class of each column in classes."
        )
    if y_score.ndim == 1 and len(classes) > 2 and pos_label is None:
        raise ValueError(
            f"One score a scan cannot tell {len(classes)} classes apart. Give scores "
            "of shape (n_scans, n_classes), or name the class in pos_label."
        )
    wanted = classes if len(classes) > 2 else classes[-1:]
    if pos_label is not None:
        if pos_label not in classes:
            raise ValueError(
                f"pos_label={pos_label!r} is not one of the classes {classes.tolist()}."
            )
        wanted = [pos_label]
    names = check_class_names(classes, class_names)
    targets = {}
    for label in wanted:
        column = int(np.flatnonzero(classes == label)[0])
        positive = y_true == label
        if positive.all() or not positive.any():
            raise ValueError(
                f"{positive.sum()} of {len(positive)} scans are of class "
                f"{names[column]}, but scans of this class and of another are wanted."
            )
        score = y_score if y_score.ndim == 1 else y_score[:, column]
        targets[names[column]] = positive, score
    return targets


def draw_diagonal(ax):
    """Draw what chance, or perfect calibration, would give."""
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=(0, (1, 2)), linewidth=1)


def set_unit_square(ax):
    """Show both axes from 0 to 1, at one scale."""
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
