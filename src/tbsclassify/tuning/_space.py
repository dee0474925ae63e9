"""What a search tries: spaces of parameters, and what proposes from them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Domain
from sklearn.model_selection import ParameterSampler

_WANTED = (
    "A domain of Ray (tune.loguniform(1e-4, 1e-1)), a distribution of scipy or a "
    "list of values is wanted."
)


@dataclass(frozen=True)
class Proposals:
    """The configurations of a search, or what proposes them one by one.

    What Ray calls a configuration are numbers here, and `decode` makes parameters of
    them: it takes a dict and can be pickled.
    """

    n_trials: int
    decode: Callable
    candidates: list | None  # all of them, None where they are proposed one by one
    search_alg: Searcher | None
    identity: Any  # by which a search is known again


def make_proposals(param_space, search_alg, n_trials, seed):
    """Draw configurations, or make ready what proposes them.

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
    return Proposals(n_trials, decode, None, search_alg, identity)


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
            f'search_alg={search_alg!r}, but "random", "optuna" or a searcher of '
            "ray.tune.search is wanted."
        )
    return with_objective(copy.deepcopy(search_alg), "search_alg", domains)


def with_objective(proposer, name, *domains):
    """Tell a search algorithm or scheduler to look for the highest score."""
    if not proposer.set_search_properties("score", "max", *domains):
        raise ValueError(
            f"{name}={type(proposer).__name__}(...) has a metric, mode or space of its "
            "own. Leave them out: they come from scoring and param_space."
        )
    return proposer


def sample_candidates(space, n_trials, seed):
    """Draw settings as RandomizedSearchCV does, Ray's domains included.

    Parameters
    ----------
    space : dict or list of dicts
        What may be drawn, by name of the parameter.
    n_trials : int
        Settings to draw. If all of a space are lists, none is drawn twice.
    seed : int
        Seed of the draws.

    Returns
    -------
    candidates : list of dict
    """
    spaces = space if isinstance(space, list | tuple) else [space]
    spaces = [
        {name: _distribution(name, values) for name, values in one.items()}
        for one in spaces
    ]
    return list(ParameterSampler(spaces, n_trials, random_state=seed))


def suggestion_space(space):
    """Put a space into the form that search algorithms of Ray take.

    Returns
    -------
    domains : dict of str to Domain
        Choices are numbered, since values such as tuples are beyond many
        algorithms.
    choices : dict of str to list
        What the numbers stand for.
    """
    if not isinstance(space, dict):
        raise ValueError(
            "param_space is a list of spaces, but a search algorithm takes one. Give "
            'one dict, or leave search_alg="random".'
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
    """A domain of Ray with the one method that scikit-learn asks of distributions."""

    def __init__(self, domain):
        self.domain = domain

    def rvs(self, random_state):
        return self.domain.sample(random_state=random_state)


def _distribution(name, values):
    """Return what scikit-learn can draw from: a list or an object with `rvs`."""
    if isinstance(values, Categorical):
        return values.categories
    if isinstance(values, Domain):
        return _Drawn(values)
    if isinstance(values, dict) and set(values) == {"grid_search"}:
        raise ValueError(
            f"param_space[{name!r}] is a grid_search of Ray, but values are drawn "
            "here. Give the list itself, or use GridSearchCV."
        )
    if hasattr(values, "rvs"):
        return values
    if isinstance(values, str | dict) or not np.iterable(values):
        raise TypeError(f"param_space[{name!r}] is {values!r}. {_WANTED}")
    values = list(values)
    if not values:
        raise ValueError(f"param_space[{name!r}] is empty. {_WANTED}")
    return values


def _domain_of_scipy(name, distribution):
    """Return the domain of Ray that is the same as a frozen distribution of scipy."""
    kind = getattr(getattr(distribution, "dist", None), "name", None)
    if kind in ("loguniform", "reciprocal", "uniform"):
        low, high = (float(end) for end in distribution.support())
        return (tune.uniform if kind == "uniform" else tune.loguniform)(low, high)
    if kind == "randint":
        low, last = (int(end) for end in distribution.support())
        return tune.randint(low, last + 1)
    raise ValueError(
        f"param_space[{name!r}] is a distribution ({kind}) that search algorithms of "
        "Ray do not know. Give it as tune.uniform, tune.loguniform, tune.randint or "
        'tune.quniform, or leave search_alg="random".'
    )
