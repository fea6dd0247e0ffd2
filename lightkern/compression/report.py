"""How well int8 represents each layer: what `compress` stores in ``model.metadata["report"]``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..model import Quant
from .calibration import Calibration
from .execute import clamp, evaluate
from .simulate import simulate_node
from .weights import QuantizedWeights

__all__ = ["LayerReport", "measure", "table"]

PICTURES = 8
"""Pictures that the report is measured on."""

BEST_DB = 200.0
"""Reported where there is no noise at all."""


@dataclass(frozen=True)
class LayerReport:
    """Quality of one node's output.

    Attributes
    ----------
    name, op : str
        Of the node.
    sqnr_db : float
        Power of the float output over the power of the int8 network's error, in dB; errors of earlier layers count.
    low, high : float
        Real values that int8 -128 and 127 stand for.
    clipped : float
        Share of float values beyond that range by more than half a step.
    scale_increase : float
        Mean factor on the weight scales that lets pairs and couples fit into 16 bits; 1 where there are no weights.
    """

    name: str
    op: str
    sqnr_db: float
    low: float
    high: float
    clipped: float
    scale_increase: float


def measure(
    graph: Graph,
    quants: Mapping[str, Quant],
    weights: Mapping[str, QuantizedWeights],
    calibration: Calibration,
    progress: Callable[[int, int], None],
) -> list[LayerReport]:
    """Run float and int8 side by side over a few pictures; worst layer first."""
    tallies = {node.name: _Tally() for node in graph.nodes}
    seen = 0
    for batch in calibration:
        if seen >= PICTURES:
            break
        few = {name: x[: PICTURES - seen] for name, x in batch.items()}
        seen += len(next(iter(few.values())))
        for done, (node, y, q) in enumerate(_side_by_side(graph, quants, weights, few)):
            progress(min(seen, PICTURES) * len(graph.nodes) + done, (PICTURES + 1) * len(graph.nodes))
            tallies[node.name].add(y, q, quants[node.output])
    progress(1, 1)
    report = []
    for node in graph.nodes:
        tally = tallies[node.name]
        low, high = _covered(quants[node.output])
        increase = weights[node.name].scale_increase if node.name in weights else 1.0
        clipped = tally.beyond / tally.count
        report.append(LayerReport(node.name, node.op, tally.decibel, low, high, clipped, increase))
    return sorted(report, key=lambda row: row.sqnr_db)


def _side_by_side(
    graph: Graph, quants: Mapping[str, Quant], weights: Mapping[str, QuantizedWeights], batch: dict[str, Array]
) -> Iterator[tuple[Node, Array, Array]]:
    """Each node with its float output and its int8 output, in the order of execution."""
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    real = dict(batch)
    small = {name: quants[name].quantize(x) for name, x in batch.items()}
    for node in graph.nodes:
        y = clamp(node, evaluate(node, [real[name] for name in node.inputs]).astype(np.float32, copy=False))
        raw = simulate_node(node, [small[name] for name in node.inputs], quants, weights.get(node.name))
        q = quants[node.output].quantize(clamp(node, raw))
        yield node, y, q
        real[node.output], small[node.output] = y, q
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not left[name]:
                del real[name], small[name]


@dataclass
class _Tally:
    """Sums over the outputs of one node."""

    signal: float = 0.0
    noise: float = 0.0
    beyond: int = 0
    count: int = 0

    def add(self, y: Array, q: Array, quant: Quant) -> None:
        error = quant.dequantize(q) - y
        low, high = _covered(quant)
        half = quant.scale / 2
        self.signal += float(np.vdot(y, y))
        self.noise += float(np.vdot(error, error))
        self.beyond += int(np.count_nonzero((y < low - half) | (y > high + half)))
        self.count += y.size

    @property
    def decibel(self) -> float:
        if self.noise <= 0:
            return BEST_DB
        return float(np.clip(10 * np.log10(max(self.signal, 1e-30) / self.noise), -BEST_DB, BEST_DB))


def _covered(quant: Quant) -> tuple[float, float]:
    return quant.scale * (-128 - quant.zero_point), quant.scale * (127 - quant.zero_point)


def rows(report: list[LayerReport]) -> list[dict[str, Any]]:
    """The report as JSON-able dictionaries."""
    return [asdict(row) for row in report]


def table(report: list[dict[str, Any]], count: int = 10) -> str:
    """The `count` worst layers of ``model.metadata["report"]`` as text."""
    lines = [f"{'layer':32} {'op':16} {'SQNR':>8}  {'range':>22}  {'clipped':>8} {'scale':>6}"]
    for row in report[:count]:
        covered = f"{row['low']:.4g} .. {row['high']:.4g}"
        lines.append(
            f"{row['name'][:32]:32} {row['op']:16} {row['sqnr_db']:5.1f} dB  {covered:>22}  "
            f"{100 * row['clipped']:7.2f}% {row['scale_increase']:6.3f}"
        )
    return "\n".join(lines)
