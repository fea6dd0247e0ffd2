"""Exceptions that lightkern raises on top of Python's own ``TypeError`` and ``ValueError``.

Every message says where the fault is, which rule it breaks, and the actual value.
"""

from __future__ import annotations

__all__ = ["FormatError", "MissingExtraError", "UnsupportedError"]


class FormatError(ValueError):
    """A file is truncated, corrupt or contradicts itself."""


class UnsupportedError(RuntimeError):
    """Valid input asks for something that lightkern does not do (an op, an attribute, a size)."""


class MissingExtraError(ImportError):
    """An optional dependency is missing; the message names the command that installs it."""

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {module!r}; install it with: pip install 'lightkern[{extra}]'")
        self.name = module
