"""Spaces of parameters, and the search algorithms that propose from them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Domain
from sklearn.base import clone
from sklearn.model_selection import ParameterSampler

_EXPECTED = (
    "a domain of Ray (tune.loguniform(1e-4, 1e-1)), a distribution of scipy or a "
    "list of values"
)


@dataclass(frozen=True)
class Proposals:
    """The configurations of a search, or the algorithm that proposes them one by one.

    The configurations of Ray hold only numbers. `decode`, which can be pickled, turns
    them into parameters of the estimator.
    """

    n_trials: int
    decode: Callable
    candidates: list[dict]  # all of them, or an example where an algorithm proposes
    search_alg: Searcher | None
    identity: Any  # equal for searches over the same space


def make_proposals(
    param_space: Any, search_alg: Any, n_trials: int, seed: int
) -> Proposals:
    """Draw configurations, or prepare the algorithm that proposes them.

    Parameters
    ----------
    param_space, search_alg, n_trials
        As in `RayTuneSearchCV`.
    seed : int
        Seed of the draws.

    Returns
    -------
    proposals : Proposals
    """
    if isinstance(search_alg, str) and search_alg == "random":
        drawn = sample_candidates(param_space, n_trials, seed)
        return Proposals(len(drawn), partial(_listed, drawn), drawn, None, drawn)
    domains, choices = suggestion_space(param_space)
    search_alg = _make_search_alg(search_alg, domains, seed)
    identity = [list(domains.items()), list(choices.items())]
    decode = partial(_chosen, choices)
    example = sample_candidates(param_space, 1, seed)
    return Proposals(n_trials, decode, example, search_alg, identity)


def _listed(candidates, config):
    return candidates[config["candidate"]]


def _chosen(choices, config):
    return {
        name: choices[name][value] if name in choices else value
        for name, value in config.items()
    }


def _make_search_alg(search_alg, domains, seed):
    """Return a search algorithm by name, or a copy of the one given."""
    if isinstance(search_alg, str) and search_alg == "optuna":
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise ImportError(
                'search_alg="optuna" needs Optuna, which is not installed. Install it '
                'with pip install "tbsclassify[optuna]".'
            ) from error
        from ray.tune.search.optuna import OptunaSearch

        search_alg = OptunaSearch(seed=seed)
    if not isinstance(search_alg, Searcher):
        raise TypeError(
            'Expected search_alg to be "random", "optuna" or a searcher of '
            f"ray.tune.search, got {search_alg!r}."
        )
    return with_objective(copy.deepcopy(search_alg), "search_alg", domains)


def with_objective(proposer: Any, name: str, *domains: dict) -> Any:
    """Tell a search algorithm or scheduler to look for the highest score."""
    if not proposer.set_search_properties("score", "max", *domains):
        raise ValueError(
            f"Expected {name} without metric, mode and space, got a "
            f"{type(proposer).__name__} with one of its own. Leave them out: they come "
            "from scoring and param_space."
        )
    return proposer


def sample_candidates(space: Any, n_trials: int, seed: int) -> list[dict]:
    """Draw settings as RandomizedSearchCV does, Ray's domains included.

    Parameters
    ----------
    space : dict or list of dicts
        Values or distribution of each parameter, by its name.
    n_trials : int
        Settings to draw. If a space holds only lists, none is drawn twice.
    seed : int
        Seed of the draws.

    Returns
    -------
    candidates : list of dict
    """
    spaces = space if isinstance(space, list | tuple) else [space]
    if not spaces or not all(isinstance(one, dict) for one in spaces):
        raise TypeError(
            "Expected param_space to be a dict or a list of dicts, each with values "
            f"by the name of a parameter, got {space!r}."
        )
    spaces = [
        {name: _distribution(name, values) for name, values in one.items()}
        for one in spaces
    ]
    return list(ParameterSampler(spaces, n_trials, random_state=seed))


def suggestion_space(space: Any) -> tuple[dict, dict]:
    """Bring a space into the form that search algorithms of Ray take.

    Returns
    -------
    domains : dict of str to Domain
        Choices are numbered, because many algorithms do not take values such as
        tuples.
    choices : dict of str to list
        The values by their numbers.
    """
    if not isinstance(space, dict):
        raise ValueError(
            "Expected param_space to be one dict for a search algorithm, got a list of "
            'spaces. Give one dict, or leave search_alg="random".'
        )
    domains, choices = {}, {}
    for name, values in space.items():
        values = _distribution(name, values)
        if isinstance(values, _Drawn):
            domains[name] = values.domain
        elif hasattr(values, "rvs"):
            domains[name] = _domain_of_scipy(name, values)
        else:
            choices[name] = list(values)
            domains[name] = tune.choice(list(range(len(choices[name]))))
    return domains, choices


class _Drawn:
    """A domain of Ray with the one method that scikit-learn needs of a distribution."""

    def __init__(self, domain):
        self.domain = domain

    def rvs(self, random_state):
        return self.domain.sample(random_state=random_state)


def _distribution(name, values):
    """Return values as scikit-learn can draw them: a list or an object with `rvs`."""
    if isinstance(values, Categorical):
        return values.categories
    if isinstance(values, Domain):
        return _Drawn(values)
    if isinstance(values, dict) and set(values) == {"grid_search"}:
        raise ValueError(
            f"Expected param_space[{name!r}] to be {_EXPECTED}, got a grid_search of "
            "Ray. Values are drawn here. Give the list itself, or use GridSearchCV."
        )
    if hasattr(values, "rvs"):
        return values
    if isinstance(values, str | dict) or not np.iterable(values):
        raise TypeError(
            f"Expected param_space[{name!r}] to be {_EXPECTED}, got {values!r}."
        )
    values = list(values)
    if not values:
        raise ValueError(
            f"Expected param_space[{name!r}] to be {_EXPECTED}, got an empty one."
        )
    return values


def _domain_of_scipy(name, distribution):
    """Return the domain of Ray that equals a frozen distribution of scipy."""
    kind = getattr(getattr(distribution, "dist", None), "name", None)
    if kind in ("loguniform", "reciprocal", "uniform"):
        low, high = (float(end) for end in distribution.support())
        return (tune.uniform if kind == "uniform" else tune.loguniform)(low, high)
    if kind == "randint":
        low, last = (int(end) for end in distribution.support())
        return tune.randint(low, last + 1)
    raise ValueError(
        f"Expected param_space[{name!r}] to be a distribution that search algorithms "
        f"of Ray know, got {kind}. Give tune.uniform, tune.loguniform, tune.randint or "
        'tune.quniform, or leave search_alg="random".'
    )


def check_names(estimator: Any, candidates: list[dict]) -> None:
    """Check that an estimator has the parameters of all configurations.

    Raises
    ------
    ValueError
        With all unknown names, and all known ones.
    """
    unknown = {
        name
        for candidate in candidates
        for name in candidate
        if not _takes(estimator, candidate, name)
    }
    if unknown:
        has = ", ".join(sorted(estimator.get_params()))
        raise ValueError(
            f"Expected param_space to name parameters of {type(estimator).__name__}, "
            f"got {', '.join(map(repr, sorted(unknown)))}. Its parameters are: {has}."
        )


def _takes(estimator: Any, candidate: dict, name: str) -> bool:
    """Tell whether an estimator takes one parameter of a configuration."""
    if name in estimator.get_params():
        return True
    # A configuration may put another estimator into a Pipeline, which changes the
    # parameters below it: set those above first.
    above = {
        one: value
        for one, value in candidate.items()
        if one == name or name.startswith(f"{one}__")
    }
    try:
        clone(estimator).set_params(**clone(above, safe=False))
    except (ValueError, AttributeError, TypeError):
        return False
    return True
