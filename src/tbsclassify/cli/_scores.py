"""Scores with intervals: computed, shown and written; and when they mislead."""

from pathlib import Path
from typing import Any

from tbsclassify._files import as_path
from tbsclassify.cli._app import say, warn


def cross_validate_model(
    name: str, model: Any, scans: Any, y: Any, folds: int, seed: int
) -> dict[str, float]:
    """Cross-validate a model, print its scores with intervals and return them."""
    import sys
    import warnings

    from tbsclassify import compare_models

    with warnings.catch_warnings():
        # An error below says so, too.
        warnings.filterwarnings("ignore", f"{name} failed and is not compared")
        found = compare_models(
            {name: model},
            scans.frame,
            y,
            scans.patient,
            tbs=scans.tbs,
            cv=folds,
            random_state=seed,
            verbose=int(sys.stderr.isatty()),
        )
    row = found.table.loc[name]
    if row["error"]:
        raise ValueError(row["error"])
    print(format_rows({name: row.drop("error")}))
    numbers = row.drop("error").astype(float)
    measured = {str(key): value for key, value in numbers.dropna().to_dict().items()}
    return {"folds": folds, "seed": seed} | measured


def describe_run(
    scans: Any,
    folds: int,
    seed: int,
    scheme: str,
    *,
    weights: str | None,
    spacing: float | None,
    auto_boxes: bool,
) -> str:
    """Say in two lines how models are cross-validated, and on what."""
    n_scans, n_patients = len(scans.patient), len(set(scans.patient))
    pixels = "pixels as they are" if spacing is None else f"pixels of {spacing:g} mm"
    boxes = "found where the table has none" if auto_boxes else "of the table"
    return (
        f"{folds}-fold cross-validation on {n_scans} scans of {n_patients} patients, "
        f"seed {seed}\n{scheme} scheme, boxes {boxes}, {pixels}; networks "
        f"start from weights {weights or 'imagenet'}"
    )


def evaluate_model(
    model: Any, scans: Any, y: Any, threshold: float, seed: int
) -> dict[str, Any]:
    """Return the measures of a fitted model, for its classes and its TBS values."""
    from sklearn.pipeline import Pipeline

    from tbsclassify import classification_row
    from tbsclassify.metrics import multiclass_table, regression_row

    proba = model.predict_proba(scans.frame)
    known = {"groups": scans.patient, "random_state": seed}
    rows: dict[str, Any] = {}
    if proba.shape[1] == 2:
        row = classification_row(y, proba[:, 1], threshold=threshold, **known)
        rows["degraded"] = row
    else:
        table = multiclass_table(y, proba, classes=model.classes_, **known)
        names = ("all classes", "normal", "partially degraded", "degraded")
        rows |= dict(zip(names, (row for _, row in table.iterrows()), strict=True))
    last = model[-1] if isinstance(model, Pipeline) else model
    if hasattr(last, "predict_tbs"):
        X = scans.frame
        if last is not model:
            X = model[:-1].transform(X)
        rows["tbs"] = regression_row(scans.tbs, last.predict_tbs(X), **known)
    return rows


def warn_of_training_scans(model: Path, scans: Any) -> None:
    """Warn that a score is no estimate for new scans, if some are not new."""
    from tbsclassify.persistence._seen import seen_scans

    seen = seen_scans(model, scans.frame)
    if seen is None:
        return  # saved without scans
    n_scans, n_seen = len(seen), seen.sum()
    if n_seen:
        some = "All" if n_seen == n_scans else f"{n_seen} of"
        warn(
            f"{some} {n_scans} scans are among those that {model.name} was trained on. "
            "It knows them, so that these scores are no estimate for new scans: "
            "evaluate it on scans of other patients."
        )


def explain_rows(rows: dict[str, Any], threshold: float) -> str:
    """Say what is counted in rows of `evaluate_model`."""
    if "all classes" not in rows:
        return (
            "Degraded is a TBS below 1.200; a scan is called so where its probability "
            f"is above {threshold:g}.\ntp: degraded and called so, fn: degraded, not "
            "called so, fp: not degraded, called so, tn: neither"
        )
    return (
        "Each class against the rest. tp: of the class and put into it, fn: of the "
        "class, not put into it, fp: of another, put into it, tn: neither\nOf all "
        "classes, counts and Brier score are sums over the three; sensitivity, "
        "specificity, F1 and ROC AUC are means; accuracy is the share of scans put "
        "into their class."
    )


def format_rows(rows: dict[str, Any]) -> str:
    """Format measures with their intervals, one measure in each line."""
    from tbsclassify import format_table

    return format_table(rows, decimals=3).T.to_string()


def write_rows(rows: dict[str, Any], out: Path) -> None:
    """Write measures as CSV or JSON."""
    import pandas as pd

    table, out = pd.DataFrame.from_dict(rows, orient="index"), as_path(out)
    if out.suffix.lower() == ".csv":
        table.to_csv(out, index_label="name")
    else:
        table.to_json(out, orient="index", indent=2)
    say(f"{out}: written")


def check_scores_file(out: Path | None) -> None:
    """Refuse a file that scores cannot be written to, before any work is done."""
    if out is None:
        return
    if out.suffix.lower() not in (".csv", ".json"):
        raise ValueError(
            f"Expected out to end in .csv or .json, got {out.name!r}. Rename it."
        )
    check_folder_of(out)


def check_folder_of(out: Path) -> None:
    """Refuse a file whose folder does not exist, before any work is done."""
    if not as_path(out).absolute().parent.is_dir():
        raise FileNotFoundError(
            f"Expected out to be in a folder that is there, got {str(out)!r}. Make the "
            "folder first."
        )
