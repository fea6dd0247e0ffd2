"""The guest's part: loads a model with one runtime and runs it a number of times, marked one by one; nothing else.

Usage: infer.py {lightkern,litert,onnxruntime} MODEL RUNS
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

import numpy as np

MARK = 0x6D61726B  # as count_instructions.c knows it: a system call that fails


def mark() -> None:
    with contextlib.suppress(OSError):
        os.getpriority(os.PRIO_PROCESS, MARK)


def repeat(infer: Callable[[], object], runs: int) -> None:
    mark()
    for _ in range(runs):
        infer()
        mark()


def main(runtime: str, path: str, runs: int) -> None:
    rng = np.random.default_rng(0)
    if runtime == "lightkern":
        import lightkern

        session = lightkern.Session(lightkern.load(path))
        image = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
        repeat(lambda: session.run(image), runs)
    elif runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        values = (rng.standard_normal(details["shape"]) * 60).clip(-128, 127)
        interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
        repeat(interpreter.invoke, runs)
    elif runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        options.log_severity_level = 4
        network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = network.get_inputs()[0].name
        image = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
        repeat(lambda: network.run(None, {name: image}), runs)
    else:
        raise SystemExit(f"unknown runtime {runtime!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
