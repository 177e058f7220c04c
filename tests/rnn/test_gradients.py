"""Gradient checks of orders 1 and 2 of every cell and wrapper, through the drivers and by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn
from tinygrad_rnn.errors import GradcheckError
from tinygrad_rnn.rnn.cell import map_state

from .cases import CELLS, IMPLS, PLAIN, D, H, OwnCell, leaves_of, make, random_state

LENGTHS = {"full": None, "ragged": [2, 0, 3]}
each_impl = pytest.mark.parametrize("impl", IMPLS)
each_cell = pytest.mark.parametrize("name", CELLS)
each_order = pytest.mark.parametrize("order", [1, 2])


def inputs(batch: int = 3, steps: int = 3) -> tg.Tensor:
    return tg.tensor(np.random.default_rng(1).normal(size=(batch, steps, D)), requires_grad=True, name="x")


def check(fn: Any, wanted: list[tg.Tensor], order: int) -> None:
    assert tg.gradcheck(
        lambda *_: fn(), wanted, order=order, directions=3 - order, names=[t.name or "state" for t in wanted]
    )


@each_impl
@each_cell
@each_order
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_dynamic_rnn(name, impl, order, lengths):
    """With respect to x, every parameter and every part of the initial state."""
    cell, x = make(name, 3), inputs()
    state = random_state(cell, 3)
    check(
        lambda: rnn.dynamic_rnn(cell, x, lengths, state, impl=impl),
        [x, *cell.parameters(), *leaves_of(state)],
        order,
    )


@each_impl
@each_order
@pytest.mark.parametrize("name", PLAIN)
def test_bidirectional_dynamic_rnn(name, impl, order):
    fw, bw, x = make(name, 1), make(name, 2), inputs()
    first, second = random_state(fw, 3, 3), random_state(bw, 3, 4)
    check(
        lambda: rnn.bidirectional_dynamic_rnn(fw, bw, x, [2, 0, 3], first, second, impl=impl),
        [x, *fw.parameters(), *bw.parameters(), *leaves_of(first), *leaves_of(second)],
        order,
    )


@each_impl
@each_order
@each_cell
def test_an_initial_state_computed_from_x(name, impl, order):
    """x reaches the result by two paths, which must both count, once each."""
    cell, x = make(name, 5), inputs()

    def run() -> Any:
        summary = tg.tanh(x.sum(axis=1))
        state = map_state(lambda n: tg.sin(summary @ np.linspace(-1, 1, D * n).reshape(D, n)), cell.state_size)
        return rnn.dynamic_rnn(cell, x, [2, 0, 3], state, impl=impl)

    check(run, [x, *cell.parameters()], order)


@each_impl
@each_order
def test_one_learnable_state_for_all_rows(impl, order):
    cell, x = make("lstm"), inputs()
    c, h = (
        tg.tensor(np.random.default_rng(i).normal(size=(1, H)), requires_grad=True, name=n)
        for i, n in ((0, "c"), (1, "h"))
    )

    def run() -> Any:
        state = rnn.LSTMState(tg.broadcast_to(c, (3, H)), tg.broadcast_to(h, (3, H)))
        return rnn.dynamic_rnn(cell, x, [2, 0, 3], state, impl=impl)

    check(run, [c, h], order)


@each_impl
@each_order
def test_an_initial_state_that_is_the_input_of_another_run(impl, order):
    """An encoder's final state begins a decoder, whose inputs are the encoder's outputs."""
    encoder, decoder, x = make("lstm", 1), make("lstm", 2, inputs=H), inputs()

    def run() -> Any:
        outputs, state = rnn.dynamic_rnn(encoder, x, [2, 0, 3], impl=impl)
        return rnn.dynamic_rnn(decoder, outputs, [1, 3, 2], state, impl=impl)

    check(run, [x, *encoder.parameters(), *decoder.parameters()], order)


@each_order
@each_cell
def test_one_step(name, order):
    cell, x = make(name), tg.tensor(np.random.default_rng(1).normal(size=(2, D)), requires_grad=True, name="x")
    state = random_state(cell, 2)
    check(lambda: cell(x, state), [x, *cell.parameters(), *leaves_of(state)], order)


@each_impl
@each_order
@pytest.mark.parametrize("variational", [False, True])
def test_random_wrappers_while_training(impl, order, variational):
    """With the masks of one seed: a new wrapper around the same cell at every call."""
    cell, x = make("lstm"), inputs()
    state = random_state(cell, 3)

    def run() -> Any:
        zoned = rnn.ZoneoutWrapper(cell, 0.4, seed=1)
        wrapped = rnn.DropoutWrapper(zoned, 0.6, 0.7, 0.8, variational, seed=2)
        return rnn.dynamic_rnn(wrapped, x, [2, 0, 3], state, impl=impl)

    check(run, [x, *cell.parameters(), *leaves_of(state)], order)


@each_impl
def test_one_cell_for_both_directions_and_twice_in_a_stack(impl):
    cell, x = make("gru", inputs=H), tg.tensor(np.random.default_rng(0).normal(size=(2, 3, H)), requires_grad=True)
    check(lambda: rnn.bidirectional_dynamic_rnn(cell, cell, x, [3, 1], impl=impl), [x, *cell.parameters()], 1)
    stack = rnn.MultiRNNCell([cell, cell], share=True)
    check(lambda: rnn.dynamic_rnn(stack, x, [3, 1], impl=impl), [x, *cell.parameters()], 1)


@each_impl
def test_the_check_fails_for_a_cell_with_a_wrong_gradient(impl):
    """A cell whose step hides a part of its dependence from the graph fails the check."""

    class Faulty(OwnCell):
        def call(self, x: Any, h: Any) -> Any:
            h = tg.tanh(x @ self.w + self.a * (0.999 * h + 0.001 * h.detach()))
            return h, h

    cell, x = Faulty(H).build(D, np.float64), inputs()
    with pytest.raises(GradcheckError):
        check(lambda: rnn.dynamic_rnn(cell, x, [2, 0, 3], impl=impl), [x, *cell.parameters()], 1)


@each_impl
def test_only_what_requires_grad_gets_one(impl):
    """The parameters' gradients are the same whether x is a constant or not."""
    cell, x = make("lstm"), inputs()
    outputs, _ = rnn.dynamic_rnn(cell, x, [2, 0, 3], impl=impl)
    wanted = tg.grad((outputs * outputs).sum(), [x, *cell.parameters()])
    outputs, _ = rnn.dynamic_rnn(cell, x.data, [2, 0, 3], impl=impl)
    (outputs * outputs).sum().backward()
    for p, g in zip(cell.parameters(), wanted[1:], strict=True):
        np.testing.assert_allclose(p.grad, g.data, atol=1e-14)


@pytest.mark.parametrize("lengths", [None, [0, 0]])
def test_of_no_steps_the_final_state_is_the_initial_one(lengths: Any) -> None:
    """So Σ h² has gradient 2 h and second derivative 2, and inputs have none."""
    cell, x = make("lstm"), tg.tensor(np.zeros((2, 0, D)), requires_grad=True)
    h = tg.tensor(np.arange(2.0 * H).reshape(2, H), requires_grad=True)
    outputs, state = rnn.dynamic_rnn(cell, x, lengths, rnn.LSTMState(h, h))
    by_h, by_x = tg.grad((state.h * state.h).sum() + outputs.sum(), [h, x], create_graph=True)
    np.testing.assert_array_equal(by_h.data, 2 * h.data)
    assert by_x.shape == (2, 0, D)
    np.testing.assert_array_equal(tg.grad(by_h.sum(), h).data, np.full((2, H), 2.0))
