"""Channel statistics of a network's maps at several depths."""

import os
import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tbsclassify._validation import check_number, check_option
from tbsclassify.estimators._networks import (
    STATISTICS,
    Standardize,
    channel_statistics,
    check_images_fit,
)
from tbsclassify.estimators._weights import torchvision_model

# Early layers, whose maps still show texture, by the first letters of the network.
_LAYERS = {
    "alexnet": ("features.1", "features.3"),
    "densenet": ("features.relu0", "features.denseblock1"),
    "resnet": ("relu", "layer1.0"),
    "squeezenet": ("features.1", "features.3"),
    "vgg16": ("features.3", "features.8"),
}


def check_layers(
    backbone: str, layers: Sequence[str] | None, weights: Any
) -> tuple[str, ...]:
    """Return the names of layers; None stands for good ones of a backbone.

    With random weights, that is the first layer alone.
    """
    if layers is None:
        for family, names in _LAYERS.items():
            if backbone.startswith(family):
                return names[:1] if weights is None else names
        raise ValueError(
            f"Expected layers to name modules of backbone={backbone!r}, got None, "
            f"which stands for layers of {', '.join(_LAYERS)} only. Choose early ones "
            f"from torchvision.models.get_model({backbone!r}).named_modules()."
        )
    return _check_names(layers, "layers", 'such as ("features.1", "features.3")')


def check_statistics(statistics: Sequence[str]) -> tuple[str, ...]:
    """Return the names of statistics, checked."""
    names = _check_names(statistics, "statistics", 'such as ("mean", "std")')
    for i, name in enumerate(names):
        check_option(name, f"statistics[{i}]", STATISTICS)
    return names


def _check_names(names: Any, parameter: str, example: str) -> tuple[str, ...]:
    sequence = isinstance(names, list | tuple) and len(names) > 0
    if not sequence or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"Expected {parameter} to be a list of names {example}, got {names!r}."
        )
    if len(set(names)) < len(names):
        raise ValueError(f"Expected each name in {parameter} once, got {names!r}.")
    return tuple(names)


def check_scales(scales: Sequence[float]) -> tuple[float, ...]:
    """Return the scales of scans, checked."""
    if not isinstance(scales, list | tuple) or not scales:
        raise TypeError(
            f"Expected scales to be a list of numbers such as (1.0, 0.5), got "
            f"{scales!r}."
        )
    for i, scale in enumerate(scales):
        check_number(scale, f"scales[{i}]", low=0, inclusive=(False, True))
    if len(set(scales)) < len(scales):
        raise ValueError(f"Expected each number in scales once, got {scales!r}.")
    return tuple(scales)


class ChannelStatistics(nn.Module):
    """Statistics over the positions of each channel of a torchvision network.

    Parameters
    ----------
    backbone : str
        Name of a torchvision classification model. It is run up to the deepest of
        the layers, and later layers are dropped.
    image_shape : tuple of three ints
        Channels, height and width of the images.
    mean, std : array-like of shape (3,)
        Grey levels are shifted by `mean` and divided by `std` at the network's input.
    weights : {"imagenet", None} or path-like
        Weights of the network: torchvision's, random ones, or those of a file.
    layers : sequence of str
        Modules whose outputs are described.
    statistics : sequence of str
        Names in `STATISTICS`.
    scales : sequence of float
        Factors by which the images are resized before they are described.
    mirror : bool
        Whether to average the statistics of the image and its mirror image.

    Attributes
    ----------
    names : list of str
        Name of each output, such as ``"features.5/mean/17"``, and at half the size
        ``"features.5@0.5/mean/17"``.
    """

    def __init__(
        self,
        backbone: str,
        image_shape: tuple[int, ...],
        mean: Any,
        std: Any,
        *,
        weights: str | os.PathLike | None,
        layers: Sequence[str],
        statistics: Sequence[str],
        scales: Sequence[float],
        mirror: bool,
    ):
        super().__init__()
        model = torchvision_model(backbone, weights).eval()
        if image_shape[0] == 1:
            mean, std = _take_grey(model, np.asarray(mean), np.asarray(std))
        self.standardize = Standardize(mean, std)
        _note_layers(backbone, model, layers)
        self.maps = model.to(memory_format=torch.channels_last)
        self.layers = tuple(layers)
        self.statistics = tuple(statistics)
        self.scales = tuple(scales)
        self.mirror = mirror
        try:
            check_images_fit(backbone, self, image_shape)
        except _NoMapsError as error:
            raise ValueError(
                "Expected layers whose output is maps, of shape (n, channels, height, "
                f"width), got {error}, of backbone={backbone!r}."
            ) from error
        with torch.inference_mode(), _only_what_is_run(model):
            images = self.standardize(torch.zeros(1, *image_shape))
            maps = _run(model, images, layers)
        self.names = _feature_names(maps, statistics, scales)
        self.n_features = len(self.names)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of raw images, shape (n, len(names))."""
        standard = self.standardize(images)
        return torch.cat(
            [self._describe(_resized(standard, scale)) for scale in self.scales], dim=1
        )

    def _describe(self, images):
        views = [images, images.flip(3)] if self.mirror else [images]
        rows = [
            torch.cat(
                [channel_statistics(one, self.statistics) for one in maps.values()],
                dim=1,
            )
            for maps in (_run(self.maps, view, self.layers) for view in views)
        ]
        return sum(rows) / len(rows)


def _feature_names(maps, statistics, scales):
    return [
        f"{layer}{'' if scale == 1 else f'@{scale:g}'}/{name}/{channel}"
        for scale in scales
        for layer, one in maps.items()
        for name in statistics
        for channel in range(one.shape[1])
    ]


def _resized(images, scale):
    if scale == 1:
        return images
    size = [max(1, round(scale * side)) for side in images.shape[2:]]
    return functional.interpolate(
        images, size, mode="bilinear", align_corners=False, antialias=True
    )


def _take_grey(model, mean, std):
    """Let the first layer take grey images, if the outputs stay the same.

    Three channels that are shifts and multiples of one can be one channel with summed
    weights, a third of the arithmetic in the costliest layer. The zeros of padding are
    not shifted, so the layer must not pad.

    Returns
    -------
    mean, std : ndarray
        The new shift and divisor of grey levels.
    """
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    rearranges = getattr(model, "transform_input", False)
    if stem.in_channels != 3 or any(stem.padding) or rearranges:
        return mean, std
    weight = stem.weight.detach().double()
    factor, shift = (
        weight.new_tensor(x) for x in (std[0] / std, (mean[0] - mean) / std)
    )
    bias = weight.sum(dim=(2, 3)) @ shift
    if stem.bias is not None:
        bias += stem.bias.detach()
    weight = (weight * factor[:, None, None]).sum(dim=1, keepdim=True)
    stem.weight, stem.bias = nn.Parameter(weight.float()), nn.Parameter(bias.float())
    stem.in_channels = 1
    return mean[:1], std[:1]


class _AllNotedError(Exception):
    """All layers to be described have been run."""


class _NoMapsError(Exception):
    """The output of a layer is not maps."""


class _Note:
    """Keep the first output of a layer, for the thread that runs it."""

    found = threading.local()

    def __init__(self, layer: str, n_layers: int):
        self.layer = layer
        self.n_layers = n_layers

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        maps = getattr(self.found, "maps", None)
        if maps is None:  # the network is not run by `_run`
            return
        maps.setdefault(self.layer, output)
        if len(maps) == self.n_layers:
            raise _AllNotedError


def _note_layers(backbone, model, layers):
    """Make a network keep the outputs of layers.

    torch.fx, which does this as well, patches modules of the whole process for a
    moment, which breaks other threads.
    """
    modules = dict(model.named_modules())
    for layer in layers:
        if not layer or layer not in modules:
            known = list(modules)[2:5]
            raise ValueError(
                f"Expected layers to be modules of backbone={backbone!r}, such as "
                f"{', '.join(map(repr, known))}, got {layer!r}."
            )
        modules[layer].register_forward_hook(_Note(layer, len(layers)))
    for module in modules.values():
        # A layer that overwrites its input would change a map to be described.
        if hasattr(module, "inplace"):
            module.inplace = False


def _run(model, images, layers):
    """Return the outputs of layers, in this order; later layers are not run."""
    maps: dict[str, torch.Tensor] = {}
    _Note.found.maps = maps
    try:
        with suppress(_AllNotedError):
            model(images)
    finally:
        del _Note.found.maps
    for layer in layers:
        if layer not in maps:
            raise _NoMapsError(f"{layer!r}, which is not run")
        if getattr(maps[layer], "ndim", None) != 4:
            raise _NoMapsError(f"{layer!r}, whose output is none")
    return {layer: maps[layer] for layer in layers}


@contextmanager
def _only_what_is_run(model):
    """Drop the modules of a network that are not run inside the block."""
    run = set()
    handles = [
        module.register_forward_pre_hook(lambda module, args: run.add(module))
        for module in model.modules()
    ]
    yield
    for handle in handles:
        handle.remove()
    for module in run:
        for name, child in module.named_children():
            if child not in run:
                setattr(module, name, nn.Identity())
