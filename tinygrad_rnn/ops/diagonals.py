"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import composite
from .index import getitem, scatter_add
from .reduce import sum
from .select import where
from .shape import moveaxis

__all__ = ["diag", "diagflat", "diagonal", "trace", "tril", "triu"]


@composite(np.diagonal)
def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonal of the matrices that axes `axis1` and `axis2` form, as a new last axis; offset > 0 is above the main
    diagonal.

    >>> import tinygrad_rnn as tg
    >>> tg.diagonal(tg.tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    if x.ndim < 2:
        raise ValueError(
            f"diagonal: x has shape {x.shape}, expected at least two axes; tg.diag makes a matrix of a vector"
        )
    moved = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = _places(moved.shape[-2], moved.shape[-1], offset)
    return getitem(moved, index=(..., rows, columns))


def _places(rows: int, columns: int, offset: int) -> tuple[Array, Array]:
    """The row and column numbers of a diagonal."""
    first, start = max(0, -offset), max(0, offset)
    along = np.arange(max(0, min(rows - first, columns - start)))
    return first + along, start + along


@composite(np.trace)
def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of a diagonal.

    >>> import tinygrad_rnn as tg
    >>> tg.trace(tg.tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)


@composite(np.diag)
def diag(x: Array, k: int = 0) -> Array:
    """The matrix with vector x on its k-th diagonal, or the k-th diagonal of matrix x.

    >>> import tinygrad_rnn as tg
    >>> tg.diag(tg.tensor([1, 2])).tolist(), tg.diag(tg.tensor([[1, 2], [3, 4]])).tolist()
    ([[1, 0], [0, 2]], [1, 4])
    """
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: x has shape {x.shape}, expected a vector or a matrix; see tg.diagonal")
    n = x.size + abs(k)
    return scatter_add(x, index=_places(n, n, k), shape=(n, n))


@composite(np.diagflat)
def diagflat(x: Array, k: int = 0) -> Array:
    """The matrix with the elements of x on its k-th diagonal.

    >>> import tinygrad_rnn as tg
    >>> tg.diagflat(tg.tensor([[1], [2]])).tolist()
    [[1, 0], [0, 2]]
    """
    return diag(x.reshape(-1), k)


@composite(np.tril)
def tril(x: Array, k: int = 0) -> Array:
    """x with zeros above the k-th diagonal of its last two axes: the lower triangle.

    >>> import tinygrad_rnn as tg
    >>> tg.tril(tg.tensor([[1, 2], [3, 4]])).tolist()
    [[1, 0], [3, 4]]
    """
    return where(np.tri(*_matrix(x, "tril"), k, dtype=bool), x, 0)


@composite(np.triu)
def triu(x: Array, k: int = 0) -> Array:
    """x with zeros below the k-th diagonal of its last two axes: the upper triangle.

    >>> import tinygrad_rnn as tg
    >>> tg.triu(tg.tensor([[1, 2], [3, 4]])).tolist()
    [[1, 2], [0, 4]]
    """
    return where(np.tri(*_matrix(x, "triu"), k - 1, dtype=bool), 0, x)


def _matrix(x: Any, name: str) -> tuple[int, int]:
    """Rows and columns; NumPy takes a vector for that many equal rows."""
    if not x.ndim:
        raise ValueError(f"{name}: x has shape (), expected a matrix")
    rows, columns = x.shape[-2:] if x.ndim > 1 else x.shape * 2
    return rows, columns
