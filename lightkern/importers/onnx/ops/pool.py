"""Pooling and reductions over pixels."""

from __future__ import annotations

from typing import Any

from ..builder import Context
from ..folding import axes_argument
from ..registry import handles
from ..views import Value, arranged
from .windows import window


@handles("MaxPool")
def max_pool(context: Context) -> None:
    """Maximum over windows; the second output (indices) is not supported."""
    if context.wants(1):
        context.refuse("the output of indices is not supported")
    tensor = context.image(context.activation())
    geometry = window(context, context.builder.shapes[tensor][:2], context.attr_ints("kernel_shape"))
    attrs: dict[str, Any] = {**geometry.attrs, "dilation": geometry.dilation}
    context.result(context.from_image(context.emit("max_pool", [tensor], attrs)))


@handles("AveragePool")
def average_pool(context: Context) -> None:
    """Mean over windows; the divisor counts the padding or not, but never the overhang of ceil_mode."""
    tensor = context.image(context.activation())
    geometry = window(context, context.builder.shapes[tensor][:2], context.attr_ints("kernel_shape"))
    if geometry.dilation != [1, 1]:
        context.refuse(f"dilations {geometry.dilation} are not supported, only convolution and MaxPool dilate")
    count_pad = bool(context.attr_int("count_include_pad", 0))
    if count_pad and any(geometry.overhang):
        if any(geometry.padding):
            tensor = context.emit("pad", [tensor], {"padding": geometry.padding, "value": 0.0})
            geometry.padding = [0, 0, 0, 0]
        count_pad = False
    attrs: dict[str, Any] = {**geometry.attrs, "count_include_pad": count_pad}
    context.result(context.from_image(context.emit("avg_pool", [tensor], attrs)))


@handles("GlobalAveragePool")
def global_average_pool(context: Context) -> None:
    """Mean over H and W, which stay with size 1."""
    context.result(_over_pixels(context, context.activation(), [1, 2], True, "mean"))


@handles("GlobalMaxPool")
def global_max_pool(context: Context) -> None:
    """Maximum over H and W, which stay with size 1."""
    context.result(_over_pixels(context, context.activation(), [1, 2], True, "max"))


@handles("ReduceMean", "ReduceMax", "ReduceSum")
def reduce(context: Context) -> None:
    """Reduction over the two pixel axes, over one axis of (n, C, H, W), or over the axis L of (n, L, C)."""
    value = context.activation()
    rank = len(value.axes)
    axes = axes_argument(context)
    if not axes and context.attr_int("noop_with_empty_axes", 0):
        return context.result(value)
    reduced = sorted({context.axis(a, rank, batch=True) for a in axes or range(rank + 1)})
    if reduced and reduced[0] < 0:
        context.refuse("works along the batch axis")
    how = context.node.op[len("Reduce") :].lower()
    return context.result(_over_pixels(context, value, reduced, bool(context.attr_int("keepdims", 1)), how))


def _over_pixels(context: Context, value: Value, axes: list[int], keep: bool, how: str) -> Value:
    rank = len(value.axes)
    if rank == 3 and len(axes) == 1:
        return _over_axis(context, value, axes[0], keep, how)
    rest = [a for a in range(rank) if a not in axes]
    if len(rest) != 1 or rank > 3:
        context.refuse(f"reduces the axes {[a + 1 for a in axes]} of {rank + 1}, must leave one axis beside the batch")
    sizes = value.source_shape
    order = ((axes[0],), (axes[1],) if rank == 3 else (), (rest[0],))
    tensor = context.arrange(value, order)
    h, w, _ = context.builder.shapes[tensor]
    if how == "max":
        tensor = context.emit("max_pool", [tensor], _whole([h, w]))
    else:
        tensor = context.emit("global_avg_pool", [tensor])
    left = [1 if a in axes else sizes[a] for a in range(rank)]
    result = arranged(tensor, order, left)
    if how == "sum":
        result = context.affine(result, float(h * w), 0.0)
    if not keep:
        result = Value(result.tensor, result.shape, result.atoms, (result.axes[rest[0]],))
    return result


def _over_axis(context: Context, value: Value, axis: int, keep: bool, how: str) -> Value:
    """Reduce one of three axes: a pool along H or W of the cheapest layout that has the axis there."""
    order = context.best_order([value], lambda o: o[-1] != (axis,), "")
    tensor = context.arrange(value, order)
    size = value.source_shape[axis]
    attrs = _whole([size, 1] if order[0] == (axis,) else [1, size])
    if how != "max":
        attrs["count_include_pad"] = False
    tensor = context.emit("max_pool" if how == "max" else "avg_pool", [tensor], attrs)
    result = context.arranged(tensor, order)
    if how == "sum":
        result = context.affine(result, float(size), 0.0)
    axes = result.axes if keep else tuple(a for i, a in enumerate(result.axes) if i != axis)
    return Value(result.tensor, result.shape, result.atoms, axes)


def _whole(kernel: list[int]) -> dict[str, Any]:
    """Attributes of one window without padding."""
    return {"kernel": kernel, "stride": [1, 1], "padding": [0, 0, 0, 0]}
