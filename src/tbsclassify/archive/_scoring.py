"""Score scans with a fitted model, independently of their neighbours."""

import copy
import inspect
import re
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from tbsclassify._boxes import (
    BOX_COLUMNS,
    CONFIDENCES,
    LEVELS,
    boxes_of_table,
    put_boxes,
)
from tbsclassify._scans import plain_name
from tbsclassify._spacing import SPACING_COLUMNS
from tbsclassify._warn import warn
from tbsclassify.archive._names import neutral
from tbsclassify.archive._reading import Reading
from tbsclassify.cropping import LumbarCropper
from tbsclassify.localization import LumbarLocalizer
from tbsclassify.persistence._portable import estimators_in

# The fixed number of scans that the model sees at once. The last digits of the outputs
# of a network depend on this number, but not on the other scans themselves.
_TOGETHER = 16

Row = dict[str, Any]


class ModelScorer:
    """A fitted model, split into steps that run once each.

    Parameters
    ----------
    model : estimator
        A fitted classifier, regressor or Pipeline.

    Raises
    ------
    TypeError
        If the model predicts neither classes nor values.
    NotFittedError
        If it is not fitted.
    """

    def __init__(self, model: Any):
        if not hasattr(model, "predict") or not (
            is_classifier(model) or is_regressor(model)
        ):
            raise TypeError(
                "Expected model to be a fitted classifier or regressor, alone or at "
                "the end of a Pipeline, or the path of a model file, got "
                f"{type(model).__name__}."
            )
        check_is_fitted(model)
        self._steps, self._last = _taken_apart(model)
        self.networks = [
            one
            for one in estimators_in(model)
            if hasattr(one, "_move_to") and one.device != "cpu"
        ]
        self._locating: LumbarCropper | None = None
        cropper = self._steps[0] if self._steps else None
        if isinstance(cropper, LumbarCropper) and cropper.boxes == "auto":
            # Boxes are located here, to get the confidences.
            self._locating = cropper
            given = copy.copy(cropper).set_params(boxes="given")
            self._steps = [given, *self._steps[1:]]
        self.classes = list(self._last.classes_) if is_classifier(model) else []
        self._has_proba = bool(self.classes) and hasattr(self._last, "predict_proba")
        self._has_tbs = not self.classes or hasattr(self._last, "predict_tbs")
        self._has_std = self._has_tbs and _gives_std(
            self._last.predict_tbs if self.classes else self._last.predict
        )
        self._worked = False

    def columns(self, table: pd.DataFrame | None) -> list[str]:
        """Return the names of the columns, in order."""
        names = ["class"] if self.classes else []
        names += [f"probability_{one}" for one in self.classes if self._has_proba]
        names += ["tbs"] * self._has_tbs + ["tbs_std"] * self._has_std
        given = [*map(plain_name, () if table is None else table.columns)]
        if self.finds_boxes or plain_name(CONFIDENCES[0]) in given:
            names += CONFIDENCES
        if self.finds_boxes or {*map(plain_name, BOX_COLUMNS)} <= {*given}:
            names += BOX_COLUMNS
        return [neutral(name) for name in [*names, *SPACING_COLUMNS]]

    @property
    def finds_boxes(self) -> bool:
        """Whether the model locates L1-L4 in scans without boxes."""
        return self._locating is not None or any(map(_locates, self._steps))

    def score(self, readings: list[Reading], table: pd.DataFrame) -> list[Row]:
        """Score scans, each with its row of a table.

        Parameters
        ----------
        readings : list of Reading
            The scans.
        table : DataFrame
            A row for each scan, with boxes and pixel sizes where they are known.

        Returns
        -------
        rows : list of dict
            Numbers by name of the column, and ``error``.
        """
        table = with_scans(table, readings)
        rows: list[Row] = [{"error": reading.error} for reading in readings]
        # Reading them row by row from pandas would take longer than a fast model.
        spacings = table[list(SPACING_COLUMNS)].to_numpy(dtype=float).tolist()
        by_depth: dict[str, list[int]] = {}
        for i, reading in enumerate(readings):
            if reading.image is not None:
                rows[i] |= dict(zip(SPACING_COLUMNS, spacings[i], strict=True))
                by_depth.setdefault(reading.image.dtype.str, []).append(i)
        for positions in by_depth.values():
            for start in range(0, len(positions), _TOGETHER):
                part = positions[start : start + _TOGETHER]
                found = self._score_all(table.iloc[part].reset_index(drop=True))
                for i, row in zip(part, found, strict=True):
                    rows[i] |= row
        return rows

    def _score_all(self, table: pd.DataFrame) -> list[Row]:
        """Score scans of one depth; refused ones get the reason as ``error``."""
        table, located, rows = self._locate(table)
        fine = [i for i, row in enumerate(rows) if not row]
        try:
            scores = self._predict(table.iloc[fine], located[fine]) if fine else []
        except Exception as error:
            raise_if_general(error)
            scores = self._one_by_one(table.iloc[fine], located[fine], error)
        for i, score in zip(fine, scores, strict=True):
            rows[i] = score
        return rows

    def _one_by_one(
        self, table: pd.DataFrame, located: np.ndarray, error: Exception
    ) -> list[Row]:
        """Find the scans that a model refuses, and score the others."""
        rows: list[Row] = [{} for _ in range(len(table))]
        # Most fail before the network, where single scans are cheap.
        for i in range(len(table)):
            try:
                self._transform(table.iloc[[i]])
            except Exception as reason:
                raise_if_general(reason)
                rows[i] = {"error": in_words(reason)}
        fine = [i for i, row in enumerate(rows) if not row]
        try:
            scores = self._predict(table.iloc[fine], located[fine]) if fine else []
        except Exception:
            scores = []
            for i in fine:
                try:
                    scores += self._predict(table.iloc[[i]], located[[i]])
                except Exception as reason:
                    raise_if_general(reason)
                    scores.append({"error": in_words(reason)})
        for i, score in zip(fine, scores, strict=True):
            rows[i] = score
        if not self._worked and not isinstance(error, ValueError | OSError):
            # No scan has been scored yet, and this error is not about scans.
            raise error
        return rows

    def _transform(self, X: Any) -> tuple[Any, dict[str, np.ndarray]]:
        """Run all steps but the last, and collect boxes and confidences."""
        noted = _confidences_in(X) | _boxes_in(X)
        for step in self._steps:
            X = step.transform(X)
            noted |= _confidences_in(X)
            if _locates(step):  # boxes after other steps may be those of crops
                noted |= _boxes_in(X)
        return X, noted

    def _predict(self, table: pd.DataFrame, located: np.ndarray) -> list[Row]:
        n_scans = len(table)
        filled = [*range(n_scans), *([n_scans - 1] * (_TOGETHER - n_scans))]
        X, noted = self._transform(table.iloc[filled].reset_index(drop=True))
        found: dict[str, Any] = {}
        predict_once = getattr(self._last, "_predict_once", None)
        if predict_once is not None and self.classes:
            found["class"], proba, found["tbs"], found["tbs_std"] = predict_once(X)
        else:
            if self.classes:
                found["class"] = self._last.predict(X)
                proba = self._last.predict_proba(X) if self._has_proba else None
            if self._has_tbs:
                predict = self._last.predict_tbs if self.classes else self._last.predict
                given = predict(X, return_std=True) if self._has_std else predict(X)
                found["tbs"], found["tbs_std"] = (
                    given if self._has_std else (given, None)
                )
        if self._has_proba:
            found |= {
                neutral(f"probability_{one}"): proba[:, k]
                for k, one in enumerate(self.classes)
            }
        for name, values in noted.items():
            found.setdefault(name, values)
        if self._locating is not None:
            found |= dict(zip(CONFIDENCES, located.T, strict=True))
        self._worked = True
        return [
            {name: values[i] for name, values in found.items() if values is not None}
            for i in range(n_scans)
        ]

    def _locate(
        self, table: pd.DataFrame
    ) -> tuple[pd.DataFrame, np.ndarray, list[Row]]:
        """Locate boxes as the cropper of the model would.

        Returns
        -------
        table : DataFrame
            With boxes where they were found.
        confidences : ndarray of shape (n_scans, 2)
            In level and place; NaN where boxes were given.
        rows : list of dict
            An ``error`` where the cropper would refuse the boxes.
        """
        rows: list[Row] = [{} for _ in range(len(table))]
        confidences = np.full((len(table), 2), np.nan)
        if self._locating is None:
            return table, confidences, rows
        boxes = np.full((len(table), 4, 4), np.nan)
        wanted = np.zeros(len(table), dtype=bool)
        for i in range(len(table)):
            one = table.iloc[[i]]
            try:
                known = boxes_of_table(one)
                if known is not None and not np.isnan(known).all():
                    continue
                found = LumbarLocalizer().locate(one[["image"]])
            except Exception as error:
                raise_if_general(error)
                rows[i] = {"error": in_words(error)}
                continue
            confidences[i] = [found[name][0] for name in CONFIDENCES]
            least = self._locating.min_confidence
            if confidences[i].min() < least and self._locating.unsure == "raise":
                reason = f"L1-L4 were not found with a confidence of {least:g}"
                rows[i] = dict(zip(CONFIDENCES, confidences[i].tolist(), strict=True))
                rows[i]["error"] = reason
            elif confidences[i].min() >= least or self._locating.unsure == "warn":
                boxes[i], wanted[i] = found.boxes[0], True
                if confidences[i].min() < least:
                    warn(
                        f"L1-L4 were found with a confidence below {least:g}, and the "
                        f"scan is scored all the same. Columns {CONFIDENCES[0]} and "
                        f"{CONFIDENCES[1]} tell which scans these are: look at them."
                    )
        if wanted.any():
            table = put_boxes(table, boxes, wanted)
        return table, confidences, rows


def _taken_apart(model: Any) -> tuple[list[Any], Any]:
    """Split nested Pipelines into the steps before the last one, and the last one."""
    steps: list[Any] = []
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif type(model) is Pipeline:  # not imbalanced-learn's, which leaves steps out
            inner = [step for _, step in model.steps[:-1]]
            steps += [step for step in inner if step not in (None, "passthrough")]
            model = model.steps[-1][1]
        else:
            return steps, model


def _locates(step: Any) -> bool:
    """Whether a step adds boxes and confidences to a table."""
    function = getattr(step, "func", None)  # of a FunctionTransformer
    return isinstance(getattr(function, "__self__", None), LumbarLocalizer)


def _gives_std(predict: Any) -> bool:
    return "return_std" in inspect.signature(predict).parameters


def with_scans(table: pd.DataFrame, readings: list[Reading]) -> pd.DataFrame:
    """Add scans to a table, and pixel sizes of files where it has none."""
    table = table.copy()
    images = np.empty(len(readings), dtype=object)
    for i, reading in enumerate(readings):
        images[i] = reading.image
    table["image"] = pd.Series(images, table.index, dtype=object)
    of_files = np.array([reading.spacing for reading in readings], dtype=float)
    for name, sizes in zip(SPACING_COLUMNS, of_files.T, strict=True):
        known = table.get(name)
        table[name] = sizes if known is None else np.where(known.isna(), sizes, known)
    return table


def _confidences_in(X: Any) -> dict[str, np.ndarray]:
    columns = getattr(X, "columns", ())
    return {
        name: np.asarray(X[column], dtype=float)
        for name in CONFIDENCES
        for column in columns
        if plain_name(column) == plain_name(name)
    }


def _boxes_in(X: Any) -> dict[str, np.ndarray]:
    boxes = boxes_of_table(X)
    if boxes is None or boxes.shape[1] != len(LEVELS):
        return {}
    return dict(zip(BOX_COLUMNS, boxes.reshape(len(boxes), -1).T, strict=True))


def raise_if_general(error: Exception) -> None:
    """Raise an error that is not the fault of a single scan."""
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        raise error
    if isinstance(error, RuntimeError) and "CUDA" in str(error):
        raise error


def in_words(error: Exception) -> str:
    """Return the text of an error about one scan, on one line."""
    # The model got this scan alone, so its index says nothing.
    text = re.sub(r" of 1 of 1 scans, index \[0\]", "", neutral(str(error)))[:300]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
