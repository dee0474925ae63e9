"""Rows of a table for augmented copies, with boxes that fit them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tbsclassify._boxes import box_columns, check_boxes
from tbsclassify._scans import as_pandas, mask_column, numbers_in
from tbsclassify.augmentation._random import AugmentationDraws


def resample_table(
    table: Any, rows: np.ndarray, images: np.ndarray, draws: AugmentationDraws
) -> pd.DataFrame:
    """Repeat rows of a table, with the images and with boxes that fit them."""
    table = as_pandas(table)
    n_copies = len(draws.angle)
    name = mask_column(table.columns)
    if n_copies and name is not None:
        raise ValueError(
            f"Expected X without label maps, which do not turn with the copies, got a "
            f"column {name!r}. Drop it, or compute what needs it before sampling."
        )
    resampled = table.iloc[rows].reset_index(drop=True)
    resampled["image"] = pd.Series(list(images), dtype=object)
    shapes = [image.shape[-2:] for image in images[len(rows) - n_copies :]]
    for names in box_columns(table.columns).values():
        boxes = check_boxes(numbers_in(resampled, names), len(rows))[:, 0]
        if n_copies:
            boxes[-n_copies:] = move_boxes(boxes[-n_copies:], shapes, draws)
        resampled[names] = boxes
    return resampled


def move_boxes(
    boxes: np.ndarray, shapes: Sequence[tuple[int, int]], draws: AugmentationDraws
) -> np.ndarray:
    """Mirror and turn boxes with their images, as (top, left, bottom, right).

    A turned box becomes the hull of its corners, cut at the border of the image;
    NaN where nothing is left of it, and where it was not known.
    """
    height, width = np.transpose(shapes).astype(float)
    top, left, bottom, right = boxes.T
    flip = draws.flip.numpy()
    left, right = (
        np.where(flip, width - right, left),
        np.where(flip, width - left, right),
    )
    # Edges are counted from the outer edge of the first pixel, so that the centre,
    # about which `rotate` turns, lies at half the height and width.
    y = np.stack([top, top, bottom, bottom]) - height / 2
    x = np.stack([left, right, left, right]) - width / 2
    angle = np.deg2rad(draws.angle.numpy().astype(float))
    turned_y = np.cos(angle) * y - np.sin(angle) * x + height / 2
    turned_x = np.cos(angle) * x + np.sin(angle) * y + width / 2
    hull = np.stack(
        [
            turned_y.min(axis=0).clip(0, height),
            turned_x.min(axis=0).clip(0, width),
            turned_y.max(axis=0).clip(0, height),
            turned_x.max(axis=0).clip(0, width),
        ],
        axis=1,
    )
    hull[(hull[:, 2:] <= hull[:, :2]).any(axis=1)] = np.nan
    straight = np.stack([top, left, bottom, right], axis=1)
    return np.where(angle[:, np.newaxis] == 0, straight, hull)
