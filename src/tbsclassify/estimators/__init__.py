"""Classifiers around PyTorch networks; all that holds torch is in this folder."""

from tbsclassify.estimators._adhoc import TBSAdHocClassifier
from tbsclassify.estimators._pretrained import TBSPretrainedClassifier

__all__ = ["TBSAdHocClassifier", "TBSPretrainedClassifier"]
