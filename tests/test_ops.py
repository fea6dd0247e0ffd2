"""`lightkern.ops`: single operations on NumPy arrays, against the reference and against plain integer arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lightkern import Quant, ops, reference
from lightkern.ops import Requant


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def int8(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-128, 128, shape).astype(np.int8)


def weights(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-127, 128, shape).astype(np.int8)


def against_reference(op: Any, *xs: Any) -> Any:
    """The op's result, checked against the reference of the model that it built."""
    y = op(*xs)
    model = op._model(tuple(x.shape[1:] for x in xs))
    assert_array_equal(y, reference.run(model, {f"x{i}": x for i, x in enumerate(xs)}))
    return y


def test_linear_in_plain_integers(rng: np.random.Generator) -> None:
    """With unit scales and sums that fit int8, the result is the matrix product."""
    w, x = (rng.integers(-2, 3, shape).astype(np.int8) for shape in ((5, 7), (3, 7)))
    bias = rng.integers(-9, 9, 5).astype(np.int32)
    y = ops.Linear(w, bias)(x)
    assert y.dtype == np.int8
    assert_array_equal(y, x.astype(int) @ w.T.astype(int) + bias)


@pytest.mark.parametrize(
    ("oc", "icg", "groups", "options"),
    [
        (8, 16, 1, {}),
        (8, 3, 1, {"stride": 2, "padding": 1}),
        (12, 1, 12, {"padding": (1, 1), "stride": (1, 2)}),
        (16, 4, 4, {"padding": (0, 1, 2, 1), "dilation": 2}),
    ],
)
def test_conv2d(isa: str, rng: np.random.Generator, oc: int, icg: int, groups: int, options: dict[str, Any]) -> None:
    """Every family of convolution, on two input shapes in turn."""
    requant = Requant(x=Quant(0.5, -3), y=Quant(2.0, 5), weight_scale=np.full(oc, 0.015625, np.float32), clamp=(5, 100))
    bias = rng.integers(-999, 999, oc).astype(np.int32)
    conv = ops.Conv2d(weights(rng, oc, 3, 3, icg), bias, groups=groups, requant=requant, isa=isa, **options)
    for h, w in [(9, 7), (6, 11), (9, 7)]:
        y = against_reference(conv, int8(rng, 2, h, w, icg * groups))
        assert y.min() >= 5
        assert y.max() <= 100
    assert conv.kernel.split("_")[0] in ("gemm", "dwconv", "gconv", "winograd")
    assert conv.packed_nbytes >= oc * 9 * icg


@pytest.mark.parametrize("kind", [ops.Add, ops.Sub, ops.Mul])
@pytest.mark.parametrize("shape", [(2, 4, 5, 9), (2, 1, 1, 9), (2, 4, 5, 1), (2, 9)])
def test_binary(rng: np.random.Generator, kind: Any, shape: tuple[int, ...]) -> None:
    op = kind(Quant(0.5, 1), Quant(0.25, -7), Quant(1.0, 3))
    against_reference(op, int8(rng, 2, 4, 5, 9), int8(rng, *shape))


def test_pools_and_table(rng: np.random.Generator) -> None:
    x = int8(rng, 2, 7, 8, 5)
    y = against_reference(ops.MaxPool2d(3, stride=2, padding=1), x)
    assert y[0, 1, 1, 0] == x[0, 1:4, 1:4, 0].max()
    against_reference(ops.AvgPool2d((2, 3), padding=1, count_include_pad=True, requant=Requant(clamp=(-9, 9))), x)
    against_reference(ops.GlobalAvgPool2d(requant=Requant(x=Quant(0.5, 4), y=Quant(0.25, 0))), x)
    table = int8(rng, 256)
    assert_array_equal(ops.Table(table)(x), table[x.astype(int) + 128])


def test_bad_arguments(rng: np.random.Generator) -> None:
    w, x = weights(rng, 4, 3, 3, 2), int8(rng, 1, 5, 5, 2)
    with pytest.raises(TypeError, match="weight must be an int8 array, got float64"):
        ops.Conv2d(w.astype(float))
    with pytest.raises(TypeError, match="bias must be an int32 array, got int64"):
        ops.Conv2d(w, np.zeros(4, np.int64))
    with pytest.raises(ValueError, match="expected 4 dimensions"):
        ops.Conv2d(w[0])
    with pytest.raises(ValueError, match="padding must be 1, 2 or 4 ints"):
        ops.Conv2d(w, padding=(1, 2, 3))
    with pytest.raises(ValueError, match="has 2 input channels per group"):
        ops.Conv2d(w)(int8(rng, 1, 5, 5, 3))
    with pytest.raises(ValueError, match="does not fit"):
        ops.Conv2d(w)(int8(rng, 1, 2, 2, 2))
    with pytest.raises(ValueError, match=r"-128"):
        ops.Conv2d(np.full_like(w, -128))(x)
    with pytest.raises(TypeError, match="int8 array, got float32"):
        ops.Conv2d(w)(x.astype(np.float32))
    with pytest.raises(TypeError, match="takes 2 arrays, got 1"):
        ops.Add(Quant(1.0, 0), Quant(1.0, 0), Quant(1.0, 0))(x)
    with pytest.raises(ValueError, match="not C-contiguous"):
        ops.Conv2d(w)(int8(rng, 1, 5, 5, 4)[..., ::2])
    with pytest.raises(RuntimeError, match="has not run yet"):
        _ = ops.Conv2d(w).kernel
