"""The whole variogram as features, and the baseline on them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tbsclassify._boxes import check_scans_and_boxes, warn_of_boxes
from tbsclassify._spacing import warn_of_spacings
from tbsclassify._transformers import StatelessScanTransformer
from tbsclassify._validation import check_number
from tbsclassify._warn import warn
from tbsclassify.images import iter_scans
from tbsclassify.texture._regions import (
    central_window,
    check_central_region,
    window_of_box,
)
from tbsclassify.texture._variogram import (
    DIRECTIONS,
    check_lags,
    mean_squared_increments,
    smooth,
)

# Squared grey level that replaces smaller values before the logarithm.
_FLOOR = 1e-6


class VariogramFeatures(StatelessScanTransformer):
    """Describe the texture of each scan by the logarithm of its variogram.

    One feature for each lag along rows, columns and both diagonals: ``log V(h)``
    of the function `variogram`, averaged over the vertebrae L1 to L4. A linear
    model on these features can form the initial slope of the variogram, or give
    less weight to lags that noise spoils, so it is the baseline for networks.

    The boxes of a scan are taken from the argument `boxes` or, so that they
    travel with the scan through splits and searches, from a DataFrame `X`. A
    scan without a box is described by the central region of its image.

    Parameters
    ----------
    lags : int or sequence of int, default=8
        Lags in pixels (diagonal ones in pixels of rows and of columns); an int
        stands for 1 to this number.
    sigma : float, default=0.0
        Standard deviation in pixels of a Gaussian filter run over the scan
        beforehand; 0 for none.
    margin : int, default=4
        Pixels to take off all sides of the boxes, because endplates and
        cortical walls are not trabecular texture. It is smaller than that of
        `initial_slope`: a model can learn to allow for what is left of them.
    central_region : tuple of two floats, default=(0.8, 0.25)
        Share of the height and of the width of a scan without a box that is
        used. The default lies on the column of vertebral bodies, discs
        included, in 224 x 224 crops of 0.6 mm pixels that are centred on L1-L4.

    Attributes
    ----------
    spacing_ : ndarray of shape (2,) or None
        Height and width in mm of the pixels of the scans (their median); None if they
        are unknown, or differ by more than 2 %. Scans of another size give a warning.

    See Also
    --------
    initial_slope : One number in place of many features.
    make_texture_classifier : These features and a logistic regression.
    tbsclassify.DeepTextureFeatures : Texture by a network.
    TextureMatrixFeatures : Texture by matrices.

    Notes
    -----
    Nothing else is learned from the scans, so `transform` works without `fit`.

    Below 1e-6 squared grey levels, logarithms are taken of 1e-6, so that the
    features of a constant image are finite. A lag that no pair in the region
    of a scan spans takes this value, too.

    Lags are in pixels: bring scans to one size of pixel first, with their boxes, by
    ``LumbarCropper(spacing=...).transform_table``; see :ref:`pixel_size`.

    A change of contrast adds one number to all features. It is left in: how
    much a texture varies may be as telling as how. Bring scans to one grey scale
    first where their display differs.

    Examples
    --------
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import VariogramFeatures
    >>> scans = make_dxa_phantoms(3, random_state=0)
    >>> features = VariogramFeatures(lags=4)
    >>> features.fit_transform(scans.images, boxes=scans.boxes).shape
    (3, 16)
    >>> features.transform(scans.frame).shape
    (3, 16)
    >>> features.get_feature_names_out()[:5]
    array(['log_v(0,1)', 'log_v(0,2)', 'log_v(0,3)', 'log_v(0,4)',
           'log_v(1,0)'], dtype=object)
    """

    def __init__(
        self,
        lags: int | Sequence[int] = 8,
        *,
        sigma: float = 0.0,
        margin: int = 4,
        central_region: tuple[float, float] = (0.8, 0.25),
    ) -> None:
        self.lags = lags
        self.sigma = sigma
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
            ``bottom``, ``right``. Levels without columns are taken as unknown.
            Of other columns, only pixel sizes are looked at. Rows of numbers are
            read as images one row high.
        boxes : array-like of shape (n_scans, 4) or (n_scans, n_vertebrae, 4), \
default=None
            Boxes of the vertebral bodies, or one for all, as (top, left,
            bottom, right) in pixels, ends exclusive. NaN where unknown.

        Returns
        -------
        features : ndarray of shape (n_scans, 4 * n_lags)
            Logarithms of squared grey levels: all lags of the first direction,
            then those of the next.

        Warns
        -----
        UserWarning
            If the boxes of a scan are too small for some of the lags, some scans have
            boxes and others none, or the table has pixel sizes that differ by more
            than 2 %.
        """
        lags = self._check_parameters()
        scans, boxes = check_scans_and_boxes(X, boxes)
        warn_of_spacings(self, X)
        warn_of_boxes(self, self._is_located(X, boxes), "described by their middle")
        features = np.empty((len(boxes), len(DIRECTIONS) * len(lags)))
        too_small = []
        for i, (scan, box) in enumerate(zip(iter_scans(scans), boxes, strict=True)):
            image = smooth(scan.astype(np.float64), self.sigma)
            known = box[~np.isnan(box).any(axis=1)]
            windows = [window_of_box(b, image.shape, self.margin) for b in known]
            values = np.stack(
                [
                    mean_squared_increments(image[window], None, lags, DIRECTIONS)
                    for window in windows
                    or [central_window(image.shape, self.central_region)]
                ]
            )
            features[i], incomplete = _mean_log(values.reshape(len(values), -1))
            if windows and incomplete:
                too_small.append(i)
        if too_small:
            warn(
                f"The boxes of {len(too_small)} scan(s), index {too_small[:10]}, are "
                f"too small for lags up to {lags.max()} with margin={self.margin}. "
                "Choose fewer lags or a smaller margin, or check the boxes."
            )
        return features

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Name the features by their displacement in rows and columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored; images have no named features.

        Returns
        -------
        names : ndarray of str of shape (n_directions * n_lags,)
            Such as ``log_v(0,3)``: the logarithm of the variogram three pixels
            to the right.
        """
        lags = self._check_parameters()
        names = [f"log_v({k * dy},{k * dx})" for dy, dx in DIRECTIONS for k in lags]
        return np.array(names, dtype=object)

    def _check_parameters(self) -> np.ndarray:
        lags = check_lags(self.lags)
        check_number(self.sigma, "sigma", low=0)
        check_number(self.margin, "margin", low=0, integer=True)
        check_central_region(self.central_region)
        return lags


def make_texture_classifier(
    features: VariogramFeatures | None = None,
    *,
    C: float = 10.0,
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
) -> Pipeline:
    """Make the reference baseline: variogram features and logistic regression.

    Parameters
    ----------
    features : VariogramFeatures, default=None
        The features; None takes those of ``VariogramFeatures()``.
    C : float, default=10.0
        Inverse strength of the regularisation of the logistic regression, on
        standardised features. The features are so similar that small differences
        between them separate the classes, which the usual 1 shrinks too much.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.

    Returns
    -------
    classifier : sklearn.pipeline.Pipeline
        The unfitted steps ``variogramfeatures``, ``standardscaler`` and
        ``logisticregression``. It can be cloned, searched and scored as any
        classifier of scikit-learn.

    See Also
    --------
    VariogramFeatures : What scans are described by.
    tbsclassify.make_clinical_baseline : The baseline that sees no image.
    make_radiomics_classifier : Texture by matrices.

    Notes
    -----
    `C` is not searched inside, as `LogisticRegressionCV` does, because its
    folds would part the scans of a patient. Search it from outside, with
    patients as groups: see the example.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> from tbsclassify import TBSLabeler
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import make_texture_classifier
    >>> scans = make_dxa_phantoms(40, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> search = GridSearchCV(
    ...     make_texture_classifier(),
    ...     {"logisticregression__C": [1, 10, 100]},
    ...     scoring="roc_auc",
    ...     cv=GroupKFold(3),
    ... )
    >>> search.fit(scans.frame, y, groups=scans.patient).predict(scans.frame).shape
    (40,)
    """
    return make_pipeline(
        VariogramFeatures() if features is None else features,
        StandardScaler(),
        LogisticRegression(C=C, class_weight=class_weight, max_iter=5000),
    )


def _mean_log(values):
    """Return means over regions of floored logarithms, and whether one is missing."""
    present = ~np.isnan(values)
    logs = np.log(np.where(present, np.maximum(values, _FLOOR), 1.0))
    count = present.sum(axis=0)
    mean = logs.sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, math.log(_FLOOR)), bool((count == 0).any())
