"""Rows of results as text."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tbsclassify.metrics._tallies import COUNTS, MEASURES, REGRESSION_MEASURES


def format_table(rows: Mapping[Any, pd.Series], *, decimals: int = 3) -> pd.DataFrame:
    """Format rows of results for reading.

    Parameters
    ----------
    rows : dict of str to pandas.Series
        A row of `classification_row`, `multiclass_table`, `difference_row` or
        `regression_row` for each model, by the model's name. All are of one kind.
    decimals : int, default=3
        Digits after the point.

    Returns
    -------
    table : pandas.DataFrame of str
        A row for each model, a column for each measure, written as
        ``value [low, high]`` where the interval is known.

    See Also
    --------
    classification_row : A row of predicted classes.
    regression_row : A row of predicted values.

    Examples
    --------
    >>> from tbsclassify.metrics import classification_row, format_table
    >>> row = classification_row([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9], n_bootstrap=0)
    >>> print(format_table({"a model": row}, decimals=2)[["tp", "f1", "roc_auc"]])
            tp    f1 roc_auc
    a model  1  0.50    0.75
    """

    def cell(row, name):
        value = f"{row[name]:.{decimals}f}"
        if f"{name}_low" not in row:
            return value
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return f"{value} [{low:.{decimals}f}, {high:.{decimals}f}]"

    measures = (*MEASURES, *REGRESSION_MEASURES)
    return pd.DataFrame(
        {
            model: {name: str(int(row[name])) for name in COUNTS if name in row}
            | {name: cell(row, name) for name in measures if name in row}
            for model, row in rows.items()
        }
    ).T
