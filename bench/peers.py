"""The contenders, behind one interface: lightkern, ONNX Runtime, OpenVINO and LiteRT, each at its best settings.

A `Case` is a network as files; a `Contender` turns it into a function of one input array. Quantized peers get QDQ files
made by ONNX Runtime's own tool: min-max over the same 32 calibration inputs that lightkern sees, weights per channel.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packages import cached
from qdq import qdq_path

__all__ = [
    "CONTENDERS",
    "UNFUSED",
    "Case",
    "Contender",
    "Runner",
    "UnavailableError",
    "compressed_model",
    "contenders",
    "pin",
    "prepared",
    "spread",
    "worker_threads",
]

Array = npt.NDArray[Any]

TFLITE_VARIABLE = "LIGHTKERN_BENCH_TFLITE"


class UnavailableError(Exception):
    """A contender cannot take part; the message says why."""


@dataclass(frozen=True)
class Case:
    """A network to run.

    Attributes
    ----------
    name : str
        Stem of the cached files.
    onnx : Path
        Float ONNX file with one input [n, ...] and one output [n, ...].
    calibration : callable
        Returns the calibration inputs, float32 [32, ...].
    """

    name: str
    onnx: Path
    calibration: Callable[[], Array]

    @functools.cached_property
    def key(self) -> str:
        """Name and a digest of the file, so that derived files never outlive it."""
        return f"{self.name}-{hashlib.sha256(self.onnx.read_bytes()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Runner:
    """A network loaded by a runtime.

    Attributes
    ----------
    run : callable
        From the runtime's own input array to its output, float32 or int8 [1, ...].
    convert : callable
        From float32 [1, ...] (NCHW) to the runtime's own input; not part of the time.
    """

    run: Callable[[Array], Array]
    convert: Callable[[Array], Array] = np.asarray

    def bind(self, x: Array) -> Callable[[], Array]:
        """A function without arguments that runs on `x`."""
        return functools.partial(self.run, self.convert(x))


@dataclass(frozen=True)
class Contender:
    """A runtime with one kind of arithmetic.

    Attributes
    ----------
    name : str
        As the tables show it.
    package : str
        Module that must be importable.
    exactness : {"float", "exact", "7-bit", "saturates"}
        What its products are: "exact" is int8 with exact sums; "7-bit" is exact too, with weights of half the
        resolution; "saturates" adds pairs of products in 16 bits and clips them.
    prepare : callable
        ``prepare(case, threads)`` returns a `Runner` or raises `UnavailableError`.
    pins_itself : bool
        The runtime gives its workers CPUs of their own; otherwise `spread` does.
    """

    name: str
    package: str
    exactness: str
    prepare: Callable[[Case, int], Runner]
    pins_itself: bool = False


def pin(threads: int) -> None:
    """Restrict this thread, and all that it starts later, to the first `threads` CPUs (Linux; elsewhere no effect)."""
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(ALL_CPUS)
        if threads > len(cpus):
            raise UnavailableError(f"{threads} threads wanted, this process may use {len(cpus)} CPUs")
        os.sched_setaffinity(0, cpus[:threads])


def worker_threads() -> set[int]:
    """Identifiers of the threads of this process (Linux; elsewhere empty)."""
    tasks = Path("/proc/self/task")
    return {int(task.name) for task in tasks.iterdir()} if tasks.is_dir() else set()


def spread(workers: set[int], threads: int) -> None:
    """Give each worker thread a CPU of its own among the first `threads`, leaving the first to the caller.

    Without this the scheduler of a busy machine now and then puts two threads of a pool on one CPU, for whole bursts.
    Pools differ in how many threads they start; the busiest come first.
    """
    cpus = sorted(ALL_CPUS)[1:threads]

    def ticks(worker: int) -> int:
        fields = Path(f"/proc/self/task/{worker}/stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    if cpus:
        for i, worker in enumerate(sorted(workers, key=ticks, reverse=True)):
            os.sched_setaffinity(worker, {cpus[i % len(cpus)]})


ALL_CPUS: frozenset[int] = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


@functools.cache
def int8_products() -> str:
    """What peers that rely on ``vpmaddubsw`` do on this CPU: "saturates" on x86 without VNNI, else "exact"."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    flags = next((line.split() for line in text.splitlines() if line.startswith(("flags", "Features"))), [])
    x86 = "sse2" in flags
    return "saturates" if x86 and not {"avx512_vnni", "avx_vnni"} & set(flags) else "exact"


# --- lightkern -------------------------------------------------------------------------------------------------------


def _lightkern_digest() -> str:
    """Digest of everything in lightkern that shapes a compressed model."""
    import lightkern

    root = Path(lightkern.__file__).parent
    parts = [
        root / "compression",
        root / "importers",
        *(root / f"{name}.py" for name in ("graph", "model", "float_ops")),
    ]
    sources = [path for part in parts for path in (sorted(part.rglob("*.py")) if part.is_dir() else [part])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def compressed_model(case: Case) -> Any:
    """The case as a `lightkern.Model` by the defaults of `lightkern.compress`, cached as a ``.lk`` file."""
    import lightkern as lk

    for name in ("load_onnx", "compress"):
        if not hasattr(lk, name):
            raise UnavailableError(f"lightkern has no {name} yet")

    def make(path: Path) -> None:
        lk.compress(lk.load_onnx(case.onnx), calibration=case.calibration()).save(path)

    return lk.load(cached(f"lk/{case.key}-{_lightkern_digest()}.lk", make))


def prepare_lightkern(case: Case, threads: int) -> Runner:
    import lightkern as lk

    if not hasattr(lk, "Session"):
        raise UnavailableError("lightkern has no Session yet")
    return Runner(lk.Session(compressed_model(case), threads=threads).run)


# --- ONNX Runtime ----------------------------------------------------------------------------------------------------


def onnxruntime_session(path: Path, threads: int, *, fused: bool = True) -> Runner:
    """Float or QDQ file, batch fixed to 1, spinning workers; unfused: QDQ files in float between roundings."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if fused else level.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("n", 1)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,), (result,) = session.get_inputs(), session.get_outputs()

    def run(x: Array) -> Array:
        return np.asarray(session.run([result.name], {source.name: x})[0])

    return Runner(run)


def prepare_onnxruntime(kind: str, *, fused: bool = True) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        path = case.onnx if kind == "float" else qdq_path(case.key, case.onnx, case.calibration, kind)
        return onnxruntime_session(path, threads, fused=fused)

    return prepare


# --- OpenVINO --------------------------------------------------------------------------------------------------------


def prepare_openvino(kind: str) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        import openvino as ov

        path = case.onnx if kind == "float" else qdq_path(case.key, case.onnx, case.calibration, kind)
        core = ov.Core()
        model = core.read_model(path)
        model.reshape([1, *(d.get_length() for d in list(model.input().partial_shape)[1:])])
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": "YES",
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def run(x: Array) -> Array:
            return np.asarray(request.infer([x], share_inputs=True, share_outputs=True)[0])

        return Runner(run)

    return prepare


# --- LiteRT ----------------------------------------------------------------------------------------------------------


def tflite_path(case: Case) -> Path:
    """The case's int8 TFLite file, from the folder that ``LIGHTKERN_BENCH_TFLITE`` names."""
    folder = os.environ.get(TFLITE_VARIABLE)
    if not folder:
        raise UnavailableError(f"{TFLITE_VARIABLE} does not name a folder with TFLite files")
    path = Path(folder) / f"{case.name}.tflite"
    if not path.is_file():
        raise UnavailableError(f"there is no {path.name} in the folder of {TFLITE_VARIABLE}")
    return path


def prepare_litert(kind: str) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        from ai_edge_litert.interpreter import Interpreter

        path = tflite_path(case)
        if kind == "float":
            from tflite_float import float_tflite

            path = cached(f"tflite/{case.name}.float.tflite", functools.partial(float_tflite, path))
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
        scale, zero_point = source["quantization"]

        def convert(x: Array) -> Array:
            nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            return nhwc if kind == "float" else np.clip(np.rint(nhwc / scale) + zero_point, -128, 127).astype(np.int8)

        def run(x: Array) -> Array:
            interpreter.set_tensor(source["index"], x)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(result["index"]))

        return Runner(run, convert)

    return prepare


CONTENDERS = [
    Contender("lightkern int8", "lightkern", "exact", prepare_lightkern),
    Contender("onnxruntime float", "onnxruntime", "float", prepare_onnxruntime("float")),
    Contender("onnxruntime u8s8", "onnxruntime", int8_products(), prepare_onnxruntime("u8s8")),
    Contender("onnxruntime s8s8", "onnxruntime", int8_products(), prepare_onnxruntime("s8s8")),
    Contender("onnxruntime 7-bit", "onnxruntime", "7-bit", prepare_onnxruntime("7bit")),
    Contender("openvino float", "openvino", "float", prepare_openvino("float"), pins_itself=True),
    Contender("openvino u8s8", "openvino", int8_products(), prepare_openvino("u8s8"), pins_itself=True),
    Contender("openvino 7-bit", "openvino", "7-bit", prepare_openvino("7bit"), pins_itself=True),
    Contender("litert float", "ai_edge_litert", "float", prepare_litert("float")),
    Contender("litert int8", "ai_edge_litert", "exact", prepare_litert("int8")),
]
"""Everyone who may take part, lightkern first."""

UNFUSED = Contender("u8s8 file, exact sums", "onnxruntime", "exact", prepare_onnxruntime("u8s8", fused=False))
"""What the u8s8 file of the peers means: no int8 kernel, hence no saturation. For accuracy only."""


def contenders(only: str = "") -> list[Contender]:
    """Contenders whose name contains `only` (comma-separated alternatives)."""
    return [c for c in CONTENDERS if any(part.strip() in c.name for part in only.split(","))]


def prepared(contender: Contender, case: Case, threads: int) -> Runner:
    """``contender.prepare``, with a missing package and a refused model turned into `UnavailableError`."""
    if importlib.util.find_spec(contender.package) is None:
        raise UnavailableError(f"{contender.package} is not installed")
    try:
        return contender.prepare(case, threads)
    except ImportError as error:
        raise UnavailableError(f"cannot import: {error}") from error
