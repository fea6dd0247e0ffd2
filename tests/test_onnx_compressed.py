"""Imported ONNX models stay near their float results when they are compressed to int8."""

from __future__ import annotations

import numpy as np
import pytest
from error_bounds import error_bounds
from onnx_models import ints, model, node, weights
from test_onnx_cases import CASES, CONVERTED, folder_case, node_cases

import lightkern as lk

CONV = node("Conv", "x w", "c", pads=[1, 1, 1, 1])
SHUFFLE = [node("Reshape", "c s", "p"), node("Transpose", "p", "q", perm=[0, 2, 1, 3, 4]), node("Reshape", "q t", "r")]
LAST = {"w2": weights(6, 8, 1, 1, seed=3)}

WIRINGS = {
    "halves subtracted": ([CONV, node("Split", "c", "a b", axis=1), node("Sub", "a b")], {}),
    "gated half": (
        [CONV, node("Split", "c", "a b", axis=1), node("Sigmoid", "b", "s"), node("Mul", "a s")],
        {},
    ),
    "halves added, joined, read": (
        [
            CONV,
            node("Split", "c", "a b", axis=1),
            node("Add", "a b", "d"),
            node("Concat", "d a", "e", axis=1),
            node("Conv", "e w2"),
        ],
        LAST,
    ),
    "joined with its negative, scaled per channel": (
        [CONV, node("Neg", "c", "n"), node("Concat", "c n", "d", axis=1), node("Mul", "d g")],
        {"g": weights(16, 1, 1, seed=5)},
    ),
    "shuffled and added to itself": (
        [CONV, *SHUFFLE, node("Add", "c r", "u"), node("Conv", "u w2")],
        LAST | {"s": ints(0, 2, 4, 9, 9), "t": ints(0, 8, 9, 9)},
    ),
    "squeezed and excited": (
        [
            CONV,
            node("GlobalAveragePool", "c", "m"),
            node("Conv", "m w3", "e"),
            node("HardSigmoid", "e", "f"),
            node("Mul", "c f", "u"),
            node("Conv", "u w2"),
        ],
        LAST | {"w3": weights(8, 8, 1, 1, seed=4)},
    ),
    "flattened": (
        [CONV, node("Relu", "c", "r"), node("Flatten", "r", "f"), node("Gemm", "f k")],
        {"k": weights(8 * 81, 5, seed=6)},
    ),
}


@pytest.mark.parametrize("name", WIRINGS)
def test_tied_channels(name):
    nodes, constants = WIRINGS[name]
    graph = lk.load_onnx(model(nodes, {"x": (3, 9, 9)}, constants={"w": weights(8, 3, 3, 3), **constants}))
    x = np.random.default_rng(0).standard_normal((16, 3, 9, 9)).astype(np.float32)
    expected = graph.run(x)
    got = lk.reference.run(lk.compress(graph, calibration=x), x)
    assert 10 * np.log10((expected**2).sum() / ((got - expected) ** 2).sum()) > 25  # dB; an exchanged channel gives 0


# -- ONNX's own cases -----------------------------------------------------------------------------------------------


def check_bounds(graph, feeds, expected) -> None:
    """The int8 result is within the error that the scales of the model explain, which is small itself."""
    compressed = lk.compress(graph, calibration=feeds, calibrator="minmax", bias_correction=False)
    got = lk.reference.run(compressed, feeds)
    got = got if isinstance(got, dict) else {graph.outputs[0].name: got}
    bounds = error_bounds(compressed, feeds)
    for name, array in expected.items():
        error = np.abs(got[name] - array)
        assert (error <= bounds[name] + 1e-6).all(), f"{error.max()} at a bound of {bounds[name].max()}"
        assert np.median(bounds[name]) <= 0.1 * np.abs(array).max(), "the bound says nothing"


@pytest.mark.parametrize("name", CONVERTED)
def test_converted_from_pytorch_within_the_predicted_error(name):
    proto, inputs, outputs = folder_case(CASES / "pytorch-converted" / f"test_{name}")
    graph = lk.load_onnx(proto)
    feeds = dict(zip([p.name for p in graph.inputs], inputs, strict=True))
    check_bounds(graph, feeds, dict(zip([p.name for p in graph.outputs], outputs, strict=True)))


@pytest.mark.parametrize(
    "module", ["conv", "averagepool", "maxpool", "globalaveragepool", "batch_normalization", "gemm"]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx")
def test_node_cases_within_the_predicted_error(module):
    tried = 0
    for _, proto, inputs, outputs in node_cases(module):
        try:
            graph = lk.load_onnx(proto)
        except lk.UnsupportedError:
            continue
        check_bounds(graph, {graph.inputs[0].name: inputs[0]}, {graph.outputs[0].name: outputs[0]})
        tried += 1
    assert tried >= 2
