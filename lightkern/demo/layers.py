"""The layers of the demo, float beside int8: time, size of the weights, noise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..float_ops import evaluate
from ..graph import Graph
from ..model import Model

SEPARATOR = " + "
"""Between the names of the nodes that one step computes."""


def compare_layers(
    graph: Graph,
    model: Model,
    steps: Sequence[Mapping[str, Any]],
    x: npt.NDArray[np.float32],
    repeat: int,
) -> list[dict[str, Any]]:
    """Put what the float network spends beside each int8 step.

    Parameters
    ----------
    graph : Graph
        The float network.
    model : Model
        What `lightkern.compress` made of it.
    steps : sequence of mapping
        `lightkern.Session.profile` of the model.
    x : ndarray of float32 [1, *api_shape]
        What the float network is timed with.
    repeat : int
        Timed runs of the float network.

    Returns
    -------
    list of dict
        Each step with ``float_seconds`` (NumPy, median), ``float_bytes`` and ``int8_bytes`` of its constants, and
        ``sqnr_db`` of its output; None where there is nothing of the kind.
    """
    owner = owners(graph, steps)
    seconds = time_nodes(graph, x, repeat)
    noise = {row["name"]: row["sqnr_db"] for row in model.metadata["report"]}
    sizes = {node.name: sum(value.nbytes for value in node.params.values()) for node in model.nodes}
    layers = []
    for i, step in enumerate(steps):
        nodes = [node for node in graph.nodes if owner[node.name] == i]
        names = step["name"].split(SEPARATOR)
        rows = [noise[name] for name in names if name in noise]
        layers.append(
            {
                **step,
                "float_seconds": sum(seconds[node.name] for node in nodes) if nodes else None,
                "float_bytes": sum(value.nbytes for node in nodes for value in node.params.values()),
                "int8_bytes": sum(sizes.get(name, 0) for name in names),
                "sqnr_db": rows[-1] if rows else None,
            }
        )
    return layers


def owners(graph: Graph, steps: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Which step computes a float node: the one that bears its name, or the one that it was fused into."""
    named = {name: i for i, step in enumerate(steps) for name in step["name"].split(SEPARATOR)}
    producer = graph.producer()
    owner: dict[str, int] = {}
    for node in graph.nodes:
        before = producer.get(node.inputs[0])
        owner[node.name] = named.get(node.name, owner[before.name] if before is not None else 0)
    return owner


def time_nodes(graph: Graph, x: npt.NDArray[np.float32], repeat: int) -> dict[str, float]:
    """Median seconds of each float node in NumPy, for one input."""
    seconds: dict[str, list[float]] = {node.name: [] for node in graph.nodes}
    for _ in range(repeat):
        values = {graph.inputs[0].tensor: graph.inputs[0].to_canonical(x)}
        for node in graph.nodes:
            inputs = [values[name] for name in node.inputs]
            begin = time.perf_counter()
            values[node.output] = evaluate(node, inputs)
            seconds[node.name].append(time.perf_counter() - begin)
    return {name: statistics.median(runs) for name, runs in seconds.items()}
