"""Sanity checks of saliency maps, on phantoms.

Run ``python benchmarks/saliency.py [N] [SEED]``. It fits models without downloaded
weights to N (default 120) plain phantoms, half of them degraded, and attributes the
score of degraded bone to the pixels of 20 others. "In vertebrae" is the mean strength
inside the outlines of L1-L4 over that outside; "random" is the same with all weights
of the network drawn anew. "Correlation" is Spearman's between both maps of a scan.
Each has its median over scans, and the 5th and 95th percentile; seconds are those of a
scan of 112 x 112 pixels on one core.
"""

import copy
import sys
import time

import numpy as np
import torch
from scipy.stats import spearmanr

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSPretrainedClassifier,
    make_dxa_phantoms,
    saliency,
)

N_TEST = 20


def randomised(model, seed):
    """Return a copy of a fitted model whose weights are random, of equal spread."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.net_.module_.parameters():
            if weight.numel() > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.copy_(weight.std() * noise)
    return model


def in_vertebrae(maps, masks):
    ratios = []
    for strength, mask in zip(np.abs(maps), masks, strict=True):
        inside = (mask >= 1) & (mask <= 4)
        ratios.append(strength[inside].mean() / strength[~inside].mean())
    return ratios


def percentiles(values):
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:5.2f} [{low:5.2f}, {high:5.2f}]"


def main(n="120", seed="0"):
    n_train, seed = int(n), int(seed)
    scans = make_dxa_phantoms(
        n_train + N_TEST, class_shares=(1, 0, 1), return_masks=True, random_state=seed
    )
    table = scans.frame.assign(mask=list(scans.masks))
    table = LumbarCropper(112, scale=0.5).transform_table(table)
    crops, masks = np.stack(table["image"]), np.stack(table["mask"])[n_train:]
    y, tbs = scans.tbs < 1.2, scans.tbs[:n_train]
    settings = {"weights": None, "random_state": seed}
    models = {
        "texture": (TBSPretrainedClassifier(**settings), {"tbs": tbs}),
        "head": (TBSPretrainedClassifier(mode="head", **settings), {}),
        "full": (TBSPretrainedClassifier(mode="full", max_epochs=4, **settings), {}),
        "ad hoc": (
            TBSAdHocClassifier(2, (8, 16), (16,), max_epochs=30, random_state=seed),
            {},
        ),
    }
    for name, (model, options) in models.items():
        model.fit(crops[:n_train], y[:n_train], **options)
        start = time.perf_counter()
        maps = saliency(model, crops[n_train:])
        seconds = (time.perf_counter() - start) / N_TEST
        others = saliency(randomised(model, seed), crops[n_train:])
        correlations = [
            spearmanr(one.ravel(), other.ravel()).statistic
            for one, other in zip(maps, others, strict=True)
        ]
        print(
            f"{name:8s} in vertebrae {percentiles(in_vertebrae(maps, masks))}, "
            f"random {percentiles(in_vertebrae(others, masks))}; correlation "
            f"{percentiles(correlations)}; {seconds:.2f} s",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
