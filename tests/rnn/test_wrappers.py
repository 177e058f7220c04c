"""Dropout, zoneout and residual wrappers: cases without effect, the distribution of masks, and seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from .cases import IMPLS, D, H, Run, assert_same, leaves_of, make, random_state

each_impl = pytest.mark.parametrize("impl", IMPLS)
X = np.random.default_rng(0).normal(size=(4, 5, D))
LENGTHS = [3, 5, 0, 2]


class Echo(rnn.RNNCell):
    """output = x, state = its old value plus x: shows what wrappers did to each."""

    def __init__(self, size: int):
        self.state_size = self.output_size = size

    def call(self, x: Any, state: Any) -> Any:
        return x + 0, state * 0 + x


class EchoPair(rnn.RNNCell):
    """The same with an LSTM's state."""

    def __init__(self, size: int):
        self.state_size, self.output_size = rnn.LSTMState(size, size), size

    def call(self, x: Any, state: Any) -> Any:
        return x + 0, rnn.LSTMState(x * 1, x * 1)


def kept_elements(values: Any, p: float) -> np.ndarray:
    """Where ones passed a dropout of keep p; they must be 1/p there and 0 elsewhere."""
    data = values.data if isinstance(values, tg.Tensor) else values
    mask = data != 0
    np.testing.assert_allclose(data, mask / p, rtol=1e-12)
    return mask


# -- nothing to do -------------------------------------------------------------------------------------------------------


@each_impl
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "stack"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: rnn.DropoutWrapper(cell),
        lambda cell: rnn.DropoutWrapper(cell, 1.0, 1, 1.0, variational_recurrent=True),
        lambda cell: rnn.DropoutWrapper(cell, 0.5, 0.5, 0.5).eval(),
        lambda cell: rnn.DropoutWrapper(cell, 0.5, 0.5, 0.5, variational_recurrent=True).eval(),
        lambda cell: rnn.ZoneoutWrapper(cell, 0),
        lambda cell: rnn.ZoneoutWrapper(cell, (0, 0.0)).eval(),
        lambda cell: rnn.ResidualWrapper(cell, lambda x, output: output),
    ],
)
def test_a_wrapper_without_effect_is_the_cell(name, impl, wrap):
    cell = make(name)
    state = random_state(cell, 4)
    assert_same(Run(cell, X, LENGTHS, state, impl=impl), Run(wrap(cell), X, LENGTHS, state, impl=impl), 1e-14)


def test_the_ambient_flag_turns_noise_off():
    cell = make("lstm")
    wrapped = rnn.ZoneoutWrapper(rnn.DropoutWrapper(cell, 0.5, 0.5, 0.5, seed=0), 0.0)
    with tg.training(False):
        assert_same(Run(cell, X, LENGTHS), Run(wrapped, X, LENGTHS), 1e-14)
        assert not wrapped.training
    assert wrapped.training
    assert wrapped.cell.training
    wrapped.eval()
    with tg.training(True):
        assert not wrapped.training
        assert not wrapped.cell.training
    wrapped.train()
    assert not np.allclose(Run(cell, X).output.data, Run(wrapped, X).output.data)


def test_train_and_eval_reach_wrappers_in_wrappers():
    stack = rnn.MultiRNNCell([rnn.DropoutWrapper(rnn.ResidualWrapper(rnn.DropoutWrapper(rnn.GRUCell(D), 0.5)), 0.5)])
    first = rnn.dynamic_rnn(stack.eval(), X)[0].data
    np.testing.assert_array_equal(first, rnn.dynamic_rnn(stack, X)[0].data)
    assert not np.array_equal(first, rnn.dynamic_rnn(stack.train(), X)[0].data)


# -- dropout -------------------------------------------------------------------------------------------------------------


@each_impl
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("what", ["input", "output", "state"])
def test_keep_rates(impl, p, what):
    """A fraction p of the elements is kept and divided by p; of input, state and output the other two are unchanged."""
    ones = np.ones((50, 20, 10))
    cell = rnn.DropoutWrapper(Echo(10), **{f"{what}_keep_prob": p}, seed=3)
    output, state = rnn.dynamic_rnn(cell, ones, impl=impl)
    share = kept_elements(state if what == "state" else output, p).mean()
    assert abs(share - p) < (0.08 if what == "state" else 0.02)
    if what == "state":
        assert np.all(output.data == 1)
    if what == "output":
        assert np.all(state.data == 1)


def test_masks_differ_over_steps_rows_units_and_parts():
    cell = rnn.DropoutWrapper(Echo(30), output_keep_prob=0.5, seed=0)
    mask = kept_elements(rnn.dynamic_rnn(cell, np.ones((8, 6, 30)))[0], 0.5)
    rows = mask.reshape(-1, 30)
    assert len(np.unique(rows, axis=0)) == len(rows)
    both = rnn.DropoutWrapper(Echo(200), output_keep_prob=0.5, state_keep_prob=0.5, seed=0)
    output, state = rnn.dynamic_rnn(both, np.ones((4, 1, 200)))
    assert not np.array_equal(output.data[:, 0], state.data)


@each_impl
@pytest.mark.parametrize("what", ["input", "output"])
def test_variational_masks_hold_for_a_sequence_and_change_with_it(impl, what):
    cell = rnn.DropoutWrapper(Echo(30), **{f"{what}_keep_prob": 0.5}, variational_recurrent=True, seed=0)
    masks = [kept_elements(rnn.dynamic_rnn(cell, np.ones((8, 6, 30)), impl=impl)[0], 0.5) for _ in range(2)]
    for mask in masks:
        assert np.all(mask == mask[:, :1])
        assert len(np.unique(mask[:, 0], axis=0)) == 8
    assert not np.array_equal(*masks)


def test_a_variational_state_mask_holds_for_a_sequence():
    """A state that halves where it is kept: after n steps of one mask it is (1/p)^n or 0, and never in between."""

    class Keep(rnn.RNNCell):
        state_size = output_size = 40

        def call(self, x: Any, state: Any) -> Any:
            return state, state * 1

    ones = np.ones((3, 40))
    state = rnn.dynamic_rnn(
        rnn.DropoutWrapper(Keep(), state_keep_prob=0.5, variational_recurrent=True, seed=0),
        np.ones((3, 4, 2)),
        None,
        ones,
    )[1].data
    assert 0.3 < (state == 16).mean() < 0.7
    assert np.all((state == 16) | (state == 0))
    state = rnn.dynamic_rnn(rnn.DropoutWrapper(Keep(), state_keep_prob=0.5, seed=0), np.ones((3, 4, 2)), None, ones)[1]
    assert (state.data == 16).mean() < 0.2


def test_dropout_leaves_the_memory_of_an_lstm_alone():
    cell = rnn.DropoutWrapper(EchoPair(50), state_keep_prob=0.5, seed=0)
    output, state = rnn.dynamic_rnn(cell, np.ones((4, 3, 50)))
    assert np.all(output.data == 1)
    assert np.all(state.c.data == 1)
    assert 0.3 < kept_elements(state.h, 0.5).mean() < 0.7
    stack = rnn.DropoutWrapper(rnn.MultiRNNCell([EchoPair(50), Echo(50)]), state_keep_prob=0.5, seed=0)
    state = rnn.dynamic_rnn(stack, np.ones((4, 3, 50)))[1]
    assert np.all(state[0].c.data == 1)
    masks = kept_elements(state[0].h, 0.5), kept_elements(state[1], 0.5)
    assert not np.array_equal(*masks)


def test_gradients_pass_where_values_passed():
    x = tg.tensor(np.ones((4, 5, 10)), requires_grad=True)
    output, _ = rnn.dynamic_rnn(rnn.DropoutWrapper(Echo(10), input_keep_prob=0.25, seed=0), x)
    output.sum().backward()
    np.testing.assert_array_equal(x.grad, output.data)


@pytest.mark.parametrize("variational", [False, True])
def test_seeds(variational):
    def outputs(seed: Any) -> list[np.ndarray]:
        cell = make("lstm")
        zoned = rnn.ZoneoutWrapper(cell, 0.3, seed=seed)
        wrapped = rnn.DropoutWrapper(zoned, 0.5, 0.5, 0.5, variational, seed=seed)
        return [rnn.dynamic_rnn(wrapped, X)[0].data for _ in range(2)]

    first = outputs(7)
    assert not np.array_equal(*first)
    np.testing.assert_array_equal(first, outputs(7))
    assert not np.array_equal(first, outputs(8))
    tg.seed(7)
    default = outputs(None)
    tg.seed(7)
    np.testing.assert_array_equal(default, outputs(None))
    assert not np.array_equal(default, outputs(None))


# -- zoneout -------------------------------------------------------------------------------------------------------------


@each_impl
def test_zoneout_keeps_old_values_at_its_rate(impl):
    """From a state of zeros and new values of 1, after one step a share p is still 0."""
    ones = np.ones((100, 1, 50))
    cell = rnn.ZoneoutWrapper(EchoPair(50), (0.2, 0.6), seed=0)
    output, state = rnn.dynamic_rnn(cell, ones, impl=impl)
    for part, p in ((state.c, 0.2), (state.h, 0.6)):
        assert np.all((part.data == 0) | (part.data == 1))
        assert abs((part.data == 0).mean() - p) < 0.02
    assert np.all(output.data == 1)  # of an Echo the output is no part of the state
    assert abs((rnn.dynamic_rnn(rnn.ZoneoutWrapper(Echo(50), 0.3, seed=0), ones)[1].data == 0).mean() - 0.3) < 0.02


@each_impl
def test_zoneout_in_evaluation_is_the_expectation(impl):
    cell = make("lstm")
    zoned = rnn.ZoneoutWrapper(cell, (0.2, 0.6)).eval()
    old = random_state(cell, 4)
    _, new = cell(X[:, 0], old)
    output, mixed = rnn.dynamic_rnn(zoned, X[:, :1], None, old, impl=impl)
    np.testing.assert_allclose(mixed.c.data, 0.2 * old.c.data + 0.8 * new.c.data, atol=1e-14)
    np.testing.assert_allclose(mixed.h.data, 0.6 * old.h.data + 0.4 * new.h.data, atol=1e-14)
    np.testing.assert_array_equal(output.data[:, 0], mixed.h.data)  # an LSTM's output is its h
    zoned.train()
    zoned.rng = np.random.default_rng(0)
    total = np.zeros((4, H))
    for _ in range(2000):
        total += zoned(X[:, 0], old)[1].h.data
    np.testing.assert_allclose(total / 2000, mixed.h.data, atol=0.06)


def test_zoneout_reaches_every_cell_of_a_stack():
    stack = rnn.ZoneoutWrapper(rnn.MultiRNNCell([EchoPair(40), Echo(40)]), (0.0, 0.5), seed=0)
    state = rnn.dynamic_rnn(stack, np.ones((4, 1, 40)))[1]
    assert np.all(state[0].c.data == 1)
    for part in (state[0].h, state[1]):
        assert 0.3 < (part.data == 0).mean() < 0.7


def test_zoneout_beside_lengths_carries_the_state():
    cell = rnn.ZoneoutWrapper(make("lstm"), 0.5, seed=0)
    state = random_state(cell, 4)
    output, final = rnn.dynamic_rnn(cell, X, [0, 0, 0, 5], state)
    for part, initial in zip(leaves_of(final), leaves_of(state), strict=True):
        np.testing.assert_array_equal(part.data[:3], initial.data[:3])
    assert not output.data[:3].any()


# -- residual ------------------------------------------------------------------------------------------------------------


@each_impl
def test_residual_adds_the_input(impl):
    x = np.random.default_rng(0).normal(size=(4, 5, H))
    cell = make("gru", inputs=H)
    plain, state = rnn.dynamic_rnn(cell, x, LENGTHS, impl=impl)
    summed, same = rnn.dynamic_rnn(rnn.ResidualWrapper(cell), x, LENGTHS, impl=impl)
    alive = np.arange(5)[None, :, None] < np.array(LENGTHS)[:, None, None]
    np.testing.assert_allclose(summed.data, np.where(alive, plain.data + x, 0), atol=1e-14)
    np.testing.assert_allclose(state.data, same.data, atol=1e-14)
    scaled, _ = rnn.dynamic_rnn(rnn.ResidualWrapper(cell, lambda x, o: 2 * o - x), x, LENGTHS, impl=impl)
    np.testing.assert_allclose(scaled.data, np.where(alive, 2 * plain.data - x, 0), atol=1e-14)


# -- TensorFlow 1's arguments --------------------------------------------------------------------------------------------


def test_the_arguments_of_tensorflow_1_are_taken_by_name() -> None:
    cells = [rnn.DropoutWrapper(rnn.BasicLSTMCell(num_units=3), input_keep_prob=0.7, input_size=D, dtype=np.float32)]
    stack = rnn.MultiRNNCell(cells, state_is_tuple=True)
    state = stack.zero_state(batch_size=4, dtype=np.float64)
    outputs, (last,) = rnn.dynamic_rnn(stack, X, sequence_length=LENGTHS, initial_state=state)
    assert outputs.shape == (4, 5, 3)
    assert isinstance(last, rnn.LSTMStateTuple)
    with pytest.raises(ValueError, match="MultiRNNCell: state_is_tuple=False is not supported"):
        rnn.MultiRNNCell(cells, state_is_tuple=False)
