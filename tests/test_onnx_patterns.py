"""Functions that exporters write out in small ops become one op again, and keep their values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx_models import check, model, node

import lightkern as lk

SCALARS = {
    "zero": 0.0,
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "six": 6.0,
    "sixth": 1 / 6,
    "root": math.sqrt(2),
    "inverse_root": math.sqrt(0.5),
}

WRITTEN_OUT = {
    "hard_swish": [
        # x * clip(x + 3, 0, 6) / 6 in its orders
        "Add x three a; Clip a zero six b; Mul x b c; Div c six y",
        "Add three x a; Clip a zero six b; Mul b x c; Mul c sixth y",
        "Add x three a; Clip a zero six b; Div b six c; Mul x c y",
        "Add x three a; Clip a zero six b; Mul b sixth c; Mul c x y",
        "Div x six a; Add x three b; Clip b zero six c; Mul a c y",
        "Add x three a; Relu a b; Min b six c; Mul x c d; Div d six y",
        "Add x three a; Max a zero b; Min b six c; Div c six d; Mul d x y",
        "HardSigmoid@1/6 x a; Mul a x y",
        "HardSigmoid@1/6 x a; Mul x a y",
        "Mul x sixth a; Add a half b; Clip b zero one c; Mul x c y",
        "Add x three a; Mul a sixth b; Clip b zero one c; Mul c x y",
    ],
    "hard_sigmoid": [
        "Add x three a; Clip a zero six b; Div b six y",
        "Add x three a; Clip a zero six b; Mul b sixth y",
        "Mul x sixth a; Add a half b; Clip b zero one y",
        "Add x three a; Relu a b; Min b six c; Div c six y",
    ],
    "swish": ["Sigmoid x a; Mul x a y", "Sigmoid x a; Mul a x y"],
    "mish": ["Softplus x a; Tanh a b; Mul x b y", "Softplus x a; Tanh a b; Mul b x y"],
    "gelu": [
        "Div x root a; Erf a b; Add b one c; Mul x c d; Mul d half y",
        "Mul x inverse_root a; Erf a b; Add one b c; Mul x half d; Mul d c y",
        "Div x root a; Erf a b; Add b one c; Mul half c d; Mul x d y",
        "Div x root a; Erf a b; Mul b half c; Add c half d; Mul d x y",
    ],
    "relu": ["Max x zero y", "Relu x a; Relu a y"],
    "clip": ["Relu x a; Min a six y", "Clip x zero six a; Relu a y", "Min x six a; Max a zero y"],
}


def written_out(text: str):
    nodes = []
    for part in text.split(";"):
        op, *names = part.split()
        attributes = {}
        if "@" in op:
            op, attributes = "HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}
        nodes.append(node(op, " ".join(names[:-1]), names[-1], **attributes))
    constants = {n: np.float32(v) for n, v in SCALARS.items() if f" {n} " in f"{text};"}
    return nodes, constants


@pytest.mark.parametrize(("op", "text"), [(op, text) for op, texts in WRITTEN_OUT.items() for text in texts])
@pytest.mark.parametrize("opset", [13])
def test_written_out_functions(op, text, opset):
    nodes, constants = written_out(text)
    check(model(nodes, {"x": (3, 4, 5)}, constants=constants, opset=opset), [op], low=-8, high=8)


@pytest.mark.parametrize(("op", "text"), [(op, WRITTEN_OUT[op][0]) for op in ("hard_swish", "swish", "gelu", "mish")])
def test_after_a_layer_that_is_affine_itself(op, text):
    nodes, constants = written_out(text)
    first = [node("Mul", "input six", "t"), node("Sub", "t half", "x")]
    constants |= {"six": np.float32(6), "half": np.float32(0.5)}
    check(model([*first, *nodes], {"input": (3, 4, 5)}, constants=constants), ["affine", op], low=-2, high=2)


@pytest.mark.parametrize(
    "text",
    [
        "Add x two a; Clip a zero six b; Mul x b c; Div c six y",  # 2 in place of 3
        "Add x three a; Clip a zero six b; Mul x b c; Mul c half y",  # another factor
        "Mul x two a; Sigmoid a b; Mul x b y",  # sigmoid(2 x)
        "Sigmoid x a; Neg x b; Mul b a y",  # -swish
        "Add x one a; Sigmoid x b; Mul a b y",  # (x + 1) * sigmoid(x)
        "Softplus x a; Tanh a b; Add b one c; Mul x c y",
        "Add x three a; Clip a half six b; Div b six y",
        "Clip x zero six a; Mul a x y",
        "Add x half a; Clip a zero one b; Mul b two y",
    ],
)
def test_near_misses_keep_their_values(text):
    nodes, constants = written_out(text)
    check(model(nodes, {"x": (3, 4, 5)}, constants=constants), low=-8, high=8)


def test_an_intermediate_value_that_is_an_output_stays():
    nodes, constants = written_out(WRITTEN_OUT["hard_swish"][0])
    check(model(nodes, {"x": (3, 4, 5)}, ["y", "a", "b", "c"], constants), low=-8, high=8)


def test_erf_alone_is_refused():
    with pytest.raises(lk.UnsupportedError, match="Erf"):
        lk.load_onnx(model([node("Erf", "x")], {"x": (3, 4, 5)}))


def test_gates_over_a_broadcast_are_not_merged():
    nodes = [node("Sigmoid", "x", "a"), node("GlobalAveragePool", "a", "b"), node("Mul", "x b")]
    check(model(nodes, {"x": (3, 4, 5)}), ["sigmoid", "global_avg_pool", "mul"])
