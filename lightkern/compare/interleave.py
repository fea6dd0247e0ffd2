"""Fair timing: contenders take turns in short bursts, so that a busy moment of the machine meets all of them.

One round visits every contender once, in an order that changes from round to round. A visit waits until the workers of
the contender before have gone to sleep, runs a few times untimed, then a burst; the median of the burst is one sample.
A ratio is the median over rounds of the ratio within the round, which a slow drift of the clock cannot change.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

__all__ = ["Timing", "interleave", "ratio"]

SETTLE_SECONDS = 0.02
BURST_SECONDS = 0.04
WARM_UPS = 2
RETRIES = 5
TOLERATED_WAIT = 0.02
"""Share of a burst that threads may wait for a CPU which another process has."""


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
    """Median time of a burst; a burst in which this process had to wait for a CPU is taken again, a few times."""
    for _ in range(RETRIES):
        time.sleep(SETTLE_SECONDS)
        for _ in range(WARM_UPS):
            run()
        seconds = np.empty(count)
        waited = _waited_seconds()
        for i in range(count):
            begin = time.perf_counter()
            run()
            seconds[i] = time.perf_counter() - begin
        if _waited_seconds() - waited < TOLERATED_WAIT * seconds.sum():
            break
    return float(np.median(seconds))


def _waited_seconds() -> float:
    """Time that the threads of this process were ready to run and had no CPU, s (Linux; elsewhere 0)."""
    total = 0
    tasks = Path("/proc/self/task")
    for task in tasks.iterdir() if tasks.is_dir() else ():
        try:
            total += int((task / "schedstat").read_text().split()[1])
        except OSError:  # the thread has ended, or the kernel does not tell
            continue
    return total / 1e9


def ratio(a: Timing, b: Timing) -> float:
    """Time of `a` over time of `b`, the median over rounds of both."""
    return float(np.median(np.array(a.samples) / np.array(b.samples)))
