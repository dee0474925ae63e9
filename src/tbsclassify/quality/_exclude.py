"""Leave vertebrae out of a table of scans."""

import warnings

import numpy as np
import pandas as pd

from tbsclassify._boxes import LEVELS, box_columns
from tbsclassify._scans import mask_column, masks_in, numbers_in
from tbsclassify._validation import check_number

_NEEDED = ("scan", "level", "excluded")


def exclude_vertebrae(
    table: pd.DataFrame, report: pd.DataFrame, *, min_remaining: int = 2
) -> pd.DataFrame:
    """Leave out the vertebrae that a report marks as excluded.

    Their boxes become NaN, which croppers and texture features take for vertebrae
    that are not to be used, and their labels in label maps become 0.

    Parameters
    ----------
    table : DataFrame
        Scans with boxes of L1 to L4 in columns, and label maps in a column
        ``mask``, if there are any. Other columns are kept as they are.
    report : DataFrame
        What `check_vertebrae` returns for the same rows, or any table with columns
        ``scan`` (row number, from 0), ``level`` and ``excluded``.
    min_remaining : int, default=2
        Vertebrae that a scan must have left to be usable.

    Returns
    -------
    table : DataFrame
        A copy, with a column ``usable``: whether `min_remaining` vertebrae are left.

    Raises
    ------
    ValueError
        If the table lacks boxes of L1 to L4, or the report has other rows than it.

    Warns
    -----
    UserWarning
        If scans are not usable, by row number.

    See Also
    --------
    check_vertebrae : Makes the report.

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
    names = box_columns(table.columns)
    if not set(names) & set(LEVELS):
        raise ValueError(
            "Expected table to have boxes of L1 to L4 in columns L1_top to L4_right, "
            "got none. Vertebrae are left out by their boxes."
        )
    excluded = _marks(report, len(table))
    kept = table.copy()
    remaining = np.zeros(len(table), dtype=int)
    for i, level in enumerate(LEVELS):
        if level in names:
            values = numbers_in(table, names[level])
            values[excluded[:, i]] = np.nan
            kept[names[level]] = values
            remaining += ~np.isnan(values).any(axis=1)
    name = mask_column(table.columns)
    if name is not None:
        masks = [
            mask if mask is None else _without(mask, 1 + np.flatnonzero(row))
            for mask, row in zip(masks_in(table, name), excluded, strict=True)
        ]
        kept[name] = pd.Series(masks, table.index, dtype=object)
    kept["usable"] = remaining >= min_remaining
    unusable = np.flatnonzero(~kept["usable"])
    if unusable.size:
        warnings.warn(
            f"{unusable.size} of {len(table)} scans have fewer than {min_remaining} "
            f"vertebrae left, row {unusable[:10].tolist()}. Leave them out: "
            'table[table["usable"]].',
            UserWarning,
            stacklevel=2,
        )
    return kept


def _marks(report: pd.DataFrame, n_scans: int) -> np.ndarray:
    """Return which vertebrae are marked, of shape (n_scans, 4)."""
    lacking = [name for name in _NEEDED if name not in getattr(report, "columns", ())]
    if lacking:
        raise ValueError(
            f"Expected report to have columns {', '.join(_NEEDED)}, as check_vertebrae "
            f"gives them, got none called {lacking[0]!r}."
        )
    rows, levels = report["scan"].to_numpy(), report["level"].astype(str).to_numpy()
    if not np.isin(levels, LEVELS).all():
        odd = levels[~np.isin(levels, LEVELS)][0]
        raise ValueError(f"Expected levels {', '.join(LEVELS)} in report, got {odd!r}.")
    if len(rows) and (rows.min() < 0 or rows.max() >= n_scans):
        raise ValueError(
            f"Expected report to have rows of scans 0 to {n_scans - 1}, as table has "
            f"{n_scans}, got scan {rows.max()}. Make it from the same table."
        )
    excluded = np.zeros((n_scans, len(LEVELS)), dtype=bool)
    marked = report["excluded"].to_numpy(dtype=bool)
    columns = [LEVELS.index(level) for level in levels[marked]]
    excluded[rows[marked].astype(int), columns] = True
    return excluded


def _without(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    return np.where(np.isin(mask, labels), mask.dtype.type(0), mask)
