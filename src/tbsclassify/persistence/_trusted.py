"""The types that a model file may hold, besides those that skops trusts itself."""

from functools import cache

from sklearn.metrics import get_scorer, get_scorer_names

# Classes and functions by their full names. Making an object of one of them from a file
# only sets attributes and copies arrays.
_OURS = (
    "augmentation._random.RandomAugmentation",
    "augmentation._sampler.AugmentationSampler",
    "clinical._categories",
    "clinical._numbers",
    "clinical._parse",
    "cropping.LumbarCropper",
    "cropping.LumbarCropper.transform_table",
    "estimators._adhoc.TBSAdHocClassifier",
    "estimators._adhoc.TBSAdHocRegressor",
    "estimators._features.DeepTextureFeatures",
    "estimators._pretrained.TBSPretrainedClassifier",
    "estimators._pretrained.TBSPretrainedRegressor",
    "estimators._ranges.TBSRanges",
    "labels.TBSLabeler",
    "localization._decode.Habits",
    "localization._levels.LevelModel",
    "localization._localizer.LumbarLocalizer",
    "localization._localizer.LumbarLocalizer.transform_table",
    "localization._weights.Knowledge",
    "texture._radiomics.TextureMatrixFeatures",
    "texture._radiomics_classifier._UpToFiveFolds",
    "texture._variogram_features.VariogramFeatures",
    "vertebrae._aggregator.PatientAggregator",
    "vertebrae._splitter.VertebraSplitter",
)
# Where earlier files have them.
_OURS_BEFORE = ("augmentation.AugmentationSampler", "augmentation.RandomAugmentation")
_SCIKIT_LEARN = (
    "calibration._CalibratedClassifier",
    "calibration._SigmoidCalibration",
    "calibration._TemperatureScaling",
    "metrics._scorer._CurveScorer",
    "metrics._scorer._PassthroughScorer",
    "metrics._scorer._Scorer",
    "model_selection._split.GroupKFold",
    "model_selection._split.KFold",
    "model_selection._split.StratifiedGroupKFold",
    "model_selection._split.StratifiedKFold",
    "utils._bunch.Bunch",
    "utils._metadata_requests.MetadataRequest",
    "utils._metadata_requests.MethodMetadataRequest",
)
_OTHERS = ("functools.partial", "numpy.dtype")


@cache
def trusted_types() -> tuple[str, ...]:
    """Return the full names of the types that are loaded without asking."""
    measures = {get_scorer(name)._score_func for name in get_scorer_names()}
    return (
        *(f"tbsclassify.{name}" for name in _OURS + _OURS_BEFORE),
        *(f"sklearn.{name}" for name in _SCIKIT_LEARN),
        *(f"{measure.__module__}.{measure.__name__}" for measure in measures),
        *_OTHERS,
    )
