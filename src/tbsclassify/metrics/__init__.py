"""Rows of results tables, with patient-level intervals."""

from tbsclassify.metrics._format import format_table
from tbsclassify.metrics._regression import regression_row
from tbsclassify.metrics._rows import (
    classification_row,
    difference_row,
    multiclass_table,
)
from tbsclassify.metrics._tallies import COUNTS, MEASURES

__all__ = [
    "COUNTS",
    "MEASURES",
    "classification_row",
    "difference_row",
    "format_table",
    "multiclass_table",
    "regression_row",
]
