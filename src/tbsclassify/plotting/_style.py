"""The look of all displays, and labels that do not overlap."""

from collections.abc import Sequence
from typing import Any

import numpy as np

# Okabe and Ito's colours, which colour-blind readers can tell apart. Markers and line
# styles change along with them, so that greyscale prints can be read, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1)), (0, (1, 1)))
LABEL_SIZE = 8

_MARGIN = 1.5  # points kept free around a label
_GAPS = (0, 4, 8, 14, 20, 30, 42, 56, 72)  # points between a label and its point
_LEADER_FROM = 6  # a label farther away than this is joined to its point by a line
_LEADER = {"arrowstyle": "-", "color": "0.2", "linewidth": 0.8, "shrinkB": 0}
# Straight up first, straight down last.
_DIRECTIONS = 1j * np.exp(1j * np.pi * np.array(sorted(range(-7, 9), key=abs)) / 8)


def load_pyplot() -> Any:
    """Return matplotlib's pyplot, or say how to install it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Plotting needs matplotlib, which is not installed. Install it with "
            'pip install "tbsclassify[plot]".'
        ) from error
    return plt


def axes_of(ax: Any, size: tuple[float, float]) -> Any:
    """Return `ax`, or the axes of a new figure of this size in inches."""
    plt = load_pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def nth(options: Sequence, i: Any) -> Any:
    """Return option `i`, starting again after the last one."""
    return options[i % len(options)]


def outlined(colour: str, width: float = 2.0) -> list:
    """Return path effects that outline a text or a line."""
    load_pyplot()
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=colour)]


def place_labels(
    ax: Any, points: np.ndarray, texts: Sequence[str], radii: np.ndarray
) -> list:
    """Write a label beside each point, away from points and other labels.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes whose limits and layout are final.
    points : ndarray of shape (n, 2)
        Points in data coordinates.
    texts : sequence of n str
        Labels.
    radii : ndarray of shape (n,)
        Radii of the discs drawn at the points, in typographic points.

    Returns
    -------
    labels : list of matplotlib.text.Annotation
        The labels. Each has the place with the least overlap, as near to its point as
        possible.
    """
    figure = ax.figure.canvas.figure  # the whole one, where ax is in a part of it
    figure.draw_without_rendering()  # settles the layout
    dots = figure.dpi / 72
    centres = ax.transData.transform(points) @ [1, 1j]
    radii = radii * dots
    taken = [*_boxes(centres, radii, radii)]
    if (legend := ax.get_legend()) is not None:
        taken.append(np.array(legend.get_window_extent().extents))
    frame = ax.get_window_extent()
    labels = []
    for point, centre, radius, text in zip(points, centres, radii, texts, strict=True):
        width, height = _size_of_label(ax, text)
        half_width = width / 2 + dots * _MARGIN
        half_height = height / 2 + dots * _MARGIN
        offset, gaps = _places_around(radius, half_width, half_height, dots)
        boxes = _boxes(centre + offset, half_width, half_height)
        outside = (2 * half_width) * (2 * half_height) - _overlap(
            boxes, np.array([[frame.x0, frame.y0, frame.x1, frame.y1]])
        )
        cost = _overlap(boxes, np.array(taken)) + 10 * outside + gaps
        best = int(cost.argmin())
        taken.append(boxes[best])
        far = gaps[best] > _LEADER_FROM * dots
        labels.append(
            ax.annotate(
                text,
                point,
                (offset[best].real / dots, offset[best].imag / dots),
                textcoords="offset points",
                ha="center",
                va="center",
                size=LABEL_SIZE,
                arrowprops=_LEADER if far else None,
                path_effects=outlined("white"),
            )
        )
    return labels


def _size_of_label(ax, text):
    probe = ax.text(0, 0, text, size=LABEL_SIZE)
    extent = probe.get_window_extent()
    probe.remove()
    return extent.width, extent.height


def _places_around(radius, half_width, half_height, dots):
    """Return offsets of labels from the centre of a disc, and their gaps to it."""
    gaps = dots * np.repeat(_GAPS, len(_DIRECTIONS))
    direction = np.tile(_DIRECTIONS, len(_GAPS))
    offset = direction * (radius + gaps)
    offset += half_width * direction.real + 1j * half_height * direction.imag
    return offset, gaps


def _boxes(centres, half_width, half_height):
    x, y = centres.real, centres.imag
    return np.stack(
        [x - half_width, y - half_height, x + half_width, y + half_height], axis=-1
    )


def _overlap(boxes, others):
    """Return the area that each box shares with all others together."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(0).prod(axis=-1).sum(axis=1)
