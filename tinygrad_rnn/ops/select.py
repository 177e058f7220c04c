"""Elementwise selection: maxima and minima of two arrays, limits, `where`, `select`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import composite, primitive
from ..autodiff.rows import elementwise
from ..autodiff.work import per_result
from .logic import equal, isnan, less, less_equal, logical_and, logical_not, logical_or

__all__ = ["clip", "fmax", "fmin", "maximum", "minimum", "select", "where"]
WORK = per_result()

BITS = {np.dtype(np.float32): np.int32, np.dtype(np.float64): np.int64}  # integers as wide as the floats


def _untied(r: Any) -> list[Any]:
    """Samples of pairs that never tie."""
    return [(x := r(3, 4), x + r.away(3, 4)), (r(4), 3 + r.between(0, 1, 2, 1)), (r(0, 3), r(3))]


@primitive(label="max", rows=elementwise, numpy=np.maximum, broadcasts=True, samples=_untied)
def maximum(a: Array, b: Array) -> Array:
    """The larger of a and b; equal elements share the gradient. NaN if either is NaN; then both derivatives are 1.

    >>> import tinygrad_rnn as tg
    >>> tg.maximum(tg.tensor([1.0, 5.0]), 3).tolist()
    [3.0, 5.0]
    """
    return np.maximum(a, b)


@maximum.vjp
def _(g: Array, a: Array, b: Array) -> Any:
    return _shared(g, a, b, less(a, b), less(b, a))


@primitive(label="min", rows=elementwise, numpy=np.minimum, broadcasts=True, samples=_untied)
def minimum(a: Array, b: Array) -> Array:
    """The smaller of a and b; equal elements share the gradient. NaN if either is NaN; then both derivatives are 1.

    >>> import tinygrad_rnn as tg
    >>> tg.minimum(tg.tensor([1.0, 5.0]), 3).tolist()
    [1.0, 3.0]
    """
    return np.minimum(a, b)


@minimum.vjp
def _(g: Array, a: Array, b: Array) -> Any:
    return _shared(g, a, b, less(b, a), less(a, b))


@primitive(label="fmax", rows=elementwise, numpy=np.fmax, broadcasts=True, samples=_untied)
def fmax(a: Array, b: Array) -> Array:
    """The larger of a and b, or the number if the other is NaN. The gradient goes to the selected element.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.fmax(tg.tensor([1.0, np.nan]), 3).tolist()
    [3.0, 3.0]
    """
    return np.fmax(a, b)


@fmax.vjp
def _(g: Array, a: Array, b: Array) -> Any:
    not_a, not_b = _nan_alone(a, b), _nan_alone(b, a)
    return _shared(g, a, b, logical_or(less(a, b), not_a), logical_or(less(b, a), not_b))


@primitive(label="fmin", rows=elementwise, numpy=np.fmin, broadcasts=True, samples=_untied)
def fmin(a: Array, b: Array) -> Array:
    """The smaller of a and b, or the number if the other is NaN. The gradient goes to the selected element.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.fmin(tg.tensor([1.0, np.nan]), 3).tolist()
    [1.0, 3.0]
    """
    return np.fmin(a, b)


@fmin.vjp
def _(g: Array, a: Array, b: Array) -> Any:
    not_a, not_b = _nan_alone(a, b), _nan_alone(b, a)
    return _shared(g, a, b, logical_or(less(b, a), not_a), logical_or(less(a, b), not_b))


def _kept(x: Any, condition: Any, where: bool) -> Any:
    """x where the condition is `where`, 0 elsewhere, by masking x's bits: ten times as fast as np.where, which branches."""
    bits = BITS[x.dtype]
    shape = np.broadcast_shapes(np.shape(x), np.shape(condition))
    mask = np.empty(shape, bits)  # the one array made here: all ones where x is kept, then x's bits there
    mask[...] = np.asarray(condition).astype(bool, copy=False)
    if where:
        np.negative(mask, out=mask)
    else:
        np.subtract(mask, 1, out=mask)
    np.bitwise_and(mask, x.view(bits), out=mask)
    return mask.view(x.dtype)


def _nan_alone(a: Array, b: Array) -> Array:
    """Where a is NaN and b is not."""
    return logical_and(isnan(a), logical_not(isnan(b)))


def _shared(g: Array, a: Array, b: Array, not_a: Array, not_b: Array) -> Any:
    """The parts of g for a and b: 0 for the element that was not selected, half each for equal elements."""
    tie = equal(a, b)
    g = where(tie, 0.5 * g, 0) + where(tie, 0, g)
    return where(not_a, 0, g), where(not_b, 0, g)


@primitive(
    label="clip",
    rows=elementwise,
    numpy=np.clip,
    broadcasts=True,
    samples=lambda r: [
        r.call(r.away(3, 4, points=(-0.5, 0.5)), min=-0.5, max=0.5),
        r.call(r.away(3), min=np.zeros((2, 3), np.float32), max=np.array([[5.0], [0.05]], np.float32)),
        r.call(r.away(5), min=0.0),
        r.call(r.away(5), max=0.0),
    ],
    errors=lambda r: [
        (r.call(r(2), min="low"), "ufunc"),
    ],
)
def clip(x: Array, *, min: Any = None, max: Any = None) -> Array:
    """x limited to [min, max]; the derivative is 1 on the bounds, 0 outside and at NaN.

    The bounds are numbers or arrays that broadcast with x, and have no gradient; either may be None.

    >>> import tinygrad_rnn as tg
    >>> tg.clip(tg.tensor([-2.0, 0.5, 2.0]), min=-1, max=1).tolist()
    [-1.0, 0.5, 1.0]
    """
    return np.clip(x, min, max)


@clip.vjp
def _(g: Array, x: Array, *, min: Any, max: Any) -> Array:
    if min is not None:
        g = where(less_equal(min, x), g, 0)
    return g if max is None else where(less_equal(x, max), g, 0)


@primitive(
    label="where",
    work=per_result(0, "selects"),
    rows=elementwise,
    numpy=np.where,
    broadcasts=True,
    constants=("condition",),
    samples=lambda r: [(r(3, 4) > 0, r(3, 4), r(3, 4)), (r(4) > 0, r(3, 1), r())],
    errors=lambda r: [
        ((r(2) > 0, r(3), r(2)), "shapes (2,) (3,) (2,)"),
    ],
)
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where condition holds, b elsewhere. The gradient of elements that were not selected is 0, also where the other is
    NaN.

    >>> import tinygrad_rnn as tg
    >>> a, b = tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0])
    >>> tg.where([True, False], a, b).tolist()
    [1.0, 20.0]
    """
    if type(b) is int and b == 0 and getattr(a, "dtype", None) in BITS:
        return _kept(a, condition, True)
    if type(a) is int and a == 0 and getattr(b, "dtype", None) in BITS:
        return _kept(b, condition, False)
    return np.where(condition, a, b)


@where.vjp
def _(g: Array, condition: Array, needs: Any) -> Any:
    return None, where(condition, g, 0) if needs[1] else None, where(condition, 0, g) if needs[2] else None


@composite(np.select)
def select(condlist: Sequence[Any], choicelist: Sequence[Array], default: Any = 0) -> Array:
    """For each element the first of `choicelist` whose condition holds, else `default`.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([-2.0, 1.0, 5.0])
    >>> tg.select([x < 0, x > 3], [-x, x * x], default=0.0).tolist()
    [2.0, 0.0, 25.0]
    """
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(
            f"select: got {len(condlist)} conditions and {len(choicelist)} choices, expected as many of both, at least one"
        )
    for i, condition in enumerate(condlist):
        dtype = condition.dtype if hasattr(condition, "dtype") else np.asarray(condition).dtype
        if dtype.kind != "b":
            raise TypeError(
                f"select: condlist[{i}] has dtype {dtype}, expected booleans; compare, or use .astype(bool)"
            )
    out = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        out = where(condition, choice, out)
    return out
