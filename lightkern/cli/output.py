"""What commands print: tables for people, JSON for programs, progress on a terminal's stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 200
"""Columns when stdout is no terminal: wide enough that no layer table wraps."""

Command = Callable[..., Any]


def output_options(command: Command) -> Command:
    """Add ``--json`` and ``--debug`` to a command."""
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and only JSON, to stdout.")(command)


def print_for_people(*renderables: Any) -> None:
    """Print to stdout: coloured on a terminal; in a pipe or a file plain, without wrapping and trailing blanks."""
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    with console.capture() as capture:
        console.print(*renderables, sep="\n")
    click.echo("\n".join(line.rstrip() for line in capture.get().splitlines()).rstrip("\n"))


def print_json(value: Any) -> None:
    """Print one JSON document; NumPy values become numbers and lists, NaN and infinities null."""
    click.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print a title and aligned ``name  value`` lines."""
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        grid.add_row(Text(name, style="dim"), Text(value))
    print_for_people(Text(title, style="bold"), grid)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a column whose name starts with ``>`` is aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    print_for_people("", Text(title, style="bold"), table)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr while the block runs, where stderr is a terminal.

    Yields a function ``advance(steps)``. Without `total`, the bar only shows that work goes on.
    """
    with _bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


@contextmanager
def staged_progress(description: str) -> Iterator[Callable[[str, int, int], None]]:
    """As `progress`, for work in stages: yields ``report(stage, done, total)``."""
    with _bar() as bar:
        task = bar.add_task(description, total=None)
        yield lambda stage, done, total: bar.update(
            task, description=f"{description}: {stage}", completed=done, total=total
        )


def shape_text(shape: Sequence[int]) -> str:
    """``3x224x224``."""
    return "x".join(map(str, shape)) or "scalar"


def bytes_text(count: float) -> str:
    """Bytes in the unit that fits: ``512 B``, ``3.2 kB``, ``14.0 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def time_text(seconds: float) -> str:
    """Seconds in the unit that fits: ``12.3 us``, ``4.56 ms``, ``1.20 s``."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.3f} ms" if seconds < 1 else f"{seconds:.2f} s"


def count_text(count: float) -> str:
    """A count in the unit that fits: ``640``, ``1.2 k``, ``3.6 M``, ``1.10 G``."""
    for unit in ("", " k", " M"):
        if count < 1000:
            return f"{count:.0f}" if not unit else f"{count:.1f}{unit}"
        count /= 1000
    return f"{count:.2f} G"
