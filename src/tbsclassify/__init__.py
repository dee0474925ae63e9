"""Classify trabecular bone structure in lumbar-spine DXA images by TBS range.

Importing the package is cheap: PyTorch is loaded when a classifier is asked for.
"""

from importlib import import_module

__version__ = "0.1.0.dev0"

# Public names and the modules that they come from.
_ORIGIN = {
    "AugmentationSampler": "augmentation",
    "LumbarCropper": "cropping",
    "RandomAugmentation": "augmentation",
    "RayTuneSearchCV": "tuning",
    "TBSAdHocClassifier": "estimators",
    "TBSLabeler": "labels",
    "TBSPretrainedClassifier": "estimators",
    "VariogramFeatures": "texture",
    "classification_row": "metrics",
    "compare_models": "comparison",
    "format_table": "metrics",
    "initial_slope": "texture",
    "load_scans": "datasets",
    "make_dxa_phantoms": "datasets",
    "make_texture_classifier": "texture",
    "paper_models": "comparison",
    "paper_split": "splitting",
    "read_scan": "images",
    "train_validation_test_split": "splitting",
}
_MODULES = (
    "augmentation",
    "comparison",
    "cropping",
    "datasets",
    "estimators",
    "images",
    "labels",
    "metrics",
    "plotting",
    "splitting",
    "texture",
    "tuning",
)

__all__ = sorted([*_ORIGIN, *_MODULES, "__version__"])


def __getattr__(name):
    if name in _ORIGIN:
        value = getattr(import_module(f"{__name__}.{_ORIGIN[name]}"), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return __all__
