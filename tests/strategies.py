"""Hypothesis strategies for int8 models: one node of any op with its shapes and attributes, or a random network.

Each yields a pair of a valid `Model` and int8 inputs that fit it::

    @given(one_node_models("conv2d"))
    def test_conv(case):
        model, x = case
        assert_array_equal(lk.Session(model, isa=isa).run(x), lk.reference.run(model, x))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from builders import INPUTS, WEIGHTS, Net, Shape, Style, inputs
from hypothesis import strategies as st
from random_network import random_model

from lightkern.model import Model

SPECIAL_CHANNELS = (1, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 64, 65)


def styles() -> st.SearchStrategy[Style]:
    """Mostly ordinary numbers, sometimes extremes."""
    return st.builds(
        Style,
        weight=st.sampled_from(("random", "random", *WEIGHTS)),
        zero_point=st.sampled_from((None, None, -128, 127, 0)),
        spread=st.sampled_from((1.0, 1.0, 1 / 64, 64.0)),
        clamp=st.sampled_from(("random", "none", "relu", "point")),
    )


def channels(most: int = 65) -> st.SearchStrategy[int]:
    """Channel counts, with a liking for those around vector lengths."""
    return st.one_of(st.integers(1, min(most, 20)), st.sampled_from([c for c in SPECIAL_CHANNELS if c <= most]))


@st.composite
def windows(
    draw: st.DrawFn, h: int, w: int, dilated: bool = True, most: int = 5, pool: bool = False
) -> dict[str, tuple[int, ...]]:
    """Kernel, stride, padding (and dilation) of a window that fits into an input of h x w."""
    kernel = draw(st.tuples(st.integers(1, most), st.integers(1, most)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) if dilated else (1, 1)
    if pool:  # every output of a pool sees at least one element of the input
        dilation = (min(dilation[0], h), min(dilation[1], w))
    padding = [0, 0, 0, 0]
    for axis, size in enumerate((h, w)):
        reach = dilation[axis] * (kernel[axis] - 1)
        most_padding = reach if pool else reach + 1
        before = draw(st.integers(0, most_padding))
        least_after = max(0, reach + 1 - size - before)
        padding[axis] = before
        padding[axis + 2] = draw(st.integers(least_after, max(least_after, most_padding)))
    fields = {"kernel": kernel, "stride": stride, "padding": tuple(padding)}
    return {**fields, "dilation": dilation} if dilated else fields


def _build_conv2d(draw: st.DrawFn, net: Net, most: int) -> str:
    h, w, c = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(channels(most))
    divisors = [g for g in range(1, c + 1) if c % g == 0]
    groups = draw(st.sampled_from([1, c, *divisors]))
    oc = groups * draw(st.integers(1, 3) if groups > 1 else channels(most))
    return net.conv2d(net.input((h, w, c)), oc, groups=groups, **draw(windows(h, w)))


def _draw_shape(draw: st.DrawFn, most: int, ranks: tuple[int, ...] = (3, 3, 1, 2)) -> Shape:
    rank = draw(st.sampled_from(ranks))
    return (*draw(st.tuples(*[st.integers(1, 9)] * (rank - 1))), draw(channels(most)))


def _build_linear(draw: st.DrawFn, net: Net, most: int) -> str:
    return net.linear(net.input(_draw_shape(draw, most, (1, 1, 2, 3))), draw(channels(most)))


def _build_binary(op: str) -> Callable[[st.DrawFn, Net, int], str]:
    def build(draw: st.DrawFn, net: Net, most: int) -> str:
        shape = _draw_shape(draw, most)
        second = draw(st.sampled_from([shape, shape, shape[-1:], (1,) * (len(shape) - 1) + shape[-1:], (1,)]))
        if len(shape) > 1 and draw(st.booleans()):
            second = (*shape[:-1], 1)
        return net.binary(op, net.input(shape), net.input(second))

    return build


def _build_pool(kind: str) -> Callable[[st.DrawFn, Net, int], str]:
    def build(draw: st.DrawFn, net: Net, most: int) -> str:
        h, w = draw(st.integers(1, 12)), draw(st.integers(1, 12))
        x = net.input((h, w, draw(channels(most))))
        window = draw(windows(h, w, dilated=kind == "max", pool=True))
        if kind == "max":
            return net.max_pool(x, **window)
        return net.avg_pool(x, **window, count_include_pad=draw(st.booleans()))

    return build


def _build_concat(draw: st.DrawFn, net: Net, most: int) -> str:
    shape = list(_draw_shape(draw, most))
    axis = draw(st.integers(0, len(shape) - 1))
    quant = net.quant(0.05)
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        part = list(shape)
        part[axis] = draw(st.integers(1, 20))
        parts.append(net.input(tuple(part), quant=quant))
    return net.move("concat", parts, {"axis": axis})


def _build_slice(draw: st.DrawFn, net: Net, most: int) -> str:
    shape = _draw_shape(draw, most)
    axis = draw(st.integers(0, len(shape) - 1))
    begin = draw(st.integers(0, shape[axis] - 1))
    end = draw(st.integers(begin + 1, shape[axis]))
    return net.move("slice", [net.input(shape)], {"axis": axis, "begin": begin, "end": end})


def _build_shuffle(draw: st.DrawFn, net: Net, most: int) -> str:
    groups, each = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    shape = (*_draw_shape(draw, most)[:-1], groups * each)
    return net.move("channel_shuffle", [net.input(shape)], {"groups": groups})


def _build_pad(draw: st.DrawFn, net: Net, most: int) -> str:
    padding = list(draw(st.tuples(*[st.integers(0, 4)] * 4)))
    value = draw(st.sampled_from([0.0, -1.5, 3.0e38, 0.26]))
    return net.move("pad", [net.input(_draw_shape(draw, most, (3,)))], {"padding": padding, "value": value})


def _build_reshape(draw: st.DrawFn, net: Net, most: int) -> str:
    shape = _draw_shape(draw, most)
    total = int(np.prod(shape))
    first = draw(st.sampled_from([d for d in range(1, total + 1) if total % d == 0]))
    second = draw(st.sampled_from([d for d in range(1, total // first + 1) if (total // first) % d == 0]))
    new = draw(st.sampled_from([(total,), (first, total // first), (first, second, total // first // second)]))
    order = draw(st.sampled_from(["CHW", "HWC"]))
    return net.move("reshape", [net.input(shape)], {"shape": list(new), "order": order})


def _build_resize(draw: st.DrawFn, net: Net, most: int) -> str:
    size = draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    mode = draw(st.sampled_from(["bilinear", "nearest", "random"]))
    return net.resize(net.input(_draw_shape(draw, most, (3,))), size, mode)


ONE_NODE: dict[str, Callable[[st.DrawFn, Net, int], str]] = {
    "conv2d": _build_conv2d,
    "linear": _build_linear,
    "add": _build_binary("add"),
    "sub": _build_binary("sub"),
    "mul": _build_binary("mul"),
    "prelu": lambda draw, net, most: net.prelu(net.input(_draw_shape(draw, most))),
    "global_avg_pool": lambda draw, net, most: net.global_avg_pool(net.input(_draw_shape(draw, most, (3,)))),
    "avg_pool": _build_pool("avg"),
    "max_pool": _build_pool("max"),
    "concat": _build_concat,
    "slice": _build_slice,
    "channel_shuffle": _build_shuffle,
    "pad": _build_pad,
    "reshape": _build_reshape,
    "resize": _build_resize,
    "softmax": lambda draw, net, most: net.softmax(net.input(_draw_shape(draw, most))),
    "table": lambda draw, net, most: net.table(net.input(_draw_shape(draw, most))),
}


@st.composite
def one_node_models(draw: st.DrawFn, op: str | None = None, most_channels: int = 65) -> tuple[Model, Any]:
    """(model of one node, its int8 inputs) for one op, or any op of `ONE_NODE`."""
    op = op or draw(st.sampled_from(sorted(ONE_NODE)))
    net = Net(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(styles()))
    model = net.model(ONE_NODE[op](draw, net, most_channels))
    return model, inputs(model, net.rng, draw(st.sampled_from(("random", *INPUTS))), draw(st.integers(1, 3)))


@st.composite
def random_models(draw: st.DrawFn, most_blocks: int = 4) -> tuple[Model, Any]:
    """(random network, its int8 inputs)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    model = random_model(rng, draw(st.integers(0, most_blocks)))
    return model, inputs(model, rng, n=draw(st.integers(1, 2)))
