"""Displays of comparisons, training, predictions and scans.

Each follows scikit-learn's pattern: a class method computes the numbers and
draws them, the numbers stay as attributes, and `plot` draws them again.
Matplotlib is loaded when something is drawn.
"""

from tbsclassify.plotting._agreement import BlandAltmanDisplay
from tbsclassify.plotting._calibration import CalibrationIntervalDisplay
from tbsclassify.plotting._comparison import F1SensitivityDisplay
from tbsclassify.plotting._confusion import ConfusionRatesDisplay
from tbsclassify.plotting._crop import CropDisplay
from tbsclassify.plotting._roc import RocIntervalDisplay
from tbsclassify.plotting._scans import ContactSheetDisplay
from tbsclassify.plotting._training import TrainingHistoryDisplay

__all__ = [
    "BlandAltmanDisplay",
    "CalibrationIntervalDisplay",
    "ConfusionRatesDisplay",
    "ContactSheetDisplay",
    "CropDisplay",
    "F1SensitivityDisplay",
    "RocIntervalDisplay",
    "TrainingHistoryDisplay",
]
