"""A negative control: whether models find shuffled labels."""

from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tbsclassify._scores import class_index
from tbsclassify._warn import warn
from tbsclassify.comparison._fits import Split, Target, Trial, derive_seed

# Shuffles that show how far chance moves a ROC AUC from 0.5.
_N_SHUFFLES = 1000
# Labels of the same fit, of the fit before, and of all earlier fits.
_N_KINDS = 3


def permute_patients(
    patient: np.ndarray, seed: int | np.random.Generator
) -> np.ndarray:
    """Return for each scan one of another patient, whose label it gets.

    If the other patient has fewer scans, they are repeated; if more, the last ones are
    left out.
    """
    by_patient = np.argsort(patient, kind="stable")
    size = np.bincount(patient)
    start = np.cumsum(size) - size
    rank = np.empty_like(by_patient)  # of a scan among those of its patient
    rank[by_patient] = np.arange(len(patient)) - start[patient[by_patient]]
    other = np.random.default_rng(seed).permutation(len(size))[patient]
    return by_patient[start[other] + rank % size[other]]


def shuffle_for_each(
    splits: list[Split], target: Target, patient: np.ndarray, seed: int
) -> list[Target]:
    """Shuffle the labels again for each split, the values along with them.

    Raises
    ------
    ValueError
        If no test set holds two classes, so that there is nothing to find.
    """
    targets = [
        target.taken(
            permute_patients(
                patient, derive_seed(seed, "labels", split.repeat, split.fold)
            )
        )
        for split in splits
    ]
    compared = zip(splits, targets, strict=True)
    if not any(len(np.unique(one.y[split.test])) > 1 for split, one in compared):
        raise ValueError(
            'check="permuted" compares scans of two classes in one test set, but no '
            "test set of cv holds two. Use fewer, larger folds, such as cv=5, or "
            "check=None."
        )
    return targets


def control_table(
    outcomes: Mapping[Trial, dict],
    y: np.ndarray,
    patient: np.ndarray,
    classes: np.ndarray,
    pos_label: Any,
    *,
    confidence_level: float,
    seed: int,
) -> pd.DataFrame:
    """Compute the ROC AUC of each model on shuffled labels, and what chance gives.

    Each fit has its own shuffle. Its scores are compared with the shuffled labels
    of its test scans, with those that the same scans had in the fit before, and
    with those of all fits before that, as far as they are of the same repeat: a
    model may have kept these. The areas of the fits are uncorrelated where a
    model knows nothing, so that their spread is known. With one shuffle for all
    fits they would not be: a scan that is like another one pulls the predictions
    of both, each in the fold of the other.
    """
    codes = np.searchsorted(classes, y)
    rng = np.random.default_rng(derive_seed(seed, "control"))
    chance = codes[[permute_patients(patient, rng) for _ in range(_N_SHUFFLES)]]
    by_model: dict[str, list[Trial]] = {}
    for trial in outcomes:
        if trial.permuted:
            by_model.setdefault(trial.model, []).append(trial)
    columns = list(range(len(classes)))
    if len(classes) == 2:
        columns = [class_index(pos_label, classes, "pos_label")]
    rows: dict[str, tuple] = {}
    for model, trials in by_model.items():
        errors = [outcomes[one]["error"] for one in trials if "error" in outcomes[one]]
        if errors:
            rows[model] = (*[np.nan] * 4, errors[0])
            continue
        areas = _areas(trials, outcomes, classes, chance, columns)
        # Together all intervals have the confidence level (Bonferroni).
        level = 1 - (1 - confidence_level) / len(by_model) / len(areas)
        compared = [_compare(area[0], area[1:], level) for area in areas]
        found, low, high, p_value = min(compared, key=lambda one: one[-1])
        rows[model] = (found, low, high, min(1.0, len(areas) * p_value), "")
    names = ["roc_auc", "roc_auc_low", "roc_auc_high", "p_value", "error"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _areas(
    trials: list[Trial],
    outcomes: Mapping[Trial, dict],
    classes: np.ndarray,
    chance: np.ndarray,
    columns: list[int],
) -> list[np.ndarray]:
    """Return ROC AUCs on shuffled labels, the one found and that of each draw.

    The first is on the labels of the same fit, the next on those of the fit
    before, the last on those of all fits before that; as many as there are.
    """
    # Pairs in order and all pairs of each kind, for the labels found and by chance.
    totals = np.zeros((_N_KINDS, 2, len(columns), 1 + len(chance)))
    for k, trial in enumerate(trials):
        rows = trial.split.test
        ranks = [rankdata(outcomes[trial]["proba"][:, i]) for i in columns]
        for j, earlier in enumerate(trials[: k + 1]):
            if earlier.split.repeat != trial.split.repeat:
                continue
            ours = np.searchsorted(classes, earlier.target.y[rows])
            # In each draw, fit j has a shuffle that no other fit has.
            labels = np.vstack([ours, np.roll(chance, j, axis=0)[:, rows]])
            for i, (column, rank) in enumerate(zip(columns, ranks, strict=True)):
                kind = min(k - j, _N_KINDS - 1)
                totals[kind, :, i] += _pairs(labels == column, rank)
    areas = []
    for in_order, pairs in totals:
        known = pairs > 0  # a rare class may be in no test set
        each = np.divide(in_order, pairs, where=known, out=np.zeros_like(pairs))
        if known[:, 0].any():
            areas.append(each.sum(axis=0) / known.sum(axis=0).clip(1))
    return areas


def _pairs(positive: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Pairs of a positive and a negative scan in order, and all; by Mann and Whitney.

    `positive` has a row for each labelling of the scans.
    """
    n_positive = positive.sum(axis=1)
    in_order = positive @ rank - n_positive * (n_positive + 1) / 2
    return np.stack([in_order, n_positive * (len(rank) - n_positive)])


def _compare(
    found: float, by_chance: np.ndarray, level: float
) -> tuple[float, float, float, float]:
    """Return the area with its interval, and how often chance is as far from 0.5."""
    bias, spread = by_chance.mean() - 0.5, by_chance.std(ddof=1)
    reach = NormalDist().inv_cdf((1 + level) / 2) * spread
    centre = found - bias
    low, high = max(centre - reach, 0.0), min(centre + reach, 1.0)
    if spread < 1e-9:  # all scores are equal
        return found, low, high, 1.0
    p_value = 2 * NormalDist().cdf(-abs(centre - 0.5) / spread)
    return found, low, high, p_value


def warn_of_findings(control: pd.DataFrame, confidence_level: float) -> None:
    """Warn of models that find shuffled labels more than chance explains."""
    tested = control[control["error"] == ""]
    odd = tested[tested["p_value"] < (1 - confidence_level) / max(len(control), 1)]
    if odd.empty:
        return
    found = ", ".join(
        f"{name} ({row.roc_auc:.2f} [{row.roc_auc_low:.2f}, {row.roc_auc_high:.2f}], "
        f"p = {row.p_value:.2g})"
        for name, row in odd.iterrows()
    )
    warn(
        f"On shuffled labels the ROC AUC is not 0.5 for {found}. Chance alone gives "
        f"this warning in about {100 * (1 - confidence_level):.2g} % of comparisons. "
        "Compare again with another random_state. If the warning comes again, check "
        "these models for state that outlives a fit, such as warm_start, a cache, or "
        "an object that clones share."
    )
