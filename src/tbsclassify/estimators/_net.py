"""The skorch net that the classifiers hold: training, loss, precision, device."""

import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split

from tbsclassify._progress import Progress
from tbsclassify.estimators._batches import Batches, ImageData
from tbsclassify.estimators._closed_form import LinearHead
from tbsclassify.estimators._folded import folded
from tbsclassify.estimators._memory import reused_memory
from tbsclassify.estimators._monitor import FeatureFile, FeatureMemo
from tbsclassify.estimators._oom import explained_oom
from tbsclassify.estimators._random import RandomStream
from tbsclassify.estimators._resume import TrainingFile
from tbsclassify.estimators._state import build_with, weights_of
from tbsclassify.estimators._stopping import StopTrainingError, is_ctrl_c

# Images of so few pixels across, and those of so few that are taller than wide, are
# never in bfloat16, see `resolve_precision`.
_NARROW, _NARROW_AND_TALL = 16, 128
# Skorch's names of the first columns of `history_`.
_COLUMNS = ("epoch", "train_loss", "valid_loss", "dur")


class NonFiniteLossError(FloatingPointError):
    """Training ran into a loss that is NaN or infinite."""


class TBSNet(NeuralNetClassifier):
    """A skorch classifier net fed by slices and stopped by real problems.

    The module returns logits, one for two classes (sigmoid) or one a class (softmax),
    or a standardised value. Classes are numbers, in the order of the classifier's
    `classes_`.

    Parameters
    ----------
    module : callable
        Builds the network.
    losses : callable
        Gives the loss of each image from outputs and targets.
    augmentation : RandomAugmentation or None
        Changes made to the images of each training step.
    autocast_dtype : torch.dtype or None
        Precision of the arithmetic; None is float32.
    precompute_features : bool
        Whether all but the module's head is frozen, so that what comes before it is
        computed once for each image.
    draws_in_training : bool
        Whether a training step draws random numbers, as dropout does.
    torch_seed, shuffle_seed : int
        Seeds of initial weights and dropout, and of the order of scans.
    """

    module: Any
    # Whether the network stays as it is: then it may predict by a twin.
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
        solve: Callable[[np.ndarray, ImageData], LinearHead] | None = None,
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
            Gives a head in closed form, from what the head gets of the scans.
        epochs : bool
            Whether to train in epochs. Else the closed form is all, and counts as one.
        on_epoch : callable or None
            Called with the net after each epoch, also after the one that a callback
            ends the training with, and with the epoch that a training goes on from.
        file : TrainingFile or None
            Where epochs are kept, and what the training goes on from.
        """
        self.random_stream_: Any = RandomStream(self.torch_seed, self.device)
        with explained_oom(self.batch_size):
            self.initialize()
        self._check_initial_weights()
        self.augmentation_generator_ = torch.Generator().manual_seed(self.shuffle_seed)
        self.shuffle_generator_ = torch.Generator().manual_seed(self.shuffle_seed)
        self.alpha_: float | None = None
        self.on_epoch_, self.file_ = on_epoch, file
        if file is not None and file.state is not None:
            solve = None  # what came of it is in the file
        start = time.perf_counter()
        head_only = getattr(self.module_, "head_only", False)
        memo = FeatureMemo() if on_epoch is not None and head_only else nullcontext()
        with reused_memory(), explained_oom(self.batch_size), memo as self.memo_:
            if solve is not None and not head_only:
                self._settle_batch_norm(data)
            features = data
            is_over = file is not None and file.is_over
            if (self.precompute_features and not is_over) or solve is not None:
                features = self.precompute(data)
            if solve is not None:
                self._set_head(solve, features)
            if self.precompute_features:
                data = features
                valid = None if valid is None else self.precompute(valid)
            self.seconds_before_epochs_ = time.perf_counter() - start
            if epochs:
                self._train_in_epochs(data, valid)
            elif self.on_epoch_ is not None:
                self.on_epoch_(self)
        return self

    def _settle_batch_norm(self, data):
        """Give batch normalisation the statistics of the scans to be trained on.

        A closed form sees maps as in prediction, which should be those of training.
        """
        batches = (
            x["images"].to(self.device) for x, _ in Batches(data, self.batch_size)
        )
        # In training mode some layers draw: EfficientNet drops paths.
        draws = self.random_stream_.drawing() if self.draws_in_training else None
        with self._autocast(), draws or nullcontext():
            torch.optim.swa_utils.update_bn(batches, self.module_)

    def _train_in_epochs(self, data, valid):
        self.history.clear()  # of what a start in closed form has recorded
        self.held_out_ = valid
        if valid is not None:
            self.train_split = predefined_split(valid)
        self.notify("on_train_begin", X=data, y=data.y)
        with suppress(StopTrainingError):
            self._go_on()
            total, before = self.max_epochs, len(self.history)
            with Progress(total, before, shown=bool(self.verbose)) as self.progress_:
                self.fit_loop(data, epochs=total - before)
        del self.history[_n_finished(self.history) :]
        self.notify("on_train_end", X=data, y=data.y)

    def _go_on(self):
        """Go on from where the training in the file has come to, if there is one."""
        if self.file_ is None:
            return
        is_over = self.file_.is_over
        self.file_.resume(self)
        # Whoever follows the training may have missed its last epoch.
        if self.history and self.on_epoch_ is not None:
            self.on_epoch_(self)
        if is_over:
            raise StopTrainingError

    def _set_head(self, solve, features):
        """Set the head in closed form, and record it as an epoch."""
        start = time.perf_counter()
        head = solve(features.images.cpu().numpy(), features)
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
        """Compute how far held-out targets are from the outputs, in a root mean square.

        Of a head in closed form, the outputs are those of its cross-validation.
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
        """Build the network, its weights drawn from the net's own stream."""
        with self.random_stream_.drawing():
            return super().initialize_module()

    def _check_initial_weights(self):
        for name, value in self.module_.state_dict().items():
            # Extremes are NaN where any value is; isfinite would take a copy of all.
            if value.numel() and not torch.stack(value.aminmax()).isfinite().all():
                raise ValueError(
                    f"Expected finite initial weights, got NaN or infinite values in "
                    f"{name!r}. The file that they come from is damaged: choose "
                    "another by weights=PATH, or weights=None."
                )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute what the head gets of a batch of images."""
        with self._autocast():
            return self.module_.features(images.to(self.device))

    def precompute(self, data: ImageData) -> ImageData:
        """Replace images by what the head gets of them, which is always the same."""
        self.module_.eval()
        with FeatureFile() as file:
            with torch.inference_mode():
                for x, _ in Batches(data, self.batch_size):
                    shape = file.append(self.features(x["images"]))
            stored = file.read((len(data), *shape[1:]))
        return ImageData(stored, data.target, data.weight, data.device, kind="features")

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run through the batches, and fetch losses from a GPU only at the end.

        Each one that is fetched there waits for all work before it. On a CPU none is
        kept as a tensor, for the sake of the heap.
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
        if not np.isfinite(losses).all():
            raise NonFiniteLossError(self._explain_loss(losses, training))

    def _explain_loss(self, losses, training):
        epoch = self.history[-1, "epoch"]
        part = "training" if training else "validation"
        text = f"The {part} loss became NaN or infinite in epoch {epoch}. "
        if training and epoch == 1 and not np.isfinite(losses[0]):
            return text + (
                "It was so in the first batch, before the first step, so that "
                f"lr={self.lr} is not the reason. Check the range of grey levels in X, "
                'sample_weight and callbacks, or use precision="float32".'
            )
        return text + (
            f"The training diverged: lower lr={self.lr} (by a factor of 10, say)."
        )

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Pass an event on, and tell a callback's wish to stop from Ctrl-C.

        A callback ends the training by ``raise KeyboardInterrupt``, as in skorch. At
        the end of an epoch the others still hear of it: early stopping has its loss
        to note. In the midst of an epoch, the epochs before it are kept, if any.
        """
        if method_name != "on_epoch_end":
            try:
                super().notify(method_name, **cb_kwargs)
            except KeyboardInterrupt as error:
                over = method_name == "on_train_end"
                if over or is_ctrl_c(error) or not _n_finished(self.history):
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
        """Slice batches, shuffled in training, in place of a DataLoader."""
        if not training:
            return Batches(dataset, self.batch_size)
        return Batches(dataset, self.batch_size, self.shuffle_generator_)

    def train_step(self, batch, **fit_params):
        """Take one step on a batch, whose images are augmented first."""
        if self.augmentation is not None:
            x, codes = batch
            draws = self.augmentation.draw(len(codes), self.augmentation_generator_)
            images = self.augmentation.apply(x["images"].to(self.device), draws)
            batch = x | {"images": images}, codes
        return super().train_step(batch, **fit_params)

    def infer(self, x: Any, **fit_params: Any) -> torch.Tensor:
        """Compute the outputs for a batch, in float32."""
        if not isinstance(x, dict):  # images that a callback predicts
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
        return torch.autocast(
            torch.device(self.device).type,
            dtype=self.autocast_dtype,
            enabled=self.autocast_dtype is not None,
        )

    def outputs(
        self, batches: Iterable[torch.Tensor], *, by_twin: bool = True
    ) -> torch.Tensor:
        """Compute the outputs for batches of images one by one, as they come.

        They become a list, not a tensor for each batch: those would stay in the heap
        between the feature maps of one batch and the next, which then grows. A network
        that is not trained any more may compute them by its folded twin.
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
        """Mean over the batch of each image's loss times its weight.

        Weights have a mean of 1 over the data set. Divided by the number of images,
        not by their weights, a batch counts for what its images weigh.
        """
        losses = self.losses(y_pred, y_true.to(self.device))
        weight = X["weight"].to(self.device)
        return (losses * weight).sum() / torch.full_like(losses[0], len(losses))

    def history_table(self) -> pd.DataFrame:
        """Return what was recorded of each epoch, one row an epoch."""
        names = dict.fromkeys(name for epoch in self.history for name in epoch)
        table = {
            "seconds" if name == "dur" else name: [
                epoch.get(name, np.nan) for epoch in self.history
            ]
            for name in dict.fromkeys([*_COLUMNS, *names])
            if name in names
            and name != "batches"
            and not name.endswith(("_best", "_batch_count"))
        }
        table["seconds"][0] += self.seconds_before_epochs_
        return pd.DataFrame(table)

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
        """Return what `restore` needs: plain values and arrays."""
        return {
            "weights": weights_of(self.module_),
            "history": [
                {name: value for name, value in epoch.items() if name != "batches"}
                for epoch in self.history
            ],
            "seconds_before_epochs": self.seconds_before_epochs_,
            "is_released": self.is_released,
            "device": str(next(self.module_.parameters()).device),
        }

    def restore(self, state: dict[str, Any]) -> Self:
        """Become a net that predicts as the one did whose `state` it was."""
        factory = self.module
        self.module = partial(build_with, factory, state["weights"])
        self.random_stream_ = RandomStream(0, self.device)  # nothing is drawn
        self.initialize()
        self.module = factory
        for epoch in state["history"]:
            self.history.append(epoch | {"batches": []})
        self.seconds_before_epochs_ = state["seconds_before_epochs"]
        # The arrangement of weights has a say in the last bits.
        self.release() if state["is_released"] else self._forget_training()
        return self


def _n_finished(history: Any) -> int:
    """Count the epochs that came to their end, when skorch notes their duration."""
    return sum("dur" in epoch for epoch in history)


def resolve_device(device: str) -> str:
    """Turn ``"auto"`` into CUDA where there is a GPU, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=str(device))
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(
            'Expected device to be "auto", "cpu" or a CUDA device that torch.cuda '
            f"lists, got {device!r} ({str(error).splitlines()[0]})."
        ) from None
    return str(device)


def resolve_precision(
    precision: str, device: str, image_shape: tuple[int, ...]
) -> torch.dtype | None:
    """Return the dtype to autocast to, or None for float32 throughout.

    ``"auto"`` takes bfloat16 only where the processor computes with it: CUDA
    from compute capability 8 on, CPUs with AVX-512 BF16 or AMX. Narrow images are
    in float32 always.
    """
    # On a CPU with AMX, a strided convolution in bfloat16 reads memory that nobody
    # wrote if its output is one pixel wide and taller than that; its gradient, if its
    # input is one pixel wide (PyTorch 2.14). Networks halve five times, most of them;
    # in ConvNeXt 63 pixels become one, in Inception 106.
    height, width = image_shape[-2:]
    if width <= _NARROW or width < min(height, _NARROW_AND_TALL):
        return None
    if precision == "float32":
        return None
    if precision == "bfloat16":
        return torch.bfloat16
    if torch.device(device).type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
    elif torch.device(device).type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))
    else:
        native = False
    return torch.bfloat16 if native else None
