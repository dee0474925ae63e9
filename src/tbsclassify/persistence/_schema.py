"""Checks of the schema of a skops file, before any object is made."""

import json
from typing import Any

from tbsclassify.persistence._trusted import trusted_types

# How objects of trusted types are made. Skops has other loaders, which call the type
# with arguments from the file.
_LOADERS = (
    *("DTypeNode", "FunctionNode", "MethodNode", "ObjectNode"),
    *("PartialNode", "TypeNode"),
)
_DICTS = ("sklearn.utils._bunch.Bunch",)
_KEYS = ("builtins.bool", "builtins.float", "builtins.int", "builtins.str")


class UnsafeSchemaError(Exception):
    """The schema of a model holds what `save_model` never writes."""


def check_schema(text: bytes) -> None:
    """Refuse a schema that calls functions, or that never ends.

    Skops replaces a part by another with the same number, and visits a part once for
    each place that it is in. Files of `save_model` have no such references: if parts of
    one number differ, somebody has forged them.

    Parameters
    ----------
    text : bytes
        The schema, in JSON.

    Raises
    ------
    UnsafeSchemaError
        If there is such a part.
    """
    known: dict[Any, dict[str, Any]] = {}

    def check(part: dict[str, Any]) -> dict[str, Any]:
        number = part.pop("__id__", None)
        part.pop("file", None)  # an array may be there under several names
        if isinstance(part.get("__loader__"), str):
            _check_part(part)
        if number is not None and known.setdefault(number, part) != part:
            raise UnsafeSchemaError("two parts under one number")
        return part

    json.loads(text, object_hook=check)


def _check_part(part: dict[str, Any]) -> None:
    loader, kind = part["__loader__"], _kind(part)
    if loader == "CachedNode":
        raise UnsafeSchemaError("a part in place of another")
    of_dict = loader == "DictNode" and kind in _DICTS
    if kind in trusted_types() and not (loader in _LOADERS or of_dict):
        raise UnsafeSchemaError(f"a call of {kind}")
    if loader == "DictNode":
        for one in part["key_types"]["content"]:
            plain = _kind(one) in _KEYS or one["__module__"] == "numpy"
            if one["__loader__"] != "TypeNode" or not plain:
                raise UnsafeSchemaError("a dict whose keys are made by calls")


def _kind(part: dict[str, Any]) -> str:
    return f"{part['__module__']}.{part['__class__']}"
