"""How much noise on each channel of each tensor matters at the outputs of the network: a first-order estimate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..graph import Array, Graph, Node
from ..opset import Shape
from .observe import TensorStats
from .weights import is_depthwise

__all__ = ["output_sensitivity"]


def output_sensitivity(graph: Graph, shapes: Mapping[str, Shape], stats: Mapping[str, TensorStats]) -> dict[str, Array]:
    """Noise power at the outputs per unit of noise power on all pixels of a channel.

    Noise is taken for independent between values, so that powers add: a convolution passes on the sum of its squared
    weights. Each output counts relative to its own power.

    Returns
    -------
    dict of str to ndarray [c]
        By tensor, real-valued, >= 0.
    """
    result = {name: np.zeros(shape[-1]) for name, shape in shapes.items()}
    for port in graph.outputs:
        power = float(stats[port.tensor].mean_square.mean())
        result[port.tensor] += 1 / power if power > 0 else 1.0
    for node in reversed(graph.nodes):
        for name, part in zip(node.inputs, _backward(node, result[node.output], shapes, stats), strict=True):
            result[name] += part
    return result


def _backward(node: Node, y: Array, shapes: Mapping[str, Shape], stats: Mapping[str, TensorStats]) -> list[Array]:
    """Contribution of one node to the sensitivity of each of its inputs; `y` is that of its output."""
    x_shape = shapes[node.inputs[0]]
    if node.op in ("conv2d", "linear"):
        return [_through_weights(node, y, x_shape[-1])]
    if node.op == "mul":
        a, b = (stats[name].mean_square for name in node.inputs)
        return [y * b, _narrow(y * a, shapes[node.inputs[1]][-1])]
    if node.op in ("add", "sub"):
        return [y, _narrow(y, shapes[node.inputs[1]][-1])]
    if node.op == "concat":
        if node.attrs["axis"] != len(x_shape) - 1:
            return [y for _ in node.inputs]
        return list(np.split(y, np.cumsum([shapes[name][-1] for name in node.inputs])[:-1]))
    if node.op == "slice" and node.attrs["axis"] == len(x_shape) - 1:
        x = np.zeros(x_shape[-1])
        x[node.attrs["begin"] : node.attrs["end"]] = y
        return [x]
    if node.op == "channel_shuffle":
        return [y.reshape(-1, node.attrs["groups"]).T.reshape(-1)]
    if node.op == "reshape":
        return [_through_reshape(node, y, x_shape)]
    if node.op == "global_avg_pool":
        return [y / (x_shape[0] * x_shape[1])]
    if node.op == "avg_pool":
        return [y / np.prod(node.attrs["kernel"])]
    if node.op == "table":
        before, after = stats[node.inputs[0]], stats[node.output]
        variance = np.maximum(before.mean_square - before.mean**2, 1e-12)
        return [y * np.clip((after.mean_square - after.mean**2) / variance, 0.0, 4.0)]
    return [y]


def _through_weights(node: Node, y: Array, channels: int) -> Array:
    weight = node.params["weight"].astype(np.float64)
    power = (weight**2).reshape(len(weight), -1, weight.shape[-1]).sum(axis=1)
    groups = node.attrs.get("groups", 1)
    per_group = power.reshape(groups, -1, power.shape[-1])
    if is_depthwise(node):
        return np.asarray((per_group[:, :, 0] * y.reshape(groups, -1)).sum(axis=1))
    return np.asarray(np.einsum("goc,go->gc", per_group, y.reshape(groups, -1)).reshape(channels))


def _narrow(y: Array, channels: int) -> Array:
    return y if channels == len(y) else np.full(channels, y.sum())


def _through_reshape(node: Node, y: Array, before: Shape) -> Array:
    channels = before[-1]
    if len(y) == channels:
        return y
    if len(y) % channels == 0:
        planar = node.attrs["order"] == "CHW" and len(before) == 3
        return np.asarray(y.reshape(channels, -1).sum(axis=1) if planar else y.reshape(-1, channels).sum(axis=0))
    return np.full(channels, float(y.mean()))
