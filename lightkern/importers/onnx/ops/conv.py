"""Convolution, batch normalization and padding."""

from __future__ import annotations

import numpy as np

from ..builder import Context, finite
from ..registry import handles
from . import arithmetic
from .windows import window


@handles("Conv")
def conv(context: Context) -> None:
    """2-D convolution with constant weights [oc, ic / groups, kh, kw] and an optional bias [oc]."""
    weight = context.weight(1)
    if weight.ndim != 4:
        context.refuse(f"only 2-D convolution is supported, the weight has shape {weight.shape}")
    bias = context.weight(2, rank=1) if context.has(2) else np.zeros(len(weight), np.float32)
    kernel = list(weight.shape[2:])
    if context.attr_ints("kernel_shape", kernel) != kernel:
        context.malformed(f"kernel_shape is {context.attr_ints('kernel_shape')}, the weight has shape {weight.shape}")
    tensor = context.image(context.activation())
    geometry = window(context, context.builder.shapes[tensor][:2], kernel)
    attrs = {**geometry.attrs, "dilation": geometry.dilation, "groups": context.attr_int("group", 1)}
    params = {"weight": np.ascontiguousarray(weight.transpose(0, 2, 3, 1)), "bias": bias}
    context.result(context.from_image(context.emit("conv2d", [tensor], attrs, params)))


@handles("BatchNormalization")
def batch_normalization(context: Context) -> None:
    """Inference only: ``x * scale / sqrt(var + epsilon) + (bias - mean * scale / sqrt(var + epsilon))`` per channel."""
    if context.attr_int("training_mode", 0) or any(context.wants(i) for i in range(1, 5)):
        context.refuse("batch normalization in training mode is not supported")
    if context.attr_int("spatial", 1) != 1:
        context.refuse("spatial=0 is not supported")
    scale, bias, mean, variance = (context.weight(i, rank=1).astype(np.float64) for i in range(1, 5))
    gain = scale / np.sqrt(variance + context.attr_float("epsilon", 1e-5))
    where = f"{context.node}: scale / sqrt({context.node.inputs[4]!r} + epsilon)"
    gain32 = finite(gain.astype(np.float32), where)
    offset32 = finite((bias - mean * gain).astype(np.float32), f"{context.node}: bias - mean * scale / deviation")
    value = context.activation()
    shape = (-1, *[1] * (len(value.axes) - 1))
    context.result(arithmetic.affine(context, value, gain32.reshape(shape), offset32.reshape(shape)))


@handles("Pad")
def pad(context: Context) -> None:
    """Constant padding of H and W."""
    mode = context.attr_string("mode", "constant")
    if mode != "constant":
        context.refuse(f"mode {mode!r} is not supported, only 'constant' is")
    value = context.activation()
    rank = len(value.axes) + 1
    pads = context.integers(1) if context.has(1) else context.attr_ints("pads")
    fill = context.scalar(2) if context.has(2) else context.attr_float("value", 0.0)
    if not np.isfinite(fill):
        context.refuse(f"padding with {fill} is not supported")
    axes = [a % rank for a in context.integers(3)] if context.has(3) else list(range(rank))
    if len(pads) != 2 * len(axes):
        context.malformed(f"{len(pads)} pads for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    if not any(before) and not any(after):
        return context.result(value)
    if rank != 4 or any(before[:1] + after[:1]) or min(before + after) < 0:
        context.refuse(f"only H and W can be padded, and not by negative amounts; got pads {pads} for {rank} axes")
    padded = {axis for axis in range(1, 4) if before[axis] or after[axis]}
    if 1 in padded and 3 in padded:
        context.refuse(f"only two axes can be padded, got pads {pads}")
    spatial = (0, 1) if 1 in padded else (1, 2)
    (channel,) = {0, 1, 2} - set(spatial)
    order = ((spatial[0],), (spatial[1],), (channel,))
    tensor = context.arrange(value, order)
    y, x = spatial[0] + 1, spatial[1] + 1
    out = context.emit("pad", [tensor], {"padding": [before[y], before[x], after[y], after[x]], "value": fill})
    return context.result(context.arranged(out, order))
