"""The scans to check, each with its boxes, pixel size and confidences."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from tbsclassify._boxes import CONFIDENCES, LEVELS, check_scans_and_boxes
from tbsclassify._files import reason_of
from tbsclassify._scans import (
    mask_column,
    masks_in,
    numbers_in,
    plain_name,
    scans_of,
)
from tbsclassify._spacing import check_spacings
from tbsclassify.images import iter_scans
from tbsclassify.texture._regions import check_mask


class Scan(NamedTuple):
    """One scan, with its boxes, pixel size and confidences."""

    row: int
    pixels: np.ndarray | None
    error: str
    boxes: np.ndarray
    spacing: np.ndarray
    confidences: dict[str, float]


def iter_checked(
    X: Any, boxes: ArrayLike | None, spacings: ArrayLike | None
) -> Iterator[Scan]:
    """Yield scans; unreadable ones have the reason in place of pixels."""
    pixels = scans_of(X)
    if isinstance(pixels, np.ndarray) and pixels.ndim > 2:
        X = list(pixels)  # so that each is checked by itself
    scans, known = check_scans_and_boxes(X, boxes)
    n_scans, n_boxes = known.shape[:2]
    if n_boxes not in (1, len(LEVELS)):
        raise ValueError(
            f"Expected boxes of L1 to L4, or one of them all, got {n_boxes} a scan. "
            "Put NaN where a level is not known."
        )
    sizes = check_spacings(X, spacings, n_scans)
    sizes = np.full((n_scans, 2), np.nan) if sizes is None else sizes
    columns = list(getattr(X, "columns", ()))
    name = mask_column(columns) if "image" in columns else None
    masks = [None] * n_scans if name is None else masks_in(X, name)
    confidences = _confidences(X, columns)
    for row in range(n_scans):
        pixels, error = _read(scans[row])
        box = known[row]
        if pixels is not None and masks[row] is not None:
            mask = check_mask(masks[row], pixels.shape, f"mask at index {row}")
            box = _with_outlines(box, mask)
        said = {key: float(values[row]) for key, values in confidences.items()}
        yield Scan(row, pixels, error, box, sizes[row], said)


def _read(scan: Any) -> tuple[np.ndarray | None, str]:
    """Return a scan, or why it cannot be read, without the name of its file."""
    is_path = isinstance(scan, str | os.PathLike)
    try:
        pixels = next(iter_scans([scan]))
    except (OSError, ValueError, TypeError) as error:
        if is_path:
            return None, f"not readable: {reason_of(error, scan)}"
        return None, "not readable: no 2-D array of finite grey levels"
    # The filters of SciPy do not support half precision.
    return (pixels.astype(np.float64) if pixels.dtype.kind == "f" else pixels), ""


def _with_outlines(boxes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return boxes, unknown ones from the outlines in a label map.

    A map of 0 and 1 shows the whole spine, not its vertebrae.
    """
    found = np.full((len(LEVELS), 4), np.nan)
    outlines = ndimage.find_objects(mask.astype(int), max_label=len(LEVELS))
    for box, outline in zip(found, outlines, strict=True):
        if outline is not None:
            rows, columns = outline
            box[:] = rows.start, columns.start, rows.stop, columns.stop
    if mask.max(initial=0) <= 1:
        return found[:1] if np.isnan(boxes).all() and len(boxes) == 1 else boxes
    if len(boxes) != len(LEVELS):
        return boxes if np.isnan(found).all() else found
    return np.where(np.isnan(boxes), found, boxes)


def _confidences(X: Any, columns: list[Any]) -> dict[str, np.ndarray]:
    """Return the confidences of a localizer, if there are any."""
    found = {}
    for name in CONFIDENCES:
        alike = [one for one in columns if plain_name(one) == plain_name(name)]
        if alike:
            found[name] = numbers_in(X, alike[:1])[:, 0]
    return found
