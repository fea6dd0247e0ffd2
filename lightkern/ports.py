"""Inputs and outputs of a network as users see them, and users' values matched to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arrays import Array, is_ndarray
from .opset import Shape
from .records import FrozenRecord

__all__ = ["Port", "by_name", "check_inputs", "named_inputs"]


class Port(FrozenRecord):
    """An input or output of a graph.

    Attributes
    ----------
    name : str
        Name in the source model, as users pass it.
    tensor : str
        Name of the tensor inside the graph.
    shape : tuple of int
        Canonical shape without batch: (H, W, C), (L, C) or (C,).
    layout : {"NCHW", "NHWC"}
        Layout of the source model. With "NCHW", users see (n, C, H, W) for rank 3; other ranks are unaffected.
    """

    name: str
    tensor: str
    shape: Shape
    layout: str

    def __init__(self, name: str, tensor: str, shape: Shape, layout: str = "NCHW") -> None:
        vars(self).update(name=name, tensor=tensor, shape=shape, layout=layout)

    @property
    def api_shape(self) -> Shape:
        """Shape without batch as users see it."""
        if len(self.shape) == 3 and self.layout == "NCHW":
            return (self.shape[2], self.shape[0], self.shape[1])
        return self.shape

    def to_canonical(self, x: Array) -> Array:
        """Turn a user's array [n, *api_shape] into [n, *shape] (a view)."""
        return x.transpose(0, 2, 3, 1) if self.api_shape is not self.shape else x

    def from_canonical(self, x: Array) -> Array:
        """Turn [n, *shape] into a user's array [n, *api_shape] (a view)."""
        return x.transpose(0, 3, 1, 2) if self.api_shape is not self.shape else x


def named_inputs(ports: Sequence[Port], x: Array | Mapping[str, Array]) -> dict[str, Array]:
    """Match a user's array or mapping to the ports; check names and shapes, not dtypes.

    Raises
    ------
    TypeError, ValueError
        If names, rank or sizes do not fit; the message names the port, the expected and the actual shape.
    """
    named = by_name("input", ports, x)
    for name, value in named.items():
        if not is_ndarray(value):
            raise TypeError(f"input {name!r}: expected a NumPy array, got {type(value).__name__}")
    check_inputs(ports, named)
    return named


def by_name(what: str, ports: Sequence[Port], values: Any) -> dict[str, Any]:
    """Match a user's value, or mapping of values, to the ports; check the names alone."""
    if not isinstance(values, Mapping):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise TypeError(f"the model has {len(ports)} {what}s ({names}): pass a dict of arrays")
        return {ports[0].name: values}
    expected = {port.name for port in ports}
    if set(values) != expected:
        raise ValueError(f"expected {what}s {sorted(expected)}, got {sorted(map(str, values))}")
    return dict(values)


def check_inputs(ports: Sequence[Port], values: Mapping[str, Any]) -> int:
    """Check the shapes of arrays or memoryviews; return the batch size, which all have in common."""
    sizes = set()
    for port in ports:
        shape = values[port.name].shape
        if shape[1:] != port.api_shape or not shape or shape[0] < 1:
            expected = ", ".join(map(str, ("n", *port.api_shape)))
            raise ValueError(f"input {port.name!r}: expected shape ({expected}) with n >= 1, got {shape}")
        sizes.add(shape[0])
    if len(sizes) != 1:
        raise ValueError(f"all inputs must have one batch size, got {sorted(sizes)}")
    return int(sizes.pop())
