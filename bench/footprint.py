"""Memory: the arena against the smallest possible one, and what loading a model adds to the resident set.

    python bench/footprint.py

Each network is measured in fresh processes, one by ``lk.Session(lk.load(path))`` on arrays, one by ``lk.Session(path)``
on memoryviews and without NumPy: resident set after the imports, after load + plan + first run, and after each further
session with a model of its own; the first also imports what reads files, and touches the extension's code. *Weights*
are the constant arrays of the model (int8 weights, biases, scales); the ratios are growth over weights, the last two
those of the route by path.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["measure"]

LOADS = 5


def resident_bytes() -> int:
    """Resident set of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def load_and_run(path: str) -> tuple[Any, int]:
    """A session that has run once, and the bytes of its model's weights: what a NumPy user's process does."""
    import numpy as np

    import lightkern as lk

    model = lk.load(path)
    made = lk.Session(model)
    made.run({p.name: np.zeros((1, *p.api_shape), np.float32) for p in model.inputs})
    return made, model.nbytes


def open_and_run(path: str) -> tuple[Any, int]:
    """The same without NumPy; what the weights take is not asked for."""
    import lightkern as lk

    made = lk.Session(path)
    inputs = {p.name: buffer_of(p) for p in made.packed.inputs}
    outputs = {p.name: buffer_of(p) for p in made.packed.outputs}
    made.run(inputs, out=outputs)
    return made, 0


def buffer_of(port: Any) -> memoryview:
    """Zeros for an input or output, of float32."""
    shape = (1, *port.api_shape)
    return memoryview(bytearray(4 * math.prod(shape))).cast("f", shape)


ROUTES = {"": load_and_run, "path_": open_and_run}
"""By prefix of their figures."""


def report_this_process(path: str, route: str) -> dict[str, Any]:
    """Load and run a ``.lk`` file several times; what a user's process does, which keeps the session only."""
    for module in ("lightkern",) if route else ("numpy", "lightkern"):
        importlib.import_module(module)
    kept, resident = [], [resident_bytes()]
    for _ in range(LOADS):
        made, weights = ROUTES[route](path)
        kept.append(made)
        gc.collect()
        resident.append(resident_bytes())
    if route and "numpy" in sys.modules:
        raise RuntimeError("a session on a path imported NumPy")
    found = {
        f"{route}first_growth": resident[1] - resident[0],
        f"{route}second_growth": resident[2] - resident[1],
        f"{route}later_growth": (resident[-1] - resident[2]) / (LOADS - 2),
    }
    if route:
        return found
    packed = kept[0].packed
    return {
        "weights": weights,
        "packed": packed.packed_nbytes,
        "arena": packed.arena_nbytes,
        "least_arena": packed.least_arena_nbytes,
        **found,
    }


def measure(path: Path) -> dict[str, Any]:
    """Figures of a ``.lk`` file in bytes, from fresh processes."""
    # With bytecode cached, as pip installs it: memory that the compiler freed would hide growth.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    found: dict[str, Any] = {}
    for route in ROUTES:
        command = [sys.executable, __file__, "--one", str(path), "--route", route]
        for _ in range(2):  # the first writes bytecode
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        found.update(json.loads(done.stdout))
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Figures for people, in MB and ratios."""
    titles = (
        "weights",
        "packed",
        "arena",
        "of least",
        "first",
        "second",
        "later",
        "first",
        "later",
        "by path",
        "later",
    )
    lines = [f"{'MB':20}" + "".join(f" {title:>8}" for title in titles)]
    for name, r in rows.items():
        memory = [f"{r[key] / 1e6:.2f}" for key in ("weights", "packed", "arena")]
        growth = [f"{r[f'{key}_growth'] / 1e6:.2f}" for key in ("first", "second", "later")]
        ratios = [
            f"{r[f'{key}_growth'] / r['weights']:.2f} x" for key in ("first", "later", "path_first", "path_later")
        ]
        cells = (*memory, f"{r['arena'] / r['least_arena']:.3f}", *growth, *ratios)
        lines.append(f"{name:20}" + "".join(f" {cell:>8}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated (default: the zoo)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--route", default="", choices=list(ROUTES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(report_this_process(arguments.one, arguments.route)))
        return
    from cases import ZOO, zoo_case

    from lightkern.compare.contenders import compressed_path

    names = arguments.models.split(",") if arguments.models else ZOO
    rows = {name: measure(compressed_path(zoo_case(name))) for name in names}
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
