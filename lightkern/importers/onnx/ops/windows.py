"""Sliding windows as ONNX describes them: explicit padding, auto_pad, ceil_mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..builder import Context


@dataclass
class Window:
    """Geometry of a convolution or a pool over (H, W).

    Attributes
    ----------
    padding : list of int
        What the model declares: top, left, bottom, right.
    overhang : list of int
        Rows and columns that ceil_mode adds below and at the right; a pool never counts them.
    """

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    padding: list[int]
    overhang: list[int] = field(default_factory=lambda: [0, 0])

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of the graph op, overhang included in the padding."""
        top, left, bottom, right = self.padding
        padding = [top, left, bottom + self.overhang[0], right + self.overhang[1]]
        return {"kernel": self.kernel, "stride": self.stride, "padding": padding}


def window(context: Context, size: Sequence[int], kernel: Sequence[int]) -> Window:
    """Read strides, dilations, pads, auto_pad and ceil_mode of a node that slides `kernel` over `size` = (H, W)."""
    strides, dilations = context.attr_ints("strides", [1, 1]), context.attr_ints("dilations", [1, 1])
    for name, values in (("kernel_shape", kernel), ("strides", strides), ("dilations", dilations)):
        if len(values) != 2 or min(values) < 1:
            context.malformed(f"{name} must be two positive numbers, got {list(values)}")
    top, left, bottom, right = _pads(context, size, kernel, strides, dilations)
    result = Window(list(kernel), strides, dilations, [top, left, bottom, right])
    if context.attr_int("ceil_mode", 0):
        for i, (before, after) in enumerate(((top, bottom), (left, right))):
            extent = dilations[i] * (kernel[i] - 1) + 1
            rest = size[i] + before + after - extent
            count = -(-rest // strides[i]) + 1
            if (count - 1) * strides[i] >= size[i] + before:
                count -= 1  # a window must not begin in the padding at the end
            result.overhang[i] = max(0, (count - 1) * strides[i] - rest)
    return result


def _pads(
    context: Context, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[int, int, int, int]:
    auto = context.attr_string("auto_pad", "NOTSET")
    pads = context.attr_ints("pads", [0, 0, 0, 0])
    if auto == "NOTSET":
        if len(pads) != 4 or min(pads) < 0:
            context.refuse(f"pads must be four numbers that are not negative, got {pads}")
        return pads[0], pads[1], pads[2], pads[3]
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        context.malformed(f"unknown auto_pad {auto!r}")
    both = []
    for i in range(2):
        extent = dilations[i] * (kernel[i] - 1) + 1
        total = max(0, (-(-size[i] // strides[i]) - 1) * strides[i] + extent - size[i])
        smaller, larger = total // 2, total - total // 2
        both.append((smaller, larger) if auto == "SAME_UPPER" else (larger, smaller))
    return both[0][0], both[1][0], both[0][1], both[1][1]
