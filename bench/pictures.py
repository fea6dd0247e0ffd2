"""Pictures for calibration and judgement: labelled ones, and seeded random crops of real photos.

Everything comes out of wheels (`packages`): 20 labelled ImageNet pictures of foolbox, photos of scikit-image and
scikit-learn. Calibration crops are drawn from the latter two only, so crops of foolbox's pictures are unseen by it.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packages import cached, read_from_package
from PIL import Image
from zoo.imagenet import IMAGENET, SIZE, centre_crop

__all__ = ["CALIBRATION_CROPS", "CROPS", "PictureSet", "network_inputs", "picture_set"]

Array = npt.NDArray[Any]

CROPS = 512
CALIBRATION_CROPS = 32
SEED = 20260
LEAST_CONTRAST = 16.0
LABELLED = "foolbox==3.3.4"
PHOTOS = {
    "scikit-image==0.25.2": {
        "skimage/data/" + name
        for name in (
            "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
            "gravel.png", "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "rocket.jpg",
        )
    },
    "scikit-learn==1.6.1": {"sklearn/datasets/images/china.jpg", "sklearn/datasets/images/flower.jpg"},
}  # fmt: skip


@dataclass(frozen=True)
class PictureSet:
    """All pictures, uint8 RGB.

    Attributes
    ----------
    labelled_bilinear, labelled_bicubic : ndarray [20, 224, 224, 3]
        Centre crops by either filter.
    labels : ndarray [20]
        ImageNet class of each.
    crops : ndarray [512, 224, 224, 3]
        Random crops for judging agreement.
    unseen : ndarray of bool [512]
        Whether the photo of each crop has no part in the calibration.
    calibration : ndarray [32, 224, 224, 3]
        Random crops for calibration.
    """

    labelled_bilinear: Array
    labelled_bicubic: Array
    labels: Array
    crops: Array
    unseen: Array
    calibration: Array


def random_crop(photo: Image.Image, generator: np.random.Generator) -> Array:
    """A square of 35 to 100 % of the shorter side, maybe mirrored, scaled to 224 x 224; flat ones are drawn again."""
    for _ in range(100):
        side = round(min(photo.size) * generator.uniform(0.35, 1.0))
        left, top = (int(generator.integers(0, size - side + 1)) for size in photo.size)
        box = (left, top, left + side, top + side)
        crop = np.asarray(photo.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box))
        if generator.random() < 0.5:
            crop = crop[:, ::-1]
        if crop.std() >= LEAST_CONTRAST:
            return crop
    raise ValueError(f"a photo of {photo.size} has no crop with a contrast of {LEAST_CONTRAST}")


def draw(photos: list[Image.Image], count: int, generator: np.random.Generator) -> Array:
    """`count` crops, the photos taking turns: uint8 [count, 224, 224, 3]."""
    return np.stack([random_crop(photos[i % len(photos)], generator) for i in range(count)])


def _make(path: Path) -> None:
    photos = [
        Image.open(io.BytesIO(content)).convert("RGB")
        for requirement, names in PHOTOS.items()
        for content in read_from_package(requirement, names.__contains__).values()
    ]
    files = read_from_package(LABELLED, lambda name: re.search(r"/imagenet_\d+_\d+\.jpg$", name) is not None)
    labelled = [Image.open(io.BytesIO(content)).convert("RGB") for content in files.values()]
    generator = np.random.default_rng(SEED)
    every = photos + labelled
    np.savez(
        path,
        labelled_bilinear=np.stack([centre_crop(picture, Image.Resampling.BILINEAR) for picture in labelled]),
        labelled_bicubic=np.stack([centre_crop(picture, Image.Resampling.BICUBIC) for picture in labelled]),
        labels=np.array([int(name.rsplit("_", 1)[1].removesuffix(".jpg")) for name in files]),
        calibration=draw(photos, CALIBRATION_CROPS, generator),
        crops=draw(every, CROPS, generator),
        unseen=np.array([i % len(every) >= len(photos) for i in range(CROPS)]),
    )


def picture_set() -> PictureSet:
    """All pictures, made on first use (needs the package index then)."""
    with np.load(cached("pictures.npz", _make)) as content:
        return PictureSet(**content)


def network_inputs(name: str) -> tuple[Array, Array, Array]:
    """Inputs of an ImageNet network.

    Parameters
    ----------
    name : str
        A key of `zoo.imagenet.IMAGENET`.

    Returns
    -------
    labelled : ndarray float32 [20, 3, 224, 224]
    crops : ndarray float32 [512, 3, 224, 224]
    calibration : ndarray float32 [32, 3, 224, 224]
    """
    source, pictures = IMAGENET[name], picture_set()
    bicubic = source.resample == Image.Resampling.BICUBIC
    labelled = pictures.labelled_bicubic if bicubic else pictures.labelled_bilinear
    return source.normalize(labelled), source.normalize(pictures.crops), source.normalize(pictures.calibration)


if __name__ == "__main__":
    for field, array in vars(picture_set()).items():
        print(f"{field:18} {array.dtype!s:6} {array.shape}")
