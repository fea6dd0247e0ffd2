"""Small edits of a graph that the passes share. A pass owns its copy of the graph and edits it in place."""

from __future__ import annotations

import copy

from ..graph import Graph, Node
from ..opset import STRUCTURAL, OpRule, Shape
from ..opset import UNARY as UNARY_RULES

FUSED_OPS: dict[str, OpRule] = {**STRUCTURAL, "table": UNARY_RULES["relu"]}
"""Operations that remain after `fold` and `fuse`: those of the int8 model, still with float parameters.

Two attributes exist only here. ``limits = [low, high]``: the real-valued clamp fused into a requantizing op.
``steps = [[op, attrs], ...]`` of a ``table``: the elementwise functions that it applies in turn.
"""


def editable(graph: Graph) -> Graph:
    """A copy with nodes, attributes and parameter dictionaries of its own; passes replace arrays, never write them."""
    nodes = [Node(n.op, n.name, list(n.inputs), n.output, copy.deepcopy(n.attrs), dict(n.params)) for n in graph.nodes]
    return Graph(graph.name, list(graph.inputs), list(graph.outputs), nodes)


def fused_shapes(graph: Graph) -> dict[str, Shape]:
    """Shape of every tensor of a graph that `fuse` has left."""
    return graph.shapes(FUSED_OPS)


def is_output(graph: Graph, tensor: str) -> bool:
    return any(port.tensor == tensor for port in graph.outputs)


def readers(graph: Graph, tensor: str) -> list[Node]:
    return [node for node in graph.nodes if tensor in node.inputs]


def sole_reader(graph: Graph, tensor: str) -> Node | None:
    """The node that alone reads `tensor`, once, if nothing else (no graph output either) needs it."""
    found = readers(graph, tensor)
    if len(found) == 1 and found[0].inputs.count(tensor) == 1 and not is_output(graph, tensor):
        return found[0]
    return None


def writer(graph: Graph, tensor: str) -> Node | None:
    """The node that writes `tensor`; None for a graph input."""
    return next((node for node in graph.nodes if node.output == tensor), None)


def absorb_into_writer(graph: Graph, into: Node, node: Node) -> None:
    """Remove `node`, the sole reader of `into`: `into` now writes the tensor that `node` wrote."""
    into.output = node.output
    graph.nodes.remove(node)


def absorb_into_readers(graph: Graph, node: Node) -> None:
    """Remove the one-input `node`, whose output is no graph output: its readers read its input instead."""
    for reader in readers(graph, node.output):
        reader.inputs = [node.inputs[0] if name == node.output else name for name in reader.inputs]
    graph.nodes.remove(node)


def insert_after(graph: Graph, anchor: Node | None, node: Node) -> None:
    """Put `node` behind `anchor` (None: first) in the order of execution."""
    position = 0 if anchor is None else next(i for i, n in enumerate(graph.nodes) if n is anchor) + 1
    graph.nodes.insert(position, node)


def fresh_name(graph: Graph, stem: str) -> str:
    """A name that neither a node nor a tensor has yet."""
    taken = {node.name for node in graph.nodes} | {node.output for node in graph.nodes}
    taken |= {port.tensor for port in graph.inputs}
    name, count = stem, 1
    while name in taken:
        count += 1
        name = f"{stem}_{count}"
    return name


def drop_unused(graph: Graph) -> None:
    """Remove nodes whose results reach no graph output."""
    needed = {port.tensor for port in graph.outputs}
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    graph.nodes = kept[::-1]
