"""Checks shared by all modules, each with an error someone can act on."""

import math
import numbers
import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image
from sklearn.utils import check_array, column_or_1d

# Corners of a box in pixels: the first row and column inside it and the first
# row and column after it.
BOX_SIDES = ("top", "left", "bottom", "right")
LEVELS = ("L1", "L2", "L3", "L4")
# Names under which tables hold scans that were meant to be called "image".
_OTHER_NAMES = {
    *("file", "files", "filename", "file_name", "filepath", "file_path"),
    *("path", "paths", "image", "images", "image_path", "img", "scan", "scans"),
}


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
    if isinstance(groups, list | tuple):
        # Unlike NumPy, pandas does not make text of numbers and NaN beside text.
        groups = pd.Series(list(groups)).to_numpy()
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


def check_boxes(boxes: ArrayLike, n_samples: int) -> np.ndarray:
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
            f"Expected boxes to have shape ({n_samples}, 4) or ({n_samples}, "
            f"n_vertebrae, 4) for {n_samples} scans, got {boxes.shape}. Each box is "
            "(top, left, bottom, right) in pixels."
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
    """Take scans and L1-L4 boxes from any of the forms that `X` may have.

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
        NaN where not known; one vertebra stands for the whole of L1-L4 where
        only its box is known.
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
        found.setdefault(re.sub(r"[\W_]+", "", str(name)).lower(), []).append(name)
    names = {}
    for level in (*LEVELS, ""):
        wanted = [f"{level}{side}".lower() for side in BOX_SIDES]
        present = [key for key in wanted if key in found]
        # A lone "left" may say which hip was scanned; it makes no box.
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
    """Return the boxes in a table's columns, or None where it has none.

    Where some of L1 to L4 have columns, the result has shape (n, 4, 4) and is
    NaN for the other levels; where only the whole has, it is (n, 1, 4).
    """
    names = box_columns(table.columns)
    if not names:
        return None
    if set(names) == {""}:
        return boxes_in(table, names[""])[:, np.newaxis]
    unknown = np.full((len(table), len(BOX_SIDES)), np.nan)
    boxes = [
        boxes_in(table, names[level]) if level in names else unknown for level in LEVELS
    ]
    return np.stack(boxes, axis=1)


def boxes_in(table: Any, names: list[Any]) -> np.ndarray:
    """Return four columns of a table as floats of shape (n, 4)."""
    columns = [
        [np.nan if pd.isna(value) else value for value in table[name].to_list()]
        for name in names
    ]
    try:
        return np.array(columns, dtype=float).T
    except (TypeError, ValueError):
        raise ValueError(
            f"Expected columns {', '.join(map(str, names))} to hold numbers of "
            "pixels, got text in some rows. Convert them, as load_scans does."
        ) from None


def check_scan(scan: Any, index: int, *, channels: bool = False) -> np.ndarray:
    """Return one scan as an array of finite grey levels.

    It has shape (height, width), or, where `channels` are allowed, (channels,
    height, width), and the machine's byte order.
    """
    scan = as_numpy(scan)
    if not channels and scan.ndim == 3 and scan.shape[0] == 1:
        scan = scan[0]
    if scan.ndim == 3 and _channels_last(scan.shape):
        raise ValueError(
            f"Expected X to hold grey scans of shape (height, width), got "
            f"{scan.shape} at index {index}: its channels come last. Take one of "
            "them, scan[..., 0], or for a network put them first with "
            "np.moveaxis(scan, -1, 0)."
        )
    if (
        scan.ndim not in ((2, 3) if channels else (2,))
        or scan.size == 0
        or scan.dtype.kind not in "buif"
    ):
        raise ValueError(
            f"Expected X to hold 2-D arrays of grey levels, got a scan of shape "
            f"{scan.shape} and dtype {scan.dtype} at index {index}."
        )
    if scan.dtype.kind == "f" and not np.isfinite(scan).all():
        raise ValueError(
            f"X holds a scan with NaN or infinite grey levels at index {index}. "
            "Leave it out, or replace these levels."
        )
    return scan.astype(scan.dtype.newbyteorder("="), copy=False)


def check_one_depth(first: np.dtype, other: np.dtype, index: int) -> None:
    """Refuse a scan whose grey levels have another scale than the first one's."""
    if other != first:
        raise ValueError(
            f"X mixes scans of {first} and {other} (index {index}), whose grey levels "
            "cannot be compared. Bring all scans to one depth."
        )


def check_fill(fill: Any, name: str, dtype: np.dtype) -> None:
    """Refuse a grey level that scans of this dtype cannot hold."""
    check_number(fill, name)
    if dtype.kind == "f":
        return
    low, high = (0, 1) if dtype.kind == "b" else _limits(dtype)
    if not (low <= fill <= high and float(fill).is_integer()):
        raise ValueError(
            f"Expected {name} to be a grey level of {dtype} scans, an integer from "
            f"{low} to {high}, got {fill!r}."
        )


def _limits(dtype: np.dtype) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def as_numpy(X: Any) -> np.ndarray:
    """Return an array or a tensor of any device as a NumPy array."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        # NumPy has no bfloat16.
        X = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    return np.asarray(X)


def scans_of(X: Any) -> Any:
    """Take the scans out of any form that `X` may have, without reading files.

    This is the one place that knows these forms.

    Parameters
    ----------
    X : array, tensor, sequence, column or table
        Scans; see the guide.

    Returns
    -------
    scans : list, or object
        A list where scans come one by one: arrays, tensors, Pillow images or
        paths. Tensors become arrays; all else (arrays and tables of numbers) is
        returned as it is.

    Raises
    ------
    ValueError
        If scans are missing, a table has them under another name than ``image``,
        or the channels of an array come last.
    TypeError
        If `X` is a single path or Pillow image.
    """
    if isinstance(X, str | os.PathLike | Image.Image):
        raise TypeError(
            f"Expected X to hold several scans, got one {type(X).__name__}. Put it "
            "into a list: [scan]."
        )
    from_table = "image" in getattr(X, "columns", ())
    if hasattr(X, "columns"):
        X = _image_column(X)
    if hasattr(X, "detach"):
        X = as_numpy(X)
    one_by_one = isinstance(X, list | tuple) or hasattr(X, "to_list")
    if isinstance(X, np.ndarray):
        if X.ndim != 1 or X.dtype.kind not in "OUT":
            return _check_pixels(X)
        one_by_one = True
    if not one_by_one or getattr(X, "ndim", 1) != 1:
        return X
    scans = X.to_list() if hasattr(X, "to_list") else list(X)
    if not scans:
        raise ValueError("Expected X to hold at least one scan, got none.")
    missing = [i for i, scan in enumerate(scans) if _is_missing(scan)]
    known = next((scan for scan in scans if not _is_missing(scan)), None)
    if not _is_scan(known) and not (from_table or all(s is None for s in scans)):
        # Rows of numbers.
        return np.asarray(X) if isinstance(X, list | tuple) else X
    if missing:
        raise ValueError(
            f"X lacks {len(missing)} scan(s): expected a path or an image, got None "
            f"or NaN at index {missing[:10]}. Leave these rows out."
        )
    return scans


def _image_column(table: Any) -> Any:
    names = list(table.columns)
    if names.count("image") > 1:
        raise ValueError(
            f"Expected X to have one column 'image', got {names.count('image')}. "
            "Drop or rename all but one."
        )
    if "image" in names:
        return table["image"]
    for name in names:
        if str(name).lower() in _OTHER_NAMES and names.count(name) == 1:
            entries = table[name].to_list()
            if any(_is_scan(entry) for entry in entries[:10]):
                raise ValueError(
                    "Expected X to have its scans or their paths in a column "
                    f"'image', got a column {name!r}. Rename it, in pandas by "
                    f'X.rename(columns={{{name!r}: "image"}}).'
                )
    return table


def _check_pixels(X: np.ndarray) -> np.ndarray:
    """Refuse arrays of images whose channels or depth would be misread."""
    if X.ndim >= 3 and X.dtype.kind == "O":
        raise ValueError(
            f"Expected X of shape {X.shape} to hold numbers, got dtype object, which "
            "has lost the depth of the scans. Pass a list of arrays, or np.stack it."
        )
    if X.ndim == 4 and _channels_last(X.shape[1:]):
        raise ValueError(
            "Expected X to have shape (n, height, width) or (n, channels, height, "
            f"width), got {X.shape}: its channels come last. Put them first with "
            "np.moveaxis(X, -1, 1), or take one of them: X[..., 0]."
        )
    return X.astype(X.dtype.newbyteorder("="), copy=False)


def _channels_last(shape: tuple[int, ...]) -> bool:
    """Whether (channels, height, width) is rather (height, width, channels)."""
    return shape[2] in (1, 2, 3, 4) and min(shape[:2]) > 4


def _is_missing(scan: Any) -> bool:
    return scan is None or scan is pd.NA or (isinstance(scan, float) and scan != scan)


def _is_scan(item: Any) -> bool:
    if isinstance(item, str | os.PathLike | Image.Image):
        return True
    if isinstance(item, list | tuple):
        return bool(item) and np.ndim(item[0]) >= 1
    return getattr(item, "ndim", 0) >= 2


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
