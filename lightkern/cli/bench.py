"""``lightkern bench`` and ``lightkern profile``: how long a model takes, and where."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..model import Model
from ..packed import isa_levels
from ..session import Session
from .compare import CompareOptions, compare_options
from .compare import compare as run_comparison
from .files import load_model
from .options import EXISTING_FILE, isa, preprocess, repeat, threads
from .output import (
    bytes_text,
    count_text,
    output_options,
    print_facts,
    print_json,
    print_table,
    progress,
    shape_text,
    time_text,
)


def used_isa(session: Session) -> str:
    """The best ISA level that a session may use."""
    return session.packed.isa or isa_levels()[0]


def random_inputs(model: Model, batch: int) -> dict[str, Any]:
    """Reproducible int8 examples that use the whole range of every input."""
    rng = np.random.default_rng(0)
    return {p.name: rng.integers(-128, 128, (batch, *p.api_shape), np.int8) for p in model.inputs}


@click.command()
@click.argument("model", type=EXISTING_FILE)
@threads
@isa
@click.option("--batch", type=click.IntRange(1, 4096), default=1, show_default=True, help="Examples per run.")
@repeat(50)
@compare_options
@preprocess
@output_options
def bench(
    model: Path, threads: int, isa: str | None, batch: int, repeat: int, compare: bool, as_json: bool, **rest: Any
) -> None:
    """Time the int8 MODEL on random inputs: load, plan and run.

    With --compare, time it beside the other runtimes that are installed here, all in turns, each thread pinned to a
    CPU, with the accuracy of each against the float network. MODEL may be the float .onnx file then.
    """
    options = CompareOptions(**rest)
    if compare:
        if batch != 1:
            raise click.UsageError(f"--compare runs one example at a time, --batch is {batch}")
        run_comparison(model, threads, isa, options, as_json)
        return
    if options.given:
        raise click.UsageError("--float, --qdq, --tflite, --input, --calibration and --contenders need --compare")
    begin = time.perf_counter()
    loaded = load_model(model)
    loaded_at = time.perf_counter()
    session = Session(loaded, threads=threads, isa=isa)
    planned_at = time.perf_counter()
    isa_name = used_isa(session)
    x = random_inputs(loaded, batch)
    seconds = []
    with progress("timing", repeat) as advance:
        for i in range(repeat + min(5, repeat)):
            start = time.perf_counter()
            session.run(x)
            seconds.append(time.perf_counter() - start)
            advance(int(i >= 5))
    timed = np.array(seconds[-repeat:])
    result: dict[str, Any] = {
        "model": loaded.name,
        "isa": isa_name,
        "threads": threads,
        "batch": batch,
        "repeat": repeat,
        "load_seconds": loaded_at - begin,
        "plan_seconds": planned_at - loaded_at,
        "packed_nbytes": session.packed.packed_nbytes,
        "arena_nbytes": session.packed.arena_nbytes,
        "median_seconds": float(np.median(timed)),
        "best_seconds": float(timed.min()),
        "p90_seconds": float(np.quantile(timed, 0.9)),
        "examples_per_second": batch / float(np.median(timed)),
    }
    if as_json:
        print_json(result)
        return
    shapes = ", ".join(shape_text((batch, *p.api_shape)) for p in loaded.inputs)
    facts = [
        ("input", shapes),
        ("kernels", f"{isa_name}, {threads} thread{'s' * (threads > 1)}"),
        ("load", time_text(loaded_at - begin)),
        ("plan", time_text(planned_at - loaded_at)),
        ("memory", f"{bytes_text(result['packed_nbytes'])} packed weights, {bytes_text(result['arena_nbytes'])} arena"),
        ("median", f"{time_text(result['median_seconds'])} of {repeat} runs"),
        ("best", time_text(result["best_seconds"])),
        ("90 % below", time_text(result["p90_seconds"])),
        ("throughput", f"{result['examples_per_second']:.1f} examples/s"),
    ]
    print_facts(model.name, facts)


@click.command()
@click.argument("model", type=EXISTING_FILE)
@threads
@isa
@repeat(50)
@click.option("--top", type=click.IntRange(1), help="Show only the layers that take longest.")
@click.option("--explain", is_flag=True, help="Say for every node which kernel runs and why no better one.")
@output_options
def profile(
    model: Path, threads: int, isa: str | None, repeat: int, top: int | None, explain: bool, as_json: bool
) -> None:
    """Time every layer of the int8 MODEL."""
    session = Session(load_model(model), threads=threads, isa=isa)
    isa_name = used_isa(session)
    with progress("timing"):
        layers = session.profile(repeat=repeat)
    reasons = [choice._asdict() for choice in session.explain()] if explain else None
    if as_json:
        document = {"isa": isa_name, "threads": threads, "repeat": repeat, "layers": layers}
        print_json({**document, "explain": reasons} if explain else document)
        return
    print_layers("Layers", layers, top)
    if reasons is not None:
        print_reasons(reasons)


def print_reasons(choices: list[dict[str, Any]]) -> None:
    """The table of `Session.explain`: per node the kernel, then every kernel that was passed over."""
    rows: list[tuple[str, str, str]] = []
    for choice in choices:
        rows.append((choice["name"], choice["kernel"], ""))
        rows += [("", f"not {kernel}", why) for kernel, why in choice["rejected"]]
    print_table("Why these kernels", ("layer", "kernel", "reason"), rows)


def print_layers(title: str, layers: list[dict[str, Any]], top: int | None = None) -> None:
    """The table of `Session.profile`: time, share and rate of every layer."""
    total = sum(layer["seconds"] for layer in layers)
    shown = layers if top is None else sorted(layers, key=lambda layer: -float(layer["seconds"]))[:top]
    rows = [
        (
            layer["name"],
            layer["op"],
            layer["kernel"],
            count_text(layer["macs"]) if layer["macs"] else "",
            time_text(layer["seconds"]),
            f"{layer['seconds'] / total:.1%}",
            f"{layer['macs'] / layer['seconds'] / 1e9:.1f}" if layer["macs"] and layer["seconds"] else "",
        )
        for layer in shown
    ]
    macs = sum(layer["macs"] for layer in layers)
    rows.append(("total", "", "", count_text(macs), time_text(total), "", f"{macs / total / 1e9:.1f}" if total else ""))
    print_table(title, ("layer", "op", "kernel", ">MAC", ">time", ">share", ">GMAC/s"), rows)
