"""What Reshape and Transpose mean without moving a byte, and how to move when an op insists.

A `Value` is an ONNX value seen as a view of one canonical tensor. The tensor's memory is a row-major sequence of
*atoms* (factors of its dimensions); every source axis is a list of atoms. An NCHW picture is the tensor (H, W, C)
with atoms h, w, c and axes ``[c] [h] [w]``. Reshape splits and joins, Transpose permutes; both only edit the lists:

    channel shuffle   [gk] [h] [w]  -> reshape [g] [k] [h] [w] -> transpose [k] [g] [h] [w] -> reshape [k g] [h] [w]
    detection head    [ak] [h] [w]  -> transpose [h] [w] [ak]  -> reshape [h w a] [k]

When an op needs its input in a certain memory order, `steps` finds the shortest sequence of moves. One move swaps two
neighbouring blocks of which the second ends the memory: a channel shuffle, or, over all of the memory, a rotation as
in NCHW <-> NHWC. Most of the time no move is needed: the detection head above already lies in memory as wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

from ...opset import Shape

Order = tuple[tuple[int, ...], ...]
"""A canonical layout: for each axis of the canonical tensor, the source axes that it consists of."""

MAX_BLOCKS = 6
MAX_MOVES = 4

IMAGE: Order = ((1,), (2,), (0,))
"""Source (C, H, W) as canonical (H, W, C)."""


@dataclass(frozen=True)
class Value:
    """An ONNX value, without its batch axis, as a view of a canonical tensor.

    Attributes
    ----------
    tensor : str
        Name of the canonical tensor.
    shape : tuple of int
        Its canonical shape.
    atoms : tuple of int
        Sizes (all > 1) of the factors of `shape`, in memory order.
    axes : tuple of tuple of int
        For each source axis, the atoms that it consists of; an axis of size 1 has none.
    """

    tensor: str
    shape: Shape
    atoms: tuple[int, ...]
    axes: tuple[tuple[int, ...], ...]

    @property
    def source_shape(self) -> Shape:
        """Shape in the source model, without batch."""
        return tuple(math.prod(self.atoms[a] for a in axis) for axis in self.axes)


def arranged(tensor: str, order: Order, source_shape: Sequence[int]) -> Value:
    """The value of `source_shape` whose canonical tensor has exactly the layout `order`."""
    atoms: list[int] = []
    axes: list[tuple[int, ...]] = [()] * len(source_shape)
    for axis in (a for group in order for a in group):
        if source_shape[axis] > 1:
            axes[axis] = (len(atoms),)
            atoms.append(source_shape[axis])
    return Value(tensor, canonical_shape(order, source_shape), tuple(atoms), tuple(axes))


def canonical_shape(order: Order, source_shape: Sequence[int]) -> Shape:
    """Shape of the canonical tensor in the layout `order`."""
    return tuple(math.prod(source_shape[a] for a in group) for group in order)


def transpose(value: Value, permutation: Sequence[int]) -> Value:
    """Permute source axes (batch excluded)."""
    return Value(value.tensor, value.shape, value.atoms, tuple(value.axes[p] for p in permutation))


def reshape(value: Value, shape: Sequence[int]) -> Value | None:
    """View with the source shape `shape` of the same number of elements; None if an atom would break unevenly."""
    pieces: list[list[int]] = [[size] for size in value.atoms]
    axes: list[list[tuple[int, int]]] = []
    pending = [(atom, 0) for axis in reversed(value.axes) for atom in reversed(axis)]
    for size in shape:
        axis: list[tuple[int, int]] = []
        left = size
        while left > 1:
            atom, piece = pending.pop()
            extent = pieces[atom][piece]
            if extent > left:
                if extent % left:
                    return None
                pieces[atom][piece : piece + 1] = [left, extent // left]
                pending.append((atom, piece + 1))
                extent = left
            elif left % extent:
                return None
            axis.append((atom, piece))
            left //= extent
        axes.append(axis)
    start = [0]
    for split in pieces:
        start.append(start[-1] + len(split))
    atoms = tuple(size for split in pieces for size in split)
    return Value(value.tensor, value.shape, atoms, tuple(tuple(start[a] + p for a, p in axis) for axis in axes))


@dataclass(frozen=True)
class Move:
    """Memory (outer, first, second) becomes (outer, second, first)."""

    outer: int
    first: int
    second: int


def steps(value: Value, order: Order) -> list[Move] | None:
    """The fewest moves that bring the tensor's memory into the layout `order`; None where no short way exists."""
    wanted = [atom for group in order for axis in group for atom in value.axes[axis]]
    blocks: list[list[int]] = []
    for atom in wanted:
        if blocks and blocks[-1][-1] + 1 == atom:
            blocks[-1].append(atom)
        else:
            blocks.append([atom])
    if len(blocks) <= 1:
        return []
    if len(blocks) > MAX_BLOCKS:
        return None
    sizes = [math.prod(value.atoms[a] for a in block) for block in blocks]
    start = tuple(sorted(range(len(blocks)), key=lambda i: blocks[i][0]))
    goal = tuple(range(len(blocks)))
    frontier: dict[tuple[int, ...], list[Move]] = {start: []}
    seen = {start}
    for _ in range(MAX_MOVES):
        reached: dict[tuple[int, ...], list[Move]] = {}
        for state, path in frontier.items():
            for i in range(len(state) - 1):
                for j in range(i + 1, len(state)):
                    after = state[:i] + state[j:] + state[i:j]
                    if after in seen:
                        continue
                    seen.add(after)
                    parts = (state[:i], state[i:j], state[j:])
                    reached[after] = [*path, Move(*(math.prod(sizes[b] for b in part) for part in parts))]
                    if after == goal:
                        return reached[after]
        frontier = reached
    return None


def single_axis_orders(rank: int) -> Iterable[Order]:
    """Every layout that gives each source axis a canonical axis of its own; the usual one first."""
    usual: Order = IMAGE if rank == 3 else tuple((i,) for i in range(rank))
    yield usual
    for p in permutations(range(rank)):
        order = tuple((i,) for i in p)
        if order != usual:
            yield order


def cost(value: Value, order: Order) -> int:
    """Price of `order` for this value: 0 if its tensor is in it, 1 for a mere reshape, 2 and more for moves."""
    moves = steps(value, order)
    if moves is None:
        return 1 << 20
    if moves:
        return 2 * len(moves)
    return int(canonical_shape(order, value.source_shape) != value.shape)
