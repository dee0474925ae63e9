"""One image on axes: grey levels, vertebrae and what is cropped."""

from typing import Any

import numpy as np

from tbsclassify._boxes import LEVELS
from tbsclassify.plotting._style import LABEL_SIZE, outlined

_BOX_LOOK: dict[str, Any] = {"color": "#F0E442", "linewidth": 1.0}
_SQUARE_LOOK: dict[str, Any] = {
    "color": "#56B4E9",
    "linewidth": 1.4,
    "linestyle": (0, (4, 2)),
}


def grey_range(images):
    """Return the grey levels shown black and white."""
    brightest = max(image.max() for image in images)
    if all(image.dtype.kind in "bui" for image in images):
        return 0, 2 ** max(8, int(brightest).bit_length()) - 1
    return min(image.min() for image in images), brightest


def view_of(image: np.ndarray, square: np.ndarray | None) -> np.ndarray:
    """Return the region to show: the image and the square, a little wider."""
    view = np.array([0, 0, *image.shape], dtype=float)
    if square is not None:
        view[:2] = np.minimum(view[:2], square[:2] - 2)
        view[2:] = np.maximum(view[2:], square[2:] + 2)
    return view


def show_image(
    ax: Any, image: np.ndarray, view: np.ndarray, grey: tuple[float, float]
) -> None:
    """Show the part of an image in a view (top, left, bottom, right)."""
    height, width = image.shape
    top, left, bottom, right = view
    # Pixel i reaches from i to i + 1, as in boxes.
    extent = (0, width, height, 0)
    ax.imshow(image, cmap="gray", vmin=grey[0], vmax=grey[1], extent=extent)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def draw_vertebrae(ax: Any, boxes: np.ndarray) -> Any:
    """Draw known boxes with their names; return one of them, None if none is known."""
    drawn = None
    names = LEVELS if len(boxes) == len(LEVELS) else [""] * len(boxes)
    for name, box in zip(names, boxes, strict=True):
        if not np.isnan(box).any():
            drawn = _draw_rectangle(ax, box, _BOX_LOOK)
            _write_level(ax, box, name)
    return drawn


def draw_square(ax: Any, square: np.ndarray) -> Any:
    """Draw what is cropped."""
    return _draw_rectangle(ax, square, _SQUARE_LOOK)


def _draw_rectangle(ax, box, look):
    """Draw a box (top, left, bottom, right)."""
    from matplotlib.patches import Rectangle

    top, left, bottom, right = box
    rectangle = Rectangle(
        (left, top),
        right - left,
        bottom - top,
        fill=False,
        path_effects=outlined("black", look["linewidth"] + 1),
        **look,
    )
    return ax.add_patch(rectangle)


def _write_level(ax, box, level):
    """Write the name of a vertebra beside its box."""
    ax.text(
        box[1] - 3,
        (box[0] + box[2]) / 2,
        level,
        color=_BOX_LOOK["color"],
        size=LABEL_SIZE - 1,
        ha="right",
        va="center",
        path_effects=outlined("black", 1.5),
    )
