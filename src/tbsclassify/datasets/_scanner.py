"""From areal density to the grey image a densitometer exports.

Beam blur, coarse scan lines with noise, interpolation to export pixels, a
smoothing filter and a display curve, in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import ndimage, sparse

from tbsclassify.datasets._anatomy import Grid
from tbsclassify.datasets._population import Patients

_LINE_PITCH = 1.05  # mm between scan lines
_PSF_SD = 0.36  # mm
_FILTER_SD = 0.40  # export pixels
_LINE_JITTER = 0.15  # sd of a line's offset, of the noise sd

# Of each site: blur, upper display limit and gamma, as factors.
_SITE_PSF = (0.92, 1.00, 1.08)
_SITE_WINDOW = (0.93, 1.00, 1.08)
_SITE_GAMMA = (1.00, 0.90, 1.10)


@dataclass(frozen=True)
class Settings:
    """The settings of the scanner for one scan."""

    psf_sd: float  # mm
    noise_sd: float  # g/cm2 in soft tissue on the exported image
    low: float  # g/cm2 shown black
    high: float  # g/cm2 shown white
    gamma: float


def draw_settings(
    rng: np.random.Generator, patient: Patients, noise: float
) -> Settings:
    """Draw the settings of one scan; thicker patients give noisier scans."""
    z = rng.standard_normal(4)
    site = int(patient.site)
    thickness = np.exp(0.045 * (float(patient.bmi) - 25))
    return Settings(
        psf_sd=_PSF_SD * _SITE_PSF[site],
        noise_sd=float(noise * thickness * patient.noise_factor * np.exp(0.04 * z[0])),
        low=float(-0.26 + 0.04 * z[1]),
        high=float(2.10 * _SITE_WINDOW[site] * np.exp(0.045 * z[2])),
        gamma=float(1.10 * _SITE_GAMMA[site] * np.exp(0.06 * z[3])),
    )


def scan_density(
    density: np.ndarray, grid: Grid, settings: Settings, rng: np.random.Generator
) -> np.ndarray:
    """Return the measured areal density on the same grid."""
    blur = (settings.psf_sd / grid.spacing, settings.psf_sd / grid.column_spacing)
    image = ndimage.gaussian_filter(density, blur, mode="nearest", truncate=3)
    down, up, noise_gain = _line_operators(grid)
    lines = down @ image
    if settings.noise_sd > 0:
        noise = rng.standard_normal(lines.shape, dtype=np.float32)
        noise += _LINE_JITTER * rng.standard_normal((len(lines), 1), dtype=np.float32)
        # More absorption behind bone leaves fewer photons.
        noise *= np.exp(0.18 * lines)
        lines += (settings.noise_sd / noise_gain) * noise
    return ndimage.gaussian_filter(up @ lines, _FILTER_SD, mode="nearest", truncate=3)


def to_grey(density: np.ndarray, settings: Settings, bit_depth: int) -> np.ndarray:
    """Show areal density as grey levels of 8 or 16 bits."""
    white = 2**bit_depth - 1
    shown = (density - settings.low) / (settings.high - settings.low)
    grey = white * np.clip(shown, 0, 1) ** settings.gamma
    return np.rint(grey).astype(np.uint8 if bit_depth == 8 else np.uint16)


@lru_cache
def _line_operators(grid: Grid) -> tuple[sparse.csr_array, sparse.csr_array, float]:
    """Return matrices from rows to scan lines and back, and the gain of noise.

    Sparse products, unlike dense ones, do not depend on the number of threads.
    """
    n_lines = int(np.ceil(grid.height * grid.spacing / _LINE_PITCH)) + 1
    lines = (np.arange(n_lines) - (n_lines - 1) / 2) * _LINE_PITCH
    rows = (np.arange(grid.height) + 0.5 - grid.height / 2) * grid.spacing
    down = _interpolation(lines / grid.spacing + (grid.height - 1) / 2, grid.height)
    up = _interpolation(rows / _LINE_PITCH + (n_lines - 1) / 2, n_lines)

    vertical = ndimage.gaussian_filter1d(up.toarray(), _FILTER_SD, axis=0, truncate=3)
    impulse = ndimage.gaussian_filter1d([0, 0, 0, 1.0, 0, 0, 0], _FILTER_SD, truncate=3)
    variance = (vertical**2).sum(axis=1).mean() * (impulse**2).sum()
    return down, up, float(np.sqrt(variance))


def _interpolation(at: np.ndarray, n: int) -> sparse.csr_array:
    """Return the matrix of cubic interpolation of ``n`` samples (Catmull-Rom)."""
    first = np.floor(at).astype(int)
    t = at - first
    weights = np.stack(
        [
            -0.5 * t + t**2 - 0.5 * t**3,
            1 - 2.5 * t**2 + 1.5 * t**3,
            0.5 * t + 2 * t**2 - 1.5 * t**3,
            -0.5 * t**2 + 0.5 * t**3,
        ],
        axis=1,
    )
    columns = np.clip(first[:, None] + np.arange(-1, 3), 0, n - 1)
    out = np.repeat(np.arange(len(at)), 4)
    return sparse.csr_array(
        (weights.ravel().astype(np.float32), (out, columns.ravel())), (len(at), n)
    )
