"""The skorch net that the classifiers hold: batches, loss, precision, seeds."""

import tempfile
import time
import warnings
from contextlib import contextmanager, suppress

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.helper import predefined_split
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tbsclassify.estimators._memory import reused_memory

# More than this stays off the GPU, and is brought there batch by batch.
_RESIDENT_BYTES = 2**32


class ImageData(torch.utils.data.Dataset):
    """Images, class codes and weights as tensors from which batches are sliced.

    Images keep their dtype: a uint8 data set takes a quarter of the memory of
    float32, and a batch is converted when it enters the network. What a frozen
    backbone made of the images may stand in their place, and is then called
    "features".
    """

    def __init__(self, images, codes, weight, device, *, kind="images"):
        self.kind = kind
        self.device = device
        self.images = as_tensor(images)
        if images.nbytes <= _RESIDENT_BYTES:
            self.images = self.images.to(device)
        else:
            device = "cpu"
        self.codes = torch.as_tensor(codes, dtype=torch.int64, device=device)
        self.weight = torch.as_tensor(weight, dtype=torch.float32, device=device)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        images = self.images
        if images.dtype == torch.uint16:  # which not every PyTorch can index
            images = images.view(torch.int16)[index].view(torch.uint16)
        else:
            images = images[index]
        return {self.kind: images, "weight": self.weight[index]}, self.codes[index]


def as_tensor(images):
    """Return an array as a tensor that shares its memory."""
    with warnings.catch_warnings():
        # Memory-mapped images are read-only, and nothing here writes to them.
        warnings.filterwarnings("ignore", message=".*not writable")
        return torch.from_numpy(images)


class Batches:
    """Iterate over whole batches, each one slice of the data set.

    A last batch of one image joins the batch before it, since batch
    normalisation cannot be trained on one.
    """

    def __init__(self, data, batch_size, generator=None):
        self.data = data
        self.batch_size = batch_size
        self.generator = generator

    def __len__(self):
        n, size = len(self.data), self.batch_size
        return max(1, n // size + (n % size > 1))

    def __iter__(self):
        n, n_batches = len(self.data), len(self)
        starts = [i * self.batch_size for i in range(n_batches)]
        if self.generator is None:
            for start, stop in zip(starts, [*starts[1:], n], strict=True):
                yield self.data[start:stop]
            return
        order = torch.randperm(n, generator=self.generator)
        order = order.to(self.data.images.device)
        for start, stop in zip(starts, [*starts[1:], n], strict=True):
            yield self.data[order[start:stop]]


class NonFiniteLossError(FloatingPointError):
    """Training ran into a loss that is NaN or infinite."""


class TBSNet(NeuralNetClassifier):
    """A skorch classifier net fed by slices and stopped by real problems.

    The module returns logits: one for two classes (sigmoid) or one a class
    (softmax). With `precompute_features` all but the module's head is frozen, and
    computed once for each image.
    """

    def __init__(
        self,
        module,
        *args,
        augmentation=None,
        autocast_dtype=None,
        precompute_features=False,
        shuffle_seed=0,
        **kwargs,
    ):
        super().__init__(module, *args, **kwargs)
        self.augmentation = augmentation
        self.autocast_dtype = autocast_dtype
        self.precompute_features = precompute_features
        self.shuffle_seed = shuffle_seed

    def train(self, data, valid=None):
        """Train on `data`; unlike skorch's `fit`, let Ctrl-C through."""
        self.initialize()
        self.augmentation_generator_ = torch.Generator().manual_seed(self.shuffle_seed)
        self.seconds_before_epochs_ = 0.0
        with reused_memory():
            if self.precompute_features:
                start = time.perf_counter()
                data = self.precompute(data)
                valid = None if valid is None else self.precompute(valid)
                self.seconds_before_epochs_ = time.perf_counter() - start
            if valid is not None:
                self.train_split = predefined_split(valid)
            self.notify("on_train_begin", X=data, y=None)
            with suppress(_StopTrainingError):
                self.fit_loop(data)
            self.notify("on_train_end", X=data, y=None)
        return self

    def precompute(self, data):
        """Replace images by what the head gets of them, which is always the same.

        The features, which for SqueezeNet take 0.3 MB an image, pass through a
        temporary file, so that memory stays bounded.
        """
        self.module_.eval()
        with tempfile.TemporaryFile() as file:
            with torch.inference_mode():
                for x, _ in Batches(data, self.batch_size):
                    with self._autocast():
                        features = self.module_.features(x["images"].to(self.device))
                    file.write(features.float().contiguous().cpu().numpy().data)
            file.flush()
            shape = (len(data), *features.shape[1:])
            stored = np.memmap(file, np.float32, mode="r", shape=shape)
        return ImageData(stored, data.codes, data.weight, data.device, kind="features")

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
        if not np.isfinite([record[f"{prefix}_loss"] for record in records]).all():
            part = {"train": "training", "valid": "validation"}[prefix]
            raise NonFiniteLossError(
                f"The {part} loss became NaN or infinite in epoch "
                f"{self.history[-1, 'epoch']}. Lower lr={self.lr} (by a factor of 10, "
                "say)."
            )

    def notify(self, method_name, **cb_kwargs):
        """Pass an event on; tell a callback's wish to stop from Ctrl-C."""
        if method_name == "on_epoch_end":
            try:
                super().notify(method_name, **cb_kwargs)
            except KeyboardInterrupt:
                # This is how skorch's callbacks end the training.
                raise _StopTrainingError from None
        else:
            super().notify(method_name, **cb_kwargs)

    def get_iterator(self, dataset, training=False):
        """Slice batches, shuffled in training, in place of a DataLoader."""
        if not training:
            return Batches(dataset, self.batch_size)
        generator = torch.Generator().manual_seed(self.shuffle_seed)
        return Batches(dataset, self.batch_size, generator)

    def train_step(self, batch, **fit_params):
        """Take one step on a batch, whose images are augmented first."""
        if self.augmentation is not None:
            x, codes = batch
            draws = self.augmentation.draw(len(codes), self.augmentation_generator_)
            images = self.augmentation.apply(x["images"].to(self.device), draws)
            batch = x | {"images": images}, codes
        return super().train_step(batch, **fit_params)

    def infer(self, x, **fit_params):
        """Compute the logits of a batch, in float32."""
        with self._autocast():
            if "features" in x:
                return self.module_.classify(x["features"].to(self.device)).float()
            return self.module_(x["images"].to(self.device)).float()

    def _autocast(self):
        return torch.autocast(
            torch.device(self.device).type,
            dtype=self.autocast_dtype,
            enabled=self.autocast_dtype is not None,
        )

    def logits(self, inputs):
        """Compute the logits of batches one by one, as they come.

        They become a list, not a tensor for each batch: those would stay in the heap
        between the feature maps of one batch and the next, which then grows.
        """
        self.module_.eval()
        rows = []
        with torch.inference_mode(), reused_memory():
            for x in inputs:
                rows += self.infer(x).tolist()
        return torch.tensor(rows)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Mean loss, weighted by the weight of each image."""
        y_true, weight = y_true.to(self.device), X["weight"].to(self.device)
        if y_pred.shape[1] == 1:
            losses = binary_cross_entropy_with_logits(
                y_pred[:, 0], y_true.float(), reduction="none"
            )
        else:
            losses = cross_entropy(y_pred, y_true, reduction="none")
        total = weight.sum()
        return (losses * weight).sum() / torch.where(total > 0, total, 1)

    def release(self):
        """Let go of what only training needs, and lay weights out for prediction."""
        self.module_.to(memory_format=torch.channels_last)
        self.callbacks, self.callbacks_ = None, []
        self.train_split = None
        self.optimizer_.state.clear()
        self.optimizer_.zero_grad(set_to_none=True)
        for epoch in self.history:
            epoch["batches"].clear()


class _StopTrainingError(Exception):
    """A callback asked to end the training."""


def probabilities(logits):
    """Class probabilities in float64, rows summing to one, of a net's logits."""
    logits = logits.double()
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], dim=1)
    return torch.softmax(logits, dim=1)


@contextmanager
def seeded(seed, device):
    """Seed torch inside the block and put its global state back after it."""
    device = torch.device(device)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(cuda):
        torch.default_generator.manual_seed(seed)
        for one in cuda:
            with torch.cuda.device(one):
                torch.cuda.manual_seed(seed)
        yield


def resolve_device(device):
    """Turn ``"auto"`` into CUDA where there is a GPU, else the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"device={device!r} cannot be used ({str(error).splitlines()[0]}). "
            'Choose "auto", "cpu", or a CUDA device that torch.cuda lists.'
        ) from None
    return str(device)


def resolve_precision(precision, device):
    """Return the dtype to autocast to, or None for float32 throughout.

    ``"auto"`` takes bfloat16 only where the processor computes with it: CUDA
    from compute capability 8 on, CPUs with AVX-512 BF16 or AMX.
    """
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
