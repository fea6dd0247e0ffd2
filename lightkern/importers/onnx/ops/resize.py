"""Resize and Upsample: every coordinate rule of ONNX becomes one table per axis.

Output position i reads ``x[low[i]] * (1 - f[i]) + x[low[i] + 1] * f[i]`` with ``f = fraction / 2048``. Nearest
neighbour is a table whose fractions are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ....graph import Array
from .. import views
from ..builder import Context
from ..registry import handles
from ..views import Value

FRACTION_ONE = 2048
"""Fractions are integers in Q11."""


@handles("Upsample")
def upsample(context: Context) -> None:
    """Deprecated form of Resize: scales only, asymmetric coordinates, rounded down."""
    value = context.activation()
    scales = _scales(context, 1) if context.has(1) else [float(np.float32(s)) for s in _float_list(context, "scales")]
    _resample(context, value, dict(enumerate(scales)), None, "asymmetric", "floor")


@handles("Resize")
def resize(context: Context) -> None:
    """Nearest and linear interpolation in H and W, to given sizes or by given scales."""
    value = context.activation()
    if context.opset < 11:
        return _resample(context, value, dict(enumerate(_scales(context, 1))), None, "asymmetric", "floor")
    rank = len(value.axes) + 1
    axes = [a % rank for a in context.attr_ints("axes", list(range(rank)))]
    scales = _scales(context, 2) if context.has(2) else []
    sizes = context.integers(3) if context.has(3) else None
    given = scales if sizes is None or not sizes else sizes
    if len(given) != len(axes) or (scales and sizes):
        context.malformed(f"needs {len(axes)} scales or sizes, got scales {scales} and sizes {sizes}")
    if context.attr_int("antialias", 0):
        context.refuse("antialias is not supported")
    rule = context.attr_string("coordinate_transformation_mode", "half_pixel")
    rounding = context.attr_string("nearest_mode", "round_prefer_floor")
    if not sizes:
        return _resample(context, value, dict(zip(axes, scales, strict=True)), None, rule, rounding)
    target = dict(zip(axes, sizes, strict=True))
    full = (context.batch, *value.source_shape)
    policy = context.attr_string("keep_aspect_ratio_policy", "stretch")
    ratios = {a: target[a] / full[a] for a in axes}
    if policy != "stretch":
        if policy not in ("not_larger", "not_smaller"):
            context.malformed(f"unknown keep_aspect_ratio_policy {policy!r}")
        ratio = min(ratios.values()) if policy == "not_larger" else max(ratios.values())
        ratios = dict.fromkeys(axes, ratio)
        target = {a: math.floor(ratio * full[a] + 0.5) for a in axes}
    return _resample(context, value, ratios, target, rule, rounding)


def _scales(context: Context, index: int) -> list[float]:
    scales = context.weight(index)
    return [float(s) for s in scales.reshape(-1)]


def _float_list(context: Context, name: str) -> list[float]:
    attribute = context.node.attributes.get(name)
    if attribute is None:
        context.malformed(f"attribute {name!r} is missing")
    return list(attribute.floats)


def _resample(
    context: Context, value: Value, scales: dict[int, float], sizes: dict[int, int] | None, rule: str, rounding: str
) -> None:
    """Resize with a scale, and maybe a size, for some of the axes (batch included); the others stay."""
    mode = context.attr_string("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        context.refuse(f"mode {mode!r} is not supported, only nearest and linear are")
    full = (context.batch, *value.source_shape)
    if len(full) != 4 or any(a >= 4 for a in scales):
        context.refuse(f"only pictures (n, C, H, W) can be resized, got {full}")
    for axis, scale in scales.items():
        if not (math.isfinite(scale) and 0 < scale < 1 << 16):
            context.malformed(f"impossible scale {scale} for axis {axis}")
    out = {a: math.floor(full[a] * s) if sizes is None else sizes[a] for a, s in scales.items()}
    changed = {a for a, size in out.items() if size != full[a] or scales[a] != 1}
    if not changed <= {2, 3} and not changed <= {1, 2}:
        context.refuse(f"resizes the axes {sorted(changed)}, only two neighbouring axes of pixels are supported")
    if any(not 1 <= size < 1 << 16 for size in out.values()):
        context.refuse(f"impossible output sizes {out}")
    spatial = (2, 3) if changed <= {2, 3} else (1, 2)
    tables = []
    for axis in spatial:
        size = full[axis]
        if axis in changed:
            x = _positions(context, size, out[axis], scales[axis], rule)
            tables.append(_nearest(context, x, size, rounding) if mode == "nearest" else _linear(x, size))
        else:
            tables.append((np.arange(size), np.zeros(size)))
    order = views.IMAGE if spatial == (2, 3) else ((0,), (1,), (2,))
    names = ("y_low", "y_fraction", "x_low", "x_fraction")
    params = {n: t.astype(np.int32) for n, t in zip(names, (*tables[0], *tables[1]), strict=True)}
    context.result(context.arranged(context.emit("resize", [context.arrange(value, order)], None, params), order))


def _positions(context: Context, size: int, out: int, scale: float, rule: str) -> Array:
    """Real-valued source coordinate of every output position."""
    i = np.arange(out, dtype=np.float64)
    rules: dict[str, Callable[[], Array]] = {
        "half_pixel": lambda: (i + 0.5) / scale - 0.5,
        "half_pixel_symmetric": lambda: size / 2 * (1 - out / (scale * size)) + (i + 0.5) / scale - 0.5,
        "pytorch_half_pixel": lambda: (i + 0.5) / scale - 0.5 if out > 1 else 0 * i,
        "tf_half_pixel_for_nn": lambda: (i + 0.5) / scale,
        "align_corners": lambda: i * ((size - 1) / (out - 1)) if out > 1 else 0 * i,
        "asymmetric": lambda: i / scale,
    }
    if rule not in rules:
        context.refuse(f"coordinate_transformation_mode {rule!r} is not supported")
    return rules[rule]()


def _nearest(context: Context, x: Array, size: int, rounding: str) -> tuple[Array, Array]:
    rules: dict[str, Callable[[Array], Array]] = {
        "round_prefer_floor": lambda x: np.ceil(x - 0.5),
        "round_prefer_ceil": lambda x: np.floor(x + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    if rounding not in rules:
        context.malformed(f"unknown nearest_mode {rounding!r}")
    return np.clip(rules[rounding](x), 0, size - 1), np.zeros(len(x))


def _linear(x: Array, size: int) -> tuple[Array, Array]:
    x = np.clip(x, 0, size - 1)
    low = np.floor(x)
    fraction = np.rint((x - low) * FRACTION_ONE)
    full = fraction == FRACTION_ONE
    return np.where(full, np.minimum(low + 1, size - 1), low), np.where(full, 0, fraction)
