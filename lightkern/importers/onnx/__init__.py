"""ONNX to `lightkern.Graph`.

The way of a model through this package::

    reader.py    bytes -> checked, sorted nodes        tensors.py   TensorProto -> ndarray, external data
    convert.py   walks the nodes: folds constants (folding.py), calls one handler per op (registry.py, ops/*.py)
    views.py     what Reshape and Transpose do to a value without moving it; how to move it when an op needs it
    builder.py   what a handler may ask for and emit
    patterns.py  rewrites of the finished graph: written-out activations, merged reshapes, dead nodes

To add an op, write a function decorated with ``@handles("OpType")`` in the fitting file of ``ops/``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import MissingExtraError
from ...graph import Graph

__all__ = ["load_onnx"]


def load_onnx(
    source: str | os.PathLike[str] | bytes | Any, *, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Import a float ONNX model (opsets 6 to 28) for int8 compression.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
        External tensor files are read from the folder of a path, and from nowhere else.
    input_shapes : mapping of str to sequence of int, optional
        Shape of an input without its batch dimension, in the layout of the model: ``{"x": (3, 224, 224)}``. Needed
        where the model leaves a dimension other than the batch open.

    Returns
    -------
    Graph
        float32 weights; the batch dimension is free, whatever the model says.

    Raises
    ------
    MissingExtraError
        The package ``onnx`` is not installed.
    FormatError
        The file is truncated, corrupt or contradicts itself.
    UnsupportedError
        The model is valid but needs something that lightkern does not do; names the node, its op and the reason.
    ValueError
        A weight is NaN or infinite (names the tensor), or `input_shapes` does not fit.
    OSError
        The file cannot be read.
    """
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise MissingExtraError("onnx", "onnx", "lightkern.load_onnx") from None
    from .convert import convert
    from .reader import read

    return convert(read(source), dict(input_shapes or {}))
