"""Products of matrices on the kernels' own tile and threads.

NumPy hands products to a BLAS whose threads go on spinning for a while after each, on cores that the kernels could use.
So products of matrices for which BLAS would take several threads run here: alone, in 0.85 to 1.05 of OpenBLAS's time with
AVX-512. Small products, those with a vector (for which BLAS is better) and other dtypes stay NumPy's.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from . import choice
from .check import Array

_NATIVE: dict[np.dtype[Any], Any] = {}
if choice.missing is None:
    from . import _native

    _NATIVE = {np.dtype(np.float32): _native.matmul_float32, np.dtype(np.float64): _native.matmul_float64}

LEAST = 64**3  # multiplications in a matrix that are worth a call of our own: up to here OpenBLAS takes one thread


def matmul(
    a: Array, b: Array, *, bias: Array | None = None, out: Array | None = None, accumulate: bool = False
) -> Array:
    """a b + bias, by np.matmul's rules: a (…, M, K), b (…, K, N), bias (N), result (…, M, N).

    `out`, an array of the result's shape and dtype, is written and returned; with `accumulate` the product is added to
    it, and there is no bias. Transposed views are read as they are. Large float32 and float64 products run on the
    kernels' threads, bitwise the same on any number of them; what is small, or of another dtype, is NumPy's.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.kernels.matmul(np.ones((2, 3)), np.ones((4, 3)).T, bias=np.arange(4.0)).tolist()
    [[3.0, 4.0, 5.0, 6.0], [3.0, 4.0, 5.0, 6.0]]
    """
    if accumulate and (out is None or bias is not None):
        raise ValueError("matmul: accumulate adds to out, which must be given, and takes no bias")
    if choice.active != "reference" and a.ndim and b.ndim and _worth_it(a.shape, b.shape):
        product = _NATIVE.get(a.dtype)
        if product is not None and a.dtype == b.dtype and type(a) is type(b) is np.ndarray:
            return _run(product, a, b, bias, out, accumulate)
    if out is not None or bias is not None:
        _check(_shape(a, b), np.result_type(a, b), bias, out)
    if accumulate and out is not None:
        out += np.matmul(a, b)
        return out
    result = np.matmul(a, b, out=out)
    if bias is not None:
        result += bias
    return result


def _shape(a: Array, b: Array) -> tuple[int, ...]:
    """The shape of a b."""
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2]) if a.ndim > 2 or b.ndim > 2 else ()
    return (*batch, *a.shape[-2:-1], *b.shape[-1:][: b.ndim - 1])


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], bias: Array | None, out: Array | None) -> None:
    if out is not None and (type(out) is not np.ndarray or out.shape != shape or out.dtype != dtype):
        raise ValueError(
            f"matmul: out is {type(out).__name__} {np.shape(out)} of {getattr(out, 'dtype', None)}, "
            f"expected an array {shape} of {dtype}"
        )
    if bias is not None and (bias.shape != shape[-1:] or bias.dtype != dtype):
        raise ValueError(f"matmul: bias is {bias.shape} of {bias.dtype}, expected {shape[-1:]} of {dtype}")


def _worth_it(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    M, N = prod(a[:-1]) if len(b) < 3 else a[-2] if len(a) > 1 else 1, b[-1] if len(b) > 1 else 1
    return M > 1 and N > 1 and M * N * a[-1] > LEAST


def _run(product: Any, a: Array, b: Array, bias: Array | None, out: Array | None, accumulate: bool) -> Array:
    left, right = a if a.ndim > 1 else a[None], b if b.ndim > 1 else b[:, None]
    M, K, N = *left.shape[-2:], right.shape[-1]
    batch = np.broadcast_shapes(left.shape[:-2], right.shape[:-2]) if left.ndim + right.ndim > 4 else ()
    if right.shape[-2] != K or 0 in batch:
        return np.matmul(a, b, out=out)  # which raises, or has nothing to do
    shape, matrices = _shape(a, b), (*batch, M, N)
    _check(shape, a.dtype, bias, out)
    if out is None:
        result = np.empty(shape, a.dtype)
    elif out.flags.c_contiguous and out.flags.aligned and not (_meet(out, a) or _meet(out, b)):
        result = out
    else:
        result = out.copy()
    to = result.reshape(matrices)
    if batch and right.ndim == 2:  # one product for all rows
        left, to, batch = left.reshape(-1, K), to.reshape(-1, N), ()
    elif len(batch) > 1:
        left, right = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (left, right))
    elif batch:
        left, right = np.broadcast_to(left, (*batch, M, K)), np.broadcast_to(right, (*batch, K, N))
    bias = None if bias is None else _laid_out(bias)
    for i in np.ndindex(batch[:-1]):
        product(choice.active, _laid_out(left[i]), _laid_out(right[i]), bias, to[i], accumulate)
    if out is None or result is out:
        return result
    out[...] = result
    return out


def _meet(a: Array, b: Array) -> bool:
    return np.may_share_memory(a, b)


def _laid_out(x: Array) -> Array:
    """x with one of its last two axes contiguous, as it is or copied."""
    size = x.itemsize
    if size in x.strides[-2:] and x.flags.aligned and not any(step % size for step in x.strides):
        return x
    return np.array(x, order="C")
