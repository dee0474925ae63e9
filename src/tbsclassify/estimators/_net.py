"""The skorch net inside the estimators: training, loss, outputs."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split

from tbsclassify._progress import Progress
from tbsclassify.estimators._batches import Batches, ImageData
from tbsclassify.estimators._closed_form import LinearHead
from tbsclassify.estimators._device import autocast
from tbsclassify.estimators._folded import folded
from tbsclassify.estimators._history import count_finished, without_batches
from tbsclassify.estimators._losses import check_losses
from tbsclassify.estimators._memory import reused_memory
from tbsclassify.estimators._monitor import FeatureFile, FeatureMemo
from tbsclassify.estimators._oom import explained_oom
from tbsclassify.estimators._random import RandomStream
from tbsclassify.estimators._resume import TrainingFile
from tbsclassify.estimators._state import build_with, weights_of
from tbsclassify.estimators._stopping import StopTrainingError, is_ctrl_c
from tbsclassify.estimators._weights import check_finite_weights


class TBSNet(NeuralNetClassifier):
    """A skorch net that slices its batches, and whose errors reach the caller.

    The module returns logits, one for two classes (sigmoid) or one a class (softmax),
    or a standardised value. Classes are numbers, in the order of the classifier's
    `classes_`.

    Parameters
    ----------
    module : callable
        Builds the network.
    losses : callable
        Computes the loss of each image from outputs and targets.
    augmentation : RandomAugmentation or None
        Changes made to the images of each training step.
    autocast_dtype : torch.dtype or None
        Precision of the arithmetic; None is float32.
    precompute_features : bool
        Whether all but the head of the module is frozen, so that the features before
        it are computed only once for each image.
    draws_in_training : bool
        Whether a training step draws random numbers, as dropout does.
    torch_seed, shuffle_seed : int
        Seeds of initial weights and dropout, and of the order of scans.
    """

    module: Any
    # Whether the network will not change any more: then a folded twin may predict.
    is_released = False

    def __init__(
        self,
        module: Callable[[], torch.nn.Module],
        *args: Any,
        losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        augmentation: Any = None,
        autocast_dtype: torch.dtype | None = None,
        precompute_features: bool = False,
        draws_in_training: bool = True,
        torch_seed: int = 0,
        shuffle_seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(module, *args, **kwargs)
        self.losses = losses
        self.augmentation = augmentation
        self.autocast_dtype = autocast_dtype
        self.precompute_features = precompute_features
        self.draws_in_training = draws_in_training
        self.torch_seed = torch_seed
        self.shuffle_seed = shuffle_seed

    def train(
        self,
        data: ImageData,
        valid: ImageData | None = None,
        *,
        solve: Callable[[np.ndarray, np.ndarray, np.ndarray], LinearHead] | None = None,
        epochs: bool = True,
        on_epoch: Callable[[Self], None] | None = None,
        file: TrainingFile | None = None,
    ) -> Self:
        """Train on `data`; unlike skorch's `fit`, let Ctrl-C through.

        Parameters
        ----------
        data, valid : ImageData
            Scans to train and to validate on.
        solve : callable or None
            Returns a head in closed form for features, targets and weights of scans.
        epochs : bool
            Whether to train in epochs. If not, the closed form alone counts as one.
        on_epoch : callable or None
            Called with the net after each epoch, including one in which a callback
            stops the training, and the one from which a training is resumed.
        file : TrainingFile or None
            Keeps the epochs; a training in it is resumed.
        """
        self.on_epoch_, self.file_ = on_epoch, file
        self._draw_weights()
        if file is not None and file.state is not None:
            solve = None  # its result is in the file
        start = time.perf_counter()
        follows = on_epoch is not None and self._is_frozen
        memo = FeatureMemo() if follows else nullcontext()
        with reused_memory(), explained_oom(self.batch_size), memo as self.memo_:
            data, valid = self._before_epochs(data, valid, solve)
            self.seconds_before_epochs_ = time.perf_counter() - start
            if epochs:
                self._train_in_epochs(data, valid)
            elif self.on_epoch_ is not None:
                self.on_epoch_(self)
        return self

    def _draw_weights(self):
        """Build the network, and set up all that draws random numbers."""
        self.random_stream_: Any = RandomStream(self.torch_seed, self.device)
        with explained_oom(self.batch_size):
            self.initialize()
        check_finite_weights(self.module_)
        self.augmentation_generator_ = torch.Generator().manual_seed(self.shuffle_seed)
        self.shuffle_generator_ = torch.Generator().manual_seed(self.shuffle_seed)

    @property
    def _is_frozen(self):
        """Whether all but the head of the network is frozen."""
        return getattr(self.module_, "head_only", False)

    def _before_epochs(self, data, valid, solve):
        """Set the head in closed form, and return the data to train on in epochs.

        These are features in place of images, if they are computed only once.
        """
        self.alpha_: float | None = None
        if solve is not None and not self._is_frozen:
            self._settle_batch_norm(data)
        features = data
        is_over = self.file_ is not None and self.file_.is_over
        if (self.precompute_features and not is_over) or solve is not None:
            features = self.precompute(data)
        if solve is not None:
            self._set_head(solve, features)
        if not self.precompute_features:
            return data, valid
        return features, None if valid is None else self.precompute(valid)

    def _settle_batch_norm(self, data):
        """Give batch normalisation the statistics of the training scans.

        A closed form is found for maps as in prediction, which depend on them.
        """
        batches = (
            x["images"].to(self.device) for x, _ in Batches(data, self.batch_size)
        )
        # In training mode some layers draw random numbers: EfficientNet drops paths.
        draws = self.random_stream_.drawing() if self.draws_in_training else None
        with self._autocast(), draws or nullcontext():
            torch.optim.swa_utils.update_bn(batches, self.module_)

    def _train_in_epochs(self, data, valid):
        self.history.clear()  # of the epoch recorded for a closed form
        self.held_out_ = valid
        if valid is not None:
            self.train_split = predefined_split(valid)
        self.notify("on_train_begin", X=data, y=data.y)
        with suppress(StopTrainingError):
            self._go_on()
            total, before = self.max_epochs, len(self.history)
            with Progress(total, before, shown=bool(self.verbose)) as self.progress_:
                self.fit_loop(data, epochs=total - before)
        del self.history[count_finished(self.history) :]
        self.notify("on_train_end", X=data, y=data.y)

    def _go_on(self):
        """Resume the training in the file, if there is one."""
        if self.file_ is None:
            return
        is_over = self.file_.is_over
        self.file_.resume(self)
        # A function that follows the training may have missed its last epoch.
        if self.history and self.on_epoch_ is not None:
            self.on_epoch_(self)
        if is_over:
            raise StopTrainingError

    def _set_head(self, solve, features):
        """Set the head in closed form, and record it as an epoch."""
        start = time.perf_counter()
        head = solve(
            features.images.cpu().numpy(),
            features.y,
            features.weight.cpu().numpy().astype(np.float64),
        )
        self.module_.set_head(head)
        self.alpha_ = head.alpha
        rows = torch.from_numpy(head.rows).to(features.target.device)
        held_out = torch.from_numpy(head.held_out)
        target, weight = features.target[rows].cpu(), features.weight[rows].cpu()
        self.held_out_ = held_out, target, weight
        fitted = torch.from_numpy(head.predict(features.images[rows].cpu().numpy()))
        self.history.new_epoch()
        self.history.record("epoch", 1)
        for name, outputs in (("train_loss", fitted), ("valid_loss", held_out)):
            losses = self.losses(outputs, target)
            self.history.record(name, float((losses * weight).sum() / weight.sum()))
        self.history.record("dur", time.perf_counter() - start)

    def held_out_deviation(self) -> float:
        """Compute the root mean square error on held-out scans.

        For a head in closed form, that of its cross-validation.
        """
        if isinstance(self.held_out_, tuple):
            outputs, target, weight = self.held_out_
        else:
            data = self.held_out_
            self.module_.eval()
            with torch.inference_mode():
                batches = [
                    self.infer(x).cpu() for x, _ in Batches(data, self.batch_size)
                ]
            outputs = torch.cat(batches)
            target, weight = data.target.cpu(), data.weight.cpu()
        squares = (outputs[:, 0].double() - target.double()) ** 2
        return float(((squares * weight).sum() / weight.sum()).sqrt())

    def initialize_module(self) -> Self:
        """Build the network, with weights drawn from the net's own random stream."""
        with self.random_stream_.drawing():
            return super().initialize_module()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the features of a batch of images, the input of the head."""
        with self._autocast():
            return self.module_.features(images.to(self.device))

    def precompute(self, data: ImageData) -> ImageData:
        """Replace images by their features, which a frozen backbone never changes."""
        self.module_.eval()
        with FeatureFile() as file:
            with torch.inference_mode():
                for x, _ in Batches(data, self.batch_size):
                    shape = file.append(self.features(x["images"]))
            stored = file.read((len(data), *shape[1:]))
        return ImageData(stored, data.target, data.weight, data.device, kind="features")

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run through the batches, and fetch losses from a GPU only at the end.

        Fetching a loss waits for all work before it. On a CPU losses become numbers at
        once, because tensors kept between batches would make the heap grow.
        """
        if iterator is None:
            return
        records = []
        for batch in iterator:
            self.notify("on_batch_begin", batch=batch, training=training)
            step = step_fn(batch, **fit_params)
            loss = step["loss"].detach()
            loss = loss.item() if loss.device.type == "cpu" else loss
            self.history.record_batch(f"{prefix}_loss", loss)
            self.history.record_batch(f"{prefix}_batch_size", len(batch[1]))
            records.append(self.history[-1]["batches"][-1])
            self.notify("on_batch_end", batch=batch, training=training, **step)
        for record in records:
            record[f"{prefix}_loss"] = float(record[f"{prefix}_loss"])
        self.history.record(f"{prefix}_batch_count", len(records))
        losses = [record[f"{prefix}_loss"] for record in records]
        check_losses(losses, training, epoch=self.history[-1, "epoch"], lr=self.lr)

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Pass an event on, and tell a callback that stops the training from Ctrl-C.

        A callback stops the training by ``raise KeyboardInterrupt``, as in skorch. At
        the end of an epoch the other callbacks are still called, because early stopping
        must see the loss. In the middle of an epoch, only earlier epochs are kept.
        """
        if method_name != "on_epoch_end":
            try:
                super().notify(method_name, **cb_kwargs)
            except KeyboardInterrupt as error:
                over = method_name == "on_train_end"
                if over or is_ctrl_c(error) or not count_finished(self.history):
                    raise
                raise StopTrainingError from None
            return
        self.on_epoch_end(self, **cb_kwargs)
        stop = False
        for _, callback in self.callbacks_:
            try:
                callback.on_epoch_end(self, **cb_kwargs)
            except KeyboardInterrupt as error:
                if is_ctrl_c(error):
                    raise
                stop = True
        self.progress_.show(len(self.history), self._last_epoch_in_words())
        if self.file_ is not None:
            is_last = len(self.history) >= self.max_epochs
            self.file_.keep(self, over=stop or is_last)
        if self.on_epoch_ is not None:
            self.on_epoch_(self)
        if stop:
            raise StopTrainingError

    def _last_epoch_in_words(self):
        """Say which epoch it was, with its losses and what callbacks have measured."""
        measured = [
            f"{name} {value:.4g}"
            for name, value in self.history[-1].items()
            if isinstance(value, float) and name != "dur"
        ]
        return ", ".join([f"epoch {len(self.history)}/{self.max_epochs}", *measured])

    def get_iterator(self, dataset, training=False):
        """Slice batches instead of loading them; shuffled in training."""
        if not training:
            return Batches(dataset, self.batch_size)
        return Batches(dataset, self.batch_size, self.shuffle_generator_)

    def train_step(self, batch, **fit_params):
        """Augment the images of a batch, and take one step."""
        if self.augmentation is not None:
            x, codes = batch
            draws = self.augmentation.draw(len(codes), self.augmentation_generator_)
            images = self.augmentation.apply(x["images"].to(self.device), draws)
            batch = x | {"images": images}, codes
        return super().train_step(batch, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Compute the outputs for a batch, in float32."""
        if not isinstance(x, dict):  # images, from a callback that predicts
            x = torch.as_tensor(x)
            x = {"images": x if x.ndim == 4 else x[:, None]}
        draws = self.draws_in_training and self.module_.training
        with (
            self._autocast(),
            self.random_stream_.drawing() if draws else nullcontext(),
        ):
            return self._apply(self.module_, x)

    def _apply(self, network, x):
        if "features" in x:
            return network.classify(x["features"].to(self.device)).float()
        return network(x["images"].to(self.device)).float()

    def _autocast(self):
        return autocast(self.device, self.autocast_dtype)

    def outputs(
        self, batches: Iterable[torch.Tensor], *, by_twin: bool = True
    ) -> torch.Tensor:
        """Compute the outputs for batches of images, batch by batch.

        They are collected in a list: tensors would lie in the heap between the feature
        maps of one batch and the next, and it would grow. With `by_twin`, the folded
        twin of a trained network computes them.
        """
        self.module_.eval()
        rows = []
        with torch.inference_mode(), reused_memory(), explained_oom(), self._autocast():
            network = self.module_
            if by_twin and self.is_released:
                network = folded(network, single=self.autocast_dtype is None)
            for images in batches:
                x = {"images": images}
                if self.memo_ is not None:
                    x = {"features": self.memo_.features(images, self.features)}
                rows += self._apply(network, x).tolist()
        return torch.tensor(rows)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Compute the mean over the batch of each image's loss times its weight.

        Weights have a mean of 1 over the data set. The sum is divided by the number of
        images, not by that of weights, so a batch counts by the weights of its images.
        """
        losses = self.losses(y_pred, y_true.to(self.device))
        weight = X["weight"].to(self.device)
        return (losses * weight).sum() / torch.full_like(losses[0], len(losses))

    def release(self) -> None:
        """Drop what only training needs, and arrange weights for prediction."""
        self.is_released = True
        self.module_.to(memory_format=torch.channels_last)
        self._forget_training()

    def _forget_training(self):
        self.callbacks = None
        self.callbacks_: list[Any] = []
        self.train_split = None
        self.random_stream_ = None
        self.on_epoch_ = self.file_ = self.memo_ = self.held_out_ = None
        self.optimizer_.state.clear()
        self.optimizer_.zero_grad(set_to_none=True)
        for epoch in self.history:
            epoch["batches"].clear()

    def state(self) -> dict[str, Any]:
        """Return the plain values and arrays that `restore` needs."""
        return {
            "weights": weights_of(self.module_),
            "history": without_batches(self.history),
            "seconds_before_epochs": self.seconds_before_epochs_,
            "is_released": self.is_released,
            "device": str(next(self.module_.parameters()).device),
        }

    def restore(self, state: dict[str, Any]) -> Self:
        """Become a net that predicts like the one whose `state` is given."""
        factory = self.module
        self.module = partial(build_with, factory, state["weights"])
        self.random_stream_ = RandomStream(0, self.device)  # nothing is drawn
        self.initialize()
        self.module = factory
        for epoch in state["history"]:
            self.history.append(epoch | {"batches": []})
        self.seconds_before_epochs_ = state["seconds_before_epochs"]
        # The memory layout of weights changes the last bits of outputs.
        self.release() if state["is_released"] else self._forget_training()
        return self
