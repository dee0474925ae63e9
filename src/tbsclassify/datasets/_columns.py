"""Find the columns of a table, whatever people call them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tbsclassify._boxes import BOX_COLUMNS, BOX_SIDES
from tbsclassify._scans import plain_name
from tbsclassify._spacing import SPACING_COLUMNS

# Clinical columns that hold numbers, in plain form.
CLINICAL_NUMBERS = ("age", "bmi", "bmd")
# Parts of the names that people give to the column of an argument.
_PARTS = {
    "file_column": ("file", "image", "img", "path", "scan", "dicom"),
    "patient_column": ("patient", "subject", "participant", "person", "pid", "mrn"),
    "tbs_column": ("tbs", "trabecular"),
}
# Names, in plain form, that only a header has.
_HEADER_WORDS = frozenset(
    [
        *map(plain_name, (*BOX_COLUMNS, *BOX_SIDES, *SPACING_COLUMNS)),
        *CLINICAL_NUMBERS,
        *("file", "filename", "image", "imagename", "imagefile"),
        *("patient", "patientid", "pid", "scan", "scanid", "sex", "spacing"),
        *("subject", "subjectid", "tbs", "tbsl1l4", "tbsvalue"),
    ]
)


def n_header_words(names: Iterable[Any]) -> int:
    """Return how many of some names only the header of a table has."""
    return len(_HEADER_WORDS.intersection(map(plain_name, names)))


def find_columns(columns: Iterable[Any], wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the names that columns have in a table.

    Case, blanks and punctuation do not matter, unless two names differ in them alone.

    Parameters
    ----------
    columns : iterable
        The names of all columns.
    wanted : mapping of str to str
        The name of a column by the argument that tells it, such as ``file_column``.

    Returns
    -------
    found : dict
        The name in the table, by argument.

    Raises
    ------
    ValueError
        If a column is missing. The message names those that may be meant.
    """
    columns = list(columns)
    found, missing = {}, {}
    for argument, name in wanted.items():
        alike = [one for one in columns if plain_name(one) == plain_name(name)]
        if name in columns:
            found[argument] = name
        elif len(alike) == 1:
            found[argument] = alike[0]
        else:
            missing[argument] = name
    if missing:
        others = [one for one in columns if one not in found.values()]
        listed = ", ".join(
            f"{name!r} ({argument})" for argument, name in missing.items()
        )
        raise ValueError(
            f"table has no column {listed}; it has "
            f"{_shown(columns, wanted.values(), _hint(others, missing))}"
        )
    return found


def _shown(columns: list[Any], wanted: Iterable[str], hint: str) -> str:
    """List columns, and which are meant, or say that they are not shown.

    Without a header, the first line is that of a patient. A header has two names that
    are known, no numbers and no separators.
    """
    known = _HEADER_WORDS.union(map(plain_name, wanted))
    is_header = len(known.intersection(map(plain_name, columns))) > 1 and not any(
        isinstance(name, str) and _is_entry(name) for name in columns
    )
    if is_header:
        more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
        return ", ".join(map(repr, columns[:20])) + more + f". {hint}"
    return (
        f"{len(columns)} columns whose names are not shown, since its first line may "
        "be no header. Write the names of the columns into the first line."
    )


def _hint(columns: list[Any], missing: Mapping[str, str]) -> str:
    """Say how to name the columns that may be meant."""
    likely = []
    for argument in missing:
        alike = [
            name
            for name in columns
            if any(part in plain_name(name) for part in _PARTS[argument])
        ]
        likely += [f"{argument}={name!r}" for name in alike[:2]]
    if likely:
        return f"Do you mean {', '.join(likely)}?"
    return f"Name yours with {', '.join(missing)}."


def _is_entry(text: str) -> bool:
    """Whether a text looks like entries of a table, not like the name of a column."""
    if re.search(r"[,;|\t\n]", text):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
