"""resize: bilinear and nearest, from tables of positions."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("resize")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("resize"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "random"])
def test_every_channel_count(kernel, mode):
    check_shapes(kernel, lambda net, x: net.resize(x, (5, 4), mode), [(3, 2, c) for c in range(1, 67)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_fraction(kernel):
    """All of one axis, against three of the other."""
    rng = np.random.default_rng(0)
    fractions = np.arange(2049, dtype=np.int32)
    for c in (1, 16, 17):
        net = Net(rng)
        params = {
            "y_low": rng.integers(0, 2, 3).astype(np.int32),
            "y_fraction": np.array([0, 1023, 2048], np.int32),
            "x_low": rng.integers(0, 3, 2049).astype(np.int32),
            "x_fraction": fractions,
        }
        model = net.model(net.move("resize", [net.input((2, 3, c))], {}, params))
        assert_same_bits(model, inputs(model, rng, "alternate"), kernel=kernel)
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.resize(net.input((40, 41, 24)), (81, 79)))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
