"""Zoo networks, every contender: ``pytest bench/test_models.py``.

pytest-benchmark times each contender in a block of its own, for its table and its history. The ratios come from an
interleaved race of all contenders (``interleave.py``): ``extra_info`` holds its figures, and a summary prints them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cases import ZOO, zoo_case, zoo_input

from lightkern.compare.affinity import pin
from lightkern.compare.case import UnavailableError
from lightkern.compare.contenders import CONTENDERS, Contender
from lightkern.compare.race import OURS, ready

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda c: c.name.replace(" ", "-"))
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ZOO)
def test_latency(name: str, threads: int, contender: Contender, benchmark: Any, run_race: Callable[..., Any]) -> None:
    """Time one contender on one network; its output is finite and has one row of 1000 classes."""
    case, x = zoo_case(name), zoo_input()
    try:
        result = run_race(case, x, threads)
        if contender.name not in result.timings:
            pytest.skip(result.skipped.get(contender.name, "not among --contenders"))
        run = ready(contender, case, x, threads)
    except (UnavailableError, ValueError) as error:
        pytest.skip(str(error))
    pin(1)
    timing = result.timings[contender.name]
    benchmark.group = f"{name}, {threads} thread(s)"
    benchmark.extra_info.update(
        products=contender.exactness,
        interleaved_median=timing.median,
        interleaved_spread=timing.spread,
        lightkern_ratio=result.ratio_to(contender.name) if OURS in result.timings else None,
    )
    y = benchmark.pedantic(run, rounds=10, warmup_rounds=3)
    assert y.shape == (1, 1000)
    assert abs(y.astype(float)).sum() > 0
