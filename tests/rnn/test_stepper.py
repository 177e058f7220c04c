"""A cell's stepper: the same numbers as the driver, also after training, and errors where streaming is not possible."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import kernels, optim, rnn

X = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)


@pytest.mark.parametrize("name", kernels.implementations())
@pytest.mark.parametrize("cell_type", [rnn.BasicRNNCell, rnn.LSTMCell, rnn.GRUCell])
def test_reload_reads_trained_and_loaded_weights(cell_type, name):
    cell = cell_type(4, seed=1).build(3)
    with kernels.using(name):
        stepper = cell.stepper(batch=2)

        def same():
            stepper.reset()
            steps = np.stack([stepper.step(X[:, t]).copy() for t in range(6)], axis=1)
            return np.allclose(steps, rnn.dynamic_rnn(cell, X)[0].data, rtol=1e-5, atol=1e-6)

        assert same()
        optimizer = optim.SGD(cell.parameters(), 0.5)
        rnn.dynamic_rnn(cell, X)[0].sum().backward()
        optimizer.step()
        assert not same()
        stepper.reload()
        assert same()
        cell.load_state_dict(cell_type(4, seed=2).build(3).state_dict())
        assert not same()
        stepper.reload()
        assert same()


def test_cells_that_cannot_be_streamed_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"stepper: lstm_cell has no weights yet; call \.build\(input_size\)"):
        rnn.LSTMCell(3).stepper()
    stepper = rnn.LSTMCell(3).build(2).stepper()
    with pytest.raises(TypeError, match="x has dtype float64, expected float32 as the weights have"):
        stepper.step(np.ones((1, 2)))
    other = rnn.LSTMCell(3).build(5)
    with pytest.raises(
        ValueError, match=r"reload: kernel has shape \(5, 12\) .* expected those of a cell with 2 inputs"
    ):
        stepper.reload(*[w.data for w in other.parameters()])
    assert tg.kernels.Stepper is kernels.Stepper
