"""Turn the records of trials into results in scikit-learn's form.

Errors and warnings about what went wrong in the workers are raised here.
"""

from typing import Any

import numpy as np
import pandas as pd

from tbsclassify._warn import warn
from tbsclassify.tuning._journal import TrialRecord
from tbsclassify.tuning._trial import Task


def check_any_finished(records: list[TrialRecord], time_budget: float | None) -> None:
    """Check that there is a trial with results.

    Raises
    ------
    RuntimeError
        If no trial is complete or has failed for good.
    """
    if {"complete", "failed"} & {record.status for record in records}:
        return
    raise RuntimeError(
        f"No trial was complete within time_budget={time_budget} seconds; "
        f"{len(records)} had begun. Give more time, fewer folds or fewer epochs."
    )


def complete_failed(records: list[TrialRecord], task: Task) -> None:
    """Give trials whose worker died repeatedly a result for each fold.

    Raises
    ------
    RuntimeError
        If there is such a trial and ``error_score="raise"``.
    """
    for record in records:
        if record.status != "failed":
            continue
        if task.error_score == "raise":
            raise RuntimeError(record.error)
        fold = fold_without_result(task, task.error_score, record.error)
        record.splits += [fold] * (len(task.splits) - len(record.splits))


def finished_folds(records: list[TrialRecord], task: Task) -> list[dict[str, Any]]:
    """Return the results of all finished folds, with scores in the same form.

    A scorer given as a function may return several measures. If the fit or the scorer
    failed, there is only one score, which then stands for all measures.
    """
    folds = [split for record in records for split in record.splits]
    tables = [fold for fold in folds if isinstance(fold["test_scores"], dict)]
    for fold in folds if tables else []:
        for kind in {"test_scores", "train_scores"} & set(fold):
            if not isinstance(fold[kind], dict):
                fold[kind] = dict.fromkeys(tables[0]["test_scores"], fold[kind])
    return folds


def all_folds(records: list[TrialRecord], task: Task) -> list[dict[str, Any]]:
    """Return the results of all folds, trial by trial; NaN where one is unfinished."""
    example = next(split for record in records for split in record.splits)
    scores: Any = np.nan
    if isinstance(example["test_scores"], dict):
        scores = dict.fromkeys(example["test_scores"], np.nan)
    unfinished = fold_without_result(task, scores)
    n_folds = len(task.splits)
    return [
        fold
        for record in records
        for fold in (record.splits + [unfinished] * n_folds)[:n_folds]
    ]


def are_finite(folds: list[dict[str, Any]]) -> bool:
    """Tell whether all scores of test scans are finite."""
    scores = [fold["test_scores"] for fold in folds]
    return all(
        np.isfinite(list(one.values()) if isinstance(one, dict) else one).all()
        for one in scores
    )


def fold_without_result(
    task: Task, scores: Any, error: str | None = None
) -> dict[str, Any]:
    """Return the result of a fold in scikit-learn's form, without values."""
    fold = {
        "fit_error": error,
        "test_scores": scores,
        "n_test_samples": 0,
        "fit_time": np.nan,
        "score_time": np.nan,
        "score_errors": {},
    }
    return fold | {"train_scores": scores} if task.return_train_score else fold


def tell_score_errors(folds: list[dict[str, Any]], task: Task) -> None:
    """Warn of scorers that failed, as scikit-learn warns of fits that failed.

    Raises
    ------
    ValueError
        If the score that decides failed in every fold that was fitted.
    """
    fitted = [fold for fold in folds if fold["fit_error"] is None]
    failed = [fold for fold in fitted if fold["score_errors"]]
    if not failed:
        return
    reasons = {
        f"{name}: {text}"
        for fold in failed
        for name, text in fold["score_errors"].items()
    }
    details = "\n".join(sorted(reasons))
    hint = ""
    if "pos_label" in details:
        hint = " For classes that are not 0 and 1, use make_scorer(..., pos_label=...)."
    if all(_deciding_failed(fold, task) for fold in fitted):
        raise ValueError(
            f"Scoring failed in all {len(fitted)} folds that were fitted, so no "
            f"configuration can be chosen.{hint} The scorer raised:\n{details}"
        )
    warn(
        f"Scoring failed in {len(failed)} of {len(fitted)} folds. Their scores are "
        f"error_score={task.error_score}. Mend the scorer, or choose folds that it can "
        f"score.{hint} The scorer raised:\n{details}"
    )


def _deciding_failed(fold: dict[str, Any], task: Task) -> bool:
    """Tell whether the score that decides failed in a fold."""
    failed, scores = fold["score_errors"], fold["test_scores"]
    if isinstance(scores, dict) and "score" not in failed:
        return (task.metric or next(iter(scores))) in failed
    return bool(failed)


def check_any_ranked(means: np.ndarray, measure: str) -> None:
    """Check that there is a configuration to choose.

    Raises
    ------
    ValueError
        If the mean score of every configuration is NaN.
    """
    if np.isnan(means).all():
        raise ValueError(
            f"Expected a mean {measure} of one configuration at least, got NaN for all "
            f"{len(means)}: each lacks the score of a fold, which could not be fitted "
            "or scored. Does each test fold hold all classes? With "
            "error_score='raise' the first error ends the search and is shown."
        )


def history_table(records: list[TrialRecord]) -> pd.DataFrame:
    """Return a row for each epoch of each trial."""
    rows = [
        (trial, *row) for trial, record in enumerate(records) for row in record.history
    ]
    columns = ["trial", "fold", "epoch", "score", "seconds"]
    return pd.DataFrame(rows, columns=columns)
