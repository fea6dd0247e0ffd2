"""Layers too small for two threads: ``pytest bench/test_tiny.py``. A second thread must not make them slower.

Each layer runs with one and with two threads in turns, first back to back, where the worker still spins, then with
pauses, after which it sleeps. pytest-benchmark's table has the time with two threads; two threads over one is in
``extra_info`` (`ratio`, `ratio_after_pauses`) and is checked, with room for a busy machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lightkern as lk
from lightkern.compare.affinity import pin, spread, worker_threads
from lightkern.compare.interleave import interleave, ratio

pytestmark = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two CPUs")

SHAPES = {
    "pointwise 7x7x32": (7, 32, 32, 1, 1),
    "pointwise 14x14x64": (14, 64, 64, 1, 1),
    "pointwise 28x28x32": (28, 32, 32, 1, 1),
    "pointwise 28x28x64": (28, 64, 64, 1, 1),
    "depthwise 7x7x128": (7, 128, 128, 3, 128),
    "depthwise 14x14x128": (14, 128, 128, 3, 128),
    "group 7x7x64": (7, 64, 64, 3, 8),
    "dense 3x3 14x14x16": (14, 16, 16, 3, 1),
    "linear 256 to 1000": (1, 256, 1000, 1, 1),
}
"""Size, channels in and out, kernel, groups."""

PAUSE_SECONDS = 0.001
MOST = 1.1


def layer(size: int, channels: int, outputs: int, kernel: int, groups: int) -> lk.Model:
    """A network of one convolution, compressed."""
    rng = np.random.default_rng(0)
    attrs = {
        "kernel": [kernel] * 2,
        "stride": [1, 1],
        "padding": [kernel // 2] * 4,
        "dilation": [1, 1],
        "groups": groups,
    }
    weight = rng.normal(0, 1, (outputs, kernel, kernel, channels // groups)).astype(np.float32)
    node = lk.Node("conv2d", "conv", ["x"], "y", attrs, {"weight": weight, "bias": np.zeros(outputs, np.float32)})
    graph = lk.Graph(
        "layer", [lk.Port("x", "x", (size, size, channels))], [lk.Port("y", "y", (size, size, outputs))], [node]
    )
    return lk.compress(graph, calibration=rng.normal(0, 1, (4, channels, size, size)).astype(np.float32))


def runs(model: lk.Model, threads: int) -> Callable[[], Any]:
    """A function that runs the network on `threads` pinned threads."""
    pin(threads)
    before = worker_threads()
    session = lk.Session(model, threads=threads)
    x = np.random.default_rng(1).normal(0, 1, (1, *model.inputs[0].api_shape)).astype(np.float32)
    session.run(x)
    spread(worker_threads() - before, threads)
    return lambda: session.run(x)


def after_pauses(run: Callable[[], Any], other: Callable[[], Any], rounds: int = 100) -> float:
    """Median time of `run` over that of `other`, each after a pause that puts their workers to sleep."""
    seconds: dict[Any, list[float]] = {run: [], other: []}
    for _ in range(rounds):
        for function, times in seconds.items():
            time.sleep(PAUSE_SECONDS)
            begin = time.perf_counter()
            function()
            times.append(time.perf_counter() - begin)
    return float(np.median(seconds[run]) / np.median(seconds[other]))


@pytest.mark.parametrize("name", SHAPES)
def test_two_threads_cost_nothing(name: str, benchmark: Any) -> None:
    """Two threads take at most a tenth longer than one, without pauses and with them."""
    model = layer(*SHAPES[name])
    one, two = runs(model, 1), runs(model, 2)
    pin(1)
    timings = interleave({"one": one, "two": two}, rounds=7)
    back_to_back, paused = ratio(timings["two"], timings["one"]), after_pauses(two, one)
    benchmark.group = "two threads"
    benchmark.extra_info.update(ratio=back_to_back, ratio_after_pauses=paused)
    benchmark.pedantic(two, rounds=200, warmup_rounds=20)
    assert back_to_back < MOST
    assert paused < MOST
