"""What a training step does around the recurrent kernels, natively: updates, norms, softmax cross-entropy, rows of a table.

Callers ask `takes(...)` first and go on in NumPy where it says no; results are the same for any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from . import choice
from .check import Array
from .choice import missing

if missing is None:
    from . import _native

    EMPTY = {np.dtype(np.float32): _native.empty_float32, np.dtype(np.float64): _native.empty_float64}
    UPDATE = {np.dtype(np.float32): _native.update_float32, np.dtype(np.float64): _native.update_float64}
    SQUARES = {np.dtype(np.float32): _native.squares_float32, np.dtype(np.float64): _native.squares_float64}
    SCALE = {np.dtype(np.float32): _native.scale_float32, np.dtype(np.float64): _native.scale_float64}
    FORWARD = {np.dtype(np.float32): _native.cross_entropy_float32, np.dtype(np.float64): _native.cross_entropy_float64}
    BACKWARD = {
        np.dtype(np.float32): _native.cross_entropy_back_float32,
        np.dtype(np.float64): _native.cross_entropy_back_float64,
    }
    SCATTER = {np.dtype(np.float32): _native.scatter_float32, np.dtype(np.float64): _native.scatter_float64}


_made: Any = None if missing else _native.empty_float32([1])
OWNERS = () if missing else (type(_made.base.obj),)  # types of what the memory of arrays made here belongs to

LARGE = 1 << 17  # bytes: from here on arrays come from memory that is kept
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
RULES = {"sgd": 0, "rmsprop": 1, "adam": 2}


def takes(*arrays: Array) -> bool:
    """Whether the native functions run and take these arrays as they are: of one floating dtype, in C order, aligned."""
    if choice.active == "reference":
        return False
    dtype = arrays[0].dtype
    if dtype not in FLOATS:
        return False
    for a in arrays:
        if type(a) is not np.ndarray or a.dtype != dtype or not (a.flags.c_contiguous and a.flags.aligned):
            return False
    return True


def empty(shape: Sequence[int], dtype: Any) -> Array:
    """np.empty; the memory of a large array of floats goes, when the array does, to the next of that size.

    >>> import tinygrad_rnn as tg
    >>> tg.kernels.training.empty((2, 3), "float32").shape
    (2, 3)
    """
    if is_small(shape) or choice.active == "reference":
        return np.empty(shape, dtype)
    dtype = np.dtype(dtype)
    if prod(shape) * dtype.itemsize < LARGE or dtype not in FLOATS:
        return np.empty(shape, dtype)
    return EMPTY[dtype](shape)


def is_small(shape: Sequence[int]) -> bool:
    """Whether memory of this size is not worth keeping, whatever the dtype.

    >>> import tinygrad_rnn as tg
    >>> tg.kernels.training.is_small((2, 3))
    True
    """
    return 8 * prod(shape) < LARGE


def update(
    rule: str, dtype: Any, parameters: list[tuple[Array, Array, Array, tuple[Any, ...], Sequence[float]]]
) -> None:
    """One step of an optimiser for all `parameters` of one dtype: (x, g, out, slots, numbers); see native/training.h."""
    UPDATE[dtype](choice.active, RULES[rule], parameters)


def squares(arrays: list[Array]) -> float:
    """The sum of the squares of all elements, in double."""
    return SQUARES[arrays[0].dtype](choice.active, arrays)


def scale(factor: float, arrays: list[Array], outs: list[Array]) -> None:
    """outs = factor · arrays; an array may be its own out."""
    SCALE[arrays[0].dtype](choice.active, factor, arrays, outs)


def cross_entropy(logits: Array, targets: Array, mask: Array | None) -> tuple[Array, Array, Array] | None:
    """(losses, max, Σ exp(logits − max)) of each row of logits (N, C); None if a target is out of range."""
    n, dtype = len(logits), logits.dtype
    losses, largest, total = np.empty(n, dtype), np.empty(n, dtype), np.empty(n, dtype)
    bad = FORWARD[dtype](choice.active, logits, targets, mask, losses, largest, total)
    return None if bad >= 0 else (losses, largest, total)


def cross_entropy_back(
    logits: Array, targets: Array, mask: Array | None, largest: Array, total: Array, g: Array, weight: float
) -> Array:
    """The gradient of the logits (N, C); g (N) or ()."""
    slope = empty(logits.shape, logits.dtype)
    BACKWARD[logits.dtype](choice.active, logits, targets, mask, largest, total, g, weight, slope)
    return slope


def column_sums(values: Array) -> Array:
    """The sum of the rows (N, K), in their order."""
    return scatter(np.zeros(len(values), np.int64), values, 1).reshape(-1)


def scatter(index: Array, values: Array, rows: int) -> Array:
    """Zeros (rows, K) with values (N, K) added at the rows index (N), integers from 0 to rows − 1."""
    table = empty((rows, values.shape[1]), values.dtype)
    SCATTER[values.dtype](choice.active, index, values, table)
    return table
