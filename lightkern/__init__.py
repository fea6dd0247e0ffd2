"""lightkern: int8 inference kernels for vision networks on mobile and desktop CPUs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._core import __version__
from .errors import FormatError, MissingExtraError, UnsupportedError
from .graph import Graph, Node, Port, load_graph
from .model import Model, Quant, load
from .packed import PackedModel, isa_levels
from .session import Session

if TYPE_CHECKING:
    from . import ops, reference
    from .compression import CompressOptions, compress
    from .importers import load_onnx

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
    "__version__",
    "compress",
    "isa_levels",
    "load",
    "load_graph",
    "load_onnx",
    "ops",
    "reference",
]

# Not needed to run a model, so imported when first asked for: an app that only runs models starts faster.
_LATER = {
    "CompressOptions": "compression",
    "compress": "compression",
    "load_onnx": "importers",
    "ops": "",
    "reference": "",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_LATER[name] or name}", __name__)
    value = getattr(module, name) if _LATER[name] else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
