"""Statistics of every tensor over the calibration pictures: ranges, moments per channel, histograms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..graph import Array, Graph, Node
from .calibration import Calibration
from .execute import forward

__all__ = ["Histogram", "TensorStats", "observe"]

BINS = 4096

CHUNK = 1 << 16
"""Values counted at once: what fits into the cache."""


class Histogram:
    """Counts of real values in equal bins whose width doubles when a value falls outside: one pass is enough.

    Bin i covers [(first + i) * width, (first + i + 1) * width). Exact zeros are counted apart: they are always
    representable, and behind a ReLU they are most values.
    """

    def __init__(self) -> None:
        self.width = 0.0
        self.first = 0
        self.counts = np.zeros(BINS, np.int64)
        self.zeros = 0

    def add(self, x: Array) -> None:
        flat = x.reshape(-1)
        for begin in range(0, flat.size, CHUNK):
            self._add_chunk(flat[begin : begin + CHUNK])

    def _add_chunk(self, x: Array) -> None:
        nonzero = x[x != 0]
        self.zeros += x.size - nonzero.size
        if not nonzero.size:
            return
        self._cover(float(nonzero.min()), float(nonzero.max()))
        # The width is a power of two, so this product is exact.
        index = np.floor(nonzero.astype(np.float64) * (1 / self.width)).astype(np.int64) - self.first
        self.counts += np.bincount(index, minlength=BINS)

    def _cover(self, low: float, high: float) -> None:
        if self.width == 0.0:
            # A power of two keeps merged bins aligned with the origin.
            self.width = 2.0 ** np.ceil(np.log2(max(high - low, abs(high), abs(low)) / (BINS / 2)))
            self.first = int(np.floor(low / self.width)) - BINS // 8
        while low < self.first * self.width or high >= (self.first + BINS) * self.width:
            merged = np.zeros(BINS, np.int64)
            start = self.first // 2 - BINS // 4
            index = (self.first + np.arange(BINS)) // 2 - start
            np.add.at(merged, index, self.counts)
            self.counts, self.first, self.width = merged, start, self.width * 2

    @property
    def centers(self) -> Array:
        """Middle of every bin [BINS], real values."""
        return np.asarray((self.first + np.arange(BINS) + 0.5) * self.width)


@dataclass
class TensorStats:
    """What calibration saw of one tensor.

    Attributes
    ----------
    low, high : ndarray [c]
        Extremes per channel.
    mean, mean_square : ndarray [c]
        Moments per channel.
    raw_mean : ndarray [c]
        Mean before the fused clamp, over the batches of `Calibration.sampled` only.
    histogram : Histogram or None
    half_reach : ndarray [2, c] or None
        Greatest absolute value per channel over the even and over the odd batches; None if there is only one batch.
    """

    low: Array
    high: Array
    mean: Array
    mean_square: Array
    raw_mean: Array
    count: int
    histogram: Histogram | None = None
    half_reach: Array | None = None

    @property
    def range(self) -> tuple[float, float]:
        return float(self.low.min()), float(self.high.max())


@dataclass
class _Sums:
    low: Array
    high: Array
    total: Array
    square: Array
    raw: Array
    count: int = 0
    raw_count: int = 0
    half_reach: list[Array] = field(default_factory=lambda: [np.zeros(1), np.zeros(1)])
    histogram: Histogram | None = None


def observe(
    graph: Graph, calibration: Calibration, *, histograms: bool, progress: Callable[[int, int], None]
) -> dict[str, TensorStats]:
    """Run the float graph over all batches and collect the statistics of every tensor.

    Raises
    ------
    ValueError
        If a tensor becomes NaN or infinite.
    """
    sums: dict[str, _Sums] = {}
    chosen = set(calibration.sampled)
    sampled, half = False, 0

    def tap(node: Node | None, tensor: str, raw: Array, value: Array) -> Array:
        flat = value.reshape(-1, value.shape[-1])
        low, high = flat.min(axis=0), flat.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(f"tensor {tensor!r} becomes NaN or infinite on the calibration data")
        if tensor not in sums:
            zero = np.zeros(value.shape[-1])
            sums[tensor] = _Sums(low, high, zero, zero, zero, histogram=Histogram() if histograms else None)
        s = sums[tensor]
        s.low, s.high = np.minimum(s.low, low), np.maximum(s.high, high)
        total = flat.sum(axis=0, dtype=np.float64)
        s.total = s.total + total
        s.square = s.square + np.einsum("nc,nc->c", flat, flat)
        s.count += len(flat)
        s.half_reach[half] = np.maximum(s.half_reach[half], np.maximum(np.abs(low), np.abs(high)))
        if sampled:
            clamped = node is not None and "limits" in node.attrs
            s.raw = s.raw + (raw.reshape(-1, raw.shape[-1]).sum(axis=0, dtype=np.float64) if clamped else total)
            s.raw_count += len(flat)
        if s.histogram is not None:
            s.histogram.add(value)
        return value

    for done, batch in enumerate(calibration):
        progress(done, len(calibration))
        sampled, half = done in chosen, done % 2
        forward(graph, batch, tap)
    progress(len(calibration), len(calibration))
    halves = len(calibration) > 1
    return {
        name: TensorStats(
            s.low,
            s.high,
            s.total / s.count,
            s.square / s.count,
            s.raw / s.raw_count,
            s.count,
            s.histogram,
            np.stack(s.half_reach) if halves else None,
        )
        for name, s in sums.items()
    }
