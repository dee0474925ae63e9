"""All private names of scikit-learn that the library uses.

A release of scikit-learn may move any of these names, or change what they do.
Then the tests of this module fail and say which one, and only this file has to
change.
"""

from typing import Any

from sklearn.metrics._scorer import _MultimetricScorer as MultimetricScorer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._validation import (
    _fit_and_score as fit_and_score,
)
from sklearn.model_selection._validation import (
    _score as score,
)
from sklearn.model_selection._validation import (
    _warn_or_raise_about_fit_failures as warn_or_raise_about_fit_failures,
)
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils.validation import (
    _check_method_params as check_method_params,
)
from sklearn.utils.validation import (
    _check_sample_weight as check_sample_weight,
)
from sklearn.utils.validation import _num_samples as num_samples

__all__ = [
    "BaseSearchCV",
    "MultimetricScorer",
    "check_method_params",
    "check_sample_weight",
    "fit_and_score",
    "num_samples",
    "safe_indexing",
    "score",
    "scorers_by_name",
    "warn_or_raise_about_fit_failures",
]


def scorers_by_name(scorer: Any) -> dict[str, Any] | None:
    """Return the scorers inside a scorer of several measures, None for others."""
    return scorer._scorers if isinstance(scorer, MultimetricScorer) else None
