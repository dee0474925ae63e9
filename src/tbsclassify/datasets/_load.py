"""Load a folder of scans by the table that describes them."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from tbsclassify._files import as_path
from tbsclassify._scans import plain_name
from tbsclassify._spacing import SPACING_COLUMNS, are_mixed, spacing_columns
from tbsclassify._validation import check_option, patient_ids
from tbsclassify._warn import warn
from tbsclassify.datasets._bad_rows import BadRows
from tbsclassify.datasets._columns import CLINICAL_NUMBERS, find_columns
from tbsclassify.datasets._rows import (
    check_folder,
    check_one_row_a_scan,
    find_shared_pixels,
    read_boxes,
    read_images,
    read_patients,
    read_spacing,
    read_tbs,
    resolve_paths,
)
from tbsclassify.datasets._table import parse_numbers, read_table
from tbsclassify.images import faults_of_header


def load_scans(
    table: str | os.PathLike[str] | pd.DataFrame,
    image_dir: str | os.PathLike[str],
    *,
    file_column: str = "file",
    patient_column: str | None = "patient",
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
        testing. Blanks around ids do not count: ``"A1 "`` is ``"A1"``. None for
        `patient_column`, for scans that are only predicted. Case, blanks and
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
        patient : ndarray of shape (n_scans,), or None
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
        If patient ids differ by case, punctuation or leading zeros only, boxes are
        known for some scans only, age, BMI or BMD is no number, DICOM headers tell what
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
    frame = read_table(table, [file_column, patient_column or ""])
    wanted = {
        "file_column": file_column,
        "patient_column": patient_column,
        "tbs_column": tbs_column,
    }
    names = find_columns(
        frame.columns, {key: one for key, one in wanted.items() if one is not None}
    )
    file_column = names["file_column"]
    _check_place_of_pixels(frame, file_column)
    sizes = spacing_columns(frame.columns)
    bad = BadRows(frame.index.tolist())
    folder = as_path(image_dir)
    paths = resolve_paths(frame[file_column], folder, bad)
    check_folder(folder, paths)
    patients = np.full(len(frame), "", dtype=object)
    if patient_column is not None:
        patients = read_patients(frame[names["patient_column"]], bad)
        _warn_of_spelling(patients, bad)
    tbs = None if tbs_column is None else read_tbs(frame[names["tbs_column"]], bad)
    check_one_row_a_scan(paths, patients, tbs, bad)
    images, facts = read_images(paths, fill_unscanned, n_jobs, bad)
    boxes = read_boxes(frame, images, bad)
    spacing = read_spacing(frame, sizes, facts, bad)
    find_shared_pixels(images, patients, bad)
    bad.report(paths, on_bad_rows)
    rows = np.array([row for row in range(len(frame)) if row not in bad], dtype=int)
    if not len(rows):
        raise ValueError("Expected table to have a usable row, got none.")
    _warn_of_boxes(boxes, rows, bad)
    _warn_of_text(frame, rows, bad)
    _warn_of_headers(facts, rows, bad)
    _warn_of_sizes(spacing, rows, bad)

    frame = frame.iloc[rows].reset_index(drop=True)
    patient = None
    if patient_column is not None:
        column = frame[names["patient_column"]]
        patient = patient_ids(column.to_numpy(), len(rows))
        frame[column.name] = patient
    collected = _collect([images[row] for row in rows])
    frame["image"] = pd.Series(list(collected), dtype=object)
    frame = frame.drop(columns=list(sizes or ()))
    frame[list(SPACING_COLUMNS)] = spacing[rows]
    return Bunch(
        images=collected,
        tbs=None if tbs is None else tbs[rows],
        patient=patient,
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


def _warn_of_spelling(patients: np.ndarray, bad: BadRows) -> None:
    """Warn of ids that differ only by how they are written, without naming them."""
    spellings: dict[tuple[str, ...], dict[str, int]] = defaultdict(dict)
    for row, one in enumerate(patients.tolist()):
        if one is not None:
            # "Pat-011" and "pat 11" have the same words and numbers, "1-11" and "11-1"
            # have not.
            parts = re.findall(r"\d+|[^\W\d_]+", str(one).casefold())
            key = tuple(part.lstrip("0") for part in parts)
            spellings[key or (str(one),)].setdefault(str(one), row)
    doubtful = [list(found.values()) for found in spellings.values() if len(found) > 1]
    if doubtful:
        shown = "; ".join(
            bad.named(rows).replace(", ", " and ") for rows in doubtful[:10]
        )
        warn(
            "Patient ids differ by case, blanks, punctuation or leading zeros only, "
            f"and count as different patients, in rows {shown}. If they are one "
            "patient, write them alike."
        )


def _warn_of_boxes(boxes: np.ndarray | None, rows: np.ndarray, bad: BadRows) -> None:
    """Warn of scans that will show another region than those with boxes."""
    if boxes is None:
        return
    without = rows[np.isnan(boxes[rows]).all(axis=(1, 2))]
    if without.size:
        warn(
            f"{without.size} of {len(rows)} scans have no boxes of L1-L4, in row(s) "
            f"{bad.named(without)} of table. Find them with "
            'LumbarCropper(boxes="auto"), give them, or leave these scans out: '
            "otherwise they are cropped around their own centre."
        )


def _warn_of_text(frame: pd.DataFrame, rows: np.ndarray, bad: BadRows) -> None:
    """Warn of clinical columns that a baseline cannot use as they are."""
    for name in frame.columns:
        if plain_name(name) in CLINICAL_NUMBERS:
            unreadable = parse_numbers(frame[name])[1]
            found = [row for row in rows.tolist() if unreadable[row]]
            if found:
                warn(
                    f"{name} is not a number in row(s) {bad.named(found)} of table. "
                    "Baselines that use it will refuse these scans: correct it, or "
                    "leave it empty."
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
