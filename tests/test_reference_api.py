"""What `lightkern.reference.run` takes and returns: layouts, dtypes, names, batches, NaN and infinity."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Net, inputs
from numpy.testing import assert_array_equal
from random_network import random_model

from lightkern import reference
from lightkern.model import Model, Quant


def _two_ports() -> Model:
    net = Net(np.random.default_rng(2))
    a, b = net.input((4, 5, 3), "NCHW"), net.input((3,))
    first = net.binary("mul", a, b)
    return net.model(first, net.global_avg_pool(first), layout="NCHW")


def test_float_inputs_give_float_outputs_of_the_same_bits() -> None:
    rng, model = np.random.default_rng(3), _two_ports()
    q = inputs(model, rng)
    x = {port.name: model.quants[port.tensor].dequantize(q[port.name]) for port in model.inputs}
    y, yq = reference.run(model, x), reference.run(model, q)
    assert list(y) == ["output0", "output1"]
    assert y["output0"].shape == (1, 3, 4, 5)
    assert y["output1"].shape == (1, 3, 1, 1)
    for port in model.outputs:
        assert y[port.name].dtype == np.float32
        assert_array_equal(y[port.name], model.quants[port.tensor].dequantize(yq[port.name]))


def test_layouts_differ_in_the_axis_order_only() -> None:
    rng = np.random.default_rng(4)
    model = random_model(rng, 2)
    for port in (*model.inputs, *model.outputs):
        object.__setattr__(port, "layout", "NHWC")
    x = inputs(model, rng)
    y = reference.run(model, x)
    y = y if isinstance(y, dict) else {model.outputs[0].name: y}
    for port in (*model.inputs, *model.outputs):
        object.__setattr__(port, "layout", "NCHW")
    z = reference.run(model, x.transpose(0, 3, 1, 2))
    z = z if isinstance(z, dict) else {model.outputs[0].name: z}
    for port in model.outputs:
        assert_array_equal(port.from_canonical(y[port.name]), z[port.name])


def test_keep_returns_every_tensor() -> None:
    model = _two_ports()
    y, values = reference.run(model, inputs(model, np.random.default_rng(5)), keep=True)
    shapes = model.validate()
    assert {name: value.shape[1:] for name, value in values.items()} == shapes
    assert_array_equal(values["t0"].transpose(0, 3, 1, 2), y["output0"])


def test_inputs_that_do_not_fit() -> None:
    model = _two_ports()
    good = {"input0": np.zeros((1, 3, 4, 5), np.float32), "input1": np.zeros((1, 3), np.float32)}
    reference.run(model, good)
    with pytest.raises(TypeError, match="float32, int8"):
        reference.run(model, {**good, "input1": np.zeros((1, 3), np.int8)})
    with pytest.raises(TypeError, match="float64"):
        reference.run(model, {name: x.astype(np.float64) for name, x in good.items()})
    with pytest.raises(TypeError, match="uint8"):
        reference.run(model, {name: x.astype(np.uint8) for name, x in good.items()})
    with pytest.raises(ValueError, match=r"input0.*\(n, 3, 4, 5\).*\(1, 4, 5, 3\)"):
        reference.run(model, {**good, "input0": np.zeros((1, 4, 5, 3), np.float32)})
    with pytest.raises(ValueError, match="n >= 1"):
        reference.run(model, {**good, "input0": np.zeros((0, 3, 4, 5), np.float32)})
    with pytest.raises(ValueError, match="one batch size"):
        reference.run(model, {**good, "input0": np.zeros((2, 3, 4, 5), np.float32)})
    with pytest.raises(ValueError, match="expected inputs"):
        reference.run(model, {"input0": good["input0"]})
    with pytest.raises(TypeError, match="dict"):
        reference.run(model, good["input0"])
    bad = good["input0"].copy()
    bad[0, 2, 1, 3] = np.nan
    with pytest.raises(ValueError, match=r"input 'input0'\[0, 2, 1, 3\] is NaN"):
        reference.run(model, {**good, "input0": bad})


def test_infinite_and_huge_inputs_saturate() -> None:
    quant = Quant(0.25, 7)
    x = np.array([np.inf, -np.inf, 3e38, -3e38, 0.0, -0.0, 0.375, 0.625], np.float32)
    assert reference.quantize(x, quant).tolist() == [127, -128, 127, -128, 7, 7, 9, 9]


def test_quantize_inverts_dequantize() -> None:
    q = np.arange(-128, 128).astype(np.int8)
    for scale in (2.0**-126, 0.1, 1.0, 3.7, 1e30):
        for zero_point in (-128, -1, 0, 127):
            quant = Quant(float(np.float32(scale)), zero_point)
            assert_array_equal(quant.quantize(quant.dequantize(q)), q)


def test_non_contiguous_inputs_and_outputs_are_fine() -> None:
    rng = np.random.default_rng(6)
    model = random_model(rng, 2)
    x = inputs(model, rng)
    wide = np.repeat(x, 2, axis=2)[:, :, ::2]
    y, z = reference.run(model, x), reference.run(model, wide)
    for a, b in zip(*(v.values() if isinstance(v, dict) else [v] for v in (y, z)), strict=True):
        assert_array_equal(a, b)
        assert a.flags.c_contiguous
