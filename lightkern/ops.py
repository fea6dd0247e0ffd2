"""Single int8 operations on NumPy arrays: the kernel layer, without a network around it.

An op is built from canonical weights, packs them for this CPU when it first sees an input shape, and is called with
int8 arrays in NHWC. The numbers are those of `lightkern.reference`; `Requant` says how accumulators become int8::

    requant = Requant(x=Quant(0.05, -128), weight_scale=scales, y=Quant(0.1, 3))
    conv = Conv2d(weight, bias, stride=2, padding=1, groups=32, requant=requant)
    y = conv(x)                        # int8 [n, oh, ow, oc]
    conv.kernel, conv.packed_nbytes    # "dwconv_s8_3x3s2_2x4_avx2", 1024
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .graph import Array, Node, Port, infer_shape
from .model import Model, Quant
from .opset import MODEL_OPS, RuleError, Shape
from .session import Session

__all__ = ["Add", "AvgPool2d", "Conv2d", "GlobalAvgPool2d", "Linear", "MaxPool2d", "Mul", "Requant", "Sub", "Table"]

_UNIT = Quant(1.0, 0)
_MOST_SHAPES = 16  # packed for at one time


@dataclass(frozen=True)
class Requant:
    """How an op turns int32 accumulators into int8.

    Attributes
    ----------
    x, y : Quant
        Quantization of the input and of the output.
    weight_scale : float or ndarray of float32 [oc]
        Scale of the weights, per tensor or per output channel.
    clamp : (int, int)
        Least and greatest int8 result; carries ReLU (zero point, 127) and ReLU6.
    """

    x: Quant = _UNIT
    y: Quant = _UNIT
    weight_scale: float | npt.NDArray[np.float32] = 1.0
    clamp: tuple[int, int] = (-128, 127)


class _Op:
    """One node; a session per input shape, the latest ones kept."""

    def __init__(
        self,
        op: str,
        quants: Sequence[Quant],
        y: Quant,
        attrs: dict[str, Any],
        params: dict[str, Array],
        **session: Any,
    ) -> None:
        self._node = Node(op, type(self).__name__, [f"x{i}" for i in range(len(quants))], "y", attrs, params)
        self._quants = {**{f"x{i}": quant for i, quant in enumerate(quants)}, "y": y}
        self._options = session
        self._sessions: OrderedDict[tuple[Shape, ...], Session] = OrderedDict()

    def __call__(self, *xs: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """Run the op.

        Parameters
        ----------
        *xs : ndarray of int8 [n, h, w, c], [n, l, c] or [n, c]
            C-contiguous inputs.

        Returns
        -------
        ndarray of int8 [n, ...]

        Raises
        ------
        TypeError
            If an input is not an int8 array, or there are too few or too many.
        ValueError
            If a shape breaks the op's rule or an array is not C-contiguous.
        UnsupportedError
            If an int32 accumulator could overflow.
        """
        name = type(self).__name__
        if len(xs) != len(self._node.inputs):
            raise TypeError(f"{name} takes {len(self._node.inputs)} arrays, got {len(xs)}")
        for i, x in enumerate(xs):
            if not isinstance(x, np.ndarray) or x.dtype != np.int8:
                raise TypeError(f"{name}: input {i} must be an int8 array, got {getattr(x, 'dtype', type(x).__name__)}")
            if not 2 <= x.ndim <= 4:
                raise ValueError(f"{name}: input {i} has shape {x.shape}, expected [n, h, w, c], [n, l, c] or [n, c]")
        session = self._session_for(tuple(x.shape[1:] for x in xs))
        y: npt.NDArray[np.int8] = session.run({f"x{i}": x for i, x in enumerate(xs)})
        return y

    def _session_for(self, shapes: tuple[Shape, ...]) -> Session:
        session = self._sessions.pop(shapes, None)
        if session is None:
            session = Session(self._model(shapes), **self._options)
        self._sessions[shapes] = session  # the latest is last
        while len(self._sessions) > _MOST_SHAPES:
            self._sessions.popitem(last=False)
        return session

    def _model(self, shapes: tuple[Shape, ...]) -> Model:
        node = self._node
        try:
            shape = infer_shape(MODEL_OPS[node.op], node, shapes)
        except RuleError as error:
            raise ValueError(f"{node.name} on inputs of shape {', '.join(map(str, shapes))}: {error}") from None
        ports = [Port(name, name, s, "NHWC") for name, s in zip(node.inputs, shapes, strict=True)]
        return Model(node.name, ports, [Port("y", "y", shape, "NHWC")], [node], self._quants)

    def _latest(self) -> Session:
        if not self._sessions:
            raise RuntimeError(f"{type(self).__name__} has not run yet: the kernel depends on the shape of its input")
        return next(reversed(self._sessions.values()))

    @property
    def kernel(self) -> str:
        """Name of the kernel that ran last; a RuntimeError before the first call."""
        return self._latest().packed.steps[0]["kernel"]  # type: ignore[no-any-return]

    @property
    def packed_nbytes(self) -> int:
        """Bytes of the packed weights, for the latest input shape; a RuntimeError before the first call."""
        return self._latest().packed.packed_nbytes


def _pair(name: str, value: int | Sequence[int]) -> list[int]:
    values = [value, value] if isinstance(value, int) else list(value)
    if len(values) != 2:
        raise ValueError(f"{name} must be one or two ints, got {value!r}")
    return values


def _padding(value: int | Sequence[int]) -> list[int]:
    """An int, (rows, columns) or (top, left, bottom, right) to the four."""
    values = [value] * 4 if isinstance(value, int) else list(value)
    if len(values) == 2:
        values = values * 2
    if len(values) != 4:
        raise ValueError(f"padding must be 1, 2 or 4 ints (top, left, bottom, right), got {value!r}")
    return values


def _weight_params(op: str, weight: Array, bias: Array | None, scale: float | Array, rank: int) -> dict[str, Array]:
    if not isinstance(weight, np.ndarray) or weight.dtype != np.int8:
        raise TypeError(f"{op}: weight must be an int8 array, got {getattr(weight, 'dtype', type(weight).__name__)}")
    if weight.ndim != rank or 0 in weight.shape:
        raise ValueError(f"{op}: weight has shape {weight.shape}, expected {rank} dimensions, none of them 0")
    if bias is None:
        bias = np.zeros(weight.shape[0], np.int32)
    if not isinstance(bias, np.ndarray) or bias.dtype != np.int32:
        raise TypeError(f"{op}: bias must be an int32 array, got {getattr(bias, 'dtype', type(bias).__name__)}")
    scales = np.asarray(scale, np.float32)
    if scales.ndim == 0:
        scales = np.full(weight.shape[0], scales, np.float32)
    return {"weight": weight, "bias": bias, "weight_scale": scales}


class Conv2d(_Op):
    """Convolution: dense, pointwise, group or depthwise.

    Parameters
    ----------
    weight : ndarray of int8 [oc, kh, kw, ic / groups]
        Values within [-127, 127].
    bias : ndarray of int32 [oc], optional
        At scale ``x.scale * weight_scale``.
    stride, dilation : int or (int, int)
        Rows, columns.
    padding : int, (int, int) or (int, int, int, int)
        All sides; rows, columns; or top, left, bottom, right. Padding has the real value 0.
    groups : int
        Groups of channels; as many as there are input channels make it depthwise.
    requant : Requant
    threads, isa : optional
        As for `lightkern.Session`.

    Raises
    ------
    TypeError, ValueError
        If an array or option does not fit; rules that involve the input are checked when it is seen.
    """

    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.int32] | None = None,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        requant: Requant | None = None,
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        requant = requant or Requant()
        params = _weight_params("Conv2d", weight, bias, requant.weight_scale, 4)
        attrs = {
            "kernel": list(weight.shape[1:3]),
            "stride": _pair("stride", stride),
            "padding": _padding(padding),
            "dilation": _pair("dilation", dilation),
            "groups": groups,
            "clamp": list(requant.clamp),
        }
        super().__init__("conv2d", [requant.x], requant.y, attrs, params, threads=threads, isa=isa)


class Linear(_Op):
    """Fully connected layer along the last axis.

    Parameters
    ----------
    weight : ndarray of int8 [out, in]
    bias : ndarray of int32 [out], optional
    requant, threads, isa
        As for `Conv2d`.

    Raises
    ------
    TypeError, ValueError
        As for `Conv2d`.
    """

    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        bias: npt.NDArray[np.int32] | None = None,
        *,
        requant: Requant | None = None,
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        requant = requant or Requant()
        params = _weight_params("Linear", weight, bias, requant.weight_scale, 2)
        super().__init__(
            "linear", [requant.x], requant.y, {"clamp": list(requant.clamp)}, params, threads=threads, isa=isa
        )


class _Binary(_Op):
    """Two inputs; the second may be per channel, per pixel or a scalar."""

    op = ""

    def __init__(
        self,
        a: Quant,
        b: Quant,
        y: Quant,
        *,
        clamp: tuple[int, int] = (-128, 127),
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        super().__init__(self.op, [a, b], y, {"clamp": list(clamp)}, {}, threads=threads, isa=isa)


class Add(_Binary):
    """a + b.

    Parameters
    ----------
    a, b, y : Quant
        Quantization of the inputs and of the output.
    clamp : (int, int)
        Least and greatest int8 result.
    threads, isa : optional
        As for `lightkern.Session`.
    """

    op = "add"


class Sub(_Binary):
    """a - b; parameters as for `Add`."""

    op = "sub"


class Mul(_Binary):
    """a * b; parameters as for `Add`."""

    op = "mul"


class Table(_Op):
    """Any function of one value: ``y = table[x + 128]``.

    Parameters
    ----------
    table : ndarray of int8 [256]
    threads, isa : optional
        As for `lightkern.Session`.

    Raises
    ------
    ValueError
        If the table has another shape or dtype.
    """

    def __init__(self, table: npt.NDArray[np.int8], *, threads: int = 1, isa: str | None = None) -> None:
        if not isinstance(table, np.ndarray) or table.dtype != np.int8 or table.shape != (256,):
            raise ValueError("Table: table must be an int8 array of shape (256,)")
        super().__init__("table", [_UNIT], _UNIT, {}, {"table": table}, threads=threads, isa=isa)


class MaxPool2d(_Op):
    """Maximum of each window.

    Parameters
    ----------
    kernel : int or (int, int)
    stride : int or (int, int), optional
        Default: the kernel.
    padding, dilation
        As for `Conv2d`; padding never wins.
    threads, isa : optional
        As for `lightkern.Session`.
    """

    def __init__(
        self,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        attrs = {
            "kernel": _pair("kernel", kernel),
            "stride": _pair("stride", kernel if stride is None else stride),
            "padding": _padding(padding),
            "dilation": _pair("dilation", dilation),
        }
        super().__init__("max_pool", [_UNIT], _UNIT, attrs, {}, threads=threads, isa=isa)


class AvgPool2d(_Op):
    """Mean of each window.

    Parameters
    ----------
    kernel, stride, padding
        As for `MaxPool2d`.
    count_include_pad : bool
        Divide by the size of the window, padding included, instead of by the number of its pixels in the image.
    requant : Requant
        ``x``, ``y`` and ``clamp`` are used.
    threads, isa : optional
        As for `lightkern.Session`.
    """

    def __init__(
        self,
        kernel: int | Sequence[int],
        *,
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        count_include_pad: bool = False,
        requant: Requant | None = None,
        threads: int = 1,
        isa: str | None = None,
    ) -> None:
        requant = requant or Requant()
        attrs = {
            "kernel": _pair("kernel", kernel),
            "stride": _pair("stride", kernel if stride is None else stride),
            "padding": _padding(padding),
            "count_include_pad": count_include_pad,
            "clamp": list(requant.clamp),
        }
        super().__init__("avg_pool", [requant.x], requant.y, attrs, {}, threads=threads, isa=isa)


class GlobalAvgPool2d(_Op):
    """Mean over rows and columns: [n, h, w, c] to [n, 1, 1, c].

    Parameters
    ----------
    requant : Requant
        ``x``, ``y`` and ``clamp`` are used.
    threads, isa : optional
        As for `lightkern.Session`.
    """

    def __init__(self, *, requant: Requant | None = None, threads: int = 1, isa: str | None = None) -> None:
        requant = requant or Requant()
        attrs = {"clamp": list(requant.clamp)}
        super().__init__("global_avg_pool", [requant.x], requant.y, attrs, {}, threads=threads, isa=isa)
