"""Checks shared by all modules."""

import difflib
import math
import numbers
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import column_or_1d


def check_option(value: Any, name: str, options: Iterable[str]) -> str:
    """Return `value` if it is one of `options`, else raise an error."""
    if isinstance(value, str) and value in options:
        return value
    options = list(options)
    expected = ", ".join(repr(option) for option in options)
    raise ValueError(
        f"Expected {name} to be one of {expected}, got {value!r}."
        f"{did_you_mean(value, options)}"
    )


def did_you_mean(value: Any, options: Iterable[Any]) -> str:
    """Return a sentence that asks for the option most alike, or an empty text."""
    names = [option for option in options if isinstance(option, str)]
    alike = difflib.get_close_matches(value, names, 1) if isinstance(value, str) else []
    return f" Did you mean {alike[0]!r}?" if alike else ""


def check_number(
    value: Any,
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    integer: bool = False,
    inclusive: tuple[bool, bool] = (True, True),
) -> Any:
    """Return `value` if it is a finite number from `low` to `high`, else raise."""
    is_number = isinstance(value, numbers.Integral if integer else numbers.Real)
    is_number = is_number and not isinstance(value, bool)
    if is_number and math.isfinite(value):
        above = low is None or value > low or (inclusive[0] and value == low)
        below = high is None or value < high or (inclusive[1] and value == high)
        if above and below:
            return value
    limits = []
    if low is not None:
        limits.append(f"{'at least' if inclusive[0] else 'above'} {low}")
    if high is not None:
        limits.append(f"{'at most' if inclusive[1] else 'below'} {high}")
    expected = " ".join(
        ["an integer" if integer else "a finite number", " and ".join(limits)]
    ).strip()
    message = f"Expected {name} to be {expected}, got {value!r}"
    if is_number:
        raise ValueError(f"{message}.")
    raise TypeError(f"{message} of type {type(value).__name__}.")


def check_bool(value: Any, name: str) -> None:
    """Check that a value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"Expected {name} to be True or False, got {value!r}.")


def patient_ids(groups: Any, n_samples: int) -> np.ndarray:
    """Return the patient of each scan in one form.

    Numbers stay as they are. Everything else becomes text in Unicode's composed form,
    without blanks around it. So ``"A1 "`` and ``"A1"`` are one patient, and so are
    ``1`` and ``"1"`` in a column that holds both.

    Raises
    ------
    ValueError
        If the length is not `n_samples`, or the patient of a scan is missing.
    """
    if groups is None:
        return np.arange(n_samples)
    if isinstance(groups, str):
        raise ValueError(
            f"Expected groups to hold the patient of each of {n_samples} scans, got "
            "one text. Pass the column itself, such as scans.patient."
        )
    if isinstance(groups, list | tuple):
        # Unlike NumPy, pandas does not turn numbers and NaN beside text into text.
        groups = pd.Series(list(groups)).to_numpy()
    groups = column_or_1d(np.asarray(groups))
    if len(groups) != n_samples:
        raise ValueError(
            f"Expected groups to hold the patient of each of {n_samples} scans, got "
            f"{len(groups)} entries."
        )
    missing = pd.isna(groups)
    if groups.dtype.kind not in "biuf":
        text = [_patient_text(one) for one in groups]
        groups = np.array(text, dtype=str)
        missing = missing | (groups == "")
    if missing.any():
        raise ValueError(
            f"groups lacks the patient of {missing.sum()} scan(s), at index "
            f"{np.flatnonzero(missing)[:10].tolist()}. Give each scan a patient, or "
            "leave these scans out."
        )
    return groups


def _patient_text(one: Any) -> str:
    if isinstance(one, float) and one.is_integer():
        one = int(one)  # 1.0 is the patient 1
    text = unicodedata.normalize("NFKC", str(one))
    # Invisible characters, such as a byte order mark, may have been copied along.
    seen = (one for one in text if unicodedata.category(one) != "Cf")
    return " ".join("".join(seen).split())


def check_groups(groups: Any, n_samples: int) -> tuple[np.ndarray, int]:
    """Return the patient of each scan as integers from 0 and their number."""
    patients, codes = np.unique(patient_ids(groups, n_samples), return_inverse=True)
    return codes, len(patients)


def check_folds(folds, n_samples):
    """Return the fold that each scan was tested in; None is one fold for all."""
    if folds is None:
        return np.zeros(n_samples, dtype=int)
    folds = column_or_1d(folds)
    if len(folds) != n_samples:
        raise ValueError(
            f"Expected folds to hold the fold of each of {n_samples} scans, got "
            f"{len(folds)} entries."
        )
    return folds


def check_confidence_level(level):
    """Check that a level is above 0 and below 1."""
    check_number(level, "confidence_level", low=0, high=1, inclusive=(False, False))


def check_random_seed(random_state: Any) -> int:
    """Return an integer seed that leaves every global random state alone.

    An int is used as it is, a ``RandomState`` or ``Generator`` draws a seed, and None
    takes fresh entropy from the operating system.
    """
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0] >> 1)
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31 - 1))
    return int(check_number(random_state, "random_state", low=0, integer=True))
