"""Rewrites of an imported graph: functions that exporters write out become one op again.

Each rewrite looks at a node and the chain that feeds it, and replaces the node in place; what nothing reads any more
is dropped at the end. All are exact in real arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ...errors import UnsupportedError
from ...graph import Graph, Node
from ...opset import Shape
from ...records import replace
from .ops.arithmetic import F32_MAX

Rewrite = Callable[["Rewriter", Node], bool]

_CLOSE = 1e-5
"""Constants such as 1/6 and sqrt(1/2) count as recognised within this distance."""

_ROUNDING = 1e-6
"""What float32 constants such as 6 and 1/6 may leave of an exact 1."""

_UNBOUNDED = 1e38
_LONGEST_LINE = 16


@dataclass(frozen=True)
class Line:
    """A tensor as ``scale * base + offset``."""

    scale: float
    offset: float
    base: str

    def like(self, scale: float, offset: float, base: str) -> bool:
        """Whether these are the numbers of a formula, over this base."""
        return self.base == base and close(self.scale, scale) and close(self.offset, offset)


@dataclass(frozen=True)
class Ramp:
    """A tensor as ``top * clip(line, 0, 1)``."""

    top: float
    line: Line


def rewrite(graph: Graph, shapes: dict[str, Shape]) -> None:
    """Apply every rewrite, in node order, and drop dead nodes.

    Raises
    ------
    UnsupportedError
        If an op remains that only exists inside of a recognised function.
    """
    rewriter = Rewriter(graph, shapes)
    for rules in PHASES:
        for node in list(graph.nodes):
            while any(rule(rewriter, node) for rule in rules.get(node.op, ())):
                pass
    rewriter.finish()
    for node in graph.nodes:
        if node.op == "erf":
            raise UnsupportedError(f"node {node.name!r} (Erf): only supported inside of a written-out GELU")


class Rewriter:
    """The graph during rewriting: who writes which tensor, and how to look through chains of nodes."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape]) -> None:
        self.graph, self.shapes = graph, shapes
        self.writer = graph.producer()
        self.same: dict[str, str] = {}

    def resolve(self, tensor: str) -> str:
        """The tensor that stands for `tensor` after dropped identities."""
        while tensor in self.same:
            tensor = self.same[tensor]
        return tensor

    def source(self, node: Node, index: int = 0) -> Node | None:
        """The node that writes input `index`; None for a graph input."""
        return self.writer.get(self.resolve(node.inputs[index]))

    def replace(self, node: Node, op: str, inputs: list[str], **attrs: float) -> None:
        """Make the node another op of the same output."""
        node.op, node.inputs, node.attrs, node.params = op, inputs, dict(attrs), {}

    def replace_by_line(self, node: Node, line: Line) -> None:
        """Make the node an affine op with scalars."""
        self.replace(node, "affine", [line.base])
        c = self.shapes[node.output][-1]
        node.params = {"scale": np.full(c, line.scale, np.float32), "offset": np.full(c, line.offset, np.float32)}

    def lines(self, tensor: str) -> Iterator[Line]:
        """Every way to write the tensor as ``scale * base + offset`` with scalars, itself first."""
        line = Line(1.0, 0.0, self.resolve(tensor))
        yield line
        for _ in range(_LONGEST_LINE):
            node = self.writer.get(line.base)
            step = None if node is None else uniform(node)
            if node is None or step is None:
                return
            below = self.resolve(node.inputs[0])
            line = Line(line.scale * step[0], line.offset + line.scale * step[1], below)
            yield line

    def line(self, tensor: str, stop: str = "") -> Line:
        """The last of `lines`, or the one whose base is `stop`."""
        for line in self.lines(tensor):
            if line.base == stop:
                break
        return line

    def finish(self) -> None:
        """Rename what identities stood for, and drop nodes that nothing reads."""
        for node in self.graph.nodes:
            node.inputs = [self.resolve(name) for name in node.inputs]
        self.graph.outputs = [replace(port, tensor=self.resolve(port.tensor)) for port in self.graph.outputs]
        live = {port.tensor for port in self.graph.outputs}
        kept = []
        for node in reversed(self.graph.nodes):
            if node.output in live:
                kept.append(node)
                live.update(node.inputs)
        self.graph.nodes = kept[::-1]


def uniform(node: Node) -> tuple[float, float] | None:
    """Scalars (scale, offset) of an affine or negating node that treats all channels alike."""
    if node.op == "neg":
        return -1.0, 0.0
    if node.op != "affine":
        return None
    scale, offset = node.params["scale"], node.params["offset"]
    if (scale != scale[0]).any() or (offset != offset[0]).any():
        return None
    return float(scale[0]), float(offset[0])


def close(a: float, b: float) -> bool:
    """Whether two constants of a formula are meant to be equal."""
    return math.isclose(a, b, rel_tol=_CLOSE, abs_tol=_CLOSE)


# -- gates: base * something(base) ------------------------------------------------------------------------------------


def fold_gate(rewriter: Rewriter, node: Node) -> bool:
    """x * gate(x) -> swish, hard_swish, gelu, mish; a scalar factor that is left over stays as an affine."""
    a, b = node.inputs
    if rewriter.shapes[a] != rewriter.shapes[b]:
        return False
    for left, right in ((a, b), (b, a)):
        for line in rewriter.lines(left):
            found = gate_of(rewriter, right, line.base) if line.offset == 0 else None
            if found is not None:
                op, factor = found[0], found[1] * line.scale
                if close(factor, 1):
                    rewriter.replace(node, op, [line.base])
                else:
                    insert_scaled(rewriter, node, op, line.base, factor)
                return True
    return False


def gate_of(rewriter: Rewriter, tensor: str, base: str) -> tuple[str, float] | None:
    """(op, factor) if ``base * tensor`` is ``factor * op(base)`` for one of the self-gated activations."""
    outer = rewriter.line(tensor)
    node = rewriter.writer.get(outer.base)
    if node is None or node.op not in ("erf", "sigmoid", "tanh", "hard_sigmoid", "clip"):
        return None
    inner = rewriter.line(node.inputs[0], base)
    if node.op == "erf":
        matches = inner.like(math.sqrt(0.5), 0, base) and close(outer.offset, outer.scale)
        return ("gelu", 2 * outer.scale) if matches else None
    if not close(outer.offset, 0):
        return None
    if node.op == "sigmoid":
        return ("swish", outer.scale) if inner.like(1, 0, base) else None
    if node.op == "tanh":
        below = rewriter.writer.get(inner.base)
        if below is None or below.op != "softplus" or not inner.like(1, 0, inner.base):
            return None
        return ("mish", outer.scale) if rewriter.line(below.inputs[0], base).like(1, 0, base) else None
    ramp = ramp_of(rewriter, node, base)
    if ramp is None or not ramp.line.like(1 / 6, 0.5, base):
        return None
    return "hard_swish", outer.scale * ramp.top


def ramp_of(rewriter: Rewriter, node: Node, stop: str = "") -> Ramp | None:
    """The ramp that a node computes, over `stop` if its input is a line over that."""
    line = rewriter.line(node.inputs[0], stop)
    if node.op == "hard_sigmoid":
        alpha, beta = node.attrs["alpha"], node.attrs["beta"]
        return Ramp(1.0, Line(line.scale * alpha, line.offset * alpha + beta, line.base))
    if node.op == "clip" and node.attrs["min"] == 0 and 0 < node.attrs["max"] < _UNBOUNDED:
        top = node.attrs["max"]
        return Ramp(top, Line(line.scale / top, line.offset / top, line.base))
    return None


def insert_scaled(rewriter: Rewriter, node: Node, op: str, base: str, factor: float) -> None:
    """Make the node ``factor * op(base)``, with a new node before it."""
    name = f"{node.name}/{op}"
    while name in rewriter.shapes:
        name += "'"
    inner = Node(op, name, [base], name)
    rewriter.graph.nodes.insert(rewriter.graph.nodes.index(node), inner)
    rewriter.writer[name] = inner
    rewriter.shapes[name] = rewriter.shapes[node.output]
    rewriter.replace_by_line(node, Line(factor, 0.0, name))


# -- affine and clip --------------------------------------------------------------------------------------------------


def fold_affine(rewriter: Rewriter, node: Node) -> bool:
    """Affine after affine; the identity; ``clip(x, 0, top) / top`` -> hard_sigmoid."""
    if uniform(node) is None:
        return fold_vector(rewriter, node)
    line = rewriter.line(node.output)
    if abs(line.scale - 1) < _ROUNDING and line.offset == 0:
        rewriter.same[node.output] = line.base
        return False
    below = rewriter.writer.get(line.base)
    ramp = ramp_of(rewriter, below) if below is not None and below.op == "clip" else None
    if ramp is not None and close(ramp.top * line.scale, 1) and close(line.offset, 0):
        rewriter.replace(node, "hard_sigmoid", [ramp.line.base], alpha=ramp.line.scale, beta=ramp.line.offset)
        return True
    if line.base != rewriter.resolve(node.inputs[0]):
        rewriter.replace_by_line(node, line)
    return False


def fold_vector(rewriter: Rewriter, node: Node) -> bool:
    """Per-channel affine after affine."""
    below = rewriter.source(node)
    if below is None or below.op != "affine":
        return False
    (s1, o1), (s2, o2) = ([n.params[k].astype(np.float64) for k in ("scale", "offset")] for n in (below, node))
    node.inputs = [rewriter.resolve(below.inputs[0])]
    node.params = {"scale": (s1 * s2).astype(np.float32), "offset": (o1 * s2 + o2).astype(np.float32)}
    return True


def fold_ramp(rewriter: Rewriter, node: Node) -> bool:
    """``clip(alpha * x + beta, 0, 1)`` -> hard_sigmoid."""
    ramp = ramp_of(rewriter, node)
    if ramp is None or ramp.top != 1 or ramp.line.base == rewriter.resolve(node.inputs[0]):
        return False
    rewriter.replace(node, "hard_sigmoid", [ramp.line.base], alpha=ramp.line.scale, beta=ramp.line.offset)
    return True


def fold_clip(rewriter: Rewriter, node: Node) -> bool:
    """Clip or relu of clip or relu; a clip without an upper bound -> relu."""
    (low, high), source = bounds(node), rewriter.resolve(node.inputs[0])
    below = rewriter.writer.get(source)
    merges = below is not None and below.op in ("clip", "relu")
    if below is not None and merges:
        inner_low, inner_high = bounds(below)
        low, high = (min(max(v, low), high) for v in (inner_low, inner_high))
        source = rewriter.resolve(below.inputs[0])
    if low == 0 and high > _UNBOUNDED:
        changes = merges or node.op == "clip"
        rewriter.replace(node, "relu", [source])
    else:
        changes = merges
        rewriter.replace(node, "clip", [source], min=low, max=high)
    return changes


def bounds(node: Node) -> tuple[float, float]:
    """Bounds of a clip or relu node."""
    return (0.0, F32_MAX) if node.op == "relu" else (node.attrs["min"], node.attrs["max"])


# -- layout -----------------------------------------------------------------------------------------------------------


def fold_pad(rewriter: Rewriter, node: Node) -> bool:
    """Zero padding before a convolution becomes the convolution's own."""
    below = rewriter.source(node)
    if below is None or below.op != "pad" or below.attrs["value"] != 0:
        return False
    node.inputs = [rewriter.resolve(below.inputs[0])]
    node.attrs["padding"] = [a + b for a, b in zip(node.attrs["padding"], below.attrs["padding"], strict=True)]
    return True


def fold_reshape(rewriter: Rewriter, node: Node) -> bool:
    """Reshape of reshape where one of the two keeps the memory as it is; reshape to the same shape."""
    below = rewriter.source(node)
    plain = node.attrs["order"] == "HWC"
    if below is not None and below.op == "reshape":
        source = rewriter.resolve(below.inputs[0])
        below_plain = below.attrs["order"] == "HWC"
        flat = len(rewriter.shapes[below.output]) < 3
        merges = (
            (plain and below_plain)
            or (plain and flat and len(node.attrs["shape"]) < 3)
            or (below_plain and flat and len(rewriter.shapes[source]) < 3)
        )
        if merges:
            order = "HWC" if plain and below_plain else "CHW"
            node.inputs, node.attrs = [source], {"shape": node.attrs["shape"], "order": order}
            return True
    source = rewriter.resolve(node.inputs[0])
    shape = rewriter.shapes[source]
    if shape == tuple(node.attrs["shape"]) and node.output not in rewriter.same:
        rewriter.same[node.output] = source
    return False


PHASES: tuple[dict[str, tuple[Rewrite, ...]], ...] = (
    {
        "mul": (fold_gate,),
        "clip": (fold_clip,),
        "relu": (fold_clip,),
        "conv2d": (fold_pad,),
        "reshape": (fold_reshape,),
    },
    {"affine": (fold_affine,), "neg": (fold_affine,), "clip": (fold_ramp,)},
)
"""Rewrites per op, tried in order until none applies. Gates come first: merged affine nodes would hide them."""
