"""Read a file whole, and name it in a message that any terminal can print."""

import os
import stat
from pathlib import Path

# A scan of 64 million pixels of 16 bits has half of this.
MAX_BYTES = 2**28
_LONGEST_NAME = 120


class UnreadableScanError(ValueError):
    """A file that is no readable scan; the message says which and why.

    See Also
    --------
    tbsclassify.read_scan : Raises it.
    """


def printable_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file for a message, without its folders.

    Folders may be named after patients. What would break a line, a terminal or an
    encoder (newlines, escapes, bytes that are no UTF-8) is written as an escape.
    """
    name = Path(path).name or str(path)
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in name
    )
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def read_whole(path: Path) -> bytes:
    """Return what is in a regular file of at most `MAX_BYTES`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be read: it may not be, or its links go in a circle. It
        has the name of the file without its folders.
    UnreadableScanError
        With the reason alone, if it is a folder, no regular file (a pipe would be
        waited for, a device may have no end) or too large.
    """
    name = printable_name(path)
    try:
        found = path.stat()
        unfit = _unfit(found)
        data = b"" if unfit else path.read_bytes()
    except (FileNotFoundError, ValueError):  # a name that no file can have
        raise FileNotFoundError(f"{name}: there is no such file.") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    if unfit:
        raise UnreadableScanError(unfit)
    return data


def _unfit(found: os.stat_result) -> str:
    """Return why a file cannot be read whole, or nothing."""
    if stat.S_ISDIR(found.st_mode):
        return "is a folder, expected a file"
    if not stat.S_ISREG(found.st_mode):
        return "is a pipe, a device or a socket, expected a file"
    if found.st_size > MAX_BYTES:
        return f"has {found.st_size} bytes, more than the {MAX_BYTES} allowed"
    return ""
