"""What a model file says about its model and its training data."""

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier, is_regressor

from tbsclassify._boxes import boxes_of_table
from tbsclassify._fingerprint import fingerprint
from tbsclassify._sklearn_compat import num_samples
from tbsclassify._validation import check_groups
from tbsclassify.labels import check_tbs
from tbsclassify.persistence._portable import estimators_in

_PACKAGES = (
    "tbsclassify",
    "scikit-learn",
    "numpy",
    "torch",
    "torchvision",
    "skorch",
    "skops",
)
# Of longer arrays, only the type is kept.
_MOST_NUMBERS = 64


def describe_model(model: Any) -> dict[str, Any]:
    """Describe a fitted model by what JSON can hold."""
    kind = "classifier" if is_classifier(model) else "regressor"
    if not (is_classifier(model) or is_regressor(model)):
        kind = "transformer"
    about = {
        "kind": kind,
        "estimator": type(model).__name__,
        "parameters": {
            name: plain(value)
            for name, value in sorted(model.get_params(deep=True).items())
            if not (isinstance(value, BaseEstimator) or name.endswith("steps"))
        },
        "input": _of_first(
            model,
            image_shape="image_shape_",
            depth="image_dtype_",
            spacing_mm="spacing_",
        ),
        "normalisation": _of_first(model, mean="intensity_mean_", std="intensity_std_"),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in _PACKAGES},
    }
    if kind == "classifier":
        classes = getattr(model, "classes_", [])
        about["classes"] = plain(classes)
        about["class_names"] = _class_names(model, classes)
        if len(classes) == 2:
            about["decision_threshold"] = _decision_threshold(model)
    learned = _of_first(
        model, mean="tbs_mean_", std="tbs_scale_", residual_std="residual_std_"
    )
    if learned["residual_std"] is not None:
        about["learned_tbs"] = learned | _of_first(model, thresholds="thresholds")
    return about


def _decision_threshold(model: Any) -> Any:
    """Return the threshold that a classifier of scikit-learn has chosen or fixed."""
    fixed = getattr(model, "threshold", "auto")
    return plain(getattr(model, "best_threshold_", 0.5) if fixed == "auto" else fixed)


def _of_first(model: Any, **attributes: str) -> dict[str, Any]:
    """Return each attribute, from the first estimator in a model that has it."""
    found = dict.fromkeys(attributes)
    for estimator in estimators_in(model):
        for name, attribute in attributes.items():
            value = getattr(estimator, attribute, None)
            if found[name] is None and value is not None:
                found[name] = plain(value)
    return found


def _class_names(model: Any, classes: Any) -> list[str]:
    """Name classes by the ranges of TBS that they stand for, if known."""
    known = (getattr(one, "_ranges", None) for one in estimators_in(model))
    ranges = next((one for one in known if one is not None), None)
    if ranges is None:
        return [str(label) for label in classes]
    of_range = ("normal", "partially degraded", "degraded")
    return [
        " or ".join(np.array(of_range)[ranges.class_of_range == code])
        for code in range(len(classes))
    ]


def describe_training(
    model: Any,
    X: Any,
    y: ArrayLike | None,
    groups: ArrayLike | None,
    tbs: ArrayLike | None,
    digests: list[str] | None,
) -> dict[str, Any] | None:
    """Return counts and a fingerprint of training data, but nothing about a patient.

    The fingerprint is made of the `digests` of the grey levels of the scans, wherever
    their files are, and of classes and TBS. People who have the data can check that
    they are the same. Rows that are no scans have none.
    """
    if X is None:
        if any(one is not None for one in (y, groups, tbs)):
            raise ValueError(
                "Expected X with the scans that y, groups and tbs are of, got None. "
                "Pass what the model was fitted on."
            )
        return None
    n_scans = num_samples(X)
    digest = hashlib.sha256("".join(digests or ()).encode())
    for name, values in (("y", y), ("tbs", tbs), ("groups", groups)):
        if values is not None and len(np.asarray(values)) != n_scans:
            raise ValueError(
                f"Expected {name} to hold a value for each of {n_scans} scans, got "
                f"{len(np.asarray(values))}."
            )
    about: dict[str, Any] = {"n_scans": n_scans}
    boxes = boxes_of_table(X) if hasattr(X, "columns") else None
    if boxes is not None:
        about["n_with_boxes"] = int((~np.isnan(boxes).all(axis=(1, 2))).sum())
    if groups is not None:
        about["n_patients"] = check_groups(groups, n_scans)[1]
    if y is not None:
        if is_classifier(model):
            labels, counts = np.unique(np.asarray(y), return_counts=True)
            about["scans_of_class"] = {
                str(label): int(n) for label, n in zip(labels, counts, strict=True)
            }
        digest.update(fingerprint(np.asarray(y)).encode())
    if tbs is not None:
        values = check_tbs(tbs)
        about["tbs"] = {"mean": float(values.mean()), "std": float(values.std())}
        digest.update(fingerprint(values).encode())
    if digests is not None:
        about["fingerprint"] = digest.hexdigest()
    return about


def plain(value: Any) -> Any:
    """Turn a value into one that JSON can hold, the same on any machine."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, pd.DataFrame):
        return {str(name): plain(row) for name, row in value.iterrows()}
    if isinstance(value, pd.Series):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, np.ndarray) and value.size <= _MOST_NUMBERS:
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, np.dtype):
        return value.name
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return type(value).__name__
