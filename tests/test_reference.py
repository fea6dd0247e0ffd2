"""The reference against its definition written out per element, against real arithmetic, and its API."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs, random_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import ONE_NODE, one_node_models, random_models

from lightkern import float_ops, reference
from lightkern.graph import Node
from lightkern.model import Model, Quant
from lightkern.opset import CLAMPED, MODEL_OPS, broadcast_kind

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


def test_every_op_is_defined_and_tested() -> None:
    assert set(reference.OPS) == set(MODEL_OPS) == set(ELEMENT) == set(ONE_NODE)


@pytest.mark.parametrize("op", sorted(ELEMENT))
def test_definition_per_element(op: str) -> None:
    """Some elements of every random one-node model, computed one by one in Python integers."""

    @given(case=one_node_models(op, most_channels=33), seed=st.integers(0, 2**32 - 1))
    def check(case: tuple[Model, Any], seed: int) -> None:
        model, x = case
        _, values = reference.run(model, x, keep=True)
        node, rng = model.nodes[-1], np.random.default_rng(seed)
        y = values[node.output]
        for _ in range(8):
            image = int(rng.integers(len(y)))
            index = tuple(int(rng.integers(d)) for d in y.shape[1:])
            at = ELEMENT[op](node, [values[name][image] for name in node.inputs], model.quants)
            assert int(y[(image, *index)]) == at(*index), (node, index)

    check()


def _real_node(node: Node, quants: Quants) -> Node:
    """The float node that an int8 node stands for."""
    params = dict(node.params)
    if "weight" in params:
        scale = params.pop("weight_scale").astype(np.float64)
        w = params["weight"]
        params["weight"] = w * scale.reshape(-1, *[1] * (w.ndim - 1))
        params["bias"] = params["bias"] * (scale * quants[node.inputs[0]].scale)
    return Node(node.op, node.name, node.inputs, node.output, node.attrs, params)


@pytest.mark.parametrize("op", sorted(CLAMPED | {"softmax", "max_pool", "resize"}))
def test_within_half_a_step_of_real_arithmetic(op: str) -> None:
    """What is computed approximates what the float op computes: half a step of the output, and float32's rounding."""

    @given(case=one_node_models(op))
    def check(case: tuple[Model, Any]) -> None:
        model, x = case
        _, values = reference.run(model, x, keep=True)
        node = model.nodes[-1]
        y = model.quants[node.output]
        real = [
            (values[n].astype(np.float64) - model.quants[n].zero_point) * model.quants[n].scale for n in node.inputs
        ]
        low, high = node.attrs.get("clamp", (-128, 127))
        wanted = float_ops.evaluate(_real_node(node, model.quants), real) / y.scale + y.zero_point
        error = np.abs(values[node.output] - np.clip(wanted, low, high))
        assert float(error.max()) <= 0.5 + 2e-3

    check()


def test_channel_order_of_a_known_convolution() -> None:
    """A 1x2 kernel over the row 10, 20, 30 with weights (1, 3): 10 + 60 and 20 + 90, by hand."""
    params = {
        "weight": np.array([1, 3], np.int8).reshape(1, 1, 2, 1),
        "weight_scale": np.array([0.5], np.float32),
        "bias": np.array([2], np.int32),
    }
    attrs = {"kernel": [1, 2], "stride": [1, 1], "padding": [0, 0, 0, 0], "dilation": [1, 1], "groups": 1}
    node = Node("conv2d", "conv", ["x"], "y", {**attrs, "clamp": [-128, 127]}, params)
    quants = {"x": Quant(1.0, 0), "y": Quant(1.0, -1)}
    y = reference.evaluate(node, [np.array([10, 20, 30], np.int8).reshape(1, 1, 3, 1)], quants)
    assert y.ravel().tolist() == [72 // 2 - 1, 112 // 2 - 1]


@pytest.mark.parametrize(
    ("t", "zero_point", "clamp", "wanted"),
    [
        (0.5, 0, (-128, 127), 0),
        (1.5, 0, (-128, 127), 2),
        (-0.5, 0, (-128, 127), 0),
        (-1.5, 0, (-128, 127), -2),
        (2.5, 3, (-128, 127), 5),  # half to even before the zero point is added, not after
        (126.5, 1, (-128, 127), 127),
        (math.inf, -128, (-128, 127), 127),
        (-math.inf, 127, (-128, 127), -128),
        (3e38, 0, (-5, 7), 7),
        (-1.0, 10, (10, 127), 10),
        (0.49999997, 0, (-128, 127), 0),
    ],
)
def test_finish(t: float, zero_point: int, clamp: tuple[int, int], wanted: int) -> None:
    y = reference.finish(np.array([t], np.float32), Quant(1.0, zero_point), clamp)
    assert y.dtype == np.int8
    assert y.tolist() == [wanted]


def test_multiplier_is_rounded_after_each_operation() -> None:
    """(sx * sw) / sy and sx * (sw / sy) differ in the last bit often enough to change a result."""
    rng = np.random.default_rng(5)
    a, w, y = (rng.uniform(0.001, 1, 1000).astype(np.float32) for _ in range(3))
    assert (a * w / y != a * (w / y)).any()
    for i in np.flatnonzero(a * w / y != a * (w / y))[:50]:
        net = Net(rng, Style(clamp="none"))
        x = net.input((1,), quant=Quant(float(a[i]), 0))
        net.quants[net.linear(x, 1)] = Quant(float(y[i]), 0)
        net.nodes[0].params.update(weight=np.array([[127]], np.int8), weight_scale=w[i : i + 1])
        net.nodes[0].params["bias"] = np.array([0], np.int32)
        model = net.model("t0")
        for q in (-128, -3, 1, 77, 127):
            m = np.float32(np.float32(a[i] * w[i]) / y[i])
            t = float(np.float32(127 * q) * m)
            assert reference.run(model, np.array([[q]], np.int8)).item() == round(min(max(t, -128), 127))


def test_accumulators_near_the_int32_limit_are_exact() -> None:
    k = 2**31 // (127 * 255) - 1
    net = Net(np.random.default_rng(0), Style(weight="max", clamp="none"))
    x = net.input((k,), quant=Quant(1.0, -128))
    y = net.linear(x, 2)
    node = net.nodes[0]
    node.params["weight"][1] = -127
    node.params["weight_scale"][:] = 1.0
    node.params["bias"][:] = [2**31 - 1 - k * 127 * 255, 0]
    net.quants[y] = Quant(2.0**24, 0)
    model = net.model(y)
    out = reference.run(model, np.full((1, k), 127, np.int8))
    assert out.tolist() == [[127, -128]]
    out = reference.run(model, np.full((1, k), -128, np.int8))
    assert out.tolist() == [[0, 0]]


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_extremes_run(weight: str, zero_point: int) -> None:
    rng = np.random.default_rng(1)
    model = random_model(rng, 3, style=Style(weight, zero_point, 1 / 64))
    for kind in INPUTS:
        y = reference.run(model, inputs(model, rng, kind))
        for array in y.values() if isinstance(y, dict) else [y]:
            assert array.dtype == np.int8


@given(random_models())
def test_images_of_a_batch_are_independent(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    x = np.concatenate([x, np.flip(x, 1)])
    whole = reference.run(model, x)
    for i in range(len(x)):
        part = reference.run(model, x[i : i + 1])
        for a, b in zip(*([y] if isinstance(y, np.ndarray) else y.values() for y in (whole, part)), strict=True):
            assert_array_equal(a[i : i + 1], b)
