"""The fourteen networks of the paper, ready to be compared."""

from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline

from tbsclassify.cropping import LumbarCropper
from tbsclassify.estimators import TBSAdHocClassifier, TBSPretrainedClassifier
from tbsclassify.estimators._networks import PAPER_BACKBONES, PAPER_MODELS
from tbsclassify.texture import make_texture_classifier


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

    Examples
    --------
    >>> from tbsclassify.comparison import paper_models
    >>> models = paper_models(max_epochs=10)
    >>> len(models)
    15
    >>> models["model3"][-1]
    TBSAdHocClassifier(batch_size=24, fc=(100,), filters=(8, 16, 32), lr=0.001,
                       max_epochs=10)
    """
    networks: dict[str, Any] = {
        f"{backbone}-{mode}": TBSPretrainedClassifier(backbone, mode)
        for mode in ("full", "head")
        for backbone in PAPER_BACKBONES
    }
    networks |= {name: TBSAdHocClassifier.from_paper(name) for name in PAPER_MODELS}
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
    return models | {"texture": make_texture_classifier()}
