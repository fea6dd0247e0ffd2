"""Single-layer networks, every contender: ``pytest bench/test_layers.py``. See ``test_models.py`` for the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from latency import OURS
from layers import LAYERS, layer_case, layer_input
from peers import CONTENDERS, Contender, UnavailableError, pin, prepared

pytestmark = pytest.mark.filterwarnings("default")

WITHOUT_TFLITE = [c for c in CONTENDERS if c.package != "ai_edge_litert"]


@pytest.mark.parametrize("contender", WITHOUT_TFLITE, ids=lambda c: c.name.replace(" ", "-"))
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, contender: Contender, benchmark: Any, run_race: Callable[..., Any]) -> None:
    """Time one contender on one layer, one thread; its output is finite."""
    layer, case = LAYERS[name], layer_case(name)
    x = layer_input(layer)
    try:
        result = run_race(case, x, 1)
        if contender.name not in result.timings:
            pytest.skip(result.skipped.get(contender.name, "not among --contenders"))
        pin(1)
        run = prepared(contender, case, 1).bind(x)
    except UnavailableError as error:
        pytest.skip(str(error))
    timing = result.timings[contender.name]
    benchmark.group = name
    benchmark.extra_info.update(
        products=contender.exactness,
        interleaved_median=timing.median,
        gmacs_per_second=layer.macs * layer.repeats / timing.median / 1e9,
        lightkern_ratio=result.ratio_to(contender.name) if OURS in result.timings else None,
    )
    y = benchmark.pedantic(run, rounds=10, warmup_rounds=3)
    assert y.shape[:2] == (1, 32 if name == "first_layer" else layer.channels)
    assert abs(y.astype(float)).sum() > 0
