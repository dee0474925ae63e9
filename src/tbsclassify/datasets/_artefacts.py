"""Artefacts: things on a scan besides bone and tissue.

Metal lies in the beam and goes through the scanner like bone; streaks belong to
the scan lines; borders and painted-out lines are put on the exported image. How
often each occurs is a guess.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.special import expit

from tbsclassify.datasets._anatomy import Grid


def add_metal(rng: np.random.Generator, density: np.ndarray, grid: Grid) -> None:
    """Add clips, cables and objects in the corners to a density map (g/cm2)."""
    size = np.array([grid.width * grid.column_spacing, grid.height * grid.spacing])
    if rng.random() < 0.08:  # surgical clips
        for _ in range(rng.integers(1, 5)):
            start = rng.uniform(-0.45, 0.45, 2) * size
            end = start + rng.uniform(3, 9) * _direction(rng)
            _add_stroke(density, grid, (start, end), 0.7, rng.uniform(0.8, 2.0))
    if rng.random() < 0.06:  # a cable from one side to another
        knots = np.linspace((-0.55, 0), (0.55, 0), 6) + rng.uniform(-0.1, 0.1, (6, 2))
        knots[:, 1] += rng.uniform(-0.45, 0.45)
        knots = knots[:, ::-1] if rng.random() < 0.5 else knots
        strength = rng.uniform(0.3, 1.0)
        for pair in zip(knots[:-1] * size, knots[1:] * size, strict=True):
            _add_stroke(density, grid, pair, 0.8, strength)
    if rng.random() < 0.12:  # a zip, a button, a hand
        start = rng.choice([-0.5, 0.5], 2) * rng.uniform(0.85, 1.0, 2) * size
        end = start + rng.uniform(5, 30) * _direction(rng)
        _add_stroke(density, grid, (start, end), rng.uniform(2, 6), rng.uniform(0.5, 2))


def add_streaks(
    rng: np.random.Generator, measured: np.ndarray, grid: Grid, noise_sd: float
) -> None:
    """Add noise that is smooth along scan lines, from grain to streaks (g/cm2)."""
    if rng.random() >= 0.8:
        return
    pitch = rng.uniform(1.05, 2.2)  # mm; scan lines are 1.05 mm apart, or binned
    at = (np.arange(grid.height) * grid.spacing / pitch)[:, None].astype(np.float32)
    first = at.astype(int)[:, 0]
    lines = rng.standard_normal((first[-1] + 2, grid.width), dtype=np.float32)
    length = np.exp(rng.uniform(*np.log([0.6, 6.0]))) / grid.column_spacing
    lines = ndimage.gaussian_filter1d(lines, length, axis=1, mode="wrap", truncate=3)
    lines *= np.sqrt(2 * np.sqrt(np.pi) * length)  # unit variance again
    lines += 0.4 * rng.standard_normal((len(lines), 1), dtype=np.float32)
    lines *= noise_sd * float(rng.uniform(0.3, 1.4))
    measured += lines[first] + (at % 1) * (lines[first + 1] - lines[first])


def add_marks(rng: np.random.Generator, image: np.ndarray) -> None:
    """Add white borders and the traces of an overlay to a grey image."""
    height, width = image.shape
    white = int(np.iinfo(image.dtype).max * rng.uniform(0.85, 1.0))
    if rng.random() < 0.35:
        _paint_out_lines(rng, image)
    if rng.random() < 0.08:  # blocks that were not scanned
        for side in (image, image[:, ::-1]):
            ends = np.sort(rng.integers(0, height + 1, 4))
            for start, end in zip(np.r_[0, ends], np.r_[ends, height], strict=True):
                side[start:end, : int(width * rng.uniform(0, 0.06))] = white
    for edge in (image, image[::-1], image.T, image.T[::-1]):
        if rng.random() < 0.25:
            edge[: max(1, round(len(edge) * rng.uniform(0.002, 0.012)))] = white


def _paint_out_lines(rng: np.random.Generator, image: np.ndarray) -> None:
    """Smear thin lines across the spine, as if an overlay had been painted out.

    They lie anywhere. At the borders of vertebrae, as on real scans, they would reveal
    the boxes.
    """
    height, width = image.shape
    thickness = max(1, round(0.008 * height))
    left, right = (width * rng.uniform((0.2, 0.65), (0.35, 0.8))).astype(int)
    darkness = rng.uniform(0.6, 1.0)
    for row in rng.integers(0, height - thickness, rng.integers(2, 7)):
        band = image[row : row + thickness, left:right]
        smeared = ndimage.uniform_filter1d(band.mean(axis=0), max(width // 30, 1))
        band[:] = np.rint(darkness * smeared)


def _direction(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _add_stroke(
    density: np.ndarray,
    grid: Grid,
    ends: tuple[np.ndarray, np.ndarray],
    half_width: float,
    strength: float,
) -> None:
    """Add a straight stroke with round ends; coordinates are those of the image."""
    across, down = grid.pixel_centres()
    start, step = ends[0].tolist(), (ends[1] - ends[0]).tolist()
    reach = half_width + 2
    columns = _between(across[0], start[0], start[0] + step[0], reach)
    rows = _between(down[:, 0], start[1], start[1] + step[1], reach)
    x, y = across[:, columns] - start[0], down[rows] - start[1]
    length2 = max(step[0] ** 2 + step[1] ** 2, 1e-6)
    t = np.clip((x * step[0] + y * step[1]) / length2, 0, 1)
    distance = np.hypot(x - t * step[0], y - t * step[1])
    density[rows, columns] += np.float32(strength) * expit(
        (half_width - distance) / 0.3
    )


def _between(at: np.ndarray, one: float, other: float, reach: float) -> slice:
    """Return where sorted coordinates lie between two points, or near them."""
    limits = (min(one, other) - reach, max(one, other) + reach)
    return slice(*np.searchsorted(at, limits).tolist())
