"""The network of ``phantom_weights.py``: its phantoms, training and features."""

import time

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.nn import functional

from tbsclassify import LumbarCropper
from tbsclassify.datasets._drawing import Recipe, draw_batch
from tbsclassify.datasets._population import LUMBAR, draw_patients
from tbsclassify.datasets._texture import hurst_exponent

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
