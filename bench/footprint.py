"""Memory: the arena against the smallest possible one, and what loading a model adds to the resident set.

    python bench/footprint.py

Each network is measured in a fresh process: resident set after the imports, after load + plan + first run, and after a
second session with a model of its own. *Weights* are the constant arrays of the model (int8 weights, biases, scales).
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["measure"]


def resident_bytes() -> int:
    """Resident set of this process (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def report_this_process(path: str) -> dict[str, Any]:
    """Load and run a ``.lk`` file twice; what a user's process does, which keeps the session only."""
    import numpy as np

    import lightkern as lk

    def session() -> tuple[lk.Session, int]:
        model = lk.load(path)
        made = lk.Session(model)
        made.run({p.name: np.zeros((1, *p.api_shape), np.float32) for p in model.inputs})
        return made, model.nbytes

    before = resident_bytes()
    first, weights = session()
    gc.collect()
    after = resident_bytes()
    second, _ = session()
    gc.collect()
    packed = second.packed
    return {
        "weights": weights,
        "packed": packed.packed_nbytes,
        "arena": packed.arena_nbytes,
        "least_arena": packed.least_arena_nbytes,
        "first_growth": after - before,
        "second_growth": resident_bytes() - after,
        "threads": first.threads,
    }


def measure(path: Path) -> dict[str, Any]:
    """Figures of a ``.lk`` file in bytes, from a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Figures for people, in MB and ratios."""
    lines = [
        f"{'MB':22} {'weights':>8} {'packed':>8} {'arena':>8} {'of least':>9} {'first':>7} {'second':>7} {'ratio':>6}"
    ]
    for name, r in rows.items():
        mb = [f"{r[key] / 1e6:.2f}" for key in ("weights", "packed", "arena", "first_growth", "second_growth")]
        lines.append(
            f"{name:22} {mb[0]:>8} {mb[1]:>8} {mb[2]:>8} {r['arena'] / r['least_arena']:>9.3f} {mb[3]:>7} {mb[4]:>7}"
            f" {r['second_growth'] / r['weights']:>6.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="", help="comma-separated (default: the zoo)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(report_this_process(arguments.one)))
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
