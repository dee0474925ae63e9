"""Scikit-learn classifiers around PyTorch networks for scans of the spine."""

import copy
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted
from skorch.callbacks import EarlyStopping
from skorch.utils import noop

from tbsclassify._validation import check_number, check_option, check_random_seed
from tbsclassify.estimators._batches import ImageData, as_tensor
from tbsclassify.estimators._inputs import (
    check_images,
    combine_weights,
    intensity_statistics,
    with_mean_one,
)
from tbsclassify.estimators._net import (
    TBSNet,
    log_probabilities,
    probabilities,
    resolve_device,
    resolve_precision,
)
from tbsclassify.estimators._validation_split import validation_split
from tbsclassify.images import iter_batches

# Pixels predicted at once, on a CPU and on a GPU.
_PIXELS_PER_BATCH = (2**20, 2**24)


class BaseTBSClassifier(ClassifierMixin, BaseEstimator, metaclass=ABCMeta):
    """Training, prediction and checks common to the classifiers.

    Not to be used directly. A subclass says what network it trains
    (`_make_module`), what its parameters may be (`_check_architecture`) and how
    grey levels are normalised (`_fit_normalization`).
    """

    image_shape_: tuple[int, ...]
    net_: TBSNet
    history_: pd.DataFrame
    n_epochs_: int
    best_epoch_: int
    # Whether a training step draws random numbers, as dropout does.
    _draws_in_training = True
    _report: Callable[[int, int], Any] | None = None

    @abstractmethod
    def _check_architecture(self):
        """Check the parameters that name the network."""

    @property
    def _head_only(self) -> bool:
        """Whether all but the network's head is frozen."""
        return False

    @abstractmethod
    def _make_module(self, n_classes):
        """Return a picklable function that builds the network."""

    def fit(
        self,
        X: Any,
        y: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train the network from its initial weights.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), or sequence
            Scans of one size: uint8, uint16 or floating-point grey levels. Or a
            sequence of such 2-D arrays or of paths, or a table with these in a
            column ``image``. An array of shape (n_samples, n_features) is read as
            images one row high.
        y : array-like of shape (n_scans,)
            Class of each scan.
        groups : array-like of shape (n_scans,), default=None
            Patient of each scan. With ``early_stopping=True`` no patient is then
            both trained and validated on; with ``early_stopping=False`` they are not
            looked at. Inside a Pipeline pass them as ``classifier_name__groups`` or by
            metadata routing: a search or ``cross_validate`` hands its own ``groups``
            to the splitter only.
        sample_weight : array-like of shape (n_scans,), default=None
            Weight of each scan in the loss, multiplied by `class_weight`. Only the
            ratios of weights count: they are scaled to a mean of 1.

        Returns
        -------
        self : BaseTBSClassifier
            The fitted classifier.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not what its description says; if images differ in size,
            hold NaN, or are too small for the network; if there is one class only, or
            a class is left without a scan to train on; if weights are all zero, or
            initial weights are NaN.
        FloatingPointError
            If the loss becomes NaN or infinite; the message names the epoch.
        """
        self._check_parameters()
        self._forget_fit()  # so that a failing refit leaves the model unfitted
        images, y = check_images(self, X, y, reset=True)
        codes = self._encode(y)
        weight = combine_weights(
            self.class_weight, sample_weight, y, codes, self.classes_
        )
        seeds = np.random.SeedSequence(check_random_seed(self.random_state))
        split_seed, torch_seed, shuffle_seed = (
            int(seed) for seed in seeds.generate_state(3) >> 1
        )
        train, valid = self._split(codes, groups, split_seed)
        self._fit_normalization(images[train])
        device = resolve_device(self.device)
        net = self._make_net(device, torch_seed, shuffle_seed)
        data = [
            ImageData(images[part], codes[part], with_mean_one(weight[part]), device)
            for part in (train, valid)
            if part is not None
        ]
        try:
            net.train(*data, on_epoch=self._make_on_epoch())
            self._keep_fit(net)
            net.release()
        except BaseException:
            self._forget_fit()
            raise
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict class probabilities.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        proba : ndarray of float of shape (n_scans, n_classes)
            Probabilities in the order of `classes_`; rows sum to one.
        """
        return probabilities(self._logits(X)).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict logarithms of class probabilities.

        They are computed from the network's outputs, so that they stay accurate
        where a probability is so small that it rounds to zero.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        log_proba : ndarray of float of shape (n_scans, n_classes)
            Logarithms in the order of `classes_`.
        """
        return log_probabilities(self._logits(X)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        y : ndarray of shape (n_scans,)
            Predicted classes.
        """
        # The network first: unfitted, it raises the error that says so.
        winners = self.predict_proba(X).argmax(axis=1)
        return self.classes_[winners]

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute scores that grow with the probability of a class.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_scans,) or (n_scans, n_classes)
            For two classes the log-odds of the second, positive where it is
            predicted; for more the logarithm of each probability.
        """
        logits = self._logits(X).double()
        if logits.shape[1] == 1:
            return logits[:, 0].numpy()
        if logits.shape[1] == 2:
            return (logits[:, 1] - logits[:, 0]).numpy()
        return log_probabilities(logits).numpy()

    @property
    def device_(self) -> str:
        """Device that the fitted network is on, such as ``"cpu"`` or ``"cuda:0"``."""
        return str(next(self.net_.module_.parameters()).device)

    def resolve_max_epochs(self) -> int:
        """Tell how many epochs a fit trains for at most, fitted or not.

        Returns
        -------
        max_epochs : int
            The parameter `max_epochs`, or what None stands for.
        """
        return self.max_epochs

    @contextmanager
    def monitored(self, report: Callable[[int, int], Any]) -> Iterator[None]:
        """Call a function after each epoch of every fit in a block.

        At that moment the classifier stands as if its training had ended with that
        epoch: it predicts, and has `net_`, `history_`, `n_epochs_` and `best_epoch_`.
        Its weights are those of that epoch, even where early stopping is going to
        restore others. The training goes on bit for bit as it would without.

        With ``mode="head"`` scans that are predicted again, after another epoch, pass
        through the frozen layers only once.

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
        # Classes and image shape are noted before the training, which may fail.
        return hasattr(self, "net_")

    def __getstate__(self):
        # A copy made while this classifier is followed is not followed itself.
        return {k: v for k, v in super().__getstate__().items() if k != "_report"}

    def _make_on_epoch(self):
        report = self._report
        if report is None:
            return None

        def on_epoch(net):
            self._keep_fit(net)
            report(self.n_epochs_, net.max_epochs)

        return on_epoch

    def _keep_fit(self, net):
        """Set the attributes of a fitted classifier that come from its net."""
        self.history_ = net.history_table()
        self.n_epochs_ = len(net.history)
        # One that the user passed may restore an epoch, too; ours is the last.
        restored = [
            callback.best_epoch_
            for _, callback in net.callbacks_
            if isinstance(callback, EarlyStopping) and callback.load_best
        ]
        self.best_epoch_ = restored[-1] if restored else self.n_epochs_
        self.net_ = net

    def _forget_fit(self):
        for name in ("net_", "history_", "n_epochs_", "best_epoch_"):
            if hasattr(self, name):
                delattr(self, name)

    def _logits(self, X):
        check_is_fitted(self, "net_")
        pixels = _PIXELS_PER_BATCH[torch.device(self.device_).type == "cuda"]
        batch_size = max(1, pixels // math.prod(self.image_shape_[1:]))
        return self.net_.logits(
            as_tensor(check_images(self, batch, reset=False)[0])
            for batch in iter_batches(X, batch_size)
        )

    def _check_parameters(self):
        check_number(self.lr, "lr", low=0, inclusive=(False, True))
        check_number(self.momentum, "momentum", low=0, high=1, inclusive=(True, False))
        check_number(self.batch_size, "batch_size", low=1, integer=True)
        check_number(self.resolve_max_epochs(), "max_epochs", low=1, integer=True)
        check_number(
            self.validation_fraction,
            "validation_fraction",
            low=0,
            high=1,
            inclusive=(False, False),
        )
        check_number(self.patience, "patience", low=1, integer=True)
        if not isinstance(self.early_stopping, bool | np.bool_):
            raise TypeError(
                f"Expected early_stopping to be True or False, got "
                f"{self.early_stopping!r}."
            )
        check_option(self.precision, "precision", ("auto", "float32", "bfloat16"))
        if not (self.augmentation is None or hasattr(self.augmentation, "draw")):
            raise TypeError(
                "Expected augmentation to be a RandomAugmentation or None, got "
                f"{self.augmentation!r}."
            )
        self._check_callbacks()
        self._check_architecture()

    def _check_callbacks(self):
        if not (self.callbacks is None or isinstance(self.callbacks, list | tuple)):
            raise TypeError(
                "Expected callbacks to be a list of skorch callbacks or None, got "
                f"{self.callbacks!r}. Put a single one into a list."
            )
        for i, one in enumerate(self.callbacks or ()):
            callback = one[1] if isinstance(one, tuple) and len(one) == 2 else one
            if not hasattr(callback, "on_epoch_end"):
                raise TypeError(
                    f"Expected callbacks[{i}] to be a skorch callback, or a tuple of a "
                    f"name and one, got {one!r}."
                )

    def _encode(self, y):
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                "Expected y to hold at least two classes, got one class only, "
                f"{self.classes_[0]}. Add scans of another class."
            )
        return codes

    def _split(self, codes, groups, seed):
        """Choose the scans to train on and, for early stopping, to validate on."""
        if not self.early_stopping:
            return slice(None), None
        return validation_split(
            codes,
            groups,
            fraction=self.validation_fraction,
            seed=seed,
            classes=self.classes_,
        )

    def _fit_normalization(self, images):
        """Choose the grey levels that become 0 and 1 at the network's input."""
        self.intensity_mean_, self.intensity_std_ = intensity_statistics(images)

    def _make_net(self, device, torch_seed, shuffle_seed):
        callbacks = copy.deepcopy(list(self.callbacks or []))
        if self.early_stopping:
            stopping = EarlyStopping(
                patience=self.patience,
                threshold=0,
                load_best=True,
                sink=print if self.verbose else noop,
            )
            callbacks.append(("tbs_early_stopping", stopping))
        # Skorch takes a print that was replaced, as Ray does, for a wish to be told.
        silence = {} if self.verbose else {"callbacks__print_log": None}
        return TBSNet(
            self._make_module(len(self.classes_)),
            optimizer=torch.optim.SGD,
            optimizer__momentum=self.momentum,
            optimizer__fused=True,
            lr=self.lr,
            max_epochs=self.resolve_max_epochs(),
            batch_size=self.batch_size,
            train_split=None,
            callbacks=callbacks,
            callbacks__valid_acc=None,
            predict_nonlinearity=probabilities,
            classes=list(range(len(self.classes_))),
            device=device,
            verbose=self.verbose,
            **silence,
            autocast_dtype=resolve_precision(self.precision, device),
            augmentation=self.augmentation,
            precompute_features=self._head_only and self.augmentation is None,
            draws_in_training=self._draws_in_training,
            torch_seed=torch_seed,
            shuffle_seed=shuffle_seed,
        )
