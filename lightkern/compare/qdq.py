"""Quantized ONNX files for the peers, made by ``onnxruntime.quantization`` from a float file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "quantize"]

Array = npt.NDArray[Any]

KINDS = ("u8s8", "s8s8", "7bit")
"""u8s8: uint8 activations, int8 weights. s8s8: both int8. 7bit: u8s8 with weights in [-64, 64] (``reduce_range``)."""


def quantize(source: Path, target: Path, inputs: Array, kind: str) -> None:
    """Write the QDQ file of a network.

    Parameters
    ----------
    source, target : Path
        Float ONNX file; where the int8 one goes.
    inputs : ndarray
        float32 [n, ...]; ranges are the least and greatest values seen.
    kind : str
        One of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Inputs(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str) -> None:
            self.rest: Iterator[dict[str, Array]] = iter([{name: inputs[i : i + 1]} for i in range(len(inputs))])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rest, None)

    activation = quantization.QuantType.QInt8 if kind == "s8s8" else quantization.QuantType.QUInt8
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            model = onnx.load(prepared)
            pool_means(model.graph)
            quantization.quantize_static(
                model,
                str(target),
                Inputs(model.graph.input[0].name),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                reduce_range=kind == "7bit",
                activation_type=activation,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
        finally:
            logging.disable(logging.NOTSET)


def pool_means(graph: Any) -> None:
    """Write means over height and width as GlobalAveragePool, for which ONNX Runtime has an int8 kernel."""
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean":
            continue
        attributes = {a.name: a for a in node.attribute}
        if len(node.input) > 1:
            axes = constants.get(node.input[1], np.array([]))
        else:
            axes = np.array(attributes["axes"].ints if "axes" in attributes else [])
        keeps = attributes["keepdims"].i if "keepdims" in attributes else 1
        if keeps and sorted(int(a) % 4 for a in axes) == [2, 3]:
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
