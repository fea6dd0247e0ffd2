"""NumPy arrays, for modules that must not import NumPy: running a file needs none, and its import takes longest."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

__all__ = ["Array", "dtype_name", "is_ndarray"]

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = Any


def is_ndarray(value: Any) -> bool:
    """Whether a value is a NumPy array; before somebody has imported NumPy, there is none."""
    return isinstance(value, getattr(sys.modules.get("numpy"), "ndarray", ()))


def dtype_name(value: Any) -> str:
    """The dtype of an array or a memoryview as NumPy writes it, such as "float32"."""
    if isinstance(value, memoryview):
        return {"b": "int8", "i": "int32", "f": "float32"}.get(value.format, value.format)
    return str(value.dtype)
