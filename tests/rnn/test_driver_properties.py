"""Properties of every driver and cell, for random numbers: padding, order, direction, layout, dtypes, empty cases."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import rnn
from tinygrad_rnn.rnn.cell import map_state

from .cases import CELLS, IMPLS, D, H, OwnCell, Run, assert_same, leaves_of, make, random_state

each_impl = pytest.mark.parametrize("impl", IMPLS)
each_cell = pytest.mark.parametrize("name", CELLS)
few = settings(derandomize=True, max_examples=12, deadline=None, database=None)


@st.composite
def ragged(draw: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """An input (B, T, D), lengths from 0 to T in any order, and a seed."""
    steps = draw(st.integers(1, 5))
    lengths = draw(st.lists(st.integers(0, steps), min_size=1, max_size=4))
    seed = draw(st.integers(0, 2**16))
    x = np.random.default_rng(seed).normal(size=(len(lengths), steps, D))
    return x, np.array(lengths), seed


@each_impl
@each_cell
@few
@given(case=ragged())
def test_a_padded_batch_equals_its_rows_run_alone(name, impl, case):
    """Outputs, states and every gradient; the parameters' add up over the rows. Past the end: output 0, dx exactly 0."""
    x, lengths, seed = case
    batch, steps, _ = x.shape
    cell = make(name, seed)
    state = random_state(cell, batch, seed)
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(batch, steps, cell.output_size))
    vs = [rng.normal(size=s.shape) for s in leaves_of(state)]
    whole = Run(cell, x, lengths, state, (u, vs), impl=impl)
    total = [np.zeros_like(g) for g in whole.dparameters]
    for b, n in enumerate(lengths):
        row = slice(b, b + 1)
        cotangents = u[row, :n], [v[row] for v in vs]
        alone = Run(cell, x[row, :n], None, map_state(lambda s, row=row: s.data[row], state), cotangents, impl=impl)
        np.testing.assert_allclose(whole.output.data[row, :n], alone.output.data, atol=1e-12)
        assert np.all(whole.output.data[b, n:] == 0)
        for mine, its in zip(leaves_of(whole.state), leaves_of(alone.state), strict=True):
            np.testing.assert_allclose(mine.data[row], its.data, atol=1e-12)
        np.testing.assert_allclose(whole.dx[row, :n], alone.dx, atol=1e-12)
        assert np.all(whole.dx[b, n:] == 0)
        for mine, its in zip(whole.dstate, alone.dstate, strict=True):
            np.testing.assert_allclose(mine[row], its, atol=1e-12)
        total = [t + g for t, g in zip(total, alone.dparameters, strict=True)]
    for mine, its in zip(whole.dparameters, total, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-11)


@each_impl
@each_cell
@pytest.mark.parametrize("filling", [np.nan, np.inf, -np.inf, 1e300])
def test_padding_changes_neither_results_nor_gradients(name, impl, filling):
    """Bit for bit, in both directions; the gradient with respect to the padding is exactly 0."""
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    lengths = np.array([3, 5, 0, 2])
    beyond = np.arange(5) >= lengths[:, None]
    filled = np.where(beyond[:, :, None], filling, x)
    cell = make(name)
    state = random_state(cell, 4)
    for drive in (rnn.dynamic_rnn, backward_only):
        clean, dirty = (Run(cell, data, lengths, state, drive=drive, impl=impl) for data in (x, filled))
        for a, b in zip(clean.everything, dirty.everything, strict=True):
            np.testing.assert_array_equal(a, b)
        assert np.all(dirty.dx[beyond] == 0)
        assert np.all(dirty.output.data[beyond] == 0)


def backward_only(cell, x, lengths=None, state=None, **options):
    """The backward half of a bidirectional run."""
    forward = rnn.BasicRNNCell(1, seed=0).build(x.shape[-1], x.dtype)
    outputs, states = rnn.bidirectional_dynamic_rnn(forward, cell, x, lengths, None, state, **options)
    return outputs[1], states[1]


@each_impl
@each_cell
@few
@given(case=ragged())
def test_backward_is_forward_over_each_row_reversed(name, impl, case):
    x, lengths, seed = case
    cell = make(name, seed)
    state = random_state(cell, len(x), seed)

    def turned(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        for b, n in enumerate(lengths):
            a[b, :n] = a[b, :n][::-1]
        return a

    rng = np.random.default_rng(seed)
    u = rng.normal(size=(*x.shape[:2], cell.output_size))
    vs = [rng.normal(size=s.shape) for s in leaves_of(state)]
    mine = Run(cell, x, lengths, state, (u, vs), backward_only, impl=impl)
    other = Run(cell, turned(x), lengths, state, (turned(u), vs), impl=impl)
    np.testing.assert_allclose(mine.output.data, turned(other.output.data), atol=1e-12)
    np.testing.assert_allclose(mine.dx, turned(other.dx), atol=1e-12)
    for a, b in zip(mine.everything[1:], other.everything[1:], strict=True):
        np.testing.assert_allclose(a, b if b.shape != x.shape else turned(b), atol=1e-12)


@each_impl
@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 2]])
def test_both_directions_share_the_input(impl, lengths):
    """The gradient of x is the sum over the directions, and each term equals that of its direction alone."""
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    fw, bw = make("lstm", 1), make("gru", 2)

    def both(cell, x, lengths, state, **options):
        outputs, states = rnn.bidirectional_dynamic_rnn(fw, bw, x, lengths, **options)
        return tg.concatenate(outputs, axis=-1), states

    pair = rnn.MultiRNNCell([fw, bw])  # only to hold both cells' parameters
    u = np.random.default_rng(3).normal(size=(4, 5, 2 * H))
    vs = [np.full((4, H), v) for v in (0.3, -0.5, 0.7)]
    joint = Run(pair, x, lengths, None, (u, vs), both, impl=impl)
    first = Run(fw, x, lengths, None, (u[..., :H], vs[:2]), impl=impl)
    second = Run(bw, x, lengths, None, (u[..., H:], vs[2:]), backward_only, impl=impl)
    np.testing.assert_allclose(joint.dx, first.dx + second.dx, atol=1e-12)
    np.testing.assert_array_equal(joint.output.data, np.concatenate([first.output.data, second.output.data], -1))
    for a, b in zip(joint.dparameters, first.dparameters + second.dparameters, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)


@each_impl
@each_cell
@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 2]])
def test_time_major_is_the_transposed(name, impl, lengths):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make(name)
    state = random_state(cell, 4)

    def turned(drive):
        def run(cell, x, lengths, state, **options):
            output, final = drive(cell, x.swapaxes(0, 1), lengths, state, time_major=True, **options)
            assert output.shape == (5, 4, cell.output_size)
            return output.swapaxes(0, 1), final

        return run

    for drive in (rnn.dynamic_rnn, backward_only):
        straight = Run(cell, x, lengths, state, drive=drive, impl=impl)
        assert_same(straight, Run(cell, x, lengths, state, drive=turned(drive), impl=impl))


@each_impl
@each_cell
@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 2]])
def test_static_rnn_is_dynamic_rnn(name, impl, lengths):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make(name)
    state = random_state(cell, 4)

    def static(cell, x, lengths, state, **options):
        outputs, final = rnn.static_rnn(cell, tg.unstack(x, axis=1), state, sequence_length=lengths, **options)
        return tg.stack(outputs, axis=1), final

    assert_same(Run(cell, x, lengths, state, impl=impl), Run(cell, x, lengths, state, drive=static, impl=impl))


@each_impl
@each_cell
def test_a_loop_over_the_cell_is_the_driver(name, impl):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make(name)
    state = random_state(cell, 4)

    def loop(cell, x, lengths, state):
        outputs = []
        for t in range(x.shape[1]):
            output, state = cell(x[:, t], state)
            outputs.append(output)
        return tg.stack(outputs, axis=1), state

    assert_same(Run(cell, x, None, state, impl=impl), Run(cell, x, None, state, drive=loop))


@each_impl
@pytest.mark.parametrize("lengths", [None, [3, 5, 0, 2]])
def test_a_stack_is_its_layers_one_after_another(impl, lengths):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make("stack")
    state = random_state(cell, 4)

    def one_by_one(cell, x, lengths, state, **options):
        finals = []
        for layer, initial in zip(cell.cells, state, strict=True):
            x, final = rnn.dynamic_rnn(layer, x, lengths, initial, **options)
            finals.append(final)
        return x, tuple(finals)

    mine = Run(cell, x, lengths, state, impl=impl)
    assert isinstance(mine.state[0], rnn.LSTMState)
    assert_same(mine, Run(cell, x, lengths, state, drive=one_by_one, impl=impl))


@each_impl
def test_lengths_of_all_steps_are_as_none(impl):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make("lstm")
    assert_same(Run(cell, x, None, impl=impl), Run(cell, x, [5] * 4, impl=impl), 0)


@each_impl
@each_cell
def test_a_sequence_in_two_chunks(name, impl):
    """The state of the first chunk carried into the second gives the whole; detached, only the values."""
    x = np.random.default_rng(0).normal(size=(4, 6, D))
    cell = make(name)

    def chunked(cell, x, lengths, state, **options):
        a, middle = rnn.dynamic_rnn(cell, x[:, :2], None, state, **options)
        b, final = rnn.dynamic_rnn(cell, x[:, 2:], None, middle, **options)
        return tg.concatenate([a, b], axis=1), final

    state = random_state(cell, 4)
    assert_same(Run(cell, x, None, state, impl=impl), Run(cell, x, None, state, drive=chunked, impl=impl))
    _, middle = rnn.dynamic_rnn(cell, x[:, :2], None, state, impl=impl)
    cut = rnn.detach(middle)
    assert type(cut) is type(middle)
    assert not any(part.requires_grad for part in leaves_of(cut))


# -- small, empty, dtypes --------------------------------------------------------------------------------------------------


@each_impl
@each_cell
@pytest.mark.parametrize(("batch", "steps"), [(0, 3), (2, 0), (0, 0), (1, 1), (3, 1)])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_and_small(name, impl, batch, steps, ragged, dtype):
    x = np.random.default_rng(0).normal(size=(batch, steps, D)).astype(dtype)
    lengths = np.arange(batch) % (steps + 1) if ragged else None
    cell = make(name, dtype=dtype)
    for drive in (rnn.dynamic_rnn, backward_only):
        run = Run(cell, x, lengths, random_state(cell, batch, dtype=dtype), drive=drive, impl=impl)
        assert run.output.shape == (batch, steps, cell.output_size)
        assert all(s.shape[0] == batch for s in leaves_of(run.state))
        assert all(a.dtype == dtype for a in run.everything)
        assert Run(cell, x, lengths, drive=drive, impl=impl).output.dtype == dtype
    turned = rnn.dynamic_rnn(cell, np.swapaxes(x, 0, 1), lengths, time_major=True, impl=impl)[0]
    assert turned.shape == (steps, batch, cell.output_size)


@each_impl
@pytest.mark.parametrize("name", [n for n in CELLS if "residual" not in n and n != "nested"])
def test_one_feature(name, impl):
    cell = make(name, inputs=1)
    x = np.random.default_rng(0).normal(size=(2, 3, 1))
    assert Run(cell, x, [3, 1], impl=impl).dx.shape == (2, 3, 1)


@each_impl
def test_rows_without_a_step_only(impl):
    x = np.full((3, 4, D), np.nan)
    cell = make("lstm")
    state = random_state(cell, 3)
    run = Run(cell, x, [0, 0, 0], state, impl=impl)
    assert not run.output.data.any()
    for part, initial in zip(leaves_of(run.state), leaves_of(state), strict=True):
        np.testing.assert_array_equal(part.data, initial.data)
    assert not any(g.any() for g in [run.dx, *run.dparameters])


@each_impl
@each_cell
def test_float32_stays_float32(name, impl):
    """Everything, gradients too, and near what float64 gives."""
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    lengths = [3, 5, 0, 2]
    wide = Run(make(name), x, lengths, random_state(make(name), 4), impl=impl)
    cell = make(name, dtype=np.float32)
    for drive in (rnn.dynamic_rnn, backward_only):
        state = random_state(cell, 4, dtype=np.float32)
        narrow = Run(cell, x.astype(np.float32), lengths, state, drive=drive, impl=impl)
        assert all(a.dtype == np.float32 for a in narrow.everything)
        if drive is rnn.dynamic_rnn:
            for a, b in zip(narrow.everything, wide.everything, strict=True):
                np.testing.assert_allclose(a, b, atol=3e-5)


@each_impl
@pytest.mark.parametrize("training", [True, False])
def test_float32_through_random_wrappers(impl, training):
    inner = rnn.ZoneoutWrapper(rnn.LSTMCell(H), np.float64(0.3))
    for variational in (True, False):
        cell = rnn.DropoutWrapper(inner, np.float64(0.5), 0.5, 0.5, variational_recurrent=variational)
        cell.build(D).train(training)
        run = Run(cell, np.ones((4, 5, D), np.float32), [3, 5, 0, 2], cell.zero_state(4), impl=impl)
        assert all(a.dtype == np.float32 for a in run.everything)


@each_impl
@each_cell
def test_without_recording(name, impl):
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = make(name)
    wanted, _ = rnn.dynamic_rnn(cell, x, [3, 5, 0, 2], impl=impl)
    with tg.no_grad():
        outputs, state = rnn.dynamic_rnn(cell, x, [3, 5, 0, 2], impl=impl)
    assert not outputs.requires_grad
    assert not any(s.requires_grad for s in leaves_of(state))
    np.testing.assert_array_equal(outputs.data, wanted.data)


@each_impl
def test_read_only_and_strided_inputs(impl):
    x = np.random.default_rng(0).normal(size=(5, 4, D)).swapaxes(0, 1)[:, ::-1]
    x.flags.writeable = False
    lengths = np.array([3, 5, 0, 2])
    lengths.flags.writeable = False
    before = x.copy()
    cell = make("gru")
    assert_same(Run(cell, x, lengths, impl=impl), Run(cell, x.copy(), list(lengths), impl=impl))
    np.testing.assert_array_equal(x, before)


@each_impl
def test_the_cell_is_built_by_the_first_call_and_only_then(impl):
    cell = rnn.MultiRNNCell([rnn.LSTMCell(2), OwnCell(3)])
    assert not cell.built
    rnn.dynamic_rnn(cell, np.ones((2, 3, 4)), impl=impl)
    first = [p.data for p in cell.parameters()]
    assert [p.shape for p in cell.parameters()] == [(4, 8), (2, 8), (8,), (2, 3), (3,)]
    assert all(a.dtype == np.float64 for a in first)
    rnn.dynamic_rnn(cell, np.ones((5, 1, 4)), impl=impl)
    assert all(p.data is a for p, a in zip(cell.parameters(), first, strict=True))


# -- custom cells ----------------------------------------------------------------------------------------------------------


class LogCell(OwnCell):
    """A step for positive inputs only: at 0 its value and its slope are infinite."""

    def call(self, x: Any, h: Any) -> Any:
        return super().call(tg.log(x), h)


@each_impl
@pytest.mark.parametrize("filling", [0.0, -1.0, np.nan])
def test_padding_never_reaches_a_cell_that_could_not_bear_it(impl, filling):
    """The padding is replaced by a real step of the same row, so the step is not evaluated outside its domain."""
    x = np.random.default_rng(0).uniform(0.5, 2, (3, 5, D))
    lengths = np.array([3, 5, 1])
    cell = LogCell(H).build(D, np.float64)
    x[np.arange(5) >= lengths[:, None]] = filling
    for drive in (rnn.dynamic_rnn, backward_only):
        run = Run(cell, x, lengths, random_state(cell, 3), drive=drive, impl=impl)
        assert all(np.isfinite(a).all() for a in run.everything)
        assert np.all(run.dx[np.arange(5) >= lengths[:, None]] == 0)


class Noisy(rnn.RNNCell):
    """A cell that draws: an array for every step, and one for the whole sequence."""

    state_size = output_size = H

    def build_parameters(self, input_size: int) -> None:
        self.add("kernel", (input_size, H), "glorot_uniform")
        self.sequences = 0

    def draw(self, shape: Any, dtype: Any) -> Any:
        self.sequences += 1
        rng = np.random.default_rng(1)
        return rng.normal(size=(*shape[:2], H)).astype(dtype), (rng.normal(size=(shape[0], H)).astype(dtype),)

    def call(self, x: Any, h: Any, drawn: Any) -> Any:
        noise, (shift,) = drawn
        h = tg.tanh(x @ self.kernel + 0.5 * h + noise) + shift
        return h, h


@each_impl
def test_a_cell_draws_once_a_sequence(impl):
    """The same on every path, inside wrappers and stacks too."""
    x = np.random.default_rng(0).normal(size=(4, 5, D))
    cell = Noisy().build(D, np.float64)
    state = random_state(cell, 4)
    plain = Run(cell, x, [3, 5, 0, 2], state, impl=impl)
    assert cell.sequences == 1
    assert_same(plain, Run(cell, x, [3, 5, 0, 2], state, impl="unrolled"))
    for wrapped in (rnn.DropoutWrapper(cell), rnn.ResidualWrapper(cell, lambda x, o: o)):
        assert_same(plain, Run(wrapped, x, [3, 5, 0, 2], state, impl=impl))
    assert cell.sequences == 4
    rng = np.random.default_rng(1)
    noise, shift = rng.normal(size=(4, 5, H)), rng.normal(size=(4, H))
    h = state.data
    for t in range(2):
        h = np.tanh(x[:, t] @ cell.kernel.data + 0.5 * h + noise[:, t]) + shift
        np.testing.assert_allclose(plain.output.data[[0, 1, 3], t], h[[0, 1, 3]], atol=1e-14)


class Pair(NamedTuple):
    slow: Any
    fast: Any


class TwoSpeeds(rnn.RNNCell):
    """A state of a custom type, with parts of different sizes, one of them nested."""

    state_size = Pair(H, (1, 3))
    output_size = H

    def call(self, x: Any, state: Pair) -> Any:
        one, three = state.fast
        slow = 0.9 * state.slow + tg.tanh(x[:, :H] + one)
        return slow, Pair(slow, (one * 0.5 + three.sum(axis=1, keepdims=True), tg.sin(three + x)))


@each_impl
def test_states_of_a_custom_structure(impl):
    cell = TwoSpeeds()
    x = np.random.default_rng(0).normal(size=(3, 4, D))
    state = random_state(cell, 3)
    run = Run(cell, x, [4, 0, 2], state, impl=impl)
    assert isinstance(run.state, Pair)
    assert [s.shape for s in leaves_of(run.state)] == [(3, H), (3, 1), (3, 3)]
    np.testing.assert_array_equal(run.state.fast[1].data[1], state.fast[1].data[1])
    zeros = cell.zero_state(3, np.float64)
    assert isinstance(zeros, Pair)
    assert_same(Run(cell, x, [4, 0, 2], zeros, impl=impl), Run(cell, x, [4, 0, 2], zeros, impl=impl), 0)
    tensors = [tg.tensor(x, requires_grad=True), *leaves_of(state)]
    for order in (1, 2):
        assert tg.gradcheck(lambda x, *_: rnn.dynamic_rnn(cell, x, [4, 0, 2], state, impl=impl), tensors, order=order)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_a_cells_own_zero_state_is_where_a_run_begins(impl):
    class Begins(rnn.GRUCell):
        def zero_state(self, batch_size, dtype=np.float32):
            return tg.Tensor(np.full((batch_size, self.num_units), 0.5, dtype))

    cell, x = Begins(3, seed=0), np.ones((2, 4, 5), np.float32)
    begun = rnn.dynamic_rnn(cell, x, initial_state=np.full((2, 3), 0.5, np.float32), impl=impl)[0]
    assert np.array_equal(rnn.dynamic_rnn(cell, x, impl=impl)[0].data, begun.data)
    cell.zero_state = lambda batch_size, dtype: tg.Tensor(np.ones((2, 3), dtype))
    begun = rnn.dynamic_rnn(cell, x, initial_state=np.ones((2, 3), np.float32), impl=impl)[0]
    assert np.array_equal(rnn.dynamic_rnn(cell, x, impl=impl)[0].data, begun.data)
