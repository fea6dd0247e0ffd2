"""A valid model of each op, and edits that break or stretch it, for the tests of rules and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from builders import Net, Style

from lightkern.model import Model, Quant

TINY = float(np.finfo(np.float32).tiny)
Edit = Callable[[Model], Any]
STYLE = Style(zero_point=0, clamp="none")


BASES: dict[str, Callable[[Net], str]] = {
    "conv2d": lambda net: net.conv2d(net.input((5, 4, 6)), 8, (3, 3), (2, 1), (1, 1, 1, 1), groups=2),
    "linear": lambda net: net.linear(net.input((6,)), 4),
    "add": lambda net: net.binary("add", net.input((5, 4, 6)), net.input((6,))),
    "mul": lambda net: net.binary("mul", net.input((5, 4, 6)), net.input((5, 4, 1))),
    "prelu": lambda net: net.prelu(net.input((5, 4, 6))),
    "global_avg_pool": lambda net: net.global_avg_pool(net.input((5, 4, 6))),
    "avg_pool": lambda net: net.avg_pool(net.input((5, 4, 6)), (2, 3), padding=(1, 2, 1, 2)),
    "max_pool": lambda net: net.max_pool(net.input((5, 4, 6)), (2, 2), padding=(1, 1, 1, 1)),
    "concat": lambda net: net.move("concat", [x := net.input((5, 4, 6)), x], {"axis": 2}),
    "slice": lambda net: net.move("slice", [net.input((5, 4, 6))], {"axis": 2, "begin": 1, "end": 5}),
    "channel_shuffle": lambda net: net.move("channel_shuffle", [net.input((5, 4, 6))], {"groups": 3}),
    "pad": lambda net: net.move("pad", [net.input((5, 4, 6))], {"padding": [1, 1, 1, 1], "value": 0.0}),
    "reshape": lambda net: net.move("reshape", [net.input((5, 4, 6))], {"shape": [120], "order": "CHW"}),
    "resize": lambda net: net.resize(net.input((5, 4, 6)), (7, 3)),
    "softmax": lambda net: net.softmax(net.input((6,))),
    "table": lambda net: net.table(net.input((6,))),
}


def base_model(op: str) -> Model:
    """One node of the op."""
    net = Net(np.random.default_rng(0), STYLE)
    return net.model(BASES[op](net))


def attr(key: str, value: Any) -> Edit:
    return lambda model: model.nodes[-1].attrs.__setitem__(key, value)


def no_attr(key: str) -> Edit:
    return lambda model: model.nodes[-1].attrs.pop(key)


def param(key: str, value: Any) -> Edit:
    return lambda model: model.nodes[-1].params.__setitem__(key, value)


def element(key: str, index: Any, value: Any) -> Edit:
    return lambda model: model.nodes[-1].params[key].__setitem__(index, value)


def quant(name: str, scale: Any, zero_point: Any = 0) -> Edit:
    return lambda model: model.quants.__setitem__(name, Quant(scale, zero_point))


def node(**fields: Any) -> Edit:
    return lambda model: model.nodes.__setitem__(-1, replace(model.nodes[-1], **fields))


def port(kind: str, **fields: Any) -> Edit:
    return lambda model: getattr(model, kind).__setitem__(0, replace(getattr(model, kind)[0], **fields))


def large_input(h: int, w: int) -> Edit:
    return port("inputs", shape=(h, w, 6))
