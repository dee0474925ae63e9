"""The forms that scans may come in, and the checks of each scan."""

import os
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tbsclassify._validation import check_number

# Names of columns with scans that should have been called "image".
_OTHER_NAMES = {
    *("file", "files", "filename", "filepath", "imagefile", "imagename"),
    *("path", "paths", "image", "images", "imagepath", "img", "scan", "scans"),
}


def check_scan(scan: Any, index: int, *, channels: bool = False) -> np.ndarray:
    """Return one scan as an array of finite grey levels.

    It has shape (height, width), or (channels, height, width) if `channels` are
    allowed, and the byte order of the machine.
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
    """Refuse a scan with another depth than the first one."""
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
    """Return an array, or a tensor on any device, as a NumPy array."""
    if hasattr(X, "detach"):
        X = X.detach().cpu()
        # NumPy has no bfloat16.
        X = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    return np.asarray(X)


def scans_of(X: Any) -> Any:
    """Take the scans out of any form that `X` may have, without reading files.

    Only this function knows the forms.

    Parameters
    ----------
    X : array, tensor, sequence, column or table
        Scans; see the guide.

    Returns
    -------
    scans : list, or object
        A list if scans come one by one: arrays, tensors, Pillow images or paths.
        Tensors become arrays. Anything else (arrays and tables of numbers) is
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


def plain_name(name: Any) -> str:
    """Return the name of a column in lower case, without blanks and punctuation."""
    return re.sub(r"[\W_]+", "", str(name)).lower()


def check_table(table: Any) -> None:
    """Refuse anything but a pandas table with scans in a column ``image``."""
    if not isinstance(table, pd.DataFrame):
        kind = type(table)
        raise TypeError(
            f"Expected table to be a pandas DataFrame, got {kind.__name__} of "
            f"{kind.__module__.partition('.')[0]}. Make a pandas DataFrame of it, or "
            "use transform, which takes other forms of scans."
        )
    if "image" not in table.columns:
        scans_of(table)  # raises an error for similar names
        raise ValueError(
            "Expected table to have its scans or their paths in a column 'image', got "
            f"columns {[*table.columns[:10]]}. Rename the column that holds them."
        )


def mask_column(columns: Iterable[Any]) -> Any:
    """Find the column of a table that holds label maps, or None."""
    names = [name for name in columns if plain_name(name) == "mask"]
    if len(names) > 1:
        raise ValueError(
            f"Expected X to have one column 'mask', got {len(names)}: "
            f"{', '.join(map(repr, names))}. Drop or rename all but one."
        )
    return names[0] if names else None


def masks_in(table: Any, name: Any) -> list[Any]:
    """Return the label maps in a column of a table, None for scans without one."""
    return [None if _is_missing(mask) else mask for mask in table[name].to_list()]


def numbers_in(table: Any, names: list[Any]) -> np.ndarray:
    """Return columns of a table as floats of shape (n_rows, n_names)."""
    columns = [
        [np.nan if _is_missing(value) else value for value in table[name].to_list()]
        for name in names
    ]
    try:
        numbers = np.array(columns, dtype=float)
    except (TypeError, ValueError):
        numbers = None
    if numbers is None or numbers.ndim != 2:
        raise ValueError(
            f"Expected columns {', '.join(map(str, dict.fromkeys(names)))} to hold a "
            "number in each row, got text or several numbers in some. Convert them, "
            "as load_scans does; two numbers are two columns."
        )
    return numbers.T


def as_pandas(table: Any) -> pd.DataFrame:
    """Return a table of pandas as it is, and one of polars as a table of pandas."""
    if isinstance(table, pd.DataFrame):
        return table
    return pd.DataFrame({name: table[name].to_list() for name in table.columns})


def set_columns(table: pd.DataFrame, names: list[Any], values: np.ndarray) -> None:
    """Set columns of a table in place, one by one.

    Pandas cannot set them together if other columns share a name.
    """
    for name, column in zip(names, values.T, strict=True):
        table[name] = column


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
        if plain_name(name) in _OTHER_NAMES and names.count(name) == 1:
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
    """Whether a shape looks like (height, width, channels), channels last."""
    return shape[2] in (1, 2, 3, 4) and min(shape[:2]) > 4


def _is_missing(scan: Any) -> bool:
    return scan is None or scan is pd.NA or (isinstance(scan, float) and scan != scan)


def _is_scan(item: Any) -> bool:
    if isinstance(item, str | os.PathLike | Image.Image):
        return True
    if isinstance(item, list | tuple):
        return bool(item) and np.ndim(item[0]) >= 1
    return getattr(item, "ndim", 0) >= 2
