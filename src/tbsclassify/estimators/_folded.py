"""Folded networks for prediction: the same outputs for less work.

Outside of training, batch normalisation is a factor and a shift for each channel, which
neighbouring layers can take over. Networks are folded anew for each prediction: that
takes milliseconds, threads share nothing, and no copy can be out of date when somebody
changes a weight.
"""

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models.densenet import _DenseBlock as TorchvisionDenseBlock
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from tbsclassify.estimators._grey import GreyStem, arranged
from tbsclassify.estimators._networks import Standardize

# Convolutions and the layers that normalise their outputs, in modules other than
# sequences.
_NORMALIZED: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    ResNet: (("conv1", "bn1"),),
}
# Outputs of a linear layer that are computed at once on a CPU. For a few scans, MKL
# takes twice as long for a large matrix as for its parts (measured with 20 scans).
_OUTPUTS_AT_ONCE = 256
# A channel with a smaller factor is constant.
_LEAST_FACTOR = 1e-20


def folded(module: nn.Module, *, single: bool = True) -> nn.Module:
    """Return a twin of a network that predicts the same with fewer passes over maps.

    It shares all unchanged tensors with the network. A layer with a hook stays as it
    is.

    Parameters
    ----------
    module : Module
        The network, in evaluation mode.
    single : bool, default=True
        Whether it computes in single precision. In half precision, nothing is moved
        across a ReLU, since it would lose digits.

    Returns
    -------
    twin : Module
        Without gradients.
    """
    if type(module) is TorchvisionDenseBlock and not _is_watched(module):
        return _DenseBlock(module, single)
    if single and _is_large(module) and not _is_watched(module):
        return _LinearInParts(module)
    twin = copy.copy(module)
    twin._modules = {
        name: None if child is None else folded(child, single=single)
        for name, child in module._modules.items()
    }
    if _is_plain_sequence(module):
        layers = _merged(_flat(twin), single)
        twin._modules = {str(i): layer for i, layer in enumerate(layers)}
    for conv, norm in _NORMALIZED.get(type(module), ()):
        if _normalizes(twin._modules[norm], twin._modules[conv]):
            twin._modules[conv] = _scaled(twin._modules[conv], twin._modules[norm])
            twin._modules[norm] = nn.Identity()
    if type(module) is ResNet:
        pair = _swapped(twin._modules["relu"], twin._modules["maxpool"])
        twin._modules["relu"], twin._modules["maxpool"] = pair
    return twin


def _is_watched(*modules):
    return any(
        one._forward_hooks or one._forward_pre_hooks
        for module in modules
        for one in module.modules()
    )


def _is_large(module):
    large = type(module) is nn.Linear and module.out_features > _OUTPUTS_AT_ONCE
    return large and module.weight.is_cpu and module.bias is not None


def _is_plain_sequence(module):
    return (
        isinstance(module, nn.Sequential)
        and type(module).forward is nn.Sequential.forward
    )


def _flat(sequence):
    """Return the layers of a sequence, including those of nested sequences."""
    layers: list[Any] = []
    for layer in sequence:
        inside = _is_plain_sequence(layer) and not (
            layer._forward_hooks or layer._forward_pre_hooks
        )
        layers += _flat(layer) if inside else [layer]
    return layers


def _merged(layers, single):
    """Return layers of a sequence, with neighbours merged."""
    merged: list[Any] = []
    for layer in layers:
        before = merged[-1] if merged else None
        if isinstance(layer, nn.Dropout) and not _is_watched(layer):
            continue
        if before is None:
            merged.append(layer)
        elif _normalizes(layer, before):
            merged[-1] = _scaled(before, layer)
        elif type(before) is Standardize and _takes_all(layer):
            merged[-1:] = _without_spread(before, layer)
        elif single and len(merged) > 1 and _activates(merged[-2], before, layer):
            merged[-2:] = _clamped(merged[-2], layer)
        else:
            merged[-1:] = _swapped(before, layer)
    # Nothing else uses the outputs of these layers, so a ReLU may overwrite them.
    makers = nn.BatchNorm2d, nn.Conv2d, nn.Linear, nn.MaxPool2d, _LinearInParts
    for i, (before, layer) in enumerate(pairwise(merged), start=1):
        owned = isinstance(before, makers) and not _is_watched(before, layer)
        if owned and type(layer) is nn.ReLU:
            merged[i] = nn.ReLU(inplace=True)
    return merged


def _swapped(first, second):
    """Return two neighbours in the cheaper order."""
    activation = type(first) is nn.ReLU and type(second) is nn.MaxPool2d
    pointwise = (
        _is_plain_conv(first)
        and first.kernel_size == first.stride == (1, 1)
        and type(second) is nn.AvgPool2d
        and not (second.padding or second.ceil_mode)
    )
    if (activation or pointwise) and not _is_watched(first, second):
        return second, first
    return first, second


def _is_plain_conv(layer):
    """Whether a layer is a convolution that pads with zeros, if at all."""
    plain = type(layer) in (nn.Conv2d, GreyStem) and layer.padding_mode == "zeros"
    return plain and not _is_watched(layer)


def _takes_all(layer):
    """Whether a layer is a plain convolution in one group."""
    return _is_plain_conv(layer) and layer.groups == 1


def _is_fixed_norm(layer):
    fixed = type(layer) is nn.BatchNorm2d and layer.running_var is not None
    return fixed and not layer.training and not _is_watched(layer)


def _normalizes(norm, conv):
    return _is_fixed_norm(norm) and _is_plain_conv(conv)


def _with_weights(conv, weight, bias):
    twin = copy.copy(conv)
    twin._parameters = {
        "weight": nn.Parameter(weight, requires_grad=False),
        "bias": None if bias is None else nn.Parameter(bias, requires_grad=False),
    }
    return twin


def _scaled(conv, norm):
    """Fold a normalisation into the convolution before it."""
    weight, bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return _with_weights(conv, weight, bias)


def _without_spread(standardize, conv):
    """Fold the division by the spread into the convolution after it.

    The mean is still subtracted from the inputs, because grey levels of 16 bits may be
    far from zero.
    """
    weight = conv.weight / standardize.std
    return _Shift(standardize.mean), _with_weights(conv, weight, conv.bias)


def _activates(norm, relu, conv):
    return (
        _is_fixed_norm(norm)
        and type(relu) is nn.ReLU
        and _takes_all(conv)
        and conv.padding == (0, 0)
        and not _is_watched(relu)
    )


def _clamped(norm, conv):
    """Replace a normalisation and a ReLU before a convolution by limits.

    For a factor s and a shift b, relu(s x + b) is s max(x, -b / s) + b where s is
    positive, with the minimum where it is negative. The convolution takes over s
    and b.
    """
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    constant = scale.abs() < _LEAST_FACTOR
    limit = torch.where(constant, 0.0, -shift / scale)
    shift = torch.where(constant, shift.clamp(min=0), shift)
    low = torch.where(scale > 0, limit, -torch.inf).where(~constant, 0.0)
    high = torch.where(scale < 0, limit, torch.inf).where(~constant, 0.0)
    bias = conv.weight.sum(dim=(2, 3)) @ shift
    if conv.bias is not None:
        bias = bias + conv.bias
    weight = conv.weight * scale[:, None, None]
    return _Limits(low, high), _with_weights(conv, weight, bias)


class _Shift(nn.Module):
    """Subtract a value from each channel of images of any dtype."""

    def __init__(self, mean):
        super().__init__()
        self.mean = mean

    def forward(self, images):
        return arranged(images.float() - self.mean)


class _LinearInParts(nn.Module):
    """A linear layer computed in parts of its outputs, with the same bits."""

    def __init__(self, layer):
        super().__init__()
        # For blocks that read them, as attention does, and never call the layer.
        self.weight, self.bias = layer.weight, layer.bias
        split = (one.split(_OUTPUTS_AT_ONCE) for one in (layer.weight, layer.bias))
        self.parts = list(zip(*split, strict=True))

    def forward(self, features):
        parts = [functional.linear(features, *part) for part in self.parts]
        return torch.cat(parts, dim=-1)


class _Limits(nn.Module):
    """Keep each channel between two values."""

    def __init__(self, low, high):
        super().__init__()
        self.low, self.high = low[:, None, None], high[:, None, None]

    def forward(self, maps):
        return torch.clamp(maps, self.low, self.high)


class _DenseBlock(nn.Module):
    """A block of DenseNet that writes all maps into one tensor.

    The one of torchvision copies all earlier maps for each of its layers.
    """

    def __init__(self, block, single):
        super().__init__()
        self.growth = [layer.conv2.out_channels for layer in block.values()]
        self.layers = nn.ModuleList(
            nn.Sequential(
                *_merged(
                    [
                        layer.norm1,
                        layer.relu1,
                        layer.conv1,
                        layer.norm2,
                        layer.relu2,
                        layer.conv2,
                    ],
                    single,
                )
            )
            for layer in block.values()
        )

    def forward(self, maps):
        n, n_channels, *sides = maps.shape
        shape = (n, *sides, n_channels + sum(self.growth))
        found = maps.new_empty(shape).permute(0, 3, 1, 2)  # channels last in memory
        found[:, :n_channels] = maps
        for layer, n_new in zip(self.layers, self.growth, strict=True):
            found[:, n_channels : n_channels + n_new] = layer(found[:, :n_channels])
            n_channels += n_new
        return found
