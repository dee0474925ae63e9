"""The straightened spine of one scan: its axis and a profile along it."""

from typing import NamedTuple

import numpy as np

N_ROWS = 256  # of a profile

# A row with less spine than this share of the width does not show the axis.
_LEAST_SPINE = 0.05
_NEAR = 0.7  # of the half width: what is averaged across the axis


class Spine(NamedTuple):
    """Axis and profile of a spine, in shares of the picture's height and width."""

    bone: np.ndarray  # (rows, columns) probability of spine, as the network gives it
    rows: np.ndarray  # (rows,) height of these rows
    axis: np.ndarray  # (rows,) x of the axis
    width: float
    body: np.ndarray  # (N_ROWS,) probability of a body rather than of a disc


def straighten(maps: np.ndarray) -> Spine:
    """Follow the axis through the network's maps (2, rows, columns)."""
    bone, body = maps
    n_rows, n_columns = bone.shape
    columns = (np.arange(n_columns) + 0.5) / n_columns
    rows = (np.arange(n_rows) + 0.5) / n_rows
    mass = bone.mean(axis=1) + 1e-6
    centre = bone @ columns / n_columns / mass
    weight = np.where(mass > _LEAST_SPINE, mass, 1e-4)
    powers = np.vander(2 * rows - 1, 4)
    trusted = weight
    for _ in range(3):  # rows far from the cubic, as of a rib, get less weight
        fit, *_ = np.linalg.lstsq(
            powers * trusted[:, np.newaxis], centre * trusted, rcond=None
        )
        axis = powers @ fit
        trusted = weight / (1 + ((centre - axis) * n_columns / 2) ** 2)
    width = max(float(np.median(mass[mass >= np.median(mass)])), 4 / n_columns)
    near = np.abs(columns - axis[:, np.newaxis]) < _NEAR * width / 2
    inside = bone * near + 1e-6
    profile = (body * inside).sum(axis=1) / inside.sum(axis=1)
    return Spine(bone, rows, axis, width, np.interp(fine_rows(), rows, profile))


def fine_rows() -> np.ndarray:
    """Return the heights of a profile's values."""
    return (np.arange(N_ROWS) + 0.5) / N_ROWS
