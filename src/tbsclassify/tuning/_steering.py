"""What trials are compared by before they are complete."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring

_LEAST_PROBABILITY = 1e-7


def make_steering(
    steer_by: Any, estimator: Any, scoring: Any, score_params: dict[str, Any]
) -> Callable | None:
    """Return the scorer of unfinished trials, None for the score that decides.

    Parameters
    ----------
    steer_by, estimator, scoring
        As in `RayTuneSearchCV`.
    score_params : dict
        What the scorer gets beside the scans.
    """
    if not isinstance(steer_by, str) or steer_by != "auto":
        return None if steer_by is None else check_scoring(estimator, steer_by)
    # A function may score what probabilities say nothing of.
    suits = is_classifier(estimator) and hasattr(estimator, "predict_proba")
    suits = suits and not callable(scoring) and not score_params
    return log_likelihood if suits else None


def log_likelihood(estimator: Any, X: Any, y: Any) -> float:
    """Return the mean log-likelihood of classes, also where a fold lacks one."""
    columns = np.searchsorted(estimator.classes_, y)
    probabilities = estimator.predict_proba(X)[np.arange(len(columns)), columns]
    return float(np.log(probabilities.clip(_LEAST_PROBABILITY)).mean())
