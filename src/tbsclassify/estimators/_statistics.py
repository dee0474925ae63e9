"""Channel statistics of a frozen or trained torchvision network at several depths."""

import copy
import os
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from tbsclassify._validation import check_option
from tbsclassify.estimators._closed_form import LinearHead
from tbsclassify.estimators._networks import (
    STATISTICS,
    Standardize,
    channel_statistics,
    check_images_fit,
)
from tbsclassify.estimators._weights import torchvision_model

# Early layers, whose maps still show texture, by the beginning of the network's name.
_LAYERS = {
    "alexnet": ("features.1", "features.4"),
    "densenet": ("features.relu0", "features.denseblock1"),
    "resnet": ("relu", "layer1"),
    "squeezenet": ("features.1", "features.3"),
    "vgg16": ("features.3", "features.8"),
}


def check_layers(backbone: str, layers: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of layers, or those that are good for a backbone."""
    if layers is None:
        for family, names in _LAYERS.items():
            if backbone.startswith(family):
                return names
        raise ValueError(
            f"Expected layers to name modules of backbone={backbone!r}, got None, "
            f"which stands for layers of {', '.join(_LAYERS)} only. Choose early ones "
            f"from torchvision.models.get_model({backbone!r}).named_modules()."
        )
    return _check_names(layers, "layers", 'such as ("features.1", "features.3")')


def check_statistics(statistics: Sequence[str]) -> tuple[str, ...]:
    """Return the names of statistics."""
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


class ChannelStatistics(nn.Module):
    """Statistics over the positions of each channel of a torchvision network.

    Parameters
    ----------
    backbone : str
        Name of a torchvision classification model. It is run as deep as the deepest
        of the layers, and what is behind them is dropped.
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

    Attributes
    ----------
    names : list of str
        Name of each output, such as ``"features.5/mean/17"``.
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
    ):
        super().__init__()
        self.standardize = Standardize(mean, std)
        model = torchvision_model(backbone, weights).eval()
        self.maps = _truncated(backbone, model, layers)
        self.maps.to(memory_format=torch.channels_last)
        self.statistics = tuple(statistics)
        check_images_fit(backbone, self.maps, *image_shape[1:])
        with torch.inference_mode():
            maps = self.maps(torch.zeros(1, 3, *image_shape[1:]))
        for layer, one in maps.items():
            if one.ndim != 4:
                raise ValueError(
                    "Expected layers whose output has shape (n, channels, height, "
                    f"width), got {layer!r} of backbone={backbone!r} with shape "
                    f"(n, {', '.join(map(str, one.shape[1:]))})."
                )
        self.names = [
            f"{layer}/{name}/{channel}"
            for layer, one in maps.items()
            for name in statistics
            for channel in range(one.shape[1])
        ]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of raw images, shape (n, len(names))."""
        maps = self.maps(self.standardize(images))
        columns = [channel_statistics(one, self.statistics) for one in maps.values()]
        return torch.cat(columns, dim=1)


def _truncated(backbone, model, layers):
    """Return a network that stops at the deepest layer and gives the maps of all."""
    known = [name for name, _ in model.named_modules() if name]
    for layer in layers:
        if layer not in known:
            raise ValueError(
                f"Expected layers to be modules of backbone={backbone!r}, such as "
                f"{', '.join(map(repr, known[1:4]))}, got {layer!r}."
            )
    for module in model.modules():
        # A layer that writes over its input would change a map that is described.
        if hasattr(module, "inplace"):
            module.inplace = False
    nodes = {layer: layer for layer in layers}
    try:
        extractor = create_feature_extractor(
            model,
            train_return_nodes=nodes,
            eval_return_nodes=nodes,
            suppress_diff_warning=True,
        )
    except ValueError as error:
        raise ValueError(
            f"Expected layers to be modules of backbone={backbone!r} that are run one "
            f"after the other, got {tuple(layers)!r}: one of them is part of a block "
            f"that torchvision runs as a whole. Name the block. ({error})"
        ) from error
    extractor.train_graph = _picklable(extractor.train_graph)
    extractor.eval_graph = _picklable(extractor.eval_graph)
    return extractor.eval()


def _picklable(graph):
    """Return a graph without a function of torch.nn that is made at run time."""
    graph = copy.deepcopy(graph)  # without a trace of the nodes that were dropped
    for node in graph.nodes:
        if node.target is functional.max_pool2d:
            names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
            options = {name: node.kwargs[name] for name in names if name in node.kwargs}
            with graph.inserting_before(node):
                new = graph.call_function(torch.max_pool2d, node.args, options)
            node.replace_all_uses_with(new)
            graph.erase_node(node)
    return graph


class TextureNetwork(nn.Module):
    """A linear head on the channel statistics of a torchvision network.

    Parameters
    ----------
    backbone, image_shape, mean, std
        As in `ChannelStatistics`.
    n_outputs : int
        Number of outputs.
    head_only : bool
        Whether the network is frozen, so that only the head learns.
    **statistics : dict
        Keywords of `ChannelStatistics`.
    """

    def __init__(
        self,
        backbone: str,
        image_shape: tuple[int, ...],
        mean: Any,
        std: Any,
        n_outputs: int,
        *,
        head_only: bool,
        **statistics: Any,
    ):
        super().__init__()
        self.backbone = ChannelStatistics(
            backbone, image_shape, mean, std, **statistics
        )
        n_features = len(self.backbone.names)
        self.head = nn.Sequential(
            Standardize(torch.zeros(n_features), torch.ones(n_features), n_axes=0),
            nn.Linear(n_features, n_outputs),
        )
        self.head_only = head_only
        if head_only:
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, which reaches the head only where it learns alone."""
        super().train(mode)
        if self.head_only:
            self.backbone.eval()
        return self

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of raw images."""
        return self.backbone(images)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return the outputs for what `features` gave."""
        # Half precision is for maps; the sums of a head would lose too much by it.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs for raw images."""
        return self.classify(self.features(images))

    def set_head(self, head: LinearHead) -> None:
        """Put a solution in closed form in place of the head's initial weights."""
        values = {
            "0.mean": head.center,
            "0.std": head.scale,
            "1.weight": head.coef.T.copy(),
            "1.bias": head.intercept,
        }
        self.head.load_state_dict(
            {name: torch.from_numpy(value) for name, value in values.items()}
        )
