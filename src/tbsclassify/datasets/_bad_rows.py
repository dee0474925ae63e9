"""Collect what is wrong with the rows of a table, to tell all of it at once."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from tbsclassify._files import printable_name
from tbsclassify._warn import warn

# Texts that are file names even if there is no such file.
_FILE_NAME = re.compile(
    r"[^,;|\t\n\"']+\.(png|jpe?g|bmp|tiff?|dcm|dicom)", re.IGNORECASE
)


class BadRows:
    """Rows of a table that cannot be used, and why.

    Parameters
    ----------
    numbers : sequence of int
        By what number a user finds each row of the table.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = numbers
        self._reasons: dict[int, list[str]] = defaultdict(list)

    def add(self, row: int, reason: str) -> None:
        """Note a reason against the row at a position."""
        self._reasons[row].append(reason)

    def __contains__(self, row: int) -> bool:
        return row in self._reasons

    def named(self, rows: Iterable[int], most: int = 10) -> str:
        """Return the numbers of rows for a message."""
        numbers = [str(self.numbers[row]) for row in rows]
        more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
        return ", ".join(numbers[:most]) + more

    def report(
        self, paths: Sequence[str | None], on_bad_rows: Literal["error", "warn"]
    ) -> None:
        """Raise an error, or warn, with all reasons; with none, do nothing."""
        if not self._reasons:
            return
        lines = [
            f"  row {self.numbers[row]} ({shown_file(paths[row])}): "
            f"{'; '.join(self._reasons[row])}"
            for row in sorted(self._reasons)
        ]
        heading = f"{len(lines)} of {len(self.numbers)} rows of table cannot be used"
        if on_bad_rows == "error":
            remedy = 'Mend the table, or leave these rows out with on_bad_rows="warn".'
            raise ValueError("\n".join([f"{heading}:", *lines, remedy]))
        remedy = "To use them, mend the table."
        warn("\n".join([f"{heading} and are left out:", *lines, remedy]))


def shown_file(path: str | None) -> str:
    """Return the name of a file, unless it may be another entry of the table."""
    if path is None:
        return "no file"
    if os.path.exists(path) or _FILE_NAME.fullmatch(os.path.basename(path)):
        return printable_name(path)
    return "name not shown"
