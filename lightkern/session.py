"""Sessions: a packed model, ready to run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .buffers import Inputs, index_of, input_views, output_views
from .model import Model
from .packed import PackedModel
from .ports import Port

if TYPE_CHECKING:
    from .buffers import Buffers

__all__ = ["Session", "StepChoice"]

MAX_THREADS = 256


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
