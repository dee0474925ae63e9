"""Time training: ours, plain skorch and bare PyTorch on the same scans.

Run ``python benchmarks/training.py [n_scans] [n_epochs]`` on an idle machine. For
SqueezeNet 1.0 and Model 4 of the paper it prints images per second, the median
over epochs after the first, of

- ours: the classifier as a user makes it, 8-bit scans in;
- plain skorch: a NeuralNetClassifier with torchvision's network, its own
  DataLoader, and scans normalised to float32 beforehand, as its user would do;
- bare torch: a loop over slices of the same float32 tensor.

All train in float32 on the same device, with the same batch size, optimiser and
number of scans, from random weights; scans are random numbers. Contenders take
turns, epoch by epoch of separate fits, so that a busy minute hits all alike.
"""

import statistics
import sys
import time

import numpy as np
import torch
import torchvision
from skorch import NeuralNetClassifier
from torch import nn

from tbsclassify import TBSAdHocClassifier, TBSPretrainedClassifier

SIDE = 224
ROUNDS = 3


def squeezenet():
    network = torchvision.models.squeezenet1_0(weights=None)
    network.classifier[0].p = 0.4
    network.classifier[1] = nn.Conv2d(512, 2, kernel_size=1)
    return network


def model4():
    layers, channels = [], 1
    for filters in (8, 28, 36):
        layers += [
            nn.Conv2d(channels, filters, 3),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        channels = filters
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(36 * 26**2, 1000),
        nn.ReLU(),
        nn.Linear(1000, 2),
    )


def time_ours(classifier, images, y, n_epochs):
    return classifier.set_params(max_epochs=n_epochs).fit(images, y).history_["seconds"]


def time_skorch(make_module, images, y, batch_size, n_epochs, device):
    net = NeuralNetClassifier(
        make_module,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=0.9,
        lr=1e-4,
        batch_size=batch_size,
        max_epochs=n_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        device=device,
        verbose=0,
    ).fit(images, y)
    return net.history[:, "dur"]


def time_torch(make_module, images, y, batch_size, n_epochs, device):
    network = make_module().to(device).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    images = torch.from_numpy(images).to(device)
    y = torch.from_numpy(y).to(device)
    seconds = []
    for _ in range(n_epochs):
        start = time.perf_counter()
        order = torch.randperm(len(images), device=device)
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[batch]), y[batch])
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - start)
    return seconds


def main(n_scans=96, n_epochs=3):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = np.random.default_rng(0)
    scans = rng.integers(0, 256, (n_scans, SIDE, SIDE)).astype(np.uint8)
    y = np.arange(n_scans) % 2
    grey = ((scans - scans.mean()) / scans.std()).astype(np.float32)[:, None]
    cases = {
        "SqueezeNet 1.0": (
            TBSPretrainedClassifier("squeezenet1_0", weights=None, precision="float32"),
            squeezenet,
            np.repeat(grey, 3, axis=1),
            24,
        ),
        "Model 4": (
            TBSAdHocClassifier.from_paper(
                "model4", early_stopping=False, precision="float32"
            ),
            model4,
            grey,
            48,
        ),
    }
    print(
        f"{n_scans} scans of {SIDE}x{SIDE}, {device}, {torch.get_num_threads()} "
        f"threads, torch {torch.__version__}, float32"
    )
    header = ["ours", "skorch", "torch", "ours/skorch", "ours/torch"]
    print("images per second", *(f"{name:>11s}" for name in header))
    for name, (classifier, make_module, images, batch_size) in cases.items():
        seconds = {"ours": [], "skorch": [], "torch": []}
        for _ in range(ROUNDS):
            arguments = (make_module, images, y, batch_size, n_epochs, device)
            seconds["ours"] += list(time_ours(classifier, scans, y, n_epochs))[1:]
            seconds["skorch"] += time_skorch(*arguments)[1:]
            seconds["torch"] += time_torch(*arguments)[1:]
        speed = {k: n_scans / statistics.median(v) for k, v in seconds.items()}
        ratios = [speed["ours"] / speed[other] for other in ("skorch", "torch")]
        print(
            f"{name:17s}",
            *(f"{value:11.1f}" for value in speed.values()),
            *(f"{value:11.2f}" for value in ratios),
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
