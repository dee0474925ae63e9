"""Keep spreadsheets from running cells of a CSV file as formulas."""

import re
from typing import Any

import pandas as pd

# What spreadsheets take for the beginning of a formula, after blanks, including the
# wide forms of Asian keyboards.
_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*")


def plain_cell(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula.

    Text that begins like a formula gets an apostrophe, which marks text in
    spreadsheets. Numbers stay as they are, also as text such as "-1.2".

    Examples
    --------
    >>> from tbsclassify._spreadsheet import plain_cell
    >>> plain_cell("=HYPERLINK(A1)"), plain_cell("-1.2"), plain_cell(-1.2)
    ("'=HYPERLINK(A1)", '-1.2', -1.2)
    """
    return f"'{value}" if isinstance(value, str) and is_formula(value) else value


def is_formula(text: str) -> bool:
    """Whether a spreadsheet takes a text for a formula."""
    return bool(_FORMULA.match(text)) and not _NUMBER.fullmatch(text)


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of a table for `DataFrame.to_csv`, with safe names of columns."""
    plain = table.map(plain_cell)
    return plain.rename(index=plain_cell, columns=plain_cell)
