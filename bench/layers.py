"""Single-layer networks: the same layer a few times and many times over.

The difference of both times, divided by the difference in layers, is the time of one layer alone: the edges of the
network (quantization, changes of layout, the call itself) cancel. Layers that keep their shape stand in a row; layers
with stride 2 stand side by side on one input, and their outputs are added up. Weights are He-normal with a ReLU behind
each convolution, so that signals keep their size.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from packages import cache_folder, cached

from lightkern.compare.case import Case
from lightkern.compare.interleave import Timing
from lightkern.compare.race import OURS, Race

__all__ = ["LAYERS", "REPEATS", "Layer", "layer_case", "layer_input", "layer_seconds", "layer_table"]

Array = npt.NDArray[Any]

REPEATS = (2, 10)
"""Layers of the short and of the long network."""


@dataclass(frozen=True)
class Layer:
    """A kind of layer.

    Attributes
    ----------
    channels, size : int
        Input [1, channels, size, size].
    add : callable
        ``add(network, tensor)`` appends one layer and returns the name of its output.
    macs : int
        Multiply-accumulate operations of one layer; 0 for layers that are counted in elements.
    side_by_side : bool
        The layer changes the shape: copies share the input and are added up.
    """

    channels: int
    size: int
    add: Callable[[Network, str], str]
    macs: int = 0
    side_by_side: bool = False


@dataclass
class Network:
    """An ONNX graph under construction."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        from onnx import helper

        output = f"t{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"{kind}_{len(self.nodes)}", **attributes)
        )
        return output

    def constant(self, value: Array) -> str:
        """Add an initializer and return its name."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name

    def convolution(self, x: str, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> str:
        """A convolution with a bias."""
        fan_in = inputs // groups * kernel * kernel
        shape = (outputs, inputs // groups, kernel, kernel)
        weight = self.constant(self.generator.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32))
        bias = self.constant(self.generator.normal(0, 0.1, outputs).astype(np.float32))
        pad = kernel // 2
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.op("Conv", x, weight, bias, group=groups, **window)


def convolution(channels: int, size: int, kernel: int, *, stride: int = 1, groups: int = 1) -> Layer:
    """A convolution with ReLU that keeps the number of channels."""

    def add(network: Network, x: str) -> str:
        return network.op("Relu", network.convolution(x, channels, channels, kernel, stride=stride, groups=groups))

    macs = (size // stride) ** 2 * channels * (channels // groups) * kernel * kernel
    return Layer(channels, size, add, macs, side_by_side=stride > 1)


def first_layer() -> Layer:
    """3 to 32 channels at stride 2, as all mobile networks begin, then the mean over the picture."""

    def add(network: Network, x: str) -> str:
        y = network.op("Relu", network.convolution(x, 3, 32, 3, stride=2))
        return network.op("GlobalAveragePool", y)

    return Layer(3, 224, add, 112 * 112 * 32 * 27, side_by_side=True)


def linear(channels: int) -> Layer:
    """A fully connected layer with ReLU on one pixel."""
    return convolution(channels, 1, 1)


def pool(kind: str, channels: int, size: int) -> Layer:
    """A 3x3 pool that keeps the size."""

    def add(network: Network, x: str) -> str:
        return network.op(kind, x, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])

    return Layer(channels, size, add)


def residual_add(channels: int, size: int) -> Layer:
    """A pointwise layer and the sum with its input."""

    def add(network: Network, x: str) -> str:
        return network.op("Add", x, network.convolution(x, channels, channels, 1))

    return Layer(channels, size, add, size * size * channels * channels)


def hard_swish(channels: int, size: int) -> Layer:
    """A pointwise layer with x * relu6(x + 3) / 6 behind it."""

    def add(network: Network, x: str) -> str:
        return network.op("HardSwish", network.convolution(x, channels, channels, 1))

    return Layer(channels, size, add, size * size * channels * channels)


def squeeze_excite(channels: int, size: int) -> Layer:
    """MobileNetV3's gate: mean, two pointwise layers, product."""

    def add(network: Network, x: str) -> str:
        y = network.convolution(network.op("GlobalAveragePool", x), channels, channels // 4, 1)
        y = network.convolution(network.op("Relu", y), channels // 4, channels, 1)
        return network.op("Mul", x, network.op("HardSigmoid", y, alpha=1 / 6, beta=0.5))

    return Layer(channels, size, add)


def shuffle_unit(channels: int, size: int) -> Layer:
    """ShuffleNetV2's unit without its depthwise part: split, pointwise layer on one half, concatenate, shuffle."""
    half = channels // 2

    def add(network: Network, x: str) -> str:
        def part(begin: int) -> str:
            bounds = [network.constant(np.array([value])) for value in (begin, begin + half, 1)]
            return network.op("Slice", x, *bounds)

        changed = network.op("Relu", network.convolution(part(half), half, half, 1))
        y = network.op("Concat", part(0), changed, axis=1)
        wide = network.constant(np.array([-1, 2, half, size, size]))
        y = network.op("Transpose", network.op("Reshape", y, wide), perm=[0, 2, 1, 3, 4])
        return network.op("Reshape", y, network.constant(np.array([-1, channels, size, size])))

    return Layer(channels, size, add, size * size * half * half)


LAYERS: dict[str, Layer] = {
    "pointwise_64_56": convolution(64, 56, 1),
    "pointwise_128_28": convolution(128, 28, 1),
    "pointwise_256_28": convolution(256, 28, 1),
    "pointwise_512_14": convolution(512, 14, 1),
    "dense3x3_64_28": convolution(64, 28, 3),
    "dwconv3x3s1_128_56": convolution(128, 56, 3, groups=128),
    "dwconv5x5s1_192_28": convolution(192, 28, 5, groups=192),
    "dwconv3x3s2_128_56": convolution(128, 56, 3, stride=2, groups=128),
    "dwconv5x5s2_192_28": convolution(192, 28, 5, stride=2, groups=192),
    "group3x3_8each_256_28": convolution(256, 28, 3, groups=32),
    "group3x3_4each_256_28": convolution(256, 28, 3, groups=64),
    "group3x3_2each_256_28": convolution(256, 28, 3, groups=128),
    "group3x3_16each_256_14": convolution(256, 14, 3, groups=16),
    "group1x1_4groups_256_28": convolution(256, 28, 1, groups=4),
    "group1x1_3groups_240_28": convolution(240, 28, 1, groups=3),
    "group1x1_8groups_256_28": convolution(256, 28, 1, groups=8),
    "first_layer": first_layer(),
    "linear_1024": linear(1024),
    "max_pool_128_28": pool("MaxPool", 128, 28),
    "average_pool_128_28": pool("AveragePool", 128, 28),
    "pointwise_add_128_28": residual_add(128, 28),
    "pointwise_hard_swish_128_28": hard_swish(128, 28),
    "squeeze_excite_240_28": squeeze_excite(240, 28),
    "shuffle_unit_232_14": shuffle_unit(232, 14),
}
"""The layers by name: kind, channels, size."""


def layer_input(layer: Layer) -> Array:
    """One input for timing, float32 [1, channels, size, size]."""
    return _normal(1, layer)


def _normal(count: int, layer: Layer) -> Array:
    shape = (count, layer.channels, layer.size, layer.size)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def layer_case(name: str, repeats: int) -> Case:
    """The network of a key of `LAYERS` with a number of layers."""
    layer = LAYERS[name]
    path = cached(f"layers/{name}x{repeats}.onnx", functools.partial(_write, layer, repeats))
    return Case(f"{name}x{repeats}", cache_folder(), path, functools.partial(_normal, 4, layer))


def layer_seconds(short: Timing, long: Timing) -> float:
    """Time of one layer, s, from the times of both networks; NaN where noise exceeds it."""
    seconds = (long.median - short.median) / (REPEATS[1] - REPEATS[0])
    return seconds if seconds > 0 else float("nan")


def layer_table(pairs: Mapping[str, tuple[Race, Race]]) -> str:
    """Time of one layer per contender, us, its rate, and the ratio of lightkern to the best peer, for people."""
    names = list(dict.fromkeys(name for _, long in pairs.values() for name in long.timings))
    lines = [
        "one layer, us (GMAC/s)",
        f"{'':28}" + "".join(f"{name:>19}" for name in names) + "  lightkern / best peer",
    ]
    for layer, (short, long) in pairs.items():
        seconds = {name: layer_seconds(short.timings[name], long.timings[name]) for name in long.timings}
        cells = []
        for name in names:
            rate = f"({LAYERS[layer].macs / seconds[name] / 1e9:.1f})" if LAYERS[layer].macs else ""
            cells.append(f"{seconds[name] * 1e6:>12.1f} {rate:>6}" if name in seconds else f"{'-':>19}")
        ours = seconds.pop(OURS, float("nan"))
        best = np.nanmin(list(seconds.values())) if seconds else float("nan")
        lines.append(f"{layer:28}" + "".join(cells) + f"  {ours / best:.2f}")
    return "\n".join(lines)


def _write(layer: Layer, repeats: int, path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    network = Network()
    x = "input"
    if layer.side_by_side:
        x = functools.reduce(
            lambda a, b: network.op("Add", a, b), [layer.add(network, "input") for _ in range(repeats)]
        )
    else:
        for _ in range(repeats):
            x = layer.add(network, x)
    graph = helper.make_graph(
        network.nodes,
        path.stem,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", layer.channels, layer.size, layer.size])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in network.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model, strict_mode=True), path)
