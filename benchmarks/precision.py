"""Compare bfloat16 with float32, and the change with that between seeds.

Run ``python benchmarks/precision.py``: a small ad hoc network and SqueezeNet's head
(random weights) on 400 phantom crops, each with six seeds in float32 and in bfloat16,
and the areas under the ROC curve on 160 held-out patients. On a processor without
bfloat16 it is computed all the same, only slowly (ten minutes on two cores).
"""

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    make_dxa_phantoms,
)

SEEDS = range(6)
PRECISIONS = ("float32", "bfloat16")


def models(**parameters):
    return {
        "ad hoc": TBSAdHocClassifier.from_paper(
            "model4",
            blocks=4,
            filters=(8, 16, 32, 32),
            fc=(32,),
            lr=0.01,
            batch_size=24,
            max_epochs=15,
            **parameters,
        ),
        "SqueezeNet, head": TBSPretrainedClassifier.from_paper(
            "squeezenet1_0", "head", weights=None, lr=0.01, **parameters
        ),
    }


def main():
    scans = make_dxa_phantoms(400, class_shares=(1, 0, 1), random_state=0)
    y = TBSLabeler().fit_transform(scans.tbs)
    X = LumbarCropper(112).transform(scans.images, boxes=scans.boxes[:, 1:3])
    train, test = slice(0, 240), slice(240, 400)
    for name in models():
        scores = np.empty((len(SEEDS), 2, 2))
        for i, seed in enumerate(SEEDS):
            for j, precision in enumerate(PRECISIONS):
                model = models(precision=precision, random_state=seed)[name]
                proba = model.fit(X[train], y[train]).predict_proba(X[test])[:, 1]
                scores[i, j] = (
                    roc_auc_score(y[test], proba),
                    f1_score(y[test], proba > 0.5),
                )
        for k, measure in enumerate(("AUC", "F1")):
            single, half = scores[..., k].T
            change = half - single
            error = change.std(ddof=1) / np.sqrt(len(SEEDS))
            print(
                f"{name}, {measure}: float32 {single.mean():.3f}, bfloat16 "
                f"{half.mean():.3f}, change {change.mean():+.3f} (standard error "
                f"{error:.3f}), standard deviation between seeds "
                f"{single.std(ddof=1):.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
