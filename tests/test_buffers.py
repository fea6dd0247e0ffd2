"""What `_core` does with buffers of any origin: extremes, overlap, and refusing what it cannot read."""

from __future__ import annotations

import array
import ctypes
import math
import mmap
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lightkern import _core

values = arrays.arrays(
    st.sampled_from([np.int8, np.int32, np.float32]), arrays.array_shapes(max_dims=4, max_side=9), fill=st.nothing()
)


@given(values)
def test_extremes_are_those_of_numpy(x: np.ndarray) -> None:
    least, most = _core.extremes(x)
    if np.isnan(x).any():
        assert math.isnan(least)
        assert math.isnan(most)
    else:
        assert (least, most) == (x.min(), x.max())
        assert type(least) is (float if x.dtype == np.float32 else int)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32])
@pytest.mark.parametrize("size", [*range(1, 70), 1000])
def test_extremes_at_every_place(dtype: Any, size: int) -> None:
    """Whatever a vector loop does with its head and tail: the least and the greatest value are found anywhere."""
    for at in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        x = np.full(size, 5, dtype)
        x[at] = 100
        assert _core.extremes(x) == (5 if size > 1 else 100, 100)
        x[at] = -128
        assert _core.extremes(x) == (-128, 5 if size > 1 else -128)
        if dtype == np.float32:
            x[at] = np.nan
            assert all(map(math.isnan, _core.extremes(x)))


def test_extremes_of_any_layout() -> None:
    x = np.random.default_rng(0).integers(-100, 100, (6, 7, 8)).astype(np.int32)
    x[3, 3, 3], x[0, 0, 0] = 1000, -1000
    for view in (x, x.T, x[::-1], x[::3, ::3, ::3], x[3:4, 2:5], np.asfortranarray(x)):
        assert _core.extremes(view) == (view.min(), view.max())
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.int32)
    assert not unaligned.flags.aligned
    assert _core.extremes(unaligned) == (-1000, 1000)
    assert _core.extremes(memoryview(bytes([1, 255, 3])).cast("b")) == (-1, 3)
    assert _core.extremes(array.array("f", [1.5, -math.inf])) == (-math.inf, 1.5)
    assert _core.extremes((ctypes.c_float * 3)(3, 1, 2)) == (1.0, 3.0)


def test_extremes_refuses_the_rest() -> None:
    with pytest.raises(ValueError, match="empty"):
        _core.extremes(np.zeros((3, 0), np.int8))
    for bad in (b"bytes", np.zeros(3), np.zeros(3, ">i4"), np.zeros(3, np.int64), np.zeros(3, "i4,f4"), [1, 2]):
        with pytest.raises(TypeError):
            _core.extremes(bad)
    with pytest.raises(ValueError, match="dtype"):
        _core.extremes(np.zeros(3, "M8[s]"))
    pages = mmap.mmap(-1, 8)
    pages.close()
    with pytest.raises(ValueError, match="closed"):
        _core.extremes(pages)


def test_overlap() -> None:
    memory = bytearray(64)
    view = memoryview(memory)
    assert _core.overlap(view, view)
    assert _core.overlap(view[:33], view[32:])
    assert not _core.overlap(view[:32], view[32:])
    assert not _core.overlap(view[32:], view[:32])
    assert _core.overlap(view[8:9], memory)
    assert _core.overlap(view[40:30:-1], view[31:32])
    assert not _core.overlap(view[40:30:-1], view[30:31])
    assert not _core.overlap(view[5:5], view)
    assert not _core.overlap(memory, bytearray(64))
