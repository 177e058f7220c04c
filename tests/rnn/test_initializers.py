"""Initial values of parameters: bounds, orthogonality, seeds, and the constant biases."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import initializers, rnn

CELLS = [rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell, lambda n, **o: rnn.GRUCell(n, reset_after=True, **o)]


def numbers(cell: rnn.RNNCell) -> list[np.ndarray]:
    return [p.data for p in cell.build(5).parameters()]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("shape", [(3, 400), (50, 60), (400, 3), (1, 1), (0, 8)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_glorot_uniform_fills_its_bounds(shape, dtype):
    w = initializers.GlorotUniform(0)(shape, dtype)
    limit = np.sqrt(6 / sum(shape))
    assert w.shape == shape
    assert w.dtype == dtype
    assert np.all(np.abs(w) <= limit)
    if w.size > 1000:
        assert np.abs(w).max() > 0.98 * limit
        assert abs(w.mean()) < 0.1 * limit
        np.testing.assert_allclose(w.std(), limit / np.sqrt(3), rtol=0.05)


@pytest.mark.parametrize("shape", [(5, 5), (4, 12), (12, 4), (1, 3), (3, 1)])
def test_orthogonal_both_ways(shape):
    for gain in (1.0, 2.5):
        w = initializers.Orthogonal(gain, seed=1)(shape, np.float64)
        assert w.shape == shape
        product = w @ w.T if shape[0] <= shape[1] else w.T @ w
        np.testing.assert_allclose(product, gain**2 * np.eye(min(shape)), atol=1e-12)


def test_orthogonal_is_uniform_over_signs():
    """Without the correction of signs, QR gives the first diagonal entry one sign always."""
    make = initializers.Orthogonal(seed=0)
    signs = [make((3, 3), np.float64)[0, 0] > 0 for _ in range(300)]
    assert 110 < sum(signs) < 190


def test_uniform_normal_constant():
    h = 16
    w = initializers.RandomUniform(-1 / np.sqrt(h), 1 / np.sqrt(h), seed=0)((100, h), np.float32)
    assert w.dtype == np.float32
    assert 0.24 < np.abs(w).max() <= 0.25
    w = initializers.RandomNormal(1.0, 0.5, seed=0)((100, 100), np.float64)
    np.testing.assert_allclose([w.mean(), w.std()], [1.0, 0.5], atol=0.02)
    assert initializers.Constant(0.3)((2, 2), np.float64).tolist() == [[0.3, 0.3], [0.3, 0.3]]


@pytest.mark.parametrize("make", CELLS)
def test_seeds(make):
    assert same(numbers(make(3, seed=7)), numbers(make(3, seed=7)))
    assert same(numbers(make(3, seed=7)), numbers(make(3, seed=np.random.default_rng(7))))
    assert not same(numbers(make(3, seed=7)), numbers(make(3, seed=8)))
    tg.seed(7)
    first = numbers(make(3)), numbers(make(3))
    assert not same(*first)
    tg.seed(7)
    assert same(first[0], numbers(make(3)))
    assert same(first[1], numbers(make(3)))
    rng = np.random.default_rng(7)
    assert not same(numbers(make(3, seed=rng)), numbers(make(3, seed=rng)))


@pytest.mark.parametrize("make", CELLS)
def test_a_seeded_cell_leaves_the_default_generator_alone(make):
    tg.seed(1)
    wanted = numbers(rnn.LSTMCell(2))
    tg.seed(1)
    numbers(make(3, seed=7))
    assert same(wanted, numbers(rnn.LSTMCell(2)))


def test_biases_are_initialised_at_the_gates_they_belong_to():
    assert rnn.BasicRNNCell(2).build(3).bias.tolist() == [0, 0]
    assert rnn.LSTMCell(2).build(3).bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]
    assert rnn.LSTMCell(2, forget_bias=0.5).build(3).bias.tolist() == [0, 0, 0.5, 0.5, 0, 0, 0, 0]
    assert rnn.LSTMCell(2, bias_initializer="ones").build(3).bias.tolist() == [1, 1, 2, 2, 1, 1, 1, 1]
    assert rnn.GRUCell(2).build(3).bias.tolist() == [1, 1, 1, 1, 0, 0]
    assert rnn.GRUCell(2, gate_bias=-1).build(3).bias.tolist() == [-1, -1, -1, -1, 0, 0]
    after = rnn.GRUCell(2, reset_after=True).build(3)
    assert after.bias.tolist() == after.recurrent_bias.tolist() == [0] * 6


@pytest.mark.parametrize("make", CELLS)
def test_kernels_begin_as_documented(make):
    cell = make(4, seed=0).build(3, np.float64)
    wide = cell.bias.size
    assert cell.kernel.shape == (3, wide)
    assert np.abs(cell.kernel.data).max() <= np.sqrt(6 / (3 + wide))
    u = cell.recurrent_kernel.data
    np.testing.assert_allclose(u @ u.T, np.eye(4), atol=1e-12)


def test_given_initializers():
    cell = rnn.LSTMCell(2, kernel_initializer="ones", recurrent_initializer=initializers.Constant(2.0), seed=0).build(3)
    assert np.all(cell.kernel.data == 1)
    assert np.all(cell.recurrent_kernel.data == 2)
    cell = rnn.GRUCell(2, kernel_initializer=lambda shape, dtype: np.full(shape, 3)).build(3)
    assert cell.kernel.dtype == np.float32


def test_wrong_initializers_are_refused_when_the_cell_is_made():
    with pytest.raises(ValueError, match=r"unknown name 'glorot', expected one of \[.*'glorot_uniform'"):
        rnn.LSTMCell(2, kernel_initializer="glorot")
    for wrong in (np.zeros((3, 8)), 0.0):
        with pytest.raises(TypeError, match=r"expected a name, or a callable of \(shape, dtype\)"):
            rnn.LSTMCell(2, kernel_initializer=wrong)
    with pytest.raises(TypeError, match="initializer: got NoneType"):
        rnn.LSTMCell(2, bias_initializer=None)
    cell = rnn.LSTMCell(2, bias_initializer=lambda shape, dtype: np.zeros(3, dtype))
    with pytest.raises(ValueError, match=r"lstm_cell: the initializer of bias gave shape \(3,\), expected \(8,\)"):
        cell.build(3)
    assert not cell.built
    with pytest.raises(ValueError, match=r"GlorotUniform: got shape \(3,\), expected a matrix"):
        initializers.GlorotUniform()((3,))
    with pytest.raises(ValueError, match=r"Orthogonal: got shape \(3,\), expected a matrix"):
        initializers.Orthogonal()((3,))
