"""L1-L4 boxes, given as an array or in the columns of a table of scans."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from tbsclassify._scans import numbers_in, plain_name, scans_of, set_columns
from tbsclassify._warn import warn

# Corners of a box in pixels: the first row and column inside it and the first
# row and column after it.
BOX_SIDES = ("top", "left", "bottom", "right")
LEVELS = ("L1", "L2", "L3", "L4")
BOX_COLUMNS = tuple(f"{level}_{side}" for level in LEVELS for side in BOX_SIDES)
# Columns with the confidences of a localizer in the boxes of a row.
CONFIDENCES = ("level_confidence", "place_confidence")


def check_boxes(boxes: ArrayLike, n_samples: int) -> np.ndarray:
    """Return the L1-L4 boxes of each scan, NaN for unknown ones.

    Parameters
    ----------
    boxes : array-like of shape (n_samples, 4) or (n_samples, n_levels, 4)
        One box, or one for each vertebra, as ``(top, left, bottom, right)`` in pixels,
        ends exclusive. A row of NaN means that the box is not known.
    n_samples : int
        Number of scans.

    Returns
    -------
    boxes : ndarray of float of shape (n_samples, n_levels, 4)
        The boxes, with one level if there is one box for each scan.
    """
    boxes = np.asarray(boxes, dtype=float)
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4 or len(boxes) != n_samples:
        hint = ""
        if boxes.shape == (n_samples, 16):
            hint = (
                " Columns L1_top to L4_right become boxes by "
                "columns.to_numpy().reshape(-1, 4, 4)."
            )
        raise ValueError(
            f"Expected boxes to have shape ({n_samples}, 4) or ({n_samples}, "
            f"n_vertebrae, 4) for {n_samples} scans, got {boxes.shape}. Each box is "
            f"(top, left, bottom, right) in pixels.{hint}"
        )
    boxes = boxes.reshape(n_samples, -1, 4)
    unknown = np.isnan(boxes)
    partly = unknown.any(axis=-1) & ~unknown.all(axis=-1)
    reversed_ = (boxes[..., 2:] <= boxes[..., :2]).any(axis=-1)
    bad = np.flatnonzero(
        (partly | reversed_ | np.isinf(boxes).any(axis=-1)).any(axis=1)
    )
    if bad.size:
        first = boxes[bad[0]].tolist()
        raise ValueError(
            f"boxes holds {bad.size} scan(s) with a box that is infinite, partly "
            f"missing or ends before it begins, at index {bad[:10].tolist()} (the "
            f"first is {first}). Expected top < bottom and left < right, or all four "
            "NaN where the box is not known."
        )
    return boxes


def check_scans_and_boxes(
    X: Any, boxes: ArrayLike | None
) -> tuple[list | np.ndarray, np.ndarray]:
    """Take scans and L1-L4 boxes out of any form that `X` may have.

    Parameters
    ----------
    X : array, sequence or table
        Scans of shape (n, h, w) or (n, 1, h, w); or 2-D arrays or paths one by
        one; or a table with these in a column ``image`` and boxes in the columns
        that `box_columns` finds.
    boxes : array-like or None
        Boxes, which take the place of those in a table.

    Returns
    -------
    scans : list of scans or paths, or ndarray of shape (n, ...)
    boxes : ndarray of float of shape (n, n_vertebrae, 4)
        NaN where not known. One vertebra stands for the whole of L1-L4 if only that
        box is known.
    """
    if boxes is None and "image" in getattr(X, "columns", ()):
        boxes = boxes_of_table(X)
    scans = scans_of(X)
    if not isinstance(scans, list):
        scans = check_array(scans, allow_nd=True, dtype="numeric", input_name="X")
        if scans.ndim == 2:
            # Rows of numbers are read as images one row high.
            scans = scans[:, np.newaxis]
    if boxes is None:
        return scans, np.full((len(scans), 1, 4), np.nan)
    return scans, check_boxes(boxes, len(scans))


def hull(boxes: np.ndarray) -> np.ndarray:
    """Return the box around all known vertebrae of each scan, shape (n, 4)."""
    return np.concatenate(
        [
            np.fmin.reduce(boxes[..., :2], axis=1),
            np.fmax.reduce(boxes[..., 2:], axis=1),
        ],
        axis=1,
    )


def remember_boxes(estimator: Any, is_located: np.ndarray) -> None:
    """Set `has_boxes_` of an estimator: whether most scans of its fit had boxes."""
    estimator.has_boxes_ = bool(2 * is_located.sum() >= len(is_located))


def warn_of_boxes(estimator: Any, is_located: np.ndarray, otherwise: str) -> None:
    """Warn if X shows two regions of the spine, or another region than in the fit.

    Parameters
    ----------
    estimator : object
        Without `has_boxes_` it was not fitted, and knows of no other scans.
    is_located : ndarray of bool of shape (n_scans,)
        Whether L1-L4 is known in each scan.
    otherwise : str
        What happens to scans without boxes.
    """
    name, fitted = type(estimator).__name__, getattr(estimator, "has_boxes_", None)
    with_boxes, without = np.flatnonzero(is_located), np.flatnonzero(~is_located)
    if with_boxes.size and without.size:
        problem = (
            "Some scans have boxes of L1-L4 and others none. Those without are "
            f"{otherwise}"
        )
    elif fitted and without.size:
        problem = (
            f"{name} was fitted on scans with boxes of L1-L4, and these scans have "
            f"none. They are {otherwise}"
        )
    elif fitted is False and with_boxes.size:
        problem = (
            f"{name} was fitted on scans without boxes of L1-L4, and these scans have "
            f"some. Those of the fit were {otherwise}"
        )
    else:
        return
    warn(
        f"{problem}, so a model sees another region. Give all scans their boxes (in a "
        "table they stay with them), or none; LumbarLocalizer().transform_table finds "
        "missing ones."
    )


def box_columns(columns: Iterable[Any]) -> dict[str, list[Any]]:
    """Find the columns of a table that hold boxes.

    Case, blanks and punctuation do not matter: ``l1 top`` is ``L1_top``.

    Returns
    -------
    names : dict
        By level ("L1" ... "L4"; "" is one box of the whole of L1-L4) the names of
        the four columns top, left, bottom, right. Levels without a box are
        absent.

    Raises
    ------
    ValueError
        If a level has some of its four columns only, or two columns for one side.
    """
    found: dict[str, list[Any]] = {}
    for name in columns:
        found.setdefault(plain_name(name), []).append(name)
    names = {}
    for level in (*LEVELS, ""):
        wanted = [f"{level}{side}".lower() for side in BOX_SIDES]
        present = [key for key in wanted if key in found]
        # A lone "left" may say which hip was scanned. It is no box.
        if not present or (level == "" and len(present) < 3):
            continue
        for key in present:
            if len(found[key]) > 1:
                raise ValueError(
                    f"Expected one column for each side of a box, got {found[key]} "
                    "for one. Drop or rename all but one."
                )
        if len(present) < len(BOX_SIDES):
            expected = ", ".join(f"{level}_{side}".strip("_") for side in BOX_SIDES)
            got = ", ".join(str(found[key][0]) for key in present)
            raise ValueError(
                f"Expected the table to have all four columns of a box, {expected}, "
                f"got only {got}. Add the others, or rename these."
            )
        names[level] = [found[key][0] for key in wanted]
    return names


def boxes_of_table(table: Any) -> np.ndarray | None:
    """Return the boxes in the columns of a table, or None if it has none.

    If some of L1 to L4 have columns, the result has shape (n, 4, 4), with NaN for the
    other levels. If only the whole of L1-L4 has columns, it has shape (n, 1, 4). If
    both have, the whole takes the place of L1 in rows in which no level is known.
    """
    names = box_columns(table.columns)
    if not names:
        return None
    if set(names) == {""}:
        return numbers_in(table, names[""])[:, np.newaxis]
    unknown = np.full((len(table), len(BOX_SIDES)), np.nan)
    boxes = [
        numbers_in(table, names[level]) if level in names else unknown
        for level in LEVELS
    ]
    if "" in names:
        no_level = np.isnan(np.concatenate(boxes, axis=1)).all(axis=1, keepdims=True)
        boxes[0] = np.where(no_level, numbers_in(table, names[""]), boxes[0])
    return np.stack(boxes, axis=1)


def put_boxes(table: pd.DataFrame, boxes: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    """Return a table with new boxes of L1-L4, (n_rows, 4, 4), in some of its rows.

    Other rows keep their boxes, and columns their names. Missing columns are added,
    ``L1_top`` to ``L4_right``.
    """
    columns = box_columns(table.columns)
    table = table.copy()
    for level, found in zip(LEVELS, boxes.swapaxes(0, 1), strict=True):
        if level in columns:
            names, values = columns[level], numbers_in(table, columns[level])
        else:
            names = [f"{level}_{side}" for side in BOX_SIDES]
            values = np.full((len(table), len(BOX_SIDES)), np.nan)
        if level not in columns or rows.any():
            set_columns(table, names, np.where(rows[:, np.newaxis], found, values))
    return table
