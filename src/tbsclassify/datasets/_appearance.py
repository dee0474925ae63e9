"""Differences between patients and between scans in a clinic.

Variation of the plain phantom: of its anatomy, which the scans of a patient
share, and of the frame and display of each scan. Ranges called *measured* are
those of 80 public anteroposterior scans (224 x 224 pixels, with known outlines of
L1-L4), rounded and widened; nothing was fitted. The others are guesses, wide on
purpose: a model that learns from these scans should not rely on one look.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tbsclassify.datasets._anatomy import (
    JOINTS,
    LAMINAE,
    MARROW,
    OSTEOPHYTES,
    PEDICLES,
    SPINOUS,
    TRANSVERSE,
    Curve,
    Grid,
    Pose,
    Spine,
    Vertebra,
)
from tbsclassify.datasets._pathology import afflict
from tbsclassify.datasets._population import LEVELS, LUMBAR
from tbsclassify.datasets._scanner import Settings

# Of one scan. Measured: L1-L4 are .27-.45 (90 %: .29-.40) of the frame wide, their
# centres .10-.185 (.144-.178) of its height apart; L1's top is .02-.48 (.05-.29) and
# L4's bottom .66-.96 (.70-.90) below its upper edge, the spine's axis .47-.61 of its
# width across. The middle of L1-L4 lies at .51, with a deviation of .068: scans are
# to show as much of T12 as of L5.
_WIDTH = (0.22, 0.40)
_SPACING = (0.135, 0.195)
_WIDE_SPACING = (0.095, 0.135)  # a frame that shows much of the chest
_WIDE_SHARE = 0.06
_MIDDLE = (0.51, 0.085)  # mean and deviation
_TOP = 0.02
_BOTTOM = 0.97
_AXIS = (0.44, 0.56)
_PIXEL = (0.50, 0.75)  # height (mm) where the size is free: 0.53-0.70 on exports
_ASPECT = (0.75, 1.35)

_N_CLUTTER = 12  # spots a vertebra
_N_SACRAL = 24
_N_THORACIC = 3  # vertebrae above T11


def vary_spine(
    rng: np.random.Generator, spine: Spine, reasons: np.ndarray
) -> tuple[Spine, np.ndarray]:
    """Return a spine with the looks of a patient, and factors of its BMD (7,)."""
    # Discs are often as bright as bodies: a dense column leaves little to them.
    column = rng.uniform(0.54, 0.90) + 0.04 * rng.standard_normal(len(spine.column))
    bodies = _vary_bodies(rng, spine.vertebrae, float(column.mean()))
    denser = np.exp(0.06 * rng.standard_normal(len(bodies)))
    for level, reason in enumerate(reasons, start=LUMBAR.start):
        if reason:
            bodies[level], denser[level] = afflict(rng, bodies[level], str(reason))

    discs = _vary_discs(rng, spine.vertebrae, reasons)
    amplitude = spine.curve.amplitude * rng.uniform(0.3, 1.1)
    curve = replace(spine.curve, amplitude=amplitude)
    vertebrae = _stack(bodies, discs, spine, curve)
    beyond = _extend(vertebrae, curve)
    varied = replace(
        spine,
        curve=curve,
        vertebrae=vertebrae,
        column=column,
        outline=_draw_outline(rng, [*vertebrae, *(body for _, body in beyond)]),
        beyond=beyond,
        ribs=_vary_ribs(rng, spine.ribs),
        crests=_vary_crests(rng, spine.crests),
        column_edge=float(rng.uniform(0.4, 1.2)),
        spots=np.vstack([spine.spots, _draw_sacral_spots(rng, vertebrae[-1])]),
        sacrum=float(rng.uniform(0.15, 0.55)),
        trunk=_draw_trunk(rng, vertebrae[LUMBAR.start]),
    )
    return varied, denser


def draw_view(
    rng: np.random.Generator, spine: Spine, size: tuple[int, int] | str
) -> tuple[Grid, Pose]:
    """Draw the frame of a scan: its pixels, and where it cuts the patient."""
    pose = Pose(
        shift=(0.0, 0.0),
        rotation=float(np.radians(2.5) * rng.standard_normal()),
        axial=float(np.radians(4.0) * rng.standard_normal()),
    )
    bodies = spine.vertebrae[LUMBAR]
    x, y = np.stack([pose.to_image(*body.outline()) for body in bodies], axis=1)
    left, right, top, bottom = x.min(), x.max(), y.min(), y.max()
    width = np.mean([body.width for body in bodies])
    pitch = (bodies[-1].centre[1] - bodies[0].centre[1]) / (len(bodies) - 1)

    spacing = _WIDE_SPACING if rng.random() < _WIDE_SHARE else _SPACING
    frame_width = max(width / rng.uniform(*_WIDTH), (right - left) / 0.85)
    frame_height = max(pitch / rng.uniform(*spacing), (bottom - top) / 0.93)
    extent = (bottom - top) / frame_height
    middle = _MIDDLE[0] + _MIDDLE[1] * rng.standard_normal()
    if spacing is _WIDE_SPACING:  # of the chest, so that L1 lies further down
        middle = rng.uniform(0.5, 1.0)
    l1_top = np.clip(middle - extent / 2, _TOP, _BOTTOM - extent)
    half = (right - left) / 2 / frame_width
    axis = np.clip(rng.uniform(*_AXIS), half + 0.02, 0.98 - half)
    shift = (
        float((axis - 0.5) * frame_width - (left + right) / 2),
        float((l1_top - 0.5) * frame_height - top),
    )
    return _choose_grid(rng, size, frame_height, frame_width), replace(
        pose, shift=shift
    )


def vary_display(rng: np.random.Generator, settings: Settings) -> Settings:
    """Draw sharpness, noise and grey-level window of one scan.

    Soft tissue has a density near 0 g/cm2: most displays cut it to black.
    """
    noise = np.exp(0.20 * rng.standard_normal())
    clipped = rng.random() < 0.7
    return replace(
        settings,
        psf_sd=settings.psf_sd * float(rng.uniform(0.9, 1.5)),
        noise_sd=settings.noise_sd * float(noise),
        low=float(rng.uniform(-0.08, 0.08) if clipped else rng.uniform(-0.30, -0.08)),
        high=float(rng.uniform(1.5, 2.6)),
        gamma=float(np.exp(rng.uniform(-0.25, 0.25))),
    )


def vary_tissue(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Return soft tissue that is more or less even than that of plain phantoms."""
    return tissue * float(rng.uniform(0.5, 2.5))


def _vary_bodies(
    rng: np.random.Generator, vertebrae: tuple[Vertebra, ...], column: float
) -> list[Vertebra]:
    """Return vertebrae of other proportions, with other arches.

    Pedicles and transverse processes leave the upper half of a body; between the
    laminae of two arches lies a dark window, and below it the spinous process.
    In coarse scans these, and not the endplates, shape the outline: measured, a
    spine is widest and its middle darkest .20-.25 of the spacing above a body's
    centre, and the middle brightest .30 below.
    """
    # Shift of pedicles and of spinous processes, in heights of the body; then
    # factors of strengths.
    rise, fall = (-0.12, 0.0) + 0.06 * rng.standard_normal(2)
    joints, marrow, spinous = rng.uniform((0.1, 0.0, 0.7), (0.7, 1.0, 1.6))
    window, root, spurs = rng.uniform((0.1, 0.1, 0.3), (0.8, 0.9, 1.3))
    lamina, transverse, untidy = rng.uniform((0.1, 0.2, 0.1), (0.7, 1.0, 0.6))
    thoracic = rng.uniform(0.5, 1.1)  # their arches show less beside ribs
    # Arches stay visible where the column takes the place of the bodies.
    gain = (0.52 / (1.02 - column)) ** 1.2
    wide, high, endplate = rng.uniform((0.92, 0.96, 0.05), (1.10, 1.04, 0.34))
    widths = wide * np.exp(0.035 * rng.standard_normal(len(vertebrae)))
    widths[-2:] *= 1 + rng.uniform((0.0, -0.08), (0.06, 0.16))  # L4 and L5 flare
    heights = high * np.exp(0.03 * rng.standard_normal(len(vertebrae)))
    heights[-1] *= rng.uniform(0.75, 1.0)  # L5 tilts forward
    sacral = rng.uniform(0.0, 1.2)  # depth of the windows between L5 and S1

    bodies = []
    for level, (body, across, along) in enumerate(
        zip(vertebrae, widths, heights, strict=True)
    ):
        w, h = float(across * body.width), float(along * body.height)
        parts = body.parts * (across, along, 1, 1, 1, 1)
        parts[JOINTS, 4] *= joints
        parts[MARROW, 4] *= marrow
        parts[SPINOUS, 4] *= spinous
        parts[LAMINAE, 4] *= lamina
        parts[TRANSVERSE, 4] *= transverse / gain
        parts[OSTEOPHYTES, 3:5] *= (1.4, spurs)
        parts[[*PEDICLES, *MARROW, *TRANSVERSE], 1] += rise * h
        parts[SPINOUS, 1] += fall * h
        pedicles = (rise - 0.14) * h
        arch = [
            (0, pedicles, 5.5, 3.6, -window, 26),
            (-0.46 * w, pedicles, 3.5, 5.5, root, 15),
            (0.46 * w, pedicles, 3.5, 5.5, root, 15),
        ]
        if level == len(vertebrae) - 1:
            arch += [
                (side * 0.15 * w, 0.6 * h, 3.5, 2.5, -sacral, 26) for side in (-1, 1)
            ]
        parts = np.vstack([parts, arch, _draw_clutter(rng, w, h, untidy)])
        parts[:, 4] *= gain * np.exp(0.2 * rng.standard_normal(len(parts)))
        if level < LUMBAR.start:
            parts[:, 4] *= thoracic
        bodies.append(
            replace(body, width=w, height=h, parts=parts, endplate=float(endplate))
        )
    return bodies


def _draw_clutter(
    rng: np.random.Generator, w: float, h: float, untidy: float
) -> np.ndarray:
    """Draw nameless spots of bone and bowel, which break up discs."""
    return rng.uniform(
        (-0.55 * w, -0.85 * h, 2.5, 1.8, -untidy, 0),
        (0.55 * w, 0.85 * h, 6.0, 4.0, untidy, 30),
        size=(_N_CLUTTER, 6),
    )


def _vary_discs(
    rng: np.random.Generator, vertebrae: tuple[Vertebra, ...], reasons: np.ndarray
) -> np.ndarray:
    """Return the heights of the discs below T11 to L4 (mm)."""
    centres = np.array([body.centre[1] for body in vertebrae])
    heights = np.array([body.height for body in vertebrae])
    discs = np.diff(centres) - (heights[1:] + heights[:-1]) / 2
    discs *= rng.uniform(0.75, 1.3) * np.exp(0.12 * rng.standard_normal(len(discs)))
    # Discs beside a worn body are worn, and those within a fusion gone.
    for level, reason in enumerate(reasons, start=LUMBAR.start):
        if reason in ("degeneration", "fusion"):
            discs[level - 1 : level + 1] *= rng.uniform(0.4, 0.85, 2)
    return discs


def _stack(
    bodies: list[Vertebra], discs: np.ndarray, spine: Spine, curve: Curve
) -> tuple[Vertebra, ...]:
    """Put vertebrae and discs above each other along the curve."""
    heights = np.array([body.height for body in bodies])
    centres = np.cumsum(np.r_[0, (heights[:-1] + heights[1:]) / 2 + discs])
    centres -= (centres[3] + centres[4]) / 2  # the origin lies between L2 and L3
    return tuple(
        replace(
            body,
            centre=(float(curve.x(y)), float(y)),
            tilt=body.tilt + curve.tilt(y) - spine.curve.tilt(body.centre[1]),
        )
        for body, y in zip(bodies, centres, strict=True)
    )


def _extend(
    vertebrae: tuple[Vertebra, ...], curve: Curve
) -> tuple[tuple[int, Vertebra], ...]:
    """Return T10 to T8, which look like T11, and S1, which looks like L5."""
    steps = [(0, -0.96 * k) for k in range(1, _N_THORACIC + 1)]
    beyond = []
    for level, step in [*steps, (len(vertebrae) - 1, 1.0)]:
        body, next_body = vertebrae[level], vertebrae[1 if level == 0 else level - 1]
        pitch = abs(next_body.centre[1] - body.centre[1])
        y = body.centre[1] + step * pitch
        moved = replace(
            body, label=0, centre=(float(curve.x(y)), y), tilt=curve.tilt(y)
        )
        beyond.append((level, moved))
    return tuple(beyond)


def _draw_outline(rng: np.random.Generator, bodies: list[Vertebra]) -> np.ndarray:
    """Return y and half the width of the column: broad at pedicles, narrow below."""
    bodies = sorted(bodies, key=lambda body: body.centre[1])
    y = np.array([body.centre[1] for body in bodies])
    height, width = np.array([(body.height, body.width) for body in bodies]).T
    half = width * rng.uniform(0.41, 0.48)
    half[-3:] *= 1 + rng.uniform(0, (0.05, 0.16, 0.20))  # L4 to S1 flare
    uneven = 0.015 * width * rng.standard_normal((2, len(bodies)))
    broad = half + width * rng.uniform(0.01, 0.09) + uneven[0]
    narrow = half - width * rng.uniform(0.00, 0.05) + uneven[1]
    # Heads of ribs lie beside thoracic discs and fill the outline there.
    filled = rng.uniform(0.3, 1.1)
    narrow[:-6] += filled * (broad - narrow)[:-6]
    at = np.stack([y - 0.30 * height, y - 0.15 * height, y + 0.35 * height], axis=1)
    nodes = np.stack([broad, broad, narrow], axis=1)
    return np.stack([at.ravel(), nodes.ravel()], axis=1)


def _vary_ribs(rng: np.random.Generator, ribs: np.ndarray) -> np.ndarray:
    """Return ribs that differ between the sides, or are missing; and T10 to T8's."""
    thoracic = np.repeat(ribs[:2], _N_THORACIC, axis=0)  # like T11's
    thoracic[:, 0] = np.tile(len(LEVELS) + np.arange(_N_THORACIC), 2)
    ribs = np.vstack([ribs, thoracic])
    ribs[:, 2] *= rng.uniform(0.6, 1.3, len(ribs))
    ribs[:, 3] += rng.uniform(-0.25, 0.60) + 0.10 * rng.standard_normal(len(ribs))
    ribs[:, 4] += 0.0015 * rng.standard_normal(len(ribs))
    ribs[:, 5] *= rng.uniform(0.3, 2.0) * np.exp(0.4 * rng.standard_normal(len(ribs)))
    return ribs[rng.random(len(ribs)) < 0.9]


def _vary_crests(rng: np.random.Generator, crests: np.ndarray) -> np.ndarray:
    """Return iliac crests that stand higher or lower, wider or closer."""
    crests = crests.copy()
    crests[:, 1] += rng.uniform(-6, 26) + 4 * rng.standard_normal(2)
    crests[:, 2] *= rng.uniform(0.7, 1.4) + 0.08 * rng.standard_normal(2)
    crests[:, 3] *= rng.uniform(0.5, 2.2) * np.exp(0.15 * rng.standard_normal(2))
    return crests


def _draw_trunk(rng: np.random.Generator, l1: Vertebra) -> tuple[float, ...]:
    """Draw what lies beside the spine above: chest wall, diaphragm and liver.

    Their lower edge falls to the sides, like the margin of the ribs.
    """
    edge = l1.centre[1] + rng.uniform(-30, 60)
    strength, fall, softness = rng.uniform((0.0, 0.0, 5.0), (0.30, 0.5, 30.0))
    return float(strength), float(edge), float(fall), float(softness)


def _draw_sacral_spots(rng: np.random.Generator, lowest: Vertebra) -> np.ndarray:
    """Draw what makes the sacrum below L5 uneven: foramina, joints, bowel."""
    low = (-30, 0, 2.0, 1.5, -0.20)
    high = (30, 35, 7.0, 5.0, 0.20)
    spots = rng.uniform(low, high, size=(_N_SACRAL, 5))
    spots[:, :2] += (lowest.centre[0], lowest.centre[1] + 0.5 * lowest.height)
    return spots


def _choose_grid(
    rng: np.random.Generator,
    size: tuple[int, int] | str,
    frame_height: float,
    frame_width: float,
) -> Grid:
    """Return the pixels that fill a frame (mm): squashed ones where they must be."""
    if isinstance(size, str):
        spacing = rng.uniform(*_PIXEL)
        aspect = rng.uniform(*_ASPECT) if rng.random() < 0.5 else 1.0
        height = round(frame_height / spacing)
        width = round(frame_width / (spacing * aspect))
    else:
        height, width = size
    spacing = frame_height / height
    return Grid(height, width, float(spacing), float(frame_width / width / spacing))
