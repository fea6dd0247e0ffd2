"""The real-valued meaning of every graph op, in NumPy: what int8 approximates, and what calibration observes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .graph import Array, Node
from .opset import broadcast_kind
from .ports import named_inputs

if TYPE_CHECKING:
    from .graph import Graph

FloatOp = Callable[[Node, list[Array]], Array]


def windows(x: Array, node: Node, fill: float) -> Array:
    """All windows of x [n, h, w, c] as a view [n, oh, ow, kh, kw, c] of the padded input."""
    (kh, kw), (sh, sw) = node.attrs["kernel"], node.attrs["stride"]
    dh, dw = node.attrs.get("dilation", (1, 1))
    top, left, bottom, right = node.attrs["padding"]
    if top or left or bottom or right:
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), axis=(1, 2))
    return np.asarray(view[:, ::sh, ::sw, :, ::dh, ::dw].transpose(0, 1, 2, 4, 5, 3))


def conv2d(node: Node, xs: list[Array]) -> Array:
    w, b, groups = node.params["weight"], node.params["bias"], node.attrs["groups"]
    x = xs[0]
    oc, kh, kw, icg = w.shape
    if icg == 1 and groups == x.shape[3]:
        view = windows(x, node, 0.0)
        multiplier = oc // groups
        out = np.zeros((*view.shape[:3], groups, multiplier), x.dtype)
        taps = w.reshape(groups, multiplier, kh, kw)
        for i in range(kh):
            for j in range(kw):
                out += view[:, :, :, i, j, :, None] * taps[:, :, i, j]
        return out.reshape(*view.shape[:3], oc) + b
    if (kh, kw) == (1, 1) and tuple(node.attrs["stride"]) == (1, 1) and not any(node.attrs["padding"]):
        cols, grid = x, x.shape[:3]
    else:
        view = windows(x, node, 0.0)
        grid = view.shape[:3]
        cols = view
    if groups == 1:
        return np.asarray(cols.reshape(-1, kh * kw * icg) @ w.reshape(oc, -1).T + b).reshape(*grid, oc)
    cols = cols.reshape(-1, kh * kw, groups, icg).transpose(2, 0, 1, 3).reshape(groups, -1, kh * kw * icg)
    out = cols @ w.reshape(groups, oc // groups, -1).transpose(0, 2, 1)
    return np.asarray(out.transpose(1, 0, 2).reshape(*grid, oc) + b)


def linear(node: Node, xs: list[Array]) -> Array:
    return np.asarray(xs[0] @ node.params["weight"].T + node.params["bias"])


def expand(a: Array, b: Array) -> Array:
    """Give b [n, ...] the rank of a, as `broadcast_kind` allows."""
    broadcast_kind(a.shape[1:], b.shape[1:])
    return b.reshape(b.shape[0], *([1] * (a.ndim - b.ndim)), *b.shape[1:])


def avg_pool(node: Node, xs: list[Array]) -> Array:
    total = windows(xs[0], node, 0.0).sum(axis=(3, 4))
    if node.attrs["count_include_pad"]:
        return np.asarray(total / np.float32(math.prod(node.attrs["kernel"])))
    return np.asarray(total / windows(np.ones_like(xs[0][:1, :, :, :1]), node, 0.0).sum(axis=(3, 4)))


def resize(node: Node, xs: list[Array]) -> Array:
    x = xs[0]
    for axis, name in ((1, "y"), (2, "x")):
        low, fraction = node.params[f"{name}_low"], node.params[f"{name}_fraction"]
        high = np.minimum(low + 1, x.shape[axis] - 1)
        t = (fraction.astype(x.dtype) / 2048).reshape([-1 if i == axis else 1 for i in range(4)])
        x = x.take(low, axis) * (1 - t) + x.take(high, axis) * t
    return x


def channel_shuffle(node: Node, xs: list[Array]) -> Array:
    x, groups = xs[0], node.attrs["groups"]
    return np.asarray(x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape))


def reshape(node: Node, xs: list[Array]) -> Array:
    """Reshape in the element order of the source model: "CHW" reads and writes rank 3 as (C, H, W)."""
    x, shape = xs[0], tuple(node.attrs["shape"])
    n = x.shape[0]
    if node.attrs["order"] == "CHW":
        if x.ndim == 4:
            x = x.transpose(0, 3, 1, 2)
        if len(shape) == 3:
            return np.asarray(x.reshape(n, shape[2], shape[0], shape[1]).transpose(0, 2, 3, 1))
    return x.reshape(n, *shape)


def pad(node: Node, xs: list[Array]) -> Array:
    top, left, bottom, right = node.attrs["padding"]
    return np.pad(xs[0], ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=node.attrs["value"])


def take_slice(node: Node, xs: list[Array]) -> Array:
    index = [slice(None)] * xs[0].ndim
    index[node.attrs["axis"] + 1] = slice(node.attrs["begin"], node.attrs["end"])
    return xs[0][tuple(index)]


def softmax(node: Node, xs: list[Array]) -> Array:
    e = np.exp(xs[0] - xs[0].max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf, otypes=[x.dtype])(x / math.sqrt(2))))


UNARY: dict[str, Callable[[Array, Mapping[str, Any]], Array]] = {
    "relu": lambda x, a: np.maximum(x, 0),
    "clip": lambda x, a: np.clip(x, a["min"], a["max"]),
    "leaky_relu": lambda x, a: np.where(x >= 0, x, x * x.dtype.type(a["alpha"])),
    "elu": lambda x, a: np.where(x >= 0, x, a["alpha"] * np.expm1(np.minimum(x, 0))).astype(x.dtype),
    "hard_swish": lambda x, a: x * np.clip(x / 6 + 0.5, 0, 1),
    "hard_sigmoid": lambda x, a: np.clip(x * a["alpha"] + a["beta"], 0, 1),
    "sigmoid": lambda x, a: sigmoid(x),
    "tanh": lambda x, a: np.tanh(x),
    "swish": lambda x, a: x * sigmoid(x),
    "gelu": lambda x, a: _gelu(x),
    "mish": lambda x, a: x * np.tanh(np.logaddexp(x, 0)),
    "softplus": lambda x, a: np.logaddexp(x, 0),
    "exp": lambda x, a: np.exp(x),
    "abs": lambda x, a: np.abs(x),
    "neg": lambda x, a: -x,
    "sqrt": lambda x, a: np.sqrt(np.maximum(x, 0)),
}
"""Elementwise functions ``f(x, attrs)``; `compress` tabulates the same functions at the 256 input values."""

STRUCTURAL: dict[str, FloatOp] = {
    "conv2d": conv2d,
    "linear": linear,
    "affine": lambda n, xs: xs[0] * n.params["scale"] + n.params["offset"],
    "add": lambda n, xs: xs[0] + expand(xs[0], xs[1]),
    "sub": lambda n, xs: xs[0] - expand(xs[0], xs[1]),
    "mul": lambda n, xs: xs[0] * expand(xs[0], xs[1]),
    "prelu": lambda n, xs: np.where(xs[0] >= 0, xs[0], xs[0] * n.params["slope"]),
    "global_avg_pool": lambda n, xs: xs[0].mean(axis=(1, 2), keepdims=True),
    "avg_pool": avg_pool,
    "max_pool": lambda n, xs: windows(xs[0], n, -np.inf).max(axis=(3, 4)),
    "concat": lambda n, xs: np.concatenate(xs, axis=n.attrs["axis"] + 1),
    "slice": take_slice,
    "channel_shuffle": channel_shuffle,
    "pad": pad,
    "reshape": reshape,
    "resize": resize,
    "softmax": softmax,
}


def evaluate(node: Node, xs: list[Array]) -> Array:
    """Output [n, ...] of one node for canonical inputs [n, ...]."""
    if node.op in UNARY:
        return UNARY[node.op](xs[0], node.attrs)
    return STRUCTURAL[node.op](node, xs)


def run(graph: Graph, x: Array | Mapping[str, Array], *, keep: bool = False) -> Any:
    """Run a float graph; see `Graph.run`."""
    arrays = named_inputs(graph.inputs, x)
    values = {p.tensor: p.to_canonical(arrays[p.name]).astype(np.float32, copy=False) for p in graph.inputs}
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    wanted = {p.tensor for p in graph.outputs}
    for node in graph.nodes:
        out = evaluate(node, [values[name] for name in node.inputs])
        values[node.output] = out.astype(np.float32, copy=False)
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not keep and not left[name] and name not in wanted:
                del values[name]
    outputs = {p.name: p.from_canonical(values[p.tensor]) for p in graph.outputs}
    result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return (result, values) if keep else result
