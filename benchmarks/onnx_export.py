"""How far probabilities of an exported ONNX file are from the model's own.

For the backbones of the paper in all three modes, and with statistics as the head of a
whole network, and for ad hoc networks: the greatest difference over the scans that were
not fitted, in float32 on a CPU. Weights are random, data phantoms.

    python benchmarks/onnx_export.py [random_state]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from tbsclassify import (
    LumbarCropper,
    TBSAdHocClassifier,
    TBSPretrainedClassifier,
    export_onnx,
)
from tbsclassify.datasets import make_dxa_phantoms
from tbsclassify.estimators._networks import PAPER_BACKBONES, PAPER_MODELS


def models(seed):
    settings = {"precision": "float32", "random_state": seed, "max_epochs": 1}
    for backbone in PAPER_BACKBONES:
        for mode, pooling in (
            ("texture", "network"),
            ("head", "network"),
            ("full", "network"),
            ("full", "statistics"),
        ):
            model = TBSPretrainedClassifier(
                backbone, mode, weights=None, pooling=pooling, **settings
            )
            yield f"{backbone} {mode} {pooling}", model
    for name in PAPER_MODELS:
        yield name, TBSAdHocClassifier.from_paper(name).set_params(**settings)
    statistics = TBSAdHocClassifier(3, (8, 16, 32), pooling="statistics", **settings)
    yield "ad hoc statistics", statistics


def main(seed):
    scans = make_dxa_phantoms(48, class_shares=(1, 0, 1), random_state=seed)
    X = LumbarCropper().fit_transform(scans.frame)
    y = (scans.tbs < 1.2).astype(int)
    train, test = slice(24), slice(24, None)
    print(
        f"{'model':<36}{'difference':>11}{'same class':>12}{'MB':>8}{'export, s':>11}"
    )
    for name, model in models(seed):
        for tbs in (None, scans.tbs):
            values = {} if tbs is None else {"tbs": tbs[train]}
            model.fit(X[train], y[train], **values)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.onnx")
                start = time.perf_counter()
                export_onnx(model, path)
                seconds = time.perf_counter() - start
                session = onnxruntime.InferenceSession(path)
                found = session.run(
                    ["probabilities", "class_index"], {"images": X[test][:, None]}
                )
                size = path.stat().st_size / 1e6
            off = abs(found[0] - model.predict_proba(X[test])).max()
            same = np.mean(model.classes_[found[1]] == model.predict(X[test]))
            title = name + ("" if tbs is None else ", TBS")
            print(
                f"{title:<36}{off:>11.1e}{same:>12.2f}{size:>8.1f}{seconds:>11.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
