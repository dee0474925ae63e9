"""Fitted networks as plain arrays, for copies, pickles and model files."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from tbsclassify.estimators._random import RandomStream

Network = TypeVar("Network", bound=torch.nn.Module)


def weights_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return the weights and statistics of a network, as arrays that share its memory.

    A pickle of arrays alone can be read without a GPU and without the code of the
    network.
    """
    return {
        name: tensor.detach().cpu().numpy()
        for name, tensor in module.state_dict().items()
    }


def build_with(factory: partial[Network], weights: Mapping[str, np.ndarray]) -> Network:
    """Build a network with given weights.

    Parameters
    ----------
    factory : functools.partial
        Builds the network. Initial weights that it names are not loaded.
    weights : mapping of str to ndarray
        The result of `weights_of`.

    Raises
    ------
    ValueError
        If the weights are not those of this network.
    """
    if "weights" in factory.keywords:
        factory = partial(factory, weights=None)
    with RandomStream(0, "cpu").drawing():
        try:
            # On this device nothing is stored or computed; there are only shapes.
            with torch.device("meta"):
                module = factory()
        except NotImplementedError:
            # RegNet computes its widths with tensors, whose values it needs.
            module = factory()
    expected = {name: (*value.shape,) for name, value in module.state_dict().items()}
    if expected != {name: np.shape(value) for name, value in weights.items()}:
        raise ValueError(
            "Expected the weights of the network that the parameters describe, got "
            "those of another. If parameters were set after fit, set them back, or fit "
            "again: a copy is built by them."
        )
    # Copied, because speed and the last bits of results depend on the memory layout,
    # which must be that of the factory.
    module.to_empty(device="cpu")
    for name, tensor in module.state_dict().items():
        tensor.copy_(torch.from_numpy(weights[name]))
    return module
