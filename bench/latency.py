"""Latency of every contender on the networks of the zoo, taken in turns, with the accuracy beside it.

python bench/latency.py --threads 1,2 --accuracy accuracy.json --json latency.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
from cases import ZOO, zoo_case, zoo_input
from interleave import Timing, interleave, ratio
from peers import Case, Contender, UnavailableError, contenders, pin, prepared, spread, worker_threads

__all__ = ["OURS", "Race", "race", "ready", "summary", "table"]

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
            for name, t in self.timings.items()
        }
        return {"model": self.model, "threads": self.threads, "contenders": rows, "skipped": self.skipped}


def ready(contender: Contender, case: Case, x: Array, threads: int) -> Callable[[], object]:
    """A contender loaded, warm, its workers on CPUs of their own: a function that runs it on `x`."""
    pin(threads)
    before = worker_threads()
    run = prepared(contender, case, threads).bind(x)
    until = time.perf_counter() + WARM_UP_SECONDS
    while time.perf_counter() < until:
        run()
    if not contender.pins_itself:
        spread(worker_threads() - before, threads)
    return run


def race(case: Case, x: Array, threads: int, chosen: list[Contender], rounds: int = 15) -> Race:
    """Time contenders on one network against each other, each thread pinned to a CPU."""
    runs: dict[str, Callable[[], object]] = {}
    skipped: dict[str, str] = {}
    for contender in chosen:
        try:
            runs[contender.name] = ready(contender, case, x, threads)
        except UnavailableError as error:
            skipped[contender.name] = str(error)
    pin(1)  # the caller; its workers have the other CPUs
    timings = interleave(runs, rounds)
    return Race(case.name, threads, timings, {c.name: c.exactness for c in chosen}, skipped)


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


def agreements(path: Path | None, model: str) -> dict[str, float] | None:
    """Agreement by contender from a file of `accuracy`, for the network's twin with ImageNet weights."""
    if path is None:
        return None
    rows = json.loads(path.read_text())
    return {r["contender"]: r["agreement"] for r in rows if r["model"] == f"{model}_imagenet"}


def versions() -> dict[str, str]:
    """What ran here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()}
    for package in ("lightkern", "numpy", "onnxruntime", "openvino", "ai-edge-litert"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        found["cpu"] = names[0] if names else "unknown"
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(ZOO), help="comma-separated (default: %(default)s)")
    parser.add_argument("--contenders", default="", help="comma-separated parts of names (default: all)")
    parser.add_argument("--threads", default="1", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--accuracy", type=Path, help="a file that accuracy.py --json wrote")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    results: list[Race] = []
    x = zoo_input()
    for threads in map(int, arguments.threads.split(",")):
        for name in arguments.models.split(","):
            try:
                result = race(zoo_case(name), x, threads, contenders(arguments.contenders), arguments.rounds)
            except UnavailableError as error:
                sys.exit(str(error))
            results.append(result)
            print(table(result, agreements(arguments.accuracy, name)), end="\n\n", flush=True)
    print(summary(results))
    if arguments.json:
        content = {"versions": versions(), "races": [r.as_dict() for r in results]}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
