"""Read and write files whole, and name them in messages that any terminal prints."""

import glob
import os
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

# A scan of 64 million pixels of 16 bits has half of this.
MAX_BYTES = 2**28
_LONGEST_NAME = 120


class UnreadableScanError(ValueError):
    """A file is not a readable scan; the message says which and why.

    See Also
    --------
    tbsclassify.read_scan : Raises it.
    """


def as_path(path: str | os.PathLike[str]) -> Path:
    """Return the path that a user has passed; ``~`` is their home folder.

    All paths come in here, in :func:`read_whole` or in :func:`write_whole`.
    """
    return Path(os.path.expanduser(path))


def printable_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a file for a message, without its folders.

    Folders may be named after patients. Whatever would break a line, a terminal or an
    encoder (newlines, escapes, bytes that are not UTF-8) is written as an escape.
    """
    name = Path(path).name or str(path)
    shown = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in name
    )
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def read_whole(path: Path) -> bytes:
    """Return the content of a regular file of at most `MAX_BYTES`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    OSError
        If the file cannot be read: permission is denied, or its links go in a
        circle. The error has the name of the file without its folders.
    UnreadableScanError
        If it is a folder, not a regular file (reading a pipe may wait, and a device
        may have no end) or too large. The message is the reason alone.
    """
    name, path = printable_name(path), as_path(path)
    try:
        found = path.stat()
        unfit = _unfit(found)
        data = b"" if unfit else path.read_bytes()
    except (FileNotFoundError, ValueError):  # a name that no file can have
        hint = meant_instead(path)
        raise FileNotFoundError(f"{name}: there is no such file{hint}.") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, name) from None
    if unfit:
        raise UnreadableScanError(unfit)
    return data


def reason_of(error: Exception, path: str | os.PathLike[str]) -> str:
    """Return why a file cannot be read, from its error, without the name of the file.

    A report of many files has their names beside their reasons.
    """
    text = getattr(error, "strerror", None) or str(error)
    return text.removeprefix(printable_name(path)).strip(" :.")


def meant_instead(path: Path) -> str:
    """Name the file whose name has another case, or the suffix that is missing."""
    stem, suffix = path.stem, path.suffix
    for name in (stem + suffix.upper(), stem + suffix.lower(), path.name.lower()):
        if name != path.name and os.path.lexists(path.with_name(name)):
            return f", but {printable_name(name)} (upper and lower case matter)"
    if not suffix and "\0" not in stem:
        for found in sorted(path.parent.glob(f"{glob.escape(stem)}.*"))[:1]:
            return f", but {printable_name(found)}"
    return ""


def _unfit(found: os.stat_result) -> str:
    """Return why a file cannot be read whole, or an empty text."""
    if stat.S_ISDIR(found.st_mode):
        return "is a folder, expected a file"
    if not stat.S_ISREG(found.st_mode):
        return "is a pipe, a device or a socket, expected a file"
    if found.st_size > MAX_BYTES:
        return f"has {found.st_size} bytes, more than the {MAX_BYTES} allowed"
    return ""


def write_whole(
    path: Path, write: Callable[[BinaryIO], Any], *, replace: bool = True
) -> None:
    """Write a file so that nobody ever sees it half written.

    With ``replace=False`` an existing file is left as it is. If the disk is full, the
    error names the file, and an existing file stays.
    """
    path = as_path(path)
    # A name of its own, since another process or thread may write the same file.
    # Unlike tempfile, open() gives it the usual permissions of new files.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(unfinished, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if replace or not (_link(unfinished, path) or path.exists()):
            os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None:  # as for a full disk
            error.filename = path.name
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def write_named(path: str | os.PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file whole to the `path` that a user passed.

    Raises
    ------
    OSError
        If it cannot be written. The message names the argument `path`.
    """
    try:
        write_whole(Path(path), write)
    except OSError as error:
        raise OSError(
            error.errno,
            f"Expected path to be a file that can be written, got {os.fspath(path)!r} "
            f"({error.strerror}). A file that was there is as it was",
        ) from error


def _link(source: Path, target: Path) -> bool:
    """Give a file a second name unless it is taken; return False without hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True
