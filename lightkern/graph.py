"""The intermediate representation: a list of nodes, float (`Graph`) here and int8 (`Model`) in ``model.py``.

A node has one output. Shapes exclude the batch dimension and are (H, W, C) or (C,), see ``opset.py``. A `Port`
(``ports.py``) remembers the layout of the source model, so that users see the shapes that they exported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from .arrays import Array, is_ndarray
from .opset import GRAPH_OPS, MAX_DIM, MAX_ELEMENTS, OpRule, RuleError, Shape, elements
from .ports import Port
from .records import Record

__all__ = ["Array", "Graph", "Node", "Port", "load_graph"]

FLOAT32_MAX = (2 - 2.0**-23) * 2.0**127


class Node(Record):
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
        An int8 node may have memoryviews of such arrays, too.
    """

    def __init__(
        self,
        op: str,
        name: str,
        inputs: list[str],
        output: str,
        attrs: dict[str, Any] | None = None,
        params: dict[str, Array] | None = None,
    ) -> None:
        self.op = op
        self.name = name
        self.inputs = inputs
        self.output = output
        self.attrs = {} if attrs is None else attrs
        self.params = {} if params is None else params


class NodeList(Record):
    """What the float graph and the int8 model have in common: ports and nodes in topological order."""

    def __init__(self, name: str, inputs: list[Port], outputs: list[Port], nodes: list[Node]) -> None:
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.nodes = nodes

    def shapes(self, ops: Mapping[str, OpRule] = GRAPH_OPS) -> dict[str, Shape]:
        """Shape of every tensor, without batch.

        Parameters
        ----------
        ops : mapping of str to OpRule
            The ops that may occur: `lightkern.opset.GRAPH_OPS`, or `MODEL_OPS` for int8.

        Returns
        -------
        dict of str to tuple of int
            By tensor: (H, W, C), (L, C) or (C,).

        Raises
        ------
        ValueError
            If an op is unknown, an attribute or parameter is missing or breaks its rule, a tensor is read before it
            is written or is written twice. The message names the node and the rule.
        """
        known: dict[str, Shape] = {}
        _check_ports("input", self.inputs)
        _check_ports("output", self.outputs)
        for port in self.inputs:
            if port.tensor in known:
                raise ValueError(f"input {port.name!r}: tensor {port.tensor!r} is defined twice")
            known[port.tensor] = port.shape
        names: set[str] = set()
        for node in self.nodes:
            where = f"node {node.name!r} ({node.op})"
            if not (isinstance(node.name, str) and node.name):
                raise ValueError(f"{where}: a name must be a non-empty string")
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


class Graph(NodeList):
    """A float network: what an importer returns and `lightkern.compress` takes.

    Attributes
    ----------
    name : str
        For people; appears in messages.
    inputs, outputs : list of Port
        At least one each.
    nodes : list of Node
        In topological order; float32 parameters (int32 those of resize).
    """

    def validate(self) -> None:
        """Check every rule, and that all parameters are finite.

        Raises
        ------
        ValueError
            The message names the node, the rule and the actual value.
        """
        import numpy as np

        self.shapes()
        for node in self.nodes:
            where = f"node {node.name!r} ({node.op})"
            try:
                check_fields(GRAPH_OPS[node.op], node)
            except RuleError as error:
                raise ValueError(f"{where}: {error}") from None
            for key, value in node.params.items():
                if not is_ndarray(value):
                    raise ValueError(f"{where}: parameter {key!r} is a memoryview, expected a NumPy array")
                wanted = np.int32 if node.op == "resize" else np.float32
                if value.dtype != wanted:
                    raise ValueError(f"{where}: {key} has dtype {value.dtype}, expected {wanted.__name__}")
                if not np.isfinite(value).all():
                    bad = np.argwhere(~np.isfinite(value))[0]
                    raise ValueError(f"{where}: {key}{bad.tolist()} is {value[tuple(bad)]}, must be finite")

    def save(self, path: str | os.PathLike[str], dtype: Literal["float32", "float16"] = "float32") -> None:
        """Write a ``.lk`` file that `load_graph` reads; an existing file stays whole until the new one is complete.

        Parameters
        ----------
        path : path-like
            Target; its folder must exist.
        dtype : {"float32", "float16"}
            How parameters are stored. "float16" halves the file and rounds them to 11 bits; reading returns float32.

        Raises
        ------
        ValueError
            If the graph is not valid, or a parameter exceeds the range of float16.
        OSError
            If the file cannot be written.
        """
        from . import file_format

        file_format.save_graph(self, path, dtype)

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
            One float32 array [n, *api_shape], or a dict by output name where the graph has several. With `keep`, a
            pair of that and a dict from tensor name to canonical array [n, ...].

        Raises
        ------
        TypeError, ValueError
            If a name or a shape does not fit.
        """
        from . import float_ops

        return float_ops.run(self, x, keep=keep)

    def copy(self) -> Graph:
        """A deep copy, parameters included."""
        import copy

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
        if not _IS_KIND[kind](node.attrs[key]):
            raise RuleError(f"attribute {key!r} must be {kind}, got {node.attrs[key]!r}")
    for key, rank in rule.params.items():
        if key not in node.params:
            raise RuleError(f"parameter {key!r} is missing")
        value: Any = node.params[key]
        if not (isinstance(value, memoryview) or is_ndarray(value)):
            raise RuleError(f"parameter {key!r} is a {type(value).__name__}, expected a NumPy array")
        if value.ndim != rank:
            raise RuleError(f"parameter {key!r} has shape {value.shape}, expected {rank} dimensions")
    return rule.shape(node.attrs, {k: v.shape for k, v in node.params.items()}, inputs)


def check_fields(rule: OpRule, node: Node) -> None:
    """Raise `RuleError` for an attribute or a parameter that the op does not know."""
    for what, known, given in (("attribute", rule.attrs, node.attrs), ("parameter", rule.params, node.params)):
        for key in given:
            if key not in known:
                raise RuleError(f"unknown {what} {key!r}")


def load_graph(path: str | os.PathLike[str]) -> Graph:
    """Read and validate a float network that `Graph.save` wrote.

    Parameters
    ----------
    path : path-like
        A ``.lk`` file.

    Returns
    -------
    Graph
        float32 parameters, whatever the file stores.

    Raises
    ------
    FormatError
        If the file is truncated, corrupt or contradicts itself, or holds an int8 network.
    OSError
        If it cannot be read.
    """
    from . import file_format

    return file_format.load_graph(path)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_DIM


def _are_ints(value: Any, length: int | None = None) -> bool:
    if not isinstance(value, (list, tuple)) or (length is not None and len(value) != length):
        return False
    return all(map(_is_int, value))


def _is_real(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return abs(value) <= FLOAT32_MAX or abs(value) == math.inf


_IS_KIND: dict[str, Callable[[Any], bool]] = {
    "int": _is_int,
    "ints2": lambda value: _are_ints(value, 2),
    "ints4": lambda value: _are_ints(value, 4),
    "shape": _are_ints,
    "float": _is_real,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
}
"""Of each kind of attribute in `OpRule.attrs`, whether a value is of it."""


def _check_ports(what: str, ports: Sequence[Port]) -> None:
    if not ports:
        raise ValueError(f"needs at least one {what}")
    names: set[str] = set()
    for port in ports:
        where = f"{what} {port.name!r}"
        if not isinstance(port.name, str):
            raise ValueError(f"{where}: a name must be a string")
        if port.name in names:
            raise ValueError(f"{where}: another {what} has this name")
        names.add(port.name)
        if port.layout not in ("NCHW", "NHWC"):
            raise ValueError(f"{where}: layout must be 'NCHW' or 'NHWC', got {port.layout!r}")
        _check_shape(where, port.shape)


def _check_shape(where: str, shape: Shape) -> None:
    if not (isinstance(shape, tuple) and all(type(d) is int for d in shape)):
        raise ValueError(f"{where}: shape {shape!r} is not a tuple of int")
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or max(shape) > MAX_DIM:
        raise ValueError(f"{where}: shape {shape} is not (H, W, C), (L, C) or (C,) with sizes of 1 to {MAX_DIM}")
    if elements(shape) >= MAX_ELEMENTS:
        raise ValueError(f"{where}: shape {shape} has {elements(shape)} elements, {MAX_ELEMENTS} is the limit")
