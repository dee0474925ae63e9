"""Intervals from a bootstrap that draws whole patients."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tbsclassify._validation import (
    check_confidence_level,
    check_number,
    check_random_seed,
)

# Replicates are drawn in blocks, so that memory stays at about this many numbers.
_BLOCK_SIZE = 4_000_000


def check_bootstrap(n_bootstrap: int, confidence_level: float) -> None:
    """Check the two numbers that every bootstrap takes."""
    check_number(n_bootstrap, "n_bootstrap", low=0, integer=True)
    check_confidence_level(confidence_level)


def patient_draws(
    patient: np.ndarray,
    n_bootstrap: int,
    random_state: np.random.RandomState | int | None,
) -> Iterator[np.ndarray]:
    """Draw patients with replacement, in blocks of draws.

    Parameters
    ----------
    patient : ndarray of int of shape (n_scans,)
        Patient of each scan, counted from 0.
    n_bootstrap : int
        Number of draws.
    random_state : int, RandomState or None
        Seed of the draws.

    Yields
    ------
    weight : ndarray of shape (n_draws, n_scans)
        How often each scan was drawn, always with all scans of its patient.
    """
    rng = np.random.default_rng(check_random_seed(random_state))
    n_patients = patient.max() + 1
    share = np.full(n_patients, 1 / n_patients)
    block = max(1, _BLOCK_SIZE // len(patient))
    for start in range(0, n_bootstrap, block):
        size = min(block, n_bootstrap - start)
        yield rng.multinomial(n_patients, share, size=size)[:, patient].astype(float)


def percentile_interval(
    replicates: np.ndarray, confidence_level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of the percentile interval over the draws, the first axis.

    Draws in which a measure is not defined are left out of its interval, which
    is NaN where none is left.
    """
    tail = (1 - confidence_level) / 2
    limits = np.full((2, *replicates.shape[1:]), np.nan)
    defined = ~np.isnan(replicates).all(axis=0)
    limits[:, defined] = np.nanquantile(
        replicates[:, defined], [tail, 1 - tail], axis=0
    )
    return limits[0], limits[1]


def with_intervals(
    measure: Callable[[np.ndarray], np.ndarray],
    names: tuple[str, ...],
    patient: np.ndarray,
    n_bootstrap: int,
    confidence_level: float,
    random_state: np.random.RandomState | int | None,
) -> dict[str, np.ndarray | float]:
    """Return each measure by its name, and its interval if there are replicates.

    `measure` is a function of weights that gives an array whose first axis is
    the draws and whose last one is the names.
    """
    check_bootstrap(n_bootstrap, confidence_level)
    parts = {"": measure(np.ones((1, len(patient))))[0]}
    if n_bootstrap:
        draws = patient_draws(patient, n_bootstrap, random_state)
        replicates = np.concatenate([measure(weight) for weight in draws])
        low, high = percentile_interval(replicates, confidence_level)
        parts |= {"_low": low, "_high": high}
    return {
        name + suffix: values[..., i][()]  # a number if it has no dimension
        for i, name in enumerate(names)
        for suffix, values in parts.items()
    }


def widen_where_alike(
    columns: dict[str, Any], n_patients: dict[str, Any], confidence_level: float
) -> None:
    """Give shares of 0 or 1 the exact interval of as many patients, in place.

    Where all scans are alike, so is every draw, and a bootstrap finds no width.

    Parameters
    ----------
    columns : dict
        Measures and the ends of their intervals, if there are any.
    n_patients : dict
        By the name of a share, of how many patients it is; infinity leaves it alone.
    confidence_level : float
        Confidence level of the intervals.
    """
    for name, number in n_patients.items():
        if f"{name}_low" in columns:
            bound = ((1 - confidence_level) / 2) ** (1 / np.maximum(number, 1))
            value, low, high = (columns[name + end] for end in ("", "_low", "_high"))
            columns[f"{name}_low"] = np.where(value == 1, bound, low)[()]
            columns[f"{name}_high"] = np.where(value == 0, 1 - bound, high)[()]
