"""Pass 1: fold constants into constants. No ``affine`` survives, and padding moves into the windows that read it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph import Array, Graph, Node
from ..opset import Shape
from .rewrite import (
    absorb_into_readers,
    absorb_into_writer,
    fresh_name,
    insert_after,
    is_output,
    readers,
    sole_reader,
    writer,
)

__all__ = ["fold"]

LINEAR_OPS = ("conv2d", "linear")


def fold(graph: Graph) -> None:
    """Fold affine and pad nodes into their neighbours, and rewrite every affine that is left."""
    for node in list(graph.nodes):
        if node.op == "pad":
            _fold_pad(graph, node)
    for node in list(graph.nodes):
        if node.op == "affine":
            _fold_affine(graph, node)
    shapes = graph.shapes()
    for node in list(graph.nodes):
        if node.op == "affine":
            _replace_affine(graph, node, shapes[node.output])


def _fold_affine(graph: Graph, node: Node) -> None:
    before = writer(graph, node.inputs[0])
    if before is not None and sole_reader(graph, node.inputs[0]) is node:
        if before.op in LINEAR_OPS:
            _scale_outputs(before, node.params["scale"], node.params["offset"])
            absorb_into_writer(graph, before, node)
            return
        if before.op == "affine":
            scale, offset = node.params["scale"], node.params["offset"]
            before.params = {
                "scale": before.params["scale"] * scale,
                "offset": before.params["offset"] * scale + offset,
            }
            absorb_into_writer(graph, before, node)
            _fold_affine(graph, before)
            return
    after = readers(graph, node.output)
    if after and not is_output(graph, node.output) and all(_takes_affine(reader, node) for reader in after):
        for reader in after:
            _scale_inputs(reader, node.params["scale"], node.params["offset"])
        absorb_into_readers(graph, node)


def _takes_affine(reader: Node, affine: Node) -> bool:
    """Padding puts zeros behind the affine, so an offset cannot move across it."""
    if reader.op == "linear":
        return True
    return reader.op == "conv2d" and not (any(reader.attrs["padding"]) and np.any(affine.params["offset"]))


def _scale_outputs(node: Node, scale: Array, offset: Array) -> None:
    weight = node.params["weight"].astype(np.float64)
    node.params["weight"] = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
    node.params["bias"] = (node.params["bias"].astype(np.float64) * scale + offset).astype(np.float32)


def _scale_inputs(node: Node, scale: Array, offset: Array) -> None:
    weight = node.params["weight"].astype(np.float64)
    if node.op == "linear":
        bias = weight @ offset
        weight = weight * scale
    else:
        groups, (oc, _, _, icg) = node.attrs["groups"], weight.shape
        group_of = np.arange(oc) // (oc // groups)
        shape = (oc, 1, 1, icg)
        bias = (weight * offset.reshape(groups, icg)[group_of].reshape(shape)).sum(axis=(1, 2, 3))
        weight = weight * scale.reshape(groups, icg)[group_of].reshape(shape)
    node.params["weight"] = weight.astype(np.float32)
    node.params["bias"] = (node.params["bias"] + bias).astype(np.float32)


def _replace_affine(graph: Graph, node: Node, shape: Shape) -> None:
    """A uniform affine is an elementwise function; any other is a depthwise convolution with one tap."""
    scale, offset = node.params["scale"], node.params["offset"]
    if (scale == scale[0]).all() and (offset == offset[0]).all():
        node.op, node.attrs, node.params = "uniform_affine", {"scale": float(scale[0]), "offset": float(offset[0])}, {}
        return
    node.op = "conv2d"
    node.attrs = {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0, 0, 0], "dilation": [1, 1], "groups": len(scale)}
    node.params = {"weight": scale.astype(np.float32).reshape(-1, 1, 1, 1), "bias": offset.astype(np.float32)}
    if len(shape) < 3:
        _wrap_in_reshapes(graph, node, shape)


def _wrap_in_reshapes(graph: Graph, node: Node, shape: Shape) -> None:
    image = [1] * (3 - len(shape)) + list(shape)
    wide = fresh_name(graph, f"{node.name}_image")
    to_image = Node("reshape", wide, list(node.inputs), wide, {"shape": image, "order": "HWC"})
    insert_after(graph, writer(graph, node.inputs[0]), to_image)
    node.inputs = [wide]
    result = fresh_name(graph, f"{node.name}_result")
    back: dict[str, Any] = {"shape": list(shape), "order": "HWC"}
    from_image = Node("reshape", result, [result], node.output, back)
    node.output = result
    insert_after(graph, node, from_image)


def _fold_pad(graph: Graph, node: Node) -> None:
    """Zero padding in front of a convolution, or of an average that counts it, belongs to the window."""
    reader = sole_reader(graph, node.output)
    if reader is None or node.attrs["value"] != 0:
        return
    padding = [a + b for a, b in zip(node.attrs["padding"], reader.attrs.get("padding", []), strict=False)]
    if reader.op == "avg_pool" and (reader.attrs["count_include_pad"] or not any(reader.attrs["padding"])):
        kh, kw = reader.attrs["kernel"]
        if max(padding[0], padding[2]) >= kh or max(padding[1], padding[3]) >= kw:
            return
        reader.attrs["count_include_pad"] = True
    elif reader.op != "conv2d":
        return
    reader.attrs["padding"] = padding
    absorb_into_readers(graph, node)
