"""The targets of the network, from label maps or from boxes."""

from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from tbsclassify.localization._prepare import (
    SHAPE,
    Picture,
    prepare_labels,
    to_frame,
)

UNKNOWN = 255

_LONGEST_DISC = 13  # pixels of the picture
# The column may shift by so many pixels to each side above T11 and below L5.
_BEYOND = 3
_DISC_SHARE = 0.12  # half the height of a disc, of the distance of vertebrae


class Examples(NamedTuple):
    """Pictures, and the target of each pixel."""

    pictures: torch.Tensor  # float32 (n, 1, height, width)
    spines: torch.Tensor  # uint8 (n, height, width): 1 spine, 0 beside it, UNKNOWN
    bodies: torch.Tensor  # uint8 (n, height, width): 1 body, 0 disc, UNKNOWN


def mask_examples(pictures: list[Picture], masks: np.ndarray) -> Examples:
    """Make targets from the label maps of phantoms (n, height, width)."""
    labels = [
        prepare_labels(mask, picture.frame)
        for mask, picture in zip(masks, pictures, strict=True)
    ]
    spines = np.stack([_spine_around(one > 0) for one in labels])
    bodies = (np.stack(labels) > 0).astype(np.uint8)
    return _examples(pictures, spines, bodies)


def box_examples(pictures: list[Picture], boxes: np.ndarray) -> Examples:
    """Make targets from the boxes of L1-L4 (n, 4, 4), in pixels of the scans.

    Boxes of neighbours often touch in the middle of a disc, and do not show where it
    ends. So only the middles of discs and bodies are targets.
    """
    height, width = SHAPE
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    spines = np.zeros((len(pictures), height, width), dtype=np.uint8)
    bodies = np.full_like(spines, UNKNOWN)
    for spine, body, picture, given in zip(
        spines, bodies, pictures, boxes, strict=True
    ):
        top, left, bottom, right = to_frame(given, picture.frame).T
        edges = edges_of_boxes(np.stack([top, bottom], axis=1))
        pitch = (edges[-1] - edges[0]) / (len(edges) - 1)
        centre = (top + bottom) / 2
        spine[:] = (x >= np.interp(y, centre, left)[:, np.newaxis]) & (
            x < np.interp(y, centre, right)[:, np.newaxis]
        )
        # The boxes do not show the spine beyond L1-L4.
        spine[(y < edges[0] - pitch / 2) | (y > edges[-1] + pitch / 2)] = UNKNOWN
        off = np.abs(y[:, np.newaxis] - edges).min(axis=1) / pitch
        seen = (y > edges[0] - _DISC_SHARE * pitch) & (
            y < edges[-1] + _DISC_SHARE * pitch
        )
        body[seen & (off < _DISC_SHARE)] = 0
        body[seen & (off > 0.5 - _DISC_SHARE)] = 1
    return _examples(pictures, spines, bodies)


def edges_of_boxes(ends: np.ndarray) -> np.ndarray:
    """Return the middles of the discs between boxes, and the outer ends: (5,)."""
    return np.r_[ends[0, 0], (ends[:-1, 1] + ends[1:, 0]) / 2, ends[-1, 1]]


def _spine_around(body: np.ndarray) -> np.ndarray:
    """Extend the bodies T11 to L5 over the discs between them."""
    spine = np.zeros(body.shape, dtype=np.uint8)
    if not body.any():
        return spine
    # Padded, so that the closing does not stop at the border.
    padded = np.pad(body, ((_LONGEST_DISC, _LONGEST_DISC), (0, 0)))
    column = ndimage.binary_closing(padded, np.ones((_LONGEST_DISC, 1)))
    spine[column[_LONGEST_DISC:-_LONGEST_DISC]] = 1
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    across = slice(max(columns[0] - _BEYOND, 0), columns[-1] + _BEYOND + 1)
    spine[: rows[0], across] = UNKNOWN
    spine[rows[-1] + 1 :, across] = UNKNOWN
    return spine


def _examples(
    pictures: list[Picture], spines: np.ndarray, bodies: np.ndarray
) -> Examples:
    pixels = np.stack([picture.pixels for picture in pictures])
    return Examples(
        torch.from_numpy(pixels[:, np.newaxis]),
        torch.from_numpy(spines),
        torch.from_numpy(bodies),
    )
