"""Say what to do where the memory of a GPU does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def explained_oom(batch_size: int | None = None) -> Iterator[None]:
    """Let an error of memory in a block name the remedy.

    Parameters
    ----------
    batch_size : int or None
        The parameter of the estimator that is trained; None where it predicts, in
        batches that it chooses itself.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        if batch_size is None:
            text = (
                "The GPU has too little memory left to predict a batch of scans. End "
                'what else uses it, or fit with device="cpu".'
            )
        else:
            text = (
                f"The GPU has too little memory for a training step with "
                f"batch_size={batch_size}. Lower it (half of it, say), choose smaller "
                'crops or a smaller network, precision="bfloat16" or device="cpu".'
            )
        raise torch.OutOfMemoryError(text) from error
