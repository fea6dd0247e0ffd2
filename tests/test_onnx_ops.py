"""ONNX activations, arithmetic and matrix products import and compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_models import check, model, node, single, weights

import lightkern as lk

UNARY = [
    ("Relu", {}, "relu", 9),
    ("LeakyRelu", {}, "leaky_relu", 9),
    ("LeakyRelu", {"alpha": 0.3}, "leaky_relu", 16),
    ("Elu", {"alpha": 0.7}, "elu", 9),
    ("HardSigmoid", {}, "hard_sigmoid", 9),
    ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, "hard_sigmoid", 13),
    ("HardSwish", {}, "hard_swish", 14),
    ("HardSwish", {}, "hard_swish", 22),
    ("Sigmoid", {}, "sigmoid", 9),
    ("Tanh", {}, "tanh", 9),
    ("Gelu", {}, "gelu", 20),
    ("Mish", {}, "mish", 18),
    ("Softplus", {}, "softplus", 9),
    ("Exp", {}, "exp", 9),
    ("Abs", {}, "abs", 13),
    ("Neg", {}, "neg", 13),
    ("Clip", {"min": 0.0, "max": 6.0}, "clip", 9),
    ("Clip", {"min": -1.5}, "clip", 10),
    ("Clip", {"max": 1.5}, "clip", 10),
    ("Clip", {"min": 0.0}, "relu", 10),
]


@pytest.mark.parametrize(("op", "attributes", "name", "opset"), UNARY)
@pytest.mark.parametrize("shape", [(3, 4, 5), (6,)])
def test_unary(op, attributes, name, opset, shape):
    check(single(op, {"x": shape}, opset=opset, **attributes), [name], low=-7, high=7)


def test_sqrt():
    check(single("Sqrt", {"x": (3, 4, 5)}), ["sqrt"], low=0)


def test_swish():
    check(single("Swish", {"x": (3, 4, 5)}, opset=24), ["swish"], runtime=False)
    with pytest.raises(lk.UnsupportedError, match="alpha"):
        lk.load_onnx(single("Swish", {"x": (3,)}, opset=24, alpha=2.0))


def test_tanh_form_of_gelu_is_within_its_documented_distance():
    check(single("Gelu", {"x": (300, 9, 9)}, opset=20, approximate="tanh"), ["gelu"], tolerance=5e-4)


@pytest.mark.parametrize("opset", [11, 13, 21])
@pytest.mark.parametrize(
    ("inputs", "constants", "op"),
    [
        ("x lo hi", {"lo": 0.0, "hi": 6.0}, "clip"),
        ("x lo", {"lo": -1.0}, "clip"),
        ("x - hi", {"hi": 1.0}, "clip"),
        ("x lo", {"lo": 0.0}, "relu"),
        ("x lo hi", {"lo": 0.0, "hi": np.inf}, "relu"),
        ("x lo hi", {"lo": -np.inf, "hi": 2.0}, "clip"),
    ],
)
def test_clip_with_inputs(inputs, constants, op, opset):
    scalars = {n: np.float32(v) for n, v in constants.items()}
    check(model([node("Clip", inputs)], {"x": (3, 4, 5)}, constants=scalars, opset=opset), [op], low=-9, high=9)


def test_min_and_max_with_constants_are_clips():
    nodes = [node("Max", "x lo", "t"), node("Min", "t hi")]
    constants = {"lo": np.float32(-1), "hi": np.float32([2])}
    graph = check(model(nodes, {"x": (3, 4, 5)}, constants=constants), ["clip"])
    assert graph.nodes[0].attrs == {"min": -1.0, "max": 2.0}


@pytest.mark.parametrize(("shape", "slope", "op"), [((3, 4, 5), (3, 1, 1), "prelu"), ((3, 4, 5), (1,), "leaky_relu")])
@pytest.mark.parametrize("opset", [9, 16])
def test_prelu(shape, slope, op, opset):
    check(single("PRelu", {"x": shape}, {"slope": weights(*slope)}, opset=opset), [op])


def test_prelu_per_pixel_is_refused():
    with pytest.raises(lk.UnsupportedError, match="one value per channel"):
        lk.load_onnx(single("PRelu", {"x": (3, 4, 5)}, {"slope": weights(3, 4, 1)}))


# -- softmax ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "opset"),
    [
        ((7,), -1, 13),
        ((7,), 1, 9),
        ((3, 4, 5), 1, 13),
        ((3, 4, 5), 3, 13),
        ((3, 4, 5), -2, 13),
        ((6, 4), 1, 13),
        ((6, 4), 2, 13),
        ((3, 4, 5), 1, 11),
        ((3, 4, 5), 2, 11),
        ((3, 4, 5), 3, 9),
    ],
)
def test_softmax(shape, axis, opset):
    check(single("Softmax", {"x": shape}, opset=opset, axis=axis))


def test_softmax_default_axis_depends_on_the_opset():
    check(single("Softmax", {"x": (3, 4, 5)}, opset=11))
    check(single("Softmax", {"x": (3, 4, 5)}, opset=13))


@pytest.mark.parametrize(("op", "attributes"), [("Softmax", {"axis": 0}), ("LogSoftmax", {})])
def test_other_softmaxes_are_refused(op, attributes):
    with pytest.raises(lk.UnsupportedError, match=op):
        lk.load_onnx(single(op, {"x": (3, 4, 5)}, **attributes))


# -- arithmetic -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4, 5), (3, 4, 5)),
        ((3, 4, 5), (3, 1, 1)),
        ((3, 1, 1), (3, 4, 5)),
        ((3, 4, 5), (1, 4, 5)),
        ((3, 4, 5), (1, 1, 1)),
        ((1, 4, 5), (3, 4, 5)),
        ((7,), (7,)),
        ((6, 4), (6, 4)),
        ((6, 4), (6, 1)),
        ((6, 4), (1, 4)),
        ((3, 4, 5), (1, 1, 5)),
        ((3, 4, 5), (3, 1, 5)),
    ],
)
def test_two_activations(op, a, b):
    check(single(op, {"a": a, "b": b}))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("constant", [(), (1,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 1, 1), (5,), (4, 1)])
@pytest.mark.parametrize("opset", [9, 14])
def test_constant_at_the_right(op, constant, opset):
    graph = check(single(op, {"x": (3, 4, 5)}, {"c": weights(*constant) + np.float32(0.1)}, opset=opset))
    assert "affine" in [n.op for n in graph.nodes]


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul"])
@pytest.mark.parametrize("constant", [(), (3, 1, 1)])
def test_constant_at_the_left(op, constant):
    proto = model([node(op, "c x")], {"x": (3, 4, 5)}, constants={"c": weights(*constant)})
    check(proto, ["affine"])


def test_division_of_and_by_activations_is_refused():
    for inputs in ("a b", "c a"):
        nodes = [node("Add", "a b", "u"), node("Div", inputs, "t"), node("Add", "t u")]
        proto = model(nodes, {"a": (3, 4, 5), "b": (3, 4, 5)}, constants={"c": np.float32(1)})
        with pytest.raises(lk.UnsupportedError, match="division by an activation"):
            lk.load_onnx(proto)


def test_division_by_zero_names_the_tensor():
    with pytest.raises(ValueError, match=r"1 / 'c'.*inf"):
        lk.load_onnx(single("Div", {"x": (3, 4, 5)}, {"c": np.float32([1, 0, 2]).reshape(3, 1, 1)}))


@pytest.mark.parametrize("constant", [(3, 4, 5), (4, 5), (2, 1, 1, 1), (1, 3, 4, 5), (7,), (1, 1, 1, 1, 1)])
def test_constants_that_vary_along_several_axes_or_the_batch_are_refused(constant):
    with pytest.raises(lk.UnsupportedError, match=r"'the_Add' \(Add\): a constant of shape"):
        lk.load_onnx(single("Add", {"x": (3, 4, 5)}, {"c": weights(*constant)}, batch=2))


@pytest.mark.parametrize(("a", "b"), [((3, 4, 5), (3, 4)), ((3, 1, 5), (3, 4, 1)), ((6, 4), (1, 3)), ((3, 4, 5), (5,))])
def test_impossible_broadcasts_of_activations(a, b):
    with pytest.raises(lk.UnsupportedError, match=r"Add.*(broadcast|rank)"):
        lk.load_onnx(single("Add", {"a": a, "b": b}))


def test_sum_of_three():
    check(single("Sum", {"a": (3, 4, 5), "b": (3, 4, 5), "c": (3, 4, 5)}), ["add", "add"])


@pytest.mark.parametrize(("exponent", "op"), [(2.0, ["mul"]), (0.5, ["sqrt"])])
def test_powers(exponent, op):
    check(single("Pow", {"x": (3, 4, 5)}, {"e": np.float32(exponent)}), op, low=0)


def test_other_powers_are_refused():
    with pytest.raises(lk.UnsupportedError, match="exponent"):
        lk.load_onnx(single("Pow", {"x": (3, 4, 5)}, {"e": np.float32(3)}))


def test_chains_of_scalar_arithmetic_merge():
    nodes = [
        node("Sub", "x a", "t"),
        node("Div", "t b", "u"),
        node("Neg", "u", "v"),
        node("Mul", "v b", "w"),
        node("Add", "w a"),
    ]
    constants = {"a": np.float32(0.5), "b": np.float32(0.25)}
    check(model(nodes, {"x": (3, 4, 5)}, constants=constants), ["affine"])


# -- matrix products --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize(("bias", "opset"), [(b, o) for b in ((5,), (1, 5), (1,), ()) for o in (9, 13)] + [(None, 11)])
def test_gemm(opset, trans, bias):
    constants = {"w": weights(5, 8) if trans else weights(8, 5)}
    if bias is not None:
        constants["c"] = weights(*bias, seed=2)
    check(single("Gemm", {"x": (8,)}, constants, opset=opset, transB=trans, alpha=0.7, beta=-1.5), ["linear"])


@pytest.mark.parametrize(
    ("shape", "weight"),
    [((8,), (8, 5)), ((6, 8), (8, 5)), ((3, 4, 8), (8, 5)), ((6, 8), (1, 8, 5)), ((3, 4, 8), (1, 1, 8, 5))],
)
def test_matmul(shape, weight):
    graph = check(single("MatMul", {"x": shape}, {"w": weights(*weight)}))
    assert "linear" in [n.op for n in graph.nodes]


def test_matmul_with_the_constant_at_the_left():
    proto = model([node("MatMul", "w x")], {"x": (8, 3)}, constants={"w": weights(5, 8)})
    graph = check(proto)
    assert "linear" in [n.op for n in graph.nodes]


@pytest.mark.parametrize(
    ("attributes", "w", "c", "message"),
    [
        ({"transA": 1}, (8, 5), (5,), "transA"),
        ({}, (7, 5), (5,), "does not fit"),
        ({}, (8, 5), (2, 5), "C must be one value per output"),
        ({}, (8, 5), (2, 1), "C must be one value per output"),
    ],
)
def test_impossible_gemm(attributes, w, c, message):
    proto = single("Gemm", {"x": (8,)}, {"w": weights(*w), "c": weights(*c)}, batch=2, **attributes)
    with pytest.raises(lk.UnsupportedError, match=message):
        lk.load_onnx(proto)


def test_product_of_activations_is_refused():
    with pytest.raises(lk.UnsupportedError, match="product of two activations"):
        lk.load_onnx(single("MatMul", {"a": (4, 5), "b": (5, 6)}))


def test_several_inputs_and_outputs():
    nodes = [node("Add", "a b", "sum"), node("Mul", "a b", "product")]
    graph = check(model(nodes, {"a": (3, 4, 5), "b": (3, 4, 5)}, ["sum", "product", "sum2"][:2]))
    assert [p.name for p in graph.inputs] == ["a", "b"]
    assert [p.name for p in graph.outputs] == ["sum", "product"]


def test_an_output_may_be_an_input_or_appear_inside():
    nodes = [node("Relu", "x", "r"), node("Neg", "r", "y")]
    check(model(nodes, {"x": (3, 4, 5)}, ["y", "r"]))


def test_an_output_may_be_the_input_itself():
    graph = check(model([node("Identity", "x")], {"x": (3, 4, 5)}), [])
    assert graph.outputs[0].tensor == graph.inputs[0].tensor


def test_affine_ops_per_channel_merge():
    nodes = [node("Sub", "x mean", "t"), node("Div", "t deviation")]
    constants = {"mean": weights(3, 1, 1), "deviation": np.abs(weights(3, 1, 1, seed=2)) + np.float32(0.5)}
    check(model(nodes, {"x": (3, 4, 5)}, constants=constants), ["affine"])
