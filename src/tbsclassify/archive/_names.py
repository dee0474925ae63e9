"""Names of files as cells of a table, and back."""

import os
import re

from tbsclassify._spreadsheet import is_formula, plain_cell


def cell_of(path: str) -> str:
    r"""Return the name of a file as one line of text that is no formula.

    Bytes that are no printable text, and backslashes, become ``\x0a`` and the like.
    A name that a spreadsheet would take for a formula begins with ``./``, which
    leads to the same file.
    """
    shown = "".join(map(_shown, path.replace("\\", "/") if os.sep == "\\" else path))
    return f"./{shown}" if is_formula(shown) else shown


def path_of(cell: str) -> str:
    r"""Return the path of the file that a cell of the column ``file`` stands for.

    Parameters
    ----------
    cell : str
        An entry of the column ``file`` of what `predict_archive` writes. Bytes of a
        name that are no printable text, and backslashes, stand there as ``\x`` and
        two digits.

    Returns
    -------
    path : str
        The path, which opens the file.

    See Also
    --------
    predict_archive : Writes such entries.

    Examples
    --------
    >>> from tbsclassify.archive import path_of
    >>> path_of(r"scans/first\x0asecond.png")
    'scans/first\nsecond.png'
    """
    raw = re.sub(
        rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), _raw(cell)
    )
    return os.fsdecode(raw)


def neutral(text: str) -> str:
    """Return text as one line that no spreadsheet takes for a formula."""
    text = "".join(one if one.isprintable() else " " for one in text)
    return plain_cell(re.sub(" +", " ", text).strip())


def _shown(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return "".join(f"\\x{byte:02x}" for byte in _raw(character))


def _raw(text: str) -> bytes:
    # A name from elsewhere may hold surrogates that are no bytes of this system's.
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")
