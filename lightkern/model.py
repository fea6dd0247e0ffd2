"""The int8 model: what `compress` returns, ``.lk`` files hold and sessions run. It knows no CPU.

Numbers follow one rule: ``real = scale * (q - zero_point)`` with q in int8. Weights are symmetric per output channel,
biases int32 at ``scale_x * weight_scale[c]``. ``reference.py`` defines what every op computes, bit for bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .graph import Array, Node, NodeList
from .opset import CLAMPED, MODEL_OPS, SAME_QUANT, RuleError, Shape

__all__ = ["Model", "Quant", "load"]

MAX_ACCUMULATOR = 2**31 - 1


@dataclass(frozen=True)
class Quant:
    """Quantization of one tensor: ``real = scale * (q - zero_point)``.

    Attributes
    ----------
    scale : float
        Positive, finite, normal float32 value.
    zero_point : int
        The int8 value of real 0, in [-128, 127].
    """

    scale: float
    zero_point: int

    def quantize(self, x: Array) -> Array:
        """Real values to int8, as `lightkern.reference.quantize` defines it."""
        from .reference import quantize

        return quantize(x, self)

    def dequantize(self, q: Array) -> Array:
        """int8 to float32."""
        from .reference import dequantize

        return dequantize(q, self)


@dataclass
class Model(NodeList):
    """An int8 network.

    Attributes
    ----------
    quants : dict of str to Quant
        One entry per tensor.
    metadata : dict
        JSON-able facts for people and tools: source, calibration, report. Never needed to run.

    Notes
    -----
    Parameters of a node: conv2d has ``weight`` int8 [oc, kh, kw, ic / groups] in [-127, 127], ``weight_scale`` float32
    [oc], ``bias`` int32 [oc]; linear the same with ``weight`` [out, in]; table has ``table`` int8 [256], indexed by
    q + 128; prelu has ``slope`` float32 [c]; softmax has ``exp`` int32 [256], exp[d] = round(2**23 * exp(-d * scale));
    resize has int32 ``y_low``, ``y_fraction`` [oh], ``x_low``, ``x_fraction`` [ow], fractions in 1/2048.
    Ops in `lightkern.opset.CLAMPED` have the attribute ``clamp = [low, high]``, int8 limits of the output.
    The attribute ``weight_format`` says how a weight is stored in the file and packed; "dense" is the default.
    """

    quants: dict[str, Quant] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def validate(self) -> dict[str, Shape]:
        """Check every rule of the format, so that planning and running cannot fail.

        Returns
        -------
        dict of str to tuple of int
            Shape of every tensor.

        Raises
        ------
        ValueError
            The message names the node or tensor, the rule and the actual value.
        UnsupportedError
            If an int32 accumulator could overflow.
        """
        shapes = self.shapes(MODEL_OPS)
        for name in shapes:
            if name not in self.quants:
                raise ValueError(f"tensor {name!r}: has no quantization")
            _check_quant(name, self.quants[name])
        for node in self.nodes:
            try:
                _check_node(node, self.quants, shapes)
            except RuleError as error:
                raise ValueError(f"node {node.name!r} ({node.op}): {error}") from None
        return shapes

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a ``.lk`` file; an existing file stays whole until the new one is complete.

        Parameters
        ----------
        path : path-like
            Target; its folder must exist.

        Raises
        ------
        ValueError
            If the model is not valid.
        OSError
            If the file cannot be written.
        """
        from . import file_format

        file_format.save(self, path)

    @property
    def nbytes(self) -> int:
        """Bytes of all constant arrays."""
        return sum(v.nbytes for node in self.nodes for v in node.params.values())


def load(path: str | os.PathLike[str]) -> Model:
    """Read and validate a ``.lk`` file.

    Raises
    ------
    FormatError
        If the file is truncated, corrupt or contradicts itself.
    OSError
        If it cannot be read.
    """
    from . import file_format

    return file_format.load(path)



_DTYPES = {"weight": np.int8, "bias": np.int32, "table": np.int8, "exp": np.int32}
_DTYPES |= {f"{axis}_{what}": np.int32 for axis in "yx" for what in ("low", "fraction")}
_FLOATS = frozenset({"weight_scale", "slope"})
_TINY = float(np.finfo(np.float32).tiny)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuleError(message)


def _check_quant(name: str, quant: Quant) -> None:
    if not (math.isfinite(quant.scale) and quant.scale >= _TINY and float(np.float32(quant.scale)) == quant.scale):
        raise ValueError(f"tensor {name!r}: scale {quant.scale!r} is not a positive, finite, normal float32")
    if not (isinstance(quant.zero_point, int) and -128 <= quant.zero_point <= 127):
        raise ValueError(f"tensor {name!r}: zero point {quant.zero_point!r} is outside of [-128, 127]")


def _check_node(node: Node, quants: Mapping[str, Quant], shapes: Mapping[str, Shape]) -> None:
    for key, value in node.params.items():
        if key in _FLOATS:
            _require(value.dtype == np.float32, f"{key} has dtype {value.dtype}, expected float32")
            _require(bool(np.isfinite(value).all()), f"{key} contains NaN or infinity")
        elif key in _DTYPES:
            _require(value.dtype == _DTYPES[key], f"{key} has dtype {value.dtype}, expected {_DTYPES[key].__name__}")
        else:
            raise RuleError(f"unexpected parameter {key!r}")
    if node.op in CLAMPED:
        clamp = node.attrs.get("clamp")
        ok = isinstance(clamp, (list, tuple)) and len(clamp) == 2 and all(type(v) is int for v in clamp)
        _require(ok and -128 <= clamp[0] <= clamp[1] <= 127, f"clamp {clamp!r} is not [low, high] within int8")  # type: ignore[index]
    if node.op in SAME_QUANT:
        for name in node.inputs:
            _require(
                quants[name] == quants[node.output],
                f"input {name!r} has {quants[name]}, output {quants[node.output]}: must be equal",
            )
    if node.op in ("conv2d", "linear"):
        _check_weights(node, quants)
    elif node.op in ("table", "softmax"):
        key = "table" if node.op == "table" else "exp"
        _require(node.params[key].shape == (256,), f"{key} has shape {node.params[key].shape}, expected (256,)")
        if key == "exp":
            exp = node.params["exp"]
            _require(bool((exp >= 0).all() and (exp <= 1 << 23).all() and exp[0] >= 1), "exp is outside of [0, 2**23]")
    elif node.op == "resize":
        for axis, size in zip("yx", shapes[node.inputs[0]][:2], strict=True):
            low, fraction = node.params[f"{axis}_low"], node.params[f"{axis}_fraction"]
            _require(bool((low >= 0).all() and (low < size).all()), f"{axis}_low is outside of [0, {size})")
            _require(bool((fraction >= 0).all() and (fraction <= 2048).all()), f"{axis}_fraction is outside of [0, 2048]")
    _check_multipliers(node, quants)


def _check_weights(node: Node, quants: Mapping[str, Quant]) -> None:
    from .errors import UnsupportedError

    weight, scale, bias = node.params["weight"], node.params["weight_scale"], node.params["bias"]
    _require(node.attrs.get("weight_format", "dense") == "dense", f"unknown weight format {node.attrs.get('weight_format')!r}")
    _require(int(weight.min(initial=0)) >= -127, "weight contains -128, the range is [-127, 127]")
    _require(bool((scale >= _TINY).all()), f"weight_scale {float(scale.min())} is not a positive, normal float32")
    sums = np.abs(weight.reshape(weight.shape[0], -1).astype(np.int64)).sum(axis=1) * 255 + np.abs(bias.astype(np.int64))
    if int(sums.max()) > MAX_ACCUMULATOR:
        raise UnsupportedError(
            f"node {node.name!r} ({node.op}): channel {int(sums.argmax())} can reach an accumulator of {int(sums.max())}, "
            f"the int32 limit is {MAX_ACCUMULATOR}"
        )


def _check_multipliers(node: Node, quants: Mapping[str, Quant]) -> None:
    """Products and ratios of scales must stay normal float32 numbers."""
    if node.op not in CLAMPED:
        return
    y = np.float32(quants[node.output].scale)
    xs = [np.float32(quants[name].scale) for name in node.inputs]
    with np.errstate(all="ignore"):
        if node.op in ("conv2d", "linear"):
            m = xs[0] * node.params["weight_scale"] / y
        elif node.op == "mul":
            m = np.array([xs[0] * xs[1] / y])
        elif node.op == "prelu":
            slope = node.params["slope"]
            m = np.append(np.where(slope == 0, 1, np.abs(xs[0] * slope / y)), xs[0] / y)
        else:
            m = np.array([x / y for x in xs])
    _require(
        bool(np.isfinite(m).all() and (m >= _TINY).all() and (m < 2.0**24).all()),
        f"requantization multiplier {float(m[np.argmax(m)])} .. {float(m.min())} is outside of the range [2**-126, 2**24)",
    )
