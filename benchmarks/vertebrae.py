"""Whole region against single vertebrae: AUC on the same folds, and the difference.

Run ``python benchmarks/vertebrae.py --weights FILE``. FILE is a state dict of
SqueezeNet 1.0 with torchvision's keys; without it torchvision downloads ImageNet's. 600
phantoms of seed 21 are made, and degraded ones are told from the rest by
cross-validation by patient. With ``--appearance varied``, vertebrae that a clinician
would leave out have no box, scans with fewer than two others are left out, and all are
brought to pixels of 0.6 mm first.

"whole" is the usual way: the variogram of the vertebrae is averaged before it is
learned from, and the network sees one crop of 224 x 224 pixels. "vertebrae" learns from
a row for each vertebra, crops of 96 x 96 pixels, each under the class (and TBS) of its
scan, and averages their probabilities. "vertebrae and level" also tells the variogram's
classifier which of L1 to L4 a row is. Deep texture learns the TBS values, the variogram
the classes.

Areas under the ROC curve, Brier scores and paired differences have 95 % intervals from
a bootstrap over patients. Seconds are those of a fit, features included.
"""

import argparse
import warnings

import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tbsclassify import (
    LumbarCropper,
    PatientAggregator,
    TBSLabeler,
    TBSPretrainedClassifier,
    VariogramFeatures,
    compare_models,
    make_dxa_phantoms,
    make_texture_classifier,
)

BOXES = [
    f"L{level}_{side}"
    for level in (1, 2, 3, 4)
    for side in ("top", "left", "bottom", "right")
]
# Each against the first of its kind.
PAIRS = {
    "variogram, vertebrae": "variogram, whole",
    "variogram, vertebrae and level": "variogram, whole",
    "deep texture, vertebrae": "deep texture, whole",
}


def make_models(weights):
    """Make all models by name, each from scans to classes."""
    features = make_pipeline(VariogramFeatures(), StandardScaler())
    variogram_and_level = make_pipeline(
        make_column_transformer(
            (features, ["image", *BOXES]), (OneHotEncoder(), ["level"])
        ),
        LogisticRegression(C=10, max_iter=5000),
    )
    network = TBSPretrainedClassifier(weights=weights)
    return {
        "variogram, whole": make_texture_classifier(),
        "variogram, vertebrae": PatientAggregator(make_texture_classifier()),
        "variogram, vertebrae and level": PatientAggregator(variogram_and_level),
        "deep texture, whole": make_pipeline(LumbarCropper(), network),
        "deep texture, vertebrae": PatientAggregator(network),
    }


def cell(row, name="", spec=".3f"):
    """Write a value with its interval."""
    value, low, high = (row[one] for one in (name, f"{name}_low", f"{name}_high"))
    return f"{value:{spec}} [{low:{spec}}, {high:{spec}}]"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-patients", type=int, default=600)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--appearance", default="plain", choices=["plain", "varied"])
    parser.add_argument("--weights", default="imagenet", metavar="FILE")
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--checkpoint", metavar="DIR")
    return parser.parse_args()


def report(result):
    for name, row in result.table.iterrows():
        if row["error"]:
            print(f"{name:32} {row['error']}")
            continue
        measures = f"{cell(row, 'roc_auc')}  Brier {cell(row, 'brier_score')}"
        print(f"{name:32} AUC {measures}  {row['fit_seconds']:5.1f} s")
    for name, other in PAIRS.items():
        if {name, other} <= {*result.table.index}:
            auc, brier = (
                result.differences(measure, reference=other)
                .loc[name]
                .rename({"difference": "", "low": "_low", "high": "_high"})
                for measure in ("roc_auc", "brier_score")
            )
            changes = f"AUC {cell(auc, spec='+.3f')}  Brier {cell(brier, spec='+.3f')}"
            print(f"{name:32} less {other}: {changes}")


def main():
    arguments = parse()
    models = make_models(arguments.weights)
    scans = make_dxa_phantoms(
        arguments.n_patients,
        appearance=arguments.appearance,
        random_state=arguments.seed,
    )
    boxes = np.where(scans.excluded[..., np.newaxis], np.nan, scans.boxes)
    frame = scans.frame.copy()
    frame[BOXES] = boxes.reshape(len(boxes), -1)
    enough = (~scans.excluded).sum(axis=1) >= 2
    if arguments.appearance == "varied":
        frame = LumbarCropper(400, spacing=0.6).transform_table(frame)
    y = TBSLabeler().fit_transform(scans.tbs[enough])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cut off a part")
        result = compare_models(
            {name: models[name] for name in arguments.models or models},
            frame[enough],
            y,
            scans.patient[enough],
            tbs=scans.tbs[enough],
            random_state=arguments.seed,
            checkpoint_dir=arguments.checkpoint,
        )
    print(
        f"{len(y)} phantoms ({arguments.appearance}), seed {arguments.seed}, ", end=""
    )
    print(f"{scans.excluded[enough].sum()} vertebrae left out, ", end="")
    print(f"{y.sum()} degraded, 5 folds by patient")
    report(result)


if __name__ == "__main__":
    main()
