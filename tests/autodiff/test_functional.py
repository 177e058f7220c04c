"""Derivatives of functions nest in one another to any order: against derivatives worked out by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

RNG = np.random.default_rng(3)
X = RNG.normal(size=3)
V = RNG.normal(size=3)
U = RNG.normal(size=3)
A = RNG.normal(size=3)


def wave(x: Any) -> Any:
    """φ(a·x) with φ(s) = s⁴: the n-th derivative is the n-fold outer product of a times φ⁽ⁿ⁾(a·x)."""
    return (x * A).sum() ** 4


def derivative(order: int, s: float | None = None) -> float:
    s = float(A @ X) if s is None else s
    return float(np.prod(range(4, 4 - order, -1)) * s ** (4 - order))


def outer(n: int) -> np.ndarray:
    result = np.ones(())
    for _ in range(n):
        result = np.multiply.outer(result, A)
    return result


def grad_of(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: tg.grad(f(x), x, create_graph=True)


D: dict[str, Callable[[Any], Callable[[Any], Any]]] = {  # functions that add one derivative, as a further last axis
    "jacobian": lambda f: lambda x: tg.jacobian(f, x),
    "jvps": lambda f: lambda x: tg.stack([tg.jvp(f, x, e) for e in np.eye(3)], axis=-1),
}


@pytest.mark.parametrize("first", ["grad", *D])
@pytest.mark.parametrize("second", D)
@pytest.mark.parametrize("third", D)
def test_every_way_to_the_first_three_derivatives(first: str, second: str, third: str) -> None:
    one = {**D, "grad": grad_of}[first](wave)
    two = D[second](one)
    three = D[third](two)
    np.testing.assert_allclose(one(tg.tensor(X, requires_grad=True)).data, derivative(1) * outer(1), rtol=1e-11)
    np.testing.assert_allclose(two(X).data, derivative(2) * outer(2), rtol=1e-11)
    np.testing.assert_allclose(three(X).data, derivative(3) * outer(3), rtol=1e-11)


@pytest.mark.parametrize("way", D)
def test_four_deep(way: str) -> None:
    f: Any = wave
    for _ in range(4):
        f = D[way](f)
    np.testing.assert_allclose(f(X).data, 24 * outer(4), rtol=1e-10)


def test_hessians_and_products_with_them_nest() -> None:
    """H = φ'' a aᵀ; d(H v)/dx = φ''' (a·v) a aᵀ; d²(H)/… and so on."""
    v, u = float(A @ V), float(A @ U)
    h = derivative(2) * outer(2)
    np.testing.assert_allclose(tg.hessian(wave, X).data, h, rtol=1e-12)
    np.testing.assert_allclose(tg.hvp(wave, X, V).data, h @ V, rtol=1e-12)
    np.testing.assert_allclose(
        tg.jacobian(lambda x: tg.hvp(wave, x, V), X).data, derivative(3) * v * outer(2), rtol=1e-11
    )
    np.testing.assert_allclose(tg.jvp(lambda x: tg.hvp(wave, x, V), X, U).data, derivative(3) * v * u * A, rtol=1e-11)
    np.testing.assert_allclose(tg.jvp(lambda x: tg.hessian(wave, x), X, U).data, derivative(3) * u * outer(2), 1e-11)
    np.testing.assert_allclose(tg.hvp(lambda x: tg.jvp(wave, x, V), X, U).data, derivative(3) * v * u * A, rtol=1e-11)
    np.testing.assert_allclose(
        tg.hessian(lambda x: tg.hvp(wave, x, V).sum(), X).data, derivative(4) * v * A.sum() * outer(2), rtol=1e-10
    )
    np.testing.assert_allclose(tg.jvp(lambda x: tg.jvp(wave, x, V), X, U).data, derivative(2) * v * u, rtol=1e-12)
    np.testing.assert_allclose(tg.jacobian(lambda x: tg.vjp(wave, x)[1](1.0), X).data, h, rtol=1e-12)
    np.testing.assert_allclose(tg.jacobian(lambda x: tg.value_and_grad(wave, x)[1], X).data, h, rtol=1e-12)
    np.testing.assert_allclose(
        tg.jacobian(lambda x: tg.value_and_grad(wave, x)[0], X).data, derivative(1) * A, rtol=1e-12
    )


def test_a_vector_that_depends_on_the_outer_point() -> None:
    """d/dx of H(x) x = φ'' a (a·x) is a aᵀ (φ''' (a·x) + φ''); of J(x) x = φ' (a·x) it is a (φ'' (a·x) + φ')."""
    s = float(A @ X)
    product = tg.jacobian(lambda x: tg.hvp(wave, x, x), X)
    np.testing.assert_allclose(product.data, (derivative(3) * s + derivative(2)) * outer(2), rtol=1e-11)
    slope = tg.jacobian(lambda x: tg.jvp(wave, x, x), X)
    np.testing.assert_allclose(slope.data, (derivative(2) * s + derivative(1)) * A, rtol=1e-11)
    pulled = tg.jacobian(lambda x: tg.vjp(lambda y: y * y, x.detach())[1](x), X)
    np.testing.assert_allclose(pulled.data, np.diag(2 * X), rtol=1e-12)


def test_derivatives_reach_what_the_inputs_were_computed_from() -> None:
    """With y = 3 x, d/dx of Σ dφ/dy is 3 φ'' (Σ a) a."""
    x = tg.tensor(X, requires_grad=True)
    tg.jacobian(wave, 3 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 3 * derivative(2, 3 * float(A @ X)) * A.sum() * A, rtol=1e-12)


def test_several_inputs() -> None:
    """f = Σ p² q³."""

    def f(p: Any, q: Any) -> Any:
        return (p**2 * q**3).sum()

    p, q = np.array([2.0, 3.0]), np.array([5.0, 7.0])
    (pp, pq), (qp, qq) = tg.hessian(f, (p, q))
    for actual, expected in ((pp, 2 * q**3), (pq, 6 * p * q**2), (qp, 6 * p * q**2), (qq, 6 * p**2 * q)):
        np.testing.assert_allclose(actual.data, np.diag(expected), rtol=1e-12)
    value, (by_p, by_q) = tg.value_and_grad(f, [p, q])
    assert value.item() == 4 * 125 + 9 * 343
    assert (by_p.tolist(), by_q.tolist()) == ([500, 2058], [300, 1323])
    y, pull = tg.vjp(lambda p, q: p * q, (p, q))
    assert y.tolist() == [10, 21]
    for _ in range(2):
        by_p, by_q = pull([1.0, 10.0])
        assert (by_p.tolist(), by_q.tolist()) == ([5, 70], [2, 30])


def test_a_jacobian_penalty_trains_the_weights() -> None:
    """y = W x: Σ J² = Σ W², whose gradient is 2 W; of tanh(w x) at one number, J = w (1 − tanh²(w x))."""
    w = tg.Parameter(RNG.normal(size=(2, 3)))
    (tg.jacobian(lambda x: w @ x, X) ** 2).sum().backward()
    np.testing.assert_allclose(w.grad, 2 * w.data, rtol=1e-12)
    v, x = tg.Parameter(np.array(0.7)), 1.3
    tg.jacobian(lambda x: tg.tanh(v * x), np.array(x)).backward()
    t = np.tanh(0.7 * x)
    np.testing.assert_allclose(v.grad, (1 - t * t) * (1 - 2 * 0.7 * x * t), rtol=1e-12)
    for penalty in (
        lambda: tg.jvp(lambda x: (w @ x) ** 2, X, V).sum(),
        lambda: tg.hvp(lambda x: ((w @ x) ** 2).sum(), X, V).sum(),
        lambda: tg.hessian(lambda x: ((w @ x) ** 2).sum(), X).sum(),
        lambda: tg.vjp(lambda x: w @ x, X)[1](np.ones(2)).sum(),
        lambda: tg.value_and_grad(lambda x: ((w @ x) ** 2).sum(), X)[1].sum(),
    ):
        assert tg.grad(penalty(), w).data.any()


def test_a_fused_layer_s_jacobian_trains_its_weights() -> None:
    """The gradient of Σ J² by a weight, against differences of J."""
    layer = tg.nn.LSTM(2, 3, batch_first=True)
    x = RNG.normal(size=(1, 4, 2))

    def penalty() -> Any:
        return (tg.jacobian(lambda x: layer(x)[0][:, -1], x) ** 2).sum()

    for p in layer.parameters():
        p.data = p.data.astype(np.float64)
    weight = next(iter(layer.parameters()))
    slope = tg.grad(penalty(), weight)
    step = np.zeros(weight.shape)
    step[1, 0] = 1e-5
    before = weight.data
    weight.data = before + step
    above = penalty().item()
    weight.data = before - step
    below = penalty().item()
    weight.data = before
    assert slope.data[1, 0] == pytest.approx((above - below) / 2e-5, rel=1e-6)


def test_results_are_constants_where_nothing_else_requires_grad() -> None:
    for result in (
        tg.jacobian(wave, X),
        tg.hessian(wave, X),
        tg.hvp(wave, X, V),
        tg.jvp(wave, X, V),
        tg.vjp(wave, X)[0],
        tg.vjp(wave, X)[1](1.0),
        *tg.value_and_grad(wave, X),
    ):
        assert not result.requires_grad
    x = tg.tensor(X, requires_grad=True)
    with tg.no_grad():
        assert not tg.jacobian(wave, x).requires_grad
        assert not tg.value_and_grad(wave, x)[0].requires_grad
        np.testing.assert_allclose(
            tg.jacobian(lambda x: tg.jacobian(wave, x), x).data, derivative(2) * outer(2), rtol=1e-12
        )
    assert tg.jacobian(wave, x).requires_grad


def test_grad_without_create_graph_stays_a_constant_and_is_warned_of() -> None:
    def slope(x: Any) -> Any:
        return tg.grad(wave(x), x)

    for derivative_of in (
        lambda: tg.jacobian(slope, X),
        lambda: tg.hvp(lambda x: slope(x).sum(), X, V),
        lambda: tg.hessian(lambda x: slope(x).sum(), X),
        lambda: tg.jvp(slope, X, V),
        lambda: tg.vjp(slope, X)[1](V),
        lambda: tg.value_and_grad(lambda x: slope(x).sum(), X)[1],
    ):
        with pytest.warns(UserWarning, match="does not depend on its inputs.*create_graph=True") as caught:
            assert not derivative_of().data.any()
        assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="jacobian: the output of fn"):
        assert tg.jacobian(lambda t: tg.tensor([1.0, 2.0]), X).data.tolist() == [[0, 0, 0]] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a linear function depends on its input, and so does one that uses one of two
        assert not tg.hessian(lambda x: (x * A).sum(), X).data.any()
        assert not tg.jacobian(lambda p, q: p, (X, V))[1].data.any()


def test_wrong_arguments_of_functional_transforms_are_named() -> None:
    for call, text in (
        (lambda: tg.hessian(lambda x: x * 2, X), r"hessian: fn returned shape \(3,\), expected a scalar"),
        (lambda: tg.value_and_grad(lambda x: x * 2, X), r"value_and_grad: fn returned shape \(3,\), expected a scalar"),
        (
            lambda: tg.vjp(lambda x: x * 2, X)[1](np.ones(2)),
            r"vjp: cotangent\[0\] has shape \(2,\), expected the output's shape \(3,\)",
        ),
        (
            lambda: tg.hvp(lambda p, q: (p * q).sum(), (X, X), (V,)),
            r"hvp: got 1 vectors, expected one for each of 2 inputs",
        ),
        (lambda: tg.hessian(wave, []), r"hessian: inputs is empty"),
    ):
        with pytest.raises(ValueError, match=text):
            call()


def test_points_have_names() -> None:
    """The names in a drawing of the recorded graph: that of the input, or its position."""
    names: list[Any] = []

    def f(p: Any, q: Any, r: Any) -> Any:
        names.extend([p.name, q.name, r.name])
        return (p + q + r).sum()

    tg.jacobian(f, (tg.tensor(X, name="x"), tg.tensor(X, requires_grad=True, name="w") * 1, X))
    tg.jacobian(f, (tg.tensor(X, requires_grad=True, name="y"), X, X))
    assert names == ["x", "inputs[1]", "inputs[2]", "y", "inputs[1]", "inputs[2]"]
