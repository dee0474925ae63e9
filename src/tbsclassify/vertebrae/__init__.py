"""Train on single vertebrae, and score scans by the mean over theirs."""

from tbsclassify.vertebrae._aggregator import PatientAggregator
from tbsclassify.vertebrae._splitter import VertebraSplitter

__all__ = ["PatientAggregator", "VertebraSplitter"]
