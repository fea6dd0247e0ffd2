"""Train the float network that ships with lightkern: a small MobileNet on Fashion-MNIST.

    python examples/train_demo.py --data /usr/share/datasets/fashion-mnist --out lightkern/demo

It needs the ``train`` extra (PyTorch) and the four gzip files of the data set (Debian: ``dataset-fashion-mnist``).
The test pictures are looked at once, after the last step: nothing is chosen by them. The script writes

- ``network.lk``: the float graph, weights rounded to float16, batch norms folded;
- ``pictures.npz``: the first 1,000 test pictures, and 128 training pictures for calibration, with labels.
"""

from __future__ import annotations

import argparse
import gzip
import math
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightkern import Graph, Node, Port, load_graph

HELD_OUT = 1000
CALIBRATION = 128
SETTLING = 20480


def read_idx(path: Path) -> npt.NDArray[np.uint8]:
    """One gzip'ed IDX file: pictures uint8 [n, 28, 28] or labels uint8 [n]."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{path}: not an IDX file of bytes")
    shape = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape.astype(int))


# The network ----------------------------------------------------------------------------------------------------------


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm and an optional activation."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1, act: str = ""
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, momentum=0.03),
            {"": nn.Identity, "relu": nn.ReLU, "hard_swish": nn.Hardswish}[act](),
        )


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from all channel means (Hu et al. 2018, hard gate of MobileNetV3)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = functional.relu(self.reduce(x.mean((2, 3), keepdim=True)))
        return x * functional.hardsigmoid(self.expand(gate))


class Bottleneck(nn.Module):
    """Inverted residual (Sandler et al. 2018): expand 1x1, depthwise, optional squeeze-excite, project 1x1."""

    def __init__(
        self, inputs: int, wide: int, outputs: int, kernel: int, stride: int, act: str, squeezed: int = 0
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvNorm(inputs, wide, act=act) if wide != inputs else None
        self.depthwise = ConvNorm(wide, wide, kernel, stride=stride, groups=wide, act=act)
        self.squeeze_excite = SqueezeExcite(wide, squeezed) if squeezed else None
        self.project = ConvNorm(wide, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x) if self.expand is not None else x
        y = self.depthwise(y)
        if self.squeeze_excite is not None:
            y = self.squeeze_excite(y)
        y = self.project(y)
        return x + y if self.residual else y


class FashionNet(nn.Module):
    """A MobileNetV3 in miniature: input [n, 1, 28, 28] in 0..1, output 10 logits [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(1, 16, 3, act="relu")
        self.blocks = nn.ModuleList(
            [
                Bottleneck(16, 16, 24, 3, 2, "relu"),
                Bottleneck(24, 72, 24, 3, 1, "relu"),
                Bottleneck(24, 72, 48, 3, 2, "hard_swish"),
                Bottleneck(48, 144, 48, 3, 1, "hard_swish", squeezed=36),
                Bottleneck(48, 144, 48, 5, 1, "hard_swish", squeezed=36),
            ]
        )
        self.last = ConvNorm(48, 192, act="hard_swish")
        self.hidden = nn.Linear(192, 256)
        self.classify = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = self.last(x).mean((2, 3))
        x = functional.hardswish(self.hidden(x))
        if self.training:
            x = functional.dropout(x, 0.2)
        return self.classify(x)


# Training -------------------------------------------------------------------------------------------------------------


def augment(pictures: Tensor) -> Tensor:
    """Shift by up to 2 pixels, flip left-right, erase a rectangle in half of the pictures; [n, 1, 28, 28]."""
    n, _, size, _ = pictures.shape
    padded = functional.pad(pictures, (2, 2, 2, 2))
    rows = torch.arange(size) + torch.randint(0, 5, (n, 1))
    columns = torch.arange(size) + torch.randint(0, 5, (n, 1))
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    pictures = padded[torch.arange(n)[:, None, None], 0, rows[:, :, None], columns[:, None, :]]
    top, left = torch.randint(-4, size - 3, (2, n, 1))
    height, width = torch.randint(4, 13, (2, n, 1)) * (torch.rand(n, 1) < 0.5)
    position = torch.arange(size)
    in_rows = (position >= top) & (position < top + height)
    in_columns = (position >= left) & (position < left + width)
    erased = in_rows[:, :, None] & in_columns[:, None, :]
    return torch.where(erased, torch.rand(n, 1, 1), pictures)[:, None]


def train(pictures: Tensor, labels: Tensor, epochs: int, batch: int, checkpoint: Path | None) -> FashionNet:
    """AdamW with a cosine schedule; returns the exponential moving average of the weights."""
    net = FashionNet().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}])
    steps, warm_up = epochs * (len(labels) // batch), len(labels) // batch
    step, begin = 0, time.monotonic()
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for chosen in torch.randperm(len(labels)).split(batch):
            if len(chosen) < batch:
                continue
            progress = max(0.0, (step - warm_up) / (steps - warm_up))
            for group in optimizer.param_groups:
                group["lr"] = 4e-3 * min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * progress))
            x = augment(pictures[chosen]).contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(net(x), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(net)
            total += loss.item()
            step += 1
        print(f"epoch {epoch + 1}/{epochs}: loss {total / warm_up:.4f}, {time.monotonic() - begin:.0f} s", flush=True)
        if checkpoint is not None:
            torch.save(average.module.state_dict(), checkpoint)
    return average.module


@torch.no_grad()
def settle_norms(net: FashionNet, pictures: Tensor) -> FashionNet:
    """Measure the batch norms' statistics anew, on pictures as they are; [n, 1, 28, 28].

    The average of many networks has smaller activations than each of them, so the averages of their statistics do not
    fit it (Izmailov et al. 2018, section 3.2), and augmentation has statistics of its own.
    """
    torch.optim.swa_utils.update_bn(pictures.split(256), net)
    return net.eval()


# Export ---------------------------------------------------------------------------------------------------------------


class GraphWriter:
    """Appends nodes one after another; every method takes and returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def node(self, op: str, name: str, inputs: list[str], attrs: dict | None = None, **params: Tensor) -> str:
        arrays = {key: value.detach().numpy().copy() for key, value in params.items()}
        self.nodes.append(Node(op, name, inputs, name, attrs or {}, arrays))
        return name

    def conv(self, name: str, x: str, conv: nn.Conv2d, norm: nn.BatchNorm2d | None = None) -> str:
        """A convolution with its batch norm folded in."""
        weight, bias = conv.weight, conv.bias
        if norm is not None:
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weight = weight * scale[:, None, None, None]
            bias = norm.bias - norm.running_mean * scale
        kernel, stride, pad = list(conv.kernel_size), list(conv.stride), conv.padding[0]
        attrs = {"kernel": kernel, "stride": stride, "padding": [pad] * 4, "dilation": [1, 1], "groups": conv.groups}
        return self.node("conv2d", name, [x], attrs, weight=weight.permute(0, 2, 3, 1).contiguous(), bias=bias)

    def conv_norm(self, name: str, x: str, layer: ConvNorm) -> str:
        x = self.conv(name, x, layer[0], layer[1])
        if isinstance(layer[2], nn.ReLU):
            x = self.node("relu", f"{name}.relu", [x])
        elif isinstance(layer[2], nn.Hardswish):
            x = self.node("hard_swish", f"{name}.hard_swish", [x])
        return x

    def squeeze_excite(self, name: str, x: str, layer: SqueezeExcite) -> str:
        gate = self.node("global_avg_pool", f"{name}.squeeze", [x])
        gate = self.conv(f"{name}.reduce", gate, layer.reduce)
        gate = self.node("relu", f"{name}.reduce.relu", [gate])
        gate = self.conv(f"{name}.expand", gate, layer.expand)
        gate = self.node("hard_sigmoid", f"{name}.gate", [gate], {"alpha": 1 / 6, "beta": 0.5})
        return self.node("mul", f"{name}.scale", [x, gate])

    def bottleneck(self, name: str, x: str, block: Bottleneck) -> str:
        y = self.conv_norm(f"{name}.expand", x, block.expand) if block.expand is not None else x
        y = self.conv_norm(f"{name}.depthwise", y, block.depthwise)
        if block.squeeze_excite is not None:
            y = self.squeeze_excite(f"{name}.se", y, block.squeeze_excite)
        y = self.conv_norm(f"{name}.project", y, block.project)
        return self.node("add", f"{name}.add", [x, y]) if block.residual else y


def to_graph(net: FashionNet) -> Graph:
    """The trained network as a lightkern graph, node by node."""
    writer = GraphWriter()
    x = writer.conv_norm("stem", "pictures", net.stem)
    for i, block in enumerate(net.blocks):
        x = writer.bottleneck(f"block{i + 1}", x, block)
    x = writer.conv_norm("last", x, net.last)
    x = writer.node("global_avg_pool", "pool", [x])
    x = writer.node("reshape", "flatten", [x], {"shape": [192], "order": "CHW"})
    x = writer.node("linear", "hidden", [x], weight=net.hidden.weight, bias=net.hidden.bias)
    x = writer.node("hard_swish", "hidden.hard_swish", [x])
    x = writer.node("linear", "classify", [x], weight=net.classify.weight, bias=net.classify.bias)
    ports = [Port("pictures", "pictures", (28, 28, 1))], [Port("logits", x, (10,))]
    graph = Graph("fashion_mobilenet", *ports, writer.nodes)
    graph.validate()
    return graph


def accuracy(graph: Graph, pictures: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]) -> float:
    """Top-1 of the float graph over pictures uint8 [n, 28, 28]."""
    right = 0
    for begin in range(0, len(labels), 500):
        x = pictures[begin : begin + 500, None].astype(np.float32) / 255
        right += int((graph.run(x).argmax(1) == labels[begin : begin + 500]).sum())
    return right / len(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of *.gz")
    parser.add_argument("--out", type=Path, default=Path("lightkern/demo"), help="folder to write to")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--checkpoint", type=Path, help="where to keep the weights after each epoch")
    parser.add_argument("--export-only", action="store_true", help="export the checkpoint instead of training")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    images = read_idx(options.data / "train-images-idx3-ubyte.gz")
    labels = read_idx(options.data / "train-labels-idx1-ubyte.gz")
    x = torch.from_numpy(images.astype(np.float32) / 255)[:, None]
    if options.export_only:
        net = FashionNet()
        net.load_state_dict(torch.load(options.checkpoint, weights_only=True))
    else:
        net = train(x, torch.from_numpy(labels.astype(np.int64)), options.epochs, options.batch, options.checkpoint)
    net = settle_norms(net, x[:SETTLING])

    network = options.out / "network.lk"
    to_graph(net).save(network, dtype="float16")
    test_images = read_idx(options.data / "t10k-images-idx3-ubyte.gz")
    test_labels = read_idx(options.data / "t10k-labels-idx1-ubyte.gz")
    score = accuracy(load_graph(network), test_images, test_labels)
    chosen = np.random.default_rng(options.seed).choice(len(labels), CALIBRATION, replace=False)
    np.savez_compressed(
        options.out / "pictures.npz",
        test=test_images[:HELD_OUT],
        test_labels=test_labels[:HELD_OUT],
        calibration=images[chosen],
        calibration_labels=labels[chosen],
    )
    print(f"{network}: {network.stat().st_size} bytes, top-1 {score:.2%} on {len(test_labels)} test pictures")


if __name__ == "__main__":
    main()
