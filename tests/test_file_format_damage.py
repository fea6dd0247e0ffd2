"""Damaged ``.lk`` files: each is a `FormatError` that says where and what, or a model that passes every rule."""

from __future__ import annotations

import copy
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import inputs
from float_nets import float_graph
from forge import BEGIN, forge, load_bytes, parse, refuse, reseal, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from random_network import random_model

import lightkern as lk
from lightkern import reference
from lightkern.model import Model
from lightkern.opset import elements


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def valid(folder: Path) -> bytes:
    small_model().save(folder / "valid.lk")
    return (folder / "valid.lk").read_bytes()


def test_forged_file_is_what_the_writer_writes(folder: Path, valid: bytes) -> None:
    document, tensors = parse(valid)
    model = load_bytes(folder, forge(document, tensors))
    model.save(folder / "again.lk")
    assert (folder / "again.lk").read_bytes() == valid


# Accidents -----------------------------------------------------------------------------------------------------------


def test_truncated_anywhere(folder: Path, valid: bytes, emulated: bool) -> None:
    path = folder / "attack.lk"
    path.write_bytes(valid)
    for length in reversed(range(0, len(valid), 29 if emulated else 1)):
        os.truncate(path, length)
        with pytest.raises(lk.FormatError, match=r"header|crc32"):
            lk.load(path)


def test_truncated_with_a_right_checksum(folder: Path, valid: bytes, emulated: bool) -> None:
    for length in range(0, len(valid), 101 if emulated else 13):
        refuse(folder, reseal(valid[:length]))


def test_one_flipped_bit_is_always_found(folder: Path, valid: bytes, emulated: bool) -> None:
    rng = np.random.default_rng(1)
    bits = rng.choice(8 * len(valid), 50 if emulated else 700, replace=False)
    for bit in (*range(8 * 8), *bits):  # all bits of the length, and a sample of the others
        content = bytearray(valid)
        content[bit // 8] ^= 1 << bit % 8
        refuse(folder, bytes(content))


def test_trailing_and_leading_bytes(folder: Path, valid: bytes) -> None:
    for extra in (b"\0", b"\n", valid):
        refuse(folder, valid + extra, "crc32")
        refuse(folder, reseal(valid + extra), "safetensors")
        refuse(folder, extra + valid)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "header: a file has at least 8 bytes, got 0"),
        (b"\0" * 8, "this is no lightkern file"),
        (b"\xff" * 64, "do not fit into the file"),
        (struct.pack("<Q", 2**63) + b"{}", "do not fit into the file"),
        (struct.pack("<Q", 2) + b"{}", "this is no lightkern file"),
        (b"\x08\x08\x12\x07pytorch" * 9, "do not fit into the file"),
    ],
)
def test_files_of_other_kinds(folder: Path, content: bytes, match: str) -> None:
    for reader in (lk.load, lk.load_graph):
        refuse(folder, content, match, reader)


# Damage behind a right checksum --------------------------------------------------------------------------------------


def survive(folder: Path, content: bytes, reader: Callable[[Path], Any]) -> bool:
    """Whether the file loads. Any exception but `FormatError` fails the test."""
    try:
        network = load_bytes(folder, content, reader)
    except lk.FormatError:
        return False
    shapes = network.validate()
    if isinstance(network, Model) and max(elements(shape) for shape in shapes.values()) < 100_000:
        reference.run(network, inputs(network, np.random.default_rng(0)))  # what validates can run
    return True


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_damaged_bytes(folder: Path, valid: bytes, kind: str, emulated: bool) -> None:
    """Seeded damage of the header: bytes replaced, removed, repeated, swapped."""
    reader = lk.load if kind == "int8" else lk.load_graph
    if kind == "float":
        float_graph(np.random.default_rng(2)).save(folder / "float.lk")
        valid = (folder / "float.lk").read_bytes()
    (length,) = struct.unpack_from("<Q", valid)
    rng = np.random.default_rng(3)
    outcomes = [0, 0]
    interesting = b'0123456789-.eE"{}[],:\\\x00\x7f\x80\xff tfn'
    for _ in range(200 if emulated else 1200):
        content = bytearray(valid)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(8 + len(BEGIN) + 8, 8 + length))
            size = int(rng.integers(1, 9))
            action = int(rng.integers(4))
            if action == 0:
                content[at] = interesting[int(rng.integers(len(interesting)))]
            elif action == 1:
                content[at] ^= 1 << int(rng.integers(8))
            elif action == 2:  # repeat what stands elsewhere, of the same length, so that the header's length holds
                source = int(rng.integers(8, 8 + length - size))
                content[at : at + size] = content[source : source + size]
            else:
                content[at : at + size] = bytes(rng.integers(48, 58, size).tolist())
        outcomes[survive(folder, reseal(bytes(content)), reader)] += 1
    assert emulated or outcomes[0] > outcomes[1] > 0, outcomes  # both ends are reached, given enough examples


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


ODD = st.one_of(
    st.sampled_from([0, 1, -1, 2, 3, 255, -129, 128, 2**24, 2**24 + 1, 2**31, 2**63, -(2**63), 10**19]),
    st.sampled_from([0.0, -0.0, 0.5, 1e-45, 1e-39, 1e38, 1e308, None, True, False, [], {}, [[]], {"a": 1}]),
    st.sampled_from(["", "x", "dense", "NHWC", "conv2d", "softmax", "in0", "t0", "inf", "\0", ["t0"], ["t0", "t1"]]),
    st.sampled_from([[0], [1, 1], [0, 0], [-128, 127], [1, 1, 1, 1], [2**24] * 4, [0.5, 0], ["0"]]),
)


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_damaged_documents(folder: Path, valid: bytes, kind: str, emulated: bool) -> None:
    """Anything anywhere in the JSON: replaced by odd values, deleted, doubled, moved."""
    reader = lk.load if kind == "int8" else lk.load_graph
    if kind == "float":
        float_graph(np.random.default_rng(2)).save(folder / "float.lk")
        valid = (folder / "float.lk").read_bytes()
    original, tensors = parse(valid)
    places = _places(original)[1:]
    outcomes = [0, 0]

    @settings(max_examples=6 * settings().max_examples)
    @given(st.lists(st.tuples(st.sampled_from(places), st.sampled_from("rdcm"), ODD), min_size=1, max_size=3))
    def check(edits: list[tuple[tuple[Any, ...], str, Any]]) -> None:
        document = copy.deepcopy(original)
        for (*parents, key), action, odd in edits:
            parent: Any = document
            try:
                for step in parents:
                    parent = parent[step]
                value = parent[key]
            except (KeyError, IndexError, TypeError):
                continue  # an earlier edit took the place away
            if isinstance(parent, str):
                continue
            if action == "d":
                del parent[key]
            elif action == "c" and isinstance(parent, list):
                parent.insert(key, copy.deepcopy(value))
            elif action == "m" and isinstance(parent, list):
                parent.append(parent.pop(key))
            else:
                parent[key] = copy.deepcopy(odd)
        outcomes[survive(folder, forge(document, tensors), reader)] += 1

    check()
    assert emulated or outcomes[0] > outcomes[1] > 0, outcomes  # both ends are reached, given enough examples


@pytest.mark.parametrize("seed", range(5))
def test_damaged_tensors(folder: Path, seed: int) -> None:
    """Random contents of the tensors: weights and tables may be anything that the rules allow."""
    rng = np.random.default_rng(seed)
    random_model(rng, 2).save(folder / "random.lk")
    document, tensors = parse((folder / "random.lk").read_bytes())
    for name, array in tensors.items():
        for content in (rng.bytes(array.nbytes), b"\xff" * array.nbytes, b"\x80" * array.nbytes, b"\0" * array.nbytes):
            damaged = {**tensors, name: np.frombuffer(content, array.dtype).reshape(array.shape)}
            survive(folder, forge(document, damaged), lk.load)


def test_memory_stays_in_proportion_to_the_file(folder: Path, valid: bytes) -> None:
    """Whatever a file claims, reading it takes a small multiple of its size."""
    document, tensors = parse(valid)
    claims: list[bytes] = [
        forge({**document, "inputs": [{**document["inputs"][0], "shape": [2**15, 2**14, 3]}]}, tensors),
        forge({**document, "nodes": document["nodes"] * 300}, tensors),
        forge({**document, "metadata": {"x": [[]] * 100_000}}, tensors),
        forge(document, {**tensors, "big": np.zeros((2**40, 0), np.int8)}),
        forge(document, tensors, {"big": {"dtype": "I8", "shape": [2**40], "data_offsets": [0, 2**40]}}),
    ]
    for key, value in (("padding", [2**24] * 4), ("dilation", [2**24] * 2), ("groups", 2**24)):
        damaged = copy.deepcopy(document)
        damaged["nodes"][0]["attrs"][key] = value
        claims.append(forge(damaged, tensors))
    for content in claims:
        tracemalloc.start()
        try:
            survive(folder, content, lk.load)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 1_000_000 + 60 * len(content), (peak, len(content))
