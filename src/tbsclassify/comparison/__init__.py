"""The paper's experiment as a tool: many models, the same scans, one table."""

from tbsclassify.comparison._compare import compare_models
from tbsclassify.comparison._models import (
    all_models,
    paper_models,
    radiomics_models,
)
from tbsclassify.comparison._result import ComparisonResult

__all__ = [
    "ComparisonResult",
    "all_models",
    "compare_models",
    "paper_models",
    "radiomics_models",
]
