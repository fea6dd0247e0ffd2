"""Which function imports which ONNX operator."""

from __future__ import annotations

from collections.abc import Callable

from .builder import Context

Handler = Callable[[Context], None]

HANDLERS: dict[str, Handler] = {}
"""Handler per ONNX op type. A handler reads its node from the context, emits, and defines every output it can."""


def handles(*op_types: str) -> Callable[[Handler], Handler]:
    """Register a handler for these ONNX operators."""

    def register(handler: Handler) -> Handler:
        for op_type in op_types:
            HANDLERS[op_type] = handler
        return handler

    return register
