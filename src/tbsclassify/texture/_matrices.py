"""Radiomics of one region of grey levels, by the definitions of the IBSI.

A region comes as *levels*: integers from 1 to `n_levels`, and 0 outside it. A pixel
has eight neighbours, and there are four directions, as in a plane. The measures are
those of PyRadiomics and have its names; where its definitions and those of the Image
Biomarker Standardisation Initiative (IBSI) differ, they are the IBSI's.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tbsclassify.texture._variogram import DIRECTIONS, both_ends

# The coarseness that the IBSI gives a region of one level.
_COARSEST = 1e6


def discretise(values: np.ndarray, n_levels: int) -> np.ndarray:
    """Sort grey levels into bins of equal width, numbered from 1."""
    low, high = values.min(), values.max()
    if low == high:
        return np.ones(values.shape, dtype=np.intp)
    # Multiplying first keeps whole numbers at the border of two bins whole.
    bins = np.floor((values - low) * n_levels / (high - low)).astype(np.intp)
    return np.minimum(bins, n_levels - 1) + 1


def first_order(values: np.ndarray, bins: np.ndarray) -> dict[str, float]:
    """Describe grey levels regardless of position; the last two from their bins."""
    low, lower, median, upper, high = np.percentile(values, [10, 25, 50, 75, 90])
    mean = values.mean()
    deviation = values - mean
    variance = np.mean(deviation**2)
    constant = values.min() == values.max()
    spread = 1.0 if constant else variance
    inner = values[(values >= low) & (values <= high)]
    if not inner.size:  # as of two pixels
        inner = values
    share = np.bincount(bins) / len(bins)
    return {
        "Mean": mean,
        "Variance": variance,
        "Skewness": np.mean(deviation**3) / spread**1.5,
        "Kurtosis": 0.0 if constant else np.mean(deviation**4) / spread**2 - 3.0,
        "Median": median,
        "Minimum": values.min(),
        "10Percentile": low,
        "90Percentile": high,
        "Maximum": values.max(),
        "InterquartileRange": upper - lower,
        "Range": np.ptp(values),
        "MeanAbsoluteDeviation": np.mean(np.abs(deviation)),
        "RobustMeanAbsoluteDeviation": np.mean(np.abs(inner - inner.mean())),
        "Energy": np.sum(values**2),
        "RootMeanSquared": np.sqrt(np.mean(values**2)),
        "Entropy": _entropy(share),
        "Uniformity": np.sum(share**2),
    }


def cooccurrence(levels: np.ndarray, n_levels: int) -> dict[str, float]:
    """Describe how often levels are neighbours (GLCM), averaged over directions."""
    rows = [_pair_measures(one, other, n_levels) for one, other in _pairs(levels)]
    return {name: np.mean([row[name] for row in rows]) for name in rows[0]}


def run_length(levels: np.ndarray) -> dict[str, float]:
    """Describe rows of equal levels (GLRLM), averaged over directions."""
    names = _size_names("Run", "Short", "Long", "RunLength")
    runs = [_runs(lines) for lines in _lines(levels)]
    rows = [_size_measures(level, length, levels) for level, length in runs]
    return dict(zip(names, np.mean(rows, axis=0), strict=True))


def size_zone(levels: np.ndarray) -> dict[str, float]:
    """Describe connected areas of equal levels (GLSZM)."""
    index = np.arange(levels.size).reshape(levels.shape)
    edges = []
    for step in DIRECTIONS:
        start, end = both_ends(levels.shape, step)
        equal = (levels[start] == levels[end]) & (levels[start] > 0)
        edges.append((index[start][equal], index[end][equal]))
    first, second = np.concatenate(edges, axis=1)
    graph = coo_array(
        (np.ones(len(first), dtype=np.int8), (first, second)),
        shape=(levels.size, levels.size),
    )
    zone = connected_components(graph, directed=False)[1]
    flat = levels.ravel()
    _, first, size = np.unique(zone[flat > 0], return_index=True, return_counts=True)
    measures = _size_measures(flat[flat > 0][first], size, levels)
    return dict(
        zip(_size_names("Zone", "Small", "Large", "SizeZone"), measures, strict=True)
    )


def dependence(levels: np.ndarray) -> dict[str, float]:
    """Describe how many neighbours have a pixel's own level (GLDM)."""
    size = np.ones(levels.shape, dtype=np.intp)  # the pixel itself
    for step in DIRECTIONS:
        start, end = both_ends(levels.shape, step)
        equal = levels[start] == levels[end]
        size[start] += equal
        size[end] += equal
    inside = levels > 0
    measures = _size_measures(levels[inside], size[inside], levels)
    names = _size_names("Dependence", "Small", "Large", "Dependence")
    named = dict(zip(names, measures, strict=True))
    del named["DependencePercentage"]  # one for each pixel, so always 1
    return named


def tone_difference(levels: np.ndarray, n_levels: int) -> dict[str, float]:
    """Describe how far levels are from the mean of their neighbours (NGTDM)."""
    inside = levels > 0
    total, count = np.zeros(levels.shape), np.zeros(levels.shape, dtype=np.intp)
    for step in DIRECTIONS:
        start, end = both_ends(levels.shape, step)
        for here, there in ((start, end), (end, start)):
            total[here] += levels[there]
            count[here] += inside[there]
    known = inside & (count > 0)
    level = levels[known]
    apart = np.abs(level - total[known] / count[known])
    n = np.bincount(level, minlength=n_levels + 1)
    i = np.flatnonzero(n)
    if len(i) < 2:
        flat_measures = dict.fromkeys(
            ("Contrast", "Busyness", "Complexity", "Strength"), 0.0
        )
        return {"Coarseness": _COARSEST, **flat_measures}
    s = np.bincount(level, weights=apart, minlength=n_levels + 1)[i]
    p = n[i] / len(level)
    gap = i[:, np.newaxis] - i
    p_sum = p[:, np.newaxis] + p
    contrast = p @ gap**2 @ p / (len(i) * (len(i) - 1)) * s.sum() / len(level)
    # In whole numbers, so that balanced levels give exactly 0.
    imbalance = np.abs(np.subtract.outer(i * n[i], i * n[i])).sum() / len(level)
    ps_sum = np.add.outer(p * s, p * s)
    return {
        "Coarseness": 1 / (p @ s),
        "Contrast": contrast,
        "Busyness": p @ s / imbalance if imbalance > 0 else 0.0,
        "Complexity": np.sum(np.abs(gap) * ps_sum / p_sum) / len(level),
        "Strength": np.sum(p_sum * gap**2) / s.sum(),
    }


def _pairs(levels):
    """Return the levels of all neighbours, in each direction that has some."""
    pairs = []
    for step in DIRECTIONS:
        start, end = both_ends(levels.shape, step)
        both = (levels[start] > 0) & (levels[end] > 0)
        if both.any():
            pairs.append((levels[start][both], levels[end][both]))
    lone = levels[levels > 0][:1]  # a lone pixel counts as its own neighbour
    return pairs or [(lone, lone)]


def _pair_measures(first, second, n_levels):
    """Measure the symmetric matrix of the pairs, as a sparse matrix."""
    codes = np.concatenate(
        [first * (n_levels + 1) + second, second * (n_levels + 1) + first]
    )
    codes, count = np.unique(codes, return_counts=True)
    i, j = np.divmod(codes, n_levels + 1)
    p = count / count.sum()
    marginal, p_sum = np.bincount(i, p), np.bincount(i + j, p)
    p_difference = np.bincount(np.abs(i - j), p)
    k = np.arange(len(p_difference))
    mean = i @ p
    variance = (i - mean) ** 2 @ p
    from_mean = np.arange(len(p_sum)) - 2 * mean
    tendency = from_mean**2 @ p_sum
    covariance = tendency / 2 - variance
    difference = k @ p_difference
    entropy, marginal_entropy = _entropy(p), _entropy(marginal)
    # Both entropies of the product of the marginals are twice that of one of them.
    shared = max(2 * marginal_entropy - entropy, 0.0)
    constant = variance < 1e-12
    return {
        "Autocorrelation": covariance + mean**2,
        "JointAverage": mean,
        "ClusterProminence": from_mean**4 @ p_sum,
        "ClusterShade": from_mean**3 @ p_sum,
        "ClusterTendency": tendency,
        "Contrast": k**2 @ p_difference,
        "Correlation": 1.0 if constant else covariance / variance,
        "DifferenceAverage": difference,
        "DifferenceEntropy": _entropy(p_difference),
        "DifferenceVariance": k**2 @ p_difference - difference**2,
        "JointEnergy": p @ p,
        "JointEntropy": entropy,
        "Imc1": 0.0 if constant else -shared / marginal_entropy,
        "Imc2": np.sqrt(-np.expm1(-2 * shared)),
        "Idm": p_difference @ (1 / (1 + k**2)),
        "Idmn": p_difference @ (1 / (1 + (k / n_levels) ** 2)),
        "Id": p_difference @ (1 / (1 + k)),
        "Idn": p_difference @ (1 / (1 + k / n_levels)),
        "InverseVariance": p_difference[1:] @ (1 / k[1:] ** 2),
        "MaximumProbability": p.max(),
        "SumEntropy": _entropy(p_sum),
        "SumSquares": variance,
    }


def _lines(levels):
    """Return pixels along rows, columns and both diagonals, one line in each row."""
    return levels, levels.T, _skewed(levels[:, ::-1]), _skewed(levels)


def _skewed(levels):
    """Shift each row one pixel further to the right, so that columns are diagonals."""
    height, width = levels.shape
    wide = np.pad(levels, ((0, 0), (0, height))).ravel()
    return wide[: len(wide) - height].reshape(height, width + height - 1).T


def _runs(lines):
    """Return level and length of each run of equal levels in a line."""
    flat = np.pad(lines, ((0, 0), (0, 1))).ravel()
    start = np.flatnonzero(np.diff(flat, prepend=-1))
    length = np.diff(start, append=len(flat))
    inside = flat[start] > 0
    return flat[start][inside], length[inside]


def _size_names(thing, small, large, size):
    """Name the measures of runs, zones or dependences as PyRadiomics does."""
    of_level = "" if thing == "Dependence" else thing
    extent = "Area" if thing == "Zone" else thing
    return [
        f"{small}{extent}Emphasis",
        f"{large}{extent}Emphasis",
        f"LowGrayLevel{of_level}Emphasis",
        f"HighGrayLevel{of_level}Emphasis",
        f"{small}{extent}LowGrayLevelEmphasis",
        f"{small}{extent}HighGrayLevelEmphasis",
        f"{large}{extent}LowGrayLevelEmphasis",
        f"{large}{extent}HighGrayLevelEmphasis",
        "GrayLevelNonUniformity",
        "GrayLevelNonUniformityNormalized",
        f"{size}NonUniformity",
        f"{size}NonUniformityNormalized",
        f"{thing}Percentage",
        "GrayLevelVariance",
        f"{thing}Variance",
        f"{thing}Entropy",
    ]


def _size_measures(level, size, levels):
    """Measure things that each have a level and a size, in the order of the names."""
    n = len(level)
    level2, size2 = level.astype(float) ** 2, size.astype(float) ** 2
    of_level, of_size = np.bincount(level) / n, np.bincount(size) / n
    codes = level * (size.max() + 1) + size
    both = np.unique(codes, return_counts=True)[1] / n
    return [
        np.mean(1 / size2),
        np.mean(size2),
        np.mean(1 / level2),
        np.mean(level2),
        np.mean(1 / (size2 * level2)),
        np.mean(level2 / size2),
        np.mean(size2 / level2),
        np.mean(size2 * level2),
        n * np.sum(of_level**2),
        np.sum(of_level**2),
        n * np.sum(of_size**2),
        np.sum(of_size**2),
        n / np.count_nonzero(levels),
        np.var(level),
        np.var(size),
        _entropy(both),
    ]


def _entropy(share):
    """Return the entropy in bits over the last axis."""
    return -np.sum(share * np.log2(np.where(share > 0, share, 1)), axis=-1)
