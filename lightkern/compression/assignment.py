"""Linear assignment: each row gets a column of its own so that the total cost is least."""

from __future__ import annotations

import numpy as np

from ..graph import Array

__all__ = ["assign"]


def assign(cost: Array) -> Array:
    """Solve a square linear assignment problem.

    Shortest augmenting paths with dual variables, as in Jonker and Volgenant, "A shortest augmenting path algorithm
    for dense and sparse linear assignment problems" (1987), and Crouse, "On implementing 2D rectangular assignment
    algorithms" (2016); the scan over columns is one NumPy expression.

    Parameters
    ----------
    cost : ndarray [n, n]
        Finite costs.

    Returns
    -------
    ndarray [n]
        Column of each row; a permutation.
    """
    cost = np.asarray(cost, np.float64)
    n = len(cost)
    if cost.shape != (n, n) or not np.isfinite(cost).all():
        raise ValueError(f"cost must be a square matrix of finite numbers, got shape {cost.shape}")
    v = cost.min(axis=0, initial=np.inf) if n else np.zeros(0)
    u = (cost - v).min(axis=1) if n else np.zeros(0)
    column_of, row_of = _greedy_start(cost, u, v)
    for row in np.flatnonzero(column_of < 0):
        _augment(cost, u, v, column_of, row_of, int(row))
    return column_of


def _greedy_start(cost: Array, u: Array, v: Array) -> tuple[Array, Array]:
    """Match along edges without slack, first come first served."""
    n = len(cost)
    column_of, row_of = np.full(n, -1), np.full(n, -1)
    for row in range(n):
        tight = np.flatnonzero((cost[row] - u[row] - v <= 0) & (row_of < 0))
        if tight.size:
            column_of[row], row_of[tight[0]] = tight[0], row
    return column_of, row_of


def _augment(cost: Array, u: Array, v: Array, column_of: Array, row_of: Array, start: int) -> None:
    """Dijkstra over reduced costs from a free row to the nearest free column, then flip the path."""
    n = len(cost)
    distance, previous = np.full(n, np.inf), np.full(n, -1)
    done = np.zeros(n, bool)
    row, reached = start, 0.0
    while True:
        through = reached + (cost[row] - u[row] - v)
        better = ~done & (through < distance)
        distance[better], previous[better] = through[better], row
        column = int(np.argmin(np.where(done, np.inf, distance)))
        reached = distance[column]
        done[column] = True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
    inner = done.copy()
    inner[column] = False
    u[row_of[inner]] += reached - distance[inner]
    u[start] += reached
    v[inner] += distance[inner] - reached
    while True:
        row = int(previous[column])
        row_of[column] = row
        column, column_of[row] = int(column_of[row]), column
        if row == start:
            return
