"""lightkern: int8 inference kernels for vision networks on mobile CPUs."""

from __future__ import annotations

from . import ops, reference
from .compression import CompressOptions, compress
from .errors import FormatError, MissingExtraError, UnsupportedError
from .graph import Graph, Node, Port, load_graph
from .importers import load_onnx
from .model import Model, Quant, load
from .session import PackedModel, Session, isa_levels

__all__ = [
    "CompressOptions",
    "FormatError",
    "Graph",
    "MissingExtraError",
    "Model",
    "Node",
    "PackedModel",
    "Port",
    "Quant",
    "Session",
    "UnsupportedError",
    "compress",
    "isa_levels",
    "load",
    "load_graph",
    "load_onnx",
    "ops",
    "reference",
]
