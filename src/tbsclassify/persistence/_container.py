"""The file around a model: a header in JSON and the bytes of the model, checked."""

import hashlib
import io
import json
import os
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

from tbsclassify._files import as_path, printable_name, write_named

_FORMAT, _VERSION = "tbsclassify model", 1
_HEADER, _MODEL = "header.json", "model.skops"
# It has 12 bytes for each scan of the training.
_MAX_HEADER = 2**26
# Errors of reading a damaged zip archive, including seeks to nowhere.
_OF_ZIP = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


class ModelFileError(ValueError):
    """A file is no model file, is damaged, or holds what is not trusted.

    See Also
    --------
    load_model : Raises it.
    """


def write_model_file(
    path: str | os.PathLike, about: dict[str, Any], content: bytes
) -> None:
    """Write a model and facts about it, whole or not at all."""
    header = {"format": _FORMAT, "format_version": _VERSION, **about}
    header["fingerprint"] = fingerprint_of(content)
    header["checksum"] = _checksum(header)
    text = json.dumps(header, indent=1, allow_nan=False)

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_HEADER, text)
            archive.writestr(_MODEL, content)

    write_named(path, write)


def fingerprint_of(content: bytes) -> str:
    """Return the fingerprint of a model, from its bytes."""
    return hashlib.sha256(content).hexdigest()


def read_model_file(path: str | os.PathLike) -> tuple[dict[str, Any], bytes]:
    """Return the header of a model file, checked, and the bytes of its model."""
    name = printable_name(path)
    try:
        with open(as_path(path), "rb") as file:
            start, size = file.read(16), os.fstat(file.fileno()).st_size
            try:
                with zipfile.ZipFile(file) as archive:
                    header, content = _members(archive, size)
            except _OF_ZIP as error:
                raise ModelFileError(f"{name} {_what_it_is(start, error)}") from None
    except IsADirectoryError:
        raise ModelFileError(f"{name} is a folder, not a model file.") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            "Expected path to be a model file that save_model wrote, but there is no "
            f"file {name}."
        ) from None
    try:
        about = json.loads(header)
        found, of_format = about["format"], about["format_version"]
        versions = about["model"]["versions"]
    except (KeyError, RecursionError, TypeError, ValueError):
        raise ModelFileError(f"{name} has no header of a model file.") from None
    if found != _FORMAT or not isinstance(versions, dict):
        raise ModelFileError(f"{name} has no header of a model file.")
    if of_format != _VERSION:
        raise ModelFileError(
            f"{name} is of format {of_format!r}, and this version of tbsclassify reads "
            f"format {_VERSION}. Install the version that wrote it, or a newer one "
            "than this."
        )
    if about.get("checksum") != _checksum(about) or (
        about.get("fingerprint") != fingerprint_of(content)
    ):
        raise ModelFileError(
            f"{name} was changed after it was saved, or is damaged. Get it again from "
            "whoever made it."
        )
    return about, content


def _members(archive: zipfile.ZipFile, size: int) -> tuple[bytes, bytes]:
    """Return header and model, neither of which may be larger than the file."""
    parts = {one.filename: one for one in archive.infolist()}
    if sorted(archive.namelist()) != sorted([_HEADER, _MODEL]):
        raise ValueError("other members")
    stored = all(one.compress_type == zipfile.ZIP_STORED for one in parts.values())
    if not stored or sum(one.file_size for one in parts.values()) > size:
        raise ValueError("compressed")
    if parts[_HEADER].file_size > _MAX_HEADER:
        raise ValueError("header too large")
    content = archive.read(_MODEL)
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        members = inner.infolist()
        stored = all(one.compress_type == zipfile.ZIP_STORED for one in members)
        if not stored or sum(one.file_size for one in members) > len(content):
            raise ValueError("compressed")
        for one in members:
            with inner.open(one) as member:
                # In place of an array, NumPy would open an archive and read it later.
                if member.read(2) == b"PK":
                    raise ValueError("an archive")
    return archive.read(_HEADER), content


def _what_it_is(start: bytes, error: Exception) -> str:
    """Say what a file is if it is no model file."""
    if not start:
        return "is empty (0 bytes)."
    if start.startswith(b"PK"):
        if isinstance(error, ValueError):
            return (
                "is a zip file, but not one that save_model wrote, or only a part of "
                "one."
            )
        return "is a damaged zip file. Get it again from whoever made it."
    if start.startswith((b"\x80", b"\x78")):
        return (
            "is a pickle or a file of joblib, which run code of whoever made them when "
            "they are loaded. Have the model saved by save_model."
        )
    return (
        "is no model file, or only a part of one. Have the model saved by save_model."
    )


def _checksum(header: dict[str, Any]) -> str:
    rest = {name: value for name, value in header.items() if name != "checksum"}
    text = json.dumps(rest, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
