"""concat, slice and pad: views where they can be, else copies."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_same_bits, kernels_of, strided_input, strided_output
from strategies import one_node_models

from lightkern.session import Session

KERNELS = kernels_of("copy")


@pytest.mark.parametrize("op", ["concat", "slice", "pad"])
@given(data=st.data())
def test_random_cases(op, isa, data):
    model, x = data.draw(one_node_models(op))
    assert_same_bits(model, x, isa=isa)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_concat(kernel, axis, gap):
    """The parts are inputs of the model, so they cannot lie inside the output."""
    rng = np.random.default_rng(axis)
    for c in (1, 3, 16, 40):
        net = Net(rng)
        xs = [strided_input(net, (3, 4, c), gap) for _ in range(3)]
        y = net.move("concat", [*xs, xs[0]], {"axis": axis})
        model = net.model(strided_output(net, y, gap))
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


def test_concat_of_results_needs_no_step():
    """Also nested, and with a part that is used twice: only its second place is a copy."""
    net = Net(np.random.default_rng(0))
    x = net.input((5, 6, 8))
    quant = net.quants[x]
    parts = [net.table(x, quant) for _ in range(4)]
    inner = net.move("concat", parts[:2], {"axis": 2})
    outer = net.move("concat", [parts[2], inner, parts[3]], {"axis": 2})
    model = net.model(outer)
    assert [step.op for step in Session(model).explain()] == ["table"] * 4
    assert_same_bits(model, inputs(model, net.rng))

    net.move("concat", [parts[0], outer], {"axis": 2})
    model = net.model(net.nodes[-1].output)
    assert [step.op for step in Session(model).explain()] == ["table"] * 4 + ["concat"]
    assert_same_bits(model, inputs(model, net.rng))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("gap", [0, 3])
def test_slices(axis, gap, isa):
    """Of channels and rows they are views; of columns they are copies."""
    rng = np.random.default_rng(axis)
    for begin, end in ((0, 1), (1, 3), (2, 5), (0, 6)):
        net = Net(rng)
        x = strided_input(net, (6, 7, 9), gap)
        parts = [net.move("slice", [x], {"axis": axis, "begin": begin, "end": end})]
        parts.append(net.table(parts[0]))
        model = net.model(*parts)
        assert_same_bits(model, inputs(model, rng, n=2), isa=isa)
        ops = [step.op for step in Session(model, isa=isa).explain()]
        assert ops == (["slice", "table"] if axis == 1 else ["table"])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gap", [0, 3])
def test_pad(kernel, gap):
    rng = np.random.default_rng(gap)
    for padding in ((1, 1, 1, 1), (0, 2, 0, 0), (3, 0, 0, 1), (0, 0, 0, 0)):
        for value in (0.0, -1.0, 1e30):
            net = Net(rng)
            x = strided_input(net, (4, 5, 6), gap)
            y = net.move("pad", [x], {"padding": list(padding), "value": value})
            model = net.model(strided_output(net, y, gap))
            assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    x = net.input((100, 90, 40))
    y = net.move("pad", [x], {"padding": [2, 3, 1, 4], "value": 0.5})
    model = net.model(net.move("concat", [y, y], {"axis": 2}))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
