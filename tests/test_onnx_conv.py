"""ONNX Conv, BatchNormalization and Pad import and compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_models import check, ints, model, node, single, weights

import lightkern as lk

GEOMETRIES = [
    pytest.param({}, (3, 3), id="plain"),
    pytest.param({"pads": [1, 1, 1, 1]}, (3, 3), id="same"),
    pytest.param({"pads": [0, 1, 2, 3], "strides": [2, 1]}, (3, 4), id="asymmetric"),
    pytest.param({"strides": [3, 2], "pads": [2, 0, 0, 1]}, (5, 1), id="tall"),
    pytest.param({"dilations": [2, 3], "pads": [2, 3, 2, 3]}, (3, 3), id="dilated"),
    pytest.param({"dilations": [1, 2], "strides": [2, 2]}, (1, 2), id="dilated, strided"),
    pytest.param({"auto_pad": "VALID", "strides": [2, 2]}, (3, 3), id="VALID"),
    *(
        pytest.param({"auto_pad": auto, "strides": list(stride)}, kernel, id=f"{auto} {i}")
        for auto in ("SAME_UPPER", "SAME_LOWER")
        for i, (kernel, stride) in enumerate([((3, 3), (1, 1)), ((2, 4), (2, 3)), ((1, 1), (3, 3))])
    ),
]


@pytest.mark.parametrize(("attributes", "kernel"), GEOMETRIES)
@pytest.mark.parametrize("opset", [9, 11, 22])
def test_conv_geometry(attributes, kernel, opset):
    proto = single("Conv", {"x": (4, 11, 10)}, {"w": weights(6, 4, *kernel)}, opset=opset, **attributes)
    check(proto, ["conv2d"])


def test_auto_pad_of_a_dilated_kernel():  # ONNX Runtime refuses this, although ONNX allows it
    proto = single("Conv", {"x": (4, 11, 10)}, {"w": weights(6, 4, 3, 4)}, auto_pad="SAME_UPPER", dilations=[2, 3])
    assert lk.load_onnx(proto).nodes[0].attrs["padding"] == [2, 4, 2, 5]


@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(6, 4, 2), (6, 6, 6), (4, 12, 4), (6, 9, 3), (1, 5, 1), (5, 1, 1)]
)
def test_conv_groups(channels, outputs, groups):
    w, b = weights(outputs, channels // groups, 3, 3), weights(outputs, seed=2)
    proto = single("Conv", {"x": (channels, 6, 7)}, {"w": w, "b": b}, group=groups, pads=[1, 1, 1, 1])
    graph = check(proto, ["conv2d"])
    np.testing.assert_array_equal(graph.nodes[0].params["bias"], b)


def test_conv_without_bias_has_a_bias_of_zeros():
    graph = lk.load_onnx(single("Conv", {"x": (2, 5, 5)}, {"w": weights(3, 2, 3, 3)}))
    np.testing.assert_array_equal(graph.nodes[0].params["bias"], np.zeros(3, np.float32))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_float_types_become_float32(dtype):
    w = weights(3, 2, 1, 1).astype(np.float16).astype(np.float32)
    proto = single("Conv", {"x": (2, 5, 5)}, {"w": w})
    kind = {"float16": "FLOAT16", "float64": "DOUBLE", "bfloat16": "BFLOAT16"}[dtype]
    tensor = onnx.helper.make_tensor("w", getattr(onnx.TensorProto, kind), w.shape, w.ravel())
    proto.graph.initializer[0].CopyFrom(tensor)
    got = lk.load_onnx(proto).nodes[0].params["weight"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, w.transpose(0, 2, 3, 1), rtol=2**-8 if dtype == "bfloat16" else 0)


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 9), (5,)])
@pytest.mark.parametrize("opset", [9, 15])
def test_batch_normalization(shape, opset):
    constants = {
        "scale": weights(5),
        "bias": weights(5, seed=2),
        "mean": weights(5, seed=3),
        "var": np.abs(weights(5, seed=4)) + np.float32(1e-3),
    }
    graph = check(single("BatchNormalization", {"x": shape}, constants, opset=opset, epsilon=1e-3))
    assert "affine" in [n.op for n in graph.nodes]
    assert len(graph.nodes) == 1 or len(shape) == 2


def test_batch_normalization_is_computed_in_float64():
    proto = single(
        "BatchNormalization",
        {"x": (1, 2, 2)},
        {n: np.array([v], np.float32) for n, v in {"s": 1.0, "b": 1e-3, "m": 4096.0001, "v": 0.3}.items()},
        epsilon=0.0,
    )
    params = lk.load_onnx(proto).nodes[0].params
    gain = 1 / np.sqrt(np.float64(np.float32(0.3)))
    assert params["scale"][0] == np.float32(gain)
    assert params["offset"][0] == np.float32(np.float64(np.float32(1e-3)) - np.float64(np.float32(4096.0001)) * gain)


def test_batch_normalization_in_training_mode_is_refused():
    constants = {n: np.ones(3, np.float32) for n in "sbmv"}
    nodes = [node("BatchNormalization", "x s b m v", "y mean var", training_mode=1)]
    proto = model(nodes, {"x": (3, 4, 4)}, ["y"], constants)
    with pytest.raises(lk.UnsupportedError, match=r"the_BatchNormalization.*training"):
        lk.load_onnx(proto)


@pytest.mark.parametrize("opset", [9, 10])
def test_pad_as_attribute(opset):
    proto = single("Pad", {"x": (2, 3, 4)}, opset=opset, pads=[0, 0, 1, 2, 0, 0, 0, 3], value=1.5)
    check(proto, ["pad"])


@pytest.mark.parametrize("opset", [11, 18, 21])
def test_pad_as_input(opset):
    constants = {"p": ints(0, 0, 1, 2, 0, 0, 0, 3), "v": np.float32(-2)}
    check(single("Pad", {"x": (2, 3, 4)}, constants, opset=opset), ["pad"])


def test_pad_with_axes():
    proto = model(
        [node("Pad", "x p - a")], {"x": (2, 3, 4)}, constants={"p": ints(1, 2, 3, 0), "a": ints(-1, 2)}, opset=18
    )
    assert check(proto, ["pad"]).nodes[0].attrs["padding"] == [2, 1, 0, 3]


def test_zero_padding_merges_into_the_convolution():
    nodes = [node("Pad", "x p", "t"), node("Conv", "t w", pads=[0, 1, 0, 1], strides=[2, 2])]
    constants = {"p": ints(0, 0, 0, 0, 0, 0, 1, 1), "w": weights(4, 2, 3, 3)}
    graph = check(model(nodes, {"x": (2, 8, 8)}, constants=constants), ["conv2d"])
    assert graph.nodes[0].attrs["padding"] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [({"mode": "reflect"}, "reflect"), ({"mode": "edge"}, "edge")],
)
def test_other_pad_modes_are_refused(attributes, message):
    proto = single("Pad", {"x": (2, 5, 5)}, {"p": ints(0, 0, 1, 1, 0, 0, 1, 1)}, **attributes)
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(proto)


@pytest.mark.parametrize("pads", [(0, 1, 0, 0, 0, 0, 0, 1), (1, 0, 0, 0, 0, 0, 0, 0), (0, 0, -1, 0, 0, 0, 0, 0)])
def test_pad_of_other_axes_or_by_negative_amounts_is_refused(pads):
    with pytest.raises(lk.UnsupportedError, match="pad"):
        lk.load_onnx(single("Pad", {"x": (2, 5, 5)}, {"p": ints(*pads)}))


@pytest.mark.parametrize(
    ("shape", "w", "attributes", "message"),
    [
        ((2, 5, 5), (3, 4, 3, 3), {}, "4 input channels per group"),
        ((4, 5, 5), (3, 2, 3, 3), {"group": 2}, "3 output channels"),
        ((2, 5, 5), (3, 2, 7, 7), {}, "does not fit"),
        ((2, 5), (3, 2, 3), {}, "2-D convolution"),
        ((2, 5, 5, 5), (3, 2, 3, 3, 3), {}, "dimensions"),
        ((2, 5, 5), (3, 2, 3, 3), {"pads": [-1, 0, 0, 0]}, "pads"),
        ((2, 5, 5), (3, 2, 3, 3), {"group": 0}, "groups"),
    ],
)
def test_impossible_convolutions(shape, w, attributes, message):
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(single("Conv", {"x": shape}, {"w": weights(*w)}, **attributes))


def test_computed_weights_are_refused():
    proto = model([node("Conv", "x w")], {"x": (2, 5, 5), "w": (2, 3, 3)}, batch=1)
    with pytest.raises(lk.UnsupportedError, match=r"the_Conv.*'w' must be a constant"):
        lk.load_onnx(proto)
