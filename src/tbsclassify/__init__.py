"""Classify trabecular bone structure in lumbar-spine DXA images by TBS range.

Importing the package is cheap. PyTorch is loaded with the first classifier that is
asked for, Ray with the first search that is fitted.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Type checkers and editors read these imports. At run time `__getattr__` makes them,
# one by one as they are asked for.
if TYPE_CHECKING:
    from tbsclassify import (
        archive,
        augmentation,
        clinical,
        comparison,
        cropping,
        datasets,
        dicom_out,
        estimators,
        images,
        labels,
        localization,
        metrics,
        persistence,
        plotting,
        quality,
        splitting,
        texture,
        tuning,
        vertebrae,
    )
    from tbsclassify.archive import locate_archive, predict_archive
    from tbsclassify.augmentation import AugmentationSampler, RandomAugmentation
    from tbsclassify.clinical import make_clinical_baseline
    from tbsclassify.comparison import (
        all_models,
        compare_models,
        paper_models,
        radiomics_models,
    )
    from tbsclassify.cropping import LumbarCropper
    from tbsclassify.datasets import load_scans, make_dxa_phantoms
    from tbsclassify.estimators import (
        DeepTextureFeatures,
        TBSAdHocClassifier,
        TBSAdHocRegressor,
        TBSPretrainedClassifier,
        TBSPretrainedRegressor,
        export_onnx,
        saliency,
    )
    from tbsclassify.images import read_scan
    from tbsclassify.labels import TBSLabeler
    from tbsclassify.localization import LumbarLocalizer
    from tbsclassify.metrics import classification_row, format_table
    from tbsclassify.persistence import (
        ModelFileError,
        load_model,
        model_card,
        model_info,
        save_model,
    )
    from tbsclassify.quality import (
        check_scans,
        check_vertebrae,
        exclude_vertebrae,
    )
    from tbsclassify.splitting import paper_split, train_validation_test_split
    from tbsclassify.texture import (
        TextureMatrixFeatures,
        VariogramFeatures,
        initial_slope,
        make_radiomics_classifier,
        make_texture_classifier,
    )
    from tbsclassify.tuning import RayTuneSearchCV
    from tbsclassify.vertebrae import PatientAggregator, VertebraSplitter

__all__ = [
    "AugmentationSampler",
    "DeepTextureFeatures",
    "LumbarCropper",
    "LumbarLocalizer",
    "ModelFileError",
    "PatientAggregator",
    "RandomAugmentation",
    "RayTuneSearchCV",
    "TBSAdHocClassifier",
    "TBSAdHocRegressor",
    "TBSLabeler",
    "TBSPretrainedClassifier",
    "TBSPretrainedRegressor",
    "TextureMatrixFeatures",
    "VariogramFeatures",
    "VertebraSplitter",
    "__version__",
    "all_models",
    "archive",
    "augmentation",
    "check_scans",
    "check_vertebrae",
    "classification_row",
    "clinical",
    "compare_models",
    "comparison",
    "cropping",
    "datasets",
    "dicom_out",
    "estimators",
    "exclude_vertebrae",
    "export_onnx",
    "format_table",
    "images",
    "initial_slope",
    "labels",
    "load_model",
    "load_scans",
    "localization",
    "locate_archive",
    "make_clinical_baseline",
    "make_dxa_phantoms",
    "make_radiomics_classifier",
    "make_texture_classifier",
    "metrics",
    "model_card",
    "model_info",
    "paper_models",
    "paper_split",
    "persistence",
    "plotting",
    "predict_archive",
    "quality",
    "radiomics_models",
    "read_scan",
    "saliency",
    "save_model",
    "splitting",
    "texture",
    "train_validation_test_split",
    "tuning",
    "vertebrae",
]

# The module of each public name; all other public names are modules.
_ORIGIN = {
    "AugmentationSampler": "augmentation",
    "DeepTextureFeatures": "estimators",
    "LumbarCropper": "cropping",
    "LumbarLocalizer": "localization",
    "ModelFileError": "persistence",
    "PatientAggregator": "vertebrae",
    "RandomAugmentation": "augmentation",
    "RayTuneSearchCV": "tuning",
    "TBSAdHocClassifier": "estimators",
    "TBSAdHocRegressor": "estimators",
    "TBSLabeler": "labels",
    "TBSPretrainedClassifier": "estimators",
    "TBSPretrainedRegressor": "estimators",
    "TextureMatrixFeatures": "texture",
    "VariogramFeatures": "texture",
    "VertebraSplitter": "vertebrae",
    "all_models": "comparison",
    "check_scans": "quality",
    "check_vertebrae": "quality",
    "classification_row": "metrics",
    "compare_models": "comparison",
    "exclude_vertebrae": "quality",
    "export_onnx": "estimators",
    "format_table": "metrics",
    "initial_slope": "texture",
    "load_model": "persistence",
    "load_scans": "datasets",
    "locate_archive": "archive",
    "make_clinical_baseline": "clinical",
    "make_dxa_phantoms": "datasets",
    "make_radiomics_classifier": "texture",
    "make_texture_classifier": "texture",
    "model_card": "persistence",
    "model_info": "persistence",
    "paper_models": "comparison",
    "paper_split": "splitting",
    "predict_archive": "archive",
    "radiomics_models": "comparison",
    "read_scan": "images",
    "saliency": "estimators",
    "save_model": "persistence",
    "train_validation_test_split": "splitting",
}

# Hidden from type checkers, to which it would mean that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name in _ORIGIN:
            value = getattr(import_module(f"{__name__}.{_ORIGIN[name]}"), name)
            globals()[name] = value
            return value
        if name in __all__:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
