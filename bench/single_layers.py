"""Single layers: lightkern beside the fastest of all peers, and how many times as fast it should be.

    python bench/single_layers.py --layers group,dwconv

Short and long networks of all contenders take turns in one run (``interleave.py``). A round yields one time per
contender, long less short, and one ratio; medians over rounds are shown, so that a clock that drifts or a neighbour who
comes and goes meets both sides. *spread* is the interquartile range of the ratio over its median: above 10 % repeat it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
from latency import versions
from layer_tflite import write_tflite
from layers import LAYERS, REPEATS, layer_case, layer_input
from packages import cached
from roofline import ceilings

from lightkern.compare.affinity import pin
from lightkern.compare.case import Case, UnavailableError
from lightkern.compare.contenders import CONTENDERS, compressed_model, compressed_path, contenders, excused
from lightkern.compare.interleave import interleave
from lightkern.compare.race import OURS, ready

__all__ = ["LayerResult", "layer_result", "row"]

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
    """One layer: seconds by contender, one per round, from the difference of a long and a short network."""

    name: str
    rounds: dict[str, list[float]]

    def seconds(self, contender: str) -> float:
        """Time of the layer, s; NaN where noise exceeds it."""
        seconds = float(np.median(self.rounds[contender]))
        return seconds if seconds > 0 else float("nan")

    def best_peer(self, but: Collection[str] = ()) -> str | None:
        """The fastest contender that is not ours, right or wrong."""
        peers = [n for n in self.rounds if n != OURS and n not in but and not np.isnan(self.seconds(n))]
        return min(peers, key=self.seconds, default=None)

    def _ratios(self, peer: str | None) -> npt.NDArray[np.float64]:
        if peer is None:
            return np.array([np.nan])
        peers, ours = (np.array(self.rounds[name], np.float64) for name in (peer, OURS))
        return np.divide(peers, ours)

    @property
    def speedup(self) -> float:
        """Time of the best peer over that of lightkern, the median over rounds; NaN where there is no peer."""
        return float(np.median(self._ratios(self.best_peer())))

    @property
    def spread(self) -> float:
        """Interquartile range of that ratio over its median."""
        low, middle, high = np.quantile(self._ratios(self.best_peer()), [0.25, 0.5, 0.75])
        return float((high - low) / middle)

    @property
    def int8_speedup(self) -> float:
        """The same as `speedup` against the best of the int8 peers."""
        return float(np.median(self._ratios(self.best_peer(FLOATS))))

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


def layer_result(name: str, only: str = "", rounds: int = 15) -> LayerResult:
    """Race one layer, one thread."""
    x = layer_input(LAYERS[name])
    cases = [with_tflite(layer_case(name, count)) for count in REPEATS]
    networks: dict[str, Callable[[], object]] = {}  # of a contender the short one, then the long one
    for contender in contenders(only):
        if "given" in contender.name:
            continue
        try:
            with excused(contender):
                pair = [ready(contender, case, x, 1) for case in cases]
        except UnavailableError:
            continue
        networks |= {f"{contender.name} {count}": run for count, run in zip(REPEATS, pair, strict=True)}
    pin(1)
    samples = {key: np.array(timing.samples) for key, timing in interleave(networks, rounds).items()}
    short, long = REPEATS
    names = dict.fromkeys(key.rpartition(" ")[0] for key in networks)
    return LayerResult(
        name, {n: list((samples[f"{n} {long}"] - samples[f"{n} {short}"]) / (long - short)) for n in names}
    )


HEAD = (
    f"{'layer':25} {OURS:>17} {'best peer':>19} {'time':>17} {'times as fast':>14} {'spread':>7} {'target':>10}"
    f" {'than int8':>10} {'target':>10}"
)


def row(r: LayerResult) -> str:
    """One layer, for people."""

    def verdict(speedup: float, target: float) -> str:
        return "" if np.isnan(target) else f"{target:.1f} {'met' if speedup >= target else 'missed'}"

    def time(name: str) -> str:
        return f"{r.seconds(name) * 1e6:.0f} us ({LAYERS[r.name].macs / r.seconds(name) / 1e9:.0f} G)"

    peer = r.best_peer()
    any_peer = f"{peer or '-':>19} {time(peer) if peer else '-':>17} {r.speedup:>14.2f} {r.spread:>7.0%}"
    int8_peer = f"{r.int8_speedup:>10.2f} {verdict(r.int8_speedup, r.int8_target):>10}"
    return f"{r.name:25} {time(OURS):>17} {any_peer} {verdict(r.speedup, r.target):>10} {int8_peer}".rstrip()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="", help="comma-separated beginnings of names (default: all)")
    parser.add_argument("--contenders", default="", help="comma-separated parts of names (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    begins = tuple(part.strip() for part in arguments.layers.split(","))
    print(HEAD, flush=True)
    results = []
    for name in (n for n in LAYERS if n.startswith(begins)):
        results.append(layer_result(name, arguments.contenders, arguments.rounds))
        print(row(results[-1]), flush=True)
    rates = ceilings()
    print("ceilings: " + ", ".join(f"{name} {rate:.0f} G" for name, rate in rates.items()))
    if arguments.json:
        keys = ("speedup", "spread", "target", "int8_speedup", "int8_target")
        rows = [dataclasses.asdict(r) | {key: getattr(r, key) for key in keys} for r in results]
        facts = {"versions": versions(), "ceilings": rates, "layers": rows}
        arguments.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
