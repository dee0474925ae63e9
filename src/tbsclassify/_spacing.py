"""Pixel sizes of scans in mm, given as an array or in the columns of a table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tbsclassify._scans import numbers_in, plain_name
from tbsclassify._warn import warn

# Height and width of a pixel in mm.
SPACING_COLUMNS = ("row_spacing", "column_spacing")
# Names of one column for both, in lower case, without blanks and punctuation.
_ONE_FOR_BOTH = ("spacing", "pixelspacing", "pixelsize")

# Pixels of spine and hip scans in mm.
PLAUSIBLE_SPACING = (0.2, 1.1)
# A pixel may be this much longer on one side than on the other.
_MAX_ANISOTROPY = 2.0
# Sizes outside are not in millimetres, but in centimetres or micrometres.
MILLIMETRES = (0.1, 10.0)
# Sizes up to this factor apart count as equal: GE rounds the scanned area to whole mm.
_SAME_SPACING = 1.02


def spacing_columns(columns: Iterable[Any]) -> tuple[Any, Any] | None:
    """Find the two columns of a table that hold pixel sizes, or None.

    They are ``row_spacing`` and ``column_spacing``, or one column ``spacing``,
    ``pixel_spacing`` or ``pixel_size`` for both. Case, blanks, punctuation and ``mm``
    at the end do not matter.

    Raises
    ------
    ValueError
        If there is only one of the two, or a name occurs twice.
    """
    found: dict[str, list[Any]] = {}
    for name in columns:
        key = plain_name(name).removesuffix("mm")
        found.setdefault("spacing" if key in _ONE_FOR_BOTH else key, []).append(name)
    wanted = {name: name.replace("_", "") for name in (*SPACING_COLUMNS, "spacing")}
    present = {name: found[key] for name, key in wanted.items() if key in found}
    for name, alike in present.items():
        if len(alike) > 1:
            raise ValueError(
                f"Expected one column {name!r}, got {len(alike)}: "
                f"{', '.join(map(repr, alike))}. Drop or rename all but one."
            )
    if not present:
        return None
    if set(present) == {"spacing"}:
        return present["spacing"][0], present["spacing"][0]
    if set(present) != set(SPACING_COLUMNS):
        got = ", ".join(repr(alike[0]) for alike in present.values())
        raise ValueError(
            "Expected pixel sizes in row_spacing and column_spacing, or in one column "
            f"spacing, got {got}. Add what is missing, or drop what is too much."
        )
    return present["row_spacing"][0], present["column_spacing"][0]


def check_spacings(
    X: Any, spacings: ArrayLike | None = None, n_scans: int | None = None
) -> np.ndarray | None:
    """Return height and width of the pixels of each scan, or None if there are none.

    Parameters
    ----------
    X : array, sequence or table
        Scans; a table with a column ``image`` may have pixel sizes in others.
    spacings : array-like of shape (n_scans,) or (n_scans, 2), default=None
        Pixel sizes in mm, which take the place of those in a table.
    n_scans : int, default=None
        Number of scans, for the check of `spacings`.

    Returns
    -------
    spacings : ndarray of float of shape (n_scans, 2), or None
        NaN where not known.
    """
    if spacings is not None:
        source, sizes = "spacings", np.asarray(spacings, dtype=float)
        if sizes.shape not in ((n_scans,), (n_scans, 2)):
            raise ValueError(
                f"Expected spacings to have shape ({n_scans},) or ({n_scans}, 2), the "
                f"height and width of a pixel in mm, got {sizes.shape}."
            )
        sizes = np.broadcast_to(sizes.reshape(len(sizes), -1), (len(sizes), 2))
    else:
        columns = getattr(X, "columns", ())
        names = spacing_columns(columns) if "image" in columns else None
        if names is None:
            return None
        source, sizes = f"column {names[0]!r}", numbers_in(X, list(names))
    low, high = MILLIMETRES
    odd = np.flatnonzero(((sizes < low) | (sizes > high)).any(axis=1))
    if odd.size:
        raise ValueError(
            f"Expected {source} to hold pixel sizes in mm, {low:g} to {high:g}, or NaN "
            f"where not known, got {sizes[odd[0]].tolist()} at index {odd[0]}, one of "
            f"{odd.size}. Convert them."
        )
    # A height without a width is of no use.
    return np.where(np.isnan(sizes).any(axis=1, keepdims=True), np.nan, sizes)


def are_plausible(
    spacings: np.ndarray, limits: tuple[float, float] = PLAUSIBLE_SPACING
) -> np.ndarray:
    """Tell which pixel sizes (n, 2) are plausible for a densitometer; NaN is not."""
    low, high = limits
    tolerance = 1e-6
    least, greatest = spacings.min(axis=1), spacings.max(axis=1)
    return (
        (least >= low - tolerance)
        & (greatest <= high + tolerance)
        & (greatest <= (_MAX_ANISOTROPY + tolerance) * least)
    )


def are_mixed(spacings: np.ndarray) -> bool:
    """Tell whether known pixel sizes, of shape (n, 2), differ by more than 2 %."""
    known = spacings[~np.isnan(spacings).any(axis=1)]
    if not len(known):
        return False
    return bool((known.max(axis=0) > _SAME_SPACING * known.min(axis=0)).any())


def warn_of_mixed_spacings(X: Any, spacings: np.ndarray | None = None) -> None:
    """Warn of scans whose texture cannot be compared, pixel by pixel.

    Parameters
    ----------
    X : array, sequence or table
        Scans, of which a table may have pixel sizes.
    spacings : ndarray of shape (n_scans, 2), default=None
        Pixel sizes where they have been looked up already.
    """
    spacings = check_spacings(X) if spacings is None else spacings
    if spacings is None or not are_mixed(spacings):
        return
    warn(
        f"X mixes scans with pixels of {np.nanmin(spacings):.3g} to "
        f"{np.nanmax(spacings):.3g} mm. Texture changes with the size of pixels: bring "
        "them to one with LumbarCropper(spacing=...), whose transform_table keeps the "
        "boxes, or keep scans of one size."
    )


def remember_spacing(
    estimator: Any, X: Any, spacings: np.ndarray | None = None
) -> None:
    """Set `spacing_` of an estimator to the pixel size of the scans of its fit.

    It is their height and width in mm, or None if they are unknown or mixed. Arguments
    are those of `warn_of_mixed_spacings`.
    """
    spacings = check_spacings(X) if spacings is None else spacings
    estimator.spacing_ = _one_size(spacings)


def warn_of_spacings(
    estimator: Any, X: Any, spacings: np.ndarray | None = None
) -> None:
    """Warn of scans that mix pixel sizes, or differ from those of the fit.

    An estimator without `spacing_` was not fitted, and knows of no other scans.
    Arguments are those of `warn_of_mixed_spacings`.
    """
    spacings = check_spacings(X) if spacings is None else spacings
    warn_of_mixed_spacings(X, spacings)
    fitted, given = getattr(estimator, "spacing_", None), _one_size(spacings)
    if fitted is None or given is None or not are_mixed(np.stack([fitted, given])):
        return
    warn(
        f"X holds scans with pixels of {_shown(given)} mm, but "
        f"{type(estimator).__name__} was fitted on scans with pixels of "
        f"{_shown(fitted)} mm. Texture changes with the size of pixels: bring all "
        "scans to one with LumbarCropper(spacing=...), those of the fit and others."
    )


def _one_size(spacings: np.ndarray | None) -> np.ndarray | None:
    """Return the median of known pixel sizes, of shape (n, 2), if they are equal."""
    if spacings is None or np.isnan(spacings).all() or are_mixed(spacings):
        return None
    return np.nanmedian(spacings, axis=0)


def _shown(spacing: np.ndarray) -> str:
    height, width = (f"{size:.3g}" for size in spacing.tolist())
    return height if height == width else f"{height} x {width}"
