"""What a user may choose about compression, checked before any work starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["CompressOptions"]

CALIBRATORS = ("minmax", "percentile", "entropy", "mse")
ROUNDINGS = ("nearest", "hessian", "adaround")


@dataclass(frozen=True)
class CompressOptions:
    """Choices of `lightkern.compress`; the defaults are what measured best on trained ImageNet networks.

    Attributes
    ----------
    calibrator : {"minmax", "percentile", "entropy", "mse"}
        How the range of an activation follows from the calibration pictures.
    percentile : float
        For ``calibrator="percentile"``: share of values, in percent, inside of the range; 50 < percentile <= 100.
    equalize : bool
        Rescale channels between layers, so that each uses more of the range of its tensor. With "hessian" rounding it
        gains agreement on MobileNetV2 (88.9 to 91.8 %) and costs a little on EfficientNet-Lite0 (97.9 to 97.1 %), where
        features that few calibration pictures contain clip on others.
    bias_correction : bool
        Remove the mean error that quantization leaves in each output channel of a layer.
    channel_matching : bool
        Permute channels, so that the weights that x86 multiplies in pairs seldom exceed 16 bits.
    saturation_free : bool
        Raise the scale of an output channel where a pair of weights would still exceed 16 bits.
    coupled_steps : bool
        With `saturation_free`, raise it on until nearly any two steps of four weights fit into 16 bits together: x86
        kernels then widen their products once, and MobileNetV2 and EfficientNet-Lite0 take 5 % less time. On
        1,536 crops it costs nothing: mean agreement of three seeds 91.4 % with and 91.2 % without it on MobileNetV2,
        95.1 and 95.0 % on EfficientNet-Lite0.
    rounding : {"nearest", "hessian", "adaround"}
        How weights become integers: each by itself; with the error of a weight passed on to later ones of its
        channel; or learned by gradient descent on the output of each layer.
    per_channel : bool
        One weight scale per output channel rather than per layer.
    input_ranges : mapping of str to (float, float)
        Real range of a graph input by its name, where it shall not follow from the calibration pictures.
    batch_size : int
        Pictures that the float network runs at once; trades memory for speed.
    seed : int
        Seed for everything random (samples of pixels), so that the result is reproducible.
    """

    calibrator: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    bias_correction: bool = True
    channel_matching: bool = True
    saturation_free: bool = True
    coupled_steps: bool = True
    rounding: str = "hessian"
    per_channel: bool = True
    input_ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    batch_size: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        _check_choice("calibrator", self.calibrator, CALIBRATORS)
        _check_choice("rounding", self.rounding, ROUNDINGS)
        for item in fields(self):
            if item.type == "bool" and not isinstance(getattr(self, item.name), bool):
                raise TypeError(f"{item.name} must be True or False, got {getattr(self, item.name)!r}")
        if not _is_real(self.percentile):
            raise TypeError(f"percentile must be a number, got {self.percentile!r}")
        if not 50 < self.percentile <= 100:
            raise ValueError(f"percentile must be above 50 and at most 100, got {self.percentile!r}")
        _check_int("batch_size", self.batch_size, 1)
        _check_int("seed", self.seed, 0)
        if not isinstance(self.input_ranges, Mapping):
            raise TypeError(
                f"input_ranges must be a mapping of names to (low, high), got {type(self.input_ranges).__name__}"
            )
        for name, limits in self.input_ranges.items():
            if not (isinstance(limits, (tuple, list)) and len(limits) == 2 and all(map(_is_real, limits))):
                raise TypeError(f"input_ranges[{name!r}] must be a pair (low, high) of numbers, got {limits!r}")
            if not (math.isfinite(limits[0]) and math.isfinite(limits[1]) and limits[0] < limits[1]):
                raise ValueError(f"input_ranges[{name!r}] must be finite with low < high, got {limits!r}")


def _is_real(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _check_int(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
