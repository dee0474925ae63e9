"""Time the paper's nine networks: ours, plain skorch and bare PyTorch.

Run ``python benchmarks/training.py [NETWORK ...]`` on an idle machine (25 minutes on
two cores for all), with ``--contenders ours skorch`` for some columns only. It prints
the fourteen rows of the paper's Tables III to V: seconds for 10 epochs on the paper's
1915 training images, and peak memory, of

- ours: the classifier as a user makes it, ``precision="auto"``, 8-bit scans in;
- ours32: the same in float32;
- skorch: a NeuralNetClassifier with the same network, its own DataLoader, and scans
  normalised to float32 beforehand, as its user would do;
- torch: a loop over shuffled slices of the same float32 tensor;
- torch16: that loop, by a hand that knows of bfloat16 autocast and channels_last.

Where the processor does not compute with bfloat16, "auto" is float32 and torch16 would
be slower than torch, so ours32 and torch16 are left out. All train on the same device
from random weights with the paper's batch size and optimiser; scans are random numbers.
Head mode freezes all but the new layer.
Each contender runs in a process of its own, and the first epoch is not counted. A GPU
trains on all images, a CPU on a few batches (``N_BATCHES``), and seconds are
extrapolated from them in proportion to the number of images. What head mode spends
once, on features and on building the network, is measured by fits on two numbers of
images.

The last lines are the geometric means of how many times faster ours is (those of head
mode for its 20 epochs), and how much faster than plain skorch whole networks could be
on a CPU whose every operation ran at the speed of its matrix products.
"""

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np
import torch
import torchvision
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tbsclassify import TBSAdHocClassifier, TBSPretrainedClassifier
from tbsclassify.estimators._device import resolve_precision
from tbsclassify.estimators._networks import PAPER_BACKBONES, PAPER_MODELS

SIDE = 224
N_IMAGES = 1915
N_EPOCHS = 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N_BATCHES = {"vgg16": 1, "densenet121": 2}
CONTENDERS = ("ours", "ours32", "skorch", "torch", "torch16")
# Seconds per 10 epochs on a GeForce GTX 1070, Tables III to V of the paper.
PAPER_SECONDS = {
    ("resnet18", "full"): 83.69,
    ("alexnet", "full"): 60.49,
    ("vgg16", "full"): 400.03,
    ("densenet121", "full"): 220.43,
    ("squeezenet1_0", "full"): 86.18,
    ("resnet18", "head"): 39.25,
    ("alexnet", "head"): 28.14,
    ("vgg16", "head"): 148.2,
    ("densenet121", "head"): 93.59,
    ("squeezenet1_0", "head"): 44.73,
    ("model1", "ad hoc"): 41.00,
    ("model2", "ad hoc"): 44.62,
    ("model3", "ad hoc"): 36.80,
    ("model4", "ad hoc"): 55.61,
}


def build(name, mode):
    """Make the network that a user of plain PyTorch would."""
    if mode == "ad hoc":
        return build_ad_hoc(**PAPER_MODELS[name])
    network = torchvision.models.get_model(name, weights=None)
    network.requires_grad_(mode == "full")
    if name == "squeezenet1_0":
        network.classifier[0].p = 0.4
        network.classifier[1] = nn.Conv2d(512, 2, kernel_size=1)
        network.classifier[2] = nn.Identity()
        return network
    attribute = "fc" if hasattr(network, "fc") else "classifier"
    head = getattr(network, attribute)
    last = head[-1] if isinstance(head, nn.Sequential) else head
    new = nn.Sequential(nn.Dropout(0.4), nn.Linear(last.in_features, 2))
    if isinstance(head, nn.Sequential):
        head[-1] = new
    else:
        setattr(network, attribute, new)
    return network


def build_ad_hoc(filters, fc, **_):
    layers, channels, side = [], 1, SIDE
    for n_filters in filters:
        layers += [
            nn.Conv2d(channels, n_filters, 3),
            nn.BatchNorm2d(n_filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels, side = n_filters, (side - 2) // 2
    layers.append(nn.Flatten())
    width = channels * side**2
    for n_units in fc:
        layers += [nn.Linear(width, n_units), nn.ReLU()]
        width = n_units
    return nn.Sequential(*layers, nn.Linear(width, 2))


def make_ours(name, mode, n_epochs, precision):
    options = {"max_epochs": n_epochs, "precision": precision}
    if mode == "ad hoc":
        return TBSAdHocClassifier.from_paper(name, early_stopping=False, **options)
    return TBSPretrainedClassifier.from_paper(name, mode, weights=None, **options)


def time_ours(name, mode, scans, y, precision):
    """Return the seconds per image spent once, and in an epoch, and those at the start.

    Only head mode spends any time on an image but in epochs.
    """
    if mode != "head":
        model = make_ours(name, mode, N_EPOCHS, precision).fit(scans, y)
        return 0.0, statistics.median(model.history_["seconds"][1:]) / len(scans), 0.0
    few = len(scans) // 3
    make_ours(name, mode, 1, precision).fit(scans[:few], y[:few])  # warms up
    spent = []
    for n in (few, len(scans)):
        start = time.perf_counter()
        model = make_ours(name, mode, 20, precision).fit(scans[:n], y[:n])
        spent.append(time.perf_counter() - start)
        epoch = statistics.median(model.history_["seconds"])
        spent[-1] -= 20 * epoch
    once = (spent[1] - spent[0]) / (len(scans) - few)
    return once, epoch / len(scans), max(0.0, spent[0] - once * few)


def time_skorch(name, mode, images, y, batch_size, momentum, device):
    net = NeuralNetClassifier(
        build(name, mode),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=momentum,
        lr=1e-4,
        batch_size=batch_size,
        max_epochs=N_EPOCHS,
        iterator_train__shuffle=True,
        train_split=None,
        device=device,
        verbose=0,
    ).fit(images, y)
    return statistics.median(net.history[1:, "dur"]) / len(images)


def time_torch(name, mode, images, y, batch_size, momentum, device, bfloat16=False):
    network = build(name, mode).to(device).train()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-4, momentum=momentum)
    images = torch.from_numpy(images).to(device)
    y = torch.from_numpy(y).to(device)
    if bfloat16:
        network = network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(N_EPOCHS):
        start = time.perf_counter()
        order = torch.randperm(len(images), device=device)
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
                outputs = network(images[batch])
            loss = nn.functional.cross_entropy(outputs.float(), y[batch])
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]) / len(images)


def measure(name, mode, contender):
    """Print one contender's figures, in a process of its own, as JSON."""
    model = PAPER_MODELS.get(name, {"batch_size": 24, "momentum": 0.9})
    batch_size = model["batch_size"]
    n_batches = N_BATCHES.get(name, 3) if mode == "full" else 3
    n = N_IMAGES if DEVICE == "cuda" else batch_size * n_batches
    rng = np.random.default_rng(0)
    scans = rng.integers(0, 256, (n, SIDE, SIDE)).astype(np.uint8)
    y = np.arange(n) % 2
    once = start = 0.0
    if contender in ("ours", "ours32"):
        precision = "auto" if contender == "ours" else "float32"
        once, epoch, start = time_ours(name, mode, scans, y, precision)
    else:
        images = ((scans - scans.mean()) / scans.std()).astype(np.float32)[:, None]
        if mode != "ad hoc":
            images = np.repeat(images, 3, axis=1)
        time_epoch = {
            "skorch": time_skorch,
            "torch": time_torch,
            "torch16": partial(time_torch, bfloat16=True),
        }[contender]
        momentum = model["momentum"]
        epoch = time_epoch(name, mode, images, y, batch_size, momentum, DEVICE)
    seconds = {
        n_epochs: start + N_IMAGES * (once + n_epochs * epoch) for n_epochs in (10, 20)
    }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**30
    print(json.dumps([seconds[10], seconds[20], peak]))


def matrix_flops():
    """Return the floating-point operations a second of products of matrices."""
    a = torch.randn(2048, 2048)
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 2 * len(a) ** 3 / min(seconds)


def fewest_seconds(name, flops):
    """Return the seconds of 10 epochs if nothing but arithmetic took any time."""
    with FlopCounterMode(display=False) as counter:
        build(name, "full")(torch.zeros(1, 3, SIDE, SIDE))
    # Gradients of a layer's input and of its weights cost as much again, each.
    return 10 * N_IMAGES * 3 * counter.get_total_flops() / flops


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK")
    parser.add_argument(
        "--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS
    )
    return parser.parse_args()


def main():
    options = parse()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    flops = matrix_flops()
    contenders, auto = ["ours", *options.contenders], "bfloat16"
    contenders = list(dict.fromkeys(contenders))
    if resolve_precision("auto", DEVICE, (1, SIDE, SIDE)) is None:
        contenders = [one for one in contenders if not one.endswith(("32", "16"))]
        auto = "float32, for want of bfloat16: ours32 and torch16 are left out"
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f'precision="auto" is {auto}; seconds per 10 epochs on {N_IMAGES} images, '
        "peak memory in GiB"
    )
    others = contenders[1:]
    columns = [*contenders, "GTX 1070", *(f"{one}/ours" for one in others), *contenders]
    print(f"{'':22s}", *(f"{column:>12s}" for column in columns), flush=True)
    ratios, limits = {}, []
    for mode, name in itertools.chain(
        itertools.product(("full", "head"), PAPER_BACKBONES),
        itertools.product(("ad hoc",), PAPER_MODELS),
    ):
        if options.networks and name not in options.networks:
            continue
        figures = {one: measure_apart(name, mode, one) for one in contenders}
        column = 1 if mode == "head" else 0
        row = [figures[other][column] / figures["ours"][column] for other in others]
        ratios.setdefault(mode, []).append(row)
        if mode == "full" and "skorch" in contenders and DEVICE == "cpu":
            limits.append(figures["skorch"][0] / fewest_seconds(name, flops))
        print(
            f"{name + ' ' + mode:22s}",
            *(f"{seconds:12.1f}" for seconds, _, _ in figures.values()),
            f"{PAPER_SECONDS[name, mode]:12.1f}",
            *(f"{ratio:12.2f}" for ratio in row),
            *(f"{memory:12.2f}" for _, _, memory in figures.values()),
            flush=True,
        )
    print_means(ratios, others)
    if limits:
        print(
            f"At the {flops / 1e9:.0f} GFLOP/s of matrix products, full could be "
            f"{statistics.geometric_mean(limits):.2f} x plain skorch at best."
        )


def measure_apart(*what):
    """Run `measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", *what]
    done = subprocess.run(command, capture_output=True, check=True)
    return json.loads(done.stdout)


def print_means(ratios, others):
    for mode, rows in ratios.items() if others else ():
        means = (statistics.geometric_mean(ratio) for ratio in zip(*rows, strict=True))
        print(
            f"{mode}: ours is",
            ", ".join(
                f"{mean:.2f} x as fast as {other}"
                for mean, other in zip(means, others, strict=True)
            ),
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        measure(*sys.argv[2:])
    else:
        main()
