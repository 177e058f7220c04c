"""Linear algebra with the names of np.linalg: for tensors, np.linalg.solve(a, b) calls tg.linalg.solve(a, b). Products
(tg.matmul, tg.einsum, tg.outer, ...) are in tg itself, as in NumPy."""

from .ops.decompositions import (
    cholesky,
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_norm,
    matrix_transpose,
    norm,
    pinv,
    slogdet,
    solve,
    svd,
    svdvals,
    vector_norm,
)

__all__ = [
    "cholesky",
    "det",
    "eigh",
    "eigvalsh",
    "inv",
    "matrix_norm",
    "matrix_transpose",
    "norm",
    "pinv",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "vector_norm",
]
