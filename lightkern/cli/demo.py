"""``lightkern demo``: the whole path on the network and the pictures that ship with the package."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from .bench import print_layers
from .inspect import print_report
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
    print_layers("int8, layer by layer", result.layers)
    if result.report:
        print_report(result.report, 5)
