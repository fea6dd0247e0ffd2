"""Start-up: from the start of a fresh Python process to the first result, contenders in turns.

    python bench/startup.py --models mobilenet_v2 --rounds 7

The files are in the page cache, and every package has its bytecode cached, as pip installs it, lightkern in a source
folder too. A process imports the runtime, loads the network, runs it once on zeros and ends; the time is taken from
outside and includes the interpreter's own start, which "python" shows alone.

Every peer's package imports NumPy, and so does "lightkern int8", whose input and output are arrays; "python + numpy"
shows what that takes. "lightkern int8, without NumPy" loads the same file by its path, and gives memoryviews to run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from cases import zoo_case

from lightkern.compare.case import Case, UnavailableError
from lightkern.compare.contenders import CONTENDERS, compressed_path, prepared, qdq_path

__all__ = ["programs", "race_startup"]

LIGHTKERN = "lightkern int8"
WITHOUT_NUMPY = "lightkern int8, without NumPy"
BARE, BARE_NUMPY = "python", "python + numpy"

BUFFERS = (
    "import sys, lightkern as lk; x = memoryview(bytearray(4 * 3 * 224 * 224)).cast('f', (1, 3, 224, 224)); "
    "s = lk.Session(sys.argv[1]); n = s.packed.outputs[0].api_shape[0]; "
    "y = memoryview(bytearray(4 * n)).cast('f', (1, n)); s.run(x, out=y); assert 'numpy' not in sys.modules"
)
BEGIN = "import sys, numpy as np; x = np.zeros((1, 3, 224, 224), np.float32); path = sys.argv[1]; "
ORT = (
    "import onnxruntime as ort; o = ort.SessionOptions(); o.intra_op_num_threads = 1; o.log_severity_level = 3; "
    "s = ort.InferenceSession(path, o, providers=['CPUExecutionProvider']); "
    "s.run(None, {s.get_inputs()[0].name: x})"
)
OPENVINO = (
    "import openvino as ov; c = ov.Core(); m = c.read_model(path); m.reshape([1, 3, 224, 224]); "
    "c.compile_model(m, 'CPU', {'INFERENCE_NUM_THREADS': '1', 'PERFORMANCE_HINT': 'LATENCY'})([x])"
)
LITERT = (
    "from ai_edge_litert.interpreter import Interpreter; i = Interpreter(path, num_threads=1); i.allocate_tensors(); "
    "d = i.get_input_details()[0]; i.set_tensor(d['index'], np.zeros(d['shape'], d['dtype'])); i.invoke(); "
    "i.get_tensor(i.get_output_details()[0]['index'])"
)


def programs(case: Case) -> dict[str, tuple[str, Path | None]]:
    """By contender: a Python program, and the file that it loads."""
    found: dict[str, tuple[str, Path | None]] = {
        BARE: ("pass", None),
        BARE_NUMPY: (BEGIN, None),
        WITHOUT_NUMPY: (BUFFERS, compressed_path(case)),
        LIGHTKERN: (BEGIN + "import lightkern as lk; lk.Session(lk.load(path)).run(x)", compressed_path(case)),
    }
    for name, program, find in (
        ("onnxruntime float", ORT, case.float_path),
        ("onnxruntime u8s8", ORT, lambda: qdq_path(case, "u8s8")),
        ("openvino float", OPENVINO, case.float_path),
        ("openvino u8s8", OPENVINO, lambda: qdq_path(case, "u8s8")),
        ("litert int8", LITERT, lambda: case.tflite),
    ):
        contender = next(c for c in CONTENDERS if c.name == name)
        try:
            prepared(contender, case, 1)
        except UnavailableError as error:
            print(f"{name} skipped: {error}", file=sys.stderr)
            continue
        found[name] = BEGIN + program, find()
    return found


def race_startup(case: Case, rounds: int) -> dict[str, list[float]]:
    """Seconds of each process, by contender, one per round."""
    found = programs(case)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    generator = np.random.default_rng(0)
    names = list(found)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(rounds + 1):  # the first fills the page cache and writes bytecode
        for i in generator.permutation(len(names)):
            program, path = found[names[i]]
            begin = time.perf_counter()
            command = [sys.executable, "-c", program, str(path)]
            subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
            if turn:
                seconds[names[i]].append(time.perf_counter() - begin)
    return seconds


def table(name: str, seconds: dict[str, list[float]]) -> str:
    """Medians, fastest first; a ratio is lightkern's time over the peer's, the median over rounds."""
    lines = [f"{name}: process start to first result", f"{'':43} lightkern / peer, with and without NumPy"]
    for contender, taken in sorted(seconds.items(), key=lambda item: float(np.median(item[1]))):
        line = f"{contender:30} {np.median(taken) * 1e3:>7.0f} ms"
        if contender not in (LIGHTKERN, WITHOUT_NUMPY, BARE, BARE_NUMPY):
            line += "".join(
                f" {np.median(np.array(seconds[ours]) / np.array(taken)):>7.2f}" for ours in (LIGHTKERN, WITHOUT_NUMPY)
            )
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="mobilenet_v2", help="comma-separated (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    content = {}
    for name in arguments.models.split(","):
        content[name] = race_startup(zoo_case(name), arguments.rounds)
        print(table(name, content[name]), end="\n\n", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
