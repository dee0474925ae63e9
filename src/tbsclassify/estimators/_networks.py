"""The networks: small ad hoc CNNs and torchvision's with a new head."""

import difflib
import itertools
import math
import os
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
import torchvision
from torch import nn

from tbsclassify.estimators._grey import arranged, put_grey_stem
from tbsclassify.estimators._weights import torchvision_model

# Table II of the paper: filters by block, sizes of the hidden fully connected
# layers, batch size, learning rate, momentum. The output layer is not counted.
PAPER_MODELS: dict[str, dict[str, Any]] = {
    "model1": {
        "blocks": 5,
        "filters": (8, 16, 32, 64, 128),
        "fc": (1000, 100),
        "batch_size": 24,
        "lr": 0.001,
        "momentum": 0.6,
    },
    "model2": {
        "blocks": 3,
        "filters": (8, 16, 32),
        "fc": (500, 100),
        "batch_size": 24,
        "lr": 0.0001,
        "momentum": 0.7,
    },
    "model3": {
        "blocks": 3,
        "filters": (8, 16, 32),
        "fc": (100,),
        "batch_size": 24,
        "lr": 0.001,
        "momentum": 0.9,
    },
    "model4": {
        "blocks": 3,
        "filters": (8, 28, 36),
        "fc": (1000,),
        "batch_size": 48,
        "lr": 0.0001,
        "momentum": 0.9,
    },
}
# What the paper trains all its networks with.
PAPER_TRAINING: dict[str, Any] = {
    "optimizer": "sgd",
    "weight_decay": 0.0,
    "lr_schedule": None,
}
PAPER_BACKBONES = ("alexnet", "resnet18", "vgg16", "densenet121", "squeezenet1_0")

_KERNEL, _POOL = 3, 2
_N_IMAGENET_CLASSES = 1000


class Standardize(nn.Module):
    """Standardise grey levels of any dtype, or features.

    The statistics are those of the training scans or of ImageNet. With statistics of
    three channels, a grey image becomes the three channels of a colour network, in the
    batch, not in the data set.

    Parameters
    ----------
    mean, std : array-like of shape (n_channels,)
        Channels are shifted by the first and divided by the second.
    n_axes : int, default=2
        Number of axes behind the channels: 2 in images, 0 in features.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Any, std: Any, n_axes: int = 2):
        super().__init__()
        shape = (-1, *[1] * n_axes)
        for name, values in (("mean", mean), ("std", std)):
            tensor = torch.as_tensor(values, dtype=torch.float32)
            self.register_buffer(name, tensor.reshape(shape))

    def forward(
        self, images: torch.Tensor, n_channels: int | None = None
    ) -> torch.Tensor:
        """Standardise images or features, shape (n, channels, ...).

        With `n_channels`, make the first of the channels only.
        """
        mean, std = self.mean[:n_channels], self.std[:n_channels]
        return arranged((images.float() - mean).div_(std))


def _mean(maps):
    return maps.mean(dim=(2, 3))


def _std(maps):
    # Faster than var, which uses Welford's algorithm, and as accurate. For a constant
    # map, the gradient of the norm is 0, not infinite.
    centred = maps - maps.mean(dim=(2, 3), keepdim=True)
    n_positions = maps.shape[2] * maps.shape[3]
    return torch.linalg.vector_norm(centred, dim=(2, 3)) / math.sqrt(n_positions)


# Statistics of each channel over its positions.
STATISTICS = {"mean": _mean, "std": _std}


def channel_statistics(
    maps: torch.Tensor, names: Sequence[str] = tuple(STATISTICS)
) -> torch.Tensor:
    """Describe maps of shape (n, channels, height, width) by statistics.

    They are computed in single precision even if the maps are in half precision, in
    which sums would lose too many digits.
    """
    return torch.cat([STATISTICS[name](maps.float()) for name in names], dim=1)


class AdHocCNN(nn.Sequential):
    """Convolution blocks and fully connected layers, as in the paper's Figure 3.

    A block is a 3x3 convolution without padding, batch normalisation, ReLU and
    2x2 max pooling. The last two are applied in reverse order, which leaves a quarter
    of the values to rectify and changes neither outputs nor gradients. The paper
    states neither the activation between fully connected layers nor the initial
    weights: they are ReLU and PyTorch's defaults.

    Parameters
    ----------
    image_shape : tuple of three ints
        Channels, height and width.
    filters : sequence of int
        Filters of each block.
    fc : sequence of int
        Sizes of the hidden fully connected layers.
    n_outputs : int
        Number of outputs.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        filters: Sequence[int],
        fc: Sequence[int],
        n_outputs: int,
    ):
        blocks, width = conv_blocks(image_shape, filters)
        layers = [layer for block in blocks for layer in block]
        layers.append(nn.Flatten())
        for n_units in fc:
            layers += [nn.Linear(width, n_units), nn.ReLU()]
            width = n_units
        super().__init__(*layers, nn.Linear(width, n_outputs))


def conv_blocks(
    image_shape: tuple[int, ...], filters: Sequence[int]
) -> tuple[list[list[nn.Module]], int]:
    """Make the layers of each block, and count the outputs of the last one."""
    channels, *sides = image_shape
    _check_blocks_fit(sides, len(filters))
    blocks: list[list[nn.Module]] = []
    for n_filters in filters:
        kernel, pool = _kernel_and_pool(sides)
        blocks.append(
            [
                nn.Conv2d(channels, n_filters, kernel),
                nn.BatchNorm2d(n_filters),
                nn.MaxPool2d(pool),
                nn.ReLU(),
            ]
        )
        channels, sides = n_filters, _sides_after_block(sides)
    return blocks, channels * sides[0] * sides[1]


def _kernel_and_pool(sides):
    """Sizes of a block's filters and pools for a map of these sides."""
    if sides[0] > 1:
        return (_KERNEL, _KERNEL), (_POOL, _POOL)
    # A map one row high, from a row of a table, has no second dimension to filter
    # along, and may be narrower than a filter.
    kernel = min(_KERNEL, sides[1])
    return (1, kernel), (1, min(_POOL, sides[1] - kernel + 1))


def _sides_after_block(sides):
    kernel, pool = _kernel_and_pool(sides)
    return [(n - k + 1) // p for n, k, p in zip(sides, kernel, pool, strict=True)]


def _check_blocks_fit(sides, n_blocks):
    height, width = sides
    steps = []
    for block in range(1, n_blocks + 1):
        if height > 1:
            sides = _sides_after_block(sides)
            steps.append(f"{max(sides[0], 0)} x {max(sides[1], 0)} after block {block}")
        if min(sides) < 1 or (height > 1 and sides[0] == 1 and block < n_blocks):
            smallest = 1
            for _ in range(n_blocks):
                smallest = _POOL * smallest + _KERNEL - 1
            raise ValueError(
                f"X holds images of {height} x {width} pixels, which become "
                f"{', '.join(steps)}, since a block takes {_KERNEL - 1} pixels and "
                f"halves the rest. blocks={n_blocks} needs images of at least "
                f"{smallest} x {smallest} pixels: use larger images or fewer blocks."
            )


class HeadedNetwork(nn.Module):
    """A backbone that computes features of raw images, and a head on them.

    Not to be used directly. A subclass computes `features`, and outputs from features
    (`classify`). If the backbone is frozen, it gets no gradients, and its batch
    normalisation and dropout work as in prediction.
    """

    backbone: nn.Module
    head_only: bool

    def _freeze_backbone_if(self, head_only: bool) -> None:
        self.head_only = head_only
        if head_only:
            self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training mode, of the head alone if the backbone is frozen."""
        super().train(mode)
        if self.head_only:
            self.backbone.eval()
        return self

    @abstractmethod
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of raw images, the input of the head."""

    @abstractmethod
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return the outputs for the features of `features`."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the outputs for raw images."""
        return self.classify(self.features(images))


class PretrainedNetwork(HeadedNetwork):
    """A torchvision network with a new last layer.

    Parameters
    ----------
    backbone : str
        Name of a torchvision classification model.
    image_shape : tuple of three ints
        Channels, height and width of the images.
    mean, std : array-like of shape (3,)
        Grey levels are shifted by `mean` and divided by `std` at the backbone's
        input.
    n_outputs : int
        Number of outputs (logits) of the new layer.
    weights : {"imagenet", None} or path-like
        Initial weights: torchvision's, random ones, or those of a file.
    dropout : float
        Share of the new layer's inputs dropped in training.
    head_only : bool
        Whether to train the new layer alone, with the backbone frozen.
    """

    def __init__(
        self,
        backbone: str,
        image_shape: tuple[int, ...],
        mean: Any,
        std: Any,
        n_outputs: int,
        *,
        weights: str | os.PathLike | None,
        dropout: float,
        head_only: bool,
    ):
        super().__init__()
        model = torchvision_model(backbone, weights)
        check_images_fit(backbone, model, (3, *image_shape[1:]))
        self.standardize = Standardize(mean, std)
        self.backbone, self.head = _replace_head(model, n_outputs, dropout)
        self._freeze_backbone_if(head_only)
        self.takes_grey = False
        if head_only or not backbone.startswith("vgg"):
            # Faster on CPUs and GPUs, except for the gradients of VGG's large maps.
            self.backbone.to(memory_format=torch.channels_last)
            if image_shape[0] == 1:
                self.takes_grey = put_grey_stem(self.backbone, mean, std)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of raw images, of one or three channels."""
        one = self.takes_grey and images.is_cpu and images.shape[1] == 1
        return self.backbone(self.standardize(images, 1 if one else None))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits for the features of `features`."""
        if features.ndim == 4:
            # Dropout is drawn in memory order, which must be that of the backbone.
            features = features.contiguous(memory_format=torch.channels_last)
        return self.head(features)


def check_backbone(name: str) -> None:
    """Refuse a name that is not a classification model of torchvision."""
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(
            "Expected backbone to be a classification model of torchvision, such as "
            f"the paper's {', '.join(map(repr, PAPER_BACKBONES))}, got {name!r}.{hint}"
        )


def check_images_fit(name: str, model: nn.Module, image_shape: tuple[int, ...]) -> None:
    """Refuse images in which the network's feature maps would vanish."""
    channels, height, width = image_shape

    def fits(rows, columns):
        try:
            model(torch.zeros(1, channels, rows, columns))
        except (AssertionError, RuntimeError, ValueError):
            return False
        return True

    model.eval()
    with torch.inference_mode():
        if fits(height, width):
            return
        smallest = next((side for side in range(1, 400) if fits(side, side)), None)
    least = (
        "none below 400 x 400 pixels. Use larger scales"
        if smallest is None
        else f"images from {smallest} x {smallest} pixels on. Use larger crops, such "
        "as LumbarCropper(size=224)"
    )
    raise ValueError(
        f"X holds images of {height} x {width} pixels, but backbone={name!r} takes "
        f"{least}."
    )


def _replace_head(model, n_outputs, dropout):
    """Split a network into its backbone and a new last layer with dropout before it."""
    name, old = [
        (name, module)
        for name, module in model.named_modules()
        if getattr(module, "out_features", getattr(module, "out_channels", None))
        == _N_IMAGENET_CLASSES
    ][-1]
    if isinstance(old, nn.Conv2d):
        # SqueezeNet pools after its last layer. The ReLU between them is left out: with
        # few classes, all outputs are soon negative at once. Then the ReLU leaves no
        # gradient, and the network stops learning.
        return model.features, nn.Sequential(
            nn.Dropout(dropout),
            nn.Conv2d(old.in_channels, n_outputs, kernel_size=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    parent_name, _, leaf = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    siblings = list(parent.named_children())
    for (before, module), (after, _) in itertools.pairwise(siblings):
        if after == leaf and isinstance(module, nn.Dropout):
            setattr(parent, before, nn.Identity())
    setattr(parent, leaf, nn.Identity())
    return model, nn.Sequential(
        nn.Dropout(dropout), nn.Linear(old.in_features, n_outputs)
    )


def adhoc_network(
    image_shape: tuple[int, ...],
    mean: Any,
    std: Any,
    filters: Sequence[int],
    fc: Sequence[int],
    n_outputs: int,
) -> nn.Module:
    """Build an ad hoc CNN that takes raw grey levels."""
    return nn.Sequential(
        Standardize(mean, std), AdHocCNN(image_shape, filters, fc, n_outputs)
    )
