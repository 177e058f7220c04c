"""The same elements in another order (rolled, rotated, sorted), and differences between adjacent elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import composite, primitive
from ..autodiff.rows import along_axis
from ..autodiff.tensor import Tensor
from ..autodiff.work import MOVES
from .index import getitem
from .shape import broadcast_to, concatenate, flip, moveaxis, swapaxes

# fmt: off
__all__ = [
    "diff", "fliplr", "flipud", "gradient", "partition", "roll", "rollaxis", "rot90", "sort",
    "take_along_axis",
]
# fmt: on
KIND = "shape"
WORK = MOVES


@primitive(
    label="roll",
    rows=along_axis,
    numpy=np.roll,
    samples=lambda r: [
        r.call(r(3, 4), shift=2),
        r.call(r(3, 4), shift=-1, axis=1),
        r.call(r(3, 4), shift=(1, 2), axis=(0, -1)),
        r.call(r(0, 2), shift=1, axis=0),
    ],
    errors=lambda r: [
        (r.call(r(3), shift=1, axis=1), "axis 1 is out of bounds"),
    ],
)
def roll(x: Array, *, shift: Any, axis: Any = None) -> Array:
    """Elements shifted cyclically by `shift` positions along `axis` (None: of the flattened array).

    >>> import tinygrad_rnn as tg
    >>> tg.roll(tg.tensor([1, 2, 3, 4]), 1).tolist()
    [4, 1, 2, 3]
    """
    return np.roll(x, shift, axis)


@roll.vjp
def _(g: Array, *, shift: Any, axis: Any) -> Array:
    return roll(g, shift=tuple(-s for s in shift) if isinstance(shift, Sequence) else -shift, axis=axis)


@primitive(
    label="reorder",
    rows=along_axis,
    samples=lambda r: [
        r.call(r(6, 2), order=(1, 2, 0), axis=0),
        r.call(r(2, 6), order=(2, 0, 1)),
        r.call(r(4), order=(1, 0)),
    ],
    errors=lambda r: [
        (r.call(r(5), order=(1, 0)), "axis -1 of size 5 does not divide into 2 equal blocks"),
    ],
)
def reorder_blocks(x: Array, *, order: tuple[int, ...], axis: int = -1) -> Array:
    """The equal blocks of an axis in another order, such as the gates of a recurrent network. order: for each block of
    the result its number in x. Raises ValueError if the axis does not divide into equal blocks.

    >>> import tinygrad_rnn as tg
    >>> tg.ops.reorder_blocks(tg.tensor([1, 2, 3, 4, 5, 6]), order=(1, 0, 2)).tolist()
    [3, 4, 1, 2, 5, 6]
    """
    size, rest = divmod(x.shape[axis], len(order))
    if rest:
        raise ValueError(f"axis {axis} of size {x.shape[axis]} does not divide into {len(order)} equal blocks")
    before = (slice(None),) * (axis % x.ndim)
    return np.concatenate([x[(*before, slice(k * size, (k + 1) * size))] for k in order], axis)


@reorder_blocks.vjp
def _(g: Array, *, order: tuple[int, ...], axis: int) -> Array:
    return reorder_blocks(g, order=tuple(sorted(range(len(order)), key=order.__getitem__)), axis=axis)


@composite(np.rollaxis)
def rollaxis(x: Array, axis: int, start: int = 0) -> Array:
    """One axis moved to before the axis `start`; tg.moveaxis is clearer.

    >>> import tinygrad_rnn as tg
    >>> tg.rollaxis(tg.tensor([[[1, 2]]]), 2).shape
    (2, 1, 1)
    """
    n = x.ndim
    if not (-n <= axis < n and -n <= start <= n):
        raise ValueError(f"rollaxis: got axis {axis} and start {start} for x of shape {x.shape}, expected axes of x")
    axis, start = axis % n, start + n if start < 0 else start
    return moveaxis(x, axis, start - 1 if axis < start else start)


@composite(np.flipud)
def flipud(x: Array) -> Array:
    """Elements in reverse order along the first axis.

    >>> import tinygrad_rnn as tg
    >>> tg.flipud(tg.tensor([[1, 2], [3, 4]])).tolist()
    [[3, 4], [1, 2]]
    """
    return flip(x, axis=0)


@composite(np.fliplr)
def fliplr(x: Array) -> Array:
    """Elements in reverse order along the second axis.

    >>> import tinygrad_rnn as tg
    >>> tg.fliplr(tg.tensor([[1, 2], [3, 4]])).tolist()
    [[2, 1], [4, 3]]
    """
    return flip(x, axis=1)


@composite(np.rot90)
def rot90(x: Array, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """k quarter turns from the first of `axes` towards the second.

    >>> import tinygrad_rnn as tg
    >>> tg.rot90(tg.tensor([[1, 2], [3, 4]])).tolist()
    [[2, 4], [1, 3]]
    """
    first, second = axes
    if len(axes) != 2 or first % x.ndim == second % x.ndim:
        raise ValueError(f"rot90: axes are {axes}, expected two different axes of x of shape {x.shape}")
    turns = k % 4
    if turns == 2:
        return flip(x, axis=(first, second))
    if turns == 1:
        return swapaxes(flip(x, axis=second), first, second)
    return flip(swapaxes(x, first, second), axis=second) if turns else +x


@composite(np.take_along_axis)
def take_along_axis(x: Array, indices: Any, axis: int | None = -1) -> Array:
    """The elements at integer `indices`, an array of x's shape but along `axis`, as argsort and argmax give them.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x = tg.tensor([[3.0, 1.0, 2.0]])
    >>> tg.take_along_axis(x, np.argsort(x, axis=1), axis=1).tolist()
    [[1.0, 2.0, 3.0]]
    """
    indices = np.asarray(indices.data if isinstance(indices, Tensor) else indices)
    if axis is None:
        x, axis = x.reshape(-1), 0
    if indices.dtype.kind not in "iu" or indices.ndim != x.ndim:
        raise TypeError(
            f"take_along_axis: indices have dtype {indices.dtype} and shape {indices.shape}, "
            f"expected integers with as many axes as x of shape {x.shape}"
        )
    grid: list[Any] = list(np.ogrid[tuple(map(slice, x.shape))])
    grid[axis] = indices
    return getitem(x, index=tuple(grid))


@composite(np.sort)
def sort(x: Array, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Array:
    """Elements in ascending order along `axis` (None: of the flattened array); gradients are reordered back.

    >>> import tinygrad_rnn as tg
    >>> tg.sort(tg.tensor([3.0, 1.0, 2.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    if axis is None:
        x, axis = x.reshape(-1), -1
    return take_along_axis(x, np.argsort(x, axis=axis, kind=kind or "stable"), axis)


@composite(np.partition)
def partition(x: Array, kth: Any, axis: int | None = -1) -> Array:
    """Elements partially sorted: the kth is where sorting puts it, with no larger one before and no smaller one after it.

    >>> import tinygrad_rnn as tg
    >>> tg.partition(tg.tensor([3.0, 1.0, 2.0]), 1).tolist()
    [1.0, 2.0, 3.0]
    """
    if axis is None:
        x, axis = x.reshape(-1), -1
    data = x.data if isinstance(x, Tensor) else x
    return take_along_axis(x, np.argpartition(data, kth, axis), axis)


@composite(np.diff)
def diff(x: Array, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Array:
    """The n-th difference x[i + 1] − x[i] along `axis`, with `prepend` before and `append` behind x if given.

    >>> import tinygrad_rnn as tg
    >>> tg.diff(tg.tensor([1.0, 4.0, 9.0])).tolist()
    [3.0, 5.0]
    """
    if n < 0 or not x.ndim:
        raise ValueError(f"diff: got n={n} and x of shape {x.shape}, expected n >= 0 and at least one axis")
    if prepend is not None or append is not None:
        x = concatenate([*_end(prepend, x, axis), x, *_end(append, x, axis)], axis=axis)
    for _ in range(n):
        x = _along(x, axis, slice(1, None)) - _along(x, axis, slice(None, -1))
    return x


def _end(value: Any, x: Array, axis: int) -> list[Any]:
    """What diff joins to x: nothing, an array, or a number as a slice of size 1."""
    if value is None or np.ndim(value):
        return [] if value is None else [value]
    value = value if isinstance(value, Tensor) else np.asarray(value, x.dtype)
    along = axis % x.ndim
    return [broadcast_to(value, shape=(*x.shape[:along], 1, *x.shape[along + 1 :]))]


def _along(x: Array, axis: int, part: Any) -> Array:
    """x[..., part, ...], with the part of this axis."""
    return getitem(x, index=(slice(None),) * (axis % x.ndim) + (part,))


@composite(np.gradient)
def gradient(x: Array, *spacing: float, axis: Any = None, edge_order: int = 1) -> Any:
    """The slope of equally spaced samples along each axis (or those in `axis`): (x[i + 1] − x[i − 1]) / 2h inside.

    spacing: h, one for all axes or one for each. At the edges the difference to the one neighbour, or with edge_order=2
    the parabola through three points. Returns a tuple for several axes. For the derivative of a graph use tg.grad.

    >>> import tinygrad_rnn as tg
    >>> tg.gradient(tg.tensor([1.0, 4.0, 9.0, 16.0])).tolist()
    [3.0, 4.0, 6.0, 7.0]
    """
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    steps = spacing * len(axes) if len(spacing) == 1 else spacing or (1.0,) * len(axes)
    if len(steps) != len(axes) or any(np.ndim(h) for h in steps):
        raise TypeError(f"gradient: spacing is {spacing}, expected one number, or one for each of the axes {axes}")
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is {edge_order}, expected 1 or 2")
    if any(x.shape[a] < edge_order + 1 for a in axes):
        raise ValueError(
            f"gradient: x has shape {x.shape}, expected at least {edge_order + 1} samples along axes {axes}"
        )
    slopes = [_slope(x, a, h, edge_order) for a, h in zip(axes, steps, strict=True)]
    return slopes[0] if len(slopes) == 1 else tuple(slopes)


def _slope(x: Array, axis: int, step: float, edge_order: int) -> Array:
    at = [_along(x, axis, slice(i, i + 1 or None)) for i in (0, 1, -2, -1)]
    first, last = at[1] - at[0], at[3] - at[2]
    if edge_order == 2:
        third, before = _along(x, axis, slice(2, 3)), _along(x, axis, slice(-3, -2))
        first, last = -1.5 * at[0] + 2 * at[1] - 0.5 * third, 1.5 * at[3] - 2 * at[2] + 0.5 * before
    inner = (_along(x, axis, slice(2, None)) - _along(x, axis, slice(None, -2))) / 2
    return concatenate([first, inner, last], axis=axis) / step
