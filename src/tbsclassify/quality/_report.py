"""Reports of the checks: one row for each scan or each vertebra."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tbsclassify._boxes import LEVELS
from tbsclassify._spacing import SPACING_COLUMNS
from tbsclassify.quality._input import iter_checked
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
            Vertebrae L1 to L4 whose box is known and inside the scan. ``reasons`` tells
            boxes that are not known from vertebrae out of view.
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
        ``row_spacing``, ``column_spacing``
            Height and width of a pixel in mm, NaN where not known.
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
    for scan in iter_checked(X, boxes, spacings):
        numbers = dict.fromkeys(SCAN_CHECKS, np.nan)
        numbers |= dict(zip(SPACING_COLUMNS, scan.spacing, strict=True))
        if scan.pixels is None:
            rows.append({**numbers, "reasons": scan.error})
            continue
        unscanned = unscanned_blocks(scan.pixels)
        numbers["unscanned_share"] = float(unscanned.mean())
        numbers["n_letters"] = count_letters(scan.pixels)
        numbers["column_contrast"] = column_contrast(scan.pixels, unscanned)
        numbers |= scan.confidences
        numbers |= describe_spine(scan.pixels, scan.boxes, scan.spacing)
        reasons, texts = [], {}
        if np.isnan(scan.spacing).any():
            texts["cobb_angle"] = "scoliosis, if pixels of unknown size are square"
        if len(scan.boxes) == len(LEVELS):
            ratios = compare_vertebrae(scan.pixels, scan.boxes)
            seen = in_view(scan.boxes, scan.pixels.shape)
            faults = [exceeds(name, ratios[name], limits) for name in ratios]
            numbers["n_in_view"] = int(seen.sum())
            known = ~np.isnan(scan.boxes).any(axis=1)
            if known.any():
                numbers["n_usable"] = int((seen & ~np.any(faults, axis=0)).sum())
            if (seen == known).all():
                levels = ", ".join(np.array(LEVELS)[~known])
                texts["n_in_view"] = f"boxes of {levels} not known"
            for name, values in ratios.items():
                worst = _worst(name, values)
                if worst is not None:
                    numbers[name] = values[worst]
        for name in SCAN_CHECKS:
            if exceeds(name, np.asarray(numbers[name]), limits):
                reasons.append(reason(name, numbers[name], limits, texts.get(name)))
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
    for scan in iter_checked(X, boxes, None):
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
