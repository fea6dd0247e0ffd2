"""What ``lightkern demo`` does: compress the shipped network, then compare float and int8 on the held-out pictures."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import lightkern as lk

from ..graph import Graph
from ..packed import isa_levels
from ..session import Session
from . import as_input, load_network, load_pictures
from .layers import compare_layers

Floats = npt.NDArray[np.float32]
Runner = Callable[[Floats], Floats]
Progress = Callable[[str, int, int], None]

BATCH = 100


@dataclass
class Measurement:
    """One way to run the network over the held-out pictures.

    Attributes
    ----------
    name : str
    accuracy : float
        Share of pictures whose best class is the label.
    agreement : float
        Share of pictures whose best class is that of the float network.
    latency : float
        Median seconds for one picture.
    """

    name: str
    accuracy: float
    agreement: float
    latency: float


@dataclass
class Demo:
    """Everything that the demo found out.

    Attributes
    ----------
    threads : int
    isa : str
        Level of the int8 kernels.
    pictures : int
        Number of held-out pictures.
    float_bytes, int8_bytes : int
        Weights in float32, and the ``.lk`` file.
    compress_seconds, load_seconds, plan_seconds : float
    runs : dict of str to Measurement
        Keys ``numpy`` (float), ``onnxruntime`` (float, where it is installed) and ``int8``.
    layers : list of dict
        Float beside int8 for each step, see `compare_layers`.
    report : list of dict
        Quantization noise per layer, worst first.
    """

    threads: int
    isa: str
    pictures: int
    float_bytes: int
    int8_bytes: int
    compress_seconds: float
    load_seconds: float
    plan_seconds: float
    runs: dict[str, Measurement] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    report: list[dict[str, Any]] = field(default_factory=list)

    @property
    def speed_up(self) -> dict[str, float]:
        """Latency of every float run divided by that of int8."""
        return {key: run.latency / self.runs["int8"].latency for key, run in self.runs.items() if key != "int8"}


def measure(threads: int = 1, isa: str | None = None, repeat: int = 50, progress: Progress = lambda *_: None) -> Demo:
    """Compress, save, load and compare.

    Parameters
    ----------
    threads : int
        Threads of the int8 session and of ONNX Runtime. NumPy uses as many as its BLAS likes.
    isa : str or None
        Cap on the instruction-set level.
    repeat : int
        Timed runs of one picture, interleaved between the contestants.
    progress : callable
        Called as ``progress(stage, done, total)`` while the work goes on.

    Returns
    -------
    Demo
    """
    graph, pictures = load_network(), load_pictures()
    begin = time.perf_counter()
    model = lk.compress(graph, calibration=as_input(pictures.calibration), progress=progress)
    compressed = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "demo.lk"
        model.save(path)
        size = path.stat().st_size
        saved = time.perf_counter()
        loaded = lk.load(path)
        loaded_at = time.perf_counter()
    session = Session(loaded, threads=threads, isa=isa)
    planned_at = time.perf_counter()

    demo = Demo(
        threads=threads,
        isa=session.packed.isa or isa_levels()[0],
        pictures=len(pictures.test),
        float_bytes=sum(value.nbytes for node in graph.nodes for value in node.params.values()),
        int8_bytes=size,
        compress_seconds=compressed - begin,
        load_seconds=loaded_at - saved,
        plan_seconds=planned_at - loaded_at,
        report=list(model.metadata.get("report") or []),
    )
    runners: dict[str, tuple[str, Runner]] = {"numpy": ("float32, NumPy", graph.run)}
    peer = onnxruntime_float(graph, threads)
    if peer is not None:
        runners["onnxruntime"] = ("float32, ONNX Runtime", peer)
    runners["int8"] = ("int8, lightkern", session.run)

    x = as_input(pictures.test)
    classes = {}
    for i, (key, (name, run)) in enumerate(runners.items()):
        progress(f"run {name}", i, len(runners))
        classes[key] = classify(run, x)
    progress("time", 0, 1)
    latencies = latency({key: run for key, (_, run) in runners.items()}, x, repeat)
    for key, (name, _) in runners.items():
        accuracy = float((classes[key] == pictures.test_labels).mean())
        agreement = float((classes[key] == classes["numpy"]).mean())
        demo.runs[key] = Measurement(name, accuracy, agreement, latencies[key])
    progress("profile", 0, 1)
    demo.layers = compare_layers(graph, loaded, session.profile(repeat=repeat), x[:1], repeat)
    return demo


def classify(run: Runner, x: Floats) -> npt.NDArray[np.int64]:
    """Best class of each picture of x [n, 1, 28, 28]."""
    return np.concatenate([run(x[i : i + BATCH]).argmax(axis=1) for i in range(0, len(x), BATCH)])


def latency(runners: dict[str, Runner], x: Floats, repeat: int) -> dict[str, float]:
    """Median seconds for one picture; the runners take turns, so that a busy machine is unfair to none."""
    seconds: dict[str, list[float]] = {key: [] for key in runners}
    for i in range(repeat + 3):
        picture = x[i % len(x)][None]
        for key, run in runners.items():
            run(picture)  # the others have just emptied the caches
            begin = time.perf_counter()
            run(picture)
            seconds[key].append(time.perf_counter() - begin)
    return {key: statistics.median(values[3:]) for key, values in seconds.items()}


def onnxruntime_float(graph: Graph, threads: int) -> Runner | None:
    """The float network in ONNX Runtime, or None where onnx or onnxruntime is not installed."""
    from .onnx_export import to_onnx

    try:
        import onnxruntime

        model = to_onnx(graph)
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = graph.inputs[0].tensor
    return lambda x: np.asarray(session.run(None, {name: x})[0])
