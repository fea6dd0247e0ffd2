"""The operations of lightkern: attributes, arity and the one shape rule of each.

The float :class:`~lightkern.graph.Graph` and the int8 :class:`~lightkern.model.Model` share this table. An
operation is an entry here, a function in ``float_ops.py`` (its real-valued meaning), a function in
``reference.py`` (its int8 meaning) and a folder below ``csrc/kernels``.

Shapes never contain the batch dimension. Rank 3 is always (H, W, C), whatever the layout of the source model;
rank 1 is (C,); rank 2 is (L, C). The last axis is the channel axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Shape = tuple[int, ...]
Attrs = Mapping[str, Any]
ParamShapes = Mapping[str, Shape]
ShapeRule = Callable[[Attrs, ParamShapes, Sequence[Shape]], Shape]

MAX_DIM = 1 << 24
"""No dimension and no attribute may exceed this, which keeps every size computation within int64."""

MAX_ELEMENTS = 1 << 31
"""No tensor may have this many elements or more."""


class RuleError(ValueError):
    """An attribute, a parameter or a shape breaks the rule of its operation."""


class OpRule(NamedTuple):
    """What the graph knows about one operation.

    Attributes
    ----------
    inputs : (int, int)
        Least and greatest number of activation inputs.
    attrs : mapping of str to str
        Required attributes and their kind: ``int``, ``float``, ``str``, ``bool``, ``ints2``, ``ints4``, ``shape``.
    params : mapping of str to int
        Required parameter arrays and their rank.
    shape : callable
        ``shape(attrs, param_shapes, input_shapes)`` returns the shape of the output or raises `RuleError`.
    optional : frozenset of str
        Attributes that may be absent.
    """

    shape: ShapeRule
    inputs: tuple[int, int] = (1, 1)
    attrs: Mapping[str, str] = {}
    params: Mapping[str, int] = {}
    optional: frozenset[str] = frozenset()


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuleError(message)


def _hwc(shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise RuleError(f"needs an input of shape (H, W, C), got {shape}")
    return shape[0], shape[1], shape[2]


def _same(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    return xs[0]


def window_output(size: int, kernel: int, stride: int, before: int, after: int, dilation: int) -> int:
    """Number of positions of a sliding window along one axis (may be <= 0 when the window does not fit)."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


def _window(attrs: Attrs, shape: Shape) -> tuple[int, int]:
    h, w, c = _hwc(shape)
    (kh, kw), (sh, sw) = attrs["kernel"], attrs["stride"]
    dh, dw = attrs.get("dilation", (1, 1))
    top, left, bottom, right = attrs["padding"]
    for what, values in (("kernel", (kh, kw)), ("stride", (sh, sw)), ("dilation", (dh, dw))):
        if min(values) < 1:
            raise RuleError(f"{what} must be at least 1, got {values}")
    if min(top, left, bottom, right) < 0:
        raise RuleError(f"padding must not be negative, got {(top, left, bottom, right)}")
    padded_h, padded_w = h + top + bottom, w + left + right
    if max(padded_h, padded_w) > MAX_DIM or padded_h * padded_w * c >= MAX_ELEMENTS:
        raise RuleError(
            f"padding {(top, left, bottom, right)} makes the input {padded_h}x{padded_w}x{c}, which exceeds the limits"
        )
    oh, ow = window_output(h, kh, sh, top, bottom, dh), window_output(w, kw, sw, left, right, dw)
    if min(oh, ow) < 1:
        raise RuleError(
            f"the {kh}x{kw} window (dilation {dh}x{dw}) does not fit into the padded input of {padded_h}x{padded_w}"
        )
    return oh, ow


def _conv2d(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    c = _hwc(xs[0])[2]
    oc, kh, kw, icg = params["weight"]
    groups = attrs["groups"]
    if (kh, kw) != tuple(attrs["kernel"]):
        raise RuleError(f"weight is {kh}x{kw}, kernel says {tuple(attrs['kernel'])}")
    if groups < 1:
        raise RuleError(f"groups must be at least 1, got {groups}")
    if oc < 1 or oc % groups:
        raise RuleError(f"{oc} output channels do not divide into {groups} groups")
    if icg * groups != c:
        raise RuleError(f"weight has {icg} input channels per group and {groups} groups, input has {c} channels")
    _check_vectors(params, oc)
    return (*_window(attrs, xs[0]), oc)


def _check_vectors(params: ParamShapes, channels: int) -> None:
    """Parameters that have one value per output channel."""
    for name in ("bias", "weight_scale"):
        if name in params and params[name] != (channels,):
            raise RuleError(f"{name} has shape {params[name]}, expected ({channels},)")


def _linear(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    n, k = params["weight"]
    _require(xs[0][-1] == k and k >= 1 and n >= 1, f"weight of shape {(n, k)} does not fit the input {xs[0]}")
    _check_vectors(params, n)
    return (*xs[0][:-1], n)


def broadcast_kind(a: Shape, b: Shape) -> str:
    """How `b` extends over `a`: "same", "channel" (one value per channel), "pixel" (one per pixel) or "scalar"."""
    if a == b:
        return "same"
    if all(d == 1 for d in b) and len(b) <= len(a):
        return "scalar"
    if b[-1] == a[-1] and all(d == 1 for d in b[:-1]) and len(b) <= len(a):
        return "channel"
    if len(b) == len(a) and b[:-1] == a[:-1] and b[-1] == 1:
        return "pixel"
    raise RuleError(f"shapes {a} and {b} do not broadcast: the second must be equal, per channel, per pixel or scalar")


def _binary(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    broadcast_kind(xs[0], xs[1])
    return xs[0]


def _per_channel(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    for name, shape in params.items():
        _require(shape == (xs[0][-1],), f"{name} has shape {shape}, expected ({xs[0][-1]},)")
    return xs[0]


def _global_pool(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    return (1, 1, _hwc(xs[0])[2])


def _pool(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    h, w, c = _hwc(xs[0])
    (kh, kw), (dh, dw) = attrs["kernel"], attrs.get("dilation", (1, 1))
    top, left, bottom, right = attrs["padding"]
    _require(
        max(top, bottom) <= dh * (kh - 1) and max(left, right) <= dw * (kw - 1),
        f"padding {tuple(attrs['padding'])} reaches beyond the window: some outputs would see padding only",
    )
    _require(
        (top == 0 or dh <= h) and (left == 0 or dw <= w),
        f"dilation {(dh, dw)} exceeds the padded input of {h}x{w}: some outputs would see padding only",
    )
    return (*_window(attrs, xs[0]), c)


def _axis(attrs: Attrs, rank: int) -> int:
    axis = int(attrs["axis"])
    _require(0 <= axis < rank, f"axis {axis} is outside of the {rank} axes")
    return axis


def _concat(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    axis = _axis(attrs, len(xs[0]))
    out = list(xs[0])
    for x in xs[1:]:
        _require(
            len(x) == len(out) and all(x[i] == out[i] for i in range(len(x)) if i != axis),
            f"shapes {xs[0]} and {x} differ outside of axis {axis}",
        )
        out[axis] += x[axis]
    return tuple(out)


def _slice(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    axis = _axis(attrs, len(xs[0]))
    begin, end = attrs["begin"], attrs["end"]
    _require(0 <= begin < end <= xs[0][axis], f"slice [{begin}, {end}) is outside of axis {axis} of size {xs[0][axis]}")
    return (*xs[0][:axis], end - begin, *xs[0][axis + 1 :])


def _shuffle(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    groups, c = attrs["groups"], xs[0][-1]
    _require(groups >= 1 and c % groups == 0, f"{c} channels do not divide into {groups} groups")
    return xs[0]


def _pad(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    h, w, c = _hwc(xs[0])
    top, left, bottom, right = attrs["padding"]
    _require(min(attrs["padding"]) >= 0, f"padding must not be negative, got {tuple(attrs['padding'])}")
    _require(math.isfinite(attrs["value"]), f"value must be finite, got {attrs['value']}")
    return (h + top + bottom, w + left + right, c)


def elements(shape: Shape) -> int:
    """Number of elements of a shape."""
    total = 1
    for d in shape:
        total *= d
    return total


def _reshape(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    shape = tuple(attrs["shape"])
    _require(attrs["order"] in ("CHW", "HWC"), f"order must be 'CHW' or 'HWC', got {attrs['order']!r}")
    _require(
        1 <= len(shape) <= 3 and min(shape) >= 1 and elements(shape) == elements(xs[0]),
        f"cannot reshape {xs[0]} ({elements(xs[0])} elements) to {shape}",
    )
    return shape


def _resize(attrs: Attrs, params: ParamShapes, xs: Sequence[Shape]) -> Shape:
    _, _, c = _hwc(xs[0])
    for axis in ("y", "x"):
        _require(
            params[f"{axis}_low"] == params[f"{axis}_fraction"] and params[f"{axis}_low"][0] >= 1,
            f"{axis}_low and {axis}_fraction must have one equal, non-zero length",
        )
    return (params["y_low"][0], params["x_low"][0], c)


_WINDOW = {"kernel": "ints2", "stride": "ints2", "padding": "ints4"}
_RESIZE = {"y_low": 1, "y_fraction": 1, "x_low": 1, "x_fraction": 1}

STRUCTURAL: dict[str, OpRule] = {
    "conv2d": OpRule(
        _conv2d,
        attrs={**_WINDOW, "dilation": "ints2", "groups": "int"},
        params={"weight": 4, "bias": 1},
    ),
    "linear": OpRule(_linear, params={"weight": 2, "bias": 1}),
    "add": OpRule(_binary, inputs=(2, 2)),
    "sub": OpRule(_binary, inputs=(2, 2)),
    "mul": OpRule(_binary, inputs=(2, 2)),
    "prelu": OpRule(_per_channel, params={"slope": 1}),
    "global_avg_pool": OpRule(_global_pool),
    "avg_pool": OpRule(_pool, attrs={**_WINDOW, "count_include_pad": "bool"}),
    "max_pool": OpRule(_pool, attrs={**_WINDOW, "dilation": "ints2"}, optional=frozenset({"dilation"})),
    "concat": OpRule(_concat, inputs=(1, 1024), attrs={"axis": "int"}),
    "slice": OpRule(_slice, attrs={"axis": "int", "begin": "int", "end": "int"}),
    "channel_shuffle": OpRule(_shuffle, attrs={"groups": "int"}),
    "pad": OpRule(_pad, attrs={"padding": "ints4", "value": "float"}),
    "reshape": OpRule(_reshape, attrs={"shape": "shape", "order": "str"}),
    "resize": OpRule(_resize, params=_RESIZE),
    "softmax": OpRule(_same),
}
"""Operations with a meaning of their own in both the float graph and the int8 model."""

UNARY: dict[str, OpRule] = {
    "relu": OpRule(_same),
    "clip": OpRule(_same, attrs={"min": "float", "max": "float"}),
    "leaky_relu": OpRule(_same, attrs={"alpha": "float"}),
    "elu": OpRule(_same, attrs={"alpha": "float"}),
    "hard_swish": OpRule(_same),
    "hard_sigmoid": OpRule(_same, attrs={"alpha": "float", "beta": "float"}),
    "sigmoid": OpRule(_same),
    "tanh": OpRule(_same),
    "swish": OpRule(_same),
    "gelu": OpRule(_same),
    "mish": OpRule(_same),
    "softplus": OpRule(_same),
    "exp": OpRule(_same),
    "abs": OpRule(_same),
    "neg": OpRule(_same),
    "sqrt": OpRule(_same),
}
"""Elementwise functions of one input: float graph only; `compress` makes each a ``table`` or a clamp."""

GRAPH_OPS: dict[str, OpRule] = {
    **STRUCTURAL,
    **UNARY,
    # y = x * scale[c] + offset[c]: batch norm, and any arithmetic with a per-channel or scalar constant.
    "affine": OpRule(_per_channel, params={"scale": 1, "offset": 1}),
}
"""Operations of the float graph."""

CLAMPED = frozenset({"conv2d", "linear", "add", "sub", "mul", "prelu", "global_avg_pool", "avg_pool"})
"""Operations that requantize, and so take a fused clamp: attribute ``clamp = [low, high]`` in int8."""

WEIGHT_FORMATS = ("dense",)
"""Values of the attribute ``weight_format`` of conv2d and linear; absent means "dense"."""


def _int8_rule(op: str) -> OpRule:
    rule = STRUCTURAL[op]
    if op in CLAMPED:
        rule = rule._replace(attrs={**rule.attrs, "clamp": "ints2"})
    if "weight" in rule.params:
        rule = rule._replace(
            attrs={**rule.attrs, "weight_format": "str"},
            optional=rule.optional | {"weight_format"},
            params={**rule.params, "weight_scale": 1},
        )
    return rule


MODEL_OPS: dict[str, OpRule] = {
    **{op: _int8_rule(op) for op in STRUCTURAL},
    "softmax": STRUCTURAL["softmax"]._replace(params={"exp": 1}),
    "table": OpRule(_same, params={"table": 1}),
}
"""Operations of the int8 model."""

SAME_QUANT = frozenset({"max_pool", "concat", "slice", "channel_shuffle", "pad", "reshape", "resize"})
"""Operations that move or select values: output and every input share one scale and zero point."""
