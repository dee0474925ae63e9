"""Open texture score: the variogram of a scan, its initial slope, and features."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

from tbsclassify._boxes import check_boxes, check_scans_and_boxes
from tbsclassify._transformers import StatelessScanTransformer
from tbsclassify._validation import check_number
from tbsclassify.images import iter_scans

# Steps to the right, down, and along both diagonals, as (rows, columns).
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
# Logarithms are taken of this squared grey level where a variogram is below it.
_FLOOR = 1e-6


@overload
def variogram(
    image: ArrayLike,
    lags: int | Sequence[int] = 8,
    *,
    mask: ArrayLike | None = None,
    directions: Sequence[tuple[int, int]] = DIRECTIONS,
    return_distances: Literal[False] = False,
) -> np.ndarray: ...


@overload
def variogram(
    image: ArrayLike,
    lags: int | Sequence[int] = 8,
    *,
    mask: ArrayLike | None = None,
    directions: Sequence[tuple[int, int]] = DIRECTIONS,
    return_distances: Literal[True],
) -> tuple[np.ndarray, np.ndarray]: ...


def variogram(
    image: ArrayLike,
    lags: int | Sequence[int] = 8,
    *,
    mask: ArrayLike | None = None,
    directions: Sequence[tuple[int, int]] = DIRECTIONS,
    return_distances: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Compute the experimental variogram of an image.

    For a displacement ``h`` it is the mean of ``(g(x) - g(x + h))**2`` over all
    pairs of pixels ``x`` and ``x + h`` that are both in the image and in the
    mask: the *full* mean square, twice what geostatistics calls the
    semivariogram.

    Parameters
    ----------
    image : array-like of shape (height, width)
        Grey levels ``g``.
    lags : int or sequence of int, default=8
        Multiples ``k`` of the directions; an int stands for 1 to this number.
    mask : array-like of bool of shape (height, width), default=None
        True for pixels that may be used. None uses all.
    directions : sequence of (int, int), default=((0, 1), (1, 0), (1, 1), (1, -1))
        Steps in rows and columns. The displacement is ``h = k * direction``.
    return_distances : bool, default=False
        Whether to return the lengths of the displacements, too.

    Returns
    -------
    values : ndarray of shape (n_directions, n_lags)
        The variogram in squared grey levels; NaN where there is no pair.
    distances : ndarray of shape (n_directions, n_lags)
        Only with ``return_distances=True``: the length of each ``h`` in pixels,
        ``k`` along an axis and ``k * sqrt(2)`` along a diagonal.

    See Also
    --------
    initial_slope : Its slope on logarithmic axes.

    Examples
    --------
    >>> from tbsclassify.texture import variogram
    >>> ramp = [[0, 1, 2, 3], [0, 1, 2, 3]]
    >>> variogram(ramp, lags=2)
    array([[ 1.,  4.],
           [ 0., nan],
           [ 1., nan],
           [ 1., nan]])
    """
    pixels = check_array(image, dtype=np.float64, input_name="image")
    inside = None
    if mask is not None:
        inside = _check_mask(mask, pixels.shape).astype(bool, copy=False)
    multiples, steps = _check_lags(lags), _check_directions(directions)
    values = _mean_squared_increments(pixels, inside, multiples, steps)
    return (values, _distances(multiples, steps)) if return_distances else values


@overload
def initial_slope(
    image: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    labels: Sequence[int] = (1, 2, 3, 4),
    margin: int = 6,
    sigma: float = 0.0,
    lag_range: tuple[float, float] = (1, 6),
    average: Literal[True] = True,
) -> float: ...


@overload
def initial_slope(
    image: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    labels: Sequence[int] = (1, 2, 3, 4),
    margin: int = 6,
    sigma: float = 0.0,
    lag_range: tuple[float, float] = (1, 6),
    average: Literal[False],
) -> np.ndarray: ...


def initial_slope(
    image: ArrayLike,
    *,
    boxes: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    labels: Sequence[int] = (1, 2, 3, 4),
    margin: int = 6,
    sigma: float = 0.0,
    lag_range: tuple[float, float] = (1, 6),
    average: bool = True,
) -> float | np.ndarray:
    """Compute the initial slope of the variogram (ISV) of a scan.

    The least-squares slope of ``log V(h)`` on ``log |h|``, over rows, columns,
    both diagonals and all lags of stated lengths, computed vertebra by vertebra
    and averaged. Rough texture has a small slope, smooth texture a large one:
    white noise 0, a plane 2.

    **This is not the trabecular bone score.** See the notes.

    Parameters
    ----------
    image : array-like of shape (height, width)
        Grey levels. The slope does not change with linear changes of them.
    boxes : array-like of shape (n_vertebrae, 4) or (4,), default=None
        Boxes of the vertebral bodies as (top, left, bottom, right) in pixels,
        ends exclusive; NaN where a vertebra is not known or not to be used, as
        one that is fractured. None, without `mask`, uses the whole image.
    mask : array-like of int or bool of shape (height, width), default=None
        Label map of the vertebral bodies, in place of `boxes`. A mask of bool
        is a label map with one vertebra.
    labels : sequence of int, default=(1, 2, 3, 4)
        Labels in `mask` of the vertebrae to use.
    margin : int, default=6
        Pixels to take off all sides of the boxes or of the labelled regions,
        because endplates and cortical walls are no trabecular texture. The
        default is for pixels of 0.6 mm.
    sigma : float, default=0.0
        Standard deviation in pixels of a Gaussian filter run over the image
        beforehand; 0 for none.
    lag_range : tuple of two floats, default=(1, 6)
        Shortest and longest displacement ``|h|`` in pixels.
    average : bool, default=True
        Whether to average over vertebrae.

    Returns
    -------
    slope : float or ndarray of shape (n_vertebrae,)
        The mean over the vertebrae that have a slope, or each vertebra's. NaN
        where there is none: the region is constant, empty or too small.

    See Also
    --------
    variogram : The variogram alone.
    VariogramFeatures : The whole variogram as features of a classifier.

    Notes
    -----
    Published are the idea, a texture index from experimental variograms of
    projection images [1]_, and that the initial slope of the variogram was the
    early definition of the TBS [2]_. Not published are the lags, directions, fit
    and tissue correction of the commercial TBS. Those used here are this
    library's own, so no cut-off of TBS holds for this number. In a study on 62
    vertebrae the ISV was poorly or not associated with strength [2]_.

    Resolution and noise of the image act on such an index [3]_. White noise
    of variance ``s2`` adds ``2 * s2`` to every ``V(h)`` and so lowers the
    slope; blur raises it. With ``sigma=0.8, lag_range=(3, 8)`` the slope leans
    less on the shortest lags, where noise weighs most. This *robust slope* was
    chosen by looking at phantoms, and has not been tuned on patients.

    On noisy scans the plain slope is repeatable, of a plausible size and nearly
    uninformative: its level is set by the noise, and this by the thickness of
    the patient. On ``make_dxa_phantoms(240, random_state=0)`` with ``boxes`` it
    is about 1.26 with a standard deviation of 0.13, repeats within 2 %,
    correlates with the BMI by -0.7 and shares some 15 % of its variance with
    the TBS that the phantoms started from (9 % with ``random_state=1``); with
    ``noise=0`` it shares 59 % in both. The robust slope shares 42 to 46 % in all
    these cases. ``benchmarks/texture.py`` makes these figures. They are of
    phantoms, not of patients.

    References
    ----------
    .. [1] Pothuaud L, Carceller P, Hans D, "Correlations between grey-level
       variations in 2D projection images (TBS) and 3D microarchitecture", Bone
       42(4):775-787, 2008.
    .. [2] Maquer G, et al., "The Initial Slope of the Variogram, Foundation of
       the Trabecular Bone Score, Is Not or Is Poorly Associated With Vertebral
       Strength", J Bone Miner Res 31(2):341-346, 2016.
    .. [3] Winzenrieth R, Michelet F, Hans D, "Three-dimensional (3D)
       microarchitecture correlations with 2D projection image gray-level
       variations assessed by trabecular bone score using high-resolution
       computed tomographic acquisitions: effects of resolution and noise", J
       Clin Densitom 16(3):287-296, 2013.

    Examples
    --------
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> from tbsclassify.texture import initial_slope
    >>> scan = make_dxa_phantoms(1, noise=0, return_masks=True, random_state=0)
    >>> slope = initial_slope(scan.images[0], boxes=scan.boxes[0])
    >>> slope = initial_slope(scan.images[0], mask=scan.masks[0])

    The robust slope:

    >>> slope = initial_slope(
    ...     scan.images[0], boxes=scan.boxes[0], sigma=0.8, lag_range=(3, 8)
    ... )
    """
    pixels = check_array(image, dtype=np.float64, input_name="image")
    check_number(margin, "margin", low=0, integer=True)
    lags, used = _lags_within(lag_range)
    regions = _regions(pixels.shape, boxes, mask, labels, margin)
    pixels = _smooth(pixels, sigma)
    distances = _distances(lags, DIRECTIONS)[used]
    slopes = np.empty(len(regions))
    for i, (window, inside) in enumerate(regions):
        values = _mean_squared_increments(pixels[window], inside, lags, DIRECTIONS)
        slopes[i] = _log_log_slope(values[used], distances)
    if not average:
        return slopes
    known = ~np.isnan(slopes)
    return float(slopes[known].mean()) if known.any() else math.nan


class VariogramFeatures(StatelessScanTransformer):
    """Describe the texture of each scan by the logarithm of its variogram.

    One feature for each lag along rows, columns and both diagonals: ``log V(h)``
    of the function `variogram`, averaged over the vertebrae L1 to L4. A linear
    model on these features can form the initial slope of the variogram, or give
    less weight to lags that noise spoils; so it is the baseline to hold a
    network against.

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
        cortical walls are no trabecular texture. It is smaller than that of
        `initial_slope`: a model can learn to allow for what is left of them.
    central_region : tuple of two floats, default=(0.8, 0.25)
        Share of the height and of the width of a scan without a box that is
        used. The default lies on the column of vertebral bodies, discs
        included, in 224 x 224 crops of 0.6 mm pixels that are centred on L1-L4.

    See Also
    --------
    initial_slope : One number in place of many features.
    make_texture_classifier : These features and a logistic regression.

    Notes
    -----
    Nothing is learned from the scans, so `transform` works without `fit`.

    Below 1e-6 squared grey levels, logarithms are taken of 1e-6, so that the
    features of a constant image are finite. A lag that no pair in the region
    of a scan spans takes this value, too.

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
            ``bottom``, ``right``. Levels without columns are taken as not known.
            Other columns are not looked at. Rows of numbers are read as images
            one row high.
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
            If the boxes of a scan are too small for some of the lags.
        """
        lags = self._check_parameters()
        scans, boxes = check_scans_and_boxes(X, boxes)
        features = np.empty((len(boxes), len(DIRECTIONS) * len(lags)))
        too_small = []
        for i, (scan, box) in enumerate(zip(iter_scans(scans), boxes, strict=True)):
            image = _smooth(scan.astype(np.float64), self.sigma)
            known = box[~np.isnan(box).any(axis=1)]
            windows = [_window_of_box(b, image.shape, self.margin) for b in known]
            values = np.stack(
                [
                    _mean_squared_increments(image[window], None, lags, DIRECTIONS)
                    for window in windows or [self._central_window(image.shape)]
                ]
            )
            features[i], incomplete = _mean_log(values.reshape(len(values), -1))
            if windows and incomplete:
                too_small.append(i)
        if too_small:
            warnings.warn(
                f"The boxes of {len(too_small)} scan(s), index {too_small[:10]}, are "
                f"too small for lags up to {lags.max()} with margin={self.margin}. "
                "Choose fewer lags or a smaller margin, or check the boxes.",
                UserWarning,
                stacklevel=3,  # scikit-learn wraps this method
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

    def _central_window(self, shape):
        """Rows and columns of the central region, a pixel at least."""
        window = []
        for length, share in zip(shape, self.central_region, strict=True):
            kept = max(1, round(length * share))
            start = (length - kept) // 2
            window.append(slice(start, start + kept))
        return tuple(window)

    def _check_parameters(self) -> np.ndarray:
        lags = _check_lags(self.lags)
        check_number(self.sigma, "sigma", low=0)
        check_number(self.margin, "margin", low=0, integer=True)
        for share in _check_pair(self.central_region, "central_region"):
            check_number(
                share, "central_region", low=0, high=1, inclusive=(False, True)
            )
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
        standardised features. The features are so much alike that what tells
        classes apart are small differences between them, which the usual 1
        shrinks too much.
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


def _mean_squared_increments(image, mask, lags, directions):
    """Variogram of checked input, NaN where there is no pair."""
    values = np.full((len(directions), len(lags)), np.nan)
    for i, (step_y, step_x) in enumerate(directions):
        for j, lag in enumerate(lags):
            rows_from, rows_to = _shifted(image.shape[0], lag * step_y)
            columns_from, columns_to = _shifted(image.shape[1], lag * step_x)
            start, end = (rows_from, columns_from), (rows_to, columns_to)
            increments = image[end] - image[start]
            if mask is not None:
                increments = increments[mask[end] & mask[start]]
            if increments.size:
                # Not `@`: BLAS would start threads, which cost more than they save.
                flat = increments.ravel()
                values[i, j] = np.einsum("i,i", flat, flat) / flat.size
    return values


def _shifted(length, step):
    """Slices of both ends of all pairs that are `step` pixels apart."""
    n_pairs = max(0, length - abs(step))
    start, end = max(0, -step), max(0, step)
    return slice(start, start + n_pairs), slice(end, end + n_pairs)


def _distances(lags, directions):
    return np.hypot(*np.transpose(directions))[:, np.newaxis] * lags


def _log_log_slope(values, distances):
    usable = values > 0  # False for NaN
    if len(np.unique(distances[usable])) < 2:
        return math.nan
    return np.polyfit(np.log(distances[usable]), np.log(values[usable]), deg=1)[0]


def _mean_log(values):
    """Mean over regions of floored logarithms, and whether one is all missing."""
    present = ~np.isnan(values)
    logs = np.log(np.where(present, np.maximum(values, _FLOOR), 1.0))
    count = present.sum(axis=0)
    mean = logs.sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, mean, math.log(_FLOOR)), bool((count == 0).any())


def _smooth(image, sigma):
    check_number(sigma, "sigma", low=0)
    return ndimage.gaussian_filter(image, sigma, mode="nearest") if sigma else image


def _window_of_box(box, shape, margin):
    """Pixels wholly inside a box less its margin; none where it is not known."""
    if np.isnan(box).any():
        return np.s_[:0, :0]
    first = np.maximum(np.ceil(box[:2]) + margin, 0).astype(int)
    last = np.minimum(np.floor(box[2:]) - margin, shape).astype(int)
    return tuple(slice(i, max(i, j)) for i, j in zip(first, last, strict=True))


def _regions(shape, boxes, mask, labels, margin):
    """Window of each vertebra, and its mask in the window or None."""
    if boxes is not None and mask is not None:
        raise ValueError("Expected boxes or mask, got both. Pass one of them.")
    if boxes is not None:
        boxes = check_boxes(np.asarray(boxes, dtype=float)[np.newaxis], 1)[0]
        return [(_window_of_box(box, shape, margin), None) for box in boxes]
    if mask is not None:
        return _regions_of_mask(_check_mask(mask, shape), labels, margin)
    return [(np.s_[:, :], None)]


def _regions_of_mask(mask, labels, margin):
    """Window and eroded mask of each label, both empty where it is absent."""
    regions = []
    for label in labels:
        # Beyond the image, "nearest" repeats it: what the image cuts off has no
        # wall there to keep a distance from.
        region = ndimage.minimum_filter(
            (mask == label).astype(np.uint8), size=2 * margin + 1, mode="nearest"
        )
        found = ndimage.find_objects(region)
        window = found[0] if found else np.s_[:0, :0]
        regions.append((window, region[window].astype(bool)))
    return regions


def _check_mask(mask, shape):
    mask = np.asarray(mask)
    if mask.shape != shape or mask.dtype.kind not in "bui":
        raise ValueError(
            f"Expected mask to have the image's shape {shape} and bool or an integer "
            f"type, got shape {mask.shape} and dtype {mask.dtype}."
        )
    return mask


def _check_lags(lags):
    if np.ndim(lags) == 0:
        return np.arange(1, check_number(lags, "lags", low=1, integer=True) + 1)
    lags = [check_number(lag, "lags", low=1, integer=True) for lag in lags]
    if not lags:
        raise ValueError(
            "Expected lags to hold one positive integer at least, got none."
        )
    return np.array(lags)


def _check_directions(directions):
    steps = np.asarray(directions)
    if steps.ndim != 2 or steps.shape[1:] != (2,) or steps.dtype.kind not in "ui":
        raise ValueError(
            "Expected directions to be pairs of integers, steps in rows and columns, "
            f"such as ((0, 1), (1, 0)), got {directions!r}."
        )
    if not steps.any(axis=1).all():
        raise ValueError(
            f"Expected directions other than (0, 0), which is no step, got "
            f"{directions!r}."
        )
    return steps.astype(int)


def _check_pair(pair, name):
    if np.shape(pair) != (2,):
        raise ValueError(f"Expected {name} to be two numbers, got {pair!r}.")
    return pair


def _lags_within(lag_range):
    """Multiples of the directions that may be used, and which of them are."""
    low, high = _check_pair(lag_range, "lag_range")
    check_number(low, "lag_range", low=0)
    check_number(high, "lag_range", low=0)
    lags = np.arange(1, int(high) + 1)
    distances = _distances(lags, DIRECTIONS)
    used = (distances >= low) & (distances <= high)
    if len(np.unique(distances[used])) < 2:
        raise ValueError(
            "Expected lag_range to hold two lags at least, as a slope needs two, got "
            f"{lag_range!r}. Lags are 1, 2, 3 ... pixels along axes, and sqrt(2) times "
            "these along diagonals."
        )
    return lags, used
