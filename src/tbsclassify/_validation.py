"""Checks shared by all modules, each with an error someone can act on."""

import math
import numbers
import os

import numpy as np
from sklearn.utils import check_array, column_or_1d

# Corners of a box in pixels: the first row and column inside it and the first
# row and column after it.
BOX_SIDES = ("top", "left", "bottom", "right")
LEVELS = ("L1", "L2", "L3", "L4")


def check_option(value, name, options):
    """Return `value` where it is one of `options`."""
    if isinstance(value, str) and value in options:
        return value
    wanted = ", ".join(repr(option) for option in options)
    raise ValueError(f"{name}={value!r}, but one of {wanted} is wanted.")


def check_number(
    value, name, *, low=None, high=None, integer=False, inclusive=(True, True)
):
    """Return `value` where it is a finite number from `low` to `high`."""
    kind = numbers.Integral if integer else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        wanted = "an integer" if integer else "a number"
        raise TypeError(
            f"{name}={value!r} is of type {type(value).__name__}, but {wanted} is "
            "wanted."
        )
    low, high = (-np.inf if low is None else low), (np.inf if high is None else high)
    above = value >= low if inclusive[0] else value > low
    below = value <= high if inclusive[1] else value < high
    if not (math.isfinite(value) and above and below):
        brackets = "(["[inclusive[0]], ")]"[inclusive[1]]
        raise ValueError(
            f"{name}={value!r}, but a value in {brackets[0]}{low}, {high}{brackets[1]} "
            "is wanted."
        )
    return value


def check_groups(groups, n_samples):
    """Return the patient of each scan as integers from 0 and their number."""
    if groups is None:
        return np.arange(n_samples), n_samples
    groups = column_or_1d(groups)
    if len(groups) != n_samples:
        raise ValueError(
            f"groups has {len(groups)} entries for {n_samples} scans, but the patient "
            "of each scan is wanted, in the order of the scans."
        )
    patients, codes = np.unique(groups, return_inverse=True)
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
