"""Calibration curves with counts and intervals."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from tbsclassify._validation import check_confidence_level, check_groups, check_number
from tbsclassify.plotting._classes import (
    ClassCurvesDisplay,
    draw_diagonal,
    known_options,
    one_vs_rest,
    set_unit_square,
    tested_scans,
)
from tbsclassify.plotting._style import (
    COLOURS,
    LABEL_SIZE,
    LINE_STYLES,
    MARKERS,
    axes_of,
    nth,
    place_labels,
)


class CalibrationIntervalDisplay(ClassCurvesDisplay):
    """Observed share over predicted probability, with counts and intervals.

    Scans are put into bins of about equal numbers by their predicted probability.
    For two classes the curve of the positive one; for more, one curve a class
    against the rest.

    Parameters
    ----------
    curves : dict of str to Bunch
        For each class, by its name, arrays of shape (n_bins,): ``predicted``, the
        mean probability in a bin; ``observed``, the share of the class, with
        ``low`` and ``high``, its interval; ``n_scans`` and ``n_patients``.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    lines_ : list of matplotlib.lines.Line2D
        A curve for each class.
    labels_ : list of matplotlib.text.Annotation
        Numbers of patients, bin after bin and class after class.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The curve without intervals.

    Notes
    -----
    Intervals are Wilson's [1]_. They are wide for a bin of few scans, even where
    all of these agree. Their number of independent observations is the number of
    patients in the bin, as if all scans of a patient were the same.

    References
    ----------
    .. [1] Wilson EB, "Probable inference, the law of succession, and statistical
       inference", J Am Stat Assoc 22(158), 1927.

    Examples
    --------
    >>> from tbsclassify.plotting import CalibrationIntervalDisplay
    >>> display = CalibrationIntervalDisplay.from_predictions(
    ...     [0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.5, 0.7, 0.9], n_bins=2
    ... )
    >>> curve = display.curves["1"]
    >>> curve.observed
    array([0., 1.])
    >>> curve.high.round(2)
    array([0.56, 1.  ])
    """

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_prob: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        pos_label: int | str | bool | None = None,
        display_labels: Sequence[str] | None = None,
        n_bins: int = 5,
        confidence_level: float = 0.95,
        ax: Any = None,
    ) -> Self:
        """Draw the calibration of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_scans,)
            True classes.
        y_prob : array-like of shape (n_scans,) or (n_scans, n_classes)
            Probability of the positive class, or what `predict_proba` gives.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. With None, each scan is a patient of its own.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns of `y_prob`; None sorts those of
            `y_true`.
        pos_label : int, str or bool, default=None
            The class whose curve is drawn. None takes the last of two classes,
            and all of three or more.
        display_labels : sequence of str, default=None
            Text shown for each of the `classes`; None shows the classes.
        n_bins : int, default=5
            Number of bins. Equal probabilities share a bin, so there may be fewer.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : CalibrationIntervalDisplay
            The display, drawn.
        """
        check_number(n_bins, "n_bins", low=1, integer=True)
        check_confidence_level(confidence_level)
        targets = one_vs_rest(y_true, y_prob, classes, pos_label, display_labels)
        patient, _ = check_groups(groups, len(next(iter(targets.values()))[0]))
        curves = {}
        for name, (positive, probability) in targets.items():
            if probability.min() < 0 or probability.max() > 1:
                raise ValueError(
                    "Expected y_prob to hold probabilities from 0 to 1, got values "
                    f"from {probability.min():g} to {probability.max():g}. Use "
                    "predict_proba, not decision_function."
                )
            curves[name] = _calibration(
                positive, probability, patient, n_bins, confidence_level
            )
        return cls(curves).plot(ax=ax)

    @classmethod
    def from_comparison(cls, result: Any, model: str, **options: Any) -> Self:
        """Draw the calibration of a model of a comparison.

        Parameters
        ----------
        result : ComparisonResult
            Result of `compare_models`.
        model : str
            Name of the model.
        **options : dict
            As in `from_predictions`; `classes`, `groups` and, of two classes,
            `pos_label` are the result's.

        Returns
        -------
        display : CalibrationIntervalDisplay
            The display, drawn.
        """
        tested, proba = tested_scans(result, model)
        options = known_options(result, tested) | options
        return cls.from_predictions(tested["y_true"], proba, **options)

    def plot(self, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : CalibrationIntervalDisplay
            The display itself.
        """
        self.ax_ = axes_of(ax, (5.0, 5.0))
        self.figure_ = self.ax_.figure
        draw_diagonal(self.ax_)
        self.lines_ = []
        for i, (name, curve) in enumerate(self.curves.items()):
            bars = self.ax_.errorbar(
                curve.predicted,
                curve.observed,
                yerr=[curve.observed - curve.low, curve.high - curve.observed],
                color=nth(COLOURS, i),
                linestyle=nth(LINE_STYLES, i),
                marker=nth(MARKERS, i),
                markersize=5,
                elinewidth=0.9,
                capsize=3,
                label=name,
            )
            self.lines_.append(bars.lines[0])
        set_unit_square(self.ax_)
        of = "the class" if len(self.curves) > 1 else next(iter(self.curves))
        self.ax_.set(
            xlabel=f"Mean predicted probability of {of}",
            ylabel=f"Observed share of {of}",
        )
        self.ax_.legend(
            title="Numbers: patients in the bin",
            loc="upper left",
            alignment="left",
            fontsize=LABEL_SIZE,
            title_fontsize=LABEL_SIZE,
        )
        self.labels_ = self._write_counts()
        return self

    def _write_counts(self):
        """Write the number of patients at the top of each interval."""
        curves = self.curves.values()
        tops = [np.stack([c.predicted, c.high], axis=1) for c in curves]
        counts = np.concatenate([curve.n_patients for curve in curves])
        labels = place_labels(
            self.ax_,
            np.concatenate(tops),
            [str(count) for count in counts],
            np.full(len(counts), 2.0),
        )
        kinds = np.repeat(np.arange(len(tops)), [len(top) for top in tops])
        for label, kind in zip(labels, kinds, strict=True):
            label.set_color(nth(COLOURS, kind))
        return labels


def _calibration(
    positive: np.ndarray,
    probability: np.ndarray,
    patient: np.ndarray,
    n_bins: int,
    confidence_level: float,
) -> Bunch:
    """Compute observed shares in quantile bins, with Wilson's intervals by patient."""
    borders = np.quantile(probability, np.linspace(0, 1, n_bins + 1)[1:-1])
    occupied, bin_ = np.unique(
        np.searchsorted(borders, probability), return_inverse=True
    )
    n_scans = np.bincount(bin_)
    pairs = np.unique(np.stack([bin_, patient]), axis=1)
    n_patients = np.bincount(pairs[0], minlength=len(occupied))
    observed = np.bincount(bin_, weights=positive) / n_scans
    low, high = _wilson_interval(observed, n_patients, confidence_level)
    return Bunch(
        predicted=np.bincount(bin_, weights=probability) / n_scans,
        observed=observed,
        low=np.minimum(low, observed),
        high=np.maximum(high, observed),
        n_scans=n_scans,
        n_patients=n_patients,
    )


def _wilson_interval(share, n, confidence_level):
    z = NormalDist().inv_cdf((1 + confidence_level) / 2)
    shrink = 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    reach = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2) / shrink
    return centre - reach, centre + reach
