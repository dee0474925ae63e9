"""Torchvision's networks as estimators of classes and of TBS."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from tbsclassify._validation import check_number, check_option
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._classifier import BaseTBSClassifier
from tbsclassify.estimators._inputs import colour_statistics
from tbsclassify.estimators._networks import (
    PAPER_TRAINING,
    PretrainedNetwork,
    check_backbone,
)
from tbsclassify.estimators._regressor import BaseTBSRegressor
from tbsclassify.estimators._statistics import check_layers, check_scales
from tbsclassify.estimators._texture_network import pretrained_texture_network
from tbsclassify.estimators._weights import check_weights
from tbsclassify.labels import TBS_THRESHOLDS

_MODES = ("texture", "full", "head")


class PretrainedEstimator(BaseTBSEstimator):
    """A torchvision network that learns classes or TBS.

    Not to be used directly.
    """

    def __init__(
        self,
        backbone: str = "squeezenet1_0",
        mode: str = "texture",
        *,
        weights: str | os.PathLike | None = "imagenet",
        layers: Sequence[str] | None = None,
        scales: Sequence[float] = (1.0, 0.5),
        alpha: float | None = None,
        pooling: str = "network",
        dropout: float = 0.4,
        optimizer: str = "adamw",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        lr_schedule: str | None = "cosine",
        batch_size: int = 24,
        max_epochs: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.125,
        patience: int = 15,
        augmentation: RandomAugmentation | None = None,
        callbacks: Sequence[Any] | None = None,
        checkpoint: str | os.PathLike | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: np.random.RandomState | int | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            lr_schedule=lr_schedule,
            batch_size=batch_size,
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            augmentation=augmentation,
            callbacks=callbacks,
            checkpoint=checkpoint,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.backbone = backbone
        self.mode = mode
        self.weights = weights
        self.layers = layers
        self.scales = scales
        self.alpha = alpha
        self.pooling = pooling
        self.dropout = dropout

    def _check_architecture(self):
        check_backbone(self.backbone)
        check_option(self.mode, "mode", _MODES)
        check_weights(self.weights)
        check_option(self.pooling, "pooling", ("network", "statistics"))
        if self._has_statistics:
            check_layers(self.backbone, self.layers, self.weights)
            check_scales(self.scales)
        if self.alpha is not None:
            check_number(self.alpha, "alpha", low=0, inclusive=(False, True))
        check_number(self.dropout, "dropout", low=0, high=1, inclusive=(True, False))

    def resolve_max_epochs(self) -> int:
        """Return the maximum number of epochs of a fit.

        Returns
        -------
        max_epochs : int
            The parameter `max_epochs`; if it is None, 50 for ``mode="full"`` and
            20 for ``mode="head"``. A fit with ``mode="texture"`` counts as one.
        """
        if self.mode == "texture":
            return 1
        if self.max_epochs is None:
            return 50 if self.mode == "full" else 20
        return self.max_epochs

    def resolve_lr(self) -> float:
        """Return the learning rate of a fit.

        Returns
        -------
        lr : float
            The parameter `lr`; if it is None, 0.0001 for ``mode="full"`` and
            0.001 for ``mode="head"``.
        """
        if self.lr is None:
            return 0.001 if self.mode == "head" else 0.0001
        return self.lr

    @property
    def _head_only(self):
        return self.mode in ("head", "texture")

    @property
    def _trains_in_epochs(self):
        return self.mode != "texture"

    @property
    def _has_statistics(self):
        return self.mode == "texture" or (
            self.mode == "full" and self.pooling == "statistics"
        )

    _starts_in_closed_form = _has_statistics

    def _fit_normalization(self, images):
        self.intensity_mean_, self.intensity_std_ = colour_statistics(
            images, self.backbone, self.weights
        )

    def _count_outputs(self, n_classes):
        return super()._count_outputs(n_classes) if self._has_statistics else n_classes

    def _make_module(self, n_outputs):
        network: Any = PretrainedNetwork
        options: dict[str, Any] = {"dropout": self.dropout}
        if self._has_statistics:
            network = pretrained_texture_network
            options = {
                "layers": check_layers(self.backbone, self.layers, self.weights),
                "statistics": ("mean", "std"),
                "scales": check_scales(self.scales),
                "mirror": True,
            }
        return partial(
            network,
            self.backbone,
            self.image_shape_,
            self.intensity_mean_,
            self.intensity_std_,
            n_outputs,
            weights=self.weights,
            head_only=self._head_only,
            **options,
        )


class TBSPretrainedClassifier(BaseTBSClassifier, PretrainedEstimator):
    """A torchvision network that classifies trabecular bone.

    ``mode="texture"`` describes the maps of early layers by mean and standard
    deviation of each channel, and finds a linear head on them in closed form, in
    seconds. ``mode="full"`` trains the whole network in epochs (the paper's
    approach 1 [1]_), ``mode="head"`` a new last layer alone (approach 2).
    `from_paper` makes the paper's networks.

    With ``fit(..., tbs=...)`` the network learns the TBS value, and the classes follow
    from it. If TBS is known, this is the better way.

    Parameters
    ----------
    backbone : str, default="squeezenet1_0"
        Torchvision's name of the network. The paper's are "alexnet", "resnet18",
        "vgg16", "densenet121" and "squeezenet1_0".
    mode : {"texture", "full", "head"}, default="texture"
        "texture" describes the maps of frozen early layers, with a head in closed form.
        "full" trains all layers. "head" trains a new last layer, with everything else
        frozen, batch normalisation and dropout included.
    weights : {"imagenet", None} or path-like, default="imagenet"
        Initial weights. "imagenet" is torchvision's, downloaded once into its cache;
        None is random weights, and needs no download. A path names a state dict with
        torchvision's keys, ``.safetensors`` or written by ``torch.save``, of the whole
        network or of its backbone alone, or a folder with it under torchvision's name.
    layers : list of str, default=None
        Modules of the network, by torchvision's names, whose outputs are described with
        ``mode="texture"`` or ``pooling="statistics"``. Later layers are not computed.
        None takes two early layers of AlexNet, DenseNet, ResNet, SqueezeNet and VGG-16
        (with random weights, the first of them). For other networks, name early ones.
    scales : list of float, default=(1.0, 0.5)
        Factors by which scans are resized before their maps are described. At half the
        size, coarse texture is fine.
    alpha : float, default=None
        Strength of the ridge penalty of the closed form. None chooses it by
        cross-validation, by patient.
    pooling : {"network", "statistics"}, default="network"
        Only for ``mode="full"``. "network" trains the whole network with a new last
        layer. "statistics" trains the layers and the head of ``mode="texture"``, which
        start from its closed form.
    dropout : float, default=0.4
        Share of the inputs of the new last layer that is dropped in training. The head
        on statistics has no dropout.
    optimizer : {"adamw", "sgd"}, default="adamw"
        AdamW, or stochastic gradient descent. This and the parameters below, down to
        `patience`, are not used with ``mode="texture"``, which has no epochs.
    lr : float, default=None
        Learning rate; with a schedule, the highest. None is 0.0001 for ``mode="full"``
        and 0.001 for ``mode="head"``.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    weight_decay : float, default=0.01
        Weight decay of the optimiser.
    lr_schedule : {"cosine", "one-cycle", None}, default="cosine"
        "cosine" lets the learning rate fall to zero over all epochs. "one-cycle" first
        lets it rise from a 25th. None keeps it constant.
    batch_size : int, default=24
        Scans in a batch. Lower it if a GPU runs out of memory.
    max_epochs : int, default=None
        Epochs to train for, at most. None is 50 for ``mode="full"`` and 20 for
        ``mode="head"``.
    early_stopping : bool, default=False
        Whether to set scans aside, stop once the loss on them has not improved for
        `patience` epochs, and restore the weights of the best epoch.
    validation_fraction : float, default=0.125
        Share of the scans set aside for early stopping and, where TBS is learned, for
        `residual_std_`. Patients stay whole, and each class is on both sides.
    patience : int, default=15
        Epochs without improvement before training stops.
    thresholds : tuple of two floats, default=(1.200, 1.350)
        Borders of the partially degraded range, as in `TBSLabeler`. Used only where TBS
        is learned.
    loss : {"cross-entropy", "ordinal"}, default="cross-entropy"
        Loss in epochs; not used where TBS is learned. "ordinal" is class distance
        weighted cross-entropy [3]_: the further a wrong class is from the right one in
        `classes_`, the more it costs. With two classes both are the same.
    class_weight : {"balanced", None} or dict, default=None
        Weights of the classes in the loss, as in scikit-learn. The keys of a dict are
        class labels.
    augmentation : RandomAugmentation, default=None
        Random changes to the scans of training batches, new ones in every epoch. Scans
        that are set aside, predicted or fitted in closed form are never changed.
    callbacks : list of skorch callbacks, default=None
        Additional callbacks of the training, which are copied. They see classes as
        indices of `classes_` and TBS standardised, and end the training by raising
        ``KeyboardInterrupt`` in `on_epoch_end`.
    checkpoint : str or path-like, default=None
        File that keeps the training. After a crash, a kill or an error, the same call
        continues from the last epoch in the file. Once the training is over, it returns
        its result. See Notes.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" and so on. "auto" takes a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" is bfloat16 on processors that
        compute with it natively, else float32. Images at most 16 pixels wide, and those
        under 128 that are taller than wide, are always in float32.
    random_state : int, RandomState or None, default=None
        Seed of initial weights, dropout, shuffling and held-out scans. On one CPU, an
        int gives the same probabilities bit for bit, in threads, too. Global random
        states are left as they were found.
    verbose : int, default=0
        1 shows epoch, losses and the time left on stderr: one line in a terminal or
        notebook, some twenty lines in a file.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : DataFrame
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss`` if scans are set
        aside, ``seconds`` (the first with the time of the frozen layers), and what
        callbacks record. Losses are weighted means over all scans. With
        ``mode="texture"``, one row with the loss of the cross-validation.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1: with early stopping the one of the
        lowest validation loss, else the last.
    alpha_ : float
        Strength of the closed form.
    residual_std_ : float
        Standard deviation of TBS around the predicted value, in TBS units, on patients
        not trained on. Only if TBS was learned.
    tbs_mean_, tbs_scale_ : float
        Mean and spread by which TBS is standardised for the network. Only if TBS was
        learned.
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    spacing_ : ndarray of shape (2,) or None
        Height and width in mm of the pixels of the scans (their median); None if they
        are unknown, or differ by more than 2 %. Scans of another size give a warning.
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
    TBSPretrainedRegressor : The same networks predict the TBS value.
    TBSAdHocClassifier : Small networks trained from scratch.
    DeepTextureFeatures : The statistics alone, as a transformer.

    Notes
    -----
    Statistics of early maps that ignore positions are an old way to recognise
    textures; RADAM [2]_ is a recent form of it. Early layers see texture, later ones
    the objects of photographs. Statistics are means over a scan and its mirror image,
    and are compressed by ``arcsinh(10 * x)``. The closed form is a ridge regression of
    TBS on standardised statistics or, without `tbs`, of the classes, coded as -1 and 1.
    Outputs become probabilities by the spread of TBS or a logistic function, fitted to
    the predictions for patients held out in the cross-validation.

    With `tbs`, P(degraded) is the probability of a TBS below the lower threshold under
    a normal distribution around the predicted value, with `residual_std_` as its
    standard deviation. A range without a scan in the training set counts as impossible,
    for example if partially degraded scans are left out.

    With ImageNet weights, and with those of a file, grey levels are normalised
    as torchvision's networks expect them: the range of the depth is mapped to
    0-1, and ImageNet's mean and deviation follow. 8-bit scans have the range
    0-255; for 16-bit and floating-point scans, which rarely fill theirs, it is
    the range of the training scans. If the first convolution of a file has one
    channel, ImageNet's means over the three channels are taken: grey levels from 0 to 1
    are shifted by 0.449 and divided by 0.226. With random weights the mean and
    deviation of the training scans are taken. Grey scans become three equal channels
    in the batch.

    With ``mode="head"`` the output of the frozen layers for a scan never changes. It
    is computed once and kept in a temporary file, from which every epoch reads it: 20
    epochs cost little more than one prediction. With `augmentation`, which changes
    the scans, the frozen layers are computed in every epoch.

    The ReLU after the last layer of SqueezeNet is left out: with few classes, all
    outputs would soon be negative at once, and the network would stop learning.

    The file of `checkpoint` is complete at any time. It is written at the end of an
    epoch, unless that would take more than a twentieth of the time of the epochs since
    the last write, and at the end of the training. It then stays until you delete it.
    On one CPU, a resumed training ends with the same weights, bit for bit, as an
    uninterrupted one. With ``random_state=None`` it uses the seed in the file. A file
    of another training, by parameters (except `device` and `verbose`), data or
    versions, is refused with an error that names the difference, and so is a damaged
    file. Callbacks are kept by their attributes: numbers, texts, tensors, lists and
    dicts of these, and what has a ``state_dict``. A callback is refused at the end of
    an epoch if another attribute changes in training. Effects outside, such as written
    files, are not undone.
    With ``mode="texture"`` there are no epochs, and no file is written.

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., section III.C.
    .. [2] Scabini L et al., "RADAM: Texture Recognition through Randomized Aggregated
       Encoding of Deep Activation Maps", arXiv 2303.04554, 2023.
    .. [3] Polat G et al., "Class Distance Weighted Cross-Entropy Loss for Ulcerative
       Colitis Severity Estimation", MIUA 2022, arXiv 2202.05167.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSLabeler, TBSPretrainedClassifier
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(8, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSPretrainedClassifier(weights=None, random_state=0)
    >>> model = model.fit(crops, y, groups=scans.patient, tbs=scans.tbs)
    >>> model.predict_proba(crops).shape, model.predict_tbs(crops).shape
    ((8, 2), (8,))

    Without TBS values, and trained in epochs:

    >>> model = TBSPretrainedClassifier(
    ...     mode="head", weights=None, max_epochs=2, random_state=0
    ... )
    >>> model.fit(crops, y).n_epochs_
    2
    """

    def __init__(
        self,
        backbone: str = "squeezenet1_0",
        mode: str = "texture",
        *,
        weights: str | os.PathLike | None = "imagenet",
        layers: Sequence[str] | None = None,
        scales: Sequence[float] = (1.0, 0.5),
        alpha: float | None = None,
        pooling: str = "network",
        dropout: float = 0.4,
        optimizer: str = "adamw",
        lr: float | None = None,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        lr_schedule: str | None = "cosine",
        batch_size: int = 24,
        max_epochs: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.125,
        patience: int = 15,
        thresholds: tuple[float, float] = TBS_THRESHOLDS,
        loss: str = "cross-entropy",
        class_weight: Mapping[Any, float] | str | None = None,
        augmentation: RandomAugmentation | None = None,
        callbacks: Sequence[Any] | None = None,
        checkpoint: str | os.PathLike | None = None,
        device: str = "auto",
        precision: str = "auto",
        random_state: np.random.RandomState | int | None = None,
        verbose: int = 0,
    ):
        super().__init__(
            backbone,
            mode,
            weights=weights,
            layers=layers,
            scales=scales,
            alpha=alpha,
            pooling=pooling,
            dropout=dropout,
            optimizer=optimizer,
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            lr_schedule=lr_schedule,
            batch_size=batch_size,
            max_epochs=max_epochs,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            augmentation=augmentation,
            callbacks=callbacks,
            checkpoint=checkpoint,
            device=device,
            precision=precision,
            random_state=random_state,
            verbose=verbose,
        )
        self.thresholds = thresholds
        self.loss = loss
        self.class_weight = class_weight

    @classmethod
    def from_paper(
        cls, backbone: str, mode: Literal["full", "head"], **parameters: Any
    ) -> Self:
        """Make one of the networks of the paper's Tables III and IV.

        Parameters
        ----------
        backbone : str
            Torchvision's name of the network.
        mode : {"full", "head"}
            Train all layers (approach 1, 50 epochs), or the head alone (approach 2,
            20 epochs).
        **parameters : dict
            Parameters that differ from the paper's.

        Returns
        -------
        classifier : TBSPretrainedClassifier
            The network with the paper's stochastic gradient descent: learning rate
            0.0001, momentum 0.9, batches of 24, dropout 0.4.

        Examples
        --------
        >>> from tbsclassify import TBSPretrainedClassifier
        >>> TBSPretrainedClassifier.from_paper("resnet18", "head").optimizer
        'sgd'
        """
        check_option(mode, "mode", ("full", "head"))
        paper = PAPER_TRAINING | {"lr": 0.0001, "momentum": 0.9, "batch_size": 24}
        return cls(backbone, mode, **paper | {"dropout": 0.4} | parameters)


class TBSPretrainedRegressor(BaseTBSRegressor, PretrainedEstimator):
    """A torchvision network that predicts the TBS value.

    The networks and the modes are those of `TBSPretrainedClassifier`.

    Parameters
    ----------
    backbone : str, default="squeezenet1_0"
        Torchvision's name of the network. The paper's are "alexnet", "resnet18",
        "vgg16", "densenet121" and "squeezenet1_0".
    mode : {"texture", "full", "head"}, default="texture"
        "texture" describes the maps of frozen early layers, with a head in closed form.
        "full" trains all layers. "head" trains a new last layer, with everything else
        frozen, batch normalisation and dropout included.
    weights : {"imagenet", None} or path-like, default="imagenet"
        Initial weights. "imagenet" is torchvision's, downloaded once into its cache;
        None is random weights, and needs no download. A path names a state dict with
        torchvision's keys, ``.safetensors`` or written by ``torch.save``, of the whole
        network or of its backbone alone, or a folder with it under torchvision's name.
    layers : list of str, default=None
        Modules of the network, by torchvision's names, whose outputs are described with
        ``mode="texture"`` or ``pooling="statistics"``. Later layers are not computed.
        None takes two early layers of AlexNet, DenseNet, ResNet, SqueezeNet and VGG-16
        (with random weights, the first of them). For other networks, name early ones.
    scales : list of float, default=(1.0, 0.5)
        Factors by which scans are resized before their maps are described. At half the
        size, coarse texture is fine.
    alpha : float, default=None
        Strength of the ridge penalty of the closed form. None chooses it by
        cross-validation, by patient.
    pooling : {"network", "statistics"}, default="network"
        Only for ``mode="full"``. "network" trains the whole network with a new last
        layer. "statistics" trains the layers and the head of ``mode="texture"``, which
        start from its closed form.
    dropout : float, default=0.4
        Share of the inputs of the new last layer that is dropped in training. The head
        on statistics has no dropout.
    optimizer : {"adamw", "sgd"}, default="adamw"
        AdamW, or stochastic gradient descent. This and the parameters below, down to
        `patience`, are not used with ``mode="texture"``, which has no epochs.
    lr : float, default=None
        Learning rate; with a schedule, the highest. None is 0.0001 for ``mode="full"``
        and 0.001 for ``mode="head"``.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    weight_decay : float, default=0.01
        Weight decay of the optimiser.
    lr_schedule : {"cosine", "one-cycle", None}, default="cosine"
        "cosine" lets the learning rate fall to zero over all epochs. "one-cycle" first
        lets it rise from a 25th. None keeps it constant.
    batch_size : int, default=24
        Scans in a batch. Lower it if a GPU runs out of memory.
    max_epochs : int, default=None
        Epochs to train for, at most. None is 50 for ``mode="full"`` and 20 for
        ``mode="head"``.
    early_stopping : bool, default=False
        Whether to set scans aside, stop once the loss on them has not improved for
        `patience` epochs, and restore the weights of the best epoch.
    validation_fraction : float, default=0.125
        Share of the scans set aside for early stopping and for `residual_std_`.
        Patients stay whole.
    patience : int, default=15
        Epochs without improvement before training stops.
    augmentation : RandomAugmentation, default=None
        Random changes to the scans of training batches, new ones in every epoch. Scans
        that are set aside, predicted or fitted in closed form are never changed.
    callbacks : list of skorch callbacks, default=None
        Additional callbacks of the training, which are copied. They see TBS
        standardised, and end the training by raising ``KeyboardInterrupt`` in
        `on_epoch_end`.
    checkpoint : str or path-like, default=None
        File that keeps the training. After a crash, a kill or an error, the same call
        continues from the last epoch in the file. Once the training is over, it returns
        its result. See the notes of `TBSPretrainedClassifier`.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" and so on. "auto" takes a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" is bfloat16 on processors that
        compute with it natively, else float32. Images at most 16 pixels wide, and those
        under 128 that are taller than wide, are always in float32.
    random_state : int, RandomState or None, default=None
        Seed of initial weights, dropout, shuffling and held-out scans. On one CPU, an
        int gives the same probabilities bit for bit, in threads, too. Global random
        states are left as they were found.
    verbose : int, default=0
        1 shows epoch, losses and the time left on stderr: one line in a terminal or
        notebook, some twenty lines in a file.

    Attributes
    ----------
    history_ : DataFrame
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss`` if scans are set
        aside, ``seconds`` (the first with the time of the frozen layers), and what
        callbacks record. Losses are weighted means over all scans. With
        ``mode="texture"``, one row with the loss of the cross-validation.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1: with early stopping the one of the
        lowest validation loss, else the last.
    alpha_ : float
        Strength of the closed form.
    residual_std_ : float
        Standard deviation of TBS around the predicted value, in TBS units, on patients
        not trained on.
    tbs_mean_, tbs_scale_ : float
        Mean and spread by which TBS is standardised for the network.
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    spacing_ : ndarray of shape (2,) or None
        Height and width in mm of the pixels of the scans (their median); None if they
        are unknown, or differ by more than 2 %. Scans of another size give a warning.
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
    TBSPretrainedClassifier : Predicts ranges of TBS; its notes hold here, too.
    tbsclassify.metrics.regression_row : How well predicted values agree.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSPretrainedRegressor
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(8, random_state=0)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSPretrainedRegressor(weights=None, random_state=0)
    >>> model = model.fit(crops, scans.tbs, groups=scans.patient)
    >>> tbs, std = model.predict(crops, return_std=True)
    >>> tbs.shape, std.shape
    ((8,), (8,))
    """
