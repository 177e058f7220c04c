"""Cells as modules: astype, state_dict saved and loaded, loads that fail, copies, modes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn

from .cases import CELLS, make

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
def test_astype_changes_the_dtype_that_cells_expect(make, where):
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


# -- state_dict and loads --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_state_dict_there_and_back(name, dtype):
    """Bit for bit, into a built cell and, where the state determines the sizes, into one not yet built."""
    cell = make(name, 1, dtype)
    state = {path: a.copy() for path, a in cell.state_dict().items()}
    assert all(a.dtype == dtype for a in state.values())
    others = [make(name, 2, dtype)]
    if name not in ("own", "stack"):
        others.append(CELLS[name]())
        assert not others[-1].built
    for other in others:
        other.load_state_dict(state)
        assert list(other.state_dict()) == list(state)
        for path, a in other.state_dict().items():
            assert a.dtype == dtype
            assert a.tobytes() == state[path].tobytes()
            assert not np.shares_memory(a, state[path])
        x = X[:, :, :3].astype(dtype)
        np.testing.assert_array_equal(rnn.dynamic_rnn(other, x)[0].data, rnn.dynamic_rnn(cell, x)[0].data)


def test_paths_in_a_state_dict():
    cell = rnn.MultiRNNCell([rnn.DropoutWrapper(rnn.LSTMCell(2)), rnn.GRUCell(3, reset_after=True)]).build(4)
    assert [(k, a.shape) for k, a in cell.state_dict().items()] == [
        ("cells.0.cell.kernel", (4, 8)),
        ("cells.0.cell.recurrent_kernel", (2, 8)),
        ("cells.0.cell.bias", (8,)),
        ("cells.1.kernel", (2, 9)),
        ("cells.1.recurrent_kernel", (3, 9)),
        ("cells.1.bias", (9,)),
        ("cells.1.recurrent_bias", (9,)),
    ]


def stack(seed: int = 0) -> rnn.MultiRNNCell:
    return rnn.MultiRNNCell([rnn.LSTMCell(2, seed=seed), rnn.DropoutWrapper(rnn.GRUCell(3, seed=seed))])


GOOD = {path: a.copy() for path, a in stack(1).build(4).state_dict().items()}
WITHOUT = {path: a for path, a in GOOD.items() if path != "cells.1.cell.bias"}
FAULTS = [
    (WITHOUT, r"does not fit MultiRNNCell: missing cells\.1\.cell\.bias \(9,\)"),
    ({**GOOD, "extra": np.zeros(3, np.float32)}, r"unexpected extra \(3,\)"),
    ({**GOOD, "cells.0.bias": np.zeros(7)}, r"cells\.0\.bias has shape \(7,\), expected \(8,\)"),
    ({**GOOD, "cells.0.bias": np.zeros(8, int)}, r"cells\.0\.bias has dtype int64, expected floats"),
    ({**WITHOUT, "extra": np.zeros(3)}, r"missing cells\.1\.cell\.bias \(9,\); unexpected extra \(3,\)"),
]


@pytest.mark.parametrize(("state", "text"), FAULTS)
def test_a_failed_load_leaves_a_built_cell_as_it_was(state, text):
    cell = stack().build(4)
    before = cell.state_dict()
    parameters = cell.parameters()
    with pytest.raises(ValueError, match=text):
        cell.load_state_dict(state)
    for path, a in cell.state_dict().items():
        assert a is before[path]
    assert all(p is q for p, q in zip(cell.parameters(), parameters, strict=True))


@pytest.mark.parametrize(
    ("state", "text"),
    [
        *FAULTS,
        ({}, "not built yet, and the state holds no floating matrix 'kernel'"),
        (
            {**GOOD, "cells.1.cell.kernel": np.zeros(3)},
            r"gru_cell is not built yet.*call build\(input_size, dtype\) first",
        ),
    ],
)
def test_a_failed_load_leaves_an_unbuilt_cell_unbuilt(state, text):
    """It can still be built for any size, with the same initial values."""
    cell = stack()
    attributes = [set(vars(module)) - {"input_size", "dtype"} for module in cell.modules()]
    with pytest.raises(ValueError, match=text):
        cell.load_state_dict(state)
    assert not any(module.built for module in cell.modules())
    assert [set(vars(module)) - {"input_size", "dtype"} for module in cell.modules()] == attributes
    assert all(module.input_size is None and module.dtype is None for module in cell.modules())
    cell.build(5, np.float64)
    for path, a in stack().build(5, np.float64).state_dict().items():
        np.testing.assert_array_equal(cell.state_dict()[path], a)


def test_loading_draws_no_random_numbers():
    tg.seed(0)
    wanted = rnn.LSTMCell(2).build(3).kernel.data
    tg.seed(0)
    rnn.LSTMCell(3).load_state_dict(rnn.LSTMCell(3, seed=1).build(2).state_dict())
    np.testing.assert_array_equal(rnn.LSTMCell(2).build(3).kernel.data, wanted)


def test_load_keeps_the_dtype_of_a_built_cell_and_takes_that_of_the_state_otherwise():
    wide = rnn.GRUCell(2, seed=0).build(3, np.float64)
    built = rnn.GRUCell(2).build(3, np.float32)
    built.load_state_dict(wide.state_dict())
    assert built.kernel.dtype == np.float32
    fresh = rnn.GRUCell(2)
    fresh.load_state_dict(wide.state_dict())
    assert fresh.kernel.dtype == fresh.dtype == np.float64
    with pytest.raises(TypeError, match="the cell was built in float64"):
        rnn.dynamic_rnn(fresh, np.ones((1, 2, 3), np.float32))


def test_loading_keeps_the_parameter_objects():
    """A load rebinds data, so an optimiser that holds the parameters continues to update them; its arrays are copies."""
    cell = stack().build(4)
    parameters = cell.parameters()
    state = {path: a.copy() for path, a in GOOD.items()}
    cell.load_state_dict(state)
    assert all(p is q for p, q in zip(cell.parameters(), parameters, strict=True))
    state["cells.0.bias"] += 1
    np.testing.assert_array_equal(cell.state_dict()["cells.0.bias"], GOOD["cells.0.bias"])


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("built", [True, False])
def test_copies(copied, built):
    cell = stack()
    if built:
        cell.build(4)
    other = copied(cell)
    assert other.built == built
    np.testing.assert_array_equal(rnn.dynamic_rnn(cell, X)[0].data, rnn.dynamic_rnn(other, X)[0].data)
    other.cells[0].kernel.data = other.cells[0].kernel.data + 1
    assert not np.array_equal(rnn.dynamic_rnn(cell, X)[0].data, rnn.dynamic_rnn(other, X)[0].data)
    outputs, _ = rnn.dynamic_rnn(other, X)
    outputs.sum().backward()
    assert cell.cells[0].kernel.grad is None
    assert other.cells[0].kernel.grad is not None


def test_repr_and_count():
    cell = stack().build(4)
    assert cell.count_parameters() == 4 * 8 + 2 * 8 + 8 + 2 * 9 + 3 * 9 + 9
    assert "LSTMCell(2, input_size=4)" in repr(cell)
    assert "GRUCell(3, input_size=2, reset_after=False)" in repr(cell)
    assert repr(rnn.BasicRNNCell(3, "relu")) == "BasicRNNCell(3, activation='relu')"


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
def test_copies_hold_the_same_activation(activation):
    for cell in (rnn.BasicRNNCell(2, activation), rnn.LSTMCell(2, activation=activation)):
        for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
            assert other.fused() == cell.fused()
