"""Pass 2: every elementwise function becomes the clamp of the op before it, or a table of 256 entries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..float_ops import UNARY
from ..graph import Array, Graph, Node
from ..opset import CLAMPED
from .rewrite import absorb_into_writer, drop_unused, sole_reader, writer

__all__ = ["apply_steps", "fuse", "sensitive_range"]

CLAMPS = ("relu", "clip")
CLAMP_MOVES_ACROSS = ("max_pool", "slice", "channel_shuffle", "reshape")


def fuse(graph: Graph) -> None:
    """Replace every unary node; afterwards all ops are in `rewrite.FUSED_OPS`."""
    drop_unused(graph)
    for node in list(graph.nodes):
        if node.op in CLAMPS:
            _move_up(graph, node)
    for node in list(graph.nodes):
        if node.op in UNARY or node.op == "uniform_affine":
            _fuse_unary(graph, node)


def _limits(node: Node) -> tuple[float, float]:
    return (0.0, math.inf) if node.op == "relu" else (float(node.attrs["min"]), float(node.attrs["max"]))


def _move_up(graph: Graph, node: Node) -> None:
    """Clamping commutes with ops that only move or select values; above them it may meet an op that takes it."""
    while True:
        before = writer(graph, node.inputs[0])
        if before is None or before.op not in CLAMP_MOVES_ACROSS or sole_reader(graph, before.output) is not node:
            return
        if sole_reader(graph, before.inputs[0]) is not before:
            return
        inner = before.output
        before.output, node.output = node.output, inner
        node.inputs, before.inputs = list(before.inputs), [inner]
        graph.nodes.remove(node)
        graph.nodes.insert(graph.nodes.index(before), node)


def _fuse_unary(graph: Graph, node: Node) -> None:
    before = writer(graph, node.inputs[0])
    alone = before is not None and sole_reader(graph, node.inputs[0]) is node
    if before is not None and alone and node.op in CLAMPS and before.op in CLAMPED:
        low, high = before.attrs.get("limits", (-math.inf, math.inf))
        below, above = _limits(node)
        before.attrs["limits"] = [min(max(low, below), above), max(min(high, above), below)]
        absorb_into_writer(graph, before, node)
        return
    steps = [[node.op, dict(node.attrs)]]
    if before is not None and alone and before.op == "table":
        before.attrs["steps"] += steps
        absorb_into_writer(graph, before, node)
        return
    node.op, node.attrs = "table", {"steps": steps}


def apply_steps(steps: list[Any], x: Array) -> Array:
    """The function of a table: its steps in turn, on real values of any shape."""
    for op, attrs in steps:
        x = _affine(x, attrs) if op == "uniform_affine" else UNARY[op](x, attrs)
    return x


def _affine(x: Array, attrs: Mapping[str, Any]) -> Array:
    return np.asarray(x * x.dtype.type(attrs["scale"]) + x.dtype.type(attrs["offset"]))


def sensitive_range(steps: list[Any], low: float, high: float, tolerance: float) -> tuple[float, float]:
    """The part of [low, high] outside of which the function stays within `tolerance` of its value at that end.

    Hard-swish is 0 below -3, a sigmoid hardly moves beyond 8: the tensor in front of such a table need not spend
    int8 values there.

    Parameters
    ----------
    steps : list
        The function, as in `apply_steps`.
    low, high : float
        Range of the input, real values.
    tolerance : float
        Largest harmless error of the output, real value.
    """
    x = np.linspace(low, high, 4097)
    y = apply_steps(steps, x)
    # Clamping x to the range must keep *all* values beyond it within tolerance, so take running extremes.
    from_low = np.maximum(np.maximum.accumulate(y) - y, y - np.minimum.accumulate(y))
    from_high = np.maximum(np.maximum.accumulate(y[::-1]) - y[::-1], y[::-1] - np.minimum.accumulate(y[::-1]))[::-1]
    flat_low = np.flatnonzero(np.maximum.accumulate(from_low) <= tolerance)
    flat_high = np.flatnonzero(np.maximum.accumulate(from_high[::-1])[::-1] <= tolerance)
    i = int(flat_low[-1]) if flat_low.size else 0
    j = int(flat_high[0]) if flat_high.size else len(x) - 1
    if i >= j:
        return low, high
    return float(x[i]), float(x[j])
