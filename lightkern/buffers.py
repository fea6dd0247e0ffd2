"""What a session reads and writes: users' arrays and other buffers, looked at without NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .arrays import Array
from .ports import Port, by_name, check_inputs

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    Buffers = Array | ReadableBuffer | Mapping[str, Array | ReadableBuffer]

__all__ = ["Inputs", "index_of", "input_views", "output_views"]

_DTYPES = {"f": "float32", "b": "int8", "<f": "float32", "<b": "int8", "=f": "float32"}
"""By format of a buffer; ctypes writes the byte order, and so does NumPy for an unaligned array."""


class Inputs(NamedTuple):
    """The inputs of a run: C-contiguous views in the order of the ports, and what all have in common."""

    views: list[memoryview]
    batch: int
    dtype: str


def input_views(ports: Sequence[Port], x: Any) -> Inputs:
    """Match a user's buffer, or mapping of buffers, to the ports.

    Raises
    ------
    TypeError, ValueError
        For wrong names, types, shapes or strides, several dtypes or batch sizes; the message names the port, the rule
        and the actual value.
    """
    named = {name: _view(f"input {name!r}", value) for name, value in by_name("input", ports, x).items()}
    batch = check_inputs(ports, named)
    views = [named[port.name] for port in ports]
    dtypes = [_DTYPES[view.format] for view in views]
    for dtype in dtypes:
        if dtype != dtypes[0]:
            raise TypeError(f"inputs mix {dtypes[0]} and {dtype}; use one of them")
    return Inputs(views, batch, dtypes[0])


def output_views(ports: Sequence[Port], out: Any, inputs: Inputs) -> list[memoryview]:
    """Where the outputs shall be written, in the order of the ports: buffers that fit the inputs of the same run.

    Raises
    ------
    TypeError, ValueError
        If one has another dtype than the inputs, another batch size or shape, is not C-contiguous or not writable, or
        shares memory with an input or with another output; the message names the port and the actual value.
    """
    named = by_name("output", ports, out)
    views: list[memoryview] = []
    taken = [("an input", view) for view in inputs.views]
    for port in ports:
        where = f"output {port.name!r}"
        view = _view(where, named[port.name])
        shape = (inputs.batch, *port.api_shape)
        if (dtype := _DTYPES[view.format]) != inputs.dtype:
            raise TypeError(f"{where}: expected dtype {inputs.dtype}, as that of the inputs, got {dtype}")
        if view.shape != shape:
            raise ValueError(f"{where}: expected shape {shape}, got {view.shape}")
        if view.readonly:
            raise ValueError(f"{where}: is read-only")
        for other, memory in taken:
            if _core.overlap(view, memory):
                raise ValueError(f"{where}: shares memory with {other}")
        taken.append((where, view))
        views.append(view)
    return views


def index_of(element: int, shape: Sequence[int]) -> list[int]:
    """The index of an element that is counted in row-major order."""
    index: list[int] = []
    for size in reversed(shape):
        element, position = divmod(element, size)
        index.insert(0, position)
    return index


def _view(where: str, value: Any) -> memoryview:
    """A C-contiguous view of float32 or int8 elements."""
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError(f"{where}: expected a NumPy array or another buffer, got {type(value).__name__}") from None
    except (BufferError, ValueError) as error:
        if hasattr(value, "dtype"):  # one of NumPy's that no buffer can have
            raise TypeError(f"{where}: expected dtype float32 or int8, got {value.dtype}") from None
        raise ValueError(f"{where}: {error}") from None  # closed or released
    if view.format not in _DTYPES:
        found = getattr(value, "dtype", f"format {view.format!r}; memoryview(x).cast('f', shape) tells what bytes are")
        raise TypeError(f"{where}: expected dtype float32 or int8, got {found}")
    if not view.c_contiguous:
        raise ValueError(f"{where}: not C-contiguous (strides {view.strides}); pass np.ascontiguousarray(x)")
    return view
