"""How a network is trained: its parameters, optimiser, schedule and callbacks."""

import copy
import os
from typing import Any

import torch
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.utils import noop

from tbsclassify._validation import check_bool, check_number, check_option
from tbsclassify.estimators._batches import Batches
from tbsclassify.estimators._device import PRECISIONS

_OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
_SCHEDULES = ("cosine", "one-cycle")


def check_recipe(estimator: Any) -> None:
    """Check the parameters of an estimator, except those of its network."""
    check_option(estimator.optimizer, "optimizer", _OPTIMIZERS)
    check_number(estimator.resolve_lr(), "lr", low=0, inclusive=(False, True))
    check_number(estimator.momentum, "momentum", low=0, high=1, inclusive=(True, False))
    check_number(estimator.weight_decay, "weight_decay", low=0)
    if estimator.lr_schedule is not None:
        check_option(estimator.lr_schedule, "lr_schedule", _SCHEDULES)
    check_bool(estimator.early_stopping, "early_stopping")
    check_number(
        estimator.validation_fraction,
        "validation_fraction",
        low=0,
        high=1,
        inclusive=(False, False),
    )
    check_number(estimator.patience, "patience", low=1, integer=True)
    _check_callbacks(estimator.callbacks)
    check_number(estimator.batch_size, "batch_size", low=1, integer=True)
    check_number(estimator.resolve_max_epochs(), "max_epochs", low=1, integer=True)
    check_option(estimator.precision, "precision", PRECISIONS)
    checkpoint, augmentation = estimator.checkpoint, estimator.augmentation
    if not (checkpoint is None or isinstance(checkpoint, str | os.PathLike)):
        raise TypeError(
            f"Expected checkpoint to be the path of a file or None, got {checkpoint!r}."
        )
    if not (augmentation is None or hasattr(augmentation, "draw")):
        raise TypeError(
            "Expected augmentation to be a RandomAugmentation or None, got "
            f"{augmentation!r}."
        )


def _check_callbacks(callbacks):
    if not (callbacks is None or isinstance(callbacks, list | tuple)):
        raise TypeError(
            "Expected callbacks to be a list of skorch callbacks or None, got "
            f"{callbacks!r}. Put a single one into a list."
        )
    for i, one in enumerate(callbacks or ()):
        callback = one[1] if isinstance(one, tuple) and len(one) == 2 else one
        if not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                f"Expected callbacks[{i}] to be a skorch callback, or a tuple of a "
                f"name and one, got {one!r}."
            )


def optimizer_options(estimator: Any) -> dict[str, Any]:
    """Return skorch's arguments for the optimiser."""
    options = {
        "optimizer": _OPTIMIZERS[estimator.optimizer],
        "optimizer__weight_decay": estimator.weight_decay,
        "optimizer__fused": True,
        "lr": estimator.resolve_lr(),
    }
    if estimator.optimizer == "sgd":
        options["optimizer__momentum"] = estimator.momentum
    return options


def make_callbacks(estimator: Any, n_scans: int) -> list[Any]:
    """Return the user's callbacks, copied, and those that the recipe needs."""
    callbacks = copy.deepcopy(list(estimator.callbacks or []))
    if estimator.early_stopping:
        stopping = EarlyStopping(
            patience=estimator.patience,
            threshold=0,
            load_best=True,
            sink=noop,
        )
        callbacks.append(("tbs_early_stopping", stopping))
    if estimator.lr_schedule is not None:
        n_steps = estimator.resolve_max_epochs() * Batches.count(
            n_scans, estimator.batch_size
        )
        policy: Any = torch.optim.lr_scheduler.CosineAnnealingLR
        options: dict[str, Any] = {"T_max": n_steps}
        if estimator.lr_schedule == "one-cycle":
            policy = torch.optim.lr_scheduler.OneCycleLR
            options = {"max_lr": estimator.resolve_lr(), "total_steps": n_steps}
            options["cycle_momentum"] = False
        schedule = LRScheduler(policy, step_every="batch", event_name=None, **options)
        callbacks.append(("tbs_lr_schedule", schedule))
    return callbacks
