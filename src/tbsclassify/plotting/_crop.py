"""One scan, with the results of a localizer and a cropper."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from tbsclassify._boxes import CONFIDENCES, check_scans_and_boxes, hull
from tbsclassify._scans import numbers_in
from tbsclassify._spacing import check_spacings
from tbsclassify._validation import check_number
from tbsclassify.cropping import LumbarCropper
from tbsclassify.images import iter_scans
from tbsclassify.plotting._image import (
    draw_square,
    draw_vertebrae,
    grey_range,
    show_image,
    view_of,
)
from tbsclassify.plotting._style import LABEL_SIZE, axes_of, outlined

_AXIS_LOOK: dict[str, Any] = {
    "color": "#D55E00",
    "linewidth": 1.4,
    "marker": "o",
    "markersize": 3,
}
_HEIGHT = 4.5  # inches
_STRONGEST = 0.99  # quantile of a map's strength that is drawn opaque
_OPACITY = 0.8


class CropDisplay:
    """A scan with its vertebrae, the axis of the spine and what is cropped of it.

    Parameters
    ----------
    image : ndarray of shape (height, width)
        Grey levels of the scan.
    boxes : ndarray of shape (n_vertebrae, 4), default=None
        Boxes as (top, left, bottom, right) in pixels, NaN where unknown. The axis is
        drawn through their centres where two are known.
    square : ndarray of shape (4,), default=None
        What is cropped, in the same form.
    confidence : dict, default=None
        Confidences from 0 to 1, by name, for the title; NaN where unknown.
    saliency : ndarray of shape (crop_height, crop_width), default=None
        Attributions of the crop's pixels, drawn over the square, or over the scan
        without a square: red for evidence of degraded bone, blue against it.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the scan.
    figure_ : matplotlib.figure.Figure
        Figure drawn on.

    See Also
    --------
    ContactSheetDisplay : Many scans side by side.
    tbsclassify.saliency : Attributions.

    Examples
    --------
    >>> from tbsclassify import make_dxa_phantoms
    >>> from tbsclassify.plotting import CropDisplay
    >>> scans = make_dxa_phantoms(2, random_state=0)
    >>> table = scans.frame.assign(level_confidence=0.93, place_confidence=0.88)
    >>> display = CropDisplay.from_scan(table, row=1)
    >>> display.ax_.get_title()
    'level 0.93, place 0.88'
    >>> display.square[2:] - display.square[:2]
    array([224., 224.])
    """

    def __init__(
        self,
        image: np.ndarray,
        boxes: np.ndarray | None = None,
        square: np.ndarray | None = None,
        confidence: dict[str, float] | None = None,
        saliency: np.ndarray | None = None,
    ):
        self.image = image
        self.boxes = boxes
        self.square = square
        self.confidence = confidence
        self.saliency = saliency

    @classmethod
    def from_scan(
        cls,
        X: Any,
        row: int = 0,
        *,
        boxes: ArrayLike | None = None,
        spacings: ArrayLike | None = None,
        cropper: LumbarCropper | None = None,
        saliency: ArrayLike | None = None,
        **options: Any,
    ) -> Self:
        """Draw one of several scans.

        Parameters
        ----------
        X : array, sequence or DataFrame
            Scans, as in `LumbarCropper.transform`. A DataFrame may have confidences
            in columns ``level_confidence`` and ``place_confidence``.
        row : int, default=0
            Which of them, counted from 0.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes of all scans, which take the place of those in a DataFrame.
        spacings : array-like of shape (n_scans,) or (n_scans, 2), default=None
            Height and width in mm of the pixels of all scans, for a cropper with
            `spacing`. They take the place of those in a DataFrame.
        cropper : LumbarCropper, default=None
            Cropper whose square is drawn; None stands for ``LumbarCropper()``.
        saliency : array-like of shape (crop_height, crop_width), default=None
            Attributions of the pixels of this scan's crop, made by this cropper.
        **options : dict
            As in `plot`.

        Returns
        -------
        display : CropDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is no such row, or the map holds NaN or does not have the size of
            the crop.
        """
        cropper = LumbarCropper() if cropper is None else cropper
        scans, known = check_scans_and_boxes(X, boxes)
        check_number(row, "row", low=0, high=len(known) - 1, integer=True)
        (image,) = iter_scans([scans[row]])
        sizes = check_spacings(X, spacings, len(known))
        square = cropper.square_of(
            image.shape, hull(known[[row]])[0], None if sizes is None else sizes[row]
        )
        heat = None
        if saliency is not None:
            heat = np.asarray(
                check_array(saliency, allow_nd=True, dtype=float, input_name="saliency")
            )
            if heat.shape != (cropper.size, cropper.size):
                raise ValueError(
                    "Expected saliency to have the size of the crop, "
                    f"{(cropper.size, cropper.size)}, got {heat.shape}. Pass the "
                    "map of one scan, and the cropper that it was made with."
                )
        columns = getattr(X, "columns", ())
        confidence = {
            name.removesuffix("_confidence"): float(numbers_in(X, [name])[row, 0])
            for name in CONFIDENCES
            if name in columns
        }
        display = cls(image, known[row], square, confidence, heat)
        return display.plot(**options)

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the scan.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : CropDisplay
            The display itself.
        """
        view = view_of(self.image, self.square)
        top, left, bottom, right = view
        size = (_HEIGHT * (right - left) / (bottom - top), _HEIGHT + 0.6)
        self.ax_ = ax = axes_of(ax, size)
        self.figure_ = ax.figure
        show_image(ax, self.image, view, grey_range([self.image]))
        if self.saliency is not None:
            self._draw_saliency(self.saliency)
        ax.set_axis_off()
        handles = {} if self.boxes is None else self._draw_boxes(self.boxes)
        if self.square is not None:
            handles["Crop"] = draw_square(ax, self.square)
        if handles:
            ax.legend(
                handles.values(),
                handles.keys(),
                loc="upper center",
                bbox_to_anchor=(0.5, 0),
                ncols=len(handles),
                frameon=False,
                fontsize=LABEL_SIZE,
            )
        confidence = self.confidence or {}
        texts = [
            f"{name} {value:.2f}"
            for name, value in confidence.items()
            if not np.isnan(value)
        ]
        ax.set_title(", ".join(texts), size=LABEL_SIZE + 1)
        return self

    def _draw_boxes(self, boxes):
        """Draw boxes and axis, and return a handle of each by its name."""
        vertebra = draw_vertebrae(self.ax_, boxes)
        handles = {} if vertebra is None else {"L1-L4": vertebra}
        known = ~np.isnan(boxes).any(axis=1)
        if known.sum() >= 2:
            y, x = ((boxes[:, :2] + boxes[:, 2:]) / 2)[known].T
            effects = outlined("black", _AXIS_LOOK["linewidth"] + 1)
            (handles["Axis"],) = self.ax_.plot(x, y, path_effects=effects, **_AXIS_LOOK)
        return handles

    def _draw_saliency(self, saliency):
        """Lay a map over the square, the more opaque the stronger it is."""
        strongest = float(np.quantile(np.abs(saliency), _STRONGEST))
        shares = np.clip(saliency / (strongest or 1.0), -1, 1)
        square = (0, 0, *self.image.shape) if self.square is None else self.square
        top, left, bottom, right = square
        self.ax_.imshow(
            shares,
            cmap="RdBu_r",
            vmin=-1,
            vmax=1,
            alpha=_OPACITY * np.abs(shares),
            extent=(left, right, bottom, top),
        )
