"""Writes any ``.lk`` file, right or wrong, with a correct checksum, so that the rules behind the checksum are reached.

Made from the specification in ``lightkern/file_format.md``, not with the writer under test.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Net

import lightkern as lk
from lightkern.model import Model

DTYPES = {"int8": "I8", "int32": "I32", "float32": "F32", "float16": "F16", "uint8": "U8", "float64": "F64"}
BEGIN = '{"__metadata__":{"lightkern":"{\\"crc32\\":\\"'

Document = dict[str, Any]
Tensors = dict[str, np.ndarray]


def container(text: str, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any] | None = None) -> bytes:
    """A safetensors file whose metadata is `text`; entries of `header` replace or extend those of the tensors."""
    entries: dict[str, Any] = {}
    offset = 0
    for name, array in tensors.items():
        entries[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    entries |= header or {}
    fields = [f'"__metadata__":{{"lightkern":{json.dumps(text)}}}']
    fields += [f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries.items()]
    encoded = f"{{{','.join(fields)}}}".encode()
    encoded += b" " * (-len(encoded) % 8)
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in tensors.values())
    return reseal(struct.pack("<Q", len(encoded)) + encoded + data)


def reseal(content: bytes) -> bytes:
    """Put the checksum right, where the file begins as a file must."""
    start = 8 + len(BEGIN)
    if content[8:start] != BEGIN.encode():
        return content
    return content[:start] + b"%08x" % zlib.crc32(content[start + 8 :]) + content[start + 8 :]


def forge(document: Document, tensors: Tensors, header: Mapping[str, Any] | None = None) -> bytes:
    return container(json.dumps({"crc32": "0" * 8, **document}, separators=(",", ":")), tensors, header)


def parse(content: bytes) -> tuple[Document, Tensors]:
    """The document without checksum and the tensors of a valid file, sorted by position."""
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    document = json.loads(header.pop("__metadata__")["lightkern"])
    del document["crc32"]
    names = {short: name for name, short in DTYPES.items()}
    tensors = {}
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        raw = content[8 + length + begin : 8 + length + end]
        tensors[name] = np.frombuffer(raw, names[entry["dtype"]]).reshape(entry["shape"])
    return document, tensors


def small_model() -> Model:
    net = Net(np.random.default_rng(0))
    x = net.input((5, 4, 3), "NCHW")
    y = net.conv2d(x, 4, (3, 3), padding=(1, 1, 1, 1))
    y = net.binary("add", y, net.table(net.conv2d(x, 4)))
    y = net.resize(net.move("concat", [y, y], {"axis": 2}), (3, 3))
    y = net.move("pad", [net.prelu(y)], {"padding": [0, 1, 0, 0], "value": 0.5})
    y = net.move("reshape", [net.max_pool(net.avg_pool(y, (2, 2)), (2, 2))], {"shape": [16], "order": "CHW"})
    return net.model(net.softmax(net.linear(y, 3)))


def load_bytes(folder: Path, content: bytes, reader: Callable[[Path], Any] = lk.load) -> Any:
    path = folder / "attack.lk"
    path.write_bytes(content)
    return reader(path)


def refuse(folder: Path, content: bytes, match: str = ": ", reader: Callable[[Path], Any] = lk.load) -> str:
    """The file must be refused with a message that names the file, in a line that fits a terminal."""
    with pytest.raises(lk.FormatError, match=match) as caught:
        load_bytes(folder, content, reader)
    message = str(caught.value)
    assert message.startswith(str(folder / "attack.lk") + ": ")
    assert len(message) < 800 + len(str(folder))
    assert caught.value.__cause__ is None
    return message
