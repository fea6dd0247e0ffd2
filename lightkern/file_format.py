"""Reading and writing ``.lk`` files; ``file_format.md`` beside this file is the specification.

A ``.lk`` file is a safetensors file: tensors named ``<node>/<parameter>`` in row-major order, and the network as JSON
in one metadata key. Nothing that was read is used before it was checked: types here, meaning in `Model.validate`.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import reprlib
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from .errors import FormatError, UnsupportedError
from .graph import Array, Graph, Node, Port
from .model import Model, Quant
from .opset import GRAPH_OPS, MODEL_OPS, OpRule, Shape
from .strict_json import parse_json

if TYPE_CHECKING:
    from io import FileIO

__all__ = ["FORMAT_VERSION", "WEIGHT_CODECS", "WeightCodec", "load", "load_graph", "read_model", "save", "save_graph"]

FORMAT_VERSION = 1
METADATA_KEY = "lightkern"
_BEGIN = b'{"__metadata__":{"lightkern":"{\\"crc32\\":\\"'
"""How every header begins; the eight digits of the checksum of all that follows them come next."""


Pathlike = str | os.PathLike[str]
_FORMATS = {"int8": {"I8": "b", "I32": "i", "F32": "f"}, "float": {"I32": "i", "F32": "f", "F16": "H"}}
"""Of each kind of network: the dtypes of the file, and the format of the memoryview that such a tensor is read as."""
_ENTRY = {"dtype": str, "shape": list, "data_offsets": list}
_MAX_SIZE = 2**48
"""No tensor of any file is larger than this, so that no size overflows."""
_HUGE_PAGE = 2**21


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
    from safetensors.numpy import save as serialize

    from .atomic_file import replace_file

    def ports(ports: list[Port]) -> list[dict[str, Any]]:
        return [{"name": p.name, "tensor": p.tensor, "shape": p.shape, "layout": p.layout} for p in ports]

    document = {
        "crc32": "0" * 8,
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
    content = bytearray(serialize(dict(tensors), metadata={METADATA_KEY: text}))
    digits = slice(8 + len(_BEGIN), 16 + len(_BEGIN))
    if content[8 : digits.start] != _BEGIN or content[digits] != b"0" * 8:
        raise RuntimeError(f"safetensors wrote a header that begins with {bytes(content[8:80])!r}, expected {_BEGIN!r}")
    content[digits] = b"%08x" % zlib.crc32(memoryview(content)[digits.stop :])
    replace_file(path, content)


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


def _fail(where: str, rule: str, value: Any) -> NoReturn:
    raise FormatError(f"{where}: {rule}, got {reprlib.repr(value)}")


def _read(path: Pathlike, kind: Literal["int8", "float"]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the container; return the network's JSON object and all tensors, as memoryviews."""
    if stat.S_IFMT(os.stat(os.fspath(path)).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):  # open() refuses folders
        raise FormatError("must be a regular file")
    with open(path, "rb", buffering=0) as file:
        content = _read_all(file)
    header, start = _container(content)
    metadata = header.pop("__metadata__", None)
    if not (isinstance(metadata, dict) and list(metadata) == [METADATA_KEY]):
        _fail("metadata", f"must hold the key {METADATA_KEY!r} alone, this is no lightkern file", metadata)
    if not isinstance(metadata[METADATA_KEY], str):
        _fail(f"metadata {METADATA_KEY!r}", "must be a string", metadata[METADATA_KEY])
    document = parse_json(metadata[METADATA_KEY])
    if not isinstance(document, dict):
        _fail("network", "must be a JSON object", document)
    version = document.get("format_version")
    if type(version) is not int or version < 1:
        _fail("format_version", "must be a positive integer", version)
    if version > FORMAT_VERSION:
        _fail("format_version", f"must be at most {FORMAT_VERSION}, a newer lightkern wrote this file", version)
    if document.get("kind") != kind:
        reader = {"int8": "lightkern.load", "float": "lightkern.load_graph"}
        wanted = reader.get(document["kind"]) if isinstance(document.get("kind"), str) else None
        hint = f" (read this file with {wanted})" if wanted else ""
        _fail("kind", f"must be {kind!r}{hint}", document.get("kind"))
    return document, _tensors(content, start, header, _FORMATS[kind])


def _read_all(file: FileIO) -> memoryview:
    """The content, in pages of its own: they go back to the system with the last view of them.

    The file is not mapped: whoever changed it later, in place, would change a model that was checked before.
    """
    size = os.fstat(file.fileno()).st_size
    rest = -size % _HUGE_PAGE
    huge = hasattr(mmap, "MADV_HUGEPAGE") and rest <= size // 4  # faulting in 512 small ones takes five times as long
    pages = mmap.mmap(-1, max(size + huge * rest, 1), access=mmap.ACCESS_COPY)
    if huge:
        with contextlib.suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    content = memoryview(pages)
    filled = 0
    while filled < size and (count := file.readinto(content[filled:size])):
        filled += count
    return content[:filled]


def _container(content: memoryview) -> tuple[dict[str, Any], int]:
    """A safetensors file: 8 bytes of length, then JSON, which is returned, then all tensors: where, is returned too."""
    if len(content) < 8:
        _fail("header", "a file has at least 8 bytes", len(content))
    (length,) = struct.unpack_from("<Q", content)
    if length > len(content) - 8:
        _fail("header", f"its {length} bytes do not fit into the file: truncated, or no safetensors file", len(content))
    digits = slice(8 + len(_BEGIN), 16 + len(_BEGIN))
    if content[8 : digits.start] != _BEGIN:
        beginning = bytes(content[8 : digits.start])
        _fail("header", f"must begin with {_BEGIN.decode()}: this is no lightkern file", beginning)
    checksum = b"%08x" % zlib.crc32(content[digits.stop :])
    if content[digits] != checksum:
        _fail("crc32", f"must be {checksum.decode()}: the file is truncated or corrupt", bytes(content[digits]))
    try:
        text = str(content[8 : 8 + length], "utf-8")
    except UnicodeDecodeError as error:
        _fail(f"header byte {8 + error.start}", "must be UTF-8", bytes(content[8 + error.start : 12 + error.start]))
    header = parse_json(text)
    if not isinstance(header, dict):
        _fail("header", "must be a JSON object", header)
    return header, 8 + length


def _tensors(
    content: memoryview, start: int, header: Mapping[str, Any], formats: Mapping[str, str]
) -> dict[str, memoryview]:
    """All tensors, as views of the file's bytes, which they cover from `start` on, without overlap or gap."""
    tensors = {}
    at, total = 0, len(content) - start
    for name, dtype, shape, begin, end in sorted(_entries(header, formats), key=lambda entry: entry[3:]):
        where = f"tensor {name!r} of the safetensors file"
        item = int(dtype[1:]) // 8
        if begin != at:
            _fail(where, f"must begin at offset {at}, where the one before it ends", begin)
        if end - begin != item * math.prod(shape):
            _fail(where, f"data_offsets must enclose the bytes of {dtype} {shape}", [begin, end])
        if end > total:
            _fail(where, f"must end within the {total} bytes of all tensors", end)
        raw = content[start + begin : start + end]
        aligned = raw if (start + begin) % item == 0 else memoryview(bytearray(raw))
        tensors[name] = aligned.cast(formats[dtype], shape)  # type: ignore[call-overload]
        at = end
    if at != total:
        _fail("safetensors", "the last tensor must end where the file does", f"{total - at} more bytes")
    return tensors


def _entries(header: Mapping[str, Any], formats: Mapping[str, str]) -> Iterator[tuple[str, str, list[int], int, int]]:
    """Name, dtype, shape, begin and end of every tensor; only their types and ranges are checked."""
    for name, entry in header.items():
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in formats:
            _fail(f"tensor {name!r}", f"dtype must be one of {', '.join(formats)}", dtype)
        where = f"tensor {name!r} of the safetensors file"
        _, shape, offsets = _object(where, entry, _ENTRY)
        for what, least, values in (("sizes", 1, shape), ("data_offsets", 0, offsets)):
            for value in values:
                if type(value) is not int or not least <= value <= _MAX_SIZE:
                    _fail(where, f"{what} must be within {least}..{_MAX_SIZE}", value)
        if len(offsets) != 2:
            _fail(where, "data_offsets must be [begin, end]", offsets)
        yield name, dtype, shape, *offsets


def _object(where: str, value: Any, fields: Mapping[str, type]) -> list[Any]:
    """The values of an object that has exactly these fields, of exactly these types, in this order."""
    if not isinstance(value, dict):
        _fail(where, "must be an object", value)
    if value.keys() != fields.keys():
        if missing := [key for key in fields if key not in value]:
            _fail(where, f"field {missing[0]!r} is missing", sorted(value))
        _fail(where, "unknown field", next(key for key in value if key not in fields))
    values = [value[key] for key in fields]
    for key, wanted, found in zip(fields, fields.values(), values, strict=True):
        if type(found) is not wanted:
            _fail(f"{where}, field {key!r}", f"must be {wanted.__name__}", found)
    return values


def _list_of(where: str, values: list[Any], wanted: type) -> list[Any]:
    for value in values:
        if type(value) is not wanted:
            _fail(where, f"must hold {wanted.__name__} only", value)
    return values


def _network_fields(
    document: dict[str, Any], extra: Mapping[str, type], tensors: dict[str, Any], ops: Mapping[str, OpRule]
) -> dict[str, Any]:
    """The fields that `Model` and `Graph` have in common; takes the parameters out of `tensors`, to the last one."""
    common = {"name": str, "inputs": list, "outputs": list, "nodes": list}
    fields = {**common, "crc32": str, "format_version": int, "kind": str, **extra}
    name, inputs, outputs, nodes, *_ = _object("network", document, fields)
    result = {
        "name": name,
        "inputs": [_port(f"inputs[{i}]", value) for i, value in enumerate(inputs)],
        "outputs": [_port(f"outputs[{i}]", value) for i, value in enumerate(outputs)],
        "nodes": [_node(f"nodes[{i}]", value, tensors, ops) for i, value in enumerate(nodes)],
    }
    if tensors:
        _fail("tensors", "every tensor must belong to a node", min(tensors))
    return result


def _port(where: str, value: Any) -> Port:
    name, tensor, shape, layout = _object(where, value, {"name": str, "tensor": str, "shape": list, "layout": str})
    return Port(name, tensor, tuple(_list_of(f"{where}, shape", shape, int)), layout)


def _quant(name: str, value: Any) -> Quant:
    where = f"quants[{name!r}]"
    if not (isinstance(value, list) and len(value) == 2 and type(value[0]) in (int, float) and type(value[1]) is int):
        _fail(where, "must be [scale, zero point]", value)
    return Quant(float(value[0]), value[1])


def _node(where: str, value: Any, tensors: dict[str, Any], ops: Mapping[str, OpRule]) -> Node:
    fields = {"op": str, "name": str, "inputs": list, "output": str, "attrs": dict}
    op, name, inputs, output, attrs = _object(where, value, fields)
    where = f"{where} {name!r}"
    if op not in ops:
        _fail(where, "unknown op", op)
    attrs = _attrs_from_json(attrs, ops[op].attrs)
    node = Node(op, name, _list_of(f"{where}, inputs", inputs, str), output, attrs)
    weight_format = attrs.get("weight_format", "dense")
    if not isinstance(weight_format, str) or weight_format not in WEIGHT_CODECS:
        _fail(where, f"weight_format must be one of {', '.join(WEIGHT_CODECS)}", weight_format)
    for key in ops[op].params:
        codec = _codec(node, key, ops)
        views = []
        for part in codec.parts if codec else (key,):
            if f"{name}/{part}" not in tensors:
                _fail(where, "the file lacks the tensor", f"{name}/{part}")
            views.append(tensors.pop(f"{name}/{part}"))
        node.params[key] = codec.decode(*views) if codec else views[0]
    return node
