"""Joining and splitting arrays: nested lists, appending, stacking by rows and columns, splitting into parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autodiff.arguments import stacked
from ..autodiff.node import Array
from ..autodiff.op import composite
from ..autodiff.tensor import Tensor, holds_tensors
from .pointwise import astype
from .shape import concatenate, split

# fmt: off
__all__ = [
    "append",
    "array",
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "c_",
    "column_stack",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "linspace",
    "r_",
    "vsplit",
    "vstack",
]
# fmt: on


def array(data: Any, dtype: Any = None) -> Tensor:
    """A tensor from a nested list of tensors, arrays and numbers, with gradients to its tensors (np.array raises an error
    for tensors that require grad). Numbers get the tensors' dtype. Without tensors among the data, the result is a
    constant as from tg.tensor.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> tg.array([[x, 1.0], [x * x, 0.0]])
    tensor([[3., 1.],
            [9., 0.]], float32, op=stack)
    """
    if not isinstance(data, Tensor) and not holds_tensors(data):
        return Tensor(data, dtype)
    whole: Tensor = stacked(data)
    return whole if dtype is None or whole.dtype == dtype else astype(whole, dtype=dtype)


def _alike(values: Sequence[Any]) -> list[Any]:
    """The values as tensors and arrays; numbers and lists of them take the tensors' dtype."""
    values = [stacked(v) for v in values]
    dtypes = [v.dtype for v in values if isinstance(v, Tensor) and v.dtype.kind == "f"]
    dtype = np.result_type(*dtypes) if dtypes else None
    return [v if isinstance(v, (Tensor, np.ndarray)) else np.asarray(v, dtype) for v in values]


@composite(np.append)
def append(x: Any, values: Any, axis: int | None = None) -> Array:
    """x with `values` behind it along `axis` (None: both flattened).

    >>> import tinygrad_rnn as tg
    >>> tg.append(tg.tensor([1.0, 2.0]), 3.0).tolist()
    [1.0, 2.0, 3.0]
    """
    return concatenate(_alike([x, values]), axis=axis)


@composite(np.vstack)
def vstack(arrays: Sequence[Any]) -> Array:
    """Arrays below one another: joined along the first axis, vectors as rows.

    >>> import tinygrad_rnn as tg
    >>> tg.vstack([tg.tensor([1, 2]), tg.tensor([[3, 4], [5, 6]])]).tolist()
    [[1, 2], [3, 4], [5, 6]]
    """
    return concatenate([atleast_2d(a) for a in _alike(arrays)], axis=0)


@composite(np.hstack)
def hstack(arrays: Sequence[Any]) -> Array:
    """Arrays side by side: joined along the second axis, vectors along their only one.

    >>> import tinygrad_rnn as tg
    >>> tg.hstack([tg.tensor([[1], [2]]), tg.tensor([[3], [4]])]).tolist()
    [[1, 3], [2, 4]]
    """
    parts = [atleast_1d(a) for a in _alike(arrays)]
    return concatenate(parts, axis=0 if parts and parts[0].ndim == 1 else 1)


@composite(np.dstack)
def dstack(arrays: Sequence[Any]) -> Array:
    """Arrays behind one another: joined along the third axis.

    >>> import tinygrad_rnn as tg
    >>> tg.dstack([tg.tensor([1, 2]), tg.tensor([3, 4])]).tolist()
    [[[1, 3], [2, 4]]]
    """
    return concatenate([atleast_3d(a) for a in _alike(arrays)], axis=2)


@composite(np.column_stack)
def column_stack(arrays: Sequence[Any]) -> Array:
    """Vectors as the columns of a matrix; matrices among them keep their columns.

    >>> import tinygrad_rnn as tg
    >>> tg.column_stack([tg.tensor([1, 2]), tg.tensor([3, 4])]).tolist()
    [[1, 3], [2, 4]]
    """
    return concatenate([a[:, None] if a.ndim == 1 else a for a in map(atleast_1d, _alike(arrays))], axis=1)


class Joiner:
    """np.r_ and np.c_ for tensors: joins the values in the brackets; a slice is an np.arange.

    >>> import tinygrad_rnn as tg
    >>> tg.r_[tg.tensor([1, 2]), 3, 4:6].tolist(), tg.c_[tg.tensor([1, 2]), tg.tensor([3, 4])].tolist()
    ([1, 2, 3, 4, 5], [[1, 3], [2, 4]])
    """

    def __init__(self, columns: bool):
        self.columns = columns

    def __getitem__(self, items: Any) -> Array:
        parts = (
            [np.r_[item] if isinstance(item, slice) else item for item in items]
            if isinstance(items, tuple)
            else [items]
        )
        if any(isinstance(part, str) for part in parts):
            raise TypeError("r_: strings are not supported, use tg.concatenate or tg.stack")
        return (
            column_stack(parts) if self.columns else concatenate([atleast_1d(part) for part in _alike(parts)], axis=0)
        )


r_, c_ = Joiner(False), Joiner(True)


@composite(np.atleast_1d)
def atleast_1d(*arrays: Any) -> Any:
    """Each array with one axis or more: numbers become vectors. A tuple, if several are given.

    >>> import tinygrad_rnn as tg
    >>> tg.atleast_1d(tg.tensor(3)).tolist()
    [3]
    """
    return _each(arrays, lambda a: a if a.ndim else a.reshape(1))


@composite(np.atleast_2d)
def atleast_2d(*arrays: Any) -> Any:
    """Each array with two axes or more: vectors become rows. A tuple, if several are given.

    >>> import tinygrad_rnn as tg
    >>> tg.atleast_2d(tg.tensor([1, 2])).tolist()
    [[1, 2]]
    """
    return _each(arrays, lambda a: a if a.ndim > 1 else a.reshape((1, a.size)))


@composite(np.atleast_3d)
def atleast_3d(*arrays: Any) -> Any:
    """Each array with three axes or more: a vector of N becomes (1, N, 1), a matrix (M, N) becomes (M, N, 1).

    >>> import tinygrad_rnn as tg
    >>> tg.atleast_3d(tg.tensor([1, 2])).shape
    (1, 2, 1)
    """
    return _each(arrays, lambda a: a if a.ndim > 2 else (a if a.ndim == 2 else a.reshape((1, a.size)))[:, :, None])


def _each(arrays: Sequence[Any], change: Any) -> Any:
    """f of the array, or the tuple of f of each of several arrays."""
    changed = tuple(map(change, _alike(arrays)))
    return changed[0] if len(changed) == 1 else changed


@composite(np.array_split)
def array_split(x: Array, indices_or_sections: Any, axis: int = 0) -> Any:
    """Split along `axis` into a number of parts of nearly equal size, or before each index in a list.

    >>> import tinygrad_rnn as tg
    >>> [part.tolist() for part in tg.array_split(tg.tensor([1, 2, 3, 4, 5]), 2)]
    [[1, 2, 3], [4, 5]]
    """
    if np.ndim(indices_or_sections):
        return split(x, sections=indices_or_sections, axis=axis)
    parts = int(indices_or_sections)
    if parts < 1:
        raise ValueError(f"array_split: indices_or_sections is {parts}, expected at least 1")
    small, larger = divmod(x.shape[axis], parts)
    sizes = [small + 1] * larger + [small] * (parts - larger)
    return split(x, sections=np.cumsum(sizes[:-1]).tolist(), axis=axis)


@composite(np.vsplit)
def vsplit(x: Array, indices_or_sections: Any) -> Any:
    """Split into equal parts, or before each index, along the first axis: the inverse of vstack.

    >>> import tinygrad_rnn as tg
    >>> [part.tolist() for part in tg.vsplit(tg.tensor([[1, 2], [3, 4]]), 2)]
    [[[1, 2]], [[3, 4]]]
    """
    return _split_from(x, indices_or_sections, "vsplit", 2, 0)


@composite(np.hsplit)
def hsplit(x: Array, indices_or_sections: Any) -> Any:
    """Split into equal parts, or before each index, along the second axis (of a vector: the first).

    >>> import tinygrad_rnn as tg
    >>> [part.tolist() for part in tg.hsplit(tg.tensor([[1, 2], [3, 4]]), 2)]
    [[[1], [3]], [[2], [4]]]
    """
    return _split_from(x, indices_or_sections, "hsplit", 1, 0 if x.ndim == 1 else 1)


@composite(np.dsplit)
def dsplit(x: Array, indices_or_sections: Any) -> Any:
    """Split into equal parts, or before each index, along the third axis.

    >>> import tinygrad_rnn as tg
    >>> [part.shape for part in tg.dsplit(tg.tensor([[[1, 2], [3, 4]]]), 2)]
    [(1, 2, 1), (1, 2, 1)]
    """
    return _split_from(x, indices_or_sections, "dsplit", 3, 2)


def _split_from(x: Array, sections: Any, name: str, least: int, axis: int) -> Any:
    if x.ndim < least:
        raise ValueError(f"{name}: x has shape {x.shape}, expected at least {least} axes")
    return split(x, sections=sections, axis=axis)


@composite(np.linspace)
def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True) -> Array:
    """`num` evenly spaced values from start to stop, which is the last one with `endpoint`; along a new first axis.

    >>> import tinygrad_rnn as tg
    >>> tg.linspace(tg.tensor(1.0), 2.0, 3).tolist()
    [1.0, 1.5, 2.0]
    """
    if num < 0:
        raise ValueError(f"linspace: num is {num}, expected 0 or more")
    start, stop = _alike([start, stop])
    dtype = np.result_type(start.dtype, stop.dtype, np.float32)
    axes = (1,) * max(start.ndim, stop.ndim)
    along = np.linspace(0, 1, num, endpoint, dtype=dtype).reshape((num, *axes))
    return start * (1 - along) + stop * along
