"""The numbers a synthetic patient starts from: age, body, bone and TBS.

Nothing here looks at an image. Every patient is a fixed number of standard
normal draws from a stream of their own, turned into a population by vectorised
arithmetic; so patient 7 is the same person in a population of 10 or of 10,000,
and the population can be checked without drawing a single scan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import ndtr, ndtri

from tbsclassify.labels import TBS_THRESHOLDS

LEVELS = ("T11", "T12", "L1", "L2", "L3", "L4", "L5")
LUMBAR = slice(2, 6)  # L1-L4, the levels that TBS is averaged over
N_SITES = 3

# Mean difference of a level from the patient's TBS, after a study of 1,080
# adults (L1-L4: 1.234, 1.296, 1.308, 1.301); the other levels are guesses.
_LEVEL_TBS = np.array([-0.060, -0.055, -0.051, 0.011, 0.023, 0.017, 0.000])
_LEVEL_BMD = np.array([0.88, 0.91, 0.94, 1.00, 1.03, 1.03, 1.00])

# Which standard normal draw feeds which quantity.
_AGE, _SEX, _BMI, _BONE, _TBS, _BMD, _DECOUPLED, _NOISE, _SIZE, _SITE = range(10)
_N_DRAWS = 10 + 3 * len(LEVELS)

# Which stream of a patient serves which purpose.
LATENT, ANATOMY, TEXTURE, REPORT, SCAN, APPEARANCE = range(6)


@dataclass(frozen=True)
class Patients:
    """Latent numbers of ``n`` patients, one row each (levels T11 to L5)."""

    age: np.ndarray  # years
    male: np.ndarray  # bool
    bmi: np.ndarray  # kg/m2
    bmd: np.ndarray  # g/cm2
    tbs: np.ndarray  # mean of L1-L4
    level_bmd: np.ndarray  # (n, 7)
    level_tbs: np.ndarray  # (n, 7)
    image_tbs: np.ndarray  # (n, 7), the part of TBS that the texture carries
    noise_factor: np.ndarray  # of the noise sd, beyond that of the BMI
    size_factor: np.ndarray  # of all lengths
    site: np.ndarray  # 0 .. N_SITES - 1

    def __len__(self) -> int:
        return len(self.age)

    def __getitem__(self, rows) -> Patients:
        """Select patients, as from an array."""
        return Patients(*(getattr(self, field.name)[rows] for field in fields(self)))


def stream(seed: int, patient: int, *purpose: int) -> np.random.Generator:
    """Return a generator for one patient and purpose, independent of all others."""
    sequence = np.random.SeedSequence([seed, patient], spawn_key=purpose)
    return np.random.Generator(np.random.SFC64(sequence))


def draw_patients(
    seed: int,
    patients: Sequence[int],
    *,
    decouple: float = 1.0,
    class_shares: Sequence[float] | None = None,
) -> Patients:
    """Draw the latent numbers of the patients with these numbers.

    With `class_shares`, a patient is drawn again until the TBS reported for
    their first scan falls into the class that keeps the shares.
    """
    numbers = np.asarray(patients)

    def draw(attempt: int, some: np.ndarray) -> np.ndarray:
        streams = (stream(seed, int(p), LATENT, attempt) for p in some)
        return np.array([rng.standard_normal(_N_DRAWS) for rng in streams])

    if class_shares is None:
        return _from_normals(draw(0, numbers), decouple)
    normals = _draw_classes(draw, seed, numbers, class_shares)
    return _from_normals(normals, decouple)


def report_tbs(seed: int, patient: int, scan: int, latent: np.ndarray) -> np.ndarray:
    """Return the TBS of L1-L4 as the densitometer would report it for a scan.

    Independent errors of sd 0.040 a level give the mean of four an error of
    sd 0.020, a coefficient of variation near 1.4 %.
    """
    return latent + 0.040 * stream(seed, patient, REPORT, scan).standard_normal(4)


def tbs_class(tbs: np.ndarray) -> np.ndarray:
    """Return 0 for degraded, 1 for partially degraded and 2 for normal TBS."""
    low, high = TBS_THRESHOLDS
    return (tbs >= low).astype(int) + (tbs > high)


def _from_normals(z: np.ndarray, decouple: float) -> Patients:
    """Turn rows of standard normal draws into patients."""
    n_levels = len(LEVELS)
    z_tbs, z_image, z_bmd = np.split(z[:, 10:], [n_levels, 2 * n_levels], axis=1)

    age = 63 + 11 * _truncate(z[:, _AGE], (40 - 63) / 11, (90 - 63) / 11)
    male = ndtr(z[:, _SEX]) < 0.12
    log_sd = 0.165
    log_mean = np.log(27) - log_sd**2 / 2
    cuts = (np.log([16, 42]) - log_mean) / log_sd
    bmi = np.exp(log_mean + log_sd * _truncate(z[:, _BMI], *cuts))

    bone = z[:, _BONE]  # better bone has both more mineral and finer texture
    tbs = _mean_tbs(age) - 0.004 * (bmi - 27) + 0.030 * bone + 0.082 * z[:, _TBS]
    bmd = 1.17 - 0.0045 * (age - 45) + 0.009 * (bmi - 27) + 0.09 * male
    bmd = np.maximum(bmd + 0.135 * (0.8 * bone + 0.6 * z[:, _BMD]), 0.55)

    # Differences between levels leave the mean of L1-L4 as it is.
    deviation = 0.055 * (z_tbs - z_tbs[:, LUMBAR].mean(axis=1, keepdims=True))
    level_tbs = tbs[:, None] + _LEVEL_TBS + deviation
    hidden = 0.055 * z[:, [_DECOUPLED]] + 0.035 * z_image
    level_bmd = bmd[:, None] * _LEVEL_BMD * np.exp(0.04 * z_bmd)
    site = np.minimum(N_SITES * ndtr(z[:, _SITE]), N_SITES - 1).astype(int)
    return Patients(
        age=age,
        male=male,
        bmi=bmi,
        bmd=bmd,
        tbs=tbs,
        level_bmd=level_bmd,
        level_tbs=level_tbs,
        image_tbs=level_tbs + decouple * hidden,
        noise_factor=np.exp(0.12 * z[:, _NOISE]),
        size_factor=np.exp(0.045 * z[:, _SIZE]) * np.where(male, 1.07, 1.0),
        site=site,
    )


def _mean_tbs(age: np.ndarray) -> np.ndarray:
    """Mean TBS by age: a loss that is half as fast again after 65 (Dufour 2013)."""
    return 1.365 - 0.004 * (age - 45) - 0.002 * np.maximum(age - 65, 0)


def _truncate(z: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map standard normal draws to a normal distribution cut at both ends."""
    return ndtri(ndtr(low) + (ndtr(high) - ndtr(low)) * ndtr(z))


def _draw_classes(
    draw: Callable[[int, np.ndarray], np.ndarray],
    seed: int,
    patients: np.ndarray,
    shares: Sequence[float],
) -> np.ndarray:
    """Draw each patient until they fall into their class (rejection)."""
    wanted = _class_sequence(int(patients.max()) + 1, shares)[patients]
    normals = np.empty((len(patients), _N_DRAWS))
    missing = np.arange(len(patients))
    attempt = 0
    while len(missing):
        normals[missing] = draw(attempt, patients[missing])
        found = _from_normals(normals[missing], 0.0).level_tbs[:, LUMBAR]
        reported = [
            report_tbs(seed, int(patient), 0, latent).mean()
            for patient, latent in zip(patients[missing], found, strict=True)
        ]
        classes = tbs_class(np.round(reported, 3))
        missing = missing[classes != wanted[missing]]
        attempt += 1
    return normals


def _class_sequence(n: int, shares: Sequence[float]) -> np.ndarray:
    """Return ``n`` classes whose running counts stay as near the shares as can be.

    Always the class that lags most comes next: a start of the sequence is the
    same whatever its length, as patients must be.
    """
    wanted = np.asarray(shares, dtype=float) / np.sum(shares)
    counts = np.zeros(len(wanted))
    sequence = np.empty(n, dtype=int)
    for i in range(n):
        sequence[i] = np.argmax(wanted * (i + 1) - counts)
        counts[sequence[i]] += 1
    return sequence
