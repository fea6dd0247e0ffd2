"""The JSON reader accepts what the standard library reads, less what is ambiguous, not finite or abusive."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightkern.errors import FormatError
from lightkern.strict_json import MAX_DEPTH, parse_json

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(10**18), 10**19) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(items)) != len(items):
        raise ValueError("twice")
    return dict(items)


def integer(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("long")
    return int(digits)


def real(digits: str) -> float:
    if not math.isfinite(float(digits)):
        raise ValueError("infinite")
    return float(digits)


def constant(word: str) -> NoReturn:
    raise ValueError(word)


def check(value: Any, depth: int = 0) -> None:
    """Raise ValueError for too deep a nesting, and for half of a surrogate pair."""
    if depth > MAX_DEPTH:
        raise ValueError("deep")
    if isinstance(value, str):
        value.encode()
    for inner in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        check(inner, depth + 1)


def by_the_library(text: str) -> Any:
    value = json.loads(text, object_pairs_hook=pairs, parse_int=integer, parse_float=real, parse_constant=constant)
    check(value)
    return value


def assert_agree(text: str) -> bool:
    """Both read the same from a text, or both refuse it. Whether they read it."""
    try:
        expected = by_the_library(text)
    except (ValueError, RecursionError):
        with pytest.raises(FormatError, match=r"^JSON: "):
            parse_json(text)
        return False
    assert repr(parse_json(text)) == repr(expected)  # types, order, and the bits of every float
    return True


@given(VALUES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_what_the_library_writes_is_read(value: Any, ascii_only: bool, indent: Any) -> None:
    assert assert_agree(json.dumps(value, ensure_ascii=ascii_only, indent=indent))


@settings(max_examples=300)
@given(VALUES, st.booleans(), st.integers(0, 2**32 - 1))
def test_damaged_texts(value: Any, ascii_only: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = json.dumps(value, ensure_ascii=ascii_only)
    parts = [
        '"',
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "0",
        "9",
        "-",
        "+",
        "e",
        ".",
        "\0",
        "\n",
        "\x7f",
    ]
    parts += ["NaN", "Infinity", "null", "true", " ", "\u00e4", "\U0001f600", "1e999", "\ufeff", "\u2028"]
    for _ in range(8):
        at, removed = int(rng.integers(len(text) + 1)), int(rng.integers(3))
        damaged = text[:at] + str(rng.choice(parts)) * int(rng.integers(3)) + text[at + removed :]
        if assert_agree(damaged):
            text = damaged


# fmt: off
REFUSED = [
    "", " ", "\0", "[", "[1,]", "[,1]", "{}}", '{"a"}', '{"a":}', '{"a":1,}', "{1:2}", "[12 3]", "1 2", "\ufeff1",
    "01", "-", "-a", "1.", ".5", "1e", "1e+", "+1", "0x1", "--1", "nul", "nulll", "tru", "'a'",
    '"', '"\\', '"\\"', '"\\u', '"\\u12', '"\\u12g4"', '"\\x41"', '"a\nb"', '"\0"',
    "NaN", "-NaN", "-Infinity", "1e400", "-1e400", "9" * 21, "-" + "9" * 20,
    '"\ud800"', '"\\ud800"', '"\\ud800\\ud800"', '"\\udc00\\ud800"', '{"a":1,"\\u0061":2}',
    "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "[" * 10**6, '{"a":' * 10**6,
]
ACCEPTED = [
    "0", "-0", "-0.0", "1E5", "1e-400", "9" * 20, "-" + "9" * 19, "4.9e-324", "1.7976931348623157e308",
    "0.1" + "0" * 400, '"\\ud83d\\ude00"', '"\\u0000\\/\\b\\f\\n\\r\\t\\"\\\\"', '"\x7f\u2028"', " \t\r\n[ ] ",
    '{ "" : { } }', '{"a":1,"A":1}',
    "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), '{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH,
]
# fmt: on


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: ascii(text[:20]))
def test_refused(text: str) -> None:
    assert not assert_agree(text)


@pytest.mark.parametrize("text", ACCEPTED, ids=lambda text: ascii(text[:20]))
def test_accepted(text: str) -> None:
    assert assert_agree(text)


def test_messages_are_short_and_name_the_place() -> None:
    with pytest.raises(FormatError, match=r"^JSON: Expecting ',' or '\]', at byte 4$"):
        parse_json("[12 3]")
    with pytest.raises(FormatError, match=r"^JSON: integers have at most 20 digits, got '9{24}'\.\.\.$"):
        parse_json("9" * 10**6)
    key = "a" * 99
    with pytest.raises(FormatError, match=r"^JSON: keys must be unique, got 'a{24}'\.\.\. twice$"):
        parse_json(f'{{"{key}":1,"{key}":2}}')
