"""The intermediate representation: a list of nodes, float (`Graph`) here and int8 (`Model`) in ``model.py``.

A node has one output. Shapes exclude the batch dimension and are (H, W, C) or (C,), see ``opset.py``. A `Port`
remembers the layout of the source model, so that users see the shapes that they exported.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .opset import GRAPH_OPS, MAX_DIM, MAX_ELEMENTS, OpRule, RuleError, Shape, elements

__all__ = ["Graph", "Node", "Port"]

Array = npt.NDArray[Any]


@dataclass
class Node:
    """One operation.

    Attributes
    ----------
    op : str
        A key of `lightkern.opset.GRAPH_OPS` (float) or `MODEL_OPS` (int8).
    name : str
        Unique within the graph; appears in messages, profiles and file keys.
    inputs : list of str
        Names of the tensors read: graph inputs or outputs of earlier nodes.
    output : str
        Name of the tensor written.
    attrs : dict
        JSON-able attributes, as the op's rule lists them.
    params : dict of str to ndarray
        Constant arrays: ``weight`` [oc, kh, kw, ic / groups] for conv2d, [out, in] for linear, ``bias`` [oc], ...
    """

    op: str
    name: str
    inputs: list[str]
    output: str
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes
    ----------
    name : str
        Name in the source model, as users pass it.
    tensor : str
        Name of the tensor inside the graph.
    shape : tuple of int
        Canonical shape without batch: (H, W, C), (L, C) or (C,).
    layout : {"NCHW", "NHWC"}
        Layout of the source model. With "NCHW", users see (n, C, H, W) for rank 3; other ranks are unaffected.
    """

    name: str
    tensor: str
    shape: Shape
    layout: str = "NCHW"

    @property
    def api_shape(self) -> Shape:
        """Shape without batch as users see it."""
        if len(self.shape) == 3 and self.layout == "NCHW":
            return (self.shape[2], self.shape[0], self.shape[1])
        return self.shape

    def to_canonical(self, x: Array) -> Array:
        """Turn a user's array [n, *api_shape] into [n, *shape] (a view)."""
        return x.transpose(0, 2, 3, 1) if self.api_shape is not self.shape else x

    def from_canonical(self, x: Array) -> Array:
        """Turn [n, *shape] into a user's array [n, *api_shape] (a view)."""
        return x.transpose(0, 3, 1, 2) if self.api_shape is not self.shape else x


@dataclass
class NodeList:
    """What the float graph and the int8 model have in common: ports and nodes in topological order."""

    name: str
    inputs: list[Port]
    outputs: list[Port]
    nodes: list[Node]

    def shapes(self, ops: Mapping[str, OpRule] = GRAPH_OPS) -> dict[str, Shape]:
        """Shape of every tensor, without batch.

        Raises
        ------
        ValueError
            If an op is unknown, an attribute or parameter is missing or breaks its rule, a tensor is read before it
            is written or is written twice. The message names the node and the rule.
        """
        known: dict[str, Shape] = {}
        for port in self.inputs:
            if port.tensor in known:
                raise ValueError(f"input {port.name!r}: tensor {port.tensor!r} is defined twice")
            _check_shape(f"input {port.name!r}", port.shape)
            known[port.tensor] = port.shape
        names: set[str] = set()
        for node in self.nodes:
            where = f"node {node.name!r} ({node.op})"
            if node.name in names:
                raise ValueError(f"{where}: another node has this name")
            names.add(node.name)
            known_inputs = []
            for name in node.inputs:
                if name not in known:
                    raise ValueError(f"{where}: input {name!r} is not the output of an earlier node")
                known_inputs.append(known[name])
            if node.output in known:
                raise ValueError(f"{where}: tensor {node.output!r} is defined twice")
            if node.op not in ops:
                raise ValueError(f"{where}: unknown op {node.op!r}")
            try:
                shape = infer_shape(ops[node.op], node, known_inputs)
            except RuleError as error:
                raise ValueError(f"{where}: {error}") from None
            _check_shape(where, shape)
            known[node.output] = shape
        for port in self.outputs:
            if known.get(port.tensor) != port.shape:
                raise ValueError(
                    f"output {port.name!r}: declared shape {port.shape}, tensor {port.tensor!r} has "
                    f"{known.get(port.tensor, 'no definition')}"
                )
            if port.layout not in ("NCHW", "NHWC"):
                raise ValueError(f"output {port.name!r}: unknown layout {port.layout!r}")
        if not self.inputs or not self.outputs:
            raise ValueError(f"graph {self.name!r}: needs at least one input and one output")
        return known

    def consumers(self) -> dict[str, list[Node]]:
        """Nodes that read each tensor."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return readers

    def producer(self) -> dict[str, Node]:
        """Node that writes each tensor (graph inputs are absent)."""
        return {node.output: node for node in self.nodes}


@dataclass
class Graph(NodeList):
    """A float network: what an importer returns and `lightkern.compress` takes."""

    def validate(self) -> None:
        """Check every rule, and that all parameters are finite.

        Raises
        ------
        ValueError
            The message names the node, the rule and the actual value.
        """
        self.shapes()
        for node in self.nodes:
            for key, value in node.params.items():
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    bad = np.argwhere(~np.isfinite(value))[0]
                    raise ValueError(
                        f"node {node.name!r} ({node.op}): {key}{bad.tolist()} is {value[tuple(bad)]}, must be finite"
                    )

    def run(self, x: Array | Mapping[str, Array], *, keep: bool = False) -> Any:
        """Run the float network in NumPy: the yardstick for compression.

        Parameters
        ----------
        x : ndarray [n, *api_shape] or mapping from input name to such arrays
        keep : bool
            Return every intermediate tensor too.

        Returns
        -------
        ndarray or dict of str to ndarray
            One output array, or a dict by output name where the graph has several. With `keep`, a pair of that and a
            dict from tensor name to canonical array [n, ...].
        """
        from . import float_ops

        return float_ops.run(self, x, keep=keep)

    def copy(self) -> Graph:
        """Deep copy, parameters included."""
        return copy.deepcopy(self)


def infer_shape(rule: OpRule, node: Node, inputs: Sequence[Shape]) -> Shape:
    """Apply an op's rule; raise `RuleError` for any attribute, parameter or shape that breaks it."""
    least, most = rule.inputs
    if not least <= len(inputs) <= most:
        raise RuleError(f"takes {least}..{most} inputs, got {len(inputs)}")
    for key, kind in rule.attrs.items():
        if key not in node.attrs:
            if key in rule.optional:
                continue
            raise RuleError(f"attribute {key!r} is missing")
        _check_attr(key, kind, node.attrs[key])
    wanted = rule.params
    for key, rank in wanted.items():
        if key not in node.params:
            raise RuleError(f"parameter {key!r} is missing")
        if node.params[key].ndim != rank:
            raise RuleError(f"parameter {key!r} has shape {node.params[key].shape}, expected {rank} dimensions")
    return rule.shape(node.attrs, {k: v.shape for k, v in node.params.items()}, inputs)


def _check_attr(key: str, kind: str, value: Any) -> None:
    def is_int(v: Any) -> bool:
        return isinstance(v, int) and not isinstance(v, bool) and abs(v) <= MAX_DIM

    lengths = {"ints2": 2, "ints4": 4}
    if kind in lengths:
        ok = isinstance(value, (list, tuple)) and len(value) == lengths[kind] and all(map(is_int, value))
    elif kind == "shape":
        ok = isinstance(value, (list, tuple)) and all(map(is_int, value))
    elif kind == "int":
        ok = is_int(value)
    elif kind == "float":
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    else:
        ok = isinstance(value, {"str": str, "bool": bool}[kind])
    if not ok:
        raise RuleError(f"attribute {key!r} must be {kind}, got {value!r}")


def _check_shape(where: str, shape: Shape) -> None:
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or max(shape) > MAX_DIM:
        raise ValueError(f"{where}: shape {shape} is not (H, W, C), (L, C) or (C,) with sizes of 1 to {MAX_DIM}")
    if elements(shape) >= MAX_ELEMENTS:
        raise ValueError(f"{where}: shape {shape} has {elements(shape)} elements, {MAX_ELEMENTS} is the limit")
