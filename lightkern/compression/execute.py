"""Run a fused float graph over calibration pictures, and show every tensor to an observer on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import float_ops
from ..graph import Array, Graph, Node
from .fuse import apply_steps

__all__ = ["clamp", "evaluate", "forward"]

Tap = Callable[[Node | None, str, Array, Array], Array]
"""``tap(node, tensor, raw, value)`` returns what the rest of the network shall see as `tensor`.

`raw` is the result before the fused clamp, `value` the result after it; `node` is None for a graph input.
"""


def evaluate(node: Node, xs: list[Array]) -> Array:
    """Float result [n, ...] of one fused node, before its clamp."""
    if node.op == "table":
        return apply_steps(node.attrs["steps"], xs[0])
    return float_ops.evaluate(node, xs)


def clamp(node: Node, raw: Array) -> Array:
    """Apply the fused clamp of a node, if it has one."""
    if "limits" not in node.attrs:
        return raw
    low, high = node.attrs["limits"]
    return np.clip(raw, np.float32(low), np.float32(high))


def forward(graph: Graph, inputs: dict[str, Array], tap: Tap) -> None:
    """Run one batch.

    Parameters
    ----------
    graph : Graph
        A fused graph.
    inputs : dict of str to ndarray
        Canonical float32 array [n, ...] per input tensor.
    tap : callable
        Called once per tensor, in the order of execution.
    """
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    values = {name: tap(None, name, x, x) for name, x in inputs.items()}
    for node in graph.nodes:
        raw = evaluate(node, [values[name] for name in node.inputs]).astype(np.float32, copy=False)
        values[node.output] = tap(node, node.output, raw, clamp(node, raw))
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not left[name]:
                del values[name]
        if not left.get(node.output):
            del values[node.output]
