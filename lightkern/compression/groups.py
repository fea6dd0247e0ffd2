"""Dependency groups: which channels of which tensors are one and the same, and so move (or vanish) together.

A *channel* here is a root: a number that stands for every position, in every tensor, which must follow it. A dense
convolution makes new roots; a depthwise one, a pool, an addition hand them on; an addition ties the roots of its
inputs. Two roots are *interchangeable* if they occur in exactly the same tensors, so that swapping them everywhere
changes no result. Channel matching permutes interchangeable roots; channel pruning removes roots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Graph, Node
from ..opset import Shape, broadcast_kind
from .weights import is_depthwise

__all__ = ["ChannelMap", "permute_channels", "trace_channels"]


@dataclass
class ChannelMap:
    """Result of `trace_channels`.

    Attributes
    ----------
    roots : dict of str to ndarray [c]
        Root of every position on the channel axis of each tensor.
    copies : dict of str to ndarray [c]
        Which of several positions of the same root it is (a flattened picture has one per pixel).
    pinned : ndarray bool [roots]
        Roots that must stay where they are: graph inputs and outputs, and what no rule explains.
    family : ndarray [roots]
        Equal for interchangeable roots.
    """

    roots: dict[str, Array]
    copies: dict[str, Array]
    pinned: Array
    family: Array

    def groups(self) -> list[Array]:
        """Sets of two or more interchangeable, unpinned roots, each in ascending order."""
        used = np.unique(np.concatenate(list(self.roots.values())))
        free = used[~self.pinned[used]]
        order = free[np.argsort(self.family[free], kind="stable")]
        cuts = np.flatnonzero(np.diff(self.family[order])) + 1
        return [np.sort(group) for group in np.split(order, cuts) if group.size > 1]


class _Tracer:
    """Union-find over roots, with the state of one walk through the graph."""

    def __init__(self, *, rescale: bool) -> None:
        self.rescale = rescale
        self.parent = np.zeros(0, np.int64)
        self.pins: list[Array] = []
        self.roots: dict[str, Array] = {}
        self.copies: dict[str, Array] = {}
        self.places: list[Array] = []

    def fresh(self, count: int) -> Array:
        begin = len(self.parent)
        self.parent = np.concatenate([self.parent, np.arange(begin, begin + count)])
        return np.arange(begin, begin + count)

    def find(self, labels: Array) -> Array:
        while True:
            up = self.parent[labels]
            if (up == labels).all():
                return labels
            labels = up

    def tie(self, a: Array, b: Array) -> None:
        for x, y in zip(a, b, strict=True):
            ends = self.find(np.array([x, y]))
            self.parent[ends.max()] = ends.min()

    def pin(self, *labels: Array) -> None:
        self.pins += labels

    def put(self, tensor: str, labels: Array, copies: Array | None = None) -> None:
        self.roots[tensor] = labels
        self.copies[tensor] = np.zeros(len(labels), np.int64) if copies is None else copies


def trace_channels(graph: Graph, shapes: Mapping[str, Shape], *, rescale: bool = False) -> ChannelMap:
    """Follow every channel through the graph.

    Parameters
    ----------
    graph : Graph
        Before or after fusion.
    shapes : mapping of str to tuple of int
        Of every tensor, see `Graph.shapes`.
    rescale : bool
        Follow factors rather than identities: a factor on each channel of a tensor may change in a depthwise
        convolution, and only passes through functions that are positively homogeneous.
    """
    t = _Tracer(rescale=rescale)
    for port in graph.inputs:
        t.put(port.tensor, t.fresh(port.shape[-1]))
        t.pin(t.roots[port.tensor])
    for node in graph.nodes:
        _trace_node(t, node, shapes)
    for port in graph.outputs:
        t.pin(t.roots[port.tensor])
    roots = {name: t.find(labels) for name, labels in t.roots.items()}
    pinned = np.zeros(len(t.parent), bool)
    for labels in t.pins:
        pinned[t.find(labels)] = True
    if not rescale:
        # Where ties put a root at several places of one tensor, nothing says which of them is which in another.
        for name, labels in roots.items():
            _, place, count = np.unique([labels, t.copies[name]], axis=1, return_inverse=True, return_counts=True)
            pinned[labels[count[place.reshape(-1)] > 1]] = True
    family = np.zeros(len(t.parent), np.int64)
    for labels in [*roots.values(), *(t.find(place) for place in t.places)]:
        present = np.bincount(labels, minlength=len(family))
        if present.any():
            _, family = np.unique(family * (present.max() + 1) + present, return_inverse=True)
    return ChannelMap(roots, dict(t.copies), pinned, np.asarray(family))


def _repeats(labels: Array, copies: Array) -> bool:
    """Whether a root stands twice in a tensor under one copy number."""
    key = labels * (int(copies.max(initial=0)) + 1) + copies
    return len(np.unique(key)) < len(key)


def _trace_node(t: _Tracer, node: Node, shapes: Mapping[str, Shape]) -> None:
    xs = [t.roots[name] for name in node.inputs]
    flattened = any(t.copies[name].any() for name in node.inputs)
    shape = shapes[node.output]
    if node.op in ("conv2d", "linear"):
        t.put(node.output, _trace_weights(t, node, xs[0]))
    elif node.op in ("add", "sub", "mul"):
        _trace_binary(t, node, xs, broadcast_kind(shapes[node.inputs[0]], shapes[node.inputs[1]]))
    elif node.op == "reshape":
        _trace_reshape(t, node, shapes[node.inputs[0]], shape)
    elif node.op in ("concat", "slice", "channel_shuffle") and flattened:
        t.pin(*xs)
        t.put(node.output, t.fresh(shape[-1]))
        t.pin(t.roots[node.output])
    elif node.op == "concat":
        if node.attrs["axis"] == len(shape) - 1:
            labels = np.concatenate(xs)
            part = np.repeat(np.arange(len(xs)), [len(x) for x in xs])
            t.put(node.output, labels, part if _repeats(t.find(labels), np.zeros_like(labels)) else None)
        else:
            for other in xs[1:]:
                t.tie(xs[0], other)
            t.put(node.output, xs[0])
    elif node.op == "slice" and node.attrs["axis"] == len(shape) - 1:
        t.put(node.output, xs[0][node.attrs["begin"] : node.attrs["end"]])
    elif node.op == "channel_shuffle":
        t.put(node.output, xs[0].reshape(node.attrs["groups"], -1).T.reshape(-1))
    else:
        if t.rescale and not _homogeneous(node):
            t.pin(xs[0])
        t.put(node.output, xs[0], t.copies[node.inputs[0]])


def _homogeneous(node: Node) -> bool:
    """Whether f(s * x) = s * f(x) for every s > 0."""
    if node.op == "table":
        return all(op in ("relu", "leaky_relu", "abs", "neg") for op, _ in node.attrs["steps"])
    if node.op == "pad":
        return bool(node.attrs["value"] == 0)
    return node.op not in ("softmax", "affine") and node.op in (
        *("prelu", "global_avg_pool", "avg_pool", "max_pool", "slice", "resize"),
        *("relu", "leaky_relu", "abs", "neg"),
    )


def _trace_weights(t: _Tracer, node: Node, x: Array) -> Array:
    oc = len(node.params["weight"])
    if is_depthwise(node):
        if oc == len(x) and not t.rescale:
            return x
        out = t.fresh(oc)
        if not t.rescale:
            t.pin(x, out)
        return out
    out = t.fresh(oc)
    groups = node.attrs.get("groups", 1)
    if groups > 1:
        # Channels of a grouped convolution may move within their group only.
        t.places += [*x.reshape(groups, -1), *out.reshape(groups, -1)]
    return out


def _trace_binary(t: _Tracer, node: Node, xs: Sequence[Array], kind: str) -> None:
    a, b = xs
    copies = [t.copies[name] for name in node.inputs]
    if kind in ("same", "channel") and not (copies[0] == copies[1]).all():
        t.pin(a, b)
    elif t.rescale and node.op == "mul":
        t.pin(b)
    elif kind in ("same", "channel"):
        t.tie(a, b)
    elif t.rescale:
        t.pin(a, b)
    t.put(node.output, a, copies[0])


def _trace_reshape(t: _Tracer, node: Node, before: Shape, after: Shape) -> None:
    labels, copies = t.roots[node.inputs[0]], t.copies[node.inputs[0]]
    planar = node.attrs["order"] == "CHW" and (len(before) == 3 or len(after) == 3)
    pixels = int(np.prod(before[:-1]))
    keeps = after[-1] == before[-1]
    if planar and keeps and not (len(before) == 3 and len(after) == 3):
        keeps = pixels == 1
    if keeps:
        t.put(node.output, labels, copies)
    elif len(after) == 1 and not copies.any():
        order = np.arange(len(labels) * pixels)
        channel, pixel = (order // pixels, order % pixels) if planar else (order % len(labels), order // len(labels))
        t.put(node.output, labels[channel], pixel)
    else:
        t.pin(labels)
        t.put(node.output, t.fresh(after[-1]))
        t.pin(t.roots[node.output])


def permute_channels(graph: Graph, channels: ChannelMap, successor: Array) -> None:
    """Let the content of root ``successor[r]`` take every place of root r.

    Parameters
    ----------
    graph : Graph
        Edited in place.
    channels : ChannelMap
        Of this graph (without `rescale`).
    successor : ndarray [roots]
        A permutation that maps each root to an interchangeable one.
    """
    if (channels.family[successor] != channels.family).any() or (successor != np.arange(len(successor)))[
        channels.pinned
    ].any():
        raise ValueError("the permutation swaps channels that are pinned or not interchangeable")
    order = {name: _order(channels, name, successor) for name in channels.roots}
    for node in graph.nodes:
        x, y = order[node.inputs[0]], order[node.output]
        if node.op in ("conv2d", "linear"):
            weight = node.params["weight"][y]
            if not is_depthwise(node):
                weight = _permute_inputs(weight, x, node.attrs.get("groups", 1))
            node.params["weight"] = np.ascontiguousarray(weight)
            node.params["bias"] = node.params["bias"][y]
        elif node.op in ("prelu", "affine"):
            node.params = {key: value[y] for key, value in node.params.items()}


def _permute_inputs(weight: Array, x: Array, groups: int) -> Array:
    if groups == 1:
        return weight[..., x]
    width = weight.shape[-1]
    parts = np.split(weight, groups)
    return np.concatenate([part[..., x[g * width : (g + 1) * width] - g * width] for g, part in enumerate(parts)])


def _order(channels: ChannelMap, tensor: str, successor: Array) -> Array:
    """Old position of what shall stand at each position of a tensor."""
    roots, copies = channels.roots[tensor], channels.copies[tensor]
    stride = int(copies.max(initial=0)) + 1
    key = roots * stride + copies
    sorter = np.argsort(key, kind="stable")
    first = np.searchsorted(key, key, sorter=sorter)
    occurrence = np.empty_like(first)
    occurrence[sorter] = np.arange(len(key)) - first[sorter]
    return np.asarray(sorter[np.searchsorted(key, successor[roots] * stride + copies, sorter=sorter) + occurrence])
