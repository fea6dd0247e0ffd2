"""An int8 TFLite file of a chain of convolutions with the numbers of lightkern's int8 model, so that LiteRT runs it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["write_tflite"]

Array = npt.NDArray[Any]


class Writer:
    """A TFLite model under construction."""

    def __init__(self) -> None:
        self.schema = importlib.import_module("ai_edge_litert.schema_py_generated")
        self.model = self.schema.ModelT()
        self.model.version = 3
        self.model.buffers = [self.schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = self.schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name: str, shape: tuple[int, ...], scale: Array, axis: int, zero_point: int = 0) -> int:
        """A new int8 tensor without content; `scale` has one element, or one per index of `axis`."""
        quantization = self.schema.QuantizationParametersT()
        quantization.scale = np.asarray(scale, np.float32).reshape(-1)
        quantization.zeroPoint = np.full(quantization.scale.size, zero_point, np.int64)
        quantization.quantizedDimension = axis
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, np.array(shape, np.int32), self.schema.TensorType.INT8
        tensor.quantization = quantization
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, name: str, value: Array, scale: Array, axis: int) -> int:
        """A new int8 or int32 tensor with content."""
        index = self.tensor(name, value.shape, scale, axis)
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor = self.graph.tensors[index]
        tensor.buffer = len(self.model.buffers) - 1
        if value.dtype == np.int32:
            tensor.type = self.schema.TensorType.INT32
        return index

    def operator(self, builtin: int, version: int, kind: int, options: Any, inputs: list[int], output: int) -> None:
        """A new operator."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = version
        self.model.operatorCodes.append(code)
        operator = self.schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = kind, options
        self.graph.operators.append(operator)

    def convolution(self, node: Any, x: int, y: int, channels: int) -> None:
        """conv2d, any number of groups; clamps must be those of the output's range."""
        schema, weight, scale = self.schema, node.params["weight"], node.params["weight_scale"]
        depthwise = node.attrs["groups"] == channels > 1
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH, options.strideW = node.attrs["stride"]
        options.dilationHFactor = options.dilationWFactor = 1
        if (
            self.graph.tensors[y].quantization.zeroPoint[0] == -128
        ):  # nothing below zero: for the float twin of the file
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        if depthwise:
            options.depthMultiplier = 1
            weight = np.ascontiguousarray(weight.transpose(3, 1, 2, 0))
        w = self.constant(f"{node.output}.weight", weight, scale, 3 if depthwise else 0)
        input_scale = self.graph.tensors[x].quantization.scale
        b = self.constant(f"{node.output}.bias", node.params["bias"], scale * input_scale, 0)
        builtin, of_options = schema.BuiltinOperator, schema.BuiltinOptions
        if depthwise:
            kind = of_options.DepthwiseConv2DOptions
            self.operator(builtin.DEPTHWISE_CONV_2D, 3, kind, options, [x, w, b], y)
        else:
            self.operator(builtin.CONV_2D, 3, of_options.Conv2DOptions, options, [x, w, b], y)


def write_tflite(model: Any, path: Path) -> None:
    """Write a `lightkern.Model` as TFLite.

    Raises
    ------
    ValueError
        If it is not a chain of convolutions at stride 1 with "same" padding.
    """
    import flatbuffers

    writer = Writer()
    port = model.inputs[0]

    def add_tensor(name: str, shape: tuple[int, ...]) -> int:
        quant = model.quants[name]
        return writer.tensor(name, (1, *shape), np.array([quant.scale]), 0, quant.zero_point)

    name, shape = port.tensor, port.shape
    x = first = add_tensor(name, shape)
    for node in model.nodes:
        attrs = node.attrs
        same = node.op == "conv2d" and attrs["stride"] == attrs["dilation"] == [1, 1]
        same = (
            same and attrs["padding"] == [k // 2 for k in attrs["kernel"] for _ in range(2)] and node.inputs == [name]
        )
        if not same or attrs["clamp"] != [-128, 127]:
            raise ValueError(f"node {node.output!r} is not a plain convolution at stride 1: {node.op} {attrs}")
        shape = (*shape[:2], len(node.params["bias"]))
        y = add_tensor(node.output, shape)
        writer.convolution(node, x, y, int(writer.graph.tensors[x].shape[-1]))
        x, name = y, node.output
    writer.graph.inputs, writer.graph.outputs = np.array([first], np.int32), np.array([x], np.int32)
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(writer.model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
