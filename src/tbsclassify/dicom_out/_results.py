"""Both DICOM objects from one row of a table of scores."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tbsclassify._boxes import LEVELS, boxes_of_table
from tbsclassify._files import as_path
from tbsclassify.dicom_out._report import make_report
from tbsclassify.dicom_out._segmentation import make_segmentation
from tbsclassify.dicom_out._source import read_source, save

_PROBABILITY = "probability_"


def write_results(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    row: Mapping[str, Any] | pd.Series,
    *,
    fingerprint: str,
    model_name: str | None = None,
    origin: str = "found",
) -> list[Path]:
    """Write the report, and the segmentation if boxes are known, of one scored scan.

    Both have the name, id, birth date and sex of the patient, and the study, as they
    stand in `source`: see `write_report`.

    Parameters
    ----------
    source : str or path-like
        The DICOM file that was scored.
    folder : str or path-like
        Where the files go, which is made where it is not there.
    row : mapping or Series
        What is known of the scan, by the name of its column: ``class`` and
        ``probability_<class>``, ``tbs``, ``tbs_std``, ``L1_top`` to ``L4_right`` in
        pixels of the file. What is missing, or NaN, is left out. Other columns do not
        matter.
    fingerprint : str
        Of the model, ``model_info(path)["fingerprint"]``.
    model_name : str, default=None
        What to call the model in the report.
    origin : {"found", "corrected", "given"}, default="found"
        Where boxes come from: see `write_segmentation`.

    Returns
    -------
    paths : list of Path
        The files: the report if there is a score, the segmentation if there are boxes.
        They are called by their UIDs, so the same results are the same files, and
        files of any number of scans can be in one folder.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install "tbsclassify[dicom-out]"``.
    UnreadableScanError
        If `source` is no DICOM image or lacks what results refer to. It is a
        ``ValueError``, and quotes nothing of the file.
    ValueError
        If the row holds something that cannot be written.
    OSError
        If a file cannot be read or written.

    See Also
    --------
    write_report : The report alone.
    write_segmentation : The segmentation alone.

    Examples
    --------
    >>> import tempfile
    >>> from pydicom.data import get_testdata_file
    >>> from tbsclassify.dicom_out import write_results
    >>> source = get_testdata_file("CT_small.dcm")  # stands for a DXA scan
    >>> row = {"class": 1, "probability_0": 0.2, "probability_1": 0.8, "tbs": 1.14}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = write_results(source, folder, row, fingerprint="0" * 64)
    >>> len(paths)
    1
    """
    known = {str(k): v for k, v in dict(row).items() if not _missing(v)}
    boxes = boxes_of_table(pd.DataFrame([dict(row)]))
    shares = {
        name.removeprefix(_PROBABILITY): float(value)
        for name, value in known.items()
        if name.startswith(_PROBABILITY)
    }
    label = known.get("class")
    if isinstance(label, float) and label.is_integer() and str(label) not in shares:
        label = int(label)  # from a column that has empty cells, too
    read = read_source(source)
    made = []
    if label is not None or shares or "tbs" in known:
        classes = list(shares) or ([label] if label is not None else None)
        made.append(
            make_report(
                read,
                fingerprint=fingerprint,
                classes=classes,
                probabilities=list(shares.values()) or None,
                label=label,
                tbs=_number(known, "tbs"),
                tbs_std=_number(known, "tbs_std"),
                model_name=model_name,
            )
        )
    # One box of the whole of L1-L4 is no vertebra.
    if boxes is not None and boxes.shape[1] == len(LEVELS) and _any_known(boxes):
        made.append(make_segmentation(read, boxes[0], origin=origin))
    folder = as_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{uid}.dcm" for uid, _ in made]
    for path, (_, content) in zip(paths, made, strict=True):
        save(content, path)
    return paths


def _any_known(boxes: np.ndarray) -> bool:
    return not np.isnan(boxes).all()


def _missing(value: Any) -> bool:
    return bool(np.ndim(value) == 0 and pd.isna(value))


def _number(known: Mapping[str, Any], name: str) -> float | None:
    return float(known[name]) if name in known else None
