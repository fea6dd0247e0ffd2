"""Five mobile vision networks in PyTorch, 1000 classes, input 3 x 224 x 224.

Each follows its paper. The layout of MobileNetV2's state dict is torchvision's, so that published weights load by name;
EfficientNet-Lite0's has the published order of tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["NETWORKS", "efficientnet_lite0", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2"]

Activation = Callable[[], nn.Module]


class SamePad(nn.ZeroPad2d):
    """TensorFlow's SAME padding where stride 2 meets an even size: one row and column more behind than before."""

    def __init__(self, kernel: int) -> None:
        total = kernel - 2
        super().__init__((total // 2, total - total // 2, total // 2, total - total // 2))


def conv_bn(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    activation: Activation | None = nn.ReLU6,
    eps: float = 1e-5,
    same: bool = False,
) -> nn.Sequential:
    """Convolution, batch norm, activation; `same` pads as TensorFlow does."""
    asymmetric = same and stride == 2
    layers: list[nn.Module] = [SamePad(kernel)] if asymmetric else []
    padding = 0 if asymmetric else kernel // 2
    layers += [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=eps),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


class Classifier(nn.Module):
    """Feature extractor, global average pool, head."""

    def __init__(self, features: nn.Sequential, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), 1), 1))
        return y


def mobilenet_v1() -> nn.Module:
    """MobileNetV1 1.0 (arXiv 1704.04861)."""
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
    inputs = 32
    for outputs, stride in [
        (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1),
    ]:  # fmt: skip
        layers += [conv_bn(inputs, inputs, 3, stride, groups=inputs), conv_bn(inputs, outputs)]
        inputs = outputs
    return Classifier(nn.Sequential(*layers), nn.Linear(inputs, 1000))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project, and a shortcut where shapes agree."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, *, expand: int, eps: float = 1e-5, same: bool = False
    ) -> None:
        super().__init__()
        wide = inputs * expand
        self.shortcut = stride == 1 and inputs == outputs
        layers = [] if expand == 1 else [conv_bn(inputs, wide, eps=eps)]
        layers.append(conv_bn(wide, wide, kernel, stride, groups=wide, eps=eps, same=same))
        self.conv = nn.Sequential(*layers, *conv_bn(wide, outputs, activation=None, eps=eps))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.shortcut else y


def mobilenet_v2() -> nn.Module:
    """MobileNetV2 1.0 (arXiv 1801.04381), names of tensors as in torchvision."""
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2)]
    inputs = 32
    for expand, outputs, repeats, stride in [
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ]:  # fmt: skip
        for i in range(repeats):
            layers.append(InvertedResidual(inputs, outputs, 3, stride if i == 0 else 1, expand=expand))
            inputs = outputs
    layers.append(conv_bn(inputs, 1280))
    return Classifier(nn.Sequential(*layers), nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000)))


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0 (arXiv 1905.11946 without squeeze-excite and swish), TensorFlow's padding and epsilon."""
    layers: list[nn.Module] = [conv_bn(3, 32, 3, 2, eps=1e-3, same=True)]
    inputs = 32
    for kernel, expand, outputs, repeats, stride in [
        (3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2), (5, 6, 112, 3, 1), (5, 6, 192, 4, 2),
        (3, 6, 320, 1, 1),
    ]:  # fmt: skip
        for i in range(repeats):
            s = stride if i == 0 else 1
            layers.append(InvertedResidual(inputs, outputs, kernel, s, expand=expand, eps=1e-3, same=True))
            inputs = outputs
    layers.append(conv_bn(inputs, 1280, eps=1e-3))
    return Classifier(nn.Sequential(*layers), nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000)))


class SqueezeExcite(nn.Module):
    """Scale channels by a gate computed from their means (arXiv 1709.01507), with a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = round_to_8(channels / 4)
        self.reduce, self.expand = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.relu(self.reduce(nn.functional.adaptive_avg_pool2d(x, 1)))
        return x * nn.functional.hardsigmoid(self.expand(gate))


def round_to_8(channels: float) -> int:
    """Nearest multiple of 8 that does not lose more than 10 %."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class MobileNetV3Block(nn.Module):
    """Expand, depthwise, squeeze-excite, project, shortcut."""

    def __init__(
        self, inputs: int, kernel: int, wide: int, outputs: int, *, squeeze: bool, activation: Activation, stride: int
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inputs == outputs
        layers = [] if wide == inputs else [conv_bn(inputs, wide, activation=activation, eps=1e-3)]
        layers.append(conv_bn(wide, wide, kernel, stride, groups=wide, activation=activation, eps=1e-3))
        gate = [SqueezeExcite(wide)] if squeeze else []
        self.block = nn.Sequential(*layers, *gate, conv_bn(wide, outputs, activation=None, eps=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.shortcut else y


def mobilenet_v3_large() -> nn.Module:
    """MobileNetV3-Large 1.0 (arXiv 1905.02244): hard-swish and squeeze-excite."""
    layers: list[nn.Module] = [conv_bn(3, 16, 3, 2, activation=nn.Hardswish, eps=1e-3)]
    inputs = 16
    for kernel, wide, outputs, squeeze, activation, stride in [
        (3, 16, 16, False, nn.ReLU, 1), (3, 64, 24, False, nn.ReLU, 2), (3, 72, 24, False, nn.ReLU, 1),
        (5, 72, 40, True, nn.ReLU, 2), (5, 120, 40, True, nn.ReLU, 1), (5, 120, 40, True, nn.ReLU, 1),
        (3, 240, 80, False, nn.Hardswish, 2), (3, 200, 80, False, nn.Hardswish, 1),
        (3, 184, 80, False, nn.Hardswish, 1), (3, 184, 80, False, nn.Hardswish, 1),
        (3, 480, 112, True, nn.Hardswish, 1), (3, 672, 112, True, nn.Hardswish, 1),
        (5, 672, 160, True, nn.Hardswish, 2), (5, 960, 160, True, nn.Hardswish, 1),
        (5, 960, 160, True, nn.Hardswish, 1),
    ]:  # fmt: skip
        block = MobileNetV3Block(inputs, kernel, wide, outputs, squeeze=squeeze, activation=activation, stride=stride)
        layers.append(block)
        inputs = outputs
    layers.append(conv_bn(inputs, 960, activation=nn.Hardswish, eps=1e-3))
    head = nn.Sequential(nn.Linear(960, 1280), nn.Hardswish(), nn.Dropout(0.2), nn.Linear(1280, 1000))
    return Classifier(nn.Sequential(*layers), head)


class ShuffleUnit(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass by, or, with stride 2, two branches."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.down = stride == 2
        if self.down:
            self.branch1 = nn.Sequential(
                *conv_bn(inputs, inputs, 3, 2, groups=inputs, activation=None),
                *conv_bn(inputs, half, activation=nn.ReLU),
            )
        self.branch2 = nn.Sequential(
            *conv_bn(inputs if self.down else half, half, activation=nn.ReLU),
            *conv_bn(half, half, 3, stride, groups=half, activation=None),
            *conv_bn(half, half, activation=nn.ReLU),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.down:
            y = torch.cat((self.branch1(x), self.branch2(x)), 1)
        else:
            kept, changed = x.chunk(2, 1)
            y = torch.cat((kept, self.branch2(changed)), 1)
        # Channel shuffle with two groups, written for one fixed picture size and a free batch.
        _, c, h, w = y.shape
        return y.reshape(-1, 2, c // 2, h, w).transpose(1, 2).reshape(-1, c, h, w)


def shufflenet_v2() -> nn.Module:
    """ShuffleNetV2 1.0 (arXiv 1807.11164)."""
    layers: list[nn.Module] = [conv_bn(3, 24, 3, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1)]
    inputs = 24
    for outputs, repeats in [(116, 4), (232, 8), (464, 4)]:
        for i in range(repeats):
            layers.append(ShuffleUnit(inputs, outputs, 2 if i == 0 else 1))
            inputs = outputs
    layers.append(conv_bn(inputs, 1024, activation=nn.ReLU))
    return Classifier(nn.Sequential(*layers), nn.Linear(1024, 1000))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "shufflenet_v2": shufflenet_v2,
    "efficientnet_lite0": efficientnet_lite0,
}
"""Builders by name; weights are torch's default initialization until `zoo.export` seeds them."""
