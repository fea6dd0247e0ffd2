"""What an ONNX file leaves open and what it computes from that: sizes of inputs, the batch, shapes, constants."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx_models import check, ints, model, node, single, weights

import lightkern as lk

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
