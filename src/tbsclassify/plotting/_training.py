"""Loss over the epochs of one training or of several."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from tbsclassify._pipelines import last_step
from tbsclassify.plotting._style import COLOURS, LINE_STYLES, axes_of

_CURVES = {"train_loss": "Training", "valid_loss": "Validation"}


class TrainingHistoryDisplay:
    """Training and validation loss over epochs, with the best epoch marked.

    Of several trainings, such as the folds of a cross-validation, each is a thin
    line and their mean a thick one. The mean ends with the shortest training:
    beyond, it would jump whenever a training stops.

    Parameters
    ----------
    histories : sequence of DataFrame or mapping
        The `history_` of each fitted classifier: columns ``epoch``,
        ``train_loss`` and, where there was a validation set, ``valid_loss``.
    best_epochs : sequence of int, default=None
        The `best_epoch_` of each. None marks no epoch. A number that is not in the
        history, such as 0, is not marked either.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    lines_ : dict of str to list of matplotlib.lines.Line2D
        Lines of ``train_loss`` and ``valid_loss``, the mean of several last.
    best_ : matplotlib.lines.Line2D or None
        Marks at the best epochs; None if no epoch is marked.

    Examples
    --------
    >>> import pandas as pd
    >>> from tbsclassify.plotting import TrainingHistoryDisplay
    >>> history = pd.DataFrame(
    ...     {
    ...         "epoch": [1, 2, 3, 4],
    ...         "train_loss": [0.70, 0.55, 0.42, 0.33],
    ...         "valid_loss": [0.68, 0.60, 0.57, 0.61],
    ...     }
    ... )
    >>> display = TrainingHistoryDisplay([history], best_epochs=[3]).plot()
    >>> display.best_.get_xydata().tolist()
    [[3.0, 0.57]]
    """

    def __init__(
        self,
        histories: Sequence[pd.DataFrame | Mapping[str, Any]],
        best_epochs: Sequence[int] | None = None,
    ):
        self.histories = histories
        self.best_epochs = best_epochs

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> Self:
        """Draw how a classifier was trained.

        Parameters
        ----------
        estimator : estimator or sequence of estimators
            Fitted classifiers of this library, or Pipelines and searches that end
            in one, such as the ``"estimator"`` of
            ``cross_validate(..., return_estimator=True)``.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : TrainingHistoryDisplay
            The display, drawn.
        """
        estimators = estimator if isinstance(estimator, list | tuple) else [estimator]
        steps = [last_step(fitted) for fitted in estimators]
        for step in steps:
            if not hasattr(step, "history_"):
                raise ValueError(
                    f"{type(step).__name__} has no history_. Pass a fitted "
                    "TBSPretrainedClassifier or TBSAdHocClassifier, a Pipeline that "
                    "ends in one, or a list of these."
                )
        histories = [step.history_ for step in steps]
        return cls(histories, [step.best_epoch_ for step in steps]).plot(ax=ax)

    @classmethod
    def from_comparison(cls, result: Any, model: str, *, ax: Any = None) -> Self:
        """Draw how a model of a comparison was trained, fit by fit.

        Parameters
        ----------
        result : ComparisonResult
            Result of `compare_models`.
        model : str
            Name of the model.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : TrainingHistoryDisplay
            The display, drawn.
        """
        fits = [fit for fit in result.histories if fit[0] == model]
        if not fits:
            known = sorted({fit[0] for fit in result.histories})
            raise ValueError(
                f"Expected model to be one of those with training curves, {known}, "
                f"got {model!r}."
            )
        histories = [result.histories[fit] for fit in fits]
        best = result.fits.loc[fits, "best_epoch"].fillna(0).astype(int)
        return cls(histories, best.tolist()).plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : TrainingHistoryDisplay
            The display itself.
        """
        self.ax_ = axes_of(ax, (6.0, 4.0))
        self.figure_ = self.ax_.figure
        histories = [pd.DataFrame(history) for history in self.histories]
        if not histories:
            raise ValueError("Expected histories of one training or more, got none.")
        self.lines_ = {
            name: self._draw(histories, name, title, COLOURS[i], LINE_STYLES[1 - i])
            for i, (name, title) in enumerate(_CURVES.items())
            if all(name in history for history in histories)
        }
        self.best_ = None
        if self.best_epochs is not None and "valid_loss" in self.lines_:
            self.best_ = self._mark_best_epochs(histories)
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.set(xlabel="Epoch", ylabel="Cross-entropy loss (nats)")
        self.ax_.legend(frameon=False)
        return self

    def _draw(
        self,
        histories: list[pd.DataFrame],
        name: str,
        title: str,
        colour: str,
        style: Any,
    ) -> list:
        several = len(histories) > 1
        look = {"color": colour, "linestyle": style}
        lines = []
        for history in histories:
            lines += self.ax_.plot(
                history["epoch"],
                history[name],
                linewidth=0.7 if several else 1.8,
                alpha=0.45 if several else 1,
                label=None if several else title,
                **look,
            )
        if several:
            n_epochs = min(map(len, histories))
            mean = np.mean([history[name][:n_epochs] for history in histories], axis=0)
            epoch = histories[0]["epoch"][:n_epochs]
            label = f"{title}, mean of {len(histories)}"
            lines += self.ax_.plot(epoch, mean, linewidth=2.2, label=label, **look)
        return lines

    def _mark_best_epochs(self, histories: list[pd.DataFrame]) -> Any:
        best = [
            history[history["epoch"] == epoch]
            for history, epoch in zip(histories, self.best_epochs or [], strict=True)
        ]
        marked = pd.concat(best)
        if marked.empty:  # ended before an epoch was the best
            return None
        several = len(histories) > 1
        first = int(marked["epoch"].iloc[0])
        (marks,) = self.ax_.plot(
            marked["epoch"],
            marked["valid_loss"],
            linestyle="",
            marker="o",
            markersize=5 if several else 8,
            markerfacecolor="white",
            markeredgecolor="black",
            zorder=3,
            label="Best epochs" if several else f"Best epoch: {first}",
        )
        return marks
