"""Crop scans to a square around the vertebrae L1 to L4."""

from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from tbsclassify._boxes import (
    LEVELS,
    box_columns,
    check_scans_and_boxes,
    hull,
    put_boxes,
    remember_boxes,
    warn_of_boxes,
)
from tbsclassify._scans import (
    check_table,
    mask_column,
    masks_in,
    numbers_in,
    set_columns,
)
from tbsclassify._spacing import (
    MILLIMETRES,
    check_spacings,
    remember_spacing,
    spacing_columns,
    warn_of_spacings,
)
from tbsclassify._squares import (
    RESAMPLING,
    Resample,
    check_sides,
    crop_square,
    square_at,
)
from tbsclassify._transformers import StatelessScanTransformer
from tbsclassify._validation import check_number, check_option
from tbsclassify._warn import warn
from tbsclassify.images import iter_scans

__all__ = ["LumbarCropper", "crop_square"]

# A crop may lose this share of L1-L4, some rows of an endplate, without a warning.
_TOLERATED_LOSS = 0.05
# Pixels this close to the wanted size are copied.
_SAME_SIZE = 0.001


class LumbarCropper(  # type: ignore[call-arg]
    StatelessScanTransformer, auto_wrap_output_keys=None
):
    """Crop each scan to a square centred on the vertebrae L1 to L4.

    By default pixels are copied, because stretching and interpolation alter the
    trabecular texture that classifiers use. Texture is measured in pixels, so scans
    whose pixels differ in size are resampled to one size in mm by `spacing`.

    The box of a scan and the size of its pixels come from the arguments `boxes` and
    `spacings`, or from a DataFrame `X`, in which they stay with the scan in splits and
    searches. A scan without a box is cropped around its own centre, or around the boxes
    that `LumbarLocalizer` finds.

    Parameters
    ----------
    size : int, default=224
        Side of the crop in pixels, the paper's by default [1]_.
    scale : float or "fit", default=1.0
        Pixels of the crop for one pixel of the scan. ``"fit"`` chooses it scan
        by scan, so that the box (or, without one, the whole scan) and `margin`
        just fill the crop: sizes become comparable, but the texture is
        resampled by a factor that depends on the patient's height.
    spacing : float, default=None
        Height and width in mm of the crop's pixels, in place of `scale`. Each scan
        is resampled by the size of its own pixels, rows and columns by a factor of
        their own; pixels within 0.1 % of the wanted size are copied. A scan
        whose pixel size is not known is an error. None leaves pixels as they are.
    margin : float, default=0.1
        With ``scale="fit"``: border around the box on each side, as a share of
        the longer side of the box.
    resample : {"nearest", "box", "bilinear", "bicubic", "lanczos"}, \
default="bilinear"
        Pillow's filter where pixels are not copied.
    fill : int or float, default=0
        Grey level where a crop reaches beyond its scan.
    boxes : {"given", "auto"}, default="given"
        With ``"auto"``, the `LumbarLocalizer` of this library finds L1-L4 in scans
        without a box. To use a fitted localizer, or to check its boxes, locate first:
        ``localizer.transform_table(table)``.
    unsure : {"warn", "raise", "centre"}, default="warn"
        With ``boxes="auto"``: what to do with a scan on which the localizer is unsure.
        Crop it anyway and warn, raise an error, or crop it around its own centre.
    min_confidence : float, default=0.5
        Confidence of `LumbarLocalizer` in the level or in the place below which it
        counts as unsure.

    See Also
    --------
    crop_square : The same for one scan.
    tbsclassify.LumbarLocalizer : Finds boxes, and learns from a site's own.
    tbsclassify.VertebraSplitter : A crop of each vertebra.

    Notes
    -----
    `transform` works without `fit`. A fit remembers the size of pixels (`spacing_`) and
    whether scans had boxes (`has_boxes_`), to warn of other scans later, unless
    `spacing` brings all to one size and ``boxes="auto"`` finds those that are missing.

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

    So do the sizes of pixels. 128 pixels of 1.05 mm show as much as 224 of 0.6 mm:

    >>> LumbarCropper(128, spacing=1.05).transform(scans.frame).shape
    (2, 128, 128)
    """

    def __init__(
        self,
        size: int = 224,
        *,
        scale: float | Literal["fit"] = 1.0,
        spacing: float | None = None,
        margin: float = 0.1,
        resample: Resample = "bilinear",
        fill: float = 0,
        boxes: Literal["given", "auto"] = "given",
        unsure: Literal["warn", "raise", "centre"] = "warn",
        min_confidence: float = 0.5,
    ) -> None:
        self.size = size
        self.scale = scale
        self.spacing = spacing
        self.margin = margin
        self.resample = resample
        self.fill = fill
        self.boxes = boxes
        self.unsure = unsure
        self.min_confidence = min_confidence

    def fit(
        self,
        X: Any,
        y: Any = None,
        boxes: ArrayLike | None = None,
        spacings: ArrayLike | None = None,
    ) -> Self:
        """Check parameters, and remember what scans the model is fitted on.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        boxes, spacings : array-like, default=None
            As in `transform`.

        Returns
        -------
        self : LumbarCropper
            The cropper itself.
        """
        self._check_parameters()
        _, boxes = check_scans_and_boxes(X, boxes)
        remember_boxes(self, self._is_located(X, boxes))
        remember_spacing(self, X, self._check_spacings(X, spacings, len(boxes)))
        return self

    def fit_transform(
        self,
        X: Any,
        y: Any = None,
        boxes: ArrayLike | None = None,
        spacings: ArrayLike | None = None,
    ) -> np.ndarray:
        """Fit, and crop the same scans.

        Parameters
        ----------
        X : array, sequence or table
            Scans, as in `transform`.
        y : None
            Ignored.
        boxes, spacings : array-like, default=None
            As in `transform`.

        Returns
        -------
        crops : ndarray of shape (n_scans, size, size)
            The result of `transform`.
        """
        self.fit(X, y, boxes=boxes, spacings=spacings)
        return self.transform(X, boxes=boxes, spacings=spacings)

    def transform(
        self,
        X: Any,
        boxes: ArrayLike | None = None,
        spacings: ArrayLike | None = None,
    ) -> np.ndarray:
        """Crop scans.

        Parameters
        ----------
        X : array of shape (n_scans, height, width), sequence or DataFrame
            Scans; or a sequence of 2-D arrays of any sizes or of paths; or a
            DataFrame with arrays or paths in a column ``image`` and optionally
            boxes in columns ``L1_top``, ``L1_left``, ``L1_bottom``,
            ``L1_right`` and so on to ``L4_right``, or ``top``, ``left``,
            ``bottom``, ``right``. Levels without columns are taken as not known.
            Pixel sizes may be in columns ``row_spacing`` and ``column_spacing``,
            or in one, ``spacing``. Other columns are not looked at.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes of L1 to L4 as (top, left, bottom, right) in pixels, ends
            exclusive; the crop is centred on their hull. NaN where unknown.
        spacings : array-like of shape (n_scans,) or (n_scans, 2), default=None
            Height and width in mm of the pixels of each scan, or one number for
            both. They take the place of those in a table.

        Returns
        -------
        crops : ndarray of shape (n_scans, size, size)
            The crops, in the dtype of the scans.

        Raises
        ------
        ValueError
            If a scan is not readable, boxes have no meaning, scans are of several
            depths, or cannot hold `fill`; with `spacing`, if the pixel size of a
            scan is not known; with ``unsure="raise"``, if the localizer is unsure.

        Warns
        -----
        UserWarning
            If the localizer is unsure, unless ``unsure="raise"``; if some scans have
            boxes and others none, or those of the fit had boxes and these have none;
            if crops lose more than 5 % of their boxes' longer side, or a crop without
            a box shows less than half of its scan's height; without `spacing`, if
            pixel sizes are known to differ by more than 2 %, or from those of the fit.
        """
        return self._crop(X, boxes, spacings).images

    def transform_table(self, table: pd.DataFrame) -> pd.DataFrame:
        """Crop the scans of a table, with their boxes, pixel sizes and label maps.

        Crops alone have no boxes, so texture features would describe their middle. With
        this table they describe the vertebrae.

        Parameters
        ----------
        table : pandas.DataFrame
            Scans in a column ``image``, with boxes and pixel sizes as in
            `transform`, and label maps in a column ``mask``, if there are any.

        Returns
        -------
        table : pandas.DataFrame
            The same rows and columns, with crops, boxes and label maps in pixels of
            the crops, and the pixel sizes of the crops. With ``boxes="auto"`` it also
            has the boxes that were found. Boxes are cut at the border of the crop, and
            NaN if nothing is left. Label maps take the nearest label.

        Raises
        ------
        ValueError
            As `transform`, and if there is no column ``image``.
        TypeError
            If `table` is not a pandas DataFrame.

        See Also
        --------
        transform : The crops alone, for networks.

        Examples
        --------
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import FunctionTransformer
        >>> from tbsclassify import LumbarCropper, make_texture_classifier
        >>> from tbsclassify.datasets import make_dxa_phantoms
        >>> scans = make_dxa_phantoms(2, size=(560, 600), random_state=0)
        >>> cropper = LumbarCropper(280, spacing=0.6)
        >>> table = cropper.transform_table(scans.frame)
        >>> table["image"][0].shape, table["row_spacing"].tolist()
        ((280, 280), [0.6, 0.6])

        As a step of a Pipeline:

        >>> pipeline = make_pipeline(
        ...     FunctionTransformer(cropper.transform_table), make_texture_classifier()
        ... )
        """
        check_table(table)
        crops, centers, scales, found = self._crop(table, None, None)
        if found is not None:
            table = put_boxes(table, found, ~np.isnan(found).all(axis=(1, 2)))
        placed = list(zip(centers, scales, strict=True))
        corners = np.stack([square_at(one, self.size, by)[:2] for one, by in placed])
        cropped = table.assign(image=pd.Series(list(crops), table.index, dtype=object))
        for names in box_columns(table.columns).values():
            boxes = numbers_in(table, names).reshape(-1, 2, 2)
            boxes = (boxes - corners[:, np.newaxis]) * scales[:, np.newaxis]
            boxes = boxes.clip(0, self.size).reshape(-1, 4)
            boxes[(boxes[:, 2:] <= boxes[:, :2]).any(axis=1)] = np.nan
            set_columns(cropped, names, boxes)
        sizes = spacing_columns(table.columns)
        if sizes is not None:
            names = list(sizes)
            set_columns(cropped, names, numbers_in(table, names) / scales)
        name = mask_column(table.columns)
        if name is not None:
            masks = [
                mask if mask is None else self._crop_mask(mask, center, scale)
                for mask, (center, scale) in zip(
                    masks_in(table, name), placed, strict=True
                )
            ]
            cropped[name] = pd.Series(masks, table.index, dtype=object)
        return cropped

    def square_of(
        self,
        shape: tuple[int, int],
        box: ArrayLike | None = None,
        spacing: ArrayLike | None = None,
    ) -> np.ndarray:
        """Return the square of a scan that the crop shows.

        Parameters
        ----------
        shape : tuple of two ints
            Height and width of the scan in pixels.
        box : array-like of shape (4,), default=None
            Box of L1-L4 as (top, left, bottom, right) in pixels. None or NaN
            where it is not known; it is not looked for, even with ``boxes="auto"``.
        spacing : float or array-like of shape (2,), default=None
            Height and width in mm of the scan's pixels, which a cropper with
            `spacing` needs.

        Returns
        -------
        square : ndarray of float of shape (4,)
            The square as (top, left, bottom, right) in pixels of the scan; it may
            reach beyond the scan. With `spacing` it is a square in mm.

        Examples
        --------
        >>> from tbsclassify import LumbarCropper
        >>> LumbarCropper(20).square_of((40, 60))
        array([10., 20., 30., 40.])
        >>> LumbarCropper(20, spacing=0.6).square_of((40, 60), spacing=(0.6, 0.3))
        array([10., 10., 30., 50.])
        """
        self._check_parameters()
        given = np.full(4, np.nan) if box is None else np.asarray(box, dtype=float)
        size = None if spacing is None else np.broadcast_to(spacing, (1, 2))
        region, _, scale = self._region(
            shape, given, self._check_spacings(None, size, 1)[0]
        )
        return square_at((region[:2] + region[2:]) / 2, self.size, scale)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept the setting of output containers of scikit-learn, without an effect.

        Crops are always an array of shape (n_scans, size, size). The method exists so
        that `set_output` of a Pipeline with a cropper works.

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

    def _crop(
        self, X: Any, boxes: ArrayLike | None, spacings: ArrayLike | None
    ) -> "_Crops":
        """Cut out the crops."""
        self._check_parameters()
        scans, boxes = check_scans_and_boxes(X, boxes)
        located = self._is_located(X, boxes)
        boxes, found = hull(boxes), None
        if self.boxes == "given":
            warn_of_boxes(self, located, "cropped around their own centre")
        else:
            found = self._find_boxes(scans, boxes)
            boxes = np.where(np.isnan(boxes), hull(found), boxes)
        spacings = self._check_spacings(X, spacings, len(boxes))
        if self.spacing is None:
            warn_of_spacings(self, X, spacings)
        crops, cut_off, narrow = np.empty(0), 0, 0
        centers, scales = np.empty((2, len(boxes), 2))
        for i, (scan, box) in enumerate(zip(iter_scans(scans), boxes, strict=True)):
            if i == 0:
                crops = np.empty((len(boxes), self.size, self.size), scan.dtype)
            region, known, scales[i] = self._region(scan.shape, box, spacings[i])
            centers[i] = (region[:2] + region[2:]) / 2
            reach = self.size / scales[i]
            needed = (1 - _TOLERATED_LOSS) * (region[2:] - region[:2])
            cut_off += int(known and (reach < needed).any())
            narrow += int(not known and scan.shape[0] > 2 * reach[0])
            crops[i] = crop_square(
                scan,
                tuple(centers[i]),
                self.size,
                scale=tuple(scales[i]),
                resample=self.resample,
                fill=self.fill,
            )
        self._warn(len(boxes), cut_off, narrow)
        return _Crops(crops, centers, scales, found)

    def _find_boxes(self, scans: Any, known: np.ndarray) -> np.ndarray:
        """Find boxes of L1-L4 (n, 4, 4) in scans without one; NaN in all others."""
        from tbsclassify.localization import LumbarLocalizer

        unknown = np.flatnonzero(np.isnan(known).any(axis=1))
        boxes = np.full((len(known), len(LEVELS), 4), np.nan)
        if not unknown.size:
            return boxes
        found = LumbarLocalizer().locate([scans[i] for i in unknown])
        confidence = np.minimum(found.level_confidence, found.place_confidence)
        unsure = confidence < self.min_confidence
        boxes[unknown] = found.boxes
        if not unsure.any():
            return boxes
        problem = (
            f"L1-L4 could not be found with a confidence of {self.min_confidence:g} in "
            f"{unsure.sum()} of {len(boxes)} scans, index "
            f"{unknown[unsure][:10].tolist()}."
        )
        remedy = (
            "Look at what LumbarLocalizer().transform_table finds with CropDisplay, "
            "give their boxes, fit the localizer on boxes of some twenty of your "
            "scans, or lower min_confidence."
        )
        if self.unsure == "raise":
            raise ValueError(f"{problem} {remedy}")
        if self.unsure == "centre":
            boxes[unknown[unsure]] = np.nan
            remedy = f"They are cropped around their centre. {remedy}"
        warn(f"{problem} {remedy}")
        return boxes

    def _crop_mask(
        self, mask: Any, center: np.ndarray, scale: np.ndarray
    ) -> np.ndarray:
        """Cut the crop's square out of a label map, with the nearest labels."""
        return crop_square(
            np.asarray(mask),
            tuple(center),
            self.size,
            scale=tuple(scale),
            resample="nearest",
        )

    def _region(
        self, shape: tuple[int, ...], box: np.ndarray, spacing: np.ndarray
    ) -> tuple[np.ndarray, bool, np.ndarray]:
        """Return the region to centre on, whether it is a box, and both scales."""
        known = not np.isnan(box).any()
        region = box if known else np.array([0, 0, *shape], dtype=float)
        if self.spacing is not None:
            scale = spacing / self.spacing
            scale = np.where(np.abs(scale - 1) <= _SAME_SIZE, 1, scale)
        elif self.scale == "fit":
            longer = float((region[2:] - region[:2]).max())
            margin = self.margin if known else 0
            scale = np.full(2, self.size / (longer * (1 + 2 * margin)))
        else:
            scale = np.full(2, float(self.scale))
        return region, known, scale

    def _check_spacings(
        self, X: Any, spacings: ArrayLike | None, n_scans: int
    ) -> np.ndarray:
        """Return the pixel size of each scan in mm, which `spacing` needs to know."""
        known = check_spacings(X, spacings, n_scans)
        if known is None:
            known = np.full((n_scans, 2), np.nan)
        unknown = np.flatnonzero(np.isnan(known).any(axis=1))
        if self.spacing is not None and unknown.size:
            raise ValueError(
                f"Expected the pixel size of each scan, which spacing={self.spacing!r} "
                f"needs, got none of {unknown.size} of {n_scans} scans, index "
                f"{unknown[:10].tolist()}. Put it into columns row_spacing and "
                "column_spacing of X (load_scans takes it from DICOM files) or pass "
                "spacings, leave these scans out, or choose spacing=None."
            )
        return known

    def _check_parameters(self) -> None:
        check_number(self.size, "size", low=1, integer=True)
        if self.scale != "fit":
            if isinstance(self.scale, str):
                raise TypeError(
                    'Expected scale to be "fit" or a number, the pixels of the crop '
                    f"for one pixel of the scan, got {self.scale!r}."
                )
            check_number(self.scale, "scale", low=0, inclusive=(False, True))
            check_sides(self.size, self.scale)
        if self.spacing is not None:
            low, high = MILLIMETRES
            check_number(self.spacing, "spacing", low=low, high=high)
            if self.scale != 1:
                raise ValueError(
                    "Expected scale to be left at 1 where spacing tells the size of "
                    f"pixels, got scale={self.scale!r} and spacing={self.spacing!r}. "
                    "Choose one of them."
                )
        check_number(self.margin, "margin", low=0)
        check_option(self.resample, "resample", RESAMPLING)
        check_number(self.fill, "fill")
        if not isinstance(self.boxes, str):
            raise TypeError(
                'Expected boxes of the constructor to be "given" or "auto", got '
                f"{type(self.boxes).__name__}. Pass boxes of scans to fit and "
                "transform, or in a table."
            )
        check_option(self.boxes, "boxes", ("given", "auto"))
        check_option(self.unsure, "unsure", ("warn", "raise", "centre"))
        check_number(self.min_confidence, "min_confidence", low=0, high=1)

    def _warn(self, n_scans: int, cut_off: int, narrow: int) -> None:
        remedy = f'Choose a larger size than {self.size}, or scale="fit".'
        if self.spacing is not None:
            remedy = f"Choose a larger size than {self.size}, or a larger spacing."
        if cut_off:
            warn(f"{cut_off} of {n_scans} crops cut off a part of L1-L4. {remedy}")
        if narrow:
            warn(
                f"{narrow} of {n_scans} crops, without a box, show less than half of "
                f"their scan's height. Give boxes. {remedy}"
            )


class _Crops(NamedTuple):
    """Crops, and their places in the scans."""

    images: np.ndarray  # (n, size, size)
    centers: np.ndarray  # (n, 2) in pixels of the scan
    scales: np.ndarray  # (n, 2) pixels of the crop for one of the scan
    found: np.ndarray | None  # (n, 4, 4) boxes from a localizer, NaN elsewhere
