"""ONNX ops that move or view values: every layout ends where ONNX Runtime puts it."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from onnx import TensorProto, helper
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


# -- arithmetic on shapes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", ["n", 2])
def test_torch_style_view_with_a_free_batch(batch):
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n", axis=0),
        node("Unsqueeze", "n axes", "n1"),
        node("Constant", "", "minus", value=helper.make_tensor("v", TensorProto.INT64, [1], [-1])),
        node("Concat", "n1 minus", "target", axis=0),
        node("Reshape", "x target"),
    ]
    check(model(nodes, {"x": (3, 4, 5)}, constants={"zero": np.int64(0), "axes": ints(0)}, batch=batch))


def test_shuffle_with_computed_shapes():
    nodes = [
        node("Shape", "x", "s0"),
        node("Slice", "s0 i0 i1", "n"),
        node("Slice", "s0 i1 i2", "c"),
        node("Slice", "s0 i2 i4", "hw"),
        node("Div", "c two", "half"),
        node("Concat", "n two half hw", "five", axis=0),
        node("Reshape", "x five", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 1, 3, 4]),
        node("Reshape", "b s0"),
    ]
    constants = {f"i{k}": ints(k) for k in (0, 1, 2, 4)} | {"two": ints(2)}
    check(model(nodes, {"x": (12, 5, 4)}, constants=constants), ["channel_shuffle"])


def test_resize_to_twice_the_computed_size():
    nodes = [
        node("Shape", "x", "s", start=2),
        node("Mul", "s two", "d"),
        node("Shape", "x", "nc", end=2),
        node("Concat", "nc d", "size", axis=0),
        node("Resize", "x - - size", mode="nearest"),
    ]
    check(model(nodes, {"x": (3, 5, 4)}, constants={"two": ints(2)}), ["resize"])


def test_constant_weights_may_be_computed():
    nodes = [
        node("ConstantOfShape", "ws", "w0", value=helper.make_tensor("v", TensorProto.FLOAT, [1], [0.25])),
        node("Mul", "w0 k", "w"),
        node("Transpose", "m", "mt", perm=[1, 0]),
        node("Unsqueeze", "b", "b1", axes=[1, 2]),
        node("Conv", "x w", "t"),
        node("Add", "t b1", "u"),
        node("Flatten", "u", "f"),
        node("MatMul", "f mt"),
    ]
    constants = {"ws": ints(4, 3, 2, 2), "k": weights(4, 1, 1, 1), "m": weights(5, 36), "b": weights(4)}
    graph = check(model(nodes, {"x": (3, 4, 4)}, constants=constants, opset=11))
    assert [n.op for n in graph.nodes] == ["conv2d", "affine", "reshape", "linear"]


@pytest.mark.parametrize("op", ["Identity", "Dropout"])
def test_ops_that_do_nothing(op):
    graph = check(model([node(op, "x", "t"), node("Relu", "t")], {"x": (3, 4, 5)}, opset=11), ["relu"])
    assert graph.nodes[0].inputs == ["x"]


def test_casts_between_floats_do_nothing():
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("Cast", "h", "t", to=TensorProto.FLOAT),
        node("Relu", "t"),
    ]
    check(model(nodes, {"x": (3, 4, 5)}), ["relu"], tolerance=2e-3)
    with pytest.raises(lk.UnsupportedError, match="Cast"):
        lk.load_onnx(model([node("Cast", "x", to=TensorProto.INT32)], {"x": (3, 4, 5)}))


# -- inputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [1, 3])
def test_a_fixed_batch_becomes_free(fixed):
    nodes = [node("Conv", "x w", "t"), node("Reshape", "t s")]
    constants = {"w": weights(4, 3, 1, 1), "s": ints(fixed, -1)}
    proto = model(nodes, {"x": (3, 4, 5)}, constants=constants, batch=fixed)
    graph = check(proto, batch=fixed)
    x = np.random.default_rng(1).standard_normal((5, 3, 4, 5)).astype(np.float32)
    assert graph.run(x).shape == (5, 80)


def test_open_sizes_are_asked_for_and_may_be_given():
    proto = single("Relu", {"x": ("c", "h", "w")})
    with pytest.raises(lk.UnsupportedError, match=r"input 'x'.*input_shapes=\{'x': \(3, 224, 224\)\}"):
        lk.load_onnx(proto)
    graph = lk.load_onnx(proto, input_shapes={"x": (3, 8, 9)})
    assert graph.inputs[0].api_shape == (3, 8, 9)
    assert graph.inputs[0].shape == (8, 9, 3)


def test_an_input_without_a_shape():
    proto = single("Relu", {"x": (3, 4, 5)})
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(lk.UnsupportedError, match="its shape is unknown"):
        lk.load_onnx(proto)
    assert lk.load_onnx(proto, input_shapes={"x": (7,)}).inputs[0].shape == (7,)


@pytest.mark.parametrize("shapes", [{"z": (3, 4, 5)}, {"x": (3, 4)}, {"x": (3, 4, 6)}])
def test_input_shapes_must_fit(shapes):
    with pytest.raises(ValueError, match="input_shapes"):
        lk.load_onnx(single("Relu", {"x": (3, 4, 5)}), input_shapes=shapes)


def test_different_batches_are_refused():
    proto = model([node("Concat", "a b", axis=1)], {"a": (3, 4, 5), "b": (3, 4, 5)}, batch=2)
    proto.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 3
    with pytest.raises(lk.UnsupportedError, match="batch"):
        lk.load_onnx(proto)


def test_an_unsupported_node_that_nothing_needs_is_ignored():
    nodes = [node("LRN", "x", "unused", size=3), node("Relu", "x")]
    check(model(nodes, {"x": (3, 4, 5)}), ["relu"])


def test_nodes_may_come_in_any_order():
    nodes = [node("Neg", "b"), node("Relu", "a", "b"), node("Abs", "x", "a")]
    proto = model(nodes, {"x": (3, 4, 5)})
    assert [n.op for n in lk.load_onnx(proto).nodes] == ["abs", "relu", "neg"]
