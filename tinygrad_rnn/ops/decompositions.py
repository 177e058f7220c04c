"""Linear algebra other than products, with the names of np.linalg: inverses, determinants, factorisations, norms
(tg.linalg)."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autodiff.arguments import stacked
from ..autodiff.node import Array
from ..autodiff.op import composite, primitive
from ..autodiff.rows import along_axis
from ..autodiff.tensor import Tensor
from ..autodiff.work import per_input, per_matrix
from .diagonals import diagonal, trace, tril, triu
from .linalg import cross, matmul
from .logic import equal, logical_and, sign
from .pointwise import abs
from .reduce import max, min, sum
from .select import where
from .shape import expand_dims, moveaxis, swapaxes

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
KIND = "linalg"
SVD = per_matrix(lambda m, n, k: 14 * m * n**2 + 8 * n**3)  # thin, with its vectors [Golub & Van Loan 2013, 8.6]
LU = per_matrix(lambda m, n, k: 2 * n**3 / 3)


def _square(r: Any, *shape: int) -> Array:
    """A sample of well-conditioned matrices."""
    return np.asarray(r(*shape) + 3 * np.eye(shape[-1]))


def _symmetric(r: Any, *shape: int) -> Array:
    """A sample of positive definite matrices."""
    x = r(*shape)
    return np.asarray(x @ x.swapaxes(-1, -2) + np.diag(1.0 + np.arange(shape[-1])))


def _t(x: Array) -> Array:
    """Each matrix transposed."""
    return swapaxes(x, axis1=-1, axis2=-2)


def _check_square(a: Array, name: str) -> None:
    shape = np.shape(a)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{name}: a has shape {shape}, expected square matrices (…, n, n)")


@primitive(
    label="inv",
    work=per_matrix(lambda m, n, k: 2 * n**3),
    numpy=np.linalg.inv,
    samples=lambda r: [_square(r, 3, 3), _square(r, 2, 4, 4)],
    errors=lambda r: [
        (r(2, 3), "expected square matrices"),
    ],
)
def inv(a: Array) -> Array:
    """The inverse of each matrix a (…, n, n); its derivative is −A⁻¹ dA A⁻¹. Raises LinAlgError if a matrix is singular.
    Prefer tg.linalg.solve(a, b) to inv(a) @ b: it is faster and more precise.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.inv(tg.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    _check_square(a, "inv")
    return np.linalg.inv(a)


@inv.vjp
def _(g: Array, out: Array) -> Array:
    back = _t(out)
    return -matmul(matmul(back, g), back)


@primitive(
    label="solve",
    work=per_matrix(lambda m, n, k: 2 * n**3 / 3 + 2 * n**2 * k),
    numpy=np.linalg.solve,
    broadcasts=True,
    samples=lambda r: [
        (_square(r, 3, 3), r(3, 2)),
        (_square(r, 3, 3), r(3)),
        (_square(r, 2, 3, 3), r(3)),
        (_square(r, 2, 3, 3), r(3, 4)),
        (_square(r, 3, 3), r(2, 3, 1)),
    ],
    errors=lambda r: [
        ((r(2, 3), r(2)), "expected square matrices"),
        ((r(2, 2), r(3)), "expected (2,)"),
    ],
)
def solve(a: Array, b: Array) -> Array:
    """The solution x of a x = b: a (…, n, n), b a vector (n) or matrices (…, n, k). Raises LinAlgError where a is
    singular.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.solve(tg.tensor([[2.0, 0.0], [0.0, 4.0]]), tg.tensor([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    _check_square(a, "solve")
    b = np.asarray(b)
    if not b.ndim or b.shape[-1 if b.ndim == 1 else -2] != np.shape(a)[-1]:
        raise ValueError(f"solve: b has shape {b.shape}, expected ({np.shape(a)[-1]},) or (…, {np.shape(a)[-1]}, k)")
    return np.linalg.solve(a, b[:, None])[..., 0] if b.ndim == 1 else np.linalg.solve(a, b)


@solve.vjp
def _(g: Array, a: Array, b: Array, out: Array, needs: Any) -> Any:
    vector = b.ndim == 1
    if vector:
        g, out = expand_dims(g, axis=-1), expand_dims(out, axis=-1)
    by_b = solve(_t(a), g)
    by_a = -matmul(by_b, _t(out)) if needs[0] else None
    return by_a, by_b[..., 0] if vector else by_b


@primitive(
    label="det",
    work=LU,
    numpy=np.linalg.det,
    samples=lambda r: [r(3, 3), r(2, 2, 2), r(1, 1), np.outer(r(3), r(3)), np.stack([np.ones((3, 3)), r(3, 3)])],
    errors=lambda r: [
        (r(2, 3), "expected square matrices"),
    ],
)
def det(a: Array) -> Array:
    """The determinant of each matrix a (…, n, n); its derivative is the matrix of cofactors.

    The cofactors are det A · A⁻ᵀ. If a matrix of the batch is singular or nearly singular, they are computed as
    determinants of its n² minors, which is slow for n above about 50.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.det(tg.tensor([[1.0, 2.0], [3.0, 5.0]])).data.round(3)
    np.float32(-1.0)
    """
    _check_square(a, "det")
    return np.linalg.det(a)


@det.vjp
def _(g: Array, a: Array, out: Array) -> Array:
    data = a.data if isinstance(a, Tensor) else a
    if data.size and np.max(np.linalg.cond(data)) * np.sqrt(np.finfo(data.dtype).eps) < 1:
        return _wide(g * out) * _t(inv(a))
    n = data.shape[-1]
    others = np.array([[j for j in range(n) if j != i] for i in range(n)], int).reshape(n, n - 1 if n else 0)
    minors = a[..., others[:, None, :, None], others[None, :, None, :]]
    return _wide(g) * (det(minors) * (-1.0) ** np.add.outer(np.arange(n), np.arange(n)).astype(data.dtype))


def _wide(g: Array) -> Array:
    """Numbers (…) as matrices (…, 1, 1)."""
    return expand_dims(g, axis=(-1, -2))


@primitive(label="log|det|", work=LU, samples=lambda r: [_square(r, 3, 3), -_square(r, 2, 3, 3)])
def logabsdet(a: Array) -> Array:
    """log |det a|, the second part of slogdet."""
    _check_square(a, "slogdet")
    return np.linalg.slogdet(a)[1]


@logabsdet.vjp
def _(g: Array, a: Array) -> Array:
    return _wide(g) * _t(inv(a))


@composite(np.linalg.slogdet)
def slogdet(a: Array) -> Any:
    """The sign of the determinant (a constant) and the logarithm of its absolute value, which does not overflow.

    A named tuple (sign, logabsdet), as NumPy's.

    >>> import tinygrad_rnn as tg
    >>> sign, logarithm = tg.linalg.slogdet(tg.tensor([[0.0, 1.0], [2.0, 0.0]]))
    >>> sign.item(), logarithm
    (-1.0, tensor(0.693147, float32))
    """
    logarithm = logabsdet(a)
    if not isinstance(a, Tensor):
        return np.linalg.slogdet(a)
    plain = np.linalg.slogdet(a.data)
    return type(plain)(Tensor(plain[0]), logarithm)


@primitive(
    label="cholesky",
    work=per_matrix(lambda m, n, k: n**3 / 3),
    numpy=np.linalg.cholesky,
    samples=lambda r: [_symmetric(r, 3, 3), _symmetric(r, 2, 4, 4), r.call(_symmetric(r, 3, 3), upper=True)],
    errors=lambda r: [
        (r(2, 3), "expected square matrices"),
    ],
)
def cholesky(a: Array, *, upper: bool = False) -> Array:
    """The lower triangular L with L Lᵀ = a, for positive definite a (…, n, n) [vjp: Murray 2016]; with upper, Lᵀ.

    As NumPy, it reads one triangle of a only (the lower, or with upper the upper one), so only this triangle gets a
    gradient. Raises LinAlgError if a matrix is not positive definite.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.cholesky(tg.tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    _check_square(a, "cholesky")
    return np.linalg.cholesky(a, upper=upper)


@cholesky.vjp
def _(g: Array, out: Array, *, upper: bool) -> Array:
    if upper:
        g, out = _t(g), _t(out)
    phi = _lower_half(matmul(_t(out), g))
    inner = _t(solve(_t(out), _t(solve(_t(out), phi))))  # L⁻ᵀ Φ L⁻¹
    return _from_triangle(_t(inner), upper)


def _lower_half(x: Array) -> Array:
    """The lower triangle with half the diagonal."""
    return tril(x) - 0.5 * (x * np.eye(x.shape[-1], dtype=x.dtype))


def _from_triangle(x: Array, upper: bool) -> Array:
    """The cotangent of a matrix of which one triangle is read and mirrored, from that of the symmetric matrix."""
    both = x + _t(x)
    return (triu if upper else tril)(both) - x * np.eye(x.shape[-1], dtype=x.dtype)


@primitive(
    label="eigh",
    work=per_matrix(lambda m, n, k: 9 * n**3),
    numpy=np.linalg.eigh,
    several=True,
    samples=lambda r: [r(3, 3), r.call(r(2, 3, 3), UPLO="U")],
    errors=lambda r: [
        (r.call(r(2, 2), UPLO="x"), 'expected "L" or "U"'),
    ],
)
def eigh(a: Array, *, UPLO: str = "L") -> Any:
    """Eigenvalues in ascending order and eigenvectors (as columns) of symmetric matrices a (…, n, n).

    Reads the lower triangle of a, or with UPLO="U" the upper one, so only this triangle gets a gradient. Eigenvectors of
    equal eigenvalues are not unique: a gradient through them is infinite or NaN.

    >>> import tinygrad_rnn as tg
    >>> values, vectors = tg.linalg.eigh(tg.tensor([[2.0, 1.0], [1.0, 2.0]]))
    >>> values.data.round(3).tolist()
    [1.0, 3.0]
    """
    _check_square(a, "eigh")
    if UPLO not in ("L", "U"):
        raise ValueError(f'eigh: UPLO is {UPLO!r}, expected "L" or "U"')
    return tuple(np.linalg.eigh(a, "U" if UPLO == "U" else "L"))


@eigh.vjp
def _(g: Any, a: Array, *, UPLO: str) -> Array:
    values, vectors = eigh(a, UPLO=UPLO)
    one = np.eye(a.shape[-1], dtype=bool)
    gaps = expand_dims(values, axis=-2) - expand_dims(values, axis=-1)
    turned = matmul(_t(vectors), g[1])
    middle = where(one, expand_dims(g[0], axis=-1), _over(turned, where(one, 1, gaps)))
    return _from_triangle(matmul(matmul(vectors, middle), _t(vectors)), UPLO == "U")


def _over(a: Array, b: Array) -> Array:
    """a / b, and 0 where both are 0."""
    return a / where(logical_and(equal(a, 0), equal(b, 0)), 1, b)


@composite(np.linalg.eigvalsh)
def eigvalsh(a: Array, UPLO: str = "L") -> Array:
    """Eigenvalues of symmetric matrices in ascending order; see eigh.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.eigvalsh(tg.tensor([[2.0, 1.0], [1.0, 2.0]])).data.round(3).tolist()
    [1.0, 3.0]
    """
    return eigh(a, UPLO=UPLO)[0]


@primitive(label="svd", work=SVD, several=True, samples=lambda r: [r(3, 3), r(2, 4), r(2, 4, 3)])
def thin_svd(a: Array) -> Any:
    """U (…, m, k), s (k) and Vᵀ (…, k, n) of a (…, m, n), where k is the smaller of m and n."""
    return tuple(np.linalg.svd(a, full_matrices=False))


@thin_svd.vjp
def _(g: Any, a: Array) -> Array:
    u, s, vh = thin_svd(a)
    gu, gs, gv = g[0], g[1], _t(g[2])
    v, ut = _t(vh), _t(u)
    k = s.shape[-1]
    one = np.eye(k, dtype=bool)
    row, column = expand_dims(s, axis=-2), expand_dims(s, axis=-1)
    gaps = where(one, 1, (row - column) * (row + column))
    by_u, by_v = matmul(ut, gu), matmul(vh, gv)
    turn = _over(by_u - _t(by_u), gaps) * row + _over(by_v - _t(by_v), gaps) * column
    inside = matmul(matmul(u, where(one, expand_dims(gs, axis=-1), turn)), vh)
    if u.shape[-2] > k:
        inside = inside + matmul(_over(gu - matmul(u, by_u), row), vh)
    if vh.shape[-1] > k:
        inside = inside + matmul(u, _t(_over(gv - matmul(v, by_v), row)))
    return inside


@composite(np.linalg.svd)
def svd(a: Array, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """The singular value decomposition a = U diag(s) Vᵀ: the tuple (U, s, Vᵀ), or s alone without compute_uv.

    A matrix that is not square needs full_matrices=False, since the last columns of the full U or V are not unique.
    Singular vectors of equal singular values are not unique either: a gradient through them is infinite or NaN.

    >>> import tinygrad_rnn as tg
    >>> u, s, vt = tg.linalg.svd(tg.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]]), full_matrices=False)
    >>> s.tolist()
    [4.0, 3.0]
    """
    if hermitian:
        raise TypeError("svd: hermitian=True has no op, use tg.linalg.eigh")
    if compute_uv and full_matrices and a.shape[-1] != a.shape[-2]:
        raise ValueError(f"svd: a has shape {a.shape}; pass full_matrices=False for matrices that are not square")
    parts = thin_svd(a)
    return parts if compute_uv else parts[1]


@composite(np.linalg.svdvals)
def svdvals(a: Array) -> Array:
    """Singular values in descending order.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.svdvals(tg.tensor([[3.0, 0.0], [0.0, 4.0]])).tolist()
    [4.0, 3.0]
    """
    return thin_svd(a)[1]


@primitive(label="pinv", work=SVD, numpy=np.linalg.pinv, samples=lambda r: [r(3, 2), r(2, 3), r(2, 3, 3)])
def pinv(a: Array, *, rcond: float | None = None) -> Array:
    """The pseudo-inverse of each matrix a (…, m, n); the derivative assumes constant rank [Golub & Pereyra 1973].

    Singular values below `rcond` times the largest one count as 0.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.pinv(tg.tensor([[2.0], [0.0]])).tolist()
    [[0.5, 0.0]]
    """
    return np.linalg.pinv(a) if rcond is None else np.linalg.pinv(a, rcond)


@pinv.vjp
def _(g: Array, a: Array, out: Array, *, rcond: float | None) -> Array:
    back, gt = _t(out), _t(g)
    rows = gt - matmul(a, matmul(out, gt))  # (1 − A A⁺) Gᵀ
    columns = gt - matmul(matmul(gt, out), a)  # Gᵀ (1 − A⁺ A)
    return -matmul(matmul(back, g), back) + matmul(matmul(rows, out), back) + matmul(back, matmul(out, columns))


@primitive(
    label="‖x‖",
    work=per_input(3),
    rows=along_axis,
    samples=lambda r: [
        r.away(3, 4),
        r.call(r.away(3, 4), axis=(1,)),
        r.call(r.away(2, 3, 2), axis=(0, 2), keepdims=True),
        r.call(r.away(3, 4), p=3.5, axis=(0,)),
    ],
)
def p_norm(x: Array, *, p: float = 2, axis: Any = None, keepdims: bool = False) -> Array:
    """(Σ |x|^p)^(1/p) over `axis` (a tuple; None: all); the gradient is 0 where the norm is 0."""
    if p == 2:
        return np.sqrt(np.sum(np.square(x), axis=axis, keepdims=keepdims))
    return np.sum(np.abs(x) ** p, axis=axis, keepdims=keepdims) ** (1 / p)


@p_norm.vjp
def _(g: Array, x: Array, out: Array, *, p: float, axis: Any, keepdims: bool) -> Array:
    if not keepdims:
        kept = tuple(range(x.ndim)) if axis is None else axis
        g, out = expand_dims(g, axis=kept), expand_dims(out, axis=kept)
    unit = x / where(equal(out, 0), 1, out)
    return g * (unit if p == 2 else sign(x) * abs(unit) ** (p - 1))


@composite(np.linalg.norm)
def norm(x: Array, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """The norm of vectors (axis an integer) or matrices (a pair), of all elements without axis and ord.

    ord: None (√Σ x²) and for vectors p > 0 ((Σ |x|^p)^(1/p)), inf, −inf; for matrices "fro", "nuc", 2, −2 (singular
    values), 1, −1, inf, −inf (sums of columns and rows). The gradient is 0 where the norm is 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> x = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> tg.linalg.norm(x).item(), np.linalg.norm(x, ord=1).item()
    (5.0, 7.0)
    """
    x = stacked(x)
    if axis is None and ord is None:
        return p_norm(x, axis=tuple(range(x.ndim)), keepdims=keepdims)
    named = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(int(a) % x.ndim for a in named)
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) != 2:
        raise ValueError(f"norm: x has shape {x.shape} and axis is {axis}, expected one axis or a pair of them")
    return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)


def _vector_norm(x: Array, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Array:
    if not isinstance(ord, (int, float)) or not ord or -np.inf < ord < 0:
        raise ValueError(f"norm: ord is {ord!r}, expected p > 0, inf or -inf for vectors")
    if abs(ord) == np.inf:
        return (max if ord > 0 else min)(abs(x), axis=axis, keepdims=keepdims)
    return sum(abs(x), axis=axis, keepdims=keepdims) if ord == 1 else p_norm(x, p=ord, axis=axis, keepdims=keepdims)


def _matrix_norm(x: Array, ord: Any, axis: tuple[int, ...], keepdims: bool) -> Array:
    if ord == "fro":
        return p_norm(x, axis=axis, keepdims=keepdims)
    x = moveaxis(x, axis, (-2, -1))
    if ord in ("nuc", 2, -2):
        values = thin_svd(x)[1]
        out = sum(values, axis=-1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    elif ord in (1, -1, np.inf, -np.inf):
        sums = sum(abs(x), axis=-2 if abs(ord) == 1 else -1)
        out = (max if ord > 0 else min)(sums, axis=-1)
    else:
        raise ValueError(f'norm: ord is {ord!r}, expected "fro", "nuc", 2, -2, 1, -1, inf or -inf for matrices')
    return expand_dims(out, axis=axis) if keepdims else out


@composite(np.linalg.vector_norm)
def vector_norm(x: Array, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norm of vectors along `axis`, an integer or several (None: of all elements as one vector); ord as in norm.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.vector_norm(tg.tensor([[3.0, 0.0], [0.0, 4.0]])).item()
    5.0
    """
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return _vector_norm(x, ord, tuple(int(a) % x.ndim for a in axes), keepdims)


@composite(np.linalg.matrix_norm)
def matrix_norm(x: Array, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of each matrix x (…, m, n); ord as in norm.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.matrix_norm(tg.tensor([[[3.0, 0.0], [0.0, 4.0]]])).tolist()
    [5.0]
    """
    return norm(x, ord, axis=(-2, -1), keepdims=keepdims)


@composite(np.linalg.diagonal)
def _diagonal(x: Array, *, offset: int = 0) -> Array:
    return diagonal(x, offset, -2, -1)


@composite(np.linalg.trace)
def _trace(x: Array, *, offset: int = 0) -> Array:
    return trace(x, offset, -2, -1)


@composite(np.linalg.cross)
def _cross(a: Array, b: Array, *, axis: int = -1) -> Array:
    return cross(a, b, axis=axis)


@composite(np.linalg.matrix_transpose, np.matrix_transpose)
def matrix_transpose(x: Array) -> Array:
    """Each matrix x (…, m, n) transposed.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.matrix_transpose(tg.tensor([[[1, 2], [3, 4]]])).tolist()
    [[[1, 3], [2, 4]]]
    """
    if x.ndim < 2:
        raise ValueError(f"matrix_transpose: x has shape {x.shape}, expected at least two axes")
    return _t(x)
