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


def test_dropout_of_inputs_is_one_mask_a_sequence() -> None:
    """With h' = x (no recurrence, an identity kernel) the outputs show the mask: the same at every step, 0 or 1 / keep."""
    layer = layers.SimpleRNN(6, activation="linear", use_bias=False, dropout=0.5, return_sequences=True, seed=3)
    x = np.ones((4, 5, 6), np.float32)
    layer(x)
    layer.set_weights([np.eye(6, dtype=np.float32), np.zeros((6, 6), np.float32)])
    out = layer(x, training=True).data
    assert set(np.unique(out)) == {0.0, 2.0}
    np.testing.assert_array_equal(out, np.broadcast_to(out[:, :1], out.shape))
    np.testing.assert_array_equal(layer(x).data, x)


def test_hard_shrink_at_zero() -> None:
    found = layers.Activation("hard_shrink")(np.array([[0.0, 0.5, -0.5, 0.6]], np.float32))
    np.testing.assert_array_equal(found.data, np.array([[0.0, 0.0, 0.0, 0.6]], np.float32))
