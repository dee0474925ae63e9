"""Scikit-learn classifiers around PyTorch networks for scans of the spine."""

import copy
import math
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_is_fitted,
    validate_data,
)
from skorch.callbacks import EarlyStopping

from tbsclassify._sklearn_compat import check_sample_weight
from tbsclassify._validation import (
    check_groups,
    check_number,
    check_option,
    check_random_seed,
)
from tbsclassify.estimators._monitor import EpochMonitor
from tbsclassify.estimators._net import (
    ImageData,
    TBSNet,
    as_tensor,
    probabilities,
    resolve_device,
    resolve_precision,
    seeded,
)
from tbsclassify.images import iter_batches, stack_scans

# Pixels predicted at once, on a CPU and on a GPU.
_PIXELS_PER_BATCH = (2**20, 2**24)


def _silence(text):
    """Take the place of print."""


class BaseTBSClassifier(ClassifierMixin, BaseEstimator, metaclass=ABCMeta):
    """Training, prediction and checks common to the classifiers.

    Not to be used directly. A subclass says what network it trains
    (`_make_module`), what its parameters may be (`_check_architecture`) and how
    grey levels are normalised (`_fit_normalization`).
    """

    image_shape_: tuple[int, ...]
    net_: TBSNet
    _monitor: EpochMonitor | None = None

    @abstractmethod
    def _check_architecture(self):
        """Check the parameters that name the network."""

    @abstractmethod
    def _make_module(self, n_classes):
        """Return a picklable function that builds the network."""

    def fit(self, X, y, groups=None, sample_weight=None):
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
            both trained and validated on; otherwise it has no effect. Inside a
            Pipeline pass it as ``classifier_name__groups`` or by metadata
            routing: a search or ``cross_validate`` hands its own ``groups`` to
            the splitter only.
        sample_weight : array-like of shape (n_scans,), default=None
            Weight of each scan in the loss, multiplied by `class_weight`.

        Returns
        -------
        self : BaseTBSClassifier
            The fitted classifier.

        Raises
        ------
        ValueError
            If images differ in size, hold NaN, or are too small for the network;
            if there is one class only, or a class is left without a scan to
            train on.
        FloatingPointError
            If the loss becomes NaN or infinite; the message names the epoch.
        """
        self._check_parameters()
        if hasattr(self, "net_"):
            del self.net_  # so that a failing refit leaves the model unfitted
        images, y = self._check_images(X, y, reset=True)
        codes = self._encode(y)
        weight = self._combine_weights(y, codes, sample_weight, images)
        seeds = np.random.SeedSequence(check_random_seed(self.random_state))
        split_seed, torch_seed, shuffle_seed = (
            int(seed) for seed in seeds.generate_state(3) >> 1
        )
        train, valid = self._split(codes, groups, split_seed)
        self._fit_normalization(images[train])
        device = resolve_device(self.device)

        def data(part):
            return ImageData(images[part], codes[part], weight[part], device)

        net = self._make_net(device, shuffle_seed)
        with seeded(torch_seed, device):
            net.train(data(train), None if valid is None else data(valid))
        self._read_history(net)
        net.release()
        self.net_ = net
        return self

    def predict_proba(self, X):
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

    def predict(self, X):
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

    def decision_function(self, X):
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
        return logits.log_softmax(dim=1).numpy()

    @property
    def device_(self):
        """Device that the fitted network is on, such as ``"cpu"`` or ``"cuda:0"``."""
        return str(next(self.net_.module_.parameters()).device)

    @contextmanager
    def _monitored(self, scans, report):
        """Call `report` after each epoch of a fit in the block; see `EpochMonitor`."""
        self._monitor = EpochMonitor(self, scans, report)
        try:
            yield
        finally:
            del self._monitor

    def _logits(self, X):
        check_is_fitted(self, "net_")
        pixels = _PIXELS_PER_BATCH[torch.device(self.device_).type == "cuda"]
        batch_size = max(1, pixels // math.prod(self.image_shape_[1:]))
        return self.net_.logits(
            {"images": as_tensor(self._check_images(batch, reset=False)[0])}
            for batch in iter_batches(X, batch_size)
        )

    def _check_parameters(self):
        check_number(self.lr, "lr", low=0, inclusive=(False, True))
        check_number(self.momentum, "momentum", low=0, high=1, inclusive=(True, False))
        check_number(self.batch_size, "batch_size", low=1, integer=True)
        if self.max_epochs is not None:
            check_number(self.max_epochs, "max_epochs", low=1, integer=True)
        check_number(
            self.validation_fraction,
            "validation_fraction",
            low=0,
            high=1,
            inclusive=(False, False),
        )
        check_number(self.patience, "patience", low=1, integer=True)
        check_option(self.precision, "precision", ("auto", "float32", "bfloat16"))
        if not (self.augmentation is None or hasattr(self.augmentation, "draw")):
            raise TypeError(
                f"augmentation={self.augmentation!r}, but a RandomAugmentation or None "
                "is wanted."
            )
        self._check_architecture()

    def _check_images(self, X, y="no_validation", *, reset):
        """Return `X` as (n, channels, height, width) in a plain dtype, and `y`."""
        X = stack_scans(X)
        X = X if hasattr(X, "shape") else np.asarray(X)
        shape = X.shape if len(X.shape) > 2 else None
        if shape is not None:
            if len(shape) > 4:
                raise ValueError(
                    f"X has shape {shape}, but (n, height, width) or (n, channels, "
                    "height, width) is wanted."
                )
            image_shape = (1, *shape[1:]) if len(shape) == 3 else shape[1:]
            if not reset and image_shape != self.image_shape_:
                raise ValueError(
                    f"X holds images of (channels, height, width) {image_shape}, but "
                    f"{type(self).__name__} was fitted on {self.image_shape_}."
                )
            X = np.asarray(X).reshape(shape[0], -1)
        checked = validate_data(
            self, X, y, reset=reset, dtype=[np.float32, np.uint8, np.uint16]
        )
        X, y = checked if reset else (checked, None)
        if reset:
            self.image_shape_ = (1, 1, X.shape[1]) if shape is None else image_shape
            self.image_dtype_ = X.dtype
        elif X.dtype != self.image_dtype_:
            raise ValueError(
                f"X holds {X.dtype} images, but {type(self).__name__} was fitted on "
                f"{self.image_dtype_} ones, whose grey levels have another scale. "
                "Convert them to the same depth."
            )
        return np.ascontiguousarray(X).reshape(-1, *self.image_shape_), y

    def _encode(self, y):
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_[0]}, but a classifier "
                "needs scans of at least two classes."
            )
        return codes

    def _combine_weights(self, y, codes, sample_weight, images):
        """Product of class and sample weights, per scan."""
        by_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        weight = check_sample_weight(
            sample_weight, images, dtype=np.float64, ensure_non_negative=True
        )
        return weight * by_class[codes]

    def _split(self, codes, groups, seed):
        """Choose the scans to train on and, for early stopping, to validate on."""
        patients, _ = check_groups(groups, len(codes))
        if not self.early_stopping:
            return slice(None), None
        pairs = np.unique(np.stack([codes, patients]), axis=1)
        n_patients = np.bincount(pairs[0])
        if n_patients.min() < 2:
            who = "scan" if groups is None else "patient"
            raise ValueError(
                f"Class {self.classes_[n_patients.argmin()]} has one {who} only, "
                "so that none is left to train on beside the validation set. Use "
                "more scans or early_stopping=False."
            )
        if groups is None:
            n_valid = max(
                len(self.classes_), round(self.validation_fraction * len(codes))
            )
            train, valid = train_test_split(
                np.arange(len(codes)),
                test_size=n_valid,
                stratify=codes,
                random_state=seed,
            )
            return np.sort(train), np.sort(valid)
        n_splits = min(round(1 / self.validation_fraction), n_patients.min())
        splitter = StratifiedGroupKFold(
            max(n_splits, 2), shuffle=True, random_state=seed
        )
        for train, valid in splitter.split(codes, codes, patients):
            if all(
                len(np.unique(codes[part])) == len(self.classes_)
                for part in (train, valid)
            ):
                return train, valid
        raise ValueError(
            "No split by patient leaves scans of every class both to train and to "
            f"validate on ({pairs.shape[1]} combinations of class and patient). Use "
            "scans of more patients or early_stopping=False."
        )

    def _fit_normalization(self, images):
        """Mean and standard deviation of the grey levels of each channel."""
        means = np.stack([image.mean((1, 2), dtype=np.float64) for image in images])
        squares = np.stack([image.var((1, 2), dtype=np.float64) for image in images])
        self.intensity_mean_ = means.mean(axis=0)
        spread = np.sqrt(means.var(axis=0) + squares.mean(axis=0))
        self.intensity_std_ = np.where(spread > 0, spread, 1.0)

    def _make_net(self, device, shuffle_seed):
        callbacks = copy.deepcopy(list(self.callbacks or []))
        if self._monitor is not None:
            # The first, since those after a callback that stops are not called.
            callbacks.insert(0, self._monitor)
        if self.early_stopping:
            stopping = EarlyStopping(
                patience=self.patience,
                threshold=0,
                load_best=True,
                sink=print if self.verbose else _silence,
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
            max_epochs=self._resolve_max_epochs(),
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
            precompute_features=self._head_only() and self.augmentation is None,
            shuffle_seed=shuffle_seed,
        )

    def _resolve_max_epochs(self):
        return self.max_epochs

    def _head_only(self):
        """Whether all but the network's head is frozen."""
        return False

    def _read_history(self, net):
        names = {
            name: "seconds" if name == "dur" else name
            for name in net.history[0]
            if name != "batches" and not name.endswith(("_best", "_batch_count"))
        }
        self.history_ = {
            new: np.array([epoch.get(old, np.nan) for epoch in net.history])
            for old, new in names.items()
        }
        self.history_["seconds"][0] += net.seconds_before_epochs_
        self.n_epochs_ = len(net.history)
        stopping = dict(net.callbacks_).get("tbs_early_stopping")
        self.best_epoch_ = stopping.best_epoch_ if stopping else self.n_epochs_
