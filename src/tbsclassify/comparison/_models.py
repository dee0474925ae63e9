"""The models of the paper and the library's own, ready to be compared."""

from collections.abc import Callable
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from tbsclassify._pipelines import decline_metadata
from tbsclassify._scans import plain_name
from tbsclassify.clinical import CLINICAL_COLUMNS, make_clinical_baseline
from tbsclassify.cropping import LumbarCropper
from tbsclassify.estimators import TBSAdHocClassifier, TBSPretrainedClassifier
from tbsclassify.estimators._networks import PAPER_BACKBONES, PAPER_MODELS
from tbsclassify.texture import (
    TextureMatrixFeatures,
    make_radiomics_classifier,
    make_texture_classifier,
)


def paper_models(
    *, cropper: LumbarCropper | None = None, **parameters: Any
) -> dict[str, Pipeline]:
    """Make the fourteen networks of the paper's Tables III to V, and a baseline.

    Parameters
    ----------
    cropper : LumbarCropper, default=None
        Cropper before each network; None takes the paper's ``LumbarCropper()``.
    **parameters : dict
        Parameters that replace the paper's in all networks that have them, such
        as `max_epochs`, `device` or ``weights=None``.

    Returns
    -------
    models : dict of str to Pipeline
        Each takes scans with their boxes in a table, as `make_dxa_phantoms` and
        `load_scans` give it. ``"squeezenet1_0-full"`` and the like are five
        networks retrained whole (Table III), ``"squeezenet1_0-head"`` and the
        like the same by their head alone (Table IV), ``"model1"`` to
        ``"model4"`` the ad hoc networks (Table V), and ``"texture"`` is
        `make_texture_classifier`, which the paper lacks.

    See Also
    --------
    all_models : These and the library's own.
    compare_models : Fits and scores them on the same splits.
    radiomics_models : Those of the second paper.

    Notes
    -----
    The paper's networks learned classes, so these do not request TBS values from
    `compare_models`, even if it is given some.

    Examples
    --------
    >>> from tbsclassify.comparison import paper_models
    >>> models = paper_models(max_epochs=10)
    >>> len(models)
    15
    >>> models["model3"][-1].filters, models["model3"][-1].max_epochs
    ((8, 16, 32), 10)
    """
    networks: dict[str, Any] = {
        f"{backbone}-{mode}": TBSPretrainedClassifier.from_paper(backbone, mode)
        for mode in ("full", "head")
        for backbone in PAPER_BACKBONES
    }
    networks |= {name: TBSAdHocClassifier.from_paper(name) for name in PAPER_MODELS}
    for network in networks.values():
        decline_metadata(network, "tbs")
    models = _after_cropper(networks, cropper, parameters)
    return models | {"texture": make_texture_classifier()}


def radiomics_models(
    *, features: TextureMatrixFeatures | None = None, resampler: Any = None
) -> dict[str, Pipeline]:
    """Make the three classifiers of the group's second paper, on radiomics.

    Parameters
    ----------
    features : TextureMatrixFeatures, default=None
        The features; None takes the families GLDM and GLRLM.
    resampler : object with `fit_resample`, default=None
        What changes each training set, such as ``imblearn.combine.SMOTEENN()``.

    Returns
    -------
    models : dict of str to Pipeline
        ``"radiomics-svm"``, ``"radiomics-logistic"`` and ``"radiomics-boosting"``,
        made by `make_radiomics_classifier`.

    See Also
    --------
    paper_models : Those of the first paper.
    compare_models : Fits and scores them on the same splits.
    tbsclassify.make_radiomics_classifier : Makes one of them.

    Examples
    --------
    >>> from tbsclassify.comparison import radiomics_models
    >>> list(radiomics_models())
    ['radiomics-svm', 'radiomics-logistic', 'radiomics-boosting']
    """
    models = {
        f"radiomics-{name}": make_radiomics_classifier(
            name, features=features, resampler=resampler
        )
        for name in ("svm", "logistic", "boosting")
    }
    return {name: clone(model) for name, model in models.items()}


def all_models(
    *, cropper: LumbarCropper | None = None, **parameters: Any
) -> dict[str, Pipeline]:
    """Make the models of the paper and the library's own.

    Parameters
    ----------
    cropper : LumbarCropper, default=None
        Cropper before each network; None takes the paper's ``LumbarCropper()``.
    **parameters : dict
        Parameters that replace those of all networks that have them, such as
        `device` or ``weights=None``.

    Returns
    -------
    models : dict of str to Pipeline
        Those of `paper_models`, ``"texture"`` included, and of `radiomics_models`,
        then ``"deep-texture"``, the ``mode="texture"`` of
        `TBSPretrainedClassifier`, and ``"ad-hoc"``, `TBSAdHocClassifier` with its
        own settings in place of the paper's.

    See Also
    --------
    compare_models : Adds a baseline without images where it can be.
    paper_models : Those of the first paper alone.

    Examples
    --------
    >>> from tbsclassify.comparison import all_models
    >>> list(all_models())[-2:]
    ['deep-texture', 'ad-hoc']
    """
    networks = {
        "deep-texture": TBSPretrainedClassifier(mode="texture"),
        "ad-hoc": TBSAdHocClassifier(),
    }
    own = _after_cropper(networks, cropper, parameters)
    return paper_models(cropper=cropper, **parameters) | radiomics_models() | own


MODELS_BY_NAME: dict[str, Callable[[], dict[str, Any]]] = {
    "paper": paper_models,
    "radiomics": radiomics_models,
    "all": all_models,
}


def models_by_name(name: str, X: Any) -> dict[str, Any]:
    """Make models for these scans, with a baseline that sees none of them."""
    models: dict[str, Any] = MODELS_BY_NAME[name]()
    columns = map(plain_name, getattr(X, "columns", ()))
    if not set(CLINICAL_COLUMNS).isdisjoint(columns):
        models["clinical"] = make_clinical_baseline()
    return models


def _after_cropper(
    networks: dict[str, Any], cropper: LumbarCropper | None, parameters: dict[str, Any]
) -> dict[str, Pipeline]:
    """Put each network behind a cropper, with those parameters that it has."""
    known = {name: network.get_params() for name, network in networks.items()}
    for parameter in parameters:
        if not any(parameter in names for names in known.values()):
            raise TypeError(
                f"{parameter!r} is no parameter of any of the networks. Expected one "
                f"of {', '.join(sorted(set().union(*known.values())))}."
            )
    cropper = LumbarCropper() if cropper is None else cropper
    models = {}
    for name, network in networks.items():
        own = {key: value for key, value in parameters.items() if key in known[name]}
        models[name] = make_pipeline(clone(cropper), network.set_params(**own))
    return models
