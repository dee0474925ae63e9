"""What a network's outputs mean: the loss they are trained by, and probabilities."""

import math
from collections.abc import Sequence

import torch
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
)

# The exponent of the distance between classes in the ordinal loss. Its authors found
# 5 to 7 best (Polat et al., arXiv 2412.01246).
DISTANCE_POWER = 5


class NonFiniteLossError(FloatingPointError):
    """Training ran into a loss that is NaN or infinite."""


def class_losses(outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each scan: one logit for two classes, else one a class."""
    if outputs.shape[1] == 1:
        return binary_cross_entropy_with_logits(
            outputs[:, 0], codes.to(outputs.dtype), reduction="none"
        )
    return cross_entropy(outputs, codes, reduction="none")


def ordinal_losses(outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Class distance weighted cross-entropy of each scan; see `DISTANCE_POWER`.

    Every wrong class adds what its probability costs, times a power of its distance
    from the right one. With two classes it is cross-entropy.
    """
    if outputs.shape[1] <= 2:
        return class_losses(outputs, codes)
    classes = torch.arange(outputs.shape[1], device=outputs.device)
    # 1 - p of a class is the sum of the others' probabilities: accurate near p = 1.
    itself = torch.where(classes == classes[:, None], -math.inf, 0.0)
    others = (outputs[:, None, :] + itself).logsumexp(dim=2)
    log_not = others - outputs.logsumexp(dim=1, keepdim=True)
    distance = (classes - codes[:, None]).abs()
    return -(log_not * distance**DISTANCE_POWER).sum(dim=1)


CLASS_LOSSES = {"cross-entropy": class_losses, "ordinal": ordinal_losses}


def value_losses(outputs: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Huber's loss of each scan: the output is the standardised TBS."""
    return huber_loss(outputs[:, 0], values.to(outputs.dtype), reduction="none")


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Class probabilities in float64, rows summing to one, of a net's logits."""
    logits = logits.double()
    if logits.shape[1] == 1:
        positive = torch.sigmoid(logits)
        return torch.cat([1 - positive, positive], dim=1)
    return torch.softmax(logits, dim=1)


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logarithms of the class probabilities, accurate for the smallest of them."""
    logits = logits.double()
    if logits.shape[1] == 1:
        return torch.nn.functional.logsigmoid(torch.cat([-logits, logits], dim=1))
    return logits.log_softmax(dim=1)


def check_losses(
    losses: Sequence[float], training: bool, *, epoch: int, lr: float
) -> None:
    """Refuse losses of the batches of an epoch that are NaN or infinite."""
    if all(map(math.isfinite, losses)):
        return
    part = "training" if training else "validation"
    remedy = f"The training diverged: lower lr={lr} (by a factor of 10, say)."
    if training and epoch == 1 and not math.isfinite(losses[0]):
        remedy = (
            "It was so in the first batch, before the first step, so that "
            f"lr={lr} is not the reason. Check the range of grey levels in X, "
            'sample_weight and callbacks, or use precision="float32".'
        )
    raise NonFiniteLossError(
        f"The {part} loss became NaN or infinite in epoch {epoch}. {remedy}"
    )
