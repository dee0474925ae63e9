"""A folder in which every finished piece of a long run is one file."""

import hashlib
import json
import os
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_MANIFEST = "manifest.json"
# A run is not resumed with another version of what its numbers come from.
_PACKAGES = ("tbsclassify", "scikit-learn", "torch")
# What is known by its name alone.
_NAMED = (type, types.ModuleType, types.BuiltinFunctionType, np.ufunc)


class Checkpoint:
    """Named groups of arrays on disk, each there whole or not at all.

    Files are NumPy's npz without pickles. A manifest says what the run is made of,
    so that files of another run are never taken for those of this one. Several
    processes may use one folder.

    Parameters
    ----------
    folder : str or path-like
        The folder, made where it is not there.
    identity : dict of str to object
        What the results depend on, by a name that an error can use. The
        fingerprints of the values are kept, not the values.
    """

    def __init__(self, folder: str | os.PathLike, identity: dict[str, Any]):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        ours = {name: fingerprint(value) for name, value in identity.items()}
        ours |= {f"version of {package}": version(package) for package in _PACKAGES}
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            text = json.dumps(ours, indent=1).encode()
            write_whole(manifest, lambda file: file.write(text), replace=False)
        theirs = json.loads(manifest.read_text())
        other = [name for name in ours if ours[name] != theirs.get(name)]
        if other:
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} holds a run with other "
                f"{', '.join(other)}. To resume that run, call it with what it was "
                "started with. For a new run, name another folder."
            )

    def names(self) -> list[str]:
        """Return the names under which there are arrays, sorted."""
        return sorted(path.stem for path in self.folder.glob("*.npz"))

    def read(self, name: str) -> dict[str, np.ndarray] | None:
        """Return the arrays under a name, or None where there are none yet."""
        path = self._path(name)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def write(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Put arrays under a name."""
        write_whole(self._path(name), lambda file: np.savez(file, **arrays))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"


def write_whole(
    path: Path, write: Callable[[BinaryIO], Any], *, replace: bool = True
) -> None:
    """Write a file so that nobody ever sees it half written.

    With ``replace=False`` a file that is there already is left as it is.
    """
    # A name of its own, since another process may write the same file.
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with open(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp lets nobody else read; other users of a shared folder may.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(unfinished, 0o666 & ~umask)
        if replace or not _link(unfinished, path):
            os.replace(unfinished, path)
    finally:
        Path(unfinished).unlink(missing_ok=True)


def _link(source: str, target: Path) -> bool:
    """Give a file a second name unless that is taken; False where links are unknown."""
    try:
        os.link(source, target)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def fingerprint(value: Any) -> str:
    """Return a digest that is equal for equal values, in any process.

    It is made of classes, parameters and contents, never of the identity of
    objects: two tuples that are equal count as one, and so do a model and its
    clone. A text that is the path of a file stands for the file, with its size
    and time. A function counts with its code and what it has closed over.

    Raises
    ------
    TypeError
        If an object, such as an open file, has no value that could be told.
    """
    digest = hashlib.sha256()
    for piece in _pieces(value, ()):
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any, above: tuple[int, ...]) -> Iterator[bytes]:
    """Yield the bytes that an object is known by; `above` are ids of its owners."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | os.PathLike):
        yield from _text(value)
    elif value is None or isinstance(value, bool | int | float | complex | bytes):
        yield f"{type(value).__name__} {value!r}".encode()
    elif isinstance(value, np.ndarray) and value.dtype.kind not in "OUS":
        yield f"array {value.dtype.str} {value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif id(value) in above:
        yield f"owner {len(above) - above.index(id(value))}".encode()
    else:
        kind, parts = _parts(value)
        yield f"{kind} {len(parts)}".encode()
        for part in parts:
            yield from _pieces(part, (*above, id(value)))


def _text(value: str | os.PathLike) -> Iterator[bytes]:
    yield f"text {os.fspath(value)!r}".encode()
    try:
        if Path(value).is_file():
            stat = os.stat(value)
            yield f"file {stat.st_size} {stat.st_mtime_ns}".encode()
    except (OSError, ValueError):
        return  # too long for a path, or with a null character


def _parts(value: Any) -> tuple[str, list]:
    """Return what an object is, and the values that it is made of."""
    if isinstance(value, list | tuple | np.ndarray):
        return "sequence", list(value)
    if isinstance(value, Mapping):
        return "mapping", sorted(value.items(), key=lambda item: repr(item[0]))
    if isinstance(value, set | frozenset):
        return "set", sorted(map(fingerprint, value))
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        return "table", [(name, value[name].to_numpy()) for name in value.columns]
    if hasattr(value, "to_numpy"):
        return "column", [value.to_numpy()]
    if isinstance(value, _NAMED):
        return f"name {_name(value)}", []
    if isinstance(value, types.FunctionType):
        closure = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return f"function {_name(value)}", [value.__code__, *defaults, closure]
    if isinstance(value, types.CodeType):
        return "code", [value.co_code, value.co_names, value.co_consts]
    if isinstance(value, types.MethodType):
        return "method", [value.__self__, value.__func__]
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError as error:
        raise TypeError(
            f"A {_name(type(value))} cannot be recognised when the run is called again "
            f"({error}). Leave checkpoint_dir out, or the object."
        ) from None
    if isinstance(reduced, str):
        return f"name {_name(type(value))}.{reduced}", []
    items = [list(part) if part is not None else None for part in reduced[3:5]]
    return f"object {_name(type(value))}", [*reduced[1:3], *items]


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return f"{module}.{name}"
