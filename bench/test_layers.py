"""Single-layer networks, every contender: ``pytest bench/test_layers.py``. See ``test_models.py`` for the method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from layers import LAYERS, REPEATS, layer_case, layer_input, layer_seconds

from lightkern.compare.case import UnavailableError
from lightkern.compare.contenders import CONTENDERS, Contender
from lightkern.compare.race import OURS, ready

pytestmark = pytest.mark.filterwarnings("default")

WITHOUT_TFLITE = [c for c in CONTENDERS if c.package != "ai_edge_litert"]


@pytest.mark.parametrize("contender", WITHOUT_TFLITE, ids=lambda c: c.name.replace(" ", "-"))
@pytest.mark.parametrize("name", LAYERS)
def test_layer(name: str, contender: Contender, benchmark: Any, run_race: Callable[..., Any]) -> None:
    """Time one contender on one kind of layer, one thread; its output has the channels of the layer."""
    layer = LAYERS[name]
    x = layer_input(layer)
    try:
        short, long = (run_race(layer_case(name, repeats), x, 1) for repeats in REPEATS)
        if contender.name not in long.timings:
            pytest.skip(long.skipped.get(contender.name, "not among --contenders"))
        run = ready(contender, layer_case(name, REPEATS[1]), x, 1)
    except (UnavailableError, ValueError) as error:
        pytest.skip(str(error))
    seconds = {c: layer_seconds(short.timings[c], long.timings[c]) for c in long.timings}
    benchmark.group = name
    benchmark.extra_info.update(
        products=contender.exactness,
        layer_seconds=seconds[contender.name],
        gmacs_per_second=layer.macs / seconds[contender.name] / 1e9,
        lightkern_ratio=seconds.get(OURS, float("nan")) / seconds[contender.name],
    )
    y = benchmark.pedantic(run, rounds=10, warmup_rounds=3)
    assert y.shape[:2] == (1, 32 if name == "first_layer" else layer.channels)
    assert abs(y.astype(float)).sum() > 0
