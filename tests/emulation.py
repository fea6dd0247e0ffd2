"""What tests leave out on a slow, emulated CPU or of instrumented code: ``LIGHTKERN_TEST_EMULATED=1`` says that."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

EMULATED = os.environ.get("LIGHTKERN_TEST_EMULATED", "") not in ("", "0")
T = TypeVar("T")


def thinned(cases: Iterable[T], keep_one_in: int) -> list[T]:
    """Every case; under emulation one in `keep_one_in` of them, the first and the last included.

    Of a product of ranges that keeps every value of each, only not every pair, if `keep_one_in` has no divisor in
    common with the length of the inner range and is at most the length of the outer one.
    """
    cases = list(cases)
    if not EMULATED:
        return cases
    return [case for i, case in enumerate(cases) if i % keep_one_in == 0 or i == len(cases) - 1]
