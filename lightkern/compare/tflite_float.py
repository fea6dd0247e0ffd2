"""Turn an int8 TFLite file into the float model of the same network, for timing LiteRT's float kernels."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["float_tflite"]


def float_tflite(source: Path, target: Path) -> None:
    """Write `source` with every quantized tensor as float32; weights and biases hold their dequantized values.

    Raises
    ------
    ValueError
        If the file converts between types itself (QUANTIZE, DEQUANTIZE, CAST).
    """
    import flatbuffers

    schema = importlib.import_module("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    for code in model.operatorCodes:
        operator = schema.BuiltinOperator
        if code.builtinCode in (operator.QUANTIZE, operator.DEQUANTIZE, operator.CAST):
            raise ValueError(f"{source.name} converts types itself (operator {code.builtinCode})")
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            _dequantize(schema, model, tensor)
    model.signatureDefs = None
    model.metadata = None
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(bytes(builder.Output()))


def _dequantize(schema: Any, model: Any, tensor: Any) -> None:
    kinds = {schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}
    quantization = tensor.quantization
    if tensor.type not in kinds or quantization is None or quantization.scale is None:
        return
    content = model.buffers[tensor.buffer].data
    if content is not None and len(content):
        q = np.frombuffer(np.asarray(content, np.uint8).tobytes(), kinds[tensor.type]).reshape(tensor.shape)
        along = [1] * q.ndim
        if len(quantization.scale) > 1:
            along[quantization.quantizedDimension] = -1
        scale = np.asarray(quantization.scale, np.float32).reshape(along)
        zero_point = np.asarray(quantization.zeroPoint, np.int64).reshape(along)
        values = ((q - zero_point) * scale).astype(np.float32)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    tensor.type = schema.TensorType.FLOAT32
    tensor.quantization = None
