"""Rewrites of an imported graph: functions that exporters write out become one op again.

Each rewrite looks at a node and the chain that feeds it, and replaces the node in place; what nothing reads any more
is dropped at the end. All are exact in real arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...errors import UnsupportedError
from ...graph import Graph, Node
from ...opset import Shape

Rewrite = Callable[["Rewriter", Node], bool]

_CLOSE = 1e-5
"""Constants such as 1/6 and sqrt(1/2) count as recognised within this relative distance."""


def rewrite(graph: Graph, shapes: dict[str, Shape]) -> None:
    """Apply every rewrite, in node order, and drop dead nodes.

    Raises
    ------
    UnsupportedError
        If an op remains that only exists inside of a recognised function.
    """
    rewriter = Rewriter(graph, shapes)
    for node in list(graph.nodes):
        while any(rule(rewriter, node) for rule in RULES.get(node.op, ())):
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

    def line(self, tensor: str) -> tuple[float, float, str]:
        """(scale, offset, base) such that the tensor is ``scale * base + offset`` with scalars."""
        scale, offset, tensor = 1.0, 0.0, self.resolve(tensor)
        while True:
            node = self.writer.get(tensor)
            step = None if node is None else uniform(node)
            if node is None or step is None:
                return scale, offset, tensor
            scale, offset, tensor = scale * step[0], offset + scale * step[1], self.resolve(node.inputs[0])

    def finish(self) -> None:
        """Rename what identities stood for, and drop nodes that nothing reads."""
        for node in self.graph.nodes:
            node.inputs = [self.resolve(name) for name in node.inputs]
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


def gate_of(rewriter: Rewriter, tensor: str, base: str) -> tuple[str, float] | None:
    """(op, factor) if ``base * tensor`` is ``factor * op(base)`` for one of the self-gated activations."""
    scale, offset, gate = rewriter.line(tensor)
    node = rewriter.writer.get(gate)
    if node is None:
        return None
    inner_scale, inner_offset, inner = rewriter.line(node.inputs[0])
    if node.op == "erf" and close(offset, scale) and inner == base:
        if close(inner_scale, math.sqrt(0.5)) and close(inner_offset, 0):
            return "gelu", 2 * scale
        return None
    if not close(offset, 0):
        return None
    if node.op == "sigmoid" and inner == base and close(inner_scale, 1) and close(inner_offset, 0):
        return "swish", scale
    if node.op == "tanh" and close(inner_scale, 1) and close(inner_offset, 0):
        softplus = rewriter.writer.get(inner)
        if softplus is not None and softplus.op == "softplus" and rewriter.line(softplus.inputs[0]) == (1.0, 0.0, base):
            return "mish", scale
        return None
    ramp = ramp_of(rewriter, node)
    if ramp is not None and ramp[3] == base and close(ramp[1], 1 / 6) and close(ramp[2], 0.5):
        return "hard_swish", scale * ramp[0]
    return None


def ramp_of(rewriter: Rewriter, node: Node) -> tuple[float, float, float, str] | None:
    """(top, alpha, beta, base) if the node computes ``top * clip(alpha * base + beta, 0, 1)``."""
    scale, offset, base = rewriter.line(node.inputs[0])
    if node.op == "hard_sigmoid":
        alpha, beta = node.attrs["alpha"], node.attrs["beta"]
        return 1.0, scale * alpha, offset * alpha + beta, base
    if node.op == "clip" and node.attrs["min"] == 0 and 0 < node.attrs["max"] < 1e6:
        top = node.attrs["max"]
        return top, scale / top, offset / top, base
    return None


def fold_gate(rewriter: Rewriter, node: Node) -> bool:
    """x * gate(x) -> swish, hard_swish, gelu, mish; with a scalar factor left over, that stays as an affine."""
    a, b = node.inputs
    if rewriter.shapes[a] != rewriter.shapes[b]:
        return False
    for left, right in ((a, b), (b, a)):
        scale, offset, base = rewriter.line(left)
        found = gate_of(rewriter, right, base) if offset == 0 else None
        if found is None:
            # the tensor itself may be the base, however it was computed
            scale, base = 1.0, rewriter.resolve(left)
            found = gate_of_exact(rewriter, right, base)
        if found is None:
            continue
        op, factor = found[0], found[1] * scale
        if close(factor, 1):
            rewriter.replace(node, op, [base])
        else:
            insert_scaled(rewriter, node, op, base, factor)
        return True
    return False


def gate_of_exact(rewriter: Rewriter, tensor: str, base: str) -> tuple[str, float] | None:
    """As `gate_of`, for a base that is itself the result of an affine node (whose line would be looked through)."""
    writer = rewriter.writer.pop(base, None)
    try:
        return gate_of(rewriter, tensor, base)
    finally:
        if writer is not None:
            rewriter.writer[base] = writer


def insert_scaled(rewriter: Rewriter, node: Node, op: str, base: str, factor: float) -> None:
    """Make the node ``factor * op(base)``, with a new node before it."""
    name = f"{node.name}/{op}"
    while name in rewriter.shapes:
        name += "'"
    inner = Node(op, name, [base], name)
    rewriter.graph.nodes.insert(rewriter.graph.nodes.index(node), inner)
    rewriter.writer[name] = inner
    rewriter.shapes[name] = rewriter.shapes[node.output]
    rewriter.replace(node, "affine", [name])
    c = rewriter.shapes[name][-1]
    node.params = {"scale": np.full(c, factor, np.float32), "offset": np.zeros(c, np.float32)}


# -- affine and clip --------------------------------------------------------------------------------------------------


def fold_affine(rewriter: Rewriter, node: Node) -> bool:
    """Scalar affine after scalar affine; the identity; ``clip(x, 0, top) / top`` -> hard_sigmoid."""
    if uniform(node) is None:
        return False
    scale, offset, base = rewriter.line(node.output)
    if close(scale, 1) and abs(offset) < 1e-12 and node.output not in rewriter.same:
        rewriter.same[node.output] = base
        return False
    below = rewriter.writer.get(base)
    if below is not None and below.op == "clip" and close(offset, 0):
        ramp = ramp_of(rewriter, below)
        if ramp is not None and close(ramp[0] * scale, 1) and ramp[1] > 0:
            rewriter.replace(node, "hard_sigmoid", [ramp[3]], alpha=ramp[1], beta=ramp[2])
            return True
    if base != rewriter.resolve(node.inputs[0]):
        c = rewriter.shapes[node.output][-1]
        rewriter.replace(node, "affine", [base])
        node.params = {"scale": np.full(c, scale, np.float32), "offset": np.full(c, offset, np.float32)}
    return False


def fold_clip(rewriter: Rewriter, node: Node) -> bool:
    """Clip of clip or of relu; clip at 0 only -> relu; ``clip(alpha * x + beta, 0, 1)`` -> hard_sigmoid."""
    low, high = node.attrs["min"], node.attrs["max"]
    below = rewriter.source(node)
    if below is not None and below.op in ("clip", "relu"):
        inner_low, inner_high = (below.attrs["min"], below.attrs["max"]) if below.op == "clip" else (0.0, high)
        low, high = min(max(low, inner_low), high), min(max(inner_high, low), high)
        rewriter.replace(node, "clip", [rewriter.resolve(below.inputs[0])], min=low, max=high)
        return True
    if low == 0 and high > 1e38:
        rewriter.replace(node, "relu", [rewriter.resolve(node.inputs[0])])
        return True
    if low == 0 and high == 1:
        scale, offset, base = rewriter.line(node.inputs[0])
        if scale > 0 and (scale, offset) != (1.0, 0.0):
            rewriter.replace(node, "hard_sigmoid", [base], alpha=scale, beta=offset)
            return True
    return False


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


RULES: dict[str, tuple[Rewrite, ...]] = {
    "mul": (fold_gate,),
    "affine": (fold_affine,),
    "neg": (fold_affine,),
    "clip": (fold_clip,),
    "conv2d": (fold_pad,),
    "reshape": (fold_reshape,),
}
"""Rewrites per op, tried in order until none applies."""
