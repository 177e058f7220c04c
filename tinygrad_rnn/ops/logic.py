"""Ops without a gradient: comparisons, logic, sign, rounding, tests for NaN and infinity, and `detach`.

They are constant almost everywhere, so for a tensor they compute on its data and return a plain array (`detach` a
constant tensor). They are ops because vjps use them, and a trace must record them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import MOVES, per_result

# fmt: off
__all__ = [
    "ceil", "detach", "equal", "floor", "greater", "greater_equal", "isfinite", "isinf", "isnan", "less", "less_equal",
    "logical_and", "logical_not", "logical_or", "logical_xor", "not_equal", "round", "sign", "signbit", "trunc",
]
# fmt: on
WORK = per_result()


def _pairs(r: Any) -> list[Any]:
    """Samples of a comparison: random values, equal ones, broadcasting, a number."""
    x = r(3, 4)
    return [(x, r(3, 4)), (x, np.where(r(3, 4) > 0, x, 0.0)), (r(4), r(2, 3, 1)), (r(3), 0.5), (r(0, 3), r(3))]


def _flags(r: Any) -> list[Any]:
    """Samples of a logical op: booleans, and numbers, of which 0 is false."""
    return [(r(3, 4) > 0, r(3, 4) > 0), (r(4) > 0, r(2, 3, 1) > 0), (np.array([0.0, 2.0]), np.array([0.0, 0.0]))]


def _odd(r: Any) -> list[Any]:
    """Samples of a function of one array: random values, halves, NaN and infinities."""
    return [3 * r(3, 4), np.array([-1.5, -0.5, 0.0, 0.5, 2.5]), np.array([np.nan, np.inf, -np.inf, -0.0]), r()]


@primitive(label=">", rows=elementwise, numpy=np.greater, differentiable=False, samples=_pairs)
def greater(a: Array, b: Array) -> Array:
    """a > b, as booleans. What the operator > of tensors calls.

    >>> import tinygrad_rnn as tg
    >>> tg.greater(tg.tensor([1.0, 3.0]), 2).tolist()
    [False, True]
    """
    return a > b


@primitive(label="≥", rows=elementwise, numpy=np.greater_equal, differentiable=False, samples=_pairs)
def greater_equal(a: Array, b: Array) -> Array:
    """a ≥ b, as booleans.

    >>> import tinygrad_rnn as tg
    >>> tg.greater_equal(tg.tensor([1.0, 3.0]), 3).tolist()
    [False, True]
    """
    return a >= b


@primitive(label="<", rows=elementwise, numpy=np.less, differentiable=False, samples=_pairs)
def less(a: Array, b: Array) -> Array:
    """a < b, as booleans.

    >>> import tinygrad_rnn as tg
    >>> tg.less(tg.tensor([1.0, 3.0]), 3).tolist()
    [True, False]
    """
    return a < b


@primitive(label="≤", rows=elementwise, numpy=np.less_equal, differentiable=False, samples=_pairs)
def less_equal(a: Array, b: Array) -> Array:
    """a ≤ b, as booleans.

    >>> import tinygrad_rnn as tg
    >>> tg.less_equal(tg.tensor([1.0, 3.0]), 1).tolist()
    [True, False]
    """
    return a <= b


@primitive(label="=", rows=elementwise, numpy=np.equal, differentiable=False, samples=_pairs)
def equal(a: Array, b: Array) -> Array:
    """a = b, as booleans; NaN equals nothing.

    >>> import tinygrad_rnn as tg
    >>> tg.equal(tg.tensor([1.0, 3.0]), [1.0, 2.0]).tolist()
    [True, False]
    """
    return a == b


@primitive(label="≠", rows=elementwise, numpy=np.not_equal, differentiable=False, samples=_pairs)
def not_equal(a: Array, b: Array) -> Array:
    """a ≠ b, as booleans.

    >>> import tinygrad_rnn as tg
    >>> tg.not_equal(tg.tensor([1.0, 3.0]), [1.0, 2.0]).tolist()
    [False, True]
    """
    return a != b


@primitive(label="and", rows=elementwise, numpy=np.logical_and, differentiable=False, samples=_flags)
def logical_and(a: Array, b: Array) -> Array:
    """Where both a and b hold; of numbers, all but 0 hold.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_and([True, True], [True, False]).tolist()
    [True, False]
    """
    return np.logical_and(a, b)


@primitive(label="or", rows=elementwise, numpy=np.logical_or, differentiable=False, samples=_flags)
def logical_or(a: Array, b: Array) -> Array:
    """Where a or b holds.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_or([True, False], [False, False]).tolist()
    [True, False]
    """
    return np.logical_or(a, b)


@primitive(label="xor", rows=elementwise, numpy=np.logical_xor, differentiable=False, samples=_flags)
def logical_xor(a: Array, b: Array) -> Array:
    """Where exactly one of a and b holds.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_xor([True, True], [True, False]).tolist()
    [False, True]
    """
    return np.logical_xor(a, b)


@primitive(
    label="not",
    rows=elementwise,
    numpy=np.logical_not,
    differentiable=False,
    samples=lambda r: [r(3, 4) > 0, np.array([0.0, 2.0])],
)
def logical_not(x: Array) -> Array:
    """Where x does not hold.

    >>> import tinygrad_rnn as tg
    >>> tg.logical_not([True, False]).tolist()
    [False, True]
    """
    return np.logical_not(x)


@primitive(label="sign", rows=elementwise, numpy=np.sign, differentiable=False, samples=_odd)
def sign(x: Array) -> Array:
    """−1, 0 or 1; NaN at NaN.

    >>> import tinygrad_rnn as tg
    >>> tg.sign(tg.tensor([-2.0, 0.0, 3.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return np.sign(x)


@primitive(label="signbit", rows=elementwise, numpy=np.signbit, differentiable=False, samples=_odd)
def signbit(x: Array) -> Array:
    """Whether the sign is negative, of −0 too.

    >>> import tinygrad_rnn as tg
    >>> tg.signbit(tg.tensor([-0.0, 0.0])).tolist()
    [True, False]
    """
    return np.signbit(x)


@primitive(label="⌊ ⌋", rows=elementwise, numpy=np.floor, differentiable=False, samples=_odd)
def floor(x: Array) -> Array:
    """The largest integer that is not above x.

    >>> import tinygrad_rnn as tg
    >>> tg.floor(tg.tensor([-1.5, 1.5])).tolist()
    [-2.0, 1.0]
    """
    return np.floor(x)


@primitive(label="⌈ ⌉", rows=elementwise, numpy=np.ceil, differentiable=False, samples=_odd)
def ceil(x: Array) -> Array:
    """The smallest integer that is not below x.

    >>> import tinygrad_rnn as tg
    >>> tg.ceil(tg.tensor([-1.5, 1.5])).tolist()
    [-1.0, 2.0]
    """
    return np.ceil(x)


@primitive(label="trunc", rows=elementwise, numpy=np.trunc, differentiable=False, samples=_odd)
def trunc(x: Array) -> Array:
    """x without its fraction: the nearest integer towards 0.

    >>> import tinygrad_rnn as tg
    >>> tg.trunc(tg.tensor([-1.5, 1.5])).tolist()
    [-1.0, 1.0]
    """
    return np.trunc(x)


@primitive(
    label="round",
    rows=elementwise,
    numpy=(np.round, np.around, np.rint),
    differentiable=False,
    samples=lambda r: [*_odd(r), r.call(10 * r(3, 4), decimals=1), r.call(100 * r(5), decimals=-1)],
)
def round(x: Array, *, decimals: int = 0) -> Array:
    """x to so many decimals (before the point where negative), a half to the even neighbour.

    >>> import tinygrad_rnn as tg
    >>> tg.round(tg.tensor([0.5, 1.5, 2.4])).tolist()
    [0.0, 2.0, 2.0]
    """
    return np.round(x, decimals)


@primitive(label="NaN?", rows=elementwise, numpy=np.isnan, differentiable=False, samples=_odd)
def isnan(x: Array) -> Array:
    """Where x is NaN.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.isnan(tg.tensor([1.0, np.nan])).tolist()
    [False, True]
    """
    return np.isnan(x)


@primitive(label="finite?", rows=elementwise, numpy=np.isfinite, differentiable=False, samples=_odd)
def isfinite(x: Array) -> Array:
    """Where x is neither NaN nor infinite.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.isfinite(tg.tensor([1.0, np.nan, np.inf])).tolist()
    [True, False, False]
    """
    return np.isfinite(x)


@primitive(label="∞?", rows=elementwise, numpy=np.isinf, differentiable=False, samples=_odd)
def isinf(x: Array) -> Array:
    """Where x is ∞ or −∞.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.isinf(tg.tensor([1.0, np.nan, -np.inf])).tolist()
    [False, False, True]
    """
    return np.isinf(x)


@primitive(
    label="detach", work=MOVES, rows=elementwise, differentiable=False, tensors=True, samples=lambda r: [r(3, 4), r()]
)
def detach(x: Array) -> Array:
    """x as a constant: the same values, through which no gradient flows. What `x.detach()` calls.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> tg.grad(x * tg.detach(x), x).item()
    3.0
    """
    return x
