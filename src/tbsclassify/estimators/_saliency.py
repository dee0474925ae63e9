"""Which pixels of a scan a fitted network's score comes from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from tbsclassify._pipelines import last_step
from tbsclassify._scores import class_index
from tbsclassify._sklearn_compat import BaseSearchCV
from tbsclassify._spacing import warn_of_spacings
from tbsclassify._validation import check_number, check_option
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._batches import as_tensor
from tbsclassify.estimators._inputs import check_images
from tbsclassify.estimators._losses import log_probabilities
from tbsclassify.estimators._ranges import TBSRanges
from tbsclassify.images import iter_batches

_STEPS_AT_ONCE = 8
_LEAST_PROBABILITY = 1e-300

_Score = Callable[[torch.Tensor], torch.Tensor]


def saliency(
    model: Any,
    X: Any,
    *,
    target: Any = None,
    method: str = "integrated_gradients",
    n_steps: int = 16,
) -> np.ndarray:
    """Attribute the score of degraded bone to the pixels of each scan.

    Parameters
    ----------
    model : estimator or Pipeline
        A fitted classifier or regressor of this library that holds a network, in any
        mode; or a fitted Pipeline that ends in one, such as a `LumbarCropper` and a
        classifier. Searches stand for their best estimator.
    X : array, sequence or table
        Scans, as `model` predicts them.
    target : label, default=None
        Class whose score is explained. None takes degraded bone: the class of the
        lowest range of TBS if the network has learned TBS, else the highest number,
        as `TBSLabeler` orders them. If classes are names, it must be given. A
        regressor takes None: its score is the predicted TBS with its sign changed.
    method : {"integrated_gradients", "gradients"}, default="integrated_gradients"
        "integrated_gradients" integrates gradients on the way from an even grey to the
        scan [1]_. "gradients" is the gradient at the scan times the difference from
        that grey: many times faster, but blind where the network saturates.
    n_steps : int, default=16
        Steps of the integral.

    Returns
    -------
    attributions : ndarray of float32 of shape (n_scans, height, width)
        One for each pixel of the network's input, which after a cropper is the crop;
        positive for pixels that are evidence of the target. Those of a scan sum to its
        score minus that of an even grey of the same mean, up to the error of the
        integral. The score of a class is the logarithm of its odds.

    Raises
    ------
    TypeError
        If `model` does not end in an estimator of this library.
    ValueError
        If `target` is not a class of the model, or None where classes are names.
    ImportError
        If captum is not installed.

    See Also
    --------
    tbsclassify.plotting.CropDisplay : Draws a map over its scan.

    Notes
    -----
    A map says what the network looks at, not whether that is the disease. Maps that
    stay the same when the weights are made random explain nothing [2]_; the tests
    check that these do not. The network runs in float32, whatever its `precision`.

    References
    ----------
    .. [1] Sundararajan M, Taly A, Yan Q, "Axiomatic Attribution for Deep Networks",
       ICML 2017, equation 1.
    .. [2] Adebayo J et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from tbsclassify import LumbarCropper, TBSPretrainedClassifier, saliency
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    >>> model = make_pipeline(
    ...     LumbarCropper(size=64, scale="fit"),
    ...     TBSPretrainedClassifier(weights=None, random_state=0),
    ... )
    >>> model = model.fit(scans.frame, scans.tbs < 1.2)
    >>> saliency(model, scans.frame[:2], n_steps=4).shape
    (2, 64, 64)
    """
    check_option(method, "method", ("integrated_gradients", "gradients"))
    check_number(n_steps, "n_steps", low=1, integer=True)
    attribute = _attribution_method(method, n_steps)
    estimator = _network_of(model)
    score = _score_of(estimator, target)
    X = _input_of(estimator, model, X)
    warn_of_spacings(estimator, X)
    device = torch.device(estimator.device_)
    parts = list(estimator.net_.module_.modules())
    were_training = [part.training for part in parts]
    estimator.net_.module_.eval()
    maps = []
    try:
        with torch.inference_mode(mode=False), torch.enable_grad():
            for batch in iter_batches(X, 1):
                images, _ = check_images(estimator, batch, reset=False)
                for image in as_tensor(images).to(device, torch.float32):
                    maps.append(attribute(score, image[None]))
    finally:
        for part, was_training in zip(parts, were_training, strict=True):
            part.training = was_training
    return np.concatenate(maps).astype(np.float32)


def _attribution_method(
    method: str, n_steps: int
) -> Callable[[_Score, torch.Tensor], np.ndarray]:
    """Return a function of a score and one image, (1, c, h, w), to (1, h, w)."""
    try:
        from captum.attr import InputXGradient, IntegratedGradients
    except ImportError as error:
        raise ImportError(
            "Attributions need captum, which is not installed. Install it with "
            'pip install "tbsclassify[explain]".'
        ) from error

    def attribute(score: _Score, image: torch.Tensor) -> np.ndarray:
        even = image.mean(dim=(2, 3), keepdim=True).expand_as(image)
        if method == "gradients":
            difference = image - even
            # Relative to the even grey, the input times its gradient.
            values = InputXGradient(lambda one: score(one + even)).attribute(
                difference.requires_grad_()
            )
        else:
            values = IntegratedGradients(score).attribute(
                image, even, n_steps=n_steps, internal_batch_size=_STEPS_AT_ONCE
            )
        return values.detach().sum(dim=1).cpu().numpy()

    return attribute


def _network_of(model: Any) -> BaseTBSEstimator:
    """Return the fitted estimator that a model ends in, if it holds a network."""
    estimator = last_step(model)
    if not isinstance(estimator, BaseTBSEstimator):
        if isinstance(estimator, BaseSearchCV):
            check_is_fitted(estimator)
        raise TypeError(
            "Expected model to be a TBSPretrainedClassifier, TBSAdHocClassifier or a "
            "regressor of this library, or a Pipeline or search that ends in one, got "
            f"{type(estimator).__name__}. If it holds a fitted network, pass that, "
            "such as model.estimator_."
        )
    check_is_fitted(estimator, "net_")
    return estimator


def _input_of(estimator: BaseTBSEstimator, model: Any, X: Any) -> Any:
    """Return the input of the last estimator, made by the steps before it."""
    while model is not estimator:
        if isinstance(model, Pipeline):
            X = model[:-1].transform(X) if len(model) > 1 else X
            model = model[-1]
        else:
            model = model.best_estimator_
    return X


def _score_of(estimator: Any, target: Any) -> _Score:
    """Return the score that is explained, as a function of raw images."""
    module = estimator.net_.module_
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        if target is not None:
            raise ValueError(
                f"Expected target to be None for a regressor, got {target!r}. Its "
                "score is the predicted TBS with its sign changed."
            )
        scale = estimator.tbs_scale_
        # Without the mean, to which no pixel contributes.
        return lambda images: -scale * module(images)[:, 0].double()
    ranges = estimator._ranges
    k = _target_index(target, classes, ranges)

    def score(images: torch.Tensor) -> torch.Tensor:
        outputs = module(images).double()
        if ranges is None:
            logs = log_probabilities(outputs)
        else:
            tbs = estimator.tbs_mean_ + estimator.tbs_scale_ * outputs[:, 0]
            logs = _log_proba_of_ranges(ranges, tbs, estimator.residual_std_)
        others = [i for i in range(logs.shape[1]) if i != k]
        return logs[:, k] - logs[:, others].logsumexp(dim=1)

    return score


def _target_index(target: Any, classes: np.ndarray, ranges: TBSRanges | None) -> int:
    """Return the index of the class to explain; None stands for degraded bone."""
    if target is not None:
        return class_index(target, classes, "target")
    if ranges is not None:
        present = ranges.class_of_range[ranges.class_of_range >= 0]
        return int(present[-1])  # ranges are in order of falling TBS
    if classes.dtype.kind in "biuf":
        return len(classes) - 1
    raise ValueError(
        f"Expected target to be one of the classes {classes.tolist()}, got None. "
        "Names are in no order of severity: name the class to explain."
    )


def _log_proba_of_ranges(
    ranges: TBSRanges, tbs: torch.Tensor, std: float
) -> torch.Tensor:
    """Compute what `TBSRanges.log_proba` does, with gradients."""
    low, high = ((border - tbs) / std for border in ranges.thresholds)
    below_low, below_high = torch.special.ndtr(low), torch.special.ndtr(high)
    between = (below_high - below_low).clamp_min(_LEAST_PROBABILITY).log()
    log_ndtr = torch.special.log_ndtr
    of_range = torch.stack([log_ndtr(-high), between, log_ndtr(low)])
    of_class = [
        of_range[torch.from_numpy(ranges.class_of_range == k)].logsumexp(dim=0)
        for k in range(int(ranges.class_of_range.max()) + 1)
    ]
    return torch.stack(of_class, dim=1).log_softmax(dim=1)
