"""The first convolution of a colour network, for grey images: one channel, not three.

Three channels that are multiples and shifts of one can be one channel with summed
weights and another bias. The trained and saved layer still has three channels: weights
are summed in each step, so the gradients are the same.
"""

from typing import Any

import numpy as np
import torch
from torch import nn


class GreyStem(nn.Conv2d):
    """A convolution over three channels that also takes the first of them alone.

    Parameters
    ----------
    conv : Conv2d
        The convolution that it replaces. The parameters are shared.
    mean, std : array-like of shape (3,)
        Shift and divisor that turn grey levels into the channels.

    Attributes
    ----------
    scale, shift : tuple of three floats
        Channel c of a grey image is ``scale[c]`` times the first, plus ``shift[c]``.
    """

    def __init__(self, conv: nn.Conv2d, mean: Any, std: Any):
        with torch.device("meta"):  # no memory and no random numbers
            super().__init__(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]
                conv.stride,  # type: ignore[arg-type]
                conv.padding,  # type: ignore[arg-type]
                conv.dilation,  # type: ignore[arg-type]
                bias=conv.bias is not None,
            )
        self.weight, self.bias = conv.weight, conv.bias
        # In the precision of `Standardize`, but as numbers, which need no device.
        mean, std = (np.asarray(x, np.float32).astype(float) for x in (mean, std))
        self.scale = tuple((std[0] / std).tolist())
        self.shift = tuple(((mean[0] - mean) / std).tolist())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Filter images of shape (n, 3, height, width), or with one channel."""
        if images.shape[1] == self.in_channels:
            return super().forward(images)
        channels = list(zip(self.scale, self.shift, self.weight.unbind(1), strict=True))
        weight = channels_last(sum(a * one for a, _, one in channels)[:, None])
        bias = self.bias
        if any(self.shift):
            shifted = sum(b * one for _, b, one in channels).sum(dim=(1, 2))
            bias = shifted if bias is None else bias + shifted
        return self._conv_forward(images, weight, bias)


class _FirstConvolutionError(Exception):
    """The first convolution of a network has been reached."""


def put_grey_stem(model: nn.Module, mean: Any, std: Any) -> bool:
    """Replace the first convolution of a network by a `GreyStem`, if that is exact.

    Parameters
    ----------
    model : Module
        A network for images of three channels.
    mean, std : array-like of shape (3,)
        As in `GreyStem`.

    Returns
    -------
    replaced : bool
        Whether the network now takes grey images of one channel. It does not if it
        changes its input before the first convolution, or if channels differ by shifts
        and that convolution pads: the zeros around an image are not shifted, and to
        correct for that would take as long as is saved.
    """
    images = torch.zeros(1, 3, 1, 1)

    def note(module, args):
        raise _FirstConvolutionError(module if args and args[0] is images else None)

    handles = [
        module.register_forward_pre_hook(note)
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        model(images)
        stem = None
    except _FirstConvolutionError as found:
        stem = found.args[0]
    except (AssertionError, RuntimeError, ValueError):
        stem = None  # it wants another size or shape
    finally:
        for handle in handles:
            handle.remove()
    if type(stem) is not nn.Conv2d or not _is_plain(stem):
        return False
    grey = GreyStem(stem, mean, std)
    if any(grey.shift) and any(stem.padding):
        return False
    name = next(name for name, module in model.named_modules() if module is stem)
    model.set_submodule(name, grey)
    return True


def _is_plain(conv):
    """Whether a convolution takes three channels together, and pads with zeros."""
    return (
        conv.in_channels == 3
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def arranged(images: torch.Tensor) -> torch.Tensor:
    """Lay out images of one channel by `channels_last`, where that is faster.

    Other images, images on a GPU and features stay as they are.
    """
    is_grey = images.ndim == 4 and images.shape[1] == 1
    return channels_last(images) if is_grey and images.is_cpu else images


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Return images or filters of one channel with the strides of channels last.

    The memory is the same, but PyTorch chooses its kernels by the strides. Gradients of
    such filters then take a third of the time on a CPU.
    """
    return images[:, 0, ..., None].movedim(3, 1)
