"""Which model is best: AUC, r with TBS, Brier score and time, all on the same folds.

Run ``python benchmarks/models.py --weights FILE --checkpoint RUNS``. FILE is a state
dict of SqueezeNet 1.0 with torchvision's keys; without it torchvision downloads
ImageNet's. 1469 phantoms of seed 12 are made, and degraded ones are told from the rest
by cross-validation by patient. Settings of models were chosen on phantoms of seed 0,
none on seed 12. Fits are kept in RUNS as they end, and not repeated when the command is
given again; remove them after a change to the code. "full, TBS" and "paper's Model 4"
take long and are run only if named in ``--models``.

A model whose name ends in TBS learns the values, any other the classes. Areas under
the ROC curve and their paired differences have 95 % intervals from a bootstrap over
patients. r and the mean absolute error (MAE) compare predicted and true TBS. Minutes
are those of all fits and their predictions, cropping and features included; run the
benchmark alone on the machine, one fit at a time. ``--check permuted`` adds the
control of `compare_models`, for models that are fitted in seconds.

``--real FOLDER`` takes scans in place of phantoms: ``scans.csv`` with the columns
``file``, ``subject`` and ``bone_density_class`` ("normal", "osteopenia" or
"osteoporosis"), and ``images``. Classes of bone density are NOT TBS. To measure what
teaching values brings, the classes stand for 1.40, 1.27 and 1.10 in place of TBS, as a
device of this measurement only. Models of classes learn normal against osteoporosis,
models of values all three classes; both are scored on normal and osteoporosis alone.
"""

import argparse
import os
import platform
import shlex
import sys
import time
import warnings
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import torch
from imblearn.combine import SMOTEENN
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from tbsclassify import (
    DeepTextureFeatures,
    LumbarCropper,
    TBSAdHocClassifier,
    TBSLabeler,
    TBSPretrainedClassifier,
    TextureMatrixFeatures,
    VariogramFeatures,
    compare_models,
    load_scans,
    make_clinical_baseline,
    make_dxa_phantoms,
    make_radiomics_classifier,
    make_texture_classifier,
)
from tbsclassify._pipelines import decline_metadata, fit_metadata
from tbsclassify.clinical import make_clinical_features
from tbsclassify.estimators._closed_form import fit_ridge
from tbsclassify.estimators._ranges import TBSRanges
from tbsclassify.labels import TBS_THRESHOLDS
from tbsclassify.metrics import classification_row, difference_row, regression_row

REAL_VALUES = {"normal": 1.40, "osteopenia": 1.27, "osteoporosis": 1.10}
REFERENCES = ("variogram", "deep texture, TBS", "clinical")
SLOW = ("full, TBS", "paper's Model 4")
# The control fits twice as often, so it is for models that take seconds.
CONTROLLED = (
    "grey levels",
    "clinical",
    "variogram",
    "variogram, TBS",
    "radiomics, TBS",
    "deep texture, TBS",
    "deep texture, random weights, TBS",
    "image + clinical, TBS",
)


class RidgeOnTBS(ClassifierMixin, BaseEstimator):
    """Ridge regression of TBS on features, as ``mode="texture"`` has on its own."""

    def fit(self, X, y, *, groups, tbs):  # noqa: D102
        self.classes_, codes = np.unique(y, return_inverse=True)
        self._ranges = TBSRanges.of_classes(tbs, codes, self.classes_, TBS_THRESHOLDS)
        targets = np.asarray(tbs, dtype=float)[:, np.newaxis]
        self._head = fit_ridge(X, targets, np.ones(len(y)), groups, alpha=None, seed=0)
        self.residual_std_ = np.sqrt(np.mean((self._head.held_out - targets) ** 2))
        return self

    def predict_tbs(self, X):  # noqa: D102
        return self._head.predict(X)[:, 0]

    def predict_proba(self, X):  # noqa: D102
        return np.exp(self._ranges.log_proba(self.predict_tbs(X), self.residual_std_))


def grey_levels(crops):
    """Mean, spread and percentiles of each crop."""
    pixels = crops.reshape(len(crops), -1)
    percentiles = np.percentile(pixels, [5, 25, 50, 75, 95], axis=1)
    return np.column_stack([pixels.mean(axis=1), pixels.std(axis=1), percentiles.T])


def compress(features):
    """Compress statistics of channels, as ``mode="texture"`` does."""
    return np.arcsinh(10 * features)


def make_models(weights):
    """Make all models by name, each with the whole way from scans to classes."""
    models = make_models_on_features(weights)
    for name, network in make_networks(weights).items():
        if not name.endswith("TBS"):
            decline_metadata(network, "tbs")
        models[name] = make_pipeline(LumbarCropper(), network)
    return models


def make_models_on_features(weights):
    image = make_pipeline(
        LumbarCropper(),
        DeepTextureFeatures(weights=weights),
        FunctionTransformer(compress),
        StandardScaler(),
    )
    image_and_clinical = [("image", image), ("clinical", make_clinical_features())]
    radiomics = make_pipeline(TextureMatrixFeatures(), StandardScaler())
    variogram = make_pipeline(VariogramFeatures(), StandardScaler())
    textures = [("variogram", variogram), ("radiomics", radiomics)]
    return {
        "clinical": make_clinical_baseline(),
        "grey levels": make_pipeline(
            LumbarCropper(),
            FunctionTransformer(grey_levels),
            StandardScaler(),
            LogisticRegression(max_iter=1000),
        ),
        "variogram": make_texture_classifier(),
        "variogram, TBS": make_pipeline(VariogramFeatures(), RidgeOnTBS()),
        "radiomics, SVM": make_radiomics_classifier("svm"),
        "radiomics, SVM, SMOTEENN": make_radiomics_classifier(
            "svm", resampler=SMOTEENN()
        ),
        "radiomics, TBS": make_pipeline(radiomics, RidgeOnTBS()),
        "variogram + radiomics, TBS": make_pipeline(
            FeatureUnion(textures), RidgeOnTBS()
        ),
        "image + variogram + radiomics, TBS": make_pipeline(
            FeatureUnion([("image", image), *textures]), RidgeOnTBS()
        ),
        "image + clinical, TBS": make_pipeline(
            FeatureUnion(image_and_clinical), RidgeOnTBS()
        ),
    }


def make_networks(weights):
    return {
        "deep texture": TBSPretrainedClassifier(weights=weights),
        "deep texture, TBS": TBSPretrainedClassifier(weights=weights),
        "deep texture, random weights, TBS": TBSPretrainedClassifier(weights=None),
        "ad hoc": TBSAdHocClassifier(),
        "ad hoc, TBS": TBSAdHocClassifier(),
        "full, TBS": TBSPretrainedClassifier(
            mode="full", pooling="statistics", max_epochs=6, weights=weights
        ),
        "paper's Model 4": TBSAdHocClassifier.from_paper("model4"),
    }


def make_phantoms(n_patients, seed, n_jobs):
    scans = make_dxa_phantoms(n_patients, random_state=seed, n_jobs=n_jobs)
    y = TBSLabeler().fit_transform(scans.tbs)
    return SimpleNamespace(X=scans.frame, y=y, tbs=scans.tbs, patient=scans.patient)


def read_real(folder):
    scans = load_scans(
        folder / "scans.csv",
        folder / "images",
        patient_column="subject",
        tbs_column=None,
    )
    tbs = scans.frame["bone_density_class"].map(REAL_VALUES).to_numpy()
    y = TBSLabeler(scheme="three-class").fit_transform(tbs)
    return SimpleNamespace(X=scans.frame, y=y, tbs=tbs, patient=scans.patient)


def fit_and_predict(name, model, data, split, seed, checkpoint):
    """Return scores and predicted values of the test scans, and the seconds taken."""
    key = joblib.hash([model, data.X, data.y, data.tbs, split, seed])
    file = checkpoint and checkpoint / f"{key}.joblib"
    if file and file.exists():
        return joblib.load(file)
    print(f"{name} ...", file=sys.stderr, flush=True)
    train, test = split
    model = clone(model)
    seeds = [one for one in model.get_params() if one.endswith("random_state")]
    model.set_params(**dict.fromkeys(seeds, seed))
    options = {"groups": data.patient, "tbs": data.tbs}
    teaches_values = any(one.endswith("tbs") for one in fit_metadata(model, **options))
    if not teaches_values:
        train = train[np.isin(data.y[train], [data.y.min(), data.y.max()])]
    options = fit_metadata(model, **{k: one[train] for k, one in options.items()})
    start = time.perf_counter()
    model.fit(data.X.iloc[train], data.y[train], **options)
    fitted = time.perf_counter()
    proba = model.predict_proba(data.X.iloc[test])
    end = time.perf_counter()
    found = {
        # Of the two outer classes, where there is one between.
        "score": proba[:, -1] / (proba[:, 0] + proba[:, -1]),
        "tbs": np.full(len(test), np.nan),
        "fit_seconds": fitted - start,
        "seconds": end - start,
    }
    if teaches_values:
        features = model[:-1].transform(data.X.iloc[test])
        found["tbs"] = model[-1].predict_tbs(features)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        joblib.dump(found, file)
    return found


def measure(models, data, arguments):
    """Return for each model its measures, those that apply, by name."""
    splits = [
        split
        for repeat in range(arguments.repeats)
        for split in StratifiedGroupKFold(
            arguments.folds, shuffle=True, random_state=arguments.seed + repeat
        ).split(data.X, data.y, data.patient)
    ]
    tested = np.concatenate([test for _, test in splits])
    fold = np.repeat(np.arange(len(splits)), [len(test) for _, test in splits])
    outer = np.isin(data.y[tested], [data.y.min(), data.y.max()])
    y = data.y[tested][outer] == data.y.max()
    rows_of = {"groups": data.patient[tested][outer]}
    draws = {"n_bootstrap": arguments.n_bootstrap, "random_state": arguments.seed}
    options = rows_of | draws | {"folds": fold[outer]}
    scores, rows = {}, {}
    for name, model in models.items():
        jobs = (
            joblib.delayed(fit_and_predict)(
                name, model, data, split, arguments.seed + i, arguments.checkpoint
            )
            for i, split in enumerate(splits)
        )
        fits = joblib.Parallel(n_jobs=arguments.n_jobs)(jobs)
        scores[name] = np.concatenate([fit["score"] for fit in fits])[outer]
        row = dict(classification_row(y, scores[name], pos_label=True, **options))
        predicted = np.concatenate([fit["tbs"] for fit in fits])[outer]
        if arguments.real is None and np.isfinite(predicted).all():
            row |= regression_row(data.tbs[tested], predicted, **rows_of, **draws)
        row["fit_seconds"] = np.mean([fit["fit_seconds"] for fit in fits])
        row["minutes"] = sum(fit["seconds"] for fit in fits) / 60
        rows[name] = row
    add_differences(rows, scores, y, options)
    return rows


def add_differences(rows, scores, y, options):
    """Add to each row how far its AUC is from those of the references."""
    for name, row in rows.items():
        for other in REFERENCES:
            if other in scores and other != name:
                difference = difference_row(
                    y, scores[name], scores[other], pos_label=True, **options
                )
                for end in ("", "_low", "_high"):
                    row[f"auc_less_{other}{end}"] = difference[f"roc_auc{end}"]


def label(name, arguments):
    """Name a model so that what stands for bone density is not called TBS."""
    return name if arguments.real is None else name.replace("TBS", "values")


def cell(row, name, spec=".3f"):
    """Write a measure with its interval, or a dash where it does not apply."""
    if name not in row:
        return "-"
    low, high = (format(row[f"{name}_{end}"], spec) for end in ("low", "high"))
    return f"{row[name]:{spec}} [{low}, {high}]"


def print_table(lines):
    """Print lines, the first the titles, in reStructuredText, without empty columns."""
    columns = [cells for cells in zip(*lines, strict=True) if {*cells[1:]} != {"-"}]
    lines = list(zip(*columns, strict=True))
    widths = [max(map(len, cells)) for cells in columns]
    rule = " ".join("=" * width for width in widths)
    lines = [" ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    print("", rule, lines[0], rule, *lines[1:], rule, sep="\n", flush=True)


def report(rows, arguments):
    """Print how good models are, and below how they compare and what they cost."""
    scores, costs = [], []
    for name, row in rows.items():
        name = label(name, arguments)
        measures = (cell(row, one) for one in ("roc_auc", "brier_score", "r"))
        scores.append([name, *measures, f"{row['mae']:.3f}" if "mae" in row else "-"])
        differences = (cell(row, f"auc_less_{one}", "+.3f") for one in REFERENCES)
        seconds = f"{row['fit_seconds']:.1f}", f"{row['minutes']:.1f}"
        costs.append([name, *differences, *seconds])
    print_table([["Model", "AUC", "Brier score", "r with TBS", "MAE"], *scores])
    less = [f"AUC less that of {one}" for one in REFERENCES]
    print_table([["Model", *less, "Seconds a fit", "Minutes, all"], *costs])


def check_permuted(models, data, arguments):
    """Print what models find in labels that were shuffled across patients.

    Real scans are told apart by all three classes, each against the rest.
    """
    options = {"cv": arguments.folds, "n_repeats": arguments.repeats}
    models = {name: model for name, model in models.items() if name in CONTROLLED}
    key = joblib.hash([models, data.X, data.tbs, options, arguments.seed])
    control = compare_models(
        models,
        data.X,
        data.y,
        data.patient,
        tbs=data.tbs,
        **options,
        check="permuted",
        n_bootstrap=0,
        random_state=arguments.seed,
        n_jobs=arguments.n_jobs,
        checkpoint_dir=arguments.checkpoint and arguments.checkpoint / key,
    ).control
    lines = [
        [label(name, arguments), cell(row, "roc_auc"), f"{row['p_value']:.2f}"]
        for name, row in control.iterrows()
    ]
    print_table([["Shuffled labels", "AUC", "p-value"], *lines])


def describe(data, arguments):
    """Print the command, the data and the machine."""
    task = f"phantoms of seed {arguments.seed}, degraded against the rest"
    if arguments.real is not None:
        task = (
            "real scans, normal against osteoporosis. These are classes of bone "
            f"DENSITY, not TBS; {REAL_VALUES} only stand for them as values to learn"
        )
    cpu = Path("/proc/cpuinfo")
    names = cpu.read_text().partition("model name")[2] if cpu.exists() else ""
    name = names.partition("\n")[0].strip("\t :") or platform.machine()
    counts = np.unique(data.y, return_counts=True)[1].tolist()
    lines = [
        f"python {shlex.join(sys.argv)}",
        f"{date.today()}, {name}, {os.cpu_count()} cores, {torch.get_num_threads()} "
        f"threads, PyTorch {torch.__version__}",
        task,
        f"{len(data.y)} scans of {len(np.unique(data.patient))} patients, {counts} in "
        f"each class, the healthiest first",
        f"{arguments.folds} folds by patient, {arguments.repeats} time(s), seed "
        f"{arguments.seed}",
    ]
    print(*lines, sep="\n", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n-patients", type=int, default=1469)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--weights", default="imagenet", metavar="FILE")
    parser.add_argument("--real", type=Path, metavar="FOLDER")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="DIR")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--n-bootstrap", type=int, default=1000)
    parser.add_argument("--check", choices=["permuted"])
    arguments = parser.parse_args()
    if arguments.repeats is None:
        arguments.repeats = 1 if arguments.real is None else 4
    models = make_models(arguments.weights)
    if unknown := set(arguments.models or ()) - set(models):
        parser.error(f"no models {unknown}; there are {list(models)}")
    if arguments.real is None:
        data = make_phantoms(arguments.n_patients, arguments.seed, arguments.n_jobs)
        names = [name for name in models if name not in SLOW]
    else:
        data = read_real(arguments.real)
        names = ["deep texture", *(n for n in CONTROLLED if "clinical" not in n)]
    models = {name: models[name] for name in arguments.models or names}
    describe(data, arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*cut off a part")
        rows = measure(models, data, arguments)
        report(rows, arguments)
        if arguments.out is not None:
            arguments.out.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame.from_dict(rows, orient="index")
            table.rename(lambda name: label(name, arguments)).to_csv(
                arguments.out / "models.csv", index_label="model"
            )
        if arguments.check:
            check_permuted(models, data, arguments)


if __name__ == "__main__":
    main()
