"""The report of a failed check: the function, the input, the element, the size of the error and its likely cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5))
SQUARE = RNG.normal(size=(4, 4))


def wrong(f: Any, spoil: Any) -> Any:
    """A function with f's values whose gradient with respect to x is changed by `spoil`."""

    def tampered(x: Any) -> Any:
        y = spoil(x)
        return f(x).detach() + f(y) - f(y).detach()

    return tampered


@pytest.fixture
def custom() -> Any:
    """Declare an op for one test."""
    made = []

    def declare(forward: Any, rule: Any) -> Any:
        op = tg.primitive(label="custom", samples=lambda r: [r(2)])(forward)
        op.vjp(rule)
        made.append(op.name)
        return op

    yield declare
    for name in made:
        tg.autodiff.tensor.registry.pop(name, None)


def report(fn: Any, *inputs: Any, **options: Any) -> Any:
    with pytest.raises(tg.GradcheckError) as caught:
        tg.gradcheck(fn, list(inputs), **options)
    return caught.value.report


def test_one_wrong_element_is_reported_with_its_index_and_error(custom: Any) -> None:
    def cube(w: Any) -> Any:
        return w * w * w

    def rule(g: Any, w: Any) -> Any:
        slope = 3 * np.asarray(w) ** 2
        slope[2, 3] *= 1.01
        return g * slope

    op = custom(cube, rule)
    failure = report(op, X)
    assert (failure.function, failure.input, failure.wrong, failure.cause) == ("cube", "w", 1, None)
    worst = failure.worst[0]
    assert (worst.input_index, worst.output_index) == ((2, 3), (2, 3))
    assert worst.ratio == pytest.approx(1.01, rel=1e-6)
    assert worst.numeric == pytest.approx(3 * X[2, 3] ** 2, rel=1e-8)
    text = str(failure)
    assert "gradient of output with respect to w (4, 5) is wrong in 1 of 20 elements" in text
    assert "d output[2, 3] / d w[2, 3]" in text
    assert "1.01" in text


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda g, x: -g * 2 * x, "sign is flipped"),
        (lambda g, x: g * 4 * x, "factor 2 (counted 2 times?)"),
        (lambda g, x: g * x / 2, "factor 0.25 (divided by 4?)"),
        (lambda g, x: 0 * g, "no gradient arrives"),
        (lambda g, x: (g * 2 * x).T, "transposed"),
        (lambda g, x: (g * 2 * x)[::-1], "reversed along axis 0"),
        (lambda g, x: g * np.nan, "NaN"),
    ],
)
def test_likely_causes(custom: Any, change: Any, cause: str) -> None:
    op = custom(lambda x: x * x, lambda g, x: change(g, np.asarray(x)))
    assert cause in report(op, SQUARE).cause


def test_a_missing_reduction_is_recognised(custom: Any) -> None:
    """y = x + x.sum(axis 0): the vjp must sum the second path over axis 0."""

    def spread(x: Any) -> Any:
        return np.broadcast_to(np.asarray(x).sum(axis=0, keepdims=True), np.shape(x)) * 1.0

    op = custom(spread, lambda g: g)
    assert "a reduction over axis 0 is missing" in report(op, X).cause


def test_a_kink_is_recognised() -> None:
    failure = report(lambda x: tg.relu(x), np.array([1.0, 1e-5, -1.0]))
    assert "kink" in failure.cause
    assert failure.worst[0].input_index == (1,)
    assert tg.gradcheck(tg.relu, np.array([1.0, 0.1, -1.0]))


def test_the_report_names_the_input_with_the_wrong_gradient() -> None:
    w = tg.tensor(X, requires_grad=True, name="kernel")
    b = tg.tensor(np.ones(5), requires_grad=True, name="bias")
    failure = report(lambda w, b: w * 2 + b.detach() * b.detach(), w, b)
    assert failure.input == "bias"
    assert "with respect to bias (5,)" in str(failure)
    assert report(lambda p, q: p + q.detach(), X, X).input == "inputs[1]"
    assert report(lambda p, q: p + q.detach(), X, X, names=["first", "second"]).input == "second"


def test_second_order_faults_are_reported() -> None:
    failure = report(lambda x: (x * x.detach()) * x, SQUARE, order=2)
    assert failure.order == 2
    assert "second derivative" in str(failure)


def test_parameters_that_the_function_reaches_by_itself_are_checked_and_restored() -> None:
    w = tg.Parameter(X.copy())
    before = w.data
    assert tg.gradcheck(lambda *_: tg.tanh(w).sum(), [w])
    assert w.data is before
    with pytest.raises(tg.GradcheckError):
        tg.gradcheck(lambda *_: tg.tanh(w.detach()).sum() + w.sum() * 0, [w])
    assert w.data is before
    assert w.grad is None


def test_structures_of_outputs_and_passed_through_inputs() -> None:
    assert tg.gradcheck(lambda x, n: {"a": x**n, "b": [tg.exp(x), (x > 0, x.sum())]}, [X, 3])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_float64_is_demanded(dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"x is float(32|16), expected float64.*astype\(np\.float64\)"):
        tg.gradcheck(tg.tanh, X.astype(dtype))


def test_functions_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(TypeError, match="no input to check"):
        tg.gradcheck(tg.tanh, tg.tensor([1, 2]))
    with pytest.raises(TypeError, match="returned no tensor"):
        tg.gradcheck(lambda x: x.data, X)
    with pytest.raises(ValueError, match="order is 3"):
        tg.gradcheck(tg.tanh, X, order=3)
    with pytest.raises(TypeError, match="was computed from other tensors"):
        tg.gradcheck(tg.tanh, tg.tensor(X, requires_grad=True) * 2)
    rng = np.random.default_rng(0)
    with pytest.raises(tg.GradcheckError, match="not deterministic: output 0 differed between two calls"):
        tg.gradcheck(lambda x: x * rng.normal(), X)
    with pytest.raises(tg.GradcheckError, match="NaN or infinity"), np.errstate(divide="ignore"):
        tg.gradcheck(tg.log, np.array([0.0, 1.0]))


def test_large_inputs_are_checked_by_projection() -> None:
    """A wrong element among 90,000 is not missed."""
    big = RNG.normal(size=(300, 300))
    assert tg.gradcheck(lambda x: tg.tanh(x).sum(), big)


def test_an_error_visible_only_in_the_random_projection_is_reported() -> None:
    """Errors of 0.9 % with a tolerance of 1 %: no element is wrong, but the errors remain along a direction in which the
    derivative cancels."""
    rng = np.random.default_rng(0)
    rng.normal(size=())
    v = rng.normal(size=2)
    w = np.array([v[1], -v[0]])  # w · v = 0
    off = np.array([1.009, 0.991])

    def fn(x: Any) -> Any:
        return (x.detach() * (1 - off) * w).sum() + (x * off * w).sum()

    failure = report(fn, np.array([2.0, 3.0]), rtol=0.01, atol=0.0)
    assert failure.wrong == 1
    assert failure.worst[0].input_index == (int(np.abs(w).argmax()),)
    assert failure.worst[0].ratio == pytest.approx(off[np.abs(w).argmax()], rel=1e-6)


@pytest.mark.parametrize("directions", [1, 3, 5])
def test_each_direction_takes_one_sweep_and_four_evaluations(directions: int) -> None:
    """Two further runs check determinism, and one determines the shapes."""
    calls: list[int] = []

    def fn(x: Any) -> Any:
        calls.append(1)
        return tg.tanh(x)

    options = {} if directions == 3 else {"directions": directions}
    assert tg.gradcheck(fn, X, **options)
    assert len(calls) == 3 + 5 * directions


def test_the_output_that_is_most_wrong_is_named() -> None:
    """The errors of −1 for 1 and of 3 for 2 are 2 and 1, whatever the order of the outputs."""

    def fn(x: Any, order: Any) -> Any:
        parts = [x.detach() * 2 - x, x * 3 - x.detach()]
        return tg.stack([parts[i] for i in order])

    for order in ((0, 1), (1, 0)):
        failure = report(fn, np.array(0.5), order)
        assert failure.worst[0].output_index == (order.index(0),)
        assert (failure.worst[0].analytic, round(failure.worst[0].numeric, 6)) == (-1.0, 1.0)
