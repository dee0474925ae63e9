"""Shape of a synthetic lumbar spine, and where a scan puts it on the image.

Lengths are millimetres. Patient coordinates have x towards the right edge of
the image, y towards the feet and their origin between L2 and L3; a pose turns
and shifts them into image coordinates, whose origin is the image centre. All
shapes are closed formulae with random parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tbsclassify.datasets._population import LEVELS, LUMBAR, Patients

# T11 to L5: body width, body height, height of the disc below (mm).
_WIDTH = np.array([36.0, 37.5, 39.0, 40.5, 42.5, 44.5, 45.5])
_HEIGHT = np.array([21.5, 22.5, 23.0, 23.5, 24.0, 24.0, 23.0])
_DISC = np.array([5.5, 6.5, 7.5, 8.5, 9.5, 9.5])

_LABELS = (7, 5, 1, 2, 3, 4, 6)  # in the masks

FIELD_OF_VIEW = (168.0, 180.0)  # height and width that every scan shows (mm)
_MARGIN = 2.0  # between L1-L4 and the upper and lower border, at least (mm)

_WAIST = 0.085  # narrowing of the body at half height, of its width
_CONCAVITY = 0.9  # depth of an endplate (mm)
_WOBBLE_SD = 0.4  # of a body's outline (mm)
_COLUMN_WIDTH = 0.41  # half of it, of the body's width

# Rows of a vertebra's parts, in the order of `_draw_parts`.
SPINOUS, PEDICLES, MARROW = [0, 1], [2, 8], [3, 9]
JOINTS = [4, 5, 10, 11]  # superior and inferior articular processes
LAMINAE, TRANSVERSE = [6, 12], [7, 13]
OSTEOPHYTES = slice(14, 18)


@dataclass(frozen=True)
class Grid:
    """Pixels of one image, `spacing` millimetres high."""

    height: int
    width: int
    spacing: float
    aspect: float = 1.0  # width of a pixel over its height

    @property
    def column_spacing(self) -> float:
        """Return the width of a pixel (mm)."""
        return self.spacing * self.aspect

    def pixel_centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (1, width) and y (height, 1) of the pixel centres."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) * self.column_spacing
        y = (np.arange(self.height) + 0.5 - self.height / 2) * self.spacing
        return x[None, :].astype(np.float32), y[:, None].astype(np.float32)


@dataclass(frozen=True)
class Pose:
    """The position of the patient in one scan."""

    shift: tuple[float, float]  # of the origin, x and y (mm)
    rotation: float  # of the image plane (radians)
    axial: float  # rotation about the spine's own axis (radians)

    def to_patient(self, x: np.ndarray, y: np.ndarray) -> tuple:
        """Turn image coordinates into patient coordinates."""
        return _rotate(x - self.shift[0], y - self.shift[1], -self.rotation)

    def to_image(self, x: Any, y: Any) -> tuple:
        """Turn patient coordinates into image coordinates."""
        x, y = _rotate(x, y, self.rotation)
        return x + self.shift[0], y + self.shift[1]


@dataclass(frozen=True)
class Curve:
    """The sideways course of the axis of the spine: a sine, steep in scoliosis."""

    amplitude: float  # mm
    wavelength: float  # mm
    phase: float  # radians

    def x(self, y: np.ndarray | float) -> np.ndarray:
        """Return the axis at height `y`."""
        angle = 2 * np.pi * y / self.wavelength + self.phase
        return self.amplitude * (np.sin(angle) - float(np.sin(self.phase)))

    def tilt(self, y: float) -> float:
        """Return the angle between the axis and the vertical (radians)."""
        wave_number = 2 * np.pi / self.wavelength
        angle = wave_number * y + self.phase
        return float(np.arctan(self.amplitude * wave_number * np.cos(angle)))


@dataclass(frozen=True)
class Vertebra:
    """One vertebra in its own frame: u to the right, v to the feet."""

    label: int  # in the masks
    centre: tuple[float, float]  # in patient coordinates
    tilt: float  # radians
    width: float
    height: float
    wobble: np.ndarray  # (4 sides, 3 polynomials), of the outline (mm)
    parts: np.ndarray  # (n, 6): u, v, sd in u and v, strength, depth behind the body
    endplate: float = 0.26  # strength; that of a body without parts is near 0.5

    def to_local(self, x: np.ndarray, y: np.ndarray) -> tuple:
        """Turn patient coordinates into the vertebra's."""
        return _rotate(x - self.centre[0], y - self.centre[1], self.tilt)

    def to_patient(self, u: np.ndarray, v: np.ndarray) -> tuple:
        """Turn the vertebra's coordinates into patient coordinates."""
        x, y = _rotate(u, v, -self.tilt)
        return x + self.centre[0], y + self.centre[1]

    def half_width(self, v: np.ndarray, side: int) -> np.ndarray:
        """Return the distance of the right (`side` 1) or left (-1) wall."""
        t = np.clip(2 * v / self.height, -1, 1)
        waist = self.width / 2 * (1 - _WAIST * (1 - t**2))
        return waist + self._wobble(t, 0 if side < 0 else 1)

    def half_height(self, u: np.ndarray, side: int) -> np.ndarray:
        """Return the distance of the lower (`side` 1) or upper (-1) endplate."""
        t = np.clip(2 * u / self.width, -1, 1)
        concave = self.height / 2 - _CONCAVITY * (1 - t**2)
        return concave + self._wobble(t, 2 if side < 0 else 3)

    def outline(self, n: int = 48) -> tuple[np.ndarray, np.ndarray]:
        """Return points of the body's outline in patient coordinates."""
        v = np.linspace(-self.height / 2, self.height / 2, n)
        u = np.linspace(-self.width / 2, self.width / 2, n)
        points = [(side * self.half_width(v, side), v) for side in (-1, 1)]
        points += [(u, side * self.half_height(u, side)) for side in (-1, 1)]
        us, vs = (np.concatenate(part) for part in zip(*points, strict=True))
        # A point of one side outside another side is no corner of the body.
        us = np.clip(us, -self.half_width(vs, -1), self.half_width(vs, 1))
        vs = np.clip(vs, -self.half_height(us, -1), self.half_height(us, 1))
        return self.to_patient(us, vs)

    def part_centres(self, axial: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the parts' centres in patient coordinates, the spine turned.

        The further a part lies behind the body, the further it moves sideways.
        """
        u, v, _, _, _, depth = self.parts.T
        return self.to_patient(u + depth * np.sin(axial), v)

    def _wobble(self, t: np.ndarray, side: int) -> np.ndarray:
        # Chebyshev polynomials of degree 1 to 3: waves at the price of a cubic.
        a, b, c = self.wobble[side].tolist()
        return ((4 * c * t + 2 * b) * t + (a - 3 * c)) * t - b


@dataclass(frozen=True)
class Spine:
    """Vertebrae T11 to L5 of one patient, and what lies around them."""

    curve: Curve
    vertebrae: tuple[Vertebra, ...]
    size: float  # factor of all lengths
    column: np.ndarray  # (7,) arches and discs between the bodies, of the BMD
    outline: np.ndarray  # (n, 2): y and half the width of that column (mm)
    ribs: np.ndarray  # (n, 6): body, side, length, slope, bend, strength
    crests: np.ndarray  # (2, 4): side, top y, inner x, strength
    spots: np.ndarray  # (n, 5): x, y, sd in x and y, strength (g/cm2)
    column_edge: float = 2.0  # softness of the column's sides (mm)
    sacrum: float = 0.0  # of the BMD; 0 for none
    trunk: tuple[float, ...] = ()  # above: g/cm2, y of its edge, fall, softness (mm)
    beyond: tuple[tuple[int, Vertebra], ...] = ()  # unlabelled, each like a level

    def bodies(self) -> list[tuple[int, Vertebra]]:
        """Return every vertebra with the level whose BMD and texture it has."""
        return [*enumerate(self.vertebrae), *self.beyond]


def draw_spine(rng: np.random.Generator, patient: Patients) -> Spine:
    """Draw the shape of one patient's spine."""
    size = float(patient.size_factor)
    curve = _draw_curve(rng, size)
    widths = size * _WIDTH * np.exp(0.02 * rng.standard_normal(len(LEVELS)))
    heights = size * _HEIGHT * np.exp(0.025 * rng.standard_normal(len(LEVELS)))
    # Discs thin with age.
    ageing = 1 - 0.004 * max(float(patient.age) - 60, 0)
    discs = size * ageing * _DISC * np.exp(0.08 * rng.standard_normal(len(_DISC)))
    wear = max(float(patient.age) - 50, 0) / 30
    centres = np.cumsum(np.r_[0, (heights[:-1] + heights[1:]) / 2 + discs])
    centres -= (centres[3] + centres[4]) / 2
    vertebrae = tuple(
        Vertebra(
            label=_LABELS[i],
            centre=(float(curve.x(centres[i])), float(centres[i])),
            tilt=curve.tilt(centres[i]),
            width=float(widths[i]),
            height=float(heights[i]),
            wobble=_WOBBLE_SD * np.sqrt(2 / 3) * rng.standard_normal((4, 3)),
            parts=_draw_parts(rng, widths[i], heights[i], size, wear),
        )
        for i in range(len(LEVELS))
    )
    column = rng.uniform(0.42, 0.54) + 0.04 * rng.standard_normal(len(LEVELS))
    return Spine(
        curve=curve,
        vertebrae=vertebrae,
        size=size,
        column=np.clip(column, 0.32, 0.60),
        outline=np.stack([centres, _COLUMN_WIDTH * widths], axis=1),
        ribs=_draw_ribs(rng, size),
        crests=_draw_crests(rng, centres[5], size),
        spots=_draw_spots(rng, size, wear),
    )


def draw_pose(rng: np.random.Generator, spine: Spine) -> Pose:
    """Draw the position of a patient under the scanner, with L1-L4 in the field."""
    pose = Pose(
        shift=(0.0, 0.0),
        rotation=float(np.radians(2.2) * rng.standard_normal()),
        axial=float(np.radians(2.5) * rng.standard_normal()),
    )
    y = np.stack(
        [pose.to_image(*body.outline())[1] for body in spine.vertebrae[LUMBAR]]
    )
    room = FIELD_OF_VIEW[0] / 2 - _MARGIN
    up, down = max(-9, -room - float(y.min())), min(9, room - float(y.max()))
    across, along = rng.random(2).tolist()
    return replace(pose, shift=(18 * across - 9, up + (down - up) * along))


def body_boxes(spine: Spine, pose: Pose, grid: Grid) -> np.ndarray:
    """Return boxes of the bodies, (7, 4): top, left, bottom, right in pixels.

    Axis-aligned hulls of the outlines, cut at the border of the image; NaN for
    a body outside of it.
    """
    boxes = np.empty((len(spine.vertebrae), 4))
    limits = np.array([grid.height, grid.width])
    for box, vertebra in zip(boxes, spine.vertebrae, strict=True):
        x, y = pose.to_image(*vertebra.outline())
        points = np.stack([y / grid.spacing, x / grid.column_spacing])
        points += limits[:, None] / 2
        box[:2] = np.maximum(points.min(axis=1), 0)
        box[2:] = np.minimum(points.max(axis=1), limits)
        if np.any(box[2:] <= box[:2]):
            box[:] = np.nan
    return boxes


def _rotate(x: Any, y: Any, angle: float) -> tuple:
    # Python floats, unlike NumPy's, leave float32 arrays as they are.
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return cos * x - sin * y, sin * x + cos * y


def _draw_curve(rng: np.random.Generator, size: float) -> Curve:
    """Draw a spine's course: mostly straight, 8 % with a marked scoliosis."""
    marked = rng.random() < 0.08
    cobb = rng.uniform(12, 32) if marked else min(abs(4 * rng.standard_normal()), 12)
    wavelength = size * rng.uniform(200, 320)
    # The Cobb angle is twice the steepest tilt.
    amplitude = np.tan(np.radians(cobb / 2)) * wavelength / (2 * np.pi)
    return Curve(float(amplitude), float(wavelength), float(rng.uniform(0, 2 * np.pi)))


def _draw_parts(
    rng: np.random.Generator, w: float, h: float, size: float, wear: float
) -> np.ndarray:
    """Draw processes, pedicles and osteophytes, as Gaussian spots.

    Rows hold u, v, their standard deviations, strength and depth behind the
    body. The strength of a body without parts is near 0.5.
    """
    spinous = [
        (0, 0.34 * h, 1.8, 5.5, 0.80, 32),
        (0, 0.60 * h, 2.8, 2.8, 0.40, 30),
    ]
    paired = [
        (0.32 * w, -0.14 * h, 3.4, 4.6, 0.90, 12),  # pedicle
        (0.32 * w, -0.14 * h, 1.6, 2.4, -0.60, 12),  # its marrow
        (0.44 * w, -0.60 * h, 3.6, 3.4, 0.80, 20),  # superior articular process
        (0.39 * w, 0.58 * h, 4.0, 3.8, 1.00, 22),  # inferior articular process
        (0.17 * w, 0.18 * h, 3.6, 2.8, 0.55, 24),  # lamina
        (0.66 * w, -0.10 * h, 5.5, 3.0, 0.18, 14),  # transverse process
    ]
    sides = [(side * x, *rest) for side in (-1, 1) for x, *rest in paired]
    parts = np.array([*spinous, *sides])
    parts[:, 4] *= np.exp(0.18 * rng.standard_normal(len(parts)))
    parts[:, :2] += 0.6 * rng.standard_normal((len(parts), 2))
    parts[MARROW, :2] = parts[PEDICLES, :2]  # marrow stays inside
    parts[:, 2:4] *= size

    corners = np.array([(u, v) for u in (-0.5, 0.5) for v in (-0.5, 0.5)]) * (w, h)
    osteophytes = np.zeros((4, 6))
    osteophytes[:, :2] = corners
    osteophytes[:, 2:4] = size * rng.uniform((1.5, 1.0), (3.5, 2.0), size=(4, 2))
    osteophytes[:, 4] = 0.45 * wear * np.maximum(rng.standard_normal(4) - 0.3, 0)
    return np.vstack([parts, osteophytes])


def _draw_ribs(rng: np.random.Generator, size: float) -> np.ndarray:
    """Draw the ribs of T11 and T12 on both sides."""
    ribs = []
    for level in (0, 1):
        slope, bend = rng.uniform((0.25, 0.0), (0.60, 0.002))
        strength = rng.uniform(0.10, 0.22)
        for side in (-1, 1):
            length = size * (rng.uniform(45, 90) if level else 110)
            slope_here = slope + 0.06 * rng.standard_normal()
            strength_here = strength * np.exp(0.15 * rng.standard_normal())
            ribs.append((level, side, length, slope_here, bend, strength_here))
    return np.array(ribs)


def _draw_crests(rng: np.random.Generator, l4: float, size: float) -> np.ndarray:
    """Draw the tops of the iliac crests, near the lower corners of the image."""
    top = l4 + size * rng.uniform(12, 26)
    inner = size * rng.uniform(33, 44)
    strength = rng.uniform(0.25, 0.5)
    tops = top + 2 * rng.standard_normal(2)
    return np.array([(-1, tops[0], inner, strength), (1, tops[1], inner, strength)])


def _draw_spots(rng: np.random.Generator, size: float, wear: float) -> np.ndarray:
    """Draw gas bubbles beside the spine and calcifications of the aorta."""
    n_gas, n_calcified = rng.poisson(2.5), rng.poisson(0.8 * wear)
    gas = np.empty((n_gas, 5))
    gas[:, 0] = rng.choice([-1, 1], n_gas) * rng.uniform(30, 80, n_gas)
    gas[:, 1] = rng.uniform(-70, 75, n_gas)
    gas[:, 2:4] = rng.uniform(2, 6, (n_gas, 1)) * rng.uniform(0.8, 1.4, (n_gas, 2))
    gas[:, 4] = rng.uniform(-0.18, -0.06, n_gas)
    calcified = np.empty((n_calcified, 5))
    calcified[:, 0] = rng.uniform(2, 16, n_calcified)
    calcified[:, 1] = rng.uniform(-20, 65, n_calcified)
    calcified[:, 2:4] = rng.uniform((0.7, 2), (1.5, 6), (n_calcified, 2))
    calcified[:, 4] = rng.uniform(0.05, 0.25, n_calcified)
    return np.vstack([gas, calcified]) * (size, size, size, size, 1)
