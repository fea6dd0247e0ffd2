"""The guest's part: loads a model with one runtime and runs it a number of times; nothing else.

Usage: infer.py {lightkern,litert,onnxruntime} MODEL RUNS
"""

from __future__ import annotations

import sys

import numpy as np


def main(runtime: str, path: str, runs: int) -> None:
    rng = np.random.default_rng(0)
    if runtime == "lightkern":
        import lightkern

        session = lightkern.Session(lightkern.load(path))
        image = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
        for _ in range(runs):
            session.run(image)
    elif runtime == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(path, num_threads=1)
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        values = (rng.standard_normal(details["shape"]) * 60).clip(-128, 127)
        interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
        for _ in range(runs):
            interpreter.invoke()
    elif runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = network.get_inputs()[0].name
        image = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
        for _ in range(runs):
            network.run(None, {name: image})
    else:
        raise SystemExit(f"unknown runtime {runtime!r}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
