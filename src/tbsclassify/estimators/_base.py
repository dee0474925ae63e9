"""The base of the classifiers and regressors around PyTorch networks."""

import math
import os
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping

from tbsclassify._spacing import warn_of_spacings
from tbsclassify._validation import check_groups, check_random_seed
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.estimators._batches import ImageData, as_tensor
from tbsclassify.estimators._closed_form import fit_head
from tbsclassify.estimators._device import (
    resolve_device,
    resolve_precision,
    same_or_cpu,
)
from tbsclassify.estimators._history import history_table
from tbsclassify.estimators._inputs import (
    check_images,
    intensity_statistics,
    with_mean_one,
)
from tbsclassify.estimators._losses import CLASS_LOSSES, probabilities, value_losses
from tbsclassify.estimators._net import TBSNet
from tbsclassify.estimators._oom import explained_oom
from tbsclassify.estimators._recipe import (
    check_recipe,
    make_callbacks,
    optimizer_options,
)
from tbsclassify.estimators._resume import TrainingFile
from tbsclassify.estimators._validation_split import validation_split
from tbsclassify.images import iter_batches

# Pixels predicted at once, on a CPU and on a GPU: 83 crops of 224 x 224, for which one
# feature map of VGG-16 takes 1.1 GB.
_PIXELS_PER_BATCH = (2**20, 2**22)
# Parameters that do not change what is learned. The seed is compared by itself.
_NO_PART_OF_TRAINING = ("checkpoint", "device", "random_state", "verbose")
# Attributes that a failed fit does not leave behind.
_OF_A_FIT = (
    *("net_", "history_", "n_epochs_", "best_epoch_", "alpha_"),
    *("tbs_mean_", "tbs_scale_", "residual_std_"),
)
# TBS is reported to three digits, so no smaller error can be known.
_LEAST_STD = 0.001


class BaseTBSEstimator(BaseEstimator, metaclass=ABCMeta):
    """Training, prediction and checks common to all estimators.

    Not to be used directly. A subclass makes the network (`_make_module`), checks
    its parameters (`_check_architecture`) and may normalise grey levels in its own way
    (`_fit_normalization`).

    The network learns classes or standardised TBS values. `residual_std_` is the
    spread of the values around its predictions, on patients not trained on.
    """

    image_shape_: tuple[int, ...]
    net_: TBSNet
    history_: pd.DataFrame
    n_epochs_: int
    best_epoch_: int
    residual_std_: float
    spacing_: np.ndarray | None
    # Of classifiers that learn classes: the name of the loss.
    loss: str
    # Whether a training step draws random numbers, as dropout does.
    _draws_in_training = True
    _report: Callable[[int, int], Any] | None = None

    def __init__(
        self,
        *,
        optimizer: str,
        lr: Any,
        momentum: float,
        weight_decay: float,
        lr_schedule: str | None,
        batch_size: int,
        max_epochs: Any,
        early_stopping: bool,
        validation_fraction: float,
        patience: int,
        augmentation: RandomAugmentation | None,
        callbacks: Sequence[Any] | None,
        checkpoint: str | os.PathLike | None,
        device: str,
        precision: str,
        random_state: np.random.RandomState | int | None,
        verbose: int,
    ):
        self.optimizer = optimizer
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.augmentation = augmentation
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _check_architecture(self):
        """Check the parameters of the network."""

    @property
    def _head_only(self) -> bool:
        """Whether all but the network's head is frozen."""
        return False

    @property
    def _starts_in_closed_form(self) -> bool:
        """Whether the network's head is set in closed form before it is trained."""
        return False

    @property
    def _trains_in_epochs(self) -> bool:
        """Whether there are epochs, not only a solution in closed form."""
        return True

    @abstractmethod
    def _make_module(self, n_outputs):
        """Return a picklable function that builds the network."""

    def _count_outputs(self, n_classes):
        """Count the outputs of a network that learns classes."""
        return 1 if n_classes == 2 else n_classes

    def _train(self, images, codes, n_classes, weight, groups, tbs=None):
        """Train the network on TBS values if there are any, else on class codes.

        The validation set has the same share of each class as the training set.
        """
        seed = check_random_seed(self.random_state)
        file = self._open_file(images, codes, n_classes, weight, groups, tbs, seed)
        seeds = np.random.SeedSequence(seed if file is None else file.seed)
        split_seed, torch_seed, shuffle_seed = (
            int(seed) for seed in seeds.generate_state(3) >> 1
        )
        train, valid = self._split(
            codes, groups, split_seed, learns_tbs=tbs is not None
        )
        parts = [part for part in (train, valid) if part is not None]
        weights = [with_mean_one(weight[part]) for part in parts]
        # Scans of zero weight do not count in the normalisation.
        used = np.arange(len(codes))[train]
        used = used[weight[used] > 0]
        self._fit_normalization(images[i] for i in used)
        target = codes if tbs is None else self._standardize_tbs(tbs, used)
        device = resolve_device(self.device)
        callbacks = make_callbacks(self, len(codes[train]))
        net = self._make_net(n_classes, callbacks, device, tbs is not None)
        net.set_params(torch_seed=torch_seed, shuffle_seed=shuffle_seed)
        with explained_oom(self.batch_size):
            data = [
                ImageData(images[part], target[part], one, device)
                for part, one in zip(parts, weights, strict=True)
            ]
        solve = None
        if self._starts_in_closed_form:
            patient, _ = check_groups(groups, len(codes))
            solve = partial(
                fit_head,
                patient=patient[train],
                n_classes=n_classes,
                alpha=getattr(self, "alpha", None),
                seed=split_seed,
            )
        self._fit_net(net, data, solve=solve, file=file)

    def _standardize_tbs(self, tbs, used):
        """Standardise TBS values by the mean and spread of the `used` scans."""
        self.tbs_mean_, spread = float(tbs[used].mean()), float(tbs[used].std())
        self.tbs_scale_ = spread if spread > 0 else 1.0  # 0 if all are equal
        return (tbs - self.tbs_mean_) / self.tbs_scale_

    def _fit_net(self, net, data, **options):
        """Train a net and keep the fit; forget it if the training fails."""
        try:
            net.train(
                *data,
                epochs=self._trains_in_epochs,
                on_epoch=self._make_on_epoch(),
                **options,
            )
            self._keep_fit(net)
            net.release()
        except BaseException:
            self._forget_fit()
            raise

    def _open_file(self, images, codes, n_classes, weight, groups, tbs, seed):
        """Return the checkpoint file of the training, if there is one."""
        if self.checkpoint is None or not self._trains_in_epochs:
            return None
        # By name, so that an error can say what differs.
        identity = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in _NO_PART_OF_TRAINING
        }
        identity |= {
            "class": type(self),
            "X": images,
            "y": [codes, getattr(self, "classes_", None)],
            "groups": None if groups is None else check_groups(groups, len(codes))[0],
            "sample_weight": weight,
        }
        identity["tbs" if n_classes else "y"] = tbs
        return TrainingFile(
            self.checkpoint,
            identity,
            seed=seed,
            seed_is_given=self.random_state is not None,
        )

    @property
    def device_(self) -> str:
        """Device that the fitted network is on, such as ``"cpu"`` or ``"cuda:0"``."""
        return str(next(self.net_.module_.parameters()).device)

    def resolve_max_epochs(self) -> int:
        """Return the maximum number of epochs of a fit.

        Returns
        -------
        max_epochs : int
            The parameter `max_epochs`, or the value that None stands for.
        """
        return self.max_epochs

    def resolve_lr(self) -> float:
        """Return the learning rate of a fit.

        Returns
        -------
        lr : float
            The parameter `lr`, or the value that None stands for.
        """
        return self.lr

    @contextmanager
    def monitored(self, report: Callable[[int, int], Any]) -> Iterator[None]:
        """Call a function after each epoch of every fit in a block.

        Inside the function, the classifier is fitted as if its training had ended with
        that epoch: it predicts, and has `net_`, `history_`, `n_epochs_` and
        `best_epoch_`. Its weights are those of that epoch, even if early stopping will
        restore others. The training itself does not change, bit for bit.

        With ``mode="head"``, scans that are predicted after several epochs pass through
        the frozen layers only once.

        Parameters
        ----------
        report : callable
            Called as ``report(epoch, max_epochs)``, epochs counted from 1. If it
            raises, the fit ends with that error and the classifier is unfitted.

        Examples
        --------
        >>> from tbsclassify import TBSAdHocClassifier
        >>> from tbsclassify.datasets import make_dxa_phantoms
        >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
        >>> X, y = scans.images[:, :64, 120:184], scans.tbs < 1.2
        >>> model = TBSAdHocClassifier(1, (4,), (8,), max_epochs=2, random_state=0)
        >>> def report(epoch, max_epochs):
        ...     print(f"epoch {epoch} of {max_epochs}:", model.predict(X).shape)
        >>> with model.monitored(report):
        ...     model = model.fit(X, y)
        epoch 1 of 2: (24,)
        epoch 2 of 2: (24,)
        """
        outer, self._report = self._report, report
        try:
            yield
        finally:
            del self._report
            if outer is not None:
                self._report = outer

    def __sklearn_is_fitted__(self) -> bool:
        # Other attributes are set before the training, which may fail.
        return hasattr(self, "net_")

    def __getstate__(self):
        # A copy made inside `monitored` is not monitored itself.
        state = {k: v for k, v in super().__getstate__().items() if k != "_report"}
        if "net_" in state:
            state["net_"] = state["net_"].state()
            del state["history_"]  # made again from the state of the net
        return state

    def __setstate__(self, state):
        state = dict(state)
        net = state.pop("net_", None)
        super().__setstate__(state)
        if net is not None:
            self._restore_net(net, same_or_cpu(net["device"]))

    def _restore_net(self, state, device):
        learns_tbs = hasattr(self, "tbs_mean_")
        n_classes = len(getattr(self, "classes_", ()))
        self.net_ = self._make_net(n_classes, [], device, learns_tbs).restore(state)
        self.history_ = history_table(self.net_)

    def _move_to(self, device):
        """Move the fitted network to another device, to predict there."""
        device = resolve_device(device)
        if hasattr(self, "net_") and device != self.device_:
            self._restore_net(self.net_.state(), device)

    def _make_on_epoch(self):
        report = self._report
        if report is None:
            return None

        def on_epoch(net):
            self._keep_fit(net)
            report(self.n_epochs_, net.max_epochs)

        return on_epoch

    def _keep_fit(self, net):
        """Set the fitted attributes that come from the net."""
        if net.alpha_ is not None:
            self.alpha_ = net.alpha_
        self.history_ = history_table(net)
        self.n_epochs_ = len(net.history)
        # A callback of the user may restore an epoch, too; ours is the last one. A
        # closed form ignores callbacks.
        restored = [
            callback.best_epoch_
            for _, callback in net.callbacks_
            if isinstance(callback, EarlyStopping)
            and callback.load_best
            and self._trains_in_epochs
        ]
        self.best_epoch_ = restored[-1] if restored else self.n_epochs_
        self.net_ = net
        if net.losses is value_losses:
            std = net.held_out_deviation() * self.tbs_scale_
            self.residual_std_ = max(std, _LEAST_STD)

    def _forget_fit(self):
        for name in _OF_A_FIT:
            if hasattr(self, name):
                delattr(self, name)

    def _outputs(self, X):
        check_is_fitted(self, "net_")
        warn_of_spacings(self, X)
        pixels = _PIXELS_PER_BATCH[torch.device(self.device_).type == "cuda"]
        batch_size = max(1, pixels // math.prod(self.image_shape_[1:]))
        images = (
            as_tensor(check_images(self, batch, reset=False)[0])
            for batch in iter_batches(X, batch_size)
        )
        # Rows of a table, read as images one row high, have no maps to save passes on.
        return self.net_.outputs(images, by_twin=self.image_shape_[1] > 1)

    def _predicted_tbs(self, X):
        return self._as_tbs(self._outputs(X))

    def _as_tbs(self, outputs):
        """Convert the outputs of a network that has learned TBS into TBS units."""
        return self.tbs_mean_ + self.tbs_scale_ * outputs[:, 0].double().numpy()

    def _with_std(self, tbs, return_std):
        if not return_std:
            return tbs
        return tbs, np.full_like(tbs, self.residual_std_)

    def _check_parameters(self):
        check_recipe(self)
        self._check_architecture()

    def _split(self, codes, groups, seed, *, learns_tbs):
        """Choose the scans to train on, and those to validate on, if any."""
        if not self._trains_in_epochs or not (self.early_stopping or learns_tbs):
            return slice(None), None
        return validation_split(
            codes,
            groups,
            fraction=self.validation_fraction,
            seed=seed,
            classes=getattr(self, "classes_", np.zeros(1)),
        )

    def _fit_normalization(self, images):
        """Choose the shift and the factor of grey levels at the input."""
        self.intensity_mean_, self.intensity_std_ = intensity_statistics(images)

    def _make_net(self, n_classes, callbacks, device, learns_tbs):
        return TBSNet(
            self._make_module(1 if learns_tbs else self._count_outputs(n_classes)),
            losses=value_losses if learns_tbs else CLASS_LOSSES[self.loss],
            **optimizer_options(self),
            max_epochs=self.resolve_max_epochs(),
            batch_size=self.batch_size,
            train_split=None,
            callbacks=callbacks,
            callbacks__valid_acc=None,
            callbacks__print_log=None,  # the net shows how far it is itself
            predict_nonlinearity=None if learns_tbs else probabilities,
            classes=list(range(n_classes)) or None,
            device=device,
            verbose=self.verbose,
            autocast_dtype=resolve_precision(self.precision, device, self.image_shape_),
            augmentation=self.augmentation,
            precompute_features=self._head_only and self.augmentation is None,
            draws_in_training=self._draws_in_training,
        )
