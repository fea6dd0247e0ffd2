"""One random int8 network of mixed blocks, grown by ``builders.Net``."""

from __future__ import annotations

from collections.abc import Callable

from builders import Net, Rng, Style

from lightkern.model import Model


def random_model(rng: Rng, blocks: int = 4, size: int | None = None, style: Style | None = None) -> Model:
    """A network of mixed blocks: residual adds, squeeze-excite, concat, channel shuffle, split, pools, resize.

    Parameters
    ----------
    rng : numpy.random.Generator
    blocks : int
        Number of blocks between the stem and the head.
    size : int or None
        Height and width of the input; None draws a small, unequal pair.
    style : Style or None
    """
    net = Net(rng, style or Style())
    shape = (size, size, 3) if size else (int(rng.integers(5, 24)), int(rng.integers(5, 24)), int(rng.integers(1, 5)))
    layout = str(rng.choice(["NCHW", "NHWC"]))
    channels = 4 * int(rng.integers(1, 5))
    x = net.conv2d(net.input(shape, layout), channels, (3, 3), (2, 2), (0, 0, 1, 1))
    middle = []
    for _ in range(blocks):
        x = BLOCKS[str(rng.choice(sorted(BLOCKS)))](net, x)
        middle.append(x)
    head = net.conv2d(net.conv2d(x, 24), 10) if rng.random() < 0.5 else x
    head = net.global_avg_pool(head)
    head = net.move("reshape", [head], {"shape": [net.shapes[head][-1]], "order": "CHW"})
    outputs = [net.linear(head, 7)]
    if rng.random() < 0.5:
        outputs[0] = net.softmax(outputs[0])
    if middle and rng.random() < 0.3:
        outputs.append(str(rng.choice(middle)))
    return net.model(*outputs, layout=layout)


def _inverted_residual(net: Net, x: str) -> str:
    channels = net.shapes[x][-1]
    k = int(net.rng.choice([3, 5]))
    y = net.conv2d(net.conv2d(x, 2 * channels), 2 * channels, (k, k), padding=(k // 2,) * 4, groups=2 * channels)
    return net.binary("add", net.conv2d(y, channels), x)


def _squeeze_excite(net: Net, x: str) -> str:
    channels = net.shapes[x][-1]
    gate = net.conv2d(net.conv2d(net.global_avg_pool(x), max(1, channels // 4)), channels)
    return net.binary("mul", x, net.table(gate))


def _shuffle_unit(net: Net, x: str) -> str:
    channels = net.shapes[x][-1]
    half = channels // 2
    left = net.move("slice", [x], {"axis": 2, "begin": 0, "end": half})
    right = net.move("slice", [x], {"axis": 2, "begin": half, "end": channels})
    right = net.conv2d(right, half, (3, 3), padding=(1, 1, 1, 1), groups=half)
    return net.move("channel_shuffle", [net.move("concat", [left, right], {"axis": 2})], {"groups": 2})


def _grouped_down(net: Net, x: str) -> str:
    channels = net.shapes[x][-1]
    y = net.move("pad", [x], {"padding": [1, 0, 2, 1], "value": 0.0})
    return net.prelu(net.conv2d(y, 2 * channels if channels < 16 else channels, (3, 2), (2, 1), groups=2))


def _pooled(net: Net, x: str) -> str:
    left = net.avg_pool(x, (3, 3), padding=(1, 1, 1, 1), count_include_pad=bool(net.rng.random() < 0.5))
    right = net.max_pool(x, (3, 3), padding=(1, 1, 1, 1))
    return net.conv2d(net.move("concat", [left, right], {"axis": 2}), net.shapes[x][-1])


def _resized(net: Net, x: str) -> str:
    h, w, _ = net.shapes[x]
    y = net.resize(x, (max(1, h // 2), max(1, w // 2)))
    return net.binary("sub", net.table(net.resize(y, (h, w), "nearest")), x)


BLOCKS: dict[str, Callable[[Net, str], str]] = {
    "grouped_down": _grouped_down,
    "inverted_residual": _inverted_residual,
    "pooled": _pooled,
    "resized": _resized,
    "shuffle_unit": _shuffle_unit,
    "squeeze_excite": _squeeze_excite,
}
