"""Latency of every contender on the networks of the zoo, taken in turns, with the accuracy beside it.

python bench/latency.py --threads 1,2 --accuracy accuracy.json --json latency.json
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy.typing as npt
from cases import ZOO, zoo_case, zoo_input, zoo_inputs

from lightkern.compare.case import UnavailableError
from lightkern.compare.contenders import contenders, prepared
from lightkern.compare.race import Race, outputs, race, summary, table

__all__ = ["agreements", "judged_race", "versions"]

Array = npt.NDArray[Any]


def agreements(path: Path | None, model: str) -> dict[str, float] | None:
    """Agreement by contender from a file of `accuracy`, for the network's twin with ImageNet weights."""
    if path is None:
        return None
    rows = json.loads(path.read_text())
    return {r["contender"]: r["agreement"] for r in rows if r["model"] == f"{model}_imagenet"}


def versions() -> dict[str, str]:
    """What ran here."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.platform()}
    for package in ("lightkern", "numpy", "onnxruntime", "openvino", "ai-edge-litert"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        found["cpu"] = names[0] if names else "unknown"
    return found


def judged_race(name: str, x: Array, threads: int, only: str, rounds: int) -> Race:
    """A race on a network of the zoo; outputs on 20 pictures are compared with ONNX Runtime's float ones."""
    case, pictures = zoo_case(name), zoo_inputs()
    try:
        reference = prepared(next(c for c in contenders() if c.name == "onnxruntime float"), case, 1)
        wanted = outputs(reference, pictures)
    except UnavailableError:
        return race(case, x, threads, contenders(only), rounds)
    result = race(case, x, threads, contenders(only), rounds, examples=pictures, float_outputs=wanted)
    for other in [n for n in result.closeness if n.startswith("litert")]:
        del result.closeness[other]  # its files hold other weights
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(ZOO), help="comma-separated (default: %(default)s)")
    parser.add_argument("--contenders", default="", help="comma-separated parts of names (default: all)")
    parser.add_argument("--threads", default="1", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--accuracy", type=Path, help="a file that accuracy.py --json wrote")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    results: list[Race] = []
    x = zoo_input()
    for threads in map(int, arguments.threads.split(",")):
        for name in arguments.models.split(","):
            try:
                result = judged_race(name, x, threads, arguments.contenders, arguments.rounds)
            except ValueError as error:
                sys.exit(str(error))
            results.append(result)
            print(table(result, agreements(arguments.accuracy, name)), end="\n\n", flush=True)
    print(summary(results))
    if arguments.json:
        content = {"versions": versions(), "races": [r.as_dict() for r in results]}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
