"""Functions of one value, element by element, and softmax."""

from __future__ import annotations

from ..builder import Context
from ..registry import handles
from .arithmetic import F32_MAX, channel_vector, varying_axis

_PLAIN = {
    "Relu": "relu",
    "HardSwish": "hard_swish",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Mish": "mish",
    "Softplus": "softplus",
    "Exp": "exp",
    "Abs": "abs",
    "Neg": "neg",
    "Sqrt": "sqrt",
    "Erf": "erf",
    "Gelu": "gelu",
}


@handles(*_PLAIN)
def plain(context: Context) -> None:
    """Functions without parameters. The tanh form of GELU becomes GELU: they differ by less than 5e-4."""
    context.result(context.elementwise(_PLAIN[context.node.op], context.activation()))


@handles("Clip")
def clip(context: Context) -> None:
    """Bounds are attributes up to opset 10, inputs since."""
    low = context.scalar(1) if context.has(1) else context.attr_float("min", -F32_MAX, infinite=True)
    high = context.scalar(2) if context.has(2) else context.attr_float("max", F32_MAX, infinite=True)
    low, high = max(low, -F32_MAX), min(high, F32_MAX)
    low = min(low, high)  # as ONNX defines it: min(max(x, low), high)
    context.result(context.elementwise("clip", context.activation(), {"min": low, "max": high}))


@handles("LeakyRelu")
def leaky_relu(context: Context) -> None:
    """Slope for negative values."""
    context.result(
        context.elementwise("leaky_relu", context.activation(), {"alpha": context.attr_float("alpha", 0.01)})
    )


@handles("Elu")
def elu(context: Context) -> None:
    """``alpha * (exp(x) - 1)`` for negative values."""
    context.result(context.elementwise("elu", context.activation(), {"alpha": context.attr_float("alpha", 1.0)}))


@handles("HardSigmoid")
def hard_sigmoid(context: Context) -> None:
    """``clip(alpha * x + beta, 0, 1)``."""
    attrs = {"alpha": context.attr_float("alpha", 0.2), "beta": context.attr_float("beta", 0.5)}
    context.result(context.elementwise("hard_sigmoid", context.activation(), attrs))


@handles("Swish")
def swish(context: Context) -> None:
    """``x * sigmoid(x)``."""
    alpha = context.attr_float("alpha", 1.0)
    if alpha != 1.0:
        context.refuse(f"alpha {alpha} is not supported, only 1 is")
    context.result(context.elementwise("swish", context.activation()))


@handles("PRelu")
def prelu(context: Context) -> None:
    """One slope, or one per channel."""
    value, slope = context.activation(), context.weight(1)
    if context.opset < 7 and slope.ndim == 1 and slope.size > 1:
        slope = slope.reshape(-1, *[1] * (len(value.axes) - 1))
    if varying_axis(context, value, slope) is None:
        return context.result(context.elementwise("leaky_relu", value, {"alpha": float(slope.reshape(()))}))
    value, vector = channel_vector(context, value, slope)
    return context.result(context.elementwise("prelu", value, None, {"slope": vector}))


@handles("Softmax")
def softmax(context: Context) -> None:
    """Over one axis; before opset 13 over everything from `axis` on."""
    value = context.activation()
    rank = len(value.axes)
    if context.opset >= 13:
        axis = context.axis(context.attr_int("axis", -1), rank)
        order = context.best_order([value], lambda o: o[-1] == (axis,), "")
    else:
        axis = context.axis(context.attr_int("axis", 1), rank)
        order = (*((i,) for i in range(axis)), tuple(range(axis, rank)))
    context.result(
        context.arranged(context.emit("softmax", [context.arrange(value, order)]), order, value.source_shape)
    )
