"""Train a small network on phantoms, in place of ImageNet's weights, and measure it.

``python benchmarks/phantom_weights.py draw FOLDER`` draws 5000 phantoms, in chunks of
one setting each, ``train FOLDER`` learns what they show and writes FOLDER/weights.npz
(some minutes of a core each, less with a GPU), and ``measure FOLDER --weights FILE
--real SCANS`` compares. **The weights have not won, so the library comes without
them.** The figures, and what speaks for trying again, are at the end.

Trained is on phantoms of sites 0 and 1, plain and varied, with pixels of 0.45-0.85 mm
and other frames, a noise of 0.015-0.06 g/cm2 and an `h_gain` of 0.9-2. What is learned
is the mean Hurst exponent of L1-L4, the part of the TBS that the image shows. Measured
is on phantoms of the default setting, of which only the seed was not trained on, and of
settings that were not trained on (`UNSEEN`).

As features, the statistics of the network's maps stand beside those of SqueezeNet's
early layers, with ImageNet's and with random weights, and beside the variogram; the
head is a ridge regression on TBS, fitted on n scans of the training folds. "direct" is
the network's own output, with a line fitted to those n. Folds are by patient, and
differences of AUCs paired, with 95 % intervals by patient. SCANS are as in
``benchmarks/models.py --real``: classes of bone DENSITY, normal against osteoporosis.

The weights come with the library only if, as fixed before anything was measured,

1. as features, with n = 300, no unseen setting has an AUC more than .01 below that of
   ImageNet's early layers,
2. on real scans the interval of the difference to ImageNet's is not wholly below 0,
3. on the unseen settings together, and on real scans, the interval of the difference to
   random weights is wholly above 0.

The first holds for one setting of four, the second does not, the third on phantoms
only. AUCs with 5000 phantoms (4500 to train on), 800 steps, 50,058 weights (112 kB),
PyTorch 2.14.1 on an AMD EPYC processor with AVX2, one thread, seed 12 of the default
setting and 100 to 400 of the others:

============= === ======== ====== ========= ======= ====== =======================
Scans         n   ImageNet random variogram phantom direct phantom less ImageNet
============= === ======== ====== ========= ======= ====== =======================
real, density all 0.908    0.779  0.726     0.833   0.692  -0.075 [-0.158, -0.009]
literal       100 0.712    0.675  0.677     0.789   0.775  +0.076 [+0.028, +0.127]
literal       300 0.773    0.728  0.713     0.812   0.775  +0.038 [+0.005, +0.074]
site 2        100 0.882    0.845  0.859     0.878   0.875  -0.004 [-0.026, +0.019]
site 2        300 0.900    0.881  0.868     0.887   0.875  -0.013 [-0.034, +0.007]
pixels 1 mm   100 0.830    0.817  0.784     0.823   0.756  -0.007 [-0.063, +0.049]
pixels 1 mm   300 0.866    0.848  0.847     0.840   0.756  -0.027 [-0.069, +0.015]
noise 0.09    100 0.823    0.794  0.768     0.814   0.787  -0.009 [-0.050, +0.031]
noise 0.09    300 0.856    0.813  0.797     0.829   0.787  -0.028 [-0.068, +0.013]
all unseen    100 0.810    0.780  0.770     0.826   0.799  +0.016 [-0.007, +0.039]
all unseen    300 0.847    0.815  0.804     0.842   0.799  -0.006 [-0.024, +0.012]
default       100 0.879    0.818  0.873     0.871   0.888  -0.007 [-0.024, +0.009]
default       300 0.911    0.875  0.881     0.885   0.888  -0.026 [-0.043, -0.009]
default       all 0.914    0.876  0.887     0.887   0.888  -0.026 [-0.043, -0.012]
============= === ======== ====== ========= ======= ====== =======================

Less random weights, the phantom's are +0.054 [-0.010, +0.120] on real scans and +0.026
[+0.005, +0.048] on all unseen phantoms with n = 300. The output that was never fitted
correlates with TBS by 0.75 (default), 0.73 (site 2), 0.50 (literal), 0.46 (1 mm) and
0.53 (noise 0.09). The loss was still falling, from 0.42 to 0.28: with more phantoms and
steps these weights may become better on phantoms. That they would on real scans, where
ImageNet's win clearly, is not to be seen from this.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from joblib import Parallel, delayed
from models import RidgeOnTBS, compress, print_table, read_real
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import StratifiedGroupKFold
from torch import nn
from torch.nn import functional

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    TBSLabeler,
    VariogramFeatures,
)
from tbsclassify.datasets._drawing import Recipe, draw_batch
from tbsclassify.datasets._population import LUMBAR, draw_patients
from tbsclassify.datasets._texture import hurst_exponent
from tbsclassify.metrics import classification_row, difference_row

SIDE = 224
CHUNK = 250
FIRST_SEED = 1_000_000  # of chunk 0; no other phantoms have such seeds
SITES = (0, 1)  # to train on
PLAIN = {
    "scans_per_patient": 1,
    "size": (280, 300),
    "bit_depth": 8,
    "noise": 0.030,
    "h_gain": 1.35,
    "varied": False,
    "return_masks": False,
}
WIDTHS = (24, 32, 48, 64)
WINDOW = (96, 96)
BATCH = 32
LR = 3e-3
WEIGHT_DECAY = 0.01
# Name: how it differs from the default, and the side of a crop around L1-L4.
UNSEEN = {
    "literal": ({"h_gain": "literal"}, SIDE),
    "site 2": ({"sites": (2,)}, SIDE),
    "pixels 1 mm": ({"size": (168, 180)}, 144),
    "noise 0.09": ({"noise": 0.09}, SIDE),
}
N_UNSEEN = 400
N_DEFAULT = 600
N_FOLDS = 5
SIZES = (100, 300)
FEATURES = ("ImageNet", "random", "variogram", "phantom", "direct")
DIFFERENCES = (
    ("phantom", "ImageNet"),
    ("phantom", "random"),
    ("direct", "ImageNet"),
)


class PhantomNetwork(nn.Module):
    """Four convolutions; of each map, statistics inside and outside of bone.

    Where bone is, it learns with the rest, from the Hurst exponent alone.
    """

    def __init__(self):
        super().__init__()
        a, b, c, d = WIDTHS
        self.blocks = nn.ModuleList(
            [
                _block(1, a, side=5, stride=2),
                _block(a, b, side=3, stride=2),
                _block(b, c, side=3, stride=1),
                _block(c, d, side=3, stride=2),
            ]
        )
        self.region = nn.Conv2d(d, 1, 1)
        n_features = 4 * sum(WIDTHS)
        self.head = nn.Sequential(
            nn.BatchNorm1d(n_features, affine=False), nn.Linear(n_features, 1)
        )

    def features(self, images):
        """Return means and deviations, shape (n, 4 * channels)."""
        x, maps = (images - 100) / 60, []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        inside = self.region(x).sigmoid()
        weights = torch.cat([inside, 1 - inside], dim=1)
        weights = weights / weights.sum(dim=(2, 3), keepdim=True).clamp(min=1e-3)
        columns = []
        for one in maps:
            # As maps at the deepest resolution, so that one set of weights serves all.
            moments = [
                torch.einsum(
                    "nchw,nrhw->nrc",
                    functional.adaptive_avg_pool2d(power, inside.shape[2:]),
                    weights,
                )
                for power in (one, one * one)
            ]
            mean = moments[0].flatten(1)
            square = moments[1].flatten(1)
            columns += [mean, (square - mean**2).clamp(min=1e-6).sqrt()]
        return torch.cat(columns, dim=1)

    def forward(self, images):  # noqa: D102
        return self.head(self.features(images))[:, 0]


def _block(n_in, n_out, side, stride):
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, side, stride, padding=side // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )


def draw_scans(n_scans, sites=None, *, seed, **options):
    """Draw phantoms of some sites, as make_dxa_phantoms does of all.

    Returns scans, boxes, TBS, the Hurst exponent that each shows, and patients.
    """
    recipe = Recipe(seed=seed, **PLAIN | options)
    patients = draw_patients(seed, range(4 * n_scans))
    wanted = np.isin(patients.site, range(3) if sites is None else sites)
    numbers = np.flatnonzero(wanted)[:n_scans]
    patients = patients[numbers]
    scans = draw_batch(recipe, numbers, patients)
    facts = [scan.facts for scan in scans]
    return (
        [scan.image for scan in scans],
        np.stack([one["all_boxes"][LUMBAR] for one in facts]),
        np.round([one["tbs_vertebrae"].mean() for one in facts], 3),
        hurst_exponent(patients.image_tbs[:, LUMBAR], recipe.h_gain).mean(axis=1),
        numbers,
    )


def draw_chunk(number):
    """Draw crops of one setting, and the Hurst exponent that each shows.

    Half the chunks are varied phantoms, and half of those have as few pixels as
    scans in public collections.
    """
    rng = np.random.default_rng([FIRST_SEED, number])
    varied = number % 2 == 1
    spacing = rng.uniform(0.45, 0.85)
    if not varied:
        size = (round(168 / spacing), round(180 / spacing))
    elif number % 4 == 1:
        size = "varied"
    else:
        size = (int(rng.integers(200, 320)), int(rng.integers(200, 320)))
    images, boxes, _, hurst, _ = draw_scans(
        CHUNK,
        SITES,
        seed=FIRST_SEED + number,
        size=size,
        noise=float(np.exp(rng.uniform(np.log(0.015), np.log(0.06)))),
        h_gain=float(rng.uniform(0.9, 2.0)),
        varied=varied,
    )
    return LumbarCropper(SIDE).fit_transform(images, boxes=boxes), hurst


def draw(folder, n_phantoms):
    folder.mkdir(parents=True, exist_ok=True)

    def draw_one(number):
        crops, hurst = draw_chunk(number)
        np.savez(folder / f"{number:04d}.npz", crops=crops, hurst=hurst)

    Parallel(n_jobs=-1)(delayed(draw_one)(i) for i in range(n_phantoms // CHUNK))


def read_chunks(folder):
    chunks = [np.load(file) for file in sorted(folder.glob("[0-9]*.npz"))]
    hurst = np.concatenate([chunk["hurst"] for chunk in chunks])
    crops = np.empty((len(hurst), SIDE, SIDE), np.uint8)
    for i, chunk in enumerate(chunks):
        crops[i * CHUNK : (i + 1) * CHUNK] = chunk["crops"]
    return torch.from_numpy(crops), torch.from_numpy(hurst).float()


def windows(crops, rows, generator):
    """Cut a window around the spine from each crop, mirrored and shown otherwise."""

    def uniform(low, high):
        return low + (high - low) * torch.rand(len(rows), generator=generator)

    device = crops.device
    height, width = WINDOW
    tops = uniform(16, SIDE - 16 - height).long()
    lefts = ((SIDE - width) / 2 + uniform(-24, 24)).long()
    batch = torch.stack(
        [
            crops[row, top : top + height, left : left + width]
            for row, top, left in zip(
                rows.tolist(), tops.tolist(), lefts.tolist(), strict=True
            )
        ]
    )[:, None].float()
    mirrored = uniform(0, 1) < 0.5
    batch = torch.where(mirrored[:, None, None, None].to(device), batch.flip(3), batch)
    contrast = uniform(-0.3, 0.3).exp()[:, None, None, None].to(device)
    shift = uniform(-20, 20)[:, None, None, None].to(device)
    return ((batch - 100) * contrast + 100 + shift).clamp_(0, 255)


def train(folder, n_steps):
    crops, hurst = read_chunks(folder)
    n = len(hurst) - 2 * CHUNK  # one plain and one varied chunk are kept to look at
    mean, std = hurst[:n].mean(), hurst[:n].std()
    torch.manual_seed(FIRST_SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = PhantomNetwork().to(device, memory_format=torch.channels_last)
    crops, targets = crops.to(device), ((hurst - mean) / std).to(device)
    n_weights = sum(one.numel() for one in network.parameters())
    print(f"{n} phantoms to train, {n_weights} weights, {n_steps} steps", flush=True)
    generator = torch.Generator().manual_seed(FIRST_SEED)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, n_steps)
    start, losses, order = time.monotonic(), [], torch.empty(0, dtype=torch.long)
    for step in range(1, n_steps + 1):
        if len(order) < BATCH:
            order = torch.randperm(n, generator=generator)
        rows, order = order[:BATCH], order[BATCH:]
        output = network(windows(crops, rows, generator))
        loss = functional.huber_loss(output, targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0:
            seconds = time.monotonic() - start
            print(
                f"{seconds:.0f} s: step {step}, {np.mean(losses[-100:]):.3f}",
                flush=True,
            )
        if step % 500 == 0 or step == n_steps:
            write(network, folder / "weights.npz")
            _, found = describe(network, crops[n:])
            for name, part in zip(("plain", "varied"), np.split(found, 2), strict=True):
                truth = hurst[n:].numpy()[0 if name == "plain" else CHUNK :][:CHUNK]
                print(f"    {name}: r {np.corrcoef(part, truth)[0, 1]:.3f}", flush=True)


def write(network, file):
    """Store the weights in half precision."""
    state = network.state_dict().items()
    np.savez(file, **{k: v.cpu().numpy().astype(np.float16) for k, v in state})


def read(file):
    network = PhantomNetwork().to(memory_format=torch.channels_last)
    arrays = np.load(file)
    network.load_state_dict({k: torch.from_numpy(arrays[k]) for k in arrays.files})
    return network


@torch.inference_mode()
def describe(network, crops):
    """Return features of crops, means with those of their mirror images, and output."""
    network.eval()
    features = []
    for batch in torch.as_tensor(crops).split(16):
        batch = batch[:, None].float()
        views = [network.features(view) for view in (batch, batch.flip(3))]
        features.append((views[0] + views[1]) / 2)
    features = torch.cat(features)
    output = network.head(features)[:, 0].cpu().numpy()
    network.train()
    return features.cpu().numpy(), output


def make_features(crops, textures, weights, network):
    """Return all features of scans by name, the network's own output among them."""
    trained, output = describe(network, crops)
    return {
        "ImageNet": compress(DeepTextureFeatures(weights=weights).fit_transform(crops)),
        "random": compress(
            DeepTextureFeatures(weights=None, random_state=0).fit_transform(crops)
        ),
        "variogram": textures,
        "phantom": compress(trained),
        "direct": output[:, None],
    }


def cross_validate(features, y, tbs, patient, n_train, n_repeats=1):
    """Return the scores of all scans by features, and the scans and their folds."""
    scores, tested, folds = {name: [] for name in features}, [], []
    for repeat in range(n_repeats):
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=repeat)
        for train, test in splitter.split(tbs, y, patient):
            rng = np.random.default_rng(len(folds))
            train = rng.permutation(train)[:n_train]
            for name, columns in features.items():
                known = {"groups": patient[train], "tbs": tbs[train]}
                if name == "direct":
                    line = LinearRegression().fit(columns[train], tbs[train])
                    score = 1 / (1 + np.exp(20 * (line.predict(columns[test]) - 1.2)))
                else:
                    head = RidgeOnTBS().fit(columns[train], y[train], **known)
                    proba = head.predict_proba(columns[test])
                    # Of the two outer classes, where there is one between.
                    score = proba[:, -1] / (proba[:, 0] + proba[:, -1])
                scores[name].append(score)
            folds.append(np.full(len(test), len(folds)))
            tested.append(test)
    scores = {name: np.concatenate(parts) for name, parts in scores.items()}
    return scores, np.concatenate(tested), np.concatenate(folds)


def line_of(name, n_train, y, scores, groups, folds):
    """Return a line of the table: AUCs, and the differences that decide."""
    options = {"groups": groups, "folds": folds, "pos_label": True}
    cells = [name, str(n_train or "all")]
    for one in FEATURES:
        row = classification_row(y, scores[one], **options, n_bootstrap=0)
        cells.append(f"{row['roc_auc']:.3f}")
    for one, other in DIFFERENCES:
        row = difference_row(y, scores[one], scores[other], **options, random_state=0)
        low, high = row["roc_auc_low"], row["roc_auc_high"]
        cells.append(f"{row['roc_auc']:+.3f} [{low:+.3f}, {high:+.3f}]")
    return cells


def measure_real(folder, weights, network):
    scans = read_real(folder)
    crops = LumbarCropper(SIDE).fit_transform(scans.X)
    textures = VariogramFeatures().fit_transform(scans.X)
    features = make_features(crops, textures, weights, network)
    known = scans.y, scans.tbs, scans.patient
    scores, tested, folds = cross_validate(features, *known, None, n_repeats=4)
    outer = scans.y[tested] != 1
    scores = {name: score[outer] for name, score in scores.items()}
    tested, folds = tested[outer], folds[outer]
    y, groups = scans.y[tested] == 2, scans.patient[tested]
    return y, scores, groups, folds


def measure_phantoms(name, seed, sizes, weights, network):
    """Score phantoms of a setting; yield n, classes, scores, patients and folds."""
    options, side = UNSEEN.get(name, ({}, SIDE))
    n_scans = N_UNSEEN if name in UNSEEN else N_DEFAULT
    images, boxes, tbs, _, patient = draw_scans(n_scans, seed=seed, **options)
    crops = LumbarCropper(side).fit_transform(images, boxes=boxes)
    textures = VariogramFeatures().fit_transform(images, boxes=boxes)
    features = make_features(crops, textures, weights, network)
    r = np.corrcoef(features["direct"][:, 0], tbs)[0, 1]
    y = TBSLabeler().fit_transform(tbs)
    print(f"{name}, seed {seed}: {n_scans} scans, {y.sum()} degraded; r of TBS")
    print(f"    with the output of the network, never fitted: {r:.3f}", flush=True)
    for n in sizes:
        scores, tested, folds = cross_validate(features, y, tbs, patient, n)
        # Patients and folds of other settings are others.
        yield n, y[tested] == 1, scores, patient[tested] + 10_000 * seed, folds + seed


def measure(folder, weights, real):
    network = read(folder / "weights.npz")
    lines = [["Scans", "n", *FEATURES, *(f"{a} less {b}" for a, b in DIFFERENCES)]]

    def add(*line):
        lines.append(line_of(*line))
        print(*lines[-1], flush=True)

    if real is not None:
        add("real, density", None, *measure_real(real, weights, network))
    pooled = {n: [] for n in SIZES}
    for seed, name in zip(range(100, 1000, 100), UNSEEN, strict=False):
        for n, *part in measure_phantoms(name, seed, SIZES, weights, network):
            add(name, n, *part)
            pooled[n].append(part)
    for n, parts in pooled.items():
        y, scores, groups, folds = zip(*parts, strict=True)
        together = {one: np.concatenate([s[one] for s in scores]) for one in FEATURES}
        rest = (np.concatenate(one) for one in (groups, folds))
        add("all unseen", n, np.concatenate(y), together, *rest)
    for n, *part in measure_phantoms("default", 12, (*SIZES, None), weights, network):
        add("default", n, *part)
    print_table(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["draw", "train", "measure"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--n-phantoms", type=int, default=5000)
    parser.add_argument("--n-steps", type=int, default=800)
    parser.add_argument("--weights", default="imagenet", metavar="FILE")
    parser.add_argument("--real", type=Path, metavar="SCANS")
    arguments = parser.parse_args()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cut off a part")
        if arguments.what == "draw":
            draw(arguments.folder, arguments.n_phantoms)
        elif arguments.what == "train":
            train(arguments.folder, arguments.n_steps)
        else:
            measure(arguments.folder, arguments.weights, arguments.real)
