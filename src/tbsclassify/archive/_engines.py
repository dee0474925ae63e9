"""Two engines for archives: this process, or a Ray cluster."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import pandas as pd

from tbsclassify._warn import held_back, warn
from tbsclassify.archive._output import lines_of
from tbsclassify.archive._reading import Reading, read_ahead
from tbsclassify.labels import TBS_RANGE


class Batch(NamedTuple):
    """Files that are read, scored and written together."""

    paths: list[str]
    cells: list[str]  # their names in the output
    table: pd.DataFrame
    reasons: dict[int, str]  # why a row of the table is of no use, by position


class Scorer(Protocol):
    """An object that scores scans, each by itself."""

    @property
    def networks(self) -> Sequence[Any]:
        """Estimators that use a GPU if there is one."""

    def columns(self, table: pd.DataFrame | None) -> list[str]:
        """Return the names of the columns, in order."""

    def score(
        self, readings: list[Reading], table: pd.DataFrame
    ) -> list[dict[str, Any]]:
        """Return the columns of each scan, or an ``error``."""


class Scored(NamedTuple):
    """The results of a batch."""

    lines: list[str]
    n_failed: int
    warnings: list[str]


class Work(NamedTuple):
    """Turns batches into lines of the table."""

    scorer: Scorer
    columns: list[str]
    model: str  # its fingerprint

    def score(self, batch: Batch, readings: list[Reading]) -> Scored:
        """Score the files of a batch."""
        readings = [
            one._replace(image=None, error=batch.reasons[i])
            if i in batch.reasons
            else one
            for i, one in enumerate(readings)
        ]
        rows = self.scorer.score(readings, batch.table)
        low, high = TBS_RANGE
        for cell, row in zip(batch.cells, rows, strict=True):
            if "tbs" in row and not low <= row["tbs"] <= high:
                warn(
                    f"{os.path.basename(cell)}: the TBS predicted lies outside "
                    f"{low}-{high}, as of no lumbar spine. Look at the scan, and at "
                    "the reasons that locate_archive (tbsclassify locate) gives."
                )
        failed = sum(bool(row.get("error")) for row in rows)
        return Scored(lines_of(batch.cells, rows, self.columns, self.model), failed, [])

    def score_all(
        self, batches: Iterator[Batch], n_threads: int | None = None
    ) -> Iterator[Scored]:
        """Score batches in order, and read ahead.

        The library's warnings, including those of threads that read, come with the
        batches.
        """
        scans = read_ahead(batches, lambda batch: batch.paths, n_threads)
        for batch, readings in scans:
            told = [text for reading in readings for text in reading.warnings]
            with held_back() as messages:
                scored = self.score(batch, readings)
            del readings
            yield scored._replace(warnings=[*told, *messages])


def score_on_ray(
    work: Work, batches: Iterator[Batch], n_threads: int | None
) -> Iterator[Scored]:
    """Score on the running Ray, or on one that is started for it."""
    from tbsclassify.archive._ray import score_on_cluster

    return score_on_cluster(work, batches)


ENGINES: dict[str, Any] = {"local": Work.score_all, "ray": score_on_ray}
