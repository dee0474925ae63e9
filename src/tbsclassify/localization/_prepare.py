"""Bring a scan of any size and depth into the picture that the network sees."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from tbsclassify.images import unscanned_mask

# Height and width of the picture. The spine is some 20 pixels wide, and vertebrae are
# some 20 apart.
SHAPE = (128, 64)

_LEAST_PADDING = 8  # pixels of the scan, as the blocks of `unscanned_mask`


class Picture(NamedTuple):
    """A scan as the network sees it."""

    pixels: np.ndarray  # float32 of shape SHAPE; dark tissue near 0, bone near 1
    frame: np.ndarray  # top, left, height and width of what it shows, in scan pixels


def prepare_scan(scan: np.ndarray) -> Picture:
    """Squash the scanned part of a scan into the network's picture.

    Grey levels are stretched between their percentiles, so that depth and window do
    not matter.
    """
    blank = unscanned_mask(scan) | _padding(scan)
    blank = blank if not blank.all() else np.zeros_like(blank)
    rows, columns = (np.flatnonzero(~blank.all(axis=axis)) for axis in (1, 0))
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    # Otherwise levels of 32 or 64 bits would overflow or be rounded.
    scan = scan[part].astype(np.result_type(scan.dtype, np.float32))
    blank = blank[part]
    low, high = np.percentile(scan[~blank], [1, 99.5])
    grey = (scan - low) / (high - low if high > low else 1)
    grey = np.where(blank, 0, grey.clip(0, 1.5)).astype(np.float32)
    height, width = grey.shape
    frame = np.array([rows[0], columns[0], height, width], dtype=float)
    return Picture(_squash(grey, Image.Resampling.BOX), frame)


def prepare_labels(labels: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Squash a label map like its scan; each pixel takes the nearest label."""
    top, left, height, width = frame.astype(int)
    part = labels[top : top + height, left : left + width]
    return _squash(part, Image.Resampling.NEAREST)


def to_scan(boxes: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Turn boxes in shares of the frame into boxes in pixels of the scan."""
    return boxes * np.tile(frame[2:], 2) + np.tile(frame[:2], 2)


def to_frame(boxes: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Turn boxes in pixels of the scan into shares of the frame."""
    return (boxes - np.tile(frame[:2], 2)) / np.tile(frame[2:], 2)


def _padding(scan: np.ndarray) -> np.ndarray:
    """Find borders of one grey level, which were added around the scan.

    Narrow borders are kept: exports have them, too, and they hardly move the frame.
    """
    mask = np.zeros(scan.shape, dtype=bool)
    for turn in range(4):
        side, padded = np.rot90(scan, turn), np.rot90(mask, turn)
        differs = (side != side[0, 0]).any(axis=1)
        width = differs.argmax() if differs.any() else len(side)
        if width >= _LEAST_PADDING:
            padded[:width] = True
    return mask


def _squash(picture: np.ndarray, resample: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize(SHAPE[::-1], resample))
