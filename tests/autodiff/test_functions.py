"""NumPy's further functions at the edges: singular matrices, zeros, infinities, lists of tensors, wrong arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

R = np.random.default_rng(0)


def derivatives(f: Any, x: Any, orders: int) -> list[float]:
    """f and its derivatives at a number."""
    t = tg.tensor(np.float64(x), requires_grad=True)
    y = f(t)
    values = [y.item()]
    for _ in range(orders):
        y = tg.grad(y, t, create_graph=True)
        values.append(y.item())
    return values


def test_the_derivative_of_abs_at_0_is_0() -> None:
    x = tg.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    assert tg.grad(tg.abs(x).sum(), x).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize("ord", [-1, -0.5, 0, "fro"])
def test_vector_norms_of_other_orders_are_refused(ord: Any) -> None:
    with pytest.raises(ValueError, match=r"norm: ord is .*, expected p > 0, inf or -inf for vectors"):
        tg.linalg.norm(tg.tensor([1.0, 2.0]), ord=ord)


def test_linspace_of_0_values_is_empty() -> None:
    assert tg.linspace(tg.tensor(1.0), 2.0, 0).shape == (0,)


# -- element by element --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [0.0, 1e-8, 0.39, 0.41, -0.39999, 2.5])
def test_every_derivative_of_sinc(x: float) -> None:
    """sinc(x) = ∫₀¹ cos(π t x) dt, so its k-th derivative is the integral of (π t)^k cos(π t x + k π / 2)."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t = math.pi * (nodes + 1) / 2
    expected = [np.sum(weights / 2 * t**k * np.cos(t * x + k * math.pi / 2)) for k in range(6)]
    np.testing.assert_allclose(derivatives(tg.sinc, x, 5), expected, rtol=1e-9, atol=1e-9)


def test_remainder_follows_the_quotient_that_numpy_took() -> None:
    """1.0 / 0.1 rounds to 10, but the remainder 0.09999… belongs to the quotient 9."""
    a, b = np.array([1.0, -1.0, 7.5, -7.5]), np.array([0.1, 0.1, -2.0, 2.0])
    x, y = tg.tensor(a, requires_grad=True), tg.tensor(b, requires_grad=True)
    (x % y).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]
    assert y.grad.tolist() == (-np.floor_divide(a, b)).tolist()
    assert (5.0 % tg.tensor([3.0, -3.0])).tolist() == [2.0, -1.0]


def test_logaddexp_of_infinities() -> None:
    """−∞ is the logarithm of 0: nothing is added, and nothing depends on it."""
    for f in (np.logaddexp, np.logaddexp2):
        a = tg.tensor(np.array([-np.inf, -np.inf, 1.0]), requires_grad=True)
        b = tg.tensor(np.array([-np.inf, 2.0, -np.inf]), requires_grad=True)
        out = f(a, b)
        assert out.tolist() == [-np.inf, 2.0, 1.0]
        out.sum().backward()
        assert (a.grad.tolist(), b.grad.tolist()) == ([0, 0, 1], [0, 1, 0])


def test_nan_to_num_takes_the_type_s_limits() -> None:
    for cls in (np.float32, np.float64):
        x = np.array([1.5, np.nan, np.inf, -np.inf], cls)
        t = tg.tensor(x, requires_grad=True)
        out = np.nan_to_num(t)
        assert out.dtype == cls
        assert out.tolist() == np.nan_to_num(x).tolist()
        (out * [3.0, 1.0, 1.0, 1.0]).sum().backward()
        assert t.grad.tolist() == [3, 0, 0, 0]


def test_inverses_at_the_ends_of_their_domain() -> None:
    for f, x, slope in (
        (np.arcsin, 1.0, np.inf),
        (np.arccos, -1.0, -np.inf),
        (np.arccosh, 1.0, np.inf),
        (np.arctanh, 0.999, 1 / (1 - 0.999**2)),
        (np.cbrt, 0.0, np.inf),
    ):
        np.testing.assert_allclose(derivatives(f, x, 1)[1], slope, rtol=1e-12)
    assert math.isclose(derivatives(np.arcsinh, 1e200, 1)[1], 1e-200)


@pytest.mark.parametrize(
    "f",
    [
        *(np.tan, np.sinh, np.cosh, np.arcsin, np.arccos, np.arctan, np.arcsinh, np.arctanh, np.sinc, np.degrees),
        *(np.radians, np.exp2, np.reciprocal, np.cbrt, np.nan_to_num, np.positive, lambda x: x % 2, lambda x: 2 % x),
        *(lambda x: np.hypot(x, 2), lambda x: np.arctan2(1, x), lambda x: np.logaddexp(x, 1.0)),
        *(lambda x: np.linspace(x, 1.0, 3), lambda x: np.append(x, 1.0), lambda x: np.hstack([x, 2.0])),
        *(lambda x: np.outer(x, [1.0, 2.0]), lambda x: np.dot(x, 2.0), lambda x: np.diff(x, prepend=0.0)),
        *(lambda x: tg.array([x[0], 1.0, 2]), lambda x: tg.r_[x, 1.0], lambda x: tg.stack([x[0], 1.0])),
        *(lambda x: np.select([x > 0], [x], 0.5), lambda x: np.linalg.norm(x), lambda x: np.gradient(x, 0.5)),
        *(lambda x: np.mean(x, where=[True, False]), lambda x: np.std(x, where=[True, True])),
        *(lambda x: np.tril(x), lambda x: np.diag(x), lambda x: np.kron(x, x), lambda x: np.einsum(x, [0], [])),
    ],
)
def test_numbers_never_promote_float32(f: Any) -> None:
    x = tg.tensor([0.25, 0.5], requires_grad=True)
    out = f(x)
    assert out.dtype == np.float32
    (g,) = tg.grad(out.sum(), [x])
    assert g.dtype == np.float32


# -- lists of tensors ----------------------------------------------------------------------------------------------


def test_ops_and_array_take_nested_lists_of_tensors() -> None:
    a, b = tg.tensor(np.float64(2.0), requires_grad=True), tg.tensor(np.array([1.0, 3.0]), requires_grad=True)
    for f, plain in (
        (lambda: tg.mean([a, a * a]), 3.0),
        (lambda: tg.var((a, a * a)), 1.0),
        (lambda: tg.std([a, a * a]), 1.0),
        (lambda: tg.linalg.norm([b, b * b]), math.sqrt(92)),
        (lambda: tg.add([a, 1.0], b), [3.0, 4.0]),
        (lambda: tg.array([[a, 1], [0.5, a * a]]), [[2.0, 1.0], [0.5, 4.0]]),
        (lambda: tg.array([b, [a, 5.0]]), [[1.0, 3.0], [2.0, 5.0]]),
        (lambda: tg.array((b, np.array([7.0, 8.0]))), [[1.0, 3.0], [7.0, 8.0]]),
        (lambda: tg.r_[a, b, 1:3, [9.0]], [2.0, 1.0, 3.0, 1.0, 2.0, 9.0]),
        (lambda: tg.c_[b, np.ones((2, 2))], [[1.0, 1.0, 1.0], [3.0, 1.0, 1.0]]),
    ):
        result = f()
        np.testing.assert_allclose(result.data, plain, rtol=1e-15)
        assert result.requires_grad
    (g,) = tg.grad(tg.array([[a, 1.0], [a * a, a]]).sum(), [a])
    assert g.item() == 6.0
    assert tg.array(a) is a
    assert (tg.array([1.0, 2.0]).dtype, tg.array([a], np.float32).dtype) == (np.float32, np.float32)
    assert not tg.array([1.0, 2.0]).requires_grad


def test_tensors_in_lists_that_differ_in_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"stack: all input arrays must have the same shape.*shape \(2,\)"):
        tg.array([tg.tensor(1.0), tg.tensor([1.0, 2.0])])


# -- linear algebra ------------------------------------------------------------------------------------------------


def cofactors(a: np.ndarray) -> np.ndarray:
    """By Laplace's expansion, in integers."""

    def laplace(m: list[list[int]]) -> int:
        if not m:
            return 1
        return sum((-1) ** j * m[0][j] * laplace([row[:j] + row[j + 1 :] for row in m[1:]]) for j in range(len(m)))

    rows = a.astype(int).tolist()
    n = len(rows)

    def minor(i: int, j: int) -> list[list[int]]:
        return [row[:j] + row[j + 1 :] for k, row in enumerate(rows) if k != i]

    return np.array([[(-1) ** (i + j) * laplace(minor(i, j)) for j in range(n)] for i in range(n)], float)


@pytest.mark.parametrize(
    "a",
    [
        [[0.0]],
        [[1.0, 2.0], [2.0, 4.0]],
        [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]],  # whose computed determinant is 1e-16, not 0
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]],
        [[2.0, 0.0, 1.0, 3.0], [1.0, 1.0, 0.0, 2.0], [3.0, 1.0, 1.0, 5.0], [0.0, 2.0, 1.0, 1.0]],
    ],
)
def test_the_determinant_of_a_singular_matrix_has_its_cofactors_as_gradient(a: Any) -> None:
    x = tg.tensor(np.array(a), requires_grad=True)
    (g,) = tg.grad(np.linalg.det(x), [x])
    np.testing.assert_allclose(g.numpy(), cofactors(np.array(a)), rtol=1e-9, atol=1e-9)
    if len(a) == 2:  # det = ad − bc: second derivatives are 1 and −1
        hessian = tg.jacobian(lambda t: tg.jacobian(np.linalg.det, t), np.array(a)).numpy().reshape(4, 4)
        np.testing.assert_allclose(hessian, [[0, 0, 0, 1], [0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0]], atol=1e-12)


def test_the_norm_of_an_empty_array_has_gradient_0() -> None:
    for f in (np.linalg.norm, lambda x: np.linalg.norm(x, 3), lambda x: np.linalg.norm(x, axis=0)):
        x = tg.tensor(np.zeros(3), requires_grad=True)
        f(x).sum().backward()
        assert x.grad.tolist() == [0, 0, 0]


def test_eigenvalues_that_tie() -> None:
    """The sum of eigenvalues is the trace, whatever ties; eigenvectors that are not determined have no finite gradient."""
    x = tg.tensor(np.diag([2.0, 2.0, 5.0]), requires_grad=True)
    values, vectors = np.linalg.eigh(x)
    (g,) = tg.grad(values.sum(), [x], retain_graph=True)
    np.testing.assert_allclose(g.numpy(), np.eye(3), atol=1e-15)
    (g,) = tg.grad((vectors * R.normal(size=(3, 3))).sum(), [x])
    assert not np.all(np.isfinite(g.numpy()))


def test_one_triangle_is_read_and_gets_the_gradient() -> None:
    a = np.array([[4.0, 99.0], [2.0, 5.0]])
    for f, upper in (
        (np.linalg.cholesky, False),
        (lambda x: np.linalg.cholesky(x, upper=True), True),
        (lambda x: np.linalg.eigh(x)[0], False),
        (lambda x: np.linalg.eigvalsh(x, "U"), True),
    ):
        x = tg.tensor(a.T if upper else a, requires_grad=True)
        out = f(x)
        np.testing.assert_allclose(out.data, f(a.T if upper else a))
        (g,) = tg.grad((out * np.arange(1.0, out.size + 1).reshape(out.shape) ** 2).sum(), [x])
        unread = g.numpy()[1, 0] if upper else g.numpy()[0, 1]
        assert unread == 0
        assert np.count_nonzero(g.numpy()) == 3


def test_slogdet_is_a_named_tuple_with_a_constant_sign() -> None:
    x = tg.tensor(-np.eye(3) * 1e-200, requires_grad=True)
    result = np.linalg.slogdet(x)
    assert (result.sign.item(), result.sign.requires_grad) == (-1.0, False)
    np.testing.assert_allclose(result.logabsdet.item(), 3 * np.log(1e-200))
    assert tg.linalg.slogdet(np.eye(2)) == np.linalg.slogdet(np.eye(2))


def test_matrices_without_elements() -> None:
    x = tg.tensor(np.zeros((0, 3, 3)), requires_grad=True)
    for f in (np.linalg.inv, np.linalg.det, lambda t: np.linalg.slogdet(t)[1], lambda t: np.linalg.eigh(t)[1]):
        out = f(x)
        assert out.shape == f(x.data).shape
        (g,) = tg.grad(out.sum(), [x])
        assert g.shape == (0, 3, 3)
    assert np.linalg.det(tg.tensor(np.zeros((0, 0)))).item() == 1


# -- calls that are refused -----------------------------------------------------------------------------------------------

V, M = tg.tensor(np.ones(3), requires_grad=True), tg.tensor(np.ones((2, 3)), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: np.linalg.inv(M), ValueError, r"inv: a has shape \(2, 3\), expected square"),
        (lambda: np.linalg.inv(tg.tensor(np.zeros((2, 2)))), np.linalg.LinAlgError, r"inv: Singular matrix.*\(2, 2\)"),
        (lambda: np.linalg.solve(M[:, :2], V), ValueError, r"solve: b has shape \(3,\), expected \(2,\) or"),
        (lambda: np.linalg.cholesky(-M[:, :2] * np.eye(2)), np.linalg.LinAlgError, "cholesky: Matrix is not positive"),
        (lambda: np.linalg.eigh(M[:, :2], "X"), ValueError, 'eigh: UPLO is \'X\', expected "L" or "U"'),
        (lambda: np.linalg.svd(M), ValueError, "svd: a has shape .* pass full_matrices=False"),
        (lambda: np.linalg.norm(V, 0), ValueError, "norm: ord is 0, expected p > 0"),
        (lambda: np.linalg.norm(M, 3), ValueError, 'norm: ord is 3, expected "fro"'),
        (lambda: np.linalg.norm(M[None], 2), ValueError, "norm: x has shape .* a pair"),
        (lambda: np.linalg.eig(M[:, :2]), TypeError, r"linalg\.eig has no op.*tg\.linalg\.eigh.*complex"),
        (lambda: np.real(V), TypeError, "np.real has no op for tensors.*no complex numbers"),
        (lambda: np.diag(M[None]), ValueError, "diag: x has shape .* expected a vector or a matrix"),
        (lambda: np.trace(V), ValueError, "diagonal: x has shape .* at least two axes"),
        (lambda: np.tril(V[0]), ValueError, r"tril: x has shape \(\)"),
        (lambda: np.cross(M[:, :2], V), ValueError, "cross: the vectors have 2 and 3 components, expected 3"),
        (lambda: np.rollaxis(M, 2), ValueError, "rollaxis: got axis 2"),
        (lambda: np.rot90(M, axes=(0, -2)), ValueError, "rot90: axes are .* two different"),
        (lambda: np.take_along_axis(M, np.ones(3), 0), TypeError, "take_along_axis: indices have dtype float64"),
        (lambda: np.diff(V, -1), ValueError, "diff: got n=-1"),
        (lambda: np.gradient(V[:1]), ValueError, r"gradient: x has shape \(1,\), expected at least 2"),
        (lambda: np.gradient(M, 1.0, np.arange(3.0)), TypeError, "gradient: spacing is .* expected one number"),
        (lambda: np.array_split(V, 0), ValueError, "array_split: indices_or_sections is 0"),
        (lambda: np.hsplit(V[0], 2), ValueError, r"hsplit: x has shape \(\), expected at least 1 axes"),
        (lambda: np.linspace(V, 1.0, -1), ValueError, "linspace: num is -1"),
        (lambda: np.select([V > 0], [V, V]), ValueError, "select: got 1 conditions and 2 choices"),
        (lambda: np.select([V.data], [V]), TypeError, "select: condlist.0. has dtype float64, expected booleans"),
        (lambda: np.einsum(V, V), TypeError, "einsum: formula is Tensor, expected a string"),
        (lambda: tg.r_["0,2", V], TypeError, "r_: strings are not supported"),
    ],
)
def test_refused_calls_name_the_reason(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
