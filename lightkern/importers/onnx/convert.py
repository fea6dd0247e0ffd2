"""From checked ONNX nodes to a Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import FormatError, UnsupportedError
from ...graph import Graph, Port
from ...opset import MAX_DIM, MAX_ELEMENTS, RuleError, elements
from . import folding, patterns, views
from .builder import Builder, Context
from .ops import HANDLERS
from .reader import Source, SourceInput, SourceNode
from .tensors import dtype_name, is_float, to_array
from .views import Order, Value

_MALFORMED = (TypeError, IndexError, KeyError, AttributeError, ArithmeticError, MemoryError, UnicodeDecodeError)
"""What a handler may run into on a node that contradicts itself."""

_LOOKS_THROUGH = {"Identity", "Cast", "Sub", "Mul", "Add", "Div"}


def convert(source: Source, input_shapes: Mapping[str, Sequence[int]]) -> Graph:
    """Convert a checked model; see `lightkern.load_onnx`."""
    unknown = sorted(set(input_shapes) - {i.name for i in source.inputs})
    if unknown:
        raise ValueError(
            f"input_shapes names {unknown}, the model has the inputs {sorted(i.name for i in source.inputs)}"
        )
    with np.errstate(all="ignore"):
        builder = Builder(source.opset, _batch(source.inputs))
        channels_last = _channels_last_inputs(source)
        inputs = [_add_input(builder, i, input_shapes.get(i.name), i.name in channels_last) for i in source.inputs]
        needed = {name for node in source.nodes for name in node.inputs} | set(source.outputs)
        for name, tensor in source.initializers.items():
            if name in needed:
                builder.values[name] = to_array(tensor, f"initializer {name!r}", source.folder)
        for node in source.nodes:
            _convert_node(builder, node, needed)
        outputs = [_add_output(builder, name) for name in source.outputs]
        graph = Graph(source.name, inputs, outputs, builder.nodes)
        patterns.rewrite(graph, builder.shapes)
    graph.validate()
    return graph


def _convert_node(builder: Builder, node: SourceNode, used: set[str]) -> None:
    """Fold or import one node. Handlers may take attribute types for granted; what slips through is a FormatError."""
    context = Context(builder, node, used)
    try:
        if folding.fold(context):
            return
        if node.op not in HANDLERS:
            context.refuse("this operator is not supported")
        HANDLERS[node.op](context)
    except RuleError as error:
        raise UnsupportedError(f"{node}: {error}") from None
    except (FormatError, UnsupportedError):
        raise
    except _MALFORMED as error:
        raise FormatError(f"{node}: contradictory node ({type(error).__name__}: {error})") from error
    missing = [name for name in node.outputs if name in used and name not in builder.values]
    if missing:
        context.refuse(f"its output {missing[0]!r} is not supported")


def _batch(inputs: Sequence[SourceInput]) -> int:
    """The batch size that the model fixes, or 1."""
    fixed = {i.dims[0] for i in inputs if i.dims and i.dims[0] is not None}
    if len(fixed) > 1:
        raise UnsupportedError(f"the inputs have different batch sizes: {sorted(map(int, filter(None, fixed)))}")
    batch = fixed.pop() if fixed else 1
    if batch is None or not 1 <= batch <= MAX_DIM:
        raise UnsupportedError(f"input {inputs[0].name!r}: impossible batch size {batch}")
    return batch


def _add_input(builder: Builder, source: SourceInput, given: Sequence[int] | None, channels_last: bool) -> Port:
    where = f"input {source.name!r}"
    if not is_float(source.elem_type):
        raise UnsupportedError(f"{where}: has type {dtype_name(source.elem_type)}, only float inputs are supported")
    dims = source.dims
    if dims is not None and not dims:
        raise UnsupportedError(f"{where}: is a scalar, a batch axis is needed")
    if given is not None:
        shape = [int(d) for d in given]
        if dims is not None and (
            len(shape) != len(dims) - 1 or any(d is not None and d != s for d, s in zip(dims[1:], shape, strict=True))
        ):
            raise ValueError(f"{where}: input_shapes says {tuple(shape)}, the model says {tuple(dims[1:])}")
    elif dims is None or any(d is None for d in dims[1:]):
        known = "unknown" if dims is None else "(" + ", ".join("?" if d is None else str(d) for d in dims) + ")"
        raise UnsupportedError(
            f"{where}: its shape is {known}; only the batch may be open. Give the other sizes: "
            f"load_onnx(..., input_shapes={{{source.name!r}: (3, 224, 224)}})"
        )
    else:
        shape = [d for d in dims[1:] if d is not None]
    if not 1 <= len(shape) <= 3:
        raise UnsupportedError(f"{where}: {len(shape) + 1} dimensions, 2 to 4 are supported (batch included)")
    if min(shape) < 1 or max(shape) > MAX_DIM or elements(tuple(shape)) >= MAX_ELEMENTS:
        raise UnsupportedError(f"{where}: impossible or oversized shape {tuple(shape)}")
    order: Order = views.IMAGE if len(shape) == 3 and not channels_last else tuple((i,) for i in range(len(shape)))
    tensor = builder.unique(source.name)
    value = views.arranged(tensor, order, shape)
    builder.shapes[tensor] = value.shape
    builder.values[source.name] = value
    return Port(source.name, tensor, value.shape, "NHWC" if channels_last else "NCHW")


def _add_output(builder: Builder, name: str) -> Port:
    value = builder.values[name]
    if not isinstance(value, Value):
        raise UnsupportedError(f"output {name!r}: is a constant, does not depend on the inputs")
    rank = len(value.axes)
    if not 1 <= rank <= 3:
        raise UnsupportedError(f"output {name!r}: has {rank + 1} dimensions, 2 to 4 are supported (batch included)")
    natural: Order = tuple((i,) for i in range(rank))
    order = natural
    if rank == 3 and views.cost(value, natural) > 0:
        order = min((views.IMAGE, natural), key=lambda o: views.cost(value, o))
    if rank == 3 and views.cost(value, views.IMAGE) == 0:
        order = views.IMAGE
    try:
        tensor = builder.arrange(f"{name}/layout", value, order)
    except RuleError as error:
        raise UnsupportedError(f"output {name!r}: {error}") from None
    return Port(name, tensor, builder.shapes[tensor], "NHWC" if rank == 3 and order == natural else "NCHW")


def _channels_last_inputs(source: Source) -> set[str]:
    """Inputs that the model turns from NHWC to NCHW before anything else, as tf2onnx writes them."""
    readers: dict[str, list[SourceNode]] = {}
    for node in source.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found = set()
    for port in source.inputs:
        pending, seen, transposes, other = [port.name], {port.name}, 0, port.name in source.outputs
        while pending:
            for node in readers.get(pending.pop(), []):
                permutation: Any = node.attributes.get("perm")
                if node.op == "Transpose" and permutation is not None and list(permutation.ints) == [0, 3, 1, 2]:
                    transposes += 1
                elif node.op in _LOOKS_THROUGH and node.outputs[0] not in seen:
                    seen.add(node.outputs[0])
                    pending.append(node.outputs[0])
                    other |= node.outputs[0] in source.outputs
                else:
                    other = True
        if transposes and not other:
            found.add(port.name)
    return found
