"""Truncated, corrupt and contradictory ONNX files at random: a named exception, never a crash or a hang."""

from __future__ import annotations

import copy
import time

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import TensorProto, numpy_helper
from onnx_models import small_network

import lightkern as lk

NAMED = (lk.FormatError, lk.UnsupportedError, ValueError)


def attempt(source) -> str:
    """Import; say what came of it. Anything but the named exceptions propagates and fails the test."""
    start = time.process_time()
    try:
        lk.load_onnx(source).validate()
        outcome = "imported"
    except NAMED as error:
        outcome = type(error).__name__
    assert time.process_time() - start < 5
    return outcome


def test_the_network_itself_imports():
    assert attempt(small_network()) == "imported"


def test_truncated_files():
    content = small_network().SerializeToString()
    outcomes = {attempt(content[:end]) for end in range(0, len(content), 3)}
    assert "FormatError" in outcomes


def test_flipped_bytes():
    content = small_network().SerializeToString()
    rng = np.random.default_rng(0)
    outcomes = []
    for _ in range(1500):
        mutant = bytearray(content)
        for position in rng.integers(0, len(content), rng.integers(1, 4)):
            mutant[position] ^= 1 << rng.integers(8)
        outcomes.append(attempt(bytes(mutant)))
    assert {"FormatError", "UnsupportedError", "imported"} <= set(outcomes)


def test_random_bytes():
    rng = np.random.default_rng(1)
    assert {attempt(rng.bytes(n)) for n in range(200)} <= {"FormatError", "UnsupportedError"}


EXTREMES = [0, 1, -1, 2, 3, 7, -(2**31), 2**31 - 1, -(2**63), 2**63 - 1, 2**40]


def corrupt(proto: onnx.ModelProto, rng: np.random.Generator) -> None:
    """Change one thing that the decoder cannot notice: an attribute, a dimension, a name, an op, a constant."""
    graph = proto.graph
    target = graph.node[rng.integers(len(graph.node))]
    names = [n.name for n in graph.initializer] + [o for n in graph.node for o in n.output] + ["", "x", "nowhere"]
    ops = sorted(
        {n.op_type for n in graph.node} | {"LRN", "If", "Gather", "Squeeze", "ConstantOfShape", "Erf", "Expand"}
    )
    what = rng.integers(8)
    extreme = int(EXTREMES[rng.integers(len(EXTREMES))])
    if what == 0 and target.attribute:
        attribute = target.attribute[rng.integers(len(target.attribute))]
        if attribute.ints:
            attribute.ints[rng.integers(len(attribute.ints))] = extreme
        else:
            attribute.i = extreme
    elif what == 1 and target.attribute:
        attribute = target.attribute[rng.integers(len(target.attribute))]
        del attribute.ints[:1]
        attribute.type = int(rng.integers(0, 15))
    elif what == 2 and target.input:
        target.input[rng.integers(len(target.input))] = names[rng.integers(len(names))]
    elif what == 3 and target.output:
        target.output[rng.integers(len(target.output))] = names[rng.integers(len(names))]
    elif what == 4:
        target.op_type = ops[rng.integers(len(ops))]
    elif what == 5:
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        if tensor.dims:
            tensor.dims[rng.integers(len(tensor.dims))] = extreme
    elif what == 6:
        tensor = graph.initializer[rng.integers(len(graph.initializer))]
        tensor.data_type = int(rng.integers(0, 25))
    else:
        constants = [t for t in graph.initializer if t.data_type == TensorProto.INT64]
        tensor = constants[rng.integers(len(constants))]
        values = numpy_helper.to_array(tensor).copy()
        values[rng.integers(len(values))] = extreme
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_contradictory_models():
    rng = np.random.default_rng(2)
    base = small_network()
    outcomes = []
    for _ in range(1500):
        proto = copy.deepcopy(base)
        for _ in range(rng.integers(1, 4)):
            try:
                corrupt(proto, rng)
            except (ValueError, DecodeError, EncodeError):  # the tensor is beyond repair already
                break
        outcomes.append(attempt(proto))
    assert {"FormatError", "UnsupportedError", "imported"} <= set(outcomes)
