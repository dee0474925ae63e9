"""Sensitivity and specificity of the quality checks, on phantoms.

Run ``python benchmarks/quality.py [N] [SEED] [SCANS]``. It draws N (default 600) varied
phantoms with the seed (default 0) and prints, for each check with a ground truth, the
share of faults that it finds and of scans or vertebrae without the fault that it
spares, with Wilson's 95 % intervals. Limits were set on phantoms of seed 100.

Excluded vertebrae, scoliosis and rotation are the phantoms' own. Other faults are
planted: a field of view that cuts off L4, or has the spine at its side, white blocks,
letters, and pictures that show no lumbar spine from top to bottom (phantoms turned by
90 degrees, or with their halves swapped; noise; photographs).

SCANS, if given, is a folder with ``images`` and ``scans.csv``, or one of DICOM files:
it prints how many scans each check flags there, and why.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage, stats
from sklearn.datasets import load_sample_images

from tbsclassify import check_scans, check_vertebrae, make_dxa_phantoms
from tbsclassify.datasets import _drawing
from tbsclassify.datasets._appearance import draw_view
from tbsclassify.datasets._population import APPEARANCE, LUMBAR, draw_patients, stream
from tbsclassify.quality import LIMITS
from tbsclassify.quality._limits import VERTEBRA_CHECKS, exceeds

SIZE = (280, 300)
LEVELS = ("L1", "L2", "L3", "L4")
SIDES = ("top", "left", "bottom", "right")
BOXES = [f"{level}_{side}" for level in LEVELS for side in SIDES]
TEXTS = ("AP Spine", "L1-L4", "DXA 12.03", "Region BMD", "kV 76")


def interval(hits):
    """Return "share [low, high] (n)" of truths, by Wilson."""
    hits = np.asarray(hits, dtype=bool)
    if not len(hits):
        return "none"
    ci = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return f"{hits.mean():.2f} [{ci.low:.2f}, {ci.high:.2f}] (n={len(hits)})"


def print_row(name, flagged, fault, counted=None):
    flagged, fault = np.asarray(flagged, bool), np.asarray(fault, bool)
    counted = np.ones(len(fault), bool) if counted is None else counted
    found, spared = flagged[fault], ~flagged[~fault & counted]
    print(f"{name:32s} sens {interval(found):30s} spec {interval(spared)}")


def true_angles(n, seed):
    """Return Cobb and axial angles of varied phantoms, which their Bunch lacks."""
    recipe = _drawing.Recipe(seed, 1, SIZE, 8, 0.03, 1.35, True, False)
    patients = draw_patients(seed, range(n), decouple=1.0, class_shares=None)
    angles = []
    for i in range(n):
        spine = _drawing._draw_body(recipe, i, patients[i]).spine
        first, last = spine.vertebrae[LUMBAR][0], spine.vertebrae[LUMBAR][-1]
        ends = first.centre[1] - first.height / 2, last.centre[1] + last.height / 2
        tilts = [spine.curve.tilt(y) for y in np.linspace(*ends, 50)]
        _, pose = draw_view(stream(seed, i, APPEARANCE, 0), spine, SIZE)
        angles.append((np.ptp(tilts), abs(pose.axial)))
    return np.degrees(angles).T


def letters(rng, image):
    picture = Image.fromarray(image.copy())
    size = int(rng.integers(10, 20))
    corner = rng.uniform(4, 0.6 * SIZE[1]), rng.uniform(2, SIZE[0] - size - 4)
    font = ImageFont.load_default(size)
    text = rng.choice(TEXTS)
    ImageDraw.Draw(picture).text(corner, text, fill=255, font=font)
    return np.asarray(picture)


def blocks(rng, image):
    image = image.copy()
    for row in range(0, SIZE[0], 70):
        image[row : row + 70, : 8 + int(rng.integers(0, 30))] = 252
    return image


def no_spines(rng, images):
    noise = [rng.integers(0, 256, SIZE).astype(np.uint8) for _ in range(20)]
    for width in rng.uniform(2, 40, 40):
        field = ndimage.gaussian_filter(rng.standard_normal(SIZE), width)
        noise.append((255 * (field - field.min()) / np.ptp(field)).astype(np.uint8))
    photographs = [
        photograph[row : row + SIZE[0], column : column + SIZE[1], 1]
        for photograph in load_sample_images().images
        for row in (0, 70, 140)
        for column in (0, 110, 220, 330)
    ]
    half = SIZE[1] // 2
    return {
        "turned by 90 degrees": [np.rot90(image) for image in images],
        "halves swapped": [np.roll(image, half, axis=1) for image in images],
        "noise": noise,
        "photographs": photographs,
    }


def shifted(frame, rows, columns):
    """Move the field of view, and the boxes in it, by shares of the image."""
    down, right = round(rows * SIZE[0]), round(columns * SIZE[1])
    moved = frame.copy()
    moved["image"] = [
        ndimage.shift(one, (down, right), order=0) for one in frame["image"]
    ]
    boxes = frame[BOXES].to_numpy().reshape(-1, 4, 4) + np.tile([down, right], 2)
    boxes = np.clip(boxes, 0, [*SIZE, *SIZE])
    boxes[(boxes[..., 2:] <= boxes[..., :2]).any(axis=-1)] = np.nan
    moved[BOXES] = boxes.reshape(len(frame), -1)
    return moved


def flags(report, name):
    return exceeds(name, report[name].to_numpy(float), LIMITS)


def measure(n, seed):
    scans = make_dxa_phantoms(n, appearance="varied", size=SIZE, random_state=seed)
    rng = np.random.default_rng(seed)
    angles = true_angles(n, seed)
    report = check_scans(scans.frame)
    print(f"varied phantoms, n={n}, seed {seed}; limits from seed 100")
    print("vertebrae (spec: of scans without excluded ones)")
    measure_vertebrae(scans)
    print("scans")
    print_angles(report, angles)
    measure_views(scans, report)
    measure_faults(scans, report, rng, seed)
    print("scans without any of the phantoms' own faults that pass all checks but")
    without = ~(scans.excluded.any(axis=1) | (angles[0] > 10) | (angles[1] > 7))
    rest = [name for name in LIMITS if name != "unscanned_share"]
    passed = ~np.any([flags(report, name) for name in rest], axis=0)
    print("unscanned_share (two in three have white edges):", interval(passed[without]))
    print("boxes whose sides are off by 4 % of a vertebra (standard deviation)")
    measure_noisy_boxes(scans, rng, angles)


def faults_of(scans):
    """Return why each vertebra is excluded, and which count for the specificity."""
    # Vertebrae beside an excluded one are compared with it, and not counted.
    clean = np.repeat(~scans.excluded.any(axis=1), len(LEVELS))
    return scans.exclusion_reason.ravel(), clean


def print_angles(report, angles):
    for name, true, limit in zip(
        ("cobb_angle", "rotation"), angles, (10, 7), strict=True
    ):
        print_row(f"{name}, > {limit} degrees", flags(report, name), true > limit)


def measure_vertebrae(scans):
    vertebrae = check_vertebrae(scans.frame)
    reason, clean = faults_of(scans)
    print_row("any check, any reason", vertebrae["excluded"], reason != "", clean)
    for one in ("fracture", "degeneration", "sclerosis", "cement", "fusion"):
        print_row(f"any check, {one}", vertebrae["excluded"], reason == one, clean)
    print_row("height_ratio, fracture", flags(vertebrae, "height_ratio"),
              reason == "fracture", clean)  # fmt: skip
    dense = np.isin(reason, ("sclerosis", "cement"))
    print_row("density_ratio, sclerosis/cement", flags(vertebrae, "density_ratio"),
              dense, clean)  # fmt: skip
    metal = np.isin(reason, ("cement", "fusion"))
    print_row("bright_share, cement/fusion", flags(vertebrae, "bright_share"),
              metal, clean)  # fmt: skip
    print_row("texture_ratio, any reason", flags(vertebrae, "texture_ratio"),
              reason != "", clean)  # fmt: skip


def measure_views(scans, report):
    """Move scans down, so that L4 is cut off, and aside."""
    n = len(report)
    low = check_scans(shifted(scans.frame, 0.25, 0))
    # L4 is cut off where its bottom is now below the scan.
    cut = scans.boxes[:, 3, 2] + round(0.25 * SIZE[0]) >= SIZE[0]
    print_row("n_in_view, L4 cut off", np.r_[flags(report, "n_in_view"),
              flags(low, "n_in_view")], np.r_[np.zeros(n), cut])  # fmt: skip
    aside = flags(check_scans(shifted(scans.frame, 0, 0.22)), "off_centre")
    axis = np.mean(scans.boxes[..., [1, 3]], axis=(1, 2)) / SIZE[1] - 0.5
    print_row("off_centre, by over .15", np.r_[flags(report, "off_centre"), aside],
              np.r_[abs(axis) > 0.15, abs(axis + 0.22) > 0.15])  # fmt: skip


def measure_faults(scans, report, rng, seed):
    """Plant blank blocks and letters, and take the spine away."""
    n = len(report)
    plain = make_dxa_phantoms(n, size=SIZE, random_state=seed + 1)
    for name, images, planted in (
        ("unscanned_share", plain.images, [blocks(rng, one) for one in plain.images]),
        ("n_letters", scans.images, [letters(rng, one) for one in scans.images]),
    ):
        found = flags(check_scans([*images, *planted]), name)
        print_row(f"{name}, planted", found, np.repeat([0, 1], n))
    spared = flags(report, "column_contrast")
    for name, images in no_spines(rng, list(scans.images[:200])).items():
        found = flags(check_scans(images), "column_contrast")
        fault = np.repeat([0, 1], [n, len(images)])
        print_row(f"column_contrast, {name}", np.r_[spared, found], fault)


def measure_noisy_boxes(scans, rng, angles):
    reason, clean = faults_of(scans)
    noisy = scans.frame.copy()
    sides = np.tile(scans.boxes[..., 2:] - scans.boxes[..., :2], 2)
    boxes = scans.boxes + 0.04 * sides * rng.standard_normal(sides.shape)
    noisy[BOXES] = boxes.reshape(len(boxes), -1)
    vertebrae, report = check_vertebrae(noisy), check_scans(noisy)
    print_row("any check, fracture", vertebrae["excluded"], reason == "fracture", clean)
    print_row("any check, any reason", vertebrae["excluded"], reason != "", clean)
    print_angles(report, angles)


def run_on(folder):
    """Print what the checks say of real scans."""
    if (folder / "scans.csv").exists():
        table = pd.read_csv(folder / "scans.csv")
        table["image"] = [str(folder / "images" / name) for name in table["file"]]
    else:
        paths = [str(path) for path in sorted(folder.iterdir())]
        table = pd.DataFrame({"image": paths})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        report = check_scans(table)
    print(f"{len(report)} scans of {folder.name}, {(report['reasons'] != '').sum()}"
          " flagged")  # fmt: skip
    for name in LIMITS:
        known = report[name].notna()
        print(f"  {name:18s} {flags(report, name).sum():3d} of {known.sum():3d}")
    if len(report) < 20:
        print(report["reasons"].to_string())
    elif "L1_top" in table:
        boxed = table["L1_top"].notna().to_numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            vertebrae = check_vertebrae(table[boxed].reset_index(drop=True))
        print(
            f"  vertebrae excluded: {vertebrae['excluded'].sum()} of {4 * boxed.sum()}"
        )
        for name in VERTEBRA_CHECKS:
            print(f"    {name:18s} {flags(vertebrae, name).sum()}")


def main(n="600", seed="0", *folders):
    measure(int(n), int(seed))
    for folder in folders:
        run_on(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
