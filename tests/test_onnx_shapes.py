"""ONNX ops that move or view values: every layout ends where ONNX Runtime puts it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from onnx_models import check, ints, model, node, single, weights

import lightkern as lk

# -- joining and cutting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 4, 5), 1), ((3, 4, 5), 2), ((3, 4, 5), -1), ((6, 4), 1), ((6, 4), 2), ((7,), 1)]
)
def test_concat(shape, axis):
    nodes = [node("Neg", "x", "a"), node("Concat", "x a x", axis=axis)]
    check(model(nodes, {"x": shape}), ["neg", "concat"])


def test_concat_of_different_sizes():
    check(single("Concat", {"a": (3, 4, 5), "b": (2, 4, 5)}, axis=1), ["concat"])


@pytest.mark.parametrize("shapes", [((3, 4, 5), (3, 4, 6)), ((3, 4, 5), (3, 4))])
def test_impossible_concat(shapes):
    with pytest.raises((lk.UnsupportedError, lk.FormatError), match="Concat"):
        lk.load_onnx(single("Concat", dict(zip("ab", shapes, strict=True)), axis=1))


@pytest.mark.parametrize("opset", [9, 13, 18])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_split(opset, axis):
    attributes = {"num_outputs": 2} if opset >= 18 else {}
    nodes = [node("Split", "x", "a b", axis=axis, **attributes)]
    check(model(nodes, {"x": (4, 6, 8)}, ["a", "b"], opset=opset), ["slice", "slice"])


@pytest.mark.parametrize("opset", [11, 13])
def test_split_into_given_sizes(opset):
    if opset < 13:
        nodes, constants = [node("Split", "x", "a b c", axis=1, split=[1, 2, 3])], {}
    else:
        nodes, constants = [node("Split", "x s", "a b c", axis=1)], {"s": ints(1, 2, 3)}
    graph = check(model(nodes, {"x": (6, 4, 5)}, ["c", "a"], constants, opset=opset))
    assert len(graph.nodes) == 2  # b is not made


def test_split_with_a_smaller_last_part():
    check(model([node("Split", "x", "a b c", axis=1, num_outputs=3)], {"x": (8, 2, 2)}, ["a", "b", "c"], opset=18))


SLICES = [
    ([1], [3], [1]),
    ([-3], [-1], [1]),
    ([0], [2**31 - 1], [2]),
    ([1, 2], [4, 1000], [2, 3]),
    ([0, 1, 0], [100, 3, 4], [0, 1, 2]),
    ([-100], [2], [-1]),
]


@pytest.mark.parametrize(("starts", "ends", "axes"), SLICES)
@pytest.mark.parametrize("opset", [9, 13])
def test_slice(starts, ends, axes, opset):
    if opset < 10:
        proto = single("Slice", {"x": (4, 5, 6)}, opset=opset, starts=starts, ends=ends, axes=axes)
    else:
        constants = {"s": ints(*starts), "e": ints(*ends), "a": ints(*axes)}
        proto = single("Slice", {"x": (4, 5, 6)}, constants, opset=opset)
    check(proto)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [2], [0], [2]), "batch"),
        (([3], [0], [3], [-2]), "step"),
        (([3], [0], [1], [-1]), "step"),
        (([3], [2], [1], [1]), "empty"),
        (([0], [1], [0], [1]), "batch"),
    ],
)
def test_other_slices_are_refused(arguments, message):
    constants = {n: ints(*v) for n, v in zip("seat", arguments, strict=True)}
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(single("Slice", {"x": (4, 5, 6)}, constants, batch=2))


@pytest.mark.parametrize("steps", [(1, 2, 2), (1, 1, 3), (2, 1, 1), (1, 5, 6)])
@pytest.mark.parametrize("start", [0, 1])
def test_slice_with_steps(steps, start):
    constants = {"s": ints(0, start, start), "e": ints(4, 5, 2**31), "a": ints(1, 2, 3), "t": ints(*steps)}
    check(single("Slice", {"x": (4, 5, 6)}, constants), tolerance=0)


@pytest.mark.parametrize(("index", "axis"), [(np.int64(1), 1), (np.int64(-1), 2), (ints(1, 2), 1), (ints(-2, -1), 3)])
def test_gather_of_a_range(index, axis):
    check(single("Gather", {"x": (4, 5, 6)}, {"i": index}, axis=axis))


# -- views ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("permutation", list(permutations([1, 2, 3])))
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 1, 5), (1, 4, 5)])
def test_every_transposition(permutation, shape):
    check(single("Transpose", {"x": shape}, perm=[0, *permutation]), tolerance=0)


@pytest.mark.parametrize("permutation", list(permutations([1, 2, 3])))
def test_convolution_after_every_transposition(permutation):
    shape = (3, 4, 5)
    channels = shape[permutation[0] - 1]
    nodes = [
        node("Conv", "x v", "t"),
        node("Transpose", "t", "u", perm=[0, *permutation]),
        node("Conv", "u w", pads=[1, 1, 1, 1]),
    ]
    check(model(nodes, {"x": shape}, constants={"v": weights(3, 3, 1, 1), "w": weights(4, channels, 3, 3)}))


def test_transposition_of_a_matrix():
    check(single("Transpose", {"x": (6, 4)}, perm=[0, 2, 1]), tolerance=0)


def test_transposition_of_the_batch_is_refused():
    with pytest.raises(lk.UnsupportedError, match="batch"):
        lk.load_onnx(single("Transpose", {"x": (6, 4)}, perm=[1, 0, 2]))


RESHAPES = [
    ((3, 4, 5), [0, -1]),
    ((3, 4, 5), [2, 60]),
    ((3, 4, 5), [-1, 60]),
    ((3, 4, 5), [0, 3, 20]),
    ((3, 4, 5), [0, 12, 5]),
    ((3, 4, 5), [0, 0, -1]),
    ((3, 4, 5), [0, 5, 4, 3]),
    ((4, 6, 10), [0, 6, 4, 10]),
    ((4, 6, 10), [0, 8, -1]),
    ((60,), [0, 3, 4, 5]),
    ((12, 5), [0, 3, 4, 5]),
    ((12, 5), [0, 5, 12]),
    ((7, 1, 1), [0, 7]),
    ((7,), [0, 7, 1, 1]),
    ((3, 4, 5), [0, 1, 1, 60]),
]


@pytest.mark.parametrize(("shape", "target"), RESHAPES)
@pytest.mark.parametrize("convolved", [False, True])
def test_reshape(shape, target, convolved):
    if convolved and len(shape) == 3:
        nodes = [node("Conv", "x w", "t"), node("Reshape", "t s")]
        constants = {"w": weights(shape[0], shape[0], 1, 1), "s": ints(*target)}
    else:
        nodes, constants = [node("Reshape", "x s")], {"s": ints(*target)}
    check(model(nodes, {"x": shape}, constants=constants, batch=2))


@pytest.mark.parametrize("target", [[-1], [3, 2, 20], [120, 1], [1, 120], [60, 2], [4, -1]])
def test_reshapes_that_mix_the_batch_are_refused(target):
    with pytest.raises(lk.UnsupportedError, match="batch"):
        lk.load_onnx(single("Reshape", {"x": (3, 4, 5)}, {"s": ints(*target)}, batch=2))


@pytest.mark.parametrize("shape", [(3, 4, 5), (6, 4), (7,)])
@pytest.mark.parametrize("axis", [None, 1])
def test_flatten(shape, axis):
    attributes = {} if axis is None else {"axis": axis}
    check(single("Flatten", {"x": shape}, **attributes), tolerance=0)


@pytest.mark.parametrize("axis", [0, 2, -1])
def test_other_flattenings_are_refused(axis):
    with pytest.raises(lk.UnsupportedError, match="batch"):
        lk.load_onnx(single("Flatten", {"x": (3, 4, 5)}, axis=axis))


@pytest.mark.parametrize("opset", [11, 13])
def test_squeeze_and_unsqueeze(opset):
    if opset < 13:
        nodes = [node("Squeeze", "x", "t", axes=[2, -1]), node("Unsqueeze", "t", "y", axes=[1, 3])]
        constants = {}
    else:
        nodes = [node("Squeeze", "x a", "t"), node("Unsqueeze", "t b", "y")]
        constants = {"a": ints(2, -1), "b": ints(1, 3)}
    check(model(nodes, {"x": (7, 1, 1)}, ["y", "t"], constants, opset=opset))


def test_squeeze_without_axes():
    check(single("Squeeze", {"x": (7, 1, 1)}, batch=2))
    with pytest.raises(lk.UnsupportedError, match="batch"):
        lk.load_onnx(single("Squeeze", {"x": (7, 1, 1)}))


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_channel_shuffle(groups):
    nodes = [
        node("Relu", "x", "r"),
        node("Reshape", "r s", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "b t"),
    ]
    constants = {"s": ints(0, groups, 12 // groups, 5, 4), "t": ints(0, -1, 5, 4)}
    graph = check(model(nodes, {"x": (12, 5, 4)}, constants=constants), ["relu", "channel_shuffle"], tolerance=0)
    assert graph.nodes[1].attrs == {"groups": groups}


def test_a_shuffle_that_two_nodes_read_is_made_once():
    nodes = [
        node("Reshape", "x s", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "b t", "c"),
        node("Split", "c", "d e", axis=1),
        node("Conv", "e w", "f"),
        node("Concat", "d f", axis=1),
    ]
    constants = {"s": ints(0, 2, 6, 5, 4), "t": ints(0, -1, 5, 4), "w": weights(6, 6, 1, 1)}
    graph = check(model(nodes, {"x": (12, 5, 4)}, constants=constants))
    assert sum(n.op == "channel_shuffle" for n in graph.nodes) == 1


def test_detection_head_needs_one_plain_reshape():
    nodes = [node("Conv", "x w", "c"), node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("Reshape", "t s")]
    constants = {"w": weights(24, 3, 1, 1), "s": ints(0, -1, 4)}
    graph = check(model(nodes, {"x": (3, 5, 7)}, constants=constants), ["conv2d", "reshape"])
    assert graph.nodes[1].attrs == {"shape": [5 * 7 * 6, 4], "order": "HWC"}


def test_flatten_after_a_convolution_reads_chw():
    nodes = [node("Conv", "x w", "c"), node("Flatten", "c", "f"), node("Gemm", "f g")]
    constants = {"w": weights(4, 3, 1, 1), "g": weights(4 * 5 * 7, 6)}
    graph = check(model(nodes, {"x": (3, 5, 7)}, constants=constants), ["conv2d", "reshape", "linear"])
    assert graph.nodes[1].attrs == {"shape": [4 * 5 * 7], "order": "CHW"}


def test_flatten_of_single_pixels_moves_nothing():
    nodes = [
        node("GlobalAveragePool", "x", "p"),
        node("Flatten", "p", "f"),
        node("Unsqueeze", "f a", "u"),
        node("Mul", "x u"),
    ]
    graph = check(model(nodes, {"x": (6, 5, 4)}, constants={"a": ints(2, 3)}))
    assert [n.op for n in graph.nodes] == ["global_avg_pool", "mul"]


def test_pixels_as_tokens():
    nodes = [
        node("Conv", "x w", "c"),
        node("Reshape", "c s", "r"),
        node("Transpose", "r", "t", perm=[0, 2, 1]),
        node("MatMul", "t m", "u"),
        node("Add", "u b"),
    ]
    constants = {"w": weights(8, 3, 1, 1), "s": ints(0, 8, -1), "m": weights(8, 5), "b": weights(5)}
    graph = check(model(nodes, {"x": (3, 4, 5)}, constants=constants))
    assert [n.op for n in graph.nodes] == ["conv2d", "reshape", "linear", "affine"]


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode):
    check(single("DepthToSpace", {"x": (12, 3, 5)}, blocksize=2, mode=mode), tolerance=0)


def test_space_to_depth():
    check(single("SpaceToDepth", {"x": (3, 4, 6)}, blocksize=2), tolerance=0)


# -- channels-last models -------------------------------------------------------------------------------------------


def test_tensorflow_style_borders():
    """tf2onnx: NHWC at the borders, NCHW inside; a squeeze-excite works in NHWC in between."""
    nodes = [
        node("Mul", "x scale", "x1"),
        node("Transpose", "x1", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a w", "b", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("Transpose", "b", "c", perm=[0, 2, 3, 1]),
        node("Add", "c bias", "d"),
        node("ReduceMean", "d", "e", axes=[1, 2], keepdims=1),
        node("Sigmoid", "e", "f"),
        node("Mul", "d f", "g"),
        node("Transpose", "g", "h", perm=[0, 3, 1, 2]),
        node("MaxPool", "h", "i", kernel_shape=[2, 2]),
        node("Transpose", "i", "j", perm=[0, 2, 3, 1]),
        node("Reshape", "j s", "k"),
        node("MatMul", "k m"),
    ]
    constants = {
        "scale": np.float32(0.5),
        "w": weights(8, 3, 3, 3),
        "bias": weights(8),
        "s": ints(-1, 3 * 2 * 8),
        "m": weights(3 * 2 * 8, 5),
    }
    graph = check(model(nodes, {"x": (7, 6, 3)}, ["y", "j"], constants))
    assert graph.inputs[0].layout == "NHWC"
    assert graph.inputs[0].shape == (7, 6, 3)
    assert not {"channel_shuffle"} & {n.op for n in graph.nodes}
    assert sum(n.op == "reshape" for n in graph.nodes) == 1


def test_channels_last_output():
    nodes = [node("Conv", "x w", "c"), node("Transpose", "c", "y", perm=[0, 2, 3, 1])]
    graph = check(model(nodes, {"x": (3, 4, 5)}, constants={"w": weights(8, 3, 1, 1)}), ["conv2d"])
    assert graph.outputs[0].layout == "NHWC"
    assert graph.outputs[0].shape == graph.outputs[0].api_shape == (4, 5, 8)
