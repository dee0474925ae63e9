"""Cut a square out of one scan."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from tbsclassify._scans import check_fill

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Resample = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]

# Side in pixels of the largest window that is cut out of a scan, or of a crop.
_MAX_SIDE = 8000


def crop_square(
    scan: np.ndarray,
    center: tuple[float, float],
    size: int,
    *,
    scale: float | tuple[float, float] = 1.0,
    resample: Resample = "bilinear",
    fill: float = 0,
) -> np.ndarray:
    """Cut a square out of a scan.

    Parameters
    ----------
    scan : ndarray of shape (height, width)
        Grey levels.
    center : tuple of two floats
        Row and column of the crop's centre in pixels of the scan, counted from
        the outer edge of the first pixel.
    size : int
        Side of the crop in pixels.
    scale : float or tuple of two floats, default=1.0
        Pixels of the crop for one pixel of the scan, along both axes, or along
        the height and the width. At 1 pixels are copied, never interpolated: the
        centre moves by up to half a pixel instead.
    resample : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Pillow's filter for another scale; all but "nearest" smooth before they
        shrink.
    fill : int or float, default=0
        Grey level where the crop reaches beyond the scan.

    Returns
    -------
    crop : ndarray of shape (size, size)
        The crop, in the scan's dtype.

    Raises
    ------
    ValueError
        If scans of this dtype cannot hold `fill`, or the crop or its window on the
        scan has more than 8000 x 8000 pixels.

    See Also
    --------
    tbsclassify.LumbarCropper : The same for many scans, around L1-L4.

    Examples
    --------
    >>> import numpy as np
    >>> from tbsclassify.cropping import crop_square
    >>> scan = np.arange(20, dtype=np.uint8).reshape(4, 5)
    >>> crop_square(scan, center=(2, 2), size=2)
    array([[ 6,  7],
           [11, 12]], dtype=uint8)
    """
    scan = np.asarray(scan)
    check_fill(fill, "fill", scan.dtype)
    check_sides(size, scale)
    square = square_at(center, size, scale)
    first, last = np.floor(square[:2]).astype(int), np.ceil(square[2:]).astype(int)
    window = _padded_window(scan, first, last, fill)
    if np.all(np.equal(scale, 1)):
        return window
    # Pillow interpolates 8-bit levels and floating-point numbers, not 16 bits. Along an
    # axis whose scale is 1, it copies.
    source = window if window.dtype == np.uint8 else window.astype(np.float32)
    top, left = (square[:2] - first).tolist()
    bottom, right = (square[2:] - first).tolist()
    resized = Image.fromarray(source).resize(
        (size, size), RESAMPLING[resample], box=(left, top, right, bottom)
    )
    crop = np.asarray(resized)
    if np.issubdtype(scan.dtype, np.integer) and crop.dtype != scan.dtype:
        info = np.iinfo(scan.dtype)
        crop = np.clip(np.rint(crop), info.min, info.max)
    return crop.astype(scan.dtype, copy=False)


def square_at(center: ArrayLike, size: int, scale: ArrayLike) -> np.ndarray:
    """Return the part that a crop shows, (top, left, bottom, right) in scan pixels."""
    sides = size / np.broadcast_to(np.asarray(scale, dtype=float), 2)
    corner = np.asarray(center, dtype=float) - sides / 2
    corner = np.where(np.equal(scale, 1), np.floor(corner + 0.5), corner)
    return np.concatenate([corner, corner + sides])


def check_sides(size: int, scale: ArrayLike) -> None:
    """Refuse crops and windows that would fill the memory."""
    smallest = float(np.min(scale))
    if max(size, size / smallest) > _MAX_SIDE:
        raise ValueError(
            f"Expected size and size / scale to be at most {_MAX_SIDE} pixels, got "
            f"size={size} and scale={smallest:g}, a window of {size / smallest:g} "
            "pixels. Choose a smaller size or spacing, or a larger scale; with "
            'scale="fit", check the boxes.'
        )


def _padded_window(
    scan: np.ndarray, first: np.ndarray, last: np.ndarray, fill: float
) -> np.ndarray:
    """Copy rows and columns `first` to `last`, and fill outside the scan."""
    window = np.full(tuple(last - first), fill, dtype=scan.dtype)
    source, target = [], []
    for start, stop, length in zip(
        first.tolist(), last.tolist(), scan.shape, strict=True
    ):
        begin, end = max(start, 0), min(stop, length)
        if begin >= end:
            return window
        source.append(slice(begin, end))
        target.append(slice(begin - start, end - start))
    window[tuple(target)] = scan[tuple(source)]
    return window
