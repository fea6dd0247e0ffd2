"""Joining and cutting: Concat, Split, Slice, Gather."""

from __future__ import annotations

import numpy as np

from ..builder import Context
from ..folding import slices, split_sizes
from ..registry import handles
from ..views import Value, reshape


@handles("Concat")
def concat(context: Context) -> None:
    """Join activations of one rank along any axis but the batch."""
    values = [context.activation(i) for i in range(len(context.node.inputs))]
    rank = len(values[0].axes)
    if any(len(v.axes) != rank for v in values):
        context.malformed(f"operands have different ranks: {[v.source_shape for v in values]}")
    axis = context.axis(context.attr_int("axis"), rank)
    if len(values) == 1:
        return context.result(values[0])
    order = context.best_order(values, lambda o: True, "")
    tensor = context.emit("concat", [context.arrange(v, order) for v in values], {"axis": order.index((axis,))})
    return context.result(context.arranged(tensor, order))


def cut(context: Context, value: Value, axis: int, begin: int, end: int) -> Value:
    """The part [begin, end) of a source axis."""
    size = value.source_shape[axis]
    if not 0 <= begin < end <= size:
        context.refuse(f"cuts [{begin}, {end}) of an axis of size {size}: the result would be empty")
    if (begin, end) == (0, size):
        return value
    order = context.best_order([value], lambda o: True, "")
    attrs = {"axis": order.index((axis,)), "begin": begin, "end": end}
    return context.arranged(context.emit("slice", [context.arrange(value, order)], attrs), order)


@handles("Split")
def split(context: Context) -> None:
    """Cut an axis into parts; parts that nothing reads are not made."""
    value = context.activation()
    axis = context.axis(context.attr_int("axis", 0), len(value.axes))
    begin = 0
    for index, size in enumerate(split_sizes(context, value.source_shape[axis])):
        if context.wants(index):
            context.result(cut(context, value, axis, begin, begin + size), index)
        begin += size


@handles("Slice")
def take_slice(context: Context) -> None:
    """Parts of axes; a step above 1 keeps every so many pixels."""
    value = context.activation()
    rank = len(value.axes)
    for where, begin, end, step in slices(context, rank + 1):
        axis = context.axis(where, rank, batch=True)
        size = context.batch if axis < 0 else value.source_shape[axis]
        if step < 1:
            context.refuse(f"a step of {step} is not supported, only positive ones are")
        first, last, _ = slice(begin, end).indices(size)
        if axis < 0:
            if (first, last, step) != (0, size, 1):
                context.refuse("works along the batch axis")
            continue
        value = cut(context, value, axis, first, last)
        if step > 1:
            value = subsample(context, value, axis, step)
    context.result(value)


def subsample(context: Context, value: Value, axis: int, step: int) -> Value:
    """Every `step`-th position of one of three axes: a pool of one pixel, exact in any arithmetic."""
    if len(value.axes) != 3:
        context.refuse(f"a step of {step} is supported for pictures (n, C, H, W) only")
    order = context.best_order([value], lambda o: o[-1] != (axis,), "")
    stride = [step, 1] if order[0] == (axis,) else [1, step]
    attrs = {"kernel": [1, 1], "stride": stride, "padding": [0, 0, 0, 0]}
    return context.arranged(context.emit("max_pool", [context.arrange(value, order)], attrs), order)


@handles("Gather")
def gather(context: Context) -> None:
    """A constant, contiguous range of indices, or one index."""
    value, indices = context.activation(0), context.constant(1)
    axis = context.axis(context.attr_int("axis", 0), len(value.axes))
    size = value.source_shape[axis]
    if indices.dtype.kind not in "iu" or indices.ndim > 1 or not indices.size:
        context.refuse(f"indices must be one number or a list, got {indices.dtype} {indices.shape}")
    wanted = np.where(indices < 0, indices + size, indices).reshape(-1)
    if (np.diff(wanted) != 1).any():
        context.refuse("only contiguous, ascending indices are supported")
    part = cut(context, value, axis, int(wanted[0]), int(wanted[-1]) + 1)
    if not indices.ndim:
        shape = [d for i, d in enumerate(part.source_shape) if i != axis]
        dropped = reshape(part, shape)
        assert dropped is not None  # an axis of size 1 has no atoms
        part = dropped
    context.result(part)
