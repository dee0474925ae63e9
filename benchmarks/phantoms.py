"""How hard phantoms are: AUC of degraded against the rest, by what is looked at.

Run ``python benchmarks/phantoms.py [n_patients] [random_state]``, or, for the
default setting alone with two networks besides (20 minutes on two cores for 1469
patients), ``python benchmarks/phantoms.py 1469 0 networks``. Predictions are those
of patient-wise 5-fold cross-validation; intervals are 95 % bootstrap intervals over
patients. Raw and robust slope are the open texture scores. All results are phantom
results. SqueezeNet starts from torchvision's ImageNet weights.
"""

import sys
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    classification_row,
    initial_slope,
    make_dxa_phantoms,
    make_texture_classifier,
)

SETTINGS = {
    "default": {},
    "noise=0": {"noise": 0.0},
    "noise=0.07": {"noise": 0.07},
    'h_gain="literal"': {"h_gain": "literal"},
    "decouple=0": {"decouple": 0.0},
    'appearance="varied"': {"appearance": "varied"},
}
ROBUST = {"sigma": 0.8, "lag_range": (3, 8)}


def linear():
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def grey_statistics(scans):
    """Mean, spread and percentiles of each scan and of its crop."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cut off a part")
        crops = LumbarCropper().transform(scans.frame)
    both = [scans.images.reshape(len(crops), -1), crops.reshape(len(crops), -1)]
    return np.column_stack(
        [f(part) for part in both for f in (_mean, _spread, _percentiles)]
    )


def _mean(part):
    return part.mean(axis=1)


def _spread(part):
    return part.std(axis=1)


def _percentiles(part):
    return np.percentile(part, [5, 25, 50, 75, 95], axis=1).T


def slopes(scans, **parameters):
    return np.array(
        [
            [initial_slope(image, boxes=boxes, **parameters)]
            for image, boxes in zip(scans.images, scans.boxes, strict=True)
        ]
    )


def networks():
    """Make the networks of the quickstart, with its short trainings."""
    ad_hoc = TBSAdHocClassifier.from_paper(
        "model4",
        blocks=5,
        filters=(8, 16, 32, 32, 32),
        fc=(32,),
        lr=0.003,
        batch_size=24,
        max_epochs=10,
    )
    squeezenet = TBSPretrainedClassifier.from_paper("squeezenet1_0", "head", lr=0.001)
    return {
        "ad hoc network, 10 epochs": ad_hoc,
        "SqueezeNet head, 4 epochs": squeezenet.set_params(max_epochs=4),
    }


def main(n_patients=400, random_state=0, with_networks=False):
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    settings = {"default": {}} if with_networks else SETTINGS
    for setting, parameters in settings.items():
        scans = make_dxa_phantoms(
            n_patients, random_state=random_state, n_jobs=2, **parameters
        )
        y = TBSLabeler().fit_transform(scans.tbs)
        looked_at = {
            "age, BMI, BMD, no image": (
                linear(),
                np.stack([scans.age, scans.bmi, scans.bmd], axis=1),
            ),
            "grey-level statistics": (linear(), grey_statistics(scans)),
            "initial slope, raw": (linear(), slopes(scans)),
            "initial slope, robust": (linear(), slopes(scans, **ROBUST)),
            "variogram features": (make_texture_classifier(), scans.frame),
        }
        if with_networks:
            for name, network in networks().items():
                network.set_params(class_weight="balanced", random_state=0)
                model = make_pipeline(LumbarCropper(), network)
                looked_at[name] = model, scans.frame
        print(f"{setting}: {n_patients} patients, {y.sum()} degraded", flush=True)
        for name, (model, X) in looked_at.items():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*cut off a part")
                proba = cross_val_predict(
                    model, X, y, groups=scans.patient, cv=folds, method="predict_proba"
                )
            row = classification_row(y, proba, groups=scans.patient, random_state=0)
            print(
                f"  {name:26s} {row['roc_auc']:.3f} "
                f"[{row['roc_auc_low']:.3f}, {row['roc_auc_high']:.3f}]",
                flush=True,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]), with_networks="networks" in sys.argv)
