"""The sweep: order, freeing, depth, higher derivatives, observers, threads."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff import engine


def test_a_chain_of_500_000_nodes() -> None:
    """Forward, backward, snapshot and deallocation: nothing recurses."""
    x = tg.tensor(np.ones(1), requires_grad=True)
    y = x
    for _ in range(500_000):
        y = y * 1.0
    y.backward()
    assert x.grad.tolist() == [1]
    assert len(tg.snapshot(y).nodes) == 500_001
    del y
    gc.collect()


def test_a_diamond_visits_each_node_once() -> None:
    """Without a topological order the gradient of x through y would be counted from a partial sum."""
    x = tg.tensor(2.0, requires_grad=True)
    y = x
    for _ in range(30):
        y = y + y
    visited: list[Any] = []
    engine.sweep([y._seed(None, "test")], observe=lambda node, g: visited.append(node), retain=True)
    assert len(visited) == 31
    y.backward()
    assert x.grad == 2.0**30


def test_graphs_hold_no_cycles() -> None:
    """The arrays of a graph are freed with its last tensor, without the garbage collector."""
    gc.disable()
    try:
        x = tg.tensor(np.ones(1000), requires_grad=True)
        y = tg.exp(x)
        dead = weakref.ref(y.data)
        a, _ = tg.unstack(tg.stack([y, y]))
        z = (a * y).sum()
        z.backward()
        del y, z, a, _
        assert dead() is None
    finally:
        gc.enable()


def test_saved_arrays_are_freed_during_the_sweep() -> None:
    x = tg.tensor(np.ones(10), requires_grad=True)
    y = tg.exp(x)
    ref = weakref.ref(y.data)
    z = (y * 2).sum()
    del y
    assert ref() is not None
    z.backward()
    assert ref() is None


def test_a_dropped_second_output_is_a_zero_cotangent() -> None:
    x = tg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    first, _ = tg.unstack(x)
    first.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_derivatives_of_any_order() -> None:
    x = tg.tensor(np.float64(0.7), requires_grad=True)
    y = tg.sin(x)
    for expected in (np.cos, lambda v: -np.sin(v), lambda v: -np.cos(v), np.sin, np.cos):
        y = tg.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected(0.7), rel=1e-14)


def test_grad_of_intermediate_and_unused_inputs() -> None:
    x, unused = tg.tensor([1.0, 2.0], requires_grad=True), tg.tensor([1.0], requires_grad=True)
    h = x * x
    g_h, g_x, g_u = tg.grad((h * 3).sum(), [h, x, unused])
    assert (g_h.tolist(), g_x.tolist(), g_u.tolist()) == ([3, 3], [6, 12], [0])
    assert x.grad is None
    with pytest.raises(TypeError, match=r"inputs\[1\] is a tensor that does not require grad"):
        tg.grad((x * 2).sum(), [x, tg.tensor(1.0)])
    with pytest.raises(TypeError, match="inputs is ndarray"):
        tg.grad((x * 2).sum(), np.ones(2))


def test_grad_of_one_of_several_outputs() -> None:
    x = tg.tensor(np.arange(4.0), requires_grad=True)
    parts = tg.split(x * 1.0, 2)
    g = tg.grad((parts[0] * parts[1]).sum(), parts)
    assert [t.tolist() for t in g] == [[2, 3], [0, 1]]


def test_splicing_an_expansion_counts_each_path_once() -> None:
    """One input of a fused op is computed from another: the second derivative must not count that path twice."""

    @tg.primitive(label="f", samples=lambda r: [(r(3), r(3))])
    def fused_product(a: Any, b: Any) -> Any:
        return a * b * b

    @fused_product.vjp
    def _(g: Any, a: Any, b: Any, out: Any) -> Any:
        return np.asarray(g) * b * b, 2 * np.asarray(g) * a * b

    @fused_product.expands
    def _(a: Any, b: Any) -> Any:
        return a * b * b

    try:
        x = np.array([0.5, -1.0, 2.0])
        assert tg.gradgradcheck(lambda t: fused_product(t, tg.sin(t)), x)
        assert tg.gradgradcheck(lambda t: fused_product(t, t), x)
        t = tg.tensor(x, requires_grad=True)
        g = tg.grad(fused_product(t, t).sum(), t, create_graph=True)
        np.testing.assert_allclose(g.data, 3 * x * x)
        np.testing.assert_allclose(tg.grad(g.sum(), t).data, 6 * x)
    finally:
        del tg.autodiff.tensor.registry["fused_product"]


def test_a_wrong_cotangent_shape_is_an_error_that_names_the_cause() -> None:
    @tg.primitive(label="bad", samples=lambda r: [(r(3, 4), r(4))])
    def bad_add(a: Any, b: Any) -> Any:
        return a + b

    @bad_add.vjp
    def _(g: Any) -> Any:
        return g, g

    try:
        b = tg.tensor(np.ones(4), requires_grad=True)
        with pytest.raises(
            ValueError, match=r"bad_add: the gradient for b has shape \(3, 4\), expected \(4,\).*reduction"
        ):
            bad_add(np.ones((3, 4)), b).sum().backward()
    finally:
        del tg.autodiff.tensor.registry["bad_add"]


@pytest.mark.parametrize("materialize", [True, False])
def test_the_cotangent_of_an_unused_result_is_zeros_or_none(materialize: bool) -> None:
    """And a vjp gets what its parameters name, in their order: residuals, the result, shapes, which inputs need a gradient."""
    seen: list[Any] = []

    @tg.primitive(label="ends", several=True, materialize_grads=materialize, samples=lambda r: [(r(3), r(2))])
    def two_ends(a: Any, b: Any, *, keep: bool = False) -> Any:
        result = (a[:1] * 2, b[1:] * 3)
        return (result, "kept") if keep else result

    @two_ends.vjp
    def _(g: Any, residuals: Any, b: Any, needs: Any, shapes: Any, out: Any, shape: Any) -> Any:
        seen.append((g, residuals, b, needs, shapes, out, shape))
        return np.array([2.0, 0, 0]) * g[0], None

    try:
        a, b = tg.tensor(np.ones(3), requires_grad=True), np.full(2, 5.0)
        first, _ = two_ends(a, b)
        first.sum().backward()
    finally:
        del tg.autodiff.tensor.registry["two_ends"]
    ((g, residuals, kept, needs, shapes, out, shape),) = seen
    assert g[0].tolist() == [1]
    assert g[1] is None if not materialize else g[1].tolist() == [0]
    assert residuals == "kept"
    assert kept is b
    assert [part.tolist() for part in out] == [[2], [15]]
    assert (needs, shapes, shape) == ((True, False), ((3,), (2,)), (3,))
    assert a.grad is not None
    assert a.grad.tolist() == [2, 0, 0]


def test_declarations_that_cannot_be_checked_are_refused() -> None:
    with pytest.raises(TypeError, match="samples"):
        tg.primitive(label="x")  # type: ignore[call-arg]

    @tg.primitive(label="x", samples=lambda r: [r(2)])
    def without_rule(x: Any) -> Any:
        return x

    try:
        with pytest.raises(TypeError, match="without_rule has no vjp"):
            tg.autodiff.op.check_registry()
        with pytest.raises(TypeError, match="without_rule has no vjp"):
            without_rule(tg.tensor(np.ones(2), requires_grad=True))
        with pytest.raises(TypeError, match="parameter 'y' is neither an input"):

            @without_rule.vjp
            def _(g: Any, y: Any) -> Any:
                return g

        with pytest.raises(TypeError, match="keyword-only parameters must be the options"):

            @without_rule.vjp
            def _(g: Any, *, axis: Any) -> Any:
                return g
    finally:
        del tg.autodiff.tensor.registry["without_rule"]


def test_observers_see_each_cotangent() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = (tg.tanh(x) * 3).sum()
    seen = []
    engine.sweep(
        [y._seed(None, "test")], observe=lambda node, g: seen.append((getattr(node.op, "name", "leaf"), g.copy()))
    )
    assert [name for name, _ in seen] == ["sum", "multiply", "tanh", "leaf"]
    assert seen[2][1].tolist() == [3, 3]


def test_scopes_are_kept_by_nodes() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    with tg.scope("encoder"), tg.scope("t=3"):
        y = tg.exp(x)
    z = y * 2
    scopes = {node.op: node.scope for node in tg.snapshot(z).nodes}
    assert scopes == {None: (), "exp": ("encoder", "t=3"), "multiply": ()}


def test_threads_do_not_see_each_others_state() -> None:
    x = tg.tensor(1.0, requires_grad=True)
    inside, leave = threading.Event(), threading.Event()
    results: dict[str, Any] = {}

    def off() -> None:
        with tg.no_grad(), tg.scope("other"):
            inside.set()
            leave.wait(5)
            results["off"] = (x * 2).requires_grad

    thread = threading.Thread(target=off)
    thread.start()
    inside.wait(5)
    y = x * 2
    leave.set()
    thread.join()
    assert y.requires_grad
    assert tg.snapshot(y).nodes[-1].scope == ()
    assert results["off"] is False


def test_many_threads_sweep_at_once() -> None:
    def work(seed: int, out: list[Any]) -> None:
        rng = np.random.default_rng(seed)
        x = tg.tensor(rng.normal(size=(20, 20)), requires_grad=True)
        for _ in range(50):
            x.grad = None
            (tg.tanh(x @ x) ** 2).sum().backward()
        out.append((seed, x.grad))

    results: list[Any] = []
    threads = [threading.Thread(target=work, args=(i, results)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed, g in results:
        alone: list[Any] = []
        work(seed, alone)
        assert np.array_equal(g, alone[0][1])


def test_a_failing_vjp_leaves_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    x = tg.tensor([1.0], requires_grad=True)
    y = tg.exp(tg.sin(x)) + x

    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(tg.sin, "rule", fail)
    with pytest.raises(ZeroDivisionError):
        y.backward()
    assert x.grad is None


def test_jacobian_hvp_and_jvp_against_formulas() -> None:
    rng = np.random.default_rng(3)
    a, x, v = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3)

    def f(t: Any) -> Any:
        return tg.tanh(a @ t)

    slope = (1 - np.tanh(a @ x) ** 2)[:, None] * a
    np.testing.assert_allclose(tg.jacobian(f, x).data, slope, rtol=1e-13)
    np.testing.assert_allclose(tg.jvp(f, x, v).data, slope @ v, rtol=1e-13)
    h = rng.normal(size=(3, 3))
    np.testing.assert_allclose(tg.hvp(lambda t: t @ h @ t, x, v).data, (h + h.T) @ v, rtol=1e-13)
    first, second = tg.jacobian(lambda p, q: p * q, (x, v))
    np.testing.assert_allclose(first.data, np.diag(v))
    np.testing.assert_allclose(second.data, np.diag(x))
    np.testing.assert_allclose(tg.jvp(lambda p, q: p * q, (x, v), (v, x)).data, v * v + x * x)
    with pytest.raises(ValueError, match=r"hvp: fn returned shape \(3,\), expected a scalar"):
        tg.hvp(lambda t: t * 2, x, v)
    with pytest.raises(ValueError, match=r"jvp: tangents\[0\] has shape \(2,\), expected the input's shape \(3,\)"):
        tg.jvp(f, x, np.ones(2))
    with pytest.raises(TypeError, match="jacobian: fn returned ndarray"):
        tg.jacobian(lambda t: t.data, x)
