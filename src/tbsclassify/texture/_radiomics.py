"""Radiomics of the vertebrae: matrices of grey levels, vertebra by vertebra."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.utils import check_array

from tbsclassify._boxes import LEVELS, check_scans_and_boxes, warn_of_boxes
from tbsclassify._scans import mask_column, masks_in
from tbsclassify._spacing import warn_of_spacings
from tbsclassify._transformers import StatelessScanTransformer
from tbsclassify._validation import check_number
from tbsclassify._warn import warn
from tbsclassify.images import iter_scans
from tbsclassify.texture import _matrices
from tbsclassify.texture._regions import (
    central_window,
    check_central_region,
    check_mask,
    regions_of,
    regions_of_mask,
    window_of_box,
)

# Measures of each family, from grey levels, their bins, the map of bins and their
# number.
_FAMILIES = {
    "firstorder": lambda values, bins, levels, n: _matrices.first_order(values, bins),
    "glcm": lambda values, bins, levels, n: _matrices.cooccurrence(levels, n),
    "glrlm": lambda values, bins, levels, n: _matrices.run_length(levels),
    "glszm": lambda values, bins, levels, n: _matrices.size_zone(levels),
    "gldm": lambda values, bins, levels, n: _matrices.dependence(levels),
    "ngtdm": lambda values, bins, levels, n: _matrices.tone_difference(levels, n),
}
FAMILIES = tuple(_FAMILIES)
# Labels of L1 to L4 in label maps.
_LABELS = (1, 2, 3, 4)


def texture_matrix_features(
    image: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    labels: Sequence[int] = (1, 2, 3, 4),
    families: Sequence[str] = FAMILIES,
    n_levels: int = 32,
    margin: int = 4,
) -> pd.DataFrame:
    """Compute radiomics of each vertebra of a scan.

    Parameters
    ----------
    image : array-like of shape (height, width)
        Grey levels.
    boxes : array-like of shape (n_vertebrae, 4) or (4,), default=None
        Boxes of the vertebral bodies as (top, left, bottom, right) in pixels,
        ends exclusive; NaN where a vertebra is not known or not to be used.
        None, without `mask`, uses the whole image.
    mask : array-like of int or bool of shape (height, width), default=None
        Label map of the vertebral bodies, in place of `boxes`.
    labels : sequence of int, default=(1, 2, 3, 4)
        Labels in `mask` of the vertebrae to use.
    families : sequence of str, default=("firstorder", "glcm", "glrlm", "glszm", \
"gldm", "ngtdm")
        Families of features, as in `TextureMatrixFeatures`.
    n_levels : int, default=32
        Number of grey levels to which each vertebra is brought.
    margin : int, default=4
        Pixels to take off all sides of the boxes or of the labelled regions.

    Returns
    -------
    features : pandas.DataFrame
        A row for each vertebra, NaN where it has no pixel, and a column for each
        feature. Rows are named after the labels in `mask`, and L1 to L4 where
        there are four boxes.

    See Also
    --------
    TextureMatrixFeatures : Means over the vertebrae, for many scans.

    Examples
    --------
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import texture_matrix_features
    >>> scan = make_dxa_phantoms(1, random_state=0)
    >>> features = texture_matrix_features(
    ...     scan.images[0], boxes=scan.boxes[0], families=["gldm", "glrlm"]
    ... )
    >>> features.index.tolist(), features.shape
    (['L1', 'L2', 'L3', 'L4'], (4, 31))
    """
    pixels = check_array(image, dtype=np.float64, input_name="image")
    _check_families(families)
    check_number(n_levels, "n_levels", low=2, integer=True)
    check_number(margin, "margin", low=0, integer=True)
    regions = regions_of(pixels.shape, boxes, mask, labels, margin)
    if mask is not None:
        index = pd.Index(labels)
    else:
        index = pd.Index(LEVELS if len(regions) == len(LEVELS) else range(len(regions)))
    rows = [
        _measure(pixels[window], inside, families, n_levels)
        for window, inside in regions
    ]
    return pd.DataFrame(rows, index=index, columns=_names(families), dtype=float)


class TextureMatrixFeatures(StatelessScanTransformer):
    """Describe the vertebrae of each scan by radiomics.

    Grey levels of a vertebra are sorted into a fixed number of bins, and matrices
    count how these lie next to each other: pairs (GLCM), runs (GLRLM), zones
    (GLSZM), neighbours of the same level (GLDM) and the difference from all
    neighbours (NGTDM). The features of a scan are the means over its vertebrae.

    Parameters
    ----------
    families : sequence of str, default=("firstorder", "glcm", "glrlm", "glszm", \
"gldm", "ngtdm")
        Families of features, in the order of the columns. "gldm" and "glrlm" are
        those with which [3]_ reports its best result.
    n_levels : int, default=32
        Number of bins, of equal width between the least and the greatest grey
        level of the vertebra. Thus all families except "firstorder" stay the same
        when brightness or contrast changes, as long as nothing is clipped.
    margin : int, default=4
        Pixels to take off all sides of the boxes or labelled regions, because
        endplates and cortical walls are not trabecular texture.
    central_region : tuple of two floats, default=(0.8, 0.25)
        Share of the height and of the width that is used of a scan without a
        box, as in `VariogramFeatures`.

    Attributes
    ----------
    spacing_ : ndarray of shape (2,) or None
        Height and width in mm of the pixels of the scans (their median); None if they
        are unknown, or differ by more than 2 %. Scans of another size give a warning.

    See Also
    --------
    texture_matrix_features : One scan, a row for each vertebra.
    make_radiomics_classifier : A classifier on these features.
    VariogramFeatures : Texture by the variogram.

    Notes
    -----
    Definitions are those of the Image Biomarker Standardisation Initiative (IBSI)
    [1]_ for a plane: eight neighbours, distance 1, features of the GLCM and the
    GLRLM averaged over the four directions, dependence without tolerance
    (``alpha=0``), population variances, excess kurtosis. They agree with its
    published values for the digital phantom. Names are those of PyRadiomics [2]_,
    whose GLDM is the IBSI's NGLDM. Features that repeat another one, such as the
    sum average of the GLCM, are left out, and so is shape, which boxes do not have.

    The features are in units of pixels and depend on their size: see
    :ref:`sphx_glr_auto_examples_plot_robustness.py`. Bring all scans to one size of
    pixel first, and their boxes with them, as :ref:`pixel_size` shows.

    Nothing else is learned from the scans, so `transform` works without `fit`.

    References
    ----------
    .. [1] Zwanenburg A, et al., "The Image Biomarker Standardization Initiative:
       Standardized Quantitative Radiomics for High-Throughput Image-based
       Phenotyping", Radiology 295(2):328-338, 2020; definitions in
       arXiv:1612.07003.
    .. [2] van Griethuysen JJM, et al., "Computational Radiomics System to Decode
       the Radiographic Phenotype", Cancer Res 77(21):e104-e107, 2017.
    .. [3] "Comparison of Resampling Methods and Radiomic Machine Learning
       Classifiers for Predicting Bone Quality Using Dual-Energy X-Ray
       Absorptiometry", Diagnostics 15(2):175, 2025.

    Examples
    --------
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import TextureMatrixFeatures
    >>> scans = make_dxa_phantoms(3, random_state=0)
    >>> radiomics = TextureMatrixFeatures(families=["gldm", "glrlm"])
    >>> radiomics.fit_transform(scans.images, boxes=scans.boxes).shape
    (3, 31)
    >>> radiomics.transform(scans.frame).shape
    (3, 31)
    >>> radiomics.get_feature_names_out()[[0, -1]]
    array(['gldm_SmallDependenceEmphasis', 'glrlm_RunEntropy'], dtype=object)
    """

    def __init__(
        self,
        families: Sequence[str] = FAMILIES,
        *,
        n_levels: int = 32,
        margin: int = 4,
        central_region: tuple[float, float] = (0.8, 0.25),
    ) -> None:
        self.families = families
        self.n_levels = n_levels
        self.margin = margin
        self.central_region = central_region

    def transform(self, X: Any, boxes: ArrayLike | None = None) -> np.ndarray:
        """Compute the features.

        Parameters
        ----------
        X : array of shape (n_scans, height, width), sequence or DataFrame
            Scans; or a sequence of 2-D arrays of any sizes or of paths; or a
            DataFrame with arrays or paths in a column ``image`` and optionally
            boxes in columns ``L1_top``, ``L1_left``, ``L1_bottom``,
            ``L1_right`` and so on to ``L4_right``, or ``top``, ``left``,
            ``bottom``, ``right``; or label maps (L1 is 1, L4 is 4) in a column
            ``mask``, which take the place of boxes; None or NaN where there is
            none. Of other columns, only pixel sizes are looked at. Rows of numbers
            are read as images one row high.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes of the vertebral bodies, or one for all, as (top, left,
            bottom, right) in pixels, ends exclusive. NaN where unknown. They
            take the place of boxes and label maps in a DataFrame.

        Returns
        -------
        features : ndarray of shape (n_scans, n_features)
            Means over the vertebrae.

        Warns
        -----
        UserWarning
            If a box or a region less the margin holds no pixel. The vertebra is
            left out. A scan without any is described by its central region. Or if
            a label map has other labels only, some scans have boxes and others none,
            or the table has pixel sizes that differ by more than 2 %.
        """
        self._check_parameters()
        columns = getattr(X, "columns", ())
        name = mask_column(columns) if boxes is None and "image" in columns else None
        scans, boxes = check_scans_and_boxes(X, boxes)
        warn_of_spacings(self, X)
        warn_of_boxes(self, self._is_located(X, boxes), "described by their middle")
        masks = [None] * len(boxes) if name is None else masks_in(X, name)
        features = np.empty((len(boxes), len(_names(self.families))))
        too_small, other_labels = [], []
        for i, (scan, box, mask) in enumerate(
            zip(iter_scans(scans), boxes, masks, strict=True)
        ):
            image = scan.astype(np.float64)
            if mask is not None:
                mask = check_mask(mask, image.shape, f"mask at index {i}")
            regions, n_known = self._regions(image.shape, box, mask)
            if mask is not None and mask.any() and not n_known:
                other_labels.append(i)
            used = [region for region in regions if image[region[0]].size]
            if len(used) < n_known:
                too_small.append(i)
            used = used or [(central_window(image.shape, self.central_region), None)]
            measured = [
                _measure(image[window], inside, self.families, self.n_levels)
                for window, inside in used
            ]
            features[i] = np.mean([list(row.values()) for row in measured], axis=0)
        _warn_of_regions(too_small, other_labels, self.margin)
        return features

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Name the features by family and PyRadiomics' name.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored; images have no named features.

        Returns
        -------
        names : ndarray of str of shape (n_features,)
            Such as ``glcm_JointEntropy``.
        """
        _check_families(self.families)
        return np.array(_names(self.families), dtype=object)

    def _is_located(self, X: Any, boxes: np.ndarray) -> np.ndarray:
        located, columns = super()._is_located(X, boxes), getattr(X, "columns", ())
        name = mask_column(columns) if "image" in columns else None
        if name is not None:
            located |= np.array([mask is not None for mask in masks_in(X, name)])
        return located

    def _regions(
        self, shape: tuple[int, ...], box: np.ndarray, mask: np.ndarray | None
    ) -> tuple[list, int]:
        """Return the regions of the vertebrae of a scan, and the number of them."""
        if mask is not None:
            regions = regions_of_mask(mask, _LABELS, self.margin)
            return regions, int(np.isin(_LABELS, mask).sum())
        known = box[~np.isnan(box).any(axis=1)]
        windows = [window_of_box(one, shape, self.margin) for one in known]
        return [(window, None) for window in windows], len(known)

    def _check_parameters(self) -> None:
        _check_families(self.families)
        check_number(self.n_levels, "n_levels", low=2, integer=True)
        check_number(self.margin, "margin", low=0, integer=True)
        check_central_region(self.central_region)


def _warn_of_regions(too_small, other_labels, margin):
    if too_small:
        warn(
            f"{len(too_small)} scan(s), index {too_small[:10]}, have a vertebra with "
            f"no pixel in it less margin={margin}. It is left out. Choose a smaller "
            "margin, or check the boxes or label maps."
        )
    if other_labels:
        warn(
            f"{len(other_labels)} label map(s), index {other_labels[:10]}, have none "
            "of the labels 1 to 4, which stand for L1 to L4, but others. These scans "
            "are described by their central region. Renumber the labels, or leave "
            "these scans out."
        )


def _measure(pixels, inside, families, n_levels):
    """Measure one region, by name of the feature; nothing if it has no pixel."""
    if inside is None:
        inside = np.ones(pixels.shape, dtype=bool)
    values = pixels[inside]
    if not values.size:
        return {}
    bins = _matrices.discretise(values, n_levels)
    levels = np.zeros(pixels.shape, dtype=np.intp)
    levels[inside] = bins
    return {
        f"{family}_{name}": value
        for family in families
        for name, value in _FAMILIES[family](values, bins, levels, n_levels).items()
    }


def _names(families):
    """Return the names of the features, from a region of one pixel."""
    return list(_measure(np.zeros((1, 1)), None, families, 2))


def _check_families(families):
    known = isinstance(families, Sequence) and not isinstance(families, str)
    if not (known and families and all(family in FAMILIES for family in families)):
        raise ValueError(
            f"Expected families to be a sequence of names from {', '.join(FAMILIES)}, "
            f"got {families!r}."
        )
    if len(set(families)) < len(families):
        raise ValueError(f"Expected each of families once, got {families!r}.")
