"""Plans and their lowering, compared with the plain loop, which uses neither."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scan_cases import BACKENDS, ScanCase, compare_with_unrolled, draws, leaf

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.program import scan as scans
from tinygrad_rnn.program.native import NativeLoop

B, T, D, H, S = 3, 4, 2, 3, 5


def weights(**shapes: tuple[int, ...]) -> dict[str, Any]:
    normal = draws(3)
    return {name: leaf(normal(*shape) * 0.5) for name, shape in shapes.items()}


def blocks() -> ScanCase:
    """Blocks of rows and columns of one matrix, of a bias, transposed, split, and one that a function also reads."""
    w = weights(W=(D + H, 3 * H), b=(3 * H,))

    def step(x: Any, h: Any) -> Any:
        W, b = w["W"], w["b"]
        z = tg.sigmoid(x @ W[:D, :H] + h @ W[D:, :H] + b[:H])
        p, q = tg.split(W[D:, H:], 2, axis=1)
        n = tg.tanh(x @ W[:D, H : 2 * H] + (z * h) @ p + h @ q.T + b[H : 2 * H])
        h = z * h + (1 - z) * n + h @ tg.tanh(W[D:, :H]) + b[2 * H :]
        return h, h

    return ScanCase(step, weights=lambda: list(w.values()))


def split_weights() -> ScanCase:
    """A matrix and a bias cut by `split` alone."""
    w = weights(W=(D, 2 * H), U=(H, 2 * H), b=(2 * H,))

    def step(x: Any, h: Any) -> Any:
        (W1, W2), (U1, U2), (b1, b2) = (tg.split(w[k], 2, axis=-1) for k in ("W", "U", "b"))
        h = tg.tanh(x @ W1 + h @ U1 + b1) * tg.sigmoid(x @ W2 + h @ U2 + b2)
        return h, h

    return ScanCase(step, weights=lambda: list(w.values()))


def concatenated() -> ScanCase:
    """Parts of a concatenation, some of which are read elsewhere, too, in and after the loop."""
    w = weights(W=(D + 2 * H, H), U=(3 * H, H))

    def step(x: Any, h: Any) -> Any:
        a, b = tg.tanh(h), tg.sigmoid(h) * h
        whole = tg.concatenate([x, a, b], axis=-1)
        twice = tg.concatenate([b, tg.exp(-b), a], axis=-1)
        h = tg.tanh(whole @ w["W"] - -b) + 0.1 * (twice @ w["U"])
        return (whole, a), h

    return ScanCase(step, weights=lambda: list(w.values()))


def attention(product: bool, lengths: Any = None) -> ScanCase:
    """The memory's gradient is a sum over steps of outer products, for both expressions of a weighted sum."""
    w = weights(Q=(H, H), C=(H, H), W=(D, H))
    memory = leaf(draws(4)(B, S, H))

    def step(x: Any, h: Any, memory: Any) -> Any:
        q = h @ w["Q"]
        a = tg.softmax((memory @ q[:, :, None])[:, :, 0])
        context = (a[:, None, :] @ memory)[:, 0] if product else (memory * a[:, :, None]).sum(axis=1)
        h = tg.tanh(x @ w["W"] + context @ w["C"])
        return h, h

    return ScanCase(
        step,
        constants=(memory,),
        weights=lambda: list(w.values()),
        options={} if lengths is None else {"lengths": lengths},
    )


def normalised() -> ScanCase:
    """Vjps that compute the same values again, and functions that are recomputed."""
    w = weights(W=(D, H), U=(H, H), s=(H,))

    def step(x: Any, h: Any) -> Any:
        z = x @ w["W"] + h @ w["U"]
        c = z - z.mean(axis=-1, keepdims=True)
        h = tg.tanh(w["s"] * c / tg.sqrt((c * c).mean(axis=-1, keepdims=True) + 0.1))
        return h, h

    return ScanCase(step, weights=lambda: list(w.values()))


WORLDS = {
    "blocks": blocks,
    "split weights": split_weights,
    "concatenated": concatenated,
    "attention, product": lambda: attention(True),
    "attention, sum": lambda: attention(False),
    "attention, ragged": lambda: attention(True, np.array([4, 0, 2])),
    "normalised": normalised,
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", WORLDS)
def test_loops_agree_with_single_steps(name: str, backend: str) -> None:
    with kernels.using(backend):
        for path, reason in compare_with_unrolled(WORLDS[name]):
            assert path == "fused", reason
            assert "runs in NumPy" not in reason or backend == "reference"


@pytest.mark.parametrize("hoist", [True, False])
def test_numpy_runs_the_same_within_and_outside_the_steps(hoist: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_rnn.program.run import Runner

    monkeypatch.setattr(Runner, "hoist_up_to", B if hoist else 0)
    with kernels.using("reference"):
        for name in WORLDS:
            compare_with_unrolled(WORLDS[name], calls=1)


def test_numpy_carries_states_from_chunk_to_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every chunk writes its values to the same memory: the state that it starts from must not be overwritten there."""
    from tinygrad_rnn.program import run

    monkeypatch.setattr(run, "CHUNK", 1)
    monkeypatch.setattr(run, "ROWS", 1)

    def step(x: Any, state: Any) -> Any:
        h, c = state
        new = tg.tanh(h + x)  # kept for the output, which is computed after the loop
        return tg.exp(new), (new, c * h + x)  # h is read after the new h is computed

    x, zeros = np.random.default_rng(0).standard_normal((2, 5, 3)), np.zeros((2, 3))
    with kernels.using("reference"):
        (outputs, (_, c)), (want, (_, want_c)) = (
            tg.scan(step, x, (zeros, zeros + 1), impl=impl) for impl in ("fused", "unrolled")
        )
        np.testing.assert_allclose(outputs.data, want.data, rtol=1e-12)
        np.testing.assert_allclose(c.data, want_c.data, rtol=1e-12)
        for name in WORLDS:
            compare_with_unrolled(WORLDS[name], calls=1)


def test_a_bias_is_added_in_its_product_for_any_number_of_rows() -> None:
    """So the results of a row have the same bits in a small batch, whose bias is added before the loop, and in a large one."""
    rng = np.random.default_rng(0)
    W, U, b = (tg.tensor(rng.standard_normal(shape).astype(np.float32)) for shape in ((13, 19), (19, 19), (19,)))

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x @ W + h @ U + b)
        return h, h

    x, zeros = rng.standard_normal((9, 5, 13)).astype(np.float32), np.zeros((9, 19), np.float32)
    whole, _ = tg.scan(step, x, zeros)
    for rows in (slice(0, 1), slice(2, 5)):
        some, _ = tg.scan(step, x[rows], zeros[rows])
        np.testing.assert_array_equal(some.data, whole.data[rows])


def plans(step: Any, *arguments: Any, **more: Any) -> Any:
    _, run = scans.sample(step, *arguments, **more)
    return run.loops.plan


def test_the_plan_of_the_worked_example() -> None:
    """The stages of h' = tanh(x W + h U + b) that the docstring of program/plan.py shows."""
    W, U, b = (tg.tensor(np.ones(shape), requires_grad=True) for shape in ((2, 3), (3, 3), (3,)))

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(x @ W + h @ U + b)
        return h, h

    def stages(loop: Any) -> dict[str, str]:
        names = ("weight_only", "before", "body", "after", "row_sums")
        return {name: " ".join(i.op.name for i in getattr(loop, name)) for name in names if getattr(loop, name)}

    plan = plans(step, np.ones((5, 4, 2)), np.ones((5, 3)))
    assert stages(plan.forward) == {"before": "matmul add", "body": "matmul add tanh"}
    assert stages(plan.backward) == {
        "weight_only": "transpose transpose",
        "before": "multiply subtract",
        "body": "add multiply matmul",
        "after": "matmul",
        "row_sums": "sum transpose matmul transpose matmul",
    }
    assert [read.role for read in plan.backward.reads] == ["x", "before", "output", "d_output"]
    assert (plan.saved, plan.histories[0].role) == ((), "output")


def test_blocks_of_weights_are_not_copied() -> None:
    """No block is copied before the loop: the loop reads the matrix and the bias themselves, and the results of functions."""
    scan_case = blocks()
    plan = plans(scan_case.step, scan_case.x.data, scan_case.state.data)
    shapes = [plan.forward.slots[w].shape for w in plan.forward.weights]
    assert sorted(shapes) == [(H, H), (D + H, 3 * H), (3 * H,)]


def test_the_gradient_of_a_memory_is_accumulated_without_a_matrix_for_each_step() -> None:
    scan_case = attention(True)
    memory = scan_case.constants[0].data
    plan = plans(scan_case.step, scan_case.x.data, scan_case.state.data, (memory,))
    assert [len(pairs) for pairs in plan.backward.outer_products.values()] == [2]
    backward = (*plan.backward.before, *plan.backward.body, *plan.backward.after)
    assert all(plan.backward.slots[o].inner != (S, H) for i in backward for o in i.outputs)


def test_the_loops_compute_no_value_twice() -> None:
    scan_case = normalised()
    plan = plans(scan_case.step, scan_case.x.data, scan_case.state.data)
    back = plan.backward
    seen = [(i.op.name, i.inputs, repr(i.options)) for i in (*back.before, *back.body, *back.after)]
    assert len({repr(s) for s in seen}) == len(seen)


def test_of_a_value_and_its_reshape_the_value_is_kept() -> None:
    scan_case = attention(True)
    plan = plans(scan_case.step, scan_case.x.data, scan_case.state.data, (scan_case.constants[0].data,))
    producer = {o: i for i in (*plan.saving.before, *plan.saving.body) for o in i.outputs}
    assert {producer[s].op.name for s in plan.saved} == {"matmul", "softmax"}


def with_cumsum(where: str = "outside", **options: Any) -> ScanCase:
    """A step with cumsum, which the interpreter lacks: before the loop and on its outputs, or inside the recurrence."""
    w = weights(W=(D, H), U=(H, H), u=(H,))
    held = leaf(draws(5)(B, H))

    def step(x: Any, state: Any, held: Any) -> Any:
        c, h = state
        z = tg.cumsum(x @ w["W"], axis=-1) * tg.cumsum(held, axis=-1)
        grows = h > 0.1 * c
        c = tg.where(grows, c * 0.9, c + z) + held * 0.1
        h = tg.tanh(z + h @ w["U"]) * (tg.cumsum(c, axis=-1) if where == "inside" else c)
        return (tg.where(grows, tg.cumsum(h, axis=-1), h * w["u"]), tg.flip(x, axis=-1)), (c, h)

    states = (leaf(draws(6)(B, H)), leaf(draws(7)(B, H)))
    return ScanCase(step, state=states, constants=(held,), weights=lambda: list(w.values()), options=options)


@pytest.mark.parametrize("chunk", [1, 1 << 15], ids=["a chunk for each step", "one chunk"])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2], [1, 4, 3]], ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_an_op_outside_the_steps_leaves_them_native(chunk, lengths, reverse, backend, monkeypatch):
    monkeypatch.setattr("tinygrad_rnn.program.run.CHUNK", chunk)
    monkeypatch.setattr("tinygrad_rnn.program.run.ROWS", chunk)
    reason = compare_with_unrolled(lambda: with_cumsum(lengths=lengths, reverse=reverse))
    native = ", of which the part before and after the loop runs in NumPy: the native interpreter has no cumsum"
    assert reason[-1] == ("fused", "the whole sequence is one node" + ("" if backend == "reference" else native))


def test_an_op_inside_the_steps_makes_them_run_in_numpy(backend):
    reason = compare_with_unrolled(lambda: with_cumsum("inside"))
    numpy = ", which runs in NumPy: the native interpreter has no cumsum"
    assert reason[-1] == ("fused", "the whole sequence is one node" + ("" if backend == "reference" else numpy))


def test_steps_between_numpy_are_one_call():
    """The interpreter is called once for the steps of a chunk, forward and backward."""
    calls: list[Any] = []
    if kernels.choice.active == "reference":
        pytest.skip("there is no interpreter")
    rng = np.random.default_rng(0)
    u = tg.tensor(rng.normal(size=H), requires_grad=True)

    def step(x: Any, h: Any) -> Any:
        h = tg.tanh(tg.cumsum(x, axis=-1) + h * u)
        return h, h

    x = tg.tensor(rng.normal(size=(B, 200, H)), requires_grad=True)
    tg.scan(step, x, tg.tensor(np.zeros((B, H))))[0].sum().backward()
    with pytest.MonkeyPatch.context() as patch:
        built = NativeLoop.built
        patch.setattr(NativeLoop, "built", lambda self: calls.append(self) or built(self))
        tg.scan(step, x, tg.tensor(np.zeros((B, H))))[0].sum().backward()
    assert len(calls) == 2  # 600 rows of 3 numbers are one chunk
