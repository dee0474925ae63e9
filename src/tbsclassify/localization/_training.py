"""Train the network on pictures with known spines."""

from collections.abc import Iterable, Iterator

import torch
from torch.nn import functional

from tbsclassify.localization._augment import augment
from tbsclassify.localization._network import SpineNetwork
from tbsclassify.localization._targets import Examples

_WARM_UP = 0.2  # share of the steps


def train_network(
    network: SpineNetwork,
    batches: Iterable[Examples],
    n_steps: int,
    *,
    lr: float,
) -> Iterator[float]:
    """Train a network in place, and yield the loss of each step.

    Parameters
    ----------
    network : SpineNetwork
        The network to train.
    batches : iterable of Examples
        At least `n_steps` batches, augmented.
    n_steps : int
        Number of steps of AdamW, with one cycle of the learning rate.
    lr : float
        Highest rate.
    """
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=n_steps, pct_start=_WARM_UP
    )
    for _, batch in zip(range(n_steps), batches, strict=False):
        x = batch.pictures.to(memory_format=torch.channels_last)
        loss = _loss(network(x), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield loss.item()
    network.eval()


def draw_batches(
    sources: list[tuple[Examples, int]], generator: torch.Generator
) -> Iterator[Examples]:
    """Yield augmented batches forever, with a number of examples of each source."""
    orders = [_shuffled(len(source.pictures), generator) for source, _ in sources]
    while True:
        parts = []
        for (source, size), order in zip(sources, orders, strict=True):
            rows = torch.tensor([next(order) for _ in range(size)])
            parts.append([values[rows] for values in source])
        batch = Examples(*map(torch.cat, zip(*parts, strict=True)))
        yield augment(batch, generator)


def _shuffled(n: int, generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from torch.randperm(n, generator=generator).tolist()


def _loss(logits: torch.Tensor, batch: Examples) -> torch.Tensor:
    # The network's maps have half the rows and columns of its pictures.
    spine, body = (
        functional.avg_pool2d(truth.float(), 2)
        for truth in (batch.spines, batch.bodies)
    )
    known, told = spine <= 1, (spine == 1) & (body <= 1)
    return functional.binary_cross_entropy_with_logits(
        logits[:, 0][known], spine[known]
    ) + functional.binary_cross_entropy_with_logits(logits[:, 1][told], body[told])
