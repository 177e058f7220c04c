"""Further elementwise arithmetic: remainders, reciprocals, roots, powers and logarithms to other bases."""

from __future__ import annotations

from math import log as ln
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import composite, primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import per_result
from .logic import equal, isnan, round
from .pointwise import exp
from .select import where

# fmt: off
__all__ = [
    "cbrt",
    "exp2",
    "log2",
    "log10",
    "logaddexp",
    "logaddexp2",
    "mod",
    "nan_to_num",
    "positive",
    "reciprocal",
    "remainder",
]
# fmt: on
KIND = "pointwise"
WORK = per_result()
LN2, LN10 = ln(2), ln(10)


@primitive(
    label="mod",
    rows=elementwise,
    numpy=(np.remainder, np.mod),
    broadcasts=True,
    samples=lambda r: [
        (2 * (b := r.between(0.5, 1, 3, 4)) + r.between(0.1, 0.4, 3, 4), b),
        (r.between(0.1, 0.9, 4), -r.between(1, 2, 2, 1)),
        (-r.between(0.1, 0.9, 3), 1.0),
    ],
)
def remainder(a: Array, b: Array) -> Array:
    """The remainder of floor division, a − b · floor(a / b), with b's sign. Its derivatives are 1 with respect to a and
    −floor(a / b) with respect to b.

    >>> import tinygrad_rnn as tg
    >>> (tg.tensor([5.0, -1.0]) % 3).tolist()
    [2.0, 2.0]
    """
    return np.remainder(a, b)


@remainder.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    return g, -g * round((a - out) / b) if needs[1] else None


mod = remainder


@primitive(
    label="1/x", rows=elementwise, numpy=np.reciprocal, samples=lambda r: [r.away(3, 4, gap=0.5), r.away(gap=0.5)]
)
def reciprocal(x: Array) -> Array:
    """1 / x.

    >>> import tinygrad_rnn as tg
    >>> tg.reciprocal(tg.tensor([2.0, -4.0])).tolist()
    [0.5, -0.25]
    """
    return np.reciprocal(x)


@reciprocal.vjp
def _(g: Array, out: Array) -> Array:
    return -g * out * out


@primitive(label="∛", rows=elementwise, numpy=np.cbrt, samples=lambda r: [r.away(3, 4, gap=0.3), r.away(gap=0.3)])
def cbrt(x: Array) -> Array:
    """Cube root, negative where x is; its derivative 1 / (3 ∛x²) is infinite at 0.

    >>> import tinygrad_rnn as tg
    >>> tg.cbrt(tg.tensor([8.0, -27.0]))
    tensor([ 2., -3.], float32)
    """
    return np.cbrt(x)


@cbrt.vjp
def _(g: Array, out: Array) -> Array:
    return g / (3 * out * out)


@primitive(label="2^x", rows=elementwise, numpy=np.exp2, samples=lambda r: [r(3, 4), r()])
def exp2(x: Array) -> Array:
    """2 to the x.

    >>> import tinygrad_rnn as tg
    >>> tg.exp2(tg.tensor([0.0, 3.0])).tolist()
    [1.0, 8.0]
    """
    return np.exp2(x)


@exp2.vjp
def _(g: Array, out: Array) -> Array:
    return g * (out * LN2)


@primitive(label="log₂", rows=elementwise, numpy=np.log2, samples=lambda r: [r.between(0.3, 3, 3, 4), r.between(1, 2)])
def log2(x: Array) -> Array:
    """Logarithm to base 2; its derivative is 1 / (x log 2).

    >>> import tinygrad_rnn as tg
    >>> tg.log2(tg.tensor([1.0, 8.0])).tolist()
    [0.0, 3.0]
    """
    return np.log2(x)


@log2.vjp
def _(g: Array, x: Array) -> Array:
    return g / (x * LN2)


@primitive(
    label="log₁₀", rows=elementwise, numpy=np.log10, samples=lambda r: [r.between(0.3, 3, 3, 4), r.between(1, 2)]
)
def log10(x: Array) -> Array:
    """Logarithm to base 10; its derivative is 1 / (x log 10).

    >>> import tinygrad_rnn as tg
    >>> tg.log10(tg.tensor([1.0, 100.0]))
    tensor([0., 2.], float32)
    """
    return np.log10(x)


@log10.vjp
def _(g: Array, x: Array) -> Array:
    return g / (x * LN10)


def _pairs(r: Any) -> list[Any]:
    """Samples of a binary op: equal shapes, broadcasting both ways, a number."""
    return [(r(3, 4), r(3, 4)), (r(4), r(2, 3, 1)), (0.5, r(3))]


@primitive(label="logaddexp", rows=elementwise, numpy=np.logaddexp, broadcasts=True, samples=_pairs)
def logaddexp(a: Array, b: Array) -> Array:
    """log(e^a + e^b), without overflow; −∞ is the logarithm of 0 and gets the gradient 0.

    >>> import tinygrad_rnn as tg
    >>> tg.logaddexp(tg.tensor([0.0, 1000.0]), 1000.0)
    tensor([1000.    , 1000.6932], float32)
    """
    return np.logaddexp(a, b)


@logaddexp.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    top = where(equal(out, -np.inf), 0, out)
    return g * exp(a - top) if needs[0] else None, g * exp(b - top) if needs[1] else None


@primitive(label="logaddexp2", rows=elementwise, numpy=np.logaddexp2, broadcasts=True, samples=_pairs)
def logaddexp2(a: Array, b: Array) -> Array:
    """log₂(2^a + 2^b), without overflow.

    >>> import tinygrad_rnn as tg
    >>> tg.logaddexp2(tg.tensor([0.0, 1000.0]), 1000.0).tolist()
    [1000.0, 1001.0]
    """
    return np.logaddexp2(a, b)


@logaddexp2.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    top = where(equal(out, -np.inf), 0, out)
    return g * exp2(a - top) if needs[0] else None, g * exp2(b - top) if needs[1] else None


@composite(np.positive)
def positive(x: Array) -> Array:
    """x itself, as +x.

    >>> import tinygrad_rnn as tg
    >>> (+tg.tensor([1.0, -2.0])).tolist()
    [1.0, -2.0]
    """
    return +x


@composite(np.nan_to_num)
def nan_to_num(
    x: Array, copy: bool = True, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """x with NaN replaced by `nan`, ∞ by `posinf` and −∞ by `neginf` (None: the largest finite numbers); the gradient of
    replaced elements is 0. copy is accepted for compatibility with NumPy: the result is always a new tensor.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.nan_to_num(tg.tensor([1.0, np.nan, np.inf]), posinf=9.0).tolist()
    [1.0, 0.0, 9.0]
    """
    limits = np.finfo(x.dtype)
    x = where(isnan(x), nan, x)
    x = where(equal(x, np.inf), float(limits.max) if posinf is None else posinf, x)
    return where(equal(x, -np.inf), float(limits.min) if neginf is None else neginf, x)
