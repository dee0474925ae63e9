"""The clinical baseline: age, BMI, BMD and sex, without the pixels of a scan."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tbsclassify._scans import as_pandas, plain_name
from tbsclassify.datasets._columns import CLINICAL_NUMBERS
from tbsclassify.datasets._table import not_a_number, parse_numbers

_CATEGORIES = ("sex",)
CLINICAL_COLUMNS = (*CLINICAL_NUMBERS, *_CATEGORIES)


def make_clinical_baseline(
    columns: Sequence[str] | None = None,
    *,
    C: float = 1.0,
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
) -> Pipeline:
    """Make the baseline that sees no image: logistic regression on a table.

    Parameters
    ----------
    columns : sequence of str, default=None
        Columns to use; see `make_clinical_features`.
    C : float, default=1.0
        Inverse strength of the regularisation of the logistic regression.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    Returns
    -------
    classifier : sklearn.pipeline.Pipeline
        The unfitted steps ``columntransformer`` and ``logisticregression``. It
        takes tables such as the ``frame`` of `load_scans`, and can be cloned,
        searched and compared as any classifier of scikit-learn.

    See Also
    --------
    make_clinical_features : The first step alone.
    tbsclassify.texture.make_texture_classifier : The baseline that sees texture.

    Notes
    -----
    A model of images has to beat this baseline to show that it uses the bone
    structure. TBS falls with age and BMI, which leave traces in a scan, and the
    densitometer measures BMD on the same scan. On the phantoms of
    `make_dxa_phantoms`, age, BMI and BMD detect degraded bone with an area under the
    ROC curve near 0.80.

    Examples
    --------
    >>> from tbsclassify import TBSLabeler, make_clinical_baseline
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(40, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> baseline = make_clinical_baseline().fit(scans.frame, y)
    >>> baseline[0].get_feature_names_out().tolist()
    ['age', 'bmi', 'bmd', 'sex_F', 'sex_M']
    >>> baseline.predict_proba(scans.frame).shape
    (40, 2)
    """
    return make_pipeline(
        make_clinical_features(columns),
        LogisticRegression(C=C, class_weight=class_weight),
    )


def make_clinical_features(columns: Sequence[str] | None = None) -> ColumnTransformer:
    """Make the transformer of a table's clinical columns to numbers.

    Numbers are standardised, and missing ones replaced by the median of the
    training scans. Categories become one column for each value of the training
    scans; a value that is new when predicting is none of them.

    Parameters
    ----------
    columns : sequence of str, default=None
        Columns to use. None takes those of ``age``, ``bmi``, ``bmd`` and
        ``sex`` that the table has when it is fitted; case and punctuation in
        these names do not matter. Of columns with other names, those of a
        numeric type are numbers and all others categories.

    Returns
    -------
    features : sklearn.compose.ColumnTransformer
        The unfitted transformer. It ignores all other columns of a table.
        Fitting raises a ValueError if X is no table, none of the four columns
        is there, or one of `columns` is missing.

    Raises
    ------
    ValueError
        If `columns` is one text.

    See Also
    --------
    make_clinical_baseline : A classifier on these features.

    Notes
    -----
    Never name the column with the TBS in `columns`: the target would be among
    the features.

    Examples
    --------
    Features of the image and clinical columns in one Pipeline, which predicts the
    TBS:

    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import FeatureUnion, make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tbsclassify import LumbarCropper, VariogramFeatures, make_dxa_phantoms
    >>> from tbsclassify.clinical import make_clinical_features
    >>> scans = make_dxa_phantoms(20, random_state=0)
    >>> image = make_pipeline(LumbarCropper(), VariogramFeatures(), StandardScaler())
    >>> both = FeatureUnion([("image", image), ("clinical", make_clinical_features())])
    >>> model = make_pipeline(both, RidgeCV([1, 10, 100])).fit(scans.frame, scans.tbs)
    >>> model.predict(scans.frame).shape
    (20,)
    """
    if isinstance(columns, str):
        raise ValueError(
            "Expected columns to be a list of names such as ['age', 'bmi'], or None, "
            f"got {columns!r}."
        )
    numbers = make_pipeline(
        FunctionTransformer(_parse, feature_names_out="one-to-one"),
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
    )
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return ColumnTransformer(
        [
            ("numbers", numbers, partial(_numbers, columns=columns)),
            ("categories", categories, partial(_categories, columns=columns)),
        ],
        verbose_feature_names_out=False,
    )


# Functions, because a lambda cannot be pickled.
def _parse(X: Any) -> pd.DataFrame:
    """Turn columns into numbers. The text of other entries is not repeated."""
    X, parsed = as_pandas(X), {}
    for name in X.columns:
        parsed[name], unreadable = parse_numbers(X[name])
        unreadable |= np.isinf(parsed[name])
        if unreadable.any():
            index = np.flatnonzero(unreadable)
            raise ValueError(
                f"Expected column {name!r} of X to hold numbers, got other entries in "
                f"{len(index)} row(s), index {index[:10].tolist()}; the first "
                f"{not_a_number(X[name].iloc[index[0]])}. Correct them, leave them "
                "empty, or name other columns."
            )
    return pd.DataFrame(parsed, index=X.index)


def _numbers(X: Any, columns: Sequence[str] | None) -> list[str]:
    return [name for name in _chosen(X, columns) if not _is_category(X, name)]


def _categories(X: Any, columns: Sequence[str] | None) -> list[str]:
    return [name for name in _chosen(X, columns) if _is_category(X, name)]


def _chosen(X: Any, columns: Sequence[str] | None) -> list[str]:
    """Return the columns to use, in the order of the table."""
    names = list(getattr(X, "columns", []))
    if columns is None:
        chosen = [name for name in names if plain_name(name) in CLINICAL_COLUMNS]
        wanted = "at least one of the columns 'age', 'bmi', 'bmd' and 'sex'"
    else:
        chosen = [name for name in names if name in columns]
        wanted = f"the columns {', '.join(map(repr, columns))}"
    if not chosen or (columns is not None and not set(columns) <= set(chosen)):
        got = "columns " + ", ".join(map(repr, names)) if names else type(X).__name__
        raise ValueError(
            f"Expected X to be a table with {wanted}, got {got}. Rename yours, or name "
            "them in columns."
        )
    return chosen


def _is_category(X: Any, name: str) -> bool:
    """Whether a column is a category, by its name if known, else by its type."""
    if plain_name(name) in CLINICAL_COLUMNS:
        return plain_name(name) in _CATEGORIES
    return not pd.api.types.is_numeric_dtype(pd.Series(X[name]))
