"""Errors that say what to do when a GPU runs out of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def explained_oom(batch_size: int | None = None) -> Iterator[None]:
    """Make an out-of-memory error inside the block name the remedy.

    Parameters
    ----------
    batch_size : int or None
        The parameter of the estimator in training; None in prediction, in which
        estimators choose the batches themselves.
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
