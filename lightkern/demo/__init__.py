"""The network and the pictures that ship with lightkern, for ``lightkern demo`` and for tests.

The network is a small MobileNet that ``examples/train_demo.py`` trained on Fashion-MNIST; README.md here says how.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt

from ..graph import Graph

__all__ = ["CLASSES", "Pictures", "as_input", "load_network", "load_pictures"]

CLASSES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""Names of the ten classes."""


@dataclass(frozen=True)
class Pictures:
    """Grey pictures and their classes.

    Attributes
    ----------
    test : ndarray of uint8 [1000, 28, 28]
        The first 1,000 test pictures of Fashion-MNIST; training never saw them.
    test_labels : ndarray of uint8 [1000]
    calibration : ndarray of uint8 [128, 28, 28]
        Training pictures that `lightkern.compress` measures ranges with.
    calibration_labels : ndarray of uint8 [128]
    """

    test: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.uint8]
    calibration: npt.NDArray[np.uint8]
    calibration_labels: npt.NDArray[np.uint8]


def load_network() -> Graph:
    """The trained float network: input ``pictures`` [n, 1, 28, 28] in 0..1, output ``logits`` [n, 10]."""
    from ..file_format import load_graph

    with resources.as_file(resources.files(__name__) / "network.lk") as path:
        return load_graph(path)


def load_pictures() -> Pictures:
    """The pictures that ship with the package."""
    with resources.as_file(resources.files(__name__) / "pictures.npz") as path, np.load(path) as arrays:
        return Pictures(**{name: arrays[name] for name in arrays.files})


def as_input(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn pictures uint8 [n, 28, 28] into what the network takes: float32 [n, 1, 28, 28] in 0..1."""
    return np.divide(pictures[:, None], 255, dtype=np.float32)
