"""Cells and wrappers on simple numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.drawn import Drawn

import tinygrad_rnn as tg
from tinygrad_rnn import rnn


def test_wrappers_show_what_they_change() -> None:
    cell = rnn.GRUCell(2)
    assert repr(rnn.DropoutWrapper(cell, output_keep_prob=0.5)).startswith("DropoutWrapper(output_keep_prob=0.5")
    shown = repr(rnn.DropoutWrapper(cell, 0.25, 1.0, 0.5))
    assert "input_keep_prob=0.25, state_keep_prob=0.5" in shown
    assert "output" not in shown
    assert "keep_prob" not in repr(rnn.DropoutWrapper(cell))


@pytest.mark.parametrize("size", [0, 1, np.int64(3)])
def test_a_cell_may_have_no_inputs(size: int) -> None:
    cell = rnn.GRUCell(2).build(size)
    assert cell.kernel.shape == (size, 6)
    assert rnn.dynamic_rnn(cell, np.zeros((1, 4, size), np.float32))[0].shape == (1, 4, 2)
    for bad in (-1, True, 2.0, "3"):
        with pytest.raises(ValueError, match="input_size is"):
            rnn.GRUCell(2).build(bad)  # type: ignore[arg-type]


class Constant(rnn.RNNCell):
    """Each step adds 1 to the state."""

    state_size = output_size = 2

    def call(self, x: Any, state: Any) -> tuple[Any, Any]:
        new = state + 1.0
        return new, new


@pytest.mark.parametrize("impl", ["fused", "unrolled"])
@pytest.mark.parametrize(("rate", "wanted"), [(0.0, [1, 2, 3]), (0.25, [0.75, 1.5, 2.25]), (0.5, [0.5, 1.0, 1.5])])
def test_zoneout_outside_training_is_the_mean(rate: float, wanted: list[float], impl: str) -> None:
    """p · old + (1 − p) · new: every step adds 1 − p."""
    cell = rnn.ZoneoutWrapper(Constant(), rate)
    with tg.training(False):
        outputs, state = rnn.dynamic_rnn(cell, np.zeros((1, 3, 1), np.float32), impl=impl)
    assert outputs.data[0, :, 0].tolist() == wanted
    assert state.data[0].tolist() == [wanted[-1]] * 2


@pytest.mark.parametrize("time_major", [False, True])
def test_masks_of_every_step_go_with_time(time_major: bool) -> None:
    """The same seed drops the same elements of the same steps, batch-major or time-major."""
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    cell = rnn.LSTMCell(4, seed=0).build(3)
    outputs = []
    for major in (False, time_major):
        wrapped = rnn.DropoutWrapper(cell, 0.5, 0.5, 0.5, seed=7)
        with tg.training(True):
            y = rnn.dynamic_rnn(wrapped, x.swapaxes(0, 1) if major else x, time_major=major)[0].data
        outputs.append(y.swapaxes(0, 1) if major else y)
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-6)


@pytest.mark.parametrize(("number", "kept"), [(0.0, True), (0.2, True), (0.25, False), (0.99, False)])
def test_chances_are_those_of_the_numbers_below_them(number: float, kept: bool) -> None:
    """Of numbers in [0, 1) those below p are the share p: elements are kept there, a zoneout keeps the old state."""
    x, mask = np.ones((2, 3, 5), np.float32), 4.0 if kept else 0.0
    drawn = Drawn(number)
    with tg.training(True):
        for variational in (False, True):
            cell = rnn.DropoutWrapper(Constant(), 0.25, 0.25, 0.25, variational, seed=drawn)
            masks, _ = cell.draw((2, 3, 5), np.dtype(np.float32))
            for one in (masks[0], masks[1], *masks[2]):
                assert np.unique(one).tolist() == [mask]
        outputs = rnn.dynamic_rnn(rnn.ZoneoutWrapper(Constant(), 0.25, seed=drawn), x)[0].data
        assert outputs[0, :, 0].tolist() == ([0, 0, 0] if kept else [1, 2, 3])
        normed = rnn.LayerNormLSTMCell(2, dropout_keep_prob=0.25, dropout_prob_seed=drawn)
        assert np.unique(normed.draw((2, 3, 5), np.dtype(np.float32))).tolist() == [mask]
