"""Bring scans and weights into the form that networks are trained on."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import validate_data

from tbsclassify._boxes import boxes_of_table, hull
from tbsclassify._scores import check_labels
from tbsclassify._sklearn_compat import check_sample_weight
from tbsclassify._validation import check_number
from tbsclassify._warn import warn
from tbsclassify.estimators._weights import input_statistics
from tbsclassify.images import stack_scans


def check_images(
    estimator: Any,
    X: Any,
    y: Any = "no_validation",
    *,
    reset: bool,
    y_numeric: bool = False,
) -> tuple[np.ndarray, Any]:
    """Return `X` as (n, channels, height, width) in a plain dtype, and `y`.

    As in scikit-learn's `validate_data`, ``reset=True`` notes on the estimator what
    images it is fitted on (`image_shape_`, `image_dtype_`, `n_features_in_`), and
    ``reset=False`` refuses others.
    """
    table, X = X, stack_scans(X)
    X = X if hasattr(X, "shape") else np.asarray(X)
    name, image_shape = type(estimator).__name__, _image_shape(X.shape)
    if image_shape is not None:
        if not reset and image_shape != estimator.image_shape_:
            raise ValueError(
                f"X holds images of (channels, height, width) {image_shape}, but "
                f"{name} was fitted on {estimator.image_shape_}. Bring them to the "
                "same size, with the same LumbarCropper."
            )
        X = np.asarray(X).reshape(X.shape[0], -1)
    if np.asarray(y).ndim == 1 and not y_numeric:
        # scikit-learn turns nullable columns of pandas into floats.
        y = check_labels(y)
    checked = validate_data(
        estimator,
        X,
        y,
        reset=reset,
        dtype=[np.float32, np.uint8, np.uint16],
        **{"y_numeric": True} if y_numeric else {},
    )
    X, y = (checked, None) if isinstance(y, str) else checked
    if reset:
        estimator.image_shape_ = image_shape or (1, 1, X.shape[1])
        _warn_of_boxes(estimator, table)
        estimator.image_dtype_ = X.dtype
    elif X.dtype != estimator.image_dtype_:
        raise ValueError(
            f"X holds {X.dtype} images, but {name} was fitted on "
            f"{estimator.image_dtype_} ones, whose grey levels have another scale. "
            "Convert them to the same depth."
        )
    return np.ascontiguousarray(X).reshape(-1, *estimator.image_shape_), y


def _warn_of_boxes(estimator: Any, X: Any) -> None:
    """Warn of a table of whole scans whose boxes nothing has cropped to."""
    boxes = boxes_of_table(X) if "image" in getattr(X, "columns", ()) else None
    if boxes is None or np.isnan(boxes).all():
        return
    box, (height, width) = hull(boxes), estimator.image_shape_[1:]
    # Crops are square, and have their boxes in the middle: nearly, if vertebrae were
    # excluded or boxes cut off at the border.
    off = np.abs((box[:, :2] + box[:, 2:]) / 2 - np.array([height, width]) / 2)
    tolerated = height / 8 if height == width else 1
    if np.nanmedian(off.max(axis=1)) > tolerated:
        name = type(estimator).__name__
        warn(
            f"X has boxes of L1-L4, but {name} looks at whole scans, not at boxes. "
            f"Crop to them first: make_pipeline(LumbarCropper(), {name}(...))."
        )


def _image_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return channels, height and width of images; None for the rows of a table."""
    if len(shape) <= 2:
        return None
    if len(shape) > 4:
        raise ValueError(
            "Expected X to have shape (n, height, width) or (n, channels, height, "
            f"width), got {shape}."
        )
    return (1, *shape[1:]) if len(shape) == 3 else shape[1:]


def combine_weights(
    class_weight: Any,
    sample_weight: Any,
    y: Any,
    codes: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    """Return the product of class and sample weight of each scan."""
    known = class_weight is None or isinstance(class_weight, Mapping)
    if not (known or (isinstance(class_weight, str) and class_weight == "balanced")):
        raise ValueError(
            'Expected class_weight to be "balanced", a dict of weights by class, or '
            f"None, got {class_weight!r}."
        )
    by_class = compute_class_weight(class_weight, classes=classes, y=y)
    for label, weight in zip(classes, by_class.tolist(), strict=True):
        check_number(weight, f"class_weight of class {label}", low=0)
    return scan_weights(sample_weight, codes) * by_class[codes]


def scan_weights(sample_weight: Any, y: np.ndarray) -> np.ndarray:
    """Return the weight of each scan, 1 if none is given."""
    if isinstance(sample_weight, str | Mapping):
        raise TypeError(
            "Expected sample_weight to hold the weight of each scan, got "
            f"{sample_weight!r}. Weights of classes are a parameter of classifiers: "
            "class_weight."
        )
    return check_sample_weight(
        sample_weight, y, dtype=np.float64, ensure_non_negative=True
    )


def with_mean_one(weight: np.ndarray) -> np.ndarray:
    """Scale weights to a mean of 1, so that `lr` means the same with any of them."""
    if not weight.any():
        raise ValueError(
            "Expected weights above zero for some scans of both the training and the "
            "validation set, got a part in which all are zero. Change sample_weight or "
            "class_weight, or hold none out: early_stopping=False and no tbs."
        )
    # The largest becomes 1 first, so that neither the sum nor the factor overflows.
    weight = weight / weight.max()
    return weight / weight.mean()


def intensity_statistics(
    images: Iterable[np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the grey levels of each channel."""
    of_images = [
        (image.mean((1, 2), dtype=np.float64), image.var((1, 2), dtype=np.float64))
        for image in images
    ]
    means, squares = np.stack(of_images, axis=1)
    spread = np.sqrt(means.var(axis=0) + squares.mean(axis=0))
    return means.mean(axis=0), np.where(spread > 0, spread, 1.0)


def colour_statistics(
    images: Iterable[np.ndarray], backbone: str, weights: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return shift and divisor of grey levels for a colour network.

    With pretrained weights they are those of torchvision; with random ones, mean and
    standard deviation of the images, read one by one.

    Raises
    ------
    ValueError
        If images have neither one channel nor three.
    """
    images = _of_known_colours(images, backbone)
    if weights is None:
        mean, std = intensity_statistics(images)
    else:
        low, high = _grey_range(images)
        expected_mean, expected_std = input_statistics(backbone, weights)
        width = high - low if high > low else 1.0
        mean = low + width * expected_mean
        std = width * expected_std
    return np.broadcast_to(mean, 3).copy(), np.broadcast_to(std, 3).copy()


def _of_known_colours(images, backbone):
    for image in images:
        if len(image) not in (1, 3):
            raise ValueError(
                "Expected X to hold images of 1 channel (grey) or 3 (colour) for "
                f"backbone={backbone!r}, got {len(image)} channels."
            )
        yield image


def _grey_range(images):
    """Return the grey levels that count as black and white.

    8-bit scans fill the range of their depth. Others rarely do, so the range of the
    scans themselves is used.
    """
    limits = []
    for image in images:
        if image.dtype == np.uint8:
            return 0.0, 255.0
        limits.append((float(image.min()), float(image.max())))
    low, high = zip(*limits, strict=True)
    return min(low), max(high)
