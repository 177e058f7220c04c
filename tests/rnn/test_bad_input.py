"""Wrong input to cells and drivers: each error's type, and that it names what came, what was wanted and the way out."""

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


def says(*parts: str) -> str:
    """A pattern: these texts, in this order."""
    return "(?s)" + ".*".join(map(re.escape, parts))


def zeros(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


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
def test_states(cell, state, error, parts):
    with pytest.raises(error, match=says(*parts)):
        cell(STEP, state)
    with pytest.raises(error, match=says("initial_", *parts)):
        rnn.dynamic_rnn(cell, X, initial_state=state)
    assert not cell.built


@pytest.mark.parametrize("side", ["fw", "bw"])
def test_a_state_of_one_direction(side):
    with pytest.raises(ValueError, match=says(f"initial_state_{side} has shape (2, 2), expected (3, 2)")):
        rnn.bidirectional_dynamic_rnn(rnn.GRUCell(2), rnn.GRUCell(2), X, **{f"initial_state_{side}": zeros(2, 2)})


def test_states_without_a_dtype_of_their_own_take_the_inputs():
    for dtype in (np.float32, np.float64):
        for state in ([[0.5, 1.0]] * 3, np.ones((3, 2), int), tg.tensor(np.ones((3, 2), bool))):
            output, new = rnn.GRUCell(2)(STEP.astype(dtype), state)
            assert output.dtype == new.dtype == dtype
