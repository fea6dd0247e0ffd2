"""Each rule of the ``.lk`` container and of its document, broken once: the error names file, place, rule and value."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from float_nets import float_graph
from forge import Document, Tensors, container, forge, load_bytes, parse, refuse, reseal, small_model

import lightkern as lk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def valid(folder: Path) -> bytes:
    small_model().save(folder / "valid.lk")
    return (folder / "valid.lk").read_bytes()


def edited(valid: bytes, edit: Callable[[Document, Tensors], Any]) -> bytes:
    document, tensors = parse(valid)
    edit(document, tensors)
    return forge(document, tensors)


def _set(*path: Any) -> Callable[[Document, Tensors], None]:
    """An edit: the last argument is the value, those before it the place in the document."""
    *parents, key, value = path

    def edit(document: Document, tensors: Tensors) -> None:
        place: Any = document
        for step in parents:
            place = place[step]
        place[key] = value

    return edit


def _delete(*path: Any) -> Callable[[Document, Tensors], None]:
    def edit(document: Document, tensors: Tensors) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        del place[path[-1]]

    return edit


def _tensor(name: str, value: np.ndarray | None) -> Callable[[Document, Tensors], None]:
    def edit(document: Document, tensors: Tensors) -> None:
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return edit


DOCUMENT_RULES: list[tuple[Callable[[Document, Tensors], Any], str]] = [
    (_set("format_version", 2), "format_version: must be at most 1, a newer lightkern wrote this file, got 2"),
    (_set("format_version", 0), "format_version: must be a positive integer, got 0"),
    (_set("format_version", True), "format_version: must be a positive integer, got True"),
    (_set("format_version", 1.0), "format_version: must be a positive integer, got 1.0"),
    (_delete("format_version"), "format_version: must be a positive integer, got None"),
    (_set("kind", "int4"), "kind: must be 'int8', got 'int4'"),
    (_set("kind", ["int8"]), r"kind: must be 'int8', got \['int8'\]"),
    (_set("kind", "float"), r"kind: must be 'int8' \(read this file with lightkern.load_graph\), got 'float'"),
    (_set("sparsity", {}), "network: unknown field, got 'sparsity'"),
    (_delete("nodes"), "network: field 'nodes' is missing"),
    (_set("name", 3), "network, field 'name': must be str, got 3"),
    (_set("metadata", []), r"network, field 'metadata': must be dict, got \[\]"),
    (_set("inputs", []), "at least one input"),
    (_set("outputs", []), "at least one output"),
    (_set("inputs", 0, "dtype", "int8"), r"inputs\[0\]: unknown field, got 'dtype'"),
    (_delete("inputs", 0, "layout"), r"inputs\[0\]: field 'layout' is missing"),
    (_set("inputs", 0, "layout", "CHW"), "input 'input0': layout must be 'NCHW' or 'NHWC', got 'CHW'"),
    (_set("inputs", 0, "shape", "543"), r"inputs\[0\], field 'shape': must be list, got '543'"),
    (_set("inputs", 0, "shape", [5, 4, 3.0]), r"inputs\[0\], shape: must hold int only, got 3.0"),
    (_set("inputs", 0, "shape", [5, 4, True]), r"inputs\[0\], shape: must hold int only, got True"),
    (_set("inputs", 0, "shape", [5, 4, 0]), r"input 'input0': shape \(5, 4, 0\)"),
    (_set("inputs", 0, "shape", []), r"input 'input0': shape \(\)"),
    (_set("inputs", 0, "shape", [2**24, 2**24, 3]), "limit"),
    (_set("inputs", 0, "shape", [5, 4, 10**19]), r"input 'input0': shape \(5, 4, 10000000000000000000\)"),
    (_set("outputs", 0, "shape", [4]), r"output 'output0': declared shape \(4,\), tensor '\w+' has \(3,\)"),
    (_set("outputs", 0, "tensor", "nowhere"), "output 'output0': .*'nowhere' has no definition"),
    (_set("nodes", 0, 7), r"nodes\[0\]: must be an object, got 7"),
    (_set("nodes", 0, "op", "conv3d"), r"nodes\[0\] 'conv2d0': unknown op, got 'conv3d'"),
    (_set("nodes", 0, "op", "relu"), r"nodes\[0\] 'conv2d0': unknown op, got 'relu'"),
    (_set("nodes", 0, "name", "other"), r"nodes\[0\] 'other': the file lacks the tensor, got 'other/weight'"),
    (_set("nodes", 0, "fused", 1), r"nodes\[0\]: unknown field, got 'fused'"),
    (_set("nodes", 0, "inputs", [1]), r"nodes\[0\] 'conv2d0', inputs: must hold str only, got 1"),
    (_set("nodes", 0, "inputs", ["t3"]), r"node 'conv2d0' \(conv2d\): input 't3' is not the output of an earlier node"),
    (_set("nodes", 0, "inputs", []), r"node 'conv2d0' \(conv2d\): takes 1..1 inputs, got 0"),
    (_set("nodes", 1, "output", "t0"), r"node 'conv2d1' \(conv2d\): tensor 't0' is defined twice"),
    (_set("nodes", 0, "attrs", "rate", 1), "unknown attribute 'rate'"),
    (_delete("nodes", 0, "attrs", "clamp"), "attribute 'clamp' is missing"),
    (_set("nodes", 0, "attrs", "weight_format", "sparse"), "weight_format must be one of dense, got 'sparse'"),
    (_set("nodes", 0, "attrs", "weight_format", ["dense"]), r"weight_format must be one of dense, got \['dense'\]"),
    (_set("quants", "t0", [0.1]), r"quants\['t0'\]: must be \[scale, zero point\], got \[0.1\]"),
    (_set("quants", "t0", [0.1, 0.0]), r"quants\['t0'\]: must be \[scale, zero point\], got \[0.1, 0.0\]"),
    (_set("quants", "t0", ["0.1", 0]), r"quants\['t0'\]: must be \[scale, zero point\]"),
    (_set("quants", "t0", [True, 0]), r"quants\['t0'\]: must be \[scale, zero point\]"),
    (_set("quants", "t0", [0.1, 0]), "tensor 't0': scale 0.1 is not a positive, finite, normal float32"),
    (_set("quants", "t0", [10**19, 0]), "tensor 't0': scale 1e.19 is not"),
    (_set("quants", "t0", [0.5, 128]), r"tensor 't0': zero point 128 is not an int in \[-128, 127\]"),
    (_set("quants", "ghost", [0.5, 0]), "there is no tensor 'ghost'"),
    (_delete("quants", "t0"), "tensor 't0': has no quantization"),
    (_tensor("conv2d0/bias", None), r"nodes\[0\] 'conv2d0': the file lacks the tensor, got 'conv2d0/bias'"),
    (_tensor("conv2d0/mask", np.zeros(4, np.int8)), "tensors: every tensor must belong to a node, got 'conv2d0/mask'"),
    (_tensor("stray", np.zeros(4, np.int8)), "tensors: every tensor must belong to a node, got 'stray'"),
    (_tensor("conv2d0/bias", np.zeros(4, np.float32)), "bias has dtype float32, expected int32"),
    (_tensor("conv2d0/bias", np.zeros(4, np.float16)), "dtype must be one of I8, I32, F32, got 'F16'"),
    (_tensor("conv2d0/bias", np.array(4, np.int32)), r"'bias' has shape \(\), expected 1 dimensions"),
    (_tensor("conv2d0/bias", np.zeros(4, np.float64)), "tensor 'conv2d0/bias': dtype must be one of .*, got 'F64'"),
    (_tensor("conv2d0/bias", np.zeros((2, 2), np.int32)), r"'bias' has shape \(2, 2\), expected 1 dimensions"),
    (_tensor("conv2d0/bias", np.zeros(0, np.int32)), r"'conv2d0/bias'.*: sizes must be within 1..\d+, got 0"),
    (_tensor("conv2d0/bias", np.zeros((2**40, 0), np.int32)), r"'conv2d0/bias'.*: sizes must be within 1..\d+, got 0"),
]


@pytest.mark.parametrize(("edit", "match"), DOCUMENT_RULES, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_each_rule_of_the_document(
    folder: Path, valid: bytes, edit: Callable[[Document, Tensors], Any], match: str
) -> None:
    refuse(folder, edited(valid, edit), match)


@pytest.mark.parametrize(
    ("entry", "match"),
    [
        ({"dtype": "I8", "shape": [3], "data_offsets": [0, 3]}, "safetensors"),  # overlaps
        ({"dtype": "I8", "shape": [-3], "data_offsets": [0, 3]}, "safetensors"),
        ({"dtype": "I8", "shape": [2**40, 2**40], "data_offsets": [0, 0]}, "safetensors"),
        ({"dtype": "I8", "shape": [3], "data_offsets": [3, 0]}, "safetensors"),
        ({"dtype": "I8", "shape": [3], "data_offsets": [10**15, 10**15 + 3]}, "safetensors"),
        ({"dtype": "I8", "shape": [3]}, "safetensors"),
        ({"dtype": "I8", "shape": {}, "data_offsets": [0, 0]}, "safetensors"),
        ({"dtype": "Q4", "shape": [3], "data_offsets": [0, 3]}, "dtype must be one of"),
        ({"dtype": ["I8"], "shape": [3], "data_offsets": [0, 3]}, "dtype must be one of"),
        ({"shape": [3], "data_offsets": [0, 3]}, "dtype must be one of"),
        ([], "dtype must be one of"),
        (None, "dtype must be one of"),
    ],
)
def test_each_rule_of_the_tensor_table(folder: Path, valid: bytes, entry: Any, match: str) -> None:
    document, tensors = parse(valid)
    refuse(folder, forge(document, tensors, {"conv2d0/bias": entry}), match)
    refuse(folder, forge(document, tensors, {"another": entry}), match)


def test_more_dimensions_than_a_view_can_have(folder: Path, valid: bytes) -> None:
    document, tensors = parse(valid)
    end = sum(array.nbytes for array in tensors.values())
    entry = {"dtype": "I8", "shape": [1] * 65, "data_offsets": [end, end + 1]}
    refuse(folder, forge(document, {**tensors, "stray": np.zeros(1, np.int8)}, {"stray": entry}), "dimensions")


def _text(valid: bytes) -> tuple[str, Tensors]:
    document, tensors = parse(valid)
    return json.dumps({"crc32": "0" * 8, **document}, separators=(",", ":")), tensors


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"name":"built"', '"name":"built","name":"twice"', "JSON: keys must be unique, got 'name' twice"),
        ('"metadata":{', '"metadata":{"x":NaN,', "JSON: numbers must be finite, got 'NaN'"),
        ('"metadata":{', '"metadata":{"x":-Infinity,', "JSON: numbers must be finite, got '-Infinity'"),
        ('"metadata":{', '"metadata":{"x":1e999,', "JSON: numbers must be finite, got '1e999'"),
        ('"metadata":{', '"metadata":{"x":' + "9" * 5000 + ",", "JSON: integers have at most 20 digits"),
        ('"metadata":{', '"metadata":{"x":"\\ud800",', "half of a surrogate pair"),
        ('"metadata":{', '"metadata":{"\\udfff":1,', "half of a surrogate pair"),
        ('"metadata":{', '"metadata":{"x":' + "[" * 32 + "]" * 32 + ",", "nested deeper than 32"),
        ('"metadata":{', '"metadata":{"x":' + "[" * 200_000 + "]" * 200_000 + ",", "nested deeper than 32"),
        ('"metadata":{', '"metadata":{"x":' + '{"":' * 200_000 + "1" + "}" * 200_000 + ",", "nested deeper than 32"),
        ('"metadata":{', '"metadata":{,', "JSON: "),
        ('"metadata":{', '"metadata":{"x":01,', "JSON: "),
        ('"metadata":{', '"metadata":{"x":\n\t"a\tb",', "JSON: Invalid control character"),
    ],
    ids=lambda v: v[:30],
)
def test_each_rule_of_json(folder: Path, valid: bytes, old: str, new: str, match: str) -> None:
    text, tensors = _text(valid)
    assert text.count(old) == 1
    refuse(folder, container(text.replace(old, new), tensors), match)


def test_metadata_of_the_container(folder: Path, valid: bytes) -> None:
    text, tensors = _text(valid)
    refuse(folder, container(text, tensors).replace(b'"__metadata__"', b'"__matadata__"'), "no lightkern file")
    (length,) = struct.unpack_from("<Q", valid)
    header = valid[8 : 8 + length].rstrip()
    for old, new, match in (
        (b'"},"', b'","format":"pt"},"', "must hold the key 'lightkern' alone"),
        (b'"},"', b'"},"__metadata__":{},"', "keys must be unique"),
        (b"}}", b"}}x", "JSON: Extra data"),
        (b'"I8"', b'"I\xff"', r"header byte \d+: must be UTF-8"),
    ):
        damaged = header.replace(old, new, 1)
        assert damaged != header
        damaged += b" " * (-len(damaged) % 8)
        refuse(folder, reseal(struct.pack("<Q", len(damaged)) + damaged + valid[8 + length :]), match)
    for text in ('{"crc32":"00000000"', '{"crc32":"00000000"}', '{"crc32":"00000000","format_version":1}'):
        refuse(folder, container(text, {}))


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_float_graphs_refuse_what_models_allow(folder: Path, dtype: str) -> None:
    float_graph(np.random.default_rng(4)).save(folder / "float.lk")
    document, tensors = parse((folder / "float.lk").read_bytes())
    name = "conv2d_0/bias"
    load_bytes(folder, forge(document, tensors), lk.load_graph)
    damaged = forge(document, {**tensors, name: tensors[name].astype(dtype)})
    if dtype == "float16":
        load_bytes(folder, damaged, lk.load_graph)
    else:
        refuse(folder, damaged, "dtype must be one of I32, F32, F16, got 'I8'", lk.load_graph)
    bad = tensors[name].copy()
    bad[1] = np.inf
    refuse(folder, forge(document, {**tensors, name: bad}), r"bias\[1\] is inf, must be finite", lk.load_graph)
    refuse(folder, forge({**document, "quants": {}}, tensors), "unknown field, got 'quants'", lk.load_graph)
    for value in ("Infinity", "nan", "1", 1e39):
        damaged_document = copy.deepcopy(document)
        clip = next(node for node in damaged_document["nodes"] if node["op"] == "clip")
        clip["attrs"]["max"] = value
        refuse(folder, forge(damaged_document, tensors), "attribute 'max' must be float", lk.load_graph)
