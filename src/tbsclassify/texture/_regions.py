"""The pixels of each vertebra: boxes less a margin, or regions of a label map."""

import numpy as np
from scipy import ndimage

from tbsclassify._boxes import check_boxes
from tbsclassify._validation import check_number


def window_of_box(box, shape, margin):
    """Return the pixels wholly inside a box less its margin, none if it is unknown."""
    if np.isnan(box).any():
        return np.s_[:0, :0]
    first = np.maximum(np.ceil(box[:2]) + margin, 0).astype(int)
    last = np.minimum(np.floor(box[2:]) - margin, shape).astype(int)
    return tuple(slice(i, max(i, j)) for i, j in zip(first, last, strict=True))


def central_window(shape, shares):
    """Return rows and columns of the centre of an image, at least one pixel."""
    window = []
    for length, share in zip(shape, shares, strict=True):
        kept = max(1, round(length * share))
        start = (length - kept) // 2
        window.append(slice(start, start + kept))
    return tuple(window)


def check_central_region(shares):
    """Refuse anything but two shares of an image's height and width."""
    for share in check_pair(shares, "central_region"):
        check_number(share, "central_region", low=0, high=1, inclusive=(False, True))


def check_pair(pair, name):
    """Return a pair of numbers, or raise if it is not one."""
    if np.shape(pair) != (2,):
        raise ValueError(f"Expected {name} to be two numbers, got {pair!r}.")
    return pair


def regions_of(shape, boxes, mask, labels, margin):
    """Return the window of each vertebra, and its mask in the window or None."""
    if boxes is not None and mask is not None:
        raise ValueError("Expected boxes or mask, got both. Pass one of them.")
    if boxes is not None:
        boxes = check_boxes(np.asarray(boxes, dtype=float)[np.newaxis], 1)[0]
        return [(window_of_box(box, shape, margin), None) for box in boxes]
    if mask is not None:
        return regions_of_mask(check_mask(mask, shape), labels, margin)
    return [(np.s_[:, :], None)]


def regions_of_mask(mask, labels, margin):
    """Return window and eroded mask of each label, both empty if it is absent."""
    if np.ndim(labels) != 1 or np.asarray(labels).dtype.kind not in "ui":
        raise ValueError(
            f"Expected labels to be a sequence of integers, got {labels!r}."
        )
    regions = []
    for label in labels:
        # "nearest" repeats the image at its border: a vertebra that it cuts off has no
        # wall there to keep away from.
        region = ndimage.minimum_filter(
            (mask == label).astype(np.uint8), size=2 * margin + 1, mode="nearest"
        )
        found = ndimage.find_objects(region)
        window = found[0] if found else np.s_[:0, :0]
        regions.append((window, region[window].astype(bool)))
    return regions


def check_mask(mask, shape, name="mask"):
    """Return a label map as an array, or raise if it does not fit the image."""
    mask = np.asarray(mask)
    if mask.ndim == 0:
        raise ValueError(
            f"Expected {name} to be an array of the image's shape {shape}, got "
            f"a {type(mask.item()).__name__}. Read masks from their files first, and "
            "put None where a scan has none."
        )
    if mask.shape != shape or mask.dtype.kind not in "bui":
        raise ValueError(
            f"Expected {name} to have the image's shape {shape} and bool or an "
            f"integer type, got shape {mask.shape} and dtype {mask.dtype}."
        )
    return mask
