"""A digest of any value that is the same in every process."""

import copyreg
import dis
import hashlib
import os
import sys
import types
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

# Only the name counts: the code comes with a version of its package.
_NAMED = (types.ModuleType, np.ufunc)
_PLAIN = (bool, int, float, complex, bytes, type(None))
# Attributes of a class and globals of a function that count as parts of it. Lists and
# dicts do not: they may be a log or a cache.
_CONSTANT = (*_PLAIN, str, tuple, frozenset, np.ndarray, types.FunctionType)

# Attributes that are no part of a value: a distribution's is NumPy's global generator,
# that of a metadata request the estimator that its owner was cloned from.
_NO_PART = {"scipy.stats.": "_random_state", "sklearn.utils.": "owner"}


def fingerprint(value: Any) -> str:
    """Return a digest that is equal for equal values, in any process.

    It is made from classes, parameters and contents, never from the identity of
    objects: equal tuples have equal digests, and so have a model and its clone. A text
    that is the path of a file stands for the file, with its size and time. A function
    counts with its code, defaults and closure, and with the constants and functions of
    its module that it uses. A class that is not from an installed package counts with
    its methods.

    Raises
    ------
    TypeError
        If an object, such as an open file, has no value that could be compared.
    """
    digest = hashlib.sha256()
    for piece in _pieces(value, ()):
        digest.update(len(piece).to_bytes(8, "little"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(value: Any, above: tuple[int, ...]) -> Iterator[bytes | memoryview]:
    """Yield the bytes that stand for a value; `above` are the ids of its owners."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | os.PathLike):
        yield from _text(value)
    elif type(value) in _PLAIN:
        yield f"{type(value).__name__} {value!r}".encode()
    elif _is_plain_array(value):
        yield f"array {value.dtype.descr} {value.shape}".encode()
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
    elif id(value) in above:
        yield f"owner {len(above) - above.index(id(value))}".encode()
    else:
        # Every node has the number of its parts, so that no two trees look alike.
        kind, parts = _parts(value)
        yield f"{kind} {len(parts)}".encode()
        for part in parts:
            yield from _pieces(part, (*above, id(value)))


def _is_plain_array(value: Any) -> bool:
    """Whether an array is determined by its bytes."""
    return (
        type(value) in (np.ndarray, np.memmap)
        and not value.dtype.hasobject
        and value.dtype.kind not in "UST"
    )


def _text(value: str | os.PathLike) -> Iterator[bytes]:
    yield f"text {os.fspath(value)!r}".encode("utf-8", "backslashreplace")
    try:
        if Path(value).is_file():
            stat = os.stat(value)
            yield f"file {stat.st_size} {stat.st_mtime_ns}".encode()
    except (OSError, ValueError):
        return  # too long for a path, or with a null character


def _parts(value: Any) -> tuple[str, list]:
    """Return the kind of an object, and the values that it is made of."""
    for parts_of in (_parts_of_code, _parts_of_data):
        if (found := parts_of(value)) is not None:
            return found
    return _parts_of_object(value)


def _parts_of_data(value: Any) -> tuple[str, list] | None:
    """Take containers, arrays and tables apart."""
    if isinstance(value, np.ma.MaskedArray):
        return "masked array", [np.ma.getdata(value), np.ma.getmaskarray(value)]
    if isinstance(value, np.ndarray):
        kind = "text" if value.dtype.kind in "UT" else value.dtype.kind
        return f"array of {kind} {value.shape}", value.ravel().tolist()
    if type(value) in (list, tuple):
        return "sequence", list(value)
    if isinstance(value, Mapping):
        items = [(fingerprint(key), key, one) for key, one in value.items()]
        items.sort(key=lambda item: item[0])
        return "mapping", [part for _, key, one in items for part in (key, one)]
    if isinstance(value, set | frozenset):
        return "set", sorted(map(fingerprint, value))
    if hasattr(value, "columns") and hasattr(value, "to_numpy"):
        names = list(value.columns)
        if hasattr(value, "iloc"):  # pandas may have a name twice
            columns = [value.iloc[:, i] for i in range(len(names))]
        else:
            columns = [value[name] for name in names]
        return "table", [names, *columns]
    if hasattr(value, "to_numpy") and hasattr(value, "dtype"):  # not a Timestamp
        index = getattr(value, "index", None)
        rows = index.to_numpy() if isinstance(index, pd.Index) else None
        return "column", [*_dtype(value.dtype), value.to_numpy(), rows]
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return "tensor", [str(value.dtype), _array_of_tensor(value)]
    return None


def _dtype(dtype: Any) -> list:
    if isinstance(dtype, pd.CategoricalDtype):
        return ["category", dtype.categories.to_numpy(), dtype.ordered]
    return [str(dtype)]


def _array_of_tensor(tensor: Any) -> np.ndarray:
    """Return the numbers of a PyTorch tensor, without loading PyTorch."""
    tensor = tensor.detach().cpu().contiguous()
    try:
        return tensor.numpy()
    except TypeError:  # NumPy has no bfloat16
        return tensor.view(sys.modules["torch"].uint8).numpy()


def _parts_of_code(value: Any) -> tuple[str, list] | None:
    """Take functions and classes apart."""
    if isinstance(value, _NAMED):
        return f"name {_name(value)}", []
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        bound = owner is not None and not isinstance(owner, types.ModuleType)
        return f"name {_name(value)}", [owner] if bound else []
    if isinstance(value, type):
        return f"class {_name(value)}", _parts_of_class(value)
    if isinstance(value, types.FunctionType):
        return f"function {_name(value)}", _parts_of_function(value)
    if isinstance(value, types.CodeType):
        names = [value.co_names, value.co_varnames, value.co_freevars]
        return "code", [value.co_code, value.co_flags, value.co_consts, *names]
    if isinstance(value, types.MethodType):
        return "method", [value.__self__, value.__func__]
    if isinstance(value, partial):
        return "partial", [value.func, value.args, value.keywords]
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__, [value.__func__]
    if isinstance(value, property):
        return "property", [value.fget, value.fset]
    if callable(value) and isinstance(
        inner := getattr(value, "__wrapped__", None), types.FunctionType
    ):
        return f"wrapped {_name(type(value))}", [inner]
    return None


def _parts_of_function(function: types.FunctionType) -> list:
    closure = []
    for cell in function.__closure__ or ():
        try:
            closure.append(cell.cell_contents)
        except ValueError:  # not filled yet
            closure.append(None)
    code = function.__code__
    parts = [code, function.__defaults__, function.__kwdefaults__, closure]
    if _is_installed(function.__module__):
        return parts
    return [*parts, _globals_used(code, function)]


def _globals_used(code: types.CodeType, function: types.FunctionType) -> dict[str, Any]:
    """Return the constants, functions and classes of its module that code uses."""
    used: dict[str, Any] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            name = instruction.argval
            found = function.__globals__.get(name)
            own = getattr(found, "__module__", None) == function.__module__
            if isinstance(found, type) and own:
                used[name] = found
            elif isinstance(found, types.FunctionType):
                used[name] = found if own else _name(found)
            elif isinstance(found, _CONSTANT):
                used[name] = found
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            used |= _globals_used(constant, function)
    return used


def _parts_of_class(cls: type) -> list:
    """Return the parts of a class, none if a version of its package stands for them."""
    if _is_installed(cls.__module__):
        return []
    own = {
        name: one
        for name, one in vars(cls).items()
        if isinstance(one, (*_CONSTANT, staticmethod, classmethod, property))
        and name not in ("__module__", "__doc__", "__firstlineno__")
    }
    return [list(cls.__bases__), own]


def _is_installed(module: str | None) -> bool:
    """Whether a module is part of a package, which has a version."""
    if module is None or module == "__main__":
        return False
    if module.partition(".")[0] in (*sys.stdlib_module_names, "tbsclassify"):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:  # built in, or made by a script
        return module in sys.modules
    return not {"site-packages", "dist-packages"}.isdisjoint(Path(file).parts)


def _parts_of_object(value: Any) -> tuple[str, list]:
    """Take an object apart as a pickle does."""
    kind = f"object {_name(type(value))}"
    if isinstance(value, np.random.RandomState):
        return kind, [value.get_state(legacy=False)]
    if isinstance(value, np.random.Generator):
        return kind, [value.bit_generator.state]
    try:
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
    except TypeError as error:
        raise TypeError(
            f"A {_name(type(value))} cannot be recognised when the run is called again "
            f"({error}). Leave checkpoints out, or the object."
        ) from None
    if isinstance(reduced, str):
        return f"name {_name(value)}.{reduced}", [type(value)]
    contents = [
        None if part is None else fill(part)
        for part, fill in zip(reduced[3:5], (list, dict), strict=False)
    ]
    made, arguments, *rest = reduced
    state = rest[0] if rest else None
    for package, name in _NO_PART.items():
        if isinstance(state, dict) and type(value).__module__.startswith(package):
            state = {key: one for key, one in state.items() if key != name}
    return kind, [type(value), made, arguments, state, *contents]


def _name(value: Any) -> str:
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
    return f"{module}.{name}"
