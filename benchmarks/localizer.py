"""Train the weights of `LumbarLocalizer`, and measure them.

Run ``python benchmarks/localizer.py train``, which takes 15 to 30 minutes of one core
and writes ``src/tbsclassify/localization/weights.safetensors``, or
``python benchmarks/localizer.py measure [SCANS]``, where SCANS, if given, is a folder
with ``images`` and ``scans.csv`` whose columns ``file``, ``subject`` and ``L1_top`` to
``L4_right`` describe real scans; scans without boxes are left out.
``python benchmarks/localizer.py crops`` compares models that see found boxes with those
that see true ones.

The weights are learned from phantoms alone: 2400 varied and 600 plain ones of seed 11,
none of which is among the measured ones (seeds 900 and 901).

It measures the mean intersection over union (IoU) over scans, of the hull of L1-L4 and
of the single vertebrae, and the share of scans whose levels are right: the boxes lie
within half a vertebra of the true ones on average. The mean box of the varied phantoms,
in shares of the frame, stands beside them. Intervals are 95 %
percentiles of 1000 bootstraps of the scans (of subjects, for real ones).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    LumbarLocalizer,
    VariogramFeatures,
    __version__,
    make_dxa_phantoms,
    read_scan,
)
from tbsclassify.localization import _adapt, _weights
from tbsclassify.localization._network import SpineNetwork, state_of
from tbsclassify.localization._prepare import prepare_scan, to_frame, to_scan
from tbsclassify.localization._targets import mask_examples
from tbsclassify.localization._training import draw_batches, train_network
from tbsclassify.metrics import difference_row

SEED = 11
SIZES = {"varied": 2400, "plain": 600}
N_STEPS = 1000
BATCH = {"varied": 20, "plain": 4}
LR = 4e-3
TRUST = 0.5  # of what was learned on phantoms, on scans
SIDES = ("top", "left", "bottom", "right")


def draw_phantoms():
    return {
        appearance: make_dxa_phantoms(
            n_patients,
            appearance=appearance,
            size=_adapt.PHANTOM_SIZE,
            return_masks=True,
            random_state=SEED,
        )
        for appearance, n_patients in SIZES.items()
    }


def train():
    start = time.process_time()
    phantoms = draw_phantoms()
    pictures = {
        name: [prepare_scan(scan) for scan in scans.images]
        for name, scans in phantoms.items()
    }
    sources = [
        (mask_examples(pictures[name], scans.masks), BATCH[name])
        for name, scans in phantoms.items()
    ]
    print(f"{time.process_time() - start:.0f} s: phantoms are drawn", flush=True)
    torch.manual_seed(SEED)
    network = SpineNetwork()
    batches = draw_batches(sources, torch.Generator().manual_seed(SEED))
    losses = []
    for loss in train_network(network, batches, N_STEPS, lr=LR):
        losses.append(loss)
        if len(losses) % 100 == 0:
            seconds, mean = time.process_time() - start, np.mean(losses[-100:])
            print(f"{seconds:.0f} s: step {len(losses)}, loss {mean:.3f}", flush=True)

    # All plain phantoms have the same ribs and crests, and are framed alike.
    varied, boxes = pictures["varied"], phantoms["varied"].boxes
    windows, shifts = _adapt.level_windows(network, varied, boxes)
    knowledge = _weights.Knowledge(
        state_of(network),
        _adapt.LevelModel.fit(windows, shifts, _adapt.C),
        _adapt.habits_of(varied, boxes, TRUST),
    )
    metadata = {
        "phantoms": ", ".join(f"{n} {name}" for name, n in SIZES.items()),
        "seed": str(SEED),
        "steps": str(N_STEPS),
        "tbsclassify": __version__,
        "torch": torch.__version__,
    }
    _weights.write_knowledge(knowledge, _weights.FILE, metadata)
    print(f"{time.process_time() - start:.0f} s: done; habits {knowledge.habits}")


def read_real(folder):
    table = pd.read_csv(folder / "scans.csv").dropna(subset="L1_top")
    images = [read_scan(folder / "images" / file) for file in table["file"]]
    columns = [f"L{level}_{side}" for level in range(1, 5) for side in SIDES]
    boxes = table[columns].to_numpy(float).reshape(-1, 4, 4)
    return images, boxes, table["subject"].to_numpy()


def overlap(boxes, truth):
    """Intersection over union of boxes (..., 4)."""
    low = np.maximum(boxes[..., :2], truth[..., :2])
    high = np.minimum(boxes[..., 2:], truth[..., 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area = sum(np.prod(b[..., 2:] - b[..., :2], axis=-1) for b in (boxes, truth))
    return shared / (area - shared)


def hull(boxes):
    return np.concatenate(
        [boxes[..., :2].min(axis=1), boxes[..., 2:].max(axis=1)], axis=-1
    )


def score(boxes, truth):
    """Return region IoU, vertebra IoU and whether the level is right, (n, 3)."""
    rows = (boxes[:, :, [0, 2]] - truth[:, :, [0, 2]]).mean(axis=(1, 2))
    pitch = (truth[:, 3, 2] - truth[:, 0, 0]) / 4
    right = np.abs(rows / pitch) < 0.5
    return np.stack(
        [overlap(hull(boxes), hull(truth)), overlap(boxes, truth).mean(axis=1), right],
        axis=1,
    )


def print_row(name, scores, groups, note=""):
    rng = np.random.default_rng(0)
    names = np.unique(groups)
    rows = [np.flatnonzero(groups == one) for one in names]
    means = [
        scores[
            np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))])
        ].mean(axis=0)
        for _ in range(1000)
    ]
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    cells = [
        f"{mean:.3f} [{a:.3f}, {b:.3f}]"
        for mean, a, b in zip(scores.mean(axis=0), low, high, strict=True)
    ]
    print(f"{name:34s}", "  ".join(cells), note, flush=True)


def mean_box(images, boxes_of_frames):
    frames = [prepare_scan(image).frame for image in images]
    return np.stack([to_scan(boxes_of_frames, frame) for frame in frames])


def print_errors(boxes, truth, confidence):
    pitch = (truth[:, 3, 2] - truth[:, 0, 0]) / 4
    off = (boxes[:, :, [0, 2]] - truth[:, :, [0, 2]]).mean(axis=(1, 2)) / pitch
    phase = off - np.rint(off)
    wrong = np.abs(off) >= 0.5
    print(
        f"    too low {np.mean(off >= 0.5):.2f}, too high {np.mean(off <= -0.5):.2f};"
        f" between the levels {np.mean(np.abs(phase) > 0.2):.2f};"
        f" median confidence right {np.median(confidence[~wrong]):.2f}"
        + (f", wrong {np.median(confidence[wrong]):.2f}" if wrong.any() else "")
    )


def measure(folder):
    print(" " * 34, "region IoU            vertebra IoU          level right")
    phantoms = draw_small()
    varied = phantoms["varied"]
    typical = np.mean(
        [
            to_frame(boxes, prepare_scan(scan).frame)
            for scan, boxes in zip(varied.images, varied.boxes, strict=True)
        ],
        axis=0,
    )
    for name, scans in phantoms.items():
        truth = scans.boxes
        print_row(
            f"{name} phantoms, mean box",
            score(mean_box(scans.images, typical), truth),
            scans.patient,
        )
        start = time.process_time()
        found = LumbarLocalizer(edges="endplate").locate(scans.images)
        speed = len(truth) / (time.process_time() - start)
        print_row(
            f"{name} phantoms",
            score(found.boxes, truth),
            scans.patient,
            f"{speed:.0f} scans/s",
        )
        print_errors(found.boxes, truth, found.level_confidence)
    if folder is not None:
        measure_real(folder, typical)


def measure_real(folder, typical):
    """Measure the shipped weights, and those fitted to half of the subjects."""
    images, truth, subjects = read_real(folder)
    print_row("real scans, mean box", score(mean_box(images, typical), truth), subjects)
    found = LumbarLocalizer().locate(images)
    print_row("real scans, as shipped", score(found.boxes, truth), subjects)
    print_errors(found.boxes, truth, found.level_confidence)
    boxes, confidence = np.empty_like(truth), np.empty(len(truth))
    start = time.process_time()
    for train_rows, test_rows in GroupKFold(2).split(images, groups=subjects):
        localizer = LumbarLocalizer(random_state=0)
        localizer.fit([images[i] for i in train_rows], boxes=truth[train_rows])
        found = localizer.locate([images[i] for i in test_rows])
        boxes[test_rows], confidence[test_rows] = found.boxes, found.level_confidence
    minutes = (time.process_time() - start) / 120
    print_row(
        "real scans, fitted on the other half",
        score(boxes, truth),
        subjects,
        f"{minutes:.1f} min a fit",
    )
    print_errors(boxes, truth, confidence)


def crops():
    """AUC of degraded bone with found and with true boxes, 600 phantoms of seed 902.

    Ridge regression of TBS, five folds by patient: on the variogram of the vertebrae,
    and on deep texture (random weights of ResNet-18) of crops.
    """
    scans = make_dxa_phantoms(600, random_state=902)
    table = scans.frame
    boxes = [f"L{level}_{side}" for level in range(1, 5) for side in SIDES]
    found = LumbarLocalizer(edges="endplate").transform_table(table.drop(columns=boxes))
    deep = DeepTextureFeatures("resnet18", weights=None, random_state=0)
    features = {
        "variogram": VariogramFeatures(),
        "deep texture": make_pipeline(LumbarCropper(160), deep),
    }
    degraded = scans.tbs < 1.2
    for name, transformer in features.items():
        scores = []
        for X in (found, table):
            model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
            predicted = cross_val_predict(
                model,
                transformer.fit_transform(X),
                scans.tbs,
                groups=scans.patient,
                cv=GroupKFold(5),
            )
            # Only ranks are looked at, so any fall with TBS will do.
            scores.append(1 / (1 + np.exp(20 * (predicted - 1.2))))
        areas = [roc_auc_score(degraded, one) for one in scores]
        row = difference_row(degraded, *scores, groups=scans.patient, random_state=0)
        print(
            f"{name}: AUC {areas[0]:.3f} with found boxes, {areas[1]:.3f} with true"
            f" ones, difference {row['roc_auc']:+.3f}"
            f" [{row['roc_auc_low']:+.3f}, {row['roc_auc_high']:+.3f}]",
            flush=True,
        )


def draw_small():
    size = _adapt.PHANTOM_SIZE
    return {
        "varied": make_dxa_phantoms(
            300, appearance="varied", size=size, random_state=900
        ),
        "plain": make_dxa_phantoms(200, random_state=901),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "measure", "crops"])
    parser.add_argument("scans", nargs="?", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "measure":
        measure(arguments.scans)
    else:
        {"train": train, "crops": crops}[arguments.what]()
