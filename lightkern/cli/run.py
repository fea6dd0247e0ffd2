"""``lightkern run``: inputs from a file through an int8 model into a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..session import Session
from .files import Inputs, load_model, write_arrays
from .options import EXISTING_FILE, EXISTING_PATH, NEW_FILE, isa, preprocess, threads
from .output import output_options, print_facts, print_json, print_table, progress, shape_text, time_text
from .pictures import Preprocess


@click.command()
@click.argument("model", type=EXISTING_FILE)
@click.argument("input", type=EXISTING_PATH)
@click.option("-o", "--output", type=NEW_FILE, help="Write the outputs here: .npy, or .npz for several.")
@preprocess
@click.option("--batch", type=click.IntRange(1, 4096), default=16, show_default=True, help="Examples per run.")
@click.option("--top", type=click.IntRange(1, 1000), help="Show the classes with the highest scores of each example.")
@threads
@isa
@output_options
def run(
    model: Path,
    input: Path,
    output: Path | None,
    preprocess: Preprocess | None,
    batch: int,
    top: int | None,
    threads: int,
    isa: str | None,
    as_json: bool,
) -> None:
    """Run the int8 MODEL over INPUT: a .npy or .npz file, a picture, or a folder of pictures."""
    if output is not None and output.suffix.lower() not in (".npy", ".npz"):
        raise click.UsageError(f"--output {output}: must end in .npy or .npz")
    loaded = load_model(model)
    inputs = Inputs(input, loaded.inputs, preprocess)
    session = Session(loaded, threads=threads, isa=isa)
    parts: list[dict[str, Any]] = []
    seconds = 0.0
    with progress("running", len(inputs)) as advance:
        for examples in inputs.batches(batch):
            begin = time.perf_counter()
            result = session.run(examples)
            seconds += time.perf_counter() - begin
            parts.append(result if isinstance(result, dict) else {loaded.outputs[0].name: result})
            advance(len(next(iter(examples.values()))))
    outputs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if output is not None:
        write_arrays(output, outputs)

    classes = _top_classes(inputs, next(iter(outputs.values())), top) if top is not None else []
    if as_json:
        facts = {
            name: {"shape": y.shape, "dtype": str(y.dtype), "min": y.min(), "max": y.max()}
            for name, y in outputs.items()
        }
        document = {"examples": len(inputs), "seconds": seconds, "output": output, "outputs": facts}
        print_json({**document, "top": classes} if top is not None else document)
        return
    each = time_text(seconds / len(inputs))
    print_facts(model.name, [("examples", str(len(inputs))), ("time", f"{time_text(seconds)}, {each} each")])
    rows = [
        (name, shape_text(y.shape), str(y.dtype), f"{y.min():.6g}", f"{y.max():.6g}") for name, y in outputs.items()
    ]
    print_table("Outputs", ("name", ">shape", "dtype", ">min", ">max"), rows)
    if top is not None:
        print_table(
            f"Top {top}",
            ("example", "classes (score)"),
            ((c["example"], _scores_text(c)) for c in classes),
        )
    if output is not None:
        click.echo(f"wrote {output}")


def _scores_text(example: dict[str, Any]) -> str:
    return "  ".join(f"{k} ({v:.4g})" for k, v in zip(example["classes"], example["scores"], strict=True))


def _top_classes(inputs: Inputs, scores: Any, top: int) -> list[dict[str, Any]]:
    """The best classes of every example, by the first output."""
    flat = scores.reshape(len(scores), -1)
    best = np.argsort(-flat, axis=1, kind="stable")[:, :top]
    names = [path.name for path in inputs.files] or [str(i) for i in range(len(flat))]
    return [
        {"example": name, "classes": order.tolist(), "scores": row[order].tolist()}
        for name, row, order in zip(names, flat, best, strict=True)
    ]
