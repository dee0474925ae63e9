"""From a table of scans to a table of vertebrae."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from tbsclassify._boxes import BOX_SIDES, LEVELS, box_columns, check_boxes, put_boxes
from tbsclassify._scans import (
    as_pandas,
    mask_column,
    masks_in,
    numbers_in,
    scans_of,
)
from tbsclassify._squares import Resample
from tbsclassify._validation import check_number
from tbsclassify.cropping import LumbarCropper
from tbsclassify.images import iter_scans
from tbsclassify.texture._regions import window_of_box


class VertebraSplitter(BaseEstimator):
    """Split scans into their vertebrae, one row for each whose box is known.

    Each vertebra becomes a square crop centred on its box. By default pixels are
    copied, as in `LumbarCropper`. To exclude a vertebra, set its box to NaN: a vertebra
    without a box is left out.

    Parameters
    ----------
    size : int, default=96
        Side of a crop in pixels. 96 pixels of 0.6 mm hold a vertebra of 58 mm.
    spacing : float, default=None
        Height and width in mm of the crops' pixels, to which scans are resampled.
        None leaves pixels as they are. See `LumbarCropper`.
    resample : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Pillow's filter where `spacing` resamples.
    min_vertebrae : int, default=2
        Vertebrae that a scan must have at least, 1 to 4.

    See Also
    --------
    PatientAggregator : A classifier of scans that learns from their vertebrae.
    LumbarCropper : One crop of L1-L4 together.

    Notes
    -----
    Densitometry leaves out vertebrae that are changed by a fracture, degeneration or
    metal. At least two must remain: no diagnosis is made from one [1]_.

    Files are read once, and all scans are in memory while they are split.

    References
    ----------
    .. [1] International Society for Clinical Densitometry, "Adult Official
       Positions", 2019, section on the spine region of interest.

    Examples
    --------
    >>> import numpy as np
    >>> from tbsclassify import VertebraSplitter
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(2, random_state=0)
    >>> vertebrae, scan = VertebraSplitter().split(scans.frame)
    >>> vertebrae["level"].tolist()
    [1, 2, 3, 4, 1, 2, 3, 4]
    >>> scan
    array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> vertebrae["image"][0].shape, scans.tbs[scan].shape
    ((96, 96), (8,))

    To exclude vertebrae, take their boxes away:

    >>> boxes = scans.boxes.copy()
    >>> boxes[1, 3] = np.nan
    >>> vertebrae, scan = VertebraSplitter().split(scans.frame, boxes=boxes)
    >>> len(vertebrae)
    7
    """

    def __init__(
        self,
        size: int = 96,
        *,
        spacing: float | None = None,
        resample: Resample = "bilinear",
        min_vertebrae: int = 2,
    ) -> None:
        self.size = size
        self.spacing = spacing
        self.resample = resample
        self.min_vertebrae = min_vertebrae

    def split(
        self, X: Any, boxes: ArrayLike | None = None
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Split scans into vertebrae.

        Parameters
        ----------
        X : DataFrame, array of shape (n_scans, height, width) or sequence
            Scans, as `LumbarCropper` takes them. In a table boxes are in columns
            ``L1_top``, ``L1_left``, ``L1_bottom``, ``L1_right`` and so on to
            ``L4_right``; pixel sizes may be in columns ``row_spacing`` and
            ``column_spacing``, and label maps of L1 to L4 (1 to 4), or of 0 and 1
            for the whole spine, in a column ``mask``.
        boxes : array-like of shape (n_scans, 4, 4), default=None
            Boxes of L1 to L4 as (top, left, bottom, right) in pixels, ends
            exclusive, NaN where not known or excluded. They take the place of those
            in a table, and must be given for scans that are no table.

        Returns
        -------
        vertebrae : pandas.DataFrame
            A row for each vertebra, scan after scan and from L1 down: the crop in
            ``image``, 1 to 4 in ``level``, and all columns of its scan. Box, pixel
            size and label map are those of the crop; boxes of other levels are NaN,
            and so texture features describe this vertebra alone. Rows are counted
            from 0.
        scan : ndarray of int of shape (n_vertebrae,)
            Index of the scan that each vertebra is of, so that ``y[scan]`` is its
            class and ``groups[scan]`` its patient.

        Raises
        ------
        ValueError
            If a scan has fewer vertebrae than `min_vertebrae`, or boxes are not those
            of single vertebrae; as by `LumbarCropper`, if a scan or a box is not
            valid, or `spacing` needs a pixel size that is not known.

        Warns
        -----
        UserWarning
            If crops are smaller than their vertebrae, or pixel sizes are known to
            differ by more than 2 % and `spacing` is None.
        """
        check_number(self.min_vertebrae, "min_vertebrae", low=1, high=4, integer=True)
        images = list(iter_scans(_scans_alone(X)))
        boxes = _boxes_by_level(X, boxes, len(images))
        known = ~np.isnan(boxes).any(axis=2)
        self._check_enough(known)
        scan, level = np.nonzero(known)
        vertebrae = _table_of(X, images).iloc[scan].reset_index(drop=True)
        own = np.full((len(scan), len(LEVELS), len(BOX_SIDES)), np.nan)
        own[np.arange(len(scan)), level] = boxes[scan, level]
        vertebrae = put_boxes(vertebrae, own, np.ones(len(scan), dtype=bool))
        vertebrae["level"] = level + 1
        mask = mask_column(vertebrae.columns)
        if mask is not None:
            maps = masks_in(vertebrae, mask)
            vertebrae[mask] = _masks_of_level(maps, level + 1, boxes[scan, level])
        cropper = LumbarCropper(self.size, spacing=self.spacing, resample=self.resample)
        return cropper.transform_table(vertebrae), scan

    def _check_enough(self, known: np.ndarray) -> None:
        few = np.flatnonzero(known.sum(axis=1) < self.min_vertebrae)
        if not few.size:
            return
        advice = "" if self.min_vertebrae == 1 else ", or lower min_vertebrae"
        raise ValueError(
            f"Expected the boxes of min_vertebrae={self.min_vertebrae} vertebrae or "
            f"more in each scan, got fewer in {few.size} of {len(known)} scans, index "
            f"{few[:10].tolist()}. Leave these scans out, or give the missing boxes"
            f"{advice}."
        )


def _scans_alone(X: Any) -> Any:
    scans = scans_of(X)
    if hasattr(scans, "columns"):
        raise ValueError(
            "Expected X to have its scans or their paths in a column 'image', got a "
            "table without it. Add it, or pass scans and boxes by themselves."
        )
    return scans


def _boxes_by_level(X: Any, boxes: ArrayLike | None, n_scans: int) -> np.ndarray:
    """Return the boxes of L1 to L4, shape (n_scans, 4, 4), NaN where not known."""
    expected = "Expected boxes of single vertebrae, "
    if boxes is None:
        names = box_columns(getattr(X, "columns", ()))
        if not names.keys() & set(LEVELS):
            raise ValueError(
                f"{expected}in columns L1_top, L1_left, L1_bottom, L1_right to "
                "L4_right of X or in boxes, got none. Add these columns, or pass boxes "
                f"of shape ({n_scans}, 4, 4)."
            )
        unknown = np.full((n_scans, len(BOX_SIDES)), np.nan)
        boxes = np.stack(
            [
                numbers_in(X, names[level]) if level in names else unknown
                for level in LEVELS
            ],
            axis=1,
        )
    if np.shape(boxes) != (n_scans, len(LEVELS), len(BOX_SIDES)):
        raise ValueError(
            f"{expected}of shape ({n_scans}, 4, 4) for L1 to L4 of {n_scans} scans, "
            f"got shape {np.shape(boxes)}. Put NaN where a vertebra has no box."
        )
    return check_boxes(boxes, n_scans)


def _table_of(X: Any, images: list[np.ndarray]) -> pd.DataFrame:
    """Return a table of scans as a table of pandas, with pixels instead of paths."""
    pixels = np.empty(len(images), dtype=object)
    pixels[:] = images
    if "image" not in getattr(X, "columns", ()):
        return pd.DataFrame({"image": pixels})
    if "level" in X.columns:
        raise ValueError(
            "Expected X to have no column 'level', which the table of vertebrae gets. "
            "Drop or rename it."
        )
    return as_pandas(X).assign(image=pixels)


def _masks_of_level(
    masks: list[Any], level: np.ndarray, boxes: np.ndarray
) -> pd.Series:
    """Keep one label of each map, or None, so that the box is used, if it is absent.

    Of a map of the whole spine, 0 and 1, the part in the box is kept.
    """
    kept: list[Any] = []
    for mask, label, box in zip(masks, level.tolist(), boxes, strict=True):
        own = None if mask is None else np.asarray(mask) == label
        if own is not None and np.max(mask, initial=0) <= 1:
            window = window_of_box(box, own.shape, 0)
            own = np.zeros(own.shape, dtype=bool)
            own[window] = np.asarray(mask)[window] == 1
        kept.append(None if own is None or not own.any() else np.where(own, mask, 0))
    return pd.Series(kept, dtype=object)
