"""Single int8 layers against the ceilings of this CPU: the share that each kernel reaches, and the one that it should.

    python bench/kernel_targets.py

The ceilings are those of ``roofline.py``; SSE4.1 is held against half of the one of AVX2, since its registers are half
as wide, levels with VNNI against the one of its dot products, for which all weights are alike. Padding and
requantization count. Weights are random: "safe" ones stay within half of their range, so that no pair saturates.
"Normal" ones are like those of models that were imported already quantized: normal, each channel scaled so that its
greatest is 127. "Uniform" ones spread evenly over -127 .. 127, a worst case that no training leaves behind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from roofline import ceilings

import lightkern as lk
from lightkern import _core
from lightkern.compare.affinity import pin
from lightkern.compare.case import UnavailableError

__all__ = ["Layer", "layer_model", "layers", "rate"]

WEIGHTS = ("safe", "normal", "uniform")
SAFE_MOST, MOST = 64, 127  # greatest weight: two of 64 stay within a pair's 128


@dataclass(frozen=True)
class Layer:
    """A convolution with padding that keeps its size, or halves it.

    Attributes
    ----------
    what : str
        The row of the issue's list that it belongs to.
    isa : str
        Level whose kernel runs.
    weights : {"safe", "normal", "uniform"}
        How they are drawn; see above.
    ceiling : {"int8", "int8_dot", "f32"}
        The loop of ``ceilings.cc`` that it is held against.
    target : float
        Share of the ceiling that it should reach.
    """

    what: str
    isa: str
    channels: int
    outputs: int
    size: int
    kernel: int
    stride: int
    groups: int
    weights: str
    ceiling: str
    target: float


def layers() -> Iterator[Layer]:
    """All layers whose level this CPU has."""
    have = _core.isa_levels()
    vnni = [isa for isa in ("avx512vnni", "avxvnni") if isa in have]
    for isa in (*vnni, *(isa for isa in ("avx2", "sse41") if isa in have)):
        kinds = (("uniform", 0.92),) if isa in vnni else tuple(zip(WEIGHTS, (0.92, 0.75, 0.75), strict=True))
        ceiling = "int8_dot" if isa in vnni else "int8"
        for weights, target in kinds:
            for k in (128, 256, 512):
                name = f"pointwise, {weights} weights"
                yield Layer(name, isa, k, 256, 14, 1, 1, 1, weights, ceiling, target)
    for isa in (*vnni, *(isa for isa in ("avx2",) if isa in have)):
        for kernel in (3, 5):
            for stride, target in ((1, 0.55), (2, 0.4)):
                for size, c in ((56, 144), (28, 192), (14, 384), (7, 960)):
                    name = f"depthwise {kernel}x{kernel}, stride {stride}"
                    yield Layer(name, isa, c, c, size, kernel, stride, c, "uniform", "f32", target)


def draw_weights(layer: Layer, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Weights [outputs, kernel, kernel, channels per group] of the layer's kind."""
    if layer.weights == "normal":
        real = rng.normal(size=shape)
        greatest = np.abs(real).max(axis=(1, 2, 3), keepdims=True)
        return np.rint(real * (MOST / greatest)).astype(np.int8)
    most = SAFE_MOST if layer.weights == "safe" else MOST
    return rng.integers(-most, most + 1, shape).astype(np.int8)


def layer_model(layer: Layer) -> lk.Model:
    """The int8 model of one layer with random weights; its output takes all values of a byte."""
    rng = np.random.default_rng(layer.channels)
    shape = (layer.outputs, layer.kernel, layer.kernel, layer.channels // layer.groups)
    depth = int(np.prod(shape[1:]))
    margin = layer.kernel // 2
    node = lk.Node(
        "conv2d",
        "layer",
        ["x"],
        "y",
        {
            "kernel": [layer.kernel] * 2,
            "stride": [layer.stride] * 2,
            "padding": [margin] * 4,
            "dilation": [1, 1],
            "groups": layer.groups,
            "clamp": [-128, 127],
        },
        {
            "weight": draw_weights(layer, rng, shape),
            "weight_scale": np.full(layer.outputs, 1 / MOST, np.float32),
            "bias": np.zeros(layer.outputs, np.int32),
        },
    )
    out = (layer.size + 2 * margin - layer.kernel) // layer.stride + 1
    quants = {"x": lk.Quant(1 / 128, -128), "y": lk.Quant(float(np.float32(depth**0.5 / 128)), -128)}
    inputs = [lk.Port("x", "x", (layer.size, layer.size, layer.channels), "NHWC")]
    outputs = [lk.Port("y", "y", (out, out, layer.outputs), "NHWC")]
    return lk.Model("layer", inputs, outputs, [node], quants=quants)


def rate(layer: Layer, repeat: int) -> float:
    """1e9 multiply-accumulates per second on one thread, median."""
    session = lk.Session(layer_model(layer), threads=1, isa=layer.isa)
    x = np.random.default_rng(0).integers(-128, 128, (1, layer.size, layer.size, layer.channels)).astype(np.int8)
    found = [step for step in session.profile(x, repeat=repeat) if step["macs"]]
    return statistics.median(step["macs"] / step["seconds"] for step in found) / 1e9


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=200, help="runs per layer (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    arguments = parser.parse_args()
    pin(1)
    try:
        limits = ceilings()
    except UnavailableError as error:
        sys.exit(str(error))
    print("| layer | level | GMAC/s | of the ceiling | target |\n|---|---|---|---|---|")
    rows = []
    for layer in layers():
        gmacs = rate(layer, arguments.repeat)
        share = gmacs / limits[layer.ceiling] * (2 if layer.isa == "sse41" else 1)
        shape = f"{layer.channels} -> {layer.outputs}" if layer.groups == 1 else f"{layer.channels} channels"
        verdict = "met" if share >= layer.target else "missed"
        row = f"| {layer.what}, {shape}, {layer.size}x{layer.size} | {layer.isa} | {gmacs:.1f} | {share:.2f} "
        print(f"{row}| {layer.target:.2f} {verdict} |", flush=True)
        rows.append({"layer": layer.what, "shape": shape, "size": layer.size, "isa": layer.isa, "share": share})
    if arguments.json:
        arguments.json.write_text(json.dumps({"ceilings": limits, "layers": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
