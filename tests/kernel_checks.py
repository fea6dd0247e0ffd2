"""What the kernel tests share: which kernels this CPU can run, and whether a session gives the reference's bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from builders import Net, Shape, Style, inputs
from emulation import EMULATED
from numpy.testing import assert_array_equal

from lightkern import _core, reference
from lightkern.model import Model
from lightkern.session import Session

Build = Callable[[Net, str], str]

STYLES = (
    Style(),
    Style(zero_point=-128, clamp="none"),
    Style(zero_point=127, clamp="none"),
    Style(spread=1 / 64, clamp="none"),
    Style(spread=64.0, clamp="relu"),
    Style(clamp="point"),
)
"""Ordinary numbers, then extremes."""


GAPS = ((0, 0), (5, 3), (5, 0), (0, 3), (32, 16))
"""Bytes between the pixels of input and output."""


def kernels_of(*ops: str) -> list[str]:
    """Names of all kernels of these ops (folders of csrc/kernels) that this CPU can run."""
    levels = _core.isa_levels()
    return [name for op, isa, name in _core.kernels() if op in ops and isa in levels]


def fits(model: Model, kernel: str) -> bool:
    """Whether the kernel takes the model's nodes; it must say why if not."""
    try:
        Session(model, kernel=kernel)
    except ValueError as error:
        if f"kernel {kernel}: " not in str(error):
            raise
        return False
    return True


def assert_same_bits(model: Model, x: Any, **options: Any) -> None:
    """Run a guarded session and the reference; all outputs must be equal."""
    session = Session(model, guarded=True, **options)
    if kernel := options.get("kernel"):
        assert kernel in {step.kernel for step in session.explain()}, f"no step uses {kernel}"
    got, wanted = session.run(x), reference.run(model, x)
    if not isinstance(wanted, dict):
        got, wanted = {"": got}, {"": wanted}
    assert list(got) == list(wanted)
    for name, value in wanted.items():
        assert_array_equal(got[name], value, err_msg=f"output {name!r}")


def strided_input(net: Net, shape: Shape, gap: int) -> str:
    """An input with `gap` bytes between its pixels: a slice of a wider one, which is a view. Gap 0: a plain input."""
    if gap == 0:
        return net.input(shape)
    wide = net.input((*shape[:-1], shape[-1] + gap))
    axis = len(shape) - 1
    return net.move("slice", [wide], {"axis": axis, "begin": gap // 2, "end": gap // 2 + shape[-1]})


def strided_output(net: Net, y: str, gap: int) -> str:
    """`y` written into a wider tensor: a concat, whose other part shows whether the op wrote too much."""
    if gap == 0:
        return y
    other = net.input((*net.shapes[y][:-1], gap), quant=net.quants[y])
    return net.move("concat", [other, y], {"axis": len(net.shapes[y]) - 1})


def check_shapes(kernel: str, build: Build, shapes: Iterable[Shape], styles: Iterable[Style] = STYLES) -> None:
    """One op on inputs of these shapes, dense and with gaps, the style changing from shape to shape.

    Emulated, a shape is either dense or has gaps.
    """
    styles = tuple(styles)
    for i, shape in enumerate(shapes):
        rng = np.random.default_rng(i)
        pair = (GAPS[i % 2], GAPS[2 + i % 3])
        for gap_in, gap_out in (pair[i // 2 % 2],) if EMULATED else pair:
            net = Net(rng, styles[i % len(styles)])
            y = strided_output(net, build(net, strided_input(net, shape, gap_in)), gap_out)
            model = net.model(y)
            kind = ("random", "low", "high", "random", "zero_point")[i % 5]
            assert_same_bits(model, inputs(model, rng, kind), kernel=kernel)


BROADCASTS = ("same", "channel", "pixel", "scalar")
"""What the second operand of an op with two inputs has one value of."""


def check_broadcasts(kernel: str, ops: Sequence[str], kind: str) -> None:
    """Rows of many lengths in an op with two inputs; with channels the op changes, and so do the strides."""

    def build(net: Net, x: str) -> str:
        h, w, c = net.shapes[x]
        second = {"same": (h, w, c), "channel": (c,), "pixel": (h, w, 1), "scalar": (1,)}[kind]
        return net.binary(ops[c % len(ops)], x, strided_input(net, second, 2 * (c % 2)))

    check_shapes(kernel, build, [(2, 2, c) for c in (*range(1, 67), 95, 96, 97)])


def check_every_pair(kernel: str, op: str) -> None:
    """All 65,536 pairs of values of an op with two inputs."""
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    for seed, style in enumerate([Style(), Style(zero_point=-128, clamp="none"), Style(spread=1 / 16, clamp="none")]):
        net = Net(np.random.default_rng(seed), style)
        model = net.model(net.binary(op, net.input((256, 256)), net.input((256, 256))))
        x = {"input0": a[None].astype(np.int8), "input1": b[None].astype(np.int8)}
        assert_same_bits(model, x, kernel=kernel)
