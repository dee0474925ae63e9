"""The paper's Tables III to V on phantoms, and the library's models beside them.

``python benchmarks/paper_tables.py train RUNS FOLDER --weights WEIGHTS`` trains the
fourteen networks as the paper says: 1469 phantoms of seed 2024, 211 of them degraded,
the rest as in the population; `paper_split`; copies of the training scans as in Table
I; the paper's epochs, batches, rates and early stopping. After each epoch the
probabilities of the test scans are written into RUNS, a JSON file; models that have
come to their end there are not trained again. FOLDER has the phantoms and the state of
trainings: one that was stopped goes on. In float32 on two cores all takes ten hours or
so, and VGG-16 as a whole seventeen more; ``--models`` names those to train.

``python benchmarks/paper_tables.py report RUNS docs/paper`` writes the tables of what
RUNS has, with the epochs that each model has come to, and Figure 4.
``benchmarks/paper_tables.json`` has the runs that the documentation shows.

WEIGHTS has state dicts with torchvision's keys, named as in ``resnet18.safetensors``,
or as in ``alexnet_features.safetensors`` if they have convolutions alone. What no file
has starts at random.

The library's own models and the baselines train on the same scans, the validation part
included, without copies; those without epochs once more where all labels, those of the
test scans, too, are shuffled.
"""

import argparse
import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from tbsclassify import (
    AugmentationSampler,
    LumbarCropper,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    make_clinical_baseline,
    make_dxa_phantoms,
)
from tbsclassify._files import write_whole
from tbsclassify._pipelines import decline_metadata, fit_metadata, keep_training
from tbsclassify.comparison import paper_models
from tbsclassify.metrics import classification_row, difference_row
from tbsclassify.plotting import F1SensitivityDisplay
from tbsclassify.splitting import paper_split

SEED = 2024
N_PATIENTS = 1469
# Degraded scans as in the paper's Table I.
CLASS_SHARES = (211, 833, 425)
# Copies of normal and of degraded scans, Table I.
TRAIN_COPIES, VALIDATION_COPIES = np.array([225, 563]), np.array([32, 80])
TITLES = {"full": "Table III", "head": "Table IV", "ad hoc": "Table V", "ours": "ours"}
REFERENCE = "deep texture, TBS"
BOOTSTRAP = {"n_bootstrap": 2000, "random_state": SEED}


def find_weights(folder, backbone):
    """Return the file of a backbone, or None for random weights."""
    names = [f"{backbone}_features.safetensors", f"{backbone}.safetensors"]
    return next((folder / name for name in names if (folder / name).exists()), None)


def make_models(folder):
    """Return the models of each approach by name, those that take minutes first."""
    paper = paper_models()
    texture = paper.pop("texture")
    models = {approach: {} for approach in ("ours", "head", "ad hoc", "full")}
    for name, model in paper.items():
        backbone, _, mode = name.partition("-")
        if mode:
            model[-1].set_params(weights=find_weights(folder, backbone))
        models[mode or "ad hoc"][name] = model
    squeezenet = find_weights(folder, "squeezenet1_0")
    networks = {
        "deep texture": TBSPretrainedClassifier(weights=squeezenet),
        REFERENCE: TBSPretrainedClassifier(weights=squeezenet),
        "ad hoc, TBS": TBSAdHocClassifier(),
    }
    decline_metadata(networks["deep texture"], "tbs")
    ours = {"clinical": make_clinical_baseline(), "variogram": texture}
    ours |= {key: make_pipeline(LumbarCropper(), one) for key, one in networks.items()}
    quick = [key for key in ours if key != "ad hoc, TBS"]
    models["ours"] = ours | {f"{key}, shuffled labels": ours[key] for key in quick}
    return models


class Phantoms:
    """Phantoms, and what models are trained and tested on."""

    def __init__(self, n_patients, folder):
        draw = joblib.Memory(folder / "phantoms", verbose=0).cache(make_dxa_phantoms)
        scans = draw(
            n_patients, class_shares=CLASS_SHARES, n_jobs=-1, random_state=SEED
        )
        self.scans = scans
        self.y = TBSLabeler().fit_transform(scans.tbs)
        self.train, self.validation, self.test = paper_split(
            self.y, scans.patient, random_state=SEED
        )
        self.X_test = scans.frame.iloc[self.test]
        # Of which scan each has the label, in the control; patients have one scan each.
        self.shuffled = np.random.default_rng(SEED).permutation(len(self.y))

    def training_set(self, approach, label_of):
        """Return scans, classes, and what else a fit may take."""
        rows, n_copies = self.train, TRAIN_COPIES
        if approach in ("ad hoc", "ours"):  # their fits set the validation part aside
            rows = np.concatenate([self.train, self.validation])
            n_copies = TRAIN_COPIES + VALIDATION_COPIES
        scans = self.scans
        labels = label_of[rows]
        X, y, tbs = scans.frame.iloc[rows], self.y[labels], scans.tbs[labels]
        originals = np.arange(len(rows))
        if approach != "ours":
            n_copies = np.round(n_copies * len(self.y) / N_PATIENTS).astype(int)
            sampler = AugmentationSampler(
                n_copies=dict(enumerate(n_copies.tolist())), random_state=SEED
            )
            X, y = sampler.fit_resample(X, y)
            originals = sampler.sample_indices_
        patient = scans.patient[rows]
        return X, y, {"tbs": tbs[originals], "groups": patient[originals]}


def read_runs(file):
    return json.loads(file.read_text()) if file.exists() else {}


def train(name, approach, model, phantoms, runs, folder):
    """Train a model, or go on, and keep what it says of the test scans."""
    if read_runs(runs).get(name, {}).get("is_over"):
        return
    found = {"approach": approach, "epochs": None, "max_epochs": None}

    def keep(*, is_over):
        proba = model.predict_proba(phantoms.X_test)[:, 1].round(6).tolist()
        found.update(is_over=is_over, y=y_test, proba=proba)
        text = json.dumps(read_runs(runs) | {name: found}).replace("}, ", "},\n")
        write_whole(runs, lambda stream: stream.write(text.encode()))

    def on_epoch(epoch, max_epochs):
        # Other work slows an epoch down, and nothing makes it faster.
        fastest = float(model[-1].history_["seconds"].iloc[1:].min())
        found["seconds_per_10_epochs"] = 10 * fastest
        found["epochs"], found["max_epochs"] = epoch, max_epochs
        keep(is_over=False)

    shuffled = "shuffled" in name
    label_of = phantoms.shuffled if shuffled else np.arange(len(phantoms.y))
    y_test = phantoms.y[label_of[phantoms.test]].tolist()
    X, y, metadata = phantoms.training_set(approach, label_of)
    seeds = [one for one in model.get_params() if one.endswith("random_state")]
    model.set_params(**dict.fromkeys(seeds, SEED))
    metadata = fit_metadata(model, **metadata)
    if approach == "ours":
        model.fit(X, y, **metadata)
    else:
        keep_training(model, folder / f"{name}.fit")
        with model[-1].monitored(on_epoch):
            model.fit(X, y, **metadata)
    keep(is_over=True)


def train_all(arguments):
    models = make_models(arguments.weights)
    folder = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    phantoms = Phantoms(arguments.n_patients, folder)
    for approach, of_approach in models.items():
        for name in arguments.models or of_approach:
            if name in of_approach:
                print(name, flush=True)
                model = of_approach[name]
                train(name, approach, model, phantoms, arguments.runs, folder)


def interval(row, measure, spec=".3f"):
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    return f"{row[measure]:{spec}} [{low:{spec}}, {high:{spec}}]"


def epochs_of(found):
    if found["epochs"] is None:
        return "-"
    stopped = found["is_over"] and found["epochs"] < found["max_epochs"]
    return f"{found['epochs']}" + ("" if stopped else f" of {found['max_epochs']}")


def report(arguments):
    """Write a table for each approach, the differences, and the figure."""
    order = [n for of_approach in make_models(Path()).values() for n in of_approach]
    runs = read_runs(arguments.runs)
    found = {name: runs[name] for name in order if name in runs}
    rows = {
        name: classification_row(one["y"], one["proba"], **BOOTSTRAP)
        for name, one in found.items()
    }
    reference = found[REFERENCE]["proba"]
    arguments.out.mkdir(parents=True, exist_ok=True)
    for approach, title in TITLES.items():
        lines = []
        for name, one in found.items():
            if one["approach"] != approach:
                continue
            row = rows[name]
            line = {"Model": name, "Epochs": epochs_of(one)}
            line |= {key.upper(): int(row[key]) for key in ("tp", "fp", "tn", "fn")}
            line |= {
                "Sensitivity": f"{row['sensitivity']:.3f}",
                "Specificity": f"{row['specificity']:.3f}",
                "F1": interval(row, "f1"),
                "AUC": interval(row, "roc_auc"),
                "AUC less deep texture's": "-",
            }
            if name != REFERENCE and "shuffled" not in name:
                less = difference_row(one["y"], one["proba"], reference, **BOOTSTRAP)
                line["AUC less deep texture's"] = interval(less, "roc_auc", "+.3f")
            lines.append(line)
        if not lines:
            continue
        table = pd.DataFrame(lines)
        if approach == "ours":
            table = table.drop(columns="Epochs")
        file = arguments.out / f"{title.lower().replace(' ', '_')}.csv"
        table.to_csv(file, index=False)
        print(f"\n{title}\n{table.to_string(index=False)}")
    draw(rows, found, arguments.out)


def draw(rows, found, folder):
    """Draw Figure 4: F1 and sensitivity, with the training time as circles."""
    table = pd.DataFrame.from_dict(rows, orient="index")
    table["seconds_per_10_epochs"] = [
        one.get("seconds_per_10_epochs", np.nan) for one in found.values()
    ]
    approaches = {"full": "whole", "head": "head alone", "ours": "own and baselines"}
    table["approach"] = [
        approaches.get(one["approach"], one["approach"]) for one in found.values()
    ]
    table = table[~table.index.str.contains("shuffled")]
    display = F1SensitivityDisplay.from_table(table, intervals=False)
    display.figure_.savefig(folder / "figure_4.png", dpi=120, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("train")
    command.add_argument("runs", type=Path)
    command.add_argument("folder", type=Path)
    command.add_argument("--weights", type=Path, default=Path())
    command.add_argument("--models", nargs="+", metavar="NAME")
    command.add_argument("--n-patients", type=int, default=N_PATIENTS)
    command.set_defaults(run=train_all)
    command = commands.add_parser("report")
    command.add_argument("runs", type=Path)
    command.add_argument("out", type=Path)
    command.set_defaults(run=report)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
