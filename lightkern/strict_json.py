"""JSON from files that nobody vouches for: what is ambiguous, not finite, abusive or of another type is refused."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from typing import Any, NoReturn

from .errors import FormatError

__all__ = ["MAX_DEPTH", "fields_of", "list_of", "parse_json", "refuse"]

MAX_DEPTH = 32
"""Deepest nesting of values that is read or written."""


def parse_json(text: str) -> Any:
    """JSON without duplicate keys, non-finite or huge numbers, lone surrogates, and nested at most `MAX_DEPTH` deep."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise FormatError(f"JSON: keys must be unique, got {reprlib.repr(twice)} twice")
        return result

    def integer(digits: str) -> int:
        if len(digits) > 20:
            raise FormatError(f"JSON: integers have at most 20 digits, got {reprlib.repr(digits)}")
        return int(digits)

    def real(digits: str) -> float:
        value = float(digits)
        if value - value != 0:
            raise FormatError(f"JSON: numbers must be finite, got {reprlib.repr(digits)}")
        return value

    def constant(word: str) -> NoReturn:
        raise FormatError(f"JSON: numbers must be finite, got {reprlib.repr(word)}")

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_int=integer, parse_float=real, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FormatError(f"JSON: {error}") from None
    except RecursionError:
        raise FormatError(f"JSON: nested deeper than {MAX_DEPTH}") from None
    levels = _levels(value)
    if "\\u" in text or not text.isascii():  # else no string can hold anything but ASCII
        _check_strings(levels)
    return value


def _levels(value: Any) -> list[list[Any]]:
    """All values by their depth: the value itself, what it holds, what that holds, ..."""
    levels = [[value]]
    while deeper := [
        item
        for outer in levels[-1]
        if type(outer) is dict or type(outer) is list
        for item in (outer.values() if type(outer) is dict else outer)
    ]:
        if len(levels) > MAX_DEPTH:
            raise FormatError(f"JSON: nested deeper than {MAX_DEPTH}")
        levels.append(deeper)
    return levels


def _check_strings(levels: list[list[Any]]) -> None:
    for level in levels:
        for value in level:
            for text in (value,) if isinstance(value, str) else value if isinstance(value, dict) else ():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise FormatError(
                        f"JSON: strings must not hold half of a surrogate pair, got {reprlib.repr(text)}"
                    ) from None


def refuse(where: str, rule: str, value: Any) -> NoReturn:
    """Raise the `FormatError` of a value that breaks a rule."""
    raise FormatError(f"{where}: {rule}, got {reprlib.repr(value)}")


def fields_of(where: str, value: Any, fields: Mapping[str, type]) -> list[Any]:
    """The values of an object that has exactly these fields, of exactly these types, in this order."""
    if not isinstance(value, dict):
        refuse(where, "must be an object", value)
    if value.keys() != fields.keys():
        if missing := [key for key in fields if key not in value]:
            refuse(where, f"field {missing[0]!r} is missing", sorted(value))
        refuse(where, "unknown field", next(key for key in value if key not in fields))
    values = [value[key] for key in fields]
    for key, wanted, found in zip(fields, fields.values(), values, strict=True):
        if type(found) is not wanted:
            refuse(f"{where}, field {key!r}", f"must be {wanted.__name__}", found)
    return values


def list_of(where: str, values: list[Any], wanted: type) -> list[Any]:
    """The same list, whose values are all of exactly this type."""
    for value in values:
        if type(value) is not wanted:
            refuse(where, f"must hold {wanted.__name__} only", value)
    return values
