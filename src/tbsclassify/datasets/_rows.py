"""Read what the rows of a table say about their scans, and note what is wrong."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from tbsclassify._boxes import box_columns, boxes_of_table
from tbsclassify._files import meant_instead, printable_name, reason_of
from tbsclassify._scans import plain_name
from tbsclassify._spacing import PLAUSIBLE_SPACING, are_plausible
from tbsclassify._validation import patient_ids
from tbsclassify._warn import held_back, warn
from tbsclassify.datasets._bad_rows import BadRows, shown_file
from tbsclassify.datasets._table import not_a_number, parse_numbers
from tbsclassify.images import read_with_metadata
from tbsclassify.labels import TBS_RANGE

# Column names for the sides of boxes in other programs.
_FOREIGN_BOX = re.compile(
    r"l[1-4]([xy][012]?|[xy](min|max)|(min|max)[xy]|row|col(umn)?|w(idth)?|h(eight)?)"
    r"|(top|left|bottom|right)l[1-4]"
)


def resolve_paths(files: pd.Series, folder: Path, bad: BadRows) -> list[str | None]:
    """Return the path of each file, None if the table names none."""
    paths: list[str | None] = []
    for row, file in enumerate(files.to_list()):
        if pd.isna(file) or not str(file).strip():
            bad.add(row, "no file name")
            paths.append(None)
        elif "\0" in str(file):
            bad.add(row, "a file name with a NUL character")
            paths.append(None)
        else:
            path = folder / str(file).strip()
            if "\\" in path.name and not path.exists():
                # Windows separates folders by backslashes.
                path = folder / str(file).strip().replace("\\", "/")
            # "./0.png" and "0.png" are one path.
            paths.append(os.path.normpath(path))
    return paths


def check_folder(folder: Path, paths: Sequence[str | None]) -> None:
    """Refuse a folder that has none of the files, in place of a line for each."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected image_dir to be the folder of the scans, got {str(folder)!r}, "
            "where there is none."
        )
    named = [path for path in paths if path is not None]
    if len(named) > 1 and not any(map(os.path.lexists, named)):
        first = Path(named[0])
        hint = f"{meant_instead(first)}. Pass another folder, or correct the names"
        if (folder / first.name).exists():
            hint = (
                ", but without the folder that the table names, it is. Keep the names"
            )
        raise FileNotFoundError(
            "Expected image_dir to be the folder that file names refer to, got "
            f"{str(folder)!r}, which has none of the {len(named)} files. The first, "
            f"{shown_file(named[0])}, is not there{hint}."
        )


def read_patients(column: pd.Series, bad: BadRows) -> np.ndarray:
    """Return the id of each patient in one form, None if it is missing."""
    entries = column.to_list()
    missing = np.array([pd.isna(one) or not str(one).split() for one in entries])
    for row in np.flatnonzero(missing).tolist():
        bad.add(row, "no patient")
    patients = np.full(len(entries), None, dtype=object)
    known = column[~missing].to_numpy()
    patients[~missing] = patient_ids(known, len(known))
    return patients


def read_tbs(column: pd.Series, bad: BadRows) -> np.ndarray:
    tbs, unreadable = parse_numbers(column)
    low, high = TBS_RANGE
    plausible = (tbs >= low) & (tbs <= high)
    for row in np.flatnonzero(~plausible).tolist():
        if unreadable[row]:
            bad.add(row, f"TBS {not_a_number(column.iloc[row])}")
        elif np.isnan(tbs[row]):
            bad.add(row, "no TBS")
        else:
            bad.add(
                row,
                f"TBS {tbs[row]:g} lies outside {low}-{high}, expected TBS units such "
                "as 1.25",
            )
    return tbs


def check_one_row_a_scan(
    paths: list[str | None], patients: np.ndarray, tbs: np.ndarray | None, bad: BadRows
) -> None:
    """Mark files that are listed twice; refuse one patient with two TBS values."""
    first_row: dict[str, int] = {}
    for row, path in enumerate(paths):
        if path is None:
            continue
        # Links and other spellings may lead to the same file.
        first = first_row.setdefault(os.path.realpath(path), row)
        if first == row:
            continue
        bad.add(row, "the file is listed in an earlier row")
        if patients[first] != patients[row]:
            bad.add(
                first,
                f"the file is listed under another patient in row {bad.named([row])}",
            )
        elif tbs is not None and tbs[first] != tbs[row] and not np.isnan(tbs[row]):
            raise ValueError(
                f"Expected one row a scan, got rows {bad.named([first])} and "
                f"{bad.named([row])} of one file "
                f"({printable_name(path)}) with TBS {tbs[first]:g} and {tbs[row]:g}. "
                "If the table has a row for each vertebra, aggregate it first to one "
                "row a file, with the TBS of L1-L4, for instance by "
                'table.groupby(["patient", "file"], as_index=False)["tbs"].mean().'
            )


def read_images(
    paths: list[str | None],
    fill_unscanned: int | None,
    n_jobs: int | None,
    bad: BadRows,
) -> tuple[list[np.ndarray | None], list[dict[str, Any]]]:
    """Return images, None for those that failed, and the metadata of their files."""
    results = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_read_or_reason)(path, fill_unscanned) for path in paths
    )
    images, facts = [], []
    for row, (result, messages) in enumerate(results):
        for message in messages:
            warn(message)
        if isinstance(result, str):
            bad.add(row, result)
        image, metadata = result if isinstance(result, tuple) else (None, {})
        images.append(image)
        facts.append(metadata)
    return images, facts


def _read_or_reason(
    path: str | None, fill_unscanned: int | None
) -> tuple[tuple[np.ndarray, dict[str, Any]] | str | None, list[str]]:
    """Return the image and its metadata, or why there is none, and warnings."""
    if path is None:
        return None, []
    with held_back() as messages:
        try:
            return read_with_metadata(path, fill_unscanned), messages
        except (OSError, ValueError) as error:
            return reason_of(error, path), messages


def _read_numbers(column: pd.Series, bad: BadRows) -> np.ndarray:
    """Return a column as numbers, and mark rows in which it has something else."""
    values, unreadable = parse_numbers(column)
    for row in np.flatnonzero(unreadable).tolist():
        bad.add(row, f"{column.name} {not_a_number(column.iloc[row])}")
    return values


def read_boxes(
    frame: pd.DataFrame, images: list[np.ndarray | None], bad: BadRows
) -> np.ndarray | None:
    """Return boxes, after turning their columns in `frame` into numbers."""
    names = [name for sides in box_columns(frame.columns).values() for name in sides]
    for name in names:
        frame[name] = _read_numbers(frame[name], bad)
    foreign = [
        name for name in frame.columns if _FOREIGN_BOX.fullmatch(plain_name(name))
    ]
    if foreign:
        warn(
            f"Columns {', '.join(map(repr, foreign))} look like boxes but are not "
            "used. Expected L1_top, L1_left, L1_bottom, L1_right and so on to "
            "L4_right: rename them."
        )
    boxes = boxes_of_table(frame)
    if boxes is None:
        return None
    for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
        known = ~np.isnan(box)
        if (known.any(axis=1) & ~known.all(axis=1)).any():
            bad.add(row, "a box is incomplete")
        box = box[known.all(axis=1)]
        if (box[:, 2:] <= box[:, :2]).any():
            bad.add(row, "a box ends before it begins")
        elif image is not None and (
            (box[:, :2] < 0).any() or (box[:, 2:] > image.shape).any()
        ):
            bad.add(row, "a box reaches beyond its scan")
        elif _lie_otherwise(box):
            bad.add(
                row,
                "a vertebra is not below the one above it (are top and left swapped, "
                "or levels?)",
            )
    return boxes


def _lie_otherwise(boxes: np.ndarray) -> bool:
    """Whether vertebrae, from L1 on, lie beside or above each other, not below."""
    down, across = np.diff(boxes[:, :2] + boxes[:, 2:], axis=0).T
    return bool((down < np.abs(across)).any())


def read_spacing(
    frame: pd.DataFrame,
    names: tuple[Any, Any] | None,
    facts: list[dict[str, Any]],
    bad: BadRows,
) -> np.ndarray:
    """Return the pixel sizes of the table or, where it has none, of the files."""
    unknown = (np.nan, np.nan)
    of_files = [metadata.get("pixel_spacing") or unknown for metadata in facts]
    spacing = np.array(of_files, dtype=float)
    if names is None:
        return spacing
    sides = [_read_numbers(frame[name], bad) for name in dict.fromkeys(names)]
    of_table = np.broadcast_to(np.stack(sides, axis=1), spacing.shape)
    given = ~np.isnan(of_table)
    complete = given.all(axis=1)
    for row in np.flatnonzero(given.any(axis=1) & ~complete).tolist():
        bad.add(row, "one of row_spacing and column_spacing without the other")
    spacing = np.where(given, of_table, spacing)
    odd = np.flatnonzero(complete & ~are_plausible(of_table))
    if odd.size:
        low, high = PLAUSIBLE_SPACING
        warn(
            f"Expected pixels of {low} to {high} mm, neither side more than twice the "
            f"other, got {of_table[odd].min():.3g} to {of_table[odd].max():.3g} mm in "
            f"{odd.size} of {len(frame)} rows of table, {bad.named(odd)}. Their "
            "size is taken as not known: measure it, and correct the table."
        )
        spacing[odd] = np.nan
    return spacing


def find_shared_pixels(
    images: list[np.ndarray | None], patients: np.ndarray, bad: BadRows
) -> None:
    rows_of = defaultdict(list)
    for row, image in enumerate(images):
        if image is not None:
            content = hashlib.sha256(image.tobytes())
            rows_of[image.shape, image.dtype.str, content.digest()].append(row)
    for rows in rows_of.values():
        if len({patients[row] for row in rows} - {None}) > 1:
            for row in rows:
                others = bad.named(other for other in rows if other != row)
                bad.add(
                    row, f"the same pixels stand under another patient in row {others}"
                )
