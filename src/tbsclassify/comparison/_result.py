"""What came out of a comparison, and what can be read from it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from tbsclassify._validation import check_option
from tbsclassify.metrics import (
    COUNTS,
    MEASURES,
    classification_row,
    difference_row,
    format_table,
    multiclass_table,
)

_SHOWN = ("sensitivity", "specificity", "f1", "roc_auc")
_COSTS = (
    "seconds_per_10_epochs",
    "fit_seconds",
    "n_parameters",
    "n_trainable_parameters",
)
_LESS_IS_BETTER = ("brier_score",)
_HISTORY = "history_"


@dataclass(repr=False, eq=False)
class ComparisonResult:
    """What `compare_models` found.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each model: counts and measures as in `classification_row`, or
        in the first row of `multiclass_table` for more than two classes, with
        intervals; ``seconds_per_10_epochs`` and ``fit_seconds``, means over the
        fits; ``n_parameters`` and ``n_trainable_parameters`` of the network, NaN
        where there is none; and ``error``, empty where all went well.
    predictions : pandas.DataFrame
        A row for each scan each time it was tested: ``model``, ``repeat``,
        ``fold``, ``scan`` (its index), ``patient``, ``y_true``, ``proba_...``
        for each class, and ``threshold``. Models that failed have none.
    fits : pandas.DataFrame
        A row for each fit, indexed by model, repeat and fold: the last columns
        of the table, and ``best_epoch``.
    histories : dict of tuple to dict
        ``history_`` of the network by model, repeat and fold, where there is one.
    control : pandas.DataFrame or None
        ROC AUC with interval, and error, of each model on shuffled labels.
    classes : ndarray
        The classes, sorted.
    pos_label : int, str or bool
        The class that counts as positive, where there are two.
    bootstrap : dict
        Arguments of the bootstrap.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    fits: pd.DataFrame
    histories: dict
    control: pd.DataFrame | None
    classes: np.ndarray
    pos_label: Any
    bootstrap: dict

    def differences(self, measure="roc_auc", reference=None, *, confidence_level=None):
        """Compare all models with one, each pair on the same draws of patients.

        Parameters
        ----------
        measure : str, default="roc_auc"
            A measure of the table.
        reference : str, default=None
            The model to compare with; None takes the best.
        confidence_level : float, default=None
            Confidence level of each interval, None that of the table. With k
            models compared, ``1 - 0.05 / k`` keeps all right at once.

        Returns
        -------
        differences : pandas.DataFrame
            For each other model its value less that of the reference
            (``difference``), the interval (``low``, ``high``), and whether that
            is without zero (``differs``): only then are the two told apart.

        See Also
        --------
        tbsclassify.metrics.difference_row : How intervals are computed.
        """
        check_option(measure, "measure", MEASURES)
        if not self.bootstrap["n_bootstrap"]:
            raise ValueError(
                "The models were compared with n_bootstrap=0, but differences are "
                "judged by their intervals. Compare with n_bootstrap=2000, say."
            )
        scored = self.table[measure].dropna()
        if reference is None and len(scored):
            reference = (
                scored.idxmin() if measure in _LESS_IS_BETTER else scored.idxmax()
            )
        bootstrap = dict(self.bootstrap)
        if confidence_level is not None:
            bootstrap["confidence_level"] = confidence_level
        rows = {}
        for name in scored.index.drop(reference, errors="ignore"):
            y, ours, threshold, tested = self._tested(name)
            _, theirs, other_threshold, _ = self._tested(reference)
            row = difference_row(
                y,
                ours,
                theirs,
                thresholds=(threshold, other_threshold),
                pos_label=self.pos_label,
                classes=self.classes if len(self.classes) > 2 else None,
                **tested,
                **bootstrap,
            )
            low, high = (row[f"{measure}_{end}"] for end in ("low", "high"))
            rows[name] = (row[measure], low, high, bool(low > 0 or high < 0))
        columns = ["difference", "low", "high", "differs"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.infer_objects()

    def roc_points(self, model, label=None):
        """Compute the ROC curve of every fit of a model.

        Parameters
        ----------
        model : str
            Name of the model.
        label : int, str or bool, default=None
            The class to tell from the rest; None takes `pos_label`, where there
            are two.

        Returns
        -------
        points : pandas.DataFrame
            ``fpr``, ``tpr`` and ``threshold``, from (0, 0) to (1, 1) for each
            ``repeat`` and ``fold``: scores of different fits are not on one
            scale. Fits that were not tested on both sides are left out.
        """
        if label is None and len(self.classes) == 2:
            label = self.pos_label
        if label not in self.classes.tolist():
            raise ValueError(
                f"label={label!r}, but one of {self.classes.tolist()} is wanted, the "
                "class to tell from the rest."
            )
        curves = []
        for (repeat, fold), tested in self._rows(model).groupby(["repeat", "fold"]):
            positive = tested["y_true"] == label
            if positive.nunique() == 2:
                fpr, tpr, threshold = roc_curve(positive, tested[_proba(label)])
                curve = {"fpr": fpr, "tpr": tpr, "threshold": threshold}
                curves.append(pd.DataFrame({"repeat": repeat, "fold": fold} | curve))
        return pd.concat(curves, ignore_index=True)

    def by_class(self, model):
        """Score a model class by class, each against the rest.

        Parameters
        ----------
        model : str
            Name of the model.

        Returns
        -------
        table : pandas.DataFrame
            As `tbsclassify.metrics.multiclass_table` gives it.
        """
        tested = self._rows(model)
        return multiclass_table(
            tested["y_true"],
            tested[[_proba(label) for label in self.classes]],
            classes=self.classes,
            groups=tested["patient"],
            folds=_fold(tested),
            **self.bootstrap,
        )

    def to_text(self, measure="roc_auc", *, decimals=2):
        """Write the result out for reading.

        Parameters
        ----------
        measure : str, default="roc_auc"
            The measure by which models are called better or not.
        decimals : int, default=2
            Digits after the point.

        Returns
        -------
        text : str
            Counts and main measures with intervals, errors, and which models the
            best is told apart from.
        """
        fine = self.table[self.table["error"] == ""]
        lines = [self._title()]
        if len(fine):
            columns = [*COUNTS, *dict.fromkeys((*_SHOWN, measure))]
            table = format_table(dict(fine.iterrows()), decimals=decimals)[columns]
            lines.append(table.to_string())
        failed = self.table["error"].drop(fine.index)
        lines += [f"{name} failed: {error}" for name, error in failed.items()]
        if len(fine) > 1 and self.bootstrap["n_bootstrap"]:
            lines.append(self._verdict(measure))
        return "\n".join(lines)

    def _verdict(self, measure):
        differences = self.differences(measure)
        best = self.table[measure].dropna().index.difference(differences.index)
        worse, unclear = (
            ", ".join(differences.index[differences["differs"] == told]) or "none"
            for told in (True, False)
        )
        level = f"{100 * self.bootstrap['confidence_level']:g} %"
        return (
            f"Best {measure}: {', '.join(best)}. Worse, with a {level} interval of the "
            f"paired difference that excludes 0: {worse}. Not told apart: {unclear}."
        )

    def _title(self):
        scans, patients = (
            self.predictions[column].nunique() for column in ("scan", "patient")
        )
        return (
            f"ComparisonResult of {len(self.table)} model(s), tested on {scans} scans "
            f"of {patients} patients"
        )

    def __repr__(self):
        shown = self.table[[*COUNTS, *_SHOWN]].round(3)
        return f"{self._title()}\n{shown.to_string()}"

    def _rows(self, model):
        check_option(model, "model", self.predictions["model"].unique())
        return self.predictions[self.predictions["model"] == model]

    def _tested(self, model):
        return _tested(self._rows(model), self.classes, self.pos_label)


def collect(outcomes, groups, classes, pos_label, bootstrap):
    """Make a result of the outcome of each trial, that of `run_trial`."""
    real = {trial: found for trial, found in outcomes.items() if not trial.permuted}
    permuted = {trial: found for trial, found in outcomes.items() if trial.permuted}
    fits, predictions = _fits(real), _predictions(real, groups, classes)
    table = _table(fits, predictions, classes, pos_label, bootstrap)
    control = None
    if permuted:
        # Together the intervals have the confidence level (Bonferroni).
        level = 1 - (1 - bootstrap["confidence_level"]) / len(table)
        control = _table(
            _fits(permuted),
            _predictions(permuted, groups, classes),
            classes,
            pos_label,
            bootstrap | {"confidence_level": level},
        )[["roc_auc", "roc_auc_low", "roc_auc_high", "error"]]
    return ComparisonResult(
        table=table,
        predictions=predictions,
        fits=fits,
        histories=_histories(real),
        control=control,
        classes=classes,
        pos_label=pos_label,
        bootstrap=bootstrap,
    )


def _proba(label):
    return f"proba_{label}"


def _key(trial):
    return {"model": trial.model, "repeat": trial.repeat, "fold": trial.fold}


def _fits(outcomes):
    rows = [
        _key(trial)
        | {"seconds_per_10_epochs": 10 * np.mean(found.get("history_seconds", np.nan))}
        | {name: float(found.get(name, np.nan)) for name in (*_COSTS[1:], "best_epoch")}
        | {"error": found.get("error", "")}
        for trial, found in outcomes.items()
    ]
    return pd.DataFrame(rows).set_index(["model", "repeat", "fold"])


def _histories(outcomes):
    histories = {
        tuple(_key(trial).values()): {
            name.removeprefix(_HISTORY): values
            for name, values in found.items()
            if name.startswith(_HISTORY)
        }
        for trial, found in outcomes.items()
    }
    return {key: history for key, history in histories.items() if history}


def _predictions(outcomes, groups, classes):
    """Lay out what was predicted by the models that did not fail."""
    columns = [_proba(label) for label in classes]
    failed = {trial.model for trial, found in outcomes.items() if "error" in found}
    parts = [
        pd.DataFrame(
            _key(trial)
            | {
                "scan": trial.test,
                "patient": trial.test if groups is None else groups[trial.test],
                "y_true": trial.y[trial.test],
            }
            | dict(zip(columns, found["proba"].T, strict=True))
            | {"threshold": float(found["threshold"])}
        )
        for trial, found in outcomes.items()
        if trial.model not in failed
    ]
    if parts:
        return pd.concat(parts, ignore_index=True)
    key = ["model", "repeat", "fold", "scan", "patient", "y_true"]
    return pd.DataFrame(columns=[*key, *columns, "threshold"])


def _fold(predictions):
    return predictions.groupby(["repeat", "fold"]).ngroup()


def _tested(predictions, classes, pos_label):
    """Labels, scores and thresholds of a model's test scans; patients and folds.

    Scores are those of the positive class, or of all where there are more than two.
    """
    labels = classes if len(classes) > 2 else [pos_label]
    scores = predictions[[_proba(label) for label in labels]].to_numpy()
    return (
        predictions["y_true"].to_numpy(),
        scores if len(classes) > 2 else scores[:, 0],
        predictions["threshold"].to_numpy(),
        {"groups": predictions["patient"], "folds": _fold(predictions)},
    )


def _table(fits, predictions, classes, pos_label, bootstrap):
    """Score each model, in the columns of the paper's tables and more."""
    rows = {}
    for name, own in fits.groupby(level="model", sort=False):
        errors = own["error"][own["error"] != ""]
        rows[name] = own[[*_COSTS]].mean().to_dict()
        rows[name]["error"] = "" if errors.empty else errors.iloc[0]
        if errors.empty:
            tested = predictions[predictions["model"] == name]
            rows[name] |= _score(tested, classes, pos_label, bootstrap)
    ends = ("", "_low", "_high") if bootstrap["n_bootstrap"] else ("",)
    measures = [f"{name}{end}" for name in MEASURES for end in ends]
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=[*COUNTS, *measures, *_COSTS, "error"]
    )
    table[measures] = table[measures].astype(float)
    if table["tp"].notna().all():
        table = table.astype(dict.fromkeys(COUNTS, int))
    return table


def _score(tested, classes, pos_label, bootstrap):
    y, score, threshold, of = _tested(tested, classes, pos_label)
    if len(classes) > 2:
        return dict(
            multiclass_table(y, score, classes=classes, **of, **bootstrap).iloc[0]
        )
    options = {"threshold": threshold, "pos_label": pos_label}
    return dict(classification_row(y, score, **options, **of, **bootstrap))
