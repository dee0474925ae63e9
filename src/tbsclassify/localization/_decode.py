"""From the maps of the network to the boxes of L1-L4.

Where the vertebrae lie and which of them is L1 are two questions. Bodies and discs
alternate along the spine, which answers the first: ladders of four vertebrae, at every
height and with every spacing, are fitted to it. For the second, the best one is moved
up or down by whole vertebrae.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.special import softmax

from tbsclassify.localization._levels import (
    SHIFTS,
    LevelModel,
    describe_levels,
)
from tbsclassify.localization._spine import N_ROWS, Spine, fine_rows, straighten

N_LEVELS = 4

# Heights of L1-L4 from disc to disc, relative to their mean: lower ones are larger.
_LADDER = np.r_[0, np.cumsum([0.94, 0.98, 1.02, 1.06])]
_SPACING = (0.085, 0.215)  # of the frame's height
_SPACING_STEP = 0.02  # of its logarithm
_TOP = (-0.06, 0.62)  # of L1, of the frame's height

_RHYTHM = 12.0  # weight of bodies and discs
_OUTSIDE = 20.0  # cost of one spacing of L1-L4 outside the frame
_SAME_LEVEL = 0.3  # of the spacing
_BODY, _DISC = 0.25, 0.12  # parts of a vertebra that are left out, or taken for a disc
_REACH, _STIFFNESS = 0.3, 3.0  # of the last move of an edge
# How far a box reaches beyond the mean endplate, of the body's height: bodies are
# concave and tilted.
_CONCAVITY = 0.06


class Habits(NamedTuple):
    """How scans are framed, and how much the level model is trusted."""

    middle: float  # of L1-L4, in shares of the frame's height: its mean
    middle_sd: float
    spacing: float  # of vertebrae, the same
    spacing_sd: float
    trust: float


class Found(NamedTuple):
    """L1-L4 on one scan, in shares of its frame."""

    edges: np.ndarray  # (5,) top of L1, the discs between, bottom of L4
    ends: np.ndarray  # (4, 2) upper and lower endplates
    sides: np.ndarray  # (4, 2) left and right
    axis: np.ndarray  # (5,) x of the spine's axis at the edges
    level_confidence: float
    place_confidence: float


def find_levels(
    pixels: np.ndarray, maps: np.ndarray, model: LevelModel, habits: Habits
) -> Found:
    """Find L1-L4 in a picture and the network's maps of it."""
    spine = straighten(maps)
    fit = _RHYTHM * _rhythm(spine.body, _LADDERS)
    best = _LADDERS[(fit + _log_prior(_LADDERS, habits)).argmax()]
    candidates = best + SHIFTS[:, np.newaxis] * (best[-1] - best[0]) / N_LEVELS
    evidence = model.evidence(describe_levels(pixels, spine, best))
    votes = habits.trust * evidence + _log_prior(candidates, habits)
    near = _ladder_near(spine.body, candidates[votes.argmax()])
    edges = _onto_discs(spine.body, near)
    return Found(
        edges=edges,
        ends=_endplates(spine.body, edges),
        sides=_sides(spine, edges),
        axis=np.interp(edges, spine.rows, spine.axis),
        level_confidence=float(softmax(votes).max()),
        place_confidence=_contrast(spine.body, edges),
    )


def windows_at(pixels: np.ndarray, maps: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Describe the windows of a scan whose levels are known, to learn from them.

    `edges` may have been drawn by somebody. The windows lie where `find_levels` would
    put them.
    """
    spine = straighten(maps)
    return describe_levels(pixels, spine, _ladder_near(spine.body, edges))


def locate_known(maps: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges and sides found in a scan whose levels are known."""
    spine = straighten(maps)
    found = _onto_discs(spine.body, _ladder_near(spine.body, edges))
    return found, _sides(spine, found)


def _all_ladders() -> np.ndarray:
    """Return the edges of four vertebrae at all heights and spacings, (n, 5)."""
    tops = np.arange(*_TOP, 1 / N_ROWS)
    low, high = np.log(_SPACING).tolist()
    spacings = np.exp(np.arange(low, high, _SPACING_STEP))
    top, spacing = np.meshgrid(tops, spacings, indexing="ij")
    return top.reshape(-1, 1) + spacing.reshape(-1, 1) * _LADDER


_LADDERS = _all_ladders()


def _ladder_near(body: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the ladder that fits best among those at the level of `edges`."""
    off = _LADDERS[:, [0, -1]].mean(axis=1) - (edges[0] + edges[-1]) / 2
    near = _LADDERS[np.abs(off) < _SAME_LEVEL * (edges[-1] - edges[0]) / N_LEVELS]
    return near[_rhythm(body, near).argmax()] if len(near) else edges


def _onto_discs(body: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Move each edge to the disc near it."""
    spacing = (edges[-1] - edges[0]) / N_LEVELS
    smooth = ndimage.gaussian_filter1d(body, 0.06 * spacing * N_ROWS)
    off = np.abs(fine_rows() - edges[:, np.newaxis]) / spacing
    cost = np.where(off <= _REACH, smooth + _STIFFNESS * off**2, np.inf)
    found = fine_rows()[cost.argmin(axis=1)]
    # An edge beyond the frame has no rows near it.
    return np.where(np.isfinite(cost).any(axis=1), found, edges)


def _rhythm(body: np.ndarray, ladders: np.ndarray) -> np.ndarray:
    """Return how much more body there is between the edges than at them.

    T12 and L5 count half as much as L1-L4, if they are in the frame.
    """
    first, last = np.diff(ladders[:, :2]), np.diff(ladders[:, -2:])
    edges = np.hstack([ladders[:, :1] - first, ladders, ladders[:, -1:] + last])
    low, high = edges[:, :-1], edges[:, 1:]
    size = high - low
    bodies = _mean_between(body, low + _BODY * size, high - _BODY * size)
    seen = (low > -0.1 * size) & (high < 1 + 0.1 * size)
    within = _weighted_mean(bodies, seen)
    half = _DISC * size.mean(axis=1, keepdims=True)
    discs = _mean_between(body, edges - half, edges + half)
    return within - _weighted_mean(discs, (edges > 0.02) & (edges < 0.98))


def _weighted_mean(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    weights = seen * np.r_[0.5, np.ones(values.shape[1] - 2), 0.5]
    return (values * weights).sum(axis=1) / weights.sum(axis=1).clip(1)


def _log_prior(ladders: np.ndarray, habits: Habits) -> np.ndarray:
    """Return the log prior of place and spacing, less a cost outside the frame."""
    top, bottom = ladders[:, 0], ladders[:, -1]
    spacing = (bottom - top) / N_LEVELS
    off = ((top + bottom) / 2 - habits.middle) / habits.middle_sd
    size = np.log(spacing / habits.spacing) * habits.spacing / habits.spacing_sd
    outside = np.maximum(-top - 0.01, 0) + np.maximum(bottom - 1.01, 0)
    return -(off**2 + size**2) / 2 - _OUTSIDE * outside / spacing


def _endplates(body: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return where bodies begin and end between the discs, shape (4, 2)."""
    rows = fine_rows()
    ends = np.stack([edges[:-1], edges[1:]], axis=1)
    for end in ends:
        inside = (rows > end[0]) & (rows < end[1])
        of_body = inside & (body > 0.5)
        if of_body.sum() > 0.4 * inside.sum():
            seen = rows[of_body]
            more = _CONCAVITY * np.ptp(seen) + 0.5 / N_ROWS
            end[:] = seen[0] - more, seen[-1] + more
    return ends


def _sides(spine: Spine, edges: np.ndarray) -> np.ndarray:
    """Return left and right of each vertebra, shape (4, 2)."""
    n_columns = spine.bone.shape[1]
    columns = (np.arange(n_columns) + 0.5) / n_columns
    near = np.abs(columns - spine.axis[:, np.newaxis]) < 0.9 * spine.width
    bone = (spine.bone > 0.5) & near
    sides = np.empty((N_LEVELS, 2))
    for side, top, bottom in zip(sides, edges[:-1], edges[1:], strict=True):
        part = bone[(spine.rows > top) & (spine.rows < bottom)]
        seen = part[part.any(axis=1)]
        if len(seen):
            left = seen.argmax(axis=1)
            right = n_columns - seen[:, ::-1].argmax(axis=1)
            side[:] = np.percentile(left, 10), np.percentile(right, 90)
            side /= n_columns
        else:
            middle = np.interp((top + bottom) / 2, spine.rows, spine.axis)
            side[:] = middle - spine.width / 2, middle + spine.width / 2
    return sides


def _contrast(body: np.ndarray, edges: np.ndarray) -> float:
    """Return how clearly bodies stand out from the discs at the edges, 0 to 1."""
    size = np.diff(edges)
    low, high = edges[:-1], edges[1:]
    bodies = _mean_between(body, low + _BODY * size, high - _BODY * size)
    half = _DISC * size.mean()
    discs = _mean_between(body, edges - half, edges + half)
    return float(np.clip(bodies.mean() - discs.mean(), 0, 1))


def _mean_between(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return means of a profile over intervals, cut at the frame."""
    total = np.r_[0, np.cumsum(values)]
    first, last = (
        np.rint(end.clip(0, 1) * len(values)).astype(int) for end in (low, high)
    )
    return (total[last] - total[first]) / np.maximum(last - first, 1)
