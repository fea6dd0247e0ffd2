"""Importers: each turns one file format into a float `lightkern.Graph`. None of them imports its extra until used."""

from __future__ import annotations

from .onnx import load_onnx

__all__ = ["load_onnx"]
