"""The gradient of a table of which few rows were read: only these rows are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class RowGradient:
    """A gradient of `shape` that is 0 except in some rows: values[i] (N, …) is added at row index[i] (N); rows may be
    repeated.

    `np.asarray` converts it to an array. Adding to an array gives an array.

    >>> import numpy as np
    >>> g = RowGradient(np.array([2, 0, 2]), np.array([[1.0], [5.0], [2.0]]), (3, 1))
    >>> np.asarray(g + g).tolist(), g.summed().index.tolist()
    ([[10.0], [0.0], [6.0]], [0, 2])
    """

    __slots__ = ("index", "shape", "values")

    def __init__(self, index: Array, values: Array, shape: tuple[int, ...]):
        self.index, self.values, self.shape = index, values, shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""
        return self.values.dtype

    def astype(self, dtype: Any) -> RowGradient:
        """With values of another type."""
        return RowGradient(self.index, self.values.astype(dtype), self.shape)

    def summed(self) -> RowGradient:
        """The same gradient with each row once, in ascending order."""
        rows, places = np.unique(self.index, return_inverse=True)
        values = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        np.add.at(values, places, self.values)
        return RowGradient(rows, values, self.shape)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, RowGradient):
            return np.asarray(self) + other
        values = np.concatenate([self.values, other.values])
        return RowGradient(np.concatenate([self.index, other.index]), values, self.shape)

    __radd__ = __add__
    __array_ufunc__ = None  # array + RowGradient calls __radd__

    def __mul__(self, factor: float) -> RowGradient:
        return RowGradient(self.index, self.values * factor, self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        out = np.zeros(self.shape, self.dtype)
        np.add.at(out, self.index, self.values)
        return out if dtype is None else out.astype(dtype)

    def __repr__(self) -> str:
        return f"RowGradient({len(self.index)} rows of {self.shape}, {self.dtype})"
