"""What an int8 model computes, bit for bit: the normative definition, written to be read in one sitting.

Every kernel of every ISA level gives exactly these bits. The rules that make that possible:

* Integers are exact. `Model.validate` has proved that no int32 accumulator can overflow.
* Every float step is one IEEE float32 operation, rounded to nearest even and never fused with the next one.
* A real number becomes int8 in one place, `finish`: clamp first, then round half to even, then add the zero point.

Tensors here are canonical: int8 [n, h, w, c], [n, l, c] or [n, c], where ``real = scale * (q - zero_point)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import float_ops
from .ports import named_inputs
from .records import replace

if TYPE_CHECKING:
    from .graph import Node
    from .model import Model, Quant

__all__ = ["dequantize", "evaluate", "finish", "quantize", "run"]

Array = npt.NDArray[Any]
F32 = np.float32


def finish(t: Array, y: Quant, clamp: tuple[int, int] = (-128, 127)) -> Array:
    """Round real values in units of the output's scale to int8: the last step of every op that requantizes.

    Parameters
    ----------
    t : ndarray of float32
        Values relative to real 0; infinities saturate, NaN cannot occur.
    y : Quant
        Quantization of the output; only the zero point matters.
    clamp : (int, int)
        Least and greatest int8 result; carries ReLU and ReLU6.

    Returns
    -------
    ndarray of int8
        Of the shape of `t`.
    """
    low, high = (F32(limit - y.zero_point) for limit in clamp)
    return np.asarray((np.rint(np.clip(t, low, high)).astype(np.int32) + y.zero_point).astype(np.int8))


def quantize(x: Array, quant: Quant, name: str = "x") -> Array:
    """Real values to int8: rounded half to even in units of the scale, saturated.

    Parameters
    ----------
    x : ndarray of float32, any shape
    quant : Quant
    name : str
        What messages call `x`.

    Returns
    -------
    ndarray of int8
        Of the shape of `x`.

    Raises
    ------
    ValueError
        If a value is NaN; the message has `name` and the index.
    """
    x = np.asarray(x, F32)
    if np.isnan(x).any():
        raise ValueError(f"{name}{np.argwhere(np.isnan(x))[0].tolist()} is NaN")
    with np.errstate(over="ignore", under="ignore"):
        return finish(x / F32(quant.scale), quant)


def dequantize(q: Array, quant: Quant) -> Array:
    """int8 of any shape to float32: ``scale * (q - zero_point)``, one rounding."""
    return np.asarray(_centred(q, quant).astype(F32) * F32(quant.scale))


def _centred(q: Array, quant: Quant) -> Array:
    """q - zero_point as int32: real 0 is 0."""
    return np.asarray(q.astype(np.int32) - quant.zero_point)


# One function per op: f(node, xs, sx, sy) with the inputs xs, their quantizations sx and the output's sy.


def _scales(sx: list[Quant], sy: Quant) -> tuple[list[F32], F32]:
    return [F32(s.scale) for s in sx], F32(sy.scale)


def conv2d(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """acc = bias + sum of weight * (x - zx), padding contributes 0; t = acc * m[c]."""
    (a,), y = _scales(sx, sy)
    v = _centred(xs[0], sx[0])
    # All products and sums are integers below 2**53, so float64 computes them exactly, in any order.
    exact = replace(node, params={key: node.params[key].astype(np.float64) for key in ("weight", "bias")})
    if node.op == "linear":
        acc = float_ops.linear(exact, [v.astype(np.float64)])
    else:
        acc = np.concatenate([float_ops.conv2d(exact, [image[None].astype(np.float64)]) for image in v])
    m = a * node.params["weight_scale"] / y
    return finish(acc.astype(F32) * m, sy, node.attrs["clamp"])


def add(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """t = a * ma + b * mb, each product and the sum rounded; sub negates mb."""
    (a, b), y = _scales(sx, sy)
    ma, mb = a / y, b / y
    if node.op == "sub":
        mb = -mb
    va, vb = _centred(xs[0], sx[0]).astype(F32), _centred(xs[1], sx[1]).astype(F32)
    return finish(va * ma + float_ops.expand(va, vb) * mb, sy, node.attrs["clamp"])


def mul(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """t = (a * b) * m; the integer product is exact."""
    (a, b), y = _scales(sx, sy)
    va, vb = _centred(xs[0], sx[0]), _centred(xs[1], sx[1])
    return finish((va * float_ops.expand(va, vb)).astype(F32) * (a * b / y), sy, node.attrs["clamp"])


def prelu(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """t = x * mp where x >= 0, else x * mn[c]."""
    (a,), y = _scales(sx, sy)
    v = _centred(xs[0], sx[0])
    m = np.where(v >= 0, a / y, a * node.params["slope"] / y)
    return finish(v.astype(F32) * m, sy, node.attrs["clamp"])


def avg_pool(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """acc = sum of the in-bounds x; t = acc * ((sx / sy) / count)."""
    (a,), y = _scales(sx, sy)
    v = _centred(xs[0], sx[0])
    if node.op == "global_avg_pool":
        acc, count = v.sum(axis=(1, 2), keepdims=True), F32(v.shape[1] * v.shape[2])
    else:
        acc = float_ops.windows(v, node, 0).sum(axis=(3, 4))
        # The window sums of ones are the in-bounds elements; counting the padding is padding with ones.
        fill = 1 if node.attrs["count_include_pad"] else 0
        count = float_ops.windows(np.ones_like(v[:1, :, :, :1]), node, fill).sum(axis=(3, 4)).astype(F32)
    return finish(acc.astype(F32) * (a / y / count), sy, node.attrs["clamp"])


def max_pool(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """Maximum of the in-bounds values; every window has at least one."""
    return np.asarray(float_ops.windows(xs[0], node, -128).max(axis=(3, 4)))


def table(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """y = table[q + 128]: any function of one int8 value."""
    return np.asarray(node.params["table"][xs[0].astype(np.int32) + 128])


def softmax(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """e[i] = exp[max - q[i]] along the last axis, S their sum (exact); t = e[i] * ((1 / sy) / S)."""
    q = xs[0].astype(np.int32)
    e = node.params["exp"][q.max(axis=-1, keepdims=True) - q]
    total = e.sum(axis=-1, keepdims=True, dtype=np.int64).astype(F32)
    return finish(e.astype(F32) * (F32(1) / F32(sy.scale) / total), sy)


def resize(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """Mean of four neighbours, weights in 1/2048 per axis: (sum of q * wy * wx + 2**21) >> 22, rounding down."""
    x = xs[0].astype(np.int32)
    corners: list[list[tuple[Array, Array]]] = []  # per axis: (index, weight) of the low and of the high neighbour
    for axis, name in ((1, "y"), (2, "x")):
        low, fraction = node.params[f"{name}_low"], node.params[f"{name}_fraction"]
        high = np.minimum(low + 1, x.shape[axis] - 1)
        corners.append([(low, 2048 - fraction), (high, fraction)])
    acc = np.int32(1 << 21)
    for row, wy in corners[0]:
        for column, wx in corners[1]:
            acc = acc + x[:, row[:, None], column[None]] * (wy[:, None] * wx[None])[:, :, None]
    return np.asarray((acc >> 22).astype(np.int8))


def pad(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """Surround with the quantized value of the attribute."""
    value = int(quantize(np.array(node.attrs["value"], F32), sy, "value"))
    return float_ops.pad(replace(node, attrs={**node.attrs, "value": value}), xs)


def move(node: Node, xs: list[Array], sx: list[Quant], sy: Quant) -> Array:
    """Reorder or select values as the float op does."""
    return np.asarray(float_ops.STRUCTURAL[node.op](node, xs))


OPS: Mapping[str, Callable[[Node, list[Array], list[Quant], Quant], Array]] = {
    "conv2d": conv2d,
    "linear": conv2d,
    "add": add,
    "sub": add,
    "mul": mul,
    "prelu": prelu,
    "global_avg_pool": avg_pool,
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "table": table,
    "softmax": softmax,
    "resize": resize,
    "pad": pad,
    "concat": move,
    "slice": move,
    "channel_shuffle": move,
    "reshape": move,
}
"""The int8 meaning of every op of `lightkern.opset.MODEL_OPS`."""


def evaluate(node: Node, xs: list[Array], quants: Mapping[str, Quant]) -> Array:
    """Output of one node.

    Parameters
    ----------
    node : Node
        A node of a valid `Model`.
    xs : list of ndarray of int8, each [n, *shape]
        Its inputs in canonical layout.
    quants : mapping of str to Quant
        At least the tensors of the node: ``model.quants``.

    Returns
    -------
    ndarray of int8 [n, *shape]
    """
    y = OPS[node.op](node, xs, [quants[name] for name in node.inputs], quants[node.output])
    return np.ascontiguousarray(y)


def run(model: Model, x: Array | Mapping[str, Array], keep: bool = False) -> Any:
    """Run an int8 model in NumPy: what `Session.run` computes, slowly.

    Parameters
    ----------
    model : Model
    x : ndarray [n, *api_shape] or mapping from input name to such arrays
        float32: quantized here, and the outputs are dequantized. int8: quantized values, and so are the outputs.
    keep : bool
        Return every intermediate tensor too.

    Returns
    -------
    ndarray or dict of str to ndarray
        One output array [n, *api_shape], or a dict by output name where the model has several. With `keep`, a pair of
        that and a dict from tensor name to canonical int8 array [n, ...].

    Raises
    ------
    TypeError
        If an array is neither float32 nor int8, or the dtypes of several inputs differ.
    ValueError
        If a name or a shape does not fit, or an input value is NaN.
    """
    shapes = model.validate()
    nodes = [replace(node, params={key: np.asarray(v) for key, v in node.params.items()}) for node in model.nodes]
    arrays = named_inputs(model.inputs, x)
    dtypes = {array.dtype for array in arrays.values()}
    if len(dtypes) != 1 or not dtypes <= {np.dtype(F32), np.dtype(np.int8)}:
        raise TypeError(f"inputs must be all float32 or all int8, got {', '.join(sorted(map(str, dtypes)))}")
    is_float = dtypes == {np.dtype(F32)}
    values: dict[str, Array] = {}
    for port in model.inputs:
        array = arrays[port.name]
        if is_float:
            array = quantize(array, model.quants[port.tensor], f"input {port.name!r}")
        values[port.tensor] = port.to_canonical(array)
    readers = {name: len(nodes) for name, nodes in model.consumers().items()}
    wanted = {port.tensor for port in model.outputs}
    for node in nodes:
        out = evaluate(node, [values[name] for name in node.inputs], model.quants)
        assert out.dtype == np.int8, node
        assert out.shape[1:] == shapes[node.output], (node, out.shape)
        values[node.output] = out
        for name in dict.fromkeys(node.inputs):
            readers[name] -= 1
            if not keep and not readers[name] and name not in wanted:
                del values[name]
    outputs = {}
    for port in model.outputs:
        q = values[port.tensor]
        y = dequantize(q, model.quants[port.tensor]) if is_float else q
        outputs[port.name] = np.ascontiguousarray(port.from_canonical(y))
    result = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return (result, values) if keep else result
