"""The last step of a Pipeline or a search, and the metadata that its fit takes."""

from os import PathLike
from typing import Any

from sklearn import config_context, get_config
from sklearn.calibration import CalibratedClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest, get_routing_for_object
from sklearn.utils.validation import has_fit_parameter

from tbsclassify._sklearn_compat import BaseSearchCV

# These pass arguments of fit on to the estimator inside, and learn what it learns.
_HANDING_ON = (BaseSearchCV, CalibratedClassifierCV)


def last_step(estimator: Any) -> Any:
    """Return the last step of an estimator, through nested Pipelines and searches.

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
    """Return the prefix of the parameters of the last step."""
    return _end_of_pipeline(estimator)[0]


def keep_training(estimator: Any, file: str | PathLike) -> bool:
    """Make the network at the end of an estimator keep its training in a file.

    This needs scans that would be the same if `fit` were called again: all steps before
    the network must have a seed. A file that the user has named stays.

    Returns
    -------
    kept : bool
        Whether the network now uses this file.
    """
    prefix, network = _end_of_pipeline(estimator)
    if (
        not hasattr(network, "monitored")
        or getattr(network, "checkpoint", 0) is not None
    ):
        return False
    for name, value in estimator.get_params().items():
        seedless = value is None and name.rpartition("__")[2] == "random_state"
        if seedless and not name.startswith(prefix):
            return False
    estimator.set_params(**{f"{prefix}checkpoint": file})
    return True


def fit_metadata(estimator: Any, **metadata: Any) -> dict[str, Any]:
    """Return the metadata that the `fit` of an estimator takes, under its names.

    Without metadata routing, they go to the last step, also of the estimator in a
    search, if it has such a parameter and did not decline it by
    ``set_fit_request(tbs=False)``. With routing, they go only where they were
    requested. A search takes `groups` itself, for its splits.

    Parameters
    ----------
    estimator : estimator
        An estimator, a Pipeline or a search.
    **metadata : dict
        Such as ``groups=groups``. None is left out.
    """
    metadata = {name: value for name, value in metadata.items() if value is not None}
    if get_config()["enable_metadata_routing"]:
        taken = get_routing_for_object(estimator).consumes("fit", metadata)
        if _is_search(estimator) and has_fit_parameter(estimator, "groups"):
            taken.add("groups")  # for its own splits
        return {name: value for name, value in metadata.items() if name in taken}
    found = {}
    for name, value in metadata.items():
        prefix, taker = _taker(estimator, name)
        if _is_search(taker) or (
            has_fit_parameter(taker, name) and _request(taker, name) is not False
        ):
            found[prefix + name] = value
    return found


def request_metadata(estimator: Any, *names: str) -> None:
    """Request metadata, so that routing passes what `fit_metadata` passes without it.

    Requests that the user has made or declined stay.
    """
    for name in names:
        taker = _taker(estimator, name)[1]
        if _is_search(taker) or not has_fit_parameter(taker, name):
            continue
        if _request(taker, name) is None:
            taker.set_fit_request(**{name: True})


def decline_metadata(estimator: Any, name: str) -> None:
    """Make an estimator decline metadata that its `fit` may take."""
    if has_fit_parameter(estimator, name):
        with config_context(enable_metadata_routing=True):
            estimator.set_fit_request(**{name: False})


def _is_search(estimator: Any) -> bool:
    return isinstance(estimator, BaseSearchCV)


def _end_of_pipeline(estimator: Any) -> tuple[str, Any]:
    """Return the prefix of the last step of a nested Pipeline, and the step."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def _taker(estimator: Any, name: str) -> tuple[str, Any]:
    """Return the estimator that takes metadata, and the prefix of their name.

    A search takes `groups` itself. It passes everything else on, by the name in the
    Pipeline inside.
    """
    prefix, estimator = _end_of_pipeline(estimator)
    while (
        name != "groups"
        and isinstance(estimator, _HANDING_ON)
        and estimator.estimator is not None
    ):
        inner, estimator = _end_of_pipeline(estimator.estimator)
        prefix += inner
    return prefix, estimator


def _request(estimator: Any, name: str) -> bool | str | None:
    """Return the request of the `fit` of an estimator, None if there is none."""
    routing = get_routing_for_object(estimator)
    of_itself = isinstance(routing, MetadataRequest)  # not of estimators inside
    return routing.fit.requests.get(name) if of_itself else None
