"""Read the table that describes a folder of scans, from many programs."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tbsclassify._files import UnreadableScanError, printable_name, read_whole
from tbsclassify._scans import as_pandas, plain_name
from tbsclassify.datasets._columns import n_header_words

_EXCEL = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and xls
_DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_LONGEST_NUMBER = 30
_MOST_COLUMNS = 10_000  # pandas takes a millisecond for each
_LINES_BEFORE_HEADER = 5  # titles are looked for in that many lines
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(table: Any, text_columns: list[str]) -> pd.DataFrame:
    """Return a copy of a table, or what a CSV file holds.

    Its index has the numbers by which a user finds the rows: of a file, those of a
    spreadsheet, where the header is row 1; of a table in memory, positions from 0.

    Parameters
    ----------
    table : str, path-like or DataFrame
        A table of pandas or polars, or a CSV file: UTF-8, UTF-16 or cp1252 (as
        Excel writes in Western Europe), separated by comma, semicolon, tab or
        vertical bar. Where it is not separated by commas, numbers may have
        decimal commas.
    text_columns : list of str
        Columns of a file that are not turned into numbers: ids such as 007 keep
        their zeros. Case, blanks and punctuation do not matter.
    """
    if isinstance(table, str | os.PathLike):
        frame = _read_csv(Path(table), text_columns)
    elif hasattr(table, "columns"):
        _check_unique(table.columns)
        frame = as_pandas(table).reset_index(drop=True)
    else:
        raise TypeError(
            "Expected table to be the path of a CSV file or a DataFrame, got "
            f"{type(table).__name__}."
        )
    # Spreadsheets export empty rows below the table that were once edited.
    frame = frame[frame.notna().any(axis=1)]
    if frame.empty:
        raise ValueError("Expected table to have a row for each scan, got no rows.")
    return frame.copy()


def parse_numbers(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return entries as floats, and a mask of those that are no numbers."""
    if str(column.dtype).lower() in ("float16", "float32"):
        column = column.astype(str)  # 1.35, which as a double would be 1.35000002
    values = np.full(len(column), np.nan)
    unreadable = np.zeros(len(column), dtype=bool)
    for row, entry in enumerate(column.to_list()):
        if pd.isna(entry) or (isinstance(entry, str) and not entry.strip()):
            continue
        try:
            values[row] = float(entry)
        except (OverflowError, TypeError, ValueError):
            unreadable[row] = True
    return values, unreadable


def not_a_number(entry: Any) -> str:
    """Say that an entry is no number, and how to write a decimal comma.

    Other text is not repeated: if columns have shifted, it may be a name.
    """
    text = str(entry).strip()
    if not _DECIMAL_COMMA.fullmatch(text) or len(text) > _LONGEST_NUMBER:
        return "is not a number"
    return f"{text!r} is not a number (expected {text.replace(',', '.')}, with a point)"


def _read_csv(path: Path, text_columns: list[str]) -> pd.DataFrame:
    name = printable_name(path)
    separator, text, first_row = _find_separator(_decode(_read_bytes(path, name), name))
    wanted = {*map(plain_name, text_columns)}
    try:
        columns, numbers = _check_rows(text, separator, name, first_row)
        texts = [i for i, one in enumerate(columns) if plain_name(one) in wanted]
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            decimal="." if separator == "," else ",",
            # By position, since names may have blanks around them.
            dtype=dict.fromkeys(texts, str),
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
        )
    except (csv.Error, pd.errors.ParserError):
        raise ValueError(
            f"Expected {name} to be a CSV file, got text that is none: a quotation "
            "mark that is not closed, or an entry of more than 100 kB."
        ) from None
    frame.columns = frame.columns.astype(str).map(_plain)
    if len(numbers) == len(frame):
        frame.index = pd.Index(numbers)
    else:  # a line of quotation marks alone is empty for one of both readers
        frame.index += first_row
    if separator != ",":
        # Pandas leaves a column as text if one of its entries has a decimal point.
        for i, column in enumerate(frame.columns):
            if i not in texts and not pd.api.types.is_numeric_dtype(frame[column]):
                frame[column] = _with_points(frame[column])
    return frame


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        data = read_whole(path)
    except (FileNotFoundError, UnreadableScanError) as error:
        is_missing = isinstance(error, FileNotFoundError)
        what = str(error) if is_missing else f"{name} {error}."
        raise (FileNotFoundError if is_missing else ValueError)(
            f"Expected table to be a CSV file, but {what} The table comes first, then "
            "the folder of the scans."
        ) from None
    if data.startswith(_EXCEL):
        raise ValueError(
            f"Expected {name} to be a CSV file, got an Excel workbook. Save it as "
            '"CSV UTF-8", or pass the DataFrame that pandas.read_excel makes of it.'
        )
    return data


def _find_separator(text: str) -> tuple[str, str, int]:
    """Return the separator of a table, its text, and the number of its first row.

    The text begins with the header, and numbers are those of a spreadsheet.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    header_row = 1 + len(text) - len(text.lstrip("\n"))
    text = text.lstrip("\n")
    first_line, _, rest = text.partition("\n")
    if told := re.match(r'"?sep=(.?)', first_line, re.IGNORECASE):
        # A line for Excel, which does not show it.
        return told[1] or "\t", rest, header_row + 1
    separator = ","
    for line in text.split("\n", _LINES_BEFORE_HEADER)[:_LINES_BEFORE_HEADER]:
        unquoted = re.sub(r'"[^"]*"', "", line)
        separator = max(",;\t|", key=unquoted.count)
        if separator in unquoted:
            break
    return separator, text, header_row + 1


def _check_rows(
    text: str, separator: str, name: str, first_row: int
) -> tuple[list[str], list[int]]:
    """Return the names of the columns and the numbers of rows, after checking them."""
    lines = csv.reader(io.StringIO(text), delimiter=separator)
    header = next(lines, [])
    rows = _check_header(header, lines, name, first_row)
    if len(header) > _MOST_COLUMNS:
        raise ValueError(
            f"Expected {name} to have at most {_MOST_COLUMNS} columns, got "
            f"{len(header)}."
        )
    columns = [_plain(column) for column in header]
    if not any(columns):
        raise ValueError(
            f"Expected the first line of {name} to name the columns, got an empty "
            "line or file."
        )
    # Those without a name get one.
    _check_unique(column or i for i, column in enumerate(columns))
    numbers = []
    for number, row in enumerate(rows, first_row):
        if len(row) > 1 or "".join(row).strip():  # pandas leaves out empty lines
            numbers.append(number)
        # Pandas would take the first entries for an index, and shift all others.
        if any(entry.strip() for entry in row[len(columns) :]):
            raise ValueError(
                f"Expected {len(columns)} entries in row {number} of {name}, got "
                f"{len(row)}. Where numbers have decimal commas, separate entries "
                "by semicolons."
            )
    return columns, numbers


def _check_header(
    header: list[str], rows: Iterator[list[str]], name: str, first_row: int
) -> Iterator[list[str]]:
    """Refuse lines above the header, such as a title, and return all rows.

    They may have a patient's name, so they are not taken for names of columns.
    """
    first = list(itertools.islice(rows, _LINES_BEFORE_HEADER))
    known = [n_header_words(row) for row in (header, *first)]
    best = max(range(len(known)), key=known.__getitem__) if max(known) > 1 else 0
    n_filled = [sum(bool(entry.strip()) for entry in row) for row in (header, *first)]
    if best or n_filled[0] == 1 < max(n_filled):
        place = f"in row {first_row - 1 + best}" if best else "below it"
        raise ValueError(
            f"Expected the first line of {name} to name the columns, got another line, "
            f"such as a title: the names are {place}. Delete the lines above them."
        )
    return itertools.chain(first, rows)


def _plain(name: str) -> str:
    """Return the name of a column without invisible characters."""
    return "".join(one for one in name if one.isprintable()).strip()


def _with_points(column: pd.Series) -> pd.Series:
    """Write decimal commas as points, and turn a column of numbers into numbers."""
    texts = column.map(_with_point, na_action="ignore")
    numbers = pd.to_numeric(texts, errors="coerce")
    return numbers if numbers.notna().equals(texts.notna()) else texts


def _with_point(entry: Any) -> Any:
    is_decimal = isinstance(entry, str) and _DECIMAL_COMMA.fullmatch(entry)
    return entry.replace(",", ".") if is_decimal else entry


def _decode(data: bytes, name: str) -> str:
    if data.startswith(_UTF_16):
        encodings = ["utf-16"]
    elif b"\0" in data[:2]:
        encodings = ["utf-16-be" if data[:1] == b"\0" else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if "\0" not in text:
                return text
    raise ValueError(
        f"Expected {name} to be text in UTF-8, UTF-16 or cp1252, got other bytes. Save "
        'it as "CSV UTF-8".'
    )


def _check_unique(names: Iterable[Any]) -> None:
    """Refuse a name that occurs twice. It is not shown, since it may be an entry."""
    columns: dict[Any, list[int]] = {}
    for i, name in enumerate(names):
        columns.setdefault(name, []).append(i)
    for found in columns.values():
        if len(found) > 1:
            raise ValueError(
                "Expected table to have each column once, got one name in columns "
                f"{', '.join(map(str, found[:10]))} (counted from 0). Drop or rename "
                "all but one."
            )
