"""3x3 convolution by transformed tiles: every kernel against the reference, bit for bit, between guard pages."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_same_bits, fits, kernels_of, strided_input, strided_output
from strategies import styles

from lightkern import _core
from lightkern.model import Model
from lightkern.session import Session

KERNELS = kernels_of("winograd")
PADDINGS = [(1, 1, 1, 1), (0, 0, 0, 0), (2, 1, 0, 3)]
SIZES = [(8, 8), (16, 8), (8, 16), (24, 8), (40, 16)]  # (icg, ocg)


def conv3x3(net: Net, x: str, groups: int, ocg: int, padding: tuple[int, int, int, int] = (1, 1, 1, 1)) -> str:
    """A 3x3 convolution at stride 1."""
    return net.conv2d(x, groups * ocg, kernel=(3, 3), padding=padding, groups=groups)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizes(kernel: str) -> None:
    """Every height and width over two steps of tiles (of up to 7), with whole and partial tiles."""
    rng = np.random.default_rng(0)
    for i, (h, w) in enumerate(
        itertools.chain(itertools.product(range(1, 6), range(1, 6)), [(3, w) for w in range(6, 31)])
    ):
        net = Net(rng)
        padding = PADDINGS[0] if min(h, w) < 3 else PADDINGS[i % 3]
        model = net.model(conv3x3(net, net.input((h, w, 24)), 3, 8, padding))
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels(kernel: str) -> None:
    """Channels per group, numbers of groups around the block, pixels with gaps between them."""
    rng = np.random.default_rng(1)
    for (icg, ocg), groups, gap in itertools.product(SIZES, [1, 2, 3], [0, 5]):
        net = Net(rng)
        y = conv3x3(net, strided_input(net, (5, 7, groups * icg), gap), groups, ocg)
        model = net.model(strided_output(net, y, gap))
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_long_rows(kernel: str) -> None:
    """Rows of several stretches of tiles, in narrow and in wide blocks."""
    rng = np.random.default_rng(2)
    for width, channels in [(131, 16), (129, 8), (70, 64), (37, 272)]:
        net = Net(rng)
        model = net.model(conv3x3(net, net.input((3, width, channels)), 1, 8))
        assert_same_bits(model, inputs(model, rng), kernel=kernel, threads=2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extremes(kernel: str, weight: str, zero_point: int) -> None:
    """Weights, activations, zero points and scales at their limits: transformed, all still fit 16 bits."""
    rng = np.random.default_rng(3)
    for kind, spread in itertools.product(INPUTS, [1 / 64, 1.0, 64.0]):
        net = Net(rng, Style(weight=weight, zero_point=zero_point, spread=spread))
        model = net.model(conv3x3(net, net.input((4, 5, 32)), 2, 8))
        assert_same_bits(model, inputs(model, rng, kind), kernel=kernel)


@st.composite
def models(draw: st.DrawFn) -> tuple[Model, Any]:
    """Any image and padding."""
    h, w, groups = draw(st.integers(3, 12)), draw(st.integers(3, 12)), draw(st.integers(1, 5))
    icg, ocg = draw(st.sampled_from(SIZES))
    net = Net(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(styles()))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    model = net.model(conv3x3(net, net.input((h, w, groups * icg)), groups, ocg, padding))
    return model, inputs(model, net.rng, draw(st.sampled_from(INPUTS)), draw(st.integers(1, 2)))


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=models(), threads=st.integers(1, 3))
def test_any(kernel: str, case: tuple[Model, Any], threads: int) -> None:
    """Images, groups, paddings and styles that Hypothesis draws."""
    assert_same_bits(*case, kernel=kernel, threads=threads)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("tail", ["table", "add", "table + add"])
def test_fused_tail(kernel: str, fuse: bool, tail: str) -> None:
    """A table, a residual, and both behind the convolution, fused or not."""
    rng = np.random.default_rng(4)
    for w, groups, channels in [(4, 3, 24), (7, 2, 32), (9, 1, 16)]:
        net = Net(rng)
        x = net.input((5, w, channels))
        y = conv3x3(net, x, groups, channels // groups)
        if "table" in tail:
            y = net.table(y)
        if "add" in tail:
            y = net.binary("add", x, y)
        model = net.model(y)
        assert_same_bits(model, inputs(model, rng), kernel=kernel, fuse=fuse)


@pytest.mark.parametrize("kernel", [k for k in KERNELS if "scalar" not in k])
def test_what_it_refuses(kernel: str) -> None:
    """Channels that fill no register, a bias that would not fit four times; another kernel takes over."""
    rng = np.random.default_rng(5)
    for icg, ocg, bias in [(4, 8, 0), (8, 12, 0), (8, 8, 2**29)]:
        net = Net(rng)
        y = conv3x3(net, net.input((4, 4, 2 * icg)), 2, ocg)
        net.nodes[-1].params["bias"][:] += np.int32(bias)
        model = net.model(y)
        assert not fits(model, kernel)
        assert_same_bits(model, inputs(model, rng))


def test_where_it_is_preferred() -> None:
    """On the level that has it, for 3x3 at stride 1 in groups that fill registers and images that fill tiles."""
    best = _core.isa_levels()[0]
    has_kernel = any(op == "winograd" and isa == best != "scalar" for op, isa, _ in _core.kernels())

    def chosen(hw: int, channels: int, groups: int, kernel: int = 3, stride: int = 1, weight: str = "safe") -> bool:
        net = Net(np.random.default_rng(6), Style(weight=weight))
        window: dict[str, Any] = {"kernel": (kernel, kernel), "padding": (kernel // 2,) * 4, "stride": (stride, stride)}
        y = net.conv2d(net.input((hw, hw, channels)), channels, groups=groups, **window)
        (step,) = Session(net.model(y)).explain()
        return step.kernel.startswith("winograd_")

    assert chosen(14, 64, 8) == chosen(28, 64, 1) == chosen(7, 64, 8, weight="max") == has_kernel
    assert not chosen(7, 64, 8), "a quarter of the tiles lies outside, and gemm needs no further steps"
    assert not chosen(3, 64, 8, weight="max"), "7 of 16 outputs lie outside"
    assert not chosen(14, 64, 1), "a small image for so many weights"
    assert not chosen(14, 64, 8, stride=2)
    assert not chosen(14, 64, 8, kernel=5)
    assert not chosen(14, 64, 16), "groups of 4"
    assert not chosen(14, 272, 1), "too many weights"
