"""maxpool: windows of any size and dilation."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("maxpool")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("max_pool"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_channel_count(kernel):
    def build(net, x):
        return net.max_pool(x, (3, 3), (2, 2), (1, 1, 1, 1))

    check_shapes(kernel, build, [(4, 5, c) for c in range(1, 67)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize("window", [(1, 1), (2, 2), (3, 2), (5, 5)])
def test_windows(kernel, window, dilation):
    def build(net, x):
        pad = [(k - 1) * d // 2 for k, d in zip(window, dilation, strict=True)]
        return net.max_pool(x, window, (1, 2), (pad[0], pad[1], pad[0], pad[1]), dilation)

    check_shapes(kernel, build, [(13, 18, c) for c in (3, 16, 40)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (1, 2, 2, 1)])
def test_3x3_at_stride_2(kernel, padding):
    """Outputs that share a column, of which either may lie in the padding; lengths that end on any tap."""
    shapes = [
        (h, w, c) for h, w in ((3, 3), (4, 9), (5, 6), (8, 3), (7, 14), (6, 15)) for c in (7, 8, 13, 18, 24, 25, 70)
    ]
    check_shapes(kernel, lambda net, x: net.max_pool(x, (3, 3), (2, 2), padding), shapes)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(net.max_pool(net.input((153, 150, 24)), (3, 3), (1, 2), (1, 1, 0, 1)))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
    net = Net(rng)
    model = net.model(net.max_pool(net.input((155, 150, 24)), (3, 3), (2, 2), (1, 1, 0, 1)))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
