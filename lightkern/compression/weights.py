"""Pass 5 and 7: weights and biases to integers, free of saturation in 16-bit pairs, with room for couples of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Array, Node
from ..model import MAX_ACCUMULATOR, Quant

__all__ = [
    "QuantizedWeights",
    "couple_loads",
    "integer_bias",
    "is_depthwise",
    "pair_excess",
    "round_nearest",
    "weight_scales",
]

PAIR_LIMIT = 128
"""Greatest sum of a pair's positive parts (and, negated, of its negative parts) that ``vpmaddubsw`` adds exactly."""

PAIR_TARGET = 127.5
"""Real sum that rounding to nearest cannot carry beyond `PAIR_LIMIT`: it adds two halves at most to a whole sum."""

COUPLE_TARGET = 127.0
"""Real sum of four weights of one sign that rounding seldom carries beyond `PAIR_LIMIT`."""

COUPLE_MISFITS = 0.02
"""Share of all couples of steps that may exceed `COUPLE_TARGET`, per output channel: the packer need not use them."""

COUPLES = 4096
"""About how many couples of a channel are looked at."""

SILENT = 2.0**-32
"""A weight scale so small that even the largest accumulator rounds to no step of the output."""

MAX_BIAS = 2.0**30


@dataclass
class QuantizedWeights:
    """Integer parameters of one conv2d or linear node.

    Attributes
    ----------
    weight : ndarray int8
        Shape of the float weight, values in [-127, 127].
    scale : ndarray float32 [oc]
    bias : ndarray float64 [oc]
        Real-valued; rounded to int32 when the model is built, after every correction.
    scale_increase : float
        Mean factor by which the scales exceed the plain ones, for pairs and couples to fit into 16 bits.
    """

    weight: Array
    scale: Array
    bias: Array
    scale_increase: float = 1.0

    def real(self) -> Array:
        """The weights that the integers stand for, float32."""
        return np.asarray(self.weight * self.scale.reshape(-1, *[1] * (self.weight.ndim - 1)), np.float32)


def is_depthwise(node: Node) -> bool:
    """Whether each output channel of a node sees one input channel only."""
    weight = node.params["weight"]
    return node.op == "conv2d" and node.attrs["groups"] > 1 and weight.shape[3] == 1


def _pairs(rows: Array) -> tuple[Array, Array]:
    """Sums of positive and of negative parts [oc, ceil(k / 2)] of neighbours in rows [oc, k]."""
    if rows.shape[1] % 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    rows = rows.astype(np.float64).reshape(len(rows), -1, 2)
    return np.maximum(rows, 0).sum(axis=2), np.minimum(rows, 0).sum(axis=2)


def pair_excess(rows: Array) -> Array:
    """How far each pair of neighbours in integer rows [oc, k] exceeds the exact range of ``vpmaddubsw`` (>= 0)."""
    positive, negative = _pairs(rows)
    return np.asarray(np.maximum(np.maximum(positive, -negative) - PAIR_LIMIT, 0))


def couple_loads(rows: Array) -> Array:
    """The greatest sum of four weights of one sign that meet in 16 bits, per couple of steps: [oc, couples].

    A step of a kernel takes four neighbours of rows [oc, k], two pairs; two steps are a couple where first pairs and
    second pairs may be added in 16 bits. Step s meets s + 1, s + 2, ..., so that every step has as many couples.
    """
    positive, negative = _pairs(np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))))
    loads = np.concatenate([np.stack([a[:, ::2], a[:, 1::2]]) for a in (positive, -negative)])  # [4, oc, steps]
    steps = loads.shape[2]
    distances = range(1, min(steps // 2, -(-COUPLES // steps)) + 1)
    couples = [(loads + np.roll(loads, -distance, axis=2)).max(axis=0) for distance in distances]
    return np.concatenate([np.zeros((len(rows), 0)), *couples], axis=1)


def _couples_pay(node: Node) -> bool:
    """Whether a layer runs as a matrix product, whose steps can be coupled; groups of few channels do not."""
    weight = node.params["weight"]
    return node.op == "linear" or node.attrs["groups"] == 1 or weight.shape[3] >= 8


def weight_scales(
    node: Node, x: Quant, y: Quant, *, per_channel: bool, saturation_free: bool, coupled_steps: bool
) -> tuple[Array, float]:
    """Scales of the output channels of a conv2d or linear node.

    Parameters
    ----------
    node : Node
        With float parameters.
    x, y : Quant
        Quantization of its input and output.
    per_channel, saturation_free, coupled_steps : bool
        As in `CompressOptions`.

    Returns
    -------
    ndarray float32 [oc]
        max(max abs(w) / 127, worst pair / 127.5, nearly worst couple / 127), see `PAIR_TARGET` and `COUPLE_MISFITS`.
    float
        Mean factor that pairs and couples cost.
    """
    rows = node.params["weight"].reshape(len(node.params["weight"]), -1).astype(np.float64)
    plain = np.abs(rows).max(axis=1) / 127
    scale = plain
    if saturation_free and not is_depthwise(node):
        positive, negative = _pairs(rows)
        scale = np.maximum(plain, np.maximum(positive.max(axis=1), -negative.min(axis=1)) / PAIR_TARGET)
        if coupled_steps and _couples_pay(node) and rows.shape[1] > 4:
            scale = np.maximum(scale, np.quantile(couple_loads(rows), 1 - COUPLE_MISFITS, axis=1) / COUPLE_TARGET)
    used = plain > 0
    increase = float((scale[used] / plain[used]).mean()) if used.any() else 1.0
    if not per_channel:
        scale = np.full_like(scale, scale.max(initial=0.0))
    # Room for the bias in an int32 accumulator; channels without weights take a scale from this alone.
    bias = np.abs(node.params["bias"].astype(np.float64))
    room = MAX_BIAS if rows.shape[1] * 127 * 255 < MAX_BIAS else MAX_ACCUMULATOR / 64
    scale = np.maximum(scale, bias / (x.scale * room))
    scale = np.maximum(scale, SILENT * y.scale / x.scale)
    return np.nextafter(scale.astype(np.float32), np.float32(np.inf)), increase


def round_nearest(node: Node, scale: Array) -> Array:
    """Weights to the nearest integer [oc, ...] int8; `scale` float32 [oc]."""
    weight = node.params["weight"].astype(np.float64)
    q = np.rint(weight / scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64))
    return np.asarray(np.clip(q, -127, 127).astype(np.int8))


def integer_bias(weights: QuantizedWeights, x: Quant) -> Array:
    """Bias [oc] as int32 at scale ``x.scale * scale``, small enough that no accumulator overflows."""
    unit = np.float64(x.scale) * weights.scale.astype(np.float64)
    sums = np.abs(weights.weight.reshape(len(weights.weight), -1).astype(np.int64)).sum(axis=1) * 255
    limit = np.maximum(MAX_ACCUMULATOR - sums, 0)
    return np.asarray(np.clip(np.rint(weights.bias / unit), -limit, limit).astype(np.int32))
