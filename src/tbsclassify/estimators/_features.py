"""Channel statistics of a frozen network as features for any estimator."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from tbsclassify._spacing import remember_spacing, warn_of_spacings
from tbsclassify._validation import (
    check_bool,
    check_number,
    check_option,
    check_random_seed,
)
from tbsclassify.estimators._batches import as_tensor
from tbsclassify.estimators._device import (
    PRECISIONS,
    autocast,
    resolve_device,
    resolve_precision,
    same_or_cpu,
)
from tbsclassify.estimators._folded import folded
from tbsclassify.estimators._inputs import check_images, colour_statistics
from tbsclassify.estimators._memory import reused_memory
from tbsclassify.estimators._networks import check_backbone
from tbsclassify.estimators._oom import explained_oom
from tbsclassify.estimators._random import RandomStream
from tbsclassify.estimators._state import build_with, weights_of
from tbsclassify.estimators._statistics import (
    ChannelStatistics,
    check_layers,
    check_scales,
    check_statistics,
)
from tbsclassify.estimators._weights import check_weights
from tbsclassify.images import iter_batches


class DeepTextureFeatures(TransformerMixin, BaseEstimator):
    """Describe scans by channel statistics of a frozen torchvision network.

    The features of a scan are the mean and the standard deviation of each channel over
    the positions of its map, at several depths of the network. Early layers see
    texture. Standardise the features before an estimator learns from them.

    Parameters
    ----------
    backbone : str, default="squeezenet1_0"
        Torchvision's name of the network.
    weights : {"imagenet", None} or path-like, default="imagenet"
        Weights of the network. "imagenet" is torchvision's, downloaded once into its
        cache; None is random weights, and needs no download. A path names a state dict
        with torchvision's keys, ``.safetensors`` or written by ``torch.save``, or a
        folder that has it under torchvision's name; its first convolution may have one
        input channel, as in `TBSPretrainedClassifier`.
    layers : list of str, default=None
        Modules whose outputs are described, by torchvision's names. Later layers are
        not computed. None takes two early layers of AlexNet, DenseNet, ResNet,
        SqueezeNet and VGG-16 (with random weights, the first of them). For other
        networks, name early ones.
    statistics : list of {"mean", "std"}, default=("mean", "std")
        Statistics of each channel over all positions.
    scales : list of float, default=(1.0, 0.5)
        Factors by which scans are resized before they are described. At half the size,
        coarse texture is fine.
    mirror : bool, default=True
        Whether to average the statistics of a scan and its mirror image.
    batch_size : int, default=24
        Scans that are described at once.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" and so on. "auto" takes a GPU if there is one.
    precision : {"auto", "float32", "bfloat16"}, default="auto"
        Precision of the maps. "auto" takes bfloat16 on processors that compute with
        it natively, else float32. Statistics are always float32, and so are the maps
        of images at most 16 pixels wide, or under 128 and taller than wide.
    random_state : int, RandomState or None, default=None
        Seed of random weights. The global random state is left as it was found.

    Attributes
    ----------
    image_shape_ : tuple of three ints
        Channels, height and width of the scans.
    image_dtype_ : dtype
        Depth of the scans: uint8, uint16 or float32.
    spacing_ : ndarray of shape (2,) or None
        Height and width in mm of the pixels of the scans (their median); None if they
        are unknown, or differ by more than 2 %. Scans of another size give a warning.
    intensity_mean_, intensity_std_ : ndarray of shape (3,)
        Grey levels are shifted by the first and divided by the second at the
        network's input.
    module_ : torch.nn.Module
        The network, without layers after the deepest one.
    n_features_in_ : int
        Pixels of an image, over all channels.

    See Also
    --------
    TBSPretrainedClassifier : With ``mode="texture"``, these features with a head.
    tbsclassify.texture.VariogramFeatures : Texture without a network.

    Notes
    -----
    Scans are normalised as in `TBSPretrainedClassifier`. Scans given as paths are
    read batch by batch, so memory does not grow with their number. With ImageNet
    weights and 8 bits, nothing is learned from grey levels, and `fit` looks only at the
    first scan.

    Examples
    --------
    Together with age, as input of a ridge regression of TBS:

    >>> from sklearn.compose import make_column_transformer
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from tbsclassify import DeepTextureFeatures, LumbarCropper, make_dxa_phantoms
    >>> scans = make_dxa_phantoms(8, random_state=0)
    >>> boxes = [name for name in scans.frame if name[:1] == "L"]
    >>> features = make_pipeline(
    ...     LumbarCropper(64, scale="fit"),
    ...     DeepTextureFeatures(weights=None, random_state=0),
    ... )
    >>> model = make_pipeline(
    ...     make_column_transformer(
    ...         (features, ["image", *boxes]), ("passthrough", ["age"])
    ...     ),
    ...     StandardScaler(),
    ...     RidgeCV(),
    ... )
    >>> model.fit(scans.frame, scans.tbs).predict(scans.frame).shape
    (8,)
    """

    module_: ChannelStatistics

    def __init__(
        self,
        backbone: str = "squeezenet1_0",
        *,
        weights: str | os.PathLike | None = "imagenet",
        layers: Sequence[str] | None = None,
        statistics: Sequence[str] = ("mean", "std"),
        scales: Sequence[float] = (1.0, 0.5),
        mirror: bool = True,
        batch_size: int = 24,
        device: str = "auto",
        precision: str = "auto",
        random_state: np.random.RandomState | int | None = None,
    ):
        self.backbone = backbone
        self.weights = weights
        self.layers = layers
        self.statistics = statistics
        self.scales = scales
        self.mirror = mirror
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Build the network, and learn how scans are normalised.

        Parameters
        ----------
        X : array of shape (n_scans, height, width) or (n_scans, channels, \
height, width), or sequence
            Scans of one size: uint8, uint16 or floating-point grey levels. Or a
            sequence of such 2-D arrays or of paths, or a table with these in a
            column ``image``. An array of shape (n_samples, n_features) is read as
            images one row high.
        y : None
            Ignored.

        Returns
        -------
        self : DeepTextureFeatures
            The fitted transformer.

        Raises
        ------
        TypeError, ValueError
            If a parameter is not what its description says; if images differ in size,
            hold NaN, or are too small for the network.
        OSError
            If ImageNet weights are neither cached nor can be downloaded.
        """
        if hasattr(self, "module_"):
            del self.module_  # so that a failing refit leaves the transformer unfitted
        check_backbone(self.backbone)
        check_weights(self.weights)
        check_layers(self.backbone, self.layers, self.weights)
        check_statistics(self.statistics)
        check_scales(self.scales)
        check_bool(self.mirror, "mirror")
        check_number(self.batch_size, "batch_size", low=1, integer=True)
        check_option(self.precision, "precision", PRECISIONS)
        device = resolve_device(self.device)
        remember_spacing(self, X)
        warn_of_spacings(self, X)
        self.intensity_mean_, self.intensity_std_ = colour_statistics(
            self._iter_images(X), self.backbone, self.weights
        )
        stream = RandomStream(check_random_seed(self.random_state), device)
        with stream.drawing():
            self.module_ = self._make_module()()
        self.module_.requires_grad_(False).to(device).eval()
        return self

    def _make_module(self) -> partial[ChannelStatistics]:
        return partial(
            ChannelStatistics,
            self.backbone,
            self.image_shape_,
            self.intensity_mean_,
            self.intensity_std_,
            weights=self.weights,
            layers=check_layers(self.backbone, self.layers, self.weights),
            statistics=check_statistics(self.statistics),
            scales=check_scales(self.scales),
            mirror=self.mirror,
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "module_" in state:
            device = str(next(self.module_.buffers()).device)
            state["module_"] = {"weights": weights_of(self.module_), "device": device}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        module = state.pop("module_", None)
        super().__setstate__(state)
        if module is not None:
            self.module_ = build_with(self._make_module(), module["weights"])
            self.module_.requires_grad_(False).eval()
            self._move_to(same_or_cpu(module["device"]))

    def _move_to(self, device: str) -> None:
        """Bring the fitted network to another device."""
        if hasattr(self, "module_"):
            self.module_.to(resolve_device(device))

    def transform(self, X: Any) -> np.ndarray:
        """Describe scans.

        Parameters
        ----------
        X : array or sequence
            Scans, as in `fit`.

        Returns
        -------
        features : ndarray of float32 of shape (n_scans, n_features_out)
            A row for each scan.
        """
        check_is_fitted(self, "module_")
        warn_of_spacings(self, X)
        device = str(next(self.module_.buffers()).device)
        dtype = resolve_precision(self.precision, device, self.image_shape_)
        rows = []
        with (
            torch.inference_mode(),
            reused_memory(),
            explained_oom(),
            autocast(device, dtype),
        ):
            network = folded(self.module_, single=dtype is None)
            for batch in iter_batches(X, self.batch_size):
                images, _ = check_images(self, batch, reset=False)
                rows.append(network(as_tensor(images).to(device)).cpu().numpy())
        return np.concatenate(rows)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> np.ndarray:
        """Name the features by layer, statistic and channel.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored; images have no named features.

        Returns
        -------
        names : ndarray of str of shape (n_features_out,)
            Such as ``features.3/mean/17``, and ``features.3@0.5/mean/17`` at half the
            size.
        """
        check_is_fitted(self, "module_")
        return np.array(self.module_.names, dtype=object)

    def _iter_images(self, X: Any) -> Iterator[np.ndarray]:
        """Yield checked images; attributes are set from the first batch."""
        reset = True
        # Scikit-learn refuses sparse tables, some of which cannot be sliced.
        batches = [X] if issparse(X) else iter_batches(X, self.batch_size)
        for batch in batches:
            images, _ = check_images(self, batch, reset=reset)
            yield from images
            reset = False
