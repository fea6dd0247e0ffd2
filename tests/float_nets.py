"""Small float graphs: chains, networks of random blocks, one with every op.

``FloatNet`` grows a `Graph` node by node, each method returning the tensor that it writes; `random_graph` wires a whole
network with branches, additions, concatenations, squeeze-excite and several outputs; `float_graph` has every op.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lightkern.graph import Graph, Node, Port, infer_shape
from lightkern.opset import GRAPH_OPS, UNARY

Shape = tuple[int, ...]
UNARY_ATTRS: dict[str, dict[str, float]] = {
    "relu": {},
    "clip": {"min": 0.0, "max": 6.0},
    "leaky_relu": {"alpha": 0.1},
    "elu": {"alpha": 1.0},
    "hard_swish": {},
    "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "sigmoid": {},
    "tanh": {},
    "swish": {},
    "gelu": {},
    "mish": {},
    "softplus": {},
    "exp": {},
    "abs": {},
    "neg": {},
    "sqrt": {},
}


class FloatNet:
    """Grows a float graph with random parameters that keep values near unit variance."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.ports: list[Port] = []
        self.shapes: dict[str, Shape] = {}

    def input(self, *shape: int, layout: str = "NHWC") -> str:
        name = f"in{len(self.ports)}"
        self.ports.append(Port(name, name, shape, layout))
        self.shapes[name] = shape
        return name

    def node(self, op: str, inputs: list[str], attrs: dict[str, Any] | None = None, **params: Any) -> str:
        name = f"{op}{len(self.nodes)}"
        arrays = {key: np.asarray(value, np.float32) for key, value in params.items()}
        node = Node(op, name, inputs, name, attrs or {}, arrays)
        self.shapes[name] = infer_shape(GRAPH_OPS[op], node, [self.shapes[x] for x in inputs])
        self.nodes.append(node)
        return name

    def conv(
        self, x: str, oc: int, kernel: int = 1, stride: int = 1, padding: int | None = None, groups: int = 1
    ) -> str:
        padding = kernel // 2 if padding is None else padding
        icg = self.shapes[x][2] // groups
        weight = self.rng.normal(size=(oc, kernel, kernel, icg)) / np.sqrt(kernel * kernel * icg)
        attrs = {
            "kernel": [kernel] * 2,
            "stride": [stride] * 2,
            "padding": [padding] * 4,
            "dilation": [1, 1],
            "groups": groups,
        }
        return self.node("conv2d", [x], attrs, weight=weight, bias=self.rng.normal(size=oc) * 0.2)

    def depthwise(self, x: str, kernel: int = 3, stride: int = 1) -> str:
        c = self.shapes[x][2]
        return self.conv(x, c, kernel, stride, groups=c)

    def linear(self, x: str, n: int) -> str:
        k = self.shapes[x][-1]
        return self.node(
            "linear", [x], weight=self.rng.normal(size=(n, k)) / np.sqrt(k), bias=self.rng.normal(size=n) * 0.2
        )

    def affine(self, x: str, *, uniform: bool = False) -> str:
        c = self.shapes[x][-1]
        scale, offset = self.rng.uniform(0.5, 2, c) * self.rng.choice([-1, 1], c), self.rng.normal(size=c)
        if uniform:
            scale, offset = np.full(c, scale[0]), np.full(c, offset[0])
        return self.node("affine", [x], scale=scale, offset=offset)

    def unary(self, op: str, x: str) -> str:
        return self.node(op, [x], dict(UNARY_ATTRS[op]))

    def pool(self, op: str, x: str, kernel: int = 2, stride: int = 2, padding: int = 0, **attrs: Any) -> str:
        window = {"kernel": [kernel] * 2, "stride": [stride] * 2, "padding": [padding] * 4}
        extra = {"count_include_pad": False} if op == "avg_pool" else {"dilation": [1, 1]}
        return self.node(op, [x], {**window, **extra, **attrs})

    def flatten(self, x: str, order: str = "CHW") -> str:
        return self.node("reshape", [x], {"shape": [int(np.prod(self.shapes[x]))], "order": order})

    def concat(self, *xs: str) -> str:
        return self.node("concat", list(xs), {"axis": len(self.shapes[xs[0]]) - 1})

    def slice(self, x: str, begin: int, end: int) -> str:
        return self.node("slice", [x], {"axis": len(self.shapes[x]) - 1, "begin": begin, "end": end})

    def resize(self, x: str, factor: int = 2) -> str:
        h, w, _ = self.shapes[x]
        positions = {}
        for axis, size in (("y", h), ("x", w)):
            at = np.maximum((np.arange(size * factor) + 0.5) / factor - 0.5, 0)
            positions[f"{axis}_low"] = np.floor(at)
            positions[f"{axis}_fraction"] = np.rint((at - np.floor(at)) * 2048)
        name = self.node("resize", [x], **positions)
        self.nodes[-1].params = {key: value.astype(np.int32) for key, value in self.nodes[-1].params.items()}
        return name

    def graph(self, *outputs: str) -> Graph:
        ports = [Port(name, name, self.shapes[name], self.ports[0].layout) for name in outputs]
        graph = Graph("net", self.ports, ports, self.nodes)
        graph.validate()
        return graph


def pictures(graph: Graph, n: int = 8, seed: int = 1) -> dict[str, np.ndarray]:
    """Smooth random inputs for every port, by name, in the layout of the API."""
    rng = np.random.default_rng(seed)
    result = {}
    for port in graph.inputs:
        x = rng.normal(size=(n, *port.shape)) + rng.normal(size=(n, *[1] * len(port.shape)))
        result[port.name] = np.ascontiguousarray(port.from_canonical(x.astype(np.float32)))
    return result


def mobile_block(net: FloatNet, x: str, expand: int, activation: str = "clip", *, gate: bool = False) -> str:
    """Inverted residual: expand, depthwise, (squeeze-excite,) project, add."""
    c = net.shapes[x][2]
    y = net.unary(activation, net.affine(net.conv(x, expand)))
    y = net.unary(activation, net.affine(net.depthwise(y)))
    if gate:
        z = net.unary("relu", net.conv(net.node("global_avg_pool", [y]), 4))
        y = net.node("mul", [y, net.unary("hard_sigmoid", net.conv(z, expand))])
    return net.node("add", [x, net.affine(net.conv(y, c))])


def random_graph(seed: int) -> Graph:
    """A network with branches; which ops it has depends on the seed."""
    net = FloatNet(seed)
    rng = net.rng
    layout = str(rng.choice(["NCHW", "NHWC"]))
    x = net.input(int(rng.integers(6, 11)), int(rng.integers(6, 11)), int(rng.integers(1, 5)), layout=layout)
    x = net.conv(x, int(rng.integers(2, 7)) * 2, 3, int(rng.integers(1, 3)))
    extra: list[str] = []
    for _ in range(int(rng.integers(2, 6))):
        kind = int(rng.integers(9))
        if kind == 0:
            x = mobile_block(net, x, int(rng.integers(3, 20)), str(rng.choice(["clip", "relu", "hard_swish", "swish"])))
        elif kind == 1:
            x = mobile_block(net, x, int(rng.integers(3, 20)), gate=True)
        elif kind == 2:
            c = net.shapes[x][2]
            left, right = net.slice(x, 0, c // 2), net.slice(x, c // 2, c)
            x = net.concat(left, net.unary("relu", net.conv(right, c // 2)))
            x = net.node("channel_shuffle", [x], {"groups": 2})
        elif kind == 3:
            x = net.unary(str(rng.choice(list(UNARY_ATTRS))), net.affine(x))
            x = net.conv(x, net.shapes[x][2], 3, groups=2)
        elif kind == 4:
            x = net.concat(net.pool("max_pool", x, 3, 1, 1), net.pool("avg_pool", x, 3, 1, 1), net.unary("tanh", x))
            x = net.conv(x, 8)
        elif kind == 5:
            c = net.shapes[x][2]
            x = net.node("prelu", [net.conv(x, c)], slope=rng.uniform(-0.2, 0.5, c))
        elif kind == 6:
            padding = {"padding": [int(v) for v in rng.integers(0, 3, 4)], "value": float(rng.choice([0.0, -1.0]))}
            x = net.conv(net.node("pad", [x], padding), net.shapes[x][2], 3)
        elif kind == 7:
            x = net.node("sub", [net.resize(net.pool("avg_pool", x, 1, 2)), net.resize(net.pool("max_pool", x, 1, 2))])
            x = net.conv(x, 6)
        else:
            extra.append(x)
            x = net.affine(x, uniform=bool(rng.integers(2)))
            x = net.conv(x, net.shapes[x][2])
    x = net.node("global_avg_pool", [x]) if rng.integers(2) else net.pool("avg_pool", x, 1, 3)
    x = net.linear(net.flatten(x, "CHW" if layout == "NCHW" else "HWC"), 10)
    if rng.integers(2):
        x = net.node("softmax", [x])
    return net.graph(x, *dict.fromkeys(extra))


def float_graph(rng: np.random.Generator, channels: int = 4) -> Graph:
    """A float graph that has every op once at least."""
    nodes: list[Node] = []
    shapes: dict[str, Shape] = {"x": (6, 6, 3)}

    def add(op: str, *xs: str, params: dict[str, Any] | None = None, **attrs: Any) -> str:
        arrays = {k: np.asarray(v, None if k[1:2] == "_" else np.float32) for k, v in (params or {}).items()}
        node = Node(op, f"{op}_{len(nodes)}", list(xs), f"t{len(nodes)}", attrs, arrays)
        shapes[node.output] = infer_shape(GRAPH_OPS[op], node, [shapes[x] for x in xs])
        nodes.append(node)
        return node.output

    def values(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.5, shape)

    window = {"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1, 1, 1]}
    c = channels
    conv = {"weight": values(c, 3, 3, 3), "bias": values(c)}
    y = add("conv2d", "x", params=conv, **window, dilation=[1, 1], groups=1)
    y = add("affine", y, params={"scale": values(c), "offset": values(c)})
    attrs: dict[str, dict[str, float]] = {
        "clip": {"min": 0.0, "max": float("inf")},
        "leaky_relu": {"alpha": 0.1},
        "elu": {"alpha": 1.0},
        "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    }
    for op in UNARY:
        y = add(op, y, **attrs.get(op, {}))
    y = add("prelu", y, params={"slope": values(c)})
    a = add("avg_pool", y, **window, count_include_pad=True)
    b = add("max_pool", y, **window)
    y = add("sub", add("mul", add("add", a, b), add("global_avg_pool", b)), b)
    y = add("channel_shuffle", add("concat", y, a, axis=2), groups=2)
    y = add("pad", add("slice", y, axis=2, begin=1, end=c + 1), padding=[0, 1, 2, 0], value=0.0)
    position = {"low": np.array([0, 3], np.int32), "fraction": np.array([0, 1024], np.int32)}
    y = add("resize", y, params={f"{axis}_{what}": v for axis in "yx" for what, v in position.items()})
    y = add("reshape", y, shape=[4 * c], order="CHW")
    y = add("softmax", add("linear", y, params={"weight": values(5, 4 * c), "bias": values(5)}))
    graph = Graph("float", [Port("input", "x", (6, 6, 3))], [Port("output", y, (5,))], nodes)
    graph.validate()
    return graph
