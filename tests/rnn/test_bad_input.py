"""Invalid input to cells and drivers: the type of each error, and that it names the value, what was expected and the
remedy."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

X = np.ones((3, 5, 4), np.float32)
STEP = X[:, 0]


def lstm() -> rnn.LSTMCell:
    return rnn.LSTMCell(2).build(4)


def in_order(*parts: str) -> str:
    """A pattern: these texts, in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def test_one_step_without_a_state_and_a_mistyped_option() -> None:
    with pytest.raises(
        TypeError, match=in_order("lstm_cell: the state is missing", "zero_state(3, np.float32)", "dynamic_rnn")
    ):
        rnn.LSTMCell(2)(STEP)
    with pytest.raises(
        TypeError, match=in_order("LSTMCell takes no argument forgetbias; it takes", "forget_bias", "use_bias")
    ):
        rnn.LSTMCell(2, forgetbias=1.0)
    with pytest.raises(
        TypeError, match=in_order("GRUCell takes no argument reset_afer; it takes", "reset_after", "seed")
    ):
        rnn.GRUCell(2, reset_afer=True)


# -- states --------------------------------------------------------------------------------------------------------------

STATES = [
    (
        rnn.LSTMCell(2),
        rnn.LSTMCell(2).zero_state(2),
        ValueError,
        ("state.c has shape (2, 2), expected (3, 2): the batch of x", "cell.zero_state(3, np.float32)"),
    ),
    (
        rnn.LSTMCell(2),
        rnn.LSTMState(zeros(3, 2), zeros(3, 3)),
        ValueError,
        ("state.h has shape (3, 3), expected (3, 2)",),
    ),
    (
        rnn.LSTMCell(2),
        zeros(3, 2),
        TypeError,
        ("is ndarray, expected LSTMState of 2 parts ('c', 'h'); cell.zero_state",),
    ),
    (rnn.LSTMCell(2), (zeros(3, 2),), TypeError, ("is tuple of 1, expected LSTMState of 2 parts ('c', 'h')",)),
    (rnn.LSTMCell(2), (zeros(3, 2), None), TypeError, ("state.h is NoneType, expected a tensor of shape (3, 2)",)),
    (rnn.LSTMCell(2), "zeros", TypeError, ("is str, expected LSTMState",)),
    (
        rnn.GRUCell(2),
        "zeros",
        TypeError,
        ("is str, expected a tensor of shape (3, 2); cell.zero_state(3, np.float32)",),
    ),
    (rnn.GRUCell(2), {"h": 1}, TypeError, ("is dict, expected a tensor of shape (3, 2)",)),
    (rnn.GRUCell(2), rnn.LSTMCell(2).zero_state(3), TypeError, ("is LSTMState, expected a tensor of shape (3, 2)",)),
    (
        rnn.GRUCell(2),
        zeros(3, 2, dtype=np.float64),
        TypeError,
        ("has dtype float64, x has float32; use .astype(np.float32) on the state",),
    ),
    (
        rnn.LSTMCell(2),
        rnn.LSTMCell(2).zero_state(3, np.float64),
        TypeError,
        ("state.c has dtype float64, x has float32; use .astype(np.float32)",),
    ),
    (
        rnn.MultiRNNCell([rnn.LSTMCell(2), rnn.GRUCell(2)]),
        (rnn.LSTMCell(2).zero_state(3),),
        TypeError,
        ("state is tuple of 1, expected tuple of 2 parts",),
    ),
    (
        rnn.MultiRNNCell([rnn.LSTMCell(2), rnn.GRUCell(2)]),
        (zeros(3, 2), zeros(3, 2)),
        TypeError,
        ("state[0] is ndarray, expected LSTMState of 2 parts",),
    ),
    (rnn.DropoutWrapper(rnn.GRUCell(2)), zeros(2, 2), ValueError, ("has shape (2, 2), expected (3, 2)",)),
]


@pytest.mark.parametrize(("cell", "state", "error", "parts"), STATES)
def test_wrong_initial_states_are_refused(cell, state, error, parts):
    with pytest.raises(error, match=in_order(*parts)):
        cell(STEP, state)
    with pytest.raises(error, match=in_order("initial_", *parts)):
        rnn.dynamic_rnn(cell, X, initial_state=state)
    assert not cell.built


@pytest.mark.parametrize("side", ["fw", "bw"])
def test_a_state_of_one_direction(side):
    with pytest.raises(ValueError, match=in_order(f"initial_state_{side} has shape (2, 2), expected (3, 2)")):
        rnn.bidirectional_dynamic_rnn(rnn.GRUCell(2), rnn.GRUCell(2), X, **{f"initial_state_{side}": zeros(2, 2)})


def test_states_without_a_dtype_of_their_own_take_the_inputs():
    for dtype in (np.float32, np.float64):
        for state in ([[0.5, 1.0]] * 3, np.ones((3, 2), int), tg.tensor(np.ones((3, 2), bool))):
            output, new = rnn.GRUCell(2)(STEP.astype(dtype), state)
            assert output.dtype == new.dtype == dtype


# -- cells built for something else --------------------------------------------------------------------------------------


def test_another_size_than_the_cell_was_built_for():
    parts = ("lstm_cell: x has shape (3, 5, 3), expected the last axis to be 4, the size the cell was built for",)
    with pytest.raises(ValueError, match=in_order(*parts)):
        rnn.dynamic_rnn(lstm(), X[..., :3])
    with pytest.raises(ValueError, match=in_order("x has shape (3, 3), expected the last axis to be 4")):
        lstm()(STEP[:, :3], lstm().zero_state(3))
    with pytest.raises(ValueError, match=in_order("inputs have 3 features, the cell was built for 4; use a new cell")):
        lstm().build(3)


def test_another_dtype_than_the_cell_was_built_for():
    parts = ("x has dtype float64, the cell was built in float32; use x.astype(np.float32) or cell.astype(np.float64)",)
    with pytest.raises(TypeError, match=in_order(*parts)):
        rnn.dynamic_rnn(lstm(), X.astype(np.float64))
    with pytest.raises(TypeError, match=in_order(*parts)):
        lstm()(STEP.astype(np.float64), lstm().zero_state(3, np.float64))


def stacks(upper: rnn.RNNCell) -> list[rnn.RNNCell]:
    return [rnn.MultiRNNCell([rnn.LSTMCell(3), upper]), rnn.MultiRNNCell([rnn.LSTMCell(3), rnn.DropoutWrapper(upper)])]


@pytest.mark.parametrize("cell", stacks(rnn.GRUCell(2).build(7)))
def test_an_upper_cell_built_for_another_size(cell):
    with pytest.raises(ValueError, match=in_order("gru_cell: inputs have 3 features, the cell was built for 7")):
        rnn.dynamic_rnn(cell, X)


@pytest.mark.parametrize("cell", stacks(rnn.GRUCell(2).build(3, np.float64)))
def test_an_upper_cell_built_in_another_dtype(cell):
    parts = ("gru_cell: inputs have dtype float32, the cell was built in float64; use cell.astype(np.float32)",)
    with pytest.raises(TypeError, match=in_order(*parts)):
        rnn.dynamic_rnn(cell, X)


def test_a_shared_cell_between_unequal_sizes():
    cell = rnn.LSTMCell(2)
    with pytest.raises(ValueError, match=in_order("inputs have 2 features, the cell was built for 4")):
        rnn.dynamic_rnn(rnn.MultiRNNCell([cell, cell], share=True), X)


@pytest.mark.parametrize("size", ["4", -1, 2.5, True, None])
def test_build_with_no_size(size):
    with pytest.raises(
        ValueError, match=in_order(f"lstm_cell: input_size is {size!r}, expected a non-negative integer")
    ):
        rnn.LSTMCell(2).build(size)


def test_build_in_another_dtype():
    with pytest.raises(TypeError, match=in_order("lstm_cell: dtype is float16, expected float32 or float64")):
        rnn.LSTMCell(2).build(4, np.float16)


# -- custom cells --------------------------------------------------------------------------------------------------------


def own(step, state_size=4, output_size=4) -> rnn.RNNCell:
    """A cell of this step and these sizes."""

    class Own(rnn.RNNCell):
        def __init__(self) -> None:
            self.state_size, self.output_size = state_size, output_size

        def call(self, x, state):
            return step(x, state)

    return Own()


OWN = [
    (own(lambda x, h: x + h), TypeError, "own: the step returned Tensor, expected the pair (output, new state)"),
    (own(lambda x, h: (x, h, h)), TypeError, "own: the step returned tuple of 3, expected the pair"),
    (
        own(lambda x, h: (x[:, :3], h)),
        ValueError,
        "own: the step's output has shape (2, 3), expected (2, 4): the batch and",
    ),
    (own(lambda x, h: (x, (h, h))), TypeError, "own: the step's new state is tuple, expected a tensor of shape (2, 4)"),
    (
        own(lambda x, h: (x * np.ones(4), h)),
        TypeError,
        "own: the step's output has dtype float64, x has float32; use .astype(np.float32)",
    ),
    (own(lambda x, h: (x, h[:, :1])), ValueError, "own: the step's new state has shape (2, 1), expected (2, 4)"),
    (
        own(lambda x, s: (x, s[0]), state_size=(4, 4)),
        TypeError,
        "own: the step's new state is Tensor, expected tuple of 2 parts",
    ),
]


@pytest.mark.parametrize(("cell", "error", "text"), OWN)
@pytest.mark.parametrize("lengths", [None, [5, 3]])
def test_what_a_step_must_return(cell, error, text, lengths):
    """Two rows: a step that forgets the state would otherwise be unpacked into its rows."""
    with pytest.raises(error, match=in_order(text)):
        rnn.dynamic_rnn(cell, X[:2], lengths)
    with pytest.raises(error, match=in_order(text)):
        cell(STEP[:2], cell.zero_state(2))


def test_a_cell_must_define_its_sizes_and_its_step():
    class Sizeless(rnn.RNNCell):
        def call(self, x, state):
            return x, state

    class Stepless(rnn.RNNCell):
        state_size = output_size = 4

    with pytest.raises(
        AttributeError, match=in_order("Sizeless sets no state_size: a cell sets state_size and output_size")
    ):
        rnn.dynamic_rnn(Sizeless(), X)
    with pytest.raises(
        TypeError, match=in_order("Stepless defines no call(x, state) that returns (output, new state)")
    ):
        rnn.dynamic_rnn(Stepless(), X)
    with pytest.raises(TypeError, match=in_order("Stepless defines no call(x, state)")):
        Stepless()(STEP, zeros(3, 4))
    with pytest.raises(TypeError, match=in_order("own: state_size is [4, 4], expected an integer or a tuple of such")):
        rnn.dynamic_rnn(own(lambda x, s: (x, s), state_size=[4, 4]), X)


# -- arguments that are not cells, or other cells ------------------------------------------------------------------------

NO_CELLS = [
    (rnn.LSTMCell, "is the class LSTMCell, expected an rnn.RNNCell such as rnn.LSTMCell(64)"),
    ("lstm", "is str 'lstm', expected an rnn.RNNCell"),
    (None, "is NoneType None, expected an rnn.RNNCell"),
    (64, "is int 64, expected an rnn.RNNCell"),
]


@pytest.mark.parametrize(("cell", "text"), NO_CELLS)
def test_an_unknown_cell(cell, text):
    good = rnn.LSTMCell(2)
    for call, name in (
        (lambda: rnn.dynamic_rnn(cell, X), "dynamic_rnn: cell "),
        (lambda: rnn.static_rnn(cell, [STEP]), "static_rnn: cell "),
        (lambda: rnn.bidirectional_dynamic_rnn(cell, good, X), "bidirectional_dynamic_rnn: cell_fw "),
        (lambda: rnn.bidirectional_dynamic_rnn(good, cell, X), "bidirectional_dynamic_rnn: cell_bw "),
        (lambda: rnn.MultiRNNCell([good, cell]), "MultiRNNCell: cells[1] "),
        (lambda: rnn.DropoutWrapper(cell), "DropoutWrapper: cell "),
        (lambda: rnn.ResidualWrapper(cell), "ResidualWrapper: cell "),
        (lambda: rnn.ZoneoutWrapper(cell), "ZoneoutWrapper: cell "),
    ):
        with pytest.raises(TypeError, match=in_order(name + text)):
            call()


def test_an_empty_stack_and_a_stack_of_one_cell_twice_are_refused():
    with pytest.raises(ValueError, match=in_order("MultiRNNCell: cells is empty, expected at least one cell")):
        rnn.MultiRNNCell([])
    with pytest.raises(TypeError, match=in_order("MultiRNNCell: cells is LSTMCell", "expected a list of cells")):
        rnn.MultiRNNCell(rnn.LSTMCell(2))
    cell = rnn.LSTMCell(4)
    remedy = "Make one per layer, [LSTMCell(n) for _ in range(layers)], or pass share=True"
    with pytest.raises(ValueError, match=in_order("cells[0] and cells[2] are the same object", remedy)):
        rnn.MultiRNNCell([cell, rnn.LSTMCell(4), cell])
    with pytest.raises(ValueError, match=in_order("cells[0] and cells[1] hold the same cell", remedy)):
        rnn.MultiRNNCell([rnn.DropoutWrapper(cell, 0.5) for _ in range(2)])
    shared = rnn.MultiRNNCell([cell, cell], share=True)
    assert rnn.dynamic_rnn(shared, X)[0].shape == (3, 5, 4)
    assert len(shared.parameters()) == 3


@pytest.mark.parametrize("p", [0, 1.5, -0.1, np.nan, "0.5", None, [0.5], True])
def test_keep_and_zoneout_probabilities(p):
    for what in ("input", "output", "state"):
        with pytest.raises(
            ValueError, match=in_order(f"DropoutWrapper: {what}_keep_prob is {p!r}, expected a number in (0, 1]")
        ):
            rnn.DropoutWrapper(rnn.LSTMCell(2), **{f"{what}_keep_prob": p})
    if p != 0:
        text = f"ZoneoutWrapper: zoneout_prob is {p!r}, expected a number in [0, 1) or a pair (c, h)"
        with pytest.raises(ValueError, match=in_order(text)):
            rnn.ZoneoutWrapper(rnn.LSTMCell(2), p)


def test_zoneout_of_one_or_a_pair():
    assert rnn.ZoneoutWrapper(rnn.LSTMCell(2), [0.1, 0.2]).zoneout_prob == (0.1, 0.2)
    for p in (1, (0.1, 1.0), (0.1, 0.2, 0.3), (0.1, "0.2")):
        with pytest.raises(
            ValueError, match=in_order("zoneout_prob is ", "expected a number in [0, 1) or a pair (c, h)")
        ):
            rnn.ZoneoutWrapper(rnn.LSTMCell(2), p)


@pytest.mark.parametrize("make", [rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell])
@pytest.mark.parametrize("units", [0, -1, 2.0, "3", True, None])
def test_num_units(make, units):
    with pytest.raises(
        ValueError, match=in_order(f"{make.__name__}: num_units is {units!r}, expected a positive integer")
    ):
        make(units)


@pytest.mark.parametrize("activation", ["tanhh", 3])
def test_activation(activation):
    text = f"BasicRNNCell: activation is {activation!r}, expected one of ('tanh', 'relu', 'sigmoid', 'linear') or a function"
    with pytest.raises(ValueError, match=in_order(text)):
        rnn.BasicRNNCell(2, activation=activation)


def test_other_options_of_cells():
    with pytest.raises(
        ValueError, match=in_order("state_is_tuple=False is not supported; the state is LSTMState(c, h)")
    ):
        rnn.LSTMCell(2, state_is_tuple=False)
    with pytest.raises(
        TypeError, match=in_order("got str, expected a numpy.random.Generator, an integer seed, or None")
    ):
        rnn.LSTMCell(2, seed="1")
    with pytest.raises(
        ValueError, match=in_order("x has shape (3", "4) and the cell's output (3", "2)", "residual_fn must say how")
    ):
        rnn.dynamic_rnn(rnn.ResidualWrapper(rnn.LSTMCell(2)), X)
    for batch in (-1, 2.0, None, True):
        with pytest.raises(
            ValueError, match=in_order(f"zero_state: batch_size is {batch!r}, expected a non-negative integer")
        ):
            rnn.LSTMCell(2).zero_state(batch)
    with pytest.raises(
        AttributeError, match=in_order("has no kernel yet: it is built at the first call, or by cell.build(")
    ):
        _ = rnn.LSTMCell(2).kernel
    with pytest.raises(
        ValueError, match=in_order("lstm_cell has no parameters yet", "Call it once, or lstm_cell.build(input")
    ):
        rnn.LSTMCell(2).parameters()


# -- inputs, lengths, options of the drivers -----------------------------------------------------------------------------


def drivers(x, **options):
    """The three drivers on the same inputs, by name."""
    yield "dynamic_rnn", lambda: rnn.dynamic_rnn(rnn.GRUCell(2), x, **options)
    yield (
        "bidirectional_dynamic_rnn",
        lambda: rnn.bidirectional_dynamic_rnn(rnn.GRUCell(2), rnn.GRUCell(2), x, **options),
    )
    if getattr(x, "ndim", 0) == 3:
        yield "static_rnn", lambda: rnn.static_rnn(rnn.GRUCell(2), list(np.swapaxes(x, 0, 1)), **options)


INPUTS = [
    (X[0], ValueError, "inputs have shape (5, 4), expected (B, T, D); inputs[None] makes a batch of one"),
    (np.float32(1.0), ValueError, "inputs have shape (), expected (B, T, D)"),
    (X[None], ValueError, "inputs have shape (1, 3, 5, 4), expected (B, T, D)"),
    ("hello", TypeError, "inputs are str, expected an array of numbers"),
    (None, TypeError, "inputs are NoneType, expected an array of numbers"),
    (X.astype(complex), TypeError, "complex128, expected float32, float64"),
    (X.astype(np.float16), TypeError, "float16, expected float32, float64"),
    ([[[1.0, 2.0]], [[1.0]]], ValueError, "inputs are list, expected an array of numbers"),
]


@pytest.mark.parametrize(("x", "error", "text"), INPUTS)
def test_inputs(x, error, text):
    for name, call in drivers(x):
        with pytest.raises(error, match=in_order(*([] if name == "static_rnn" else [name + ": "]), text)):
            call()


def test_inputs_time_major():
    text = "inputs have shape (5, 4), expected (T, B, D); inputs[:, None] makes a batch of one"
    with pytest.raises(ValueError, match=in_order(text)):
        rnn.dynamic_rnn(rnn.GRUCell(2), X[0], time_major=True)
    assert rnn.dynamic_rnn(rnn.GRUCell(2), X[0][:, None], time_major=True)[0].shape == (5, 1, 2)


LENGTHS = [
    ([5, 3], ValueError, "sequence_length has shape (2,), expected (3,): one length for each row"),
    (4, ValueError, "sequence_length has shape (), expected (3,)"),
    ([[1, 2, 3]], ValueError, "sequence_length has shape (1, 3), expected (3,)"),
    ([[1], [2, 3], 4], ValueError, "sequence_length is [[1], [2, 3], 4], expected 3 integers"),
    ([5, -1, 4], ValueError, "sequence_length[1] is -1, expected 0 <= length <= 5 (the number of steps)"),
    ([5, 3, 6], ValueError, "sequence_length[2] is 6, expected 0 <= length <= 5 (the number of steps)"),
    (np.array([5, 3, 255], np.uint8), ValueError, "sequence_length[2] is 255, expected 0 <= length <= 5"),
    (np.array([0, 2**64 - 1, 0], np.uint64), ValueError, "sequence_length[1] is 18446744073709551615, expected"),
    ([5, np.nan, 4], TypeError, "sequence_length has dtype float64, expected integers; sequence_length[1] is NaN"),
    (
        [5.0, 3.0, 4.0],
        TypeError,
        "sequence_length has dtype float64, expected integers; use np.asarray(sequence_length, d",
    ),
    ([True, True, False], TypeError, "sequence_length has dtype bool, expected integers"),
    ([None, 1, 2], TypeError, "sequence_length has dtype object, expected integers"),
]


@pytest.mark.parametrize(("lengths", "error", "text"), LENGTHS)
def test_wrong_lengths_are_refused(lengths, error, text):
    for name, call in drivers(X, sequence_length=lengths):
        with pytest.raises(error, match=in_order(f"{name}: {text}")):
            call()


@pytest.mark.parametrize("impl", ["fast", None, 3])
def test_impl(impl):
    for name, call in drivers(X, impl=impl):
        with pytest.raises(
            ValueError, match=in_order(f"{name}: impl is {impl!r}, expected 'auto', 'fused' or 'unrolled'")
        ):
            call()


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
@pytest.mark.parametrize("value", [1, "no", None])
def test_time_major(value, impl):
    with pytest.raises(TypeError, match=in_order(f"dynamic_rnn: time_major is {value!r}, expected True or False")):
        rnn.dynamic_rnn(rnn.LSTMCell(4), X, time_major=value, impl=impl)


@pytest.mark.parametrize("dtype", [int, np.float16, "foo", complex])
def test_dtype(dtype):
    for name, call in drivers(X, dtype=dtype):
        with pytest.raises(TypeError, match=in_order(f"{name}: dtype is ", "expected float32 or float64")):
            call()


def test_dtype_of_other_inputs():
    for name, call in drivers(X, dtype=np.float64):
        text = f"{name}: inputs have dtype float32, but dtype=float64 was asked for; use inputs.astype(np.float64)"
        with pytest.raises(TypeError, match=in_order(text)):
            call()


def test_inputs_without_a_floating_dtype_take_the_one_asked_for_or_the_cells():
    """Integers, booleans and lists of Python numbers."""
    for x in (X.astype(int), X > 0, X.tolist(), tg.tensor(X.astype(int))):
        assert rnn.dynamic_rnn(rnn.GRUCell(2), x)[0].dtype == np.float32
        assert rnn.dynamic_rnn(rnn.GRUCell(2), x, dtype=np.float64)[0].dtype == np.float64
        for cell in (rnn.GRUCell(2).build(4, np.float64), rnn.MultiRNNCell([rnn.GRUCell(2)]).build(4, np.float64)):
            assert rnn.dynamic_rnn(cell, x)[0].dtype == np.float64
            assert rnn.dynamic_rnn(rnn.ResidualWrapper(cell, lambda x, o: o), x)[0].dtype == np.float64


def test_steps_of_static_rnn():
    text = "static_rnn: inputs is a ndarray, expected a list of steps (B, D); dynamic_rnn takes an array"
    with pytest.raises(TypeError, match=in_order(text)):
        rnn.static_rnn(rnn.GRUCell(2), X)
    with pytest.raises(TypeError, match=in_order("static_rnn: inputs is a list of 0, expected a list of steps (B, D)")):
        rnn.static_rnn(rnn.GRUCell(2), [])
    with pytest.raises(
        ValueError, match=in_order("inputs have shapes [(2, 4), (3, 4)], expected one (B, D) for every")
    ):
        rnn.static_rnn(rnn.GRUCell(2), [STEP, STEP[:2]])
    with pytest.raises(ValueError, match=in_order("inputs have shapes [(4,)], expected one (B, D) for every step")):
        rnn.static_rnn(rnn.GRUCell(2), [STEP[0], STEP[0]])


def test_an_error_leaves_the_cell_unbuilt():
    for options in ({"sequence_length": [9, 9, 9]}, {"initial_state": zeros(1, 1)}, {"impl": "fast"}):
        cell = rnn.GRUCell(2)
        with pytest.raises(ValueError, match="expected"):
            rnn.dynamic_rnn(cell, X, **options)
        assert not cell.built


@pytest.mark.parametrize("x", [STEP[0], X])
def test_the_rank_of_a_step(x):
    with pytest.raises(ValueError, match=in_order(f"gru_cell: x has shape {x.shape}, expected (B, D)")):
        rnn.GRUCell(2)(x, zeros(3, 2))


def test_integers_into_a_cell():
    with pytest.raises(
        TypeError, match=in_order("gru_cell: x has dtype int64, expected floats; use x.astype(np.float32)")
    ):
        rnn.GRUCell(2)(STEP.astype(np.int64), zeros(3, 2))


def test_fused_only_where_there_is_a_fused_way():
    cell = own(lambda x, h: (x + h, x + h * float(x.data.sum() != 0)))
    with pytest.raises(ValueError, match=in_order("dynamic_rnn: impl='fused' cannot run own: ", "; use impl='auto'")):
        rnn.dynamic_rnn(cell, X, impl="fused")
    assert rnn.dynamic_rnn(cell, X, impl="auto")[0].shape == (3, 5, 4)
    assert rnn.dynamic_rnn(rnn.LSTMCell(2), X, impl="fused")[0].shape == (3, 5, 2)


@pytest.mark.parametrize("impl", ["auto", "unrolled"])
def test_a_step_names_the_parts_of_a_named_state(impl):
    class Swapped(rnn.RNNCell):
        output_size = 4
        state_size = rnn.LSTMState(4, 4)

        def call(self, x, state):
            c = 0.5 * state.c + x
            return tg.tanh(c), (tg.tanh(c), c)

    with pytest.raises(
        TypeError, match=r"swapped: the step's new state has a plain tuple where .* LSTMState\('c', 'h'\)"
    ):
        rnn.dynamic_rnn(Swapped(), X, impl=impl)
    with pytest.raises(TypeError, match=r"return LSTMState\(c=…, h=…\)"):
        Swapped()(X[:, 0], Swapped().zero_state(3, X.dtype))
