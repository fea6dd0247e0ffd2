"""JSON from files that nobody vouches for: what is ambiguous, not finite or abusive is refused."""

from __future__ import annotations

from typing import Any

from . import _core
from .errors import FormatError

__all__ = ["MAX_DEPTH", "parse_json"]

MAX_DEPTH = 32
"""Deepest nesting of values that is read or written."""


def parse_json(text: str) -> Any:
    """JSON without duplicate keys, non-finite or huge numbers, lone surrogates, and nested at most `MAX_DEPTH` deep.

    In C++ (``csrc/bindings/json.cc``): importing and running the standard library's takes a tenth of a start-up.

    Raises
    ------
    FormatError
        The message names the rule and the place or the value that breaks it.
    """
    try:
        return _core.parse_json(text, MAX_DEPTH)
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise FormatError(f"JSON: strings must not hold half of a surrogate pair, got {half!r}") from None
    except ValueError as error:
        raise FormatError(f"JSON: {error}") from None
