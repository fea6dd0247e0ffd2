"""The cases of the benchmarks: zoo networks, ImageNet networks and single-layer networks, with their inputs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
from packages import cache_folder, cached
from pictures import network_inputs

from lightkern.compare.case import Case

__all__ = ["ZOO", "imagenet_case", "network_case", "zoo_case", "zoo_input", "zoo_inputs"]

Array = npt.NDArray[Any]

ZOO = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2", "efficientnet_lite0")
"""Networks with seeded weights; their names are known without importing torch."""


TFLITE_VARIABLE = "LIGHTKERN_BENCH_TFLITE"


def network_case(name: str, onnx: Path, calibration: Callable[[], Array]) -> Case:
    """A network whose derived files stay in the cache, with its TFLite file where there is one."""
    folder = os.environ.get(TFLITE_VARIABLE)
    tflite = Path(folder) / f"{name}.tflite" if folder else None
    return Case(name, cache_folder(), onnx, calibration, tflite=tflite if tflite and tflite.is_file() else None)


def zoo_case(name: str) -> Case:
    """A zoo network, calibrated with crops of photos."""

    def export(path: Any) -> None:
        from zoo.export import export_onnx, seeded

        export_onnx(seeded(name), path)

    calibration = functools.partial(_calibration, "mobilenet_v2_imagenet")
    return network_case(name, cached(f"{name}.onnx", export), calibration)


def imagenet_case(name: str) -> Case:
    """A network of `zoo.imagenet.IMAGENET`."""
    from zoo.imagenet import imagenet_path

    return network_case(name, imagenet_path(name), functools.partial(_calibration, name))


def _calibration(name: str) -> Array:
    return network_inputs(name)[2]


def zoo_inputs() -> Array:
    """Pictures for judging, float32 [20, 3, 224, 224]."""
    return network_inputs("mobilenet_v2_imagenet")[0]


def zoo_input() -> Array:
    """One picture for timing, float32 [1, 3, 224, 224]."""
    return network_inputs("mobilenet_v2_imagenet")[0][:1]
