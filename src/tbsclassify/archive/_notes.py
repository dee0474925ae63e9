"""Collect the warnings of a long run, and give each kind once."""

import re
from collections import Counter

from tbsclassify._warn import warn
from tbsclassify.archive._names import neutral


class Notes:
    """Warnings of a long run, given once for all scans."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def take(self, messages: list[str]) -> None:
        """Collect the texts of warnings."""
        for text in messages:
            # Warnings that differ only by numbers or the name of a file are the same.
            kind = re.sub(r"\d+", "", re.sub(r"^[^:]*: ", "", text))
            self._first.setdefault(kind, text)
            self._count[kind] += 1

    def tell(self) -> None:
        """Warn once of each kind."""
        for kind, text in self._first.items():
            more = self._count[kind] - 1
            also = f" ({more} more such warnings)" if more else ""
            warn(neutral(text) + also)
