"""The contenders, behind one interface: lightkern, ONNX Runtime, OpenVINO and LiteRT, each at its best settings.

A `Contender` makes a `Runner` of a `Case`. Quantized peers get QDQ files made by ONNX Runtime's own tool: min-max over
the same calibration inputs that lightkern sees, weights per channel.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .case import Array, Case, Runner, UnavailableError
from .qdq import quantize

__all__ = [
    "CONTENDERS",
    "UNFUSED",
    "Contender",
    "contenders",
    "excused",
    "prepared",
]

DISTRIBUTIONS = {"ai_edge_litert": "ai-edge-litert"}
"""What installs a module, where the names differ."""


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
        *(root / f"{name}.py" for name in ("graph", "model", "opset", "float_ops", "reference")),
    ]
    sources = [path for part in parts for path in (sorted(part.rglob("*.py")) if part.is_dir() else [part])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def compressed_path(case: Case) -> Path:
    """The case as a ``.lk`` file: its own, or by the defaults of `lightkern.compress`."""
    import lightkern as lk

    if case.lk is not None:
        return case.lk

    def make(path: Path) -> None:
        lk.compress(lk.load_onnx(case.float_path()), calibration=case.examples()).save(path)

    return case.derived(f"lk/{case.key}-{_lightkern_digest()}.lk", make)


def compressed_model(case: Case) -> Any:
    """The same, loaded: a `lightkern.Model`."""
    import lightkern as lk

    return lk.load(compressed_path(case))


def prepare_lightkern(case: Case, threads: int) -> Runner:
    import lightkern as lk

    return Runner(lk.Session(compressed_model(case), threads=threads, isa=case.isa).run)


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
    for name in symbolic_batches(path):
        options.add_free_dimension_override_by_name(name, 1)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,), (result,) = session.get_inputs(), session.get_outputs()

    def run(x: Array) -> Array:
        return np.asarray(session.run([result.name], {source.name: x})[0])

    return Runner(run)


def symbolic_batches(path: Path) -> set[str]:
    """Names of the first dimension of every input, where it is symbolic."""
    import onnx

    inputs = onnx.load(path, load_external_data=False).graph.input
    shapes = [value.type.tensor_type.shape.dim for value in inputs]
    return {shape[0].dim_param for shape in shapes if len(shape) and shape[0].dim_param}


def qdq_path(case: Case, kind: str) -> Path:
    """An int8 ONNX file of the case: "given", or one of `qdq.KINDS`, made on first use."""
    if kind == "given":
        if case.qdq is None:
            raise UnavailableError("no int8 ONNX file is given")
        return case.qdq
    return case.derived(
        f"qdq/{case.key}.{kind}.onnx", lambda path: quantize(case.float_path(), path, case.examples(), kind)
    )


def prepare_onnxruntime(kind: str, *, fused: bool = True) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        path = case.float_path() if kind == "float" else qdq_path(case, kind)
        return onnxruntime_session(path, threads, fused=fused)

    return prepare


# --- OpenVINO --------------------------------------------------------------------------------------------------------


def prepare_openvino(kind: str) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        import openvino as ov

        path = case.float_path() if kind == "float" else qdq_path(case, kind)
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
    """The case's int8 TFLite file."""
    if case.tflite is None:
        raise UnavailableError("there is no TFLite file of this network")
    return case.tflite


def prepare_litert(kind: str) -> Callable[[Case, int], Runner]:
    def prepare(case: Case, threads: int) -> Runner:
        from ai_edge_litert.interpreter import Interpreter

        path = tflite_path(case)
        if kind == "float":
            from .tflite_float import float_tflite

            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
            source_path = path
            path = case.derived(f"tflite/{case.name}-{digest}.tflite", lambda new: float_tflite(source_path, new))
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
        source, result = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

        def convert(x: Array) -> Array:
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x
            return x if source["dtype"] == np.float32 else _quantized(x, source)

        def run(x: Array) -> Array:
            interpreter.set_tensor(source["index"], x)
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(result["index"]))

        def revert(y: Array) -> Array:
            scale, zero_point = result["quantization"]
            y = y if y.dtype == np.float32 else (y.astype(np.float32) - zero_point) * np.float32(scale)
            return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y

        return Runner(run, convert, revert)

    return prepare


def _quantized(x: Array, tensor: Any) -> Array:
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    return np.asarray(np.clip(np.rint(x / scale) + zero_point, limits.min, limits.max), tensor["dtype"])


CONTENDERS = [
    Contender("lightkern int8", "lightkern", "exact", prepare_lightkern),
    Contender("onnxruntime float", "onnxruntime", "float", prepare_onnxruntime("float")),
    Contender("onnxruntime u8s8", "onnxruntime", int8_products(), prepare_onnxruntime("u8s8")),
    Contender("onnxruntime s8s8", "onnxruntime", int8_products(), prepare_onnxruntime("s8s8")),
    Contender("onnxruntime 7-bit", "onnxruntime", "7-bit", prepare_onnxruntime("7bit")),
    Contender("openvino float", "openvino", "float", prepare_openvino("float"), pins_itself=True),
    Contender("openvino u8s8", "openvino", int8_products(), prepare_openvino("u8s8"), pins_itself=True),
    Contender("openvino 7-bit", "openvino", "7-bit", prepare_openvino("7bit"), pins_itself=True),
    Contender("onnxruntime given int8", "onnxruntime", int8_products(), prepare_onnxruntime("given")),
    Contender("openvino given int8", "openvino", int8_products(), prepare_openvino("given"), pins_itself=True),
    Contender("litert float", "ai_edge_litert", "float", prepare_litert("float")),
    Contender("litert int8", "ai_edge_litert", "exact", prepare_litert("int8")),
]
"""Everyone who may take part, lightkern first."""

UNFUSED = Contender("u8s8 file, exact sums", "onnxruntime", "exact", prepare_onnxruntime("u8s8", fused=False))
"""What the u8s8 file of the peers means: no int8 kernel, hence no saturation. For accuracy only."""


def contenders(only: str = "") -> list[Contender]:
    """Contenders whose name contains `only` (comma-separated alternatives)."""
    return [c for c in CONTENDERS if any(part.strip() in c.name for part in only.split(","))]


@contextlib.contextmanager
def excused(contender: Contender) -> Iterator[None]:
    """Turn whatever keeps a peer from running into `UnavailableError`; lightkern has no excuse."""
    try:
        yield
    except UnavailableError:
        raise
    except Exception as error:
        if contender.package == "lightkern":
            raise
        raise UnavailableError(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}") from error


def prepared(contender: Contender, case: Case, threads: int) -> Runner:
    """``contender.prepare``; a peer that is not installed or fails raises `UnavailableError`."""
    if importlib.util.find_spec(contender.package) is None:
        distribution = DISTRIBUTIONS.get(contender.package, contender.package)
        raise UnavailableError(f"not installed; pip install {distribution}")
    with excused(contender):
        return contender.prepare(case, threads)
