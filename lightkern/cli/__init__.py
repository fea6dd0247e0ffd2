"""The ``lightkern`` command. `main` is its entry point; each command group has a file of its own here."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; without the ``cli`` extra, say how to install it and exit with 1."""
    try:
        import click  # noqa: F401
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        from ..errors import MissingExtraError

        missing = MissingExtraError(error.name or "click", "cli", "the lightkern command")
        sys.stderr.write(f"lightkern: {missing}\n")
        sys.exit(1)
    from .app import app

    app(prog_name="lightkern")
