"""Estimators around PyTorch networks; all that holds torch is in this folder."""

from tbsclassify.estimators._adhoc import TBSAdHocClassifier, TBSAdHocRegressor
from tbsclassify.estimators._features import DeepTextureFeatures
from tbsclassify.estimators._onnx import export_onnx
from tbsclassify.estimators._pretrained import (
    TBSPretrainedClassifier,
    TBSPretrainedRegressor,
)
from tbsclassify.estimators._saliency import saliency

__all__ = [
    "DeepTextureFeatures",
    "TBSAdHocClassifier",
    "TBSAdHocRegressor",
    "TBSPretrainedClassifier",
    "TBSPretrainedRegressor",
    "export_onnx",
    "saliency",
]
