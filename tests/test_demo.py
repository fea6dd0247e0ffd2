"""The network and pictures that ship with the package, and what ``lightkern demo`` makes of them."""

from __future__ import annotations

import json
import sys
from importlib import resources
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lightkern as lk
from lightkern.cli.app import app
from lightkern.demo import CLASSES, as_input, load_network, load_pictures
from lightkern.demo.layers import owners
from lightkern.demo.measure import Demo, Measurement, onnxruntime_float
from lightkern.demo.onnx_export import to_onnx

FOLDER = resources.files("lightkern.demo")
KINDS = {"conv2d", "relu", "hard_swish", "hard_sigmoid", "add", "mul", "global_avg_pool", "reshape", "linear"}


@pytest.fixture(scope="module")
def graph() -> lk.Graph:
    return load_network()


def test_the_shipped_files_are_small_and_licensed() -> None:
    sizes = {name: len((FOLDER / name).read_bytes()) for name in ("network.lk", "pictures.npz")}
    assert sizes["network.lk"] <= 500_000
    assert sum(sizes.values()) <= 1_100_000
    licence = (FOLDER / "LICENSE-fashion-mnist").read_text(encoding="utf-8")
    assert "MIT License" in licence
    assert "Zalando SE" in licence


def test_the_pictures_are_what_the_readme_says() -> None:
    pictures = load_pictures()
    assert pictures.test.shape == (1000, 28, 28)
    assert pictures.calibration.shape == (128, 28, 28)
    for images, labels in (
        (pictures.test, pictures.test_labels),
        (pictures.calibration, pictures.calibration_labels),
    ):
        assert images.dtype == labels.dtype == np.uint8
        assert len(images) == len(labels)
        counts = np.bincount(labels, minlength=10)
        assert len(counts) == len(CLASSES)
        assert counts.min() >= len(labels) / 20, "every class is there"
    calibration = {x.tobytes() for x in pictures.calibration}
    assert not calibration & {x.tobytes() for x in pictures.test}, "no test picture calibrates"


def test_the_network_is_a_mobile_network(graph: lk.Graph) -> None:
    assert {node.op for node in graph.nodes} == KINDS
    depthwise = [n for n in graph.nodes if n.op == "conv2d" and n.attrs["groups"] > 1]
    pointwise = [n for n in graph.nodes if n.op == "conv2d" and n.attrs["kernel"] == [1, 1]]
    assert len(depthwise) >= 4
    assert len(pointwise) >= 8
    assert all(n.params["weight"].shape[3] == 1 for n in depthwise)


def test_as_input_maps_pixels_to_zero_to_one() -> None:
    x = as_input(np.array([[[0, 51], [102, 255]]], np.uint8))
    assert x.shape == (1, 1, 2, 2)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.ravel(), [0, 0.2, 0.4, 1])


def test_the_onnx_export_means_the_same(graph: lk.Graph) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    x = as_input(load_pictures().test[:20])
    session = onnxruntime.InferenceSession(to_onnx(graph), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"pictures": x})
    np.testing.assert_allclose(y, graph.run(x), rtol=1e-4, atol=1e-4)


def test_the_onnx_export_refuses_what_it_does_not_know(graph: lk.Graph) -> None:
    changed = graph.copy()
    next(node for node in changed.nodes if node.op == "relu").op = "tanh"
    with pytest.raises(lk.UnsupportedError, match=r"\(tanh\): the demo's ONNX export"):
        to_onnx(changed)


@pytest.fixture(scope="module")
def document() -> Any:
    """What ``lightkern demo --json`` prints."""
    result = CliRunner().invoke(app, ["demo", "--threads", "2", "--repeat", "10", "--json"])
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_the_float_network_was_really_trained(document: Any) -> None:
    """The README of the demo says what it reaches on all 10,000 test pictures; here are the 1,000 that ship."""
    assert document["pictures"] == 1000
    assert document["runs"]["numpy"]["accuracy"] >= 0.91


def test_int8_keeps_the_accuracy(document: Any) -> None:
    runs = document["runs"]
    assert runs["int8"]["accuracy"] >= runs["numpy"]["accuracy"] - 0.01
    assert runs["int8"]["agreement"] >= 0.98
    assert runs["numpy"]["agreement"] == 1


def test_int8_is_smaller_and_faster_than_numpy(document: Any) -> None:
    assert document["int8_bytes"] < document["float_bytes"] / 2.5
    assert document["speed_up"]["numpy"] > 1
    latency = {key: run["latency"] for key, run in document["runs"].items()}
    assert document["speed_up"]["numpy"] == pytest.approx(latency["numpy"] / latency["int8"])


def test_the_float_engines_agree(document: Any) -> None:
    pytest.importorskip("onnxruntime")
    assert document["runs"]["onnxruntime"]["agreement"] >= 0.999


def test_every_convolution_has_a_time(document: Any, graph: lk.Graph) -> None:
    names = " + ".join(layer["name"] for layer in document["layers"]).split(" + ")
    assert all(node.name in names for node in graph.nodes if node.op in ("conv2d", "linear"))
    assert sum(layer["macs"] for layer in document["layers"]) == 3_679_240
    assert all(layer["seconds"] > 0 for layer in document["layers"] if layer["macs"])


def test_every_float_node_is_beside_one_step(document: Any, graph: lk.Graph) -> None:
    layers = document["layers"]
    assert sum(layer["float_bytes"] for layer in layers) == document["float_bytes"]
    assert sum(layer["int8_bytes"] for layer in layers) < document["int8_bytes"]
    assert all(layer["float_seconds"] is not None for layer in layers if layer["macs"])
    assert all(layer["sqnr_db"] is not None for layer in layers if layer["macs"])


def test_fused_nodes_count_with_the_step_that_computes_them(graph: lk.Graph) -> None:
    owner = owners(graph, [{"name": name} for name in ("inputs", "stem", "hidden + classify")])
    assert owner["stem"] == owner["stem.relu"] == owner["pool"] == owner["flatten"] == 1
    assert owner["hidden"] == owner["hidden.hard_swish"] == owner["classify"] == 2


def test_the_report_names_every_noisy_layer(document: Any) -> None:
    noise = [row["sqnr_db"] for row in document["report"]]
    assert noise == sorted(noise)
    assert noise[0] > 5


def test_the_command_prints_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {
        "numpy": Measurement("float32, NumPy", 0.93, 1.0, 0.006),
        "int8": Measurement("int8, lightkern", 0.92, 0.99, 0.0005),
    }
    int8 = {"name": "a.stem + a.relu", "op": "conv2d", "kernel": "gemm_s8", "macs": 2e6, "seconds": 1e-3}
    layers = [{**int8, "float_seconds": 4e-3, "float_bytes": 4000, "int8_bytes": 1000, "sqnr_db": 20.0}]
    report = [{"name": "stem", "op": "conv2d", "sqnr_db": 20.0, "low": -1.0, "high": 2.0}]
    demo = Demo(2, "avx2", 1000, 500_000, 125_000, 1.5, 0.002, 0.003, runs, layers, report)
    monkeypatch.setattr("lightkern.demo.measure.measure", lambda *_: demo)
    result = CliRunner().invoke(app, ["demo"])
    assert (result.exit_code, result.stderr) == (0, "")
    words = " ".join(result.stdout.split())
    for text in (
        "500.0 kB of float32 weights -> 125.0 kB file, 4.00 x smaller",
        "avx2 kernels, 2 threads",
        "1000 held-out test pictures",
        "float32, NumPy 93.0% 100.0% 6.000 ms 12.00 x",
        "int8, lightkern 92.0% 99.0% 500.0 us",
        "Float runs in plain NumPy here",
        "a.stem + relu 4.0 kB 1.0 kB 4.000 ms 1.000 ms 4.0 x 2.0 20.0 dB",
        "total 4.0 kB 1.0 kB 4.000 ms 1.000 ms 4.0 x 2.0",
    ):
        assert text in words


def test_without_onnxruntime_the_demo_has_no_float_engine(graph: lk.Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert onnxruntime_float(graph, 1) is None
