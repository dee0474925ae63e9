"""Small networks trained from scratch as estimators of classes and of TBS."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self

import numpy as np

from tbsclassify._validation import check_number, check_option
from tbsclassify.augmentation import RandomAugmentation
from tbsclassify.estimators._base import BaseTBSEstimator
from tbsclassify.estimators._classifier import BaseTBSClassifier
from tbsclassify.estimators._networks import (
    PAPER_MODELS,
    PAPER_TRAINING,
    adhoc_network,
)
from tbsclassify.estimators._regressor import BaseTBSRegressor
from tbsclassify.estimators._texture_network import adhoc_texture_network
from tbsclassify.labels import TBS_THRESHOLDS


class AdHocEstimator(BaseTBSEstimator):
    """A small convolutional network that learns classes or TBS.

    Not to be used directly.
    """

    # Neither convolutions nor batch normalisation draw random numbers.
    _draws_in_training = False

    def __init__(
        self,
        blocks: int = 3,
        filters: Sequence[int] = (16, 32, 64),
        fc: Sequence[int] = (),
        *,
        pooling: str | None = None,
        optimizer: str = "adamw",
        lr: float = 0.0003,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        lr_schedule: str | None = "one-cycle",
        batch_size: int = 24,
        max_epochs: int = 10,
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
        self.blocks = blocks
        self.filters = filters
        self.fc = fc
        self.pooling = pooling

    def _check_architecture(self):
        check_number(self.blocks, "blocks", low=0, integer=True)
        for name in ("filters", "fc"):
            sizes = getattr(self, name)
            if isinstance(sizes, str) or not np.iterable(sizes):
                raise TypeError(
                    f"Expected {name} to be a sequence of integers such as "
                    f"(8, 28, 36), got {sizes!r}."
                )
            for i, size in enumerate(sizes):
                check_number(size, f"{name}[{i}]", low=1, integer=True)
        if self.pooling is not None:
            check_option(self.pooling, "pooling", ("flatten", "statistics"))
        if self.pooling == "statistics" and len(self.fc):
            raise ValueError(
                'Expected fc to be empty with pooling="statistics", whose head is '
                f'linear, got {self.fc!r}. Use pooling="flatten", or fc=().'
            )
        if self._starts_in_closed_form and not self.blocks:
            raise ValueError(
                'Expected blocks to be 1 at least with pooling="statistics", which '
                'describes the maps of blocks, got 0. Use pooling="flatten".'
            )
        if len(self.filters) != self.blocks:
            raise ValueError(
                f"Expected filters to hold one number for each of blocks="
                f"{self.blocks} blocks, got {len(self.filters)}: {self.filters!r}."
            )

    @property
    def _starts_in_closed_form(self):
        return self.pooling == "statistics" or (
            self.pooling is None and not len(self.fc)
        )

    def _make_module(self, n_outputs):
        shape, filters = self.image_shape_, tuple(self.filters)
        levels = self.intensity_mean_, self.intensity_std_
        if self._starts_in_closed_form:
            return partial(adhoc_texture_network, shape, *levels, filters, n_outputs)
        return partial(
            adhoc_network, shape, *levels, filters, tuple(self.fc), n_outputs
        )


class TBSAdHocClassifier(BaseTBSClassifier, AdHocEstimator):
    """A small network trained from scratch to classify trabecular bone.

    Blocks of a 3x3 convolution, batch normalisation, ReLU and 2x2 max pooling are
    followed by a linear head on statistics of their maps, or by fully connected layers
    (the paper's approach 3 [1]_). The output is one sigmoid for two classes, and
    softmax for more. `from_paper` makes the paper's four networks, with its training.

    With ``fit(..., tbs=...)`` the network learns the TBS value, and the classes follow
    from it. If TBS is known, this is the better way.

    Parameters
    ----------
    blocks : int, default=3
        Number of convolution blocks.
    filters : sequence of int, default=(16, 32, 64)
        Filters of each block.
    fc : sequence of int, default=()
        Sizes of the hidden fully connected layers after flattened maps, without the
        output layer.
    pooling : {"statistics", "flatten"}, default=None
        "statistics" puts a linear head on mean and standard deviation of the maps of
        every block. It starts from the closed form on random filters, and then
        everything is trained. "flatten" passes the last maps to the fully connected
        layers. None is "flatten" if `fc` has layers, else "statistics".
    optimizer : {"adamw", "sgd"}, default="adamw"
        AdamW, or stochastic gradient descent.
    lr : float, default=0.0003
        Learning rate; with a schedule, the highest.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    weight_decay : float, default=0.01
        Weight decay of the optimiser.
    lr_schedule : {"one-cycle", "cosine", None}, default="one-cycle"
        "one-cycle" lets the learning rate rise from a 25th, and then fall to zero, over
        all epochs. "cosine" only lets it fall. None keeps it constant.
    batch_size : int, default=24
        Scans in a batch. Lower it if a GPU runs out of memory.
    max_epochs : int, default=10
        Epochs to train for, at most.
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
        weighted cross-entropy [2]_: the further a wrong class is from the right one in
        `classes_`, the more it costs. With two classes both are the same.
    class_weight : {"balanced", None} or dict, default=None
        Weights of the classes in the loss, as in scikit-learn. The keys of a dict are
        class labels.
    augmentation : RandomAugmentation, default=None
        Random changes to the scans of training batches, new ones in every epoch. Scans
        that are set aside or predicted are never changed.
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
        Seed of initial weights, shuffling and held-out scans. On one CPU, an int gives
        the same probabilities bit for bit, in threads, too. Global random states are
        left as they were found.
    verbose : int, default=0
        1 shows epoch, losses and the time left on stderr: one line in a terminal or
        notebook, some twenty lines in a file.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels.
    history_ : DataFrame
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss`` if scans are set
        aside, ``seconds``, and what callbacks record. Losses are weighted means over
        all scans.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1: with early stopping the one of the
        lowest validation loss, else the last.
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
        Mean and standard deviation of the training scans' grey levels, by which the
        network standardises its input.
    net_ : skorch.NeuralNetClassifier
        The trained net; its ``module_`` is the PyTorch module.
    device_ : str
        Device of the trained network.
    n_features_in_ : int
        Pixels of an image, over all channels.

    See Also
    --------
    TBSAdHocRegressor : The same networks predict the TBS value.
    TBSPretrainedClassifier : Networks pretrained on photographs.

    Notes
    -----
    With `tbs`, P(degraded) is the probability of a TBS below the lower threshold under
    a normal distribution around the predicted value, with `residual_std_` as its
    standard deviation.

    The paper does not state the activation between the fully connected layers nor
    the initial weights: we use ReLU and PyTorch's defaults. Its validation set is
    augmented, ours is not.

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

    References
    ----------
    .. [1] Int J Adv Comput Sci Appl 15(6), 2024, pp. 1554 ff., section III.D
       and Table II.
    .. [2] Polat G et al., "Class Distance Weighted Cross-Entropy Loss for Ulcerative
       Colitis Severity Estimation", MIUA 2022, arXiv 2202.05167.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSAdHocClassifier, TBSLabeler
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, class_shares=(1, 0, 1), random_state=0)
    >>> y = TBSLabeler().fit_transform(scans.tbs)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSAdHocClassifier(
    ...     blocks=2, filters=(4, 8), max_epochs=3, random_state=0
    ... )
    >>> model.fit(crops, y, groups=scans.patient, tbs=scans.tbs).n_epochs_
    3
    >>> model.predict_tbs(crops).shape
    (24,)
    """

    def __init__(
        self,
        blocks: int = 3,
        filters: Sequence[int] = (16, 32, 64),
        fc: Sequence[int] = (),
        *,
        pooling: str | None = None,
        optimizer: str = "adamw",
        lr: float = 0.0003,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
        lr_schedule: str | None = "one-cycle",
        batch_size: int = 24,
        max_epochs: int = 10,
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
            blocks,
            filters,
            fc,
            pooling=pooling,
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
    def from_paper(cls, name: str, **parameters: Any) -> Self:
        """Make one of the four models of the paper's Table II.

        Parameters
        ----------
        name : {"model1", "model2", "model3", "model4"}
            The model.
        **parameters : dict
            Parameters that differ from the paper's.

        Returns
        -------
        classifier : TBSAdHocClassifier
            The model with the table's architecture, batch size, learning rate
            and momentum.

        Examples
        --------
        >>> from tbsclassify import TBSAdHocClassifier
        >>> model = TBSAdHocClassifier.from_paper("model3", random_state=0)
        >>> model.filters, model.fc, model.lr
        ((8, 16, 32), (100,), 0.001)
        """
        check_option(name, "name", PAPER_MODELS)
        paper = PAPER_TRAINING | {
            "pooling": "flatten",
            "max_epochs": 200,
            "early_stopping": True,
            "patience": 15,
        }
        return cls(**paper | PAPER_MODELS[name] | parameters)


class TBSAdHocRegressor(BaseTBSRegressor, AdHocEstimator):
    """A small convolutional network that predicts the TBS value.

    The networks are those of `TBSAdHocClassifier`.

    Parameters
    ----------
    blocks : int, default=3
        Number of convolution blocks.
    filters : sequence of int, default=(16, 32, 64)
        Filters of each block.
    fc : sequence of int, default=()
        Sizes of the hidden fully connected layers after flattened maps, without the
        output layer.
    pooling : {"statistics", "flatten"}, default=None
        "statistics" puts a linear head on mean and standard deviation of the maps of
        every block. It starts from the closed form on random filters, and then
        everything is trained. "flatten" passes the last maps to the fully connected
        layers. None is "flatten" if `fc` has layers, else "statistics".
    optimizer : {"adamw", "sgd"}, default="adamw"
        AdamW, or stochastic gradient descent.
    lr : float, default=0.0003
        Learning rate; with a schedule, the highest.
    momentum : float, default=0.9
        Momentum of stochastic gradient descent.
    weight_decay : float, default=0.01
        Weight decay of the optimiser.
    lr_schedule : {"one-cycle", "cosine", None}, default="one-cycle"
        "one-cycle" lets the learning rate rise from a 25th, and then fall to zero, over
        all epochs. "cosine" only lets it fall. None keeps it constant.
    batch_size : int, default=24
        Scans in a batch. Lower it if a GPU runs out of memory.
    max_epochs : int, default=10
        Epochs to train for, at most.
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
        that are set aside or predicted are never changed.
    callbacks : list of skorch callbacks, default=None
        Additional callbacks of the training, which are copied. They see TBS
        standardised, and end the training by raising ``KeyboardInterrupt`` in
        `on_epoch_end`.
    checkpoint : str or path-like, default=None
        File that keeps the training. After a crash, a kill or an error, the same call
        continues from the last epoch in the file. Once the training is over, it returns
        its result. See the notes of `TBSAdHocClassifier`.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" and so on. "auto" takes a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the network's arithmetic. "auto" is bfloat16 on processors that
        compute with it natively, else float32. Images at most 16 pixels wide, and those
        under 128 that are taller than wide, are always in float32.
    random_state : int, RandomState or None, default=None
        Seed of initial weights, shuffling and held-out scans. On one CPU, an int gives
        the same probabilities bit for bit, in threads, too. Global random states are
        left as they were found.
    verbose : int, default=0
        1 shows epoch, losses and the time left on stderr: one line in a terminal or
        notebook, some twenty lines in a file.

    Attributes
    ----------
    history_ : DataFrame
        A row for each epoch: ``epoch``, ``train_loss``, ``valid_loss`` if scans are set
        aside, ``seconds``, and what callbacks record. Losses are weighted means over
        all scans.
    n_epochs_ : int
        Epochs trained.
    best_epoch_ : int
        Epoch whose weights are kept, counted from 1: with early stopping the one of the
        lowest validation loss, else the last.
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
        Mean and standard deviation of the training scans' grey levels, by which the
        network standardises its input.
    net_ : skorch.NeuralNetClassifier
        The trained net; its ``module_`` is the PyTorch module.
    device_ : str
        Device of the trained network.
    n_features_in_ : int
        Pixels of an image, over all channels.

    See Also
    --------
    TBSAdHocClassifier : Predicts ranges of TBS.
    tbsclassify.metrics.regression_row : How well predicted values agree.

    Examples
    --------
    >>> from tbsclassify import LumbarCropper, TBSAdHocRegressor
    >>> from tbsclassify.datasets import make_dxa_phantoms
    >>> scans = make_dxa_phantoms(24, random_state=0)
    >>> crops = LumbarCropper(size=64, scale="fit").fit_transform(scans.frame)
    >>> model = TBSAdHocRegressor(
    ...     blocks=2, filters=(4, 8), max_epochs=3, random_state=0
    ... )
    >>> tbs = model.fit(crops, scans.tbs, groups=scans.patient).predict(crops)
    >>> tbs.shape
    (24,)
    """
