"""Augment training pictures, so that the network cannot rely on one look.

Frames, proportions and contrasts vary along the spine. Otherwise the network would
recognise levels by the brightness or the width that phantoms happen to have there.
"""

import torch
from torch.nn import functional

from tbsclassify.localization._network import standardize
from tbsclassify.localization._prepare import SHAPE
from tbsclassify.localization._targets import UNKNOWN, Examples

_N_PATCHES = 2  # hidden at most, in each picture


def augment(examples: Examples, generator: torch.Generator) -> Examples:
    """Return augmented and standardised pictures, with their targets."""
    examples = _move(examples, generator)
    pictures = _vary_grey(examples.pictures, generator)
    pictures = _hide_patches(pictures, generator)
    return examples._replace(pictures=standardize(pictures))


def _move(examples: Examples, generator: torch.Generator) -> Examples:
    """Mirror, turn, stretch, shift and bend pictures."""
    n = len(examples.pictures)
    height, width = SHAPE
    turn = _uniform(n, -0.05, 0.05, generator)
    mirror = torch.where(_uniform(n, 0, 1, generator) < 0.5, -1.0, 1.0).float()
    across = mirror * _uniform(n, 0.88, 1.15, generator)
    down = _uniform(n, 0.92, 1.09, generator)
    affine = torch.zeros(n, 2, 3, dtype=torch.float32)
    affine[:, 0, 0], affine[:, 0, 1] = across * turn.cos(), -turn.sin()
    affine[:, 1, 0], affine[:, 1, 1] = across * turn.sin(), down * turn.cos()
    affine[:, 0, 2] = _uniform(n, -0.10, 0.10, generator)
    affine[:, 1, 2] = _uniform(n, -0.06, 0.06, generator)
    grid = functional.affine_grid(affine, [n, 1, height, width], align_corners=False)
    grid[..., 0] *= 1 + _along(n, 6, 0.07, generator)
    grid[..., 1] += _along(n, 5, 0.018, generator)

    def moved(values: torch.Tensor, mode: str) -> torch.Tensor:
        return functional.grid_sample(
            values, grid, mode=mode, padding_mode="border", align_corners=False
        )

    truth = torch.stack([examples.spines, examples.bodies], dim=1).float()
    spines, bodies = moved(truth, "nearest").byte().unbind(1)
    outside = (grid.abs() > 1).any(dim=-1)
    spines = spines.masked_fill(outside, UNKNOWN)
    return Examples(moved(examples.pictures, "bilinear"), spines, bodies)


def _vary_grey(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Vary window, gamma, contrast along the spine, background, noise and blur."""
    n = len(x)

    def factor(low: float, high: float) -> torch.Tensor:
        return _uniform(n, low, high, generator).view(n, 1, 1, 1)

    cut = factor(-0.1, 0.2) * (factor(0, 1) < 0.5)
    x = (x - cut).clamp(min=0)
    x = x / x.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-3)
    x = x ** factor(-0.6, 0.6).exp()
    coarse = functional.avg_pool2d(x, (13, 9), 1, (6, 4), count_include_pad=False)
    contrast = _along(n, 6, 0.4, generator).exp().unsqueeze(1)
    x = coarse + (x - coarse) * contrast
    x = x * _along(n, 5, 0.25, generator).exp().unsqueeze(1)
    x = x * (1 + factor(0, 0.3) * _clouds(n, generator))
    x = x + factor(0, 0.06) * _clouds(n, generator)
    x = x + factor(0, 0.06) * torch.randn(
        x.shape, dtype=torch.float32, generator=generator
    )
    blurred = functional.avg_pool2d(x, 3, 1, 1)
    return torch.where(factor(0, 1) < 0.4, blurred, x)


def _hide_patches(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cover a quarter of the pictures' patches with black or grey."""
    n, (height, width) = len(x), SHAPE
    rows = torch.arange(height).view(1, height, 1)
    columns = torch.arange(width).view(1, 1, width)
    for _ in range(_N_PATCHES):
        top, left, high, wide, level, black, shown = (
            torch.rand(7, n, dtype=torch.float32, generator=generator)
            .view(7, n, 1, 1)
            .unbind(0)
        )
        down, across = rows - top * height, columns - left * width
        hidden = (down >= 0) & (down < 4 + 20 * high) & (shown < 0.25)
        hidden = hidden & (across >= 0) & (across < 4 + 24 * wide)
        x = torch.where(hidden.unsqueeze(1), (level * (black < 0.5)).unsqueeze(1), x)
    return x


def _uniform(
    n: int, low: float, high: float, generator: torch.Generator
) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, dtype=torch.float32, generator=generator)


def _along(
    n: int, n_knots: int, deviation: float, generator: torch.Generator
) -> torch.Tensor:
    """Return random curves along the height, shape (n, height, 1)."""
    knots = deviation * torch.randn(
        n, 1, n_knots, dtype=torch.float32, generator=generator
    )
    curves = functional.interpolate(
        knots, size=SHAPE[0], mode="linear", align_corners=True
    )
    return curves.transpose(1, 2)


def _clouds(n: int, generator: torch.Generator) -> torch.Tensor:
    """Return smooth random pictures of mean 0."""
    knots = torch.randn(n, 1, 5, 4, dtype=torch.float32, generator=generator)
    return functional.interpolate(
        knots, size=SHAPE, mode="bicubic", align_corners=False
    )
