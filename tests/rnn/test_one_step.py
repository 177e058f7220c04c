"""`cell(x, state)` of a stock cell is one node: the same numbers, gradients and drawings as its equations in primitives."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, layers, nn, rnn
from tinygrad_rnn.autodiff.graph import reachable, unfuse
from tinygrad_rnn.autodiff.node import Node
from tinygrad_rnn.rnn.cell import leaves

RNG = np.random.default_rng(0)
CELLS: dict[str, Any] = {
    "rnn": lambda: rnn.BasicRNNCell(3, seed=1),
    "relu": lambda: rnn.BasicRNNCell(3, activation="relu", seed=1),
    "no bias": lambda: rnn.BasicRNNCell(3, use_bias=False, seed=1),
    "lstm": lambda: rnn.LSTMCell(3, seed=1),
    "lstm, no bias": lambda: rnn.LSTMCell(3, use_bias=False, seed=1),
    "gru": lambda: rnn.GRUCell(3, seed=1),
    "gru after": lambda: rnn.GRUCell(3, reset_after=True, seed=1),
    "gru after, no bias": lambda: rnn.GRUCell(3, reset_after=True, use_bias=False, seed=1),
}


def made(name: str, dtype: Any = np.float64) -> Any:
    """A built cell whose every parameter is random."""
    cell = CELLS[name]().build(4, dtype)
    for p in cell.parameters():
        p.data = RNG.normal(size=p.shape).astype(dtype)
    return cell


def state_of(cell: Any, dtype: Any = np.float64) -> Any:
    return rnn.cell.map_state(
        lambda s: tg.tensor(RNG.normal(size=s.shape).astype(dtype), requires_grad=True), cell.zero_state(2, dtype)
    )


def ops_of(tensors: Any) -> list[str]:
    edges = [t._node for t in leaves(tensors)]
    return [n.op.name for _, n in sorted(reachable(edges).items()) if isinstance(n, Node)]


@pytest.mark.parametrize("implementation", kernels.implementations())
@pytest.mark.parametrize("name", CELLS)
def test_a_step_has_the_numbers_and_gradients_of_its_equations(name: str, implementation: str) -> None:
    with kernels.using(implementation):
        cell = made(name)
        x, state = tg.tensor(RNG.normal(size=(2, 4)), requires_grad=True), state_of(cell)
        output, new = cell(x, state)
        assert ops_of(new) == ["cell_step"]
        assert output is leaves(new)[-1]
        expected, wanted = cell.call(x, state)
        weights = [RNG.normal(size=(2, 3)) for _ in leaves(new)]
        inputs = [x, *leaves(state), *cell.parameters()]
        results = []
        for out, after in ((output, new), (expected, wanted)):
            loss: Any = (out * weights[0]).sum()
            for part, w in zip(leaves(after), weights, strict=True):
                loss = loss + (part * w).sum()
            results.append([*(t.data for t in leaves(after)), *(g.data for g in tg.grad(loss, inputs))])
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "gru after"])
def test_second_derivatives_go_through_the_equations(name: str) -> None:
    cell = made(name)
    x, state = tg.tensor(RNG.normal(size=(2, 4)), requires_grad=True), state_of(cell)

    def loop(x: Any, *parts: Any) -> Any:
        now = rnn.cell.rebuild(state, parts)
        for _ in range(2):
            output, now = cell(x, now)
        return output

    assert tg.gradcheck(loop, [x, *leaves(state)])
    assert tg.gradgradcheck(loop, [x, *leaves(state)])


def by_hand(cell: Any, step: Any, steps: int = 3) -> Any:
    """A loop over a sequence as a user writes it."""
    state = cell.zero_state(2, np.float32)
    x = np.linspace(-1, 1, 2 * steps * 4, dtype=np.float32).reshape(steps, 2, 4)
    for t in range(steps):
        with tg.step(t):
            output, state = step(tg.tensor(x[t], name=f"x_{t}"), state)
    return output, state


def in_primitives(cell: Any) -> Any:
    """The same cell, which knows no kernel."""
    twin = copy.copy(cell)
    twin.fused = lambda: None
    return twin


@pytest.mark.parametrize("name", CELLS)
def test_a_loop_by_hand_is_drawn_in_primitives(name: str) -> None:
    cell = made(name, np.float32)
    shown = []
    for step in (cell, in_primitives(cell)):
        graph = tg.snapshot(by_hand(cell, step))
        shown.append(
            [(n.op, n.label, n.kind, n.name, n.scope, n.shapes, n.dtypes, len(n.sources)) for n in graph.nodes]
        )
    assert sorted(map(str, shown[0])) == sorted(map(str, shown[1]))


def test_views_of_a_loop_over_steps_equal_those_of_its_equations() -> None:
    viz = pytest.importorskip("tinygrad_rnn.viz")
    cell = made("lstm", np.float32)
    equations = in_primitives(cell)
    for view in (viz.draw, viz.unrolled, viz.folded):
        one, other = (view(by_hand(cell, step)) for step in (cell, equations))
        assert repr(one) == repr(other)
        assert sorted(n.lines for n in one.picture.nodes) == sorted(n.lines for n in other.picture.nodes)
    losses = [(by_hand(cell, step)[0] ** 2).sum() for step in (cell, equations)]
    flows = [viz.grad_flow(loss).h for loss in losses]
    np.testing.assert_allclose(*flows, rtol=1e-5)
    assert viz.to_html(losses[0], opened=False).count("tanh") == viz.to_html(losses[1], opened=False).count("tanh")


def test_a_name_that_a_result_was_given_is_drawn() -> None:
    cell = made("gru", np.float32)
    output, _ = cell(np.ones((2, 4), np.float32), cell.zero_state(2))
    output.name = "code"
    (opened,) = unfuse(output, ("step",))
    assert opened.name == "code"
    assert "code" in [n.name for n in tg.snapshot(output).nodes]


def test_cells_of_the_other_interfaces_take_one_step_in_one_node() -> None:
    x = RNG.normal(size=(2, 4)).astype(np.float32)
    for module in (nn.RNNCell(4, 3), nn.LSTMCell(4, 3), nn.GRUCell(4, 3)):
        outputs = module(x)
        assert ops_of(outputs if isinstance(outputs, tuple) else (outputs,)).count("cell_step") == 1
    for layer in (layers.SimpleRNNCell(3), layers.LSTMCell(3), layers.GRUCell(3)):
        output, _ = layer(x, layer.get_initial_state(2))
        assert ops_of((output,)).count("cell_step") == 1


def test_a_subclass_that_redefines_call_runs_its_own_step() -> None:
    cell = made("rnn")
    x, h = RNG.normal(size=(2, 4)), RNG.normal(size=(2, 3))
    before, _ = cell(x, h)
    cell.call = lambda x, h: (x @ cell.kernel, h)
    output, _ = cell(x, h)
    np.testing.assert_allclose(output.data, x @ cell.kernel.data)
    outputs, _ = rnn.dynamic_rnn(cell, x[:, None])
    np.testing.assert_allclose(outputs.data[:, 0], x @ cell.kernel.data)
    del cell.call
    np.testing.assert_array_equal(cell(x, h)[0].data, before.data)


def test_dropout_of_the_recurrent_kernel_is_drawn_step_by_step() -> None:
    cell = layers.LSTMCell(3, recurrent_dropout=0.5, seed=0)
    x = RNG.normal(size=(2, 4)).astype(np.float32)
    cell(x, cell.get_initial_state(2))
    output, _ = cell(x, cell.get_initial_state(2), training=True)
    assert "cell_step" not in ops_of((output,))
    output, _ = cell(x, cell.get_initial_state(2), training=False)
    assert "cell_step" in ops_of((output,))


def test_weights_lie_as_the_kernels_read_them() -> None:
    for make in CELLS.values():
        cell = make().build(4)
        cell.load_state_dict({k: np.asfortranarray(v) for k, v in cell.state_dict().items()})
        assert all(p.data.flags.c_contiguous for p in [*cell.parameters(), *make().build(4).parameters()])
