"""Cells as modules: astype, state_dict there and back, loads that fail, copies, modes."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)


class Model(tg.Module):
    """A cell inside a module that is none."""

    def __init__(self, cell: rnn.RNNCell) -> None:
        self.cell = cell

    def forward(self, x):
        return rnn.dynamic_rnn(self.cell, x)[0]


@pytest.mark.parametrize("where", ["model", "cell"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: rnn.DropoutWrapper(rnn.LSTMCell(2)),
        lambda: rnn.MultiRNNCell([rnn.LSTMCell(2), rnn.GRUCell(3)]),
    ],
    ids=["wrapper", "stack"],
)
def test_astype_reaches_what_cells_expect(make, where):
    model = Model(make())
    module = model if where == "model" else model.cell
    before = model(X)
    assert module.astype(np.float64) is module
    assert all(p.dtype == np.float64 for p in module.parameters())
    after = model(X.astype(np.float64))
    assert after.dtype == np.float64
    np.testing.assert_allclose(after.data, before.data, atol=1e-6)
    after.sum().backward()
    assert all(p.grad.dtype == np.float64 for p in module.parameters())
    module.astype(np.float32)
    np.testing.assert_array_equal(model(X).data, before.data)
    with pytest.raises(TypeError, match="built in float32"):
        model(X.astype(np.float64))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, bool])
def test_astype_takes_float32_and_float64_only(dtype):
    cell = rnn.LSTMCell(2).build(4)
    with pytest.raises(TypeError, match=rf"astype: got {np.dtype(dtype)}, expected float32 or float64"):
        cell.astype(dtype)
    assert cell.kernel.dtype == np.float32
