"""Three classes of TBS: the values as teacher, an ordinal loss, and plain softmax.

Run ``python benchmarks/three_classes.py --weights FILE``. FILE is a state dict of
SqueezeNet 1.0 with torchvision's keys; without it torchvision downloads ImageNet's. 500
phantoms of seed 22 are put into the three ranges of TBS by cross-validation by patient,
in three folds.

"ad hoc" is `TBSAdHocClassifier` on crops of 64 x 64 pixels that are copied from the
middle of L1-L4, trained for 20 epochs at a learning rate of 0.003: with its defaults it
learns little from so few scans. It learns the TBS values ("TBS"), or the classes by
class distance weighted cross-entropy ("ordinal") or by cross-entropy ("softmax"), from
the same random numbers. "deep texture" finds a linear head in closed form, on whole
crops, of the values or of the classes; "variogram, softmax" is logistic regression.

Quadratic-weighted kappa, mean ROC AUC of each class against the rest, and paired
differences of kappa have 95 % intervals from a bootstrap over patients.
"""

import argparse
import warnings

from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    compare_models,
    make_dxa_phantoms,
    make_texture_classifier,
)
from tbsclassify._pipelines import decline_metadata

# Each against the values as teacher of the same model.
REFERENCES = {
    "ad hoc, ordinal": "ad hoc, TBS",
    "ad hoc, softmax": "ad hoc, TBS",
    "deep texture, classes": "deep texture, TBS",
    "variogram, softmax": "deep texture, TBS",
}


def make_models(weights, seed):
    """Make all models by name, each from scans to classes."""
    adhoc = TBSAdHocClassifier(lr=0.003, max_epochs=20, random_state=seed)
    networks = {
        "ad hoc, TBS": adhoc,
        "ad hoc, ordinal": clone(adhoc).set_params(loss="ordinal"),
        "ad hoc, softmax": clone(adhoc),
        "deep texture, TBS": TBSPretrainedClassifier(weights=weights),
        "deep texture, classes": TBSPretrainedClassifier(weights=weights),
    }
    models = {}
    for name, network in networks.items():
        if not name.endswith("TBS"):
            decline_metadata(network, "tbs")
        size = 64 if name.startswith("ad hoc") else 224
        models[name] = make_pipeline(LumbarCropper(size), network)
    models["variogram, softmax"] = make_texture_classifier()
    return models


def cell(value, low, high, spec=".3f"):
    """Write a value with its interval."""
    return f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"


def report(result):
    ends = ("", "_low", "_high")
    for name, row in result.table.iterrows():
        if row["error"]:
            print(f"{name:22} {row['error']}")
            continue
        kappa, auc = (
            cell(*(row[f"{measure}{end}"] for end in ends))
            for measure in ("quadratic_kappa", "roc_auc")
        )
        rest = f"accuracy {row['accuracy']:.3f}  {row['fit_seconds']:.1f} s"
        print(f"{name:22} kappa {kappa}  AUC {auc}  {rest}")
    for name, other in REFERENCES.items():
        if {name, other} <= {*result.table.index}:
            found = result.differences("quadratic_kappa", reference=other).loc[name]
            values = found[["difference", "low", "high"]]
            print(f"{name:22} less {other}: kappa {cell(*values, spec='+.3f')}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-patients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=22)
    parser.add_argument("--weights", default="imagenet", metavar="FILE")
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--checkpoint", metavar="DIR")
    arguments = parser.parse_args()
    models = make_models(arguments.weights, arguments.seed)
    scans = make_dxa_phantoms(arguments.n_patients, random_state=arguments.seed)
    y = TBSLabeler(scheme="three-class").fit_transform(scans.tbs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cut off a part")
        result = compare_models(
            {name: models[name] for name in arguments.models or models},
            scans.frame,
            y,
            scans.patient,
            tbs=scans.tbs,
            cv=3,
            random_state=arguments.seed,
            checkpoint_dir=arguments.checkpoint,
        )
    counts = [int((y == k).sum()) for k in range(3)]
    print(
        f"{len(y)} phantoms, seed {arguments.seed}, {counts} normal, partially", end=""
    )
    print(" degraded, degraded; 3 folds by patient")
    report(result)


if __name__ == "__main__":
    main()
