"""Dependency groups, linear assignment and channel matching."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from float_nets import FloatNet, mobile_block, pictures, random_graph
from hypothesis import given
from hypothesis import strategies as st

import lightkern as lk
from lightkern.compression.assignment import assign
from lightkern.compression.calibration import Calibration
from lightkern.compression.equalize import _shares, equalize
from lightkern.compression.execute import forward
from lightkern.compression.fold import fold
from lightkern.compression.fuse import fuse
from lightkern.compression.groups import ChannelMap, permute_channels, trace_channels
from lightkern.compression.matching import match_channels
from lightkern.compression.observe import TensorStats, observe
from lightkern.compression.rewrite import editable, fused_shapes
from lightkern.compression.weights import is_depthwise, pair_excess
from lightkern.graph import Graph


def fused(graph: Graph) -> Graph:
    work = editable(graph)
    fold(work)
    fuse(work)
    return work


def run_fused(graph: Graph, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    seen: dict[str, np.ndarray] = {}

    def tap(node: object, tensor: str, raw: np.ndarray, value: np.ndarray) -> np.ndarray:
        seen[tensor] = value
        return value

    forward(graph, {p.tensor: np.ascontiguousarray(p.to_canonical(inputs[p.name])) for p in graph.inputs}, tap)
    return [seen[port.tensor] for port in graph.outputs]


def roots_of(graph: Graph) -> dict[str, set[int]]:
    return {name: set(roots.tolist()) for name, roots in trace_channels(graph, graph.shapes()).roots.items()}


@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from([2, 5, 1000]))
def test_assignment_is_optimal(n: int, seed: int, levels: int) -> None:
    cost = np.random.default_rng(seed).integers(0, levels, (n, n)).astype(float)
    columns = assign(cost)
    best = min(cost[range(n), list(p)].sum() for p in permutations(range(n)))
    assert sorted(columns) == list(range(n))
    assert cost[range(n), columns].sum() == best


def test_assignment_of_a_size_that_cannot_be_enumerated() -> None:
    rng = np.random.default_rng(0)
    u, v = rng.uniform(size=80), rng.uniform(size=80)
    hidden = rng.permutation(80)
    # Costs of at least u + v, and exactly that on a hidden permutation: its optimum is known by duality.
    cost = u[:, None] + v + rng.uniform(0, 1, (80, 80))
    cost[range(80), hidden] = (u[:, None] + v)[range(80), hidden]
    assert cost[range(80), assign(cost)].sum() == pytest.approx(u.sum() + v.sum())


@pytest.mark.parametrize("cost", [np.zeros((2, 3)), np.array([[np.nan]]), np.array([[np.inf]])])
def test_assignment_refuses_other_costs(cost: np.ndarray) -> None:
    with pytest.raises(ValueError, match="square matrix"):
        assign(cost)


def test_a_residual_addition_ties_channels_and_a_depthwise_convolution_hands_them_on() -> None:
    net = FloatNet()
    x = net.conv(net.input(6, 6, 3), 8)
    y = net.depthwise(net.unary("relu", net.conv(x, 20)))
    total = net.node("add", [x, net.conv(y, 8)])
    graph = net.graph(net.conv(total, 5))
    roots = roots_of(graph)
    assert roots[x] == roots[total]
    assert roots[y] == roots[net.nodes[1].output]
    channels = trace_channels(graph, graph.shapes())
    assert sorted(len(group) for group in channels.groups()) == [8, 20]


def test_halves_of_a_shuffled_tensor_are_groups_of_their_own() -> None:
    net = FloatNet()
    x = net.conv(net.input(6, 6, 3), 12)
    left, right = net.slice(x, 0, 6), net.slice(x, 6, 12)
    y = net.node("channel_shuffle", [net.concat(left, net.conv(right, 6))], {"groups": 2})
    graph = net.graph(net.conv(net.slice(y, 0, 6), 4), net.conv(net.slice(y, 6, 12), 4))
    groups = trace_channels(graph, graph.shapes()).groups()
    assert sorted(len(group) for group in groups) == [3, 3, 3, 3, 6]


def test_inputs_and_outputs_stay_where_they_are() -> None:
    net = FloatNet()
    x = net.input(6, 6, 8)
    graph = net.graph(net.unary("relu", net.conv(net.depthwise(x), 8)))
    assert trace_channels(graph, graph.shapes()).groups() == []


def test_channels_of_a_grouped_convolution_stay_in_their_group() -> None:
    net = FloatNet()
    x = net.conv(net.input(6, 6, 3), 12)
    graph = net.graph(net.conv(net.conv(x, 8, groups=2), 3))
    assert sorted(map(len, trace_channels(graph, graph.shapes()).groups())) == [4, 4, 6, 6]


@pytest.mark.parametrize("seed", range(30))
def test_any_permitted_permutation_leaves_the_results(seed: int) -> None:
    graph = random_graph(seed)
    work = fused(graph)
    inputs = pictures(graph, 2)
    before = run_fused(work, inputs)
    channels = trace_channels(work, fused_shapes(work))
    successor = np.arange(len(channels.family))
    rng = np.random.default_rng(seed)
    for group in channels.groups():
        successor[group] = rng.permutation(group)
    permute_channels(work, channels, successor)
    for a, b in zip(before, run_fused(work, inputs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(np.abs(a).max()))


def test_a_permutation_across_groups_is_refused() -> None:
    net = FloatNet()
    graph = net.graph(net.conv(net.conv(net.conv(net.input(4, 4, 3), 4), 4), 2))
    channels = trace_channels(graph, graph.shapes())
    first, second = channels.groups()
    successor = np.arange(len(channels.family))
    successor[[first[0], second[0]]] = second[0], first[0]
    with pytest.raises(ValueError, match="not interchangeable"):
        permute_channels(graph, channels, successor)


@pytest.mark.parametrize("order", ["CHW", "HWC"])
def test_channels_of_a_flattened_picture_move_with_all_of_their_pixels(order: str) -> None:
    net = FloatNet()
    y = net.unary("relu", net.conv(net.input(2, 3, 3), 6))
    graph = net.graph(net.linear(net.flatten(y, order), 4))
    work = fused(graph)
    inputs = pictures(graph, 3)
    before = run_fused(work, inputs)
    channels = trace_channels(work, fused_shapes(work))
    (group,) = channels.groups()
    successor = np.arange(len(channels.family))
    successor[group] = np.roll(group, 1)
    weight = work.nodes[-1].params["weight"]
    permute_channels(work, channels, successor)
    assert not np.array_equal(weight, work.nodes[-1].params["weight"])
    np.testing.assert_allclose(before[0], run_fused(work, inputs)[0], rtol=1e-4, atol=1e-5)


def heavy_graph() -> Graph:
    """Channels of very different weights, the large ones side by side: matching has something to do."""
    net = FloatNet(5)
    y = net.unary("relu", net.conv(net.input(6, 6, 3), 32))
    y = net.conv(y, 24)
    net.nodes[-1].params["weight"] *= np.repeat([1.0, 0.05], 16).astype(np.float32)
    return net.graph(mobile_block(net, y, 40))


def test_matching_leaves_no_excess_where_large_and_small_channels_pair_up() -> None:
    work = fused(heavy_graph())
    stats = match_channels(work, lambda done, total: None)
    assert stats.groups >= 1
    assert stats.excess_after < 0.5 * stats.excess_before
    weight = work.nodes[1].params["weight"].reshape(24, 32)
    peak = np.abs(weight).max(axis=1, keepdims=True)
    assert pair_excess(np.rint(weight / peak * 127)).max() == 0


def test_matching_reduces_the_price_of_saturation_free_scales() -> None:
    graph = heavy_graph()
    price = {}
    for matched in (False, True):
        model = lk.compress(graph, pictures(graph), channel_matching=matched, equalize=False)
        price[matched] = np.mean([row["scale_increase"] for row in model.metadata["report"]])
    assert price[True] < price[False]


@pytest.mark.parametrize("rounding", ["nearest", "hessian", "adaround"])
@pytest.mark.parametrize("seed", [0, 3, 4, 8])
def test_no_pair_of_weights_can_saturate(rounding: str, seed: int) -> None:
    graph = random_graph(seed)
    model = lk.compress(graph, pictures(graph, 4), rounding=rounding)
    for node in model.nodes:
        if node.op in ("conv2d", "linear") and not is_depthwise(node):
            weight = node.params["weight"]
            assert pair_excess(weight.reshape(len(weight), -1)).max() == 0, node.name


def test_channels_that_few_pictures_reach_are_not_enlarged_to_the_limit() -> None:
    """A feature that one half of the pictures shows much weaker than the other needs room in new pictures."""
    steady, rare = np.array([[6.0, 1.0, 1.0], [6.0, 1.0, 1.0]]), np.array([[6.0, 1.0, 0.2], [6.0, 0.25, 1.0]])
    ones = np.ones(3)
    shares = []
    for half_reach in (steady, rare, None):
        reach = np.array([6.0, 1.0, 1.0])
        stats = TensorStats(0 * ones, reach, ones, ones, ones, 9, None, half_reach)
        channels = ChannelMap({"t": np.arange(3)}, {"t": np.zeros(3, int)}, np.zeros(3, bool), np.zeros(3, int))
        shares.append(_shares(channels, {"t": stats}, np.arange(3), ["t"]))
    np.testing.assert_allclose(shares[0], [1, 1.1 / 6, 1.1 / 6])
    np.testing.assert_allclose(shares[2], [1, 2 / 6, 2 / 6])
    assert (shares[1][1:] > 0.6).all()


def test_equalized_channels_never_pass_the_limit_of_relu6_on_seen_pictures() -> None:
    for seed in range(3):
        net = FloatNet(seed)
        y = net.affine(net.conv(net.input(6, 6, 3), 16))
        net.nodes[-1].params["scale"] *= np.geomspace(0.05, 4, 16, dtype=np.float32)
        graph = net.graph(net.conv(net.unary("clip", net.depthwise(net.unary("clip", y))), 5))
        work = fused(graph)
        inputs = pictures(graph)
        before = run_fused(work, inputs)
        stats = observe(work, Calibration(graph, inputs, 2), histograms=False, progress=lambda done, total: None)
        exponents = equalize(work, stats)
        assert max(exponents.values()) > 0
        np.testing.assert_allclose(before[0], run_fused(work, inputs)[0], rtol=1e-3, atol=1e-4)
