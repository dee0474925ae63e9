"""ROC curves with intervals."""

import numpy as np
from sklearn.utils import Bunch, column_or_1d

from tbsclassify._validation import (
    check_confidence_level,
    check_folds,
    check_groups,
    check_number,
    check_random_seed,
)
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
    The band is *pointwise*: at each false positive rate by itself it has the
    confidence level, not the curve as a whole. The interval of the area is that
    of `classification_row` with the same seed and number of draws.

    Draws without a scan of the class, or with no other, are left out. The
    bootstrap cannot imagine what the sample does not hold: of classes that are
    told apart perfectly, the band is empty, however few patients there are.
    Their number stands in the legend.

    Examples
    --------
    >>> from tbsclassify.plotting import RocIntervalDisplay
    >>> display = RocIntervalDisplay.from_predictions(
    ...     [0, 0, 0, 1, 1],
    ...     [0.1, 0.3, 0.6, 0.4, 0.9],
    ...     class_names=["normal", "degraded"],
    ...     random_state=0,
    ... )
    >>> print(f"{display.curves['degraded'].auc:.3f}")
    0.833
    """

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_score,
        *,
        groups=None,
        folds=None,
        classes=None,
        pos_label=None,
        class_names=None,
        n_bootstrap=1000,
        confidence_level=0.95,
        random_state=None,
        name=None,
        ax=None,
    ):
        """Draw ROC curves of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_scans,)
            True classes.
        y_score : array-like of shape (n_scans,) or (n_scans, n_classes)
            Score of the positive class, or what `predict_proba` gives.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan; whole patients are drawn. None takes each scan
            for a patient of its own.
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
        class_names : sequence of str, default=None
            Name of each of the `classes`; None shows the classes.
        n_bootstrap : int, default=1000
            Number of bootstrap draws; 0 leaves the band out.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        random_state : int, RandomState or None, default=None
            Seed of the bootstrap.
        name : str, default=None
            Name of the model, set before that of the class.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : RocIntervalDisplay
            The display, drawn.
        """
        check_number(n_bootstrap, "n_bootstrap", low=0, integer=True)
        check_confidence_level(confidence_level)
        targets = one_vs_rest(y_true, y_score, classes, pos_label, class_names)
        patient, n_patients = check_groups(groups, len(column_or_1d(y_true)))
        rng = np.random.default_rng(check_random_seed(random_state))
        fold = check_folds(folds, len(patient))
        draws = rng.multinomial(
            n_patients, np.full(n_patients, 1 / n_patients), size=n_bootstrap
        )
        curves = {
            class_name: _roc(positive, score, fold, patient, draws, confidence_level)
            for class_name, (positive, score) in targets.items()
        }
        return cls(curves).plot(name=name, ax=ax)

    @classmethod
    def from_comparison(cls, result, model, **options):
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

    def plot(self, *, name=None, ax=None):
        """Draw the curves.

        Parameters
        ----------
        name : str, default=None
            Name of the model, set before that of the class.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure. On axes with curves of another
            model, these get the next colours and line styles.

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


def _roc(positive, score, fold, patient, draws, confidence_level):
    """ROC curve, with intervals from draws of patients, shape (n_draws, n_patients)."""
    folds = [
        (positive[fold == k], score[fold == k], np.flatnonzero(fold == k))
        for k in np.unique(fold)
    ]
    mean = _mean_roc(folds, np.ones(len(fold)))
    if mean is None:
        raise ValueError(
            "folds holds no fold with scans of both sides, so that there is no ROC "
            "curve. Use larger folds."
        )
    area, sensitivity = mean
    if len(folds) == 1:
        fpr, tpr = _roc_points(positive, score, np.ones(len(score)))
    else:
        fpr, tpr = np.append(0, _FALSE_POSITIVE_RATES), np.append(0, sensitivity)
    replicates = [_mean_roc(folds, draw[patient]) for draw in draws]
    replicates = [found for found in replicates if found is not None]
    auc_low = auc_high = np.nan
    tpr_low = tpr_high = None
    if replicates:
        areas, sensitivities = zip(*replicates, strict=True)
        ends = (1 - confidence_level) / 2, (1 + confidence_level) / 2
        auc_low, auc_high = np.quantile(areas, ends)
        tpr_low, tpr_high = np.quantile(sensitivities, ends, axis=0)
    return Bunch(
        fpr=fpr,
        tpr=tpr,
        auc=area,
        auc_low=auc_low,
        auc_high=auc_high,
        grid=_FALSE_POSITIVE_RATES,
        tpr_low=tpr_low,
        tpr_high=tpr_high,
        n_positive=int(positive.sum()),
        n_scans=len(positive),
        n_patients=draws.shape[1],
    )


def _mean_roc(folds, weight):
    """Area and sensitivities on the grid, folds averaged by their pairs of scans."""
    pairs, areas, sensitivities = [], [], []
    for positive, score, scans in folds:
        drawn = weight[scans]
        n_pairs = drawn[positive].sum() * drawn[~positive].sum()
        if n_pairs:
            fpr, tpr = _roc_points(positive, score, drawn)
            pairs.append(n_pairs)
            areas.append(np.trapezoid(tpr, fpr))
            sensitivities.append(np.interp(_FALSE_POSITIVE_RATES, fpr, tpr))
    if not pairs:
        return None
    return np.average(areas, weights=pairs), np.average(sensitivities, 0, pairs)


def _roc_points(positive, score, weight):
    """Points of the ROC curve of weighted scans, equal scores taken together."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)
    true = np.cumsum((weight * positive)[order])[last]
    false = np.cumsum((weight * ~positive)[order])[last]
    return np.append(0, false / false[-1]), np.append(0, true / true[-1])
