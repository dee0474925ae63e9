"""Names of classes, and the base of displays with one curve for each class."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tbsclassify._scores import (
    check_scores,
    class_index,
    proba_columns,
    scores_of_class,
)
from tbsclassify._validation import check_option


class ClassCurvesDisplay:
    """The base of displays with a curve for each class."""

    from_predictions: ClassVar[Callable[..., Any]]

    def __init__(self, curves: dict[str, Any]):
        self.curves = curves

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, **options: Any
    ) -> Self:
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


def tested_scans(result: Any, model: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the predictions of a model in a comparison.

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
    return tested, tested[proba_columns(result.classes)].to_numpy()


def known_options(result: Any, tested: pd.DataFrame) -> dict[str, Any]:
    """Return the options of `from_predictions` that a comparison knows."""
    known = {"classes": result.classes, "groups": tested["patient"]}
    if len(result.classes) == 2:
        known["pos_label"] = result.pos_label
    return known


def check_display_labels(
    classes: Sequence | np.ndarray, display_labels: Sequence[str] | None
) -> list[str]:
    """Return the text that is shown for each class."""
    if display_labels is None:
        return [str(label) for label in np.asarray(classes).tolist()]
    if len(display_labels) != len(classes):
        raise ValueError(
            f"Expected display_labels to hold one text for each of the {len(classes)} "
            f"classes, got {len(display_labels)}. Where a class does not occur, list "
            "all in classes."
        )
    return [str(text) for text in display_labels]


def one_vs_rest(
    y_true: ArrayLike,
    y_score: ArrayLike,
    classes: ArrayLike | None,
    pos_label: Any,
    display_labels: Sequence[str] | None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the data of each curve, by the text shown for its class.

    Returns
    -------
    targets : dict of str to tuple of two ndarrays of shape (n_scans,)
        Whether a scan is of the class, and its score.
    """
    y_true, y_score, known = check_scores(y_true, y_score, classes)
    if y_score.ndim == 1 and len(known) > 2 and pos_label is None:
        raise ValueError(
            f"One score a scan cannot tell {len(known)} classes apart. Give scores "
            "of shape (n_scans, n_classes), or name the class in pos_label."
        )
    drawn = known.tolist() if len(known) > 2 else known.tolist()[-1:]
    if pos_label is not None:
        drawn = [known.tolist()[class_index(pos_label, known, "pos_label")]]
    texts = check_display_labels(known, display_labels)
    targets = {}
    for label in drawn:
        text = texts[class_index(label, known, "pos_label")]
        positive = y_true == label
        if positive.all() or not positive.any():
            raise ValueError(
                f"Expected scans of class {text} and of another, got "
                f"{positive.sum()} of {len(positive)} scans of this class."
            )
        targets[text] = positive, scores_of_class(y_score, known, label)
    return targets


def draw_diagonal(ax: Any) -> None:
    """Draw the diagonal, the curve of chance or of perfect calibration."""
    ax.plot([0, 1], [0, 1], color="0.5", linestyle=(0, (1, 2)), linewidth=1)


def set_unit_square(ax: Any) -> None:
    """Show both axes from 0 to 1, at one scale."""
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
