"""Indexing, and its transpose, which adds gradients at the indexed positions."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from ..autodiff.node import Array, Shape
from ..autodiff.op import composite, primitive
from ..autodiff.rows import indexed
from ..autodiff.sparse import RowGradient
from ..autodiff.tensor import Tensor
from ..autodiff.work import per_input, per_result
from ..kernels import training
from ..kernels.training import LARGE

__all__ = ["repeat", "take"]


@primitive(
    label="[ ]",
    work=per_result(0, "picks"),
    rows=indexed,
    samples=lambda r: [
        r.call(r(4, 3), index=1),
        r.call(r(4, 3), index=(slice(None, None, 2), -1)),
        r.call(r(4, 3), index=np.array([0, 2, 2])),
        r.call(r(4, 3), index=(np.array([0, 2, 2]), np.array([1, 1, 1]))),
        r.call(r(4, 3), index=r(4, 3) > 0),
        r.call(r(2, 3), index=(..., None, slice(1, None))),
        r.call(r(3), index=np.zeros(0, int)),
    ],
    errors=lambda r: [
        (r.call(r(3), index=5), "index 5 is out of bounds for axis 0 with size 3"),
    ],
)
def getitem(x: Array, *, index: Any) -> Array:
    """x[index] by NumPy's rules: integers, slices, ellipsis, None, integer and boolean arrays.

    Its gradient is a `scatter_add`: 0 for elements that were not selected; gradients of elements selected several times
    are added.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> x[:, 0].tolist(), x[x > 2].tolist(), x[[1, 1]].tolist()
    ([1.0, 3.0], [3.0, 4.0], [[3.0, 4.0], [3.0, 4.0]])
    """
    x, index = np.asarray(x), _plain(index)
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu" and x.ndim > 1 and index.size * x[0].nbytes >= LARGE:
        out = training.empty((*index.shape, *x.shape[1:]), x.dtype)
        return np.take(x, _rows(index, len(x)), axis=0, out=out, mode="wrap")  # copies row by row into the result
    return x[index]


@getitem.vjp
def _(g: Array, shape: Shape, *, index: Any) -> Array:
    return scatter_add(g, index=index, shape=shape)


@primitive(
    label="[ ]",
    work=per_result(0, "gathers"),
    samples=lambda r: [r.call(r(4, 3), index=np.array([0, 2, 2])), r.call(r(4, 2), index=np.array([[1, -1], [3, 3]]))],
    errors=lambda r: [(r.call(r(4, 3), index=np.array([0, 4])), "index 4 is out of bounds")],
)
def rows_of(table: Array, *, index: Any) -> Array:
    """table[index], the rows at integer positions. The gradient contains only these rows (a RowGradient; see
    nn.Embedding).

    table (V, …), index (…). Raises IndexError for an index out of range.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.ops.index import rows_of
    >>> table = tg.Parameter([[1.0], [2.0], [3.0]])
    >>> rows_of(table, index=[2, 2]).sum().backward()
    >>> table.grad
    RowGradient(2 rows of (3, 1), float32)
    """
    return getitem.forward(table, index=_rows(np.asarray(index), len(table)))


@rows_of.vjp
def _(g: Array, shape: Shape, *, index: Any) -> Any:
    if not isinstance(g, np.ndarray):  # a gradient that is differentiated again
        return scatter_add(g, index=np.asarray(index), shape=shape)
    rows = _rows(np.asarray(index), shape[0])
    return RowGradient(rows.reshape(-1), g.reshape((rows.size, *shape[1:])), shape)


@primitive(
    label="scatter +",
    work=per_input(),
    rows=indexed,
    broadcasts=True,
    samples=lambda r: [
        r.call(r(3), index=1, shape=(4, 3)),
        r.call(r(1, 3), index=np.arange(20) % 4, shape=(4, 3)),
        r.call(r(3, 2), index=np.array([0, 2, 2]), shape=(4, 2)),
        r.call(r(3), index=(np.array([0, 2, 2]), np.array([1, 1, 1])), shape=(4, 3)),
    ],
    errors=lambda r: [
        (r.call(r(2), index=np.array([5, 1]), shape=(3,)), "index 5 is out of bounds"),
    ],
)
def scatter_add(x: Array, *, index: Any, shape: Shape) -> Array:
    """Zeros of `shape` with x added at [index], with broadcasting; entries for a repeated index are added.

    >>> import tinygrad_rnn as tg
    >>> tg.ops.scatter_add(tg.tensor([1.0, 2.0, 3.0]), index=[0, 2, 0], shape=(4,)).tolist()
    [4.0, 0.0, 2.0, 0.0]
    """
    index = _plain(index)
    x = np.asarray(x)
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu" and len(shape) > 1 and index.size > 8:
        return _added_rows(shape, index, x)
    out = np.zeros(shape, x.dtype)
    if _may_repeat(index):
        np.add.at(out, index, x)
    else:
        out[index] = x
    return out


@scatter_add.vjp
def _(g: Array, *, index: Any, shape: Shape) -> Array:
    return getitem(g, index=index)


@primitive(
    label="reverse",
    work=per_result(0, "reverses"),
    samples=lambda r: [
        r.call(r(3, 4, 2), lengths=np.array([4, 0, 2])),
        r.call(r(4, 2), lengths=np.array([3, 1]), time_axis=0),
        r.call(r(2, 3), lengths=None),
    ],
    errors=lambda r: [
        (r.call(r(2, 3), lengths=np.array([1])), "expected (2,) integers"),
        (r.call(r(2, 3), lengths=np.array([1.0, 2.0])), "expected (2,) integers"),
        (r.call(r(2, 3), lengths=np.array([1, 4])), "expected 0 to 3"),
    ],
)
def reverse_sequence(x: Array, *, lengths: Any = None, time_axis: int = 1) -> Array:
    """Reverses the first lengths[b] steps of each batch row and leaves the rest in place; without lengths, reverses all
    steps.

    x (B, T, …), or (T, B, …) with time_axis=0; lengths (B) integers from 0 to T. Reversing twice gives x.

    >>> import tinygrad_rnn as tg
    >>> tg.ops.reverse_sequence(tg.tensor([[1, 2, 3], [4, 5, 6]]), lengths=[3, 2]).tolist()
    [[3, 2, 1], [5, 4, 6]]
    """
    x = np.asarray(x)
    if lengths is None:
        return np.flip(x, time_axis)
    lengths = np.asarray(lengths)
    batch, T = x.shape[1 - time_axis], x.shape[time_axis]
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"reverse_sequence: lengths have shape {lengths.shape} and dtype {lengths.dtype}, expected ({batch},) integers"
        )
    if lengths.min(initial=0) < 0 or lengths.max(initial=0) > T:
        raise ValueError(f"reverse_sequence: lengths are {lengths.tolist()}, expected 0 to {T}")
    steps = np.arange(T)[None, :]
    source = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    rows = np.arange(len(lengths))
    return x[rows[:, None], source] if time_axis == 1 else x[source.T, rows]


@reverse_sequence.vjp
def _(g: Array, *, lengths: Any, time_axis: int) -> Array:
    return reverse_sequence(g, lengths=lengths, time_axis=time_axis)


@composite(np.take)
def take(x: Array, indices: Any, axis: int | None = None) -> Array:
    """The entries at integer `indices` along `axis` (None: of the flattened array): an embedding is a `take` of rows.

    Raises TypeError for indices that are not integers.

    >>> import tinygrad_rnn as tg
    >>> embedding = tg.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    >>> tg.take(embedding, [2, 0], axis=0)
    tensor([[0.5, 0.6],
            [0.1, 0.2]], float32)
    """
    indices = np.asarray(_plain(indices))
    if indices.dtype.kind not in "iu":
        raise TypeError(f"take: indices have dtype {indices.dtype}, expected integers")
    if axis is None:
        return getitem(x.reshape(-1), index=indices)
    return getitem(x, index=indices if axis == 0 else (slice(None),) * (axis % x.ndim) + (indices,))


@composite(np.repeat)
def repeat(x: Array, repeats: Any, axis: int | None = None) -> Array:
    """Each entry along `axis` (None: of the flattened array) repeated; `repeats` is a number or one per entry.

    >>> import tinygrad_rnn as tg
    >>> tg.repeat(tg.tensor([1.0, 2.0]), 2).tolist(), tg.repeat(tg.tensor([1.0, 2.0]), [1, 3]).tolist()
    ([1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0])
    """
    if axis is None:
        x, axis = x.reshape(-1), 0
    return take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis)


def _plain(index: Any) -> Any:
    """The index with ndarrays in place of tensors, lists and all else that NumPy takes for an array."""
    return tuple(_plain_part(i) for i in index) if isinstance(index, tuple) else _plain_part(index)


def _plain_part(part: Any) -> Any:
    if part is None or part is ... or isinstance(part, (int, slice, np.generic, np.ndarray)):
        return part
    if isinstance(part, Tensor):
        return part.data
    array = np.asarray(part)
    return array.astype(np.intp) if not array.size and array.dtype.kind == "f" else array  # [] selects nothing


def _may_repeat(index: Any) -> bool:
    """Whether a plain index can name an element twice: only integer arrays can."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, np.ndarray) and i.dtype.kind in "iu" and i.ndim for i in parts)


def _rows(index: Array, size: int) -> Array:
    """Row numbers as counted from 0, checked."""
    if index.size and (index.min() < -size or index.max() >= size):
        wrong = index[(index < -size) | (index >= size)].flat[0]
        raise IndexError(f"index {wrong} is out of bounds for axis 0 with size {size}")
    index = index.astype(np.int64)
    return np.where(index < 0, index + size, index)


def _added_rows(shape: Shape, index: Array, x: Array) -> Array:
    """Zeros with x added at some rows: natively, or in NumPy by sorting, which is faster than adding one by one."""
    rows = _rows(index, shape[0]).reshape(-1)
    x = np.broadcast_to(x, index.shape + tuple(shape[1:])).reshape(len(rows), prod(shape[1:]))
    if training.takes(x):
        return training.scatter(rows, x, shape[0]).reshape(shape)
    out = np.zeros((shape[0], x.shape[1]), x.dtype)
    if len(rows):
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        out[ordered[starts]] = np.add.reduceat(x[order], starts, axis=0)
    return out.reshape(shape)
