"""Loss over the epochs of one training or of several."""

import numpy as np

from tbsclassify.plotting._style import COLOURS, LINE_STYLES, axes_of

_CURVES = {"train_loss": "Training", "valid_loss": "Validation"}


class TrainingHistoryDisplay:
    """Training and validation loss over epochs, with the best epoch marked.

    Of several trainings, such as the folds of a cross-validation, each is a thin
    line and their mean a thick one. The mean ends with the shortest training:
    beyond, it would jump whenever a training stops.

    Parameters
    ----------
    histories : sequence of dict
        The `history_` of each fitted classifier: arrays ``epoch``,
        ``train_loss`` and, where there was a validation set, ``valid_loss``.
    best_epochs : sequence of int, default=None
        The `best_epoch_` of each. None marks no epoch.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes drawn on.
    figure_ : matplotlib.figure.Figure
        Figure of these axes.
    lines_ : dict of str to list of matplotlib.lines.Line2D
        Lines of ``train_loss`` and ``valid_loss``, the mean of several last.
    best_ : matplotlib.lines.Line2D or None
        Marks at the best epochs, None where there was no validation set.

    Examples
    --------
    >>> import numpy as np
    >>> from tbsclassify.plotting import TrainingHistoryDisplay
    >>> history = {
    ...     "epoch": np.arange(1, 5),
    ...     "train_loss": np.array([0.70, 0.55, 0.42, 0.33]),
    ...     "valid_loss": np.array([0.68, 0.60, 0.57, 0.61]),
    ... }
    >>> display = TrainingHistoryDisplay([history], best_epochs=[3]).plot()
    >>> display.best_.get_xydata().tolist()
    [[3.0, 0.57]]
    """

    def __init__(self, histories, best_epochs=None):
        self.histories = histories
        self.best_epochs = best_epochs

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw how a classifier was trained.

        Parameters
        ----------
        estimator : estimator or sequence of estimators
            Fitted classifiers of this library, or Pipelines that end in one. The
            folds of ``cross_validate(..., return_estimator=True)["estimator"]``
            can be passed as they are.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        display : TrainingHistoryDisplay
            The display, drawn.
        """
        estimators = estimator if isinstance(estimator, list | tuple) else [estimator]
        # A Pipeline has a length, too: its last step is what was trained.
        steps = [
            fitted[-1] if hasattr(fitted, "steps") else fitted for fitted in estimators
        ]
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
    def from_comparison(cls, result, model, *, ax=None):
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
                f"model={model!r} has no history in this comparison; {known} have."
            )
        histories = [result.histories[fit] for fit in fits]
        best_epochs = [int(result.fits.loc[fit, "best_epoch"]) for fit in fits]
        return cls(histories, best_epochs).plot(ax=ax)

    def plot(self, *, ax=None):
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
        self.lines_ = {
            name: self._draw(name, title, COLOURS[i], LINE_STYLES[1 - i])
            for i, (name, title) in enumerate(_CURVES.items())
            if all(name in history for history in self.histories)
        }
        self.best_ = None
        if self.best_epochs is not None and "valid_loss" in self.lines_:
            self.best_ = self._mark_best_epochs()
        self.ax_.xaxis.get_major_locator().set_params(integer=True)
        self.ax_.set(xlabel="Epoch", ylabel="Cross-entropy loss (nats)")
        self.ax_.legend(frameon=False)
        return self

    def _draw(self, name, title, colour, style):
        several = len(self.histories) > 1
        look = {"color": colour, "linestyle": style}
        lines = []
        for history in self.histories:
            lines += self.ax_.plot(
                history["epoch"],
                history[name],
                linewidth=0.7 if several else 1.8,
                alpha=0.45 if several else 1,
                label=None if several else title,
                **look,
            )
        if several:
            n_epochs = min(len(history["epoch"]) for history in self.histories)
            mean = np.mean([history[name][:n_epochs] for history in self.histories], 0)
            epoch = self.histories[0]["epoch"][:n_epochs]
            label = f"{title}, mean of {len(self.histories)}"
            lines += self.ax_.plot(epoch, mean, linewidth=2.2, label=label, **look)
        return lines

    def _mark_best_epochs(self):
        losses = [
            history["valid_loss"][np.flatnonzero(history["epoch"] == best)[0]]
            for history, best in zip(self.histories, self.best_epochs, strict=True)
        ]
        several = len(losses) > 1
        (marks,) = self.ax_.plot(
            self.best_epochs,
            losses,
            linestyle="",
            marker="o",
            markersize=5 if several else 8,
            markerfacecolor="white",
            markeredgecolor="black",
            zorder=3,
            label="Best epochs" if several else f"Best epoch: {self.best_epochs[0]}",
        )
        return marks
