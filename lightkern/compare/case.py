"""A network as files (`Case`), and the same loaded by a runtime (`Runner`)."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Case", "Runner", "UnavailableError", "derived"]

Array = npt.NDArray[Any]


class UnavailableError(Exception):
    """A contender cannot take part; the message says why."""


@dataclass(frozen=True)
class Case:
    """A network to run, as files; it has one input [n, ...] and one output [n, ...].

    Attributes
    ----------
    name : str
        Stem of derived files.
    folder : Path
        Where files made for the contenders are kept: they are made once per content of their source.
    onnx : Path, optional
        The float ONNX file.
    calibration : callable, optional
        Returns the calibration inputs, float32 [n, ...].
    lk, qdq, tflite : Path, optional
        The int8 model of lightkern (else compressed from `onnx`), an int8 ONNX file, an int8 TFLite file.
    isa : str, optional
        Best ISA level of lightkern's kernels.
    """

    name: str
    folder: Path
    onnx: Path | None = None
    calibration: Callable[[], Array] | None = None
    lk: Path | None = None
    qdq: Path | None = None
    tflite: Path | None = None
    isa: str | None = None

    @functools.cached_property
    def key(self) -> str:
        """Name and a digest of the float file, so that derived files never outlive it."""
        return f"{self.name}-{hashlib.sha256(self.float_path().read_bytes()).hexdigest()[:8]}"

    def float_path(self) -> Path:
        """The float ONNX file."""
        if self.onnx is None:
            raise UnavailableError("there is no float ONNX file")
        return self.onnx

    def examples(self) -> Array:
        """The calibration inputs."""
        if self.calibration is None:
            raise UnavailableError("there are no calibration inputs")
        return self.calibration()

    def derived(self, name: str, make: Callable[[Path], None]) -> Path:
        """Path of a file in `folder`, made by ``make(path)`` on first use; it appears whole or not at all."""
        return derived(self.folder / name, make)


def derived(path: Path, make: Callable[[Path], None]) -> Path:
    """`path`, made by ``make(path)`` on first use; an interrupted run leaves no half-written file."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.partial{path.suffix}")
        try:
            make(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


@dataclass(frozen=True)
class Runner:
    """A network loaded by a runtime.

    Attributes
    ----------
    run : callable
        From the runtime's own input array to its output, float32 or int8 [1, ...].
    convert : callable
        From float32 [1, ...] (NCHW) to the runtime's own input; not part of the time.
    revert : callable
        From its output to float32 [1, ...] (NCHW); not part of the time.
    """

    run: Callable[[Array], Array]
    convert: Callable[[Array], Array] = np.asarray
    revert: Callable[[Array], Array] = np.asarray

    def bind(self, x: Array) -> Callable[[], Array]:
        """A function without arguments that runs on `x`."""
        return functools.partial(self.run, self.convert(x))
