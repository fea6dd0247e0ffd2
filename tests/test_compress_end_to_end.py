"""`lightkern.compress` on whole small networks: the int8 model is valid, and near the float network."""

from __future__ import annotations

import numpy as np
import pytest
from float_nets import UNARY_ATTRS, FloatNet, mobile_block, pictures, random_graph

import lightkern as lk
from lightkern.graph import Graph
from lightkern.opset import MODEL_OPS


def sqnr(real: np.ndarray, quantized: np.ndarray) -> float:
    """Signal-to-quantization-noise ratio in dB, about the mean of the signal."""
    noise = float(np.mean((real - quantized) ** 2))
    return 10 * np.log10(float(np.var(real)) / noise) if noise else np.inf


def outputs(result: object) -> dict[str, np.ndarray]:
    return result if isinstance(result, dict) else {"only": result}


def check(graph: Graph, least_db: float, **options: object) -> lk.Model:
    x = pictures(graph)
    model = lk.compress(graph, x, **options)
    shapes = model.validate()
    assert set(shapes) == set(model.quants)
    real, quantized = outputs(graph.run(x)), outputs(lk.reference.run(model, x))
    assert real.keys() == quantized.keys()
    for name, y in real.items():
        assert quantized[name].shape == y.shape
        assert sqnr(y, quantized[name]) > least_db, name
    return model


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    check(random_graph(seed), 20.0)


@pytest.mark.parametrize("calibrator", ["minmax", "percentile", "entropy", "mse"])
def test_every_calibrator(calibrator: str) -> None:
    check(random_graph(3), 15.0, calibrator=calibrator, percentile=99.9)


@pytest.mark.parametrize("rounding", ["nearest", "hessian", "adaround"])
def test_every_rounding(rounding: str) -> None:
    check(random_graph(5), 15.0, rounding=rounding)


@pytest.mark.parametrize("op", UNARY_ATTRS)
def test_every_unary_op_after_a_convolution_and_at_the_input(op: str) -> None:
    net = FloatNet()
    x = net.input(6, 6, 4)
    model = check(net.graph(net.unary(op, net.conv(x, 8, 3)), net.unary(op, x)), 25.0)
    fused = [node.op for node in model.nodes]
    assert fused.count("table") == (1 if op in ("relu", "clip") else 2)


def test_the_model_has_no_op_of_the_float_graph_only() -> None:
    for seed in range(10):
        graph = random_graph(seed)
        model = lk.compress(graph, pictures(graph, 2))
        assert {node.op for node in model.nodes} <= set(MODEL_OPS)


def test_the_graph_is_not_changed() -> None:
    graph = random_graph(1)
    before = graph.copy()
    lk.compress(graph, pictures(graph, 2))
    assert [vars(n).keys() for n in graph.nodes] == [vars(n).keys() for n in before.nodes]
    for a, b in zip(graph.nodes, before.nodes, strict=True):
        assert (a.op, a.name, a.inputs, a.output, a.attrs) == (b.op, b.name, b.inputs, b.output, b.attrs)
        assert all(np.array_equal(a.params[key], b.params[key]) for key in b.params)


def test_two_runs_give_the_same_bits() -> None:
    graph = random_graph(7)
    for rounding in ("nearest", "hessian", "adaround"):
        first, second = (lk.compress(graph, pictures(graph), rounding=rounding) for _ in range(2))
        assert first.quants == second.quants
        for a, b in zip(first.nodes, second.nodes, strict=True):
            assert all(np.array_equal(a.params[key], b.params[key]) for key in a.params)


def test_several_inputs_and_an_output_that_is_read_inside() -> None:
    net = FloatNet()
    a, b = net.input(5, 5, 4), net.input(5, 5, 4)
    total = net.unary("relu", net.node("add", [net.conv(a, 6), net.conv(b, 6)]))
    model = check(net.graph(total, net.conv(total, 3, 3), net.node("sub", [a, b])), 20.0)
    assert [port.name for port in model.inputs] == ["in0", "in1"]


def test_an_activation_with_other_readers_of_its_input_is_not_fused() -> None:
    net = FloatNet()
    y = net.conv(net.input(5, 5, 3), 4)
    model = check(net.graph(net.node("add", [net.unary("relu", y), y])), 20.0)
    assert [node.op for node in model.nodes] == ["conv2d", "table", "add"]


def test_identity_networks() -> None:
    net = FloatNet()
    x = net.input(3, 3, 2)
    model = check(net.graph(net.node("reshape", [x], {"shape": [18], "order": "HWC"}), x), 30.0)
    assert len(model.nodes) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 1), (5, 1, 3)])
def test_tiny_networks(shape: tuple[int, ...]) -> None:
    net = FloatNet(4)
    y = net.unary("relu", net.conv(net.input(*shape), 1))
    check(net.graph(net.linear(net.flatten(y, "HWC"), 1)), 10.0)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 2, 7)])
def test_affine_of_any_rank_without_a_neighbour(shape: tuple[int, ...]) -> None:
    for uniform in (False, True):
        net = FloatNet(2)
        check(net.graph(net.affine(net.unary("tanh", net.input(*shape)), uniform=uniform)), 28.0)


def test_dead_and_constant_channels() -> None:
    net = FloatNet()
    y = net.conv(net.input(6, 6, 4), 8)
    weight, bias = net.nodes[-1].params["weight"], net.nodes[-1].params["bias"]
    weight[:3] = 0
    bias[0], bias[1], bias[2] = 0, 5, -5
    y = net.conv(net.unary("relu", y), 6, 3)
    net.nodes[-1].params["weight"][..., 4] = 0
    check(net.graph(y), 18.0)


def test_all_weights_zero() -> None:
    net = FloatNet()
    y = net.conv(net.input(6, 6, 4), 8)
    net.nodes[-1].params["weight"][:] = 0
    net.nodes[-1].params["bias"][:] = np.linspace(-2, 2, 8)
    graph = net.graph(net.linear(net.flatten(net.unary("relu", y), "HWC"), 3))
    x = pictures(graph)
    model = lk.compress(graph, x)
    np.testing.assert_allclose(lk.reference.run(model, x), graph.run(x), atol=0.05)


def test_tensors_that_are_always_zero() -> None:
    net = FloatNet()
    x = net.input(4, 4, 3)
    nothing = net.node("sub", [x, x])
    graph = net.graph(net.node("add", [net.conv(nothing, 3), x]), nothing)
    result = lk.reference.run(lk.compress(graph, pictures(graph)), pictures(graph))
    assert not result[nothing].any()


@pytest.mark.parametrize("exponent", [-30, -12, 12, 30])
def test_weights_of_any_magnitude(exponent: int) -> None:
    net = FloatNet()
    y = net.conv(net.input(6, 6, 4), 8)
    net.nodes[-1].params["weight"][:4] *= 2.0**exponent
    net.nodes[-1].params["bias"][:4] *= 2.0**exponent
    y = net.unary("relu", y)
    graph = net.graph(net.conv(y, 3))
    x = pictures(graph)
    model = lk.compress(graph, x)
    model.validate()
    assert sqnr(graph.run(x), lk.reference.run(model, x)) > 15


def test_a_large_bias_beside_small_weights() -> None:
    net = FloatNet()
    net.conv(net.input(6, 6, 4), 8)
    net.nodes[-1].params["weight"] *= np.float32(1e-9)
    net.nodes[-1].params["bias"] += 1000
    graph = net.graph(net.nodes[-1].output)
    x = pictures(graph)
    np.testing.assert_allclose(lk.reference.run(lk.compress(graph, x), x), graph.run(x), rtol=0.01)


def test_shared_input_concat_of_itself_and_unused_nodes() -> None:
    net = FloatNet()
    x = net.input(6, 6, 4)
    y = net.concat(x, x)
    net.conv(x, 5)
    check(net.graph(net.node("add", [net.conv(y, 4), net.conv(x, 4)])), 20.0)


def test_concat_keeps_the_resolution_of_a_small_input_that_others_read() -> None:
    net = FloatNet()
    x = net.input(6, 6, 4)
    small = net.conv(x, 4)
    net.nodes[-1].params["weight"] *= 0.01
    net.nodes[-1].params["bias"] *= 0.01
    graph = net.graph(net.concat(small, net.conv(x, 4)), net.conv(small, 4, 3))
    model = check(graph, 18.0)
    assert any(node.op == "table" for node in model.nodes)


def test_softmax_has_its_fixed_quantization_even_behind_other_ops() -> None:
    net = FloatNet()
    y = net.node("softmax", [net.linear(net.input(6), 5)])
    model = check(net.graph(net.node("reshape", [y], {"shape": [1, 5], "order": "HWC"}), net.concat(y, y)), 15.0)
    softmax = next(node for node in model.nodes if node.op == "softmax")
    assert model.quants[softmax.output] == lk.Quant(1 / 256, -128)


def test_report_and_metadata_are_json_and_sorted() -> None:
    import json

    net = FloatNet()
    graph = net.graph(mobile_block(net, net.conv(net.input(8, 8, 3), 8), 24))
    model = lk.compress(graph, pictures(graph))
    metadata = json.loads(json.dumps(model.metadata, allow_nan=False))
    ratios = [row["sqnr_db"] for row in metadata["report"]]
    assert ratios == sorted(ratios)
    assert {row["name"] for row in metadata["report"]} == {node.name for node in model.nodes}
    from lightkern.compression.report import table

    assert table(metadata["report"], 2).count("\n") == 2


def test_equalization_lowers_the_noise_of_uneven_channels() -> None:
    net = FloatNet(3)
    y = net.affine(net.conv(net.input(8, 8, 3), 16))
    net.nodes[-1].params["scale"] *= np.geomspace(0.02, 1, 16, dtype=np.float32)
    net.nodes[-1].params["offset"] *= np.geomspace(0.02, 1, 16, dtype=np.float32)
    y = net.conv(net.unary("relu", y), 8)
    net.nodes[-1].params["weight"] *= np.geomspace(50, 1, 16, dtype=np.float32)
    graph = net.graph(y)
    x, other = pictures(graph), pictures(graph, seed=9)
    plain, equal = (
        sqnr(graph.run(other), lk.reference.run(lk.compress(graph, x, equalize=e, rounding="nearest"), other))
        for e in (False, True)
    )
    assert equal > plain + 6


def test_progress_is_told() -> None:
    seen: list[tuple[str, int, int]] = []
    graph = random_graph(2)
    lk.compress(graph, pictures(graph), progress=lambda *call: seen.append(call))
    assert all(0 <= done <= total for _, done, total in seen)
    assert {"observe", "quantize", "report"} <= {stage for stage, _, _ in seen}
