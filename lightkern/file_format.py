"""Reading and writing ``.lk`` files; ``file_format.md`` beside this file is the specification.

The network is JSON, its parameters are tensors named ``<node>/<parameter>`` in row-major order; `container` makes one
file of them. Nothing that was read is used before it was checked: types here, meaning in `Model.validate`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from .container import NO_CHECKSUM, Pathlike, read_container, write_container
from .errors import FormatError, UnsupportedError
from .graph import Array, Graph, Node, Port
from .model import Model, Quant
from .opset import GRAPH_OPS, MODEL_OPS, OpRule, Shape
from .strict_json import fields_of, list_of, parse_json, refuse

__all__ = ["FORMAT_VERSION", "WEIGHT_CODECS", "WeightCodec", "load", "load_graph", "read_model", "save", "save_graph"]

FORMAT_VERSION = 1
_FORMATS = {"int8": {"I8": "b", "I32": "i", "F32": "f"}, "float": {"I32": "i", "F32": "f", "F16": "H"}}
"""Of each kind of network: the dtypes of the file, and the format of the memoryview that such a tensor is read as."""


class WeightCodec(NamedTuple):
    """How a weight format is laid out as tensors.

    Attributes
    ----------
    parts : tuple of str
        Names of the stored tensors, after ``<node>/``.
    encode : callable
        ``encode(weight)`` returns one array per part.
    decode : callable
        ``decode(*views)`` takes a memoryview per part and returns the dense int8 weight, such a view or an ndarray, or
        raises `FormatError` with the broken rule. It must not allocate more than a small multiple of what it was given.
    """

    parts: tuple[str, ...]
    encode: Callable[[Array], tuple[Array, ...]]
    decode: Callable[..., Any]


WEIGHT_CODECS: dict[str, WeightCodec] = {
    "dense": WeightCodec(("weight",), lambda weight: (weight,), lambda weight: weight),
}
"""Codec of each value of the attribute ``weight_format`` of conv2d and linear."""


# Writing -------------------------------------------------------------------------------------------------------------


def save(model: Model, path: Pathlike) -> None:
    """Write an int8 model; see `Model.save`."""
    model.validate()
    quants = {name: [float(q.scale), q.zero_point] for name, q in model.quants.items()}
    tensors = _encode_params(model.nodes, MODEL_OPS)
    _write("int8", model, tensors, path, {"quants": quants, "metadata": model.metadata})


def save_graph(graph: Graph, path: Pathlike, dtype: Literal["float32", "float16"] = "float32") -> None:
    """Write a float graph; see `Graph.save`."""
    if dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be 'float32' or 'float16', got {dtype!r}")
    import numpy as np

    graph.validate()
    tensors = _encode_params(graph.nodes, GRAPH_OPS)
    for key, value in tensors.items():
        if dtype == "float16" and value.dtype == np.float32:
            if value.size and float(np.abs(value).max()) > float(np.finfo(np.float16).max):
                raise ValueError(f"{key}: the value {float(np.abs(value).max())} does not fit into float16")
            tensors[key] = value.astype(np.float16)
    _write("float", graph, tensors, path, {})


def _encode_params(nodes: Iterable[Node], ops: Mapping[str, OpRule]) -> dict[str, Array]:
    import numpy as np

    tensors = {}
    for node in nodes:
        for key in ops[node.op].params:
            codec = _codec(node, key, ops)
            arrays = codec.encode(node.params[key]) if codec else (node.params[key],)
            for part, array in zip(codec.parts if codec else (key,), arrays, strict=True):
                tensors[f"{node.name}/{part}"] = np.ascontiguousarray(array)
    return tensors


def _attrs_to_json(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: a clip without a limit says "inf" or "-inf"."""
    return {key: str(value) if value in (math.inf, -math.inf) else value for key, value in attrs.items()}


def _attrs_from_json(attrs: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    return {
        key: float(value) if kinds.get(key) == "float" and value in ("inf", "-inf") else value
        for key, value in attrs.items()
    }


def _codec(node: Node, key: str, ops: Mapping[str, OpRule]) -> WeightCodec | None:
    """The codec of a parameter, None where it is stored as it is."""
    if key != "weight" or ops is not MODEL_OPS:
        return None
    return WEIGHT_CODECS[node.attrs.get("weight_format", "dense")]


def _write(
    kind: str, network: Model | Graph, tensors: Mapping[str, Array], path: Pathlike, extra: dict[str, Any]
) -> None:
    def ports(ports: list[Port]) -> list[dict[str, Any]]:
        return [{"name": p.name, "tensor": p.tensor, "shape": p.shape, "layout": p.layout} for p in ports]

    document = {
        "crc32": NO_CHECKSUM,
        "format_version": FORMAT_VERSION,
        "kind": kind,
        "name": network.name,
        "inputs": ports(network.inputs),
        "outputs": ports(network.outputs),
        "nodes": [
            {"op": n.op, "name": n.name, "inputs": n.inputs, "output": n.output, "attrs": _attrs_to_json(n.attrs)}
            for n in network.nodes
        ],
        **extra,
    }
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        text.encode()
        parse_json(text)  # what the reader refuses, such as keys that become equal as strings, is not written
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"model {network.name!r} cannot be written as JSON: {error}") from None
    write_container(path, text, tensors)


# Reading -------------------------------------------------------------------------------------------------------------


def load(path: Pathlike) -> Model:
    """Read and validate an int8 model; see `lightkern.load`."""
    import numpy as np

    model, _ = read_model(path)
    for node in model.nodes:
        node.params = {key: np.asarray(view) for key, view in node.params.items()}
    return model


def read_model(path: Pathlike) -> tuple[Model, dict[str, Shape]]:
    """What `load` returns, with memoryviews instead of arrays, so without NumPy; and the shape of every tensor."""
    with _errors_name(path):
        document, tensors = _read(path, "int8")
        fields = _network_fields(document, {"quants": dict, "metadata": dict}, tensors, MODEL_OPS)
        quants = {name: _quant(name, value) for name, value in document["quants"].items()}
        model = Model(**fields, quants=quants, metadata=document["metadata"])
        return model, model.validate()


def load_graph(path: Pathlike) -> Graph:
    """Read and validate a float graph; see `lightkern.load_graph`."""
    import numpy as np

    with _errors_name(path):
        document, tensors = _read(path, "float")
        for key, view in tensors.items():
            array = np.asarray(view)
            tensors[key] = array.view(np.float16).astype(np.float32) if view.format == "H" else array
        graph = Graph(**_network_fields(document, {}, tensors, GRAPH_OPS))
        graph.validate()
    return graph


@contextlib.contextmanager
def _errors_name(path: Pathlike) -> Any:
    """Any fault of the content becomes a `FormatError` that starts with the path."""
    try:
        yield
    except (ValueError, UnsupportedError) as error:
        message = str(error)
        if len(message) > 600:
            message = f"{message[:450]} ... {message[-100:]}"
        raise FormatError(f"{os.fspath(path)}: {message}") from None


def _read(path: Pathlike, kind: Literal["int8", "float"]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network's JSON object, of this kind and version, and all tensors, as memoryviews."""
    container = read_container(path)
    document = parse_json(container.text)
    if not isinstance(document, dict):
        refuse("network", "must be a JSON object", document)
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        refuse("format_version", "must be a positive integer", version)
    if version > FORMAT_VERSION:
        refuse("format_version", f"must be at most {FORMAT_VERSION}, a newer lightkern wrote this file", version)
    if document.get("kind") != kind:
        reader = {"int8": "lightkern.load", "float": "lightkern.load_graph"}
        wanted = reader.get(document["kind"]) if isinstance(document.get("kind"), str) else None
        hint = f" (read this file with {wanted})" if wanted else ""
        refuse("kind", f"must be {kind!r}{hint}", document.get("kind"))
    return document, container.tensors(_FORMATS[kind])


def _network_fields(
    document: dict[str, Any], extra: Mapping[str, type], tensors: dict[str, Any], ops: Mapping[str, OpRule]
) -> dict[str, Any]:
    """The fields that `Model` and `Graph` have in common; takes the parameters out of `tensors`, to the last one."""
    common = {"name": str, "inputs": list, "outputs": list, "nodes": list}
    fields = {**common, "crc32": str, "format_version": int, "kind": str, **extra}
    name, inputs, outputs, nodes, *_ = fields_of("network", document, fields)
    result = {
        "name": name,
        "inputs": [_port(f"inputs[{i}]", value) for i, value in enumerate(inputs)],
        "outputs": [_port(f"outputs[{i}]", value) for i, value in enumerate(outputs)],
        "nodes": [_node(f"nodes[{i}]", value, tensors, ops) for i, value in enumerate(nodes)],
    }
    if tensors:
        refuse("tensors", "every tensor must belong to a node", min(tensors))
    return result


def _port(where: str, value: Any) -> Port:
    name, tensor, shape, layout = fields_of(where, value, {"name": str, "tensor": str, "shape": list, "layout": str})
    return Port(name, tensor, tuple(list_of(f"{where}, shape", shape, int)), layout)


def _quant(name: str, value: Any) -> Quant:
    where = f"quants[{name!r}]"
    if not (isinstance(value, list) and len(value) == 2 and type(value[0]) in (int, float) and type(value[1]) is int):
        refuse(where, "must be [scale, zero point]", value)
    return Quant(float(value[0]), value[1])


def _node(where: str, value: Any, tensors: dict[str, Any], ops: Mapping[str, OpRule]) -> Node:
    fields = {"op": str, "name": str, "inputs": list, "output": str, "attrs": dict}
    op, name, inputs, output, attrs = fields_of(where, value, fields)
    where = f"{where} {name!r}"
    if op not in ops:
        refuse(where, "unknown op", op)
    attrs = _attrs_from_json(attrs, ops[op].attrs)
    node = Node(op, name, list_of(f"{where}, inputs", inputs, str), output, attrs)
    weight_format = attrs.get("weight_format", "dense")
    if not isinstance(weight_format, str) or weight_format not in WEIGHT_CODECS:
        refuse(where, f"weight_format must be one of {', '.join(WEIGHT_CODECS)}", weight_format)
    for key in ops[op].params:
        codec = _codec(node, key, ops)
        views = []
        for part in codec.parts if codec else (key,):
            if f"{name}/{part}" not in tensors:
                refuse(where, "the file lacks the tensor", f"{name}/{part}")
            views.append(tensors.pop(f"{name}/{part}"))
        node.params[key] = codec.decode(*views) if codec else views[0]
    return node
