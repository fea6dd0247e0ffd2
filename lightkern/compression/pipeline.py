"""`compress`: the passes in order. Each is a file of this folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..graph import Graph
from ..model import Model
from .calibration import Calibration
from .fold import fold
from .fuse import fuse
from .lower import lower
from .observe import observe
from .options import CompressOptions
from .ranges import choose_quants
from .rewrite import editable
from .weights import quantize_weights

__all__ = ["compress"]

Progress = Callable[[str, int, int], None]


def compress(
    graph: Graph,
    calibration: Any,
    *,
    options: CompressOptions | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> Model:
    """Turn a float network into an int8 model.

    Parameters
    ----------
    graph : Graph
        Float network; it is not changed.
    calibration : ndarray, mapping or iterable
        Typical inputs: an array [n, *api_shape] in the layout of the source model, or, for several inputs, a mapping of
        names to arrays, or an iterable (a generator too) of either. A few dozen pictures suffice.
    options : CompressOptions, optional
        Choices; the defaults are good ones.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` while the work goes on.
    **changes
        Single fields of `CompressOptions`, such as ``calibrator="minmax"``.

    Returns
    -------
    Model
        Valid on every CPU. ``model.metadata["report"]`` tells how well each layer is represented.

    Raises
    ------
    TypeError, ValueError
        If an option, the graph or the calibration does not fit; the message names it.
    UnsupportedError
        If an accumulator could overflow.

    Examples
    --------
    >>> model = lightkern.compress(graph, pictures, calibrator="percentile", percentile=99.99)  # doctest: +SKIP
    """
    if not isinstance(graph, Graph):
        raise TypeError(f"graph must be a lightkern.Graph, got {type(graph).__name__}")
    options = _resolve(options, changes)
    graph.validate()
    unknown = set(options.input_ranges) - {port.name for port in graph.inputs}
    if unknown:
        raise ValueError(f"input_ranges names {sorted(unknown)}, the inputs are {[p.name for p in graph.inputs]}")
    batches = Calibration(graph, calibration, options.batch_size)

    def stage(name: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(name, done, total) if progress is not None else None

    work = editable(graph)
    fold(work)
    fuse(work)
    stats = observe(work, batches, histograms=True, progress=stage("observe"))
    quants = choose_quants(work, stats, options)
    weights = {
        node.name: quantize_weights(
            node,
            quants[node.inputs[0]],
            quants[node.output],
            per_channel=options.per_channel,
            saturation_free=options.saturation_free,
        )
        for node in work.nodes
        if node.op in ("conv2d", "linear")
    }
    return lower(work, quants, weights)


def _resolve(options: CompressOptions | None, changes: dict[str, Any]) -> CompressOptions:
    if options is None:
        options = CompressOptions()
    elif not isinstance(options, CompressOptions):
        raise TypeError(f"options must be CompressOptions, got {type(options).__name__}")
    unknown = set(changes) - set(CompressOptions.__dataclass_fields__)
    if unknown:
        known = ", ".join(CompressOptions.__dataclass_fields__)
        raise TypeError(f"unknown option {sorted(unknown)[0]!r}; the options are: {known}")
    return replace(options, **changes)
