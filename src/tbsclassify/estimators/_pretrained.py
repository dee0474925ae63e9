"""Torchvision's networks as scikit-learn classifiers."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tbsclassify._validation import check_number, check_option
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.estimators._base import BaseTBSClassifier
from tbsclassify.estimators._networks import PretrainedNetwork, check_backbone
from tbsclassify.estimators._weights import imagenet_weights


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
        Share of the scans set aside, by default the paper's 161 of 1288. It is
        met as closely as whole patients allow, each class on both sides.
    patience : int, default=15
        Epochs without improvement before training stops.
    class_weight : {"balanced", None} or dict, default=None
        Weights of the classes in the loss, with scikit-learn's meaning; the
        keys of a dict are class labels.
    augmentation : RandomAugmentation, default=None
        Random changes made to the scans of each training batch, new ones in every
        epoch. Neither the validation set nor scans to predict are ever changed.
    callbacks : list of skorch callbacks, default=None
        Callbacks of the training, in addition to early stopping. They are copied
        first, so that the ones passed are never changed. One that raises
        ``KeyboardInterrupt`` in `on_epoch_end` ends the training there. Callbacks
        see classes as numbers, in the order of `classes_`.
    device : str, default="auto"
        Where to train: "cpu", "cuda", "cuda:1" and so on; "auto" takes a GPU
        where there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" takes bfloat16 on
        processors that compute with it natively, else float32.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, dropout, shuffling and the validation
        split. An int gives the same probabilities bit for bit on one CPU, in
        threads, too. Global random states are left as they were found.
    verbose : int, default=0
        1 prints a line for each epoch.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : DataFrame
        One row an epoch: ``epoch``, ``train_loss``, ``valid_loss`` with early
        stopping, ``seconds`` (the first with the time for the frozen backbone), and
        what callbacks record. Losses are weighted means over all scans.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch, counted from 1, whose weights are kept: the one with the lowest
        validation loss with early stopping, else the last.
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    intensity_mean_, intensity_std_ : ndarray of shape (n_channels,)
        Grey levels are shifted by the first and divided by the second at the
        network's input.
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

    With ``mode="head"`` the output of the frozen layers for a scan never changes. It
    is computed once and kept in a temporary file, from which every epoch reads it: 20
    epochs cost little more than one prediction. With `augmentation`, which changes
    the scans, the frozen layers are computed in every epoch.

    The ReLU that SqueezeNet has behind its last layer is left out. With few classes
    all outputs are soon negative at once, and the network would stop learning.

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
        backbone: str = "squeezenet1_0",
        mode: str = "full",
        *,
        weights: str | os.PathLike | None = "imagenet",
        dropout: float = 0.4,
        lr: float = 0.0001,
        momentum: float = 0.9,
        batch_size: int = 24,
        max_epochs: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.125,
        patience: int = 15,
        class_weight: Mapping[Any, float] | str | None = None,
        augmentation: RandomAugmentation | None = None,
        callbacks: Sequence[Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: np.random.RandomState | int | None = None,
        verbose: int = 0,
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
                'Expected weights to be "imagenet", None or the path of a .safetensors '
                "file or of a state dict that torch.save wrote, got "
                f"{self.weights!r}, which is no file."
            )
        check_number(self.dropout, "dropout", low=0, high=1, inclusive=(True, False))

    def resolve_max_epochs(self) -> int:
        """Tell how many epochs a fit trains for at most, fitted or not.

        Returns
        -------
        max_epochs : int
            The parameter `max_epochs`; where it is None, 50 for ``mode="full"`` and
            20 for ``mode="head"``.
        """
        if self.max_epochs is None:
            return 50 if self.mode == "full" else 20
        return self.max_epochs

    @property
    def _head_only(self):
        return self.mode == "head"

    def _fit_normalization(self, images):
        channels = images.shape[1]
        if channels not in (1, 3):
            raise ValueError(
                f"Expected X to hold images of 1 channel (grey) or 3 (colour) for "
                f"backbone={self.backbone!r}, got {channels} channels."
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
            head_only=self._head_only,
        )
