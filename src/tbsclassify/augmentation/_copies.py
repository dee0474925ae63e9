"""How many augmented copies each class gets."""

import numbers
from collections.abc import Mapping
from typing import Any

from tbsclassify._validation import check_number


def count_copies(
    n_copies: Mapping[Any, float] | int | str, counts: dict[Any, int]
) -> dict[Any, int]:
    """Turn `n_copies` into the number of copies to add to each class."""
    if isinstance(n_copies, str) and n_copies == "auto":
        return {name: max(counts.values()) - n for name, n in counts.items()}
    if isinstance(n_copies, numbers.Integral):
        check_number(n_copies, "n_copies", low=0, integer=True)
        return {name: int(n_copies) * n for name, n in counts.items()}
    if not isinstance(n_copies, Mapping):
        kind = ValueError if isinstance(n_copies, str) else TypeError
        raise kind(
            'Expected n_copies to be "auto", a number of copies of each scan or a dict '
            f"with the copies to add to each class, got {n_copies!r}."
        )
    unknown = [name for name in n_copies if name not in counts]
    if unknown:
        raise ValueError(
            f"Expected n_copies to name classes in y, {list(counts)}, got {unknown}."
        )
    copies, shares = _copies_and_shares(n_copies, counts)
    if len(shares) == len(counts) or sum(shares.values()) >= 1:
        raise ValueError(
            "Expected n_copies to leave a share to one class at least, got "
            f"{n_copies!r}. Leave one class out: its share is what remains."
        )
    others = sum(n + copies[name] for name, n in counts.items() if name not in shares)
    total = others / (1 - sum(shares.values()))
    for name, share in shares.items():
        copies[name] = round(share * total) - counts[name]
        if copies[name] < 0:
            raise ValueError(
                f"Expected n_copies[{name!r}] to be a share above that of the class, "
                f"got {share}: it asks for {share * total:.0f} of {total:.0f} scans, "
                f"but y holds {counts[name]} already and none is removed. Choose a "
                "larger share, or copies of the others."
            )
    return copies


def _copies_and_shares(
    n_copies: Mapping[Any, float], counts: dict[Any, int]
) -> tuple[dict[Any, int], dict[Any, float]]:
    """Sort entries into copies to add, 0 for classes not named, and shares."""
    copies, shares = dict.fromkeys(counts, 0), {}
    for name, value in n_copies.items():
        argument = f"n_copies[{name!r}]"
        if isinstance(value, numbers.Integral):
            copies[name] = check_number(value, argument, low=0, integer=True)
            continue
        if isinstance(value, numbers.Real) and value >= 1:
            raise ValueError(
                f"Expected {argument} to be an integer, the copies to add, or a "
                f"share below 1 of the class at the end, got {value!r}."
            )
        shares[name] = check_number(
            value, argument, low=0, high=1, inclusive=(False, False)
        )
    return copies, shares
