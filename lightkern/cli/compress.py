"""``lightkern compress``: a float ONNX model becomes an int8 ``.lk`` file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .files import Inputs, load_float
from .inspect import print_report
from .options import EXISTING_FILE, EXISTING_PATH, NEW_FILE, preprocess
from .output import bytes_text, output_options, print_facts, print_json, staged_progress, time_text
from .pictures import Preprocess

CALIBRATORS = ("minmax", "percentile", "entropy", "mse")
ROUNDINGS = ("nearest", "hessian", "adaround")


def _parse_ranges(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    ranges = {}
    for value in values:
        try:
            name, limits = value.rsplit("=", 1)
            low, high = map(float, limits.split(":"))
        except ValueError:
            raise click.BadParameter(f"{value!r} is not NAME=LOW:HIGH") from None
        ranges[name] = (low, high)
    return ranges


@click.command()
@click.argument("network", metavar="IN.onnx", type=EXISTING_FILE)
@click.option("-o", "--output", metavar="OUT.lk", required=True, type=NEW_FILE, help="Where to write the int8 model.")
@click.option(
    "--calibration",
    metavar="FILE.npy|FILE.npz|PICTURES/",
    required=True,
    type=EXISTING_PATH,
    help="Typical inputs, which the ranges of the activations are measured with.",
)
@preprocess
@click.option(
    "--samples", type=click.IntRange(1), default=256, show_default=True, help="Use no more examples than this."
)
@click.option("--calibrator", type=click.Choice(CALIBRATORS), help="How ranges follow from the examples.")
@click.option("--percentile", type=float, help="Share of values inside of the range, for --calibrator percentile.")
@click.option("--rounding", type=click.Choice(ROUNDINGS), help="How weights become integers.")
@click.option("--equalize/--no-equalize", default=None, help="Cross-layer equalization.")
@click.option("--bias-correction/--no-bias-correction", default=None, help="Remove the mean error of each channel.")
@click.option(
    "--channel-matching/--no-channel-matching", default=None, help="Pair channels so that x86 cannot saturate."
)
@click.option("--saturation-free/--no-saturation-free", default=None, help="Raise scales where a pair still could.")
@click.option("--coupled-steps/--no-coupled-steps", default=None, help="Raise them on, for pairs of pairs: faster.")
@click.option("--per-channel/--per-tensor", default=None, help="One weight scale per output channel, or per layer.")
@click.option(
    "--input-range",
    "input_ranges",
    metavar="NAME=LOW:HIGH",
    multiple=True,
    callback=_parse_ranges,
    help="Real range of an input, where it shall not follow from the examples.",
)
@click.option("--batch-size", type=click.IntRange(1, 4096), help="Examples that the float network runs at once.")
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random.")
@click.option("--worst", type=click.IntRange(1), default=10, show_default=True, help="Layers in the table of noise.")
@output_options
def compress(
    network: Path,
    output: Path,
    calibration: Path,
    preprocess: Preprocess | None,
    samples: int,
    worst: int,
    as_json: bool,
    **choices: Any,
) -> None:
    """Compress the float model IN.onnx to int8."""
    import lightkern as lk

    if output.is_dir() or not output.absolute().parent.is_dir():
        raise click.UsageError(f"--output {output}: its folder does not exist")
    options = {key: value for key, value in choices.items() if value is not None and value != {}}
    begin = time.perf_counter()
    graph = load_float(network)
    inputs = Inputs(calibration, graph.inputs, preprocess, samples)
    with staged_progress("compressing") as report_progress:
        batches = inputs.batches(options.get("batch_size", 8))
        model = lk.compress(graph, calibration=batches, progress=report_progress, **options)
        model.save(output)
    seconds = time.perf_counter() - begin

    report = model.metadata.get("report") or []
    float_bytes = sum(value.nbytes for node in graph.nodes for value in node.params.values())
    if as_json:
        document = {"model": model.name, "output": output, "seconds": seconds, "examples": len(inputs)}
        sizes = {"float_bytes": float_bytes, "file_bytes": output.stat().st_size}
        print_json({**document, **sizes, "options": options, "report": report})
        return
    size = output.stat().st_size
    facts = [
        ("examples", f"{len(inputs)} for calibration"),
        ("float", f"{bytes_text(float_bytes)} of weights"),
        ("int8", f"{bytes_text(size)}, {float_bytes / size:.2f} times smaller"),
        ("time", time_text(seconds)),
        ("wrote", str(output)),
    ]
    print_facts(network.name, facts)
    if report:
        print_report(report, worst)
