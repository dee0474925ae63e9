"""Draw the figures of the guide, once for light pages and once for dark ones.

Each public function of this module draws one figure from phantoms or from made-up
numbers. ``python docs/_ext/figures.py FOLDER`` draws all of them without Sphinx.
"""

import sys
from functools import cache
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from scipy.stats import norm
from sklearn.model_selection import StratifiedGroupKFold

from tbsclassify import (
    LumbarCropper,
    LumbarLocalizer,
    RandomAugmentation,
    TBSLabeler,
    TBSPretrainedClassifier,
    make_dxa_phantoms,
)
from tbsclassify.plotting import ContactSheetDisplay
from tbsclassify.texture import variogram

INK = {"light": "#212832", "dark": "#dce3ea"}
# Colours that are told apart on white and on dark grey, and by the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#3b8fd4", "#e07b39", "#2f9e77", "#8a94a0"
LOW, HIGH = 1.200, 1.350
CROPPER = LumbarCropper(240)  # cuts off no part of any of these phantoms


def style(theme):
    """Tell matplotlib's settings for one of the two themes."""
    ink = INK[theme]
    inked = ["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color"]
    return {
        **dict.fromkeys([*inked, "ytick.color", "axes.titlecolor"], ink),
        "axes.facecolor": "none",
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.facecolor": "none",
        "figure.dpi": 150,
        "font.size": 11,
        "legend.frameon": False,
        "savefig.facecolor": "none",
    }


draw_phantoms = cache(make_dxa_phantoms)  # once for both themes


def plain_phantoms():
    """Make the plain phantoms that most figures show."""
    return draw_phantoms(300, random_state=0)


@cache
def model_without_downloads():
    """Fit deep texture with random weights, which needs no network."""
    scans = plain_phantoms()
    crops = CROPPER.fit_transform(scans.frame[:100])
    tbs = scans.tbs[:100]
    y = TBSLabeler().fit_transform(tbs)
    model = TBSPretrainedClassifier(weights=None, random_state=0)
    return crops, model.fit(crops[1:], y[1:], tbs=tbs[1:])


def show(ax, image, title=""):
    """Show a scan or a crop without axes."""
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    ax.set_title(title)
    ax.set_axis_off()
    ax.set_anchor("N")


def outline(ax, box, color, **look):
    """Draw a box that is given as (top, left, bottom, right)."""
    top, left, bottom, right = box
    look = {"fill": False, "edgecolor": color, "linewidth": 1.5, **look}
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, **look))


def shade_ranges(ax):
    """Mark the borders of the TBS ranges."""
    for border in (LOW, HIGH):
        ax.axvline(border, color=GREY, linestyle=":", linewidth=1)


def landing():
    """From a scan to its crop and the predicted TBS."""
    scans = plain_phantoms()
    crops, model = model_without_downloads()
    mean, std = model.predict_tbs(crops[:1], return_std=True)
    mean, std = float(mean[0]), float(np.ravel(std)[0])

    figure, axes = plt.subplots(
        1, 3, figsize=(7.6, 3), layout="constrained", width_ratios=[1, 1, 1.25]
    )
    show(axes[0], scans.images[0], "scan with L1-L4")
    for box in scans.boxes[0]:
        outline(axes[0], box, ORANGE)
    hull = [*scans.boxes[0].min(axis=0)[:2], *scans.boxes[0].max(axis=0)[2:]]
    square = CROPPER.square_of(scans.images[0].shape, hull)
    outline(axes[0], square, BLUE, linestyle="--")
    show(axes[1], crops[0], "crop")
    tbs = np.linspace(0.9, 1.6, 500)
    density = norm.pdf(tbs, mean, std)
    axes[2].plot(tbs, density, color=INK["light"], alpha=0)
    for low, high, color in [(0, LOW, ORANGE), (LOW, HIGH, GREY), (HIGH, 9, GREEN)]:
        inside = (tbs >= low) & (tbs <= high)
        axes[2].fill_between(tbs[inside], density[inside], color=color, alpha=0.75)
    shade_ranges(axes[2])
    axes[2].axvline(scans.tbs[0], color=BLUE)
    axes[2].text(scans.tbs[0] + 0.006, density.max() * 1.1, "TBS", color=BLUE)
    axes[2].set(
        title=f"P(degraded) = {norm.cdf(LOW, mean, std):.2f}",
        xlabel="predicted TBS",
        yticks=[],
        xticks=[1.0, LOW, HIGH, 1.5],
        ylim=(0, density.max() * 1.25),
    )
    axes[2].spines["left"].set_visible(False)
    return figure


def data():
    """TBS values and the classes that they become."""
    figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
    tbs = plain_phantoms().tbs
    bins = np.arange(0.9, 1.6001, 0.025)
    ranges = [
        ("degraded", tbs < LOW, ORANGE),
        ("partially degraded", (tbs >= LOW) & (tbs <= HIGH), GREY),
        ("normal", tbs > HIGH, GREEN),
    ]
    for name, of_range, color in ranges:
        ax.hist(tbs[of_range], bins, color=color, label=name)
    shade_ranges(ax)
    ax.set(xlabel="TBS", ylabel="phantoms", xticks=[1.0, 1.1, LOW, HIGH, 1.5])
    ax.legend()
    return figure


def pixel_size():
    """One vertebra with pixels of two sizes, and its variogram."""
    figure, axes = plt.subplots(
        1, 3, figsize=(7, 2.8), layout="constrained", width_ratios=[1, 1, 1.4]
    )
    sizes = {0.6: (280, 300), 0.3: (560, 600)}
    for ax, (spacing, size), color in zip(
        axes[:2], sizes.items(), (BLUE, ORANGE), strict=True
    ):
        scan = draw_phantoms(1, size=size, noise=0.0, random_state=3)
        top, left, bottom, right = scan.boxes[0, 2].round().astype(int)
        edge = round(3.6 / spacing)
        body = scan.images[0, top + edge : bottom - edge, left + edge : right - edge]
        show(ax, body, f"{scan.pixel_spacing[0]:.1f} mm")
        values = variogram(body.astype(float), lags=8).mean(axis=0)
        axes[2].plot(
            range(1, 9), values, "o-", color=color, label=f"{spacing} mm", markersize=4
        )
    axes[2].set(xlabel="lag (pixels)", ylabel="variogram", xscale="log", yscale="log")
    axes[2].set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    axes[2].minorticks_off()
    axes[2].legend()
    return figure


def cropping():
    """Boxes found in a varied phantom, the square of the crop, and the crop."""
    scans = draw_phantoms(1, appearance="varied", random_state=2)
    cropper = LumbarCropper(scale="fit")
    found = LumbarLocalizer().locate(scans.images).boxes
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.8), layout="constrained")
    show(axes[0], scans.images[0], "scan")
    show(axes[1], scans.images[0], "found")
    for level, box in enumerate(found[0]):
        outline(axes[1], box, ORANGE)
        axes[1].text(
            box[1] - 3,
            (box[0] + box[2]) / 2,
            f"L{level + 1}",
            color=ORANGE,
            ha="right",
            va="center",
            fontsize=8,
        )
    hull = np.array([*found[0].min(axis=0)[:2], *found[0].max(axis=0)[2:]])
    outline(axes[1], cropper.square_of(scans.images[0].shape, hull), BLUE, ls="--")
    crop = cropper.fit_transform([scans.images[0]], boxes=hull[np.newaxis])
    show(axes[2], crop[0], "crop")
    return figure


def approaches():
    """Show what each approach trains, freezes and leaves out."""
    figure, ax = plt.subplots(figsize=(7, 3.1), layout="constrained")
    parts = ["early", "middle", "late", "head"]
    looks = {
        "trained": (ORANGE, "white"),
        "frozen": (BLUE, "white"),
        "closed form": (GREEN, "white"),
        "unused": ("none", GREY),
    }
    rows = {
        'mode="full"': ["trained"] * 4,
        'mode="head"': ["frozen"] * 3 + ["trained"],
        "ad hoc": ["trained"] * 4,
        'mode="texture"': ["frozen", "frozen", "unused", "closed form"],
    }
    for i, (name, states) in enumerate(rows.items()):
        ax.text(-0.15, -i, name, ha="right", va="center")
        for j, (part, state) in enumerate(zip(parts, states, strict=True)):
            face, ink = looks[state]
            box = FancyBboxPatch(
                (j * 1.2, -i - 0.3),
                1,
                0.6,
                boxstyle="round,pad=0,rounding_size=0.1",
                facecolor=face,
                edgecolor=GREY if state == "unused" else face,
                linestyle="--" if state == "unused" else "-",
            )
            ax.add_patch(box)
            shown = "mean, std" if name == 'mode="texture"' and j < 2 else part
            ax.text(j * 1.2 + 0.5, -i, shown, ha="center", va="center", color=ink)
        origin = "from scratch" if name == "ad hoc" else "ImageNet"
        ax.text(4.75, -i, origin, ha="left", va="center")
    for state, (face, _) in looks.items():
        ax.scatter([], [], marker="s", s=80, color=face, edgecolor=GREY, label=state)
    ax.legend(loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0), columnspacing=1)
    ax.set(xlim=(-1.9, 6), ylim=(-3.5, 0.5))
    ax.set_axis_off()
    return figure


def teacher():
    """Show the probability of a class as an area under a normal distribution."""
    figure, axes = plt.subplots(
        1, 2, figsize=(6.5, 2.5), layout="constrained", sharey=True
    )
    tbs = np.linspace(0.95, 1.5, 500)
    for ax, mean in zip(axes, (1.16, 1.24), strict=True):
        density = norm.pdf(tbs, mean, 0.06)
        ax.plot(tbs, density, color=BLUE)
        ax.fill_between(tbs[tbs < LOW], density[tbs < LOW], color=ORANGE, alpha=0.75)
        shade_ranges(ax)
        ax.set(
            title=f"P(degraded) = {norm.cdf(LOW, mean, 0.06):.2f}",
            xlabel=f"TBS, predicted {mean:.2f} ± 0.06",
            yticks=[],
            xticks=[1.0, LOW, HIGH, 1.5],
            ylim=(0, None),
        )
        ax.spines["left"].set_visible(False)
    return figure


def augmentation():
    """Show a crop and augmented versions of it."""
    crop = CROPPER.fit_transform(plain_phantoms().frame[:1])[0]
    figure = plt.figure(figsize=(5, 3.7), layout="constrained")
    ContactSheetDisplay.from_augmentation(
        RandomAugmentation(),
        crop,
        n_versions=5,
        random_state=0,
        n_columns=3,
        figure=figure,
    )
    return figure


def evaluation():
    """Folds that keep the scans of each patient together."""
    n_scans = [1, 3, 2, 1, 2, 3, 1, 2, 3]
    patient = np.repeat(range(9), n_scans)
    degraded = np.isin(patient, [0, 2, 5, 7]).astype(int)
    splitter = StratifiedGroupKFold(3)
    figure, ax = plt.subplots(figsize=(7, 2.3), layout="constrained")
    folds = splitter.split(patient, degraded, patient)
    for fold, (_, test) in enumerate(folds):
        for scan in range(len(patient)):
            left = scan + 0.6 * patient[scan]
            color = ORANGE if scan in test else BLUE
            box = Rectangle((left, -fold - 0.35), 0.9, 0.7, facecolor=color)
            ax.add_patch(box)
    for number in range(9):
        places = np.flatnonzero(patient == number) + 0.6 * number
        ax.text(places.mean() + 0.45, 0.55, f"{number + 1}", ha="center", va="bottom")
    ax.text(-0.4, 0.55, "patient", ha="right", va="bottom")
    for fold in range(3):
        ax.text(-0.4, -fold, f"fold {fold + 1}", ha="right", va="center")
    for name, color in {"training": BLUE, "test": ORANGE}.items():
        ax.scatter([], [], marker="s", s=80, color=color, label=name)
    ax.legend(loc="upper center", ncols=2, bbox_to_anchor=(0.5, 0))
    ax.set(xlim=(-3, len(patient) + 5.5), ylim=(-2.5, 1.1))
    ax.set_axis_off()
    return figure


def tuning():
    """Show made-up learning curves, of which the best quarter goes on."""
    generator = np.random.default_rng(4)
    limits = generator.uniform(0.55, 0.85, 16)
    epochs = np.arange(1, 26)
    curves = limits[:, None] - (limits[:, None] - 0.5) * np.exp(-epochs / 6)
    curves += generator.normal(scale=0.008, size=curves.shape)
    best = np.argsort(curves[:, 4])[-4:]
    figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
    for trial, curve in enumerate(curves):
        end, color = (25, BLUE) if trial in best else (5, ORANGE)
        ax.plot(epochs[:end], curve[:end], color=color, linewidth=1.3)
        ax.plot(epochs[end - 1], curve[end - 1], "o", color=color, markersize=4)
    ax.axvline(5, color=GREY, linestyle=":", linewidth=1)
    ax.plot([], [], color=BLUE, label="runs to the end")
    ax.plot([], [], color=ORANGE, label="stopped")
    ax.set(xlabel="epoch of each fold", ylabel="mean score", xticks=[5, 10, 15, 20, 25])
    ax.legend()
    return figure


def serving():
    """From a fitted model to files that others use."""
    figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
    places = {
        "scans and TBS": (0, 1, GREY),
        "model": (2.2, 1, ORANGE),
        "model.tbs": (4.4, 1, BLUE),
        "table of scores": (6.8, 2, GREEN),
        "DICOM SR and SEG": (6.8, 1, GREEN),
        "ONNX": (6.8, 0, GREEN),
    }
    for name, (x, y, color) in places.items():
        box = FancyBboxPatch(
            (x - 0.85, y - 0.28),
            1.7 if x < 6 else 2.2,
            0.56,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=color,
            edgecolor=color,
        )
        ax.add_patch(box)
        middle = x if x < 6 else x + 0.25
        ax.text(middle, y, name, ha="center", va="center", color="white", fontsize=10)
    arrows = [
        ((0.85, 1), (1.35, 1), "fit"),
        ((3.05, 1), (3.55, 1), "save"),
        ((5.25, 1), (5.95, 2), ""),
        ((5.25, 1), (5.95, 1), ""),
        ((5.25, 1), (5.95, 0), ""),
    ]
    for start, end, label in arrows:
        arrow = FancyArrowPatch(start, end, arrowstyle="->", mutation_scale=14)
        arrow.set_color(GREY)
        ax.add_patch(arrow)
        ax.text((start[0] + end[0]) / 2, 1.12, label, ha="center", fontsize=9)
    ax.set(xlim=(-0.95, 8.25), ylim=(-0.4, 2.4))
    ax.set_axis_off()
    return figure


def texture():
    """Variograms of vertebrae by class."""
    scans = draw_phantoms(120, noise=0.0, class_shares=(1, 0, 1), random_state=0)
    curves = []
    for image, boxes in zip(scans.images, scans.boxes.round().astype(int), strict=True):
        bodies = [
            image[top + 6 : bottom - 6, left + 6 : right - 6].astype(float)
            for top, left, bottom, right in boxes
        ]
        curves.append(np.mean([variogram(b, lags=8).mean(axis=0) for b in bodies], 0))
    curves = np.array(curves)
    figure, ax = plt.subplots(figsize=(5.5, 3), layout="constrained")
    classes = {
        "degraded": (scans.tbs < LOW, ORANGE),
        "normal": (scans.tbs > HIGH, GREEN),
    }
    for name, (of_class, color) in classes.items():
        low, middle, high = np.quantile(curves[of_class], [0.25, 0.5, 0.75], axis=0)
        ax.plot(range(1, 9), middle, "o-", color=color, label=name, markersize=4)
        ax.fill_between(range(1, 9), low, high, color=color, alpha=0.25, linewidth=0)
    ax.set(xlabel="lag (pixels)", ylabel="variogram", xscale="log", yscale="log")
    ax.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    ax.minorticks_off()
    ax.legend()
    return figure


def phantoms():
    """Plain phantoms above, varied ones below."""
    figure, axes = plt.subplots(2, 4, figsize=(7, 3.7), layout="constrained")
    plain, varied = (
        draw_phantoms(4, appearance=appearance, random_state=1)
        for appearance in ("plain", "varied")
    )
    for column in range(4):
        show(axes[0, column], plain.images[column], f"TBS {plain.tbs[column]:.2f}")
        show(axes[1, column], varied.images[column])
    return figure


FIGURES = [
    landing,
    data,
    pixel_size,
    cropping,
    approaches,
    teacher,
    augmentation,
    evaluation,
    tuning,
    serving,
    texture,
    phantoms,
]


def draw_all(folder):
    """Write each figure for both themes, unless it is newer than this file."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    changed = Path(__file__).stat().st_mtime
    for draw in FIGURES:
        for theme in INK:
            path = folder / f"{draw.__name__}-{theme}.png"
            if path.exists() and path.stat().st_mtime > changed:
                continue
            with plt.rc_context(style(theme)):
                figure = draw()
                figure.savefig(path)
                plt.close(figure)


if __name__ == "__main__":
    draw_all(sys.argv[1])
