"""The int8 network in real numbers: every tensor snapped to its grid, weights as the integers stand for them.

It tells what quantization does to a layer while layers are still being decided. The bits are defined elsewhere, in
``reference.py``; this differs from them by float rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..graph import Array, Graph, Node
from ..model import Quant
from ..records import replace
from .calibration import Calibration
from .execute import clamp, evaluate
from .observe import TensorStats
from .weights import QuantizedWeights

__all__ = ["QuantizeLayer", "quantize_in_order", "simulate_node"]

QuantizeLayer = Callable[[Node, list[Array]], QuantizedWeights]
"""``decide(node, inputs)``: integer weights of a layer, given its int8 inputs, one array [n, ...] per batch."""


def simulate_node(node: Node, xs: list[Array], quants: Mapping[str, Quant], weights: QuantizedWeights | None) -> Array:
    """Real result of one node, before clamp and rounding, for int8 inputs."""
    real = [quants[name].dequantize(x) for name, x in zip(node.inputs, xs, strict=True)]
    if weights is not None:
        bias = weights.bias.astype(np.float32)
        node = replace(node, params={**node.params, "weight": weights.real(), "bias": bias})
    return evaluate(node, real).astype(np.float32, copy=False)


def quantize_in_order(
    graph: Graph,
    quants: Mapping[str, Quant],
    stats: Mapping[str, TensorStats],
    calibration: Calibration,
    decide: QuantizeLayer,
    *,
    bias_correction: bool,
    progress: Callable[[int, int], None],
) -> dict[str, QuantizedWeights]:
    """Quantize layer after layer, each on the inputs that the layers before it, already int8, produce.

    With `bias_correction`, the mean of each output channel before its clamp is restored to that of the float network:
    Nagel et al., "Data-free quantization through weight equalization and bias correction", arXiv:1906.04721, the
    empirical form.
    """
    left = {name: len(nodes) for name, nodes in graph.consumers().items()}
    values = {
        port.tensor: [quants[port.tensor].quantize(calibration.batch(i)[port.tensor]) for i in calibration.sampled]
        for port in graph.inputs
    }
    decided: dict[str, QuantizedWeights] = {}
    for done, node in enumerate(graph.nodes):
        progress(done, len(graph.nodes))
        columns = list(zip(*(values[name] for name in node.inputs), strict=True))
        weights = None
        if node.op in ("conv2d", "linear"):
            weights = decided[node.name] = decide(node, values[node.inputs[0]])
        raw = [simulate_node(node, list(xs), quants, weights) for xs in columns]
        if weights is not None and bias_correction:
            error = stats[node.output].raw_mean - _mean(raw)
            weights.bias = weights.bias + error
            raw = [x + error.astype(np.float32) for x in raw]
        values[node.output] = [quants[node.output].quantize(clamp(node, x)) for x in raw]
        for name in dict.fromkeys(node.inputs):
            left[name] -= 1
            if not left[name]:
                del values[name]
    progress(len(graph.nodes), len(graph.nodes))
    return decided


def _mean(batches: list[Array]) -> Array:
    total = sum(x.reshape(-1, x.shape[-1]).sum(axis=0, dtype=np.float64) for x in batches)
    return np.asarray(total / sum(x.size // x.shape[-1] for x in batches))
