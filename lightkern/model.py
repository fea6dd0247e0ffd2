"""The int8 model: what `compress` returns, ``.lk`` files hold and sessions run. It knows no CPU.

Numbers follow one rule: ``real = scale * (q - zero_point)`` with q in int8. Weights are symmetric per output channel,
biases int32 at ``scale_x * weight_scale[c]``. ``reference.py`` defines what every op computes, bit for bit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from . import _core
from .arrays import dtype_name, nearest_float32
from .errors import UnsupportedError
from .graph import FLOAT32_MAX, Array, Node, NodeList, Port, check_fields
from .opset import CLAMPED, MODEL_OPS, SAME_QUANT, WEIGHT_FORMATS, RuleError, Shape
from .records import FrozenRecord

__all__ = ["Model", "Quant", "load"]

MAX_ACCUMULATOR = 2**31 - 1
FLOAT32_TINY = 2.0**-126
"""The least positive normal float32."""


class Quant(FrozenRecord):
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

    def __init__(self, scale: float, zero_point: int) -> None:
        vars(self).update(scale=scale, zero_point=zero_point)

    def quantize(self, x: Array) -> Array:
        """Real values to int8, of the same shape; `lightkern.reference.quantize` defines it."""
        from .reference import quantize

        return quantize(x, self)

    def dequantize(self, q: Array) -> Array:
        """int8 to float32, of the same shape."""
        from .reference import dequantize

        return dequantize(q, self)


class Model(NodeList):
    """An int8 network.

    Attributes
    ----------
    name : str
        For people; appears in messages.
    inputs, outputs : list of Port
        At least one each.
    nodes : list of Node
        In topological order.
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

    def __init__(
        self,
        name: str,
        inputs: list[Port],
        outputs: list[Port],
        nodes: list[Node],
        quants: dict[str, Quant] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(name, inputs, outputs, nodes)
        self.quants = {} if quants is None else quants
        self.metadata = {} if metadata is None else metadata

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
        for name in self.quants:
            if name not in shapes:
                raise ValueError(f"quants: there is no tensor {name!r}")
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
            If the model is not valid, or its metadata are no JSON.
        UnsupportedError
            If an int32 accumulator could overflow.
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
    """Read and validate an int8 network that `Model.save` wrote.

    Parameters
    ----------
    path : path-like
        A ``.lk`` file; ``file_format.md`` in the package is its specification.

    Returns
    -------
    Model
        Its parameters are NumPy arrays, views of the file's bytes in memory.

    Raises
    ------
    FormatError
        If the file is truncated, corrupt or contradicts itself, or holds a float network.
    OSError
        If it cannot be read.
    """
    from . import file_format

    return file_format.load(path)


_DTYPES = {
    "weight": "int8",
    "weight_scale": "float32",
    "bias": "int32",
    "slope": "float32",
    "table": "int8",
    "exp": "int32",
    **{f"{axis}_{what}": "int32" for axis in "yx" for what in ("low", "fraction")},
}


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RuleError(message)


def _check_quant(name: str, quant: Quant) -> None:
    scale, zero_point = quant.scale, quant.zero_point
    if not (isinstance(scale, float) and FLOAT32_TINY <= scale <= FLOAT32_MAX and nearest_float32(scale) == scale):
        raise ValueError(f"tensor {name!r}: scale {scale!r} is not a positive, finite, normal float32")
    if not (type(zero_point) is int and -128 <= zero_point <= 127):
        raise ValueError(f"tensor {name!r}: zero point {zero_point!r} is not an int in [-128, 127]")


def _check_node(node: Node, quants: Mapping[str, Quant], shapes: Mapping[str, Shape]) -> None:
    check_fields(MODEL_OPS[node.op], node)
    scales = (0.0, 0.0)
    for key, value in node.params.items():
        dtype = dtype_name(value)
        if dtype != _DTYPES[key]:
            raise RuleError(f"{key} has dtype {dtype}, expected {_DTYPES[key]}")
        if dtype == "float32":  # of every op, at most one parameter
            scales = _core.extremes(value)
            if not (math.isfinite(scales[0]) and math.isfinite(scales[1])):
                raise RuleError(f"{key} contains NaN or infinity")
    if node.op in CLAMPED:
        low, high = node.attrs["clamp"]
        if not -128 <= low <= high <= 127:
            raise RuleError(f"clamp {[low, high]} is not [low, high] within int8")
    if node.op in SAME_QUANT:
        for name in node.inputs:
            _require(
                quants[name] == quants[node.output],
                f"input {name!r} has {quants[name]}, output {quants[node.output]}: must be equal",
            )
    if node.op in ("conv2d", "linear"):
        _check_weights(node, scales[0])
    elif node.op == "table":
        _require(node.params["table"].shape == (256,), f"table has shape {node.params['table'].shape}, expected (256,)")
    elif node.op == "softmax":
        _check_softmax(node.params["exp"], quants[node.output].scale)
    elif node.op == "resize":
        _check_resize(node, shapes[node.inputs[0]])
    if node.op in CLAMPED:
        _check_multipliers(node, quants, _window_elements(node, shapes), scales)


def _check_weights(node: Node, least_scale: float) -> None:
    weight, bias = node.params["weight"], node.params["bias"]
    weight_format = node.attrs.get("weight_format", "dense")
    if weight_format not in WEIGHT_FORMATS:
        raise RuleError(f"weight_format must be one of {WEIGHT_FORMATS}, got {weight_format!r}")
    if _core.extremes(weight)[0] < -127:
        raise RuleError("weight contains -128, the range is [-127, 127]")
    if least_scale < FLOAT32_TINY:
        raise RuleError(f"weight_scale {least_scale} is not a positive, normal float32")
    least_bias, most_bias = _core.extremes(bias)
    if math.prod(weight.shape[1:]) * 127 * 255 + max(-least_bias, most_bias) <= MAX_ACCUMULATOR:
        return  # whatever the weights are, as in nearly all networks
    import numpy as np

    weight, bias = np.asarray(weight), np.asarray(bias)
    sums = np.abs(weight.reshape(len(weight), -1)).sum(axis=1, dtype=np.int64) * 255 + np.abs(bias.astype(np.int64))
    _check_accumulator(node, int(sums.max()), f"channel {int(sums.argmax())}")


def _check_accumulator(node: Node, most: int, what: str) -> None:
    if most > MAX_ACCUMULATOR:
        raise UnsupportedError(
            f"node {node.name!r} ({node.op}): {what} can reach an accumulator of {most}, "
            f"the int32 limit is {MAX_ACCUMULATOR}"
        )


def _check_softmax(exp: Array, scale: float) -> None:
    _require(exp.shape == (256,), f"exp has shape {exp.shape}, expected (256,)")
    least, most = _core.extremes(exp)
    _require(least >= 0 and most <= 1 << 23, f"exp {least} .. {most} exceeds [0, 2**23]")
    _require(int(exp[0]) >= 1, f"exp[0] is {exp[0]}, must be at least 1")
    _require(2.0**-24 <= scale <= 2.0**24, f"the output's scale {scale} is outside of [2**-24, 2**24]")


def _check_resize(node: Node, shape: Shape) -> None:
    for axis, size in zip("yx", shape[:2], strict=True):
        for key, most in ((f"{axis}_low", size - 1), (f"{axis}_fraction", 2048)):
            low, high = _core.extremes(node.params[key])
            _require(low >= 0 and high <= most, f"{key} {low} .. {high} exceeds [0, {most}]")


def _window_elements(node: Node, shapes: Mapping[str, Shape]) -> int:
    """Greatest number of elements that a pooling window averages, which an int32 accumulator must hold; else 1."""
    if node.op == "global_avg_pool":
        count = shapes[node.inputs[0]][0] * shapes[node.inputs[0]][1]
    elif node.op == "avg_pool":
        count = math.prod(node.attrs["kernel"])
    else:
        return 1
    _check_accumulator(node, count * 255, f"a window of {count} elements")
    return count


def _check_multipliers(node: Node, quants: Mapping[str, Quant], count: int, scales: tuple[float, float]) -> None:
    """Every product and ratio of scales, intermediate ones too, must be a normal float32, and no multiplier huge.

    Rounding is monotonic, so those of the least and of the greatest factor bound all others. `scales` are the extremes
    of the float parameter, if there is one.
    """
    y = quants[node.output].scale
    xs = [quants[name].scale for name in node.inputs]
    products = xs
    if node.op in ("conv2d", "linear"):
        products = [nearest_float32(xs[0] * scale) for scale in scales]
    elif node.op == "mul":
        products = [nearest_float32(xs[0] * xs[1])]
    elif node.op == "prelu":
        slopes = [abs(slope) for slope in node.params["slope"].tolist() if slope != 0] or [1.0]
        products = [xs[0], nearest_float32(xs[0] * min(slopes)), nearest_float32(xs[0] * max(slopes))]
    least, most = min(products), max(products)
    least = min(least, nearest_float32(nearest_float32(least / y) / count))
    multiplier = nearest_float32(most / y)
    if not (least >= FLOAT32_TINY and multiplier < 2.0**24 and most <= FLOAT32_MAX):
        raise RuleError(
            f"a requantization multiplier or an intermediate product of scales, {least} .. {multiplier}, is outside of "
            "[2**-126, 2**24)"
        )
