"""The peers of ``bench --compare`` and the files given to it: stand-ins of runtimes, then runtimes where installed.

A stand-in is a module of the runtime's name that answers as the runtime does, with lightkern's reference or ONNX
Runtime behind it: what the comparison does with shapes, layouts, types, settings and failures is tested on every
machine.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lightkern as lk
from lightkern.cli.app import app
from lightkern.compare.affinity import unpin
from lightkern.compare.case import Case, Runner
from lightkern.compare.contenders import CONTENDERS, Contender
from lightkern.compare.qdq import quantize
from lightkern.compare.race import OURS, race
from lightkern.demo.onnx_export import to_onnx

pytestmark = [
    pytest.mark.filterwarnings("default"),  # the peers warn as they like
    pytest.mark.skipif(os.environ.get("LIGHTKERN_TEST_EMULATED") == "1", reason="times nothing under emulation"),
]


@pytest.fixture(autouse=True)
def _every_cpu() -> Iterator[None]:
    yield
    unpin()


def network() -> lk.Graph:
    """A pointwise convolution that keeps its layout to the end: input [n, 3, 6, 8], output [n, 4, 6, 8]."""
    rng = np.random.default_rng(5)
    attrs = {"kernel": [1, 1], "stride": [1, 1], "padding": [0] * 4, "dilation": [1, 1], "groups": 1}
    params = {"weight": rng.normal(0, 1, (4, 1, 1, 3)).astype(np.float32), "bias": np.ones(4, np.float32)}
    node = lk.Node("conv2d", "conv", ["x"], "y", attrs, params)
    return lk.Graph("small", [lk.Port("x", "x", (6, 8, 3))], [lk.Port("y", "y", (6, 8, 4))], [node])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small.onnx, small.lk, and examples for both."""
    folder = tmp_path_factory.mktemp("peers")
    x = np.random.default_rng(2).normal(0, 1, (6, 3, 6, 8)).astype(np.float32)
    np.save(folder / "x.npy", x)
    (folder / "small.onnx").write_bytes(to_onnx(network()))
    lk.compress(network(), calibration=x).save(folder / "small.lk")
    return folder


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``stand_in(name, **contents)``: a module that is found under this name until the test ends."""

    def make(name: str, **contents: Any) -> ModuleType:
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    return make


def compared(folder: Path, *args: Any, threads: int = 1) -> dict[str, Any]:
    """What ``lightkern bench small.onnx --compare ... --json`` says."""
    model, common = folder / "small.onnx", ("--input", folder / "x.npy", "--rounds", 1, "--threads", threads, "--json")
    result = CliRunner().invoke(app, [str(a) for a in ("bench", model, "--compare", *common, *args)])
    assert result.exit_code == 0, result.output
    document = dict(json.loads(result.stdout))
    for row in document["contenders"].values():
        row["sqnr"] = np.inf if row["sqnr"] is None else row["sqnr"]  # equal outputs; JSON has no infinity
    return document


# --- stand-ins -------------------------------------------------------------------------------------------------------


class TableInterpreter:
    """LiteRT's interpreter, as far as it is used: an int8 NHWC network. The "TFLite file" is a .lk file."""

    threads: list[int] = []  # noqa: RUF012

    def __init__(self, path: str, num_threads: int) -> None:
        self.model = lk.load(path)
        self.threads.append(num_threads)
        self.allocated = False

    def _detail(self, index: int, port: lk.Port) -> dict[str, Any]:
        quant = self.model.quants[port.tensor]
        return {"index": index, "dtype": np.int8, "quantization": (quant.scale, quant.zero_point)}

    def allocate_tensors(self) -> None:
        self.allocated = True

    def get_input_details(self) -> list[dict[str, Any]]:
        return [self._detail(10, self.model.inputs[0])]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [self._detail(20, self.model.outputs[0])]

    def set_tensor(self, index: int, x: Any) -> None:
        assert index == 10
        assert self.allocated
        assert x.dtype == np.int8
        assert x.shape == (1, 6, 8, 3)  # NHWC
        assert x.flags.c_contiguous
        self.x = x.transpose(0, 3, 1, 2)

    def invoke(self) -> None:
        self.y = lk.reference.run(self.model, self.x)

    def get_tensor(self, index: int) -> Any:
        assert index == 20
        return self.y.transpose(0, 2, 3, 1)


def test_litert_gets_int8_nhwc_and_is_judged_in_nchw(folder: Path, stand_in: Any) -> None:
    """Fed with our own integers it must be exactly as close to the float network as we are."""
    stand_in("ai_edge_litert", __path__=[])
    stand_in("ai_edge_litert.interpreter", Interpreter=TableInterpreter)
    TableInterpreter.threads.clear()
    threads = min(2, len(os.sched_getaffinity(0)))
    document = compared(folder, "--tflite", folder / "small.lk", "--contenders", "litert int8", threads=threads)
    theirs, ours = document["contenders"]["litert int8"], document["contenders"][OURS]
    assert theirs["sqnr"] == pytest.approx(ours["sqnr"], abs=1e-6)
    assert theirs["agreement"] == ours["agreement"]
    assert 20 < ours["sqnr"] < 100
    assert theirs["products"] == "exact"
    assert TableInterpreter.threads == [threads]
    assert document["skipped"] == {}


def test_a_tflite_file_without_litert(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT is named only where a file for it is given; absent, it is skipped with the reason."""
    find_spec = sys.modules["importlib.util"].find_spec  # type: ignore[attr-defined]
    absent = lambda name, *rest: None if name == "ai_edge_litert" else find_spec(name, *rest)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", absent)
    document = compared(folder, "--tflite", folder / "small.lk", "--contenders", "litert")
    reason = "not installed; pip install ai-edge-litert"
    assert document["skipped"] == {"litert float": reason, "litert int8": reason}
    assert list(document["contenders"]) == [OURS]


def openvino_on(run_file: Any, seen: dict[str, Any]) -> dict[str, Any]:
    """Contents of a module that stands in for OpenVINO; ``run_file(path)`` returns a function of one input."""

    class Model:
        def __init__(self, path: Path) -> None:
            self.path = path

        def input(self) -> Any:
            sizes = [SimpleNamespace(get_length=lambda n=n: n) for n in (3, 6, 8)]
            return SimpleNamespace(partial_shape=[None, *sizes])  # the first has no length

        def reshape(self, shape: list[int]) -> None:
            seen["shape"] = shape

    class Core:
        def read_model(self, path: Path) -> Model:
            return Model(path)

        def compile_model(self, model: Model, device: str, settings: dict[str, str]) -> Any:
            seen["device"], seen["settings"] = device, settings
            run = run_file(model.path)
            infer = lambda xs, share_inputs, share_outputs: {0: run(xs[0])}  # noqa: E731
            return SimpleNamespace(create_infer_request=lambda: SimpleNamespace(infer=infer))

    return {"Core": Core}


def onnxruntime_on(path: Path) -> Any:
    """A function that runs an ONNX file."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def test_openvino_runs_both_files_at_its_best_settings(folder: Path, tmp_path: Path, stand_in: Any) -> None:
    """The float file and the given int8 one, one example at a time, as many threads as asked for."""
    pytest.importorskip("onnxruntime")
    quantize(folder / "small.onnx", tmp_path / "given.onnx", np.load(folder / "x.npy"), "7bit")
    seen: dict[str, Any] = {}
    stand_in("openvino", **openvino_on(onnxruntime_on, seen))
    names = ["openvino float", "openvino given int8"]
    document = compared(folder, "--qdq", tmp_path / "given.onnx", "--contenders", ",".join(names))
    assert document["skipped"] == {}
    assert set(document["contenders"]) == {OURS, *names}
    assert document["contenders"]["openvino float"]["sqnr"] > 100
    assert 20 < document["contenders"]["openvino given int8"]["sqnr"] < 80
    assert seen["shape"] == [1, 3, 6, 8]
    assert seen["device"] == "CPU"
    wanted = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": "1"}
    assert wanted.items() <= seen["settings"].items()


def failing_at_run(case: Case, threads: int) -> Runner:
    def run(x: Any) -> Any:
        raise RuntimeError("no such primitive")

    return Runner(run)


def of_another_shape(case: Case, threads: int) -> Runner:
    return Runner(lambda x: np.zeros((1, 7), np.float32))


def test_a_peer_that_fails_late_costs_its_own_row_only(folder: Path, tmp_path: Path) -> None:
    """Failing when it runs, or giving outputs that cannot be compared; ours has no such excuse."""
    x = np.load(folder / "x.npy")
    case = Case("small", tmp_path, folder / "small.onnx", lk=folder / "small.lk")
    peers = [
        Contender("fails", "numpy", "float", failing_at_run),
        Contender("other", "numpy", "exact", of_another_shape),
    ]
    judged = {"examples": x, "float_outputs": network().run(x)}
    result = race(case, x[:1], 1, [CONTENDERS[0], *peers], 1, **judged)
    assert list(result.timings) == list(result.closeness) == [OURS]
    assert result.skipped["fails"] == "RuntimeError: no such primitive"
    assert result.skipped["other"] == "ValueError: outputs of shape (6, 7), the float network has (6, 4, 6, 8)"
    with pytest.raises(RuntimeError, match="no such primitive"):
        race(case, x[:1], 1, [Contender("ours", "lightkern", "exact", failing_at_run)], 1, **judged)


# --- the runtimes ----------------------------------------------------------------------------------------------------


def test_a_given_qdq_file_on_onnxruntime(folder: Path, tmp_path: Path) -> None:
    """It runs the file as given, beside the ones made here; a file that is none of ONNX is skipped with a reason."""
    pytest.importorskip("onnxruntime")
    given = tmp_path / "given.onnx"
    quantize(folder / "small.onnx", given, np.load(folder / "x.npy"), "7bit")
    document = compared(folder, "--qdq", given, "--contenders", "onnxruntime given,onnxruntime 7-bit")
    assert document["skipped"] == {}
    given_row, made_row = (document["contenders"][f"onnxruntime {kind}"] for kind in ("given int8", "7-bit"))
    assert given_row["sqnr"] == pytest.approx(made_row["sqnr"], abs=0.1)  # the same file, in fact
    assert 20 < given_row["sqnr"] < 80
    given.write_bytes(b"not an ONNX file")
    document = compared(folder, "--qdq", given, "--contenders", "onnxruntime given")
    assert list(document["contenders"]) == [OURS]
    assert "onnxruntime given int8" in document["skipped"]


def test_openvino(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    given = tmp_path / "given.onnx"
    quantize(folder / "small.onnx", given, np.load(folder / "x.npy"), "7bit")
    document = compared(folder, "--qdq", given, "--contenders", "openvino")
    assert document["skipped"] == {}
    rows = document["contenders"]
    assert set(rows) == {OURS, *(f"openvino {kind}" for kind in ("float", "u8s8", "7-bit", "given int8"))}
    assert rows["openvino float"]["sqnr"] > 80
    assert all(10 < row["sqnr"] < 80 for name, row in rows.items() if name != "openvino float")


def write_tflite(model: lk.Model, path: Path) -> None:
    """The network as an int8 TFLite file: one convolution with the numbers of a compressed model."""
    flatbuffers = pytest.importorskip("flatbuffers")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    node = model.nodes[0]
    names = (model.inputs[0].tensor, model.outputs[0].tensor)
    x, y = (model.quants[name] for name in names)
    weight_scale = node.params["weight_scale"].astype(np.float64)

    buffers = [schema.BufferT()]

    def tensor(name: str, kind: int, shape: tuple[int, ...], scale: Any, zero_point: Any, content: Any = None) -> Any:
        t = schema.TensorT()
        t.name, t.type, t.shape, t.buffer = name, kind, list(shape), 0
        t.quantization = schema.QuantizationParametersT()
        t.quantization.scale = np.atleast_1d(scale).tolist()
        t.quantization.zeroPoint = np.broadcast_to(zero_point, np.shape(np.atleast_1d(scale))).tolist()
        if content is not None:
            buffers.append(schema.BufferT())
            buffers[-1].data = np.frombuffer(content.tobytes(), np.uint8)
            t.buffer = len(buffers) - 1
        return t

    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("x", int8, (1, 6, 8, 3), x.scale, x.zero_point),
        tensor("weight", int8, (4, 1, 1, 3), weight_scale, 0, node.params["weight"].astype(np.int8)),
        tensor("bias", int32, (4,), weight_scale * x.scale, 0, node.params["bias"].astype(np.int32)),
        tensor("y", int8, (1, 6, 8, 4), y.scale, y.zero_point),
    ]
    convolution = schema.OperatorT()
    convolution.inputs, convolution.outputs, convolution.opcodeIndex = [0, 1, 2], [3], 0
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = schema.Conv2DOptionsT()
    convolution.builtinOptions.strideH = convolution.builtinOptions.strideW = 1
    convolution.builtinOptions.dilationHFactor = convolution.builtinOptions.dilationWFactor = 1
    graph.inputs, graph.outputs, graph.operators = [0], [3], [convolution]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 3
    file = schema.ModelT()
    file.version, file.subgraphs, file.operatorCodes, file.buffers = 3, [graph], [code], buffers
    builder = flatbuffers.Builder(1024)
    builder.Finish(file.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def test_litert(folder: Path, tmp_path: Path) -> None:
    """The int8 file as it is, and as the float network that its numbers mean."""
    pytest.importorskip("ai_edge_litert")
    model = lk.load(folder / "small.lk")
    write_tflite(model, tmp_path / "small.tflite")
    document = compared(folder, "--tflite", tmp_path / "small.tflite", "--contenders", "litert")
    assert document["skipped"] == {}
    rows = document["contenders"]
    assert set(rows) == {OURS, "litert float", "litert int8"}
    assert rows["litert int8"]["sqnr"] == pytest.approx(rows[OURS]["sqnr"], abs=0.5)  # the same integers
    assert rows["litert int8"]["sqnr"] + 1 < rows["litert float"]["sqnr"] < 80  # only the weights are rounded
