"""From the statistics of a tensor to the real range that its 256 values shall cover."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array
from .observe import Histogram, TensorStats
from .options import CompressOptions

__all__ = ["calibrate"]

Range = tuple[float, float]
STEPS = {"mse": 96, "entropy": 24}
"""Candidates per end of the range; the divergence costs more to evaluate than the error."""

SMALLEST = 0.1
"""No calibrator cuts a range to less than this share of its extremes."""


def calibrate(stats: TensorStats, options: CompressOptions) -> Range:
    """Range (low <= 0 <= high) of one tensor by the calibrator of `options`."""
    low, high = stats.range
    low, high = min(low, 0.0), max(high, 0.0)
    histogram = stats.histogram
    if options.calibrator == "minmax" or histogram is None or histogram.width == 0.0:
        return low, high
    if options.calibrator == "percentile":
        below, above = _percentile(histogram, options.percentile)
    elif options.calibrator == "mse":
        below, above = _search(histogram, low, high, STEPS["mse"], _squared_errors)
    else:
        below, above = _search(histogram, low, high, STEPS["entropy"], _divergences)
    return max(min(below, 0.0), low), min(max(above, 0.0), high)


def _percentile(histogram: Histogram, percentile: float) -> Range:
    """Cut the same share of values at each end that has any; zeros count as values."""
    used = np.flatnonzero(histogram.counts)
    counts = histogram.counts.astype(np.float64)
    edges = (histogram.first + np.arange(len(counts) + 1)) * histogram.width
    total = counts.sum() + histogram.zeros
    cut = total * (100 - percentile) / 100
    if used[0] < used[-1] and edges[used[0]] < 0 < edges[used[-1] + 1]:
        cut /= 2
    low = float(np.interp(cut, np.concatenate([[0], np.cumsum(counts)]), edges))
    high = float(np.interp(cut, np.concatenate([[0], np.cumsum(counts[::-1])]), edges[::-1]))
    return low, high


Cost = Callable[[Histogram, Array, Array], Array]


def _search(histogram: Histogram, low: float, high: float, steps: int, cost: Cost) -> Range:
    """The cheapest pair of ends on a grid; on a tie the widest."""
    shares = np.linspace(1.0, SMALLEST, steps)
    lows = low * shares if low < 0 else np.zeros(1)
    highs = high * shares if high > 0 else np.zeros(1)
    costs = cost(histogram, lows, highs)
    i, j = np.unravel_index(int(np.argmin(costs)), costs.shape)
    return float(lows[i]), float(highs[j])


def _squared_errors(histogram: Histogram, lows: Array, highs: Array) -> Array:
    """Expected squared error [lows, highs]: clipping outside, a uniform rounding error of variance step**2 / 12 inside.

    Exact zeros have no error.
    """
    x, p = histogram.centers, histogram.counts.astype(np.float64)
    below = np.array([(p * np.minimum(x - end, 0.0) ** 2).sum() for end in lows])
    above = np.array([(p * np.maximum(x - end, 0.0) ** 2).sum() for end in highs])
    out_low = np.array([p[x < end].sum() for end in lows])
    out_high = np.array([p[x > end].sum() for end in highs])
    step = (highs[None, :] - lows[:, None]) / 255
    inside = np.maximum(p.sum() - out_low[:, None] - out_high[None, :], 0.0)
    return np.asarray(below[:, None] + above[None, :] + inside * step**2 / 12)


def _divergences(histogram: Histogram, lows: Array, highs: Array) -> Array:
    """Kullback-Leibler divergence [lows, highs] between the histogram and its 256-value version.

    The idea of Migacz, "8-bit inference with TensorRT" (2017), with both ends free. The clipped mass is counted in
    the outermost values.
    """
    x, p = histogram.centers, histogram.counts.astype(np.float64)
    used = p > 0
    x, p = x[used], p[used] / p.sum()
    costs = np.empty((len(lows), len(highs)))
    for i, low in enumerate(lows):
        for j, high in enumerate(highs):
            step = max((high - low) / 255, np.finfo(np.float64).tiny)
            level = np.clip(np.rint((x - low) / step), 0, 255).astype(np.int64)
            inside = (x >= low) & (x <= high)
            mass = np.bincount(level, weights=p * inside, minlength=256)
            bins = np.bincount(level, weights=inside, minlength=256)
            reference = np.where(inside, p, 0.0)
            outside = 1.0 - reference.sum()
            q = mass[level] / np.maximum(bins[level], 1)
            kept = inside & (q > 0)
            # Mass that is clipped lies where the quantized version has none: charge it at the rarest bin's price.
            floor = p.min()
            costs[i, j] = (reference[kept] * np.log(reference[kept] / q[kept])).sum() + outside * np.log(
                max(outside, floor) / floor
            )
    return costs
