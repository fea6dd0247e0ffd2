"""Weights and biases as integers: scales, saturation-free pairs, roundings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightkern.compression.rounding import input_moments, round_adaptively, round_by_hessian
from lightkern.compression.weights import (
    COUPLE_MISFITS,
    QuantizedWeights,
    couple_loads,
    integer_bias,
    pair_excess,
    round_nearest,
    weight_scales,
)
from lightkern.graph import Node
from lightkern.model import Quant

X = Quant(float(np.float32(0.02)), -128)
Y = Quant(float(np.float32(0.05)), 3)
PLAIN = {"per_channel": True, "saturation_free": True, "coupled_steps": False}


def linear(weight: np.ndarray, bias: np.ndarray | None = None) -> Node:
    bias = np.zeros(len(weight)) if bias is None else bias
    return Node("linear", "n", ["x"], "y", {}, {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)})


def conv(weight: np.ndarray, groups: int) -> Node:
    kernel = list(weight.shape[1:3])
    attrs = {"kernel": kernel, "stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": groups}
    params = {"weight": weight.astype(np.float32), "bias": np.zeros(len(weight), np.float32)}
    return Node("conv2d", "n", ["x"], "y", attrs, params)


def scales(node: Node, **options: bool) -> np.ndarray:
    return weight_scales(node, X, Y, **{**PLAIN, **options})[0]


def test_pair_excess_counts_both_signs() -> None:
    rows = np.array([[100, 28, -100, -28], [100, 29, 0, 0], [127, -127, -127, -2], [127, 0, 0, 127]])
    assert pair_excess(rows).tolist() == [[0, 0], [1, 0], [0, 1], [0, 0]]
    assert pair_excess(np.array([[120, 5, 127]])).tolist() == [[0, 0]]


@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from(["normal", "halves", "equal", "sparse"]))
def test_rounding_to_nearest_never_saturates_a_pair(seed: int, k: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(16, k)) * 10.0 ** rng.uniform(-6, 6)
    if kind == "halves":
        weight = np.round(weight / np.abs(weight).max() * 255) / 2
    elif kind == "equal":
        weight = np.sign(weight) * 63.75
    elif kind == "sparse":
        weight *= rng.random(weight.shape) < 0.3
    node = linear(weight)
    q = round_nearest(node, scales(node))
    assert pair_excess(q).max() == 0
    assert np.abs(q.astype(int)).max() <= 127


def test_scales_follow_the_largest_weight_or_the_worst_pair() -> None:
    node = linear(np.array([[1.0, 0.0, -0.5, 0.5], [1.0, 1.0, 0.0, 0.0], [-1.0, -0.5, 0.2, 0.0]]))
    np.testing.assert_allclose(scales(node), [1 / 127, 2 / 127.5, 1.5 / 127.5], rtol=1e-6)
    np.testing.assert_allclose(scales(node, saturation_free=False), [1 / 127] * 3, rtol=1e-6)
    assert weight_scales(node, X, Y, **PLAIN)[1] == pytest.approx((1 + 2 * 127 / 127.5 + 1.5 * 127 / 127.5) / 3)


def test_couple_loads_are_those_of_every_two_steps() -> None:
    rows = np.array([[100, 20, -7, 5, 1, 2, 3, -4, -60, 9, 0, 0, 30]])  # 4 steps, the last of one weight
    padded = np.pad(rows[0], (0, 3)).reshape(4, 2, 2)

    def load(a: int, b: int) -> int:
        fours = [np.concatenate([padded[a, half], padded[b, half]]) for half in (0, 1)]
        return max(sign * int(f[sign * f > 0].sum()) for f in fours for sign in (1, -1))

    wanted = [load(a, (a + distance) % 4) for distance in (1, 2) for a in range(4)]
    assert couple_loads(rows).tolist() == [wanted]
    assert couple_loads(rows[:, :4]).shape == (1, 0)
    assert couple_loads(np.ones((3, 4 * 500))).shape == (3, 500 * 9)


def test_nearly_every_two_steps_fit_into_16_bits() -> None:
    rng = np.random.default_rng(0)
    node = linear(np.clip(rng.normal(size=(32, 256)), -2.5, 2.5))
    misfits = {}
    for coupled in (False, True):
        q = round_nearest(node, scales(node, coupled_steps=coupled))
        assert pair_excess(q).max() == 0
        misfits[coupled] = (couple_loads(q) > 128).mean(axis=1)
    assert misfits[False].mean() > 0.2
    assert misfits[True].max() <= 1.5 * COUPLE_MISFITS


@pytest.mark.parametrize(
    ("shape", "groups", "raised"),
    [((8, 3, 3, 1), 8, False), ((8, 3, 3, 4), 2, False), ((8, 1, 1, 4), 1, False), ((8, 1, 1, 8), 2, True)],
    ids=["depthwise", "small groups", "one step", "large groups"],
)
def test_scales_are_raised_where_steps_are_coupled(shape: tuple[int, ...], groups: int, raised: bool) -> None:
    node = conv(np.random.default_rng(0).uniform(0.5, 1, shape), groups)
    assert (scales(node, coupled_steps=True) > scales(node)).all() == raised
    assert (scales(node, coupled_steps=True) >= scales(node)).all()
    np.testing.assert_array_equal(
        scales(node, saturation_free=False, coupled_steps=True), scales(node, saturation_free=False)
    )


def test_depthwise_weights_need_no_safe_pairs() -> None:
    node = conv(np.ones((4, 3, 3, 1)), groups=4)
    np.testing.assert_allclose(scales(node), 1 / 127, rtol=1e-6)


def test_per_tensor_scales_are_equal() -> None:
    node = linear(np.array([[1.0, 0.0], [0.1, 0.0]]))
    assert len(set(scales(node, per_channel=False).tolist())) == 1


def test_channels_without_weights_keep_their_bias() -> None:
    node = linear(np.zeros((3, 4)), np.array([0.0, 3.0, -1e6]))
    scale = scales(node)
    assert (scale >= np.finfo(np.float32).tiny).all()
    weights = QuantizedWeights(round_nearest(node, scale), scale, node.params["bias"].astype(np.float64))
    np.testing.assert_allclose(integer_bias(weights, X) * (X.scale * scale.astype(np.float64)), [0, 3, -1e6], rtol=1e-6)


def test_a_bias_never_overflows_the_accumulator() -> None:
    node = linear(np.full((2, 1000), 1e-7), np.array([1e9, -1e9]))
    scale = scales(node)
    weights = QuantizedWeights(round_nearest(node, scale), scale, np.array([1e30, -1e30]))
    sums = np.abs(weights.weight.astype(np.int64)).sum(axis=1) * 255
    assert (sums + np.abs(integer_bias(weights, X).astype(np.int64)) <= 2**31 - 1).all()


def layer_error(q: np.ndarray, node: Node, scale: np.ndarray, moments: np.ndarray) -> float:
    weight = node.params["weight"].reshape(len(q), -1).astype(np.float64)
    d = (q.reshape(len(q), -1) - weight / scale[:, None]).reshape(len(moments), -1, moments.shape[1])
    return float(np.einsum("gok,gkl,gol->", d, moments, d))


@pytest.mark.parametrize("kind", ["linear", "pointwise", "grouped", "depthwise"])
def test_roundings_that_know_the_inputs_leave_less_error(kind: str) -> None:
    rng = np.random.default_rng(0)
    c = 24
    mix = rng.normal(size=(c, c)) / np.sqrt(c) + 0.5 * np.eye(c)
    x = X.quantize(np.maximum(rng.normal(size=(4, 8, 8, c)) @ mix, 0).astype(np.float32))
    if kind == "linear":
        node = linear(rng.normal(size=(30, c)))
    elif kind == "pointwise":
        node = conv(rng.normal(size=(30, 1, 1, c)), 1)
    elif kind == "grouped":
        node = conv(rng.normal(size=(12, 3, 3, c // 4)), 4)
    else:
        node = conv(rng.normal(size=(c, 3, 3, 1)), c)
    scale = scales(node)
    moments = input_moments(node, [x], X, 0, centered=True)
    nearest = layer_error(round_nearest(node, scale), node, scale, moments)
    for method in (round_by_hessian, round_adaptively):
        q = method(node, scale, moments, saturation_free=True)
        assert q.dtype == np.int8
        assert layer_error(q, node, scale, moments) < (0.99 if kind == "depthwise" else 0.9) * nearest
        if kind != "depthwise":
            assert pair_excess(q.reshape(len(q), -1)).max() == 0


@pytest.mark.parametrize("method", [round_by_hessian, round_adaptively])
def test_inputs_that_never_vary_do_not_matter(method: object) -> None:
    node = linear(np.random.default_rng(1).normal(size=(5, 6)))
    x = np.full((10, 6), 7, np.int8)
    q = method(node, scales(node), input_moments(node, [x], X, 0, centered=True), saturation_free=True)  # type: ignore[operator]
    assert pair_excess(q).max() == 0
    assert np.abs(q - node.params["weight"] / scales(node)[:, None]).max() <= 1
