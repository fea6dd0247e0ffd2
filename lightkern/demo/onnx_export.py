"""Write the demo network as an ONNX model, so that ONNX Runtime's float kernels can be timed beside ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import MissingExtraError, UnsupportedError
from ..graph import Graph, Node

OPSET = 17


def to_onnx(graph: Graph) -> bytes:
    """Serialize a float graph that uses the ops of the demo network; inputs and outputs are NCHW.

    Raises
    ------
    MissingExtraError
        If the package onnx is not installed.
    UnsupportedError
        If the graph has an op that the demo network does not use.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ModuleNotFoundError:
        raise MissingExtraError("onnx", "onnx", "writing an ONNX model") from None

    constants: list[Any] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    nodes = []
    for node in graph.nodes:
        kind, sources, attrs = _translate(node, constant)
        nodes.append(helper.make_node(kind, sources, [node.output], node.name, **attrs))
    inputs, outputs = (
        [helper.make_tensor_value_info(p.tensor, TensorProto.FLOAT, ["n", *p.api_shape]) for p in group]
        for group in (graph.inputs, graph.outputs)
    )
    proto = helper.make_graph(nodes, graph.name, inputs, outputs, constants)
    model = helper.make_model(proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return bytes(model.SerializeToString())


def _translate(node: Node, constant: Any) -> tuple[str, list[str], dict[str, Any]]:
    """ONNX op, inputs and attributes of a node."""
    simple = {
        "add": "Add",
        "mul": "Mul",
        "relu": "Relu",
        "hard_swish": "HardSwish",
        "hard_sigmoid": "HardSigmoid",
        "global_avg_pool": "GlobalAveragePool",
    }
    if node.op == "conv2d":
        attrs = {
            "kernel_shape": node.attrs["kernel"],
            "strides": node.attrs["stride"],
            "dilations": node.attrs["dilation"],
            "pads": node.attrs["padding"],
            "group": node.attrs["groups"],
        }
        weight = constant(f"{node.name}.weight", node.params["weight"].transpose(0, 3, 1, 2))
        return "Conv", [node.inputs[0], weight, constant(f"{node.name}.bias", node.params["bias"])], attrs
    if node.op == "linear":
        weight = constant(f"{node.name}.weight", node.params["weight"])
        return "Gemm", [node.inputs[0], weight, constant(f"{node.name}.bias", node.params["bias"])], {"transB": 1}
    if node.op == "reshape" and node.attrs["order"] == "CHW":
        shape = constant(f"{node.name}.shape", np.array([-1, *node.attrs["shape"]], np.int64))
        return "Reshape", [node.inputs[0], shape], {}
    if node.op in simple:
        return simple[node.op], list(node.inputs), dict(node.attrs)
    raise UnsupportedError(f"node {node.name!r} ({node.op}): the demo's ONNX export does not know this op")
