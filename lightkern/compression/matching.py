"""Pass 4: choose which channels sit side by side, so that pairs of weights seldom exceed 16 bits on x86.

``vpmaddubsw`` multiplies and adds neighbours along the input-channel axis. Permuting channels costs nothing at run
time, so large weights get small neighbours. What remains unsafe raises the scale of its output channel (``weights``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..graph import Array, Graph, Node
from .assignment import assign
from .groups import ChannelMap, permute_channels, trace_channels
from .rewrite import fused_shapes
from .weights import PAIR_LIMIT, is_depthwise

__all__ = ["MatchingStats", "match_channels"]


@dataclass
class MatchingStats:
    """What `match_channels` did.

    Attributes
    ----------
    groups, pairs : int
        Dependency groups permuted, and pairs of places that they have.
    excess_before, excess_after : float
        Squared excess of all pairs over the exact range, in units of int8 weights.
    """

    groups: int = 0
    pairs: int = 0
    excess_before: float = 0.0
    excess_after: float = 0.0


def match_channels(graph: Graph, progress: Callable[[int, int], None]) -> MatchingStats:
    """Permute the channels of every dependency group of a fused graph in place; no result changes but in rounding."""
    channels = trace_channels(graph, fused_shapes(graph))
    successor = np.arange(len(channels.family))
    stats = MatchingStats()
    groups = channels.groups()
    for done, group in enumerate(groups):
        progress(done, len(groups))
        consumers = [node for node in graph.nodes if _reads(node, channels, group)]
        if not consumers:
            continue
        slots = _pair_slots(max(consumers, key=lambda node: node.params["weight"].size), channels, group)
        if not len(slots):
            continue
        rows = np.concatenate([_rows(node, channels, group) for node in consumers])
        _place(group, slots, rows, successor, stats)
    progress(len(groups), len(groups))
    permute_channels(graph, channels, successor)
    return stats


def _reads(node: Node, channels: ChannelMap, group: Array) -> bool:
    if node.op not in ("conv2d", "linear") or is_depthwise(node):
        return False
    return bool(np.isin(group[0], channels.roots[node.inputs[0]]))


def _pair_slots(node: Node, channels: ChannelMap, group: Array) -> Array:
    """Pairs of roots [m, 2] at places 2k, 2k + 1 of a consumer's reduction axis; each root at most once."""
    labels = channels.roots[node.inputs[0]].reshape(node.attrs.get("groups", 1), -1)
    even = labels[:, : labels.shape[1] // 2 * 2].reshape(-1, 2)
    inside = np.isin(even, group).all(axis=1) & (even[:, 0] != even[:, 1])
    taken: set[int] = set()
    slots = []
    for a, b in even[inside].tolist():
        if a not in taken and b not in taken:
            slots.append((a, b))
            taken |= {a, b}
    return np.array(slots, np.int64).reshape(-1, 2)


def _rows(node: Node, channels: ChannelMap, group: Array) -> Array:
    """Weights [rows, len(group)] in units of int8 that the channels of a group meet in one consumer, per root."""
    weight: Array = node.params["weight"].astype(np.float32)
    peak = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    unit = np.where(peak > 0, peak, 1).astype(np.float32)
    weight = weight * (127 / unit).reshape(-1, *[1] * (weight.ndim - 1))
    labels = channels.roots[node.inputs[0]]
    groups = node.attrs.get("groups", 1)
    if groups > 1:
        # All of the group's roots are in one and the same group of the convolution, see `trace_channels`.
        width, height = weight.shape[-1], len(weight) // groups
        g = int(np.flatnonzero(labels == group[0])[0]) // width
        weight, labels = weight[g * height : (g + 1) * height], labels[g * width : (g + 1) * width]
    flat = weight.reshape(-1, weight.shape[-1])
    order = np.argsort(labels, kind="stable")
    chosen = order[np.isin(labels[order], group)]
    # [rows, root, copy] -> one row per copy
    per_root = flat[:, chosen].reshape(len(flat), len(group), -1)
    return np.asarray(per_root.transpose(0, 2, 1).reshape(-1, len(group)))


def _place(group: Array, slots: Array, rows: Array, successor: Array, stats: MatchingStats) -> None:
    """Pair large with small channels of one group and record who takes which place."""
    index = np.searchsorted(group, slots)
    m = len(slots)
    size = np.abs(rows).max(axis=0)
    order = np.argsort(-size, kind="stable")
    large, small, middle = order[:m], order[len(group) - m :], order[m : len(group) - m]
    cost = _pair_costs(rows, large, small)
    partner = small[assign(cost)]
    before = _excess(rows, index[:, 0], index[:, 1])
    after = _excess(rows, large, partner)
    stats.pairs += m
    stats.excess_before += before
    stats.excess_after += min(before, after)
    if after >= before:
        return
    stats.groups += 1
    successor[slots[:, 0]], successor[slots[:, 1]] = group[large], group[partner]
    alone = np.setdiff1d(np.arange(len(group)), index)
    successor[group[alone]] = group[middle]


def _excess(rows: Array, a: Array, b: Array) -> float:
    total = 0.0
    for sign in (1, -1):
        x, y = np.maximum(sign * rows[:, a], 0), np.maximum(sign * rows[:, b], 0)
        total += float((np.maximum(x + y - PAIR_LIMIT, 0) ** 2).sum())
    return total


def _pair_costs(rows: Array, large: Array, small: Array) -> Array:
    """Squared excess [large, small] that each pair would have, summed over the rows."""
    cost = np.zeros((len(large), len(small)))
    for sign in (1, -1):
        x, y = np.maximum(sign * rows[:, large], 0), np.maximum(sign * rows[:, small], 0)
        reach = y.max(axis=1)
        for i in range(len(large)):
            risky = np.flatnonzero(x[:, i] + reach > PAIR_LIMIT)
            over = np.maximum(y[risky] + (x[risky, i, None] - PAIR_LIMIT), 0)
            cost[i] += np.einsum("rs,rs->s", over, over)
    return cost
