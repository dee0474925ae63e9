"""The skorch net that the classifiers hold: batches, loss, precision, seeds."""

import warnings
from contextlib import contextmanager, suppress

import numpy as np
import torch
from skorch import NeuralNetClassifier
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy


class ImageData(torch.utils.data.Dataset):
    """Images, class codes and weights as tensors from which batches are sliced.

    Images keep their dtype: a uint8 data set takes a quarter of the memory of
    float32, and a batch is converted when it enters the network.
    """

    def __init__(self, images, codes=None, weight=None, device="cpu"):
        n_images = len(images)
        codes = np.zeros(n_images, dtype=np.int64) if codes is None else codes
        weight = np.ones(n_images) if weight is None else weight
        with warnings.catch_warnings():
            # Memory-mapped images are read-only, and nothing here writes to them.
            warnings.filterwarnings("ignore", message=".*not writable")
            self.images = torch.from_numpy(images).to(device)
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
        return {"images": images, "weight": self.weight[index]}, self.codes[index]


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
    (softmax).
    """

    def __init__(self, module, *args, autocast_dtype=None, shuffle_seed=0, **kwargs):
        super().__init__(module, *args, **kwargs)
        self.autocast_dtype = autocast_dtype
        self.shuffle_seed = shuffle_seed

    def train(self, data):
        """Train on `data`; unlike skorch's `fit`, let Ctrl-C through."""
        self.initialize()
        self.notify("on_train_begin", X=data, y=None)
        with suppress(_StopTrainingError):
            self.fit_loop(data)
        self.notify("on_train_end", X=data, y=None)
        return self

    def notify(self, method_name, **cb_kwargs):
        """Pass an event on; tell a callback's wish to stop from Ctrl-C."""
        if method_name == "on_epoch_end":
            self._check_losses()
            try:
                super().notify(method_name, **cb_kwargs)
            except KeyboardInterrupt:
                # This is how skorch's callbacks end the training.
                raise _StopTrainingError from None
        else:
            super().notify(method_name, **cb_kwargs)

    def _check_losses(self):
        epoch = self.history[-1]
        for part, loss in {"train": "training", "valid": "validation"}.items():
            losses = [
                batch[f"{part}_loss"]
                for batch in epoch["batches"]
                if f"{part}_loss" in batch
            ]
            if not np.isfinite(losses).all():
                raise NonFiniteLossError(
                    f"The {loss} loss became NaN or infinite in epoch "
                    f"{epoch['epoch']}. Lower lr={self.lr} (by a factor of 10, say)."
                )

    def get_iterator(self, dataset, training=False):
        """Slice batches, shuffled in training, in place of a DataLoader."""
        if not training:
            return Batches(dataset, self.batch_size)
        generator = torch.Generator().manual_seed(self.shuffle_seed)
        return Batches(dataset, self.batch_size, generator)

    def infer(self, x, **fit_params):
        """Compute the logits of a batch, in float32."""
        images = x["images"].to(self.device, non_blocking=True)
        with torch.autocast(
            torch.device(self.device).type,
            dtype=self.autocast_dtype,
            enabled=self.autocast_dtype is not None,
        ):
            return self.module_(images).float()

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
        """Let go of what only training needs: data, optimiser, batch records."""
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
