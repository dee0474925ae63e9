"""What a Pipeline or a search ends in, and the metadata that its fit takes."""

from typing import Any

from sklearn import get_config
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from tbsclassify._sklearn_compat import BaseSearchCV


def last_step(estimator: Any) -> Any:
    """Return what an estimator ends in, however Pipelines and searches are nested.

    A fitted search stands for its best estimator.
    """
    while True:
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return estimator


def last_step_prefix(estimator: Any) -> str:
    """Return what stands before the names of the last step's parameters."""
    return _end_of_pipeline(estimator)[0]


def _end_of_pipeline(estimator: Any) -> tuple[str, Any]:
    """Return the prefix of the last step of a nested Pipeline, and the step."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def fit_metadata(estimator: Any, **metadata: Any) -> dict[str, Any]:
    """Return those metadata that an estimator's `fit` takes, under its names.

    Without metadata routing they go to the last step, where that has such a
    parameter. With routing, they go where they were requested, and nowhere else.

    Parameters
    ----------
    estimator : estimator
        An estimator, a Pipeline or a search.
    **metadata : dict
        Such as ``groups=groups``. What is None is left out.
    """
    metadata = {name: value for name, value in metadata.items() if value is not None}
    if get_config()["enable_metadata_routing"]:
        routing = get_routing_for_object(estimator)
        taken = routing.consumes("fit", metadata)
        return {name: value for name, value in metadata.items() if name in taken}
    prefix, estimator = _end_of_pipeline(estimator)
    return {
        prefix + name: value
        for name, value in metadata.items()
        if has_fit_parameter(estimator, name)
        or (name == "groups" and isinstance(estimator, BaseSearchCV))
    }
