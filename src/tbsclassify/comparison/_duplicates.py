"""Near repeats: test rows that are almost a training row of another patient."""

from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import issparse
from scipy.special import comb, ndtri
from sklearn.metrics import euclidean_distances
from sklearn.utils import gen_batches

from tbsclassify._boxes import check_scans_and_boxes, hull
from tbsclassify._scans import as_pandas, scans_of
from tbsclassify._warn import warn
from tbsclassify.comparison._fits import Split
from tbsclassify.images import iter_scans

# The distance to the nearest patient is compared with that to the tenth nearest. What
# chance gives is estimated from the tenth to the fortieth.
_NEAR, _FAR = 10, 40
_FEWEST_PATIENTS = 12
# If some columns of a table have this many values, columns with fewer are left out.
_MANY_VALUES = 10
_MOST_COLUMNS = 1024
_SIDE = 16  # of a thumbnail, in pixels
_PAIRS_AT_ONCE = 2**22


def find_duplicates(
    X: Any,
    splits: list[Split],
    patient: np.ndarray,
    groups: np.ndarray | None,
    *,
    confidence_level: float,
    seed: int,
) -> pd.DataFrame:
    """Return test rows with a near repeat in training, and warn if there are any.

    Which p-values are small enough is decided by the rule of Benjamini and Hochberg
    (1995), so that among independent rows nothing is found in `confidence_level` of
    comparisons or more.

    Raises
    ------
    ValueError
        If a training set holds too few patients, or X a scan that cannot be read.
    """
    places = place_rows(describe_rows(X), seed)
    pairs = pd.concat(
        [nearest_patients(places, split, patient) for split in splits],
        ignore_index=True,
    ).sort_values("p_value", ignore_index=True)
    for position, row in ((3, "scan"), (5, "train_scan")):
        ids = pairs[row] if groups is None else groups[pairs[row]]
        pairs.insert(position, row.replace("scan", "patient"), ids)
    level = 1 - confidence_level
    passed = pairs["p_value"] <= level * np.arange(1, len(pairs) + 1) / len(pairs)
    found = pairs[: np.flatnonzero(passed).max(initial=-1) + 1]
    if len(found):
        _warn(found, n_tested=pairs["scan"].nunique(), level=level)
    return found


def _warn(found: pd.DataFrame, n_tested: int, level: float) -> None:
    by_chance = n_tested * found["p_value"].iloc[-1]
    expected = f"about {by_chance:.1f}" if by_chance >= 0.1 else "fewer than 0.1"
    warn(
        f"{found['scan'].nunique()} of {n_tested} test rows have a near repeat among "
        f"the training rows of another patient, where chance gives {expected}: see "
        "`duplicates` of the result. Chance alone gives this warning in at most "
        f"{100 * level:.2g} % of comparisons. If rows were resampled before the split, "
        "as by SMOTE, resample inside the folds with the Pipeline of imblearn. If one "
        "patient has several rows, give them one id in groups. Drop scans that were "
        "exported twice."
    )


def describe_rows(X: Any) -> np.ndarray:
    """Return numbers that describe each row, of shape (n_rows, n_numbers).

    Of scans these are small thumbnails, read one scan at a time; of a table with a
    column ``image``, those of the images; of any other table, its columns.
    """
    scans = scans_of(X)
    if not isinstance(scans, list) and getattr(scans, "ndim", 2) < 3:
        return _numbers(scans)
    scans, boxes = check_scans_and_boxes(X, None)
    corners = hull(boxes)
    whole = np.isnan(corners).any()  # else L1-L4, known in every scan
    read = iter_scans(scans, channels=True, one_depth=False)
    return np.stack(
        [
            thumbnail(scan, None if whole else corner)
            for scan, corner in zip(read, corners, strict=True)
        ]
    )


def thumbnail(scan: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """Return a small, flat image that does not depend on brightness and contrast."""
    if scan.ndim == 3:
        scan = scan.mean(axis=0)
    if box is not None:
        top, left, bottom, right = np.rint(box).astype(int).clip(0)
        part = scan[top:bottom, left:right]
        scan = part if part.size else scan
    image = Image.fromarray(scan.astype(np.float32))
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=float)
    small = small.ravel() - small.mean()
    return small / max(np.linalg.norm(small), np.finfo(float).tiny)


def _numbers(X: Any) -> np.ndarray:
    """Return the columns as numbers in the order of their entries, without ids."""
    if issparse(X):
        X = X.toarray()
    named = hasattr(X, "columns")
    X = as_pandas(X) if named else pd.DataFrame(np.asarray(X))
    X = X.infer_objects()
    columns = [_in_order(column) for _, column in X.items()]
    if named:
        columns = [one for one in columns if not _is_id(one)] or columns
    return np.stack(columns, axis=1)


def _in_order(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.to_numpy(dtype=float, na_value=np.nan)
    return pd.factorize(column.astype(str), sort=True)[0]


def _is_id(column: np.ndarray) -> bool:
    """Whether all entries are whole numbers, of which no two are equal."""
    whole = (column == np.rint(column)).all()
    return bool(whole) and len(np.unique(column)) == len(column)


def place_rows(numbers: np.ndarray, seed: int) -> np.ndarray:
    """Map rows into a space in which each number has a normal distribution.

    So skewed or heavy tails count no more than the rest. Ties are broken at random,
    which spreads rounded values over the width of the rounding: equal ages are no
    repeat. The result depends on the seed and the rows, not on their order.
    """
    n_rows, n_columns = numbers.shape
    if n_columns > _MOST_COLUMNS:
        chosen = np.linspace(0, n_columns - 1, _MOST_COLUMNS).astype(int)
        numbers = numbers[:, chosen]
    n_values = pd.DataFrame(numbers).nunique().to_numpy()
    fewest = _MANY_VALUES if n_values.max() >= _MANY_VALUES else min(2, n_values.max())
    numbers = numbers[:, n_values >= fewest]
    rng = np.random.default_rng(seed)
    by_content = np.lexsort(numbers.T)
    scores = ndtri((np.arange(n_rows) + 0.5) / n_rows)
    places, tie = np.empty_like(numbers, dtype=float), np.empty(n_rows)
    for number, place in zip(numbers.T, places.T, strict=True):
        tie[by_content] = rng.random(n_rows)
        place[np.lexsort((tie, number))] = scores
    return places / np.sqrt(places.shape[1])


def nearest_patients(
    places: np.ndarray, split: Split, patient: np.ndarray
) -> pd.DataFrame:
    """Return the nearest training row of each test row, and a p-value.

    `ratio` is its distance over that of the tenth nearest patient, `p_value` how
    often chance gives as small a ratio.
    """
    train = split.train[np.argsort(patient[split.train], kind="stable")]
    first = np.flatnonzero(np.diff(patient[train], prepend=-1))  # of each patient
    if len(first) < _FEWEST_PATIENTS:
        raise ValueError(
            f'check="duplicates" needs {_FEWEST_PATIENTS} patients or more in each '
            f"training set, got {len(first)}. Use more folds, or leave it out."
        )
    far = min(_FAR, len(first) // 2)
    near = min(_NEAR, far // 3)
    parts = []
    for batch in gen_batches(len(split.test), max(1, _PAIRS_AT_ONCE // len(train))):
        test = split.test[batch]
        distance = euclidean_distances(places[test], places[train])
        nearest = train[distance.argmin(axis=1)]
        distance = np.minimum.reduceat(distance, first, axis=1)
        distance = np.sort(np.partition(distance, far - 1)[:, :far])
        known = {"scan": test, "train_scan": nearest, "distance": distance[:, 0]}
        known["ratio"] = distance[:, 0] / distance[:, near - 1]
        parts.append(pd.DataFrame(known | {"p_value": p_values(distance, near)}))
    pairs = pd.concat(parts, ignore_index=True)
    pairs.insert(0, "repeat", split.repeat)
    pairs.insert(1, "fold", split.fold)
    return pairs


def p_values(distance: np.ndarray, near: int) -> np.ndarray:
    """Return how often chance gives a first distance as small as this.

    `distance` has the distances of each row to its nearest neighbours, ascending.
    Where the neighbours are independent and their number within a distance grows
    like a power of it, ``j * log(d[j + 1] / d[j])`` are independent exponential
    variables whose mean is one over the power, the local dimension (Renyi 1953).
    Their sum from the neighbour `near` outwards so is a scale for the spread among
    the nearer ones, with no dimension to estimate. Where the power grows inwards,
    as around most points of a finite sample, the result is too large rather than
    too small.
    """
    n_spacings = distance.shape[1] - near
    order = np.arange(near, distance.shape[1])
    spacings = order * np.diff(np.log(distance[:, near - 1 :]))
    reach = np.log(distance[:, near - 1] / distance[:, 0]) / spacings.sum(axis=1)
    # The nearer ones are near - 1 draws; this is how far out the outermost lies,
    # P(max > reach * gamma), by its binomial expansion.
    k = np.arange(1, near)
    signs = comb(near - 1, k) * (-1.0) ** (k + 1)
    return ((1 + np.outer(reach, k)) ** -n_spacings @ signs).clip(0, 1)
