"""Run an engine over an archive, and write the table."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tbsclassify._files import as_path
from tbsclassify._validation import check_bool, check_number, check_option
from tbsclassify.archive._engines import ENGINES, Batch, Scorer, Work
from tbsclassify.archive._listing import Listing, list_files
from tbsclassify.archive._notes import Notes
from tbsclassify.archive._output import Output


@dataclass(frozen=True)
class ArchiveResult:
    """Counts of the files of an archive, and the path of the table.

    Attributes
    ----------
    n_files : int
        Files of the archive.
    n_scored : int
        Files that were scored in this call.
    n_failed : int
        Files that got an error in place of numbers in this call.
    n_skipped : int
        Files that were already in the table.
    n_failed_before : int
        The skipped files that have an error in place of numbers.
    seconds : float
        Time since the first file.
    out : Path
        The table.

    See Also
    --------
    predict_archive : Returns it.
    """

    n_files: int
    n_scored: int
    n_failed: int
    n_skipped: int
    n_failed_before: int
    seconds: float
    out: Path


def run_archive(
    scorer: Scorer,
    name: str,
    files: Any,
    out: str | os.PathLike[str],
    *,
    image_dir: str | os.PathLike[str] | None,
    file_column: str,
    batch_size: int,
    engine: str,
    resume: bool,
    n_jobs: int | None,
    progress: Callable[[int, int], Any] | None,
) -> ArchiveResult:
    """Score files that have no line yet; `name` identifies the scorer."""
    check_number(batch_size, "batch_size", low=1, integer=True)
    check_option(engine, "engine", ENGINES)
    check_bool(resume, "resume")
    if n_jobs is not None:
        check_number(n_jobs, "n_jobs", low=1, integer=True)
    out = as_path(out)
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ValueError(
            f"Expected out to end in .csv or .parquet, got {out.name!r}. Name the "
            "table that is to be written."
        )
    listing = list_files(files, image_dir, file_column)
    columns = ["file", *scorer.columns(listing.table), "model", "error"]
    work = Work(scorer, columns, name)
    output = Output(out, columns, name)
    done = output.open(listing.cells, resume=resume)
    n_before = sum(map(len, done.values()))
    start, notes = time.perf_counter(), Notes()
    n_done, n_failed = n_before, 0
    for scored in ENGINES[engine](work, _batches(listing, done, batch_size), n_jobs):
        output.append(scored.lines)
        n_done += len(scored.lines)
        n_failed += scored.n_failed
        notes.take(scored.warnings)
        if progress is not None:
            progress(n_done, len(listing.cells))
    output.finish()
    notes.tell()
    return ArchiveResult(
        n_files=len(listing.cells),
        n_scored=n_done - n_before - n_failed,
        n_failed=n_failed,
        n_skipped=n_before,
        n_failed_before=sum(map(sum, done.values())),
        seconds=time.perf_counter() - start,
        out=out,
    )


def _batches(
    listing: Listing, done: Mapping[str, list[bool]], batch_size: int
) -> Iterator[Batch]:
    """Yield the files that have no line yet; a file in two rows needs two."""
    left, n_met = [], Counter[str]()
    for i, cell in enumerate(listing.cells):
        n_met[cell] += 1
        if n_met[cell] > len(done.get(cell, ())):
            left.append(i)
    for start in range(0, len(left), batch_size):
        part = left[start : start + batch_size]
        yield Batch(
            paths=[listing.paths[i] for i in part],
            cells=[listing.cells[i] for i in part],
            table=listing.rows(part),
            reasons={
                k: listing.reasons[i]
                for k, i in enumerate(part)
                if i in listing.reasons
            },
        )
