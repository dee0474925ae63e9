"""Commands that go through an archive of scans."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tbsclassify.cli import _options as options
from tbsclassify.cli._app import IN_PART, progress, say, warn

_Out = Annotated[
    Path, typer.Option("--out", "-o", help="Table to write: .csv or .parquet.")
]
_DicomFolder = Annotated[
    Path | None,
    typer.Option(
        "--dicom-sr",
        help="Folder for a DICOM structured report of each scored DICOM file, and a "
        "segmentation where boxes of L1-L4 are known. They hold the identity of the "
        "patient, copied from the file. Nothing else that this program writes does.",
    ),
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
    dicom_sr: _DicomFolder = None,
) -> None:
    """Score scans with a trained model, from one file to a whole archive.

    The table grows as scans are scored. After a kill, the same command goes on. A file
    of no use is a row with the reason in the column `error`, and the exit code is 3.

    For example:

    * `tbsclassify predict model.tbs scan.dcm --out scores.csv`

    * `tbsclassify predict model.tbs archive/ "more/**/*.png" -o scores.parquet`

    * `tbsclassify predict model.tbs scans.csv --images images -o scores.csv`

    * `tbsclassify predict model.tbs archive/ -o scores.csv --dicom-sr reports`

    * `RAY_ADDRESS=auto tbsclassify predict model.tbs archive/ -o scores.csv
    --engine ray`
    """
    from tbsclassify.archive import predict_archive
    from tbsclassify.archive._listing import list_files
    from tbsclassify.persistence import load_model, model_info

    if dicom_sr is not None:
        from tbsclassify.dicom_out._source import import_highdicom

        import_highdicom()  # before hours of scoring, not after
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
    if dicom_sr is not None:
        listing = list_files(_files(files), image_dir, file_column)
        paths = dict(zip(listing.cells, listing.paths, strict=True))
        _write_dicom(result.out, paths, model_info(model), dicom_sr)
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
    what speaks against it. Correct the boxes by hand, and put them into your table, by
    `file`.

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


def _write_dicom(
    scores: Path, paths: dict[str, str], about: dict[str, Any], folder: Path
) -> None:
    """Write DICOM objects of all rows of a table that have scores of a DICOM file."""
    import pandas as pd

    from tbsclassify.dicom_out import write_results
    from tbsclassify.images import UnreadableScanError

    read = pd.read_csv if scores.suffix.lower() == ".csv" else pd.read_parquet
    table = read(scores)
    table = table[table["error"].isna()]
    rows: list[Any] = table.to_dict("records")
    n_others = 0
    for row in rows:
        found = not pd.isna(row.get("level_confidence"))
        try:
            write_results(
                paths[row["file"]],
                folder,
                row,
                fingerprint=about["fingerprint"],
                model_name=about["model"]["estimator"],
                origin="found" if found else "given",
            )
        except UnreadableScanError:
            n_others += 1
    n_written = len(rows) - n_others
    say(f"{folder}: DICOM objects of {n_written} scans, with their patients' identity")
    if n_others:
        warn(
            f"{n_others} of {len(rows)} scored files are no DICOM files that a "
            "report can refer to; they have none."
        )


def _files(files: list[str]) -> Any:
    """Return a table's path alone, since it is no scan."""
    return files[0] if len(files) == 1 else files


def _finish(result: Any) -> None:
    rate = (result.n_scored + result.n_failed) / max(result.seconds, 1e-9)
    text = f"{result.out}: {result.n_scored} scans"
    if result.n_skipped:
        text += f", {result.n_skipped} rows were there already"
    say(f"{text}, {rate:.1f} files a second")
    # Rows of an earlier call count: the code tells what the table is worth.
    n_failed = result.n_failed + result.n_failed_before
    if n_failed:
        warn(
            f"{n_failed} of {result.n_files} files could not be used. Their "
            f"rows of {result.out.name} have the reasons, in the column error."
        )
        raise typer.Exit(IN_PART)
