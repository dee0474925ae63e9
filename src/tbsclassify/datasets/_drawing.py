"""From the numbers of a patient to the scans, step by step.

Each step takes random numbers from a stream of its own, so that a patient's
plain and varied scans share all that does not depend on the appearance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from tbsclassify.datasets._anatomy import (
    FIELD_OF_VIEW,
    Grid,
    Spine,
    body_boxes,
    draw_pose,
    draw_spine,
)
from tbsclassify.datasets._appearance import (
    draw_view,
    vary_display,
    vary_spine,
    vary_tissue,
)
from tbsclassify.datasets._artefacts import add_marks, add_metal, add_streaks
from tbsclassify.datasets._density import paint_scan
from tbsclassify.datasets._pathology import NOT_EXCLUDED, draw_reasons
from tbsclassify.datasets._population import (
    ANATOMY,
    APPEARANCE,
    LUMBAR,
    SCAN,
    TEXTURE,
    Patients,
    report_tbs,
    stream,
)
from tbsclassify.datasets._scanner import draw_settings, scan_density, to_grey
from tbsclassify.datasets._texture import draw_textures, draw_tissue

_VARIED_SPACING = 0.6  # mm


@dataclass(frozen=True)
class Recipe:
    """The settings that workers need to draw scans."""

    seed: int
    scans_per_patient: int
    size: tuple[int, int] | str
    bit_depth: int
    noise: float
    h_gain: float | str
    varied: bool
    return_masks: bool


class Scan(NamedTuple):
    """One scan, as a worker returns it."""

    image: np.ndarray
    mask: np.ndarray | None
    facts: dict[str, Any]  # entries of the Bunch that differ from scan to scan


class _Body(NamedTuple):
    """The parts that all scans of a patient show."""

    patient: Patients
    spine: Spine
    textures: np.ndarray
    tissue: np.ndarray
    reasons: np.ndarray  # why L1-L4 are excluded


def draw_batch(recipe: Recipe, numbers: np.ndarray, patients: Patients) -> list[Scan]:
    """Draw all scans of some patients, in order."""
    scans = []
    for i, number in enumerate(numbers.tolist()):
        body = _draw_body(recipe, number, patients[i])
        scans += [
            _draw_scan(recipe, number, k, body) for k in range(recipe.scans_per_patient)
        ]
    return scans


def _draw_body(recipe: Recipe, number: int, patient: Patients) -> _Body:
    """Draw one patient's anatomy and texture."""
    spine = draw_spine(stream(recipe.seed, number, ANATOMY), patient)
    rng = stream(recipe.seed, number, TEXTURE)
    textures = draw_textures(rng, patient, recipe.h_gain)
    tissue = draw_tissue(rng)
    if not recipe.varied:
        return _Body(patient, spine, textures, tissue, NOT_EXCLUDED)
    rng = stream(recipe.seed, number, APPEARANCE)
    reasons = draw_reasons(rng)
    spine, denser = vary_spine(rng, spine, reasons)
    # The image shows these densities; the BMD and TBS of the patient stay.
    patient = replace(patient, level_bmd=patient.level_bmd * denser)
    return _Body(patient, spine, textures, vary_tissue(rng, tissue), reasons)


def _draw_scan(recipe: Recipe, number: int, k: int, body: _Body) -> Scan:
    """Draw one scan of a patient: a pose, and its image by the scanner."""
    patient, spine, textures, tissue, reasons = body
    rng = stream(recipe.seed, number, SCAN, k)
    looks = stream(recipe.seed, number, APPEARANCE, k)
    if recipe.varied:
        grid, pose = draw_view(looks, spine, recipe.size)
        settings = vary_display(looks, draw_settings(rng, patient, recipe.noise))
    else:
        grid, pose = _choose_grid(recipe.size, rng), draw_pose(rng, spine)
        settings = draw_settings(rng, patient, recipe.noise)

    density, labels = paint_scan(spine, pose, grid, patient, textures, tissue)
    if recipe.varied:
        add_metal(looks, density, grid)
    measured = scan_density(density, grid, settings, rng)
    if recipe.varied:
        add_streaks(looks, measured, grid, settings.noise_sd)
    image = to_grey(measured, settings, recipe.bit_depth)
    if recipe.varied:
        add_marks(looks, image)
    return Scan(
        image=image,
        mask=labels if recipe.return_masks else None,
        facts={
            "tbs_vertebrae": report_tbs(
                recipe.seed, number, k, patient.level_tbs[LUMBAR]
            ),
            "all_boxes": body_boxes(spine, pose, grid),
            "excluded": reasons != "",
            "exclusion_reason": reasons,
            "pixel_spacing": grid.spacing,
            "spacing": (grid.spacing, grid.column_spacing),
            "rotation": float(np.degrees(pose.rotation)),
            "shift": pose.shift[::-1],
            "noise_sd": settings.noise_sd,
        },
    )


def _choose_grid(size: tuple[int, int] | str, rng: np.random.Generator) -> Grid:
    """Return the pixels that show at least the whole field of view."""
    height_mm, width_mm = FIELD_OF_VIEW
    if isinstance(size, str):
        height, width = rng.integers((280, 300), (340, 350), endpoint=True)
        return Grid(int(height), int(width), _VARIED_SPACING)
    height, width = size
    return Grid(height, width, max(height_mm / height, width_mm / width))
