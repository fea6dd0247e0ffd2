"""Constant folding: the arithmetic on shapes and weights that exporters leave in the graph.

A node folds when all of its inputs are constants, and ``Shape`` and ``Size`` always do: while importing, every size
is known (the batch has the model's own size, or 1). Each function takes the node's context and its input arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx.helper import tensor_dtype_to_np_dtype

from ...graph import Array
from .builder import Context
from .tensors import is_float, to_array
from .views import Value

MAX_FOLDED = 1 << 27
"""No folded constant may have more elements."""

Fold = Callable[[Context, list[Array]], "Array | list[Array]"]


def fold(context: Context) -> bool:
    """Evaluate the node if it is constant; says whether it was."""
    node = context.node
    if node.op in ("Shape", "Size"):
        value = context.input(0)
        shape = (context.batch, *value.source_shape) if isinstance(value, Value) else value.shape
        start, end = context.attr_int("start", 0), context.attr_int("end", len(shape))
        size = math.prod(shape)
        context.result(np.array(shape[start:end] if node.op == "Shape" else size, np.int64))
        return True
    if node.op not in FOLDS:
        return False
    arrays: list[Any] = [context.builder.values[name] if name else None for name in node.inputs]
    if any(isinstance(a, Value) for a in arrays):
        return False
    try:
        results = FOLDS[node.op](context, arrays)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        context.malformed(f"constant operands do not fit: {error}")
    for index, result in enumerate(results if isinstance(results, list) else [results]):
        array = np.asarray(result)
        context.result(array.astype(np.float32) if array.dtype.kind == "f" else array, index)
    return True


def _limited(context: Context, shape: Any) -> tuple[int, ...]:
    sizes = tuple(int(d) for d in shape)
    if any(d < 0 for d in sizes) or math.prod(sizes) > MAX_FOLDED:
        context.malformed(
            f"makes a constant of shape {sizes}, sizes must not be negative and {MAX_FOLDED} is the limit"
        )
    return sizes


def _constant(context: Context, xs: list[Array]) -> Array:
    del xs
    (name,) = context.node.attributes or ("",)
    if name == "value":
        return context.attr_tensor("value")
    if name in ("value_float", "value_floats"):
        attribute = context.node.attributes[name]
        return np.array(attribute.f if name == "value_float" else list(attribute.floats), np.float32)
    if name in ("value_int", "value_ints"):
        attribute = context.node.attributes[name]
        return np.array(attribute.i if name == "value_int" else list(attribute.ints), np.int64)
    return context.refuse(f"constants of the kind {name!r} are not supported")


def _constant_of_shape(context: Context, xs: list[Array]) -> Array:
    attribute = context.node.attributes.get("value")
    value = np.zeros(1, np.float32) if attribute is None else to_array(attribute.t, f"{context.node}: value", None)
    if value.size != 1:
        context.malformed(f"value has shape {value.shape}, must be one element")
    return np.full(_limited(context, xs[0]), value.reshape(()))


def _cast(context: Context, xs: list[Array]) -> Array:
    to = context.attr_int("to")
    if is_float(to):
        return xs[0].astype(np.float32)
    if to not in (onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL):
        context.refuse(f"constants cannot be cast to type {to}")
    return xs[0].astype(tensor_dtype_to_np_dtype(to))


def _reshape(context: Context, xs: list[Array]) -> Array:
    return xs[0].reshape(target_shape(context, xs[0].shape, [int(d) for d in xs[1].reshape(-1)]))


def target_shape(context: Context, shape: tuple[int, ...], target: list[int]) -> tuple[int, ...]:
    """Resolve the zeros and the -1 of an ONNX Reshape."""
    if not context.attr_int("allowzero", 0):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
            context.malformed(f"cannot copy a dimension of {shape} into {target}")
        target = [shape[i] if d == 0 else d for i, d in enumerate(target)]
    known = math.prod(d for d in target if d != -1)
    if target.count(-1) > 1 or any(d < -1 for d in target):
        context.malformed(f"impossible shape {target}")
    if -1 in target and known and math.prod(shape) % known == 0:
        target[target.index(-1)] = math.prod(shape) // known
    if math.prod(target) != math.prod(shape) or -1 in target:
        context.malformed(f"cannot reshape {shape} to {target}")
    return tuple(target)


def axes_argument(context: Context, index: int = 1) -> list[int] | None:
    """The axes of Squeeze, Unsqueeze, ReduceX: an attribute in old opsets, an input in new ones; None if absent."""
    if context.has(index):
        return context.integers(index)
    axes = context.attr_ints("axes", None)
    return None if axes is None else list(axes)


def _squeeze(context: Context, xs: list[Array]) -> Array:
    axes = axes_argument(context)
    return np.squeeze(xs[0], None if axes is None else tuple(axes))


def _slice(context: Context, xs: list[Array]) -> Array:
    index = [slice(None)] * xs[0].ndim
    for axis, begin, end, step in slices(context, xs[0].ndim):
        index[axis] = slice(begin, end if end > -(1 << 62) else None, step)
    return xs[0][tuple(index)]


def slices(context: Context, rank: int) -> list[tuple[int, int, int, int]]:
    """Arguments of a Slice as (axis, begin, end, step), from attributes (opset 9) or inputs."""
    if context.has(1):
        begins, ends = context.integers(1), context.integers(2)
        axes = context.integers(3) if context.has(3) else list(range(len(begins)))
        increments = context.integers(4) if context.has(4) else [1] * len(begins)
    else:
        begins, ends = context.attr_ints("starts"), context.attr_ints("ends")
        axes, increments = context.attr_ints("axes", list(range(len(begins)))), [1] * len(begins)
    if not len(begins) == len(ends) == len(axes) == len(increments):
        context.malformed("starts, ends, axes and steps differ in length")
    if any(not -rank <= a < rank for a in axes) or 0 in increments:
        context.malformed(f"axes {axes} of {rank} or steps {increments} are impossible")
    return list(zip([a % rank for a in axes], begins, ends, increments, strict=True))


def _split(context: Context, xs: list[Array]) -> list[Array]:
    axis = context.attr_int("axis", 0)
    sizes = split_sizes(context, xs[0].shape[axis])
    return list(np.split(xs[0], np.cumsum(sizes)[:-1], axis))


def split_sizes(context: Context, size: int) -> list[int]:
    """Sizes of the parts of a Split of an axis of `size`."""
    count = len(context.node.outputs)
    sizes = context.integers(1) if context.has(1) else context.attr_ints("split", None)
    if sizes is None:
        part = -(-size // count)
        sizes = [part] * (count - 1) + [size - part * (count - 1)]
        if context.attr_int("num_outputs", count) != count or (context.opset < 18 and size % count):
            context.malformed(f"cannot split an axis of {size} into {count} equal parts")
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 0:
        context.malformed(f"cannot split an axis of {size} into {sizes} for {count} outputs")
    return list(sizes)


def _range(context: Context, xs: list[Array]) -> Array:
    start, limit, delta = (x.reshape(()).item() for x in xs)
    if delta == 0 or not math.isfinite((limit - start) / delta) or (limit - start) / delta > MAX_FOLDED:
        context.malformed(f"range from {start} to {limit} by {delta} is impossible or too long")
    return np.arange(start, limit, delta).astype(xs[0].dtype)


def _broadcasting(function: Callable[..., Any]) -> Fold:
    def apply(context: Context, xs: list[Array]) -> Array:
        _limited(context, np.broadcast_shapes(*(x.shape for x in xs)))
        return np.asarray(function(*xs))

    return apply


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(a / b)
    if (b == 0).any():
        raise ValueError("integer division by zero")
    return np.asarray(np.trunc(a / b).astype(a.dtype))


def _reduce(function: Callable[..., Any]) -> Fold:
    def apply(context: Context, xs: list[Array]) -> Array:
        axes = axes_argument(context)
        if not axes and context.attr_int("noop_with_empty_axes", 0):
            return xs[0]
        return np.asarray(
            function(xs[0], tuple(axes) if axes else None, keepdims=bool(context.attr_int("keepdims", 1)))
        )

    return apply


def _unsqueeze(context: Context, xs: list[Array]) -> Array:
    return np.expand_dims(xs[0], tuple(axes_argument(context) or ()))


def _flatten(context: Context, xs: list[Array]) -> Array:
    axis = context.attr_int("axis", 1) % (xs[0].ndim + 1)
    return xs[0].reshape(math.prod(xs[0].shape[:axis]), -1)


def _expand(context: Context, xs: list[Array]) -> Array:
    shape = tuple(int(d) for d in xs[1].reshape(-1))
    return np.broadcast_to(xs[0], _limited(context, np.broadcast_shapes(xs[0].shape, _limited(context, shape))))


FOLDS: dict[str, Fold] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Identity": lambda c, xs: xs[0],
    "Dropout": lambda c, xs: xs[0],
    "Cast": _cast,
    "CastLike": lambda c, xs: xs[0].astype(xs[1].dtype),
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": lambda c, xs: xs[0].transpose(c.attr_ints("perm", None)),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Gather": lambda c, xs: np.take(xs[0], xs[1], c.attr_int("axis", 0)),
    "Concat": lambda c, xs: np.concatenate(xs, c.attr_int("axis")),
    "Range": _range,
    "Expand": _expand,
    "Add": _broadcasting(np.add),
    "Sub": _broadcasting(np.subtract),
    "Mul": _broadcasting(np.multiply),
    "Div": _broadcasting(_divide),
    "Pow": _broadcasting(lambda a, b: np.power(a, b).astype(a.dtype)),
    "Mod": _broadcasting(np.mod),
    "Min": _broadcasting(lambda *xs: np.minimum.reduce(np.broadcast_arrays(*xs))),
    "Max": _broadcasting(lambda *xs: np.maximum.reduce(np.broadcast_arrays(*xs))),
    "Equal": _broadcasting(np.equal),
    "Less": _broadcasting(np.less),
    "Greater": _broadcasting(np.greater),
    "Where": _broadcasting(np.where),
    "Not": lambda c, xs: np.logical_not(xs[0]),
    "Neg": lambda c, xs: np.negative(xs[0]),
    "Abs": lambda c, xs: np.abs(xs[0]),
    "Sqrt": lambda c, xs: np.sqrt(xs[0]),
    "Exp": lambda c, xs: np.exp(xs[0]),
    "Reciprocal": lambda c, xs: np.reciprocal(xs[0]),
    "Floor": lambda c, xs: np.floor(xs[0]),
    "Ceil": lambda c, xs: np.ceil(xs[0]),
    "ReduceProd": _reduce(np.prod),
    "ReduceSum": _reduce(np.sum),
    "ReduceMean": _reduce(np.mean),
    "ReduceMax": _reduce(np.max),
    "ReduceMin": _reduce(np.min),
}
