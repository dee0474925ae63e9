"""The network that segments the spine, and vertebral bodies against discs."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tbsclassify.localization._prepare import SHAPE

_WIDTHS = (12, 16, 32, 64, 96)  # channels of the stem and of each depth


class SpineNetwork(nn.Module):
    """A small U-Net [1]_ on pictures of half their height and width.

    It returns logits of shape (n, 2, 64, 32): whether a pixel is part of the spine, and
    whether it is part of a vertebral body rather than of a disc.

    References
    ----------
    .. [1] Ronneberger et al., MICCAI 2015, LNCS 9351, pp. 234 ff.
    """

    def __init__(self) -> None:
        super().__init__()
        first, *deeper = _WIDTHS
        self.stem = nn.Sequential(*_convolution(1, first, 5), nn.MaxPool2d(2))
        self.down = nn.ModuleList(
            nn.Sequential(*_convolution(a, b), *_convolution(b, b))
            for a, b in zip(_WIDTHS, deeper, strict=False)
        )
        self.up = nn.ModuleList(
            nn.Sequential(*_convolution(a + b, b), *_convolution(b, b))
            for a, b in zip(deeper[:0:-1], deeper[-2::-1], strict=True)
        )
        self.head = nn.Conv2d(deeper[0], 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        seen: list[torch.Tensor] = []
        for depth, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if depth else x)
            seen.append(x)
        for block, skipped in zip(self.up, seen[-2::-1], strict=True):
            x = block(
                torch.cat([functional.interpolate(x, scale_factor=2), skipped], dim=1)
            )
        return self.head(x)


def network_of(state: dict[str, np.ndarray]) -> SpineNetwork:
    """Return a network with copies of these weights."""
    with torch.device("meta"):  # draws no weights, so the state of torch stays
        network = SpineNetwork()
    # Ravelled arrays always have the same strides. The rounding of convolutions depends
    # on them, even on those of sides of length one.
    tensors = {
        name: torch.tensor(values.ravel()).view(values.shape)
        for name, values in state.items()
    }
    network.load_state_dict(tensors, assign=True)
    return network.eval()


def state_of(network: SpineNetwork) -> dict[str, np.ndarray]:
    """Return the weights as arrays in the usual memory order.

    Training with channels last leaves another order. Files and pickles do not keep it,
    and it changes the rounding of convolutions.
    """
    state = network.state_dict().items()
    return {name: np.ascontiguousarray(values.numpy()) for name, values in state}


def standardize(pictures: torch.Tensor) -> torch.Tensor:
    """Give each picture (n, 1, height, width) mean 0 and variance 1."""
    centred = pictures - pictures.mean(dim=(1, 2, 3), keepdim=True)
    return centred / centred.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)


@torch.inference_mode()
def segment(network: SpineNetwork, pixels: np.ndarray) -> np.ndarray:
    """Return probabilities of spine and of body, shape (2, rows, columns).

    They are means over a picture and its mirror image. Pictures pass through the
    network one by one: in a batch, the last bits depend on the other pictures.
    """
    network.eval()
    x = standardize(torch.tensor(pixels).view(1, 1, *SHAPE))
    seen, mirrored = network(torch.cat([x, x.flip(3)])).sigmoid()
    return ((seen + mirrored.flip(2)) / 2).numpy()


def _convolution(n_in: int, n_out: int, side: int = 3) -> list[nn.Module]:
    return [
        nn.Conv2d(n_in, n_out, side, padding="same", bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    ]
