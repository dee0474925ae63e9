"""Time prediction against a bare loop, and watch its memory as scans get many.

Run ``python benchmarks/prediction.py`` on an idle machine (ten minutes on two cores),
or ``python benchmarks/prediction.py --network resnet18 --scans 160`` for a part of it.

First Model 3 predicts 1,000 and 20,000 scans from PNG files, each number in a process
of its own, and the peak memory of both is printed.

Then images a second over 480 scans of 224x224 (VGG-16: 120) are printed for each of the
paper's backbones and Model 4: predict_proba on 8-bit scans, and two bare
``inference_mode`` loops of the same network over slices of normalised float32 scans,
one in PyTorch's default memory format and one in channels_last. They take turns in one
process, three times; medians count. Beside them is the largest difference between our
probabilities and those of the first loop. The last line is the geometric mean over the
networks of how many times faster than the faster loop ours is.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from training import make_ours

from tbsclassify.estimators._losses import probabilities

SIDE = 224
N_SCANS = 480
BATCH_SIZE = 20
ROUNDS = 3
NETWORKS = {
    "squeezenet1_0": "full",
    "resnet18": "full",
    "alexnet": "full",
    "densenet121": "full",
    "vgg16": "full",
    "model4": "ad hoc",
}


def make_scans(n):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, SIDE, SIDE)).astype(np.uint8)


def fitted(name, mode):
    """Fit a model to a few scans, for its speed only."""
    model = make_ours(name, mode, 1, "float32").set_params(batch_size=2)
    return model.fit(make_scans(4), [0, 1, 0, 1])


def bare_loop(network, images):
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(BATCH_SIZE)])


def compare(name, mode, n):
    model = fitted(name, mode)
    scans = make_scans(n)
    module = model.net_.module_.eval()
    if mode == "ad hoc":
        network, standardize = module[1], module[0]
    else:
        network = torch.nn.Sequential(module.backbone, module.head)
        standardize = module.standardize
    with torch.inference_mode():
        images = standardize(torch.from_numpy(scans[:, None]))
    default = images.contiguous()
    channels_last = images.contiguous(memory_format=torch.channels_last)
    contenders = {
        "ours": lambda: model.predict_proba(scans),
        "bare": lambda: bare_loop(network, default),
        "bare, channels_last": lambda: bare_loop(network, channels_last),
    }
    found = {}
    seconds = {contender: [] for contender in contenders}
    for _ in range(ROUNDS):
        for contender, predict in contenders.items():
            start = time.perf_counter()
            found[contender] = predict()
            seconds[contender].append(time.perf_counter() - start)
    speed = {key: n / statistics.median(value) for key, value in seconds.items()}
    difference = found["ours"] - probabilities(found["bare"]).numpy()
    return speed, float(np.abs(difference).max())


def predict_files(folder, n):
    files = sorted(Path(folder).glob("*.png"))
    paths = [str(files[i % len(files)]) for i in range(n)]
    model = fitted("model3", "ad hoc")
    start = time.perf_counter()
    model.predict_proba(paths)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{n:6d} files: peak memory {peak:.0f} MiB, {n / seconds:.0f} files a second")


def watch_memory():
    with tempfile.TemporaryDirectory() as folder:
        for i, scan in enumerate(make_scans(200)):
            Image.fromarray(scan).save(Path(folder, f"{i}.png"))
        for n in (1_000, 20_000):
            command = [sys.executable, __file__, "--files", folder, str(n)]
            subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--scans", type=int, default=N_SCANS)
    options = parser.parse_args()
    if options.network is None:
        watch_memory()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, float32")
    print(f"{'images a second':14s} ours    bare    bare, channels_last    ours/best")
    ratios = []
    for name in options.network or NETWORKS:
        n = min(options.scans, 120) if name == "vgg16" else options.scans
        speed, difference = compare(name, NETWORKS[name], n)
        best = max(value for key, value in speed.items() if key != "ours")
        ratios.append(speed["ours"] / best)
        print(
            f"{name:14s}",
            *(f"{value:8.1f}" for value in speed.values()),
            f"{ratios[-1]:8.2f}  differs by {difference:.1e}",
            flush=True,
        )
    print(f"geometric mean {statistics.geometric_mean(ratios):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--files"]:
        predict_files(sys.argv[2], int(sys.argv[3]))
    else:
        main()
