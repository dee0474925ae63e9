"""Time until a network tells degraded bone: minutes to an AUC of .85 and of .89.

Run ``python benchmarks/time_to_score.py [--weights FILE]`` on an idle machine. FILE is
a state dict of SqueezeNet 1.0 with torchvision's keys; without it, and beside it,
weights are random. 1469 phantoms are made and cropped beforehand, and a fifth of the
patients are held out. Contenders are

- skorch, paper: Model 4 in a NeuralNetClassifier, trained as in the paper (SGD);
- torch, classes and torch, TBS: Model 4's layers in a loop over shuffled slices with
  AdamW and one cycle of the rate over ``--epochs``, learning classes, or TBS itself
  (a hand that knows that the value teaches more);
- ours: ``TBSPretrainedClassifier(mode="texture")`` and ``TBSAdHocClassifier()``, as
  they are made by default, with ``fit(..., tbs=...)``.

After each epoch the held-out patients are scored, which stops the clock. All in
between counts, also building the network and the start in closed form. A contender
ends at the higher AUC, with its last epoch, or with the first epoch after
``--minutes``. With a fifth held out an AUC has a standard error of about .02, so only
large ratios mean anything.
"""

import argparse
import os
import platform
import time
from contextlib import suppress

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback
from torch import nn
from training import build_ad_hoc

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSPretrainedClassifier,
    make_dxa_phantoms,
)
from tbsclassify.estimators._networks import PAPER_MODELS
from tbsclassify.labels import TBS_THRESHOLDS

GOALS = (0.85, 0.89)
MODEL = PAPER_MODELS["model4"]
# More than any contender comes to in its minutes.
MANY_EPOCHS = 10_000


class OverError(Exception):
    """A contender has reached the goals, or has no time left."""


class Clock:
    """Note when each AUC is first reached; scoring takes no time on it."""

    def __init__(self, images, degraded, minutes):
        self.images, self.degraded, self.minutes = images, degraded, minutes
        self.reached, self.best, self.n_epochs = {}, 0.0, 0
        self.start = time.perf_counter()

    def after_epoch(self, score):
        """Score the held-out patients by a function of their images."""
        now = time.perf_counter()
        self.spent = (now - self.start) / 60
        auc = roc_auc_score(self.degraded, score(self.images))
        self.best, self.n_epochs = max(self.best, auc), self.n_epochs + 1
        for goal in GOALS:
            if auc >= goal:
                self.reached.setdefault(goal, self.spent)
        if len(self.reached) == len(GOALS) or self.spent > self.minutes:
            raise OverError
        self.start += time.perf_counter() - now


def normaliser(images):
    """Return what makes float32 of scans, as a user of plain PyTorch prepares them."""
    mean, std = images.mean(), images.std()
    return lambda some: ((some - mean) / std).astype(np.float32)[:, None]


def skorch_paper(images, tbs, clock, options):
    prepare = normaliser(images)

    class Score(Callback):
        def on_epoch_end(self, net, **_):
            clock.after_epoch(lambda X: net.predict_proba(prepare(X))[:, 1])

    NeuralNetClassifier(
        build_ad_hoc(**MODEL),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        optimizer__momentum=MODEL["momentum"],
        lr=MODEL["lr"],
        batch_size=MODEL["batch_size"],
        max_epochs=MANY_EPOCHS,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[Score],
        verbose=0,
    ).fit(prepare(images), (tbs < TBS_THRESHOLDS[0]).astype(int))


def torch_adamw(images, tbs, clock, options, *, learns_tbs):
    prepare = normaliser(images)
    network = build_ad_hoc(**MODEL)
    target = (tbs < TBS_THRESHOLDS[0]).astype(float)
    loss_of = nn.functional.binary_cross_entropy_with_logits
    if learns_tbs:
        target = (tbs.mean() - tbs) / tbs.std()
        loss_of = nn.functional.huber_loss
    X, y = torch.from_numpy(prepare(images)), torch.from_numpy(target).float()
    steps = -(-len(X) // MODEL["batch_size"])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-3, total_steps=options.epochs * steps
    )

    def score(some):
        network.eval()
        with torch.inference_mode():
            parts = torch.from_numpy(prepare(some)).split(MODEL["batch_size"])
            return torch.cat([network(part)[:, 0] for part in parts]).numpy()

    for _ in range(options.epochs):
        network.train()
        for batch in torch.randperm(len(X)).split(MODEL["batch_size"]):
            optimizer.zero_grad()
            # Of the two outputs one is used.
            loss_of(network(X[batch])[:, 0], y[batch]).backward()
            optimizer.step()
            schedule.step()
        clock.after_epoch(score)


def ours(images, tbs, clock, options, *, model):
    degraded = tbs < TBS_THRESHOLDS[0]

    def report(*_):
        clock.after_epoch(lambda X: model.predict_proba(X)[:, 1])

    with model.set_params(random_state=options.seed).monitored(report):
        model.fit(images, degraded, tbs=tbs)


def contenders(weights):
    """Return functions of images, TBS, clock and options that train, by name."""
    models = {
        "ours, ad hoc, TBS": TBSAdHocClassifier(),
        "ours, texture, random, TBS": TBSPretrainedClassifier(
            mode="texture", weights=None
        ),
    }
    if weights is not None:
        models["ours, texture, ImageNet, TBS"] = TBSPretrainedClassifier(
            mode="texture", weights=weights
        )
    return {
        "skorch, paper": (skorch_paper, {}),
        "torch, AdamW, classes": (torch_adamw, {"learns_tbs": False}),
        "torch, AdamW, TBS": (torch_adamw, {"learns_tbs": True}),
    } | {name: (ours, {"model": model}) for name, model in models.items()}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", metavar="FILE")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--patients", type=int, default=1469)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some contenders")
    return parser.parse_args()


def main():
    options = parse()
    scans = make_dxa_phantoms(options.patients, random_state=options.seed)
    images, tbs = LumbarCropper().transform(scans.frame), scans.tbs
    degraded = tbs < TBS_THRESHOLDS[0]
    train, test = train_test_split(
        np.arange(len(tbs)), test_size=0.2, stratify=degraded, random_state=options.seed
    )
    print(
        f"{platform.machine()}, {torch.get_num_threads()} of {os.cpu_count()} cores, "
        f"torch {torch.__version__}; {len(train)} phantoms to train on, {len(test)} "
        f"({degraded[test].sum()} degraded) held out, seed {options.seed}; minutes"
    )
    heads = [f"AUC {goal}" for goal in GOALS]
    print(f"{'':30s}", *(f"{head:>30s}" for head in heads), "  best AUC  epochs")
    for name, (run, how) in contenders(options.weights).items():
        if options.only and name not in options.only:
            continue
        torch.manual_seed(options.seed)
        clock = Clock(images[test], degraded[test], options.minutes)
        with suppress(OverError):
            run(images[train], tbs[train], clock, options, **how)
        cells = [
            f"{clock.reached[goal]:.2f}"
            if goal in clock.reached
            else f"not reached in {clock.spent:.1f} minutes"
            for goal in GOALS
        ]
        print(
            f"{name:30s}",
            *(f"{cell:>30s}" for cell in cells),
            f"{clock.best:10.3f}{clock.n_epochs:8d}",
            flush=True,
        )


if __name__ == "__main__":
    main()
