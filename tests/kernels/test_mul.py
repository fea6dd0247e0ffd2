"""mul: every kind of broadcast; squeeze-excite is the "channel" kind."""

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

KERNELS = kernels_of("mul")
OPS = ("mul",)


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
def test_one_row_for_all_rows(kernel):
    """Squeeze-and-excitation: every pair of values, rows of several blocks, and factors that leave 32 bits.

    Scales like those of real models, which avx512vnni multiplies in integers, and powers of two, whose exact middles
    it leaves to floats.
    """
    rng = np.random.default_rng(4)
    for columns, scales, clamp in (
        (256, (0.5, 0.25, 16.0), (-128, 127)),
        (255, (0.0625, 0.03125, 0.25), (-128, 127)),
        (600, (256.0, 256.0, 1.0), (-128, 127)),
        (256, (0.0173, 0.00391, 0.0131), (-128, 127)),
        (330, (0.0173, 0.00391, 0.0131), (3, 90)),
        (256, (0.0173, 0.1, 0.0131), (-128, 127)),
        (256, (1e-5, 1e-5, 1.0), (-128, 127)),
        (256, (1.0, 1 / 254, 1.0), (-128, 127)),
        (256, (0.31, 0.27, 0.0131), (3, 3)),
    ):
        net = Net(rng, Style(clamp="none"))
        a, b = (
            net.input(shape, quant=Quant(float32(s), z))
            for shape, s, z in (((256, columns), scales[0], -7), ((columns,), scales[1], -128))
        )
        y = net.binary("mul", a, b)
        net.quants[y] = Quant(float32(scales[2]), 3)
        net.nodes[-1].attrs["clamp"] = list(clamp)
        x = {
            "input0": np.broadcast_to(np.arange(-128, 128)[:, None], (1, 256, columns)).astype(np.int8),
            "input1": (np.arange(columns)[None] % 256 - 128).astype(np.int8),
        }
        assert_same_bits(net.model(y), x, kernel=kernel)


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
