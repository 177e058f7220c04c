"""The layer-normalized LSTM cell: TensorFlow's own numbers, its gradients, and that drivers say how they run it."""

from __future__ import annotations

import doctest
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

F8 = np.float64


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def made(units: int = 4, inputs: int = 3, **options: Any) -> Any:
    """A built cell with gains and shifts other than the initial ones."""
    cell = rnn.LayerNormLSTMCell(units, seed=0, **options).build(inputs, F8)
    for i, p in enumerate(cell.parameters()):
        p.data = p.data + 0.3 * array(*p.shape, seed=i)
    return cell


def by_hand(cell: Any, x: np.ndarray, c: np.ndarray, h: np.ndarray, drawn: Any = 1) -> tuple[np.ndarray, np.ndarray]:
    """The step as the paper and TensorFlow write it, gate by gate; drawn: the dropout of what is added to c."""

    def norm(v: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
        return (v - v.mean(-1, keepdims=True)) / np.sqrt(v.var(-1, keepdims=True) + 1e-12) * gain + shift

    def sigmoid(v: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-v))

    p = {name: np.asarray(a) for name, a in cell.state_dict().items()}
    z = np.split(np.concatenate([x, h], 1) @ np.concatenate([p["kernel"], p["recurrent_kernel"]]), 4, -1)
    i, f, g, o = (norm(*v) for v in zip(z, np.split(p["gain"], 4), np.split(p["shift"], 4), strict=True))
    c = norm(sigmoid(f) * c + sigmoid(i) * np.tanh(g) * drawn, p["state_gain"], p["state_shift"])
    return c, sigmoid(o) * np.tanh(c)


def test_the_step_is_the_formula() -> None:
    cell, x, c, h = made(), array(2, 3), array(2, 4, seed=1), array(2, 4, seed=2)
    output, state = cell(x, rnn.LSTMState(c, h))
    wanted_c, wanted_h = by_hand(cell, x, c, h)
    assert np.allclose(state.c.data, wanted_c, atol=1e-13)
    assert np.allclose(output.data, wanted_h, atol=1e-13)
    assert np.array_equal(state.h.data, output.data)


@pytest.mark.parametrize("inputs", [2, 3])
def test_tensorflows_own_numbers(inputs: int) -> None:
    """Those of TensorFlow 1.15's unit test of LayerNormBasicLSTMCell: every weight 0.5, two units."""
    cell = rnn.LayerNormLSTMCell(2, kernel_initializer=lambda s, d: np.full(s, 0.5, d), recurrent_initializer="zeros")
    cell.build(inputs, F8)
    cell.recurrent_kernel.data = np.full((2, 8), 0.5)
    state = rnn.LSTMState(c=np.array([[0, 0.1]]), h=np.array([[0.2, 0.3]]))
    output, new = cell(np.ones((1, inputs)), state)
    assert np.allclose(output.data, [[-0.38079708, 0.38079708]], atol=1e-7)
    assert np.allclose(new.c.data, [[-1, 1]], atol=1e-7)


@pytest.mark.parametrize("lengths", [None, [3, 0, 2]])
def test_gradients_of_both_orders(lengths: Any) -> None:
    cell = made(3, 2)
    x, c, h = (tg.tensor(a, requires_grad=True) for a in (array(3, 3, 2), array(3, 3, seed=1), array(3, 3, seed=2)))

    def run(x: Any, c: Any, h: Any, *_: Any) -> Any:
        outputs, state = rnn.dynamic_rnn(cell, x, lengths, rnn.LSTMState(c, h))
        return outputs, state.c

    assert tg.gradcheck(run, [x, c, h, *cell.parameters()])
    assert tg.gradgradcheck(run, [x, c, h, *cell.parameters()])


def test_drivers_run_it_fused() -> None:
    cell, x = made(), array(2, 5, 3)
    assert rnn.explain(cell, x).path == "fused"
    stack = rnn.MultiRNNCell([cell, rnn.LSTMCell(2)])
    assert [path for _, path, _ in rnn.explain(stack, x).paths] == ["fused", "fused"]
    _, _, trace = rnn.dynamic_rnn(cell, x, return_trace=True)
    assert set(trace) == set("ifgoch")


def test_initial_weights_and_state_dict() -> None:
    cell = rnn.LayerNormLSTMCell(2, forget_bias=2.0, norm_gain=0.5, norm_shift=0.25).build(3)
    assert cell.gain.tolist() == [0.5] * 8
    assert cell.shift.tolist() == [0.25, 0.25, 2.25, 2.25, 0.25, 0.25, 0.25, 0.25]
    assert cell.state_gain.tolist() == [0.5, 0.5]
    assert {p.dtype for p in cell.parameters()} == {np.dtype(np.float32)}
    other = rnn.LayerNormLSTMCell(2)
    other.load_state_dict(cell.state_dict())
    x = array(2, 5, 3).astype(np.float32)
    assert np.array_equal(rnn.dynamic_rnn(other, x)[0].data, rnn.dynamic_rnn(cell, x)[0].data)


def test_recurrent_dropout_acts_in_training_only() -> None:
    cell = made(dropout_keep_prob=0.5, dropout_prob_seed=0)
    plain = made()
    x = array(2, 5, 3)
    assert not np.array_equal(rnn.dynamic_rnn(cell, x)[0].data, rnn.dynamic_rnn(cell, x)[0].data)
    with tg.training(False):
        assert np.array_equal(rnn.dynamic_rnn(cell, x)[0].data, rnn.dynamic_rnn(plain, x)[0].data)
    assert repr(cell) == "LayerNormLSTMCell(4, input_size=3, dropout_keep_prob=0.5)"


def test_recurrent_dropout_acts_on_what_is_added_to_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Semeniuta et al. 2016: g is dropped, at every step anew, so that the memory c itself is never erased."""
    cell, x = made(dropout_keep_prob=0.25), array(2, 3, 3)
    masks = np.where(array(2, 3, 4, seed=5) > 0.2, 4.0, 0.0)
    monkeypatch.setattr(cell, "draw", lambda shape, dtype: masks)
    c, h = np.zeros((2, 4)), np.zeros((2, 4))
    with tg.training(True):
        outputs = rnn.dynamic_rnn(cell, x)[0].data
    for t in range(3):
        c, h = by_hand(cell, x[:, t], c, h, masks[:, t])
        np.testing.assert_allclose(outputs[:, t], h, atol=1e-12)


def test_masks_of_recurrent_dropout() -> None:
    cell = made(units=50, dropout_keep_prob=0.25, dropout_prob_seed=1)
    with tg.training(True):
        drawn = cell.draw((7, 20, 3), np.dtype(np.float32))
        assert cell.draw((7, 20, 3), np.dtype(np.float32)).tolist() != drawn.tolist()
    assert (drawn.shape, drawn.dtype) == ((7, 20, 50), np.float32)
    assert set(np.unique(drawn)) == {0.0, 4.0}
    assert (drawn > 0).mean() == pytest.approx(0.25, abs=0.02)
    with tg.training(False):
        assert cell.draw((7, 20, 3), np.dtype(np.float32)) == ()
    with tg.training(True):
        assert made(dropout_keep_prob=1.0).draw((7, 20, 3), np.dtype(np.float32)) == ()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: rnn.LayerNormLSTMCell(2, dropout_keep_prob=1.1), ValueError, r"dropout_keep_prob is 1\.1, expected"),
        (lambda: rnn.LayerNormLSTMCell(2, dropout_keep_prob=True), ValueError, r"dropout_keep_prob is True, expected"),
        (lambda: rnn.LayerNormLSTMCell(0), ValueError, r"LayerNormLSTMCell: num_units is 0"),
        (lambda: rnn.LayerNormLSTMCell(2, dropout_keep_prob=0), ValueError, r"dropout_keep_prob is 0, expected"),
        (lambda: rnn.LayerNormLSTMCell(2, bias_initializer="ones"), TypeError, r"it has no bias.*norm_shift"),
    ],
)
def test_bad_input(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_docstrings() -> None:
    result = doctest.testmod(import_module("tinygrad_rnn.rnn.layer_norm"))
    assert result.attempted == 6
    assert not result.failed
