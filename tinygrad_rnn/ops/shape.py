"""Shapes: reshaping, permuting, joining, splitting, padding, repeating."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Shape
from ..autodiff.op import composite, primitive
from ..autodiff.rows import along_axis, between_axes, broadcast, joined, new_axes, padded, reshaped
from ..autodiff.work import MOVES, per_result

# fmt: off
__all__ = [
    "broadcast_to", "concatenate", "expand_dims", "flatten", "flip", "moveaxis", "pad", "reshape", "split",
    "squeeze", "stack", "swapaxes", "tile", "transpose", "unstack",
]
# fmt: on
WORK = MOVES


@primitive(
    label="reshape",
    rows=reshaped,
    numpy=np.reshape,
    samples=lambda r: [
        r.call(r(3, 4), shape=(2, 6)),
        r.call(r(3, 4), shape=-1),
        r.call(r(1), shape=()),
        r.call(r(0, 2), shape=(2, 0)),
    ],
    errors=lambda r: [
        (r.call(r(2, 3), shape=(4, 2)), "array of size 6 into shape (4,2)"),
    ],
)
def reshape(x: Array, *, shape: Any) -> Array:
    """The same elements in another shape; one size may be −1.

    >>> import tinygrad_rnn as tg
    >>> tg.tensor([1, 2, 3, 4]).reshape(2, -1).tolist()
    [[1, 2], [3, 4]]
    """
    return np.reshape(x, shape)


@reshape.vjp
def _(g: Array, shapes: Any, *, shape: Any) -> Array:
    return g.reshape(shapes[0])


@primitive(
    label="transpose",
    rows=between_axes,
    numpy=(np.transpose, np.permute_dims if hasattr(np, "permute_dims") else np.transpose),
    samples=lambda r: [r(3, 4), r.call(r(2, 3, 4), axes=(1, 2, 0)), r.call(r(2, 3, 4), axes=(-1, 0, 1)), r()],
    errors=lambda r: [
        (r.call(r(2, 3), axes=(0, 0)), "repeated axis"),
    ],
)
def transpose(x: Array, *, axes: Any = None) -> Array:
    """Axes in the order `axes` (None: reversed).

    >>> import tinygrad_rnn as tg
    >>> tg.tensor([[1, 2], [3, 4]]).T.tolist()
    [[1, 3], [2, 4]]
    """
    return np.transpose(x, axes)


@transpose.vjp
def _(g: Array, *, axes: Any) -> Array:
    if axes is None:
        return g.transpose()
    return g.transpose(tuple(int(i) for i in np.argsort([a % len(axes) for a in axes])))


@primitive(
    label="swapaxes", rows=between_axes, numpy=np.swapaxes, samples=lambda r: [r.call(r(2, 3, 4), axis1=0, axis2=-1)]
)
def swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    """Two axes exchanged.

    >>> import tinygrad_rnn as tg
    >>> tg.swapaxes(tg.tensor([[[1], [2]]]), 0, 1).shape
    (2, 1, 1)
    """
    return np.swapaxes(x, axis1, axis2)


@swapaxes.vjp
def _(g: Array, *, axis1: int, axis2: int) -> Array:
    return g.swapaxes(axis1, axis2)


@primitive(
    label="broadcast",
    rows=broadcast,
    numpy=np.broadcast_to,
    broadcasts=True,
    samples=lambda r: [r.call(r(3, 1), shape=(2, 3, 4)), r.call(r(), shape=(2,)), r.call(r(3), shape=(0, 3))],
    errors=lambda r: [
        (r.call(r(3), shape=(2,)), "requested shape (2,)"),
    ],
)
def broadcast_to(x: Array, *, shape: Shape) -> Array:
    """x broadcast to `shape`, without copying.

    >>> import tinygrad_rnn as tg
    >>> tg.broadcast_to(tg.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    return np.broadcast_to(x, shape)


@broadcast_to.vjp
def _(g: Array, *, shape: Shape) -> Array:
    return g


@primitive(
    label="expand",
    rows=new_axes,
    numpy=np.expand_dims,
    samples=lambda r: [r.call(r(3), axis=1), r.call(r(3), axis=(0, -1))],
    errors=lambda r: [
        (r.call(r(2), axis=3), "axis 3 is out of bounds"),
    ],
)
def expand_dims(x: Array, *, axis: Any) -> Array:
    """A new axis of size 1 at `axis`.

    >>> import tinygrad_rnn as tg
    >>> tg.expand_dims(tg.tensor([1, 2]), axis=1).shape
    (2, 1)
    """
    if type(axis) is int and -x.ndim <= axis + 1 <= x.ndim + 1:  # np.expand_dims takes five times as long
        axis %= x.ndim + 1
        return x.reshape(*x.shape[:axis], 1, *x.shape[axis:])
    return np.expand_dims(x, axis)


@primitive(
    label="squeeze",
    rows=new_axes,
    numpy=np.squeeze,
    samples=lambda r: [r(1, 3, 1), r.call(r(1, 3, 1), axis=-1)],
    errors=lambda r: [
        (r.call(r(2, 3), axis=0), "size not equal to one"),
    ],
)
def squeeze(x: Array, *, axis: Any = None) -> Array:
    """x without its axes of size 1 (all of them, or those in `axis`).

    >>> import tinygrad_rnn as tg
    >>> tg.squeeze(tg.tensor([[1, 2]])).shape
    (2,)
    """
    return np.squeeze(x, axis)


@expand_dims.vjp
@squeeze.vjp
def _(g: Array, shape: Shape, *, axis: Any) -> Array:
    return g.reshape(shape)


@primitive(
    label="flip",
    rows=along_axis,
    numpy=np.flip,
    samples=lambda r: [r(3, 4), r.call(r(3, 4), axis=0), r.call(r(2, 3, 2), axis=(0, -1))],
    errors=lambda r: [
        (r.call(r(3), axis=1), "axis 1 is out of bounds"),
    ],
)
def flip(x: Array, *, axis: Any = None) -> Array:
    """Elements in reverse order along `axis` (None: every axis).

    >>> import tinygrad_rnn as tg
    >>> tg.flip(tg.tensor([1, 2, 3])).tolist()
    [3, 2, 1]
    """
    return np.flip(x, axis)


@flip.vjp
def _(g: Array, *, axis: Any) -> Array:
    return flip(g, axis=axis)


@primitive(
    label="concat",
    work=per_result(0, "concatenates"),
    rows=joined,
    numpy=(np.concatenate, np.concat if hasattr(np, "concat") else np.concatenate),
    samples=lambda r: [
        (r(2, 3), r(4, 3)),
        r.call(r(2, 3), r(2, 1), r(2, 0), axis=-1),
        (r(3),),
        r.call(r(2, 2), r(), axis=None),
    ],
    errors=lambda r: [
        ((r(2, 3), r(2)), "number of dimensions"),
    ],
)
def concatenate(*arrays: Array, axis: int | None = 0) -> Array:
    """A sequence of arrays joined along an existing axis (None: each flattened first).

    >>> import tinygrad_rnn as tg
    >>> tg.concatenate([tg.tensor([[1, 2]]), tg.tensor([[3, 4]])], axis=-1).tolist()
    [[1, 2, 3, 4]]
    """
    return np.concatenate(arrays, axis)


@concatenate.vjp
def _(g: Array, shapes: Any, *, axis: int | None) -> Any:
    if axis is None:
        parts = split(g, np.cumsum([prod(s) for s in shapes[:-1]]).tolist())
        return [part.reshape(s) for part, s in zip(parts, shapes, strict=True)]
    return split(g, np.cumsum([s[axis] for s in shapes[:-1]]).tolist(), axis=axis)


@primitive(
    label="stack",
    work=per_result(0, "joins"),
    rows=joined,
    numpy=np.stack,
    samples=lambda r: [(r(2, 3), r(2, 3)), r.call(r(2, 3), r(2, 3), axis=-1), (r(), r())],
    errors=lambda r: [
        ((r(2), r(3)), "must have the same shape"),
    ],
)
def stack(*arrays: Array, axis: int = 0) -> Array:
    """A sequence of arrays of one shape, joined along a new axis.

    >>> import tinygrad_rnn as tg
    >>> tg.stack([tg.tensor([1, 2]), tg.tensor([3, 4])]).shape
    (2, 2)
    """
    return np.stack(arrays, axis)


@stack.vjp
def _(g: Array, *, axis: int) -> Any:
    return unstack(g, axis=axis)


@primitive(
    label="unstack",
    work=per_result(0, "cuts"),
    rows=joined,
    numpy=np.unstack if hasattr(np, "unstack") else None,
    several=True,
    samples=lambda r: [r(3, 2), r.call(r(2, 3, 2), axis=1), r.call(r(2, 3), axis=-1)],
    errors=lambda r: [
        (r.call(r(4), axis=1), "axis 1 is out of bounds"),
    ],
)
def unstack(x: Array, *, axis: int = 0) -> Any:
    """The tuple of slices of x along `axis`, in one node: its gradient is one `stack`.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[[1.0], [2.0], [3.0]]])  # (B, T, D)
    >>> [x_t.item() for x_t in tg.unstack(x, axis=1)]
    [1.0, 2.0, 3.0]
    """
    return tuple(np.moveaxis(np.asarray(x), axis, 0))


@unstack.vjp
def _(g: Any, *, axis: int) -> Array:
    return stack(list(g), axis=axis)


@primitive(
    label="split",
    rows=joined,
    numpy=np.split,
    several=True,
    samples=lambda r: [
        r.call(r(6, 2), sections=3),
        r.call(r(2, 7), sections=[1, 4], axis=-1),
        r.call(r(6), sections=[4, 2, -1]),
    ],
    errors=lambda r: [
        (r.call(r(4), sections=3), "equal division"),
    ],
)
def split(x: Array, *, sections: int | Sequence[int], axis: int = 0) -> Any:
    """Split along `axis` into `sections` equal parts, or before each index in a list. Part i is from index i − 1 to index
    i; if indices decrease, parts overlap and their gradients are added.

    >>> import tinygrad_rnn as tg
    >>> [part.tolist() for part in tg.split(tg.tensor([1, 2, 3, 4]), 2)]
    [[1, 2], [3, 4]]
    """
    x = np.asarray(x)
    if isinstance(sections, int) and -x.ndim <= axis < x.ndim and sections > 0 and x.shape[axis] % sections == 0:
        n, before = x.shape[axis] // sections, (slice(None),) * (axis % x.ndim)  # as np.split, in a fifth of the time
        return tuple([x[(*before, slice(k * n, k * n + n))] for k in range(sections)])
    return tuple(np.split(x, sections, axis))


@split.vjp
def _(g: Any, shape: Shape, *, sections: Any, axis: int) -> Array:
    joined = concatenate(list(g), axis=axis)
    if joined.shape == shape:
        return joined
    n = shape[axis]
    bounds = [slice(int(i)).indices(n)[1] for i in sections]
    total = None
    for part, start in zip(g, [0, *bounds], strict=True):
        width = [(0, 0)] * len(shape)
        width[axis] = (start, n - start - part.shape[axis])
        padded = pad(part, width=width) if part.shape[axis] else 0
        total = padded if total is None else total + padded
    return total


@primitive(
    label="pad",
    rows=padded,
    samples=lambda r: [r.call(r(2, 3), width=((1, 0), (2, 1))), r.call(r(3), width=2, value=1.5)],
    errors=lambda r: [
        (r.call(r(4), width=((1, 1), (1, 1))), "requested shape (1,2)"),
    ],
)
def pad(x: Array, *, width: Any, value: float = 0.0) -> Array:
    """x with `width` elements of `value` around it: one number, a (before, after) pair, or a pair per axis.

    >>> import tinygrad_rnn as tg
    >>> tg.pad(tg.tensor([1, 2]), width=(1, 2)).tolist()
    [0, 1, 2, 0, 0]
    """
    return np.pad(x, width, constant_values=value)


@pad.vjp
def _(g: Array, shape: Shape, *, width: Any, value: float) -> Array:
    pairs = np.broadcast_to(np.asarray(width), (len(shape), 2)).tolist()
    return g[tuple(slice(b, b + n) if b or after else slice(None) for (b, after), n in zip(pairs, shape, strict=True))]


@composite(np.pad)
def _numpy_pad(x: Array, pad_width: Any, mode: str = "constant", *, constant_values: float = 0.0) -> Array:
    if mode != "constant":
        raise TypeError(f"np.pad: mode={mode!r} has no op for tensors, only mode='constant'")
    return pad(x, width=pad_width, value=constant_values)


@composite(np.moveaxis)
def moveaxis(x: Array, source: int | Sequence[int], destination: int | Sequence[int]) -> Array:
    """One axis, or each of a list, moved to another place, the others in order.

    >>> import tinygrad_rnn as tg
    >>> tg.moveaxis(tg.tensor([[[1, 2]]]), 2, 0).shape
    (2, 1, 1)
    """
    numbered = np.empty(
        range(x.ndim)
    )  # the size of each axis is its number, so the shape shows the order after NumPy's moveaxis
    return transpose(x, axes=np.moveaxis(numbered, source, destination).shape)


@composite(np.tile)
def tile(x: Array, reps: int | Sequence[int]) -> Array:
    """x repeated as a whole, reps times along each axis.

    >>> import tinygrad_rnn as tg
    >>> tg.tile(tg.tensor([1, 2]), 2).tolist()
    [1, 2, 1, 2]
    """
    times = tuple(int(n) for n in np.atleast_1d(reps))
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    spaced = x.reshape(tuple(n for size in shape for n in (1, size)))
    wide = broadcast_to(spaced, shape=tuple(n for pair in zip(times, shape, strict=True) for n in pair))
    return wide.reshape(tuple(r * n for r, n in zip(times, shape, strict=True)))


@composite(np.ravel)
def flatten(x: Array) -> Array:
    """x as one axis.

    >>> import tinygrad_rnn as tg
    >>> tg.flatten(tg.tensor([[1, 2], [3, 4]])).tolist()
    [1, 2, 3, 4]
    """
    return x.reshape(-1)
