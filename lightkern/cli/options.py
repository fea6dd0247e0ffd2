"""Options and arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .pictures import Preprocess, parse_preprocess

Command = Callable[..., Any]

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_PATH = click.Path(exists=True, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def _parse_preprocess(_: click.Context, __: click.Parameter, value: str | None) -> Preprocess | None:
    try:
        return None if value is None else parse_preprocess(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


preprocess = click.option(
    "--preprocess",
    metavar="SPEC",
    callback=_parse_preprocess,
    help="For pictures: a preset (imagenet, tf, unit), key=value pairs, or both, such as "
    "imagenet,resize=256,mean=0.485:0.456:0.406,std=0.229:0.224:0.225. Keys: resize, crop, mean, std, scale, "
    "interpolation, layout.",
)
threads = click.option(
    "--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Threads to run on."
)
isa = click.option("--isa", metavar="LEVEL", help="Use no kernels above this level; `lightkern cpu` lists them.")


def repeat(default: int) -> Callable[[Command], Command]:
    """``--repeat``: how many timed runs."""
    return click.option(
        "--repeat", type=click.IntRange(1, 1_000_000), default=default, show_default=True, help="Number of timed runs."
    )
