"""Accumulators and multipliers at the limits of int32 and float32: what is valid, and what just is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import Net
from model_edits import STYLE, TINY, Edit, attr, base_model, element, large_input, param, quant

import lightkern as lk
from lightkern import reference
from lightkern.arrays import nearest_float32
from lightkern.model import Model, Quant

OVERFLOWS: list[tuple[str, Edit, str]] = [
    (
        "linear",
        element("bias", 1, 2**31 - 1),
        r"node 'linear0' \(linear\): channel 1 can reach an accumulator of 21\d+",
    ),
    ("linear", element("bias", 1, -(2**31)), "channel 1 can reach an accumulator of 21"),
    (
        "global_avg_pool",
        large_input(2**12, 2**12),
        "a window of 16777216 elements can reach an accumulator of 4278190080",
    ),
    (
        "avg_pool",
        lambda m: (large_input(2**12, 2**12)(m), attr("kernel", [2**12, 2**12])(m), attr("padding", [0] * 4)(m)),
        "a window of 16777216 elements can reach",
    ),
]


@pytest.mark.parametrize(("op", "edit", "match"), OVERFLOWS, ids=[op for op, _, _ in OVERFLOWS])
def test_accumulators_that_could_overflow_are_unsupported(op: str, edit: Edit, match: str) -> None:
    model = base_model(op)
    edit(model)
    model.outputs[0] = replace(model.outputs[0], shape=(1, 1, 6) if "pool" in op else model.outputs[0].shape)
    with pytest.raises(lk.UnsupportedError, match=match):
        model.validate()


@pytest.mark.parametrize("most", [2**31 - 1, 2**31])
def test_the_accumulator_bound_is_exact(most: int) -> None:
    model = base_model("linear")
    weight = model.nodes[-1].params["weight"]
    bias = most - 255 * int(np.abs(weight[0].astype(int)).sum())
    model.nodes[-1].params["bias"][0] = -bias
    if most == 2**31 - 1:
        model.validate()
    else:
        with pytest.raises(lk.UnsupportedError, match=f"channel 0 can reach an accumulator of {most}"):
            model.validate()


def test_multipliers_near_their_limits() -> None:
    """Multipliers of 2**23 and 2**-126 give what the definition says, without any warning."""
    for scale, wanted in ((2.0**-23, [127, -128, 0]), (2.0**126, [0, 0, 0])):
        net = Net(np.random.default_rng(0), STYLE)
        x = net.input((3,), quant=Quant(1.0, 0))
        y = net.prelu(x)
        net.nodes[0].params["slope"][:] = 1.0
        net.quants[y] = Quant(scale, 0)
        assert reference.run(net.model(y), np.array([[1, -1, 0]], np.int8)).tolist() == [wanted]


def _quotient_and_product(x: np.ndarray, y: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        pairs = ((x * y, float.__mul__), (x / y, float.__truediv__))
    for wanted, operation in pairs:
        found = [nearest_float32(operation(float(a), float(b))) for a, b in zip(x, y, strict=True)]
        np.testing.assert_array_equal(np.array(found), wanted.astype(np.float64))


def test_products_and_quotients_of_scales_are_those_of_float32() -> None:
    """Computed in double and rounded once more: the same, subnormal and infinite ones too."""
    rng = np.random.default_rng(0)
    bits = rng.integers(0x00800000, 0x7F800000, (2, 20_000), dtype=np.int32)  # all positive normal numbers
    _quotient_and_product(*bits.view(np.float32))
    for exponent in (-126, -150, 127):  # results around the least normal and subnormal numbers, and the greatest
        x = np.ldexp(rng.uniform(1, 2, 20_000), exponent // 2).astype(np.float32)
        other = np.ldexp(rng.uniform(0.5, 2, 20_000), exponent - exponent // 2)
        _quotient_and_product(x, other.astype(np.float32))
        _quotient_and_product(x, (1 / other).astype(np.float32))


F32 = np.float32
BELOW_TINY = float(np.nextafter(F32(TINY), F32(0)))
LIMITS: list[tuple[str, Edit, bool]] = [
    ("mul", lambda m: (quant("in0", 2.0**-63)(m), quant("in1", 2.0**-63)(m), quant("t0", 1.0)(m)), True),
    ("mul", lambda m: (quant("in0", 2.0**-63)(m), quant("in1", 2.0**-64)(m), quant("t0", 2.0**-9)(m)), False),
    ("linear", lambda m: (quant("in0", 2.0**24)(m), quant("t0", 1.0)(m), param("weight_scale", ones(4))(m)), False),
    (
        "linear",
        lambda m: (quant("in0", below(2.0**24))(m), quant("t0", 1.0)(m), param("weight_scale", ones(4))(m)),
        True,
    ),
    ("linear", lambda m: (quant("in0", TINY)(m), quant("t0", 1.0)(m), param("weight_scale", ones(4))(m)), True),
    ("linear", lambda m: (quant("in0", TINY)(m), quant("t0", 1.0)(m), element("weight_scale", 1, below(1))(m)), False),
    ("linear", lambda m: (quant("in0", below(2.0**127))(m), param("weight_scale", 2 * ones(4))(m), t0_huge(m)), True),
    ("linear", lambda m: (quant("in0", 2.0**127)(m), param("weight_scale", 2 * ones(4))(m), t0_huge(m)), False),
    ("prelu", lambda m: (quant("in0", 1.0)(m), quant("t0", 1.0)(m), param("slope", -TINY * ones(6))(m)), True),
    ("prelu", lambda m: (quant("in0", 1.0)(m), quant("t0", 1.0)(m), element("slope", 1, -BELOW_TINY)(m)), False),
    ("prelu", lambda m: (quant("in0", 1.0)(m), quant("t0", 1.0)(m), param("slope", 0 * ones(6))(m)), True),
    ("prelu", lambda m: (quant("in0", 1.0)(m), quant("t0", 1.0)(m), element("slope", 1, -(2.0**24))(m)), False),
    ("avg_pool", lambda m: (quant("in0", TINY)(m), quant("t0", 2.0**-3)(m)), True),  # a window of 6
    ("avg_pool", lambda m: (quant("in0", TINY)(m), quant("t0", 2.0**-2)(m)), False),
]


def ones(size: int) -> np.ndarray:
    return np.ones(size, np.float32)


def below(value: float) -> float:
    return float(np.nextafter(F32(value), F32(0)))


def t0_huge(model: Model) -> None:
    quant("t0", float(np.finfo(np.float32).max))(model)


@pytest.mark.parametrize(("op", "edit", "valid"), LIMITS)
def test_multipliers_at_their_limits(op: str, edit: Edit, valid: bool) -> None:
    model = base_model(op)
    edit(model)
    if valid:
        model.validate()
    else:
        with pytest.raises(ValueError, match="multiplier or an intermediate product"):
            model.validate()
