"""What a handler sees of its node, and what it may emit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...graph import Array, Node, infer_shape
from ...opset import GRAPH_OPS, MAX_DIM, MAX_ELEMENTS, OpRule, RuleError, Shape, elements
from . import views
from .reader import SourceNode
from .tensors import to_array
from .views import Order, Value

PSEUDO_OPS = {"erf": OpRule(GRAPH_OPS["relu"].shape)}
"""Ops that exist only until `patterns` has recognised the function that they are written out for."""

RULES = {**GRAPH_OPS, **PSEUDO_OPS}


class Builder:
    """The graph under construction.

    Attributes
    ----------
    values : dict
        What every ONNX name stands for so far: a `Value` (activations) or an ndarray (a constant).
    batch : int
        Size of the batch axis while importing: the model's own, or 1 where it is free.
    """

    def __init__(self, opset: int, batch: int) -> None:
        self.opset, self.batch = opset, batch
        self.values: dict[str, Value | Array] = {}
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[Node] = []
        self._names: dict[str, int] = {}
        self._arranged: dict[tuple[Value, Order], str] = {}

    def unique(self, base: str) -> str:
        """A tensor name that nothing has yet."""
        while True:
            count = self._names.get(base, 0)
            self._names[base] = count + 1
            name = f"{base}/{count}" if count else base
            if name not in self.shapes:
                return name

    def emit(
        self,
        base: str,
        op: str,
        inputs: Sequence[str],
        attrs: dict[str, Any] | None = None,
        params: dict[str, Array] | None = None,
    ) -> str:
        """Append a node that is named after `base`; return the name of its output tensor."""
        name = self.unique(base)
        node = Node(op, name, list(inputs), name, attrs or {}, params or {})
        shape = infer_shape(RULES[op], node, [self.shapes[i] for i in inputs])
        if max(shape) > MAX_DIM or elements(shape) >= MAX_ELEMENTS:
            raise RuleError(f"the result of shape {shape} is too large")
        self.shapes[name] = shape
        self.nodes.append(node)
        return name

    def reshaped(self, base: str, tensor: str, shape: Shape, order: str = "HWC") -> str:
        """`tensor` in another canonical shape."""
        if self.shapes[tensor] == shape and order == "HWC":
            return tensor
        return self.emit(base, "reshape", [tensor], {"shape": list(shape), "order": order})

    def arrange(self, base: str, value: Value, order: Order) -> str:
        """A tensor that holds `value` in the layout `order`; emits the moves that this takes, once.

        Raises
        ------
        RuleError
            If no short sequence of reshapes and channel shuffles does it.
        """
        if (value, order) not in self._arranged:
            self._arranged[value, order] = self._arrange(base, value, order)
        return self._arranged[value, order]

    def _arrange(self, base: str, value: Value, order: Order) -> str:
        shape = views.canonical_shape(order, value.source_shape)
        moves = views.steps(value, order)
        if moves is None or not 1 <= len(shape) <= 3:
            raise RuleError(f"needs a transposition of {value.source_shape} to {shape} that is not supported")
        tensor = value.tensor
        for index, move in enumerate(moves):
            now = self.shapes[tensor]
            if move.outer > 1:
                if now[-1] != move.first * move.second:
                    tensor = self.reshaped(base, tensor, (move.outer, move.first * move.second))
                tensor = self.emit(base, "channel_shuffle", [tensor], {"groups": move.first})
            elif index == len(moves) - 1 and len(shape) == 3 and shape[2] == move.first:
                tensor = self.reshaped(base, tensor, (math.prod(now),)) if len(now) == 3 else tensor
                tensor = self.reshaped(base, tensor, shape, "CHW")
            else:
                if len(now) != 3 or now[2] != move.second:
                    tensor = self.reshaped(base, tensor, (move.first, 1, move.second))
                last = index == len(moves) - 1 and len(shape) < 3
                tensor = self.reshaped(base, tensor, shape if last else (math.prod(now),), "CHW")
        return self.reshaped(base, tensor, shape)


class Context:
    """One ONNX node during conversion: typed access to its inputs and attributes, and the means to emit."""

    def __init__(self, builder: Builder, node: SourceNode, used: set[str]) -> None:
        self.builder, self.node, self._used = builder, node, used
        self.base = next((o for o in node.outputs if o), node.name)

    @property
    def opset(self) -> int:
        """Version of the standard operators that the model imports."""
        return self.builder.opset

    @property
    def batch(self) -> int:
        """Size of the batch axis while importing."""
        return self.builder.batch

    def refuse(self, reason: str) -> NoReturn:
        """Raise the UnsupportedError of this node."""
        raise UnsupportedError(f"{self.node}: {reason}")

    def malformed(self, reason: str) -> NoReturn:
        """Raise the FormatError of this node."""
        raise FormatError(f"{self.node}: {reason}")

    # -- inputs ---------------------------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def input(self, index: int) -> Value | Array:
        """Input `index`: a `Value` or a constant."""
        if not self.has(index):
            self.malformed(f"input {index} is missing")
        return self.builder.values[self.node.inputs[index]]

    def activation(self, index: int = 0) -> Value:
        """Input `index`, which must depend on the graph's inputs."""
        value = self.input(index)
        if not isinstance(value, Value):
            self.refuse(f"input {self.node.inputs[index]!r} is a constant, expected an activation")
        return value

    def constant(self, index: int) -> Array:
        """Input `index`, which must be constant."""
        value = self.input(index)
        if isinstance(value, Value):
            self.refuse(
                f"input {self.node.inputs[index]!r} must be a constant, but is computed from the graph's inputs"
            )
        return value

    def weight(self, index: int, rank: int | None = None) -> Array:
        """Input `index` as a finite float32 constant, of `rank` dimensions if given.

        Raises
        ------
        ValueError
            If an element is NaN or infinite.
        """
        array, name = self.constant(index), self.node.inputs[index]
        if array.dtype != np.float32:
            self.malformed(f"{name!r} must be a float tensor, is {array.dtype}")
        if rank is not None and array.ndim != rank:
            self.malformed(f"{name!r} has shape {array.shape}, expected {rank} dimensions")
        return finite(array, f"{self.node}: tensor {name!r}")

    def scalar(self, index: int) -> float:
        """Input `index` as a constant scalar (any tensor of one element); infinities are allowed."""
        array = self.constant(index)
        if array.size != 1:
            self.malformed(f"{self.node.inputs[index]!r} has shape {array.shape}, expected a scalar")
        value = float(array.reshape(()))
        if math.isnan(value):
            raise ValueError(f"{self.node}: tensor {self.node.inputs[index]!r} is NaN")
        return value

    def integers(self, index: int) -> list[int]:
        """Input `index` as a constant list of integers."""
        array = self.constant(index)
        if array.dtype.kind not in "iu" or array.ndim > 1:
            self.malformed(f"{self.node.inputs[index]!r} must be a list of integers, is {array.dtype} {array.shape}")
        return [int(v) for v in array.reshape(-1)]

    # -- attributes -----------------------------------------------------------------------------------------------

    def _attribute(self, name: str, default: Any, read: Callable[[Any], Any]) -> Any:
        attribute = self.node.attributes.get(name)
        if attribute is None:
            if default is ...:
                self.malformed(f"attribute {name!r} is missing")
            return default
        return read(attribute)

    def attr_int(self, name: str, default: Any = ...) -> int:
        """An integer attribute; no default means that it is required."""
        return int(self._attribute(name, default, lambda a: a.i))

    def attr_ints(self, name: str, default: Any = ...) -> Any:
        """An attribute that is a list of integers."""
        return self._attribute(name, default, lambda a: [int(v) for v in a.ints])

    def attr_float(self, name: str, default: Any = ..., *, infinite: bool = False) -> float:
        """A float attribute, as the shortest decimal that is the same float32; never NaN, infinite only if allowed."""
        value = float(self._attribute(name, default, lambda a: float(str(np.float32(a.f)))))
        if math.isnan(value) or (math.isinf(value) and not infinite):
            raise ValueError(f"{self.node}: attribute {name!r} is {value}, must be finite")
        return value

    def attr_string(self, name: str, default: Any = ...) -> str:
        """A string attribute."""
        return str(self._attribute(name, default, lambda a: a.s.decode("utf-8")))

    def attr_tensor(self, name: str) -> Array:
        """A tensor attribute; external data is not allowed in attributes."""
        where = f"{self.node}: attribute {name!r}"
        return np.asarray(self._attribute(name, ..., lambda a: to_array(a.t, where, None)))

    def axis(self, value: int, rank: int, *, batch: bool = False) -> int:
        """An axis as the model counts it (batch included, may be negative) -> source axis without batch.

        With `batch`, -1 stands for the batch axis; otherwise an operation along it is refused.
        """
        if not -rank - 1 <= value <= rank:
            self.malformed(f"axis {value} is outside of the {rank + 1} axes")
        axis = value % (rank + 1) - 1
        if axis < 0 and not batch:
            self.refuse("works along the batch axis")
        return axis

    # -- outputs --------------------------------------------------------------------------------------------------

    def wants(self, index: int) -> bool:
        """Whether output `index` exists and anything reads it."""
        return index < len(self.node.outputs) and self.node.outputs[index] in self._used

    def result(self, value: Value | Array, index: int = 0) -> None:
        """Define output `index`."""
        if index < len(self.node.outputs) and self.node.outputs[index]:
            self.builder.values[self.node.outputs[index]] = value

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: dict[str, Any] | None = None,
        params: dict[str, Array] | None = None,
    ) -> str:
        """Append a node; return the name of its output tensor."""
        return self.builder.emit(self.base, op, inputs, attrs, params)

    def elementwise(
        self, op: str, value: Value, attrs: dict[str, Any] | None = None, params: dict[str, Array] | None = None
    ) -> Value:
        """Append a node that keeps shape and layout."""
        return Value(self.emit(op, [value.tensor], attrs, params), value.shape, value.atoms, value.axes)

    def affine(self, value: Value, scale: float, offset: float) -> Value:
        """``value * scale + offset`` with scalars."""
        c = value.shape[-1]
        params = {"scale": np.full(c, scale, np.float32), "offset": np.full(c, offset, np.float32)}
        return self.elementwise("affine", value, None, params)

    def arrange(self, value: Value, order: Order) -> str:
        """Name of a tensor that holds `value` in the layout `order`."""
        return self.builder.arrange(f"{self.base}/layout", value, order)

    def image(self, value: Value) -> str:
        """Name of a tensor (H, W, C) that holds the NCHW `value`."""
        if len(value.axes) != 3:
            self.refuse(f"takes pictures (n, C, H, W) only, got (n, {', '.join(map(str, value.source_shape))})")
        return self.arrange(value, views.IMAGE)

    def from_image(self, tensor: str) -> Value:
        """The NCHW value of a tensor (H, W, C)."""
        h, w, c = self.builder.shapes[tensor]
        return views.arranged(tensor, views.IMAGE, (c, h, w))

    def arranged(self, tensor: str, order: Order, source_shape: Sequence[int] | None = None) -> Value:
        """The value held by a tensor in the layout `order`; its shape follows from the tensor's if axes are single."""
        if source_shape is None:
            sizes = dict(zip((axis for (axis,) in order), self.builder.shapes[tensor], strict=True))
            source_shape = [sizes[axis] for axis in range(len(order))]
        return views.arranged(tensor, order, source_shape)

    def best_order(self, values: Sequence[Value], accept: Callable[[Order], bool], reason: str) -> Order:
        """The cheapest layout, one canonical axis per source axis, for values of one rank among those accepted."""
        rank = len(values[0].axes)
        if not 1 <= rank <= 3:
            self.refuse(f"tensors of {rank + 1} dimensions (batch included) are not supported here")
        orders = [order for order in views.single_axis_orders(rank) if accept(order)]
        if not orders:
            self.refuse(reason)
        return min(orders, key=lambda order: sum(views.cost(v, order) for v in values))


def finite(array: Array, where: str) -> Array:
    """The array itself; ValueError if an element is NaN or infinite."""
    if not np.isfinite(array).all():
        index = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(f"{where}{index.tolist()} is {array[tuple(index)]}, must be finite")
    return array
