"""softmax along the channels."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("softmax")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("softmax"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_row_length(kernel):
    check_shapes(kernel, lambda net, x: net.softmax(x), [(1, 2, c) for c in range(1, 67)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_long_rows(kernel):
    """The sum of 2**23 each needs more than 32 bits from 256 equal values on."""
    check_shapes(kernel, lambda net, x: net.softmax(x), [(c,) for c in (255, 256, 257, 1000, 1001, 40000)])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.softmax(net.input((20, 50, 21))))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
