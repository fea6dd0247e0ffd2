"""reorder: reshapes between channels first and channels last, and int8 arrays at the API."""

import numpy as np
import pytest
from builders import Net, inputs
from hypothesis import given
from kernel_checks import assert_same_bits, kernels_of, strided_input, strided_output
from numpy.testing import assert_array_equal
from strategies import one_node_models

from lightkern.session import Session

KERNELS = kernels_of("reorder")
SHAPES = [(4, 6, 10), (240,), (24, 10), (1, 240), (6, 4, 10), (10, 6, 4), (8, 30, 1), (1, 1, 240)]


@given(case=one_node_models("reshape"))
def test_random_cases(isa, case):
    model, x = case
    assert_same_bits(model, x, isa=isa)


def moves(order, old, new):
    """Whether elements change their place in memory."""
    x = np.arange(240).reshape(old)
    if order == "CHW":
        flat = x.transpose(2, 0, 1).ravel() if len(old) == 3 else x.ravel()
        y = flat.reshape(new[2], new[0], new[1]).transpose(1, 2, 0) if len(new) == 3 else flat.reshape(new)
        return not np.array_equal(y.ravel(), x.ravel())
    return False


@pytest.mark.parametrize("order", ["CHW", "HWC"])
@pytest.mark.parametrize("old", SHAPES)
def test_all_pairs_of_shapes(order, old, isa):
    """A reshape that moves nothing is a view and has no step."""
    rng = np.random.default_rng(0)
    for new in SHAPES:
        net = Net(rng)
        model = net.model(net.move("reshape", [net.input(old)], {"shape": list(new), "order": order}))
        assert_same_bits(model, inputs(model, rng, n=2), isa=isa)
        assert len(Session(model).explain()) == moves(order, old, new), new


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gap", [0, 5])
def test_kernel(kernel, gap):
    rng = np.random.default_rng(gap)
    for shape in ((7, 7, 33), (1, 5, 3), (16, 16, 16), (3, 3, 64), (9, 4, 65)):
        flat = [int(np.prod(shape))]
        net = Net(rng)
        y = net.move("reshape", [strided_input(net, shape, gap)], {"shape": flat, "order": "CHW"})
        back = net.move("reshape", [y], {"shape": [shape[1], shape[0], shape[2]], "order": "CHW"})
        model = net.model(strided_output(net, back, gap), y)
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    x = net.input((40, 42, 64))
    model = net.model(net.move("reshape", [x], {"shape": [40 * 42 * 64], "order": "CHW"}))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("threads", [1, 3])
def test_int8_arrays_at_the_api(layout, threads, isa):
    """What goes in comes out, whatever the layout, in batches and with gaps between the pixels."""
    rng = np.random.default_rng(2)
    for shape in ((224, 224, 3), (5, 7, 1), (3, 2, 4), (17, 9, 19), (8, 8, 64)):
        net = Net(rng)
        x = net.input(shape, layout)
        other = net.input((*shape[:2], 2), layout, net.quants[x])
        both = net.move("concat", [x, other], {"axis": 2})
        model = net.model(x, both, layout=layout)
        x = inputs(model, rng, n=2)
        assert_same_bits(model, x, isa=isa, threads=threads)
        assert_array_equal(Session(model, isa=isa).run(x)["output0"], x["input0"])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("gap", [0, 1, 5, 9])
def test_few_channels_of_int8(kernel, gap):
    """Fewer than 8 channels: loads 8 bytes wide must stop before the last pixels, narrow stores spare the gaps."""
    rng = np.random.default_rng(gap)
    for channels in range(1, 10):
        for pixels in (1, 7, 8, 9, 15, 16, 17, 24, 33):
            for layout in ("NCHW", "NHWC"):
                net = Net(rng)
                x = net.input((1, pixels, channels), layout)
                wide = strided_input(net, (1, pixels, channels), gap)
                model = net.model(x, wide, layout=layout)
                assert_same_bits(model, inputs(model, rng, n=2), isa=kernel.rsplit("_", 1)[1])
