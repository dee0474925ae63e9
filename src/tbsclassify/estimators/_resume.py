"""A training kept in a file, from which it is resumed after a crash."""

import glob
import math
import os
import time
import types
import zipfile
from typing import Any

import numpy as np
import torch

from tbsclassify._checkpoint import differences, identify
from tbsclassify._files import as_path, write_whole
from tbsclassify._fingerprint import fingerprint

# The largest share of the time of a training that writing may take.
_SHARE = 0.05
_FORMAT = "tbsclassify training 1"
# Attributes of these types cannot change in training.
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_PLAIN = (bool, int, float, str, bytes, type(None))


class TrainingFile:
    """The file of one training: its identity and its state after an epoch.

    The file is a zip archive of torch.save, which is read without unpickling code. It
    is complete at any time.

    Parameters
    ----------
    path : path-like
        The file. If it exists, it must be of the same training.
    identity : dict of str to object
        What the training depends on, by names for errors.
    seed : int or None
        Seed of a new training.
    seed_is_given : bool
        Whether a training with another seed is another training. If not, the seed in
        the file is used.

    Attributes
    ----------
    seed : int
        Seed of the training.
    state : dict or None
        State after the last epoch in the file; None if there is none.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        identity: dict[str, Any],
        *,
        seed: int,
        seed_is_given: bool,
    ):
        self.path = as_path(path)
        given = seed if seed_is_given else None
        self._identity = identify(identity | {"random_state": given})
        self.seed = seed
        self.state: dict[str, Any] | None = None
        self._due = -math.inf
        self._check_place()
        self._stamp = self._look()
        if self._stamp is not None:
            kept = self._read()
            self._refuse_other(kept)
            self.seed, self.state = kept["seed"], kept["state"]

    @property
    def is_over(self) -> bool:
        """Whether the training in the file is over."""
        return self.state is not None and self.state["over"]

    def _check_place(self):
        """Check before the training that the file can be written."""
        folder = self.path.absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._look()
            is_folder = self.path.is_dir()
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise self._not_writable(error) from error
        if is_folder:
            raise self._not_writable("it is a folder")
        if not os.access(folder, os.W_OK):
            raise self._not_writable(f"the folder {str(folder)!r} is read-only")
        for unfinished in folder.glob(f"{glob.escape(self.path.name)}.*.tmp"):
            unfinished.unlink(missing_ok=True)  # of a training that was killed

    def _look(self):
        """Return a stamp that changes when somebody else writes the file."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def _read(self) -> dict[str, Any]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                damaged = archive.testzip()  # PyTorch verifies no checksums
            kept = None
            if damaged is None:
                kept = torch.load(self.path, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception:  # of many kinds
            kept = None
        if not isinstance(kept, dict) or kept.get("format") != _FORMAT:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds no training of this library, or "
                "is damaged. Delete the file to begin anew, or name another."
            )
        return kept

    def _refuse_other(self, kept):
        other = differences(self._identity, kept["identity"])
        if other:
            raise ValueError(
                f"checkpoint={str(self.path)!r} holds a training with other "
                f"{', '.join(other)}. To go on with it, call fit with what it was "
                "begun with. For a new training, name another file or delete this one. "
                "Fits of a cross-validation, a search or an ensemble need a file each."
            )

    def _not_writable(self, why):
        return OSError(
            "Expected checkpoint to be a file that can be written to, got "
            f"{str(self.path)!r} ({why})."
        )

    def resume(self, net: Any) -> None:
        """Bring a net that is about to train into the state in the file.

        Attributes of callbacks that cannot be kept are noted: they must not change.
        """
        self._fixed = {}
        for name, callback in net.callbacks_:
            _, dicts, others = _parts(callback)
            digests = {key: _digest(value) for key, value in others.items()}
            self._fixed[name] = digests | dict.fromkeys(dicts)
        if self.state is not None:
            _put_state(net, self.state)
            self.state = None  # as large as the network

    def keep(self, net: Any, *, over: bool) -> None:
        """Write the state of a training, if it is time to.

        It is at the end, and whenever writing takes no more than its share of the time.
        """
        began = time.monotonic()
        if began < self._due and not over:
            return
        content = {
            "format": _FORMAT,
            "identity": self._identity,
            "seed": self.seed,
            "state": self._state_of(net, over),
        }
        if self._look() not in (None, self._stamp):
            theirs = self._read()  # written by somebody else
            self._refuse_other(theirs)
            if theirs["seed"] != self.seed:
                raise ValueError(
                    f"checkpoint={str(self.path)!r} was written to by another training "
                    "meanwhile. Name a file of its own for each."
                )
        try:
            write_whole(self.path, lambda file: torch.save(content, file))
        except (OSError, RuntimeError) as error:  # RuntimeError: PyTorch, full disk
            raise OSError(
                f"checkpoint={str(self.path)!r} could not be written "
                f"({str(error).splitlines()[0]}). It stays as it was before this "
                "epoch. Make room on the disk and call fit again, which goes on there."
            ) from error
        self._stamp = self._look()
        ended = time.monotonic()
        self._due = ended + (ended - began) / _SHARE

    def _state_of(self, net, over):
        # A learning rate drawn by scipy is a number of NumPy, which must be converted.
        moments = None if over else _storable(net.optimizer_.state_dict())
        return {
            "over": over,
            "weights": dict(net.module_.state_dict()),
            "learns": [one.requires_grad for one in net.module_.parameters()],
            "optimizer": moments,
            "drawn": [
                net.random_stream_.states(),
                net.shuffle_generator_.get_state(),
                net.augmentation_generator_.get_state(),
            ],
            "history": [
                {key: _kept_value(value, key) for key, value in epoch.items()}
                for epoch in ({**epoch, "batches": []} for epoch in net.history)
            ],
            "seconds_before_epochs": net.seconds_before_epochs_,
            "alpha": net.alpha_,
            "callbacks": {
                name: self._callback_state(name, callback)
                for name, callback in net.callbacks_
            },
        }

    def _callback_state(self, name, callback):
        plain, dicts, others = _parts(callback)
        fixed = self._fixed[name]
        changed = [key for key, one in others.items() if _digest(one) != fixed.get(key)]
        # A state dict can only be resumed into an object that exists from the start.
        changed += [key for key in dicts if key not in fixed]
        if changed:
            kind = type(vars(callback)[changed[0]]).__name__
            raise TypeError(
                f"checkpoint cannot keep callback {name!r}: its attribute "
                f"{changed[0]!r} has changed in training and holds a {kind}. What can "
                "be kept are numbers, texts, tensors, lists and dicts of them, and "
                "objects with state_dict that are there when training begins. Leave "
                "out the callback, or checkpoint."
            )
        return plain, dicts


def _put_state(net, state):
    net.module_.load_state_dict(state["weights"])
    for one, learns in zip(net.module_.parameters(), state["learns"], strict=True):
        one.requires_grad_(learns)
    if state["optimizer"] is not None:
        net.optimizer_.load_state_dict(state["optimizer"])
    stream, order, augmentation = state["drawn"]
    net.random_stream_.go_to(stream)
    net.shuffle_generator_.set_state(order)
    net.augmentation_generator_.set_state(augmentation)
    net.history.extend(state["history"])
    net.seconds_before_epochs_ = state["seconds_before_epochs"]
    net.alpha_ = state["alpha"]
    for name, callback in net.callbacks_:
        plain, dicts = state["callbacks"][name]
        vars(callback).update(plain)
        for key, content in dicts.items():
            getattr(callback, key).load_state_dict(content)


def _parts(callback):
    """Sort the attributes of a callback by how they can be kept.

    Returns
    -------
    plain, dicts, others : dict
        By name of the attribute: values that a file can hold; state dicts of objects
        that have one; all others.
    """
    plain, dicts, others = {}, {}, {}
    for key, value in vars(callback).items():
        if isinstance(value, _CODE):
            continue
        try:
            if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
                dicts[key] = _storable(value.state_dict())
            else:
                plain[key] = _storable(value)
        except TypeError:
            others[key] = value
    return plain, dicts, others


def _kept_value(value, column):
    try:
        return _storable(value)
    except TypeError as error:
        raise TypeError(
            f"checkpoint cannot keep what a callback has recorded as {column!r}, a "
            f"{type(value).__name__}. Record a number or a text, or leave checkpoint "
            "out."
        ) from error


def _storable(value):
    """Convert a value into one that can be read without unpickling code."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in _PLAIN:
        return value
    if isinstance(value, torch.Tensor):
        return value.detach()
    if type(value) in (list, tuple):
        return type(value)(map(_storable, value))
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    raise TypeError(type(value).__name__)


def _digest(value):
    """Return a fingerprint, or for what has none an object that equals no other."""
    try:
        return fingerprint(value)
    except TypeError:
        return object()
