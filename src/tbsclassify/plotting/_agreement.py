"""Differences of predicted and measured TBS values."""

from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import is_classifier

from tbsclassify.metrics._regression import check_values, regression_row
from tbsclassify.plotting._style import COLOURS, LABEL_SIZE, LINE_STYLES, axes_of

# Name, colour and style of each line.
_LINES = {
    "upper_limit": ("Upper limit of agreement", COLOURS[1], LINE_STYLES[1]),
    "bias": ("Bias", COLOURS[2], LINE_STYLES[0]),
    "lower_limit": ("Lower limit of agreement", COLOURS[1], LINE_STYLES[1]),
}


class BlandAltmanDisplay:
    """Difference over mean of predicted and measured TBS, with limits of agreement.

    The plot of Bland and Altman [1]_: a point for each scan, and lines at the bias
    and at the limits of agreement, each with its interval from a bootstrap over
    patients as a band.

    Parameters
    ----------
    mean : ndarray of shape (n_scans,)
        Mean of the predicted and the measured value of each scan.
    difference : ndarray of shape (n_scans,)
        Predicted minus measured value.
    row : pandas.Series
        What `regression_row` returns.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    points_ : matplotlib.collections.PathCollection
        The scans.
    lines_ : list of matplotlib.lines.Line2D
        Upper limit of agreement, bias and lower limit.
    bands_ : list of matplotlib.patches.Rectangle
        Their intervals; empty without a bootstrap.

    See Also
    --------
    tbsclassify.metrics.regression_row : The lines and their intervals as numbers,
        and how repeatable TBS itself is.

    Notes
    -----
    All scans of a patient are drawn; the intervals count patients.

    Points that fall from left to right show predictions that vary less than the
    measured values. Every regression does this, unless its features determine the
    TBS.

    References
    ----------
    .. [1] Bland JM, Altman DG, "Statistical methods for assessing agreement
       between two methods of clinical measurement", Lancet 327, 1986.

    Examples
    --------
    >>> from tbsclassify.plotting import BlandAltmanDisplay
    >>> display = BlandAltmanDisplay.from_predictions(
    ...     [1.10, 1.22, 1.31, 1.40], [1.15, 1.25, 1.30, 1.35], random_state=0
    ... )
    >>> display.difference.round(3).tolist()
    [0.05, 0.03, -0.01, -0.05]
    >>> print(f"{display.row['bias']:.3f}")
    0.005
    """

    def __init__(self, mean: np.ndarray, difference: np.ndarray, row: pd.Series):
        self.mean = mean
        self.difference = difference
        self.row = row

    @classmethod
    def from_predictions(
        cls,
        tbs: ArrayLike,
        predicted: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        n_bootstrap: int = 2000,
        confidence_level: float = 0.95,
        random_state: np.random.RandomState | int | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw predicted values.

        Parameters
        ----------
        tbs : array-like of shape (n_scans,)
            Measured TBS values.
        predicted : array-like of shape (n_scans,)
            Predicted TBS values.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan; whole patients are drawn. With None, each
            scan is a patient of its own.
        n_bootstrap : int, default=2000
            Number of bootstrap draws; 0 leaves the bands out.
        confidence_level : float, default=0.95
            Confidence level of the bands. The limits of agreement are always at
            95 %.
        random_state : int, RandomState or None, default=None
            Seed of the bootstrap.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : BlandAltmanDisplay
            The display, drawn.
        """
        tbs, predicted = check_values(tbs, predicted)
        row = regression_row(
            tbs,
            predicted,
            groups=groups,
            n_bootstrap=n_bootstrap,
            confidence_level=confidence_level,
            random_state=random_state,
        )
        return cls((tbs + predicted) / 2, predicted - tbs, row).plot(ax)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, tbs: ArrayLike, **options: Any
    ) -> Self:
        """Draw the values that a fitted regressor predicts.

        Parameters
        ----------
        estimator : estimator
            Fitted regressor.
        X : array, sequence or DataFrame
            Scans.
        tbs : array-like of shape (n_scans,)
            Measured TBS values.
        **options : dict
            As in `from_predictions`.

        Returns
        -------
        display : BlandAltmanDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `estimator` is a classifier, which predicts classes.
        """
        if is_classifier(estimator):
            name = type(estimator).__name__
            raise ValueError(
                f"Expected estimator to be a regressor, got a classifier, {name}, "
                "which predicts classes. Where it has learned TBS, use "
                "from_predictions(tbs, estimator.predict_tbs(X))."
            )
        return cls.from_predictions(tbs, estimator.predict(X), **options)

    def plot(self, ax: Any = None) -> Self:
        """Draw the differences.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : BlandAltmanDisplay
            The display itself.
        """
        self.ax_ = axes_of(ax, (6.5, 5.0))
        self.figure_ = self.ax_.figure
        row = self.row
        self.points_ = self.ax_.scatter(
            self.mean,
            self.difference,
            s=14,
            color=COLOURS[0],
            alpha=0.5,
            linewidth=0,
            label=f"{row['n_scans']:.0f} scans, {row['n_patients']:.0f} patients",
        )
        self.lines_, self.bands_ = [], []
        for name, (text, colour, style) in _LINES.items():
            label = f"{text}: {row[name]:.3f}"
            if f"{name}_low" in row:
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                label += f" [{low:.3f}, {high:.3f}]"
                band = self.ax_.axhspan(
                    low, high, color=colour, alpha=0.18, linewidth=0
                )
                self.bands_.append(band)
            line = self.ax_.axhline(
                row[name], color=colour, linestyle=style, label=label
            )
            self.lines_.append(line)
        self.ax_.set(
            xlabel="Mean of predicted and measured TBS",
            ylabel="Predicted \N{MINUS SIGN} measured TBS",
        )
        # Above the axes, where no scan can lie.
        self.ax_.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            frameon=False,
            fontsize=LABEL_SIZE,
        )
        return self
