"""prelu: one slope per channel for negative values."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("prelu")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("prelu"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_row_length(kernel):
    check_shapes(kernel, lambda net, x: net.prelu(x), [(2, 2, c) for c in range(1, 67)])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.prelu(net.input((100, 90, 24))))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
