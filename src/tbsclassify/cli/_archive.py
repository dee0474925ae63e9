"""Commands that go through an archive of scans."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tbsclassify.cli import _options as options
from tbsclassify.cli._app import FILES_FAILED, progress, say, warn

_Out = Annotated[
    Path, typer.Option("--out", "-o", help="Table to write: .csv or .parquet.")
]


def predict(
    model: options.ModelFile,
    files: options.Files,
    out: _Out,
    image_dir: options.ImageDir = None,
    file_column: options.FileColumn = "file",
    engine: options.Engine = "local",
    batch_size: options.BatchSize = 64,
    restart: options.Restart = False,
    device: options.Device = "auto",
) -> None:
    """Score scans with a trained model, from one file to a whole archive.

    The table grows as scans are scored. After a kill, the same command goes on. A file
    of no use is a row with the reason in the column `error`, and the exit code is 3.

    For example:

    * `tbsclassify predict model.tbs scan.dcm --out scores.csv`

    * `tbsclassify predict model.tbs archive/ "more/**/*.png" -o scores.parquet`

    * `tbsclassify predict model.tbs scans.csv --images images -o scores.csv`

    * `RAY_ADDRESS=auto tbsclassify predict model.tbs archive/ -o scores.csv
    --engine ray`
    """
    from tbsclassify.archive import predict_archive
    from tbsclassify.persistence import load_model

    fitted = load_model(model, device=device)
    with progress("scoring") as show:
        result = predict_archive(
            fitted,
            _files(files),
            out,
            image_dir=image_dir,
            file_column=file_column,
            batch_size=batch_size,
            engine=engine,
            resume=not restart,
            progress=show,
        )
    _finish(result)


def locate(
    files: options.Files,
    out: _Out,
    image_dir: options.ImageDir = None,
    file_column: options.FileColumn = "file",
    engine: options.Engine = "local",
    batch_size: options.BatchSize = 64,
    restart: options.Restart = False,
) -> None:
    """Find L1 to L4 in scans, and check each scan.

    The table has boxes, how sure they are, numbers about the scan, and in `reasons`
    what speaks against it. Corrected by hand, it can be the table of other commands.

    For example:

    * `tbsclassify locate images/ --out boxes.csv`

    * `tbsclassify locate scans.csv --images images -o boxes.csv`
    """
    from tbsclassify.archive import locate_archive

    with progress("locating") as show:
        result = locate_archive(
            _files(files),
            out,
            image_dir=image_dir,
            file_column=file_column,
            batch_size=batch_size,
            engine=engine,
            resume=not restart,
            progress=show,
        )
    _finish(result)


def _files(files: list[str]) -> Any:
    """Return a table's path alone, since it is no scan."""
    return files[0] if len(files) == 1 else files


def _finish(result: Any) -> None:
    rate = (result.n_scored + result.n_failed) / max(result.seconds, 1e-9)
    text = f"{result.out}: {result.n_scored} scans"
    if result.n_skipped:
        text += f", {result.n_skipped} rows were there already"
    say(f"{text}, {rate:.1f} files a second")
    if result.n_failed:
        warn(
            f"{result.n_failed} of {result.n_files} files could not be used. Their "
            f"rows of {result.out.name} have the reasons, in the column error."
        )
        raise typer.Exit(FILES_FAILED)
