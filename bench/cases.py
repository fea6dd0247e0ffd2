"""The cases of the benchmarks: zoo networks, ImageNet networks and single-layer networks, with their inputs."""

from __future__ import annotations

import functools
from typing import Any

import numpy.typing as npt
from packages import cached
from peers import Case
from pictures import network_inputs

__all__ = ["ZOO", "imagenet_case", "zoo_case", "zoo_input"]

Array = npt.NDArray[Any]

ZOO = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2", "efficientnet_lite0")
"""Networks with seeded weights; their names are known without importing torch."""


def zoo_case(name: str) -> Case:
    """A zoo network, calibrated with crops of photos."""

    def export(path: Any) -> None:
        from zoo.export import export_onnx, seeded

        export_onnx(seeded(name), path)

    return Case(name, cached(f"{name}.onnx", export), functools.partial(_calibration, "mobilenet_v2_imagenet"))


def imagenet_case(name: str) -> Case:
    """A network of `zoo.imagenet.IMAGENET`."""
    from zoo.imagenet import imagenet_path

    return Case(name, imagenet_path(name), functools.partial(_calibration, name))


def _calibration(name: str) -> Array:
    return network_inputs(name)[2]


def zoo_input() -> Array:
    """One picture for timing, float32 [1, 3, 224, 224]."""
    return network_inputs("mobilenet_v2_imagenet")[0][:1]
