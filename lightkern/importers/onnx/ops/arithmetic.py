"""Add, Sub, Mul, Div and their kin: between activations, and with constants."""

from __future__ import annotations

import numpy as np

from ....graph import Array
from ....opset import RuleError, broadcast_kind
from ..builder import Context, finite
from ..registry import handles
from ..views import Order, Value, canonical_shape

F32_MAX = float(np.finfo(np.float32).max)


def varying_axis(context: Context, value: Value, constant: Array) -> int | None:
    """The one source axis along which a constant that broadcasts to `value` varies; None if it is a scalar."""
    shape = (context.batch, *value.source_shape)
    if constant.ndim > len(shape) or any(
        k not in (1, d) for k, d in zip(constant.shape[::-1], shape[::-1], strict=False)
    ):
        context.refuse(
            f"a constant of shape {constant.shape} does not broadcast to (n, {', '.join(map(str, shape[1:]))})"
        )
    first = len(shape) - constant.ndim
    axes = [first + i - 1 for i, size in enumerate(constant.shape) if size > 1]
    if not axes:
        return None
    if len(axes) > 1 or axes[0] < 0:
        context.refuse(
            f"a constant of shape {constant.shape} beside an activation (n, {', '.join(map(str, shape[1:]))}): "
            "only scalars and one value per channel are supported"
        )
    return axes[0]


def channels_last(context: Context, value: Value, axis: int) -> Order:
    """The cheapest layout that has the source axis `axis` last."""
    return context.best_order([value], lambda o: o[-1] == (axis,), "")


def affine(context: Context, value: Value, scale: Array, offset: Array) -> Value:
    """``value * scale + offset`` with constants that broadcast to `value` and vary along at most one axis."""
    axes = {varying_axis(context, value, scale), varying_axis(context, value, offset)} - {None}
    if not axes:
        return context.affine(value, float(scale.reshape(())), float(offset.reshape(())))
    if len(axes) > 1:
        context.refuse("scale and offset vary along different axes")
    axis = axes.pop()
    assert axis is not None
    order = channels_last(context, value, axis)
    c = value.source_shape[axis]
    params = {
        "scale": np.broadcast_to(scale.reshape(-1), c).astype(np.float32),
        "offset": np.broadcast_to(offset.reshape(-1), c).astype(np.float32),
    }
    return context.arranged(context.emit("affine", [context.arrange(value, order)], None, params), order)


def binary(context: Context, op: str, a: Value, b: Value) -> Value:
    """`add`, `sub` or `mul` of two activations, of which one may broadcast over the other."""
    if len(a.axes) != len(b.axes):
        context.refuse(
            f"operands (n, {', '.join(map(str, a.source_shape))}) and (n, {', '.join(map(str, b.source_shape))}) "
            "differ in rank, which would broadcast the batch axis"
        )
    if (a.shape, a.atoms, a.axes) == (b.shape, b.atoms, b.axes):
        return Value(context.emit(op, [a.tensor, b.tensor]), a.shape, a.atoms, a.axes)
    if any(d < e for d, e in zip(a.source_shape, b.source_shape, strict=True)):
        a, b = b, a
        if op == "sub":
            a, op = context.elementwise("neg", a), "add"

    def accept(order: Order) -> bool:
        try:
            broadcast_kind(canonical_shape(order, a.source_shape), canonical_shape(order, b.source_shape))
        except RuleError:
            return False
        return True

    reason = (
        f"shapes {a.source_shape} and {b.source_shape} do not broadcast in a supported way "
        "(equal, per channel, per pixel, scalar)"
    )
    order = context.best_order([a, b], accept, reason)
    return context.arranged(context.emit(op, [context.arrange(a, order), context.arrange(b, order)]), order)


def _operand(context: Context, index: int) -> Value | Array:
    """An input; a constant is checked, and aligned as the ``axis`` attribute of opset 6 asks."""
    value = context.input(index)
    if isinstance(value, Value):
        return value
    constant = context.weight(index)
    if index == 1 and context.opset < 7 and context.attr_int("broadcast", 0) and "axis" in context.node.attributes:
        rank = len(context.activation(0).axes) + 1
        trailing = rank - context.attr_int("axis") % rank - constant.ndim
        constant = constant.reshape(*constant.shape, *[1] * max(0, trailing))
    return constant


_ZERO, _ONE = np.float32(0).reshape(()), np.float32(1).reshape(())


@handles("Add", "Sub", "Mul", "Div")
def arithmetic(context: Context) -> None:
    """Constants make an affine op; activations an op of two inputs."""
    op = context.node.op
    a, b = _operand(context, 0), _operand(context, 1)
    if isinstance(a, Value) and isinstance(b, Value):
        if op == "Div":
            context.refuse("division by an activation is not supported")
        return context.result(binary(context, op.lower(), a, b))
    if isinstance(a, Value):
        assert not isinstance(b, Value)
        if op == "Div":
            b = finite((1 / b.astype(np.float64)).astype(np.float32), f"{context.node}: 1 / {context.node.inputs[1]!r}")
        scale, offset = (b, _ZERO) if op in ("Mul", "Div") else (_ONE, b if op == "Add" else -b)
        return context.result(affine(context, a, np.asarray(scale), np.asarray(offset)))
    assert isinstance(b, Value)
    if op == "Div":
        context.refuse("division by an activation is not supported")
    sign = -_ONE if op == "Sub" else _ONE
    return context.result(affine(context, b, a if op == "Mul" else np.asarray(sign), _ZERO if op == "Mul" else a))


@handles("Sum")
def total(context: Context) -> None:
    """Sum of any number of activations."""
    result = context.activation(0)
    for index in range(1, len(context.node.inputs)):
        result = binary(context, "add", result, context.activation(index))
    context.result(result)


@handles("Min", "Max")
def extremum(context: Context) -> None:
    """With scalar constants only: a clip."""
    inputs = [context.input(i) for i in range(len(context.node.inputs))]
    values = [v for v in inputs if isinstance(v, Value)]
    if len(values) != 1:
        context.refuse("needs exactly one activation, the other operands must be constant scalars")
    bounds = [context.scalar(i) for i, v in enumerate(inputs) if not isinstance(v, Value)]
    if not bounds:
        return context.result(values[0])
    low = max(bounds) if context.node.op == "Max" else -F32_MAX
    high = min(bounds) if context.node.op == "Min" else F32_MAX
    return context.result(context.elementwise("clip", values[0], {"min": low, "max": high}))


@handles("Pow")
def power(context: Context) -> None:
    """Exponents 1, 2 and 0.5."""
    value, constant = context.activation(0), context.constant(1)
    if constant.size != 1:
        context.refuse(f"exponents of shape {constant.shape} are not supported, one scalar is")
    exponent = context.scalar(1)
    if exponent == 1:
        return context.result(value)
    if exponent == 2:
        return context.result(binary(context, "mul", value, value))
    if exponent != 0.5:
        context.refuse(f"the exponent {exponent} is not supported")
    return context.result(context.elementwise("sqrt", value))


def channel_vector(context: Context, value: Value, constant: Array) -> tuple[Value, Array]:
    """`value` rearranged so that a constant, which varies along one axis, becomes a vector over its last axis."""
    axis = varying_axis(context, value, constant)
    assert axis is not None
    order = channels_last(context, value, axis)
    return context.arranged(context.arrange(value, order), order), constant.reshape(-1)
