"""Rows gathered from a table and scattered back by addition: every implementation against NumPy's take and add.at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels import training
from tinygrad_rnn.ops.index import getitem, scatter_add

IMPLEMENTATIONS = kernels.implementations()


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 50),
    inner=st.sampled_from([(1,), (7,), (16,), (130,), (3, 5), (0,)]),
    shape=st.sampled_from([(0,), (3,), (40,), (6, 9), (500,)]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    signed=st.booleans(),
)
def test_rows_are_added_where_they_were_picked(
    isa: str, seed: int, rows: int, inner: Any, shape: Any, dtype: Any, signed: bool
) -> None:
    rng = np.random.default_rng(seed)
    index = rng.integers(-rows if signed else 0, rows, shape)
    values = rng.integers(-1000, 1000, (*shape, *inner)).astype(dtype)  # whole numbers: sums are exact
    expected = np.zeros((rows, *inner), dtype)
    np.add.at(expected, index, values)
    with kernels.using(isa):
        sums = scatter_add(values, index=index, shape=(rows, *inner))
        picked = getitem(sums, index=index)
    assert sums.dtype == dtype
    assert np.array_equal(sums, expected)
    assert np.array_equal(picked, expected[index])


@pytest.mark.parametrize("isa", IMPLEMENTATIONS)
def test_large_lookups(isa: str) -> None:
    rng = np.random.default_rng(0)
    table, index = rng.standard_normal((1000, 128)).astype(np.float32), rng.integers(-1000, 1000, (32, 50))
    with kernels.using(isa):
        x = tg.tensor(table, requires_grad=True)
        y = tg.take(x, index, axis=0)
        assert np.array_equal(y.data, table[index])
        y.backward(g := rng.standard_normal(y.shape).astype(np.float32))
        expected = np.zeros(table.shape)
        np.add.at(expected, index, g.astype(np.float64))
        assert np.allclose(x.grad, expected, rtol=1e-5, atol=1e-5)
        for wrong in (1000, -1001):
            index[3, 4] = wrong
            with pytest.raises(IndexError, match=f"index {wrong} is out of bounds for axis 0 with size 1000"):
                getitem(table, index=index)
            with pytest.raises(IndexError, match=f"index {wrong} is out of bounds"):
                scatter_add(g, index=index, shape=table.shape)


def test_sums_are_made_in_one_order() -> None:
    rng = np.random.default_rng(0)
    values, index = rng.standard_normal((5000, 96)).astype(np.float32), rng.integers(0, 7, 5000)
    before, results = kernels.get_num_threads(), []
    for threads in (1, 2, 3):
        kernels.set_num_threads(threads)
        results.append(scatter_add(values, index=index, shape=(7, 96)))
    kernels.set_num_threads(before)
    assert all(np.array_equal(a, results[0]) for a in results)


def test_memory_is_used_again_when_an_array_has_gone() -> None:
    if IMPLEMENTATIONS[0] == "reference":
        pytest.skip("NumPy's own memory")
    shape = (307, 1021)  # of no other test, whose memory might be taken in its place
    first = training.empty(shape, np.float32)
    where = first.ctypes.data
    part = first[3:5]
    del first
    second = training.empty(shape, np.float32)
    assert second.ctypes.data != where  # a part of the first is still held
    del part
    third = training.empty(shape, np.float32)
    assert third.ctypes.data == where
    assert third.flags.writeable
    third[...] = 1
    second[...] = 2
    assert np.all(third == 1)


def test_a_step_faults_on_no_page() -> None:
    """After the first steps a training step allocates no memory from the system."""
    resource = pytest.importorskip("resource")
    if IMPLEMENTATIONS[0] == "reference":
        pytest.skip("NumPy's own memory")
    nn, optim = tg.nn, tg.optim
    embedding, lstm, head = nn.Embedding(2000, 64), nn.LSTM(64, 64, batch_first=True), nn.Linear(64, 2000)
    optimizer = optim.Adam([*embedding.parameters(), *lstm.parameters(), *head.parameters()])
    ids = np.random.default_rng(0).integers(0, 2000, (20, 35))

    def step() -> None:
        optimizer.zero_grad()
        tg.softmax_cross_entropy(head(lstm(embedding(ids))[0]), targets=ids).backward()
        optim.clip_by_global_norm(optimizer.params, 1.0)
        optimizer.step()

    for _ in range(5):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 1400, "in ten steps fewer than the pages of one array of logits"
