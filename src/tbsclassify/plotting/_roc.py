"""ROC curves with intervals."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import Bunch

from tbsclassify._validation import check_folds, check_groups, check_random_seed
from tbsclassify.metrics._bootstrap import (
    check_bootstrap,
    patient_draws,
    percentile_interval,
)
from tbsclassify.metrics._tallies import RocSteps, roc_by_fold
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
    axes_of,
    nth,
)

_FALSE_POSITIVE_RATES = np.linspace(0, 1, 201)


class RocIntervalDisplay(ClassCurvesDisplay):
    """ROC curves with pointwise intervals from a bootstrap over patients.

    For two classes the curve of the positive one; for more, one curve a class
    against the rest.

    Parameters
    ----------
    curves : dict of str to Bunch
        For each class, by its name: ``fpr`` and ``tpr``, the curve; ``auc``,
        ``auc_low`` and ``auc_high``, its area with the interval; ``grid``,
        ``tpr_low`` and ``tpr_high``, the intervals of the sensitivity at the
        false positive rates of the grid; ``n_positive`` and ``n_scans``, numbers of
        scans, and ``n_patients``.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    lines_ : list of matplotlib.lines.Line2D
        A curve for each class.
    bands_ : list of matplotlib.collections.PolyCollection
        A band for each class; empty without a bootstrap.

    See Also
    --------
    tbsclassify.metrics.classification_row : The area and its interval as numbers.

    Notes
    -----
    The band is *pointwise*: it has the confidence level at each false positive
    rate by itself, not for the curve as a whole. The interval of the area is that
    of `classification_row` with the same seed and number of draws.

    Draws without a scan of the class, or with no other, are left out. Where the
    scores separate the classes perfectly, every draw does so too, and the band has
    no width however few patients there are. Look at their number in the legend.

    Examples
    --------
    >>> from tbsclassify.plotting import RocIntervalDisplay
    >>> display = RocIntervalDisplay.from_predictions(
    ...     [0, 0, 0, 1, 1],
    ...     [0.1, 0.3, 0.6, 0.4, 0.9],
    ...     display_labels=["normal", "degraded"],
    ...     random_state=0,
    ... )
    >>> print(f"{display.curves['degraded'].auc:.3f}")
    0.833
    """

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_score: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        folds: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        pos_label: int | str | bool | None = None,
        display_labels: Sequence[str] | None = None,
        n_bootstrap: int = 1000,
        confidence_level: float = 0.95,
        random_state: np.random.RandomState | int | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Draw ROC curves of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_scans,)
            True classes.
        y_score : array-like of shape (n_scans,) or (n_scans, n_classes)
            Score of the positive class, or what `predict_proba` gives.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan; whole patients are drawn. With None, each
            scan is a patient of its own.
        folds : array-like of shape (n_scans,), default=None
            Fold of a cross-validation that each scan was tested in. Scores of
            different fits are not on one scale: curve and area are then those of
            the folds, averaged by their numbers of pairs of a scan of the class
            and another, as in `classification_row`.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns of `y_score`; None sorts those of
            `y_true`.
        pos_label : int, str or bool, default=None
            The class whose curve is drawn. None takes the last of two classes,
            and all of three or more.
        display_labels : sequence of str, default=None
            Text shown for each of the `classes`; None shows the classes.
        n_bootstrap : int, default=1000
            Number of bootstrap draws; 0 leaves the band out.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        random_state : int, RandomState or None, default=None
            Seed of the bootstrap.
        name : str, default=None
            Name of the model, shown before the class.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : RocIntervalDisplay
            The display, drawn.
        """
        check_bootstrap(n_bootstrap, confidence_level)
        targets = one_vs_rest(y_true, y_score, classes, pos_label, display_labels)
        n_scans = len(next(iter(targets.values()))[0])
        patient, n_patients = check_groups(groups, n_scans)
        fold = check_folds(folds, n_scans)
        seed = check_random_seed(random_state)  # the same draws for each curve
        curves = {}
        for text, (positive, score) in targets.items():
            draws = patient_draws(patient, n_bootstrap, seed)
            curve = _roc(positive, score, fold, draws, confidence_level)
            curves[text] = Bunch(**curve, n_patients=n_patients)
        return cls(curves).plot(ax, name=name)

    @classmethod
    def from_comparison(cls, result: Any, model: str, **options: Any) -> Self:
        """Draw ROC curves of a model of a comparison, with its table's area.

        Parameters
        ----------
        result : ComparisonResult
            Result of `compare_models`.
        model : str
            Name of the model.
        **options : dict
            As in `from_predictions`; all that the result knows is set.

        Returns
        -------
        display : RocIntervalDisplay
            The display, drawn.
        """
        tested, proba = tested_scans(result, model)
        known = {
            "folds": tested.groupby(["repeat", "fold"]).ngroup(),
            "name": model,
            **known_options(result, tested),
            **result.bootstrap,
        }
        return cls.from_predictions(tested["y_true"], proba, **known | options)

    def plot(self, ax: Any = None, *, name: str | None = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure. On axes with curves of another
            model, these get the next colours and line styles.
        name : str, default=None
            Name of the model, shown before the class.

        Returns
        -------
        display : RocIntervalDisplay
            The display itself.
        """
        self.ax_ = axes_of(ax, (5.0, 5.0))
        self.figure_ = self.ax_.figure
        n_before = len(self.ax_.get_legend_handles_labels()[0])
        if not n_before:
            draw_diagonal(self.ax_)
        self.lines_, self.bands_ = [], []
        for i, (class_name, curve) in enumerate(self.curves.items(), start=n_before):
            look = {"color": nth(COLOURS, i)}
            interval = ""
            if curve.tpr_low is not None:
                interval = f" [{curve.auc_low:.3f}, {curve.auc_high:.3f}]"
                band = self.ax_.fill_between(
                    curve.grid,
                    curve.tpr_low,
                    curve.tpr_high,
                    alpha=0.18,
                    linewidth=0,
                    **look,
                )
                self.bands_.append(band)
            title = class_name if name is None else f"{name}, {class_name}"
            self.lines_ += self.ax_.plot(
                curve.fpr,
                curve.tpr,
                linestyle=nth(LINE_STYLES, i),
                label=f"{title}: AUC {curve.auc:.3f}{interval}\n({curve.n_positive} of "
                f"{curve.n_scans} scans, {curve.n_patients} patients)",
                **look,
            )
        set_unit_square(self.ax_)
        self.ax_.set(xlabel="1 \N{MINUS SIGN} specificity", ylabel="Sensitivity")
        self.ax_.legend(loc="lower right", fontsize=LABEL_SIZE)
        return self


def _roc(
    positive: np.ndarray,
    score: np.ndarray,
    fold: np.ndarray,
    draws: Iterator[np.ndarray],
    confidence_level: float,
) -> dict[str, Any]:
    """Compute the ROC curve, with intervals from draws of patients."""
    folds = roc_by_fold(positive, score, fold)
    mean = _mean_roc(folds, np.ones(len(fold)))
    if np.isnan(mean).all():
        raise ValueError(
            "folds holds no fold with scans of both sides, so that there is no ROC "
            "curve. Use fewer, larger folds, such as cv=5."
        )
    if len(folds) == 1:
        fpr, tpr = folds[0].points(np.ones(len(fold)))
    else:
        fpr, tpr = np.append(0, _FALSE_POSITIVE_RATES), np.append(0, mean[1:])
    replicates = [_mean_roc(folds, weight) for block in draws for weight in block]
    low, high = np.full((2, len(mean)), np.nan)
    if replicates:
        low, high = percentile_interval(np.stack(replicates), confidence_level)
    return {
        "fpr": fpr,
        "tpr": tpr,
        "auc": mean[0],
        "auc_low": low[0],
        "auc_high": high[0],
        "grid": _FALSE_POSITIVE_RATES,
        "tpr_low": low[1:] if replicates else None,
        "tpr_high": high[1:] if replicates else None,
        "n_positive": int(positive.sum()),
        "n_scans": len(positive),
    }


def _mean_roc(folds: list[RocSteps], weight: np.ndarray) -> np.ndarray:
    """Return area and sensitivities on the grid, folds averaged by pairs of scans.

    All are NaN if no fold has a pair.
    """
    total, n_all = np.zeros(1 + len(_FALSE_POSITIVE_RATES)), 0.0
    for one in folds:
        in_order, n_pairs = (count[0] for count in one.pairs(weight[np.newaxis]))
        if n_pairs:
            fpr, tpr = one.points(weight)
            sensitivity = np.interp(_FALSE_POSITIVE_RATES, fpr, tpr)
            total += np.append(in_order, n_pairs * sensitivity)
            n_all += n_pairs
    return total / n_all if n_all else np.full_like(total, np.nan)
