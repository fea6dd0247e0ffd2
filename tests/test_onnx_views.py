"""The algebra of views: any chain of Reshape and Transpose ends in the memory order that NumPy computes."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import ints, model, node

import lightkern as lk
from lightkern.importers.onnx import views
from lightkern.importers.onnx.builder import Builder

SIZES = st.sampled_from([1, 2, 3, 4, 6])


@st.composite
def factorizations(draw, total: int, rank: int) -> list[int]:
    """`rank` sizes with the product `total`."""
    sizes = []
    for _ in range(rank - 1):
        size = draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
        sizes.append(size)
        total //= size
    return [*sizes, total]


@st.composite
def chains(draw) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """An input shape and some steps; the result has one to three axes beside the batch."""
    shape = draw(st.lists(SIZES, min_size=1, max_size=3))
    start, chain = list(shape), []
    for _ in range(draw(st.integers(1, 5))):
        if draw(st.booleans()):
            permutation = draw(st.permutations(range(len(shape))))
            shape = [shape[p] for p in permutation]
            chain.append(("Transpose", [0, *(p + 1 for p in permutation)]))
        else:
            shape = draw(factorizations(math.prod(shape), draw(st.integers(1, 5))))
            chain.append(("Reshape", [0, *shape]))
    chain.append(("Reshape", [0, *draw(factorizations(math.prod(shape), draw(st.integers(1, 3))))]))
    return start, chain


def build(start, chain):
    nodes, constants = [], {}
    for i, (op, argument) in enumerate(chain):
        if op == "Transpose":
            nodes.append(node(op, f"t{i}", f"t{i + 1}", perm=argument))
        else:
            constants[f"s{i}"] = ints(*argument)
            nodes.append(node(op, f"t{i} s{i}", f"t{i + 1}"))
    return model(nodes, {"t0": start}, [f"t{len(chain)}"], constants)


@given(chains())
def test_chains_of_reshape_and_transpose(case):
    start, chain = case
    x = np.arange(2 * math.prod(start), dtype=np.float32).reshape(2, *start)
    expected = x
    for op, argument in chain:
        expected = expected.transpose(argument) if op == "Transpose" else expected.reshape(2, *argument[1:])
    try:
        graph = lk.load_onnx(build(start, chain))
    except lk.UnsupportedError as error:
        if "transposition" not in str(error):
            raise
        return  # more than four moves, or six blocks: rare, and refused rather than wrong
    np.testing.assert_array_equal(graph.run(x), expected)


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_any_four_blocks_can_be_ordered(order):
    """Four blocks in memory, in every order, by at most three moves."""
    sizes = (2, 3, 4, 5)
    value = views.Value("x", (120,), sizes, tuple((i,) for i in range(4)))
    moves = views.steps(value, (tuple(order),))
    assert moves is not None
    assert len(moves) <= 3
    x = np.arange(120)
    memory = x.reshape(sizes)
    expected = memory.transpose(order).reshape(-1)
    for move in moves:
        x = x.reshape(move.outer, move.first, move.second).swapaxes(1, 2).reshape(-1)
    np.testing.assert_array_equal(x, expected)


def test_reshape_splits_and_joins_atoms():
    picture = views.arranged("x", views.IMAGE, (12, 5, 4))
    assert picture == views.Value("x", (5, 4, 12), (5, 4, 12), ((2,), (0,), (1,)))
    five = views.reshape(picture, (2, 6, 5, 4))
    assert five is not None
    assert (five.atoms, five.axes) == ((5, 4, 2, 6), ((2,), (3,), (0,), (1,)))
    assert views.reshape(picture, (5, 4, 12)) is None  # would split 12 channels into 5 and 12 / 5
    assert five.source_shape == (2, 6, 5, 4)


def test_a_move_is_made_once_per_value():
    builder = Builder(17, 1)
    builder.shapes["x"] = (5, 4, 12)
    value = views.arranged("x", views.IMAGE, (12, 5, 4))
    order = ((0, 1, 2),)
    first = builder.arrange("a", value, order)
    assert builder.arrange("b", value, order) == first
    assert [n.op for n in builder.nodes] == ["reshape"]
