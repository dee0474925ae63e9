"""Split off a validation set inside a fit, by whole patients."""

import itertools
from typing import Any

import numpy as np

from tbsclassify._sklearn_compat import num_samples
from tbsclassify._validation import check_groups
from tbsclassify.splitting import deal_patients

_TRAIN, _VALID = 0, 1
# Splits that are tried until one misses the fraction by less than 1 % of the scans.
# Several are needed if patients are few and large.
_ATTEMPTS = 20


def validation_split(
    codes: np.ndarray, groups: Any, *, fraction: float, seed: int, classes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the scans to train on and those to validate on.

    Parameters
    ----------
    codes : ndarray of int of shape (n_scans,)
        Class of each scan, as an index into `classes`.
    groups : array-like of shape (n_scans,) or None
        Patient of each scan. With None, each scan is a patient of its own.
    fraction : float
        Share of all scans to validate on. It is met as closely as whole patients
        allow, with a patient of each class on both sides.
    seed : int
        Seed of the split.
    classes : ndarray of shape (n_classes,)
        Labels of the classes, for errors.

    Returns
    -------
    train, valid : ndarray of int
        Indices of scans, increasing.

    Raises
    ------
    ValueError
        If not every class can have a patient on both sides, or `groups` is not as
        long as `codes`.
    """
    if groups is not None and num_samples(groups) != len(codes):
        raise ValueError(
            f"Expected groups to hold the patient of each of {len(codes)} scans, got "
            f"{num_samples(groups)} entries. Behind a step that adds scans, such as "
            "AugmentationSampler, groups do not follow: use early_stopping=False, or "
            "resample first and pass groups[sampler.sample_indices_]."
        )
    patient, n_patients = check_groups(groups, len(codes))
    # Scans of each class that a patient has, shape (n_patients, n_classes).
    scans = np.zeros((n_patients, len(classes)), dtype=int)
    np.add.at(scans, (patient, codes), 1)
    patients_of_class = (scans > 0).sum(axis=0)
    if patients_of_class.min() < 2:
        who = "scan" if groups is None else "patient"
        raise ValueError(
            f"Class {classes[patients_of_class.argmin()]} has one {who} only, so that "
            "none is left to train on beside the validation set. Use scans of more "
            "patients, or early_stopping=False and no tbs."
        )
    n_valid = max(len(classes), round(fraction * len(codes)))
    n_valid = min(n_valid, len(codes) - len(classes))
    rng = np.random.default_rng(seed)
    part = _closest_split(scans, n_valid, rng)
    if part is None:
        raise ValueError(
            "No split by patient leaves scans of every class both to train on and to "
            f"validate on: {n_patients} patients have scans of {len(classes)} classes. "
            "Use scans of more patients, or early_stopping=False and no tbs."
        )
    side = part[patient]
    return np.flatnonzero(side == _TRAIN), np.flatnonzero(side == _VALID)


def _closest_split(
    scans: np.ndarray, n_valid: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Return the part of each patient; None if no split has all classes twice."""
    splits = []
    for attempt in range(_ATTEMPTS):
        order = rng.permutation(len(scans))
        if attempt == 0:  # small patients first leave the most room
            order = order[np.argsort(scans[order].sum(axis=1), kind="stable")]
        part = np.full(len(scans), -1)
        if not _cover(scans, part, order):
            return None
        part = deal_patients(scans, (scans.sum() - n_valid, n_valid), rng, part)
        _approach(scans, part, n_valid)
        splits.append((abs(_miss(scans, part, n_valid)), part))
        if splits[-1][0] <= scans.sum() // 100:
            break
    return min(splits, key=lambda split: split[0])[1]


def _miss(scans: np.ndarray, part: np.ndarray, n_valid: int) -> int:
    return n_valid - int(scans[part == _VALID].sum())


def _cover(scans: np.ndarray, part: np.ndarray, order: np.ndarray) -> bool:
    """Give both parts a patient of each class, in `part`; tell whether it is possible.

    Validation patients are taken from the start of `order`, training patients from
    its end. Patients with the same classes are alike here, so only one of each kind is
    tried before a choice is taken back.
    """
    for side in (_VALID, _TRAIN):
        for c in np.argsort((scans > 0).sum(axis=0), kind="stable"):
            if scans[part == side, c].any():
                continue
            able = order[(part[order] < 0) & (scans[order, c] > 0)]
            tried = set()
            for one in able if side == _VALID else able[::-1]:
                kind = tuple(scans[one] > 0)
                if kind in tried:
                    continue
                tried.add(kind)
                part[one] = side
                if _cover(scans, part, order):
                    return True
                part[one] = -1
            return False
    return True


def _approach(scans: np.ndarray, part: np.ndarray, n_valid: int) -> None:
    """Move or exchange patients, in `part`, while the size comes closer."""
    n_scans = scans.sum(axis=1)
    while miss := _miss(scans, part, n_valid):
        best = None
        kinds = (_kinds(scans, part, side) for side in (_TRAIN, _VALID))
        for one, other in itertools.product(*kinds):
            moved = one + other
            left = abs(miss - n_scans[one].sum() + n_scans[other].sum())
            if left < abs(miss if best is None else best[0]):
                after = part.copy()
                after[moved] = 1 - part[moved]
                if all(
                    scans[after == side].any(axis=0).all() for side in (_TRAIN, _VALID)
                ):
                    best = left, after
        if best is None:
            return
        part[:] = best[1]


def _kinds(scans: np.ndarray, part: np.ndarray, side: int) -> list[list[int]]:
    """Return one patient of each kind in a part, each as a list, and an empty list."""
    patients = np.flatnonzero(part == side)
    _, first = np.unique(scans[patients], axis=0, return_index=True)
    return [[], *([one] for one in patients[first].tolist())]
