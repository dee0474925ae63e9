"""Leave vertebrae out of a table of scans."""

from typing import Any

import numpy as np
import pandas as pd

from tbsclassify._boxes import LEVELS, box_columns
from tbsclassify._scans import mask_column, masks_in, numbers_in
from tbsclassify._validation import check_number
from tbsclassify._warn import warn
from tbsclassify.texture._regions import window_of_box

_NEEDED = ("scan", "level", "excluded")
_LABELS = np.arange(1, 1 + len(LEVELS))


def exclude_vertebrae(
    table: pd.DataFrame, report: pd.DataFrame, *, min_remaining: int = 2
) -> pd.DataFrame:
    """Leave out the vertebrae that a report marks as excluded.

    Their boxes become NaN, so croppers and texture features do not use them, and their
    labels in label maps become 0.

    Parameters
    ----------
    table : DataFrame
        Scans with boxes of L1 to L4 in columns, label maps of L1 to L4 (1 to 4) in a
        column ``mask``, or both. Other columns are kept as they are.
    report : DataFrame
        What `check_vertebrae` returns for the same rows, or any table with columns
        ``scan`` (row number in `table`, from 0), ``level`` and ``excluded``.
    min_remaining : int, default=2
        Vertebrae that a scan must have left to be usable.

    Returns
    -------
    table : DataFrame
        A copy, with a column ``usable``: whether `min_remaining` vertebrae are left,
        by their boxes or their labels.

    Raises
    ------
    TypeError
        If the table is no DataFrame.
    ValueError
        If the table has neither boxes nor label maps of L1 to L4, the report has
        scans that it does not have, or an entry of ``excluded`` is neither True nor
        False.

    Warns
    -----
    UserWarning
        If scans are not usable, by row number.

    See Also
    --------
    check_vertebrae : Makes the report.
    check_scans : A report with a row a scan.

    Notes
    -----
    A crop is centred on the vertebrae that are known. To crop all scans alike, crop
    first, by `LumbarCropper.transform_table`, and leave out afterwards: a report on
    the whole scans fits their crops, too.

    Examples
    --------
    >>> from tbsclassify import check_vertebrae, exclude_vertebrae, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(3, random_state=0)
    >>> report = check_vertebrae(scans.frame)
    >>> report.loc[(report["scan"] == 1) & (report["level"] == "L3"), "excluded"] = True
    >>> table = exclude_vertebrae(scans.frame, report)
    >>> table["L3_top"].isna().tolist(), table["usable"].tolist()
    ([False, True, False], [True, True, True])
    """
    check_number(min_remaining, "min_remaining", low=0, high=4, integer=True)
    if not isinstance(table, pd.DataFrame):
        raise TypeError(
            "Expected table to be a pandas DataFrame of scans, got "
            f"{type(table).__name__}."
        )
    names, name_of_mask = box_columns(table.columns), mask_column(table.columns)
    if not set(names) & set(LEVELS) and name_of_mask is None:
        raise ValueError(
            "Expected table to have boxes of L1 to L4 in columns L1_top to L4_right, "
            "or label maps in a column mask, got neither. Vertebrae are left out by "
            "them."
        )
    excluded = _marks(report, len(table))
    kept = table.copy()
    left, boxes = _exclude_boxes(kept, names, excluded)
    if name_of_mask is not None:
        left |= _exclude_labels(kept, name_of_mask, excluded, boxes)
    remaining = left.sum(axis=1)
    kept["usable"] = remaining >= min_remaining
    unusable = np.flatnonzero(~kept["usable"])
    if unusable.size:
        warn(
            f"{unusable.size} of {len(table)} scans have fewer than {min_remaining} "
            f"vertebrae left, row {unusable[:10].tolist()}. Leave them out: "
            'table[table["usable"]].'
        )
    return kept


def _exclude_boxes(
    table: pd.DataFrame, names: dict[str, list[Any]], excluded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take boxes out of a table, in place.

    Returns
    -------
    left : ndarray of bool of shape (n_scans, 4)
        Vertebrae that still have a box.
    boxes : ndarray of shape (n_scans, 4, 4)
        All boxes as they were.
    """
    boxes = np.full((len(table), len(LEVELS), 4), np.nan)
    for i, level in enumerate(LEVELS):
        if level in names:
            boxes[:, i] = numbers_in(table, names[level])
            unmarked = ~excluded[:, [i]]
            table[names[level]] = np.where(unmarked, boxes[:, i], np.nan)
    return ~np.isnan(boxes).any(axis=2) & ~excluded, boxes


def _exclude_labels(
    table: pd.DataFrame, name: Any, excluded: np.ndarray, boxes: np.ndarray
) -> np.ndarray:
    """Take labels out of the maps of a table, in place; return which are left."""
    left = np.zeros(excluded.shape, dtype=bool)
    masks = masks_in(table, name)
    for i, mask in enumerate(masks):
        if mask is not None:
            masks[i], left[i] = _without(np.asarray(mask), excluded[i], boxes[i])
    table[name] = pd.Series(masks, table.index, dtype=object)
    return left


def _marks(report: pd.DataFrame, n_scans: int) -> np.ndarray:
    """Return a mask of the marked vertebrae, shape (n_scans, 4)."""
    lacking = [name for name in _NEEDED if name not in getattr(report, "columns", ())]
    if lacking:
        raise ValueError(
            f"Expected report to have columns {', '.join(_NEEDED)}, as check_vertebrae "
            f"gives them, got none called {lacking[0]!r}."
        )
    levels = [str(level) for level in report["level"].to_list()]
    odd_levels = [level for level in levels if level not in LEVELS]
    if odd_levels:
        raise ValueError(
            f"Expected levels {', '.join(LEVELS)} in report, got {odd_levels[0]!r}."
        )
    rows, marks = numbers_in(report, ["scan"])[:, 0], report["excluded"].to_list()
    odd_rows = rows[~np.isin(rows, np.arange(n_scans))]
    if odd_rows.size:
        raise ValueError(
            f"Expected report to have rows of scans 0 to {n_scans - 1}, as table has "
            f"{n_scans}, got scan {odd_rows[0]:g}. Make it from the same table."
        )
    unclear = [i for i, mark in enumerate(marks) if not _is_decided(mark)]
    if unclear:
        raise ValueError(
            "Expected excluded in report to be True or False, got "
            f"{marks[unclear[0]]!r} in row {unclear[0]}, one of {len(unclear)}. Decide "
            "on these vertebrae."
        )
    excluded = np.zeros((n_scans, len(LEVELS)), dtype=bool)
    for row, level, mark in zip(rows.astype(int), levels, marks, strict=True):
        excluded[row, LEVELS.index(level)] |= bool(mark)
    return excluded


def _is_decided(mark: object) -> bool:
    return isinstance(mark, bool | np.bool_ | int | float) and mark in (0, 1)


def _without(
    mask: np.ndarray, excluded: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a map without the excluded vertebrae, and which levels have a label.

    A map of 0 and 1 shows the whole spine. What lies in their boxes is removed.
    """
    if mask.max(initial=0) > 1:
        mask = np.where(np.isin(mask, _LABELS[excluded]), mask.dtype.type(0), mask)
        return mask, np.isin(_LABELS, mask)
    mask = mask.copy()
    for box in boxes[excluded]:
        mask[window_of_box(box, mask.shape, 0)] = 0
    return mask, np.zeros(len(LEVELS), dtype=bool)
