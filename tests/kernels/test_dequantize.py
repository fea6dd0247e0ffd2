"""dequantize: int8 tensors become float32 arrays at the API, in any layout."""

import numpy as np
import pytest
from builders import Net
from kernel_checks import assert_same_bits, kernels_of, strided_input

from lightkern.model import Quant

KERNELS = kernels_of("dequantize")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_every_value(kernel, zero_point):
    for scale in (1.0, 0.0187, 1.2e-38, 3e38 / 255):
        net = Net(np.random.default_rng(0))
        quant = Quant(float(np.float32(scale)), zero_point)
        model = net.model(net.input((256,), quant=quant))
        x = quant.dequantize(np.arange(-128, 128, dtype=np.int8)[None])
        assert_same_bits(model, x, isa=kernel.rsplit("_", 1)[1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("gap", [0, 3])
def test_shapes(kernel, layout, gap):
    rng = np.random.default_rng(1)
    for shape in [(1, p, c) for p in (1, 2, 7, 9, 16, 33) for c in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 65)]:
        net = Net(rng)
        model = net.model(strided_input(net, shape, gap), layout=layout)
        x = rng.normal(0, 2, (2, *model.inputs[0].api_shape)).astype(np.float32)
        assert_same_bits(model, x, isa=kernel.rsplit("_", 1)[1])
