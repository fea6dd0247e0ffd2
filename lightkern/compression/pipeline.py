"""`compress`: the passes in order. Each is a file of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..model import Model, Quant
from .calibration import Calibration
from .equalize import equalize
from .fold import fold
from .fuse import fuse
from .lower import lower
from .matching import MatchingStats, match_channels
from .observe import observe
from .options import CompressOptions
from .ranges import choose_quants
from .report import measure, rows
from .rewrite import editable
from .rounding import input_moments, round_adaptively, round_by_hessian
from .simulate import quantize_in_order
from .weights import QuantizedWeights, round_nearest, weight_scales

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
    with closing(Calibration(graph, calibration, options.batch_size)) as batches:
        return _run_passes(graph, batches, options, progress)


def _run_passes(graph: Graph, batches: Calibration, options: CompressOptions, progress: Progress | None) -> Model:
    def stage(name: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(name, done, total) if progress is not None else None

    work = editable(graph)
    fold(work)
    fuse(work)
    exponents: dict[str, float] = {}
    if options.equalize:
        first = observe(work, batches, histograms=False, progress=stage("observe channels"))
        exponents = equalize(work, first)
    matching = match_channels(work, stage("match channels")) if options.channel_matching else MatchingStats()
    stats = observe(work, batches, histograms=True, progress=stage("observe"))
    quants = choose_quants(work, stats, options)
    weights = quantize_in_order(
        work,
        quants,
        stats,
        batches,
        lambda node, xs: _decide(node, xs, quants, options),
        bias_correction=options.bias_correction,
        progress=stage("quantize"),
    )
    model = lower(work, quants, weights)
    model.metadata = {
        "calibration": {"pictures": batches.count},
        "options": {**asdict(options), "input_ranges": {k: list(v) for k, v in options.input_ranges.items()}},
        "equalization": exponents,
        "matching": asdict(matching),
        "report": rows(measure(work, quants, weights, batches, stage("report"))),
    }
    return model


def _decide(node: Node, xs: list[Array], quants: Mapping[str, Quant], options: CompressOptions) -> QuantizedWeights:
    """Integer weights of one layer, given its int8 inputs."""
    x, y, safe = quants[node.inputs[0]], quants[node.output], options.saturation_free
    scale, increase = weight_scales(
        node, x, y, per_channel=options.per_channel, saturation_free=safe, coupled_steps=options.coupled_steps
    )
    if options.rounding == "nearest":
        q = round_nearest(node, scale)
    else:
        moments = input_moments(node, xs, x, options.seed, centered=options.bias_correction)
        learn = round_by_hessian if options.rounding == "hessian" else round_adaptively
        q = learn(node, scale, moments, saturation_free=safe)
    return QuantizedWeights(q, scale, node.params["bias"].astype(np.float64), increase)


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
