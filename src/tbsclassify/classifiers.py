"""Scikit-learn classifiers around PyTorch networks for scans of the spine."""

import copy
import math
import os
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)
from skorch.callbacks import EarlyStopping

from tbsclassify._monitor import EpochMonitor
from tbsclassify._net import (
    ImageData,
    TBSNet,
    as_tensor,
    probabilities,
    resolve_device,
    resolve_precision,
    seeded,
)
from tbsclassify._validation import (
    check_groups,
    check_number,
    check_option,
    check_random_seed,
)
from tbsclassify._weights import imagenet_weights
from tbsclassify.images import iter_batches, stack_scans
from tbsclassify.networks import (
    PAPER_MODELS,
    PretrainedNetwork,
    adhoc_network,
    check_backbone,
)

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
        weight = _check_sample_weight(
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


class TBSPretrainedClassifier(BaseTBSClassifier):
    """A torchvision network retrained to tell classes of trabecular structure.

    The last classifying layer is replaced by one with an output for each class,
    behind dropout and under softmax. ``mode="full"`` retrains the whole network
    (the paper's approach 1), ``mode="head"`` the new layer alone (approach 2);
    defaults are the paper's [1]_.

    Parameters
    ----------
    backbone : str, default="squeezenet1_0"
        Torchvision's name of the network. The paper's are "alexnet",
        "resnet18", "vgg16", "densenet121" and "squeezenet1_0".
    mode : {"full", "head"}, default="full"
        Train all layers, or the new layer alone with everything else frozen,
        batch normalisation and dropout included.
    weights : {"imagenet", None} or path-like, default="imagenet"
        Initial weights. ImageNet's come from torchvision, which downloads them
        once into its cache; None starts from random weights. A path names a
        state dict with torchvision's keys, ``.safetensors`` or written by
        ``torch.save``, of the whole network or of its backbone alone.
    dropout : float, default=0.4
        Share of the new layer's inputs dropped in training.
    lr : float, default=0.0001
        Learning rate of stochastic gradient descent.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    batch_size : int, default=24
        Scans in a batch.
    max_epochs : int, default=None
        Epochs to train for, at most. None means 50 for ``mode="full"`` and 20
        for ``mode="head"``.
    early_stopping : bool, default=False
        Whether to set a validation set aside, stop once its loss has not
        improved for `patience` epochs, and restore the weights of the best.
    validation_fraction : float, default=0.125
        Share of the scans set aside, by default the paper's 161 of 1288.
    patience : int, default=15
        Epochs without improvement before training stops.
    class_weight : {"balanced", None} or dict, default=None
        Weights of the classes in the loss, with scikit-learn's meaning; the
        keys of a dict are class labels.
    augmentation : RandomAugmentation, default=None
        Random changes made to the scans of each training batch, anew in every
        epoch. Neither the validation set nor scans to predict are ever changed.
    callbacks : list of skorch callbacks, default=None
        Callbacks to call in training, besides the early stopping. They are
        copied first, so that the ones passed are never changed.
    device : str, default="auto"
        Where to train: "cpu", "cuda", "cuda:1" and so on; "auto" takes a GPU
        where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" takes bfloat16 on
        processors that compute with it natively, else float32.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, dropout, shuffling and the validation
        split. An int gives the same probabilities bit for bit on one CPU. No
        global random state is used or changed.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : dict of str to ndarray of shape (n_epochs,)
        ``epoch``, ``train_loss``, ``seconds`` (the first with what a frozen
        backbone is computed in), ``valid_loss`` with early stopping, and what
        callbacks record.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept.
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    intensity_mean_, intensity_std_ : ndarray of shape (n_channels,)
        Grey level that becomes 0 at the network's input, and the one that
        becomes 1 more.
    net_ : skorch.NeuralNetClassifier
        The trained net; its ``module_`` is the PyTorch module.
    device_ : str
        Device of the trained network.
    n_features_in_ : int
        Pixels of an image, over all channels.

    See Also
    --------
    TBSAdHocClassifier : Small networks trained from scratch.

    Notes
    -----
    With ImageNet weights, and with those of a file, grey levels are normalised
    as torchvision's networks expect them: the range of the depth is mapped to
    0-1, and ImageNet's mean and deviation follow. 8-bit scans have the range
    0-255; for 16-bit and floating-point scans, which rarely fill theirs, it is
    the range of the training scans. With random weights the mean and deviation
    of the training scans are taken. Grey scans become three equal channels in
    the batch.

    With ``mode="head"`` what the frozen layers make of a scan never changes. It is
    computed once, and kept in a temporary file in which the new layer finds it in
    every epoch: 20 epochs cost little more than one prediction. With
    `augmentation`, which changes the scans, every epoch takes the long way.

    The ReLU that SqueezeNet has behind its last layer is left out, since with few
    classes all outputs are easily negative at once, where nothing is learnt.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., section III.C.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSLabeler, TBSPretrainedClassifier
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSPretrainedClassifier(
    ...     "squeezenet1_0", mode="head", weights=None, max_epochs=2, random_state=0
    ... )
    >>> model.fit(crops, y).predict_proba(crops).shape
    (8, 2)
    """

    def __init__(
        self,
        backbone="squeezenet1_0",
        mode="full",
        *,
        weights="imagenet",
        dropout=0.4,
        lr=0.0001,
        momentum=0.9,
        batch_size=24,
        max_epochs=None,
        early_stopping=False,
        validation_fraction=0.125,
        patience=15,
        class_weight=None,
        augmentation=None,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.backbone = backbone
        self.mode = mode
        self.weights = weights
        self.dropout = dropout
        self.lr = lr
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    def _check_architecture(self):
        check_backbone(self.backbone)
        check_option(self.mode, "mode", ("full", "head"))
        is_file = isinstance(self.weights, str | os.PathLike) and (
            self.weights == "imagenet" or Path(self.weights).is_file()
        )
        if self.weights is not None and not is_file:
            raise ValueError(
                f'weights={self.weights!r} is neither "imagenet", None nor a file. '
                "Give the path of a .safetensors file or of a state dict that "
                "torch.save wrote."
            )
        check_number(self.dropout, "dropout", low=0, high=1, inclusive=(True, False))

    def _resolve_max_epochs(self):
        if self.max_epochs is None:
            return 50 if self.mode == "full" else 20
        return self.max_epochs

    def _head_only(self):
        return self.mode == "head"

    def _fit_normalization(self, images):
        channels = images.shape[1]
        if channels not in (1, 3):
            raise ValueError(
                f"X holds images of {channels} channels, but backbone="
                f"{self.backbone!r} takes grey (1) or colour (3) images."
            )
        if self.weights is None:
            super()._fit_normalization(images)
            if channels == 1:
                self.intensity_mean_ = np.repeat(self.intensity_mean_, 3)
                self.intensity_std_ = np.repeat(self.intensity_std_, 3)
            return
        transforms = imagenet_weights(self.backbone).transforms()
        low, high = 0.0, 255.0
        if images.dtype != np.uint8:
            low, high = float(images.min()), float(images.max())
        width = high - low if high > low else 1.0
        self.intensity_mean_ = low + width * np.array(transforms.mean)
        self.intensity_std_ = width * np.array(transforms.std)

    def _make_module(self, n_classes):
        return partial(
            PretrainedNetwork,
            self.backbone,
            self.image_shape_,
            self.intensity_mean_,
            self.intensity_std_,
            n_classes,
            weights=self.weights,
            dropout=self.dropout,
            head_only=self._head_only(),
        )


class TBSAdHocClassifier(BaseTBSClassifier):
    """A small convolutional network trained on the scans alone.

    Blocks of a 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling,
    followed by fully connected layers (the paper's approach 3 [1]_). Two classes
    are told apart by one output with a sigmoid, more by softmax. The defaults
    are the paper's best, Model 4; the others are made by `from_paper`.

    Parameters
    ----------
    blocks : int, default=3
        Number of convolution blocks.
    filters : sequence of int, default=(8, 28, 36)
        Filters of each block.
    fc : sequence of int, default=(1000,)
        Sizes of the hidden fully connected layers. The output layer follows the
        number of classes and is not listed.
    lr : float, default=0.0001
        Learning rate of stochastic gradient descent.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    batch_size : int, default=48
        Scans in a batch.
    max_epochs : int, default=200
        Epochs to train for, at most.
    early_stopping : bool, default=True
        Whether to set a validation set aside, stop once its loss has not
        improved for `patience` epochs, and restore the weights of the best.
    validation_fraction : float, default=0.125
        Share of the scans set aside, by default the paper's 161 of 1288.
    patience : int, default=15
        Epochs without improvement before training stops.
    class_weight : {"balanced", None} or dict, default=None
        Weights of the classes in the loss, with scikit-learn's meaning; the
        keys of a dict are class labels.
    augmentation : RandomAugmentation, default=None
        Random changes made to the scans of each training batch, anew in every
        epoch. Neither the validation set nor scans to predict are ever changed.
    callbacks : list of skorch callbacks, default=None
        Callbacks to call in training, besides the early stopping. They are
        copied first, so that the ones passed are never changed.
    device : str, default="auto"
        Where to train: "cpu", "cuda", "cuda:1" and so on; "auto" takes a GPU
        where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" takes bfloat16 on
        processors that compute with it natively, else float32.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, shuffling and the validation split. An int
        gives the same probabilities bit for bit on one CPU. No global random
        state is used or changed.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : dict of str to ndarray of shape (n_epochs,)
        ``epoch``, ``train_loss``, ``seconds``, ``valid_loss`` with early
        stopping, and what callbacks record.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept.
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    intensity_mean_, intensity_std_ : ndarray of shape (n_channels,)
        Mean and standard deviation of the grey levels that were trained on,
        which become 0 and 1 at the network's input.
    net_ : skorch.NeuralNetClassifier
        The trained net; its ``module_`` is the PyTorch module.
    device_ : str
        Device of the trained network.
    n_features_in_ : int
        Pixels of an image, over all channels.

    See Also
    --------
    TBSPretrainedClassifier : Networks pretrained on photographs.

    Notes
    -----
    The paper does not state the activation between the fully connected layers,
    for which ReLU is taken, nor the initial weights, for which PyTorch's
    defaults are. Its validation set is augmented, ours is not.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., section III.D
       and Table II.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSAdHocClassifier, TBSLabeler
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSAdHocClassifier(
    ...     blocks=2, filters=(4, 8), fc=(16,), max_epochs=3, random_state=0
    ... )
    >>> model.fit(crops, y, groups=scans.patient).n_epochs_
    3
    """

    def __init__(
        self,
        blocks=3,
        filters=(8, 28, 36),
        fc=(1000,),
        *,
        lr=0.0001,
        momentum=0.9,
        batch_size=48,
        max_epochs=200,
        early_stopping=True,
        validation_fraction=0.125,
        patience=15,
        class_weight=None,
        augmentation=None,
        callbacks=None,
        device="auto",
        precision="auto",
        random_state=None,
        verbose=0,
    ):
        self.blocks = blocks
        self.filters = filters
        self.fc = fc
        self.lr = lr
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.class_weight = class_weight
        self.augmentation = augmentation
        self.callbacks = callbacks
        self.device = device
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_paper(cls, name, **parameters):
        """Make one of the four models of the paper's Table II.

        Parameters
        ----------
        name : {"model1", "model2", "model3", "model4"}
            The model.
        **parameters : dict
            Parameters to set otherwise than the paper.

        Returns
        -------
        classifier : TBSAdHocClassifier
            The model with the table's architecture, batch size, learning rate
            and momentum.

        Examples
        --------
        >>> from tbsclassify import TBSAdHocClassifier
        >>> TBSAdHocClassifier.from_paper("model3", random_state=0)
        TBSAdHocClassifier(batch_size=24, fc=(100,), filters=(8, 16, 32), lr=0.001,
                           random_state=0)
        """
        check_option(name, "name", PAPER_MODELS)
        return cls(**PAPER_MODELS[name] | parameters)

    def _check_architecture(self):
        check_number(self.blocks, "blocks", low=0, integer=True)
        for name in ("filters", "fc"):
            sizes = getattr(self, name)
            if isinstance(sizes, str) or not np.iterable(sizes):
                raise TypeError(
                    f"{name}={sizes!r}, but a sequence of integers is wanted, such as "
                    "(8, 28, 36)."
                )
            for i, size in enumerate(sizes):
                check_number(size, f"{name}[{i}]", low=1, integer=True)
        if len(self.filters) != self.blocks:
            raise ValueError(
                f"filters={self.filters!r} gives the filters of {len(self.filters)} "
                f"blocks, but blocks={self.blocks}. Give one number for each block."
            )

    def _make_module(self, n_classes):
        return partial(
            adhoc_network,
            self.image_shape_,
            self.intensity_mean_,
            self.intensity_std_,
            tuple(self.filters),
            tuple(self.fc),
            1 if n_classes == 2 else n_classes,
        )
