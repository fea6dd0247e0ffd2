"""table: any function of one value."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, check_shapes, kernels_of
from strategies import one_node_models

KERNELS = kernels_of("table")


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("table"))
def test_random_cases(kernel, case):
    model, x = case
    assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_row_length(kernel):
    check_shapes(kernel, lambda net, x: net.table(x), [(1, 3, c) for c in range(1, 130)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_value_of_every_kind_of_table(kernel):
    rng = np.random.default_rng(0)
    q = np.arange(-128, 128)
    tables = {
        "identity": q,
        "reversed": -1 - q,
        "constant": np.full(256, -128),
        "relu": np.maximum(q, 3),
        "clamped": np.clip(q, -7, 90),
        "step": np.where(q < 5, -128, 127),
        "swish": np.rint(q / (1 + np.exp(-q / 16.0))),
        "random": rng.integers(-128, 128, 256),
    }
    for values in tables.values():
        net = Net(rng)
        y = net.table(net.input((4, 8, 64)))
        net.nodes[-1].params["table"] = values.astype(np.int8)
        model = net.model(y)
        x = np.stack([rng.permutation(2048).reshape(4, 8, 64) for _ in range(2)]).astype(np.int8)
        assert_same_bits(model, x, kernel=kernel)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    for shape in ((80, 81, 33), (1, 1, 170001), (300, 1, 300)):
        net = Net(rng)
        model = net.model(net.table(net.input(shape)))
        assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
