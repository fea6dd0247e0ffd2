"""add and sub: operands of two scales, every kind of broadcast."""

import numpy as np
import pytest
from builders import Net, Style, float32, inputs
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import (
    BROADCASTS,
    assert_same_bits,
    check_broadcasts,
    check_every_pair,
    kernels_of,
    strided_output,
)
from strategies import one_node_models

from lightkern.model import Quant

KERNELS = kernels_of("add")
OPS = ("add", "sub")

PAIRS = {
    "usual": (0.73160427, 0.61423351, 1.0, "none"),
    "unlike": (0.0517243, 0.9713377, 1.0, "relu"),
    "steep": (7.3171943, 1.9123771, 1.0, "none"),
    "whole": (1.0, 2.0, 1.0, "none"),
    "near ties": (0.4, 0.7, 1.0, "none"),
    "halves": (0.5, 0.5, 1.0, "none"),
    "halves of one": (1.0, 0.5, 1.0, "relu"),
    "quarters": (0.25, 0.75, 1.0, "relu6"),
    "limited": (0.8314159, 0.6718281, 1.0, "relu6"),
    "one value": (0.8314159, 0.6718281, 1.0, "point"),
    "tiny": (1e-5, 1e-5, 1.0, "none"),
    "huge": (90.0, 3.0, 0.01, "none"),
    "huge and tiny": (1e5, 1e-5, 1e-2, "none"),
}
"""Scales of a, b and the sum, and limits.

x86 adds those without ties in integers (`AddFit`), the others, even two decimals have too many, in floats.
"""


def pair_net(name: str, zero_points: tuple[int, int, int], op: str, shape: tuple[int, ...], identity: bool) -> Net:
    """A net that adds two inputs of a shape, the first maybe behind a convolution that changes nothing."""
    *scales, limits = PAIRS[name]
    quants = [Quant(float32(s), z) for s, z in zip(scales, zero_points, strict=True)]
    net = Net(np.random.default_rng(0), Style(clamp="none"))
    a, b = (net.input(shape, quant=q) for q in quants[:2])
    if identity:
        a = net.conv2d(a, shape[-1])
        net.nodes[-1].params["weight"][:] = 64 * np.eye(shape[-1]).reshape(net.nodes[-1].params["weight"].shape)
        net.nodes[-1].params["weight_scale"][:] = 1 / 64
        net.nodes[-1].params["bias"][:] = 0
        net.quants[a] = quants[0]
    y = net.binary(op, a, b)
    net.quants[y] = quants[2]
    zy = zero_points[2]
    clamp = {"none": (-128, 127), "relu": (zy, 127), "relu6": (zy, min(zy + 99, 127)), "point": (zy, zy)}[limits]
    net.nodes[-1].attrs["clamp"] = list(clamp)
    return net


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("op", OPS)
@given(data=st.data())
def test_random_cases(kernel, op, data):
    model, x = data.draw(one_node_models(op))
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", BROADCASTS)
def test_every_row_length_of_every_broadcast(kernel, kind):
    check_broadcasts(kernel, OPS, kind)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("op", OPS)
def test_every_pair_of_values(kernel, op):
    check_every_pair(kernel, op)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_of_values_of_every_kind_of_scales(kernel, op, name):
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    for zero_points in ((-3, 12, 5), (-128, 127, -128), (127, -128, 0)):
        net = pair_net(name, zero_points, op, (256, 256), identity=False)
        x = {"input0": a[None].astype(np.int8), "input1": b[None].astype(np.int8)}
        assert_same_bits(net.model(net.nodes[-1].output), x, kernel=kernel)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_of_values_behind_a_convolution(isa, op, name):
    """The same in the epilogue of a convolution: panels of 32 channels, of 16, and of fewer."""
    for channels in (256, 80, 48, 24, 16):
        pixels = -(-(256 * 256) // (16 * channels))
        net = pair_net(name, (-3, 12, 5), op, (16, pixels, channels), identity=True)
        a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
        x = {f"input{i}": np.resize(v, (1, 16, pixels, channels)).astype(np.int8) for i, v in enumerate((a, b))}
        assert_same_bits(net.model(net.nodes[-1].output), x, isa=isa)


@pytest.mark.parametrize("op", OPS)
def test_ties_round_to_even(op, isa):
    """Scales that are powers of two put many results exactly between two integers."""
    rng = np.random.default_rng(3)
    for sa, sb, sy in ((0.5, 0.5, 1.0), (0.25, 0.5, 1.0), (0.125, 0.0625, 0.5), (1.0, 1.0, 64.0)):
        net = Net(rng, Style(clamp="none"))
        xs = [net.input((16, 256), quant=Quant(s, z)) for s, z in ((sa, 3), (sb, -5))]
        y = net.binary(op, *xs)
        net.quants[y] = Quant(sy, -1)
        model = net.model(y)
        assert_same_bits(model, inputs(model, rng), isa=isa)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("op", OPS)
def test_threads(op, threads, isa):
    rng = np.random.default_rng(4)
    for shape, second in (((80, 41, 33), (80, 41, 33)), ((70, 70, 24), (24,)), ((70, 70, 24), (70, 70, 1))):
        net = Net(rng)
        y = net.binary(op, net.input(shape), net.input(second))
        model = net.model(strided_output(net, y, 8 * (threads % 2)))
        assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
