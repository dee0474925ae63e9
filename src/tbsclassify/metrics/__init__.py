"""Rows of results tables from labels and scores, with patient-level intervals."""

from tbsclassify.metrics._rows import (
    classification_row,
    difference_row,
    format_table,
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
]
