"""Fair timing: contenders take turns in short bursts, so that a busy moment of the machine meets all of them.

One round visits every contender once, in an order that changes from round to round. A visit waits until the workers of
the contender before have gone to sleep, runs a few times untimed, then a burst; the median of the burst is one sample.
A ratio is the median over rounds of the ratio within the round, which a slow drift of the clock cannot change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Timing", "interleave", "ratio"]

SETTLE_SECONDS = 0.02
BURST_SECONDS = 0.04
WARM_UPS = 2


@dataclass
class Timing:
    """Seconds per run, one sample per round."""

    samples: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median over rounds, s."""
        return float(np.median(self.samples))

    @property
    def best(self) -> float:
        """Fastest round, s."""
        return min(self.samples)

    @property
    def spread(self) -> float:
        """Interquartile range over the median."""
        low, high = np.quantile(self.samples, [0.25, 0.75])
        return float((high - low) / self.median)


def interleave(runs: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, Timing]:
    """Time functions against each other.

    Parameters
    ----------
    runs : mapping of str to callable
        By name; called without arguments.
    rounds : int
        Samples per function.

    Returns
    -------
    dict of str to Timing
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds}")
    bursts: dict[str, int] = {}
    for name, run in runs.items():
        run()
        begin = time.perf_counter()
        run()
        seconds = max(time.perf_counter() - begin, 1e-7)
        bursts[name] = int(np.clip(BURST_SECONDS / seconds, 3, 2000))
    timings = {name: Timing() for name in runs}
    names = list(runs)
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        for i in generator.permutation(len(names)):
            name = names[i]
            timings[name].samples.append(_burst(runs[name], bursts[name]))
    return timings


def _burst(run: Callable[[], object], count: int) -> float:
    time.sleep(SETTLE_SECONDS)
    for _ in range(WARM_UPS):
        run()
    seconds = np.empty(count)
    for i in range(count):
        begin = time.perf_counter()
        run()
        seconds[i] = time.perf_counter() - begin
    return float(np.median(seconds))


def ratio(a: Timing, b: Timing) -> float:
    """Time of `a` over time of `b`, the median over rounds of both."""
    return float(np.median(np.array(a.samples) / np.array(b.samples)))
