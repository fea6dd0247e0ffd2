"""Read and check an ONNX file: what comes out is well formed, sorted, and free of nodes that no output needs."""

from __future__ import annotations

import heapq
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ...errors import FormatError, UnsupportedError

MIN_OPSET, MAX_OPSET = 6, 28
MAX_FILE_BYTES = 1 << 31


@dataclass
class SourceNode:
    """One node of the ONNX graph; an absent optional input or output has the name ""."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"node {self.name!r} ({self.op})"


@dataclass
class SourceInput:
    """A graph input: element type and dimensions, where None is unknown. `dims` includes the batch."""

    name: str
    elem_type: int
    dims: list[int | None] | None


@dataclass
class Source:
    """A checked ONNX graph. `nodes` are sorted and all needed; `initializers` are not decoded yet."""

    name: str
    opset: int
    inputs: list[SourceInput]
    outputs: list[str]
    nodes: list[SourceNode]
    initializers: dict[str, Any]
    folder: Path | None


def read(source: str | os.PathLike[str] | bytes | Any) -> Source:
    """Parse and check; see `lightkern.load_onnx` for the errors."""
    model, folder, label = _parse(source)
    if not model.HasField("graph"):
        raise FormatError(f"{label}: no graph, this is not an ONNX model")
    if len(model.functions):
        raise UnsupportedError(
            f"{label}: the model defines functions ({model.functions[0].name!r}, ...); inline them first with "
            "onnx.inliner.inline_local_functions"
        )
    graph = model.graph
    if len(graph.sparse_initializer):
        raise UnsupportedError(f"{label}: sparse initializers are not supported")
    initializers: dict[str, Any] = {}
    for tensor in graph.initializer:
        name = text(tensor.name)
        if not name or name in initializers:
            raise FormatError(f"{label}: initializer {name!r} is nameless or defined twice")
        initializers[name] = tensor
    inputs = [_input(i) for i in graph.input if text(i.name) not in initializers]
    outputs = [text(o.name) for o in graph.output]
    if not outputs or len(set(outputs)) != len(outputs):
        raise FormatError(f"{label}: outputs {outputs} must be at least one, each once")
    nodes = [_node(n, i) for i, n in enumerate(graph.node)]
    order = _sort(nodes, [i.name for i in inputs], list(initializers), outputs)
    foreign = next((node for node in order if "." in node.op), None)
    if foreign is not None:
        raise UnsupportedError(f"{foreign}: operators outside of the standard ONNX domain are not supported")
    opset = _opset(model, label) if order else MAX_OPSET
    for node in order:
        _check_against_schema(node, opset)
    return Source(text(graph.name) or "onnx", opset, inputs, outputs, order, initializers, folder)


def _parse(source: Any) -> tuple[Any, Path | None, str]:
    if isinstance(source, onnx.ModelProto):
        return source, None, "ONNX model"
    folder, label = None, "ONNX bytes"
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.fsdecode(source))
        folder, label = path.parent, f"{path}"
        if path.stat().st_size > MAX_FILE_BYTES:
            raise FormatError(f"{label}: {path.stat().st_size} bytes, {MAX_FILE_BYTES} is the limit")
        source = path.read_bytes()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise TypeError(f"load_onnx takes a path, bytes or an onnx.ModelProto, got {type(source).__name__}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(bytes(source))
    except (DecodeError, ValueError, RuntimeError) as error:
        raise FormatError(f"{label}: not an ONNX model, or truncated or corrupt ({error})") from None
    return model, folder, label


def _opset(model: Any, label: str) -> int:
    versions = {o.version for o in model.opset_import if o.domain in ("", "ai.onnx")}
    if len(versions) != 1:
        raise FormatError(f"{label}: imports {sorted(versions)} versions of the ONNX operators, must be exactly one")
    version = int(versions.pop())
    newest = min(MAX_OPSET, onnx.defs.onnx_opset_version())
    if not MIN_OPSET <= version <= newest:
        raise UnsupportedError(f"{label}: opset {version}; {MIN_OPSET} to {newest} are supported here")
    return version


def _input(info: Any) -> SourceInput:
    if not text(info.name):
        raise FormatError("a graph input has no name")
    if info.type.WhichOneof("value") != "tensor_type":
        raise UnsupportedError(f"input {info.name!r}: only tensors are supported")
    kind = info.type.tensor_type
    dims = None
    if kind.HasField("shape"):
        dims = [int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim]
    return SourceInput(info.name, int(kind.elem_type), dims)


def _node(node: Any, index: int) -> SourceNode:
    inputs, outputs = ([text(name) for name in names] for names in (node.input, node.output))
    name = text(node.name) or next((o for o in outputs if o), f"#{index}")
    domain = "" if node.domain in ("", "ai.onnx") else f"{text(node.domain)}."
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if text(attribute.name) in attributes:
            raise FormatError(f"node {name!r} ({node.op_type}): attribute {attribute.name!r} appears twice")
        attributes[attribute.name] = attribute
    return SourceNode(domain + text(node.op_type), name, inputs, outputs, attributes)


def text(value: str | bytes) -> str:
    """A string field; the decoder hands out bytes where they are not UTF-8."""
    if isinstance(value, bytes):
        raise FormatError(f"the name {value!r} is not UTF-8")
    return value


def _sort(nodes: list[SourceNode], inputs: list[str], initializers: list[str], outputs: list[str]) -> list[SourceNode]:
    """The needed nodes in topological order, as near to the file's order as possible."""
    producer: dict[str, int] = {}
    defined = set(initializers)
    for name in inputs:
        if name in defined:
            raise FormatError(f"input {name!r} is defined twice")
        defined.add(name)
    for index, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in defined or name in producer:
                raise FormatError(f"{node}: output {name!r} is defined twice")
            producer[name] = index
    for name in outputs:
        if name not in defined and name not in producer:
            raise FormatError(f"output {name!r} is not defined by any node")

    needed: set[int] = set()
    pending = [producer[name] for name in outputs if name in producer]
    readers: dict[int, list[int]] = {}
    waiting: dict[int, int] = {}
    while pending:
        index = pending.pop()
        if index in needed:
            continue
        needed.add(index)
        sources = set()
        for name in filter(None, nodes[index].inputs):
            if name in producer:
                sources.add(producer[name])
            elif name not in defined:
                raise FormatError(f"{nodes[index]}: input {name!r} is not defined anywhere")
        waiting[index] = len(sources)
        for s in sources:
            readers.setdefault(s, []).append(index)
        pending.extend(sources)

    ready = [index for index, count in waiting.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers.get(index, []):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(needed):
        stuck = min(index for index, count in waiting.items() if count)
        raise FormatError(f"{nodes[stuck]}: the graph has a cycle through this node")
    return order


def _check_against_schema(node: SourceNode, opset: int) -> None:
    """The operator exists, and has legal numbers of inputs and outputs and attributes of the right type."""
    try:
        schema = onnx.defs.get_schema(node.op, opset, "")
    except onnx.defs.SchemaError:
        raise UnsupportedError(f"{node}: opset {opset} has no such operator") from None
    for what, names, least, most in (
        ("inputs", node.inputs, schema.min_input, schema.max_input),
        ("outputs", node.outputs, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            raise FormatError(f"{node}: takes {least} to {most} {what}, has {len(names)}")
    for name, attribute in node.attributes.items():
        if name not in schema.attributes:
            raise FormatError(f"{node}: unknown attribute {name!r} in opset {opset}")
        if attribute.ref_attr_name:
            raise FormatError(f"{node}: attribute {name!r} refers to a function's parameter outside of a function")
        wanted = int(schema.attributes[name].type.value)  # type: ignore[attr-defined]
        if int(attribute.type) != wanted:
            raise FormatError(f"{node}: attribute {name!r} has type {attribute.type}, the operator says {wanted}")
