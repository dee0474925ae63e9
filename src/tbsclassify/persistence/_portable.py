"""A copy of a model without traces of the machine and the training."""

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

# Parameters that only a fit needs, such as caches and logs.
_OF_A_FIT = ("callbacks", "checkpoint", "memory")
_OF_A_SEARCH = ("best_params_", "cv_results_")


def portable_copy(model: Any) -> Any:
    """Copy a fitted model, with names of files in place of their paths."""
    model = copy.deepcopy(model)
    for estimator in estimators_in(model):
        parameters = estimator.get_params(deep=False)
        for name in [one for one in _OF_A_FIT if one in parameters]:
            setattr(estimator, name, None)
        # The results of a search hold parameters, too.
        for name in {*parameters, *_OF_A_SEARCH} & vars(estimator).keys():
            setattr(estimator, name, _without_paths(getattr(estimator, name)))
        if request := vars(estimator).get("_metadata_request"):
            # For its errors, it refers to its estimator. A name does as well, and makes
            # no cycle.
            for one in (request, *vars(request).values()):
                if hasattr(one, "owner"):
                    one.owner = type(estimator).__name__
    return model


def _without_paths(value: Any) -> Any:
    """Replace paths of files by their names, also in containers."""
    if _is_path(value):
        return file_name(value)
    if type(value) is dict:
        return {name: _without_paths(one) for name, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_without_paths, value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        value = value.copy()
        for place in np.ndindex(value.shape):
            value[place] = _without_paths(value[place])
    return value


def estimators_in(value: Any) -> Iterator[BaseEstimator]:
    """Yield all estimators inside an object, itself included, once each."""
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
        elif _may_hold_estimators(one):
            pending += getattr(one, "__dict__", {}).values()
        elif hasattr(one, "__self__") and isinstance(one.__self__, BaseEstimator):
            pending.append(one.__self__)  # a method, as a FunctionTransformer has it


def _may_hold_estimators(value: Any) -> bool:
    of_packages = type(value).__module__.startswith(("sklearn.", "tbsclassify."))
    return of_packages or isinstance(value, BaseEstimator)


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
