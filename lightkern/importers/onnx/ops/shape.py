"""Views: Reshape, Transpose and their relatives move nothing, see ``views.py``; and ops that do nothing at all."""

from __future__ import annotations

import numpy as np

from .. import views
from ..builder import Context
from ..folding import axes_argument, target_shape
from ..registry import handles
from ..tensors import is_float
from ..views import Value, arranged


@handles("Identity", "Dropout")
def identity(context: Context) -> None:
    """Pass the input on."""
    if context.wants(1):
        context.refuse("the output of the mask is not supported")
    if context.has(2) and bool(context.constant(2).any()):
        context.refuse("training_mode is not supported")
    context.result(context.activation())


@handles("Cast", "CastLike")
def cast(context: Context) -> None:
    """From float to float: nothing, as everything here is float32."""
    if context.node.op == "Cast" and not is_float(context.attr_int("to")):
        context.refuse("only casts between float types are supported")
    value = context.input(0)
    context.result(value if isinstance(value, Value) else value.astype(np.float32))


def view(context: Context, value: Value, shape: list[int]) -> Value:
    """`value` with another source shape; moves memory only if factors of the old and the new axes do not match."""
    result = views.reshape(value, shape)
    if result is not None:
        return result
    rank = len(value.axes)
    flat = context.arrange(value, (tuple(range(rank)),))
    whole = Value(flat, context.builder.shapes[flat], context.builder.shapes[flat], ((0,),))
    result = views.reshape(whole, shape)
    if result is None:
        context.malformed(f"cannot reshape {value.source_shape} to {tuple(shape)}")
    return result


def _reshape(context: Context, value: Value, target: list[int]) -> None:
    shape = target_shape(context, (context.batch, *value.source_shape), target)
    if not shape or shape[0] != context.batch:
        context.refuse(
            f"reshapes (n, {', '.join(map(str, value.source_shape))}) to {list(target)}, "
            "which mixes the batch with other axes"
        )
    context.result(view(context, value, list(shape[1:])))


@handles("Reshape")
def reshape(context: Context) -> None:
    """Another shape, the batch stays."""
    target = context.integers(1) if context.has(1) else context.attr_ints("shape")
    _reshape(context, context.activation(), target)


@handles("Flatten")
def flatten(context: Context) -> None:
    """(n, everything else)."""
    value = context.activation()
    rank = len(value.axes)
    axis = context.attr_int("axis", 1)
    if not -rank - 1 <= axis <= rank + 1:
        context.malformed(f"axis {axis} is outside of the {rank + 1} axes")
    if axis % (rank + 1) != 1:
        context.refuse(f"axis {axis} would mix the batch with other axes")
    _reshape(context, value, [context.batch, -1])


@handles("Squeeze")
def squeeze(context: Context) -> None:
    """Drop axes of size 1."""
    value = context.activation()
    rank = len(value.axes)
    shape = value.source_shape
    axes = axes_argument(context)
    if axes is None:
        if context.batch == 1:
            context.refuse("without axes it would drop the batch axis, too")
        axes = [i + 1 for i, d in enumerate(shape) if d == 1]
    dropped = {context.axis(a, rank) for a in axes}
    if any(shape[a] != 1 for a in dropped):
        context.malformed(f"axes {axes} of {(context.batch, *shape)} are not all of size 1")
    context.result(view(context, value, [d for i, d in enumerate(shape) if i not in dropped]))


@handles("Unsqueeze")
def unsqueeze(context: Context) -> None:
    """Insert axes of size 1."""
    value = context.activation()
    axes = axes_argument(context) or []
    rank = len(value.axes) + len(axes)
    new = {context.axis(a, rank) for a in axes}
    if len(new) != len(axes):
        context.malformed(f"axes {axes} repeat")
    sizes = iter(value.source_shape)
    context.result(view(context, value, [1 if i in new else next(sizes) for i in range(rank)]))


@handles("Transpose")
def transpose(context: Context) -> None:
    """Permute all axes but the batch."""
    value = context.activation()
    rank = len(value.axes)
    permutation = context.attr_ints("perm", list(range(rank, -1, -1)))
    if sorted(permutation) != list(range(rank + 1)):
        context.malformed(f"perm {permutation} is not a permutation of {rank + 1} axes")
    if permutation[0] != 0:
        context.refuse(f"perm {permutation} moves the batch axis")
    context.result(views.transpose(value, [p - 1 for p in permutation[1:]]))


@handles("Expand")
def expand(context: Context) -> None:
    """Only where it changes nothing."""
    value = context.activation()
    shape = (context.batch, *value.source_shape)
    target = context.integers(1)
    if len(target) > len(shape) or any(t not in (1, d) for t, d in zip(target[::-1], shape[::-1], strict=False)):
        context.refuse(f"expands {shape} to {target}; only elementwise ops broadcast here")
    context.result(value)


@handles("DepthToSpace", "SpaceToDepth")
def depth_to_space(context: Context) -> None:
    """Both are a reshape, a transposition and a reshape."""
    value, b = context.activation(), context.attr_int("blocksize")
    if len(value.axes) != 3 or b < 1:
        context.malformed(f"needs (n, C, H, W) and a positive blocksize, got {value.source_shape} and {b}")
    c, h, w = value.source_shape
    depth_first = context.attr_string("mode", "DCR") == "DCR"
    if context.node.op == "SpaceToDepth":
        if h % b or w % b:
            context.malformed(f"{h}x{w} pixels do not divide into blocks of {b}")
        split, permutation = [c, h // b, b, w // b, b], [2, 4, 0, 1, 3] if depth_first else [0, 2, 4, 1, 3]
        joined = [c * b * b, h // b, w // b]
    else:
        if c % (b * b):
            context.malformed(f"{c} channels do not divide into blocks of {b}x{b}")
        split = [b, b, c // b // b, h, w] if depth_first else [c // b // b, b, b, h, w]
        permutation = [2, 3, 0, 4, 1] if depth_first else [0, 3, 1, 4, 2]
        joined = [c // b // b, h * b, w * b]
    turned = views.transpose(view(context, value, split), permutation)
    result = view(context, turned, joined)
    tensor = context.arrange(result, views.IMAGE)
    context.result(arranged(tensor, views.IMAGE, joined))
