"""Networks of torchvision with the weights that a user names."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from tbsclassify._files import as_path
from tbsclassify._warn import warn

# Networks with auxiliary classifiers. They warn unless they are told how to draw their
# initial weights.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
# Files of DenseNet from before 2018 have a dot in some names.
_OLD_DENSENET = re.compile(r"\.(norm|conv)\.([12])\.")


def check_weights(weights: Any) -> None:
    """Refuse a value that is neither the name of weights nor a file or folder."""
    is_there = isinstance(weights, str | os.PathLike) and (
        weights == "imagenet" or as_path(weights).exists()
    )
    if weights is not None and not is_there:
        raise ValueError(
            'Expected weights to be "imagenet", None or the path of a .safetensors '
            "file, of a state dict that torch.save wrote, or of a folder that has such "
            f"files under torchvision's names, got {weights!r}, which is no file."
        )


def weights_file(name: str, weights: str | os.PathLike) -> Path:
    """Return the file of weights of a network, also where a folder has it.

    Raises
    ------
    FileNotFoundError
        If a folder does not have it under the name of the network or of torchvision.
    """
    path = as_path(weights)
    if not path.is_dir():
        return path
    entry = imagenet_weights(name)
    theirs = Path(_file_name(entry)).stem
    names = [
        f"{stem}{suffix}"
        for stem in (theirs, name)
        for suffix in (".pth", ".safetensors")
    ]
    found = [path / one for one in names if (path / one).is_file()]
    if not found:
        raise FileNotFoundError(
            f"Expected the folder weights={os.fspath(weights)!r} to have the weights "
            f"of {name}, one of {', '.join(names)}, got none. Put it there (the first "
            f"is at {entry.url})."
        )
    return found[0]


def torchvision_model(name: str, weights: str | os.PathLike | None) -> torch.nn.Module:
    """Build a network of torchvision, with its head of 1000 classes.

    Parameters
    ----------
    name : str
        Torchvision's name of the network.
    weights : {"imagenet", None} or path-like
        Torchvision's default ImageNet weights, random ones, or a file for
        `load_weights`.

    Returns
    -------
    model : torch.nn.Module
        The network, without auxiliary classifiers.

    Raises
    ------
    OSError
        If ImageNet weights are neither cached nor can be downloaded.
    ValueError
        If a file does not fit the network.
    """
    if isinstance(weights, str) and weights == "imagenet":
        model = _imagenet_model(name)
    else:
        random = {"init_weights": True} if name in _AUXILIARY else {}
        model = torchvision.models.get_model(name, weights=None, **random)
        if weights is not None:
            load_weights(model, weights_file(name, weights))
    if name in _AUXILIARY:
        model.aux_logits = False
        for attribute in _AUXILIARY[name]:
            setattr(model, attribute, None)
    return model


def imagenet_weights(name: str) -> Any:
    """Return the entry of torchvision for the default ImageNet weights of a network."""
    return torchvision.models.get_model_weights(name).DEFAULT


def input_statistics(
    name: str, weights: str | os.PathLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return shift and divisor of the input of a network, for levels from 0 to 1.

    They are those of ImageNet, one for each of three channels. If the file of weights
    is for grey images, all three are their mean, so that the channels of a grey image
    are equal.
    """
    transforms = imagenet_weights(name).transforms()
    mean, std = np.array(transforms.mean), np.array(transforms.std)
    if weights != "imagenet":
        with torch.device("meta"):  # no memory and no random numbers
            model = torchvision.models.get_model(name, weights=None)
        if _has_grey_stem(_read_state(weights_file(name, weights)), model):
            mean[:], std[:] = mean.mean(), std.mean()
    return mean, std


def _stem_key(model):
    """Return the key of the weights of the first convolution."""
    return next(
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d)
    )


def _has_grey_stem(state, model):
    """Whether the first convolution has one channel in a file and three in a model."""
    key = _stem_key(model)
    n_filters, n_channels, *sides = model.state_dict()[key].shape
    grey = (n_filters, 1, *sides)
    return n_channels == 3 and key in state and state[key].shape == grey


def _imagenet_model(name):
    entry = imagenet_weights(name)
    try:
        return torchvision.models.get_model(name, weights=entry, progress=False)
    except OSError as error:
        raise OSError(
            f"The ImageNet weights of {name} are not in torchvision's cache and could "
            f"not be downloaded ({error}). Put the file {_file_name(entry)} (from "
            f"{entry.url}) into {cached_file(name).parent}, name a file of weights by "
            "weights=PATH, or start from random weights with weights=None."
        ) from error


def _file_name(entry):
    return str(entry.url).rsplit("/", 1)[-1]


def cached_file(name: str) -> Path:
    """Return the file of the ImageNet weights of a network in torchvision's cache."""
    return Path(torch.hub.get_dir(), "checkpoints", _file_name(imagenet_weights(name)))


def load_weights(model: torch.nn.Module, path: str | os.PathLike) -> None:
    """Load a state dict from a file into a network, in place.

    Parameters
    ----------
    model : torch.nn.Module
        A network of torchvision.
    path : path-like
        A ``.safetensors`` file, or one that ``torch.save`` wrote, which is read
        without unpickling code. Keys are torchvision's; half precision is
        converted. Keys may be missing, as in a file of the backbone alone. What
        they name keeps its random weights, and a warning says so. A first
        convolution of one channel becomes one of three, which takes their mean.

    Raises
    ------
    ValueError
        If the file is no state dict, a key or shape in it does not fit, or a value
        is NaN or infinite.

    Warns
    -----
    UserWarning
        If layers other than the last one keep random weights; if statistics of
        batch normalisation were folded into other weights.
    """
    file = Path(path)
    expected = model.state_dict()
    state = fitting_state(model, file)
    last_layer = _last_layer(expected)
    state = {k: v for k, v in state.items() if v.shape == expected[k].shape}
    missing = [
        key
        for key in expected
        if key not in state
        and not key.startswith(last_layer)
        and not key.endswith("num_batches_tracked")
    ]
    if missing:
        warn(
            f"{file.name} holds no weights for {len(missing)} of the {len(expected)} "
            f"entries of {type(model).__name__}; they start from random values. The "
            f"first is {missing[0]!r}. To start from learned weights alone, name a "
            "file of the whole backbone."
        )
    _warn_of_folded_statistics(state, file.name)
    model.load_state_dict(state, strict=False)


def _last_layer(expected):
    return list(expected)[-1].rpartition(".")[0] + "."


def fitting_state(model: torch.nn.Module, file: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a file, which must fit a network."""
    expected = model.state_dict()
    state = {
        key if key in expected else _OLD_DENSENET.sub(r".\1\2.", key): value
        for key, value in _read_state(file).items()
    }
    if _has_grey_stem(state, model):
        key = _stem_key(model)
        state[key] = state[key].float().repeat(1, 3, 1, 1) / 3
    last_layer = _last_layer(expected)
    for key, value in state.items():
        _check_entry(key, value, expected, last_layer, model, file)
    return state


def check_finite_weights(model: torch.nn.Module) -> None:
    """Refuse initial weights of a network that are NaN or infinite."""
    for name, value in model.state_dict().items():
        # The extremes are NaN if any value is; isfinite would copy all values.
        if value.numel() and not torch.stack(value.aminmax()).isfinite().all():
            raise ValueError(
                "Expected finite initial weights, got NaN or infinite values in "
                f"{name!r}. The file that they come from is damaged: choose "
                "another by weights=PATH, or weights=None."
            )


def _check_entry(key, value, expected, last_layer, model, file):
    """Check one entry of a state dict against what the network has under its key."""
    if key not in expected:
        raise ValueError(
            f"Expected weights={file.name!r} to hold keys of "
            f"{type(model).__name__}, such as {next(iter(expected))!r}, got "
            f"{key!r}. Choose the backbone that the file was saved from; keys are "
            "torchvision's."
        )
    if value.shape != expected[key].shape and not key.startswith(last_layer):
        raise ValueError(
            f"Expected {key!r} in weights={file.name!r} to have shape "
            f"{tuple(expected[key].shape)} for {type(model).__name__}, got "
            f"{tuple(value.shape)}. Choose the backbone that the file was saved "
            "from."
        )
    if not torch.isfinite(value).all():
        raise ValueError(
            f"Expected finite numbers in weights={file.name!r}, got NaN or "
            f"infinite values in {key!r}. The file is damaged, or holds numbers "
            "too large for half precision."
        )


def _read_state(file):
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        # Both readers raise many kinds of errors on other files.
        raise ValueError(
            f"weights={os.fspath(file)!r} is not a readable .safetensors file or "
            f"state dict of torch.save ({type(error).__name__}). Save one with "
            "torch.save(network.state_dict(), file)."
        ) from error
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, torch.Tensor) for value in state.values())
    ):
        raise ValueError(
            f"weights={os.fspath(file)!r} holds no state dict, a mapping of names to "
            "tensors. Save one with torch.save(network.state_dict(), file)."
        )
    return state


def _warn_of_folded_statistics(state, name):
    means = [v for k, v in state.items() if k.endswith("running_mean")]
    variances = [v for k, v in state.items() if k.endswith("running_var")]
    if not means or any(mean.any() for mean in means):
        return
    if all((variance == variance.flatten()[0]).all() for variance in variances):
        warn(
            f"The statistics of batch normalisation in {name} are those of an "
            "untrained network. If they were folded into the other weights, the "
            "network predicts well but forgets what it knows when it is trained: use "
            'mode="head", or a file with its statistics.'
        )
