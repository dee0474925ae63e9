"""A copy of a model without what belongs to one machine or one training."""

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from sklearn.base import BaseEstimator

# Parameters that only a fit here needs: they are caches, logs and open connections.
_OF_A_FIT = ("callbacks", "checkpoint", "memory")


def portable_copy(model: Any) -> Any:
    """Copy a fitted model, with names of files in place of their paths."""
    model = copy.deepcopy(model)
    for estimator in estimators_in(model):
        for name, value in estimator.get_params(deep=False).items():
            if name in _OF_A_FIT:
                setattr(estimator, name, None)
            elif _is_path(value):
                setattr(estimator, name, file_name(value))
    return model


def estimators_in(value: Any) -> Iterator[BaseEstimator]:
    """Yield all estimators that an object is made of, itself included, once each."""
    seen: set[int] = set()
    pending = [value]
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, BaseEstimator):
            yield one
        if isinstance(one, Mapping):
            pending += one.values()
        elif isinstance(one, list | tuple):
            pending += one
        elif type(one).__module__.startswith(("sklearn.", "tbsclassify.")):
            pending += getattr(one, "__dict__", {}).values()
        elif hasattr(one, "__self__") and isinstance(one.__self__, BaseEstimator):
            pending.append(one.__self__)  # a method, as a FunctionTransformer has it


def _is_path(value: Any) -> bool:
    if isinstance(value, os.PathLike):
        return True
    if not isinstance(value, str):
        return False
    absolute = os.path.isabs(value) or PureWindowsPath(value).is_absolute()
    return absolute or (PurePath(value).name != value and os.path.exists(value))


def file_name(path: str | os.PathLike) -> str:
    """Return the last part of a path of any system."""
    return PureWindowsPath(os.fspath(path)).name
