"""Random flips, rotations and changes of brightness, and copies made with them.

What is drawn at random is kept apart from what is done with it: `draw` takes
numbers from a generator, `apply` is a function of images and these numbers.
"""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length
from torch.nn.functional import grid_sample

from tbsclassify._boxes import box_columns, check_boxes
from tbsclassify._scans import as_pandas, mask_column, numbers_in, scans_of
from tbsclassify._scores import check_targets
from tbsclassify._validation import check_number, check_random_seed
from tbsclassify.images import iter_scans, stack_scans

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
    rotate : Rotates by given angles.

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
    levels have no known scale and are not cut off.

    *Rotation.* Images are resampled once, about their centre, by bicubic
    interpolation, each within its own range of grey levels. Corners that turn
    into view show the image reflected at its border: black ones would tell that
    it was turned. Interpolation smooths. At 5 degrees it leaves 63 % of the mean
    squared difference between neighbouring pixels of white noise, as shown below,
    and raises the initial slope of the variogram of phantoms by about 0.04;
    bilinear interpolation, at half the time, leaves 34 % and raises it by 0.13,
    as much as their standard deviation between patients.

    An image comes out the same bit for bit alone or in any batch, and unchanged
    where the draws change nothing.

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

    def __init__(
        self,
        horizontal_flip: float = 0.5,
        *,
        rotation: float = 10,
        brightness: tuple[float, float] | None = (0.10, 0.40),
    ) -> None:
        self.horizontal_flip = horizontal_flip
        self.rotation = rotation
        self.brightness = brightness

    def draw(self, n_images: int, generator: torch.Generator) -> AugmentationDraws:
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
    def apply(images: torch.Tensor, draws: AugmentationDraws) -> torch.Tensor:
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

    def _check_parameters(self) -> tuple[float, float]:
        """Check all parameters and return the limits of the change of brightness."""
        check_number(self.horizontal_flip, "horizontal_flip", low=0, high=1)
        check_number(self.rotation, "rotation", low=0, high=180)
        if self.brightness is None:
            return 0, 0
        if not isinstance(self.brightness, tuple | list) or len(self.brightness) != 2:
            raise TypeError(
                "Expected brightness to be the smallest and the largest change, such "
                f"as (0.10, 0.40), or None, got {self.brightness!r}."
            )
        low, high = self.brightness
        check_number(low, "brightness[0]", low=0, high=1, inclusive=(True, False))
        check_number(high, "brightness[1]", low=low, high=1, inclusive=(True, False))
        return low, high


def rotate(images: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
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

    See Also
    --------
    RandomAugmentation : Rotates by random angles.

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
    y = torch.arange(height, dtype=images.dtype, device=images.device)[:, None]
    x = torch.arange(width, dtype=images.dtype, device=images.device)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
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


def _per_image(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    # Without waiting for the device, whose queue may be long.
    return values.to(images.device, non_blocking=True)[:, None, None, None]


def _check_images(images: torch.Tensor, n_draws: int) -> None:
    if images.ndim != 4:
        raise ValueError(
            "Expected images to have shape (n, channels, height, width), got "
            f"{tuple(images.shape)}. For images without channels, pass images[:, None]."
        )
    if len(images) != n_draws:
        raise ValueError(
            f"Expected draws for {len(images)} images, got draws for {n_draws}. Draw "
            "with draw(len(images), generator)."
        )
    if not (images.is_floating_point() or images.dtype in _INTEGER_DTYPES):
        raise TypeError(
            "Expected images to hold uint8, uint16 or floating-point grey levels, got "
            f"{images.dtype}. Convert them, for instance with images.float()."
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
    n_copies : "auto", int or dict, default="auto"
        How many copies to add. ``"auto"`` brings each class to the size of the
        largest. An int is the number of copies of each scan. A dict has classes
        for its keys; an int in it is the number of copies to add to the class, a
        float the share of all scans that the class has at the end. Classes that
        it does not name get no copies.
    random_state : int, RandomState, Generator or None, default=None
        Seed of the choice of originals and of the augmentation.

    Attributes
    ----------
    n_copies_ : dict
        Number of copies added to each class.
    sample_indices_ : ndarray of int of shape (n_scans_new,)
        Index of the original of each scan returned; what belongs to the scans
        follows as ``groups[sampler.sample_indices_]``.

    See Also
    --------
    RandomAugmentation : Augments differently in each epoch, without more data.

    Notes
    -----
    Originals of a class take turns in a random order, so that the numbers of
    copies of two of them differ by one at most.

    *Boxes.* In a table, the boxes of a copy are mirrored and turned with its
    image, so that a cropper after the sampler crops copies as it crops originals.
    A turned box becomes the upright box around its four corners, and is cut at the
    border of the image. Where `X` is no table, crop first: boxes given to a later
    step do not follow.

    *Groups.* Copies are no new patients: split by patient first and resample the
    training part. Outside a Pipeline, groups follow as
    ``groups[sampler.sample_indices_]``. A Pipeline of imbalanced-learn resamples
    `X` and `y` only, and hands groups on as they are, which then have another
    length than the scans: a classifier after the sampler cannot split off a
    validation set by patient, and without patients copies of one scan would land
    on both sides. Give it ``early_stopping=False``; it then needs no groups and
    ignores them.

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
    >>> sampler = AugmentationSampler(n_copies={0: 225, 1: 563}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> X_new.shape, f"{y_new.mean():.1%}"
    ((1915, 8, 8), '37.1%')

    The same, said by the share at the end:

    >>> sampler.set_params(n_copies={0: 225, 1: 0.37}, random_state=0)
    AugmentationSampler(n_copies={0: 225, 1: 0.37}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(X, y)
    >>> sampler.n_copies_
    {0: 225, 1: 559}

    A table comes back as a table, with boxes that fit the copies:

    >>> from tbsclassify import LumbarCropper, TBSLabeler, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(6, random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> sampler = AugmentationSampler(n_copies={0: 4}, random_state=0)
    >>> X_new, y_new = sampler.fit_resample(scans.frame, y)
    >>> LumbarCropper().transform(X_new).shape
    (10, 224, 224)
    """

    def __init__(
        self,
        augmentation: RandomAugmentation | None = None,
        *,
        n_copies: Mapping[Any, float] | int | Literal["auto"] = "auto",
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
    ) -> None:
        self.augmentation = augmentation
        self.n_copies = n_copies
        self.random_state = random_state

    def fit_resample(self, X: Any, y: ArrayLike) -> tuple[Any, np.ndarray]:
        """Return the scans, followed by augmented copies of some.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), sequence or DataFrame
            Scans: uint8, uint16 or floating-point grey levels. Or a sequence of
            such 2-D arrays or of paths. Or a table with these in a column
            ``image`` and boxes as in `LumbarCropper.transform`.
        y : array-like of shape (n_scans,)
            Class of each scan.

        Returns
        -------
        X_new : ndarray of shape (n_scans_new, height, width) or (n_scans_new, \
channels, height, width), or DataFrame
            The scans in their order, then the copies, class by class. A 1-D array
            of arrays where sizes differ. Of a table, a pandas table with the same
            columns: arrays in ``image``, boxes that fit them, and all else
            repeated from the original.
        y_new : ndarray of shape (n_scans_new,)
            Their classes.

        Raises
        ------
        ValueError
            If `X` does not hold images of one depth, or holds label maps, which
            would not fit the copies; if `n_copies` names a class that is not in
            `y`, or a share cannot be reached by adding copies.
        """
        images = _collect_images(X)
        labels = check_targets(y)
        check_consistent_length(images, labels)
        classes, codes, counts = np.unique(
            labels, return_inverse=True, return_counts=True
        )
        self.n_copies_ = _count_copies(
            self.n_copies,
            dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        )
        generator = torch.Generator().manual_seed(check_random_seed(self.random_state))
        originals = []
        for code, n_copies in enumerate(self.n_copies_.values()):
            order = torch.randperm(int(counts[code]), generator=generator).numpy()
            originals.append(np.resize(np.flatnonzero(codes == code)[order], n_copies))
        rows = np.concatenate([np.arange(len(labels)), *originals])
        images = images[rows]
        draws = self._augment_in_place(images[len(labels) :], generator)
        self.sample_indices_ = rows
        if "image" in getattr(X, "columns", ()):
            return _resample_table(X, rows, images, draws), labels[rows]
        return images, labels[rows]

    def _augment_in_place(
        self, copies: np.ndarray, generator: torch.Generator
    ) -> AugmentationDraws:
        """Augment an array of images, or put augmented ones into a 1-D array."""
        augmentation = self.augmentation
        if augmentation is None:
            augmentation = RandomAugmentation()
        if not hasattr(augmentation, "draw"):
            raise TypeError(
                "Expected augmentation to be a RandomAugmentation or None, got "
                f"{augmentation!r}."
            )
        all_draws = [augmentation.draw(0, generator)]
        for start in range(0, len(copies), _CHUNK_SIZE):
            chunk = copies[start : start + _CHUNK_SIZE]
            draws = augmentation.draw(len(chunk), generator)
            all_draws.append(draws)
            if chunk.dtype != object:
                chunk[:] = _apply(augmentation, chunk, draws)
                continue
            for i, image in enumerate(chunk):
                alone = AugmentationDraws(*(drawn[i : i + 1] for drawn in draws))
                chunk[i] = _apply(augmentation, image[np.newaxis], alone)[0]
        return AugmentationDraws(
            *(torch.cat(drawn) for drawn in zip(*all_draws, strict=True))
        )


def _apply(
    augmentation: RandomAugmentation, images: np.ndarray, draws: AugmentationDraws
) -> np.ndarray:
    """Augment images of shape (n, h, w) or (n, c, h, w)."""
    batch = torch.from_numpy(images).view(len(images), -1, *images.shape[-2:])
    return augmentation.apply(batch, draws).numpy().reshape(images.shape)


def _collect_images(X: Any) -> np.ndarray:
    """Return images as one array, or as a 1-D array of arrays of unequal sizes."""
    scans = scans_of(X)
    if isinstance(scans, list):
        images = [
            scan if scan.dtype in _NUMPY_DTYPES else scan.astype(_NUMPY_DTYPES[0])
            for scan in iter_scans(scans, channels=True)
        ]
        if len({image.shape for image in images}) == 1:
            return np.stack(images)
        collected = np.empty(len(images), dtype=object)
        collected[:] = images
        return collected
    images = check_array(
        stack_scans(scans), allow_nd=True, dtype=_NUMPY_DTYPES, input_name="X"
    )
    if images.ndim not in (3, 4):
        raise ValueError(
            "Expected X to have shape (n, height, width) or (n, channels, height, "
            f"width), got {images.shape}. Resample scans before features are taken."
        )
    return images


def _resample_table(
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
            boxes[-n_copies:] = _move_boxes(boxes[-n_copies:], shapes, draws)
        resampled[names] = boxes
    return resampled


def _move_boxes(
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


def _count_copies(
    n_copies: Mapping[Any, float] | int | str, counts: dict[Any, int]
) -> dict[Any, int]:
    """Turn `n_copies` into the number of copies to add to each class."""
    if isinstance(n_copies, str) and n_copies == "auto":
        return {name: max(counts.values()) - n for name, n in counts.items()}
    if isinstance(n_copies, numbers.Integral):
        check_number(n_copies, "n_copies", low=0, integer=True)
        return {name: int(n_copies) * n for name, n in counts.items()}
    if not isinstance(n_copies, Mapping):
        kind = ValueError if isinstance(n_copies, str) else TypeError
        raise kind(
            'Expected n_copies to be "auto", a number of copies of each scan or a dict '
            f"with the copies to add to each class, got {n_copies!r}."
        )
    unknown = [name for name in n_copies if name not in counts]
    if unknown:
        raise ValueError(
            f"Expected n_copies to name classes in y, {list(counts)}, got {unknown}."
        )
    copies, shares = _copies_and_shares(n_copies, counts)
    if len(shares) == len(counts) or sum(shares.values()) >= 1:
        raise ValueError(
            "Expected n_copies to leave a share to one class at least, got "
            f"{n_copies!r}. Leave one class out: its share is what remains."
        )
    others = sum(n + copies[name] for name, n in counts.items() if name not in shares)
    total = others / (1 - sum(shares.values()))
    for name, share in shares.items():
        copies[name] = round(share * total) - counts[name]
        if copies[name] < 0:
            raise ValueError(
                f"Expected n_copies[{name!r}] to be a share above that of the class, "
                f"got {share}: it asks for {share * total:.0f} of {total:.0f} scans, "
                f"but y holds {counts[name]} already and none is removed. Choose a "
                "larger share, or copies of the others."
            )
    return copies


def _copies_and_shares(
    n_copies: Mapping[Any, float], counts: dict[Any, int]
) -> tuple[dict[Any, int], dict[Any, float]]:
    """Sort entries into copies to add, 0 for classes not named, and shares."""
    copies, shares = dict.fromkeys(counts, 0), {}
    for name, value in n_copies.items():
        argument = f"n_copies[{name!r}]"
        if isinstance(value, numbers.Integral):
            copies[name] = check_number(value, argument, low=0, integer=True)
            continue
        if isinstance(value, numbers.Real) and value >= 1:
            raise ValueError(
                f"Expected {argument} to be an integer, the copies to add, or a "
                f"share below 1 of the class at the end, got {value!r}."
            )
        shares[name] = check_number(
            value, argument, low=0, high=1, inclusive=(False, False)
        )
    return copies, shares
