"""globalpool: the mean of each channel."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("globalpool")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("global_avg_pool"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_channel_count(kernel):
    check_shapes(kernel, lambda net, x: net.global_avg_pool(x), [(3, 3, c) for c in (*range(1, 67), 129)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_pixel_counts(kernel):
    """Sums of 16 bits overflow from 257 pixels on, sums in float lose bits from 2**16 pixels on."""
    pixels = [(1, 2), (7, 7), (8, 16), (127, 2), (255, 1), (256, 1), (257, 1), (57, 9), (100, 100), (300, 301)]
    check_shapes(kernel, lambda net, x: net.global_avg_pool(x), [(*hw, c) for hw in pixels for c in (17, 9)])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.global_avg_pool(net.input((90, 90, 300))))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
