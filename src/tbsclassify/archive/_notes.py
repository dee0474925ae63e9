"""Give the warnings of a long run once for each kind."""

import re
from collections import Counter

from tbsclassify._warn import warn
from tbsclassify.archive._names import neutral


class Notes:
    """Warnings of a long run: the first of each kind at once, the others as a count."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self._count: Counter[str] = Counter()

    def take(self, messages: list[str]) -> None:
        """Warn of what is new in the texts of warnings."""
        for text in messages:
            # Positions are those in a batch, and mean nothing to the user.
            text = re.sub(r", index \[[^]]*\],?", "", text)
            # Warnings that differ only by numbers or the name of a file are the same.
            kind = re.sub(r"\d+", "", re.sub(r"^[^:]*: ", "", text))
            self._count[kind] += 1
            if kind not in self._first:
                self._first[kind] = neutral(text)
                warn(self._first[kind])

    def tell(self) -> None:
        """Say at the end how many more there were of each kind."""
        for kind, text in self._first.items():
            more = self._count[kind] - 1
            if more:
                warn(f"{more} more such warnings: {text}")
