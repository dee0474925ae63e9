"""Export of a fitted model to ONNX, from the grey levels of a crop on."""

import json
import os
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tbsclassify._files import write_named
from tbsclassify.cropping import LumbarCropper
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._regressor import BaseTBSRegressor
from tbsclassify.estimators._traced import (
    Calibrated,
    Mean,
    Outputs,
    Scores,
    Thresholded,
)

_OPSET = 20


def export_onnx(model: Any, path: str | os.PathLike) -> None:
    """Write a fitted network as an ONNX file, from grey levels to probabilities.

    The file contains the normalisation of grey levels, the network, its statistics and
    head, probabilities by ranges of TBS, and scikit-learn's calibration and decision
    threshold. It does not contain the crop: ``images`` are the output of
    `LumbarCropper`.

    Parameters
    ----------
    model : estimator
        A fitted classifier or regressor around a network. It may be calibrated by
        `CalibratedClassifierCV`, have its threshold tuned or fixed, be frozen, or be
        the last step of a Pipeline whose other steps are croppers.
    path : str or path-like
        The file. It is written whole or not at all.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model, or a step in it, cannot be exported.
    ImportError
        If the extra is not installed: ``pip install "tbsclassify[onnx]"``.
    OSError
        If the file cannot be written; the error names `path`.

    See Also
    --------
    save_model : A file for this library itself, of any model.

    Notes
    -----
    The input ``images`` has shape (n, channels, height, width) and the depth that the
    model was fitted on. Outputs of classifiers are ``probabilities`` of shape (n,
    n_classes) and ``class_index`` of shape (n,); where TBS was learned, and of
    regressors, ``tbs`` of shape (n,). Classes, borders of TBS, its typical error and
    the pixel size are in the metadata of the file. All arithmetic is in single
    precision.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from tbsclassify import TBSAdHocClassifier, export_onnx
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> X, y = scans.images[:, :64, 120:184], scans.tbs < 1.2
    >>> model = TBSAdHocClassifier(1, (4,), (8,), max_epochs=2, random_state=0)
    >>> model = model.fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_onnx(model, pathlib.Path(folder, "model.onnx"))  # doctest: +SKIP
    """
    check_is_fitted(model)
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Expected onnx and onnxscript to be installed, which write the file. "
            'Install them: pip install "tbsclassify[onnx]".'
        ) from error
    module, network = _module_of(model)
    names = ["tbs"]
    if not isinstance(network, BaseTBSRegressor):
        names = ["probabilities", "class_index", *(names if module.has_tbs else [])]
    shape, depth = network.image_shape_, np.dtype(network.image_dtype_).name
    example = torch.zeros((2, *shape), dtype=getattr(torch, depth))
    program = torch.onnx.export(
        Outputs(module, names).eval(),
        (example,),
        input_names=["images"],
        output_names=names,
        dynamic_shapes={"images": {0: torch.export.Dim("n")}},
        opset_version=_OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # None only if a path is given
    graph: Any = program.model.graph
    for part in (graph, *graph.all_nodes()):
        part.metadata_props.clear()  # lines of source code, with paths of this machine
    program.model.metadata_props.update(_metadata(model, network))
    content = program.model_proto.SerializeToString()
    write_named(path, lambda file: file.write(content))


def _metadata(model: Any, network: Any) -> dict[str, str]:
    """Return what a user of the file must know, as text."""
    about = {
        "version": version("tbsclassify"),
        "use": "research only",
        "classes": [str(label) for label in getattr(model, "classes_", ())],
        "spacing_mm": None if network.spacing_ is None else network.spacing_.tolist(),
        "residual_std": getattr(network, "residual_std_", None),
        "thresholds": list(getattr(network, "thresholds", ())),
    }
    return {f"tbsclassify.{name}": json.dumps(value) for name, value in about.items()}


def _module_of(model: Any) -> tuple[nn.Module, Any]:
    """Return a module that computes what a model does, and the network inside."""
    if isinstance(model, Pipeline):
        _check_only_croppers(model.steps[:-1])
        return _module_of(model.steps[-1][1])
    if isinstance(model, BaseTBSEstimator):
        return Scores(model), model
    if isinstance(model, FrozenEstimator):
        return _module_of(model.estimator)
    if isinstance(model, CalibratedClassifierCV):
        inner = [_module_of(one.estimator) for one in model.calibrated_classifiers_]
        parts = [
            Calibrated(module, one)
            for (module, _), one in zip(
                inner, model.calibrated_classifiers_, strict=True
            )
        ]
        return Mean(parts), inner[0][1]
    if isinstance(model, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return _thresholded(model)
    raise TypeError(
        "Expected a network of this library, alone, calibrated, with a threshold, or "
        f"behind croppers in a Pipeline, got {type(model).__name__}."
    )


def _check_only_croppers(steps: list[tuple[str, Any]]) -> None:
    """Refuse steps before a network that have no form in ONNX."""
    others = [
        name
        for name, step in steps
        if not (isinstance(step, LumbarCropper) or step in (None, "passthrough"))
    ]
    if others:
        raise TypeError(
            "Expected a Pipeline in which a network follows croppers, got "
            f"{', '.join(others)} before it, which have no form in ONNX here. Use "
            'TBSPretrainedClassifier(mode="texture") in place of a Pipeline of '
            "features and a linear model."
        )


def _thresholded(model: Any) -> tuple[nn.Module, Any]:
    """Return a classifier of two classes with its decision threshold."""
    if model.response_method == "decision_function":
        raise TypeError(
            'Expected response_method to be "auto" or "predict_proba", got '
            "'decision_function', whose threshold has no form in ONNX here."
        )
    if isinstance(model, TunedThresholdClassifierCV):
        threshold, label = model.best_threshold_, model._curve_scorer._get_pos_label()
    else:
        threshold, label = model.threshold, model.pos_label
    inner, network = _module_of(getattr(model, "estimator_", model.estimator))
    threshold = 0.5 if threshold == "auto" else float(threshold)
    positive = 1 if label is None else list(model.classes_).index(label)
    return Thresholded(inner, threshold, positive), network
