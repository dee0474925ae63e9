"""Load a folder of scans by the table that describes them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch

from tbsclassify._boxes import box_columns, boxes_of_table
from tbsclassify._files import meant_instead, printable_name
from tbsclassify._scans import plain_name
from tbsclassify._spacing import (
    PLAUSIBLE_SPACING,
    SPACING_COLUMNS,
    are_mixed,
    are_plausible,
    spacing_columns,
)
from tbsclassify._validation import check_option, patient_ids
from tbsclassify._warn import held_back, warn
from tbsclassify.datasets._bad_rows import BadRows, shown_file
from tbsclassify.datasets._columns import find_columns
from tbsclassify.datasets._table import not_a_number, parse_numbers, read_table
from tbsclassify.images import faults_of_header, read_with_metadata
from tbsclassify.labels import TBS_RANGE

# Column names for the sides of boxes in other programs.
_FOREIGN_BOX = re.compile(
    r"l[1-4]([xy][012]?|[xy](min|max)|(min|max)[xy]|row|col(umn)?|w(idth)?|h(eight)?)"
    r"|(top|left|bottom|right)l[1-4]"
)


def load_scans(
    table: str | os.PathLike[str] | pd.DataFrame,
    image_dir: str | os.PathLike[str],
    *,
    file_column: str = "file",
    patient_column: str = "patient",
    tbs_column: str | None = "tbs",
    fill_unscanned: int | None = None,
    on_bad_rows: Literal["error", "warn"] = "error",
    n_jobs: int | None = None,
) -> Bunch:
    """Load scans, TBS values and patients, checking all of them first.

    Parameters
    ----------
    table : str, path-like or DataFrame
        A CSV file or a table with a row for each scan. L1-L4 boxes are taken
        from columns ``L1_top``, ``L1_left``, ``L1_bottom``, ``L1_right`` and so
        on to ``L4_right`` (pixels, ends exclusive; empty where not known), or
        from ``top``, ``left``, ``bottom``, ``right`` (of L1-L4 as a whole), if the
        table has them. Case and punctuation in these names do not matter, and
        levels without columns are not known. Columns ``row_spacing`` and
        ``column_spacing``, or one column ``spacing``, ``pixel_spacing`` or
        ``pixel_size``, have the height and width of a pixel in mm. All further
        columns (age, BMI ...) are kept.

        A file may be UTF-8, UTF-16 or cp1252, separated by comma, semicolon, tab
        or vertical bar; where it is not separated by commas, decimal commas are
        read.
    image_dir : str or path-like
        Folder that the file names refer to.
    file_column, patient_column : str, default="file", "patient"
        Columns with the file's name and the patient's id. Several scans of a
        patient must carry the same id, or they may end up in both training and
        testing. Blanks around ids do not count: ``"A1 "`` is ``"A1"``. Case, blanks and
        punctuation in the names of all columns do not matter: ``Patient`` will do.
    tbs_column : str or None, default="tbs"
        Column with the TBS value; None where there is none.
    fill_unscanned : int, default=None
        See :func:`tbsclassify.read_scan`.
    on_bad_rows : {"error", "warn"}, default="error"
        Whether bad rows stop the loading or are left out with a warning. Either
        way all of them are listed, each with its reason.
    n_jobs : int, default=None
        Number of threads that read files.

    Returns
    -------
    scans : Bunch
        Dictionary-like, with

        images : ndarray of shape (n_scans, height, width), or (n_scans,)
            Grey levels; a 1-D array of 2-D arrays where sizes differ.
        tbs : ndarray of float of shape (n_scans,), or None
            TBS values.
        patient : ndarray of shape (n_scans,)
            Patient of each scan: the ``groups`` of scikit-learn.
        boxes : ndarray of float of shape (n_scans, 4, 4) or (n_scans, 1, 4), or None
            (top, left, bottom, right) of L1 to L4, or of the whole; NaN where not
            known.
        spacing : ndarray of float of shape (n_scans, 2)
            Height and width of a pixel in mm, from the table or else from DICOM
            files; NaN where not known.
        paths : ndarray of str of shape (n_scans,)
            Path of each file.
        frame : pandas.DataFrame
            The table, with the images in a column ``image`` and `spacing` in
            ``row_spacing`` and ``column_spacing``: an ``X`` in which boxes and
            pixel sizes travel with their scans.

    Raises
    ------
    ValueError
        If the table cannot be read; if a column is missing, there twice, or is
        called ``image``; if rows have one file but different TBS, as tables with a
        row for each vertebra have; or if rows are bad: no file name, a file that
        is missing or unreadable, a file listed twice, no patient, the same pixels
        under two patients, a TBS that is missing or outside 0.5-2.0, a box that
        is incomplete, no number or outside its scan. Rows of a file have the numbers
        that a spreadsheet shows, rows of a table in memory count from 0. Patients are
        never named.
    OSError
        If the table cannot be opened: there is none, or it may not be read; or if
        `image_dir` is no folder, or has none of several files.

    Warns
    -----
    UserWarning
        If patient ids differ by upper and lower case only, DICOM headers tell what
        `read_scan` warns of (another region than the AP spine, another modality,
        text burnt into the image), pixel sizes differ by more than 2 %, or columns
        look like boxes but are not named like them; and if pixel sizes of the table
        lie outside 0.2 to 1.1 mm, or one side of a pixel is more than twice the
        other. These are taken as not known.

    See Also
    --------
    make_dxa_phantoms : Synthetic scans in the same form.
    tbsclassify.predict_archive : Scores scans without loading all of them.
    tbsclassify.read_scan : Reads one scan.
    tbsclassify.TBSLabeler : Turns its TBS values into classes.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from tbsclassify.datasets import load_scans, make_dxa_phantoms
    >>> phantoms = make_dxa_phantoms(3, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i, image in enumerate(phantoms.images):
    ...         Image.fromarray(image).save(pathlib.Path(folder, f"{i}.png"))
    ...     table = pd.DataFrame(
    ...         {"file": ["0.png", "1.png", "2.png"], "patient": ["a", "b", "c"],
    ...          "tbs": phantoms.tbs}
    ...     )
    ...     scans = load_scans(table, folder)
    >>> scans.images.shape, scans.patient.tolist()
    ((3, 280, 300), ['a', 'b', 'c'])
    """
    check_option(on_bad_rows, "on_bad_rows", ("error", "warn"))
    frame = read_table(table, [file_column, patient_column])
    wanted = {"file_column": file_column, "patient_column": patient_column}
    if tbs_column is not None:
        wanted["tbs_column"] = tbs_column
    names = find_columns(frame.columns, wanted)
    file_column, patient_column = names["file_column"], names["patient_column"]
    _check_place_of_pixels(frame, file_column)
    sizes = spacing_columns(frame.columns)
    bad = BadRows(frame.index.tolist())
    paths = _resolve_paths(frame[file_column], Path(image_dir), bad)
    _check_folder(Path(image_dir), paths)
    patients = _read_patients(frame[patient_column], bad)
    _warn_of_case(patients, bad)
    tbs = None if tbs_column is None else _read_tbs(frame[names["tbs_column"]], bad)
    _check_one_row_a_scan(paths, patients, tbs, bad)
    images, facts = _read_images(paths, fill_unscanned, n_jobs, bad)
    boxes = _read_boxes(frame, images, bad)
    spacing = _read_spacing(frame, sizes, facts, bad)
    _find_shared_pixels(images, patients, bad)
    bad.report(paths, on_bad_rows)
    rows = np.array([row for row in range(len(frame)) if row not in bad], dtype=int)
    if not len(rows):
        raise ValueError("Expected table to have a usable row, got none.")
    _warn_of_headers(facts, rows, bad)
    _warn_of_sizes(spacing, rows, bad)

    frame = frame.iloc[rows].reset_index(drop=True)
    frame[patient_column] = patient_ids(frame[patient_column].to_numpy(), len(rows))
    collected = _collect([images[row] for row in rows])
    frame["image"] = pd.Series(list(collected), dtype=object)
    frame = frame.drop(columns=list(sizes or ()))
    frame[list(SPACING_COLUMNS)] = spacing[rows]
    return Bunch(
        images=collected,
        tbs=None if tbs is None else tbs[rows],
        patient=frame[patient_column].to_numpy(),
        boxes=None if boxes is None else boxes[rows],
        spacing=spacing[rows],
        paths=np.array([paths[row] for row in rows], dtype=str),
        frame=frame,
    )


def _check_place_of_pixels(frame: pd.DataFrame, file_column: str) -> None:
    if "image" in frame.columns and file_column != "image":
        raise ValueError(
            "Expected table to have no column 'image', where load_scans puts the "
            "pixels. Rename yours, or, if it holds the files' names, pass "
            'file_column="image".'
        )


def _resolve_paths(files: pd.Series, folder: Path, bad: BadRows) -> list[str | None]:
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


def _check_folder(folder: Path, paths: list[str | None]) -> None:
    """Refuse a folder that has none of the files, in place of a line for each."""
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected image_dir to be the folder of the scans, got {str(folder)!r}, "
            "where there is none."
        )
    named = [path for path in paths if path is not None]
    if len(named) > 1 and not any(map(os.path.lexists, named)):
        raise FileNotFoundError(
            "Expected image_dir to be the folder that file names refer to, got "
            f"{str(folder)!r}, which has none of the {len(named)} files. The first, "
            f"{shown_file(named[0])}, is not there{meant_instead(Path(named[0]))}. "
            "Pass another folder, or correct the names."
        )


def _read_patients(column: pd.Series, bad: BadRows) -> np.ndarray:
    """Return the id of each patient in one form, None if it is missing."""
    entries = column.to_list()
    missing = np.array([pd.isna(one) or not str(one).split() for one in entries])
    for row in np.flatnonzero(missing).tolist():
        bad.add(row, "no patient")
    patients = np.full(len(entries), None, dtype=object)
    known = column[~missing].to_numpy()
    patients[~missing] = patient_ids(known, len(known))
    return patients


def _read_tbs(column: pd.Series, bad: BadRows) -> np.ndarray:
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


def _check_one_row_a_scan(
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


def _read_images(
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
            reason = getattr(error, "strerror", None) or str(error)
            return reason.removeprefix(printable_name(path)).strip(" :."), messages


def _read_numbers(column: pd.Series, bad: BadRows) -> np.ndarray:
    """Return a column as numbers, and mark rows in which it has something else."""
    values, unreadable = parse_numbers(column)
    for row in np.flatnonzero(unreadable).tolist():
        bad.add(row, f"{column.name} {not_a_number(column.iloc[row])}")
    return values


def _read_boxes(
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
    return boxes


def _read_spacing(
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


def _find_shared_pixels(
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


def _warn_of_case(patients: np.ndarray, bad: BadRows) -> None:
    """Warn of ids that differ only by case, without naming them."""
    spellings: dict[str, dict[str, int]] = defaultdict(dict)
    for row, one in enumerate(patients.tolist()):
        if one is not None:
            spellings[str(one).casefold()].setdefault(str(one), row)
    doubtful = [list(found.values()) for found in spellings.values() if len(found) > 1]
    if doubtful:
        shown = "; ".join(
            bad.named(rows).replace(", ", " and ") for rows in doubtful[:10]
        )
        warn(
            "Patient ids differ by upper and lower case only, and count as different "
            f"patients, in rows {shown}. If they are one patient, write them alike."
        )


def _warn_of_headers(
    facts: list[dict[str, Any]], rows: np.ndarray, bad: BadRows
) -> None:
    """Warn of faults in DICOM headers, with one warning for each fault."""
    by_fault: dict[str, list[int]] = defaultdict(list)
    for row in rows.tolist():
        for fault in faults_of_header(facts[row]):
            by_fault[fault].append(row)
    for fault, found in by_fault.items():
        warn(f"Scan in row(s) {bad.named(found)} of table {fault}")


def _warn_of_sizes(spacing: np.ndarray, rows: np.ndarray, bad: BadRows) -> None:
    """Warn of scans that show texture at another scale."""
    if not are_mixed(spacing[rows]):
        return
    by_size: dict[str, list[int]] = defaultdict(list)
    for row in rows.tolist():
        height, width = spacing[row]
        if not np.isnan(height):
            by_size[f"{height:.2f} x {width:.2f} mm"].append(row)
    # The smallest group first, since it may be a mistake.
    groups = sorted(by_size.items(), key=lambda item: len(item[1]))[:5]
    shown = "; ".join(f"{size} in row(s) {bad.named(found)}" for size, found in groups)
    warn(
        f"The scans have pixels of different sizes: {shown}. Texture changes with the "
        "size of pixels: bring them to one with LumbarCropper(spacing=...), or keep "
        "scans of one size."
    )


def _collect(images: list[np.ndarray | None]) -> np.ndarray:
    if len({(image.shape, image.dtype) for image in images if image is not None}) == 1:
        return np.stack([image for image in images if image is not None])
    collected = np.empty(len(images), dtype=object)
    collected[:] = images
    return collected
