"""Load a folder of scans by the table that describes them."""

import hashlib
import os
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.utils import Bunch

from tbsclassify._validation import BOX_SIDES, LEVELS, check_option
from tbsclassify.images import read_scan

# No TBS outside this range has been reported of a patient.
_TBS_RANGE = (0.5, 2.0)


def load_scans(
    table,
    image_dir,
    *,
    file_column="file",
    patient_column="patient",
    tbs_column="tbs",
    fill_unscanned=None,
    on_bad_rows="error",
    n_jobs=None,
):
    """Load scans, TBS values and patients, checking all of them first.

    Parameters
    ----------
    table : str, path-like or pandas.DataFrame
        A CSV file or a table with a row for each scan. L1-L4 boxes are taken
        from columns ``L1_top``, ``L1_left``, ``L1_bottom``, ``L1_right`` and so
        on to ``L4_right`` (pixels, ends exclusive; empty where not known) if
        the table has them. All further columns (age, BMI ...) are kept.
    image_dir : str or path-like
        Folder that the file names refer to.
    file_column, patient_column : str, default="file", "patient"
        Columns with the file's name and the patient's id. Several scans of a
        patient must carry the same id, or a patient may be trained and tested
        on.
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
        boxes : ndarray of float of shape (n_scans, 4, 4), or None
            (top, left, bottom, right) of L1 to L4, NaN where not known.
        paths : ndarray of str of shape (n_scans,)
            Path of each file.
        frame : pandas.DataFrame
            The table, with the images in a column ``image``: an ``X`` in which
            boxes travel with their scans.

    Raises
    ------
    ValueError
        If a column is missing, or rows are bad: no file name, a file that is
        missing or unreadable, a file listed twice, no patient, the same pixels
        under two patients, a TBS that is missing or outside 0.5-2.0, a box that
        is incomplete or outside its scan. Rows are numbered from 0, and
        patients are never named.

    See Also
    --------
    make_dxa_phantoms : Synthetic scans in the same form.

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
    frame = _read_table(table, [file_column, patient_column])
    columns = [file_column, patient_column] + [tbs_column] * (tbs_column is not None)
    _check_columns(frame, columns)
    bad: dict[int, list[str]] = defaultdict(list)  # reasons by row

    files = frame[file_column]
    for row in np.flatnonzero(files.isna()).tolist():
        bad[row].append("no file name")
    for row in np.flatnonzero(files.duplicated() & files.notna()).tolist():
        bad[row].append("the file is listed in an earlier row")
    for row in np.flatnonzero(frame[patient_column].isna()).tolist():
        bad[row].append("no patient")
    if tbs_column is not None:
        tbs = pd.to_numeric(frame[tbs_column], errors="coerce").to_numpy(float)
        plausible = (tbs >= _TBS_RANGE[0]) & (tbs <= _TBS_RANGE[1])
        for row in np.flatnonzero(~plausible).tolist():
            bad[row].append(_tbs_reason(frame[tbs_column].iloc[row], tbs[row]))

    image_dir = Path(image_dir)
    paths = [None if pd.isna(file) else str(image_dir / str(file)) for file in files]
    images = Parallel(n_jobs=n_jobs, prefer="threads")(
        delayed(_read_or_reason)(path, fill_unscanned) for path in paths
    )
    for row, image in enumerate(images):
        if isinstance(image, str):
            bad[row].append(image)
    boxes = _read_boxes(frame, images, bad)
    _find_shared_pixels(images, frame[patient_column], bad)

    keep = np.array([row not in bad for row in range(len(frame))], dtype=bool)
    if bad:
        _report(bad, files, on_bad_rows)
    if not keep.any():
        raise ValueError("table holds no usable row.")
    images = _collect([image for image, good in zip(images, keep, strict=True) if good])
    frame = frame[keep].reset_index(drop=True)
    frame["image"] = pd.Series(list(images), dtype=object)
    return Bunch(
        images=images,
        tbs=None if tbs_column is None else tbs[keep],
        patient=frame[patient_column].to_numpy(),
        boxes=None if boxes is None else boxes[keep],
        paths=np.array(paths, dtype=object)[keep].astype(str),
        frame=frame,
    )


def _read_table(table, text_columns):
    if isinstance(table, pd.DataFrame):
        return table.copy()
    if not isinstance(table, str | os.PathLike):
        raise TypeError(
            f"table is of type {type(table).__name__}, but the path of a CSV file or "
            "a DataFrame is wanted."
        )
    # Ids such as 007 keep their zeros.
    return pd.read_csv(table, dtype=dict.fromkeys(text_columns, str))


def _check_columns(frame, columns):
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise ValueError(
            f"table has no column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, frame.columns))}. Name yours with file_column, "
            "patient_column and tbs_column."
        )


def _tbs_reason(entry, value):
    if pd.isna(entry):
        return "no TBS"
    if np.isnan(value):
        return f"TBS {entry!r} is not a number"
    return f"TBS {value:g} lies outside {_TBS_RANGE[0]}-{_TBS_RANGE[1]}"


def _read_or_reason(path, fill_unscanned):
    """Return the image, or why there is none."""
    if path is None:
        return None
    try:
        return read_scan(path, fill_unscanned=fill_unscanned)
    except (OSError, ValueError) as error:
        return str(error).rstrip(".")


def _read_boxes(frame, images, bad):
    names = [f"{level}_{side}" for level in LEVELS for side in BOX_SIDES]
    if not set(names) <= set(frame.columns):
        return None
    boxes = frame[names].apply(pd.to_numeric, errors="coerce").to_numpy(float)
    boxes = boxes.reshape(-1, len(LEVELS), len(BOX_SIDES))
    for row, (image, box) in enumerate(zip(images, boxes, strict=True)):
        known = ~np.isnan(box)
        if (known.any(axis=1) & ~known.all(axis=1)).any():
            bad[row].append("a box is incomplete")
        box = box[known.all(axis=1)]
        if (box[:, 2:] <= box[:, :2]).any():
            bad[row].append("a box ends before it begins")
        elif isinstance(image, np.ndarray) and (
            (box[:, :2] < 0).any() or (box[:, 2:] > image.shape).any()
        ):
            bad[row].append("a box reaches beyond its scan")
    return boxes


def _find_shared_pixels(images, patients, bad):
    rows_of = defaultdict(list)
    for row, image in enumerate(images):
        if isinstance(image, np.ndarray):
            content = hashlib.sha256(image.tobytes())
            rows_of[image.shape, image.dtype.str, content.digest()].append(row)
    for rows in rows_of.values():
        if patients.iloc[rows].nunique() > 1:
            for row in rows:
                others = ", ".join(str(other) for other in rows if other != row)
                bad[row].append(
                    f"the same pixels stand under another patient in row {others}"
                )


def _report(bad, files, on_bad_rows):
    lines = [
        f"  row {row} ({files.iloc[row]}): {'; '.join(bad[row])}" for row in sorted(bad)
    ]
    heading = f"{len(bad)} of {len(files)} rows of table cannot be used"
    if on_bad_rows == "error":
        remedy = 'Mend the table, or leave these rows out with on_bad_rows="warn".'
        raise ValueError("\n".join([f"{heading}:", *lines, remedy]))
    warnings.warn(
        "\n".join([f"{heading} and are left out:", *lines]), UserWarning, stacklevel=3
    )


def _collect(images):
    if len({(image.shape, image.dtype) for image in images}) == 1:
        return np.stack(images)
    collected = np.empty(len(images), dtype=object)
    collected[:] = images
    return collected
