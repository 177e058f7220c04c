"""tg.fuse: one node for a chain of row-wise ops, with the results, gradients and refusals of the ops themselves."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels

RNG = np.random.default_rng(0)


def layer_norm(x: Any, gain: Any, shift: Any) -> Any:
    centred = x - tg.mean(x, axis=-1, keepdims=True)
    return gain * centred / tg.sqrt(tg.mean(tg.square(centred), axis=-1, keepdims=True) + 1e-5) + shift


def gelu_chain(x: Any, y: Any) -> Any:
    z = 0.5 * x * (1 + tg.erf(x / 2**0.5))
    return tg.tanh(z * y) + tg.where(y > 0, z, tg.exp(-(y * y)))


def loss(x: Any, y: Any) -> Any:
    return tg.logsumexp(x, axis=-1) - tg.sum(x * y, axis=-1)


def two(x: Any, scale: Any) -> Any:
    p = tg.softmax(x * scale, axis=-1)
    return p, (tg.sum(p * x, axis=-1, keepdims=True), x + 1)


def product(x: Any, w: Any) -> Any:
    return tg.sigmoid(x) * tg.relu(x + w)


A = RNG.normal(size=(6, 5))
CASES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "layer norm": (layer_norm, (A, RNG.normal(size=5), RNG.normal(size=5))),
    "layer norm of sequences": (layer_norm, (RNG.normal(size=(2, 3, 5)), RNG.normal(size=5), RNG.normal(size=5))),
    "gelu": (gelu_chain, (A, RNG.normal(size=(6, 5)))),
    "gelu, one row for all": (gelu_chain, (A, RNG.normal(size=(1, 5)))),
    "gelu of sequences, a part of the rows": (gelu_chain, (RNG.normal(size=(2, 3, 5)), RNG.normal(size=(3, 5)))),
    "loss": (loss, (A, RNG.normal(size=(6, 5)))),
    "two results": (two, (A, np.array(0.7))),
    "a column": (product, (A, RNG.normal(size=(6, 1)))),
    "weights": (product, (A, RNG.normal(size=5))),
    "one row": (product, (A[:1], RNG.normal(size=5))),
}


def flat(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in flat(part)] if isinstance(tree, tuple) else [tree]


def with_gradients(f: Any, arrays: Any, dtype: Any) -> tuple[list[Any], list[Any]]:
    args = [tg.tensor(a, dtype, requires_grad=True) for a in arrays]
    results = flat(f(*args))
    total = sum((tg.sum(r * tg.cos(r * 3)) for r in results), tg.tensor(np.zeros((), dtype)))
    return [r.data for r in results], [g.data for g in tg.grad(total, args)]


@pytest.mark.parametrize("isa", ["reference", kernels.choice.active])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CASES)
def test_a_fused_function_has_the_results_and_gradients_of_the_function(name: str, dtype: Any, isa: str) -> None:
    function, arrays = CASES[name]
    fused = tg.fuse(function)
    with kernels.using(isa):
        args = [tg.tensor(a, dtype, requires_grad=True) for a in arrays]
        first = flat(fused(*args))[0]
        assert tg.snapshot(first).count("fused") == 1
        assert tg.snapshot(first).count("mul") == 0
        got, wanted = with_gradients(fused, arrays, dtype), with_gradients(function, arrays, dtype)
    bound = 1e-12 if dtype == np.float64 else 2e-5
    for a, b in zip([*got[0], *got[1]], [*wanted[0], *wanted[1]], strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


@pytest.mark.parametrize("name", ["layer norm of sequences", "gelu", "loss", "two results"])
def test_gradients_of_first_and_second_order_are_those_of_finite_differences(name: str) -> None:
    function, arrays = CASES[name]
    fused = tg.fuse(function)

    def scalar(*args: Any) -> Any:
        return sum((tg.sum(tg.sin(r)) for r in flat(fused(*args))), tg.tensor(0.0))

    tg.gradcheck(scalar, [tg.tensor(a, np.float64, requires_grad=True) for a in arrays])
    tg.gradgradcheck(scalar, [tg.tensor(a, np.float64, requires_grad=True) for a in arrays])


def test_any_number_of_rows_runs_the_same_program() -> None:
    traces = []

    @tg.fuse
    def f(x: Any) -> Any:
        return tg.tanh(x) * x

    for n in (1, 2, 700, 700, 3):
        x = RNG.normal(size=(n, 5))
        np.testing.assert_allclose(f(x).data, np.tanh(x) * x, rtol=1e-12)
        traces.append(len(f.known))
    assert set(traces) == {1}
    assert f(np.zeros((0, 5))).shape == (0, 5)
    assert f(np.zeros((2, 0, 5))).shape == (2, 0, 5)
    assert f.explain(np.zeros((0, 5))) == "unrolled: there are no rows"
    assert f(np.ones(3)).shape == (3,)


def test_values_that_a_fused_function_reads_may_change() -> None:
    class Swish:
        def __init__(self) -> None:
            self.gain = tg.Parameter([2.0, 3.0])
            self.power = 1

        @tg.fuse
        def __call__(self, x: Any, bias: Any = 0.0) -> Any:
            return (self.gain * x * tg.sigmoid(x)) ** self.power + bias

    f, x = Swish(), np.array([[1.0, -2.0]], np.float32)

    def formula() -> Any:
        return (f.gain.data * x / (1 + np.exp(-x))) ** f.power

    for change in (lambda: None, lambda: setattr(f, "power", 2), lambda: setattr(f, "gain", tg.Parameter([1.0, 5.0]))):
        change()
        y = f(x)
        np.testing.assert_allclose(y.data, formula(), rtol=1e-5)
        assert tg.snapshot(y).count("fused") == 1
        np.testing.assert_allclose(f(x, bias=tg.tensor([1.0, 2.0])).data, formula() + np.array([1, 2]), rtol=1e-5)
        np.testing.assert_allclose(f(x, bias=3.0).data, formula() + 3, rtol=1e-5)
    y.sum().backward()
    np.testing.assert_allclose(f.gain.grad, (2 * f.gain.data * (x / (1 + np.exp(-x))) ** 2)[0], rtol=1e-5)


def test_two_arguments_may_be_one_array() -> None:
    f = tg.fuse(lambda x, a, b: x * a - b)
    x, a, b = RNG.normal(size=(2, 3)), tg.tensor(RNG.normal(size=3)), tg.tensor(RNG.normal(size=3))
    np.testing.assert_allclose(f(x, a, a).data, x * a.data - a.data)
    np.testing.assert_allclose(f(x, a, b).data, x * a.data - b.data)
    x2 = tg.tensor(x, requires_grad=True)
    np.testing.assert_allclose(tg.grad(tg.sum(tg.fuse(lambda p, q: p * q)(x2, x2)), [x2])[0].data, 2 * x)


def test_a_fused_function_is_part_of_a_scan_and_of_another() -> None:
    inner = tg.fuse(lambda x, h: tg.tanh(x + h))

    def step(x: Any, h: Any) -> Any:
        h = inner(x, h)
        return h, h

    x = RNG.normal(size=(2, 4, 3))
    outputs, _ = tg.scan(step, x, np.zeros((2, 3)), impl="fused")
    np.testing.assert_allclose(outputs.data[:, 1], np.tanh(x[:, 1] + np.tanh(x[:, 0])), rtol=1e-12)
    both = tg.fuse(lambda x: inner(x, x) + 1)
    np.testing.assert_allclose(both(x).data, np.tanh(2 * x) + 1, rtol=1e-12)


BIG = RNG.normal(size=(2, 3, 4))
REFUSED: dict[str, tuple[Any, str]] = {
    "rows mixed": (lambda x: x - tg.mean(x, axis=0, keepdims=True), "from other rows"),
    "a value read": (lambda x: x if float(np.sum(x.data)) > 0 else -x, "reads a tensor's value"),
    "an axis from the front": (lambda x: x - tg.mean(x, axis=1, keepdims=True), "count axes from the end"),
    "no rows in the result": (lambda x: tg.sum(x), "from other rows|does not come"),
    "a whole array captured": (lambda x: x + BIG, "."),
    "a size read": (lambda x: x if x.shape[0] > 3 else 2 * x, "."),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_cannot_be_fused_run_op_by_op(name: str) -> None:
    function, reason = REFUSED[name]
    fused, x = tg.fuse(function), RNG.normal(size=(2, 3, 4))
    np.testing.assert_allclose(fused(x).data, function(tg.tensor(x)).data)
    assert fused.explain(x).startswith("unrolled: ")
    assert re.search(reason, fused.explain(x)), fused.explain(x)


def test_arguments_that_are_not_functions_are_refused() -> None:
    with pytest.raises(TypeError, match="fuse: got int 3, expected a function of tensors"):
        tg.fuse(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="broadcast"):
        tg.fuse(lambda x, y: x + y)(np.ones((2, 3)), np.ones((4, 3)))
    assert tg.fuse(layer_norm).__name__ == "layer_norm"
