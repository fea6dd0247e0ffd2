"""ONNX pools, reductions and resizing import and compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import check, ints, model, node, single

import lightkern as lk

WINDOWS = [
    {"kernel_shape": [2, 2], "strides": [2, 2]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [2, 0, 0, 1]},
    {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    {"kernel_shape": [2, 5], "strides": [3, 2], "auto_pad": "SAME_LOWER"},
    {"kernel_shape": [3, 3], "auto_pad": "VALID"},
]
CEILED = [
    {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    {"kernel_shape": [2, 3], "strides": [3, 3], "ceil_mode": 1},
    {"kernel_shape": [3, 3], "strides": [2, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    {"kernel_shape": [1, 2], "strides": [4, 3], "ceil_mode": 1},
]


@pytest.mark.parametrize("opset", [9, 12, 22])
@pytest.mark.parametrize("attributes", WINDOWS)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_windows(op, attributes, opset):
    check(single(op, {"x": (3, 10, 12)}, opset=opset, **attributes), [{"MaxPool": "max_pool"}.get(op, "avg_pool")])


@pytest.mark.parametrize("opset", [10, 19])
@pytest.mark.parametrize("size", [(10, 12), (9, 11), (7, 8)])
@pytest.mark.parametrize("attributes", CEILED)
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_ceil_mode(op, attributes, size, opset):
    check(single(op, {"x": (2, *size)}, opset=opset, **attributes))


@pytest.mark.parametrize("attributes", [*WINDOWS, *CEILED])
def test_average_that_counts_the_padding(attributes):
    check(single("AveragePool", {"x": (3, 10, 11)}, opset=19, count_include_pad=1, **attributes))


def test_dilated_max_pool():
    check(single("MaxPool", {"x": (3, 9, 9)}, kernel_shape=[3, 2], dilations=[2, 3], pads=[2, 1, 1, 0]), ["max_pool"])


def test_indices_are_refused():
    proto = model([node("MaxPool", "x", "y i", kernel_shape=[2, 2])], {"x": (3, 4, 4)}, ["y", "i"])
    with pytest.raises(lk.UnsupportedError, match="indices"):
        lk.load_onnx(proto)


def test_dilated_average_is_refused():
    proto = single("AveragePool", {"x": (3, 9, 9)}, opset=19, kernel_shape=[2, 2], dilations=[2, 2])
    with pytest.raises(lk.UnsupportedError, match="dilations"):
        lk.load_onnx(proto)


@pytest.mark.parametrize("op", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (7, 1, 1)])
def test_global_pools(op, shape):
    check(single(op, {"x": shape}))


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("shape", "axes"), [((3, 4, 5), [2, 3]), ((3, 4, 5), [-1, -2]), ((3, 4, 5), [1, 2]), ((6, 4), [1])]
)
@pytest.mark.parametrize("opset", [11, 13, 18, 21])
def test_reductions(op, keepdims, shape, axes, opset):
    if opset >= (13 if op == "ReduceSum" else 18):
        proto = single(op, {"x": shape}, {"a": ints(*axes)}, opset=opset, keepdims=keepdims)
    else:
        proto = single(op, {"x": shape}, opset=opset, axes=axes, keepdims=keepdims)
    check(proto)


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceSum"])
@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_over_one_axis(op, axis, keepdims):
    check(single(op, {"x": (3, 4, 5)}, opset=11, axes=[axis], keepdims=keepdims))


def test_mean_over_one_axis_after_the_other():
    nodes = [node("ReduceMean", "x", "t", axes=[3], keepdims=0), node("ReduceMean", "t", axes=[2], keepdims=0)]
    check(model(nodes, {"x": (6, 4, 5)}))


@pytest.mark.parametrize("axes", [[0], [0, 2, 3], [1, 2, 3]])
def test_reductions_over_other_axes_are_refused(axes):
    with pytest.raises(lk.UnsupportedError, match=r"'the_ReduceMean' \(ReduceMean\): (reduces|works along)"):
        lk.load_onnx(single("ReduceMean", {"x": (3, 4, 5)}, axes=axes))


# -- resize -----------------------------------------------------------------------------------------------------------

RULES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def resized(size, *, opset=13, **attributes):
    constants = {"roi": np.zeros(0, np.float32), "s": np.zeros(0, np.float32), "size": ints(2, 3, *size)}
    return model(
        [node("Resize", "x roi s size", **attributes)], {"x": (3, 5, 7)}, constants=constants, opset=opset, batch=2
    )


def scaled(scales, *, opset=13, size=(5, 7), **attributes):
    constants = {"roi": np.zeros(0, np.float32), "s": np.array([1, 1, *scales], np.float32)}
    return model([node("Resize", "x roi s", **attributes)], {"x": (3, *size)}, constants=constants, opset=opset)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [(10, 14), (5, 7), (3, 4), (1, 1), (8, 20)])
def test_linear_resize_to_sizes(rule, size):
    proto = resized(size, mode="linear", coordinate_transformation_mode=rule)
    check(proto, ["resize"] if size != (5, 7) else None, tolerance=2 * 8 / 4096 / 4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("scales", [(2, 2), (4, 2), (0.5, 0.5), (1, 2)])
def test_linear_resize_by_powers_of_two_is_exact(rule, scales):
    tolerance = 5e-3 if rule == "align_corners" else 2e-6
    check(scaled(scales, mode="linear", coordinate_transformation_mode=rule), ["resize"], tolerance=tolerance)


@pytest.mark.parametrize("rounding", NEAREST)
@pytest.mark.parametrize("rule", [*RULES, "tf_half_pixel_for_nn"])
@pytest.mark.parametrize("scales", [(2, 2), (0.5, 3), (1.5, 0.75)])
def test_nearest_resize_by_scales(rule, rounding, scales):
    proto = scaled(
        scales, opset=11, size=(8, 12), mode="nearest", coordinate_transformation_mode=rule, nearest_mode=rounding
    )
    check(proto, ["resize"], tolerance=0)


@pytest.mark.parametrize("opset", [13, 18, 19])
def test_nearest_resize_to_sizes(opset):
    check(resized((10, 21), opset=opset, mode="nearest"), ["resize"], tolerance=0)


def test_half_pixel_symmetric():
    proto = scaled((1.3, 0.6), opset=19, mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
    check(proto, ["resize"], tolerance=5e-3, runtime=False)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_axes_and_aspect_ratio(policy):
    constants = {"size": ints(9, 16)}
    proto = model(
        [node("Resize", "x - - size", mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)],
        {"x": (3, 5, 7)},
        constants=constants,
        opset=18,
    )
    check(proto, ["resize"], tolerance=5e-3)


@pytest.mark.parametrize(("op", "opset"), [("Upsample", 9), ("Resize", 10)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(op, opset, mode):
    constants = {"s": np.array([1, 1, 2, 4], np.float32)}
    check(single(op, {"x": (3, 5, 6)}, constants, opset=opset, mode=mode), ["resize"])


def test_upsample_with_scales_as_attribute():
    check(single("Upsample", {"x": (3, 5, 6)}, opset=8, mode="nearest", scales=[1.0, 1.0, 2.0, 3.0]), ["resize"])


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"mode": "cubic"}, "cubic"),
        ({"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
        ({"mode": "linear", "antialias": 1}, "antialias"),
    ],
)
def test_other_modes_are_refused(attributes, message):
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(scaled((2, 2), opset=18, **attributes))


def test_resizing_channels_is_refused():
    constants = {"roi": np.zeros(0, np.float32), "s": np.array([1, 2, 2, 2], np.float32)}
    proto = model([node("Resize", "x roi s")], {"x": (3, 5, 5)}, constants=constants)
    with pytest.raises(lk.UnsupportedError, match="axes"):
        lk.load_onnx(proto)
