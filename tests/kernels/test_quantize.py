"""quantize: float32 arrays at the API, in any layout, become int8."""

import numpy as np
import pytest
from builders import Net, float32
from kernel_checks import assert_same_bits, kernels_of
from numpy.testing import assert_array_equal

from lightkern.model import Quant
from lightkern.session import Session

KERNELS = kernels_of("quantize")


def levels_of(kernel):
    return kernel.rsplit("_", 1)[1]


def roundtrip(shape, quant, layout="NHWC"):
    """A model whose output is its input."""
    net = Net(np.random.default_rng(0))
    return net.model(net.input(shape, layout, quant), layout=layout)


def interesting(quant):
    """Values on, beside and between all levels; infinities, the greatest and the least floats."""
    ties = (np.arange(-260, 261) / 2 * np.float64(quant.scale)).astype(np.float32)
    near = [np.nextafter(ties, np.float32(s)) for s in (np.inf, -np.inf)]
    limits = np.finfo(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, limits.max, limits.min, limits.tiny, 1e-45, 2**31, -(2**31)])
    return np.concatenate([ties, *near, special.astype(np.float32)])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("zero_point", [-128, -3, 0, 127])
def test_values(kernel, zero_point):
    for scale in (0.5, 0.0187, 1.0, 3e-38, 1e36):
        quant = Quant(float32(scale), zero_point)
        with np.errstate(over="ignore", invalid="ignore"):
            x = interesting(quant)
        model = roundtrip((len(x),), quant)
        assert_same_bits(model, x[None], isa=levels_of(kernel))
        q = Session(model, isa=levels_of(kernel)).run(x[None])
        assert_array_equal(q, quant.dequantize(quant.quantize(x))[None])


@pytest.mark.parametrize("kernel", KERNELS)
def test_near_the_middle_of_two_levels(kernel):
    """Where a product with 1 / scale would round otherwise than the quotient, and where it just would not."""
    rng = np.random.default_rng(3)
    ties = np.arange(-256, 257) + 0.5
    steps = np.concatenate([[0], *([s * 2.0**-e for s in (-1, 1)] for e in range(10, 25))])
    for scale in np.exp(rng.uniform(-12, 12, 20)):
        quant = Quant(float32(scale), int(rng.integers(-128, 128)))
        exact = (ties[:, None] + steps) * np.float64(quant.scale)
        x = np.concatenate([np.repeat(v, 32) for v in exact.T]).astype(np.float32)  # alone in their vectors, and mixed
        x = np.concatenate([x, rng.permutation(x)])
        assert_same_bits(roundtrip((len(x),), quant), x[None], isa=levels_of(kernel))
        planes = np.stack([x, rng.permutation(x), x[::-1]])[None, :, None]
        assert_same_bits(roundtrip((1, len(x), 3), quant, "NCHW"), planes, isa=levels_of(kernel))


@pytest.mark.parametrize("kernel", KERNELS)
def test_three_planes_of_all_kinds_of_values(kernel):
    """Each special value alone among ordinary ones, in every plane; a NaN is found in any."""
    rng = np.random.default_rng(5)
    for scale in (0.0187, 3e-38, 1e36):
        quant = Quant(float32(scale), -14)
        with np.errstate(over="ignore", invalid="ignore"):
            values = interesting(quant)
        x = np.tile(values.clip(-2, 2), (1, 3, 1, 3))
        for plane in range(3):
            x[0, plane, 0, plane * len(values) : (plane + 1) * len(values)] = rng.permutation(values)
        model = roundtrip((1, x.shape[-1], 3), quant, "NCHW")
        assert_same_bits(model, x, isa=levels_of(kernel))
    session = Session(roundtrip((1, 130, 3), Quant(float32(0.1), 0), "NCHW"), isa=levels_of(kernel), guarded=True)
    for at in range(3 * 130):
        x = np.ones((1, 3, 1, 130), np.float32)
        x.flat[at] = np.nan
        with pytest.raises(ValueError, match="NaN at index"):
            session.run(x)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_shapes(kernel, layout):
    rng = np.random.default_rng(1)
    for shape in [(1, p, c) for p in (1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 70) for c in (1, 2, 3, 4, 5, 8, 16, 17, 33)]:
        model = roundtrip(shape, Quant(0.03125, 5), layout)
        x = rng.normal(0, 2, (2, *model.inputs[0].api_shape)).astype(np.float32)
        assert_same_bits(model, x, isa=levels_of(kernel))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_image(layout, threads, isa):
    """A whole image, 3 and 4 channels, and one that the plan puts into a wider tensor's neighbourhood."""
    rng = np.random.default_rng(2)
    for channels in (1, 3, 4):
        model = roundtrip((224, 223, channels), Quant(float32(0.0186), -14), layout)
        x = rng.normal(0, 1.2, (2, *model.inputs[0].api_shape)).astype(np.float32)
        assert_same_bits(model, x, isa=isa, threads=threads)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_nan_is_found_anywhere(kernel, layout):
    for channels in (1, 2, 3, 4, 19):
        model = roundtrip((3, 14, channels), Quant(float32(0.1), 0), layout)
        session = Session(model, isa=levels_of(kernel), guarded=True)
        shape = model.inputs[0].api_shape
        for at in range(int(np.prod(shape))):
            x = np.ones((1, *shape), np.float32)
            x.flat[at] = np.nan
            with pytest.raises(ValueError, match="NaN at index"):
                session.run(x)


@pytest.mark.parametrize("kernel", KERNELS)
def test_planes(kernel):
    """Channels first goes through strips of 64 pixels by 8 channels: both sides of every edge."""
    rng = np.random.default_rng(3)
    for pixels in (1, 7, 8, 9, 63, 64, 65, 130):
        for channels in (*range(2, 10), 15, 16, 17, 19):
            model = roundtrip((1, pixels, channels), Quant(0.03125, 5), "NCHW")
            x = rng.normal(0, 2, (2, *model.inputs[0].api_shape)).astype(np.float32)
            assert_same_bits(model, x, isa=levels_of(kernel))
