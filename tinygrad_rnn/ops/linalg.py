"""Products of arrays: matmul, dot, outer, kron, cross, einsum, tensordot. Inverses and factorisations are in
decompositions.py."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..autodiff.node import Array, Shape
from ..autodiff.op import composite, primitive
from ..autodiff.rows import contraction, product
from ..autodiff.tensor import Tensor
from ..autodiff.work import Work
from ..kernels import training
from .pointwise import multiply
from .shape import expand_dims, moveaxis, swapaxes, transpose

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
__all__ = ["cross", "dot", "einsum", "inner", "kron", "matmul", "outer", "tensordot", "vdot"]


def _product(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
    return 2 * prod(made[0]) * read[0][-1]


def _map(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
    return prod(made[0]) * (2 * read[0][-1] + (len(read) == 3))


def _einsum(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
    """A product and a sum, or a product less for one operand, for each combination of all the letters."""
    terms = options["formula"].partition("->")[0].split(",")
    sizes = dict(zip("".join(terms), [size for shape in read for size in shape], strict=True))
    return len(terms) * prod(sizes.values())


@primitive(
    label="@",
    work=Work(_product, "contracts"),
    rows=product,
    numpy=(np.matmul, np.linalg.matmul),
    broadcasts=True,
    samples=lambda r: [
        (r(3, 4), r(4, 2)),
        (r(4), r(4)),
        (r(4), r(2, 4, 3)),
        (r(2, 3, 4), r(4)),
        (r(2, 3, 4), r(4, 2)),
        (r(2, 1, 3, 4), r(5, 4, 2)),
        (r(3, 0), r(0, 2)),
        (r(2, 3, 0), r(0, 4)),
        (r(2, 3, 4), r(4, 0)),
    ],
    errors=lambda r: [
        ((r(2, 3), r(4, 2)), "expected (3, *)"),
        ((r(2), r()), "* takes a scalar"),
    ],
)
def matmul(a: Array, b: Array) -> Array:
    """The matrix product a @ b, with NumPy's rules for vectors and batches.

    a (…, n, k), b (k, m) or (…, k, m), result (…, n, m). Raises ValueError where the inner sizes differ.

    >>> import tinygrad_rnn as tg
    >>> x, w = tg.tensor([[1.0, 2.0]]), tg.tensor([[1.0, 0.0], [0.0, 10.0]])
    >>> (x @ w).tolist()
    [[1.0, 20.0]]
    >>> x @ tg.tensor([[1.0, 2.0]])
    Traceback (most recent call last):
    ValueError: matmul: b has shape (1, 2), expected (2, *) to follow a of shape (1, 2)
    """
    a, b = np.asarray(a), np.asarray(b)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: got shapes {a.shape} and {b.shape}, expected axes in both; * takes a scalar")
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        wanted = f"({a.shape[-1]}, *)" if b.ndim > 1 else f"({a.shape[-1]},)"
        raise ValueError(f"matmul: b has shape {b.shape}, expected {wanted} to follow a of shape {a.shape}")
    if b.ndim == 2 and a.ndim > 2:  # one product instead of one per batch entry
        return kernels.matmul(_rows(a), b).reshape((*a.shape[:-1], b.shape[-1]))
    return kernels.matmul(a, b)


@matmul.vjp
def _(g: Array, a: Array, b: Array, needs: Any) -> Any:
    if a.ndim == b.ndim == 2:
        product = kernels.matmul if type(g) is type(a) is type(b) is np.ndarray else matmul  # the op itself costs more
        return product(g, b.T) if needs[0] else None, product(a.T, g) if needs[1] else None
    return _by_left(g, a, b) if needs[0] else None, _by_right(g, a, b) if needs[1] else None


def _by_left(g: Array, a: Array, b: Array) -> Array:
    if b.ndim == 1:
        return expand_dims(g, axis=-1) * b
    if a.ndim == 1:
        return matmul(b, expand_dims(g, axis=-1))[..., 0]
    return matmul(g, swapaxes(b, axis1=-1, axis2=-2))


def _by_right(g: Array, a: Array, b: Array) -> Array:
    if a.ndim == 1:
        return expand_dims(a, axis=-1) * expand_dims(g, axis=-2) if b.ndim > 1 else a * g
    if b.ndim == 1:
        return matmul(swapaxes(a, axis1=-1, axis2=-2), expand_dims(g, axis=-1))[..., 0]
    if b.ndim == 2 and a.ndim > 2:
        a, g = _rows(a), _rows(g)
    return matmul(swapaxes(a, axis1=-1, axis2=-2), g)


def _rows(x: Array) -> Array:
    """x (…, k) as a matrix; -1 for its rows would not do where k is 0."""
    return x.reshape((prod(x.shape[:-1]), x.shape[-1]))


@primitive(
    label="x W + b",
    work=Work(_map, "contracts"),
    optional=("bias",),
    samples=lambda r: [
        (r(3, 4), r(4, 2), r(2)),
        (r(4), r(4, 3), r(3)),
        r.call(r(2, 3, 4), r(5, 4), r(5), transposed=True),
        r.call(r(3, 4), r(2, 4), None, transposed=True),
        (r(0, 3), r(3, 2), r(2)),
    ],
    errors=lambda r: [
        ((r(2, 3), r(4, 5), r(5)), "weight has shape (4, 5), expected (3, *)"),
        (r.call(r(2, 3), r(3, 5), r(3), transposed=True), "weight has shape (3, 5), expected (*, 3)"),
        ((r(2, 3), r(3, 5), r(4)), "bias has shape (4,), expected (5,)"),
    ],
)
def linear(x: Array, weight: Array, bias: Array | None = None, *, transposed: bool = False) -> Array:
    """A linear map and a bias: y = x W + b, or with transposed=True y = x Wᵀ + b (PyTorch's layout of weights).

    x (…, D), weight (D, U), or (U, D) if transposed, bias (U) or None, y (…, U). Raises ValueError for other shapes.

    >>> import tinygrad_rnn as tg
    >>> tg.ops.linear(tg.tensor([1.0, 2.0]), tg.tensor([[3.0, 0.0], [0.0, 4.0]]), tg.tensor([0.5, 0.5])).tolist()
    [3.5, 8.5]
    """
    x, weight = np.asarray(x), np.asarray(weight)
    if not x.ndim or weight.ndim != 2 or x.shape[-1] != weight.shape[transposed]:
        size = x.shape[-1] if x.ndim else "D"
        wanted = f"(*, {size})" if transposed else f"({size}, *)"
        raise ValueError(f"linear: weight has shape {weight.shape}, expected {wanted} to follow x of shape {x.shape}")
    units = weight.shape[1 - transposed]
    if bias is not None and bias.shape != (units,):
        raise ValueError(f"linear: bias has shape {bias.shape}, expected ({units},) to follow weight {weight.shape}")
    dtypes = {x.dtype, weight.dtype, *(() if bias is None else (bias.dtype,))}
    w = weight.T if transposed else weight
    if len(dtypes) > 1:
        y = np.matmul(x, w)
        return y if bias is None else np.asarray(y + bias)
    out = training.empty((prod(x.shape[:-1]), units), x.dtype)
    return kernels.matmul(_rows(x), w, bias=bias, out=out).reshape((*x.shape[:-1], units))


@linear.vjp
def _(g: Array, x: Array, weight: Array, bias: Array, needs: Any, *, transposed: bool) -> Any:
    of_x, of_weight, of_bias = needs
    rows, inputs = _rows(g), _rows(x)
    dx = dw = db = None
    if of_x:
        dx = training.empty(inputs.shape, g.dtype)
        kernels.matmul(rows, weight if transposed else weight.T, out=dx)
        dx = dx.reshape(x.shape)
    if of_weight:
        dw = training.empty(weight.shape, g.dtype)
        kernels.matmul(*((rows.T, inputs) if transposed else (inputs.T, rows)), out=dw)
    if of_bias:
        db = training.column_sums(rows) if training.takes(rows) else rows.sum(axis=0)
    return dx, dw, db


@linear.expands
def _(x: Array, weight: Array, bias: Array, *, transposed: bool) -> Array:
    y = x @ (transpose(weight) if transposed else weight)
    return y if bias is None else y + bias


@composite(np.dot)
def dot(a: Array, b: Array) -> Array:
    """np.dot: the product with a number, the inner product of vectors, the matrix product, and for more axes the sum over
    the last axis of a and the last but one of b. Lists are converted to arrays.

    >>> import tinygrad_rnn as tg
    >>> tg.dot(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])).item()
    11.0
    """
    a, b = _operands(a, b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    return tensordot(a, b, axes=([-1], [-2 if b.ndim > 1 else 0]))


def _operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Two factors with their axes known: lists and numbers as arrays, of the other one's dtype."""
    dtype = a.dtype if isinstance(a, Tensor) else b.dtype if isinstance(b, Tensor) else None
    a, b = (x if isinstance(x, (Tensor, np.ndarray)) else np.asarray(x, dtype) for x in (a, b))
    return a, b


@composite(np.outer, np.linalg.outer)
def outer(a: Array, b: Array) -> Array:
    """All products a_i b_j of two vectors, as a matrix (arrays of other shapes are flattened).

    >>> import tinygrad_rnn as tg
    >>> tg.outer(tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    a, b = _operands(a, b)
    return multiply(a.reshape((a.size, 1)), b.reshape((1, b.size)))


@composite(np.inner)
def inner(a: Array, b: Array) -> Array:
    """The sum of products over the last axis of both; with a number, the product.

    >>> import tinygrad_rnn as tg
    >>> tg.inner(tg.tensor([[1.0, 2.0]]), tg.tensor([[3.0, 4.0], [5.0, 6.0]])).tolist()
    [[11.0, 17.0]]
    """
    a, b = _operands(a, b)
    if not a.ndim or not b.ndim:
        return multiply(a, b)
    return tensordot(a, b, axes=([-1], [-1]))


@composite(np.vdot)
def vdot(a: Array, b: Array) -> Array:
    """The inner product of two arrays of one size, flattened.

    >>> import tinygrad_rnn as tg
    >>> tg.vdot(tg.tensor([[1.0, 2.0]]), tg.tensor([[3.0], [4.0]])).item()
    11.0
    """
    a, b = _operands(a, b)
    return matmul(a.reshape(-1), b.reshape(-1))


@composite(np.kron)
def kron(a: Array, b: Array) -> Array:
    """The Kronecker product: a with each element replaced by that element times b.

    >>> import tinygrad_rnn as tg
    >>> tg.kron(tg.tensor([1.0, 10.0]), tg.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0, 10.0, 20.0]
    """
    a, b = _operands(a, b)
    n = max(a.ndim, b.ndim)
    of_a, of_b = (1,) * (n - a.ndim) + a.shape, (1,) * (n - b.ndim) + b.shape
    spread_a = a.reshape(tuple(size for m in of_a for size in (m, 1)))
    spread_b = b.reshape(tuple(size for m in of_b for size in (1, m)))
    return multiply(spread_a, spread_b).reshape(tuple(i * j for i, j in zip(of_a, of_b, strict=True)))


@composite(np.cross)
def cross(a: Array, b: Array, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Array:
    """The vector product a × b of vectors of three components along an axis (`axis` stands for all three of them).

    >>> import tinygrad_rnn as tg
    >>> tg.cross(tg.tensor([1.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = _operands(a, b)
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if a.shape[-1] != 3 or b.shape[-1] != 3:
        raise ValueError(f"cross: the vectors have {a.shape[-1]} and {b.shape[-1]} components, expected 3")
    after, before = [1, 2, 0], [2, 0, 1]
    out = a[..., after] * b[..., before] - a[..., before] * b[..., after]
    return moveaxis(out, -1, axisc)


@composite(np.tensordot, np.linalg.tensordot)
def tensordot(a: Array, b: Array, axes: Any = 2) -> Array:
    """Sum of products over `axes` of a and b: an integer (the last of a, the first of b), or a pair of axis lists.

    >>> import tinygrad_rnn as tg
    >>> tg.tensordot(tg.tensor([[1.0, 2.0]]), tg.tensor([[3.0], [4.0]]), axes=1).tolist()
    [[11.0]]
    """
    if isinstance(axes, int):
        of_a, of_b = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    else:
        of_a, of_b = ([x] if isinstance(x, int) else list(x) for x in axes)
    of_a, of_b = [i % a.ndim for i in of_a], [i % b.ndim for i in of_b]
    if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
        raise ValueError(f"tensordot: axes {of_a} of a {a.shape} and {of_b} of b {b.shape} differ in size")
    free_a = [i for i in range(a.ndim) if i not in of_a]
    free_b = [i for i in range(b.ndim) if i not in of_b]
    rows, columns = [a.shape[i] for i in free_a], [b.shape[i] for i in free_b]
    n = prod(a.shape[i] for i in of_a)
    left = transpose(a, axes=(*free_a, *of_a)).reshape((prod(rows), n))
    right = transpose(b, axes=(*of_b, *free_b)).reshape((n, prod(columns)))
    return matmul(left, right).reshape((*rows, *columns))


@primitive(
    label="einsum",
    work=Work(_einsum, "contracts"),
    rows=contraction,
    broadcasts=True,
    samples=lambda r: [
        r.call(r(2, 3), r(3, 4), formula="ij,jk->ik"),
        r.call(r(2, 3), formula="ij->j"),
        r.call(r(2, 3), r(3), r(2), formula="ij,j,i->"),
        r.call(r(2, 3, 4), r(1, 4, 2), formula="aij,ajk->aik"),
        r.call(r(2, 3), r(1), formula="ij,j->i"),
    ],
)
def product_of(*arrays: Array, formula: str) -> Array:
    """The sum of products of an einsum formula in which no letter occurs twice in one operand."""
    out = _as_matrices(formula, *arrays) if len(arrays) == 2 else None
    return np.einsum(formula, *arrays, optimize=len(arrays) > 1) if out is None else out


def _as_matrices(formula: str, a: Array, b: Array) -> Array | None:
    """The formula as a matrix product, if it is one: letters of both operands are summed over or, if they are in the
    result, batch axes."""
    terms, _, result = formula.partition("->")
    of_a, of_b = terms.split(",")
    sizes = dict(zip(of_a, a.shape, strict=True))
    batch, inner = [c for c in of_a if c in of_b and c in result], [c for c in of_a if c in of_b and c not in result]
    rows, columns = [c for c in of_a if c not in of_b], [c for c in of_b if c not in of_a]
    alike = all(sizes.setdefault(c, size) == size for c, size in zip(of_b, b.shape, strict=True))
    if not (alike and inner and len(result) == len(batch) + len(rows) + len(columns)) or 0 in sizes.values():
        return None

    def matrices(x: Array, term: str, *groups: list[str]) -> Array:
        axes = x.transpose([term.index(c) for group in (batch, *groups) for c in group])
        return axes.reshape([sizes[c] for c in batch] + [prod(sizes[c] for c in group) for group in groups])

    out = kernels.matmul(matrices(a, of_a, rows, inner), matrices(b, of_b, inner, columns))
    letters = [*batch, *rows, *columns]
    return out.reshape([sizes[c] for c in letters]).transpose([letters.index(c) for c in result])


@product_of.vjp
def _(g: Array, shapes: Any, needs: Any, *arrays: Array, formula: str) -> Any:
    terms, _, result = formula.partition("->")
    operands = terms.split(",")
    grads: list[Any] = [None] * len(arrays)
    for i, wanted in enumerate(operands):
        if needs[i]:
            names = [result, *operands[:i], *operands[i + 1 :]]
            given = [g, *arrays[:i], *arrays[i + 1 :]]
            known = {pair for name, a in zip(names, given, strict=True) for pair in zip(name, np.shape(a), strict=True)}
            for letter, size in zip(wanted, shapes[i], strict=True):
                if (letter, size) not in known:  # summed within this operand alone, or against an axis of size 1
                    names.append(letter)
                    given.append(np.ones(size, g.dtype))
            grads[i] = product_of(given, formula=f"{','.join(names)}->{wanted}")
    return grads


@composite(np.einsum)
def einsum(formula: Any, *arrays: Any, optimize: Any = None) -> Array:
    """Einstein summation by np.einsum's formulas, ellipsis and repeated indices (traces, diagonals) included.

    NumPy's other form is accepted too, each array followed by the list of the numbers of its axes: einsum(a, [0, 1], b,
    [1, 2], [0, 2]).

    >>> import tinygrad_rnn as tg
    >>> tg.einsum("ii->", tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5., float32)
    """
    if not isinstance(formula, str):
        formula, arrays = _spelled((formula, *arrays))
    terms, arrow, result = formula.replace(" ", "").partition("->")
    operands = terms.split(",")
    if len(operands) != len(arrays):
        raise ValueError(f"einsum: formula {formula!r} names {len(operands)} operands, got {len(arrays)}")
    unused = [c for c in LETTERS if c not in formula]
    extra = [
        np.ndim(a) - len(term.replace("...", "")) if "..." in term else 0
        for term, a in zip(operands, arrays, strict=True)
    ]
    if min(extra) < 0:
        raise ValueError(
            f"einsum: formula {formula!r} names more axes than operands of shapes {[np.shape(a) for a in arrays]} have"
        )
    wide, unused = "".join(unused[: max(extra)]), unused[max(extra) :]
    operands = [t.replace("...", wide[len(wide) - n :]) for t, n in zip(operands, extra, strict=True)]
    if not arrow:
        named = "".join(operands)
        result = "..." + "".join(sorted(c for c in set(named) if named.count(c) == 1 and c not in wide))
    result = result.replace("...", wide)
    given = list(arrays)
    for i, term in enumerate(operands):
        for letter in set(term):
            while term.count(letter) > 1:  # a diagonal is a product with the identity matrix
                fresh = unused.pop()
                axis = term.rindex(letter)
                size = given[i].shape[axis]
                term = term[:axis] + fresh + term[axis + 1 :]
                operands.append(letter + fresh)
                given.append(np.eye(size, dtype=given[i].dtype))
        operands[i] = term
    return product_of(given, formula=f"{','.join(operands)}->{result}")


def _spelled(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The formula and the arrays of a call that gives the axes as lists of numbers."""
    arrays, lists = arguments[: len(arguments) // 2 * 2 : 2], [*arguments[1::2], *arguments[len(arguments) // 2 * 2 :]]
    if not all(isinstance(axes, (list, tuple)) for axes in lists):
        raise TypeError(
            f"einsum: formula is {type(arguments[0]).__name__}, expected a string such as 'ij,jk->ik', "
            "or each array followed by the list of its axes' numbers"
        )
    terms = ["".join("..." if i is Ellipsis else LETTERS[i] for i in axes) for axes in lists]
    operands, result = terms[: len(arrays)], terms[len(arrays) :]
    return "->".join([",".join(operands), *result]), arrays
