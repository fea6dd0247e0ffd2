"""How far an int8 model can be from its float network: interval arithmetic over the model's own scales.

Every tensor gets an array of bounds, computed from the bounds of its inputs, the rounding of weights and bias (half a
step), and the rounding of the result (half a step, and 2 % of a step for the fixed-point multiplier). It holds if no
value lies outside of the calibrated ranges, that is with ``calibrator="minmax"``, the calibration inputs themselves and
without bias correction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import lightkern as lk
from lightkern import float_ops
from lightkern.graph import Node

Array = np.ndarray[Any, Any]

ROUNDING = 0.52


def error_bounds(model: lk.Model, x: Array | dict[str, Array]) -> dict[str, Array]:
    """Bound [n, *api_shape] of every output's error, by name."""
    _, codes = lk.reference.run(model, x, keep=True)
    values = {name: model.quants[name].dequantize(q).astype(np.float64) for name, q in codes.items()}
    steps = {name: model.quants[name].scale for name in codes}
    bounds = {p.tensor: np.full_like(values[p.tensor], ROUNDING * steps[p.tensor]) for p in model.inputs}
    for node in model.nodes:
        inputs = [bounds[name] for name in node.inputs]
        xs = [values[name] for name in node.inputs]
        bounds[node.output] = node_bound(node, codes[node.inputs[0]], xs, inputs, steps)
    return {p.name: p.from_canonical(bounds[p.tensor]) for p in model.outputs}


def node_bound(node: Node, codes: Array, xs: list[Array], errors: list[Array], steps: dict[str, float]) -> Array:
    """Bound of a node's output; `codes` are the int8 values of its first input, `xs` the real values of all."""
    step = steps[node.output]
    if node.op in ("conv2d", "linear"):
        weight_step = node.params["weight_scale"].astype(np.float64)
        column = weight_step.reshape(-1, *[1] * (node.params["weight"].ndim - 1))
        carried = weighted(node, errors[0], np.abs(node.params["weight"] * column))
        rounded = weighted(node, np.abs(xs[0]) + errors[0], np.ones(node.params["weight"].shape) * column / 2)
        return carried + rounded + weight_step * steps[node.inputs[0]] / 2 + ROUNDING * step
    if node.op == "table":
        return table_bound(node, codes, errors[0], steps)
    if node.op == "prelu":
        return errors[0] * np.maximum(1, np.abs(node.params["slope"])) + ROUNDING * step
    if node.op == "mul":
        a, b = (np.abs(x) + e for x, e in zip(xs, errors, strict=True))
        return a * errors[1] + b * errors[0] + ROUNDING * step
    if node.op in ("add", "sub"):
        return errors[0] + errors[1] + ROUNDING * step
    if node.op in ("avg_pool", "global_avg_pool"):
        return float_ops.evaluate(node, errors) + ROUNDING * step
    if node.op == "softmax":
        return float_ops.softmax(node, xs) * np.expm1(2 * errors[0].max(axis=-1, keepdims=True)) + step
    if node.op == "pad":
        return float_ops.evaluate(Node("pad", "", [], "", {**node.attrs, "value": step}), errors)
    return float_ops.evaluate(node, errors)


def weighted(node: Node, x: Array, weight: Array) -> Array:
    """The convolution or product of a node with another weight and no bias."""
    params = {"weight": weight, "bias": np.zeros(len(weight))}
    return float_ops.evaluate(Node(node.op, "", [], "", node.attrs, params), [x])


def table_bound(node: Node, codes: Array, error: Array, steps: dict[str, float]) -> Array:
    """What the table makes of the neighbours that the input might have been, and one step for rounding twice."""
    table = node.params["table"].astype(np.int64)
    index = codes.astype(np.int64) + 128
    reach = int(np.ceil(error.max() / steps[node.inputs[0]]))
    apart = [np.abs(table[np.clip(index + d, 0, 255)] - table[index]) for d in range(-reach, reach + 1)]
    return (np.max(apart, axis=0) + 2 * ROUNDING) * steps[node.output]
