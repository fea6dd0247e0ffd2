"""``lightkern bench --compare``: a network on lightkern and on every other runtime that is installed here."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..compare.affinity import unpin
from ..compare.case import Case
from ..compare.contenders import CONTENDERS, Contender
from ..compare.race import EXACT, OURS, Race, race
from ..graph import Array, Port
from .files import Inputs, load_either, load_float
from .options import EXISTING_FILE, EXISTING_PATH
from .output import print_facts, print_json, print_table, staged_progress, time_text
from .pictures import Preprocess

Command = Callable[..., Any]

RANDOM_EXAMPLES = 16
JUDGED_EXAMPLES = 64


@dataclass(frozen=True)
class CompareOptions:
    """What the options of ``--compare`` say; None where an option was not given."""

    float_file: Path | None
    qdq: Path | None
    tflite: Path | None
    input: Path | None
    calibration: Path | None
    preprocess: Preprocess | None
    rounds: int
    contenders: str

    @property
    def given(self) -> bool:
        """Whether any option was given that means nothing without ``--compare``."""
        return any((self.float_file, self.qdq, self.tflite, self.input, self.calibration, self.contenders))


def compare_options(command: Command) -> Command:
    """Add the options that ``--compare`` understands."""
    for option in (
        click.option("--contenders", default="", metavar="NAMES", help="--compare: only these, parts of names."),
        click.option("--rounds", type=click.IntRange(1, 1000), default=15, show_default=True, help="--compare: turns."),
        click.option(
            "--calibration", type=EXISTING_PATH, help="--compare: examples to compress with (default: --input)."
        ),
        click.option(
            "--input", type=EXISTING_PATH, help="--compare: examples to time and judge with (default: random)."
        ),
        click.option("--tflite", type=EXISTING_FILE, help="--compare: the network as an int8 TFLite file, for LiteRT."),
        click.option("--qdq", type=EXISTING_FILE, help="--compare: the network as an int8 ONNX file, for the others."),
        click.option(
            "--float", "float_file", type=EXISTING_FILE, help="--compare: the float .onnx file of an int8 MODEL."
        ),
        click.option("--compare", is_flag=True, help="Time MODEL (.onnx or .lk) beside the runtimes installed here."),
    ):
        command = option(command)
    return command


def compare(model: Path, threads: int, isa: str | None, options: CompareOptions, as_json: bool) -> None:
    """Run the race and print it."""
    chosen = chosen_contenders(options)
    network = load_either(model)
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        counts = f"{len(network.inputs)} inputs and {len(network.outputs)} outputs"
        raise ValueError(f"{model}: --compare takes networks of one input and one output, this one has {counts}")
    is_float = model.suffix.lower() == ".onnx"
    float_file = model if is_float else options.float_file
    if is_float and options.float_file is not None:
        raise click.UsageError(f"--float {options.float_file}: MODEL is the float network already")
    port = network.inputs[0]
    examples = _examples(options.input, port, options.preprocess, JUDGED_EXAMPLES)
    calibration = _examples(options.calibration, port, options.preprocess, 256) if options.calibration else examples
    float_outputs = None
    if float_file is not None:
        reference = load_float(float_file)
        if [p.api_shape for p in reference.inputs] != [port.api_shape]:
            shapes = [p.api_shape for p in reference.inputs]
            raise ValueError(f"{float_file}: inputs of shape {shapes}, {model} takes {port.api_shape}")
        rows = [reference.run(examples[i : i + 1]) for i in range(len(examples))]
        float_outputs = np.concatenate([next(iter(y.values())) if isinstance(y, dict) else y for y in rows])
    try:
        with tempfile.TemporaryDirectory() as folder, staged_progress("comparing") as report:
            case = Case(
                model.stem,
                Path(folder),
                onnx=float_file,
                calibration=lambda: calibration,
                lk=None if is_float else model,
                qdq=options.qdq,
                tflite=options.tflite,
                isa=isa,
            )
            result = race(
                case,
                examples[:1],
                threads,
                chosen,
                options.rounds,
                examples=examples,
                float_outputs=float_outputs,
                progress=lambda what: report(what, 0, 1),
            )
    finally:
        unpin()
    source = str(options.input) if options.input else "random"
    if as_json:
        print_json({**result.as_dict(), "rounds": options.rounds, "examples": len(examples), "input": source})
        return
    print_race(result, len(examples), source, judged=float_outputs is not None)


def chosen_contenders(options: CompareOptions) -> list[Contender]:
    """Those whose name fits ``--contenders`` and that lack no file which only the user can give; ours always."""
    parts = [part.strip() for part in options.contenders.split(",")]
    known = [c for c in CONTENDERS if c.name == OURS or any(part in c.name for part in parts)]
    if len(known) == 1 and options.contenders:
        names = ", ".join(c.name for c in CONTENDERS[1:])
        raise click.UsageError(f"--contenders {options.contenders}: none of {names}")
    return [
        c
        for c in known
        if (options.qdq or "given" not in c.name) and (options.tflite or not c.name.startswith("litert"))
    ]


def _examples(path: Path | None, port: Port, preprocess: Preprocess | None, limit: int) -> Array:
    """float32 [n, *api_shape] of a file or folder, or normally distributed."""
    if path is None:
        shape = (RANDOM_EXAMPLES, *port.api_shape)
        return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    batches = Inputs(path, [port], preprocess, limit).batches(limit)
    x = np.concatenate([next(iter(batch.values())) for batch in batches])
    if x.dtype != np.float32:
        raise ValueError(f"{path}: --compare takes float32 examples, got {x.dtype}")
    if len(x) == 0:
        raise ValueError(f"{path}: holds no example")
    return np.ascontiguousarray(x)


def print_race(result: Race, examples: int, source: str, *, judged: bool) -> None:
    """The table: fastest first, then who did not take part, and why."""
    rows = []
    for name, timing in sorted(result.timings.items(), key=lambda item: item[1].median):
        close = result.closeness.get(name)
        rows.append(
            (
                name,
                result.exactness[name],
                time_text(timing.median),
                time_text(timing.best),
                f"{timing.spread:.0%}",
                "" if name == OURS else f"{result.ratio_to(name):.2f} x",
                "" if close is None else f"{close.agreement:.1%}",
                "" if close is None else f"{close.sqnr:.1f} dB",
            )
        )
    columns = ("contender", "products", ">median", ">best", ">spread", ">lightkern takes", ">agrees", ">SQNR")
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    print_table(f"{result.model}, {threads}, batch 1", columns, rows)
    facts = [("accuracy", f"against the float network, {examples} examples ({source})")] if judged else []
    for title, kinds in (("best peer", ()), ("best exact peer", EXACT)):
        peer = result.best_peer(kinds)
        if peer:
            facts.append((title, f"{peer}: lightkern takes {result.ratio_to(peer):.2f} of its time"))
    facts += [(f"no {name}", reason) for name, reason in result.skipped.items()]
    if not judged:
        facts.append(("no accuracy", "needs the float network: --float FLOAT.onnx"))
    if facts:
        print_facts("", facts)
