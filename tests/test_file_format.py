"""``.lk`` files: what is written is read back, bytes are a function of the model, and saving is all or nothing."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Net, inputs
from float_nets import float_graph
from hypothesis import HealthCheck, given, settings
from numpy.testing import assert_array_equal
from random_network import random_model
from safetensors import safe_open
from strategies import ONE_NODE, one_node_models, random_models

import lightkern as lk
from lightkern import file_format, reference
from lightkern.graph import Graph, NodeList
from lightkern.model import Model
from lightkern.opset import GRAPH_OPS, WEIGHT_FORMATS

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_same_network(a: NodeList, b: NodeList) -> None:
    """Equal in everything that the file holds; tuples and lists are the same there."""
    assert type(a) is type(b)
    assert (a.name, a.inputs, a.outputs) == (b.name, b.inputs, b.outputs)
    for m, n in zip(a.nodes, b.nodes, strict=True):
        assert (m.op, m.name, m.inputs, m.output) == (n.op, n.name, n.inputs, n.output)
        assert {k: list(v) if isinstance(v, tuple) else v for k, v in m.attrs.items()} == n.attrs
        assert m.params.keys() == n.params.keys()
        for key, value in m.params.items():
            assert value.dtype == n.params[key].dtype
            assert_array_equal(value, n.params[key])
    if isinstance(a, Model) and isinstance(b, Model):
        assert (a.quants, a.metadata) == (b.quants, b.metadata)


@in_one_folder
@given(case=random_models())
def test_round_trip_of_random_networks(case: tuple[Model, Any], tmp_path: Path) -> None:
    model, x = case
    path = tmp_path / "model.lk"
    model.save(path)
    again = lk.load(path)
    assert_same_network(model, again)
    first, second = reference.run(model, x), reference.run(again, x)
    for a, b in zip(*(y.values() if isinstance(y, dict) else [y] for y in (first, second)), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("op", sorted(ONE_NODE))
def test_round_trip_of_every_op(op: str, tmp_path: Path) -> None:
    @settings(max_examples=10)
    @given(one_node_models(op))
    def check(case: tuple[Model, Any]) -> None:
        case[0].save(tmp_path / "model.lk")
        assert_same_network(case[0], lk.load(tmp_path / "model.lk"))

    check()


def test_round_trip_of_every_float_op(tmp_path: Path) -> None:
    graph = float_graph(np.random.default_rng(0))
    assert {node.op for node in graph.nodes} == set(GRAPH_OPS)
    graph.save(tmp_path / "graph.lk")
    assert_same_network(graph, lk.load_graph(tmp_path / "graph.lk"))


def test_float16_halves_the_file_and_rounds(tmp_path: Path) -> None:
    graph = float_graph(np.random.default_rng(1), channels=64)
    graph.save(tmp_path / "full.lk")
    graph.save(tmp_path / "half.lk", dtype="float16")
    again = lk.load_graph(tmp_path / "half.lk")
    weights = 0
    for m, n in zip(graph.nodes, again.nodes, strict=True):
        for key, value in m.params.items():
            rounded = value.astype(np.float16).astype(np.float32) if value.dtype == np.float32 else value
            weights += value.size
            assert n.params[key].dtype == value.dtype
            assert_array_equal(n.params[key], rounded)
    saved = (tmp_path / "full.lk").stat().st_size - (tmp_path / "half.lk").stat().st_size
    assert 1.8 * weights < saved < 2.1 * weights

    graph.nodes[0].params["bias"][0] = 1e5
    with pytest.raises(ValueError, match=r"bias: the value 100000.0 does not fit into float16"):
        graph.save(tmp_path / "half.lk", dtype="float16")
    assert_same_network(again, lk.load_graph(tmp_path / "half.lk"))
    with pytest.raises(ValueError, match="dtype must be"):
        graph.save(tmp_path / "half.lk", dtype="bfloat16")  # type: ignore[arg-type]


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    model = random_model(np.random.default_rng(2))
    model.metadata = {"b": [1, 2.5, None, True, "\u00e4 \U0001f600"], "a": {"y": 1, "x": 2}}
    model.save(tmp_path / "a.lk")
    again = lk.load(tmp_path / "a.lk")
    for node in again.nodes:
        node.attrs = dict(reversed(node.attrs.items()))
        node.params = dict(reversed(node.params.items()))
    again.quants = dict(reversed(again.quants.items()))
    again.metadata = dict(reversed(again.metadata.items()))
    again.save(tmp_path / "b.lk")
    assert (tmp_path / "a.lk").read_bytes() == (tmp_path / "b.lk").read_bytes()
    program = "import sys, lightkern; lightkern.load(sys.argv[1]).save(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, tmp_path / "a.lk", tmp_path / "c.lk"], check=True)
    assert (tmp_path / "a.lk").read_bytes() == (tmp_path / "c.lk").read_bytes()


def test_any_safetensors_tool_opens_the_file(tmp_path: Path) -> None:
    net = Net(np.random.default_rng(3))
    model = net.model(net.conv2d(net.input((5, 4, 3)), 6, (3, 3)))
    model.nodes[0].params["weight"] = np.asfortranarray(model.nodes[0].params["weight"])
    model.save(tmp_path / "model.lk")
    with safe_open(tmp_path / "model.lk", "numpy") as file:
        assert sorted(file.keys()) == ["conv2d0/bias", "conv2d0/weight", "conv2d0/weight_scale"]
        assert list(file.metadata()) == ["lightkern"]
        document = json.loads(file.metadata()["lightkern"])
        assert (document["format_version"], document["kind"]) == (file_format.FORMAT_VERSION, "int8")
        assert_array_equal(file.get_tensor("conv2d0/weight"), model.nodes[0].params["weight"])


def test_the_file_is_hardly_larger_than_the_weights(tmp_path: Path) -> None:
    net = Net(np.random.default_rng(4))
    x = net.input((8, 8, 64))
    for _ in range(8):
        x = net.conv2d(x, 64, (3, 3), padding=(1, 1, 1, 1))
    model = net.model(x)
    model.save(tmp_path / "model.lk")
    assert (tmp_path / "model.lk").stat().st_size <= model.nbytes + 550 * len(model.nodes)


def test_weight_formats_slot_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec stores a weight as other tensors; nothing else needs to know."""
    assert tuple(file_format.WEIGHT_CODECS) == WEIGHT_FORMATS

    def decode(*views: memoryview) -> np.ndarray:
        sign, magnitude = map(np.asarray, views)
        if (magnitude < 0).any():
            raise lk.FormatError("weight.magnitude must not be negative")
        return np.where(sign != 0, -magnitude, magnitude).astype(np.int8)

    codec = file_format.WeightCodec(
        ("weight.sign", "weight.magnitude"), lambda w: ((w < 0).astype(np.int8), np.abs(w)), decode
    )
    monkeypatch.setitem(file_format.WEIGHT_CODECS, "split", codec)
    monkeypatch.setattr("lightkern.model.WEIGHT_FORMATS", ("dense", "split"))
    net = Net(np.random.default_rng(5))
    model = net.model(net.linear(net.conv2d(net.input((5, 4, 3)), 6), 4))
    model.nodes[1].attrs["weight_format"] = "split"
    model.save(tmp_path / "model.lk")
    with safe_open(tmp_path / "model.lk", "numpy") as file:
        assert {"linear1/weight.sign", "linear1/weight.magnitude", "conv2d0/weight"} < set(file.keys())
    assert_same_network(model, lk.load(tmp_path / "model.lk"))


# Files and folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def model() -> Model:
    return random_model(np.random.default_rng(6), 2)


def test_operating_system_errors_stay_what_they_are(model: Model, tmp_path: Path) -> None:
    for reader in (lk.load, lk.load_graph):
        with pytest.raises(FileNotFoundError):
            reader(tmp_path / "missing.lk")
        with pytest.raises(IsADirectoryError):
            reader(tmp_path)
        with pytest.raises(TypeError):
            reader(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        model.save(tmp_path / "missing" / "model.lk")
    with pytest.raises(IsADirectoryError):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_regular_files(model: Model, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(lk.FormatError, match="regular file"):
        lk.load(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        model.save(tmp_path / "pipe")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_relative_and_long_paths(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model.save("model.lk")
    assert_same_network(model, lk.load("model.lk"))
    name = "x" * (os.pathconf(tmp_path, "PC_NAME_MAX") - 3) + ".lk"
    model.save(name)  # the temporary file's name must not be longer
    assert_same_network(model, lk.load(tmp_path / name))
    with pytest.raises(OSError, match="too long"):
        model.save("x" + name)
    assert sorted(os.listdir()) == ["model.lk", name]


def test_permissions(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "model.lk"
    old = os.umask(0o027)
    try:
        model.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        model.save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(old)


def test_a_symbolic_link_stays(model: Model, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link.lk"
    link.symlink_to("folder/model.lk")
    for _ in range(2):  # first the link dangles
        model.save(link)
        assert link.is_symlink()
        assert_same_network(model, lk.load(tmp_path / "folder" / "model.lk"))


def test_a_failed_save_leaves_the_old_file_and_nothing_else(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.lk"
    model.save(path)
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            model.save(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            model.save(path)
    model.metadata["bad"] = {1, 2}
    with pytest.raises(ValueError, match=r"cannot be written as JSON.*set"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.lk"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": float("nan")},
        {"x": float("inf")},
        {"x": "\ud800"},
        {"x": 10**30},
        {"x": {1: 2, "1": 3}},
        {"x": object()},
        {"x": np.float32(1)},
    ],
)
def test_metadata_that_could_not_be_read_back_is_not_written(
    model: Model, metadata: dict[str, Any], tmp_path: Path
) -> None:
    model.metadata = metadata
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        model.save(tmp_path / "model.lk")
    assert os.listdir(tmp_path) == []


def test_deep_metadata(model: Model, tmp_path: Path) -> None:
    def nest(depth: int) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for _ in range(depth):
            value = {"deeper": value}
        return value

    model.metadata = nest(20)
    model.save(tmp_path / "model.lk")
    assert_same_network(model, lk.load(tmp_path / "model.lk"))
    for depth in (40, 100_000):
        model.metadata = nest(depth)
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            model.save(tmp_path / "model.lk")
    while model.metadata:  # freeing 100,000 levels at once would overflow the interpreter's stack
        model.metadata = model.metadata["deeper"]


SAVE_FOREVER = """
import sys, lightkern
a, b = lightkern.load(sys.argv[1]), lightkern.load(sys.argv[2])
print("ready", flush=True)
while True:
    a.save(sys.argv[3])
    b.save(sys.argv[3])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_during_save_leaves_a_whole_file(tmp_path: Path, emulated: bool) -> None:
    """A process that saves two models in turns is killed at random moments: the path always holds one of the two."""
    rng = np.random.default_rng(7)
    whole = []
    for name in ("a", "b"):
        net = Net(rng)
        net.model(net.linear(net.input((1000,)), 2000)).save(tmp_path / name)
        whole.append((tmp_path / name).read_bytes())
    (tmp_path / "out").mkdir()
    target = tmp_path / "out" / "model.lk"
    target.write_bytes(whole[0])
    interrupted = 0
    for _ in range(2 if emulated else 12):
        command = [sys.executable, "-c", SAVE_FOREVER, *map(str, (tmp_path / "a", tmp_path / "b", target))]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(float(rng.uniform(0, 0.08)))
            process.send_signal(signal.SIGKILL)
        assert target.read_bytes() in whole
        left = [name for name in os.listdir(target.parent) if name != target.name]
        assert all(name.startswith(".lk-") and name.endswith(".tmp") for name in left)
        interrupted += len(left)
        for name in left:
            (target.parent / name).unlink()
    assert emulated or interrupted, "no kill hit a save: the test proves nothing"
    assert isinstance(lk.load(target), Model)


def test_a_graph_is_not_a_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.lk")
    graph = float_graph(np.random.default_rng(8))
    graph.save(tmp_path / "graph.lk")
    with pytest.raises(lk.FormatError, match=r"model.lk: kind: .*lightkern\.load\)"):
        lk.load_graph(tmp_path / "model.lk")
    with pytest.raises(lk.FormatError, match=r"graph.lk: kind: .*lightkern\.load_graph\)"):
        lk.load(tmp_path / "graph.lk")
    assert isinstance(lk.load_graph(tmp_path / "graph.lk"), Graph)


def test_invalid_networks_are_not_written(model: Model, tmp_path: Path) -> None:
    model.nodes[0].params["weight"][0] = -128
    with pytest.raises(ValueError, match=r"node 'conv2d0' \(conv2d\): weight contains -128"):
        model.save(tmp_path / "model.lk")
    graph = float_graph(np.random.default_rng(9))
    graph.nodes[0].params["weight"][0] = np.nan
    with pytest.raises(ValueError, match="is nan, must be finite"):
        graph.save(tmp_path / "graph.lk")
    assert os.listdir(tmp_path) == []


def test_loaded_arrays_are_writable_and_native(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model.lk")
    again = lk.load(tmp_path / "model.lk")
    again.nodes[0].params["weight"][...] = 0
    x = inputs(again, np.random.default_rng(10))
    reference.run(again, x)
