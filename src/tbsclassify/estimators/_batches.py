"""Scans as tensors, and batches sliced from them."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from skorch.dataset import Dataset

# A larger data set stays off the GPU, and is moved there batch by batch.
_RESIDENT_BYTES = 2**32


class ImageData(Dataset):
    """Images, targets and weights as tensors from which batches are sliced.

    Images keep their dtype: a uint8 data set takes a quarter of the memory of
    float32, and batches are converted in the network. The features of a frozen
    backbone may take the place of the images; the kind is then "features". Targets are
    class codes or standardised values.

    It is a skorch data set whose `X` is the data set itself. A callback can let the net
    predict `X`, and compare the result with `y`.
    """

    def __init__(
        self,
        images: np.ndarray,
        target: Any,
        weight: Any,
        device: str,
        *,
        kind: str = "images",
    ):
        self.kind = kind
        self.device = device
        self.images = as_tensor(images)
        if images.nbytes <= _RESIDENT_BYTES:
            self.images = self.images.to(device)
        else:
            device = "cpu"
        target = torch.as_tensor(target)
        dtype = torch.float32 if target.is_floating_point() else torch.int64
        self.target = target.to(device, dtype)
        self.weight = torch.as_tensor(weight, dtype=torch.float32, device=device)

    @property
    def X(self):  # noqa: N802
        return self

    @property
    def y(self):
        return self.target.cpu().numpy()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        images = self.images
        if images.dtype == torch.uint16:  # not every PyTorch can index it
            images = images.view(torch.int16)[index].view(torch.uint16)
        else:
            images = images[index]
        return {self.kind: images, "weight": self.weight[index]}, self.target[index]


class _Unlocked:
    """Present the memory of a read-only array as writable."""

    def __init__(self, array):
        self._array = array  # keeps the memory alive
        address = array.__array_interface__["data"][0]
        self.__array_interface__ = array.__array_interface__ | {
            "data": (address, False)
        }


def as_tensor(images: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor that shares its memory.

    PyTorch warns of read-only arrays, such as memory-mapped ones. Nothing here writes
    to a data set, so the tensor is made from a writable view. Silencing the warning
    would change the filters of all threads.
    """
    if not images.flags.writeable:
        images = np.asarray(_Unlocked(images))
    return torch.from_numpy(images)


class Batches:
    """Iterate over batches, each one slice of the data set.

    A last batch of one image joins the batch before it, because batch normalisation
    cannot be trained on one image.
    """

    def __init__(
        self, data: Any, batch_size: int, generator: torch.Generator | None = None
    ):
        self.data = data
        self.batch_size = batch_size
        self.generator = generator

    @staticmethod
    def count(n: int, batch_size: int) -> int:
        """Count the batches of `n` scans."""
        return max(1, n // batch_size + (n % batch_size > 1))

    def __len__(self) -> int:
        return self.count(len(self.data), self.batch_size)

    def __iter__(self) -> Iterator[Any]:
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
