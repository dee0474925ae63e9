"""Split scans into training, validation and test sets by patient."""

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import (
    GroupKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)

from tbsclassify._scores import check_targets
from tbsclassify._sklearn_compat import num_samples
from tbsclassify._validation import check_groups, check_number, check_random_seed
from tbsclassify._warn import warn

# Scans that the paper trained on, validated on and tested on, of 1469 in all.
PAPER_SIZES = (1127, 161, 181)
_PARTS = ("train", "validation", "test")


def train_validation_test_split(
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    sizes: tuple[float, float, float],
    random_state: np.random.RandomState | int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split scans into three parts with equal class shares, each patient in one.

    Parameters
    ----------
    y : array-like of shape (n_scans,)
        Class of each scan.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. With None, each scan is a patient of its own.
    sizes : tuple of three ints or three floats
        Numbers of scans for training, validation and test, which add up to the
        number of scans; or their shares, which add up to 1.
    random_state : int, RandomState or None, default=None
        Seed of the split.

    Returns
    -------
    train, validation, test : ndarray of int
        Indices of the scans of each part, increasing.

    Raises
    ------
    ValueError
        If `sizes` do not add up, a class has fewer than three patients, or a
        part cannot hold or does not get scans of every class; the message says
        what is possible.

    See Also
    --------
    paper_split : The same in the proportions of the paper.
    sklearn.model_selection.StratifiedGroupKFold : Folds of a cross-validation.

    Notes
    -----
    Every scan is in one part. With one scan for each patient the sizes are met
    exactly, and each part has its share of each of two classes to within one scan, if
    that share is one scan or more. Patients with several scans are kept whole: a size
    is then missed by less than the number of scans of the largest patient. It is met
    exactly if enough patients have a single scan.

    Patients are assigned class by class. The rarest class comes first, within a
    class the patient with the most scans, otherwise the order is random. Each
    patient goes to the part that has room and the least of its share of the class
    so far (the method of Webster and Sainte-Laguë for seats in a parliament).

    Examples
    --------
    >>> from tbsclassify import TBSLabeler
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.splitting import train_validation_test_split
    >>> scans = make_dxa_phantoms(40, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> train, validation, test = train_validation_test_split(
    ...     y, scans.patient, sizes=(0.7, 0.1, 0.2), random_state=0
    ... )
    >>> len(train), len(validation), len(test)
    (28, 4, 8)
    """
    y = check_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    patient, n_patients = check_groups(groups, len(y))
    sizes = _check_sizes(sizes, len(y), classes)
    # Scans of each class that a patient has, shape (n_patients, n_classes).
    scans = np.zeros((n_patients, len(classes)), dtype=int)
    np.add.at(scans, (patient, codes), 1)
    _check_patients_suffice(scans, classes, groups)

    rng = np.random.default_rng(check_random_seed(random_state))
    part = deal_patients(scans, sizes, rng)[patient]
    held = np.zeros((len(_PARTS), len(classes)), dtype=int)
    np.add.at(held, (part, codes), 1)
    if not held.all():
        k, c = np.argwhere(held == 0)[0]
        raise ValueError(
            f"The {_PARTS[k]} part, {sizes[k]} of {len(y)} scans, came out without a "
            f"scan of class {classes[c]}, since patients are kept whole (the largest "
            f"has {scans.sum(axis=1).max()} scans). Give this part a larger size."
        )
    train, validation, test = (np.flatnonzero(part == k) for k in range(len(_PARTS)))
    return train, validation, test


def paper_split(
    y: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    random_state: np.random.RandomState | int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split scans in the proportions of the paper.

    Parameters
    ----------
    y : array-like of shape (n_scans,)
        Class of each scan.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan. With None, each scan is a patient of its own.
    random_state : int, RandomState or None, default=None
        Seed of the split.

    Returns
    -------
    train, validation, test : ndarray of int
        Indices of the scans of each part: 1127, 161 and 181 of 1469 scans, and the
        same shares of other numbers of scans.

    See Also
    --------
    train_validation_test_split : Split in any proportions.
    tbsclassify.compare_models : Takes the split as ``cv=[(train, test)]``.

    Notes
    -----
    Class shares are alike in all parts. In the paper they are not: 13 % of its
    training and validation scans, but 23 % of its test scans are degraded [1]_.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Table I.

    Examples
    --------
    >>> import numpy as np
    >>> from tbsclassify.splitting import paper_split
    >>> y = np.repeat([0, 1], [1258, 211])
    >>> [len(part) for part in paper_split(y, random_state=0)]
    [1127, 161, 181]
    """
    train, validation, test = (size / sum(PAPER_SIZES) for size in PAPER_SIZES)
    return train_validation_test_split(
        y, groups, sizes=(train, validation, test), random_state=random_state
    )


def list_folds(
    cv: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    seed: int | None = None,
    classifier: bool = True,
    split_params: dict[str, Any] | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """List the splits of a cross-validation, with each patient on one side of each.

    Only this function turns `cv` into splits. Turn an iterator into a list first if it
    is used more than once.

    Parameters
    ----------
    cv : int, splitter, iterable of (train, test) or None
        An int is a number of folds, None means five. With `groups` they are split by
        patient, and for a classifier stratified by class.
    X, y : array-like
        Scans and their classes or values.
    groups : array-like of shape (n_scans,), default=None
        Patient of each scan.
    seed : int, default=None
        Seed that shuffles the folds of an int `cv`; None keeps the order of scans.
    classifier : bool, default=True
        Whether `y` holds classes. Folds of an int `cv` are then stratified.
    split_params : dict, default=None
        Arguments of the `split` of a splitter, in place of `groups`.

    Returns
    -------
    splits : list of (ndarray of int, ndarray of int)
        Rows to train on and to test on.

    Raises
    ------
    ValueError
        If there is no split, a split has an empty side or names missing rows, or a
        patient (without `groups`, a scan) is on both sides.
    """
    n_scans = num_samples(X)
    patient, _ = check_groups(groups, n_scans)
    if groups is None and "patient" in getattr(X, "columns", ()):
        _warn_of_patients(X["patient"], n_scans)
    splitter = check_cv(cv, y, classifier=classifier)
    if cv is not None and not isinstance(cv, numbers.Integral):
        if split_params is None:
            split_params = {} if groups is None else {"groups": groups}
    elif groups is None and seed is None:
        split_params = {}
    else:
        split_params = {"groups": patient}
        stratified = isinstance(splitter, StratifiedKFold)
        kind = StratifiedGroupKFold if stratified else GroupKFold
        shuffle = {} if seed is None else {"shuffle": True, "random_state": seed}
        splitter = kind(splitter.get_n_splits(), **shuffle)
    splits = [
        (_check_rows(train, n_scans, i), _check_rows(test, n_scans, i))
        for i, (train, test) in enumerate(splitter.split(X, y, **split_params))
    ]
    if not splits:
        raise ValueError(
            "cv holds no split. An iterator that was used before is empty: give "
            "list(splitter.split(X, y, groups)), or the splitter itself."
        )
    for i, (train, test) in enumerate(splits):
        shared = np.intersect1d(patient[train], patient[test])
        if shared.size:
            what = "scan" if groups is None else "patient"
            raise ValueError(
                f"cv puts {shared.size} {what}(s) on both sides of split {i}, which "
                "makes results too good. Use an int, or a splitter that keeps groups "
                "together, such as StratifiedGroupKFold."
            )
    return splits


def _warn_of_patients(column: Any, n_scans: int) -> None:
    n_patients = len(set(column))
    if n_patients < n_scans:
        warn(
            f"The {n_scans} scans of X are of {n_patients} patients, by its column "
            "'patient', but groups is None, so that scans of one patient can be on "
            "both sides of a split. Pass groups=X['patient']."
        )


def _check_rows(rows: Any, n_scans: int, i: int) -> np.ndarray:
    """Return one side of a split as row numbers."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n_scans,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or not rows.size or rows.dtype.kind not in "iu":
        raise ValueError(
            f"Expected split {i} of cv to be two non-empty arrays of row numbers, got "
            f"one of shape {rows.shape} and dtype {rows.dtype}."
        )
    if rows.min() < 0 or rows.max() >= n_scans:
        raise ValueError(
            f"Split {i} of cv names row {rows.max() if rows.min() >= 0 else rows.min()}"
            f", expected rows from 0 to {n_scans - 1}."
        )
    return rows


def _check_sizes(sizes, n_scans, classes):
    """Return the number of scans of each part."""
    if np.shape(sizes) != (len(_PARTS),):
        raise ValueError(
            "Expected sizes to be three numbers of scans or three shares, for "
            f"training, validation and test, such as (0.7, 0.1, 0.2), got {sizes!r}."
        )
    counted = all(isinstance(size, int | np.integer) for size in sizes)
    for size in sizes:
        check_number(size, "sizes", low=0, integer=counted, inclusive=(False, True))
    if counted:
        if sum(sizes) != n_scans:
            raise ValueError(
                f"Expected sizes to add up to the {n_scans} scans of y, got {sizes!r}, "
                f"which add up to {sum(sizes)}. Shares that add up to 1 will do, too."
            )
        numbers = np.array(sizes)
    else:
        if abs(sum(sizes) - 1) > 1e-6:
            raise ValueError(
                f"Expected sizes to be shares that add up to 1, or integers, got "
                f"{sizes!r}, which add up to {sum(sizes):g}."
            )
        exact = np.asarray(sizes) * n_scans
        numbers = np.floor(exact + 1e-9).astype(int)
        short = n_scans - numbers.sum()
        numbers[np.argsort(numbers - exact, kind="stable")[:short]] += 1
    if numbers.min() < len(classes):
        k = numbers.argmin()
        raise ValueError(
            f"sizes={sizes!r} give the {_PARTS[k]} part {numbers[k]} of {n_scans} "
            f"scans, too few for the {len(classes)} classes of y. Make it "
            f"{len(classes)} scans or more."
        )
    return numbers


def _check_patients_suffice(scans, classes, groups):
    n_patients = (scans > 0).sum(axis=0)
    c = n_patients.argmin()
    if n_patients[c] < len(_PARTS):
        who = "scan" if groups is None else "patient"
        raise ValueError(
            f"Expected three {who}s or more of each class, one for each part, got "
            f"{n_patients[c]} of class {classes[c]}. Add scans, or merge the class "
            "with another."
        )


def deal_patients(scans, sizes, rng, part=None):
    """Assign each patient to a part, and return the numbers of the parts.

    Entries of `part` that are not negative are the parts of patients that have one.
    """
    n_scans = scans.sum(axis=1)
    share = np.outer(sizes, scans.sum(axis=0)) / scans.sum()
    part = np.full(len(scans), -1) if part is None else part.copy()
    held = np.stack([scans[part == k].sum(axis=0) for k in range(len(sizes))])
    room = np.array(sizes) - held.sum(axis=1)
    shuffled = rng.permutation(len(scans))
    shuffled = shuffled[np.argsort(-n_scans[shuffled], kind="stable")]
    order = np.argsort(scans.sum(axis=0), kind="stable")
    for i, c in enumerate(order):
        for patient in shuffled[(scans[shuffled, c] > 0) & (part[shuffled] < 0)]:
            filled = np.where(held[:, c] == 0, 0, held[:, c] + 0.5) / share[:, c]
            kept_free = np.sum(held[:, order[i + 1 :]] == 0, axis=1)
            fits = room - kept_free >= n_scans[patient]
            k = np.where(fits, filled, np.inf).argmin() if fits.any() else room.argmax()
            part[patient] = k
            held[k] += scans[patient]
            room[k] -= n_scans[patient]
    return part
