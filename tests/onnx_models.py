"""Small ONNX models for tests, and the comparison of an imported graph with ONNX Runtime.

``single("Conv", {"x": (3, 5, 5)}, {"w": weight}, strides=[2, 2])`` is a model of one node with a free batch;
``check(model)`` imports it, runs both on seeded inputs and compares every output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import lightkern as lk

Array = np.ndarray[Any, Any]

onnxruntime.set_default_logger_severity(4)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int]],
    outputs: Sequence[str] = ("y",),
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    batch: int | str = "n",
) -> onnx.ModelProto:
    """A model of these nodes; input shapes exclude the batch."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [batch, *s]) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    proto.ir_version = min(proto.ir_version, 10)
    return proto


def node(op: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """A node; the names of inputs and outputs are separated by spaces, "-" is an absent one."""
    names = [["" if n == "-" else n for n in text.split()] for text in (inputs, outputs)]
    name = f"the_{op}" if outputs == "y" else f"the_{op}_of_{names[1][0]}"
    return helper.make_node(op, names[0], names[1], name=name, **attributes)


def single(
    op: str,
    inputs: Mapping[str, Sequence[int]],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    batch: int | str = "n",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node that reads the inputs, then the constants, and writes y."""
    names = " ".join([*inputs, *(constants or {})])
    return model([node(op, names, **attributes)], inputs, ("y",), constants, opset=opset, batch=batch)


def onnxruntime_session(source: bytes | str) -> onnxruntime.InferenceSession:
    """A session without graph optimizations: the operators as they are, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def feeds_for(graph: lk.Graph, batch: int, low: float, high: float) -> dict[str, Array]:
    """Seeded uniform inputs."""
    rng = np.random.default_rng(0)
    return {p.name: rng.uniform(low, high, (batch, *p.api_shape)).astype(np.float32) for p in graph.inputs}


def check(
    proto: onnx.ModelProto,
    ops: Sequence[str] | None = None,
    *,
    batch: int = 2,
    low: float = -4,
    high: float = 4,
    tolerance: float = 2e-5,
    runtime: bool = True,
    **arguments: Any,
) -> lk.Graph:
    """Import the model and compare with ONNX Runtime, or ONNX's reference where that lacks an op; return the graph.

    Parameters
    ----------
    ops : sequence of str, optional
        The ops that the graph must consist of, in order.
    tolerance : float
        Greatest error, absolute and relative to the largest expected value.
    """
    graph = lk.load_onnx(proto, **arguments)
    if ops is not None:
        assert [n.op for n in graph.nodes] == list(ops)
    feeds = feeds_for(graph, batch, low, high)
    if runtime:
        expected = onnxruntime_session(proto.SerializeToString()).run(None, feeds)
    else:
        from onnx.reference import ReferenceEvaluator

        expected = ReferenceEvaluator(proto).run(None, feeds)
    compare(graph, feeds, dict(zip([o.name for o in proto.graph.output], expected, strict=True)), tolerance)
    return graph


def compare(graph: lk.Graph, feeds: Mapping[str, Array], expected: Mapping[str, Array], tolerance: float) -> None:
    """Run the graph and compare shapes and values of every output."""
    got = graph.run(dict(feeds))
    got = got if isinstance(got, dict) else {graph.outputs[0].name: got}
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].shape == array.shape
        scale = max(1.0, float(np.abs(array).max()))
        np.testing.assert_allclose(got[name], array, rtol=0, atol=tolerance * scale)


def weights(*shape: int, seed: int = 1) -> Array:
    """Seeded normal float32 weights."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> Array:
    """An int64 vector."""
    return np.array(values, np.int64)


def small_network() -> onnx.ModelProto:
    """A small network of most families of ops, with computed shapes."""
    nodes = [
        node("Pad", "x pads", "x0"),
        node("Conv", "x0 w0 b0", "c0", strides=[2, 2], kernel_shape=[3, 3]),
        node("BatchNormalization", "c0 s bias mean var", "n0"),
        node("Clip", "n0 zero six", "r0"),
        node("Conv", "r0 w1", "c1", group=8, pads=[1, 1, 1, 1]),
        node("Shape", "c1", "shape"),
        node("Slice", "shape i0 i1", "batch"),
        node("Concat", "batch view", "five", axis=0),
        node("Reshape", "c1 five", "v0"),
        node("Transpose", "v0", "v1", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "v1 shape", "v2"),
        node("Split", "v2", "a b", axis=1),
        node("HardSigmoid", "b", "g"),
        node("Mul", "b g", "h"),
        node("Concat", "a h", "j", axis=1),
        node("Add", "j r0", "k"),
        node("Resize", "k - scales", "l", mode="linear"),
        node("AveragePool", "l", "m", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        node("ReduceMean", "m", "p", axes=[2, 3], keepdims=0),
        node("Gemm", "p w2 b2", "q", transB=1),
        node("Softmax", "q", "y"),
    ]
    constants = {
        "pads": ints(0, 0, 0, 0, 0, 0, 1, 1),
        "w0": weights(8, 3, 3, 3),
        "b0": weights(8),
        "s": weights(8),
        "bias": weights(8),
        "mean": weights(8),
        "var": np.abs(weights(8)),
        "zero": np.float32(0),
        "six": np.float32(6),
        "w1": weights(8, 1, 3, 3),
        "i0": ints(0),
        "i1": ints(1),
        "view": ints(2, 4, 4, 4),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "w2": weights(5, 8),
        "b2": weights(5),
    }
    return model(nodes, {"x": (3, 8, 8)}, constants=constants, opset=13)
