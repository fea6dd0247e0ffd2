"""Pass 6: one scale and zero point for every tensor, shared where an op only moves values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Graph, Node
from ..model import Quant
from ..opset import CLAMPED, SAME_QUANT
from .calibrators import calibrate
from .fuse import sensitive_range
from .observe import TensorStats
from .options import CompressOptions
from .rewrite import fresh_name, insert_after, is_output, readers, sole_reader, writer

__all__ = ["choose_quants"]

SOFTMAX = Quant(1 / 256, -128)
"""Quantization of every softmax output, by definition of the op."""

UNIT_INTERVAL = ("sigmoid", "hard_sigmoid")
"""Functions whose output range is [0, 1] whatever the input: calibration pictures cannot tell more."""

NARROW = 4.0
"""A tensor whose other readers would lose more than this factor of resolution is requantized for a concat."""

NEGLIGIBLE = 1e-12
"""A real range below this is taken for constant zero, a scale below it is never used."""

MAX_RATIO = 2.0**18
"""Greatest ratio of an input's scale to the output's: beyond it, the output shows nothing but rounding errors."""

Range = tuple[float, float]


def choose_quants(graph: Graph, stats: Mapping[str, TensorStats], options: CompressOptions) -> dict[str, Quant]:
    """Quantization of every tensor; inserts requantizing tables into `graph` where sharing one would cost too much."""
    ranges = {name: calibrate(s, options) for name, s in stats.items()}
    for port in graph.inputs:
        if port.name in options.input_ranges:
            low, high = options.input_ranges[port.name]
            ranges[port.tensor] = (min(low, 0.0), max(high, 0.0))
    _narrow_table_ranges(graph, ranges)
    for node in list(graph.nodes):
        if node.op in SAME_QUANT:
            _separate(graph, node, ranges)
    fixed = {node.output for node in graph.nodes if node.op == "softmax"}
    quants: dict[str, Quant] = {}
    for members in _shared(graph):
        if fixed & members:
            quants.update(dict.fromkeys(members, SOFTMAX))
            continue
        bounds = [ranges[name] for name in members]
        quant = quantization(min(b[0] for b in bounds), max(b[1] for b in bounds))
        quants.update(dict.fromkeys(members, quant))
    _raise_scales(graph, quants)
    return quants


def quantization(low: float, high: float) -> Quant:
    """The asymmetric int8 quantization that covers [low, high] and represents 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < NEGLIGIBLE:
        return Quant(1.0, 0)
    scale = float(np.float32((high - low) / 255))
    return Quant(scale, int(np.clip(np.rint(-128 - low / scale), -128, 127)))


def _narrow_table_ranges(graph: Graph, ranges: dict[str, Range]) -> None:
    for node in graph.nodes:
        if node.op != "table":
            continue
        if node.attrs["steps"] and node.attrs["steps"][-1][0] in UNIT_INTERVAL:
            ranges[node.output] = (0.0, 1.0)
        source = node.inputs[0]
        if sole_reader(graph, source) is node:
            low, high = ranges[node.output]
            tolerance = (high - low) / 255 / 4
            below, above = sensitive_range(node.attrs["steps"], *ranges[source], tolerance)
            ranges[source] = (min(below, 0.0), max(above, 0.0))


def _separate(graph: Graph, node: Node, ranges: dict[str, Range]) -> None:
    """Give a concat (or pad with a value) a requantized copy of an input whose own quantization must stay."""
    if node.op not in ("concat", "pad") or (node.op == "pad" and node.attrs["value"] == 0):
        return
    low = min(ranges[name][0] for name in node.inputs)
    high = max(ranges[name][1] for name in node.inputs)
    for source in dict.fromkeys(node.inputs):
        before = writer(graph, source)
        fixed = before is not None and before.op == "softmax"
        own = ranges[source][1] - ranges[source][0]
        others = [r for r in readers(graph, source) if r.op not in SAME_QUANT]
        if fixed or ((others or is_output(graph, source)) and high - low > NARROW * own):
            copy = fresh_name(graph, f"{source}_requantized")
            insert_after(graph, before, Node("table", copy, [source], copy, {"steps": []}))
            ranges[copy] = ranges[source]
            node.inputs = [copy if name == source else name for name in node.inputs]


def _shared(graph: Graph) -> list[set[str]]:
    """Sets of tensors that must have one quantization; every tensor is in exactly one."""
    group: dict[str, set[str]] = {port.tensor: {port.tensor} for port in graph.inputs}
    for node in graph.nodes:
        group[node.output] = {node.output}
        if node.op in SAME_QUANT:
            for name in node.inputs:
                merged = group[node.output] | group[name]
                group.update(dict.fromkeys(merged, merged))
    return list({id(members): members for members in group.values()}.values())


def _raise_scales(graph: Graph, quants: dict[str, Quant]) -> None:
    """Keep requantization multipliers of elementwise ops and pools representable where values cancel."""
    groups = {name: members for members in _shared(graph) for name in members}
    for node in graph.nodes:
        if node.op not in CLAMPED or node.op in ("conv2d", "linear"):
            continue
        scales = [quants[name].scale for name in node.inputs]
        product = scales[0] * scales[1] if node.op == "mul" else max(scales)
        quant = quants[node.output]
        if product > quant.scale * MAX_RATIO:
            raised = Quant(float(np.float32(product / MAX_RATIO)), quant.zero_point)
            quants.update(dict.fromkeys(groups[node.output], raised))
