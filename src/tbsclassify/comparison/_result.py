"""The result of a comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from tbsclassify._scores import class_index, proba_columns, scores_of_class
from tbsclassify._validation import check_option
from tbsclassify.comparison._fits import Trial
from tbsclassify.metrics import (
    COUNTS,
    MEASURES,
    classification_row,
    difference_row,
    format_table,
    multiclass_table,
)

_SHOWN = ("sensitivity", "specificity", "f1", "roc_auc")
# Of more than two classes, which are in an order.
_SHOWN_OF_SEVERAL = (*_SHOWN, "quadratic_kappa")
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
    """The result of `compare_models`.

    Attributes
    ----------
    table : pandas.DataFrame
        A row for each model: counts and measures as in `classification_row`, or
        in the first row of `multiclass_table` for more than two classes, with
        intervals; ``seconds_per_10_epochs``, NaN for models without epochs, and
        ``fit_seconds``, means over the fits; ``n_parameters`` and
        ``n_trainable_parameters`` of the network, NaN for other models; and ``error``,
        empty if there was none.
    predictions : pandas.DataFrame
        A row for each scan each time it was tested: ``model``, ``repeat``,
        ``fold``, ``scan`` (its index), ``patient``, ``y_true``, ``proba_...``
        for each class, and ``threshold``. Models that failed have none.
    fits : pandas.DataFrame
        A row for each fit, indexed by model, repeat and fold: the last columns
        of the table, and ``best_epoch``.
    histories : dict of tuple to pandas.DataFrame
        ``history_`` of the network, a row an epoch, by model, repeat and fold,
        where there is one.
    control : pandas.DataFrame or None
        With ``check="permuted"``, for each model ``roc_auc`` on shuffled labels
        (those of the same fit or of earlier ones, whichever chance explains
        least), ``roc_auc_low`` and ``roc_auc_high``, intervals that together have
        the confidence level, ``p_value``, how often chance alone gives as much,
        and ``error``.
    duplicates : pandas.DataFrame or None
        With ``check="duplicates"``, a row for each test row that nearly repeats a
        training row of another patient, the surest first: ``repeat``, ``fold``,
        ``scan`` and ``train_scan`` (their indices), ``patient`` and
        ``train_patient``, ``distance`` (root mean square of the differences, in
        standard deviations), ``ratio`` (this distance over that to the tenth
        nearest patient), and ``p_value``, how often chance gives as small a ratio.
    classes : ndarray
        The classes, sorted.
    pos_label : int, str or bool
        The class that counts as positive, where there are two.
    bootstrap : dict
        Arguments of the bootstrap.

    See Also
    --------
    compare_models : Makes it.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    fits: pd.DataFrame
    histories: dict[tuple, pd.DataFrame]
    control: pd.DataFrame | None
    duplicates: pd.DataFrame | None
    classes: np.ndarray
    pos_label: Any
    bootstrap: dict

    def differences(
        self,
        measure: str = "roc_auc",
        reference: str | None = None,
        *,
        confidence_level: float | None = None,
    ) -> pd.DataFrame:
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
            For each other model its value minus that of the reference
            (``difference``), the interval (``low``, ``high``), and whether the
            interval excludes zero (``differs``). Otherwise the data do not show
            which of the two is better.

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
        best = "idxmin" if measure in _LESS_IS_BETTER else "idxmax"
        if reference is not None:
            check_option(reference, "reference", self.table.index)
        elif len(scored):
            reference = str(getattr(scored, best)())
        bootstrap = dict(self.bootstrap)
        if confidence_level is not None:
            bootstrap["confidence_level"] = confidence_level
        rows = {}
        for name in scored.index:
            if reference is None or name == reference:
                continue
            y, ours, threshold, known = self._tested(name)
            _, theirs, other_threshold, _ = self._tested(reference)
            thresholds = threshold, other_threshold
            row = difference_row(
                y, ours, theirs, thresholds=thresholds, **known, **bootstrap
            )
            low, high = (row[f"{measure}_{end}"] for end in ("low", "high"))
            rows[name] = (row[measure], low, high, bool(low > 0 or high < 0))
        columns = ["difference", "low", "high", "differs"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.infer_objects()

    def roc_points(
        self, model: str, label: int | str | bool | None = None
    ) -> pd.DataFrame:
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
            scale. Fits whose test set lacks the class, or any other, are left
            out.

        Raises
        ------
        ValueError
            If that is so of all fits, as under leave-one-patient-out.
        """
        if label is None and len(self.classes) == 2:
            label = self.pos_label
        index = class_index(label, self.classes, "label")
        curves = []
        for (repeat, fold), tested in self._rows(model).groupby(["repeat", "fold"]):
            positive = tested["y_true"] == self.classes[index]
            if positive.nunique() == 2:
                proba = tested[proba_columns(self.classes)].to_numpy()
                score = scores_of_class(proba, self.classes, label)
                fpr, tpr, threshold = roc_curve(positive, score)
                curve = {"fpr": fpr, "tpr": tpr, "threshold": threshold}
                curves.append(pd.DataFrame({"repeat": repeat, "fold": fold} | curve))
        if not curves:
            raise ValueError(
                f"No test set of {model!r} holds scans both of class {label!r} and of "
                "another, so that there is no ROC curve. Compare with fewer, larger "
                "folds, such as cv=5."
            )
        return pd.concat(curves, ignore_index=True)

    def by_class(self, model: str) -> pd.DataFrame:
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
            tested[proba_columns(self.classes)],
            classes=self.classes,
            groups=tested["patient"],
            folds=_fold(tested),
            **self.bootstrap,
        )

    def to_text(self, measure: str = "roc_auc", *, decimals: int = 2) -> str:
        """Format the result for reading.

        Parameters
        ----------
        measure : str, default="roc_auc"
            The measure that decides which models are better.
        decimals : int, default=2
            Digits after the point.

        Returns
        -------
        text : str
            Counts and main measures with intervals, errors, and which models are
            worse than the best.
        """
        fine = self.table[self.table["error"] == ""]
        lines = [self._title()]
        if len(fine):
            columns = [*COUNTS, *dict.fromkeys((*self._shown(), measure))]
            table = format_table(dict(fine.iterrows()), decimals=decimals)[columns]
            lines.append(table.to_string())
        failed = self.table["error"].drop(fine.index)
        lines += [f"{name} failed: {error}" for name, error in failed.items()]
        if len(fine) > 1 and self.bootstrap["n_bootstrap"]:
            lines.append(self._verdict(measure))
        return "\n".join(lines)

    def _verdict(self, measure: str) -> str:
        if self.table[measure].isna().all():
            return f"No model has a {measure}: no test set holds scans of two classes."
        differences = self.differences(measure)
        best = self.table[measure].dropna().index.difference(differences.index)
        worse, unclear = (
            ", ".join(differences.index[differences["differs"] == told]) or "none"
            for told in (True, False)
        )
        level = f"{100 * self.bootstrap['confidence_level']:g} %"
        return (
            f"Best {measure}: {', '.join(best)}. Worse, with a {level} interval of the "
            f"paired difference that excludes 0: {worse}. Not shown to differ: "
            f"{unclear}."
        )

    def _shown(self) -> tuple[str, ...]:
        return _SHOWN_OF_SEVERAL if len(self.classes) > 2 else _SHOWN

    def _title(self) -> str:
        scans, patients = (
            self.predictions[column].nunique() for column in ("scan", "patient")
        )
        return (
            f"ComparisonResult of {len(self.table)} model(s), tested on {scans} scans "
            f"of {patients} patients"
        )

    def __repr__(self) -> str:
        shown = self.table[[*COUNTS, *self._shown()]].round(3)
        return f"{self._title()}\n{shown.to_string()}"

    def _rows(self, model: str) -> pd.DataFrame:
        check_option(model, "model", self.predictions["model"].unique())
        return self.predictions[self.predictions["model"] == model]

    def _tested(self, model: str) -> tuple:
        return _tested(self._rows(model), self.classes, self.pos_label)


def collect(
    outcomes: Mapping[Trial, dict],
    groups: np.ndarray | None,
    classes: np.ndarray,
    pos_label: Any,
    bootstrap: dict[str, Any],
) -> ComparisonResult:
    """Make a result from the outcomes of all trials on the original labels."""
    outcomes = {one: found for one, found in outcomes.items() if not one.permuted}
    fits, predictions = _fits(outcomes), _predictions(outcomes, groups, classes)
    return ComparisonResult(
        table=_table(fits, predictions, classes, pos_label, bootstrap),
        predictions=predictions,
        fits=fits,
        histories=_histories(outcomes),
        control=None,
        duplicates=None,
        classes=classes,
        pos_label=pos_label,
        bootstrap=bootstrap,
    )


def _key(trial: Trial) -> dict[str, Any]:
    split = trial.split
    return {"model": trial.model, "repeat": split.repeat, "fold": split.fold}


def _fits(outcomes: Mapping[Trial, dict]) -> pd.DataFrame:
    rows = [
        _key(trial)
        | {name: float(found.get(name, np.nan)) for name in (*_COSTS, "best_epoch")}
        | {"error": found.get("error", "")}
        for trial, found in outcomes.items()
    ]
    return pd.DataFrame(rows).set_index(["model", "repeat", "fold"])


def _histories(outcomes: Mapping[Trial, dict]) -> dict[tuple, pd.DataFrame]:
    histories = {}
    for trial, found in outcomes.items():
        curves = {
            name.removeprefix(_HISTORY): values
            for name, values in found.items()
            if name.startswith(_HISTORY)
        }
        if curves:
            histories[tuple(_key(trial).values())] = pd.DataFrame(curves)
    return histories


def _predictions(
    outcomes: Mapping[Trial, dict], groups: np.ndarray | None, classes: np.ndarray
) -> pd.DataFrame:
    """Return the table of predictions of all models that did not fail."""
    columns = proba_columns(classes)
    failed = {trial.model for trial, found in outcomes.items() if "error" in found}
    parts = []
    for trial, found in outcomes.items():
        if trial.model in failed:
            continue
        test = trial.split.test
        known = {
            "scan": test,
            "patient": test if groups is None else groups[test],
            "y_true": trial.target.y[test],
        }
        proba = dict(zip(columns, found["proba"].T, strict=True))
        threshold = {"threshold": float(found["threshold"])}
        parts.append(pd.DataFrame(_key(trial) | known | proba | threshold))
    if parts:
        return pd.concat(parts, ignore_index=True)
    key = ["model", "repeat", "fold", "scan", "patient", "y_true"]
    return pd.DataFrame(columns=[*key, *columns, "threshold"])


def _fold(predictions: pd.DataFrame) -> pd.Series:
    return predictions.groupby(["repeat", "fold"]).ngroup()


def _tested(
    predictions: pd.DataFrame, classes: np.ndarray, pos_label: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
    """Return labels, probabilities and thresholds of test scans, and arguments.

    The last are arguments of the functions in `metrics`.
    """
    return (
        predictions["y_true"].to_numpy(),
        predictions[proba_columns(classes)].to_numpy(),
        predictions["threshold"].to_numpy(),
        {
            "groups": predictions["patient"],
            "folds": _fold(predictions),
            "classes": classes,
            "pos_label": pos_label,
        },
    )


def _table(
    fits: pd.DataFrame,
    predictions: pd.DataFrame,
    classes: np.ndarray,
    pos_label: Any,
    bootstrap: dict[str, Any],
) -> pd.DataFrame:
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


def _score(
    tested: pd.DataFrame, classes: np.ndarray, pos_label: Any, bootstrap: dict
) -> dict:
    y, proba, threshold, known = _tested(tested, classes, pos_label)
    if len(classes) > 2:
        del known["pos_label"]
        return dict(multiclass_table(y, proba, **known, **bootstrap).iloc[0])
    return dict(classification_row(y, proba, threshold=threshold, **known, **bootstrap))
