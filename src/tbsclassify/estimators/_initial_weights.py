"""Check the initial weights of several networks before any of them is trained."""

from collections.abc import Iterable
from typing import Any

import torch
import torchvision

from tbsclassify.estimators._weights import (
    cached_file,
    check_weights,
    fitting_state,
    imagenet_weights,
    weights_file,
)


def check_all_weights(networks: Iterable[tuple[str, str, Any]]) -> None:
    """Check the initial weights of several networks, once, before any is made.

    ImageNet weights that are not in torchvision's cache are downloaded.

    Parameters
    ----------
    networks : iterable of (str, str, object)
        Name of the model that has it, backbone and weights of each network.

    Raises
    ------
    ValueError
        If some cannot be used. The message has the reason for each.
    """
    known = torchvision.models.list_models()  # of others, a fit says that
    of_files: dict[tuple[str, str], str] = {}
    cache = _Cache()
    models_of: dict[str, list[str]] = {}  # by the reason
    for model, backbone, weights in networks:
        if backbone not in known or weights is None:
            continue
        if weights == "imagenet":
            reason = cache.fault(backbone)
        else:
            key = (backbone, repr(weights))
            if key not in of_files:
                of_files[key] = _fault_of_file(backbone, weights)
            reason = of_files[key]
        if reason:
            models_of.setdefault(reason, []).append(model)
    if not models_of:
        return
    number = sum(map(len, models_of.values()))
    lines = [
        f"Expected models to have weights to start from, got {number} that cannot use "
        "theirs:",
        *(f"  {', '.join(models)}: {reason}" for reason, models in models_of.items()),
    ]
    if cache.missing:
        lines.append(f"  These files are missing: {', '.join(cache.missing)}.")
    lines.append(
        "Leave these models out, name a file or a folder by all_models(weights=PATH), "
        "or start from random weights with weights=None."
    )
    raise ValueError("\n".join(lines))


class _Cache:
    """ImageNet weights in torchvision's cache, downloaded where they are not there."""

    def __init__(self) -> None:
        self.missing: dict[str, None] = {}
        self._offline = ""  # without a connection, a second attempt would wait as long

    def fault(self, backbone: str) -> str:
        """Return why a network has no weights, or an empty text."""
        file = cached_file(backbone)
        if file.is_file():
            return ""
        try:
            if not self._offline:
                imagenet_weights(backbone).get_state_dict(
                    progress=False, check_hash=True
                )
        except OSError as error:
            self._offline = (
                f"ImageNet weights are not in {file.parent}, torchvision's cache, and "
                f"cannot be downloaded ({error})"
            )
        except RuntimeError as error:  # other bytes than expected
            return f"the download of its ImageNet weights failed ({error})"
        if self._offline:
            self.missing[file.name] = None
        return self._offline


def _fault_of_file(backbone, weights):
    """Return why a network cannot start from a file, or an empty text."""
    try:
        check_weights(weights)
        with torch.device("meta"):  # no memory and no random numbers
            network = torchvision.models.get_model(backbone, weights=None)
        fitting_state(network, weights_file(backbone, weights))
    except (OSError, ValueError) as error:
        return str(error)
    return ""
