"""Each command on a small network: what it prints for people and for programs, and what it refuses."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Net
from click.testing import CliRunner, Result
from PIL import Image

import lightkern as lk
from lightkern import _core
from lightkern.cli.app import app
from lightkern.demo.onnx_export import to_onnx

SIDE, CLASSES = 12, 5


def invoke(*args: Any) -> Result:
    return CliRunner().invoke(app, list(map(str, args)), prog_name="lightkern")


def output_of(*args: Any) -> str:
    """Stdout of a command that must succeed without a word on stderr."""
    result = invoke(*args)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def json_of(*args: Any) -> Any:
    return json.loads(output_of(*args, "--json"))


def network() -> lk.Graph:
    """Convolution, depthwise with a residual, pooling, linear; input [n, 3, 12, 12], output [n, 5]."""
    rng = np.random.default_rng(7)

    def conv(name: str, x: str, shape: tuple[int, ...], groups: int) -> lk.Node:
        attrs = {"kernel": [3, 3], "stride": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": groups}
        weight = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        bias = rng.normal(0, 0.1, shape[0]).astype(np.float32)
        return lk.Node("conv2d", name, [x], name, attrs, {"weight": weight, "bias": bias})

    linear = {
        "weight": rng.normal(0, 0.3, (CLASSES, 8)).astype(np.float32),
        "bias": rng.normal(0, 0.1, CLASSES).astype(np.float32),
    }
    nodes = [
        conv("first", "pictures", (8, 3, 3, 3), 1),
        lk.Node("relu", "relu", ["first"], "relu"),
        conv("depthwise", "relu", (8, 3, 3, 1), 8),
        lk.Node("add", "residual", ["relu", "depthwise"], "residual"),
        lk.Node("global_avg_pool", "pool", ["residual"], "pool"),
        lk.Node("reshape", "flatten", ["pool"], "flatten", {"shape": [8], "order": "CHW"}),
        lk.Node("linear", "classes", ["flatten"], "classes", {}, linear),
    ]
    ports = [lk.Port("pictures", "pictures", (SIDE, SIDE, 3))], [lk.Port("classes", "classes", (CLASSES,))]
    return lk.Graph("tiny", *ports, nodes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.onnx, examples as x.npy and as pictures/, and tiny.lk compressed from the pictures."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "tiny.onnx").write_bytes(to_onnx(network()))
    network().save(folder / "float.lk")
    rng = np.random.default_rng(3)
    pictures = rng.integers(0, 256, (6, SIDE, SIDE, 3), np.uint8)
    (folder / "pictures").mkdir()
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(folder / "pictures" / f"{i}.png")
    np.save(folder / "pixels.npy", pictures)
    np.save(folder / "x.npy", pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    result = compress(folder, "tiny.lk", "pictures", "--preprocess", "unit")
    assert result.exit_code == 0, result.stderr
    return folder


def compress(folder: Path, output: str, calibration: str, *options: Any) -> Result:
    paths = folder / "tiny.onnx", "-o", folder / output, "--calibration", folder / calibration
    return invoke("compress", *paths, *options)


def test_compress_writes_a_model_close_to_the_float_one(folder: Path) -> None:
    x = np.load(folder / "x.npy")
    expected = network().run(x)
    y = lk.Session(lk.load(folder / "tiny.lk")).run(x)
    assert y.shape == (6, CLASSES)
    assert np.abs(y - expected).max() < 0.05 * np.abs(expected).max()


def test_pictures_arrays_and_pixels_calibrate_alike(folder: Path) -> None:
    for name, calibration, options in (
        ("array.lk", "x.npy", ()),
        ("pixels.lk", "pixels.npy", ("--preprocess", "unit")),
    ):
        assert compress(folder, name, calibration, *options).exit_code == 0
        model, other = lk.load(folder / name), lk.load(folder / "tiny.lk")
        assert model.quants == other.quants
        for a, b in zip(model.nodes, other.nodes, strict=True):
            assert all(np.array_equal(a.params[key], b.params[key]) for key in b.params)


def test_compress_reports_in_json_and_in_words(folder: Path) -> None:
    paths = folder / "tiny.onnx", "-o", folder / "other.lk", "--calibration", folder / "x.npy"
    document = json_of("compress", *paths, "--calibrator", "minmax", "--no-equalize")
    assert document["options"] == {"calibrator": "minmax", "equalize": False}
    assert document["examples"] == 6
    assert document["file_bytes"] == (folder / "other.lk").stat().st_size
    assert document["report"], "a report per layer"
    assert "times smaller" in output_of("compress", *paths, "--samples", 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--calibrator", "percentile", "--percentile", "7"), "percentile must be above 50"),
        (("--input-range", "pictures=2:1"), "low < high"),
    ],
)
def test_options_that_do_not_fit_are_one_line(folder: Path, options: tuple[str, ...], message: str) -> None:
    result = compress(folder, "never.lk", "x.npy", *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "never.lk").exists()


def test_damaged_models_are_one_line(folder: Path, tmp_path: Path) -> None:
    for suffix, commands in ((".lk", ("inspect", "bench", "profile")), (".onnx", ("inspect",))):
        content = (folder / f"tiny{suffix}").read_bytes()
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(content[: len(content) // 2])
        for command in commands:
            result = invoke(command, path)
            assert result.exit_code == 1
            assert result.stdout == ""
            assert result.stderr.startswith("lightkern: ")
            assert result.stderr.count("\n") == 1
            assert "internal error" not in result.stderr


def test_a_float_model_where_int8_is_needed_names_the_command(folder: Path) -> None:
    for command in ("bench", "profile"):
        result = invoke(command, folder / "tiny.onnx")
        assert result.exit_code == 1
        assert "compress it first: lightkern compress" in result.stderr


def test_run_writes_what_a_session_computes(folder: Path, tmp_path: Path) -> None:
    expected = lk.Session(lk.load(folder / "tiny.lk")).run(np.load(folder / "x.npy"))
    for name, source, options in (
        ("y.npy", "x.npy", ()),
        ("z.npy", "x.npy", ("--batch", 4, "--threads", 2)),
        ("p.npy", "pictures", ("--preprocess", "unit")),
    ):
        document = json_of("run", folder / "tiny.lk", folder / source, "-o", tmp_path / name, *options)
        assert document["examples"] == 6
        assert document["outputs"]["classes"]["shape"] == [6, CLASSES]
        np.testing.assert_array_equal(np.load(tmp_path / name), expected)
    json_of("run", folder / "tiny.lk", folder / "x.npy", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as arrays:
        np.testing.assert_array_equal(arrays["classes"], expected)


def test_several_inputs_and_outputs_travel_by_name(tmp_path: Path) -> None:
    net = Net(np.random.default_rng(0))
    a, b = net.input((4, 4, 8), "NCHW"), net.input((4, 4, 8), "NCHW")
    model = net.model(net.binary("add", a, b), net.global_avg_pool(a))
    model.save(tmp_path / "two.lk")
    x = {port.name: np.random.default_rng(1).normal(0, 1, (3, 8, 4, 4)).astype(np.float32) for port in model.inputs}
    np.savez(tmp_path / "x.npz", **x)
    expected = lk.Session(model).run(x)
    assert len(expected) == 2
    json_of("run", tmp_path / "two.lk", tmp_path / "x.npz", "-o", tmp_path / "y.npz", "--batch", 2)
    with np.load(tmp_path / "y.npz") as arrays:
        assert set(arrays) == set(expected)
        for name, y in expected.items():
            np.testing.assert_array_equal(arrays[name], y)
    result = invoke("run", tmp_path / "two.lk", tmp_path / "x.npz", "-o", tmp_path / "y.npy")
    assert result.exit_code == 1
    assert "the model has 2 outputs" in result.stderr
    result = invoke("run", tmp_path / "two.lk", tmp_path, "--preprocess", "unit")
    assert result.exit_code == 1


def test_run_shows_the_best_classes(folder: Path) -> None:
    y = lk.Session(lk.load(folder / "tiny.lk")).run(np.load(folder / "x.npy"))
    args = "run", folder / "tiny.lk", folder / "pictures", "--preprocess", "unit", "--top", 2
    top = json_of(*args)["top"]
    assert [row["example"] for row in top] == [f"{i}.png" for i in range(6)]
    assert [row["classes"][0] for row in top] == y.argmax(axis=1).tolist()
    assert all(row["scores"] == sorted(row["scores"], reverse=True) for row in top)
    assert "Top 2" in output_of(*args)


def test_run_refuses_inputs_of_the_wrong_shape(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 5, 5), np.float32))
    result = invoke("run", folder / "tiny.lk", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
    assert result.exit_code == 1
    assert "input 'pictures': expected shape (n, 3, 12, 12)" in result.stderr
    assert not (tmp_path / "y.npy").exists()


def test_bench_times_load_plan_and_run(folder: Path) -> None:
    document = json_of("bench", folder / "tiny.lk", "--repeat", 5, "--batch", 2, "--threads", 2, "--isa", "scalar")
    assert (document["isa"], document["threads"], document["batch"]) == ("scalar", 2, 2)
    assert 0 < document["best_seconds"] <= document["median_seconds"] <= document["p90_seconds"]
    assert document["load_seconds"] > 0
    assert document["plan_seconds"] > 0
    assert document["examples_per_second"] == pytest.approx(2 / document["median_seconds"])
    assert "throughput" in output_of("bench", folder / "tiny.lk", "--repeat", 2)


def test_an_unknown_isa_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke("bench", folder / "tiny.lk", "--isa", "mmx")
    assert result.exit_code == 1
    assert "isa='mmx' is not one of the levels of this CPU" in result.stderr
    monkeypatch.setenv("LIGHTKERN_ISA", "mmx")
    assert invoke("bench", folder / "tiny.lk").exit_code == 1
    result = invoke("cpu")
    assert result.exit_code == 1
    assert "LIGHTKERN_ISA='mmx'" in result.stderr


def test_profile_covers_every_layer(folder: Path) -> None:
    args = "profile", folder / "tiny.lk", "--repeat", 3
    document = json_of(*args)
    names = " ".join(layer["name"] for layer in document["layers"])
    assert all(name in names for name in ("first", "depthwise", "pool", "classes"))
    macs = sum(layer["macs"] for layer in document["layers"])
    assert macs == SIDE * SIDE * 8 * (27 + 9) + 8 * CLASSES
    assert all(layer["seconds"] > 0 for layer in document["layers"] if layer["macs"])
    assert "GMAC/s" in output_of(*args, "--top", 1)
    explained = json_of(*args, "--explain")["explain"]
    assert any(choice["kernel"].startswith("gemm_") for choice in explained)
    assert "Why these kernels" in output_of(*args, "--explain")


@pytest.mark.parametrize("name", ["tiny.lk", "tiny.onnx", "float.lk"])
def test_inspect_shows_every_node(folder: Path, name: str) -> None:
    document = json_of("inspect", folder / name)
    assert document["inputs"] == [{"name": "pictures", "shape": [3, SIDE, SIDE], "layout": "NCHW"}]
    assert document["macs"] == SIDE * SIDE * 8 * (27 + 9) + 8 * CLASSES
    assert document["file_bytes"] == (folder / name).stat().st_size
    text = output_of("inspect", folder / name)
    assert all(node["name"] in text for node in document["nodes"])
    assert ("scale" in text) == (name == "tiny.lk")
    if name == "tiny.lk":
        assert document["type"] == "int8"
        assert all(node["scale"] > 0 and -128 <= node["zero_point"] <= 127 for node in document["nodes"])
        assert "Most quantization noise" in text


def test_cpu_lists_the_levels(monkeypatch: pytest.MonkeyPatch, isa_levels: list[str]) -> None:
    monkeypatch.delenv("LIGHTKERN_ISA", raising=False)
    document = json_of("cpu")
    available = [row["level"] for row in document["levels"] if row["available"]]
    assert available == isa_levels
    assert sum(row["kernels"] for row in document["levels"]) == len(_core.kernels())
    assert document["levels"][-1]["level"] == "scalar"
    assert document["levels"][-1]["kernels"] > 0
    assert document["used"] == isa_levels[0]
    monkeypatch.setenv("LIGHTKERN_ISA", "scalar")
    document = json_of("cpu")
    assert (document["used"], document["LIGHTKERN_ISA"]) == ("scalar", "scalar")
    assert "best one used" in output_of("cpu")


def test_a_terminal_sees_progress_and_a_pipe_only_json(folder: Path) -> None:
    """Stderr is a terminal, stdout a pipe."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lightkern", "run", folder / "tiny.lk", folder / "x.npy", "--batch", "1", "--json"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment)
    stdout, _ = process.communicate(timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert process.returncode == 0
    assert json.loads(stdout)["examples"] == 6
    assert "running" in shown


def test_commands_print_no_colour_and_no_progress_into_a_pipe(folder: Path) -> None:
    commands: list[Callable[[], Result]] = [
        lambda: invoke("inspect", folder / "tiny.lk"),
        lambda: invoke("bench", folder / "tiny.lk", "--repeat", 1),
        lambda: compress(folder, "again.lk", "x.npy"),
    ]
    for command in commands:
        result = command()
        assert "\x1b" not in result.output
        assert result.stderr == ""
