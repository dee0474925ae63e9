"""Features of a frozen backbone in a temporary file, for all epochs of a training."""

import hashlib
import tempfile
import threading
from collections.abc import Callable

import numpy as np
import torch

from tbsclassify.estimators._batches import as_tensor

# Features beyond this number of bytes are computed again each time.
_MEMO_BYTES = 2**32


class FeatureFile:
    """Features in a temporary file, so that memory stays bounded.

    SqueezeNet's, for example, take 0.3 MB an image. The file is gone when the block
    ends and the last array that was read from it is deleted.
    """

    def __init__(self):
        self.n_bytes = 0
        self._file = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def append(self, features: torch.Tensor) -> tuple[int, ...]:
        """Write the features of a batch, and return their shape."""
        values = features.float().contiguous().cpu().numpy()
        self._file.write(values.data)
        self.n_bytes += values.nbytes
        return values.shape

    def read(self, shape: tuple[int, ...], offset: int = 0) -> np.ndarray:
        """Return features that begin `offset` bytes from the start of the file."""
        self._file.flush()
        return np.memmap(self._file, np.float32, mode="c", offset=offset, shape=shape)


class FeatureMemo:
    """Remember the features of each batch of images, known by its content.

    The same scans are predicted after every epoch, and a frozen backbone always
    computes the same features from them.
    """

    def __init__(self):
        self._file = FeatureFile()
        self._places = {}
        self._lock = threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.__exit__(*error)

    def features(
        self, images: torch.Tensor, compute: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Return the features of a batch, by `compute` if it was not seen before."""
        content = images.contiguous().view(torch.uint8).numpy().data
        digest = hashlib.blake2b(content).digest()
        key = (digest, images.dtype, tuple(images.shape))
        with self._lock:
            if key not in self._places:
                features = compute(images)
                if self._file.n_bytes + 4 * features.numel() > _MEMO_BYTES:
                    return features
                start = self._file.n_bytes
                self._places[key] = (self._file.append(features), start)
            return as_tensor(self._file.read(*self._places[key]))
