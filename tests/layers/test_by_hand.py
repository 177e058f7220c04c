"""Keras's conventions on numbers that can be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import layers, models


@pytest.mark.parametrize("share", [1e-17, 0.001, 0.999])
def test_both_sides_of_a_split_have_examples(share: float) -> None:
    model = models.Sequential([layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((4, 1), np.float32)
    if share == 0.001:  # one example at least is held out
        history = model.fit(x, x, epochs=1, validation_split=share, verbose=0)
        assert "val_loss" in history.history
        return
    with pytest.raises(ValueError, match=r"fit: validation_split is .* of 4 examples, expected some on both sides"):
        model.fit(x, x, epochs=1, validation_split=share, verbose=0)


def test_a_wrapper_is_built_when_both_directions_are() -> None:
    x = np.ones((2, 3, 4), np.float32)
    backward = layers.LSTM(2, go_backwards=True)
    alone = backward(x).data
    both = layers.Bidirectional(layers.LSTM(2), backward_layer=backward)
    assert not both.built
    np.testing.assert_array_equal(both(x).data[:, 2:], alone)
    assert both.built


def test_a_stack_begins_with_zeros_of_its_cells_dtype() -> None:
    cells = [layers.LSTMCell(2), layers.GRUCell(3)]
    stack = layers.StackedRNNCells(cells)
    cells[1].build(2)
    for dtype in (np.float32, np.float64):
        (c, h), (g,) = ([np.asarray(a.data) for a in np_states(s)] for s in stack.get_initial_state(batch_size=4))
        assert ([a.shape for a in (c, h, g)], {a.dtype for a in (c, h, g)}) == (
            [(4, 2), (4, 2), (4, 3)],
            {np.dtype(dtype)},
        )
        assert not any(a.any() for a in (c, h, g))
        for cell in cells:
            if not cell.built:
                cell.build(2)
            cell.astype(np.float64)


def np_states(state: Any) -> list[Any]:
    return list(state) if isinstance(state, (list, tuple)) else [state]
