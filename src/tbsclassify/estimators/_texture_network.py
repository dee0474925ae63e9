"""Networks with a linear head on the compressed channel statistics of their maps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tbsclassify.estimators._closed_form import LinearHead
from tbsclassify.estimators._networks import (
    STATISTICS,
    HeadedNetwork,
    Standardize,
    channel_statistics,
    conv_blocks,
)
from tbsclassify.estimators._statistics import ChannelStatistics

# Statistics are compressed by asinh, a logarithm that keeps the sign and is linear
# below this value.
_LINEAR_UP_TO = 0.1


class BlockStatistics(nn.Module):
    """Statistics over the positions of each channel of each block of an ad hoc CNN.

    Parameters
    ----------
    image_shape : tuple of three ints
        Channels, height and width of the images.
    mean, std : array-like of shape (n_channels,)
        Grey levels are shifted by `mean` and divided by `std` at the network's input.
    filters : sequence of int
        Filters of each block.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        mean: Any,
        std: Any,
        filters: Sequence[int],
    ):
        super().__init__()
        self.standardize = Standardize(mean, std)
        blocks, _ = conv_blocks(image_shape, filters)
        # Maps are described before pooling, so the last block needs no pool.
        self.blocks = nn.ModuleList(
            nn.Sequential(*layers, relu) for *layers, _, relu in blocks
        )
        self.pools = nn.ModuleList(pool for *_, pool, _ in blocks[:-1])
        self.n_features = len(STATISTICS) * sum(filters)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of raw images, shape (n, n_features)."""
        maps = self.standardize(images)
        columns = []
        for i, block in enumerate(self.blocks):
            maps = block(self.pools[i - 1](maps) if i else maps)
            columns.append(channel_statistics(maps))
        return torch.cat(columns, dim=1)


class TextureNetwork(HeadedNetwork):
    """A linear head on the compressed channel statistics of a network.

    Parameters
    ----------
    backbone : ChannelStatistics or BlockStatistics
        Computes the statistics of raw images.
    n_outputs : int
        Number of outputs.
    head_only : bool, default=False
        Whether to train the head alone, with the backbone frozen.
    """

    def __init__(
        self,
        backbone: ChannelStatistics | BlockStatistics,
        n_outputs: int,
        *,
        head_only: bool = False,
    ):
        super().__init__()
        self.backbone = backbone
        n_features = backbone.n_features
        self.head = nn.Sequential(
            Standardize(torch.zeros(n_features), torch.ones(n_features), n_axes=0),
            nn.Linear(n_features, n_outputs),
        )
        self._freeze_backbone_if(head_only)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the statistics of raw images, compressed."""
        return torch.asinh(self.backbone(images) / _LINEAR_UP_TO)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Return the outputs for the features of `features`."""
        # Half precision is for maps. The sums of a head would lose too many digits.
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())

    def set_head(self, head: LinearHead) -> None:
        """Replace the initial weights of the head by a solution in closed form."""
        values = {
            "0.mean": head.center,
            "0.std": head.scale,
            "1.weight": head.coef.T.copy(),
            "1.bias": head.intercept,
        }
        self.head.load_state_dict(
            {name: torch.from_numpy(value) for name, value in values.items()}
        )


def pretrained_texture_network(
    backbone: str,
    image_shape: tuple[int, ...],
    mean: Any,
    std: Any,
    n_outputs: int,
    *,
    head_only: bool,
    **statistics: Any,
) -> TextureNetwork:
    """Build a network of torchvision with a head on the statistics of its maps.

    Keywords are those of `ChannelStatistics`.
    """
    describe = ChannelStatistics(backbone, image_shape, mean, std, **statistics)
    return TextureNetwork(describe, n_outputs, head_only=head_only)


def adhoc_texture_network(
    image_shape: tuple[int, ...],
    mean: Any,
    std: Any,
    filters: Sequence[int],
    n_outputs: int,
) -> TextureNetwork:
    """Build an ad hoc CNN with a head on the statistics of all its maps."""
    return TextureNetwork(BlockStatistics(image_shape, mean, std, filters), n_outputs)
