"""The package as a whole: what importing it costs, its public names, its typing."""

from __future__ import annotations

import importlib.resources
import subprocess
import sys

import lightkern


def test_import_is_light() -> None:
    """Importing lightkern imports no extra, nor what only compression and import need, nor what is slow to import."""
    heavy = [
        "numpy",
        "inspect",
        "lightkern.file_format",
        "onnx",
        "onnxruntime",
        "click",
        "rich",
        "PIL",
        "torch",
        "scipy",
        "lightkern.compression",
        "lightkern.importers",
    ]
    code = f"import sys, lightkern; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_public_names() -> None:
    """Every public name resolves and is listed; an unknown one is an AttributeError."""
    for name in lightkern.__all__:
        assert getattr(lightkern, name) is not None
        assert name in dir(lightkern)
    assert not hasattr(lightkern, "no_such_name")


def test_typed() -> None:
    """The package ships its type information."""
    files = importlib.resources.files("lightkern")
    assert (files / "py.typed").is_file()
    assert (files / "_core.pyi").is_file()
