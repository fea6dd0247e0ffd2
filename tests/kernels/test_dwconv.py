"""Depthwise convolution: every kernel of every ISA level against the reference, bit for bit, between guard pages."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import INPUTS, WEIGHTS, Net, Style, float32, inputs
from emulation import thinned
from hypothesis import given
from hypothesis import strategies as st
from kernel_checks import assert_same_bits as check
from numpy.testing import assert_array_equal
from strategies import channels, styles, windows

from lightkern import _core, reference
from lightkern.model import Model, Quant
from lightkern.session import Session

KERNELS = [name for op, isa, name in _core.kernels() if op == "dwconv" and isa in _core.isa_levels()]


def depthwise(net: Net, shape: tuple[int, int, int], k: int, stride: int) -> str:
    """A depthwise convolution of a new input: a square window, padded so that stride 1 would keep the size."""
    x = net.input(shape)
    window: dict[str, Any] = {"kernel": (k, k), "stride": (stride, stride), "padding": (k // 2,) * 4}
    return net.conv2d(x, shape[-1], groups=shape[-1], **window)


def takes(kernel: str, k: int, stride: int) -> bool:
    """Whether the kernel takes such a window; it must say so if not."""
    net = Net(np.random.default_rng(0))
    try:
        Session(net.model(depthwise(net, (9, 9, 16), k, stride)), kernel=kernel)
    except ValueError as error:
        if f"kernel {kernel}: " not in str(error):
            raise
        return False
    return True


WINDOWS = [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1)]
CASES = [(name, k, stride) for name in KERNELS for k, stride in WINDOWS if takes(name, k, stride)]


def least_channels(kernel: str) -> int:
    """Of a tensor: avxvnni reads its last channels together with those before them."""
    return 16 if kernel.endswith("_avxvnni") else 2


def test_every_kernel_has_a_case() -> None:
    """No kernel escapes the tests below."""
    assert {name for name, _, _ in CASES} == set(KERNELS)


@pytest.mark.parametrize(("kernel", "k", "stride"), CASES)
def test_small_sizes(kernel: str, k: int, stride: int) -> None:
    """Every width and height around the tiles, with a channel tail."""
    rng = np.random.default_rng(k + stride)
    for w, h in thinned(itertools.product([*range(1, 11), 16, 17], [1, 2, 3, 5]), 3):
        net = Net(rng)
        model = net.model(depthwise(net, (h, w, 19), k, stride))
        check(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize(("kernel", "k", "stride"), CASES)
def test_channels(kernel: str, k: int, stride: int) -> None:
    """Every number of channels around one to four blocks, and tails of every width of tile behind whole ones."""
    rng = np.random.default_rng(1)
    counts = (*range(2, 20), 24, 31, 40, 49, 63, 64, 67, 73, 80, 97, 120, 144)  # one channel is an ordinary convolution
    for c in (c for c in counts if c >= least_channels(kernel)):
        net = Net(rng)
        model = net.model(depthwise(net, (5, 6, c), k, stride))
        check(model, inputs(model, rng), kernel=kernel)


@pytest.mark.parametrize(("kernel", "k", "stride"), CASES)
def test_extremes(kernel: str, k: int, stride: int) -> None:
    """Weights, activations, zero points and scales at their limits: nothing saturates on the way."""
    rng = np.random.default_rng(2)
    for weight, kind, zero_point in itertools.product(WEIGHTS, INPUTS, [-128, 127]):
        net = Net(rng, Style(weight=weight, zero_point=zero_point, spread=float(rng.choice([1 / 64, 1.0]))))
        model = net.model(depthwise(net, (6, 7, 25), k, stride))
        check(model, inputs(model, rng, kind), kernel=kernel)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
def test_paddings(isa: str, k: int, stride: int) -> None:
    """Up to two rows and columns of padding on each side: kernels made for one of them leave the others."""
    rng = np.random.default_rng(stride)
    for top, left, bottom, right in itertools.product(range(3), repeat=4):
        net = Net(rng)
        window: dict[str, Any] = {"kernel": (k, k), "stride": (stride, stride), "padding": (top, left, bottom, right)}
        h, w = rng.integers(k, k + 4, 2)
        model = net.model(net.conv2d(net.input((int(h), int(w), 17)), 17, groups=17, **window))
        check(model, inputs(model, rng), isa=isa)


@st.composite
def depthwise_models(draw: st.DrawFn) -> tuple[Model, Any]:
    """Any window on a small image."""
    h, w, c = draw(st.integers(1, 14)), draw(st.integers(1, 20)), draw(channels())
    net = Net(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(styles()))
    model = net.model(net.conv2d(net.input((h, w, c)), c, groups=c, **draw(windows(h, w, most=7))))
    return model, inputs(model, net.rng, draw(st.sampled_from(INPUTS)), draw(st.integers(1, 2)))


@given(case=depthwise_models(), threads=st.integers(1, 3))
def test_any_window(isa: str, case: tuple[Model, Any], threads: int) -> None:
    """Windows, strides, dilations and paddings that Hypothesis draws."""
    check(*case, isa=isa, threads=threads)


@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("tail", ["table", "hard-swish", "add", "table + add", "hard-swish + add"])
def test_fused_tail(isa: str, fuse: bool, tail: str) -> None:
    """A table, a residual, and both behind the convolution, fused or not."""
    rng = np.random.default_rng(3)
    for w, k, c in itertools.product([1, 9], [3, 5], [3, 16, 41, 72]):
        net = Net(rng)
        x = net.input((6, w, c))
        y = net.conv2d(x, c, kernel=(k, k), padding=(k // 2,) * 4, groups=c)
        if "table" in tail:
            y = net.table(y)
        if "hard-swish" in tail:
            y = net.hard_swish(y)
        if "add" in tail:
            y = net.binary("add", x, y)
        check(net.model(y), inputs(net.model(y), rng), isa=isa, fuse=fuse)


@pytest.mark.parametrize("stride", [1, 2])
def test_views(isa: str, stride: int) -> None:
    """Input and output that are slices of wider tensors: the bytes between their pixels belong to others."""
    rng = np.random.default_rng(4)
    for c, left in itertools.product([2, 7, 8, 20], [3, 8, 13]):
        net = Net(rng)
        x = net.input((7, 9, left + c + 5))
        window = {"kernel": (3, 3), "stride": (stride, stride), "padding": (1, 1, 1, 1)}
        parts = []
        for begin, n in ((0, left), (left, c), (left + c, 5)):
            part = net.move("slice", [x], {"axis": 2, "begin": begin, "end": begin + n})
            parts.append(net.conv2d(part, n, groups=n, **window))
        parts = [net.table(part, net.quants[parts[0]]) for part in parts]
        model = net.model(net.move("concat", parts, {"axis": 2}))
        check(model, inputs(model, rng), isa=isa)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5, 7])
def test_units(isa: str, k: int, stride: int) -> None:
    """A layer that is cut into bands and slices: any number of threads gives the same bits."""
    rng = np.random.default_rng(5)
    net = Net(rng)
    model = net.model(depthwise(net, (61, 37, 150), k, stride))
    session = Session(model, isa=isa)
    assert session.packed.steps[0]["units"] >= 8
    x = inputs(model, rng)
    expected = reference.run(model, x)
    for threads in (1, 2, 3):
        assert_array_equal(Session(model, isa=isa, threads=threads).run(x), expected)


@pytest.mark.parametrize(("kernel", "k", "stride"), CASES)
def test_ties(kernel: str, k: int, stride: int) -> None:
    """Results halfway between two integers go to the even one, whatever the zero point: many do where scales are powers
    of two."""
    rng = np.random.default_rng(13)
    for zero_point, c in [(-128, 16), (-127, 24), (4, 40)]:
        net = Net(rng, Style(clamp="none", weight="safe"))
        x = net.input((2 * stride + 1, 9, c), quant=Quant(1.0, 7))
        window: dict[str, Any] = {"kernel": (k, k), "stride": (stride, stride), "padding": (k // 2,) * 4}
        y = net.conv2d(x, c, groups=c, **window)
        net.nodes[-1].params["weight_scale"] = np.exp2(rng.integers(-9, -5, c)).astype(np.float32)
        net.quants[y] = Quant(1.0, zero_point)
        model = net.model(y)
        check(model, inputs(model, rng), kernel=kernel)


def test_results_beyond_32_bits() -> None:
    """Where a result could exceed int32 before it is clamped, kernels that clamp afterwards must refuse."""
    rng = np.random.default_rng(6)
    net = Net(rng)
    y = depthwise(net, (6, 7, 16), 3, 1)
    net.quants[y] = Quant(float32(1e-10), net.quants[y].zero_point)
    model = net.model(y)
    session = Session(model)
    assert session.packed.steps[0]["kernel"] in ("dwconv_s8_1x1_scalar", *(k for k in KERNELS if "neon" in k))
    x = inputs(model, rng)
    assert_array_equal(session.run(x), reference.run(model, x))


BUILD = os.environ.get("LIGHTKERN_BUILD_DIR", "")
VECTOR_ON_STACK = re.compile(r"\b[xyz]mm\d+.*\[rsp|\[rsp.*\b[xyz]mm\d+")


@pytest.mark.skipif(not BUILD, reason="LIGHTKERN_BUILD_DIR is not set")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
@pytest.mark.parametrize("level", ["avx512vnni", "avxvnni", "avx2", "sse41"])
def test_tiles_stay_in_registers(level: str) -> None:
    """No tile spills its accumulators: GCC 12 did, over a hundred times, and halved the speed (rows.h says how)."""
    path = Path(BUILD) / f"CMakeFiles/lightkern_dwconv_{level}.dir/csrc/kernels/dwconv/{level}.cc.o"
    if not path.exists():
        pytest.skip(f"no {level} in this build")
    command = ["objdump", "-d", "-C", "-M", "intel", "--no-show-raw-insn", str(path)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    functions = [part for part in listing.split("\n\n") if re.match(r"\S+ <.*(?:run_rows?|slide)<", part)]
    assert len(functions) >= 18
    for function in functions:
        accesses = VECTOR_ON_STACK.findall(function)
        most = 48 if level == "avxvnni" else 24  # 5x5 by dot products has more live than 16 registers hold
        assert len(accesses) <= most, f"{function.splitlines()[0]} {len(accesses)} vectors to and from the stack"
