"""Checks shared by all modules, each with an error someone can act on."""

import math
import numbers
import os
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_array, column_or_1d

# Corners of a box in pixels: the first row and column inside it and the first
# row and column after it.
BOX_SIDES = ("top", "left", "bottom", "right")
LEVELS = ("L1", "L2", "L3", "L4")


def check_option(value: Any, name: str, options: Iterable[str]) -> str:
    """Return `value` where it is one of `options`."""
    if isinstance(value, str) and value in options:
        return value
    expected = ", ".join(repr(option) for option in options)
    raise ValueError(f"Expected {name} to be one of {expected}, got {value!r}.")


def check_number(
    value: Any,
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    integer: bool = False,
    inclusive: tuple[bool, bool] = (True, True),
) -> Any:
    """Return `value` where it is a finite number from `low` to `high`."""
    is_number = isinstance(value, numbers.Integral if integer else numbers.Real)
    is_number = is_number and not isinstance(value, bool)
    if is_number and math.isfinite(value):
        above = low is None or value > low or (inclusive[0] and value == low)
        below = high is None or value < high or (inclusive[1] and value == high)
        if above and below:
            return value
    limits = []
    if low is not None:
        limits.append(f"{'at least' if inclusive[0] else 'above'} {low}")
    if high is not None:
        limits.append(f"{'at most' if inclusive[1] else 'below'} {high}")
    expected = " ".join(
        ["an integer" if integer else "a finite number", " and ".join(limits)]
    ).strip()
    message = f"Expected {name} to be {expected}, got {value!r}"
    if is_number:
        raise ValueError(f"{message}.")
    raise TypeError(f"{message} of type {type(value).__name__}.")


def patient_ids(groups: Any, n_samples: int) -> np.ndarray:
    """Return the patient of each scan in one form, whatever form it came in.

    Numbers stay as they are. Everything else becomes text without blanks around
    it, in Unicode's composed form, so that ``"A1 "`` and ``"A1"`` are one
    patient, and so are ``1`` and ``"1"`` in a column that holds both.

    Raises
    ------
    ValueError
        If the length is not `n_samples`, or the patient of a scan is missing.
    """
    if groups is None:
        return np.arange(n_samples)
    groups = column_or_1d(np.asarray(groups))
    if len(groups) != n_samples:
        raise ValueError(
            f"Expected groups to hold the patient of each of {n_samples} scans, got "
            f"{len(groups)} entries."
        )
    missing = pd.isna(groups)
    if groups.dtype.kind not in "biuf":
        text = [_patient_text(one) for one in groups]
        groups = np.array(text, dtype=str)
        missing = missing | (groups == "")
    if missing.any():
        raise ValueError(
            f"groups lacks the patient of {missing.sum()} scan(s), at index "
            f"{np.flatnonzero(missing)[:10].tolist()}. Give each scan a patient, or "
            "leave these scans out."
        )
    return groups


def _patient_text(one: Any) -> str:
    if isinstance(one, float) and one.is_integer():
        one = int(one)  # 1.0 is the patient 1
    return " ".join(unicodedata.normalize("NFKC", str(one)).split())


def check_groups(groups: Any, n_samples: int) -> tuple[np.ndarray, int]:
    """Return the patient of each scan as integers from 0 and their number."""
    patients, codes = np.unique(patient_ids(groups, n_samples), return_inverse=True)
    return codes, len(patients)


def check_folds(folds, n_samples):
    """Return the fold that each scan was tested in, one for all where none is given."""
    if folds is None:
        return np.zeros(n_samples, dtype=int)
    folds = column_or_1d(folds)
    if len(folds) != n_samples:
        raise ValueError(
            f"folds has {len(folds)} entries for {n_samples} scans, but the fold of "
            "each scan is wanted."
        )
    return folds


def check_confidence_level(level):
    """Check that a level is above 0 and below 1."""
    check_number(level, "confidence_level", low=0, high=1, inclusive=(False, False))


def check_boxes(boxes, n_samples):
    """Return the L1-L4 box of each scan, NaN where it is not known.

    Parameters
    ----------
    boxes : array-like of shape (n_samples, 4) or (n_samples, n_levels, 4)
        One box, or one a vertebra, as ``(top, left, bottom, right)`` in pixels,
        ends exclusive. A row of NaN says that the box is not known.
    n_samples : int
        Number of scans.

    Returns
    -------
    boxes : ndarray of float of shape (n_samples, n_levels, 4)
        The boxes, with one level where one box a scan was given.
    """
    boxes = np.asarray(boxes, dtype=float)
    if boxes.ndim not in (2, 3) or boxes.shape[-1] != 4 or len(boxes) != n_samples:
        raise ValueError(
            f"boxes has shape {boxes.shape} for {n_samples} scans, but "
            f"({n_samples}, 4) or ({n_samples}, n_vertebrae, 4) is wanted, each box "
            "being (top, left, bottom, right) in pixels."
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
            f"first is {first}). Wanted: top < bottom and left < right, or all four "
            "NaN where the box is not known."
        )
    return boxes


def check_scans_and_boxes(X, boxes):
    """Take scans and L1-L4 boxes from any of the forms that `X` may have.

    Parameters
    ----------
    X : array, sequence or DataFrame
        Scans of shape (n, h, w); or a sequence of 2-D arrays or paths; or a
        table with these in a column ``image`` and boxes in columns ``L1_top``
        to ``L4_right``, or ``top``, ``left``, ``bottom``, ``right``.
    boxes : array-like or None
        Boxes, which take the place of those in a table.

    Returns
    -------
    scans : iterable of 2-D arrays or paths
    boxes : ndarray of float of shape (n, n_vertebrae, 4)
        NaN where not known; one vertebra stands for the whole of L1-L4 where
        only its box is known.
    """
    if "image" in getattr(X, "columns", ()):
        boxes = _boxes_of_table(X) if boxes is None else boxes
        X = X["image"]
    if not is_sequence_of_scans(X):
        X = check_array(X, allow_nd=True, dtype="numeric", input_name="X")
        if X.ndim == 2:
            X = X[:, np.newaxis]  # rows of numbers are read as images one row high
    if boxes is None:
        return X, np.full((len(X), 1, 4), np.nan)
    return X, check_boxes(boxes, len(X))


def _boxes_of_table(table):
    by_level = [[f"{level}_{side}" for side in BOX_SIDES] for level in LEVELS]
    if all(name in table for names in by_level for name in names):
        return np.stack([table[names].to_numpy(float) for names in by_level], axis=1)
    if all(side in table for side in BOX_SIDES):
        return table[list(BOX_SIDES)].to_numpy(float)
    return None


def check_scan(scan, index):
    """Return one scan as a 2-D array of finite grey levels."""
    scan = np.asarray(scan)
    if scan.ndim == 3 and scan.shape[0] == 1:
        scan = scan[0]
    if scan.ndim != 2 or scan.size == 0 or scan.dtype.kind not in "buif":
        raise ValueError(
            f"X holds a scan of shape {scan.shape} and dtype {scan.dtype} at index "
            f"{index}, but 2-D arrays of grey levels are wanted."
        )
    if scan.dtype.kind == "f" and not np.isfinite(scan).all():
        raise ValueError(
            f"X holds a scan with NaN or infinite grey levels at index {index}."
        )
    return scan


def is_sequence_of_scans(X):
    """Tell sequences of images or paths from arrays and tables of numbers."""
    if isinstance(X, np.ndarray):
        if X.ndim != 1 or X.dtype.kind not in "OU":
            return False
    elif not isinstance(X, list | tuple) and not hasattr(X, "to_list"):
        return False
    if len(X) == 0 or getattr(X, "ndim", 1) != 1:
        return False
    first = X.iloc[0] if hasattr(X, "iloc") else X[0]
    return isinstance(first, str | os.PathLike) or np.ndim(first) >= 2


def check_random_seed(random_state):
    """Return an integer seed that leaves every global random state alone.

    An int is used as it is, a ``RandomState`` or ``Generator`` is drawn from,
    and None takes fresh entropy of the operating system.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_number(random_state, "random_state", low=0, integer=True))
