"""Arrays and float32 for modules that must not import NumPy: a file runs without, and its import takes longest."""

from __future__ import annotations

import math
import struct
import sys
from typing import TYPE_CHECKING, Any

__all__ = ["Array", "dtype_name", "is_ndarray", "nearest_float32"]

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]
else:
    Array = Any

_SINGLE = struct.Struct("<f")


def is_ndarray(value: Any) -> bool:
    """Whether a value is a NumPy array; before somebody has imported NumPy, there is none."""
    return isinstance(value, getattr(sys.modules.get("numpy"), "ndarray", ()))


def dtype_name(value: Any) -> str:
    """The dtype of an array or a memoryview as NumPy writes it, such as "float32"."""
    if isinstance(value, memoryview):
        return {"b": "int8", "i": "int32", "f": "float32"}.get(value.format, value.format)
    return str(value.dtype)


def nearest_float32(value: float) -> float:
    """The float32 next to a value, ties to even, or an infinity.

    Of a product or a quotient of two float32 that Python computed, this is what float32 arithmetic gives, although it
    was rounded twice. The product is exact in 53 bits: it has 48. Of the quotient x / y, the first rounding, by at most
    2**-53 of it, would have to reach the midpoint m of two float32. But x - m * y is a multiple of the product of the
    last bits of m and y, which have 25 and 24 bits; if not 0, it is more than 2**-50 of m * y, and the quotient as far
    from m. The midpoints of subnormal numbers have fewer bits still.
    """
    try:
        (single,) = _SINGLE.unpack(_SINGLE.pack(value))
    except OverflowError:
        return math.copysign(math.inf, value)
    return float(single)
