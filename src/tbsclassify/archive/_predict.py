"""Score an archive of scans, of any size, into one table."""

import os
from collections.abc import Callable
from typing import Any, Literal

from tbsclassify._fingerprint import fingerprint
from tbsclassify.archive._run import ArchiveResult, run_archive
from tbsclassify.archive._scoring import ModelScorer


def predict_archive(
    model: Any,
    files: Any,
    out: str | os.PathLike[str],
    *,
    image_dir: str | os.PathLike[str] | None = None,
    file_column: str = "file",
    batch_size: int = 64,
    engine: Literal["local", "ray"] = "local",
    resume: bool = True,
    n_jobs: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
) -> ArchiveResult:
    r"""Score an archive of scans, of any size, into one table.

    Files are read ahead, scored and written batch by batch, in bounded memory. After a
    kill, the same call continues where the table ends. A file that cannot be scored
    gets a line with the reason, and does not stop the run.

    Parameters
    ----------
    model : estimator, str or path-like
        A fitted classifier or regressor, most often a Pipeline that begins with
        `LumbarCropper`, or the path of a model file
        (`tbsclassify.persistence.save_model`).
    files : str, path-like, list of these, or DataFrame
        Files, folders and patterns such as ``"archive/**/*.dcm"``. In a folder and
        those below it, scans are files that end in png, jpg, bmp, tif, dcm or ima, or
        begin as DICOM files do; folders that are links are not entered. Or a table,
        also as the path of a CSV file, with names in `file_column` and, as in
        `load_scans`, boxes, pixel sizes and further columns that the model takes.
    out : str or path-like
        Table to write, ``.csv`` or ``.parquet``. A Parquet file appears at the end;
        until then its lines are in ``<out>.part``.
    image_dir : str or path-like, default=None
        Folder that the names in a table refer to. None takes the folder of the CSV
        file, or the working directory for a DataFrame.
    file_column : str, default="file"
        Column of a table with the name of the file.
    batch_size : int, default=64
        Files that are read, scored and written together. At most three times as many
        scans are held in memory. Whatever it is, the model sees 16 scans at a time,
        the last ones filled up, so that the table does not depend on it. Multiples of
        16 waste nothing.
    engine : {"local", "ray"}, default="local"
        ``"ray"`` spreads batches over the Ray cluster that is running (or
        that ``RAY_ADDRESS`` names), else over the cores of this machine. The files
        must have the same names on all machines. The table is the same.
    resume : bool, default=True
        Whether to keep the lines in `out`: their files are not scored again, and new
        files are added. With False, `out` is replaced.
    n_jobs : int, default=None
        Threads that read files, with the local engine; None takes one a core.
    progress : callable, default=None
        Called as ``progress(n_done, n_files)`` after each batch.

    Returns
    -------
    result : ArchiveResult
        Counts, time and the path of the table.

    Raises
    ------
    TypeError
        If `model` predicts neither classes nor values, or an argument is of another
        type.
    ValueError
        If there is no file to score; if `out` ends otherwise, or is not a
        table that this call has begun: of another model, with other columns, or with
        files that are not among `files`; if a table cannot be used.
    FileNotFoundError
        If a file, folder or table that was named is not there, a pattern matches
        nothing, or none of the files of a table is there. A single one that is not, or
        that the table lists again, is a line with that reason.
    OSError
        If `out` cannot be written. The lines that it has stay whole.

    Warns
    -----
    UserWarning
        Once for each kind of warning that comes up on the way, with a count of the
        others at the end; and if a folder below `files` cannot be opened.

    See Also
    --------
    tbsclassify.load_scans : Loads scans into memory, to train on.
    path_of : The path that an entry of the column ``file`` stands for.
    locate_archive : Finds L1-L4 in them.
    ArchiveResult : What it returns.

    Notes
    -----
    A line has ``file``, the name in a table, which joins the two, or else the path as
    it was given or found; for a classifier
    ``class`` and ``probability_<class>``; ``tbs`` and ``tbs_std`` where the model
    predicts the TBS; ``level_confidence`` and ``place_confidence`` where boxes were
    found by a cropper with ``boxes="auto"`` or a localizer; ``L1_top`` to ``L4_right``
    where boxes of the four were found or given; ``row_spacing`` and
    ``column_spacing``, the pixel size in mm from the table or a DICOM header;
    ``model``, the first digits of a fingerprint of the fitted model; and ``error``, the
    reason why there is no score. Numbers have six digits.

    Nothing else in the header of a file is read or written. Names are written on one
    line that no spreadsheet takes for a formula; see `path_of`. Other texts that begin
    like a formula get an apostrophe.

    On one kind of processor, the same scan always gets the same line, whatever the
    batch size, the engine, the number of threads, interruptions and the other files. A
    model from outside this library must score each row on its own for that.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import pandas as pd
    >>> from PIL import Image
    >>> from tbsclassify import make_dxa_phantoms, make_texture_classifier
    >>> from tbsclassify.archive import predict_archive
    >>> scans = make_dxa_phantoms(12, class_shares=(1, 0, 1), random_state=0)
    >>> model = make_texture_classifier().fit(scans.images, scans.tbs < 1.2)
    >>> with tempfile.TemporaryDirectory() as name:
    ...     folder = pathlib.Path(name)
    ...     for i in range(3):
    ...         Image.fromarray(scans.images[i]).save(folder / f"{i}.png")
    ...     _ = (folder / "3.png").write_bytes(b"")
    ...     result = predict_archive(model, folder, folder / "scores.csv")
    ...     table = pd.read_csv(folder / "scores.csv")
    >>> result.n_scored, result.n_failed
    (3, 1)
    >>> print(table.loc[3, "error"])
    is empty (0 bytes)
    """
    if isinstance(model, str | os.PathLike):
        from tbsclassify.persistence import load_model

        model = load_model(model)
    return run_archive(
        ModelScorer(model),
        fingerprint(model)[:12],
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
