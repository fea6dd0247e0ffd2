"""Matrix products with constant weights."""

from __future__ import annotations

import numpy as np

from ....graph import Array
from ..builder import Context
from ..registry import handles
from ..views import Value


@handles("Gemm")
def gemm(context: Context) -> None:
    """``alpha * A @ B + beta * C`` with an activation A [n, k], constant B and C."""
    value = context.activation()
    if len(value.axes) != 1:
        context.refuse(f"A must have the shape (n, k), got (n, {', '.join(map(str, value.source_shape))})")
    if context.attr_int("transA", 0):
        context.refuse("transA would mix the batch into the features")
    weight = context.weight(1, rank=2) * np.float32(context.attr_float("alpha", 1.0))
    if not context.attr_int("transB", 0):
        weight = weight.T
    bias = np.zeros(len(weight), np.float32)
    if context.has(2):
        c = context.weight(2) * np.float32(context.attr_float("beta", 1.0))
        if c.ndim > 2 or (c.ndim == 2 and c.shape[0] != 1) or c.shape[-1:] not in ((), (1,), (len(weight),)):
            context.refuse(f"C must be one value per output feature, has shape {c.shape} for {len(weight)} features")
        bias = bias + c.reshape(-1)
    linear(context, value, weight, bias)


@handles("MatMul")
def matmul(context: Context) -> None:
    """``x @ W`` over the last axis, or ``W @ x`` over the last but one, with a constant matrix W."""
    if isinstance(context.input(0), Value):
        value, weight = context.activation(0), _matrix(context, 1).T
        linear(context, value, weight, np.zeros(len(weight), np.float32))
        return
    value, weight = context.activation(1), _matrix(context, 0)
    if len(value.axes) != 2:
        context.refuse(f"W @ x needs an x of shape (n, k, m), got (n, {', '.join(map(str, value.source_shape))})")
    order = ((1,), (0,))
    tensor = context.arrange(value, order)
    params = {"weight": np.ascontiguousarray(weight), "bias": np.zeros(len(weight), np.float32)}
    context.result(context.arranged(context.emit("linear", [tensor], None, params), order))


def _matrix(context: Context, index: int) -> Array:
    if isinstance(context.input(index), Value):
        context.refuse("the product of two activations is not supported, one factor must be a constant")
    weight = context.weight(index)
    if weight.ndim < 2 or weight.size != weight.shape[-1] * weight.shape[-2]:
        context.refuse(f"the constant factor must be a matrix, has shape {weight.shape}")
    return weight.reshape(weight.shape[-2:])


def linear(context: Context, value: Value, weight: Array, bias: Array) -> None:
    """Emit a linear layer over the last axis of `value`; `weight` is [out, in]."""
    rank = len(value.axes)
    order = context.best_order([value], lambda o: o[-1] == (rank - 1,), "")
    tensor = context.arrange(value, order)
    params = {"weight": np.ascontiguousarray(weight), "bias": bias}
    context.result(context.arranged(context.emit("linear", [tensor], None, params), order))
