"""Which of the vertebrae is L1.

Ribs, chest and diaphragm above it and crests and sacrum below show the level, the
vertebrae themselves only a little. Around each candidate, the picture is straightened
and scaled to the vertebrae, so that everything has its place in a window, which a
linear model reads. A deep network did better on phantoms and worse on real scans.
"""

from typing import NamedTuple, Self

import numpy as np
from scipy import ndimage
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tbsclassify.localization._spine import Spine

# Levels by which a candidate may lie too high (-) or too low.
SHIFTS = np.arange(-2, 3)
RIGHT = len(SHIFTS) // 2

_STEPS = 8  # of a window, for one vertebra or one width of the spine
_ABOVE, _BELOW = 3, 6.5  # ends of a window, in vertebrae from the centre of L1
_ASIDE = 14  # steps to each side
_CORE = 5  # steps from the axis: bone, whose grey level is the unit
_COLUMNS = 2  # steps averaged
_EDGE_STEPS = (4, 3)  # the same of edges


class LevelModel(NamedTuple):
    """A multinomial logistic regression on windows."""

    coef: np.ndarray  # (n_features, n_shifts)
    intercept: np.ndarray  # (n_shifts,)

    @classmethod
    def fit(
        cls,
        windows: np.ndarray,
        shifts: np.ndarray,
        C: float,
        sample_weight: np.ndarray | None = None,
    ) -> Self:
        """Learn to tell by how much windows (n, n_features) are shifted."""
        scaler = StandardScaler().fit(windows)
        model = LogisticRegression(C=C, max_iter=200)
        model.fit(scaler.transform(windows), shifts, sample_weight)
        coef = model.coef_.T / scaler.scale_[:, np.newaxis]
        return cls(coef, model.intercept_ - scaler.mean_ @ coef)

    def evidence(self, windows: np.ndarray) -> np.ndarray:
        """Return the logarithm of the probability that each window is right."""
        return log_softmax(windows @ self.coef + self.intercept, axis=1)[:, RIGHT]


def describe_levels(pixels: np.ndarray, spine: Spine, edges: np.ndarray) -> np.ndarray:
    """Describe the windows around L1-L4 moved by `SHIFTS`, (n_shifts, n_features).

    Parameters
    ----------
    pixels : ndarray of shape (height, width)
        The picture that the network saw.
    spine : Spine
        Its straightened spine.
    edges : ndarray of shape (5,)
        Where L1-L4 may lie, in shares of the height.
    """
    centres = (edges[:-1] + edges[1:]) / 2
    pitch, first = np.polyfit(np.arange(len(centres)), centres, 1)
    low, high = SHIFTS[0] - _ABOVE, SHIFTS[-1] + _BELOW
    down = np.arange(low * _STEPS, high * _STEPS + 1) / _STEPS
    aside = np.arange(-_ASIDE, _ASIDE + 1) / _STEPS
    y = first + pitch * down
    axis, width = _straight_part(spine, edges)
    x = np.polyval(axis, y)[:, np.newaxis] + width * aside
    at = y[:, np.newaxis] * pixels.shape[0] - 0.5 + 0 * x, x * pixels.shape[1] - 0.5
    strip = ndimage.map_coordinates(
        pixels, at, order=1, mode="constant", cval=np.nan, output=float
    )
    length = len(strip) - (len(SHIFTS) - 1) * _STEPS
    return np.stack(
        [_describe(strip[k * _STEPS : k * _STEPS + length]) for k in range(len(SHIFTS))]
    )


def _straight_part(spine: Spine, edges: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the line through the axis at L1-L4, and the width of the spine there.

    Beyond L1-L4, ribs and sacrum distort the axis.
    """
    rows = (spine.rows > edges[0]) & (spine.rows < edges[-1])
    if rows.sum() < 2:
        rows = np.ones_like(rows)
    line = np.polyfit(spine.rows[rows], spine.axis[rows], 1)
    columns = (np.arange(spine.bone.shape[1]) + 0.5) / spine.bone.shape[1]
    near = np.abs(columns - spine.axis[:, np.newaxis]) < spine.width
    mass = (spine.bone * near)[rows].mean(axis=1)
    return line, max(float(np.median(mass)), 0.05)


def _describe(window: np.ndarray) -> np.ndarray:
    """Return grey levels and edges of a window, both sides averaged."""
    left, right = window[:, _ASIDE::-1], window[:, _ASIDE:]
    folded = _mean([left, right])
    unit = np.nanmedian(folded[:, :_CORE]) if np.isfinite(folded).any() else 1.0
    rough = _mean([np.abs(np.diff(side, axis=0)) for side in (left, right)])
    parts = [_pool(folded, 1, _COLUMNS), _pool(rough, *_EDGE_STEPS)]
    return np.concatenate([_centre(part / max(unit, 1e-3)) for part in parts])


def _pool(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    height, width = values.shape[0] // rows, values.shape[1] // columns
    cut = values[: height * rows, : width * columns]
    blocks = cut.reshape(height, rows, width, columns).transpose(1, 3, 0, 2)
    return _mean(blocks.reshape(-1, height, width))


def _centre(values: np.ndarray) -> np.ndarray:
    """Subtract the mean of each column, and put 0 outside the frame."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=0)
    centred = values - total / known.sum(axis=0).clip(1)
    return np.where(known, centred, 0).ravel()


def _mean(values: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Return the mean of known values along the first axis, NaN if there are none."""
    values = np.asarray(values)
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(count, total / count.clip(1), np.nan)
