"""Elementwise arithmetic, powers, exponentials and activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import MOVES, per_result
from .logic import equal, less_equal, logical_and, sign
from .select import where

# fmt: off
__all__ = [
    "abs", "add", "astype", "cos", "divide", "exp", "expm1", "gelu", "log", "log1p", "multiply", "negative", "power",
    "relu", "sigmoid", "sin", "softplus", "sqrt", "square", "subtract", "tanh",
]
# fmt: on
WORK = per_result()


def _pairs(r: Any) -> list[Any]:
    """Samples of a binary op: equal shapes, and broadcasting both ways."""
    return [(r(3, 4), r(3, 4)), (r(4), r(2, 3, 1)), (r(2, 1), r()), (r(0, 3), r(3))]


@primitive(
    label="+",
    rows=elementwise,
    numpy=np.add,
    broadcasts=True,
    samples=_pairs,
    errors=lambda r: [
        ((r(2, 3), r(4)), "shapes (2,3) (4,)"),
    ],
)
def add(a: Array, b: Array) -> Array:
    """a + b, with broadcasting: the gradient of an input is summed over the axes along which it was broadcast.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> x + 10
    tensor([11., 12.], float32, op=add)
    """
    return a + b


@add.vjp
def _(g: Array) -> Any:
    return g, g


@primitive(label="−", rows=elementwise, numpy=np.subtract, broadcasts=True, samples=_pairs)
def subtract(a: Array, b: Array) -> Array:
    """a − b, with broadcasting.

    >>> import tinygrad_rnn as tg
    >>> tg.subtract(tg.tensor([3.0, 5.0]), 1).tolist()
    [2.0, 4.0]
    """
    return a - b


@subtract.vjp
def _(g: Array, needs: Any) -> Any:
    return g, -g if needs[1] else None


@primitive(
    label="×",
    rows=elementwise,
    numpy=np.multiply,
    broadcasts=True,
    samples=_pairs,
    errors=lambda r: [
        ((r(2, 3), r(4)), "shapes (2,3) (4,)"),
    ],
)
def multiply(a: Array, b: Array) -> Array:
    """a · b element by element, with broadcasting.

    >>> import tinygrad_rnn as tg
    >>> a = tg.tensor([2.0, 3.0], requires_grad=True)
    >>> (a * [10.0, 20.0]).sum().backward()
    >>> a.grad
    array([10., 20.], dtype=float32)
    """
    return a * b


@multiply.vjp
def _(g: Array, a: Array, b: Array, needs: Any) -> Any:
    return g * b if needs[0] else None, g * a if needs[1] else None


@primitive(
    label="÷",
    rows=elementwise,
    numpy=(np.divide, np.true_divide),
    broadcasts=True,
    samples=lambda r: [(r(3, 4), r.away(3, 4, gap=0.5)), (r(4), r.away(2, 3, 1, gap=0.5)), (r(), r.away(2, gap=0.5))],
)
def divide(a: Array, b: Array) -> Array:
    """a / b, with broadcasting.

    >>> import tinygrad_rnn as tg
    >>> (tg.tensor([1.0, 3.0]) / 2).tolist()
    [0.5, 1.5]
    """
    return a / b


@divide.vjp
def _(g: Array, b: Array, out: Array, needs: Any) -> Any:
    g = g / b
    return g, -g * out if needs[1] else None


@primitive(
    label="pow",
    rows=elementwise,
    numpy=(np.power, np.float_power),
    broadcasts=True,
    samples=lambda r: [
        (r.between(0.5, 2, 3, 4), r(3, 4)),
        (r.between(0.5, 2, 4), r(3, 1)),
        (r(3, 4), 3),
        (r(2, 3), 2.0),
    ],
)
def power(a: Array, b: Array) -> Array:
    """a to the power b, with broadcasting.

    The derivative with respect to b is aᵇ log a: NaN for negative a, and defined as 0 where a is 0 and b is not negative.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> tg.grad(x**2, x).item()
    6.0
    """
    return a**b


@power.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    by_a = by_b = None
    if needs[0]:
        by_a = g * b * a ** ((b or 1) - 1 if isinstance(b, (int, float)) else where(equal(b, 0), 1, b) - 1)
    if needs[1]:
        by_b = g * out * log(where(logical_and(equal(a, 0), b >= 0), 1, a))
    return by_a, by_b


@primitive(label="−", rows=elementwise, numpy=np.negative, samples=lambda r: [r(3, 4), r()])
def negative(x: Array) -> Array:
    """−x.

    >>> import tinygrad_rnn as tg
    >>> (-tg.tensor([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    return -x


@negative.vjp
def _(g: Array) -> Array:
    return -g


@primitive(label="|x|", rows=elementwise, numpy=(np.abs, np.fabs), samples=lambda r: [r.away(3, 4), r.away()])
def abs(x: Array) -> Array:
    """Absolute value; the derivative at 0 is 0.

    >>> import tinygrad_rnn as tg
    >>> tg.abs(tg.tensor([-1.5, 2.0])).tolist()
    [1.5, 2.0]
    """
    return np.abs(x)


@abs.vjp
def _(g: Array, x: Array) -> Array:
    return g * sign(x)


@primitive(label="exp", rows=elementwise, numpy=np.exp, samples=lambda r: [r(3, 4), r()])
def exp(x: Array) -> Array:
    """e to the power x; its own derivative.

    >>> import tinygrad_rnn as tg
    >>> tg.exp(tg.tensor([0.0, 1.0]))
    tensor([1.      , 2.718282], float32)
    """
    return np.exp(x)


@exp.vjp
def _(g: Array, out: Array) -> Array:
    return g * out


@primitive(label="expm1", rows=elementwise, numpy=np.expm1, samples=lambda r: [r(3, 4), r()])
def expm1(x: Array) -> Array:
    """e^x − 1, accurate near 0.

    >>> import tinygrad_rnn as tg
    >>> tg.expm1(tg.tensor(1e-10)).item() > 0
    True
    """
    return np.expm1(x)


@expm1.vjp
def _(g: Array, out: Array) -> Array:
    return g * (out + 1)


@primitive(label="log", rows=elementwise, numpy=np.log, samples=lambda r: [r.between(0.3, 3, 3, 4), r.between(1, 2)])
def log(x: Array) -> Array:
    """Natural logarithm; its derivative is 1 / x.

    >>> import tinygrad_rnn as tg
    >>> tg.log(tg.tensor([1.0, 10.0]))
    tensor([0.      , 2.302585], float32)
    """
    return np.log(x)


@log.vjp
def _(g: Array, x: Array) -> Array:
    return g / x


@primitive(
    label="log1p", rows=elementwise, numpy=np.log1p, samples=lambda r: [r.between(-0.6, 3, 3, 4), r.between(0, 1)]
)
def log1p(x: Array) -> Array:
    """log(1 + x), accurate near 0.

    >>> import tinygrad_rnn as tg
    >>> tg.log1p(tg.tensor(1e-10)).item() > 0
    True
    """
    return np.log1p(x)


@log1p.vjp
def _(g: Array, x: Array) -> Array:
    return g / (1 + x)


@primitive(label="√", rows=elementwise, numpy=np.sqrt, samples=lambda r: [r.between(0.3, 3, 3, 4), r.between(1, 2)])
def sqrt(x: Array) -> Array:
    """Square root; its derivative 1 / (2 √x) is infinite at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.sqrt(tg.tensor([1.0, 4.0])).tolist()
    [1.0, 2.0]
    """
    return np.sqrt(x)


@sqrt.vjp
def _(g: Array, out: Array) -> Array:
    return g * 0.5 / out


@primitive(label="x²", rows=elementwise, numpy=np.square, samples=lambda r: [r(3, 4), r()])
def square(x: Array) -> Array:
    """x · x.

    >>> import tinygrad_rnn as tg
    >>> tg.square(tg.tensor([1.0, -3.0])).tolist()
    [1.0, 9.0]
    """
    return np.square(x)


@square.vjp
def _(g: Array, x: Array) -> Array:
    return g * (2 * x)


@primitive(label="sin", rows=elementwise, numpy=np.sin, samples=lambda r: [r(3, 4), r()])
def sin(x: Array) -> Array:
    """Sine of x in radians.

    >>> import tinygrad_rnn as tg
    >>> tg.sin(tg.tensor([0.0, 1.0]))
    tensor([0.      , 0.841471], float32)
    """
    return np.sin(x)


@sin.vjp
def _(g: Array, x: Array) -> Array:
    return g * cos(x)


@primitive(label="cos", rows=elementwise, numpy=np.cos, samples=lambda r: [r(3, 4), r()])
def cos(x: Array) -> Array:
    """Cosine of x in radians.

    >>> import tinygrad_rnn as tg
    >>> tg.cos(tg.tensor([0.0, 1.0]))
    tensor([1.      , 0.540302], float32)
    """
    return np.cos(x)


@cos.vjp
def _(g: Array, x: Array) -> Array:
    return -g * sin(x)


@primitive(label="tanh", rows=elementwise, numpy=np.tanh, samples=lambda r: [r(3, 4), r(), r(0, 2)])
def tanh(x: Array) -> Array:
    """Hyperbolic tangent; its derivative is 1 − tanh² x, 1 at 0 and small where |x| is large.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.0, 1.0], requires_grad=True)
    >>> tg.tanh(x).sum().backward()
    >>> x.grad.round(3)
    array([1.  , 0.42], dtype=float32)
    """
    return np.tanh(x)


@tanh.vjp
def _(g: Array, out: Array) -> Array:
    return g * (1 - out * out)


@primitive(label="σ", rows=elementwise, samples=lambda r: [r(3, 4), r(), 4 * r(5)])
def sigmoid(x: Array) -> Array:
    """The logistic function σ(x) = 1 / (1 + e^−x), by e^−|x| so that it neither overflows nor loses small values.

    >>> import tinygrad_rnn as tg
    >>> tg.sigmoid(tg.tensor([0.0, 2.0]))
    tensor([0.5     , 0.880797], float32)
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


@sigmoid.vjp
def _(g: Array, out: Array) -> Array:
    return g * (out * (1 - out))


@primitive(label="relu", rows=elementwise, samples=lambda r: [r.away(3, 4), r.away()])
def relu(x: Array) -> Array:
    """max(x, 0); the derivative at 0 is 0. NaN stays NaN and has derivative 1, as in PyTorch.

    >>> import tinygrad_rnn as tg
    >>> tg.relu(tg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return np.maximum(x, 0)


@relu.vjp
def _(g: Array, out: Array) -> Array:
    return where(less_equal(out, 0), 0, g)


@primitive(label="softplus", rows=elementwise, samples=lambda r: [r(3, 4), r(), 4 * r(5)])
def softplus(x: Array) -> Array:
    """log(1 + e^x), without overflow; its derivative is σ(x).

    >>> import tinygrad_rnn as tg
    >>> tg.softplus(tg.tensor([0.0, 1.0]))
    tensor([0.693147, 1.313262], float32)
    """
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


@softplus.vjp
def _(g: Array, x: Array) -> Array:
    return g * sigmoid(x)


_GELU_SCALE, _GELU_CUBE = float(np.sqrt(2 / np.pi)), 0.044715


@primitive(label="gelu", rows=elementwise, samples=lambda r: [r(3, 4), r()])
def gelu(x: Array) -> Array:
    """The Gaussian error linear unit in its tanh form: x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) [Hendrycks & Gimpel 2016].

    >>> import tinygrad_rnn as tg
    >>> tg.gelu(tg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.158808,  0.      ,  0.841192], float32)
    """
    return 0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + _GELU_CUBE * x * x * x)))


@gelu.vjp
def _(g: Array, x: Array) -> Array:
    t = tanh(_GELU_SCALE * (x + _GELU_CUBE * x * x * x))
    slope = _GELU_SCALE * (1 + 3 * _GELU_CUBE * x * x)
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)


@primitive(
    label="astype",
    work=MOVES,
    rows=elementwise,
    samples=lambda r: [r.call(r(3, 4), dtype=np.float64)],
    errors=lambda r: [
        (r.call(r(2), dtype="no"), "not understood"),
    ],
)
def astype(x: Array, *, dtype: Any) -> Array:
    """x with another dtype; its gradient has x's dtype. Integers and booleans are constants without a gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.tensor([1.5]).astype("float64").dtype
    dtype('float64')
    """
    return np.asarray(x).astype(dtype)


@astype.vjp
def _(g: Array, *, dtype: Any) -> Array:
    return g
