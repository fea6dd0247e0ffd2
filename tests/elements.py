"""The int8 definition of every op for one element, in Python numbers: written apart from the reference, to check it.

``ELEMENT[op](node, xs, quants)`` takes the inputs of one image and returns ``at(*index)``, one element of the output.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from lightkern.graph import Node
from lightkern.model import Quant
from lightkern.opset import broadcast_kind

Quants = dict[str, Quant]


def f32(x: float) -> float:
    """Round to float32. One operation on float32 values in float64, rounded again, equals the float32 operation."""
    with np.errstate(over="ignore"):
        return float(np.float32(x))


def to_int8(t: float, y: Quant, clamp: list[int]) -> int:
    """The definition of requantization on Python numbers; round() is half to even."""
    return round(min(max(t, clamp[0] - y.zero_point), clamp[1] - y.zero_point)) + y.zero_point


# The definition of each op for one element: at(index) returns y[index] of one image -------------------------------


def _conv2d(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    x, sx, sy = xs[0], quants[node.inputs[0]], quants[node.output]
    w, groups = node.params["weight"], node.attrs["groups"]
    oc, kh, kw, icg = w.shape

    def at(oy: int, ox: int, c: int) -> int:
        acc = int(node.params["bias"][c])
        for i, j, k in itertools.product(range(kh), range(kw), range(icg)):
            row = oy * node.attrs["stride"][0] + i * node.attrs["dilation"][0] - node.attrs["padding"][0]
            column = ox * node.attrs["stride"][1] + j * node.attrs["dilation"][1] - node.attrs["padding"][1]
            if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
                value = int(x[row, column, c // (oc // groups) * icg + k]) - sx.zero_point
                acc += int(w[c, i, j, k]) * value
        m = f32(f32(sx.scale * float(node.params["weight_scale"][c])) / sy.scale)
        return to_int8(f32(f32(acc) * m), sy, node.attrs["clamp"])

    return at


def _linear(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    sx, sy = quants[node.inputs[0]], quants[node.output]

    def at(*index: int) -> int:
        c = index[-1]
        acc = int(node.params["bias"][c])
        for w, q in zip(node.params["weight"][c], xs[0][index[:-1]], strict=True):
            acc += int(w) * (int(q) - sx.zero_point)
        m = f32(f32(sx.scale * float(node.params["weight_scale"][c])) / sy.scale)
        return to_int8(f32(f32(acc) * m), sy, node.attrs["clamp"])

    return at


def _binary(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    a, b = xs
    sa, sb, sy = (quants[name] for name in (*node.inputs, node.output))
    kind = broadcast_kind(a.shape, b.shape)

    def at(*index: int) -> int:
        other = {"same": index, "channel": index[-1:], "pixel": (*index[:-1], 0), "scalar": (0,)}[kind]
        other = (0,) * (b.ndim - len(other)) + tuple(other)
        va, vb = int(a[index]) - sa.zero_point, int(b[other]) - sb.zero_point
        if node.op == "mul":
            t = f32(va * vb * f32(f32(sa.scale * sb.scale) / sy.scale))
        else:
            first, second = f32(va * f32(sa.scale / sy.scale)), f32(vb * f32(sb.scale / sy.scale))
            t = f32(first + second if node.op == "add" else first - second)
        return to_int8(t, sy, node.attrs["clamp"])

    return at


def _prelu(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    sx, sy = quants[node.inputs[0]], quants[node.output]

    def at(*index: int) -> int:
        v = int(xs[0][index]) - sx.zero_point
        slope = float(node.params["slope"][index[-1]])
        m = f32(sx.scale / sy.scale) if v >= 0 else f32(f32(sx.scale * slope) / sy.scale)
        return to_int8(f32(v * m), sy, node.attrs["clamp"])

    return at


def _pool(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    x, sx, sy = xs[0], quants[node.inputs[0]], quants[node.output]
    h, w, _ = x.shape

    def at(oy: int, ox: int, c: int) -> int:
        if node.op == "global_avg_pool":
            values, count = [int(q) for q in x[:, :, c].ravel()], h * w
        else:
            (kh, kw), (sh, sw) = node.attrs["kernel"], node.attrs["stride"]
            (dh, dw), padding = node.attrs.get("dilation", (1, 1)), node.attrs["padding"]
            rows = [oy * sh + i * dh - padding[0] for i in range(kh)]
            columns = [ox * sw + j * dw - padding[1] for j in range(kw)]
            values = [int(x[r, s, c]) for r in rows for s in columns if 0 <= r < h and 0 <= s < w]
            count = kh * kw if node.attrs.get("count_include_pad") else len(values)
        if node.op == "max_pool":
            return max(values)
        acc = sum(q - sx.zero_point for q in values)
        return to_int8(f32(acc * f32(f32(sx.scale / sy.scale) / count)), sy, node.attrs["clamp"])

    return at


def _softmax(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    sy = quants[node.output]

    def at(*index: int) -> int:
        row = [int(q) for q in xs[0][index[:-1]]]
        e = [int(node.params["exp"][max(row) - q]) for q in row]
        m = f32(f32(1 / sy.scale) / f32(sum(e)))
        return to_int8(f32(f32(e[index[-1]]) * m), sy, [-128, 127])

    return at


def _resize(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    x = xs[0]

    def at(oy: int, ox: int, c: int) -> int:
        acc = 0
        for dy, dx in itertools.product((0, 1), (0, 1)):
            row = min(int(node.params["y_low"][oy]) + dy, x.shape[0] - 1)
            column = min(int(node.params["x_low"][ox]) + dx, x.shape[1] - 1)
            fy, fx = int(node.params["y_fraction"][oy]), int(node.params["x_fraction"][ox])
            acc += int(x[row, column, c]) * (fy if dy else 2048 - fy) * (fx if dx else 2048 - fx)
        return (acc + 2**21) // 2**22

    return at


def _pad(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    sy, (top, left, _, _) = quants[node.output], node.attrs["padding"]

    def at(oy: int, ox: int, c: int) -> int:
        row, column = oy - top, ox - left
        if 0 <= row < xs[0].shape[0] and 0 <= column < xs[0].shape[1]:
            return int(xs[0][row, column, c])
        return to_int8(f32(f32(node.attrs["value"]) / sy.scale), sy, [-128, 127])

    return at


def _concat(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    axis = node.attrs["axis"]

    def at(*index: int) -> int:
        i = index[axis]
        for x in xs:
            if i < x.shape[axis]:
                return int(x[(*index[:axis], i, *index[axis + 1 :])])
            i -= x.shape[axis]
        raise IndexError(index)

    return at


def _slice(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    axis, begin = node.attrs["axis"], node.attrs["begin"]
    return lambda *index: int(xs[0][(*index[:axis], index[axis] + begin, *index[axis + 1 :])])


def _shuffle(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    groups = node.attrs["groups"]
    each = xs[0].shape[-1] // groups
    return lambda *index: int(xs[0][(*index[:-1], index[-1] % groups * each + index[-1] // groups)])


def _reshape(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    def source_order(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """All indices of a canonical shape in the element order of the source model."""
        if len(shape) == 3 and node.attrs["order"] == "CHW":
            return [(h, w, c) for c, h, w in itertools.product(range(shape[2]), range(shape[0]), range(shape[1]))]
        return list(itertools.product(*map(range, shape)))

    origin = dict(zip(source_order(tuple(node.attrs["shape"])), source_order(xs[0].shape), strict=True))
    return lambda *index: int(xs[0][origin[index]])


def _table(node: Node, xs: list[np.ndarray], quants: Quants) -> Callable[..., int]:
    return lambda *index: int(node.params["table"][int(xs[0][index]) + 128])


ELEMENT: dict[str, Callable[[Node, list[np.ndarray], Quants], Callable[..., int]]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "add": _binary,
    "sub": _binary,
    "mul": _binary,
    "prelu": _prelu,
    "global_avg_pool": _pool,
    "avg_pool": _pool,
    "max_pool": _pool,
    "softmax": _softmax,
    "resize": _resize,
    "pad": _pad,
    "concat": _concat,
    "slice": _slice,
    "channel_shuffle": _shuffle,
    "reshape": _reshape,
    "table": _table,
}
