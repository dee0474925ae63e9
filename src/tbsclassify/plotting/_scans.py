"""Contact sheets: scans with their crops, and augmented scans."""

import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from tbsclassify._boxes import check_scans_and_boxes, hull
from tbsclassify._scans import check_scan
from tbsclassify._spacing import check_spacings
from tbsclassify._validation import check_number, check_random_seed
from tbsclassify.cropping import LumbarCropper
from tbsclassify.images import iter_scans
from tbsclassify.plotting._image import (
    draw_square,
    draw_vertebrae,
    grey_range,
    show_image,
    view_of,
)
from tbsclassify.plotting._style import LABEL_SIZE, load_pyplot

_TILE_WIDTH = 1.9  # inches


class ContactSheetDisplay:
    """Images side by side, with vertebrae and crops drawn in.

    All images of a sheet share one grey scale: black is 0, and white the brightest
    level of the images' depth (of floating-point images, their darkest and
    brightest level).

    Parameters
    ----------
    images : sequence of ndarray of shape (height, width)
        Images.
    titles : sequence of str
        Title of each image.
    boxes : ndarray of shape (n_images, n_vertebrae, 4), default=None
        Boxes as (top, left, bottom, right) in pixels, NaN where unknown.
    squares : ndarray of shape (n_images, 4), default=None
        What is cropped, in the same form.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        Axes of each image.
    figure_ : matplotlib.figure.Figure
        Figure drawn on.

    See Also
    --------
    CropDisplay : One scan, with the axis of the spine and confidences.

    Examples
    --------
    >>> from tbsclassify import make_dxa_phantoms
    >>> from tbsclassify.plotting import ContactSheetDisplay
    >>> scans = make_dxa_phantoms(2, random_state=0)
    >>> display = ContactSheetDisplay.from_scans(scans.frame)
    >>> [title.split()[0] for title in display.titles]
    ['TBS', 'TBS']
    >>> display.squares[0, 2:] - display.squares[0, :2]
    array([224., 224.])
    """

    def __init__(
        self,
        images: Sequence[np.ndarray],
        titles: Sequence[str],
        boxes: np.ndarray | None = None,
        squares: np.ndarray | None = None,
    ):
        self.images = images
        self.titles = titles
        self.boxes = boxes
        self.squares = squares

    @classmethod
    def from_scans(
        cls,
        X: Any,
        y: ArrayLike | None = None,
        *,
        boxes: ArrayLike | None = None,
        tbs: ArrayLike | None = None,
        cropper: LumbarCropper | None = None,
        **options: Any,
    ) -> Self:
        """Draw scans with their L1-L4 boxes and what a cropper takes of them.

        Parameters
        ----------
        X : array, sequence or DataFrame
            Scans, as in `LumbarCropper.transform`. A DataFrame may have the TBS of
            each in a column ``tbs``. No other column is shown.
        y : array-like of shape (n_scans,), default=None
            Class of each scan, for the title: names read better than numbers.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes, which take the place of those in a DataFrame.
        tbs : array-like of shape (n_scans,), default=None
            Trabecular bone scores, which take the place of those in a DataFrame.
        cropper : LumbarCropper, default=None
            Cropper whose square is drawn; None stands for ``LumbarCropper()``.
        **options : dict
            As in `plot`.

        Returns
        -------
        display : ContactSheetDisplay
            The display, drawn.
        """
        cropper = LumbarCropper() if cropper is None else cropper
        cropper.fit(X, boxes=boxes)  # checks its parameters
        if tbs is None and "tbs" in getattr(X, "columns", ()):
            tbs = X["tbs"]
        scans, known = check_scans_and_boxes(X, boxes)
        images = list(iter_scans(scans))
        spacings = check_spacings(X)
        titles: list[list[str]] = [[] for _ in images]
        if tbs is not None:
            for title, score in zip(titles, np.asarray(tbs, float), strict=True):
                title += [] if np.isnan(score) else [f"TBS {score:.3f}"]
        if y is not None:
            for title, label in zip(titles, np.asarray(y).tolist(), strict=True):
                title.append(str(label))
        squares = np.array(
            [
                cropper.square_of(image.shape, box, spacing)
                for image, box, spacing in zip(
                    images,
                    hull(known),
                    [None] * len(images) if spacings is None else spacings,
                    strict=True,
                )
            ]
        )
        display = cls(images, [", ".join(title) for title in titles], known, squares)
        return display.plot(**options)

    @classmethod
    def from_augmentation(
        cls,
        augmentation: Any,
        image: np.ndarray,
        *,
        n_versions: int = 7,
        random_state: np.random.RandomState | int | None = None,
        **options: Any,
    ) -> Self:
        """Draw an image and randomly augmented versions of it.

        Parameters
        ----------
        augmentation : RandomAugmentation
            The augmentation.
        image : ndarray of shape (height, width)
            Grey levels of a scan or a crop.
        n_versions : int, default=7
            Number of augmented versions.
        random_state : int, RandomState or None, default=None
            Seed of the augmentation.
        **options : dict
            As in `plot`.

        Returns
        -------
        display : ContactSheetDisplay
            The display, drawn.
        """
        import torch

        check_number(n_versions, "n_versions", low=1, integer=True)
        image = check_scan(image, 0)
        generator = torch.Generator().manual_seed(check_random_seed(random_state))
        batch = torch.from_numpy(np.stack([image[np.newaxis]] * n_versions))
        draws = augmentation.draw(n_versions, generator)
        versions = augmentation.apply(batch, draws).numpy()[:, 0]
        titles = ["Original", *map(_describe, *draws)]
        return cls([image, *versions], titles).plot(**options)

    def plot(self, *, n_columns: int = 4, figure: Any = None) -> Self:
        """Draw the images.

        Parameters
        ----------
        n_columns : int, default=4
            Images in a row.
        figure : matplotlib.figure.Figure or SubFigure, default=None
            Empty figure to draw on; None makes one.

        Returns
        -------
        display : ContactSheetDisplay
            The display itself.
        """
        check_number(n_columns, "n_columns", low=1, integer=True)
        squares = [None] * len(self.images) if self.squares is None else self.squares
        views = [*map(view_of, self.images, squares)]
        n_columns = min(n_columns, len(self.images))
        n_rows = math.ceil(len(self.images) / n_columns)
        if figure is None:
            figure = _make_figure(n_rows, n_columns, views)
        self.figure_ = figure
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        self.axes_ = [*grid[: len(self.images)]]
        for ax in grid:
            ax.set_axis_off()
        grey = grey_range(self.images)
        for ax, image, title, view in zip(
            self.axes_, self.images, self.titles, views, strict=True
        ):
            show_image(ax, image, view, grey)
            ax.set_title(title, size=LABEL_SIZE)
        self._draw_rectangles()
        return self

    def _draw_rectangles(self):
        handles = {}
        if self.boxes is not None:
            for ax, boxes in zip(self.axes_, self.boxes, strict=True):
                vertebra = draw_vertebrae(ax, boxes)
                if vertebra is not None:
                    handles["L1-L4"] = vertebra
        if self.squares is not None:
            for ax, square in zip(self.axes_, self.squares, strict=True):
                handles["Crop"] = draw_square(ax, square)
        if handles:
            self.figure_.legend(
                handles.values(),
                handles.keys(),
                loc="outside lower center",
                ncols=2,
                frameon=False,
                fontsize=LABEL_SIZE,
            )


def _make_figure(n_rows, n_columns, views):
    """Make a figure with room for all views (top, left, bottom, right)."""
    tallest = max((bottom - top) / (right - left) for top, left, bottom, right in views)
    tile_height = _TILE_WIDTH * tallest + 0.3
    return load_pyplot().figure(
        figsize=(n_columns * _TILE_WIDTH, n_rows * tile_height + 0.3),
        layout="constrained",
    )


def _describe(flip, angle, brightness):
    """Describe an augmentation of an image."""
    flipped = "flipped, " if flip else ""
    sign = "\N{MINUS SIGN}" if angle < 0 else "+"
    return f"{flipped}{sign}{abs(angle):.1f}°, \N{MULTIPLICATION SIGN} {brightness:.2f}"
