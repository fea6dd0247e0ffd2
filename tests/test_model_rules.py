"""Each rule of a model and of a graph, broken once: the error names the place, the rule and the value."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import Net, inputs
from float_nets import float_graph
from hypothesis import given
from model_edits import BASES, STYLE, TINY, Edit, attr, base_model, element, no_attr, node, param, port, quant
from strategies import one_node_models

from lightkern import reference
from lightkern.graph import Node
from lightkern.model import Model

RULES: list[tuple[str, Edit, str]] = [
    # ports
    ("linear", port("inputs", shape=(0,)), r"input 'input0': shape \(0,\)"),
    ("linear", port("inputs", shape=[6]), r"input 'input0': shape \[6\] is not a tuple of int"),
    ("linear", port("inputs", shape=(6.0,)), r"input 'input0': shape \(6.0,\) is not a tuple of int"),
    ("linear", port("inputs", shape=(1, 1, 1, 6)), r"input 'input0': shape \(1, 1, 1, 6\)"),
    ("linear", port("inputs", shape=(2**24 + 1,)), "input 'input0': shape"),
    ("linear", port("inputs", shape=(2**12, 2**10, 2**9)), "has 2147483648 elements"),
    ("linear", port("inputs", layout="NCWH"), "input 'input0': layout must be 'NCHW' or 'NHWC', got 'NCWH'"),
    ("linear", port("outputs", layout=None), "output 'output0': layout must be 'NCHW' or 'NHWC', got None"),
    ("linear", port("outputs", shape=(5,)), r"output 'output0': declared shape \(5,\), tensor 't0' has \(4,\)"),
    ("linear", port("outputs", tensor="t9"), "output 'output0': .* 't9' has no definition"),
    ("linear", port("inputs", name=5), "input 5: a name must be a string"),
    ("linear", lambda m: m.inputs.clear(), "needs at least one input"),
    ("linear", lambda m: m.outputs.clear(), "needs at least one output"),
    ("linear", lambda m: m.outputs.append(m.outputs[0]), "output 'output0': another output has this name"),
    ("add", lambda m: m.inputs.__setitem__(1, replace(m.inputs[1], name="input0")), "another input has this name"),
    ("add", lambda m: m.inputs.__setitem__(1, replace(m.inputs[1], tensor="in0")), "'in0' is defined twice"),
    # nodes and tensors
    ("linear", node(op="dense"), r"node 'linear0' \(dense\): unknown op 'dense'"),
    ("linear", node(op="relu"), r"node 'linear0' \(relu\): unknown op 'relu'"),
    ("linear", node(name=""), "a name must be a non-empty string"),
    ("linear", node(name=None), "a name must be a non-empty string"),
    ("linear", node(inputs=["t0"]), "input 't0' is not the output of an earlier node"),
    ("linear", node(inputs=[]), "takes 1..1 inputs, got 0"),
    ("linear", node(output="in0"), "tensor 'in0' is defined twice"),
    ("linear", lambda m: m.nodes.append(m.nodes[0]), "another node has this name"),
    ("add", node(inputs=["in0"]), "takes 2..2 inputs, got 1"),
    ("add", node(inputs=["in1", "in0"]), r"shapes \(6,\) and \(5, 4, 6\) do not broadcast"),
    ("add", port("inputs", shape=(5, 4, 7)), r"shapes \(5, 4, 7\) and \(6,\) do not broadcast"),
    ("mul", port("inputs", shape=(4, 5, 6)), "do not broadcast"),
    # quantizations
    ("linear", lambda m: m.quants.pop("in0"), "tensor 'in0': has no quantization"),
    ("linear", quant("other", 0.5), "quants: there is no tensor 'other'"),
    ("linear", quant("t0", 0.0), "tensor 't0': scale 0.0 is not a positive, finite, normal float32"),
    ("linear", quant("t0", -0.5), "tensor 't0': scale -0.5"),
    ("linear", quant("t0", float("nan")), "tensor 't0': scale nan"),
    ("linear", quant("t0", float("inf")), "tensor 't0': scale inf"),
    ("linear", quant("t0", TINY / 2), "tensor 't0': scale 5.87"),
    ("linear", quant("t0", 1e300), "tensor 't0': scale 1e.300"),
    ("linear", quant("t0", 0.1), "tensor 't0': scale 0.1 is not"),
    ("linear", quant("t0", 1), "tensor 't0': scale 1 is not"),
    ("linear", quant("t0", "0.5"), "tensor 't0': scale '0.5' is not"),
    ("linear", quant("t0", 0.5, 128), r"tensor 't0': zero point 128 is not an int in \[-128, 127\]"),
    ("linear", quant("t0", 0.5, -129), "tensor 't0': zero point -129"),
    ("linear", quant("t0", 0.5, 0.0), "tensor 't0': zero point 0.0"),
    ("linear", quant("t0", 0.5, True), "tensor 't0': zero point True"),
    ("linear", quant("in0", 2.0**-124), r"multiplier or an intermediate product"),
    ("linear", quant("t0", 2.0**-60), r"multiplier or an intermediate product"),
    ("linear", quant("t0", 2.0**125), r"multiplier or an intermediate product"),
    ("linear", element("weight_scale", 1, 2.0**-125), r"multiplier or an intermediate product"),
    ("mul", lambda m: (quant("in0", 2.0**-70)(m), quant("in1", 2.0**-70)(m), quant("t0", 2.0**-70)(m)), "intermediate"),
    ("mul", lambda m: (quant("in0", 2.0**70)(m), quant("in1", 2.0**70)(m), quant("t0", 2.0**120)(m)), "intermediate"),
    (
        "prelu",
        lambda m: (quant("in0", 2.0**-70)(m), quant("t0", 2.0**-70)(m), element("slope", 0, -1e-20)(m)),
        "interm",
    ),
    ("avg_pool", lambda m: (quant("in0", 2.0**-100)(m), quant("t0", 2.0**25)(m)), "intermediate"),
    # attributes
    ("linear", no_attr("clamp"), r"node 'linear0' \(linear\): attribute 'clamp' is missing"),
    ("linear", attr("clamp", [5, 4]), r"clamp \[5, 4\] is not \[low, high\] within int8"),
    ("linear", attr("clamp", [-129, 4]), r"clamp \[-129, 4\] is not"),
    ("linear", attr("clamp", [0, 128]), r"clamp \[0, 128\] is not"),
    ("linear", attr("clamp", [0]), r"attribute 'clamp' must be ints2, got \[0\]"),
    ("linear", attr("clamp", [0, True]), r"attribute 'clamp' must be ints2"),
    ("linear", attr("clamp", None), r"attribute 'clamp' must be ints2, got None"),
    ("linear", attr("rate", 1), "unknown attribute 'rate'"),
    ("table", attr("clamp", [0, 1]), "unknown attribute 'clamp'"),
    ("max_pool", attr("clamp", [0, 1]), "unknown attribute 'clamp'"),
    ("avg_pool", attr("dilation", [1, 1]), "unknown attribute 'dilation'"),
    ("linear", attr("weight_format", "sparse"), r"weight_format must be one of \('dense',\), got 'sparse'"),
    ("linear", attr("weight_format", 4), "attribute 'weight_format' must be str, got 4"),
    ("conv2d", attr("kernel", [3, 2]), r"weight is 3x3, kernel says \(3, 2\)"),
    ("conv2d", attr("kernel", "33"), "attribute 'kernel' must be ints2, got '33'"),
    ("conv2d", attr("stride", [0, 1]), r"stride must be at least 1, got \(0, 1\)"),
    ("conv2d", attr("dilation", [1, -1]), r"dilation must be at least 1, got \(1, -1\)"),
    ("conv2d", attr("dilation", [4, 1]), r"3x3 window \(dilation 4x1\) does not fit into the padded input of 7x6"),
    ("conv2d", attr("padding", [-1, 0, 0, 0]), r"padding must not be negative, got \(-1, 0, 0, 0\)"),
    ("conv2d", attr("padding", [2**24] * 4), "exceeds the limits"),
    ("conv2d", attr("padding", [2**25, 0, 0, 0]), "attribute 'padding' must be ints4"),
    ("conv2d", attr("padding", [2**14] * 4), "exceeds the limits"),
    ("conv2d", attr("groups", 0), "groups must be at least 1, got 0"),
    ("conv2d", attr("groups", 3), "8 output channels do not divide into 3 groups"),
    ("conv2d", attr("groups", 4), "weight has 3 input channels per group and 4 groups, input has 6 channels"),
    ("conv2d", port("inputs", shape=(6,)), r"needs an input of shape \(H, W, C\), got \(6,\)"),
    ("avg_pool", attr("count_include_pad", 1), "attribute 'count_include_pad' must be bool, got 1"),
    ("avg_pool", attr("padding", [2, 0, 0, 0]), r"padding \(2, 0, 0, 0\) reaches beyond the window"),
    ("avg_pool", attr("kernel", [2**23 + 100, 1]), "does not fit|reaches beyond"),
    ("max_pool", attr("padding", [0, 0, 0, 2]), r"padding \(0, 0, 0, 2\) reaches beyond the window"),
    ("max_pool", lambda m: (attr("dilation", [6, 1])(m), attr("padding", [6, 0, 6, 0])(m)), "would see padding only"),
    ("max_pool", lambda m: (attr("dilation", [1, 5])(m), attr("padding", [0, 5, 0, 5])(m)), "would see padding only"),
    ("concat", attr("axis", 3), "axis 3 is outside of the 3 axes"),
    ("concat", attr("axis", -1), "axis -1 is outside"),
    ("slice", attr("begin", 5), r"slice \[5, 5\) is outside of axis 2 of size 6"),
    ("slice", attr("end", 7), r"slice \[1, 7\) is outside of axis 2 of size 6"),
    ("slice", attr("begin", -1), r"slice \[-1, 5\) is outside"),
    ("channel_shuffle", attr("groups", 4), "6 channels do not divide into 4 groups"),
    ("channel_shuffle", attr("groups", 0), "6 channels do not divide into 0 groups"),
    ("channel_shuffle", attr("groups", True), "attribute 'groups' must be int, got True"),
    ("pad", attr("padding", [0, 0, -1, 0]), r"padding must not be negative, got \(0, 0, -1, 0\)"),
    ("pad", attr("padding", [2**24, 0, 0, 0]), "shape .* is not"),
    ("pad", attr("value", float("inf")), "value must be finite, got inf"),
    ("pad", attr("value", float("nan")), "attribute 'value' must be float, got nan"),
    ("pad", attr("value", 1e39), "attribute 'value' must be float, got 1e.39"),
    ("pad", attr("value", "0"), "attribute 'value' must be float, got '0'"),
    ("reshape", attr("shape", [121]), r"cannot reshape \(5, 4, 6\) \(120 elements\) to \(121,\)"),
    ("reshape", attr("shape", [-1, -120]), r"cannot reshape \(5, 4, 6\)"),
    ("reshape", attr("shape", []), r"cannot reshape \(5, 4, 6\)"),
    ("reshape", attr("shape", [2, 3, 4, 5]), r"cannot reshape \(5, 4, 6\)"),
    ("reshape", attr("order", "WHC"), "order must be 'CHW' or 'HWC', got 'WHC'"),
    # parameters
    ("linear", lambda m: m.nodes[-1].params.pop("bias"), "parameter 'bias' is missing"),
    ("linear", param("slope", np.zeros(4, np.float32)), "unknown parameter 'slope'"),
    ("linear", param("bias", [1, 2, 3, 4]), "parameter 'bias' is a list, expected a NumPy array"),
    ("linear", param("bias", np.zeros(4, np.int64)), "bias has dtype int64, expected int32"),
    ("linear", param("bias", np.zeros(4, ">i4")), "bias has dtype >i4, expected int32"),
    ("linear", param("bias", np.zeros(3, np.int32)), r"bias has shape \(3,\), expected \(4,\)"),
    ("linear", param("bias", np.zeros((4, 1), np.int32)), r"'bias' has shape \(4, 1\), expected 1 dimensions"),
    ("linear", param("weight", np.zeros((4, 6), np.uint8)), "weight has dtype uint8, expected int8"),
    ("linear", param("weight", np.zeros((4, 5), np.int8)), r"weight of shape \(4, 5\) does not fit the input \(6,\)"),
    ("linear", param("weight", np.zeros((0, 6), np.int8)), r"weight of shape \(0, 6\) does not fit"),
    ("linear", param("weight_scale", np.ones(5, np.float32)), r"weight_scale has shape \(5,\), expected \(4,\)"),
    ("linear", param("weight_scale", np.ones(4)), "weight_scale has dtype float64, expected float32"),
    ("linear", element("weight_scale", 2, np.nan), "weight_scale contains NaN or infinity"),
    ("linear", element("weight_scale", 2, np.inf), "weight_scale contains NaN or infinity"),
    ("linear", element("weight_scale", 2, 0.0), "weight_scale 0.0 is not a positive, normal float32"),
    ("linear", element("weight_scale", 2, -1.0), "weight_scale -1.0 is not a positive"),
    ("linear", element("weight_scale", 2, 1e-39), r"weight_scale 1.0+\d*e-39 is not|weight_scale 9.9\d*e-40 is not"),
    ("linear", element("weight", (1, 1), -128), r"weight contains -128, the range is \[-127, 127\]"),
    ("conv2d", param("weight", np.zeros((8, 3, 3, 0), np.int8)), "weight has 0 input channels per group"),
    ("conv2d", param("weight", np.zeros((8, 9, 3), np.int8)), r"'weight' has shape \(8, 9, 3\), expected 4 dimensions"),
    ("prelu", param("slope", np.zeros(5, np.float32)), r"slope has shape \(5,\), expected \(6,\)"),
    ("prelu", element("slope", 3, np.nan), "slope contains NaN or infinity"),
    ("table", param("table", np.zeros(255, np.int8)), r"table has shape \(255,\), expected \(256,\)"),
    ("table", param("table", np.zeros(256, np.uint8)), "table has dtype uint8, expected int8"),
    ("softmax", param("exp", np.ones(16, np.int32)), r"exp has shape \(16,\), expected \(256,\)"),
    ("softmax", element("exp", 9, -1), r"exp -1 .. 8388608 exceeds \[0, 2\*\*23\]"),
    ("softmax", element("exp", 9, 2**23 + 1), r"exp \d+ .. 8388609 exceeds"),
    ("softmax", element("exp", 0, 0), r"exp\[0\] is 0, must be at least 1"),
    ("softmax", quant("t0", 2.0**25), r"the output's scale 33554432.0 is outside of \[2\*\*-24, 2\*\*24\]"),
    ("resize", element("y_low", 0, 5), r"y_low 0 .. 5 exceeds \[0, 4\]"),
    ("resize", element("x_low", 0, -1), r"x_low -1 .. \d exceeds \[0, 3\]"),
    ("resize", element("x_fraction", 0, 2049), r"x_fraction \d+ .. 2049 exceeds \[0, 2048\]"),
    ("resize", element("y_fraction", 0, -1), r"y_fraction -1 .. \d+ exceeds \[0, 2048\]"),
    ("resize", param("y_low", np.zeros(3, np.int32)), "y_low and y_fraction must have one equal, non-zero length"),
    (
        "resize",
        lambda m: [m.nodes[-1].params.update({k: np.zeros(0, np.int32)}) for k in ("x_low", "x_fraction")],
        "x_low",
    ),
    # one quantization for inputs and output
    *[
        (op, quant("t0", 0.5), r"input 'in0' has Quant\(.*\), output Quant\(.*\): must be equal")
        for op in ("max_pool", "concat", "slice", "channel_shuffle", "pad", "reshape", "resize")
    ],
    ("max_pool", lambda m: quant("t0", m.quants["in0"].scale, 1)(m), "must be equal"),
]


@pytest.mark.parametrize(("op", "edit", "match"), RULES, ids=[f"{op}-{match[:45]}" for op, _, match in RULES])
def test_each_rule_of_a_model(op: str, edit: Edit, match: str) -> None:
    model = base_model(op)
    edit(model)
    with pytest.raises(ValueError, match=match):
        model.validate()


@pytest.mark.parametrize("op", sorted(BASES))
def test_every_base_is_valid(op: str) -> None:
    model = base_model(op)
    assert model.validate()[model.outputs[0].tensor] == model.outputs[0].shape
    assert model.nodes[-1].op == op


@given(one_node_models())
def test_validate_gives_the_shapes_that_run_produces(case: tuple[Model, Any]) -> None:
    model, x = case
    _, values = reference.run(model, x, keep=True)
    assert {name: value.shape[1:] for name, value in values.items()} == model.validate()


@pytest.mark.parametrize("op", sorted(BASES))
def test_validate_changes_nothing(op: str) -> None:
    """Neither values nor types, the first time that it sees a model."""
    net = Net(np.random.default_rng(0), STYLE)
    y = BASES[op](net)
    facts = lambda nodes: [(n.op, n.inputs, n.output, repr(n.attrs), n.params.keys()) for n in nodes]  # noqa: E731
    before = copy.deepcopy((net.ports, net.nodes, net.quants))
    model = net.model(y)  # validates
    assert (model.inputs, facts(model.nodes), model.quants) == (before[0], facts(before[1]), before[2])
    for new, old in zip(model.nodes, before[1], strict=True):
        for key, value in new.params.items():
            assert value.dtype == old.params[key].dtype
            np.testing.assert_array_equal(value, old.params[key])


GRAPH_RULES: list[tuple[Callable[[Node], Any], str]] = [
    (
        lambda n: n.params.__setitem__("bias", n.params["bias"].astype(np.float64)),
        "bias has dtype float64, expected float32",
    ),
    (lambda n: n.params["bias"].__setitem__(0, np.nan), r"bias\[0\] is nan, must be finite"),
    (lambda n: n.params["weight"].__setitem__((1, 2, 0, 1), -np.inf), r"weight\[1, 2, 0, 1\] is -inf, must be finite"),
    (lambda n: n.params.__setitem__("scale", n.params["bias"]), "unknown parameter 'scale'"),
    (lambda n: n.params.pop("weight"), "parameter 'weight' is missing"),
    (lambda n: n.attrs.__setitem__("clamp", [0, 1]), "unknown attribute 'clamp'"),
    (lambda n: n.attrs.__setitem__("groups", np.int64(1)), r"attribute 'groups' must be int, got"),
]


@pytest.mark.parametrize(("edit", "match"), GRAPH_RULES, ids=[match for _, match in GRAPH_RULES])
def test_each_rule_of_a_graph(edit: Callable[[Node], Any], match: str) -> None:
    graph = float_graph(np.random.default_rng(0))
    edit(graph.nodes[0])
    with pytest.raises(ValueError, match=rf"node 'conv2d_0' \(conv2d\): {match}"):
        graph.validate()


def test_inputs_helper_fits_every_kind() -> None:
    model = base_model("add")
    for kind in ("random", "low", "high", "alternate", "zero_point"):
        reference.run(model, inputs(model, np.random.default_rng(0), kind, n=2))
