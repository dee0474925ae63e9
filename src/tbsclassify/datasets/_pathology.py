"""Vertebrae that a clinician would leave out of the TBS, and how they look.

Nothing here depends on a patient's age or TBS: that a level is excluded tells
nothing about the bone elsewhere, so nobody can learn the one from the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tbsclassify.datasets._anatomy import OSTEOPHYTES, PEDICLES, Vertebra

# NHANES 2007-08: 13.8 % of completed spine scans had an invalid vertebra; L1
# 4.5, L2 4.2, L3 5.8, L4 7.2 %. Independent draws of these chances, repeated
# until one level is hit, give just these shares among scans with an invalid one.
_ANY = 0.138
_CHANCE = np.array([0.2503, 0.2336, 0.3226, 0.4005])

NOT_EXCLUDED = np.full(len(_CHANCE), "", dtype="U12")


def draw_reasons(rng: np.random.Generator) -> np.ndarray:
    """Return why each of L1-L4 is excluded, "" where it is not."""
    reasons = NOT_EXCLUDED.copy()
    if rng.random() >= _ANY:
        return reasons
    while not np.any(excluded := rng.random(len(_CHANCE)) < _CHANCE):
        pass
    for level in np.flatnonzero(excluded):
        reasons[level] = rng.choice(REASONS, p=_SHARES[level])
    return reasons


def afflict(
    rng: np.random.Generator, vertebra: Vertebra, reason: str
) -> tuple[Vertebra, float]:
    """Return an excluded vertebra as it looks, and the factor of its BMD."""
    return _EFFECTS[reason](rng, vertebra)


def _fracture(rng: np.random.Generator, vertebra: Vertebra) -> tuple[Vertebra, float]:
    # Genant's grades (1993): 20-25, 25-40 and over 40 % of the height are lost. The
    # mineral stays, on a smaller area.
    loss = rng.uniform(0.2, 0.45)
    fractured = replace(
        vertebra,
        height=vertebra.height * (1 - loss),
        tilt=vertebra.tilt + 0.06 * float(rng.standard_normal()),
        endplate=vertebra.endplate * rng.uniform(1.0, 2.0),
    )
    return fractured, 1 + loss * rng.uniform(0.3, 1.2)


def _degeneration(
    rng: np.random.Generator, vertebra: Vertebra
) -> tuple[Vertebra, float]:
    bright = _brightness(vertebra)
    parts = vertebra.parts.copy()
    spurs = parts[OSTEOPHYTES]
    spurs[:, :2] *= rng.uniform((1.0, 0.9), (1.2, 1.05), size=(4, 2))
    spurs[:, 2:4] = rng.uniform((2.5, 1.5), (5.0, 3.0), size=(4, 2))
    spurs[:, 4] = bright * rng.uniform(0.1, 1.2, 4)
    # One joint wears more than the other.
    u, v = rng.choice([-1, 1], 2) * (0.38 * vertebra.width, 0.45 * vertebra.height)
    joint = (u, v, 5.0, 4.5, bright * rng.uniform(0.3, 1.5), 20)
    endplate = vertebra.endplate * rng.uniform(1.5, 3.0)
    worn = replace(vertebra, parts=np.vstack([parts, joint]), endplate=endplate)
    return worn, rng.uniform(1.1, 1.5)


def _sclerosis(rng: np.random.Generator, vertebra: Vertebra) -> tuple[Vertebra, float]:
    endplate = vertebra.endplate * rng.uniform(0.4, 1.5)
    return replace(vertebra, endplate=endplate), rng.uniform(1.35, 1.9)


def _cement(rng: np.random.Generator, vertebra: Vertebra) -> tuple[Vertebra, float]:
    blobs = np.zeros((rng.integers(2, 5), 6))
    size = (vertebra.width, vertebra.height)
    blobs[:, :2] = rng.uniform(-0.28, 0.28, size=(len(blobs), 2)) * size
    blobs[:, 2:4] = rng.uniform(3.0, 7.0, size=(len(blobs), 2))
    blobs[:, 4] = _brightness(vertebra) * rng.uniform(1.5, 4.0, len(blobs))
    filled = replace(
        vertebra,
        height=vertebra.height * rng.uniform(0.6, 1.0),
        parts=np.vstack([vertebra.parts, blobs]),
    )
    return filled, rng.uniform(1.3, 1.9)


def _fusion(rng: np.random.Generator, vertebra: Vertebra) -> tuple[Vertebra, float]:
    # A screw down each pedicle, and a rod on each side.
    metal = np.zeros((4, 6))
    metal[:2, :2] = vertebra.parts[PEDICLES, :2]
    metal[:2, 2:4] = rng.uniform((2.0, 1.6), (4.0, 2.2))
    metal[2:, 0] = np.array([-1, 1]) * rng.uniform(0.28, 0.40) * vertebra.width
    metal[2:, 2:4] = (1.6, rng.uniform(11, 15))
    metal[:, 4] = _brightness(vertebra) * rng.uniform(2.5, 5.0)
    fused = replace(vertebra, parts=np.vstack([vertebra.parts, metal]))
    return fused, rng.uniform(1.3, 1.7)


def _brightness(vertebra: Vertebra) -> float:
    """Return the strength that bone has in the arches of this vertebra."""
    return float(vertebra.parts[PEDICLES, 4].mean())


# The reasons' shares are guesses, as no source for them was found. Fractures
# crowd at the thoracolumbar junction, degeneration and fusion lower down; cement
# is put into fractures.
_EFFECTS = {
    "fracture": _fracture,
    "degeneration": _degeneration,
    "sclerosis": _sclerosis,
    "cement": _cement,
    "fusion": _fusion,
}
REASONS = tuple(_EFFECTS)
_SHARES = np.array(
    [
        [0.50, 0.25, 0.10, 0.13, 0.02],
        [0.35, 0.40, 0.10, 0.10, 0.05],
        [0.17, 0.60, 0.10, 0.04, 0.09],
        [0.10, 0.67, 0.09, 0.02, 0.12],
    ]
)
