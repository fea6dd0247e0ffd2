"""Options and fixtures of the benchmarks; they are collected only when named: ``pytest bench/test_models.py``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# The modules of this folder import each other by their plain names, from scripts and from pytest alike.
sys.path.insert(0, str(Path(__file__).parent))

RACES = pytest.StashKey[list[Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the benchmarks."""
    group = parser.getgroup("lightkern benchmarks")
    group.addoption("--contenders", default="", help="comma-separated parts of contender names (default: all)")
    group.addoption("--rounds", type=int, default=9, help="interleaved rounds per network (default: %(default)s)")


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the list of finished races."""
    config.stash[RACES] = []


@pytest.fixture(scope="session")
def run_race(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """``run_race(key, case, x, threads)``: the interleaved race of a network, run once per session."""
    from lightkern.compare.contenders import contenders
    from lightkern.compare.race import race

    finished: dict[tuple[str, int], Any] = {}

    def run(case: Any, x: Any, threads: int) -> Any:
        key = case.name, threads
        if key not in finished:
            chosen = contenders(request.config.getoption("--contenders"))
            finished[key] = race(case, x, threads, chosen, request.config.getoption("--rounds"))
            request.config.stash[RACES].append(finished[key])
        return finished[key]

    return run


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the races: these are the figures to quote."""
    races = config.stash[RACES]
    if not races:
        return
    from layers import LAYERS, REPEATS, layer_table

    from lightkern.compare.race import summary, table

    terminalreporter.section("interleaved races (quote these)")
    by_name = {race.model: race for race in races}
    keys = {name: tuple(f"{name}x{count}" for count in REPEATS) for name in LAYERS}
    layers = {n: (by_name[a], by_name[b]) for n, (a, b) in keys.items() if a in by_name and b in by_name}
    if layers:
        terminalreporter.write_line(layer_table(layers))
    networks = [race for race in races if race.model.rsplit("x", 1)[0] not in layers]
    for race in networks:
        terminalreporter.write_line(table(race) + "\n")
    if networks:
        terminalreporter.write_line(summary(networks))
