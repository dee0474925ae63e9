"""Reports of the checks: one row for each scan or each vertebra."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import ndimage

from tbsclassify._boxes import CONFIDENCES, LEVELS, check_scans_and_boxes
from tbsclassify._files import printable_name
from tbsclassify._scans import (
    mask_column,
    masks_in,
    numbers_in,
    plain_name,
    scans_of,
)
from tbsclassify._spacing import check_spacings
from tbsclassify.images import iter_scans
from tbsclassify.quality._limits import (
    SCAN_CHECKS,
    VERTEBRA_CHECKS,
    check_limits,
    exceeds,
    reason,
)
from tbsclassify.quality._picture import (
    column_contrast,
    count_letters,
    unscanned_blocks,
)
from tbsclassify.quality._vertebrae import (
    compare_vertebrae,
    describe_spine,
    in_view,
)
from tbsclassify.texture._regions import check_mask

_OUT_OF_VIEW = "cut off by the border of the scan"


def check_scans(
    X: Any,
    boxes: ArrayLike | None = None,
    spacings: ArrayLike | None = None,
    *,
    limits: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Check each scan for reasons not to use it.

    Every check is a number with a limit, NaN if it could not be made: without boxes,
    there are only ``unscanned_share``, ``n_letters`` and ``column_contrast``. A file
    that cannot be read is a row with that reason, not an error.

    Parameters
    ----------
    X : array of shape (n_scans, height, width), sequence or DataFrame
        Scans, as in `LumbarCropper.transform`. A DataFrame may also have label maps
        of L1 to L4 (1 to 4) in a column ``mask``, and the confidences of a localizer in
        columns ``level_confidence`` and ``place_confidence`` (0 to 1).
    boxes : array-like of shape (n_scans, 4) or (n_scans, 4, 4), default=None
        Boxes of L1 to L4, or of the whole, as (top, left, bottom, right) in pixels,
        ends exclusive; NaN where unknown. They take the place of those in a table.
    spacings : array-like of shape (n_scans,) or (n_scans, 2), default=None
        Height and width in mm of the pixels of each scan, for angles. They take the
        place of those in a table. Where unknown, pixels are taken to be square.
    limits : dict, default=None
        Limits by name of the column, in place of those in `LIMITS`.

    Returns
    -------
    report : DataFrame
        One row for each scan, with the index of `X` if that is a DataFrame:

        ``n_in_view`` (at least 4)
            Vertebrae L1 to L4 whose box is known and inside the scan.
        ``cobb_angle`` (at most 10 degrees)
            Angle between the upper and the lower end of a parabola along the bright
            column of the spine, between the outer ones of three vertebrae at least.
            Scoliosis begins at 10 degrees. Angles beyond some 35 come out too small.
        ``rotation`` (at most 0.08)
            Distance of the spinous processes from the middle of the vertebrae, as a
            share of their width.
        ``off_centre`` (at most 0.15)
            Distance of the spine from the middle of the scan, as a share of its
            width.
        ``height_ratio``, ``density_ratio``, ``texture_ratio``, ``bright_share``
            As in `check_vertebrae`, of the vertebra that is furthest out of line.
        ``n_usable`` (at least 2)
            Vertebrae in view that pass all checks of `check_vertebrae`.
        ``unscanned_share`` (at most 0.02)
            Share of the scan in bright blocks on its border.
        ``n_letters`` (at most 2)
            Length of the longest line of bright letters.
        ``column_contrast`` (at least 0.20)
            Contrast of a bright column from the top to the bottom of the scan, as a
            share of its range of grey levels; low for what is no lumbar spine.
        ``level_confidence``, ``place_confidence`` (at least 0.5)
            Confidences of a localizer, NaN if `X` has none.
        ``reasons``
            The checks that the scan fails, as text; empty if it passes all.

    See Also
    --------
    check_vertebrae : A row a vertebra.
    exclude_vertebrae : Leaves vertebrae out.
    tbsclassify.locate_archive : The same checks for a whole archive.
    tbsclassify.images.unscanned_mask : The pixels that count as unscanned.

    Notes
    -----
    Heights, densities and angles follow the practice of the ISCD [1]_, which leaves
    out vertebrae that differ from a neighbour by more than one standard deviation of
    the T-score, and of Genant's grades of fractures [2]_. Grey levels of an export
    are not areal densities, so the limit on density is one on grey levels. Limits
    without a source were set on phantoms; :ref:`quality` has what they find.

    References
    ----------
    .. [1] International Society for Clinical Densitometry, Official Positions,
       2019, "Skeletal sites to measure".
    .. [2] Genant HK et al., "Vertebral fracture assessment using a semiquantitative
       technique", J Bone Miner Res 8(9):1137-1148, 1993.

    Examples
    --------
    >>> from tbsclassify import check_scans, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(3, random_state=0)
    >>> scans.frame.at[2, "image"] = scans.images[2] * 0
    >>> report = check_scans(scans.frame)
    >>> report["cobb_angle"].round(1).tolist()
    [2.6, 0.5, 0.0]
    >>> report.loc[2, "reasons"]
    'wrong region (column_contrast 0, expected at least 0.2)'
    """
    limits = check_limits(limits)
    rows = []
    for scan in _iter_checked(X, boxes, spacings):
        numbers = dict.fromkeys(SCAN_CHECKS, np.nan)
        if scan.pixels is None:
            rows.append({**numbers, "reasons": scan.error})
            continue
        unscanned = unscanned_blocks(scan.pixels)
        numbers["unscanned_share"] = float(unscanned.mean())
        numbers["n_letters"] = count_letters(scan.pixels)
        numbers["column_contrast"] = column_contrast(scan.pixels, unscanned)
        numbers |= scan.confidences
        numbers |= describe_spine(scan.pixels, scan.boxes, scan.spacing)
        reasons = []
        if len(scan.boxes) == len(LEVELS):
            ratios = compare_vertebrae(scan.pixels, scan.boxes)
            seen = in_view(scan.boxes, scan.pixels.shape)
            faults = [exceeds(name, ratios[name], limits) for name in ratios]
            numbers["n_in_view"] = int(seen.sum())
            numbers["n_usable"] = int((seen & ~np.any(faults, axis=0)).sum())
            for name, values in ratios.items():
                worst = _worst(name, values)
                if worst is not None:
                    numbers[name] = values[worst]
        for name in SCAN_CHECKS:
            if exceeds(name, np.asarray(numbers[name]), limits):
                reasons.append(reason(name, numbers[name], limits))
        rows.append({**numbers, "reasons": "; ".join(reasons)})
    return pd.DataFrame(rows, index=_index_of(X))


def check_vertebrae(
    X: Any,
    boxes: ArrayLike | None = None,
    *,
    limits: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Check each vertebra for reasons not to use it.

    Parameters
    ----------
    X : array of shape (n_scans, height, width), sequence or DataFrame
        Scans, as in `check_scans`.
    boxes : array-like of shape (n_scans, 4, 4), default=None
        Boxes of L1 to L4. They take the place of those in a table.
    limits : dict, default=None
        Limits by name of the column, in place of those in `LIMITS`.

    Returns
    -------
    report : DataFrame
        Four rows for each scan, L1 to L4:

        ``scan``
            Number of the scan, from 0.
        ``level``
            "L1" to "L4".
        ``height_ratio`` (at least 0.85)
            Height of the box over the median of the scan's other vertebrae.
        ``density_ratio`` (within a factor of 1.40)
            The same of the mean grey level, above the darkest 5 % of the scan.
        ``texture_ratio`` (within a factor of 1.80)
            The same of the contrast of texture: root mean square of increments
            over a tenth of the height, over the mean grey level.
        ``bright_share`` (at most 0.12)
            Share of the box in the largest area that is brighter than nearly all
            pixels of the other vertebrae, or saturated.
        ``excluded``
            Whether there is a reason to leave the vertebra out. Change it where you
            disagree, before `exclude_vertebrae`.
        ``reasons``
            The checks that the vertebra fails, or that its box reaches the border of
            the scan, as text.

    See Also
    --------
    check_scans : A row a scan, with more checks.
    exclude_vertebrae : Leaves vertebrae out.

    Notes
    -----
    Numbers are NaN, and the vertebra is not excluded, if its box is unknown or fewer
    than two others are known.

    Examples
    --------
    >>> from tbsclassify import check_vertebrae, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(20, appearance="varied", random_state=0)
    >>> report = check_vertebrae(scans.frame)
    >>> print(scans.exclusion_reason[16, 3])
    cement
    >>> fourth = report[(report["scan"] == 16) & (report["level"] == "L4")]
    >>> bool(fourth["excluded"].item()), float(fourth["density_ratio"].round(1).item())
    (True, 2.1)
    """
    limits = check_limits(limits)
    rows = []
    for scan in _iter_checked(X, boxes, None):
        numbers = {name: np.full(len(LEVELS), np.nan) for name in VERTEBRA_CHECKS}
        seen, known = np.zeros((2, len(LEVELS)), dtype=bool)
        if scan.pixels is not None and len(scan.boxes) == len(LEVELS):
            numbers = compare_vertebrae(scan.pixels, scan.boxes)
            known = ~np.isnan(scan.boxes).any(axis=1)
            seen = in_view(scan.boxes, scan.pixels.shape)
        for i, level in enumerate(LEVELS):
            of_level = {name: values[i] for name, values in numbers.items()}
            reasons = [_OUT_OF_VIEW] if known[i] and not seen[i] else []
            reasons += [scan.error] if scan.error else []
            reasons += [
                reason(name, value, limits)
                for name, value in of_level.items()
                if exceeds(name, np.asarray(value), limits)
            ]
            rows.append(
                {
                    "scan": scan.row,
                    "level": level,
                    **of_level,
                    "excluded": bool(reasons),
                    "reasons": "; ".join(reasons),
                }
            )
    return pd.DataFrame(rows)


class _Scan(NamedTuple):
    """One scan, with its boxes, pixel size and confidences."""

    row: int
    pixels: np.ndarray | None
    error: str
    boxes: np.ndarray
    spacing: np.ndarray
    confidences: dict[str, float]


def _iter_checked(
    X: Any, boxes: ArrayLike | None, spacings: ArrayLike | None
) -> Iterator[_Scan]:
    """Yield scans; unreadable ones have the reason in place of pixels."""
    pixels = scans_of(X)
    if isinstance(pixels, np.ndarray) and pixels.ndim > 2:
        X = list(pixels)  # so that each is checked by itself
    scans, known = check_scans_and_boxes(X, boxes)
    n_scans, n_boxes = known.shape[:2]
    if n_boxes not in (1, len(LEVELS)):
        raise ValueError(
            f"Expected boxes of L1 to L4, or one of them all, got {n_boxes} a scan. "
            "Put NaN where a level is not known."
        )
    sizes = check_spacings(X, spacings, n_scans)
    sizes = np.full((n_scans, 2), np.nan) if sizes is None else sizes
    columns = list(getattr(X, "columns", ()))
    name = mask_column(columns) if "image" in columns else None
    masks = [None] * n_scans if name is None else masks_in(X, name)
    confidences = _confidences(X, columns)
    for row in range(n_scans):
        pixels, error = _read(scans[row])
        box = known[row]
        if pixels is not None and masks[row] is not None:
            mask = check_mask(masks[row], pixels.shape, f"mask at index {row}")
            box = _with_outlines(box, mask)
        said = {key: float(values[row]) for key, values in confidences.items()}
        yield _Scan(row, pixels, error, box, sizes[row], said)


def _read(scan: Any) -> tuple[np.ndarray | None, str]:
    """Return a scan, or why it cannot be read, without the name of its file."""
    is_path = isinstance(scan, str | os.PathLike)
    try:
        pixels = next(iter_scans([scan]))
    except FileNotFoundError:
        return None, "not readable: there is no such file"
    except OSError as error:  # its text names the file with its folder
        return None, f"not readable: {error.strerror or type(error).__name__}"
    except (ValueError, TypeError) as error:
        if is_path:
            text = str(error).removeprefix(printable_name(scan)).strip(" :.")
            return None, f"not readable: {text}"
        return None, "not readable: no 2-D array of finite grey levels"
    # The filters of SciPy do not support half precision.
    return (pixels.astype(np.float64) if pixels.dtype.kind == "f" else pixels), ""


def _with_outlines(boxes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return boxes, unknown ones from the outlines in a label map.

    A map of 0 and 1 shows the whole spine, not its vertebrae.
    """
    found = np.full((len(LEVELS), 4), np.nan)
    outlines = ndimage.find_objects(mask.astype(int), max_label=len(LEVELS))
    for box, outline in zip(found, outlines, strict=True):
        if outline is not None:
            rows, columns = outline
            box[:] = rows.start, columns.start, rows.stop, columns.stop
    if mask.max(initial=0) <= 1:
        return found[:1] if np.isnan(boxes).all() and len(boxes) == 1 else boxes
    if len(boxes) != len(LEVELS):
        return boxes if np.isnan(found).all() else found
    return np.where(np.isnan(boxes), found, boxes)


def _confidences(X: Any, columns: list[Any]) -> dict[str, np.ndarray]:
    """Return the confidences of a localizer, if there are any."""
    found = {}
    for name in CONFIDENCES:
        alike = [one for one in columns if plain_name(one) == plain_name(name)]
        if alike:
            found[name] = numbers_in(X, alike[:1])[:, 0]
    return found


def _worst(name: str, values: np.ndarray) -> int | None:
    """Return the index of the vertebra with the worst number of a check."""
    if np.isnan(values).all():
        return None
    kind = SCAN_CHECKS[name].kind
    if kind == "ratio":
        with np.errstate(divide="ignore"):
            return int(np.nanargmax(np.abs(np.log(values))))
    return int(np.nanargmin(values) if kind == "least" else np.nanargmax(values))


def _index_of(X: Any) -> Any:
    return X.index if isinstance(X, pd.DataFrame) else None
