"""Small valid int8 models for everybody's tests, built node by node; `random_network` wires whole ones.

``Net`` grows a model node by node and picks quantizations that keep the values alive; a ``Style`` pushes weights, zero
points and scales to their limits; ``strategies.py`` lets Hypothesis draw shapes and attributes::

    net = Net(rng, Style(weight="max", zero_point=127))
    model = net.model(net.conv2d(net.input((7, 5, 3)), 8, kernel=(3, 3), padding=(1, 1, 1, 1)))
    x = inputs(model, rng, "low", n=2)
    assert_array_equal(lk.Session(model, isa=isa).run(x), lk.reference.run(model, x))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lightkern.graph import Node, Port, infer_shape
from lightkern.model import Model, Quant
from lightkern.opset import MODEL_OPS

Shape = tuple[int, ...]
Rng = np.random.Generator

WEIGHTS = ("random", "safe", "max", "min", "alternate", "zero")
INPUTS = ("random", "low", "high", "alternate", "zero_point")


def float32(x: float) -> float:
    """The nearest float32, as a Python float."""
    return float(np.float32(x))


@dataclass(frozen=True)
class Style:
    """How extreme the numbers of a model are.

    Attributes
    ----------
    weight : str
        "random", "safe" (no pair can saturate 16 bits), "max" (all 127), "min" (all -127), "alternate" (127, -127,
        127, ...) or "zero".
    zero_point : int or None
        Of every free tensor; None draws one each.
    spread : float
        Output scales relative to the usual ones: 1/64 makes most outputs hit the clamp, 64 leaves few
        distinct values.
    clamp : str
        "none" = [-128, 127], "relu" = [zero point, 127], "point" = one value, "random".
    """

    weight: str = "random"
    zero_point: int | None = None
    spread: float = 1.0
    clamp: str = "random"


@dataclass
class Net:
    """Grows a `Model`: each method appends one node and returns the name of the tensor that it writes."""

    rng: Rng
    style: Style = field(default_factory=Style)

    def __post_init__(self) -> None:
        self.nodes: list[Node] = []
        self.ports: list[Port] = []
        self.shapes: dict[str, Shape] = {}
        self.quants: dict[str, Quant] = {}

    def input(self, shape: Shape, layout: str = "NHWC", quant: Quant | None = None) -> str:
        """A new model input."""
        name = f"in{len(self.ports)}"
        self.ports.append(Port(f"input{len(self.ports)}", name, tuple(shape), layout))
        self.shapes[name] = tuple(shape)
        self.quants[name] = quant or self.quant(float(self.rng.uniform(0.005, 0.1)))
        return name

    def model(self, *outputs: str, layout: str = "NHWC") -> Model:
        """The finished, validated model."""
        ports = [Port(f"output{i}", name, self.shapes[name], layout) for i, name in enumerate(outputs)]
        model = Model("built", self.ports, ports, self.nodes, self.quants, {"source": "tests/builders.py"})
        model.validate()
        return model

    def conv2d(
        self,
        x: str,
        channels: int,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> str:
        """Convolution; depthwise where groups equals the input's channels."""
        attrs = {**_window(kernel, stride, padding), "dilation": list(dilation), "groups": groups}
        weight = self._weight((channels, *kernel, self.shapes[x][-1] // groups))
        return self._weighted("conv2d", x, weight, attrs)

    def linear(self, x: str, features: int) -> str:
        """Fully connected along the last axis."""
        return self._weighted("linear", x, self._weight((features, self.shapes[x][-1])), {})

    def binary(self, op: str, a: str, b: str) -> str:
        """add, sub or mul; b may be smaller as `broadcast_kind` allows."""
        sa, sb = self.quants[a].scale, self.quants[b].scale
        return self._clamped(op, [a, b], 74 * sa * sb if op == "mul" else float(np.hypot(sa, sb)))

    def prelu(self, x: str) -> str:
        """PReLU with slopes of both signs, some zero."""
        slope = self.rng.choice([0.0, 0.01, 0.25, 1.0, 1.7, -0.5], self.shapes[x][-1]).astype(np.float32)
        return self._clamped("prelu", [x], self.quants[x].scale, params={"slope": slope})

    def global_avg_pool(self, x: str) -> str:
        """Mean over H and W."""
        return self._clamped("global_avg_pool", [x], self.quants[x].scale * 0.4)

    def avg_pool(
        self,
        x: str,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        count_include_pad: bool = False,
    ) -> str:
        """Mean of each window."""
        attrs = {**_window(kernel, stride, padding), "count_include_pad": count_include_pad}
        return self._clamped("avg_pool", [x], self.quants[x].scale * 0.6, attrs)

    def max_pool(
        self,
        x: str,
        kernel: tuple[int, int],
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilation: tuple[int, int] = (1, 1),
    ) -> str:
        """Maximum of each window."""
        return self.move("max_pool", [x], {**_window(kernel, stride, padding), "dilation": list(dilation)})

    def move(self, op: str, xs: Sequence[str], attrs: dict[str, Any], params: dict[str, Any] | None = None) -> str:
        """An op whose output has its inputs' quantization; other inputs are requantized to the first one's first."""
        quant = self.quants[xs[0]]
        xs = [x if self.quants[x] == quant else self.table(x, quant) for x in xs]
        return self._append(op, xs, quant, attrs, params or {})

    def resize(self, x: str, size: tuple[int, int], mode: str = "bilinear") -> str:
        """Resize to size (rows, columns): "bilinear" or "nearest" with half-pixel centres, or "random" positions."""
        params: dict[str, np.ndarray] = {}
        for axis, old, new in zip("yx", self.shapes[x][:2], size, strict=True):
            position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
            if mode == "nearest":
                position = np.rint(position)
            elif mode == "random":
                position = self.rng.uniform(0, old - 1, new)
            low = np.minimum(np.floor(position), old - 1)
            params[f"{axis}_low"] = low.astype(np.int32)
            params[f"{axis}_fraction"] = np.rint((position - low) * 2048).astype(np.int32)
        return self.move("resize", [x], {}, params)

    def table(self, x: str, quant: Quant | None = None) -> str:
        """A function of one value: requantization where `quant` is given, else 256 random values."""
        if quant is None:
            values = self.rng.integers(-128, 128, 256).astype(np.int8)
            return self._append("table", [x], self.quant(self.quants[x].scale), {}, {"table": values})
        values = quant.quantize(self.quants[x].dequantize(np.arange(-128, 128).astype(np.int8)))
        return self._append("table", [x], quant, {}, {"table": values})

    def hard_swish(self, x: str) -> str:
        """x * relu6(x + 3) / 6 over [-3, 6] as a table: one that x86 kernels compute by lines, with two fixes."""
        real = np.linspace(-3, 6, 256)
        y = real * np.clip(real + 3, 0, 6) / 6
        values = np.rint((y - y.min()) / (np.ptp(y) / 255) - 128).astype(np.int8)
        return self._append("table", [x], self.quant(self.quants[x].scale), {}, {"table": values})

    def softmax(self, x: str) -> str:
        """Softmax along the last axis."""
        exp = np.rint(2**23 * np.exp(-np.arange(256) * self.quants[x].scale)).astype(np.int32)
        return self._append("softmax", [x], Quant(1 / 256, -128), {}, {"exp": exp})

    def quant(self, scale: float) -> Quant:
        """A quantization of this scale, kept within sane limits, with the style's zero point."""
        zero_point = self.style.zero_point
        return Quant(
            float32(min(max(scale, 1e-5), 1e5)), int(self.rng.integers(-128, 128)) if zero_point is None else zero_point
        )

    def _weight(self, shape: Shape) -> np.ndarray:
        flat = {
            "random": lambda n: self.rng.integers(-127, 128, n),
            "safe": lambda n: self.rng.integers(-64, 65, n),
            "max": lambda n: np.full(n, 127),
            "min": lambda n: np.full(n, -127),
            "alternate": lambda n: np.where(np.arange(n) % 2, -127, 127),
            "zero": np.zeros,
        }[self.style.weight](int(np.prod(shape)))
        return flat.astype(np.int8).reshape(shape)

    def _weighted(self, op: str, x: str, weight: np.ndarray, attrs: dict[str, Any]) -> str:
        channels = weight.shape[0]
        norm = float(np.sqrt((weight.astype(np.float64) ** 2).sum() / channels)) + 1.0
        scale = self.rng.uniform(0.5, 2, channels) * 0.5 / norm
        params = {
            "weight": weight,
            "weight_scale": scale.astype(np.float32),
            "bias": self.rng.normal(0, 40 * norm, channels).astype(np.int32),
        }
        return self._clamped(op, [x], self.quants[x].scale * 0.6, attrs, params)

    def _clamped(
        self,
        op: str,
        xs: Sequence[str],
        scale: float,
        attrs: dict[str, Any] | None = None,
        params: dict[str, Any] | None = None,
    ) -> str:
        quant = self.quant(scale * self.style.spread)
        kind = self.style.clamp
        if kind == "random":
            kind = str(self.rng.choice(["none", "none", "relu", "range"]))
        low, high = sorted(int(v) for v in self.rng.integers(-128, 128, 2))
        clamp = {
            "none": [-128, 127],
            "relu": [quant.zero_point, 127],
            "range": [min(low, 0), max(high, 0)],
            "point": [low, low],
        }[kind]
        return self._append(op, xs, quant, {**(attrs or {}), "clamp": clamp}, params or {})

    def _append(
        self, op: str, xs: Sequence[str], quant: Quant, attrs: dict[str, Any], params: dict[str, np.ndarray]
    ) -> str:
        node = Node(op, f"{op}{len(self.nodes)}", list(xs), f"t{len(self.nodes)}", attrs, params)
        self.shapes[node.output] = infer_shape(MODEL_OPS[op], node, [self.shapes[x] for x in xs])
        self.quants[node.output] = quant
        self.nodes.append(node)
        return node.output


def _window(kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, ...]) -> dict[str, Any]:
    return {"kernel": list(kernel), "stride": list(stride), "padding": list(padding)}


def inputs(model: Model, rng: Rng, kind: str = "random", n: int = 1) -> Any:
    """int8 inputs [n, *api_shape] of a kind in `INPUTS`: one array, or a dict where the model has several inputs."""
    arrays = {}
    for port in model.inputs:
        shape = (n, *port.api_shape)
        if kind == "random":
            x = rng.integers(-128, 128, shape)
        elif kind == "alternate":
            x = np.where(np.arange(np.prod(shape)) % 2, 127, -128).reshape(shape)
        else:
            x = np.full(shape, {"low": -128, "high": 127, "zero_point": model.quants[port.tensor].zero_point}[kind])
        arrays[port.name] = x.astype(np.int8)
    return arrays if len(arrays) > 1 else next(iter(arrays.values()))
