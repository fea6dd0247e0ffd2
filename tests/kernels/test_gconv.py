"""Group convolution: every kernel of every ISA level against the reference, bit for bit, between guard pages."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_same_bits, fits, kernels_of
from strategies import styles, windows

from lightkern.model import Model

KERNELS = kernels_of("gconv")
SIZES = [(1, 2), (1, 3), (2, 2), (2, 1), (4, 4), (4, 6), (8, 8), (8, 7), (16, 4), (16, 16), (3, 5)]  # (icg, ocg)


def grouped(net: Net, shape: tuple[int, int], groups: int, icg: int, ocg: int, **window: Any) -> str:
    """A group convolution of a new input."""
    return net.conv2d(net.input((*shape, groups * icg)), groups * ocg, groups=groups, **window)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weight", ["safe", "random"])
def test_group_sizes(kernel: str, weight: str) -> None:
    """Channels per group, and every number of groups over two blocks."""
    rng = np.random.default_rng(0)
    ran = 0
    for (icg, ocg), groups in itertools.product(SIZES, [2, 3, 4, 5, 8, 9, 16, 17, 33]):
        net = Net(rng, Style(weight=weight))
        model = net.model(grouped(net, (4, 5), groups, icg, ocg, kernel=(3, 3), padding=(1, 1, 1, 1)))
        if fits(model, kernel):
            assert_same_bits(model, inputs(model, rng), kernel=kernel)
            ran += 1
    assert ran > 8 or (weight == "random" and "c4" in kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_widths(kernel: str) -> None:
    """Every width around the tile, strides and dilations."""
    rng = np.random.default_rng(1)
    for w, stride, dilation in itertools.product(range(1, 10), [1, 2, 3], [1, 2]):
        for icg, ocg in [(1, 2), (2, 2), (4, 4), (8, 8), (16, 16)]:
            net = Net(rng, Style(weight="safe"))
            window = {"stride": (stride, stride), "dilation": (dilation, dilation), "padding": (2, 2, 2, 2)}
            model = net.model(grouped(net, (5, w), 8, icg, ocg, kernel=(3, 3), **window))
            if fits(model, kernel):
                assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extremes(kernel: str, weight: str, zero_point: int) -> None:
    """Weights, activations, zero points and scales at their limits: nothing saturates on the way."""
    rng = np.random.default_rng(2)
    for kind, (icg, ocg), spread in itertools.product(
        INPUTS, [(1, 2), (2, 2), (4, 4), (8, 8), (16, 16)], [1 / 64, 1.0]
    ):
        net = Net(rng, Style(weight=weight, zero_point=zero_point, spread=spread))
        model = net.model(grouped(net, (4, 3), 5, icg, ocg, kernel=(3, 3), padding=(1, 1, 1, 1)))
        if fits(model, kernel):
            assert_same_bits(model, inputs(model, rng, kind), kernel=kernel)


def test_great_multipliers(isa: str) -> None:
    """Sums times a multiplier that int32 cannot hold: they come to the limits all the same."""
    rng = np.random.default_rng(5)
    for icg in [2, 4, 8, 16]:
        net = Net(rng, Style(weight="safe", spread=2.0**-40, clamp="none"))
        model = net.model(grouped(net, (4, 5), 64 // icg, icg, icg, kernel=(3, 3), padding=(1, 1, 1, 1)))
        assert_same_bits(model, inputs(model, rng), isa=isa)


@st.composite
def group_models(draw: st.DrawFn) -> tuple[Model, Any]:
    """Any window on a small image."""
    h, w, groups = draw(st.integers(1, 10)), draw(st.integers(1, 10)), draw(st.integers(2, 12))
    icg, ocg = draw(st.sampled_from(SIZES))
    net = Net(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(styles()))
    model = net.model(grouped(net, (h, w), groups, icg, ocg, **draw(windows(h, w))))
    return model, inputs(model, net.rng, draw(st.sampled_from(INPUTS)), draw(st.integers(1, 2)))


@given(case=group_models(), threads=st.integers(1, 3))
def test_any_window(isa: str, case: tuple[Model, Any], threads: int) -> None:
    """Windows, strides, dilations and paddings that Hypothesis draws."""
    assert_same_bits(*case, isa=isa, threads=threads)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("tail", ["table", "add", "table + add"])
def test_fused_tail(isa: str, fuse: bool, tail: str) -> None:
    """A table, a residual, and both behind the convolution, fused or not."""
    rng = np.random.default_rng(3)
    for w, icg, groups in itertools.product([1, 4, 7], [2, 4, 16], [3, 16]):
        net = Net(rng, Style(weight="safe"))
        x = net.input((6, w, icg * groups))
        y = net.conv2d(x, icg * groups, kernel=(3, 3), padding=(1, 1, 1, 1), groups=groups)
        if "table" in tail:
            y = net.table(y)
        if "add" in tail:
            y = net.binary("add", x, y)
        model = net.model(y)
        assert_same_bits(model, inputs(model, rng), isa=isa, fuse=fuse)


def test_views(isa: str) -> None:
    """Input and output that are slices of wider tensors: the bytes between their pixels belong to others."""
    rng = np.random.default_rng(4)
    for icg, left in itertools.product([2, 4, 8, 16], [1, 8, 13]):
        net = Net(rng, Style(weight="safe"))
        c = 4 * icg
        x = net.input((7, 9, left + c + 5))
        parts = []
        for begin, end in [(0, left), (left, left + c), (left + c, left + c + 5)]:
            part = net.move("slice", [x], {"axis": 2, "begin": begin, "end": end})
            groups = 4 if end - begin == c else 1
            parts.append(net.conv2d(part, end - begin, kernel=(3, 3), padding=(1, 1, 1, 1), groups=groups))
        model = net.model(net.move("concat", parts, {"axis": 2}))
        assert_same_bits(model, inputs(model, rng), isa=isa)
