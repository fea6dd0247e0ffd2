"""Nodes, ports, quantizations and networks are to their users what dataclasses are."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from float_nets import float_graph
from forge import small_model

import lightkern as lk
from lightkern.records import replace

PORT = lk.Port("x", "t", (2, 3, 4))
RECORDS = [PORT, lk.Quant(0.5, 3), lk.Node("linear", "l", ["x"], "y"), lk.Model("m", [PORT], [PORT], [])]
FROZEN = RECORDS[:2]


def test_repr() -> None:
    assert repr(PORT) == "Port(name='x', tensor='t', shape=(2, 3, 4), layout='NCHW')"
    assert repr(RECORDS[2]) == "Node(op='linear', name='l', inputs=['x'], output='y', attrs={}, params={})"
    assert repr(lk.Graph("g", [], [], [])) == "Graph(name='g', inputs=[], outputs=[], nodes=[])"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_copies_are_equal(record: Any) -> None:
    names = [field.name for field in dataclasses.fields(record)]
    assert dataclasses.is_dataclass(record)
    for other in (
        copy.copy(record),
        copy.deepcopy(record),
        pickle.loads(pickle.dumps(record)),
        dataclasses.replace(record),
        replace(record),
        record.__replace__(),
        type(record)(**{name: getattr(record, name) for name in names}),
    ):
        assert other is not record
        assert other == record
        assert type(other) is type(record)
    changed = [dataclasses.replace(record, **{names[0]: "other"}), replace(record, **{names[0]: "other"})]
    assert changed[0] == changed[1] != record
    assert getattr(changed[0], names[0]) == "other"
    assert record != tuple(getattr(record, name) for name in names)
    assert list(dataclasses.asdict(record)) == names
    with pytest.raises(TypeError, match="no_such_field"):
        replace(record, no_such_field=1)


@pytest.mark.parametrize("record", FROZEN, ids=lambda record: type(record).__name__)
def test_ports_and_quantizations_are_immutable(record: Any) -> None:
    (name, *_) = (field.name for field in dataclasses.fields(record))
    assert hash(record) == hash(copy.copy(record))
    assert {record: 1}[dataclasses.replace(record)] == 1
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(record, name, "other")
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(record, name)


def test_nodes_and_networks_are_not_hashed() -> None:
    for record in RECORDS[2:]:
        with pytest.raises(TypeError, match="unhashable"):
            hash(record)


def test_containers_are_not_shared() -> None:
    first, second = lk.Node("add", "a", [], "y"), lk.Node("add", "a", [], "y")
    first.attrs["clamp"] = [0, 1]
    first.params["bias"] = np.zeros(1)
    assert (second.attrs, second.params) == ({}, {})
    one, two = lk.Model("m", [], [], []), lk.Model("m", [], [], [])
    one.quants["x"] = lk.Quant(1.0, 0)
    one.metadata["x"] = 1
    assert (two.quants, two.metadata) == ({}, {})


def test_fields_of_networks() -> None:
    names = ["name", "inputs", "outputs", "nodes"]
    assert [field.name for field in dataclasses.fields(float_graph(np.random.default_rng(0)))] == names
    assert [field.name for field in dataclasses.fields(small_model())] == [*names, "quants", "metadata"]
    assert lk.Graph("g", [], [], []) != lk.Model("g", [], [], [])
