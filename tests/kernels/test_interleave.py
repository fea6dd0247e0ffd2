"""interleave: channel shuffles, alone or behind a concat."""

import numpy as np
import pytest
from builders import Net, inputs
from emulation import thinned
from hypothesis import given
from kernel_checks import assert_same_bits, kernels_of, strided_input, strided_output
from strategies import one_node_models

from lightkern.session import Session

KERNELS = kernels_of("interleave")


def fits(kernel, parts):
    """Whether the kernel takes this number of parts: its tile says so, as in interleave_s8_2x32_avx2; 1 takes any."""
    tile = kernel.split("_")[2]
    return "x" not in tile or int(tile.split("x")[0]) == parts


def shuffle(net, x, groups):
    return net.move("channel_shuffle", [x], {"groups": groups})


@given(case=one_node_models("channel_shuffle"))
def test_random_cases(isa, case):
    model, x = case
    assert_same_bits(model, x, isa=isa)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("parts", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("gap", [0, 7])
def test_every_channel_count(kernel, parts, gap):
    if not fits(kernel, parts):
        net = Net(np.random.default_rng(0))
        model = net.model(shuffle(net, net.input((2, 2, 6 * parts)), parts))
        with pytest.raises(ValueError, match="another number of parts"):
            Session(model, kernel=kernel)
        return
    rng = np.random.default_rng(parts)
    for c in thinned(range(1, 67), 3 if gap else 1):
        net = Net(rng)
        y = shuffle(net, strided_input(net, (2, 3, c * parts), gap), parts)
        model = net.model(strided_output(net, y, gap))
        assert_same_bits(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("parts", [2, 3, 4, 6])
@pytest.mark.parametrize("fuse", [True, False])
def test_concat_and_shuffle(kernel, parts, fuse):
    """Fused, they are one step that reads the parts where they are."""
    if not fits(kernel, parts):
        pytest.skip("the kernel takes another number of parts")
    rng = np.random.default_rng(parts)
    for c in (1, 8, 16, 29, 58):
        net = Net(rng)
        wide = net.input((3, 4, c + 5))
        quant = net.quants[wide]
        xs = [net.move("slice", [wide], {"axis": 2, "begin": 2, "end": 2 + c})]
        xs += [net.input((3, 4, c), quant=quant) for _ in range(parts - 1)]
        model = net.model(shuffle(net, net.move("concat", xs, {"axis": 2}), parts))
        assert_same_bits(model, inputs(model, rng), kernel=kernel, fuse=fuse)
        ops = [step.op for step in Session(model, fuse=fuse).explain()]
        assert ops == (["concat + channel_shuffle"] if fuse else ["concat", "channel_shuffle"])


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_threads(threads, isa):
    rng = np.random.default_rng(1)
    net = Net(rng)
    model = net.model(shuffle(net, net.input((56, 56, 116)), 2))
    assert_same_bits(model, inputs(model, rng), isa=isa, threads=threads)
