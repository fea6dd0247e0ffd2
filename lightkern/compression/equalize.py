"""Pass 3: rescale channels, so that each uses more of the 256 values that its tensor has.

Dividing a channel by s, where it is made, and multiplying its weights by s, where it is read, changes no result. Nagel
et al., "Data-free quantization through weight equalization and bias correction" (arXiv:1906.04721), do it to equalize
weights; with weights quantized per output channel the activations are what suffers, and here s moves their spread into
the weights, as in SmoothQuant (arXiv:2211.10438). How far to go is chosen per dependency group, by the noise that
rounding of activations and of weights is expected to leave at the network's outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Graph, Node
from ..opset import SAME_QUANT, Shape
from .groups import ChannelMap, trace_channels
from .observe import TensorStats
from .rewrite import fused_shapes
from .sensitivity import output_sensitivity
from .weights import is_depthwise

__all__ = ["equalize"]

EXPONENTS = np.linspace(0.0, 0.5, 6)
"""Candidates: 0 leaves a group alone, 1 would give all of its channels the range that calibration saw.

Further than half way, features that the calibration pictures show only weakly clip on other pictures.
"""

LEAST_SHARE = 1 / 32
"""Channels smaller than this share of the largest one are not enlarged further."""

HEADROOM = (1.1, 8.0)
"""Bounds of the factor by which values of new pictures are expected to exceed those of the calibration pictures."""

UNKNOWN_HEADROOM = 2.0
"""That factor where one batch of pictures gives no evidence."""


def equalize(graph: Graph, stats: Mapping[str, TensorStats]) -> dict[str, float]:
    """Rescale the channels of a fused graph in place.

    Parameters
    ----------
    graph : Graph
        Edited in place.
    stats : mapping of str to TensorStats
        Of this graph; obsolete afterwards.

    Returns
    -------
    dict of str to float
        The exponent chosen for each group, by the name of its first tensor.
    """
    shapes = fused_shapes(graph)
    channels = trace_channels(graph, shapes, rescale=True)
    _pin_clamps(graph, channels)
    noise = _Noise(graph, channels, shapes, stats)
    factors = np.ones(len(channels.family))
    chosen: dict[str, float] = {}
    for group in channels.groups():
        tensors = [name for name, roots in channels.roots.items() if (roots == group[0]).any()]
        share = _shares(channels, stats, group, tensors)
        costs = []
        for exponent in EXPONENTS:
            factors[group] = share**exponent
            costs.append(noise.cost(tensors, factors))
        best = int(np.argmin(costs))
        factors[group] = share ** EXPONENTS[best]
        chosen[tensors[0]] = float(EXPONENTS[best])
    _apply(graph, channels, factors)
    return chosen


def _pin_clamps(graph: Graph, channels: ChannelMap) -> None:
    """A clamp at anything but 0 and an upper limit does not scale along."""
    for node in graph.nodes:
        low, high = node.attrs.get("limits", (-np.inf, np.inf))
        if low not in (0.0, -np.inf) or high <= 0:
            channels.pinned[channels.roots[node.output]] = True


def _shares(channels: ChannelMap, stats: Mapping[str, TensorStats], group: Array, tensors: list[str]) -> Array:
    """Range of each channel relative to the largest of its tensor, the greatest over the tensors of a group."""
    share = np.full(len(group), LEAST_SHARE)
    for name in tensors:
        at, positions = _positions(channels.roots[name], group)
        reach = np.maximum(np.abs(stats[name].low), np.abs(stats[name].high))
        own = reach * _headroom(stats[name]) / max(float(reach.max()), 1e-30)
        # Nothing is known about channels that some pictures never reach: leave them alone.
        own = np.where(reach > 0, own, 1.0)
        np.maximum.at(share, at, own[positions])
    return np.asarray(np.minimum(share, 1.0))


def _headroom(stats: TensorStats) -> float:
    """How far new pictures may exceed the seen ones in most channels: as far as one half exceeds the other half.

    An enlarged channel meets the upper end of its tensor's range (or its ReLU6) sooner. Late layers have features that
    few pictures contain, and so need more room than early ones.
    """
    if stats.half_reach is None:
        return UNKNOWN_HEADROOM
    small, large = stats.half_reach.min(axis=0), stats.half_reach.max(axis=0)
    if not (small > 0).any():
        return HEADROOM[1]
    ratios = (large / np.where(small > 0, small, 1))[small > 0]
    return float(np.clip(np.quantile(ratios, 0.9), *HEADROOM))


def _positions(roots: Array, group: Array) -> tuple[Array, Array]:
    """Where the roots of a sorted group stand in a tensor: indices into the group, and positions."""
    positions = np.flatnonzero(np.isin(roots, group))
    return np.searchsorted(group, roots[positions]), positions


@dataclass
class _Noise:
    """Expected noise power at the outputs from rounding activations and weights."""

    graph: Graph
    channels: ChannelMap
    shapes: Mapping[str, Shape]
    stats: Mapping[str, TensorStats]

    def __post_init__(self) -> None:
        self.sensitivity = output_sensitivity(self.graph, self.shapes, self.stats)
        self.consumers = self.graph.consumers()
        self.moved = {node.output for node in self.graph.nodes if node.op in SAME_QUANT}

    def cost(self, tensors: list[str], factors: Array) -> float:
        total = 0.0
        for name in tensors:
            s = factors[self.channels.roots[name]]
            stats = self.stats[name]
            if name not in self.moved:
                step = (max(float((stats.high / s).max()), 0.0) - min(float((stats.low / s).min()), 0.0)) / 255
                total += step**2 / 12 * float((self.sensitivity[name] * s**2).sum())
            for node in self.consumers.get(name, []):
                if node.op in ("conv2d", "linear") and not is_depthwise(node):
                    total += self._weight_noise(node, s, stats.mean_square / s**2)
        return total

    def _weight_noise(self, node: Node, s: Array, power: Array) -> float:
        groups, weight = node.attrs.get("groups", 1), np.abs(node.params["weight"])
        oc, width = len(weight), weight.shape[-1]
        taps = weight[0].size // width
        peak = weight.reshape(groups, oc // groups, taps, width).max(axis=2)
        step = (peak * s.reshape(groups, 1, width)).max(axis=2) / 127
        seen = power.reshape(groups, 1, width).sum(axis=2) * taps
        return float((step**2 / 12 * seen * self.sensitivity[node.output].reshape(groups, -1)).sum())


def _apply(graph: Graph, channels: ChannelMap, factors: Array) -> None:
    for node in graph.nodes:
        if node.op not in ("conv2d", "linear"):
            continue
        made, read = factors[channels.roots[node.output]], factors[channels.roots[node.inputs[0]]]
        weight = node.params["weight"].astype(np.float64)
        groups, oc = node.attrs.get("groups", 1), len(weight)
        per_output = read.reshape(groups, -1)[np.arange(oc) // (oc // groups)]
        weight = weight * per_output.reshape(oc, *[1] * (weight.ndim - 2), -1)
        weight = weight / made.reshape(oc, *[1] * (weight.ndim - 1))
        node.params["weight"] = weight.astype(np.float32)
        node.params["bias"] = (node.params["bias"] / made).astype(np.float32)
