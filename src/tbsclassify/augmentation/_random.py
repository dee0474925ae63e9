"""Random flips, rotations and changes of brightness.

What is drawn at random is kept apart from what is done with it: `draw` takes
numbers from a generator, `apply` is a function of images and these numbers.
"""

from typing import NamedTuple

import torch
from sklearn.base import BaseEstimator
from torch.nn.functional import grid_sample

from tbsclassify._validation import check_number

_INTEGER_DTYPES = (torch.uint8, torch.uint16)


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

    Each image is mirrored or not, then rotated, then darkened or brightened, each
    by its own random amounts. The default ranges are those of the paper [1]_,
    section III.B.

    Parameters
    ----------
    horizontal_flip : float, default=0.5
        Probability that left and right are exchanged. The paper does not state it.
    rotation : float, default=10
        Largest angle in degrees: angles are uniform from ``-rotation`` to
        ``rotation``.
    brightness : tuple of two floats or None, default=(0.10, 0.40)
        Smallest and largest change ``u`` of brightness, at least 0 and below 1. Grey
        levels are multiplied by ``1 - u`` or ``1 + u`` with equal probability, and
        ``u`` is uniform in this range. None does not change them.

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
    into view show the image reflected at its border: black ones would show that
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
            The only source of randomness, on the CPU. It advances by the
            same amount with any parameters, so that settings can be compared on equal
            draws.

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
        flip, angle, change, darker = torch.rand(
            4, n_images, dtype=torch.float32, generator=generator
        )
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
            The result of `draw`, or your own choice of angles and factors.

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
