"""lightkern beside the runtimes that are installed here, on one network: time and accuracy in one table.

    interleave.py   the timing harness: contenders take turns in short bursts
    case.py         a network as files, and the same loaded by a runtime
    contenders.py   lightkern, ONNX Runtime, OpenVINO and LiteRT behind one interface
    qdq.py          int8 ONNX files for the peers; tflite_float.py: float files for LiteRT
    race.py         a race: pinned threads, ratios, accuracy against the float network, tables

``lightkern bench --compare`` and the scripts in ``bench/`` stand on this. No runtime is imported before its turn.
"""
