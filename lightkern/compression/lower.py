"""Last pass: the int8 model from the fused float graph, the quantizations and the integer weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..model import Model, Quant
from ..opset import CLAMPED
from .fuse import apply_steps
from .weights import QuantizedWeights, integer_bias

__all__ = ["lower", "tabulate"]

CONSTANT = ("conv2d", "linear")


def lower(graph: Graph, quants: Mapping[str, Quant], weights: Mapping[str, QuantizedWeights]) -> Model:
    """Build and validate the model.

    Parameters
    ----------
    graph : Graph
        A fused graph.
    quants : mapping of str to Quant
        By tensor.
    weights : mapping of str to QuantizedWeights
        By name of conv2d and linear nodes.
    """
    nodes = [_lower_node(node, quants, weights) for node in graph.nodes]
    known = {port.tensor for port in graph.inputs} | {node.output for node in nodes}
    model = Model(
        graph.name,
        list(graph.inputs),
        list(graph.outputs),
        nodes,
        {name: quants[name] for name in quants if name in known},
        {},
    )
    model.validate()
    return model


def _lower_node(node: Node, quants: Mapping[str, Quant], weights: Mapping[str, QuantizedWeights]) -> Node:
    attrs: dict[str, Any] = {k: v for k, v in node.attrs.items() if k not in ("limits", "steps")}
    params: dict[str, Array] = {}
    x, y = quants[node.inputs[0]], quants[node.output]
    if node.op in CONSTANT:
        w = weights[node.name]
        params = {"weight": w.weight, "weight_scale": w.scale, "bias": integer_bias(w, x)}
    elif node.op == "table":
        params = {"table": tabulate(node.attrs["steps"], x, y)}
    elif node.op == "softmax":
        distance = np.arange(256, dtype=np.float64) * x.scale
        params = {"exp": np.rint(2.0**23 * np.exp(-distance)).astype(np.int32)}
    elif node.op == "prelu":
        params = {"slope": _normal_slopes(node.params["slope"], x, y)}
    elif node.op == "resize":
        params = {key: value.astype(np.int32) for key, value in node.params.items()}
    if node.op in CLAMPED:
        attrs["clamp"] = _integer_clamp(node.attrs.get("limits", (-math.inf, math.inf)), y)
    return Node(node.op, node.name, list(node.inputs), node.output, attrs, params)


def _integer_clamp(limits: tuple[float, float], y: Quant) -> list[int]:
    low, high = (int(v) for v in y.quantize(np.array(np.clip(limits, -1e30, 1e30), np.float32)))
    return [low, high]


def _normal_slopes(slope: Array, x: Quant, y: Quant) -> Array:
    """Slopes as float32; one that no int8 input could make visible becomes 0, so that products stay normal numbers."""
    slope = slope.astype(np.float32)
    return np.where(np.abs(slope) * x.scale < 2.0**-20 * y.scale, np.float32(0), slope)


def tabulate(steps: list[Any], x: Quant, y: Quant) -> Array:
    """The 256 results int8 of an elementwise function, for the inputs -128 ... 127."""
    real = x.dequantize(np.arange(-128, 128, dtype=np.int8))
    with np.errstate(over="ignore"):
        result = apply_steps(steps, real.astype(np.float64))
    if np.isnan(result).any():
        raise ValueError(f"the function {[op for op, _ in steps]} is NaN at an input in [{real[0]}, {real[-1]}]")
    return y.quantize(np.clip(result, -1e30, 1e30).astype(np.float32))
