"""ImageNet weights against a random start: the same splits, several seeds.

Run ``python benchmarks/transfer.py WEIGHTS [SCANS]``, where WEIGHTS is a folder with
``squeezenet1_0_features.safetensors`` and ``resnet18.safetensors`` (state dicts with
torchvision's keys) and SCANS, if given, one with ``scans.csv`` and ``images`` whose
column ``bone_density_class`` holds "normal" and "osteoporosis" (a class of bone
density, NOT of TBS). Without SCANS only phantoms are classified.

Each network is trained from both starts by 5-fold cross-validation by patient. Its
probabilities are averaged over the seeds; areas under the ROC curve and their paired
difference have intervals from a bootstrap over patients. The range over seeds stands
beside. Finished folds are kept in ``transfer_runs`` in the working directory and not
repeated.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from tbsclassify import LumbarCropper, TBSLabeler, TBSPretrainedClassifier, load_scans
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.metrics import difference_row

FILES = {
    "squeezenet1_0": "squeezenet1_0_features.safetensors",
    "resnet18": "resnet18.safetensors",
}
CASES = [("squeezenet1_0", "head"), ("resnet18", "head"), ("squeezenet1_0", "full")]
N_SEEDS = {"head": 3, "full": 2}
# Epochs by data and mode: what hours on two cores allow.
EPOCHS = {
    ("phantoms", "head"): 20,
    ("phantoms", "full"): 4,
    ("real scans", "head"): 30,
    ("real scans", "full"): 12,
}


def phantoms():
    scans = make_dxa_phantoms(240, class_shares=(1, 0, 1), random_state=0)
    y = TBSLabeler().fit_transform(scans.tbs)
    return LumbarCropper().transform(scans.frame), y, scans.patient


def real_scans(folder):
    scans = load_scans(
        folder / "scans.csv",
        folder / "images",
        patient_column="subject",
        tbs_column=None,
    )
    keep = (scans.frame["bone_density_class"] != "osteopenia").to_numpy()
    frame = scans.frame[keep]
    y = (frame["bone_density_class"] == "osteoporosis").to_numpy().astype(int)
    return LumbarCropper().transform(frame), y, scans.patient[keep]


def out_of_fold(name, data, network, mode, weights, seed):
    """Probability of class 1 of each scan, from the fold it was left out of."""
    start = "random" if weights is None else "imagenet"
    file = Path("transfer_runs", f"{name}-{network}-{mode}-{start}-{seed}.npy")
    if file.exists():
        return np.load(file)
    X, y, patient = data
    proba = np.empty(len(y))
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    for train, test in folds.split(X, y, patient):
        model = TBSPretrainedClassifier.from_paper(
            network,
            mode,
            weights=weights,
            lr=0.001,
            max_epochs=EPOCHS[name, mode],
            random_state=seed,
        )
        proba[test] = model.fit(X[train], y[train]).predict_proba(X[test])[:, 1]
    file.parent.mkdir(exist_ok=True)
    np.save(file, proba)
    return proba


def main(weights_folder, scans_folder=None):
    data = {"phantoms": phantoms()}
    if scans_folder is not None:
        data["real scans"] = real_scans(Path(scans_folder))
    for (network, mode), name in itertools.product(CASES, data):
        _, y, patient = data[name]
        file = Path(weights_folder, FILES[network])
        runs = {
            start: [
                out_of_fold(name, data[name], network, mode, weights, seed)
                for seed in range(N_SEEDS[mode])
            ]
            for start, weights in (("imagenet", file), ("random", None))
        }
        by_seed = {
            start: [round(roc_auc_score(y, proba), 3) for proba in probas]
            for start, probas in runs.items()
        }
        row = difference_row(
            y,
            np.mean(runs["imagenet"], axis=0),
            np.mean(runs["random"], axis=0),
            groups=patient,
            random_state=0,
        )
        print(f"{name}, {network}, {mode}: AUC by seed {by_seed}", flush=True)
        print(
            f"  difference {row['roc_auc']:+.3f} "
            f"[{row['roc_auc_low']:+.3f}, {row['roc_auc_high']:+.3f}]",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
