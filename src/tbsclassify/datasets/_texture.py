"""Gaussian random fields: trabecular texture and soft tissue.

A vertebra's texture is a von Karman field, a fractional Brownian surface up to
a correlation length: its variogram rises as the lag to the power 2H, and H
follows the TBS. So the TBS goes in at the start; it is never measured.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage
from scipy.special import expit

from tbsclassify.datasets._population import LEVELS, Patients

TEXTURE_STEP = 0.4  # mm
_TEXTURE_SHAPE = (120, 160)  # 48 x 64 mm hold the largest body
_CORRELATION_LENGTH = 10.0  # mm
_ANISOTROPY = 1.25  # power reaches to higher frequencies across the spine
_TEXTURE_SD = 0.170  # of the vertebra's BMD

TISSUE_STEP = 1.5  # mm
_TISSUE_SHAPE = (180, 180)
_TISSUE = ((24.0, 0.035), (9.0, 0.024), (3.5, 0.012))  # scale (mm), sd (g/cm2)


def hurst_exponent(tbs: np.ndarray, gain: float | str) -> np.ndarray:
    """Return the texture's Hurst exponent for a TBS.

    A logistic curve keeps it between 0.02 and 0.98; its slope at a TBS of 1.25
    is `gain`. With "literal" the TBS is twice the exponent: the slope of the
    log-log variogram of fractional Brownian motion.
    """
    tbs = np.asarray(tbs)
    if gain == "literal":
        return np.clip(tbs / 2, 0.02, 0.98)
    return 0.02 + 0.96 * expit(4 * float(gain) * (tbs - 1.25) / 0.96)


def draw_textures(
    rng: np.random.Generator, patient: Patients, h_gain: float | str
) -> np.ndarray:
    """Draw the texture of every level (7, rows, columns) in g/cm2."""
    hurst = hurst_exponent(patient.image_tbs, h_gain)
    log_length, log_amplitude = 0.15 * rng.standard_normal((2, len(LEVELS)))
    cutoff = (2 * np.pi * _CORRELATION_LENGTH * np.exp(log_length)) ** -2

    f2, weight = _texture_frequencies()
    base = np.log(f2 + cutoff[:, None, None].astype(np.float32))
    gain = np.exp(base * (-(hurst + 1) / 2)[:, None, None].astype(np.float32))
    variance = (gain**2 * weight).sum(axis=(1, 2)) / np.prod(_TEXTURE_SHAPE)
    # The mean over a body is its BMD, and not the texture's to move.
    gain[:, 0, 0] = 0
    amplitude = _TEXTURE_SD * patient.level_bmd * np.exp(log_amplitude)
    gain *= (amplitude / np.sqrt(variance)).astype(np.float32)[:, None, None]
    return _filter_white_noise(rng, gain, _TEXTURE_SHAPE)


def draw_tissue(rng: np.random.Generator) -> np.ndarray:
    """Draw the uneven thickness of soft tissue (rows, columns) in g/cm2."""
    return _filter_white_noise(rng, _tissue_gain(), _TISSUE_SHAPE)


def sample_field(
    field: np.ndarray, step: float, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Read a periodic field, centred on the origin, at coordinates in mm."""
    rows, columns = field.shape
    at = np.stack([y / step + rows / 2, x / step + columns / 2])
    return ndimage.map_coordinates(field, at, order=1, mode="grid-wrap")


def _filter_white_noise(
    rng: np.random.Generator, gain: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    white = rng.standard_normal((*gain.shape[:-2], *shape), dtype=np.float32)
    return fft.irfft2(fft.rfft2(white, workers=1) * gain, s=shape, workers=1)


@lru_cache
def _texture_frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Return squared frequencies and how often each stands in a full spectrum."""
    fx, fy = _frequencies(_TEXTURE_SHAPE, TEXTURE_STEP)
    weight = np.full(fx.shape, 2, dtype=np.float32)
    weight[:, [0, -1]] = 1
    return _ANISOTROPY * fy**2 + fx**2 / _ANISOTROPY, weight


@lru_cache
def _tissue_gain() -> np.ndarray:
    """Return one gain for the sum of all components of soft tissue."""
    fx, fy = _frequencies(_TISSUE_SHAPE, TISSUE_STEP)
    power = np.zeros_like(fx)
    for scale, sd in _TISSUE:
        # Unit white noise on this grid, smoothed with a Gaussian of sd s.
        s = scale / 2
        to_unit_variance = 4 * np.pi * (s / TISSUE_STEP) ** 2
        smooth = np.exp(-4 * np.pi**2 * s**2 * (fx**2 + fy**2))
        power += sd**2 * to_unit_variance * smooth
    return np.sqrt(power)


def _frequencies(shape: tuple[int, int], step: float) -> tuple:
    """Return horizontal and vertical frequencies (cycles/mm) of an rfft2."""
    fx = fft.rfftfreq(shape[1], step).astype(np.float32)
    fy = fft.fftfreq(shape[0], step).astype(np.float32)
    return np.meshgrid(fx, fy)
