"""What a fitted model computes, as modules that PyTorch can trace."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.models.feature_extraction import create_feature_extractor

from tbsclassify.estimators._networks import channel_statistics
from tbsclassify.estimators._statistics import ChannelStatistics


class Scores(nn.Module):
    """Probabilities, scores and TBS of a network, from grey levels."""

    def __init__(self, estimator: Any):
        super().__init__()
        network: Any = copy.deepcopy(estimator).net_.module_.cpu().float().eval()
        statistics = getattr(network, "backbone", None)
        if isinstance(statistics, ChannelStatistics):
            network.backbone = _TracedStatistics(statistics, estimator.image_shape_)
        self.network = network
        self.has_tbs = hasattr(estimator, "tbs_mean_")
        self.ranges = None
        if self.has_tbs:
            self.mean, self.scale = estimator.tbs_mean_, estimator.tbs_scale_
            if getattr(estimator, "_ranges", None) is not None:
                self.ranges = _Ranges(estimator._ranges, estimator.residual_std_)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.network(images)
        if not self.has_tbs:
            if outputs.shape[1] == 1:
                outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
            return _of_logits(outputs)
        tbs = self.mean + self.scale * outputs[:, 0]
        found = {} if self.ranges is None else _of_logits(self.ranges(tbs))
        return found | {"tbs": tbs}


def _of_logits(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return probabilities and scikit-learn's scores: one score for two classes."""
    two = logits.shape[1] == 2
    score = logits[:, 1:] - logits[:, :1] if two else torch.log_softmax(logits, dim=1)
    return {"probabilities": torch.softmax(logits, dim=1), "score": score}


class Calibrated(nn.Module):
    """One of the classifiers of `CalibratedClassifierCV`, with its calibrators."""

    def __init__(self, inner: Any, calibrated: Any):
        super().__init__()
        self.inner = inner
        self.has_tbs = inner.has_tbs
        self.method = calibrated.method
        self.calibrators = [_calibration(one) for one in calibrated.calibrators]

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.inner(images)
        score = found["score"]
        if self.method == "temperature":
            two = score.shape[1] == 1
            logits = torch.cat([-score, score], dim=1) if two else score
            proba = torch.softmax(self.calibrators[0](logits), dim=1)
        else:
            columns = [
                calibrate(score[:, i]) for i, calibrate in enumerate(self.calibrators)
            ]
            if len(columns) == 1:
                columns = [1 - columns[0], columns[0]]
            proba = torch.stack(columns, dim=1)
            total = proba.sum(dim=1, keepdim=True)
            uniform = torch.full_like(proba, 1 / proba.shape[1])
            proba = torch.where(total > 0, proba / total, uniform)
        return found | {"probabilities": proba}


def _calibration(calibrator: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that a calibrator of scikit-learn applies to a score."""
    if hasattr(calibrator, "beta_"):
        beta = float(calibrator.beta_)
        return lambda logits: beta * logits
    if hasattr(calibrator, "a_"):
        a, b = float(calibrator.a_), float(calibrator.b_)
        return lambda score: torch.sigmoid(-(a * score + b))
    # Isotonic: a line from one knot to the next, and constant outside.
    x, y = (
        torch.tensor(values, dtype=torch.float32)
        for values in (calibrator.X_thresholds_, calibrator.y_thresholds_)
    )
    length, slope = x.diff(), y.diff() / x.diff()

    def interpolate(score: torch.Tensor) -> torch.Tensor:
        inside = (score[:, None] - x[:-1]).clamp(min=0).minimum(length)
        return y[0] + inside @ slope

    return interpolate


class Mean(nn.Module):
    """The mean of several calibrated classifiers."""

    def __init__(self, parts: Sequence[Any]):
        super().__init__()
        self.parts = nn.ModuleList(parts)
        # Each has learned values of its own scans; no single one is the model's.
        self.has_tbs = len(parts) == 1 and parts[0].has_tbs

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found = [part(images) for part in self.parts]
        proba = torch.stack([one["probabilities"] for one in found]).mean(dim=0)
        return found[0] | {"probabilities": proba}


class Thresholded(nn.Module):
    """A classifier of two classes whose threshold is not one half."""

    def __init__(self, inner: Any, threshold: float, positive: int):
        super().__init__()
        self.inner = inner
        self.has_tbs = inner.has_tbs
        self.threshold = threshold
        self.positive = positive

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.inner(images)
        above = found["probabilities"][:, self.positive] >= self.threshold
        index = torch.where(above, self.positive, 1 - self.positive)
        return found | {"class_index": index}


class Outputs(nn.Module):
    """The outputs of an ONNX file, in order."""

    def __init__(self, inner: Any, names: list[str]):
        super().__init__()
        self.inner = inner
        self.names = names

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.inner(images)
        if "class_index" in self.names and "class_index" not in found:
            found["class_index"] = found["probabilities"].argmax(dim=1)
        return tuple(found[name] for name in self.names)


class _Ranges(nn.Module):
    """Log-probabilities of classes that are ranges of TBS; see `TBSRanges`."""

    def __init__(self, ranges: Any, std: float):
        super().__init__()
        self.low, self.high = (float(border) for border in ranges.thresholds)
        self.std = float(std)
        self.class_of_range = [int(code) for code in ranges.class_of_range]

    def forward(self, tbs: torch.Tensor) -> torch.Tensor:
        low, high = (self.low - tbs) / self.std, (self.high - tbs) / self.std
        above = low > 0
        near = log_ndtr(torch.where(above, -low, high))
        far = log_ndtr(torch.where(above, -high, low))
        middle = near + torch.log(-torch.expm1(far - near))
        of_range = [log_ndtr(-high), middle, log_ndtr(low)]
        of_class: list[list[torch.Tensor]] = [
            [] for _ in range(max(self.class_of_range) + 1)
        ]
        for code, one in zip(self.class_of_range, of_range, strict=True):
            if code >= 0:  # a range without a class is impossible
                of_class[code].append(one)
        logs = [torch.logsumexp(torch.stack(ranges), dim=0) for ranges in of_class]
        return torch.stack(logs, dim=1)


# Coefficients of a polynomial for erfc whose relative error is below 1.2e-7 everywhere
# (Press et al., Numerical Recipes in C, 2nd edition, section 6.2).
_ERFC = (
    -1.26551223,
    1.00002368,
    0.37409196,
    0.09678418,
    -0.18628806,
    0.27886807,
    -1.13520398,
    1.48851587,
    -0.82215223,
    0.17087277,
)


def log_ndtr(x: torch.Tensor) -> torch.Tensor:
    """Compute the logarithm of the normal distribution function by ONNX operators."""
    z = x.abs() / math.sqrt(2)
    t = 1 / (1 + 0.5 * z)
    exponent = torch.zeros_like(t)
    for coefficient in reversed(_ERFC):
        exponent = exponent * t + coefficient
    log_tail = torch.log(0.5 * t) - z * z + exponent
    return torch.where(x < 0, log_tail, torch.log1p(-torch.exp(log_tail)))


class _TracedStatistics(nn.Module):
    """`ChannelStatistics` without what cannot be traced: hooks, early ends, resizing.

    Resizing is linear along each side, so it is two products with fixed matrices.
    """

    def __init__(self, statistics: ChannelStatistics, image_shape: tuple[int, ...]):
        super().__init__()
        self.standardize = statistics.standardize
        self.maps = create_feature_extractor(
            statistics.maps, {layer: layer for layer in statistics.layers}
        )
        self.layers, self.names = statistics.layers, statistics.statistics
        self.mirror = statistics.mirror
        self.scales = statistics.scales
        for i, scale in enumerate(statistics.scales):
            for j, side in enumerate(image_shape[1:]):
                self.register_buffer(f"resize_{i}_{j}", _resizing(side, scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        standard = self.standardize(images)
        columns = []
        for i, scale in enumerate(self.scales):
            sized = standard
            if scale != 1:
                rows = self.get_buffer(f"resize_{i}_0")
                sized = rows @ standard @ self.get_buffer(f"resize_{i}_1").T
            views = [sized, sized.flip(3)] if self.mirror else [sized]
            columns.append(sum(map(self._describe, views)) / len(views))
        return torch.cat(columns, dim=1)

    def _describe(self, images):
        maps = self.maps(images)
        described = [channel_statistics(maps[one], self.names) for one in self.layers]
        return torch.cat(described, dim=1)


def _resizing(side: int, scale: float) -> torch.Tensor:
    """Return the matrix that resizes a line of pixels."""
    size = [max(1, round(scale * side)), side]
    line = torch.eye(side)[None, None]
    return functional.interpolate(
        line, size, mode="bilinear", align_corners=False, antialias=True
    )[0, 0]
