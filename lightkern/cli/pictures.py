"""Preprocessing of pictures: the ``--preprocess`` option and what it does to each picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError, MissingExtraError
from ..graph import Port

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes an input: resize, centre crop, ``(pixel / scale - mean) / std``, layout.

    Attributes
    ----------
    resize : int or None
        Length of the shorter side before cropping; None resizes so that `crop_ratio` of the picture is kept.
    crop : int or None
        Side of the centre crop; None takes the input size of the model.
    crop_ratio : float
        Input size / shorter side, where `resize` is None; 0.875 is the custom of ImageNet.
    mean, std : tuple of float
        Per colour channel, or one value for all.
    scale : float
        Divisor of pixel values 0..255.
    interpolation : {"bilinear", "bicubic", "nearest"}
    layout : {"NCHW", "NHWC"} or None
        None takes the layout of the model.
    """

    resize: int | None = None
    crop: int | None = None
    crop_ratio: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 255.0
    interpolation: str = "bilinear"
    layout: str | None = None

    def apply(self, picture: Pixels, port: Port) -> npt.NDArray[np.float32]:
        """Turn pixels uint8 [h, w, c] into the input float32 [*api_shape] of `port`."""
        height, width, channels = spatial_shape(port)
        if self.layout not in (None, port.layout):
            raise ValueError(f"--preprocess layout={self.layout}: input {port.name!r} of the model is {port.layout}")
        if self.crop is not None and (self.crop, self.crop) != (height, width):
            raise ValueError(f"--preprocess crop={self.crop}: input {port.name!r} of the model is {height}x{width}")
        if picture.shape[2] != channels:
            raise ValueError(f"picture has {picture.shape[2]} colour channels, input {port.name!r} needs {channels}")
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, channels):
                raise ValueError(f"--preprocess {name} has {len(getattr(self, name))} values for {channels} channels")
        pixels = self._fit(picture, height, width).astype(np.float32)
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        x = (pixels / np.float32(self.scale) - mean) / std
        return np.ascontiguousarray(x.transpose(2, 0, 1) if port.layout == "NCHW" else x)

    def _fit(self, picture: Pixels, height: int, width: int) -> Pixels:
        """Resize and crop to exactly height x width."""
        if self.resize is None and self.crop_ratio == 1.0 and picture.shape[:2] == (height, width):
            return picture
        shorter = self.resize or round(max(height, width) / self.crop_ratio)
        h, w = picture.shape[:2]
        factor = shorter / min(h, w)
        h, w = max(round(h * factor), 1), max(round(w * factor), 1)
        if h < height or w < width:
            raise ValueError(f"--preprocess resize={shorter} is smaller than the crop of {height}x{width}")
        picture = _resize(picture, h, w, self.interpolation)
        top, left = (h - height) // 2, (w - width) // 2
        return picture[top : top + height, left : left + width]


IMAGENET = Preprocess(crop_ratio=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PRESETS = {
    "imagenet": IMAGENET,
    "tf": Preprocess(crop_ratio=0.875, scale=127.5, mean=(1.0,)),
    "unit": Preprocess(),
}
"""``imagenet``: torchvision's mean and std; ``tf``: pixels to -1..1; ``unit``: whole picture, pixels to 0..1."""


def parse_preprocess(text: str) -> Preprocess:
    """Parse ``preset`` or ``key=value,...`` or ``preset,key=value,...``; lists are separated by colons.

    Raises
    ------
    ValueError
        If a key is unknown or a value does not fit; the message names both.
    """
    first, _, rest = text.partition(",")
    if first in PRESETS:
        preprocess, text = PRESETS[first], rest
    else:
        preprocess = Preprocess()
    changes: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"{item!r} is no preset ({', '.join(PRESETS)}) and no key=value")
        if key not in _PARSERS:
            raise ValueError(f"unknown key {key!r}, expected one of {', '.join(_PARSERS)}")
        try:
            changes[key] = _PARSERS[key](value)
        except ValueError:
            raise ValueError(f"{key}={value!r} is not {_EXPECTED[key]}") from None
    return replace(preprocess, **changes)


def _positive_int(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1 << 15:
        raise ValueError(text)
    return value


def _floats(text: str) -> tuple[float, ...]:
    values = tuple(map(float, text.split(":")))
    if not np.isfinite(values).all():
        raise ValueError(text)
    return values


def _divisors(text: str) -> tuple[float, ...]:
    values = _floats(text)
    if min(values) <= 0:
        raise ValueError(text)
    return values


def _one_of(*choices: str) -> Any:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return parse


_PARSERS: dict[str, Any] = {
    "resize": _positive_int,
    "crop": _positive_int,
    "mean": _floats,
    "std": _divisors,
    "scale": lambda text: _divisors(text)[0],
    "interpolation": _one_of("bilinear", "bicubic", "nearest"),
    "layout": _one_of("NCHW", "NHWC"),
}
_EXPECTED = {
    "resize": "a number of pixels",
    "crop": "a number of pixels",
    "mean": "a list of numbers such as 0.485:0.456:0.406",
    "std": "a list of positive numbers such as 0.229:0.224:0.225",
    "scale": "a positive number",
    "interpolation": "bilinear, bicubic or nearest",
    "layout": "NCHW or NHWC",
}


def spatial_shape(port: Port) -> tuple[int, int, int]:
    """Height, width and channels of an input that takes pictures."""
    if len(port.shape) != 3:
        raise ValueError(f"input {port.name!r} has shape {port.api_shape}: it takes no pictures")
    return port.shape[0], port.shape[1], port.shape[2]


def picture_files(folder: Path) -> list[Path]:
    """Pictures directly in `folder`, or in its sub-folders (one per class), by name."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ValueError(f"{folder}: contains no pictures ({', '.join(sorted(SUFFIXES))})")
    return files


def read_picture(path: Path, channels: int) -> Pixels:
    """Decode a file to uint8 [h, w, channels], 1 (grey) or 3 (RGB), turned upright as its EXIF data says.

    Raises
    ------
    MissingExtraError
        If Pillow is not installed.
    FormatError
        If the file is no picture or is damaged.
    """
    image = _pillow()
    if channels not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, the model takes {channels}")
    try:
        from PIL import ImageOps

        with image.open(path) as opened:
            converted = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
    except OSError as error:
        if error.errno is not None:
            raise
        raise FormatError(f"{path}: not a readable picture ({error})") from None
    except (SyntaxError, ValueError, image.DecompressionBombError) as error:
        raise FormatError(f"{path}: not a readable picture ({error})") from None
    return np.asarray(converted, np.uint8).reshape(converted.height, converted.width, channels)


def _resize(picture: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    if picture.shape[:2] == (height, width):
        return picture
    image = _pillow()
    method = getattr(image.Resampling, interpolation.upper())
    pixels = picture[:, :, 0] if picture.shape[2] == 1 else picture
    resized = np.asarray(image.fromarray(pixels).resize((width, height), method), np.uint8)
    return resized.reshape(height, width, picture.shape[2])


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise MissingExtraError("pillow", "cli", "reading pictures") from None
    return Image
