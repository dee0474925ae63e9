"""Checks of vertebrae against others in a scan, and of the course of the spine."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import Polynomial
from scipy import ndimage

from tbsclassify._boxes import LEVELS
from tbsclassify.texture._regions import window_of_box
from tbsclassify.texture._variogram import DIRECTIONS, mean_squared_increments

# Share of a box removed from each side, since endplates and walls are not trabecular.
_MARGIN = 0.15
# Displacement at which texture is compared, as a share of a vertebra's height: longer
# than the grain of the noise, shorter than an arch.
_LAG = 0.1
_FEWEST_OTHERS = 2
# Vertebrae needed for a course, rows at which it is measured, rounds of its fit.
_FEWEST_OF_A_COURSE, _N_ROWS, _N_ROUNDS = 3, 25, 5
# Few pixels of healthy vertebrae are brighter than this quantile.
_BRIGHT_QUANTILE = 0.98
_SATURATED = 0.995  # of the brightest level
# A vertebra is looked at across 1.2 of its width; the spinous process is looked for
# in the lower part of the body and the disc below it, in the middle of the spine.
_ACROSS = np.linspace(-0.6, 0.6, 121)
_DOWN = np.linspace(-0.07, 0.9, 30)
_MIDDLE = np.abs(_ACROSS) <= 0.25


def in_view(boxes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Tell which boxes are known and do not reach the border of the scan."""
    with np.errstate(invalid="ignore"):
        inside = np.hstack([boxes[:, :2] > 0, boxes[:, 2:] < shape])
    return np.asarray(inside.all(axis=1))


def compare_vertebrae(scan: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the numbers of the checks of vertebrae, NaN where there are none.

    Each vertebra is compared with the median of the others, of which two must be known.
    So a faulty vertebra does not make its neighbours look faulty.
    """
    pixels = scan.astype(np.float64)
    dark = np.percentile(pixels, 5)
    density, texture = np.full((2, len(boxes)), np.nan)
    for i, box in enumerate(boxes):
        inside = pixels[window_of_box(_inner(box), scan.shape, 0)]
        if not inside.size:
            continue
        level = float(inside.mean()) - dark
        lag = max(1, round(_LAG * (box[2] - box[0])))
        variogram = mean_squared_increments(inside, None, [lag], DIRECTIONS[:2])
        if level > 0:
            density[i] = level
            texture[i] = np.sqrt(variogram.mean()) / level
    return {
        "height_ratio": _to_others(boxes[:, 2] - boxes[:, 0]),
        "density_ratio": _to_others(density),
        "texture_ratio": _to_others(texture),
        "bright_share": _bright_shares(pixels, boxes),
    }


def describe_spine(
    scan: np.ndarray, boxes: np.ndarray, spacing: np.ndarray
) -> dict[str, float]:
    """Return the numbers of the checks that need the course of the spine.

    Parameters
    ----------
    scan : ndarray of shape (height, width)
        Grey levels.
    boxes : ndarray of shape (n, 4)
        Boxes of L1 to L4, or one of them all.
    spacing : ndarray of shape (2,)
        Height and width of a pixel in mm; NaN stands for square ones.
    """
    known = boxes[~np.isnan(boxes).any(axis=1)]
    known = known[known[:, 0].argsort()]  # a scan may be upside down
    numbers = {"cobb_angle": np.nan, "rotation": np.nan, "off_centre": np.nan}
    if len(known):
        column = known[:, [1, 3]].mean()
        numbers["off_centre"] = float(abs(column / scan.shape[1] - 0.5))
    # Boxes in the same place are no spine.
    n_rows = len(np.unique(known[:, 0] + known[:, 2]))
    if n_rows >= _FEWEST_OF_A_COURSE and len(boxes) == len(LEVELS):
        course = _course(scan, known)
        size = np.ones(2) if np.isnan(spacing).any() else spacing
        slope = np.array([course.deriv()(y) for y in (known[0, 0], known[-1, 2])])
        tilts = np.degrees(np.arctan(slope * size[1] / size[0]))
        numbers["cobb_angle"] = float(abs(tilts[1] - tilts[0]))
        numbers["rotation"] = _rotation(scan, known, course)
    return numbers


def _course(scan: np.ndarray, boxes: np.ndarray) -> Polynomial:
    """Return the column of the middle of the spine by row, as a parabola.

    The sides of boxes are too uncertain for angles. So in rows from the first box to
    the last, near the line through the boxes, the band of the width of a box with the
    highest contrast to its flanks is found. Outlying rows get less weight.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    height, width = np.median(boxes[:, 2:] - boxes[:, :2], axis=0)
    line = Polynomial.fit(middle[:, 0], middle[:, 1], deg=1)
    half, flank = round(width / 2), max(2, round(width / 5))
    shifts = np.arange(-round(width / 4), round(width / 4) + 1)
    reach = half + flank + shifts[-1] + 1
    y = np.linspace(boxes[0, 0], boxes[-1, 2], _N_ROWS)
    bands = ndimage.uniform_filter1d(
        scan.astype(np.float64), max(3, round(0.4 * height)), axis=0, mode="nearest"
    )
    across = line(y)[:, np.newaxis] + np.arange(-reach, reach + 1)
    rows = np.broadcast_to(y[:, np.newaxis], across.shape)
    profiles = ndimage.map_coordinates(bands, [rows, across], order=1, mode="nearest")
    sums = np.pad(profiles.cumsum(axis=1), ((0, 0), (1, 0)))

    def mean(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return (sums[:, end] - sums[:, start]) / (end - start)

    left, right = reach + shifts - half, reach + shifts + half + 1
    beside = mean(left - flank, left) + mean(right, right + flank)
    brightest = (mean(left, right) - beside / 2).argmax(axis=1)
    x = line(y) + shifts[brightest]
    weights = np.ones(_N_ROWS)
    for _ in range(_N_ROUNDS):  # Huber's estimate
        course = Polynomial.fit(y, x, deg=2, w=weights)
        off = np.abs(x - course(y))
        weights = np.sqrt(1 / np.maximum(1, off / (1.5 * np.median(off) + 1e-6)))
    return course


def _rotation(scan: np.ndarray, boxes: np.ndarray, course: Polynomial) -> float:
    """Return the distance of the spinous processes from the middle, by the width.

    They lie behind the bodies, and move to one side if the spine is rotated.
    """
    width = np.median(boxes[:, 3] - boxes[:, 1])
    pictures = []
    for box in boxes:
        row = (box[0] + box[2]) / 2
        rows = row + _DOWN * (box[2] - box[0])
        columns = course(row) + _ACROSS * width
        picture = ndimage.map_coordinates(
            scan.astype(np.float32),
            np.meshgrid(rows, columns, indexing="ij"),
            order=1,
            mode="nearest",
        )
        if picture.std() > 0:
            pictures.append((picture - picture.mean()) / picture.std())
    if not pictures:
        return np.nan
    profile = np.median(pictures, axis=0).mean(axis=0)
    profile = ndimage.gaussian_filter1d(profile, 3)
    # The brightest line that is a peak, not the slope up to a wall.
    peaks = np.flatnonzero(
        (profile[1:-1] >= profile[:-2]) & (profile[1:-1] >= profile[2:]) & _MIDDLE[1:-1]
    )
    if not peaks.size:
        return np.nan
    brightest = 1 + peaks[profile[1 + peaks].argmax()]
    return float(abs(_ACROSS[brightest]))


def _bright_shares(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the share of each box in the largest area brighter than other bone."""
    smooth = ndimage.gaussian_filter(pixels, 0.7)
    insides = [smooth[window_of_box(box, pixels.shape, 0)] for box in boxes]
    bright = np.array(
        [np.quantile(one, _BRIGHT_QUANTILE) if one.size else np.nan for one in insides]
    )
    shares = np.full(len(boxes), np.nan)
    for i, inside in enumerate(insides):
        others = np.delete(bright, i)
        others = others[~np.isnan(others)]
        if not inside.size or len(others) < _FEWEST_OTHERS:
            continue
        level = min(others.max(), _SATURATED * pixels.max())
        areas, n_areas = ndimage.label(inside > level)
        sizes = np.bincount(areas.ravel(), minlength=n_areas + 1)[1:]
        shares[i] = sizes.max(initial=0) / inside.size
    return shares


def _inner(box: np.ndarray) -> np.ndarray:
    margin = _MARGIN * np.tile(box[2:] - box[:2], 2)
    return box + margin * (1, 1, -1, -1)


def _to_others(values: np.ndarray) -> np.ndarray:
    """Divide each number by the median of the others."""
    ratios = np.full(len(values), np.nan)
    for i, value in enumerate(values):
        others = np.delete(values, i)
        others = others[~np.isnan(others)]
        if len(others) >= _FEWEST_OTHERS and np.median(others) > 0:
            ratios[i] = value / np.median(others)
    return ratios
