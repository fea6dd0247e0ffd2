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


@pytest.mark.parametrize("kernel", KERNELS)
def test_functions_of_every_range(kernel):
    """Smooth functions, some with kinks, which kernels may compute by lines instead of looking them up."""
    functions = {
        "hard-swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
        "hard-sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
        "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "leaky relu": lambda x: np.where(x < 0, 0.1 * x, x),
        "absolute": np.abs,
        "square": np.square,
    }
    q = np.arange(-128, 128)
    for f in functions.values():
        for low, high in ((-2.5, 9.0), (-4.0, 4.0), (-8.0, 8.0), (-1.0, 30.0), (-40.0, 20.0), (-200.0, 1.0)):
            y = f(low + (q + 128) * (high - low) / 255)
            net = Net(np.random.default_rng(0))
            out = net.table(net.input((1, 1, 256)))
            net.nodes[-1].params["table"] = np.rint((y - y.min()) / (np.ptp(y) / 255) - 128).astype(np.int8)
            assert_same_bits(net.model(out), q.reshape(1, 1, 1, 256).astype(np.int8), kernel=kernel)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    for shape in ((80, 81, 33), (1, 1, 170001), (300, 1, 300)):
        net = Net(rng)
        model = net.model(net.table(net.input(shape)))
        assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
