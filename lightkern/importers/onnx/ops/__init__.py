"""Handlers, one file per family of operators; importing this package fills the registry."""

from . import activation, arithmetic, conv, linear, pool, resize, selection, shape

__all__ = ["activation", "arithmetic", "conv", "linear", "pool", "resize", "selection", "shape"]
