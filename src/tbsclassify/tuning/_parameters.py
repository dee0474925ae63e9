"""Check the parameters of a search before anything is fitted."""

from numbers import Real
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from tbsclassify._pipelines import fit_metadata, last_step_prefix
from tbsclassify._validation import check_number

_BOOL = (bool, np.bool_)


def check_parameters(search: Any) -> None:
    """Check those parameters of a search that are not checked where they are used.

    Parameters
    ----------
    search : RayTuneSearchCV
        The search.

    Raises
    ------
    TypeError, ValueError
        Names the first parameter that is not what it should be.
    """
    check_number(search.n_trials, "n_trials", low=1, integer=True)
    check_number(int(search.verbose), "verbose", low=0, integer=True)
    if search.time_budget is not None:
        check_number(search.time_budget, "time_budget", low=0, inclusive=(False, True))
    if search.stop_score is not None:
        check_number(search.stop_score, "stop_score")
    _check_resources(search.resources_per_trial)
    _expect(
        search.error_score == "raise"
        if isinstance(search.error_score, str)
        else _is_number(search.error_score),
        "error_score",
        search.error_score,
        "'raise' or a number",
    )
    _expect(
        isinstance(search.refit, (*_BOOL, str)) or callable(search.refit),
        "refit",
        search.refit,
        "True, False, the name of a measure or a function",
    )
    _expect(
        isinstance(search.return_train_score, _BOOL),
        "return_train_score",
        search.return_train_score,
        "True or False",
    )
    if search.checkpoint_dir is not None and search.random_state is None:
        raise ValueError(
            "Expected random_state to be a seed where there is a checkpoint_dir, got "
            "None. Without a seed, a search that is called again is another one."
        )


def check_fit_params(estimator: Any, params: dict[str, Any], tbs: Any) -> None:
    """Check that an estimator takes TBS values that are given to a search.

    Further arguments for the `fit` of a Pipeline must name one of its steps.
    """
    if tbs is not None and not fit_metadata(estimator, tbs=tbs):
        raise TypeError(
            "Expected an estimator whose fit takes tbs, or a Pipeline that ends in "
            f"one, since tbs is given, got {estimator!r}. Leave tbs out, and the "
            "estimator learns the classes."
        )
    if not isinstance(estimator, Pipeline):
        return
    for name in params:
        step, separator, _ = name.partition("__")
        if not separator or step not in estimator.named_steps:
            raise ValueError(
                f"Expected arguments of fit to name a step of the Pipeline, as in "
                f"{last_step_prefix(estimator)}{name}, got {name!r}."
            )


def _check_resources(resources: Any) -> None:
    """Check that resources are numbers by name; whether Ray has them is seen later."""
    if resources is None:
        return
    _expect(
        isinstance(resources, dict),
        "resources_per_trial",
        resources,
        "None or a dict such as {'cpu': 2, 'gpu': 0.25}",
    )
    for name, amount in resources.items():
        check_number(amount, f"resources_per_trial[{name!r}]", low=0)


def _is_number(value: Any) -> bool:
    """Tell whether a value is a number, NaN included."""
    return isinstance(value, Real) and not isinstance(value, _BOOL)


def _expect(is_right: bool, name: str, value: Any, expected: str) -> None:
    """Raise an error that names a parameter unless it is right."""
    if not is_right:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"Expected {name} to be {expected}, got {value!r}.")
