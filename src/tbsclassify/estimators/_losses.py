"""What a network's outputs mean: the loss they are trained by, and probabilities."""

import torch
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    huber_loss,
)


def class_losses(outputs: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each scan: one logit for two classes, else one a class."""
    if outputs.shape[1] == 1:
        return binary_cross_entropy_with_logits(
            outputs[:, 0], codes.to(outputs.dtype), reduction="none"
        )
    return cross_entropy(outputs, codes, reduction="none")


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
