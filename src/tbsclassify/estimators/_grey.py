"""The first convolution of a colour network, for grey images: one channel, not three.

Three channels that are all multiples and shifts of one are one channel under summed
weights, with another bias. What is trained and saved stays the layer of three channels:
weights are summed in each step, so that its gradients are the same.
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
        The convolution that it replaces, whose parameters it takes over.
    mean, std : array-like of shape (3,)
        What grey levels are shifted by and divided by to become the channels.

    Attributes
    ----------
    scale, shift : tuple of three floats
        Channel c of a grey image is ``scale[c]`` times the first, plus ``shift[c]``.
    """

    def __init__(self, conv: nn.Conv2d, mean: Any, std: Any):
        with torch.device("meta"):  # where initial weights cost and draw nothing
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
        # In the precision of `Standardize`, but as numbers, which no device holds.
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
    """A network has come to its first convolution."""


def put_grey_stem(model: nn.Module, mean: Any, std: Any) -> bool:
    """Replace the first convolution of a network by a `GreyStem`, where that is exact.

    Parameters
    ----------
    model : Module
        A network of images of three channels.
    mean, std : array-like of shape (3,)
        As in `GreyStem`.

    Returns
    -------
    replaced : bool
        Whether the network now takes grey images of one channel. Not so if it does
        anything else to its input before the first convolution, or if channels differ
        by shifts and that convolution pads: zeros around an image are no shift of the
        first channel's, and a map to correct for that takes as long as is saved.
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
        stem = None  # of another size, or in another shape
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
    """Tell whether a convolution takes three channels together, and pads by zeros."""
    return (
        conv.in_channels == 3
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


def arranged(images: torch.Tensor) -> torch.Tensor:
    """Lay images of one channel out as `channels_last` does, where that is faster.

    Others, those on a GPU, and features stay as they are.
    """
    is_grey = images.ndim == 4 and images.shape[1] == 1
    return channels_last(images) if is_grey and images.is_cpu else images


def channels_last(images: torch.Tensor) -> torch.Tensor:
    """Mark images of one channel, or filters, as laid out channel by channel last.

    With one channel it is the same layout but for its strides, by which PyTorch
    chooses. Gradients of such filters then take a third of the time on a CPU.
    """
    return images[:, 0, ..., None].movedim(3, 1)
