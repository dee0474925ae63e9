"""Random flips, rotations and changes of brightness, and copies made with them.

What is drawn at random is kept apart from what is done with it: `draw` takes
numbers from a generator, `apply` is a function of images and these numbers.
"""

import numbers
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from torch.nn.functional import grid_sample

from tbsclassify._validation import check_number, check_option, check_random_seed
from tbsclassify.images import stack_scans

_INTEGER_DTYPES = (torch.uint8, torch.uint16)
# Anything else becomes the first, as in the classifiers.
_NUMPY_DTYPES = [np.float32, np.float64, np.uint8, np.uint16]
# Copies made at a time, so that their floating-point versions stay small.
_CHUNK_SIZE = 64


class AugmentationDraws(NamedTuple):
    """What happens to each image of a batch, tensors of shape (n_images,)."""

    flip: torch.Tensor
    """Whether left and right are exchanged."""
    angle: torch.Tensor
    """Rotation after the flip, counter-clockwise as displayed, in degrees."""
    brightness: torch.Tensor
    """Factor on the grey levels: below 1 darker, above 1 brighter."""


class RandomAugmentation(BaseEstimator):
    """Random flips, rotations and changes of brightness, as in the paper.

    Each image is mirrored or not, then rotated, then darkened or brightened,
    by amounts of its own. The default ranges are those of the paper [1]_,
    section III.B.

    Parameters
    ----------
    horizontal_flip : float, default=0.5
        Probability that left and right are exchanged. The paper gives none.
    rotation : float, default=10
        Largest angle of rotation in degrees: angles are drawn evenly from
        ``-rotation`` to ``rotation``.
    brightness : tuple of two floats or None, default=(0.10, 0.40)
        Smallest and largest change of brightness, as shares below 1. Grey levels
        are multiplied by ``1 - u`` or ``1 + u``, either being as likely, with
        ``u`` drawn evenly from this range. None leaves them alone.

    See Also
    --------
    AugmentationSampler : Adds augmented copies before training.

    Notes
    -----
    *What is left out, and why.* A scan is never turned upside down: patients
    lie in one position, in which the spine seen from the front is nearly
    symmetric about its long axis, while up and down differ, L4 being wider than
    L1 and the ribs above. There is no zoom: it can push L1-L4 out of the image,
    as the paper says, and it changes the millimetres in a pixel, on which the
    variogram and with it the trabecular bone score depend.

    *Brightness.* A factor keeps the ratios of grey levels and so the slope of
    the variogram on logarithmic axes. With the default every image is changed by
    at least a tenth; ``brightness=(0, 0.4)`` lets some stay nearly as they are.
    uint8 and uint16 levels are rounded and end at the dtype's largest value;
    brightening by 40 % thus erases texture above 182 of 255. Floating-point
    levels, whose scale nobody knows, have no such end.

    *Rotation.* Images are resampled once, about their centre, by bicubic
    interpolation, each within its own range of grey levels. Corners that turn
    into view show the image reflected at its border: black ones would tell that
    it was turned. Interpolation smooths. At 5 degrees it leaves 63 % of the mean
    squared difference between neighbouring pixels of white noise, as shown below,
    and raises the initial slope of the variogram of phantoms by about 0.04;
    bilinear interpolation, at half the time, leaves 34 % and raises it by 0.13,
    as much as their standard deviation between patients.

    An image comes out the same bit for bit alone or in any batch, and unchanged
    where nothing is to be done.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff.

    Examples
    --------
    >>> import torch
    >>> from tbsclassify.augmentation import RandomAugmentation
    >>> augmentation = RandomAugmentation()
    >>> generator = torch.Generator().manual_seed(0)
    >>> draws = augmentation.draw(3, generator)
    >>> draws.flip.tolist(), [round(angle, 1) for angle in draws.angle.tolist()]
    ([True, False, True], [-7.4, -3.9, 2.7])
    >>> images = torch.randint(256, (3, 1, 32, 24), generator=generator).byte()
    >>> augmented = augmentation.apply(images, draws)
    >>> augmented.shape, augmented.dtype
    (torch.Size([3, 1, 32, 24]), torch.uint8)

    How much of the finest texture a rotation by 5 degrees leaves:

    >>> from tbsclassify.augmentation import rotate
    >>> noise = torch.randn(1, 1, 512, 512, generator=generator)
    >>> rotated = rotate(noise, torch.tensor([5.0]))
    >>> kept = rotated.diff(dim=-1).square().mean() / noise.diff(dim=-1).square().mean()
    >>> print(f"{kept:.2f}")
    0.63
    """

    def __init__(self, horizontal_flip=0.5, *, rotation=10, brightness=(0.10, 0.40)):
        self.horizontal_flip = horizontal_flip
        self.rotation = rotation
        self.brightness = brightness

    def draw(self, n_images, generator):
        """Draw what happens to each image of a batch.

        Parameters
        ----------
        n_images : int
            Number of images.
        generator : torch.Generator
            A generator on the CPU, the only source of randomness. It moves on by
            as much whatever the parameters, so that settings can be compared
            on equal draws.

        Returns
        -------
        draws : AugmentationDraws
            Flip, angle and brightness of each image, on the CPU.

        Raises
        ------
        ValueError, TypeError
            If a parameter is out of its range or of another type.
        """
        low, high = self._check_parameters()
        flip, angle, change, darker = torch.rand(4, n_images, generator=generator)
        change = low + (high - low) * change
        return AugmentationDraws(
            flip=flip < self.horizontal_flip,
            angle=self.rotation * (2 * angle - 1),
            brightness=torch.where(darker < 0.5, 1 - change, 1 + change),
        )

    @staticmethod
    def apply(images, draws):
        """Change images as drawn.

        Parameters
        ----------
        images : torch.Tensor of shape (n_images, channels, height, width)
            uint8, uint16 or floating-point grey levels, on any device. They are
            not written to.
        draws : AugmentationDraws
            What `draw` returned, or angles and factors of your own choice.

        Returns
        -------
        augmented : torch.Tensor of shape (n_images, channels, height, width)
            The images in their dtype and on their device.

        Raises
        ------
        ValueError
            If `images` has another shape or does not fit `draws`.
        TypeError
            If `images` has another dtype.
        """
        _check_images(images, len(draws.angle))
        levels = images if images.dtype == torch.float64 else images.float()
        if draws.flip.any():
            levels = torch.where(
                _per_image(draws.flip, levels), levels.flip(-1), levels
            )
        if draws.angle.any():
            levels = rotate(levels, draws.angle)
        if (draws.brightness != 1).any():
            levels = levels * _per_image(draws.brightness, levels)
        if images.dtype in _INTEGER_DTYPES:
            levels = levels.round().clamp(0, torch.iinfo(images.dtype).max)
        return levels.to(images.dtype)

    def _check_parameters(self):
        """Check all parameters and return the limits of the change of brightness."""
        check_number(self.horizontal_flip, "horizontal_flip", low=0, high=1)
        check_number(self.rotation, "rotation", low=0, high=180)
        if self.brightness is None:
            return 0, 0
        if not isinstance(self.brightness, tuple | list) or len(self.brightness) != 2:
            raise TypeError(
                f"brightness={self.brightness!r}, but the smallest and the largest "
                "change are wanted, such as (0.10, 0.40), or None."
            )
        low, high = self.brightness
        check_number(low, "brightness[0]", low=0, high=1, inclusive=(True, False))
        check_number(high, "brightness[1]", low=low, high=1, inclusive=(True, False))
        return low, high


def rotate(images, angle):
    """Rotate images about their centres, keeping their size.

    Parameters
    ----------
    images : torch.Tensor of shape (n_images, channels, height, width)
        float32 or float64 grey levels.
    angle : torch.Tensor of shape (n_images,)
        Angle of each image in degrees, counter-clockwise as displayed. An image
        with angle 0 comes back unchanged.

    Returns
    -------
    rotated : torch.Tensor of shape (n_images, channels, height, width)
        The images, interpolated bicubically, within their ranges of grey levels,
        with reflections of themselves in the corners that turn into view.

    Examples
    --------
    >>> import torch
    >>> from tbsclassify.augmentation import rotate
    >>> image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> rotate(image[None, None], torch.tensor([90.0])).round()
    tensor([[[[2., 4.],
              [1., 3.]]]])
    """
    height, width = images.shape[-2:]
    radians = torch.deg2rad(angle).to(images, non_blocking=True)[:, None, None]
    cos, sin = radians.cos(), radians.sin()
    # Pixels from the centre, so that images longer than wide are not sheared.
    like_images = {"dtype": images.dtype, "device": images.device}
    y = torch.arange(height, **like_images)[:, None] - (height - 1) / 2
    x = torch.arange(width, **like_images) - (width - 1) / 2
    source = (cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height)
    rotated = grid_sample(
        images,
        torch.stack(source, dim=-1),
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    )
    rotated = rotated.clamp(
        images.amin((-2, -1), keepdim=True), images.amax((-2, -1), keepdim=True)
    )
    return torch.where(_per_image(angle != 0, images), rotated, images)


def _per_image(values, images):
    # Without waiting for the device, whose queue may be long.
    return values.to(images.device, non_blocking=True)[:, None, None, None]


def _check_images(images, n_draws):
    if images.ndim != 4:
        raise ValueError(
            f"images has shape {tuple(images.shape)}, but (n, channels, height, width) "
            "is wanted. For images without channels, pass images[:, None]."
        )
    if len(images) != n_draws:
        raise ValueError(
            f"images holds {len(images)} images, but draws are for {n_draws}. Draw "
            "with draw(len(images), generator)."
        )
    if not (images.is_floating_point() or images.dtype in _INTEGER_DTYPES):
        raise TypeError(
            f"images is of {images.dtype}, but uint8, uint16 or floating-point grey "
            "levels are wanted. Convert them, for instance with images.float()."
        )


class AugmentationSampler(BaseEstimator):
    """Add augmented copies of scans to a training set, so many of each class.

    The protocol is that of imbalanced-learn: as a step of its Pipeline the
    sampler works when the Pipeline is fitted and does nothing when it predicts,
    so that scans held out by cross-validation are never augmented.

    Parameters
    ----------
    augmentation : RandomAugmentation, default=None
        How copies differ from their originals; None takes
        ``RandomAugmentation()``.
    sampling_strategy : "auto" or dict, default="auto"
        How many copies to add. ``"auto"`` brings each class to the size of the
        largest. A dict has classes for its keys; an int is the number of copies
        to add (not, as in imbalanced-learn, the number of scans at the end), a
        float the share that the class shall have at the end. Classes that are
        not named get no copies.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the choice of originals and of the augmentation.

    Attributes
    ----------
    sampling_strategy_ : dict
        Number of copies added to each class.
    sample_indices_ : ndarray of int of shape (n_scans_new,)
        Index of the original of each scan returned; what belongs to the scans
        follows as ``groups[sampler.sample_indices_]``.

    See Also
    --------
    RandomAugmentation : Augments anew in each epoch, without a larger data set.

    Notes
    -----
    Originals of a class take turns in a random order, so that the numbers of
    copies of two of them differ by one at most.

    Split by patient first and resample the training part: copies are no new
    patients. For the same reason a classifier after the sampler must not split
    off a validation set without knowing patients, or copies of one scan land on
    both sides. In a Pipeline, where groups cannot follow, use
    ``early_stopping=False``.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., Table I.

    Examples
    --------
    The training set of the paper [1]_ in small figures; its scans, 979 normal
    and 148 degraded, got 225 and 563 copies, which made 37 % of them degraded.

    >>> import numpy as np
    >>> from tbsclassify.augmentation import AugmentationSampler
    >>> X = np.random.default_rng(0).integers(256, size=(1127, 8, 8), dtype=np.uint8)
    >>> y = np.repeat([0, 1], [979, 148])
    >>> sampler = AugmentationSampler(
    ...     sampling_strategy={0: 225, 1: 563}, random_state=0
    ... )
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> X_new.shape, f"{y_new.mean():.1%}"
    ((1915, 8, 8), '37.1%')

    The same, said by the share at the end:

    >>> sampler.set_params(sampling_strategy={0: 225, 1: 0.37}, random_state=0)
    AugmentationSampler(random_state=0, sampling_strategy={0: 225, 1: 0.37})
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> sampler.sampling_strategy_
    {0: 225, 1: 559}
    """

    def __init__(
        self, augmentation=None, *, sampling_strategy="auto", random_state=None
    ):
        self.augmentation = augmentation
        self.sampling_strategy = sampling_strategy
        self.random_state = random_state

    def fit_resample(self, X, y):
        """Return the scans, followed by augmented copies of some.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), or sequence
            Scans of one size: uint8, uint16 or floating-point grey levels. Or a
            sequence of such 2-D arrays or of paths, or a table with these in a
            column ``image``.
        y : array-like of shape (n_scans,)
            Class of each scan.

        Returns
        -------
        X_new : ndarray of shape (n_scans_new, height, width) or (n_scans_new, \
channels, height, width)
            The scans in their order, then the copies, class by class.
        y_new : ndarray of shape (n_scans_new,)
            Their classes.

        Raises
        ------
        ValueError
            If `X` does not hold images, `sampling_strategy` names a class that
            is not in `y`, or a share cannot be reached by adding copies.
        """
        X = check_array(
            stack_scans(X), allow_nd=True, dtype=_NUMPY_DTYPES, input_name="X"
        )
        y = column_or_1d(y)
        check_classification_targets(y)
        check_consistent_length(X, y)
        if X.ndim not in (3, 4):
            raise ValueError(
                f"X has shape {X.shape}, but (n, height, width) or (n, channels, "
                "height, width) is wanted. Resample scans before features are taken."
            )
        classes, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        self.sampling_strategy_ = _count_copies(
            self.sampling_strategy,
            dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        )
        generator = torch.Generator().manual_seed(check_random_seed(self.random_state))
        originals = []
        for code, n_copies in enumerate(self.sampling_strategy_.values()):
            order = torch.randperm(int(counts[code]), generator=generator).numpy()
            originals.append(np.resize(np.flatnonzero(codes == code)[order], n_copies))
        rows = np.concatenate([np.arange(len(y)), *originals])
        X_new = X[rows]
        self._augment_in_place(X_new[len(y) :], generator)
        self.sample_indices_ = rows
        return X_new, y[rows]

    def _augment_in_place(self, copies, generator):
        augmentation = self.augmentation
        if augmentation is None:
            augmentation = RandomAugmentation()
        for start in range(0, len(copies), _CHUNK_SIZE):
            chunk = copies[start : start + _CHUNK_SIZE]
            images = torch.from_numpy(chunk).view(len(chunk), -1, *chunk.shape[-2:])
            draws = augmentation.draw(len(images), generator)
            chunk[:] = augmentation.apply(images, draws).numpy().reshape(chunk.shape)


def _count_copies(strategy, counts):
    """Turn `sampling_strategy` into the number of copies to add to each class."""
    if not isinstance(strategy, Mapping):
        check_option(strategy, "sampling_strategy", ("auto",))
        return {name: max(counts.values()) - n for name, n in counts.items()}
    unknown = [name for name in strategy if name not in counts]
    if unknown:
        raise ValueError(
            f"sampling_strategy names {unknown}, but the classes in y are "
            f"{list(counts)}."
        )
    copies, shares = dict.fromkeys(counts, 0), {}
    for name, value in strategy.items():
        argument = f"sampling_strategy[{name!r}]"
        if isinstance(value, numbers.Integral):
            copies[name] = check_number(value, argument, low=0, integer=True)
        else:
            shares[name] = check_number(
                value, argument, low=0, high=1, inclusive=(False, False)
            )
    if len(shares) == len(counts) or sum(shares.values()) >= 1:
        raise ValueError(
            f"sampling_strategy={strategy!r} gives shares to all classes, or shares "
            "that leave nothing for the others. Leave one class out: its share is "
            "what remains."
        )
    others = sum(n + copies[name] for name, n in counts.items() if name not in shares)
    total = others / (1 - sum(shares.values()))
    for name, share in shares.items():
        copies[name] = round(share * total) - counts[name]
        if copies[name] < 0:
            raise ValueError(
                f"sampling_strategy[{name!r}]={share} asks for {share * total:.0f} of "
                f"{total:.0f} scans, but y holds {counts[name]} of this class already "
                "and none is removed. Choose a larger share, or copies of the others."
            )
    return copies
