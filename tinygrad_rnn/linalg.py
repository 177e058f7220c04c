"""Linear algebra by the names of np.linalg, which reaches the same functions: np.linalg.solve(a, b) of tensors is
tg.linalg.solve(a, b). Products (tg.matmul, tg.einsum, tg.outer, ...) stand in tg itself, as in NumPy."""

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
