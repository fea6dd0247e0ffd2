"""Weights to integers with regard to the inputs that they meet: ``rounding="hessian"`` and ``"adaround"``.

Both minimise the squared error that rounding leaves in a layer's output. For integer weights q of one output channel,
with d = q - w / scale, that is d H d, where H is the second moment of the inputs (about their mean, if the bias is
corrected afterwards). Layouts: H [g, k, k], weights [g, o, k] with g groups, o outputs per group and k inputs per
output; a depthwise convolution has one output or a few per group, any other layer without groups has g = 1.
"""

from __future__ import annotations

import numpy as np

from ..float_ops import windows
from ..graph import Array, Node
from ..model import Quant
from .weights import PAIR_LIMIT, is_depthwise

__all__ = ["input_moments", "round_adaptively", "round_by_hessian"]

SAMPLES = 4096
"""Output pixels per layer that the second moment is measured on."""

BLOCK = 1536
"""Inputs beyond this many are treated in blocks, as if blocks were independent."""

DAMPING = 0.01
"""Share of the mean diagonal added to the diagonal of H."""


def input_moments(node: Node, xs: list[Array], quant: Quant, seed: int, *, centered: bool) -> Array:
    """Second moment [g, k, k] of the inputs of a conv2d or linear node, in squared real units.

    Parameters
    ----------
    node : Node
        With float parameters.
    xs : list of ndarray int8
        Its inputs [n, ...], one per batch, with quantization `quant`.
    seed : int
        Chooses the pixels.
    centered : bool
        About the mean.
    """
    rng = np.random.default_rng(seed)
    share = max(SAMPLES // len(xs), 16)
    rows = np.concatenate([_sample(node, quant.dequantize(x), share, rng) for x in xs])
    groups = node.attrs.get("groups", 1)
    if node.op == "conv2d":
        taps = rows.reshape(len(rows), -1, groups, rows.shape[-1] // groups)
        rows = taps.transpose(0, 2, 1, 3).reshape(len(rows), groups, -1)
    else:
        rows = rows.reshape(len(rows), 1, -1)
    if centered:
        rows = rows - rows.mean(axis=0)
    by_group = rows.transpose(1, 0, 2)
    return np.asarray(np.matmul(by_group.transpose(0, 2, 1), by_group) / len(rows), np.float64)


def _sample(node: Node, x: Array, count: int, rng: np.random.Generator) -> Array:
    """Inputs of `count` random output pixels: [count, kh, kw, c] or [count, k]."""
    if node.op == "linear":
        flat = x.reshape(-1, x.shape[-1])
        return flat[rng.integers(len(flat), size=min(count, len(flat)))]
    view = windows(x, node, 0.0)
    n, h, w = view.shape[:3]
    chosen = rng.integers(n * h * w, size=min(count, n * h * w))
    return np.asarray(view[chosen // (h * w), chosen // w % h, chosen % w])


def _grouped(node: Node, scale: Array) -> Array:
    """Weights [g, o, k] in units of their scale."""
    weight = node.params["weight"].astype(np.float64)
    rows = weight.reshape(len(weight), -1) / scale.astype(np.float64)[:, None]
    return rows.reshape(node.attrs.get("groups", 1), -1, rows.shape[1])


def _damped(moments: Array) -> Array:
    diagonal = np.einsum("gkk->gk", moments).mean(axis=1)
    diagonal = np.where(diagonal > 0, diagonal, 1.0) * DAMPING
    return np.asarray(moments + diagonal[:, None, None] * np.eye(moments.shape[1]))


def round_by_hessian(node: Node, scale: Array, moments: Array, *, saturation_free: bool) -> Array:
    """Round input after input, and spread each rounding error over the inputs still to come.

    Frantar et al., "GPTQ: accurate post-training quantization for generative pre-trained transformers",
    arXiv:2210.17323, whose order of columns is kept as it is, so that the partner of a pair is known.

    Returns
    -------
    ndarray int8, shape of the weight
    """
    w = _grouped(node, scale)
    q = np.zeros_like(w)
    paired = saturation_free and not is_depthwise(node)
    for begin in range(0, w.shape[2], BLOCK):
        block = slice(begin, begin + BLOCK)
        inverse = np.linalg.inv(_damped(moments[:, block, block]))
        upper = np.linalg.cholesky((inverse + inverse.transpose(0, 2, 1)) / 2).transpose(0, 2, 1)
        left = w[:, :, block].copy()
        for j in range(left.shape[2]):
            low, high = -127.0, 127.0
            if paired and j % 2:
                partner = q[:, :, begin + j - 1]
                low = np.maximum(low, -PAIR_LIMIT - np.minimum(partner, 0))
                high = np.minimum(high, PAIR_LIMIT - np.maximum(partner, 0))
            q[:, :, begin + j] = np.clip(np.rint(left[:, :, j]), low, high)
            error = (left[:, :, j] - q[:, :, begin + j]) / upper[:, None, j, j]
            left[:, :, j + 1 :] -= error[:, :, None] * upper[:, None, j, j + 1 :]
    return np.asarray(q.astype(np.int8).reshape(node.params["weight"].shape))


ITERATIONS = 400
RATE = 0.1
WARM_UP = 0.2
STRETCH = 1.2
"""The soft rounding is a sigmoid stretched to [-0.1, 1.1] and clipped, so that 0 and 1 are reached."""

PENALTY = 0.4


def round_adaptively(node: Node, scale: Array, moments: Array, *, saturation_free: bool) -> Array:
    """Learn for each weight whether to round it down or up.

    Nagel et al., "Up or down? Adaptive rounding for post-training quantization", arXiv:2004.10568: a soft rounding h in
    [0, 1] per weight, pushed to 0 or 1 by a penalty that sharpens with time; here by Adam on the exact second moment
    instead of batches.

    Returns
    -------
    ndarray int8, shape of the weight
    """
    w = _grouped(node, scale).astype(np.float32)
    floor = np.clip(np.floor(w), -127, 126)
    h_matrix = _damped(moments)
    h_matrix = (h_matrix / np.einsum("gkk->gk", h_matrix).mean(axis=1)[:, None, None]).astype(np.float32)
    soft = np.clip(w - floor, 0.01, 0.99)
    v = np.log((soft + 0.1) / (1.1 - soft))
    first, second = np.zeros_like(v), np.zeros_like(v)
    for step in range(1, ITERATIONS + 1):
        sigmoid = 1 / (1 + np.exp(-v))
        stretched = STRETCH * sigmoid - 0.1
        h = np.clip(stretched, 0, 1)
        gradient = 2 * np.matmul(floor + h - w, h_matrix)
        progress = (step / ITERATIONS - WARM_UP) / (1 - WARM_UP)
        if progress > 0:
            power = 2 + 18 * (1 - progress)
            centered = 2 * h - 1
            gradient -= PENALTY * 2 * power * np.sign(centered) * np.abs(centered) ** (power - 1)
        gradient *= np.where((stretched > 0) & (stretched < 1), STRETCH * sigmoid * (1 - sigmoid), 0)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        corrected = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        v = v - RATE * first / (1 - 0.9**step) / corrected
    h = np.clip(STRETCH / (1 + np.exp(-v)) - 0.1, 0, 1)
    q = floor + (h >= 0.5)
    if saturation_free and not is_depthwise(node):
        q = _safe_pairs(q, floor, h)
    return np.asarray(q.astype(np.int8).reshape(node.params["weight"].shape))


def _safe_pairs(q: Array, floor: Array, h: Array) -> Array:
    """Undo the less certain rounding of each pair that would exceed 16 bits; see `weights.PAIR_TARGET`."""
    k = q.shape[2]
    padding = ((0, 0), (0, 0), (0, k % 2))
    q, floor, h = (np.pad(a, padding).reshape(*a.shape[:2], -1, 2) for a in (q, floor, h))
    over = np.maximum(q, 0).sum(axis=3) > PAIR_LIMIT
    under = np.minimum(q, 0).sum(axis=3) < -PAIR_LIMIT
    # Among the roundings that made the sum too large in magnitude, the one that was closest to the other choice.
    up = np.where((q > floor) & (q > 0), h, np.inf).argmin(axis=3)
    down = np.where((q == floor) & (q < 0), h, -np.inf).argmax(axis=3)
    which = np.arange(2)
    q = q - (over[..., None] & (which == up[..., None]))
    q = q + (under[..., None] & (which == down[..., None]))
    return np.asarray(q.reshape(*q.shape[:2], -1)[:, :, :k])
