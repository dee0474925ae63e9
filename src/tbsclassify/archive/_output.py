"""The table of an archive, which grows and can be resumed after a kill."""

import csv
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tbsclassify.archive._names import neutral

_REMEDY = "Name another file, or pass resume=False to replace it."
_OTHER_WRITER = (
    "Expected out to be written by this call alone, got {name}, which something else "
    "has changed meanwhile: another run, or an editor. Nothing was added to it. Let "
    "one run at a time write a table; this one goes on when called again."
)
# All other columns hold numbers.
_TEXTS = ("file", "class", "model", "error", "reasons")


class Output:
    """A CSV file of whole lines, one for each scan.

    Parquet files cannot grow. Their lines are collected in a CSV file beside them
    (``scores.parquet.part``), which is converted at the end.

    Parameters
    ----------
    path : path-like
        Ends in ``.csv`` or ``.parquet``.
    columns : list of str
        Names of all columns, ``file`` first.
    model : str
        Fingerprint of the model, written in each line.
    """

    def __init__(self, path: Path, columns: list[str], model: str):
        self.path, self.columns, self.model = path, columns, model
        self.is_parquet = path.suffix.lower() == ".parquet"
        self.lines = path.with_name(f"{path.name}.part") if self.is_parquet else path
        self._size = 0  # of the file after the last line of this run

    def open(self, files: list[str], *, resume: bool) -> dict[str, list[bool]]:
        """Prepare the file, and return the scans that it already has.

        Returns
        -------
        done : dict of str to list of bool
            The scans, and whether each of their lines has an error in place of numbers.

        Raises
        ------
        ValueError
            If it is of another model, has other columns, or has lines of scans that
            are not among `files`.
        """
        if not resume:
            self.lines.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
        unpacked = self.is_parquet and self.path.exists()
        if unpacked:
            self._unpack()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            done = self._begin(set(files))
        except ValueError:
            if unpacked:  # the table itself is still there
                self.lines.unlink()
            raise
        self._size = self.lines.stat().st_size
        return done

    def _begin(self, files: set[str]) -> dict[str, list[bool]]:
        header = line_of(self.columns).encode()
        with open(self.lines, "ab+") as file:
            file.seek(0)
            if not header.startswith(file.read(len(header))):
                return self._read_done(files)  # raises the right error
            _drop_torn_line(file)
            if file.tell() == 0:
                _write(file, header.decode())
                return {}
        return self._read_done(files)

    def append(self, lines: list[str]) -> None:
        """Write whole lines to disk before returning.

        Raises
        ------
        OSError
            If the disk is full, or something else has written to the file.
        """
        with open(self.lines, "ab") as file:
            before = file.tell()
            if before != self._size:
                raise OSError(_OTHER_WRITER.format(name=self.lines.name))
            try:
                _write(file, "".join(lines))
            except OSError as error:
                os.truncate(self.lines, before)  # a full disk may tear a line
                error.filename = str(self.lines)
                raise
            self._size = file.tell()

    def finish(self) -> None:
        """Convert the lines into the Parquet file, if `path` is one."""
        if not self.is_parquet:
            return
        import pyarrow as pa
        from pyarrow import csv as pa_csv
        from pyarrow import parquet

        types = {
            name: pa.string() if name in _TEXTS else pa.float64()
            for name in self.columns
        }
        unfinished = self.path.with_name(f"{self.path.name}.tmp")
        options = pa_csv.ConvertOptions(column_types=types)
        with (
            pa_csv.open_csv(self.lines, convert_options=options) as batches,
            parquet.ParquetWriter(unfinished, batches.schema) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        os.replace(unfinished, self.path)
        self.lines.unlink()

    def _unpack(self) -> None:
        """Convert a Parquet file into lines, so that more can follow."""
        from pyarrow import lib, parquet

        try:
            file = parquet.ParquetFile(self.path)
        except (lib.ArrowInvalid, OSError):
            raise _foreign(self.path, "which is no Parquet file") from None
        unfinished = self.lines.with_name(f"{self.lines.name}.tmp")
        with file, open(unfinished, "wb") as lines:
            names = file.schema_arrow.names
            lines.write(line_of(names).encode())
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    lines.write(line_of([_text(row[one]) for one in names]).encode())
        os.replace(unfinished, self.lines)

    def _read_done(self, expected: set[str]) -> dict[str, list[bool]]:
        """Return the scans in the lines, after checking that they are of this run."""
        done: dict[str, list[bool]] = {}
        with open(self.lines, encoding="utf-8", newline="") as file:
            try:
                rows = csv.reader(file, strict=True)
                header = next(rows, [])
                if header != self.columns:
                    raise _foreign(
                        self.path,
                        "which has other columns than those to be written, "
                        f"{', '.join(self.columns)}",
                    )
                models, errors = header.index("model"), header.index("error")
                for number, row in enumerate(rows):
                    if len(row) != len(header):
                        raise _foreign(self.path, f"whose row {number} is incomplete")
                    if row[models] != self.model:
                        raise _foreign(
                            self.path,
                            f"which another model, or other settings, have written "
                            f"(row {number})",
                        )
                    if row[0] not in expected:
                        raise _foreign(
                            self.path,
                            f"whose row {number} is of a file that is not among files",
                        )
                    done.setdefault(row[0], []).append(bool(row[errors]))
            except (UnicodeDecodeError, csv.Error):
                raise _foreign(self.path, "which is no CSV file") from None
        return done


def line_of(cells: Iterable[str]) -> str:
    """Return cells as a line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def lines_of(
    files: list[str], rows: list[dict[str, Any]], columns: list[str], model: str
) -> list[str]:
    """Return the line of each scan."""
    return [
        line_of(
            file if name == "file" else model if name == "model" else _cell(row, name)
            for name in columns
        )
        for file, row in zip(files, rows, strict=True)
    ]


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return neutral(value) if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    """Return a number with six digits, or an empty text for NaN."""
    if value is None:
        return ""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _write(file: Any, text: str) -> None:
    file.write(text.encode())
    file.flush()
    os.fsync(file.fileno())


def _drop_torn_line(file: Any) -> None:
    """Cut off what follows the last whole line, and seek to the end."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - 4096)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            if start + newline + 1 < end:
                file.truncate(start + newline + 1)
            break
        position = start
    else:
        file.truncate(0)
    file.seek(0, os.SEEK_END)


def _foreign(path: Path, what: str) -> ValueError:
    return ValueError(
        f"Expected out to be a new file, or one that this call has begun, got "
        f"{path.name}, {what}. {_REMEDY}"
    )
