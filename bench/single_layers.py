"""Single layers: lightkern beside the fastest of all peers, and how many times as fast it should be.

python bench/single_layers.py --layers group,dwconv
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from latency import versions
from layer_tflite import write_tflite
from layers import LAYERS, REPEATS, layer_case, layer_input, layer_seconds
from packages import cached

from lightkern.compare.contenders import CONTENDERS, Case, compressed_model, compressed_path, contenders
from lightkern.compare.race import OURS, Race, race

__all__ = ["LayerResult", "layer_results", "table"]

TARGETS = {
    "dwconv": 1.0,
    "group3x3_16each": 1.3,
    "group3x3_8each": 1.3,
    "group3x3_4each": 2.0,
    "group3x3_2each": 2.0,
    "group1x1": 1.5,
}
"""How many times as fast as the best peer a layer should be, by the beginning of its name."""

INT8_TARGETS = {"dwconv": 2.0}
"""The same against the best int8 peer, where float ones are faster than int8 ones."""

FLOATS = {c.name for c in CONTENDERS if c.exactness == "float"}


@dataclasses.dataclass(frozen=True)
class LayerResult:
    """One layer: seconds by contender, from the difference of a long and a short network."""

    name: str
    seconds: dict[str, float]

    def _best(self, but: Collection[str] = ()) -> str | None:
        peers = [n for n, t in self.seconds.items() if n != OURS and n not in but and not np.isnan(t)]
        return min(peers, key=lambda n: self.seconds[n], default=None)

    def _speedup(self, peer: str | None) -> float:
        return self.seconds[peer] / self.seconds[OURS] if peer else float("nan")

    @property
    def best_peer(self) -> str | None:
        """The fastest contender that is not ours, right or wrong."""
        return self._best()

    @property
    def speedup(self) -> float:
        """Time of the best peer over that of lightkern; NaN where either is absent."""
        return self._speedup(self._best())

    @property
    def int8_speedup(self) -> float:
        """The same against the best of the int8 peers."""
        return self._speedup(self._best(FLOATS))

    @property
    def target(self) -> float:
        """What `speedup` should reach; NaN where nothing is asked."""
        return next((t for begin, t in TARGETS.items() if self.name.startswith(begin)), float("nan"))

    @property
    def int8_target(self) -> float:
        """What `int8_speedup` should reach; NaN where nothing is asked."""
        return next((t for begin, t in INT8_TARGETS.items() if self.name.startswith(begin)), float("nan"))


def with_tflite(case: Case) -> Case:
    """The case with a TFLite file of the same numbers, where that can be written."""
    try:
        path = cached(
            f"layers/{compressed_path(case).stem}.tflite", lambda path: write_tflite(compressed_model(case), path)
        )
    except (ValueError, ImportError):
        return case
    return dataclasses.replace(case, tflite=path)


def race_layer(name: str, only: str, rounds: int) -> tuple[Race, Race]:
    """The races of a short and of a long network, one thread."""
    chosen = [c for c in contenders(only) if "given" not in c.name]
    x = layer_input(LAYERS[name])
    short, long = (race(with_tflite(layer_case(name, count)), x, 1, chosen, rounds) for count in REPEATS)
    return short, long


def layer_results(names: Iterable[str], only: str = "", rounds: int = 7) -> list[LayerResult]:
    """Race every layer of these names."""
    results = []
    for name in names:
        short, long = race_layer(name, only, rounds)
        results.append(LayerResult(name, {c: layer_seconds(short.timings[c], long.timings[c]) for c in long.timings}))
    return results


def table(results: Iterable[LayerResult]) -> str:
    """One row per layer, for people."""

    def verdict(speedup: float, target: float) -> str:
        return "" if np.isnan(target) else f"{target:.1f} {'met' if speedup >= target else 'missed'}"

    head = f"{'layer':26} {OURS:>17} {'best peer':>20} {'time':>12} {'times as fast':>14} {'target':>10}"
    lines = [f"{head} {'than int8':>10} {'target':>10}"]
    for r in results:
        rate = LAYERS[r.name].macs / r.seconds[OURS] / 1e9
        ours, peer = f"{r.seconds[OURS] * 1e6:.0f} us ({rate:.0f} G)", r.best_peer or "-"
        time = f"{r.seconds[peer] * 1e6:.0f} us" if r.best_peer else "-"
        any_peer = f"{peer:>20} {time:>12} {r.speedup:>14.2f} {verdict(r.speedup, r.target):>10}"
        int8_peer = f"{r.int8_speedup:>10.2f} {verdict(r.int8_speedup, r.int8_target):>10}"
        lines.append(f"{r.name:26} {ours:>17} {any_peer} {int8_peer}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="", help="comma-separated beginnings of names (default: all)")
    parser.add_argument("--contenders", default="", help="comma-separated parts of names (default: all)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    begins = tuple(part.strip() for part in arguments.layers.split(","))
    results = layer_results([n for n in LAYERS if n.startswith(begins)], arguments.contenders, arguments.rounds)
    print(table(results))
    if arguments.json:
        rows = [
            dataclasses.asdict(r)
            | {key: getattr(r, key) for key in ("speedup", "target", "int8_speedup", "int8_target")}
            for r in results
        ]
        arguments.json.write_text(json.dumps({"versions": versions(), "layers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
