"""TensorProto to ndarray: sizes checked before anything is allocated, external data confined to the model's folder."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ...errors import FormatError, UnsupportedError
from ...graph import Array

MAX_BYTES = 1 << 31
"""No constant may be larger than this."""

_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
_ITEM_BYTES = {
    onnx.TensorProto.FLOAT: 4,
    onnx.TensorProto.FLOAT16: 2,
    onnx.TensorProto.BFLOAT16: 2,
    onnx.TensorProto.DOUBLE: 8,
    onnx.TensorProto.INT8: 1,
    onnx.TensorProto.UINT8: 1,
    onnx.TensorProto.INT16: 2,
    onnx.TensorProto.UINT16: 2,
    onnx.TensorProto.INT32: 4,
    onnx.TensorProto.UINT32: 4,
    onnx.TensorProto.INT64: 8,
    onnx.TensorProto.UINT64: 8,
    onnx.TensorProto.BOOL: 1,
}


def is_float(elem_type: int) -> bool:
    """Whether values of this ONNX type become float32 here."""
    return elem_type in _FLOATS


def dtype_name(elem_type: int) -> str:
    """Name of an ONNX element type, for messages."""
    names = {v: k for k, v in onnx.TensorProto.DataType.items()}
    return str(names.get(elem_type, f"number {elem_type}")).lower()


def to_array(tensor: Any, where: str, folder: Path | None) -> Array:
    """Decode a TensorProto; every float type becomes float32, integers and booleans stay.

    Raises
    ------
    FormatError
        Negative or oversized dimensions, data that does not match the shape, external data outside of `folder`.
    UnsupportedError
        An element type without a float or integer meaning (strings, complex numbers, 4-bit and 8-bit floats).
    """
    kind = tensor.data_type
    if kind not in _ITEM_BYTES:
        raise UnsupportedError(f"{where}: tensors of type {dtype_name(kind)} are not supported")
    dims = list(tensor.dims)
    if any(d < 0 for d in dims):
        raise FormatError(f"{where}: negative dimension in {dims}")
    wanted = math.prod(dims) * _ITEM_BYTES[kind]
    if wanted > MAX_BYTES:
        raise FormatError(f"{where}: shape {dims} needs {wanted} bytes, {MAX_BYTES} is the limit")
    if tensor.HasField("segment"):
        raise UnsupportedError(f"{where}: segmented tensors are not supported")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        inline = onnx.TensorProto(data_type=kind, dims=dims)
        inline.raw_data = _external_bytes(tensor, where, folder, wanted)
        tensor = inline
    elif tensor.HasField("raw_data") and len(tensor.raw_data) != wanted:
        raise FormatError(f"{where}: shape {dims} needs {wanted} bytes, raw_data has {len(tensor.raw_data)}")
    try:
        array = np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError, OverflowError) as error:
        raise FormatError(f"{where}: the data does not fit shape {dims} ({error})") from None
    return array.astype(np.float32) if kind in _FLOATS else array


def _external_bytes(tensor: Any, where: str, folder: Path | None, wanted: int) -> bytes:
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise FormatError(f"{where}: external data {location!r} needs a model that is loaded from a path")
    base = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(base / location)) if "\0" not in location else base
    if not location or os.path.isabs(location) or base not in path.parents:
        raise FormatError(f"{where}: external data {location!r} is not a file inside of the model's folder")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(wanted)))
    except ValueError:
        raise FormatError(f"{where}: offset and length of external data must be numbers, got {entries}") from None
    if length != wanted or offset < 0:
        raise FormatError(f"{where}: needs {wanted} bytes, external data has offset {offset} and length {length}")
    try:
        if not path.is_file() or path.stat().st_size < offset + length:
            raise FormatError(f"{where}: external data {location!r} has fewer than {offset + length} bytes")
        with open(path, "rb") as file:
            file.seek(offset)
            content = file.read(length)
    except OSError as error:
        raise FormatError(f"{where}: external data {location!r} cannot be read: {error}") from None
    if len(content) != length:
        raise FormatError(f"{where}: external data {location!r} ended early")
    return content
