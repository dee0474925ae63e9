"""F1 score, sensitivity and training time of many models in one picture."""

import math
from typing import Any, Self

import numpy as np
import pandas as pd

from tbsclassify.plotting._style import (
    COLOURS,
    LABEL_SIZE,
    MARKERS,
    axes_of,
    nth,
    place_labels,
)

_MEASURES = ("sensitivity", "f1")
_SECONDS = "seconds_per_10_epochs"
_LARGEST_AREA = 1200  # square points
_LEGEND = {"alignment": "left", "fontsize": LABEL_SIZE, "title_fontsize": LABEL_SIZE}


class F1SensitivityDisplay:
    """F1 score over sensitivity, with circles that show the training time.

    The paper's Figure 4 [1]_, with two changes. The *area* of a circle is
    proportional to the training time; with its diameter, a model that takes twice
    as long would look four times as costly. And intervals are drawn where they
    are known.

    Parameters
    ----------
    table : pandas.DataFrame
        A row for each model, indexed by its name, as described under
        `from_table`.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    circles_ : list of matplotlib.collections.PathCollection
        A circle for each model with a training time, the longest first.
    labels_ : list of matplotlib.text.Annotation
        Names of the models, in the order of `table`.

    See Also
    --------
    tbsclassify.compare_models : Makes the table.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Fig. 4.

    Examples
    --------
    >>> import pandas as pd
    >>> from tbsclassify.plotting import F1SensitivityDisplay
    >>> table = pd.DataFrame(
    ...     {
    ...         "sensitivity": [0.786, 0.738, 0.714],
    ...         "f1": [0.759, 0.747, 0.741],
    ...         "seconds_per_10_epochs": [86.18, 55.61, 83.69],
    ...         "approach": ["retrained", "ad hoc", "retrained"],
    ...     },
    ...     index=["SqueezeNet", "Model 4", "ResNet-18"],
    ... )
    >>> display = F1SensitivityDisplay.from_table(table)
    >>> [label.get_text() for label in display.labels_]
    ['SqueezeNet', 'Model 4', 'ResNet-18']
    """

    def __init__(self, table: pd.DataFrame):
        self.table = table

    @classmethod
    def from_table(
        cls, table: pd.DataFrame, *, intervals: bool = True, ax: Any = None
    ) -> Self:
        """Draw the table of a comparison.

        Parameters
        ----------
        table : pandas.DataFrame
            A row for each model, indexed by its name, with the columns
            ``sensitivity``, ``f1`` and ``seconds_per_10_epochs``. Models without
            one of the two measures, such as those that failed, are left out;
            those without a training time get no circle. Optional columns:
            ``sensitivity_low``, ``sensitivity_high``, ``f1_low`` and ``f1_high``
            (intervals), and ``approach`` (colour and marker).
        intervals : bool, default=True
            Whether to draw intervals, where the table has them.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : F1SensitivityDisplay
            The display, drawn.
        """
        missing = {*_MEASURES, _SECONDS} - {*table.columns}
        if missing:
            raise ValueError(
                f"table lacks the column(s) {sorted(missing)}; it has "
                f"{[*table.columns]}. Rename its columns or add these."
            )
        table = table.dropna(subset=[*_MEASURES])
        if table.empty:
            raise ValueError(
                "table holds no model with a sensitivity and an F1 score, so that "
                "there is nothing to draw."
            )
        return cls(table).plot(ax, intervals=intervals)

    @classmethod
    def from_comparison(
        cls, result: Any, *, intervals: bool = True, ax: Any = None
    ) -> Self:
        """Draw the models of a comparison.

        Parameters
        ----------
        result : ComparisonResult
            Result of `compare_models`.
        intervals : bool, default=True
            Whether to draw intervals, where the comparison has them.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : F1SensitivityDisplay
            The display, drawn.
        """
        return cls.from_table(result.table, intervals=intervals, ax=ax)

    def plot(self, ax: Any = None, *, intervals: bool = True) -> Self:
        """Draw the models.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.
        intervals : bool, default=True
            Whether to draw intervals, where the table has them.

        Returns
        -------
        display : F1SensitivityDisplay
            The display itself.
        """
        self.ax_ = axes_of(ax, (7.5, 5.0))
        self.figure_ = self.ax_.figure
        table = self.table
        points = table[[*_MEASURES]].to_numpy(float)
        seconds = table[_SECONDS].to_numpy(float)
        timed = np.isfinite(seconds)
        longest = seconds[timed].max(initial=0.0)
        area = np.where(timed, seconds, 0) * _LARGEST_AREA / (longest or 1)
        approach = table["approach"] if "approach" in table else [""] * len(table)
        approaches = [*dict.fromkeys(approach)]
        kind = np.array([approaches.index(name) for name in approach])

        if intervals:
            self._draw_intervals(points, kind)
        longest_first = np.argsort(-area, kind="stable")[: timed.sum()]
        self.circles_ = [
            self._draw_circle(points[i], area[i], nth(COLOURS, kind[i]))
            for i in longest_first
        ]
        for i, name in enumerate(approaches):
            self.ax_.plot(
                *points[kind == i].T,
                linestyle="",
                marker=nth(MARKERS, i),
                markersize=4,
                color=nth(COLOURS, i),
                label=name,
            )
        self._set_up_axes()
        self._draw_legends(approaches, seconds[timed], longest)
        names = [str(name) for name in table.index]
        radii = np.maximum(np.sqrt(area) / 2, 3)
        self.labels_ = place_labels(self.ax_, points, names, radii)
        return self

    def _draw_circle(self, point, area, colour):
        return self.ax_.scatter(
            *point, s=area, facecolor=(colour, 0.25), edgecolor=colour
        )

    def _set_up_axes(self):
        self.ax_.margins(0.12)
        self.ax_.set(xlabel="Sensitivity", ylabel="F1 score")
        for axis in (self.ax_.xaxis, self.ax_.yaxis):
            low, high = axis.get_view_interval()
            ticks = axis.get_majorticklocs()
            axis.set_ticks(ticks[(ticks >= max(low, 0)) & (ticks <= min(high, 1))])
        self.ax_.grid(color="0.9", linewidth=0.6)
        self.ax_.set_axisbelow(True)

    def _draw_intervals(self, points, kind):
        limits = [f"{name}_{end}" for name in _MEASURES for end in ("low", "high")]
        if not {*limits} <= {*self.table.columns}:
            return
        ends = self.table[limits].to_numpy(float).reshape(-1, 2, 2)
        lengths = np.abs(ends - points[:, :, np.newaxis])
        for point, (x_lengths, y_lengths), i in zip(points, lengths, kind, strict=True):
            self.ax_.errorbar(
                *point,
                xerr=x_lengths[:, np.newaxis],
                yerr=y_lengths[:, np.newaxis],
                fmt="none",
                ecolor=(nth(COLOURS, i), 0.35),
                elinewidth=0.8,
                zorder=0.5,
            )

    def _draw_legends(self, approaches, seconds, longest):
        outside = {"borderaxespad": 0.0, "frameon": False, **_LEGEND}
        if approaches != [""]:
            legend = self.ax_.legend(
                title="Approach",
                loc="upper left",
                bbox_to_anchor=(1.02, 1),
                **outside,
            )
            self.ax_.add_artist(legend)
            legend.set_clip_on(False)  # clipped artists get no room in the layout
        if not longest:
            return
        from matplotlib.lines import Line2D

        circles = [
            Line2D(
                [],
                [],
                linestyle="",
                marker="o",
                markersize=math.sqrt(size * _LARGEST_AREA / longest),
                markerfacecolor="0.9",
                markeredgecolor="0.3",
                label=f"{size:g} s",
            )
            for size in _round_sizes(seconds.min(), longest)
        ]
        self.ax_.legend(
            handles=circles,
            title="Training time\nof 10 epochs",
            loc="lower left",
            bbox_to_anchor=(1.02, 0),
            labelspacing=circles[-1].get_markersize() / LABEL_SIZE - 0.6,
            handletextpad=1.4,
            borderpad=1.4,
            **outside,
        )


def _round_sizes(shortest, longest):
    """Return up to three round numbers of seconds in the range of the circles."""
    sizes = []
    for size in np.geomspace(max(shortest, longest / 30), longest, 3):
        unit = 10.0 ** math.floor(math.log10(size))
        sizes.append(unit * max(step for step in (1, 2, 5) if step * unit <= size))
    return sorted({*sizes})
