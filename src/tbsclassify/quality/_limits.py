"""The limits of all checks, and the texts of their reasons."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from tbsclassify._validation import check_number


class _Check(NamedTuple):
    limit: float
    kind: str  # "least", "most", or "ratio": at most, and at least its inverse
    reason: str


# Limits without a source were set on phantoms, seed 100, so that some 97 to 99 % of
# those without the fault pass; benchmarks/quality.py measures them on other seeds.
VERTEBRA_CHECKS = {
    # A fracture of Genant's grade 1 has lost 20 % of its height; healthy neighbours
    # are up to 5 % apart.
    "height_ratio": _Check(0.85, "least", "lower than its neighbours"),
    "density_ratio": _Check(1.40, "ratio", "unlike its neighbours in density"),
    "texture_ratio": _Check(1.80, "ratio", "unlike its neighbours in texture"),
    "bright_share": _Check(0.12, "most", "metal or cement"),
}
SCAN_CHECKS = {
    "n_in_view": _Check(4, "least", "vertebrae out of view"),
    # The ISCD's and clinics' definition of a scoliosis.
    "cobb_angle": _Check(10.0, "most", "scoliosis"),
    "rotation": _Check(0.08, "most", "rotation"),
    "off_centre": _Check(0.15, "most", "off-centre"),
    **VERTEBRA_CHECKS,
    # Clinics want two vertebrae for a mean.
    "n_usable": _Check(2, "least", "too few usable vertebrae"),
    "unscanned_share": _Check(0.02, "most", "unscanned blocks"),
    "n_letters": _Check(2, "most", "burnt-in text"),
    "column_contrast": _Check(0.20, "least", "wrong region"),
    "level_confidence": _Check(0.5, "least", "level unsure"),
    "place_confidence": _Check(0.5, "least", "place unsure"),
}

LIMITS: Mapping[str, float] = MappingProxyType(
    {name: check.limit for name, check in SCAN_CHECKS.items()}
)
"""Limit of each check, by the column that has its number; see `check_scans`."""


def check_limits(limits: Mapping[str, float] | None) -> dict[str, float]:
    """Return the limit of each check, the default if the user has set none."""
    limits = {} if limits is None else limits
    if not isinstance(limits, Mapping):
        raise TypeError(
            "Expected limits to be a dict of numbers by check, such as "
            f'{{"cobb_angle": 15}}, got {limits!r}.'
        )
    unknown = [name for name in limits if name not in SCAN_CHECKS]
    if unknown:
        raise ValueError(
            f"Expected limits of the checks {', '.join(SCAN_CHECKS)}, got one of "
            f"{unknown[0]!r}."
        )
    for name, limit in limits.items():
        low = 1 if SCAN_CHECKS[name].kind == "ratio" else 0
        check_number(limit, f"limits[{name!r}]", low=low)
    return {**LIMITS, **limits}


def exceeds(name: str, values: np.ndarray, limits: Mapping[str, float]) -> np.ndarray:
    """Tell which numbers of a check exceed its limit; NaN does not."""
    limit, kind = limits[name], SCAN_CHECKS[name].kind
    if kind == "least":
        return values < limit
    if kind == "most":
        return values > limit
    return (values > limit) | (values * limit < 1)


def reason(
    name: str, value: float, limits: Mapping[str, float], text: str | None = None
) -> str:
    """Say which limit a number exceeds, in other words than the usual if given."""
    _, kind, usual = SCAN_CHECKS[name]
    text = usual if text is None else text
    expected = {"least": "at least", "most": "at most", "ratio": "within a factor of"}
    return f"{text} ({name} {value:.3g}, expected {expected[kind]} {limits[name]:.3g})"
