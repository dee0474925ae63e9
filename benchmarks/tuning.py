"""What a search costs: epochs, overhead over bare Ray Tune, memory.

Run ``python benchmarks/tuning.py epochs``, ``overhead`` or ``memory``, on an
idle machine: the first two on phantoms, the last on random images.

``epochs``: RandomizedSearchCV tries 16 configurations of an ad hoc network, then
RayTuneSearchCV tries 32, the first 16 of them the same, on the same folds, until a
trial that is as good as the best of RandomizedSearchCV is complete. Counted are epochs
of all folds. Further arguments are seeds, or 0, 1, 2, and the name of a scheduler.

``overhead``: the same 8 configurations by RayTuneSearchCV and by a function for Ray
Tune such as one would write by hand, which trains on the same folds, scores the
held-out scans after each epoch and reports. Three times each, in turn.

``memory``: 8 trials over 1469 scans on two cores. Memory that the workers do not share
with others (PSS less the object store), at its highest, beside that of one process
that trains the same network alone.
"""

import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import ray
import torch
from ray import tune
from scipy.stats import loguniform
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    ParameterSampler,
    RandomizedSearchCV,
    StratifiedGroupKFold,
)
from skorch.callbacks import Callback

from tbsclassify import (
    LumbarCropper,
    RayTuneSearchCV,
    TBSAdHocClassifier,
    TBSLabeler,
    make_dxa_phantoms,
)

SPACE = {
    "lr": loguniform(1e-5, 1e-1),
    "momentum": [0.6, 0.7, 0.8, 0.9],
    "filters": [(8, 16, 32), (8, 28, 36), (4, 8, 16)],
    "fc": [(100,), (500, 100), (32,)],
    "batch_size": [12, 24, 48],
}
N_FOLDS = 3


def make_data(n_patients, size):
    scans = make_dxa_phantoms(
        n_patients, class_shares=(1, 0, 1), n_jobs=2, random_state=0
    )
    y = TBSLabeler().fit_transform(scans.tbs)
    crops = LumbarCropper(size, scale="fit").fit_transform(scans.frame)
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=0)
    return crops, y, list(folds.split(crops, y, scans.patient))


def network(max_epochs, **parameters):
    settings = {"max_epochs": max_epochs, "early_stopping": False, "random_state": 0}
    return TBSAdHocClassifier.from_paper("model4", **settings | parameters)


def count_epochs(*arguments, max_epochs=20, n_trials=32):
    X, y, folds = make_data(200, 96)
    seeds = [int(one) for one in arguments if one.isdigit()] or (0, 1, 2)
    names = [one for one in arguments if not one.isdigit()] or ("halving",)
    for seed in seeds:
        shared = {"scoring": "roc_auc", "cv": folds, "refit": False}
        shared["random_state"] = seed
        theirs = RandomizedSearchCV(
            network(max_epochs), SPACE, n_iter=16, n_jobs=2, **shared
        ).fit(X, y)
        spent = 16 * N_FOLDS * max_epochs
        for name in names:
            goal = theirs.best_score_ - 1e-9
            ours = RayTuneSearchCV(
                network(max_epochs),
                SPACE,
                n_trials=n_trials,
                scheduler=name,
                stop_score=goal,
                **shared,
            ).fit(X, y)
            n_epochs = len(ours.history_)
            verdict = f"as good after {n_epochs} ({spent / n_epochs:.1f} times fewer)"
            if ours.best_score_ < goal:
                verdict = f"AUC {ours.best_score_:.4f} after all {n_epochs}"
            print(
                f"seed {seed}: RandomizedSearchCV AUC {theirs.best_score_:.4f} in "
                f"{spent} epochs; {name} {verdict}",
                flush=True,
            )


class ScoreAndReport(Callback):
    """Score held-out scans after each epoch and tell Ray Tune, as one would by hand."""

    def __init__(self, X, y):
        self.X, self.y = torch.from_numpy(X[:, np.newaxis]), y

    def on_epoch_end(self, net, **kwargs):
        """Score and report."""
        net.module_.eval()
        with torch.inference_mode():
            logits = net.infer({"images": self.X})
        tune.report({"score": roc_auc_score(self.y, logits[:, 0])})


def bare_search(X, y, folds, candidates, max_epochs):
    """Return the score of each candidate by a function for Ray Tune."""
    data = ray.put((X, y))

    def trial(config):
        X, y = ray.get(data)
        scores = []
        for train, test in folds:
            report = ScoreAndReport(X[test], y[test])
            model = network(max_epochs, callbacks=[report], **candidates[config["i"]])
            model.fit(X[train], y[train])
            scores.append(roc_auc_score(y[test], model.predict_proba(X[test])[:, 1]))
        tune.report({"score": np.mean(scores)})

    tuner = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"i": tune.grid_search(list(range(len(candidates))))},
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(verbose=0),
    )
    return [result.metrics["score"] for result in tuner.fit()]


def measure_overhead(n_trials=8, max_epochs=8, rounds=3):
    X, y, folds = make_data(300, 96)
    candidates = list(ParameterSampler(SPACE, n_trials, random_state=0))
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    seconds = {"bare": [], "ours": []}
    for _ in range(rounds):
        start = time.perf_counter()
        theirs = bare_search(X, y, folds, candidates, max_epochs)
        seconds["bare"].append(time.perf_counter() - start)
        start = time.perf_counter()
        ours = RayTuneSearchCV(
            network(max_epochs),
            SPACE,
            n_trials=n_trials,
            scheduler=None,
            scoring="roc_auc",
            cv=folds,
            refit=False,
            random_state=0,
        ).fit(X, y)
        seconds["ours"].append(time.perf_counter() - start)
        assert np.allclose(ours.cv_results_["mean_test_score"], theirs)
    for name, times in seconds.items():
        print(name, " ".join(f"{one:.1f}" for one in times), "s", end="; ")
    bare, ours = (float(np.median(times)) for times in seconds.values())
    print(
        f"medians {ours:.1f} / {bare:.1f} = {ours / bare:.3f}, "
        f"{(ours - bare) / n_trials:+.2f} s a trial"
    )


def memory_of(processes):
    """Memory of processes in MiB: their own, and what they share of Ray's store."""
    own = shared = 0
    for process in processes:
        try:
            lines = (process / "smaps").read_text().splitlines()
        except OSError:
            continue
        in_store = False
        for line in lines:
            if "-" in line.split(" ", 1)[0]:
                in_store = "/dev/shm/" in line or "plasma" in line
            elif line.startswith("Pss:"):
                amount = int(line.split()[1]) / 1024
                shared, own = (
                    (shared + amount, own) if in_store else (shared, own + amount)
                )
    return own, shared


def workers():
    """List the processes in which Ray runs trials."""
    return [
        path.parent
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().startswith(b"ray::ImplicitFunc")
    ]


ALONE = """
import sys
sys.path.insert(0, "benchmarks")
import resource
import numpy as np
import torch
from tuning import network
torch.set_num_threads(1)
X = np.load(sys.argv[1], mmap_mode="r")
y = np.tile([0, 1], len(X))[: len(X)]
train = np.arange(len(X)) % 3 > 0
model = network(1).fit(X[train], y[train])
model.predict_proba(X[~train])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure_memory(n_trials=8, n_scans=1469):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (n_scans, 224, 224), dtype=np.uint8)
    y = np.tile([0, 1], n_scans)[:n_scans]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scans.npy")
        np.save(path, X)
        command = [sys.executable, "-c", ALONE, str(path)]
        alone = float(subprocess.run(command, check=True, stdout=-1).stdout)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak, in_store, most = 0.0, 0.0, 0
    done = threading.Event()

    def watch():
        nonlocal peak, in_store, most
        while not done.wait(0.5):
            running = workers()
            own, shared = memory_of(running)
            peak, in_store = max(peak, own), max(in_store, shared)
            most = max(most, len(running))

    thread = threading.Thread(target=watch)
    thread.start()
    RayTuneSearchCV(
        network(1),
        {"lr": np.geomspace(1e-5, 1e-3, n_trials).tolist()},
        n_trials=n_trials,
        scheduler=None,
        cv=N_FOLDS,
        refit=False,
        random_state=0,
    ).fit(X, y)
    done.set()
    thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"data {X.nbytes / 2**20:.0f} MiB; one process alone {alone:.0f} MiB; at most "
        f"{most} workers, {peak:.0f} MiB of their own, {in_store:.0f} MiB in the "
        f"object store; driver {before:.0f} MiB before, at most {after:.0f} MiB"
    )


if __name__ == "__main__":
    what, *seeds = sys.argv[1:]
    if what == "epochs":
        count_epochs(*seeds)
    else:
        {"overhead": measure_overhead, "memory": measure_memory}[what]()
