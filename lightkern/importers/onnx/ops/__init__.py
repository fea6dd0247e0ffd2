"""Handlers, one file per family of operators; importing this package fills the registry."""

from ..registry import HANDLERS
from . import activation, arithmetic, conv, linear, pool, resize, selection, shape

__all__ = ["HANDLERS", "activation", "arithmetic", "conv", "linear", "pool", "resize", "selection", "shape"]
