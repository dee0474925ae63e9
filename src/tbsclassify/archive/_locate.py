"""Find L1 to L4 in an archive of scans, and check each scan."""

import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd

from tbsclassify._boxes import BOX_COLUMNS, CONFIDENCES
from tbsclassify._fingerprint import fingerprint
from tbsclassify._spacing import SPACING_COLUMNS
from tbsclassify.archive._reading import Reading
from tbsclassify.archive._run import ArchiveResult, run_archive
from tbsclassify.archive._scoring import in_words, raise_if_general, with_scans
from tbsclassify.localization import LumbarLocalizer
from tbsclassify.quality import check_scans
from tbsclassify.quality._limits import SCAN_CHECKS


class _Locator:
    """Boxes, confidences and checks of single scans."""

    networks = ()

    def __init__(self, localizer: LumbarLocalizer):
        self._localizer = localizer

    def columns(self, table: pd.DataFrame | None) -> list[str]:
        return list(
            dict.fromkeys(
                [*BOX_COLUMNS, *CONFIDENCES, *SPACING_COLUMNS, *SCAN_CHECKS, "reasons"]
            )
        )

    def score(
        self, readings: list[Reading], table: pd.DataFrame
    ) -> list[dict[str, Any]]:
        table = with_scans(table, readings)
        rows: list[dict[str, Any]] = [{"error": one.error} for one in readings]
        for i, reading in enumerate(readings):
            if reading.image is None:
                continue
            try:
                one = self._localizer.transform_table(table.iloc[[i]])
                report = check_scans(one)
            except Exception as error:
                raise_if_general(error)
                rows[i] = {"error": in_words(error)}
                continue
            for part in (report, one):
                known = [name for name in self.columns(None) if name in part.columns]
                rows[i] |= dict(zip(known, part[known].iloc[0].tolist(), strict=True))
            for name in BOX_COLUMNS:
                rows[i][name] = np.round(rows[i][name], 1)
        return rows


def locate_archive(
    files: Any,
    out: str | os.PathLike[str],
    *,
    localizer: LumbarLocalizer | None = None,
    image_dir: str | os.PathLike[str] | None = None,
    file_column: str = "file",
    batch_size: int = 64,
    engine: Literal["local", "ray"] = "local",
    resume: bool = True,
    n_jobs: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> ArchiveResult:
    """Find L1 to L4 in an archive of scans, and check each scan.

    The table can be corrected by hand, and then be passed to `load_scans` or
    `predict_archive`, which take boxes and pixel sizes from it.

    Parameters
    ----------
    files, out, image_dir, file_column, batch_size, engine, resume, n_jobs, progress
        As in `predict_archive`. Boxes that a table has are kept and checked.
    localizer : LumbarLocalizer, default=None
        Finds the boxes. None takes the default one of the library.

    Returns
    -------
    result : ArchiveResult
        Counts, time and the path of the table.

    Raises
    ------
    TypeError, ValueError, FileNotFoundError, OSError
        As `predict_archive`.

    See Also
    --------
    tbsclassify.check_scans : Says what the columns of the checks mean.
    predict_archive : Scores the scans.

    Notes
    -----
    A line has ``file``; ``L1_top`` to ``L4_right`` in pixels, to a tenth;
    ``level_confidence`` and ``place_confidence``, empty where boxes were given; the
    pixel size in mm; the columns of `check_scans`, with ``reasons``; a fingerprint of
    the localizer in ``model``; and ``error`` for files that are of no use.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from tbsclassify import make_dxa_phantoms
    >>> from tbsclassify.archive import locate_archive
    >>> scan = make_dxa_phantoms(1, random_state=0).images[0]
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     Image.fromarray(scan).save(folder / "scan.png")
    ...     result = locate_archive(folder, folder / "boxes.csv")
    ...     table = pd.read_csv(folder / "boxes.csv")
    >>> bool(table.loc[0, "L1_top"] < table.loc[0, "L1_bottom"])
    True
    """
    localizer = LumbarLocalizer() if localizer is None else localizer
    return run_archive(
        _Locator(localizer),
        fingerprint(localizer)[:12],
        files,
        out,
        image_dir=image_dir,
        file_column=file_column,
        batch_size=batch_size,
        engine=engine,
        resume=resume,
        n_jobs=n_jobs,
        progress=progress,
    )
