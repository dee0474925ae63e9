"""The paper's experiment on phantoms, at the paper's size.

Run ``python benchmarks/comparison.py WEIGHTS [MAX_EPOCHS [MODEL ...]]``: 1469 phantom
patients, the paper's split (1127 to train, 161 to validate, 181 to test), and the
models of `paper_models` or those named. WEIGHTS is a folder with state dicts
``resnet18.safetensors`` and ``squeezenet1_0_features.safetensors``, or "imagenet" for
torchvision's own. MAX_EPOCHS, 0 for the paper's, ends training earlier.

Validation scans go to training: networks that stop early split theirs off
themselves, with the paper's share. Finished models are kept in ``comparison_runs``.
"""

import sys
from pathlib import Path

import numpy as np

from tbsclassify import (
    TBSLabeler,
    compare_models,
    make_dxa_phantoms,
    paper_models,
    paper_split,
)

FILES = {
    "resnet18": "resnet18.safetensors",
    "squeezenet1_0": "squeezenet1_0_features.safetensors",
}


def main(weights, max_epochs="0", *names):
    models = paper_models()
    models = {name: models[name] for name in names or models}
    for name, model in models.items():
        backbone = name.partition("-")[0]
        classifier = model[-1]
        if weights != "imagenet" and backbone in FILES:
            classifier.set_params(weights=Path(weights, FILES[backbone]))
        if int(max_epochs) and name != "texture":
            classifier.set_params(max_epochs=int(max_epochs))
    scans = make_dxa_phantoms(1469, n_jobs=2, random_state=0)
    y = TBSLabeler().fit_transform(scans.tbs)
    train, validation, test = paper_split(y, scans.patient, random_state=0)
    result = compare_models(
        models,
        scans.frame,
        y,
        scans.patient,
        cv=[(np.concatenate([train, validation]), test)],
        random_state=0,
        checkpoint_dir="comparison_runs",
        verbose=1,
    )
    print(result.to_text())
    columns = ["seconds_per_10_epochs", "fit_seconds", "brier_score"]
    print(result.table[columns].round(3).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
