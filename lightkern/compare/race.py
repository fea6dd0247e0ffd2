"""A race of contenders on one network: each at its best settings, each thread on its own CPU, all in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Any

import numpy as np
import numpy.typing as npt

from .affinity import pin, spread, worker_threads
from .case import Case, Runner, UnavailableError
from .contenders import Contender, excused, prepared
from .interleave import Timing, interleave, ratio

__all__ = ["OURS", "Closeness", "Race", "closeness", "outputs", "race", "ready", "summary", "table"]

Array = npt.NDArray[Any]

OURS = "lightkern int8"
EXACT = ("float", "exact", "7-bit")
WARM_UP_SECONDS = 0.1


@dataclass(frozen=True)
class Race:
    """Timings of one network with one number of threads, all from one interleaved run."""

    model: str
    threads: int
    timings: dict[str, Timing]
    exactness: dict[str, str]
    skipped: dict[str, str]
    closeness: dict[str, Closeness] = field(default_factory=dict)

    def best_peer(self, exactness: tuple[str, ...] = ()) -> str | None:
        """The fastest contender that is not ours, of any or of the given kinds of arithmetic."""
        peers = [n for n in self.timings if n != OURS and (not exactness or self.exactness[n] in exactness)]
        return min(peers, key=lambda n: self.timings[n].median, default=None)

    def ratio_to(self, peer: str | None) -> float:
        """Time of lightkern over the time of a peer; NaN where either is absent."""
        if peer is None or OURS not in self.timings:
            return float("nan")
        return ratio(self.timings[OURS], self.timings[peer])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able facts, times in seconds."""
        rows = {
            name: {"median": t.median, "best": t.best, "spread": t.spread, "products": self.exactness[name]}
            | {"lightkern_ratio": self.ratio_to(name) if OURS in self.timings else None}
            | (vars(self.closeness[name]) if name in self.closeness else {})
            for name, t in self.timings.items()
        }
        return {"model": self.model, "threads": self.threads, "contenders": rows, "skipped": self.skipped}


def ready(contender: Contender, case: Case, x: Array, threads: int) -> Callable[[], object]:
    """A contender loaded, warm, its workers on CPUs of their own: a function that runs it on `x`."""
    return warm(contender, case, x, threads)[1]


def warm(contender: Contender, case: Case, x: Array, threads: int) -> tuple[Runner, Callable[[], object]]:
    """The same, with the runner."""
    pin(threads)
    before = worker_threads()
    runner = prepared(contender, case, threads)
    run = runner.bind(x)
    until = time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < until:
        run()
    if not contender.pins_itself:
        spread(worker_threads() - before, threads)
    return runner, run


@dataclass(frozen=True)
class Closeness:
    """How close outputs are to those of the float network.

    Attributes
    ----------
    agreement : float
        Share of examples with the float network's greatest element of the output.
    sqnr : float
        Signal-to-quantization-noise ratio, ``10 log10(sum(f^2) / sum((f - q)^2))``, dB; infinite for equal outputs.
    median_sqnr : float
        The (lower) median of the examples' own ratios: in `sqnr` a single loud example can outweigh all others.
    """

    agreement: float
    sqnr: float
    median_sqnr: float


def decibels(signal: float, noise: float) -> float:
    """Ratio of two sums of squares."""
    if noise == 0:
        return float("inf")
    return float("-inf") if signal == 0 else 10 * float(np.log10(signal / noise))


def closeness(wanted: Array, got: Array) -> Closeness:
    """Compare outputs [n, ...] with the float network's.

    Raises
    ------
    ValueError
        If their shapes differ.
    """
    if wanted.shape != got.shape:
        raise ValueError(f"outputs of shape {got.shape}, the float network has {wanted.shape}")
    flat = [y.reshape(len(y), -1).astype(np.float64) for y in (wanted, got)]
    agreement = float((flat[0].argmax(1) == flat[1].argmax(1)).mean())
    signal, noise = np.square(flat[0]).sum(1), np.square(flat[0] - flat[1]).sum(1)
    of_each = [decibels(float(s), float(n)) for s, n in zip(signal, noise, strict=True)]
    return Closeness(agreement, decibels(float(signal.sum()), float(noise.sum())), median_low(of_each))


def outputs(runner: Runner, examples: Array) -> Array:
    """float32 outputs [n, ...] of examples [n, ...], one at a time."""
    # Copies, because a runtime may reuse the memory of its output.
    rows = [runner.revert(runner.run(runner.convert(examples[i : i + 1]))).copy() for i in range(len(examples))]
    return np.concatenate(rows).astype(np.float32)


def race(
    case: Case,
    x: Array,
    threads: int,
    chosen: Sequence[Contender],
    rounds: int = 15,
    *,
    examples: Array | None = None,
    float_outputs: Array | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> Race:
    """Time contenders on one network against each other, each thread pinned to a CPU.

    Parameters
    ----------
    x : ndarray float32 [1, ...]
        What is timed.
    examples, float_outputs : ndarray [n, ...], optional
        What the outputs of every contender are compared on, and those of the float network.
    progress : callable
        Told what is done next.
    """
    runs: dict[str, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    close: dict[str, Closeness] = {}
    for contender in chosen:
        progress(f"preparing {contender.name}")
        pin(threads)
        try:
            with excused(contender):
                runner, run = warm(contender, case, x, threads)
                if examples is not None and float_outputs is not None:
                    close[contender.name] = closeness(float_outputs, outputs(runner, examples))
                runs[contender.name] = run
        except UnavailableError as error:
            skipped[contender.name] = str(error)
    pin(1)  # the caller; its workers have the other CPUs
    progress("timing")
    timings = interleave(runs, rounds)
    return Race(case.name, threads, timings, {c.name: c.exactness for c in chosen}, skipped, close)


def table(result: Race, agreement: Mapping[str, float] | None = None) -> str:
    """One race for people; `agreement` is the share of crops with the float model's class, by contender."""
    header = f"{'':22} {'products':10} {'median':>9} {'best':>9} {'spread':>7} {'lightkern':>10}"
    lines = [f"{result.model}, {result.threads} thread(s)", header + ("  agreement" if agreement else "")]
    for name, t in sorted(result.timings.items(), key=lambda item: item[1].median):
        versus = "" if name == OURS or OURS not in result.timings else f"{result.ratio_to(name):.2f} x"
        line = f"{name:22} {result.exactness[name]:10} {t.median * 1e3:6.2f} ms {t.best * 1e3:6.2f} ms {t.spread:>6.0%}"
        known = "" if not agreement or name not in agreement else f"{agreement[name]:>10.1%}"
        lines.append(f"{line} {versus:>10} {known}".rstrip())
    lines += [f"{name:22} skipped: {reason}" for name, reason in result.skipped.items()]
    return "\n".join(lines)


def summary(results: list[Race]) -> str:
    """Ratios to the best peer, right or wrong, and to the best one whose sums are exact."""
    lines = [f"{'lightkern int8 / best peer':28} {'threads':>7} {'any':>6}  {'':20} {'exact':>6}"]
    for r in results:
        every, exact = r.best_peer(), r.best_peer(EXACT)
        lines.append(
            f"{r.model:28} {r.threads:>7} {r.ratio_to(every):>6.2f}  {every or 'no peer':20} {r.ratio_to(exact):>6.2f}"
            f"  {exact or 'no peer'}"
        )
    return "\n".join(lines)
