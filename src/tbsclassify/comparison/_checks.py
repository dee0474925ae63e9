"""Checks of a comparison before its first fit."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier

from tbsclassify._scores import class_index
from tbsclassify._validation import check_number, check_option
from tbsclassify.comparison._fits import THRESHOLD_MEASURES
from tbsclassify.comparison._models import MODELS_BY_NAME, models_by_name
from tbsclassify.estimators._initial_weights import check_all_weights
from tbsclassify.metrics._bootstrap import check_bootstrap

CHECKS = ("permuted", "duplicates")


def check_models(models: Mapping[str, Any] | str, X: Any) -> dict[str, Any]:
    """Return unfitted clones of the models for these scans, by name."""
    if isinstance(models, str) and models in MODELS_BY_NAME:
        models = models_by_name(models, X)
    if not isinstance(models, Mapping) or not models:
        raise TypeError(
            'Expected models to be a dict of classifiers by name, "paper", '
            f'"radiomics" or "all", got {models!r} of type {type(models).__name__}.'
        )
    for name, model in models.items():
        if not isinstance(name, str):
            raise TypeError(
                f"Expected the names of models to be strings, got {name!r}."
            )
        if not hasattr(model, "fit") or isinstance(model, type):
            raise TypeError(
                f"Expected models[{name!r}] to be a classifier, an instance with fit "
                f"and predict_proba, got {model!r}."
            )
        if not _has_probabilities(model):
            raise TypeError(
                f"Expected models[{name!r}] to have predict_proba, got {model!r}. Wrap "
                "it in CalibratedClassifierCV, or set what makes it give "
                "probabilities."
            )
    return {name: clone(model) for name, model in models.items()}


def _has_probabilities(model: Any) -> bool:
    # An unfitted StackingClassifier hides the method of its default last estimator.
    parts = (
        [model, *model.get_params().values()] if hasattr(model, "get_params") else []
    )
    return hasattr(model, "predict_proba") or any(
        isinstance(part, StackingClassifier) and part.final_estimator is None
        for part in parts
    )


def check_initial_weights(models: Mapping[str, Any]) -> None:
    """Check the weights that networks in models start from, or download them."""
    networks = []
    for name, model in models.items():
        for part in (model, *model.get_params().values()):
            ours = type(part).__module__.startswith("tbsclassify.")
            if ours and hasattr(part, "backbone"):
                networks.append((name, part.backbone, part.weights))
    check_all_weights(networks)


def check_positive(
    classes: np.ndarray, pos_label: Any, threshold: float | str
) -> int | str | bool:
    """Return the positive class in the type of the classes."""
    if len(classes) < 2:
        raise ValueError(
            f"Expected y to hold two classes or more, got {classes.tolist()} only."
        )
    if isinstance(threshold, str):
        check_option(threshold, "threshold", THRESHOLD_MEASURES)
    else:
        check_number(threshold, "threshold")
    if len(classes) == 2:
        return classes.tolist()[class_index(pos_label, classes, "pos_label")]
    if threshold != 0.5:
        raise ValueError(
            f"Expected threshold to be left out for {len(classes)} classes, of which "
            f"the most probable is predicted, got {threshold!r}."
        )
    return pos_label


def list_checks(check: str | Sequence[str] | None) -> list[str]:
    """Return the names of the requested checks."""
    if check is None:
        return []
    named = check if isinstance(check, list | tuple) else [check]
    return [check_option(one, "check", CHECKS) for one in named]


def check_numbers(
    n_repeats: int,
    cv: Any,
    n_bootstrap: int,
    confidence_level: float,
    n_jobs: int | None,
) -> None:
    """Check the numbers of a comparison."""
    check_bootstrap(n_bootstrap, confidence_level)
    check_number(n_repeats, "n_repeats", low=1, integer=True)
    if n_repeats > 1 and not isinstance(cv, numbers.Integral):
        raise ValueError(
            f"Expected cv to be a number of folds where n_repeats is {n_repeats}, got "
            f"{cv!r}. Give an int, or a splitter that repeats and n_repeats=1."
        )
    if n_jobs is not None and check_number(n_jobs, "n_jobs", integer=True) == 0:
        raise ValueError("Expected n_jobs to be an integer other than 0, got 0.")
