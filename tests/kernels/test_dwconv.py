"""Depthwise convolution: every kernel of every ISA level against the reference, bit for bit, between guard pages."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import channels, styles, windows

from lightkern import _core, reference
from lightkern.model import Model
from lightkern.session import Session

KERNELS = [name for op, isa, name in _core.kernels() if op == "dwconv" and isa in _core.isa_levels()]


def depthwise(net: Net, shape: tuple[int, int, int], **window: Any) -> str:
    """A depthwise convolution of a new input."""
    return net.conv2d(net.input(shape), shape[-1], groups=shape[-1], **window)


def fits(model: Model, kernel: str) -> bool:
    """Whether the kernel takes the model's convolutions; it must say why if not."""
    try:
        Session(model, kernel=kernel)
    except ValueError as error:
        if f"kernel {kernel}: " not in str(error):
            raise
        return False
    return True


def check(model: Model, x: Any, **options: Any) -> None:
    """Assert that a session gives the reference's bits and, if one is asked for, ran the kernel."""
    session = Session(model, guarded=True, **options)
    if options.get("kernel"):
        assert options["kernel"] in [step["kernel"] for step in session.packed.steps]
    y, expected = session.run(x), reference.run(model, x)
    if isinstance(expected, dict):
        assert y.keys() == expected.keys()
        for name, value in expected.items():
            assert_array_equal(y[name], value)
    else:
        assert_array_equal(y, expected)


def same(k: int) -> tuple[int, int, int, int]:
    """Padding that keeps the size at stride 1."""
    return (k // 2,) * 4


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
def test_small_sizes(kernel: str, k: int, stride: int) -> None:
    """Every width and height around the tiles, with a channel tail."""
    rng = np.random.default_rng(k + stride)
    ran = 0
    for h, w in itertools.product([1, 2, 3, 4, 5, 8], range(1, 18)):
        net = Net(rng)
        model = net.model(depthwise(net, (h, w, 19), kernel=(k, k), stride=(stride, stride), padding=same(k)))
        if fits(model, kernel):
            check(model, inputs(model, rng), kernel=kernel)
            ran += 1
    assert ran in (0, 102)


@pytest.mark.parametrize("kernel", KERNELS)
def test_channels(kernel: str) -> None:
    """Every number of channels over two blocks, for each window that the kernel takes."""
    rng = np.random.default_rng(1)
    ran = 0
    for c, (k, stride) in itertools.product(range(1, 68), [(3, 1), (5, 2)]):
        net = Net(rng)
        model = net.model(depthwise(net, (5, 6, c), kernel=(k, k), stride=(stride, stride), padding=same(k)))
        if fits(model, kernel):
            check(model, inputs(model, rng), kernel=kernel)
            ran += 1
    assert ran > 0 or "3x3s2" in kernel or "5x5s1" in kernel


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extremes(kernel: str, weight: str, zero_point: int) -> None:
    """Weights, activations, zero points and scales at their limits: nothing saturates on the way."""
    rng = np.random.default_rng(2)
    for kind, k, stride, spread in itertools.product(INPUTS, [3, 5], [1, 2], [1 / 64, 1.0]):
        net = Net(rng, Style(weight=weight, zero_point=zero_point, spread=spread))
        model = net.model(depthwise(net, (6, 7, 9), kernel=(k, k), stride=(stride, stride), padding=same(k)))
        if fits(model, kernel):
            check(model, inputs(model, rng, kind), kernel=kernel)


@st.composite
def depthwise_models(draw: st.DrawFn) -> tuple[Model, Any]:
    """Any window on a small image."""
    h, w, c = draw(st.integers(1, 14)), draw(st.integers(1, 20)), draw(channels())
    net = Net(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(styles()))
    model = net.model(depthwise(net, (h, w, c), **draw(windows(h, w, most=7))))
    return model, inputs(model, net.rng, draw(st.sampled_from(INPUTS)), draw(st.integers(1, 2)))


@given(case=depthwise_models(), threads=st.integers(1, 3))
def test_any_window(isa: str, case: tuple[Model, Any], threads: int) -> None:
    """Windows, strides, dilations and paddings that Hypothesis draws."""
    check(*case, isa=isa, threads=threads)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("tail", ["table", "add", "table + add"])
def test_fused_tail(isa: str, fuse: bool, tail: str) -> None:
    """A table, a residual, and both behind the convolution, fused or not."""
    rng = np.random.default_rng(3)
    for w, k, c in itertools.product([1, 5, 9], [3, 5], [3, 16, 33]):
        net = Net(rng)
        x = net.input((6, w, c))
        y = net.conv2d(x, c, kernel=(k, k), padding=same(k), groups=c)
        if "table" in tail:
            y = net.table(y)
        if "add" in tail:
            y = net.binary("add", x, y)
        check(net.model(y), inputs(net.model(y), rng), isa=isa, fuse=fuse)


@pytest.mark.parametrize("stride", [1, 2])
def test_views(isa: str, stride: int) -> None:
    """Input and output that are slices of wider tensors: the bytes between their pixels belong to others."""
    rng = np.random.default_rng(4)
    for c, left in itertools.product([1, 7, 8, 20], [1, 8, 13]):
        net = Net(rng)
        x = net.input((7, 9, left + c + 5))
        window = {"kernel": (3, 3), "stride": (stride, stride), "padding": same(3)}
        parts = []
        for begin, n in ((0, left), (left, c), (left + c, 5)):
            part = net.move("slice", [x], {"axis": 2, "begin": begin, "end": begin + n})
            parts.append(net.conv2d(part, n, groups=n, **window))
        parts = [net.table(part, net.quants[parts[0]]) for part in parts]
        model = net.model(net.move("concat", parts, {"axis": 2}))
        check(model, inputs(model, rng), isa=isa)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_units(isa: str, k: int, stride: int) -> None:
    """A layer that is cut into bands and slices: any number of threads gives the same bits."""
    rng = np.random.default_rng(5)
    net = Net(rng)
    model = net.model(depthwise(net, (61, 37, 150), kernel=(k, k), stride=(stride, stride), padding=same(k)))
    session = Session(model, isa=isa)
    assert session.packed.steps[0]["units"] >= 8
    x = inputs(model, rng)
    expected = reference.run(model, x)
    for threads in (1, 2, 3):
        assert_array_equal(Session(model, isa=isa, threads=threads).run(x), expected)
