"""avgpool: windows of any size, the padding counted or not."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("avgpool")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("avg_pool"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("include", [False, True])
def test_every_channel_count(kernel, include):
    def build(net, x):
        return net.avg_pool(x, (3, 3), (2, 2), (1, 1, 1, 1), count_include_pad=include)

    check_shapes(kernel, build, [(4, 5, c) for c in range(1, 67)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 2), (7, 7), (11, 12), (17, 16), (40, 40)])
def test_window_sizes_with_extreme_values(kernel, window):
    """A window of 40x40 values of 255 needs more than 16 bits."""
    check_shapes(kernel, lambda net, x: net.avg_pool(x, window, (3, 2)), [(41, 42, c) for c in (1, 16, 19, 33, 5)])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.avg_pool(net.input((153, 150, 24)), (3, 3), (1, 2), (1, 1, 0, 1)))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
