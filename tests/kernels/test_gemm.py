"""Convolution and linear layers: every gemm kernel of every ISA level against the reference, bit for bit, between guard
pages."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, inputs
from emulation import thinned
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_same_bits as check
from strategies import channels, one_node_models, styles, windows

from lightkern import _core
from lightkern.model import Model, Quant
from lightkern.session import Session

KERNELS = [name for op, isa, name in _core.kernels() if op == "gemm" and isa in _core.isa_levels()]

WORDS = [name for name in KERNELS if "c2w_" in name]
"""Kernels that multiply words of 16 bits: they take pointwise layers only."""

WINDOWED = [name for name in KERNELS if name not in WORDS]

PAIRED = [name for name in WINDOWED if name.endswith(("_avx2", "_sse41"))]
"""Kernels that multiply bytes, and add pairs in 16 bits."""


def tile_of(kernel: str) -> tuple[int, int, int]:
    """(mr, nr, kr) of a kernel's name."""
    match = re.fullmatch(r"gemm_s8_(\d+)x(\d+)c(\d+)\w*_[a-z0-9]+", kernel)
    assert match, kernel
    return int(match[1]), int(match[2]), int(match[3])


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_and_channels(kernel: str) -> None:
    """Every number of rows and of output channels around the tiles, whole steps or not."""
    rng = np.random.default_rng(1)
    mr, nr, kr = tile_of(kernel)
    for m, n in thinned(itertools.product(range(1, 2 * mr + 2), range(1, 2 * nr + 2)), 4):
        net = Net(rng)
        model = net.model(net.linear(net.input((m, 3 * kr + m % 2)), n))
        check(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("weight", ["safe", "random", "max"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_single_row(kernel: str, weight: str) -> None:
    """One row against any number of panels, which a kernel may read side by side: steps that differ from panel to
    panel, tables, residuals, threads that begin at any panel."""
    rng = np.random.default_rng(12)
    _, nr, kr = tile_of(kernel)
    for panels, rest in thinned(itertools.product(range(3, 10), (0, 1, nr // 2, nr - 1)), 3):
        net, n, k = Net(rng, Style(weight=weight)), panels * nr + rest, 7 * kr + panels % 3
        x = net.input((1, 1, k + 5))
        y = net.conv2d(net.move("slice", [x], {"axis": 2, "begin": 2, "end": 2 + k}), n)
        y = net.binary("add", y, net.conv2d(x, n)) if rest % 2 else net.table(y)
        model = net.model(net.linear(y, n))
        check(model, inputs(model, rng), kernel=kernel, threads=1 + panels % 3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_many_panels(kernel: str) -> None:
    """So many panels that a kernel may copy its rows first: even and odd numbers of rows and steps, views, threads."""
    rng = np.random.default_rng(11)
    mr, nr, kr = tile_of(kernel)
    for m, k in itertools.product([mr, mr + 1, 2 * mr - 1, 3 * mr + 2], [kr, 2 * kr + 3, 5 * kr - 1, 6 * kr]):
        net = Net(rng)
        x = net.input((1, m, k + 5))
        part = net.move("slice", [x], {"axis": 2, "begin": 2, "end": 2 + k}) if m % 2 else x
        model = net.model(net.conv2d(part, 3 * nr - 3))
        check(model, inputs(model, rng), kernel=kernel, threads=1 + m % 2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_depth(kernel: str, weight: str) -> None:
    """Every depth up to several steps, pointwise, with weights at their limits."""
    rng = np.random.default_rng(2)
    for k in [*range(1, 35), 63, 64, 65, 257]:
        net = Net(rng, Style(weight=weight))
        model = net.model(net.conv2d(net.input((2, 5, k)), 18))
        check(model, inputs(model, rng, str(rng.choice(INPUTS))), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("x", INPUTS)
def test_saturating_pairs(kernel: str, x: str) -> None:
    """Weights of every density of pairs that overflow 16 bits, in every pattern that a few of them can form."""
    rng = np.random.default_rng(3)
    for rarity, k in itertools.product([1, 2, 4, 8, 30], [8, 22, 36, 47]):
        net = Net(rng, Style(spread=4.0))
        name = net.linear(net.input((5, k)), 33)
        big = rng.choice([127, 126, 100, 70, -60, -127], (33, k))
        small = rng.integers(-40, 41, (33, k))
        net.nodes[-1].params["weight"] = np.where(rng.random((33, k)) < 1 / rarity, big, small).astype(np.int8)
        model = net.model(name)
        check(model, inputs(model, rng, x), kernel=kernel)


@pytest.mark.parametrize("kernel", PAIRED)
@pytest.mark.parametrize("padding", [0, 1])
def test_every_pattern_of_unsafe_pairs(kernel: str, padding: int) -> None:
    """Two large weights side by side are an unsafe pair; in place, and from lines of which more may be read."""
    rng = np.random.default_rng(4)
    for k in (4, 9) if padding else (4, 5, 6, 7, 10):
        for pattern in thinned(itertools.product([127, 1], repeat=k), 4):
            net = Net(rng)
            name = net.conv2d(net.input((1, 2, k)), 1, padding=(0, 0, padding, 0))
            net.nodes[-1].params["weight"][:] = np.array(pattern, np.int8)
            model = net.model(name)
            check(model, inputs(model, rng, "high"), kernel=kernel)


@pytest.mark.parametrize("level", sorted({name.rsplit("_", 1)[1] for name in WORDS}))
def test_words_are_chosen_where_many_pairs_are_unsafe(level: str) -> None:
    rng = np.random.default_rng(6)
    for most, pixels, words in [(127, 64, True), (60, 64, False), (127, 4, False)]:
        net = Net(rng)
        name = net.conv2d(net.input((1, pixels, 128)), 40)
        weight = net.nodes[-1].params["weight"]
        weight[:] = rng.integers(-most, most + 1, weight.shape)
        session = Session(net.model(name), isa=level)
        assert (session.explain()[0].kernel in WORDS) == words


@pytest.mark.parametrize("kernel", WORDS)
def test_words_refuse_windows(kernel: str) -> None:
    for window in ({"kernel": (3, 3)}, {"stride": (2, 2)}, {"padding": (0, 1, 0, 0)}, {"groups": 2}):
        net = Net(np.random.default_rng(0))
        model = net.model(net.conv2d(net.input((5, 5, 8)), 8, **window))
        with pytest.raises(ValueError, match=f"{kernel}: it takes pointwise layers only"):
            Session(model, kernel=kernel)


@pytest.mark.parametrize("kernel", PAIRED)
def test_few_unsafe_pairs_take_few_more_steps(kernel: str) -> None:
    rng = np.random.default_rng(5)
    nbytes = []
    for unsafe in (False, True):
        net = Net(rng)
        name = net.linear(net.input((1, 512)), 16)
        weight = net.nodes[-1].params["weight"]
        weight[:] = rng.integers(-60, 61, weight.shape)
        for i in range(0, 512, 14) if unsafe else ():
            weight[rng.integers(16), i : i + 2] = 65  # beside 60 at most: alone unsafe
        nbytes.append(Session(net.model(name), kernel=kernel).packed.packed_nbytes)
    assert nbytes[1] <= 1.15 * nbytes[0]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("x", INPUTS)
def test_coupled_steps(kernel: str, x: str) -> None:
    """Weights so small that pairs of two steps are added in 16 bits: at the bound of four times 32, and around it."""
    rng = np.random.default_rng(9)
    for values, k in itertools.product([[32], [-32], [32, -32], [33, 31], [-33, -31], range(-34, 35)], [8, 28, 30, 52]):
        net = Net(rng, Style(spread=4.0))
        name = net.linear(net.input((15, k)), 33)
        net.nodes[-1].params["weight"] = rng.choice(values, (33, k)).astype(np.int8)
        model = net.model(name)
        check(model, inputs(model, rng, x), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("unit", [4, 8])
def test_steps_coupled_for_half_of_the_channels(kernel: str, unit: int) -> None:
    """Steps whose weights are small in one half (`unit` channels) of a panel, in both or in none."""
    rng = np.random.default_rng(10)
    half = np.arange(4 * unit) // unit % 2
    for k, extreme in itertools.product([16, 52, 96], [True, False]):
        net = Net(rng, Style(spread=4.0))
        name = net.linear(net.input((6, k)), half.size)
        small = rng.choice([32, -32] if extreme else range(-32, 33), (half.size, k))
        large = rng.choice([64, -64] if extreme else range(-64, 65), (half.size, k))
        kind = rng.integers(0, 4, k // 4).repeat(4)  # 0: small in half 0, 1: small in half 1, 2: in both, 3: in none
        is_small = (kind == half[:, None]) | (kind == 2)
        net.nodes[-1].params["weight"] = np.where(is_small, small, large).astype(np.int8)
        model = net.model(name)
        for x in INPUTS:
            check(model, inputs(model, rng, x), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("x", INPUTS)
def test_four_products_in_16_bits(kernel: str, x: str) -> None:
    """Weights of which four add up to at most 255, or just more, in all lanes or in some: NEON couples by that."""
    rng = np.random.default_rng(10)
    for values, k in itertools.product([[63], [-63], [64], [63, 64], [-64, 63], [127, 0, 1], range(-75, 76)], [35, 96]):
        net = Net(rng, Style(spread=4.0))
        name = net.linear(net.input((5, k)), 17)
        net.nodes[-1].params["weight"] = rng.choice(values, (17, k)).astype(np.int8)
        model = net.model(name)
        check(model, inputs(model, rng, x), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("zero_point", [-128, -127, 3])
def test_ties(kernel: str, zero_point: int) -> None:
    """Results halfway between two integers go to the even one, whatever the zero point: many do where scales are powers
    of two."""
    rng = np.random.default_rng(13)
    mr, nr, _ = tile_of(kernel)
    for m, n in [(2 * mr + 1, nr), (mr, 2 * nr - 1)]:
        net = Net(rng, Style(clamp="none", weight="safe"))
        name = net.linear(net.input((m, 48), quant=Quant(1.0, 7)), n)
        net.nodes[-1].params["weight_scale"] = np.exp2(rng.integers(-10, -6, n)).astype(np.float32)
        net.quants[name] = Quant(1.0, zero_point)
        model = net.model(name)
        check(model, inputs(model, rng), kernel=kernel)


WINDOWS: list[dict[str, Any]] = [
    {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1, 1, 1)},
    {"kernel": (3, 3), "stride": (2, 2), "padding": (0, 0, 1, 1)},
    {"kernel": (3, 3), "padding": (1, 1, 1, 1)},
    {"kernel": (3, 3)},
    {"kernel": (3, 3), "dilation": (2, 3), "padding": (2, 3, 2, 3)},
    {"kernel": (2, 3), "dilation": (3, 2)},
    {"kernel": (1, 1), "stride": (2, 2)},
    {"kernel": (1, 1), "stride": (3, 2), "padding": (2, 1, 0, 3)},
    {"kernel": (5, 1), "padding": (2, 0, 2, 0)},
    {"kernel": (1, 7), "padding": (0, 3, 0, 3)},
    {"kernel": (4, 4), "stride": (4, 4)},
    {"kernel": (7, 7), "stride": (2, 2), "padding": (3, 3, 3, 3)},
    {"kernel": (2, 2), "stride": (5, 4), "padding": (0, 0, 4, 4)},
]


@pytest.mark.parametrize("kernel", WINDOWED)
@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: "-".join(f"{k}{v}" for k, v in w.items()).replace(" ", ""))
def test_windows(kernel: str, window: dict[str, Any]) -> None:
    """Windows of all kinds over images of a few channels and of many."""
    rng = np.random.default_rng(4)
    for (h, w), c in itertools.product([(9, 11), (14, 9)], [1, 2, 3, 4, 7, 16]):
        net = Net(rng)
        model = net.model(net.conv2d(net.input((h, w, c)), 20, **window))
        check(model, inputs(model, rng), kernel=kernel)


COPIED_OUT = [(1, 9, 4), (2, 3, 2), *((3, k, s) for k in (3, 5, 7) for s in (1, 2)), (5, 5, 1), (7, 3, 1)]
"""Channels, size and stride of windows whose lines fill their steps badly."""


@pytest.mark.parametrize("kernel", WINDOWED)
def test_windows_copied_out(kernel: str) -> None:
    """Short lines of windows are copied out, or what is behind their whole steps is merged: of several lines of an
    image together, and of parts of long ones."""
    rng = np.random.default_rng(14)
    for (h, w), (c, size, stride) in itertools.product([(40, 33), (7, 1100)], COPIED_OUT):
        net = Net(rng)
        padding = tuple(rng.integers(0, size, 4).tolist())
        window: dict[str, Any] = {"kernel": (size, size), "stride": (stride, stride), "padding": padding}
        model = net.model(net.conv2d(net.input((h, w, c)), int(rng.choice([16, 17, 24, 32])), **window))
        check(model, inputs(model, rng), kernel=kernel, threads=2)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("zero_point", [-128, 5])
@pytest.mark.parametrize("table", [False, True])
def test_ranges_of_outputs(kernel: str, zero_point: int, table: bool) -> None:
    """All of a byte behind a ReLU, less, and at the limits: panels of every width, few rows and many."""
    rng = np.random.default_rng(15)
    for n, m in thinned(itertools.product([7, 8, 13, 16, 20, 24, 30, 32, 56], [3, 29, 61]), 4):
        for clamp, spread in [("none", 1.0), ("relu", 1.0), ("random", 1 / 64)]:
            net = Net(rng, Style(zero_point=zero_point, clamp=clamp, spread=spread))
            y = net.linear(net.input((m, 29)), n)
            model = net.model(net.table(y) if table else y)
            check(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", WINDOWED)
def test_groups(kernel: str) -> None:
    """Every group is a gemm of its own where no better kernel exists; this one writes into the middle of its pixels."""
    rng = np.random.default_rng(5)
    for icg, ocg, window in itertools.product([1, 5, 8], [3, 17], WINDOWS[:5]):
        net = Net(rng)
        model = net.model(net.conv2d(net.input((7, 6, 2 * icg)), 2 * ocg, groups=2, **window))
        check(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize("kernel", WINDOWED)
def test_groups_that_are_copied_together(kernel: str) -> None:
    """Windows of a few groups are copied at once: whole, partial and several blocks of groups, lines and pixels."""
    rng = np.random.default_rng(11)
    window: dict[str, Any] = {"kernel": (3, 3), "padding": (1, 0, 2, 1)}
    for (groups, icg), stride in itertools.product([(3, 8), (9, 8), (5, 16), (7, 5), (3, 33)], [1, 2]):
        net = Net(rng)
        x = net.input((9, 25, groups * icg))
        model = net.model(net.conv2d(x, groups * 9, groups=groups, stride=(stride, stride), **window))
        check(model, inputs(model, rng), kernel=kernel, threads=2)


@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("kernel", KERNELS)
def test_fused(kernel: str, fuse: bool) -> None:
    """Table and residual add behind a convolution, alone and together."""
    rng = np.random.default_rng(6)
    for table, added, c in itertools.product(["none", "any", "smooth"], [False, True], [1, 8, 15, 16, 17, 40]):
        net = Net(rng)
        x = net.input((3, 7, c))
        y = net.conv2d(x, c) if kernel in WORDS else net.conv2d(x, c, kernel=(3, 3), padding=(1, 1, 1, 1))
        y = net.table(y) if table == "any" else net.hard_swish(y) if table == "smooth" else y
        y = net.binary("add", y, x) if added else y
        model = net.model(y)
        check(model, inputs(model, rng), kernel=kernel, fuse=fuse)


@pytest.mark.parametrize("kernel", KERNELS)
def test_views(kernel: str) -> None:
    """Inputs that are slices, outputs that are parts of a concat: the gaps belong to other tensors."""
    rng = np.random.default_rng(7)
    for c, window in itertools.product([3, 8, 21], [{}] if kernel in WORDS else [{}, *WINDOWS[2:6]]):
        net = Net(rng)
        whole = net.conv2d(net.input((8, 9, 4)), 2 * c + 1)
        left = net.move("slice", [whole], {"axis": 2, "begin": 0, "end": c})
        right = net.move("slice", [whole], {"axis": 2, "begin": c, "end": 2 * c + 1})
        parts = [net.conv2d(left, 19, **window), net.conv2d(right, 5, **window)]
        net.quants[parts[1]] = net.quants[parts[0]]
        model = net.model(net.move("concat", parts, {"axis": 2}))
        check(model, inputs(model, rng, n=2), kernel=kernel)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads(threads: int) -> None:
    """The cut of the work never shows: many rows, many channels, windows, few rows of many channels."""
    rng = np.random.default_rng(8)
    for shape, c, window in [
        ((40, 31, 16), 24, {}),
        ((7, 7, 160), 320, {}),
        ((33, 35, 8), 40, WINDOWS[0]),
        ((10, 10, 64), 96, WINDOWS[2]),
        ((1, 1, 512), 1000, {}),
    ]:
        net = Net(rng)
        model = net.model(net.conv2d(net.input(shape), c, **window))
        check(model, inputs(model, rng), threads=threads)


@pytest.mark.parametrize("kernel", WINDOWED)
@given(data=st.data())
def test_random_convolutions(kernel: str, data: st.DataObject) -> None:
    """Random shapes and windows with ordinary and extreme numbers."""
    h, w, c = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12)), data.draw(channels())
    net = Net(np.random.default_rng(data.draw(st.integers(0, 2**32 - 1))), data.draw(styles()))
    name = net.conv2d(net.input((h, w, c)), data.draw(channels()), **data.draw(windows(h, w)))
    model = net.model(name)
    check(model, inputs(model, net.rng, data.draw(st.sampled_from(INPUTS))), kernel=kernel)


@pytest.mark.parametrize("kernel", KERNELS)
@given(case=one_node_models("linear"))
def test_random_linear(kernel: str, case: tuple[Model, Any]) -> None:
    """Random linear layers of rank 1 to 3."""
    check(*case, kernel=kernel)
