"""Fitted networks as plain arrays: what copies, pickles and model files hold."""

from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import numpy as np
import torch

Network = TypeVar("Network", bound=torch.nn.Module)


def weights_of(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return the weights and statistics of a network, which share its memory.

    A copy or a pickle of them is one of arrays alone: it needs no GPU to be read,
    and no code of the network's to be run.
    """
    return {
        name: tensor.detach().cpu().numpy()
        for name, tensor in module.state_dict().items()
    }


def build_with(factory: partial[Network], weights: Mapping[str, np.ndarray]) -> Network:
    """Build a network around the weights that it had.

    Parameters
    ----------
    factory : functools.partial
        Builds the network. Initial weights that it names are not looked for.
    weights : mapping of str to ndarray
        What `weights_of` returned.

    Raises
    ------
    ValueError
        If these are not the weights of that network.
    """
    if "weights" in factory.keywords:
        factory = partial(factory, weights=None)
    # On this device nothing is stored, computed or drawn: only shapes are there.
    with torch.device("meta"):
        module = factory()
    expected = {name: (*value.shape,) for name, value in module.state_dict().items()}
    if expected != {name: np.shape(value) for name, value in weights.items()}:
        raise ValueError(
            "Expected the weights of the network that the parameters describe, got "
            "those of another. If parameters were set after fit, set them back, or fit "
            "again: a copy is built by them."
        )
    # Copied, not taken: the order in memory is that of the factory's, which speed and
    # the last bits of results depend on.
    module.to_empty(device="cpu")
    module.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return module


def same_or_cpu(device: str) -> str:
    """Return a device where there is such a one here, else the CPU."""
    where = torch.device(device)
    if where.type == "cuda" and (where.index or 0) < torch.cuda.device_count():
        return device
    return "cpu"
