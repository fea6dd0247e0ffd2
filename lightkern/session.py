"""Sessions: an int8 model, packed for this CPU, ready to run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .arrays import is_ndarray, nearest_float32
from .buffers import Inputs, index_of, input_views, output_views
from .graph import Node, Port
from .model import Model, Quant
from .opset import Shape

if TYPE_CHECKING:
    from .buffers import Buffers

__all__ = ["PackedModel", "Session", "isa_levels"]

MAX_THREADS = 256


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


class StepChoice(NamedTuple):
    """Why a step runs as it does: an entry of `Session.explain`.

    Attributes
    ----------
    name : str
        Name of the node; those of fused nodes joined by " + ".
    op : str
        Its op, or theirs, likewise.
    kernel : str
        The kernel that runs it.
    rejected : tuple of (str, str)
        Kernels that were not taken, each with the reason.
    """

    name: str
    op: str
    kernel: str
    rejected: tuple[tuple[str, str], ...]


class Session:
    """Runs a model.

    Parameters
    ----------
    model : Model, PackedModel or path-like
        A `PackedModel` is shared: sessions on it add only their activations. A path is that of a ``.lk`` file.
    threads : int
        Threads that work on one image, the caller included.
    isa, kernel, guarded, fuse
        As for `PackedModel`; not allowed together with a `PackedModel`.

    Attributes
    ----------
    packed : PackedModel
        What it runs.

    Raises
    ------
    TypeError, ValueError
        If an option does not fit or the model breaks a rule; a `FormatError` where a file does.
    UnsupportedError
        If an int32 accumulator of a `Model` could overflow.
    OSError
        If the file cannot be read.

    Notes
    -----
    Neither loading a path nor `run` with `out` imports NumPy, which takes longer than all the rest of a start (but for
    a model whose int32 accumulators come near to their limit: they are added up with it).

    `run` may be called from several threads at once: the calls wait for each other. Use one session per thread on one
    `PackedModel` to work in parallel. Results never depend on the number of threads or the ISA level.
    """

    def __init__(
        self,
        model: Model | PackedModel | str | os.PathLike[str],
        *,
        threads: int = 1,
        isa: str | None = None,
        kernel: str = "",
        guarded: bool = False,
        fuse: bool = True,
    ) -> None:
        if not isinstance(threads, int) or isinstance(threads, bool):
            raise TypeError(f"threads must be an int, got {type(threads).__name__}")
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads must be within 1..{MAX_THREADS}, got {threads}")
        if isinstance(model, PackedModel):
            if isa is not None or kernel or guarded or not fuse:
                raise ValueError("isa, kernel, guarded and fuse belong to the PackedModel, which is packed already")
            self.packed = model
        else:
            self.packed = PackedModel(model, isa=isa, kernel=kernel, guarded=guarded, fuse=fuse)
        self._session = _core.Session(self.packed._plan, threads)
        self._channels_first = _channels_first(self.packed.inputs), _channels_first(self.packed.outputs)

    @property
    def threads(self) -> int:
        """Number of threads, the caller included."""
        return self._session.threads

    def run(self, x: Buffers, *, out: Buffers | None = None) -> Any:
        """Run the model.

        Parameters
        ----------
        x : ndarray or other buffer [n, *shape], or mapping from input name to such
            float32 (quantized inside) or int8, C-contiguous, in the layout of the source model. A buffer is anything
            that ``memoryview`` takes, of format "f" or "b".
        out : ndarray or other buffer [n, *shape], or mapping from output name to such, optional
            Where to write the outputs: of the inputs' dtype, C-contiguous, writable, sharing no memory with an input or
            with each other. By default new arrays are allocated.

        Returns
        -------
        ndarray [n, *shape], or dict from output name to such arrays
            float32 for float32 inputs, int8 for int8 inputs. A dict if the model has several outputs. With `out`, that
            very object.

        Raises
        ------
        TypeError
            For anything but float32 or int8 buffers, or a mixture of both.
        ValueError
            For wrong names, shapes, strides, shared memory, or a NaN: its message has the index, and the content of
            `out` is undefined then.
        """
        inputs = input_views(self.packed.inputs, x)
        outputs = self._allocate(inputs) if out is None else output_views(self.packed.outputs, out, inputs)
        found = self._session.run(
            inputs=inputs.views,
            inputs_channels_first=self._channels_first[0],
            outputs=outputs,
            outputs_channels_first=self._channels_first[1],
            batch=inputs.batch,
        )
        if found is not None:
            port, element = self.packed.inputs[found[0]], found[1]
            raise ValueError(f"input {port.name!r}: NaN at index {index_of(element, (inputs.batch, *port.api_shape))}")
        if out is not None:
            return out
        if len(outputs) == 1:
            return outputs[0]
        return {p.name: y for p, y in zip(self.packed.outputs, outputs, strict=True)}

    __call__ = run

    def profile(self, x: Buffers | None = None, *, repeat: int = 20) -> list[dict[str, Any]]:
        """Time every step.

        Parameters
        ----------
        x : ndarray, other buffer or mapping, optional
            Inputs as for `run`, batch 1; default: zeros.
        repeat : int
            Runs; each figure is the median.

        Returns
        -------
        list of dict
            Per stage, in order of execution, "inputs" and "outputs" included: ``name``, ``op``, ``kernel``, ``macs``
            (per image), ``seconds`` (median), ``packed_nbytes``.

        Raises
        ------
        TypeError, ValueError
            If `x` does not fit, its batch is not 1, or `repeat` is not a positive int.
        """
        import numpy as np

        if not isinstance(repeat, int) or repeat < 1:
            raise ValueError(f"repeat must be a positive int, got {repeat!r}")
        if x is None:
            x = {p.name: np.zeros((1, *p.api_shape), np.float32) for p in self.packed.inputs}
        inputs = input_views(self.packed.inputs, x)
        if inputs.batch != 1:
            raise ValueError(f"profile takes a batch of 1, got {inputs.batch}")
        outputs = self._allocate(inputs)
        first = self._channels_first
        runs = [self._session.time(inputs.views, first[0], outputs, first[1]) for _ in range(repeat + 1)][1:]
        seconds = [float(np.median(stage)) for stage in zip(*runs, strict=True)]
        keys = ("name", "op", "kernel", "macs", "packed_nbytes")
        rows: list[dict[str, Any]] = [{key: step[key] for key in keys} for step in self.packed.steps]
        edge = {"kernel": "", "macs": 0.0, "packed_nbytes": 0}
        rows = [{"name": "inputs", "op": "quantize", **edge}, *rows, {"name": "outputs", "op": "dequantize", **edge}]
        return [{**row, "seconds": s} for row, s in zip(rows, seconds, strict=True)]

    def explain(self) -> list[StepChoice]:
        """Per step, the kernel that runs it and why no other one does."""
        return [
            StepChoice(s["name"], s["op"], s["kernel"], tuple((k, why) for k, why in s["rejected"]))
            for s in self.packed.steps
        ]

    def _allocate(self, inputs: Inputs) -> list[Any]:
        """New arrays of the inputs' dtype and batch size, one per output."""
        import numpy as np

        return [np.empty((inputs.batch, *p.api_shape), inputs.dtype) for p in self.packed.outputs]


def _channels_first(ports: Sequence[Port]) -> list[bool]:
    return [p.api_shape is not p.shape for p in ports]
