"""``lightkern demo``: the whole path on the network and the pictures that ship with the package."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .options import isa, repeat, threads
from .output import bytes_text, output_options, print_facts, print_json, print_table, staged_progress, time_text

if TYPE_CHECKING:
    from ..demo.measure import Demo


@click.command()
@threads
@isa
@repeat(50)
@output_options
def demo(threads: int, isa: str | None, repeat: int, as_json: bool) -> None:
    """Compress a trained Fashion-MNIST network, run it in float and int8, and compare."""
    from ..demo import measure

    with staged_progress("demo") as report_progress:
        result = measure.measure(threads, isa, repeat, report_progress)
    if as_json:
        print_json({**asdict(result), "speed_up": result.speed_up})
        return
    _print(result)


def _print(result: Demo) -> None:
    kernels = f"{result.isa} kernels, {result.threads} thread{'s' * (result.threads > 1)}"
    sizes = bytes_text(result.float_bytes), bytes_text(result.int8_bytes), result.float_bytes / result.int8_bytes
    facts = [
        ("size", "{} of float32 weights -> {} file, {:.2f} x smaller".format(*sizes)),
        ("compress", f"{time_text(result.compress_seconds)}, once"),
        ("load, plan", f"{time_text(result.load_seconds)}, {time_text(result.plan_seconds)}"),
        ("kernels", kernels),
    ]
    print_facts("A MobileNet for Fashion-MNIST, float to int8", facts)
    int8 = result.runs["int8"].latency
    rows = [
        (
            run.name,
            f"{run.accuracy:.1%}",
            f"{run.agreement:.1%}",
            time_text(run.latency),
            f"{run.latency / int8:.2f} x" if key != "int8" else "",
        )
        for key, run in result.runs.items()
    ]
    columns = ("", ">accuracy", ">agrees with float", ">one picture", ">int8 is faster by")
    print_table(f"{result.pictures} held-out test pictures", columns, rows)
    if "onnxruntime" not in result.runs:
        click.echo("Float runs in plain NumPy here; install onnx and onnxruntime for a float engine to compare with.")
    _print_layers(result)


def _print_layers(result: Demo) -> None:
    """Float beside int8, step by step."""
    rows = []
    for layer in result.layers:
        slow, fast, noise = layer["float_seconds"], layer["seconds"], layer["sqnr_db"]
        rate = layer["macs"] / fast / 1e9 if fast and layer["macs"] else None
        rows.append(
            (
                short_name(layer["name"]),
                bytes_text(layer["float_bytes"]) if layer["float_bytes"] else "",
                bytes_text(layer["int8_bytes"]) if layer["int8_bytes"] else "",
                time_text(slow) if slow is not None else "",
                time_text(fast),
                f"{slow / fast:.1f} x" if slow is not None and fast else "",
                f"{rate:.1f}" if rate is not None else "",
                f"{noise:.1f} dB" if noise is not None else "",
            )
        )
    slow = sum(layer["float_seconds"] or 0 for layer in result.layers)
    fast = sum(layer["seconds"] for layer in result.layers)
    sizes = [sum(layer[key] for layer in result.layers) for key in ("float_bytes", "int8_bytes")]
    rate = sum(layer["macs"] for layer in result.layers) / fast / 1e9
    total = (bytes_text(sizes[0]), bytes_text(sizes[1]), time_text(slow), time_text(fast), f"{slow / fast:.1f} x")
    rows.append(("total", *total, f"{rate:.1f}", ""))
    columns = ("layer", ">float", ">int8", ">NumPy", ">int8", ">faster", ">GMAC/s", ">signal/noise")
    print_table("Layer by layer: bytes of weights, time of one picture, noise of int8", columns, rows)


def short_name(name: str) -> str:
    """``a.b + a.b.c + a.d`` as ``a.b + c + d``: later parts without what they share with the first."""
    first, *others = name.split(" + ")
    known = first.split(".")
    parts = [first]
    for other in others:
        words = other.split(".")
        shared = 0
        while shared < min(len(words) - 1, len(known)) and words[shared] == known[shared]:
            shared += 1
        parts.append(".".join(words[shared:]))
    return " + ".join(parts)
