"""Areal density map (g/cm2) and label map of a spine in a pose.

Every structure is evaluated in single precision and on the pixels near it only:
that is what makes a scan cheap.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from tbsclassify.datasets._anatomy import Grid, Pose, Spine, Vertebra
from tbsclassify.datasets._population import Patients
from tbsclassify.datasets._texture import (
    TEXTURE_STEP,
    TISSUE_STEP,
    sample_field,
)

_EDGE = 0.5  # softness of a body's outline (mm)
_PSOAS = 0.035  # g/cm2


def paint_scan(
    spine: Spine,
    pose: Pose,
    grid: Grid,
    patient: Patients,
    textures: np.ndarray,
    tissue: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return areal density (float32) and labels (uint8) on the pixels of a grid."""
    across, down = grid.pixel_centres()
    x, y = pose.to_patient(across, down)
    density = sample_field(tissue, TISSUE_STEP, x, y)
    labels = np.zeros(density.shape, dtype=np.uint8)
    _paint_muscles(density, x, y, spine.size)
    if spine.trunk:
        strength, edge, fall, softness = spine.trunk
        density += strength * expit((edge + fall * np.abs(x) - y) / softness)
    _paint_column(density, x, y, spine, patient.level_bmd)
    _paint_ribs(density, x, y, spine, pose, grid, float(patient.bmd))
    _paint_crests(density, x, y, spine, pose, grid, float(patient.bmd))
    if spine.sacrum:
        _paint_sacrum(density, x, y, spine, pose, grid, float(patient.bmd))
    _add_spots(density, across, down, pose.to_image(*spine.spots.T[:2]), spine.spots)

    for level, vertebra in spine.bodies():
        reach = (0.5 * vertebra.width + 18 * spine.size, vertebra.height + 5)
        window = _window(pose, grid, vertebra.centre, reach)
        u, v = vertebra.to_local(x[window], y[window])
        body, shape = _draw_body(vertebra, u, v)
        if not body.any():
            continue
        centres = pose.to_image(*vertebra.part_centres(pose.axial))
        rows, columns = window
        _add_spots(shape, across[:, columns], down[rows], centres, vertebra.parts)

        # Whatever lies there already, the mean over the body is the BMD.
        missing = float(patient.level_bmd[level]) - float(density[window][body].mean())
        density[window] += shape * (missing / float(shape[body].mean()))
        inside = sample_field(textures[level], TEXTURE_STEP, u[body], v[body])
        density[window][body] += inside
        labels[window][body] = vertebra.label
    return density, labels


def _draw_body(
    vertebra: Vertebra, u: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where a body is, and its relative density with a soft edge."""
    wall = np.where(u > 0, vertebra.half_width(v, 1), vertebra.half_width(v, -1))
    plate = np.where(v > 0, vertebra.half_height(u, 1), vertebra.half_height(u, -1))
    from_wall = wall - np.abs(u)
    from_plate = plate - np.abs(v)

    # Seen from above a body is round: its thickness falls to the sides.
    bone = 0.50 * np.sqrt(1 - 0.75 * np.minimum(np.abs(u) / wall, 1) ** 4)
    bone += vertebra.endplate * np.exp(-0.5 * ((from_plate - 1.0) / 1.2) ** 2)
    bone += 0.14 * np.exp(-0.5 * ((from_wall - 0.8) / 0.8) ** 2)  # cortical wall
    bone *= expit(from_wall / _EDGE) * expit(from_plate / _EDGE)
    return (from_wall > 0) & (from_plate > 0), bone


def _paint_column(
    density: np.ndarray, x: np.ndarray, y: np.ndarray, spine: Spine, bmd: np.ndarray
) -> None:
    """Add arches, joints and discs: a band without gaps along the axis."""
    centres = [vertebra.centre[1] for vertebra in spine.vertebrae]
    # These change so slowly along the spine that one value a row will do.
    along = y.mean(axis=1)
    strength = np.interp(along, centres, spine.column * bmd).astype(np.float32)
    half_width = np.interp(along, *spine.outline.T).astype(np.float32)
    from_edge = half_width[:, None] - np.abs(x - spine.curve.x(y))
    density += strength[:, None] * expit(from_edge / spine.column_edge)


def _paint_muscles(
    density: np.ndarray, x: np.ndarray, y: np.ndarray, size: float
) -> None:
    """Add the psoas muscles, which widen from L1 downwards."""
    below = y + 60 * size
    edge = 22 * size + 0.22 * below - np.abs(x)
    density += _PSOAS * expit(edge / 1.5) * expit(below.mean(axis=1, keepdims=True) / 8)


def _paint_ribs(
    density: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    spine: Spine,
    pose: Pose,
    grid: Grid,
    bmd: float,
) -> None:
    """Add ribs: bands that leave thoracic vertebrae and bend."""
    bodies = [vertebra for _, vertebra in spine.bodies()]
    for body, side, length, slope, bend, strength in spine.ribs.tolist():
        vertebra = bodies[int(body)]
        x0 = vertebra.centre[0] + side * 0.45 * vertebra.width
        y0 = vertebra.centre[1] - 0.2 * vertebra.height
        fall = length * (slope + bend * length)
        middle = (x0 + side * length / 2, y0 + fall / 2)
        window = _window(pose, grid, middle, (length / 2 + 12, fall / 2 + 15))
        out = side * (x[window] - x0)
        off = y[window] - y0 - out * (slope + bend * out)
        off /= spine.size * 5.8 * (1 + slope**2) ** 0.5
        rib = (
            (0.8 + 0.4 * off**2)
            * np.exp(-(off**4))
            * expit(out / 1.5)
            * expit((length - out) / 4)
        )
        density[window] += strength * bmd * rib


def _paint_crests(
    density: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    spine: Spine,
    pose: Pose,
    grid: Grid,
    bmd: float,
) -> None:
    """Add the iliac crests: tops of two large ellipses with a bright rim."""
    for side, top, inner, strength in spine.crests.tolist():
        wide, high = 52 * spine.size, 46 * spine.size
        centre = (side * (inner + wide), top + high)
        window = _window(pose, grid, centre, (wide + 5, high + 5))
        across = (x[window] - centre[0]) / wide
        down = (y[window] - centre[1]) / high
        depth = (1 - np.sqrt(across**2 + down**2)) * high
        crest = 0.7 + 0.25 * np.exp(-0.5 * ((depth - 2.5) / 2) ** 2)
        density[window] += strength * bmd * expit(depth / 1.2) * crest


def _paint_sacrum(
    density: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    spine: Spine,
    pose: Pose,
    grid: Grid,
    bmd: float,
) -> None:
    """Add the sacrum below L5: wings that fall to the sides, with dark holes."""
    lowest, size = spine.vertebrae[-1], spine.size
    top = lowest.centre[1] + 0.5 * lowest.height + 5 * size
    window = _window(pose, grid, (lowest.centre[0], top + 60), (70 * size, 72))
    across = np.abs(x[window] - lowest.centre[0]) / size
    below = (y[window] - top) / size
    depth = below - 0.7 * np.maximum(across - 18, 0)
    wings = expit(depth / 2) * expit((58 - across) / 3) * np.exp(-below / 60)
    rim = 0.5 * np.exp(-0.5 * ((depth - 3) / 3) ** 2)
    canal = 1.2 * np.exp(-((across / 14) ** 2) - ((below - 16) / 8) ** 2)
    # Two rows of holes, 22 mm apart.
    foramina = np.exp(-(((across - 17) / 5) ** 2)) * np.cos(0.28 * (below - 18))
    # The column of arches and discs ends here.
    density[window] *= 1 - 0.55 * expit((below - 28) / 5)
    density[window] += spine.sacrum * bmd * wings * (1 + rim - canal - foramina)


def _add_spots(
    density: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    centres: tuple[np.ndarray, np.ndarray],
    spots: np.ndarray,
) -> None:
    """Add Gaussian spots: columns 2 to 4 of `spots` hold sd, sd and strength.

    They stay upright on the image, as a few degrees would not show; so each is
    the product of a row and a column.
    """
    sd_x, sd_y, strength = spots.T[2:5, :, None].astype(np.float32)
    x0, y0 = (np.asarray(c, dtype=np.float32)[:, None] for c in centres)
    columns = np.exp(-0.5 * ((across - x0) / sd_x) ** 2)
    rows = strength * np.exp(-0.5 * ((down.T - y0) / sd_y) ** 2)
    # Unlike a matrix product, einsum does not depend on the number of threads.
    density += np.einsum("nr,nc->rc", rows, columns)


def _window(
    pose: Pose, grid: Grid, centre: tuple[float, float], reach: tuple[float, float]
) -> tuple[slice, slice]:
    """Return the pixels within `reach` (x and y, mm) of a point of the patient."""
    x, y = pose.to_image(*centre)
    column = x / grid.column_spacing + grid.width / 2
    row = y / grid.spacing + grid.height / 2
    across, down = reach[0] / grid.column_spacing, reach[1] / grid.spacing
    left, right = np.clip([column - across, column + across], 0, grid.width).astype(int)
    top, bottom = np.clip([row - down, row + down], 0, grid.height).astype(int)
    return slice(int(top), int(bottom)), slice(int(left), int(right))
