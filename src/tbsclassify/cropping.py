"""Crop scans to a square around the vertebrae L1 to L4."""

import math
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from tbsclassify._boxes import check_scans_and_boxes
from tbsclassify._scans import check_fill
from tbsclassify._transformers import StatelessScanTransformer
from tbsclassify._validation import check_number, check_option
from tbsclassify.images import iter_scans

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# A crop may lose this share of L1-L4, some rows of an endplate, without a word.
_TOLERATED_LOSS = 0.05
# Side in pixels of the largest window that is cut out of a scan, or of a crop.
_MAX_SIDE = 8000

_Resample = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]


def crop_square(
    scan: np.ndarray,
    center: tuple[float, float],
    size: int,
    *,
    scale: float = 1.0,
    resample: _Resample = "bilinear",
    fill: float = 0,
) -> np.ndarray:
    """Cut a square out of a scan, keeping its aspect.

    Parameters
    ----------
    scan : ndarray of shape (height, width)
        Grey levels.
    center : tuple of two floats
        Row and column of the crop's centre in pixels of the scan, counted from
        the outer edge of the first pixel.
    size : int
        Side of the crop in pixels.
    scale : float, default=1.0
        Pixels of the crop for one pixel of the scan. At 1 pixels are copied,
        never interpolated: the centre moves by up to half a pixel instead.
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
    _check_sides(size, scale)
    top, left, bottom, right = _square(center, size, scale)
    side = size / scale
    first = math.floor(top), math.floor(left)
    last = math.ceil(bottom), math.ceil(right)
    window = _padded_window(scan, first, last, fill)
    if scale == 1:
        return window
    # Pillow interpolates 8-bit levels and floating-point numbers, not 16 bits.
    source = window if window.dtype == np.uint8 else window.astype(np.float32)
    top, left = top - first[0], left - first[1]
    resized = Image.fromarray(source).resize(
        (size, size), _RESAMPLING[resample], box=(left, top, left + side, top + side)
    )
    crop = np.asarray(resized)
    if np.issubdtype(scan.dtype, np.integer) and crop.dtype != scan.dtype:
        info = np.iinfo(scan.dtype)
        crop = np.clip(np.rint(crop), info.min, info.max)
    return crop.astype(scan.dtype, copy=False)


def _square(center: ArrayLike, size: int, scale: float) -> np.ndarray:
    """Return what a crop shows as (top, left, bottom, right), in the scan's pixels."""
    corner = np.asarray(center, dtype=float) - size / scale / 2
    if scale == 1:
        corner = np.floor(corner + 0.5)
    return np.concatenate([corner, corner + size / scale])


def _check_sides(size: int, scale: float) -> None:
    """Refuse crops and windows so large that they fill the memory."""
    if max(size, size / scale) > _MAX_SIDE:
        raise ValueError(
            f"Expected size and size / scale to be at most {_MAX_SIDE} pixels, got "
            f"size={size} and scale={scale:g}, a window of {size / scale:g} pixels. "
            'Choose a smaller size or a larger scale; with scale="fit", check the '
            "boxes."
        )


def _padded_window(
    scan: np.ndarray, first: tuple[int, int], last: tuple[int, int], fill: float
) -> np.ndarray:
    """Copy rows and columns `first` to `last`, filled outside the scan."""
    shape = tuple(stop - start for start, stop in zip(first, last, strict=True))
    window = np.full(shape, fill, dtype=scan.dtype)
    source, target = [], []
    for start, stop, length in zip(first, last, scan.shape, strict=True):
        begin, end = max(start, 0), min(stop, length)
        if begin >= end:
            return window
        source.append(slice(begin, end))
        target.append(slice(begin - start, end - start))
    window[tuple(target)] = scan[tuple(source)]
    return window


class LumbarCropper(  # type: ignore[call-arg]
    StatelessScanTransformer, auto_wrap_output_keys=None
):
    """Crop each scan to a square centred on the vertebrae L1 to L4.

    The crop keeps the aspect of the scan and, at the default `scale`, copies
    its pixels, because stretching and interpolation alter the trabecular texture
    that classifiers look at.

    The box of a scan is taken from the argument `boxes` or, so that it travels
    with the scan through splits and searches, from a DataFrame `X`. A scan
    without a box is cropped around its own centre.

    Parameters
    ----------
    size : int, default=224
        Side of the crop in pixels, the paper's by default [1]_.
    scale : float or "fit", default=1.0
        Pixels of the crop for one pixel of the scan. ``"fit"`` chooses it scan
        by scan, so that the box (or, without one, the whole scan) and `margin`
        just fill the crop: sizes become comparable, but the texture is
        resampled by a factor that depends on the patient's height.
    margin : float, default=0.1
        With ``scale="fit"``: border around the box on each side, as a share of
        the longer side of the box.
    resample : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Pillow's filter where `scale` is not 1.
    fill : int or float, default=0
        Grey level where a crop reaches beyond its scan.

    See Also
    --------
    crop_square : The same for one scan.

    Notes
    -----
    Nothing is learned from the scans, so `transform` works without `fit`.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., section III.A.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(2, random_state=0)
    >>> LumbarCropper(size=200).fit_transform(scans.images, boxes=scans.boxes).shape
    (2, 200, 200)

    In a Pipeline the boxes come with the scans, in one table:

    >>> LumbarCropper().transform(scans.frame).shape
    (2, 224, 224)
    """

    def __init__(
        self,
        size: int = 224,
        *,
        scale: float | Literal["fit"] = 1.0,
        margin: float = 0.1,
        resample: _Resample = "bilinear",
        fill: float = 0,
    ) -> None:
        self.size = size
        self.scale = scale
        self.margin = margin
        self.resample = resample
        self.fill = fill

    def transform(self, X: Any, boxes: ArrayLike | None = None) -> np.ndarray:
        """Crop scans.

        Parameters
        ----------
        X : array of shape (n_scans, height, width), sequence or DataFrame
            Scans; or a sequence of 2-D arrays of any sizes or of paths; or a
            DataFrame with arrays or paths in a column ``image`` and optionally
            boxes in columns ``L1_top``, ``L1_left``, ``L1_bottom``,
            ``L1_right`` and so on to ``L4_right``, or ``top``, ``left``,
            ``bottom``, ``right``. Levels without columns are taken as not known.
            Other columns are not looked at.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes of L1 to L4 as (top, left, bottom, right) in pixels, ends
            exclusive; the crop is centred on their hull. NaN where unknown.

        Returns
        -------
        crops : ndarray of shape (n_scans, size, size)
            The crops, in the dtype of the scans.

        Raises
        ------
        ValueError
            If a scan is not readable, boxes have no meaning, scans are of several
            depths, or cannot hold `fill`.

        Warns
        -----
        UserWarning
            If crops lose more than 5 % of their boxes' longer side, or a crop
            without a box shows less than half of its scan's height.
        """
        self._check_parameters()
        scans, boxes = check_scans_and_boxes(X, boxes)
        boxes = hull(boxes)
        crops, cut_off, narrow = np.empty(0), 0, 0
        for i, (scan, box) in enumerate(zip(iter_scans(scans), boxes, strict=True)):
            if i == 0:
                crops = np.empty((len(boxes), self.size, self.size), scan.dtype)
            region, known, scale = self._region(scan.shape, box)
            reach = self.size / scale
            longest = (region[2:] - region[:2]).max()
            cut_off += int(known and reach < (1 - _TOLERATED_LOSS) * longest)
            narrow += int(not known and scan.shape[0] > 2 * reach)
            crops[i] = crop_square(
                scan,
                (region[:2] + region[2:]) / 2,
                self.size,
                scale=scale,
                resample=self.resample,
                fill=self.fill,
            )
        self._warn(len(boxes), cut_off, narrow)
        return crops

    def square_of(
        self, shape: tuple[int, int], box: ArrayLike | None = None
    ) -> np.ndarray:
        """Tell which square of a scan the crop shows.

        Parameters
        ----------
        shape : tuple of two ints
            Height and width of the scan in pixels.
        box : array-like of shape (4,), default=None
            Box of L1-L4 as (top, left, bottom, right) in pixels. None or NaN
            where it is not known.

        Returns
        -------
        square : ndarray of float of shape (4,)
            The square as (top, left, bottom, right) in pixels of the scan; it may
            reach beyond the scan.

        Examples
        --------
        >>> from tbsclassify import LumbarCropper
        >>> LumbarCropper(20).square_of((40, 60))
        array([10., 20., 30., 40.])
        """
        self._check_parameters()
        given = np.full(4, np.nan) if box is None else np.asarray(box, dtype=float)
        region, _, scale = self._region(shape, given)
        return _square((region[:2] + region[2:]) / 2, self.size, scale)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept scikit-learn's setting of containers, which crops do not heed.

        Crops are images and stay an array of shape (n_scans, size, size). The
        method is there so that a Pipeline with a cropper can be set.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            Ignored.

        Returns
        -------
        self : LumbarCropper
            The cropper itself.
        """
        return self

    def _region(
        self, shape: tuple[int, ...], box: np.ndarray
    ) -> tuple[np.ndarray, bool, float]:
        """Region that the crop is centred on, whether from a box, and the scale."""
        known = not np.isnan(box).any()
        region = box if known else np.array([0, 0, *shape], dtype=float)
        if self.scale != "fit":
            return region, known, float(self.scale)
        longer = float((region[2:] - region[:2]).max())
        scale = self.size / (longer * (1 + 2 * self.margin) if known else longer)
        return region, known, scale

    def _check_parameters(self) -> None:
        check_number(self.size, "size", low=1, integer=True)
        if self.scale != "fit":
            if isinstance(self.scale, str):
                raise TypeError(
                    'Expected scale to be "fit" or a number, the pixels of the crop '
                    f"for one pixel of the scan, got {self.scale!r}."
                )
            check_number(self.scale, "scale", low=0, inclusive=(False, True))
            _check_sides(self.size, float(self.scale))
        check_number(self.margin, "margin", low=0)
        check_option(self.resample, "resample", _RESAMPLING)
        check_number(self.fill, "fill")

    def _warn(self, n_scans: int, cut_off: int, narrow: int) -> None:
        remedy = f'Choose a larger size than {self.size}, or scale="fit".'
        if cut_off:
            warnings.warn(
                f"{cut_off} of {n_scans} crops cut off a part of L1-L4. {remedy}",
                UserWarning,
                stacklevel=3,
            )
        if narrow:
            warnings.warn(
                f"{narrow} of {n_scans} crops, without a box, show less than half of "
                f"their scan's height. Give boxes. {remedy}",
                UserWarning,
                stacklevel=3,
            )


def hull(boxes: np.ndarray) -> np.ndarray:
    """Box around all known vertebrae of each scan, shape (n, 4)."""
    return np.concatenate(
        [
            np.fmin.reduce(boxes[..., :2], axis=1),
            np.fmax.reduce(boxes[..., 2:], axis=1),
        ],
        axis=1,
    )
