"""NumPy's further options, in terms of ops: where=, initial= and dtype= of reductions, a_min= and a_max= of clip.

They come in through NumPy's functions, np.sum(x, where=mask) say; the ops themselves stay small: write tg.where(mask, x, 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.arguments import stacked
from ..autodiff.node import Array
from ..autodiff.op import composite
from ..autodiff.tensor import Tensor, data
from . import reduce
from .decompositions import p_norm
from .pointwise import astype, square
from .select import clip, maximum, minimum
from .select import where as choose
from .shape import broadcast_to


@composite(np.clip)
def _clip(
    x: Array, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None
) -> Array:
    """np.clip names its limits in two ways."""
    _refuse("clip", out)
    return clip(x, min=a_min if min is None else min, max=a_max if max is None else max)


def _refuse(name: str, out: Any) -> None:
    if out is not None:
        raise TypeError(f"{name}: got an option 'out', but no array that an op has seen may change; assign the result")


@composite(np.sum)
def _sum(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Array:
    _refuse("sum", out)
    total = reduce.sum(_kept(x, dtype, where, 0), axis=axis, keepdims=keepdims)
    return total if initial is None else total + initial


@composite(np.prod)
def _prod(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Array:
    _refuse("prod", out)
    total = reduce.prod(_kept(x, dtype, where, 1), axis=axis, keepdims=keepdims)
    return total if initial is None else total * initial


@composite(np.max, np.amax)
def _max(
    x: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    return _extreme(reduce.max, maximum, x, axis, out, keepdims, initial, where)


@composite(np.min, np.amin)
def _min(
    x: Any, axis: Any = None, out: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Array:
    return _extreme(reduce.min, minimum, x, axis, out, keepdims, initial, where)


def _extreme(op: Any, joins: Any, x: Any, axis: Any, out: Any, keepdims: bool, initial: Any, where: Any) -> Array:
    """max or min of the elements that `where` leaves and of `initial`."""
    _refuse(op.name, out)
    if initial is None:
        if where is not True:
            raise ValueError(f"{op.name}: got where without initial, expected the result for where no element is left")
        return op(x, axis=axis, keepdims=keepdims)
    x = _kept(x, None, where, initial)
    if 0 in x.shape:
        shape = np.sum(np.empty(x.shape, bool), axis=axis, keepdims=keepdims).shape
        return broadcast_to(Tensor(np.asarray(initial, x.dtype)), shape=shape)
    return joins(op(x, axis=axis, keepdims=keepdims), initial)


@composite(np.mean)
def _mean(
    x: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False, *, where: Any = True
) -> Array:
    _refuse("mean", out)
    if where is True:
        return reduce.mean(_cast(x, dtype), axis=axis, keepdims=keepdims)
    x = _kept(x, dtype, where, 0)
    return reduce.sum(x, axis=axis, keepdims=keepdims) / _count(x, where, axis, keepdims)


@composite(np.var)
def _var(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Array:
    _refuse("var", out)
    if where is True:
        return reduce.var(_cast(x, dtype), axis=axis, keepdims=keepdims, ddof=ddof)
    centred, freedom = _centred(x, axis, dtype, ddof, keepdims, where)
    return reduce.sum(square(centred), axis=axis, keepdims=keepdims) / freedom


@composite(np.std)
def _std(
    x: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: int = 0,
    keepdims: bool = False,
    *,
    where: Any = True,
) -> Array:
    _refuse("std", out)
    if where is True:
        return reduce.std(_cast(x, dtype), axis=axis, keepdims=keepdims, ddof=ddof)
    centred, freedom = _centred(x, axis, dtype, ddof, keepdims, where)
    return p_norm(centred, axis=axis, keepdims=keepdims) / np.sqrt(freedom)


def _cast(x: Any, dtype: Any) -> Any:
    """x as a tensor or array, in this dtype if one is given."""
    x = stacked(x)
    return x if dtype is None else astype(x, dtype=dtype)


def _kept(x: Any, dtype: Any, where: Any, other: Any) -> Any:
    """x in this dtype, if one is given, with `other` where `where` does not hold."""
    x = _cast(x, dtype)
    return x if where is True else choose(where, x, other)


def _count(x: Any, where: Any, axis: Any, keepdims: bool) -> Any:
    """How many elements `where` leaves in each sum, in x's dtype."""
    return np.sum(np.broadcast_to(data(where), x.shape), axis=axis, keepdims=keepdims).astype(x.dtype)


def _centred(x: Any, axis: Any, dtype: Any, ddof: int, keepdims: bool, where: Any) -> tuple[Array, Array]:
    """x less its mean, 0 where `where` does not hold, and N − ddof."""
    x = _cast(x, dtype)
    centred = choose(where, x - _mean(x, axis, keepdims=True, where=where), 0)
    return centred, np.maximum(_count(x, where, axis, keepdims) - ddof, 0)
