"""Confusion matrix with counts and rates."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix
from sklearn.utils.multiclass import unique_labels

from tbsclassify._scores import check_labels, class_index, scores_of_class
from tbsclassify.plotting._classes import check_display_labels, tested_scans
from tbsclassify.plotting._style import axes_of


class ConfusionRatesDisplay:
    r"""Confusion matrix with the count and the rate in each cell.

    The rate is the share of the scans of a *true* class, the row, and so is the
    shade: with one degraded scan in five, shades of counts would hide the results
    of the degraded ones. For two classes the diagonal holds specificity and
    sensitivity.

    Parameters
    ----------
    counts : ndarray of int of shape (n_classes, n_classes)
        Scans by true class (row) and predicted class (column).
    display_labels : sequence of str
        Text shown for each class.

    Attributes
    ----------
    rates : ndarray of shape (n_classes, n_classes)
        Counts over the sum of their row; NaN for a class without a scan.
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    text_ : ndarray of matplotlib.text.Text of shape (n_classes, n_classes)
        Texts of the cells.

    See Also
    --------
    sklearn.metrics.ConfusionMatrixDisplay : Counts or rates.

    Examples
    --------
    >>> from tbsclassify.plotting import ConfusionRatesDisplay
    >>> display = ConfusionRatesDisplay.from_predictions(
    ...     [0, 0, 0, 0, 1, 1],
    ...     [0, 0, 0, 1, 1, 0],
    ...     display_labels=["normal", "degraded"],
    ... )
    >>> display.rates
    array([[0.75, 0.25],
           [0.5 , 0.5 ]])
    >>> display.text_[0, 0].get_text()
    '3\n75.0 %'
    """

    def __init__(self, counts: ArrayLike, display_labels: Sequence[str]):
        self.counts = np.asarray(counts)
        self.display_labels = display_labels
        total = self.counts.sum(axis=1, keepdims=True)
        self.rates = np.divide(
            self.counts, total, out=np.full(self.counts.shape, np.nan), where=total > 0
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        display_labels: Sequence[str] | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw the confusion matrix of predicted classes.

        Parameters
        ----------
        y_true : array-like of shape (n_scans,)
            True classes.
        y_pred : array-like of shape (n_scans,)
            Predicted classes.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order to show them; None sorts those that occur. Scans
            of other classes are left out.
        display_labels : sequence of str, default=None
            Text shown for each class, such as `TBSLabeler`'s `class_names_`; None shows
            the classes.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : ConfusionRatesDisplay
            The display, drawn.
        """
        y_true, y_pred = check_labels(y_true, "y_true"), check_labels(y_pred, "y_pred")
        if classes is None:
            classes = unique_labels(y_true, y_pred)
        known = check_labels(classes, "classes")
        counts = confusion_matrix(y_true, y_pred, labels=known)
        return cls(counts, check_display_labels(known, display_labels)).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: ArrayLike, **options: Any
    ) -> Self:
        """Draw the confusion matrix of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier.
        X : array, sequence or DataFrame
            Scans.
        y : array-like of shape (n_scans,)
            True classes.
        **options : dict
            As in `from_predictions`; `classes` are the estimator's classes.

        Returns
        -------
        display : ConfusionRatesDisplay
            The display, drawn.
        """
        options = {"classes": estimator.classes_} | options
        return cls.from_predictions(y, estimator.predict(X), **options)

    @classmethod
    def from_comparison(cls, result: Any, model: str, **options: Any) -> Self:
        """Draw the confusion matrix of a model of a comparison.

        Parameters
        ----------
        result : ComparisonResult
            Result of `compare_models`.
        model : str
            Name of the model.
        **options : dict
            As in `from_predictions`; `classes` are the result's.

        Returns
        -------
        display : ConfusionRatesDisplay
            The display, drawn. A scan counts each time that it was tested.
        """
        tested, proba = tested_scans(result, model)
        y_pred = result.classes[proba.argmax(axis=1)]
        if len(result.classes) == 2:
            positive = class_index(result.pos_label, result.classes, "pos_label")
            score = scores_of_class(proba, result.classes, result.pos_label)
            called = score > tested["threshold"]
            y_pred = result.classes[np.where(called, positive, 1 - positive)]
        options = {"classes": result.classes} | options
        return cls.from_predictions(tested["y_true"], y_pred, **options)

    def plot(self, ax: Any = None, *, cmap: Any = "Blues") -> Self:
        """Draw the matrix.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.
        cmap : str or matplotlib Colormap, default="Blues"
            Colours of rates from 0 to 1.

        Returns
        -------
        display : ConfusionRatesDisplay
            The display itself.
        """
        side = 2.0 + 0.9 * len(self.counts)
        self.ax_ = axes_of(ax, (side + 1.0, side))
        self.figure_ = self.ax_.figure
        drawn = ConfusionMatrixDisplay(
            np.nan_to_num(self.rates),
            display_labels=[name.replace(" ", "\n") for name in self.display_labels],
        ).plot(ax=self.ax_, cmap=cmap, colorbar=False, im_kw={"vmin": 0, "vmax": 1})
        self.text_ = drawn.text_
        for text, count, rate in zip(
            self.text_.flat, self.counts.flat, self.rates.flat, strict=True
        ):
            share = "no scans" if np.isnan(rate) else f"{100 * rate:.1f} %"
            text.set_text(f"{count}\n{share}")
            luminance = np.dot(drawn.im_.to_rgba(rate)[:3], (0.30, 0.59, 0.11))
            text.set_color("white" if luminance < 0.5 else "black")
        bar = self.figure_.colorbar(drawn.im_, ax=self.ax_, shrink=0.8)
        bar.set_label("Share of the true class")
        self.ax_.set(xlabel="Predicted class", ylabel="True class")
        return self
