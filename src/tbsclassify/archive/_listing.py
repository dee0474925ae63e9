"""Find the files of an archive: in folders, by patterns, or in a table."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tbsclassify._boxes import CONFIDENCES, box_columns
from tbsclassify._dicom import looks_like_dicom
from tbsclassify._files import as_path
from tbsclassify._scans import plain_name
from tbsclassify._spacing import SPACING_COLUMNS, are_plausible, spacing_columns
from tbsclassify._warn import warn
from tbsclassify.archive._names import cell_of
from tbsclassify.datasets._columns import find_columns
from tbsclassify.datasets._rows import check_folder
from tbsclassify.datasets._table import not_a_number, parse_numbers, read_table

# Other files in a folder are scans if they begin like DICOM files.
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".dicom", ".ima")
_TABLES = (".csv", ".tsv", ".txt")
_PLAIN_CONFIDENCES = tuple(map(plain_name, CONFIDENCES))


class Listing(NamedTuple):
    """The files of an archive in order, with the rows of a table about them."""

    paths: list[str]
    cells: list[str]  # their names in the output
    table: pd.DataFrame | None  # a row a file, boxes and pixel sizes as numbers
    reasons: dict[int, str]  # why a row of the table is of no use

    def rows(self, positions: list[int]) -> pd.DataFrame:
        """Return the rows of the table about some of the files."""
        if self.table is None:
            return pd.DataFrame(index=range(len(positions)))
        return self.table.iloc[positions].reset_index(drop=True)


def list_files(files: Any, image_dir: Any, file_column: str) -> Listing:
    """List all files once, always in the same order.

    Raises
    ------
    FileNotFoundError
        If a file, folder or table is not there, a pattern matches nothing, or none of
        the files in a table is there.
    ValueError
        If there is no file at all, or a table cannot be used.
    """
    if isinstance(files, str | os.PathLike):
        path = str(as_path(files))
        if path.lower().endswith(_TABLES) and not os.path.isdir(path):
            return _of_table(path, image_dir, file_column)
        files = [path]
    elif hasattr(files, "columns"):
        return _of_table(files, image_dir, file_column)
    elif not isinstance(files, Iterable):
        raise TypeError(
            "Expected files to be a path, a pattern, a list of these or a table, got "
            f"{type(files).__name__}."
        )
    files = list(files)
    tables = [one for one in files if str(one).lower().endswith(_TABLES)]
    if tables and len(tables) == len(files):
        raise ValueError(
            f"Expected one table, or scans, got {len(tables)} tables. Pass one after "
            "the other, or put them into one."
        )
    if image_dir is not None:
        raise ValueError(
            "Expected image_dir=None, since it is the folder that the names in a table "
            "refer to, and files is no table. Leave it out."
        )
    paths = list(dict.fromkeys(_expand(files)))
    if not paths:
        raise ValueError(
            "Expected files to lead to at least one scan, got none. In folders, files "
            f"are scans that end in {', '.join(_SUFFIXES)} or begin as DICOM does."
        )
    return Listing(paths, list(map(cell_of, paths)), None, {})


def _expand(files: Iterable[Any]) -> Iterator[str]:
    for i, entry in enumerate(files):
        if not isinstance(entry, str | os.PathLike):
            raise TypeError(
                "Expected files to hold paths or patterns, got "
                f"{type(entry).__name__} at index {i}."
            )
        path = os.path.expanduser(os.fsdecode(entry))
        # A file name may contain the brackets of a pattern.
        if os.path.isdir(path):
            yield from _in_folder(path)
        elif os.path.lexists(path):
            yield path
        elif glob.has_magic(path):
            found = _matches(path)
            if not found:
                raise FileNotFoundError(
                    f"Expected files[{i}] to match a file, got {cell_of(path)!r}, "
                    "which matches none."
                )
            yield from found
        else:
            raise FileNotFoundError(
                f"Expected files[{i}] to be a file, a folder or a pattern, got "
                f"{cell_of(path)!r}, where there is nothing."
            )


def _matches(pattern: str) -> list[str]:
    """Return the files that match, without those that links lead to again.

    Tables are left out, since scores of an earlier call may lie beside the scans.
    """
    folders: dict[str, str] = {}  # with links resolved
    shortest: dict[tuple[str, str], str] = {}
    found = glob.iglob(pattern, recursive=True)
    for path in sorted(found, key=lambda one: (one.count(os.sep), one)):
        if os.path.isdir(path) or path.lower().endswith(
            (*_TABLES, ".parquet", ".part")
        ):
            continue
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        shortest.setdefault((folders[folder], name), path)
    return sorted(shortest.values())


def _in_folder(folder: str) -> Iterator[str]:
    """Yield the scans below a folder, without entering folders that are links."""
    closed: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=closed.append):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            path = os.path.join(root, name)
            if not name.startswith(".") and _may_be_scan(path):
                yield path
    if closed:
        warn(
            f"{len(closed)} folder(s) below files cannot be opened, the first "
            f"{cell_of(str(closed[0].filename))!r} ({closed[0].strerror}). Their scans "
            "are left out. Allow this program to read them, and call it again."
        )


def _may_be_scan(path: str) -> bool:
    if path.lower().endswith(_SUFFIXES):
        return True
    if os.path.basename(path).upper() == "DICOMDIR":
        return False
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            return looks_like_dicom(file.read(132), "")
    except OSError:
        return False


def _of_table(table: Any, image_dir: Any, file_column: str) -> Listing:
    frame = read_table(table, [file_column]).reset_index(drop=True)
    found = find_columns(frame.columns, {"file_column": file_column})
    file_column = found["file_column"]
    if image_dir is None:
        image_dir = Path(table).parent if isinstance(table, str | os.PathLike) else "."
    names = [
        "" if pd.isna(one) else str(one).strip() for one in frame[file_column].to_list()
    ]
    folder = as_path(image_dir)
    paths = [os.path.join(folder, name) for name in names]
    check_folder(folder, paths)
    sizes = spacing_columns(frame.columns)
    reasons = _parse_columns(frame, sizes)
    listed: set[str] = set()
    for row, name in enumerate(names):
        if not name:
            reasons[row] = "no file name"
        elif name in listed:
            reasons[row] = "the file is listed in an earlier row"
        listed.add(name)
    if sizes is not None:
        spacing = frame[list(sizes)].to_numpy(dtype=float)
        spacing[~are_plausible(spacing)] = np.nan
        frame = frame.drop(columns=list(dict.fromkeys(sizes)))
        frame[list(SPACING_COLUMNS)] = spacing
    frame = frame.drop(columns="image", errors="ignore")
    return Listing(paths, list(map(cell_of, names)), frame, reasons)


def _parse_columns(
    frame: pd.DataFrame, sizes: tuple[Any, Any] | None
) -> dict[int, str]:
    """Turn boxes, pixel sizes and confidences into numbers, in place.

    Returns
    -------
    reasons : dict of int to str
        What is wrong with rows in which an entry is no number.
    """
    names = [name for side in box_columns(frame.columns).values() for name in side]
    names += [*(sizes or ())]
    names += [one for one in frame.columns if plain_name(one) in _PLAIN_CONFIDENCES]
    reasons: dict[int, str] = {}
    for name in dict.fromkeys(names):
        values, unreadable = parse_numbers(frame[name])
        for row in np.flatnonzero(unreadable).tolist():
            reasons[row] = f"{name} {not_a_number(frame[name].iloc[row])}"
        frame[name] = values
    return reasons
