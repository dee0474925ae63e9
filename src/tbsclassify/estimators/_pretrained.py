"""Torchvision's networks as scikit-learn classifiers."""

import os
from functools import partial
from pathlib import Path

import numpy as np

from tbsclassify._validation import check_number, check_option
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
