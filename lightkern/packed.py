"""Packed models: an int8 model as a plan for this CPU, its kernels chosen, its weights in their order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from . import _core
from .arrays import is_ndarray, nearest_float32
from .graph import Node
from .model import Model, Quant
from .opset import Shape

__all__ = ["PackedModel", "allowed_isa", "isa_levels"]


def isa_levels() -> list[str]:
    """ISA levels that this CPU has and lightkern was compiled for.

    Returns
    -------
    list of str
        Best first, such as ``["avx2", "sse41", "scalar"]``; the last is always "scalar".
    """
    return _core.isa_levels()


def allowed_isa(isa: str | None) -> str:
    """The cap on ISA levels: the argument, else the environment variable ``LIGHTKERN_ISA``, else none ("").

    Raises
    ------
    ValueError
        If the name is unknown or this CPU lacks the level.
    """
    source = "isa" if isa is not None else "LIGHTKERN_ISA"
    name = os.environ.get("LIGHTKERN_ISA", "") if isa is None else isa
    if isa == "" or (name and name not in _core.isa_levels()):
        raise ValueError(f"{source}={name!r} is not one of the levels of this CPU: {', '.join(_core.isa_levels())}")
    return name


class PackedModel:
    """A model packed for one CPU: immutable, shared by any number of sessions.

    Parameters
    ----------
    model : Model or path-like
        The int8 network, validated first; or its ``.lk`` file, which is read without NumPy.
    isa : str, optional
        Best ISA level that may be used; default: the environment variable ``LIGHTKERN_ISA``, else the CPU's best.
    kernel : str, optional
        Name of a kernel that every step of its op must use (for tests and experiments).
    guarded : bool
        Put every tensor and weight between inaccessible pages (for tests: any stray access is a fault).
    fuse : bool
        Fuse activations, residual adds and shuffles into their neighbours. The bits are the same either way.

    Attributes
    ----------
    isa : str
        The cap on ISA levels; "" if there is none.
    inputs, outputs : tuple of Port
        As in the model.
    quants : dict of str to Quant
        Of the tensors of all ports.

    Raises
    ------
    TypeError
        If it is no model.
    ValueError
        If the model breaks a rule, the ISA level is not available, or the kernel does not fit. Where a file breaks the
        rule, it is a `FormatError`.
    UnsupportedError
        If an int32 accumulator of a `Model` could overflow.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self,
        model: Model | str | os.PathLike[str],
        *,
        isa: str | None = None,
        kernel: str = "",
        guarded: bool = False,
        fuse: bool = True,
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            from .file_format import read_model

            model, shapes = read_model(model)
        elif isinstance(model, Model):
            shapes = model.validate()
        else:
            raise TypeError(
                f"expected a lightkern.Model or the path of a .lk file, got {type(model).__name__}; "
                "compress a Graph first"
            )
        self.isa = allowed_isa(isa)
        self.inputs = tuple(model.inputs)
        self.outputs = tuple(model.outputs)
        self.quants = {p.tensor: model.quants[p.tensor] for p in (*model.inputs, *model.outputs)}
        index = {name: i for i, name in enumerate(shapes)}
        self._plan = _core.Plan(
            tensors=[_lower_tensor(name, shape, model.quants[name]) for name, shape in shapes.items()],
            nodes=[_lower_node(node, index, shapes, model.quants) for node in model.nodes],
            inputs=[index[p.tensor] for p in model.inputs],
            outputs=[index[p.tensor] for p in model.outputs],
            isa=self.isa,
            kernel=kernel,
            guarded=guarded,
            fuse=fuse,
        )

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Per step a dict: ``name``, ``op``, ``kernel``, ``macs`` (per image), ``packed_nbytes``, and more.

        ``rejected`` holds pairs of a kernel that was not taken, and why.
        """
        return self._plan.steps

    @property
    def packed_nbytes(self) -> int:
        """Bytes of all packed weights."""
        return self._plan.packed_nbytes

    @property
    def arena_nbytes(self) -> int:
        """Bytes that each session needs for activations."""
        return self._plan.arena_nbytes

    @property
    def least_arena_nbytes(self) -> int:
        """The greatest sum of activations that are alive at once: no arena can be smaller for this order of steps."""
        return self._plan.least_arena_nbytes


def _lower_tensor(name: str, shape: Shape, quant: Quant) -> tuple[str, int, int, int, float, int]:
    h, w, c = (1,) * (3 - len(shape)) + tuple(shape)
    return name, h, w, c, quant.scale, quant.zero_point


def _lower_node(
    node: Node, index: Mapping[str, int], shapes: Mapping[str, Shape], quants: Mapping[str, Quant]
) -> dict[str, Any]:
    """A node as `_core.Plan` takes it: integer attributes, int8 / int32 / float32 arrays, axes counted in (H, W, C)."""
    ints: dict[str, list[int]] = {}
    for key, value in node.attrs.items():
        if isinstance(value, (list, tuple)) and all(isinstance(v, int) for v in value):
            ints[key] = [int(v) for v in value]
        elif isinstance(value, int):
            ints[key] = [int(value)]
    if "axis" in node.attrs:
        ints["axis"] = [int(node.attrs["axis"]) + 3 - len(shapes[node.inputs[0]])]
    if node.op == "reshape":
        # Which sides are counted channels first: only rank 3 has channels apart from its last axis.
        sides = (shapes[node.inputs[0]], shapes[node.output])
        ints["chw"] = [int(node.attrs["order"] == "CHW" and len(shape) == 3) for shape in sides]
    if node.op == "pad":
        ints["fill"] = [_quantized(node.attrs["value"], quants[node.output])]
    return {
        "op": node.op,
        "name": node.name,
        "inputs": [index[name] for name in node.inputs],
        "output": index[node.output],
        "ints": ints,
        "arrays": {key: _in_order(value) for key, value in node.params.items()},
    }


def _quantized(value: float, quant: Quant) -> int:
    """`lightkern.reference.quantize` of one finite number, without NumPy."""
    steps = nearest_float32(nearest_float32(value) / quant.scale)
    return round(min(max(steps, -128 - quant.zero_point), 127 - quant.zero_point)) + quant.zero_point


def _in_order(value: Any) -> Any:
    """An array that C++ can read: C-contiguous and aligned, as those of a file are."""
    if is_ndarray(value) and not (value.flags.c_contiguous and value.flags.aligned):
        return value.copy()
    return value
