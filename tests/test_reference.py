"""The reference against its definition written out per element, against real arithmetic, and its API."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs
from elements import ELEMENT, Quants
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from random_network import random_model
from strategies import ONE_NODE, one_node_models, random_models

from lightkern import float_ops, reference
from lightkern.graph import Node
from lightkern.model import Model, Quant
from lightkern.opset import CLAMPED, MODEL_OPS


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
def test_definition_per_element_at_extremes(weight: str, zero_point: int) -> None:
    """Of every node of a network with weights, zero points, scales and inputs at their limits."""
    rng = np.random.default_rng(1)
    model = random_model(rng, 3, style=Style(weight, zero_point, 1 / 64))
    for kind in INPUTS:
        _, values = reference.run(model, inputs(model, rng, kind), keep=True)
        for node in model.nodes:
            y = values[node.output]
            index = tuple(int(rng.integers(d)) for d in y.shape[1:])
            at = ELEMENT[node.op](node, [values[name][0] for name in node.inputs], model.quants)
            assert int(y[(0, *index)]) == at(*index), (node, index)


@given(random_models())
def test_images_of_a_batch_are_independent(case: tuple[Model, np.ndarray]) -> None:
    model, x = case
    x = np.concatenate([x, np.flip(x, 1)])
    whole = reference.run(model, x)
    for i in range(len(x)):
        part = reference.run(model, x[i : i + 1])
        for a, b in zip(*([y] if isinstance(y, np.ndarray) else y.values() for y in (whole, part)), strict=True):
            assert_array_equal(a[i : i + 1], b)


# Each float step is rounded by itself --------------------------------------------------------------------------------


def _check_where_another_order_differs(node: Node, xs: list[np.ndarray], quants: Quants, wrong: np.ndarray) -> int:
    """Compare with the definition where a slightly different formula gives another int8; return how many places."""
    y = reference.evaluate(node, xs, quants)
    places = np.argwhere(y != reference.finish(wrong.astype(np.float32), quants[node.output]))
    for image, *index in places[:20].tolist():
        at = ELEMENT[node.op](node, [x[image] for x in xs], quants)
        assert int(y[(image, *index)]) == at(*index), (image, index)
    return len(places)


def _scale(rng: np.random.Generator, around: float) -> float:
    return float(np.float32(around * rng.uniform(0.5, 2)))


def test_rounding_order_of_conv_and_linear() -> None:
    rng, c = np.random.default_rng(0), 50_000
    sx, sy = _scale(rng, 0.02), _scale(rng, 0.05)
    sw = rng.uniform(1e-7, 1e-6, c).astype(np.float32)
    a, y = np.float32(sx), np.float32(sy)
    m = a * sw / y
    bias = np.rint((rng.integers(-100, 100, c) + 0.5) / m).astype(np.int32)
    params = {"weight": np.zeros((c, 1), np.int8), "weight_scale": sw, "bias": bias}
    node = Node("linear", "linear", ["x"], "y", {"clamp": [-128, 127]}, params)
    quants = {"x": Quant(sx, 0), "y": Quant(sy, 3)}
    xs = [np.zeros((1, 1), np.int8)]
    acc = bias.astype(np.float32)
    for wrong in (acc * (a * (sw / y)), acc * (a / y * sw), bias.astype(np.float64) * m, a * sw * acc / y):
        assert _check_where_another_order_differs(node, xs, quants, wrong[None])


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_rounding_order_of_binary_ops(op: str) -> None:
    rng, found = np.random.default_rng(1), [0, 0]
    qa, qb = (q.reshape(-1, 1).astype(np.int8) for q in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    for _ in range(40):
        sa, sb, sy = _scale(rng, 0.03), _scale(rng, 0.03), _scale(rng, 0.05)
        if op == "mul":  # one product lands between two integers
            sb = float(np.float32((rng.integers(20, 100) + 0.5) * sy / sa / float(rng.integers(40, 100) * 101)))
        quants = {"a": Quant(sa, 7), "b": Quant(sb, -9), "y": Quant(sy, 0)}
        node = Node(op, op, ["a", "b"], "y", {"clamp": [-128, 127]})
        va, vb = qa.astype(np.float32) - np.float32(7), qb.astype(np.float32) + np.float32(9)
        a, b, y = np.float32(sa), np.float32(sb), np.float32(sy)
        ma, mb = a / y, b / y if op != "sub" else -(b / y)
        wrongs = [va * vb * (ma * b), va * vb * (a * (b / y))]
        if op != "mul":
            exact = va.astype(np.float64) * ma + vb.astype(np.float64) * mb  # neither product nor sum rounded
            fused = va.astype(np.float64) * ma + (vb * mb).astype(np.float64)  # one product not rounded
            wrongs = [exact, fused]
        for i, wrong in enumerate(wrongs):
            found[i] += _check_where_another_order_differs(node, [qa, qb], quants, wrong)
    assert min(found) > 0, found


def test_rounding_order_of_prelu() -> None:
    rng, c, found = np.random.default_rng(2), 100_000, 0
    for _ in range(10):
        sx, sy = _scale(rng, 0.05), _scale(rng, 0.03)
        slope = rng.uniform(0.1, 1, c).astype(np.float32)
        node = Node("prelu", "prelu", ["x"], "y", {"clamp": [-128, 127]}, {"slope": slope})
        q = rng.integers(-128, 0, (1, c)).astype(np.int8)
        wrong = q.astype(np.float32) * (np.float32(sx) / np.float32(sy) * slope)
        found += _check_where_another_order_differs(node, [q], {"x": Quant(sx, 0), "y": Quant(sy, 0)}, wrong)
    assert found


def test_rounding_order_of_pools() -> None:
    rng, found = np.random.default_rng(3), 0
    x = rng.integers(-128, 128, (500, 7, 3, 40)).astype(np.int8)
    total = x.astype(np.int32).sum(axis=(1, 2), keepdims=True).astype(np.float32)
    for _ in range(60):
        sy = _scale(rng, 0.01)
        half = float(rng.integers(20, 100) + 0.5)  # one total lands between two integers
        sx = float(np.float32(half * 21 * sy / abs(float(total.ravel()[rng.integers(total.size)]) or 1.0)))
        quants = {"x": Quant(sx, 0), "y": Quant(sy, 0)}
        node = Node("global_avg_pool", "pool", ["x"], "y", {"clamp": [-128, 127]})
        wrong = total * (np.float32(sx) / (np.float32(sy) * np.float32(21)))
        found += _check_where_another_order_differs(node, [x], quants, wrong)
    assert found


def test_rounding_order_of_softmax() -> None:
    rng, found = np.random.default_rng(4), 0
    for _ in range(12):
        sx, sy = _scale(rng, 0.05), _scale(rng, 1 / 256)
        exp = np.rint(2**23 * np.exp(-np.arange(256) * sx)).astype(np.int32)
        q = rng.integers(-128, 128, (20_000, 4)).astype(np.int8)
        node = Node("softmax", "softmax", ["x"], "y", {}, {"exp": exp})
        e = exp[q.max(axis=1, keepdims=True).astype(np.int32) - q].astype(np.float32)
        total = e.astype(np.int64).sum(axis=1, keepdims=True).astype(np.float32)
        wrong = e * (np.float32(1) / (np.float32(sy) * total))
        found += _check_where_another_order_differs(node, [q], {"x": Quant(sx, 0), "y": Quant(sy, -128)}, wrong)
    assert found
