"""The command group: registers the commands, and turns every outcome into an exit code and one line of text.

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted (Ctrl-C), 141 the reader of a pipe went away.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from . import bench, compress, demo, inspect, run

FAILURE, INTERRUPTED, BROKEN_PIPE = 1, 130, 141

EXPECTED = (OSError, ValueError, TypeError, RuntimeError, ImportError, MemoryError)
"""Exceptions that speak to the user: files, formats, unsupported ops, wrong arrays, missing extras."""


class PipeClosedError(Exception):
    """The reader of stdout went away. No `OSError`, since click would exit with 1 on that."""


class App(click.Group):
    """A group whose `main` ends with the exit codes above, and with a traceback only under ``--debug``."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        args = list(sys.argv[1:] if args is None else args)
        sys.exit(self._run(args, *rest, **{**options, "standalone_mode": False}))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            raise PipeClosedError from None
        return result

    def _run(self, args: list[str], *rest: Any, **options: Any) -> int:
        try:
            code = super().main(args, *rest, **options)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            return error.exit_code
        except click.ClickException as error:
            error.show()
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            click.echo("lightkern: interrupted", err=True)
            return INTERRUPTED
        except PipeClosedError:
            # The interpreter flushes stdout at exit: let it do so into nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return BROKEN_PIPE
        except Exception as error:
            if "--debug" in args:
                traceback.print_exc()
            click.echo(f"lightkern: {describe(error)}", err=True)
            return FAILURE
        return code if isinstance(code, int) else 0


def describe(error: Exception) -> str:
    """One line for people."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, EXPECTED):
        return text or type(error).__name__
    return f"internal error ({type(error).__name__}: {text}); --debug shows where"


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"lightkern {version('lightkern')}")
        except PackageNotFoundError:
            click.echo("lightkern (not installed)")
        context.exit()


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def app() -> None:
    """Compress trained vision networks to int8 and run them fast, with the same bits on every CPU."""


for command in (
    demo.demo,
    compress.compress,
    run.run,
    bench.bench,
    bench.profile,
    inspect.inspect,
    inspect.cpu,
):
    app.add_command(command)
