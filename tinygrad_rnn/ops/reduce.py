"""Operations along axes: sums, means, extremes, cumulative sums, and the softmax family."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array, Shape
from ..autodiff.op import primitive
from ..autodiff.rows import along_axis, sums
from ..autodiff.work import per_input
from .logic import equal
from .pointwise import astype, exp
from .select import where
from .shape import broadcast_to, concatenate, flip

__all__ = ["cumsum", "log_softmax", "logsumexp", "max", "mean", "min", "prod", "softmax", "std", "sum", "var"]
WORK = per_input()


def _reductions(r: Any) -> list[Any]:
    """Samples of a reduction: over everything, one axis, several, kept, negative, of a 0-d array."""
    x = r.distinct
    return [
        x(3, 4),
        r.call(x(3, 4), axis=0),
        r.call(x(2, 3, 2), axis=(0, -1)),
        r.call(x(3, 4), axis=-1, keepdims=True),
        x(),
    ]


def _spread(g: Array, shape: Shape, axis: Any, keepdims: bool) -> Array:
    """A reduction's cotangent with the reduced axes back in place, as size 1."""
    if keepdims:
        return g
    reduced = _axes(axis, len(shape))
    return g.reshape(tuple(1 if i in reduced else n for i, n in enumerate(shape)))


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes that `axis` names (None: all of them), counted from 0."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


# np.sum, np.max and np.min without their Python code: half the time for small arrays.
_sum: Any = np.add.reduce
_max: Any = np.maximum.reduce
_min: Any = np.minimum.reduce


def _count(shape: Shape, axis: Any) -> int:
    return int(np.prod([shape[a] for a in _axes(axis, len(shape))]))


@primitive(
    label="Σ",
    rows=sums,
    numpy=np.sum,
    samples=lambda r: [*_reductions(r), r.call(r(0, 3), axis=0)],
    errors=lambda r: [
        (r.call(r(2, 3), axis=2), "axis 2 is out of bounds"),
    ],
)
def sum(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Sum over all axes, or over `axis` (an integer or a tuple).

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x.sum().item(), x.sum(axis=0).tolist()
    (10.0, [4.0, 6.0])
    """
    return _sum(x, axis=axis, keepdims=keepdims)


@sum.vjp
def _(g: Array, shape: Shape, *, axis: Any, keepdims: bool) -> Array:
    return broadcast_to(_spread(g, shape, axis, keepdims), shape=shape)


@primitive(label="mean", rows=along_axis, numpy=np.mean, samples=_reductions)
def mean(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Mean over all axes, or over `axis`.

    >>> import tinygrad_rnn as tg
    >>> tg.mean(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=1).tolist()
    [1.5, 3.5]
    """
    if type(x) is np.ndarray and x.dtype.type in (np.float32, np.float64) and x.size:  # as np.mean, in half the time
        total = _sum(x, axis=axis, keepdims=keepdims)
        return total / x.dtype.type(x.size // total.size)
    return np.mean(x, axis=axis, keepdims=keepdims)


@mean.vjp
def _(g: Array, shape: Shape, *, axis: Any, keepdims: bool) -> Array:
    return broadcast_to(_spread(g, shape, axis, keepdims) / _count(shape, axis), shape=shape)


@primitive(
    label="var",
    work=per_input(4),
    rows=along_axis,
    numpy=np.var,
    samples=lambda r: [*_reductions(r), r.call(r(3, 4), axis=1, ddof=1)],
)
def var(x: Array, *, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Array:
    """Variance: the mean of |x − mean|², with N − ddof in the denominator.

    >>> import tinygrad_rnn as tg
    >>> tg.var(tg.tensor([1.0, 3.0])).item(), tg.var(tg.tensor([1.0, 3.0]), ddof=1).item()
    (1.0, 2.0)
    """
    return np.var(x, axis=axis, keepdims=keepdims, ddof=ddof)


@var.vjp
def _(g: Array, x: Array, *, axis: Any, keepdims: bool, ddof: int) -> Array:
    centred = x - mean(x, axis=axis, keepdims=True)
    return _spread(g, x.shape, axis, keepdims) * centred * (2 * _per_freedom(x.shape, axis, ddof))


@primitive(
    label="std",
    work=per_input(4),
    rows=along_axis,
    numpy=np.std,
    samples=lambda r: [*_reductions(r)[:-1], r.call(r(3, 4), axis=1, ddof=1)],
)
def std(x: Array, *, axis: Any = None, keepdims: bool = False, ddof: int = 0) -> Array:
    """Standard deviation: the square root of `var`. Where it is 0 its gradient is 0, too, as in PyTorch.

    >>> import tinygrad_rnn as tg
    >>> tg.std(tg.tensor([1.0, 3.0])).item()
    1.0
    """
    return np.std(x, axis=axis, keepdims=keepdims, ddof=ddof)


@std.vjp
def _(g: Array, x: Array, out: Array, *, axis: Any, keepdims: bool, ddof: int) -> Array:
    centred = x - mean(x, axis=axis, keepdims=True)
    constant = equal(out, 0)
    slope = where(constant, 0, g) / where(constant, 1, out)
    return _spread(slope, x.shape, axis, keepdims) * centred * _per_freedom(x.shape, axis, ddof)


def _per_freedom(shape: Shape, axis: Any, ddof: int) -> float:
    """1 / (N − ddof), infinite where no degree of freedom is left, as NumPy's var divides."""
    freedom = _count(shape, axis) - ddof
    return 1 / freedom if freedom > 0 else np.inf


@primitive(
    label="max",
    rows=along_axis,
    numpy=(np.max, np.amax),
    samples=_reductions,
    errors=lambda r: [
        (r(0), "zero-size array"),
        (r.call(r(2), axis=1), "axis 1 is out of bounds"),
    ],
)
def max(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Largest value over all axes, or over `axis`. Equal largest values share the gradient; it is NaN if a value is NaN.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 7.0, 7.0], requires_grad=True)
    >>> x.max().backward()
    >>> x.grad
    array([0. , 0.5, 0.5], dtype=float32)
    """
    return _max(x, axis=axis, keepdims=keepdims)


@primitive(label="min", rows=along_axis, numpy=(np.min, np.amin), samples=_reductions)
def min(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Smallest value over all axes, or over `axis`. Equal smallest values share the gradient; it is NaN if a value is
    NaN.

    >>> import tinygrad_rnn as tg
    >>> tg.min(tg.tensor([[1.0, 2.0], [3.0, 0.0]]), axis=-1).tolist()
    [1.0, 0.0]
    """
    return _min(x, axis=axis, keepdims=keepdims)


@max.vjp
@min.vjp
def _(g: Array, x: Array, out: Array, *, axis: Any, keepdims: bool) -> Array:
    chosen = astype(equal(x, _spread(out, x.shape, axis, keepdims)), dtype=x.dtype)
    return _spread(g, x.shape, axis, keepdims) * (chosen / sum(chosen, axis=axis, keepdims=True))


@primitive(
    label="Π",
    rows=along_axis,
    numpy=np.prod,
    samples=lambda r: [*_reductions(r), r.call(np.array([[0.0, 2, 3], [0, 0, 4]]), axis=1)],
)
def prod(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """Product over all axes, or over `axis`. The gradient is also correct where factors are 0.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.0, 3.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    array([3., 0.], dtype=float32)
    """
    return np.prod(x, axis=axis, keepdims=keepdims)


@prod.vjp
def _(g: Array, x: Array, *, axis: Any, keepdims: bool) -> Array:
    if not x.size:
        return x
    axes = _axes(axis, x.ndim)
    others = tuple(i for i in range(x.ndim) if i not in axes)
    moved = x.transpose(others + axes)
    kept = moved.shape[: len(others)]
    pulled = _times_others(moved.reshape((*kept, _count(x.shape, axis))), g.reshape((*kept, 1)))
    return pulled.reshape(moved.shape).transpose(tuple(int(i) for i in np.argsort(others + axes)))


def _times_others(x: Array, g: Array) -> Array:
    """g (…, 1) times, for each element of x (…, n), the product of all others: O(n), no division (factors may be 0).

    Going up, the first half of what is left is multiplied by the second until one product stands. Going down, each
    half's cotangent is that of their product times the other half.
    """
    levels = [x]
    while levels[-1].shape[-1] > 1:
        level = levels[-1]
        half = level.shape[-1] // 2
        product = level[..., :half] * level[..., half : 2 * half]
        levels.append(concatenate([product, level[..., 2 * half :]], axis=-1))
    for level in reversed(levels[:-1]):
        half = level.shape[-1] // 2
        first, second = g[..., :half] * level[..., half : 2 * half], g[..., :half] * level[..., :half]
        g = concatenate([first, second, g[..., half:]], axis=-1)
    return g


@primitive(
    label="cumsum",
    rows=along_axis,
    numpy=np.cumsum,
    samples=lambda r: [r.call(r(3, 4), axis=0), r.call(r(3, 4), axis=-1), r(2, 3)],
)
def cumsum(x: Array, *, axis: Any = None) -> Array:
    """Running sum along `axis` (None: of the flattened array).

    >>> import tinygrad_rnn as tg
    >>> tg.cumsum(tg.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 3.0, 6.0]
    """
    return np.cumsum(x, axis=axis)


@cumsum.vjp
def _(g: Array, shape: Shape, *, axis: Any) -> Array:
    along = 0 if axis is None else axis
    return flip(cumsum(flip(g, axis=along), axis=along), axis=along).reshape(shape)


@primitive(
    label="logsumexp",
    work=per_input(4),
    rows=along_axis,
    samples=lambda r: [r(3, 4), r.call(r(3, 4), axis=0), r.call(r(3, 4), axis=-1, keepdims=True)],
    errors=lambda r: [
        (r.call(r(2), axis=1), "axis 1 is out of bounds"),
    ],
)
def logsumexp(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """log Σ e^x over all axes, or over `axis`, shifted by the maximum so that it does not overflow.

    >>> import tinygrad_rnn as tg
    >>> round(tg.logsumexp(tg.tensor([1000.0, 1000.0])).item(), 3)
    1000.693
    """
    x = np.asarray(x)
    top = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0).astype(x.dtype)
    with np.errstate(divide="ignore"):  # the logarithm of an empty sum is −∞
        out = np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else np.squeeze(out, axis=_axes(axis, x.ndim))


@logsumexp.vjp
def _(g: Array, x: Array, out: Array, *, axis: Any, keepdims: bool) -> Array:
    return _spread(g, x.shape, axis, keepdims) * exp(x - _spread(out, x.shape, axis, keepdims))


@primitive(
    label="softmax",
    work=per_input(5),
    rows=along_axis,
    samples=lambda r: [r(3, 4), r.call(r(3, 4), axis=0), r(5)],
    errors=lambda r: [
        (r.call(r(2), axis=1), "axis 1 is out of bounds"),
    ],
)
def softmax(x: Array, *, axis: int = -1) -> Array:
    """e^x / Σ e^x along `axis`, shifted by the maximum so that it does not overflow.

    >>> import tinygrad_rnn as tg
    >>> tg.softmax(tg.tensor([0.0, 0.0, 1000.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    e = np.exp(x - _max(x, axis=axis, keepdims=True))
    return e / _sum(e, axis=axis, keepdims=True)


@softmax.vjp
def _(g: Array, out: Array, *, axis: int) -> Array:
    return out * (g - (g * out).sum(axis=axis, keepdims=True))


@primitive(
    label="log softmax", work=per_input(5), rows=along_axis, samples=lambda r: [r(3, 4), r.call(r(3, 4), axis=0), r(5)]
)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """x − log Σ e^x along `axis`: the logarithm of softmax without its rounding.

    >>> import tinygrad_rnn as tg
    >>> tg.log_softmax(tg.tensor([0.0, 1000.0])).tolist()
    [-1000.0, 0.0]
    """
    shifted = x - np.max(x, axis=axis, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


@log_softmax.vjp
def _(g: Array, out: Array, *, axis: int) -> Array:
    return g - exp(out) * g.sum(axis=axis, keepdims=True)
