"""Embeddings with sparse=True: the gradient holds the rows that were looked up, and a step touches no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim
from tinygrad_rnn.autodiff.sparse import RowGradient
from tinygrad_rnn.ops.index import rows_of

IDS = np.array([[3, 7, 3], [0, 7, 7]])


def tables(**options: Any) -> tuple[nn.Embedding, nn.Embedding]:
    """A sparse and a dense embedding with the same numbers."""
    one, other = nn.Embedding(10, 4, sparse=True, seed=0, **options), nn.Embedding(10, 4, seed=0, **options)
    return one, other


def loss(embedding: nn.Embedding, ids: Any = IDS) -> Any:
    y = embedding(ids)
    return (y * y * tg.tensor(np.arange(y.size, dtype=y.dtype).reshape(y.shape))).sum()


@pytest.mark.parametrize("padding", [None, 7])
def test_its_gradient_is_the_dense_one(padding: int | None) -> None:
    sparse, dense = tables(padding_idx=padding)
    for _ in range(2):  # the second adds up
        loss(sparse).backward()
        loss(dense).backward()
    g: Any = sparse.weight.grad
    assert isinstance(g, RowGradient)
    assert g.shape == (10, 4)
    assert np.allclose(np.asarray(g), dense.weight.grad, rtol=1e-6)
    rows = g.summed()
    assert rows.index.tolist() == [0, 3, 7]
    assert np.allclose(np.asarray(rows), dense.weight.grad, rtol=1e-6)


def test_a_table_used_by_other_ops_too_has_a_dense_gradient() -> None:
    results = []
    for embedding in tables():
        (loss(embedding) + (embedding.weight * 2).sum() + loss(embedding)).backward()
        results.append(embedding.weight.grad)
    assert isinstance(results[0], np.ndarray)
    assert np.allclose(results[0], results[1], rtol=1e-6)
    embedding, dense = tables()
    doubled = [rows_of(embedding.weight * 2, index=IDS), tg.take(dense.weight * 2, IDS, axis=0)]
    for y in doubled:
        (y * y).sum().backward()
    assert np.allclose(np.asarray(embedding.weight.grad), dense.weight.grad, rtol=1e-6)


def test_functional_gradients_are_arrays_of_any_order() -> None:
    sparse, dense = tables()
    first = [tg.grad(loss(e), e.weight, create_graph=True) for e in (sparse, dense)]
    assert np.allclose(first[0].data, first[1].data)
    second = [tg.grad((g * g).sum(), e.weight) for g, e in zip(first, (sparse, dense), strict=True)]
    assert np.allclose(second[0].data, second[1].data)
    assert isinstance(tg.grad(loss(sparse), sparse.weight).data, np.ndarray)
    assert tg.gradcheck(lambda w: rows_of(w, index=IDS), np.random.default_rng(0).normal(size=(10, 4)))


def test_gradient_descent_is_the_dense_one() -> None:
    sparse, dense = tables()
    for embedding in (sparse, dense):
        optimizer = optim.SGD(embedding.parameters(), 0.01)
        for t in range(5):
            optimizer.zero_grad()
            loss(embedding, IDS + t % 2).backward()
            optim.clip_by_global_norm(optimizer.params, 3.0)
            optimizer.step()
    assert np.allclose(sparse.weight.data, dense.weight.data, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.Adam(p, 0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9),
        lambda p: optim.RMSprop(p, 0.1, centered=True),
    ],
)
def test_rows_looked_up_are_updated_and_the_others_are_unchanged(make: Any) -> None:
    """Rows looked up at every step go as in a dense table, the others keep value and state."""
    sparse, dense = tables()
    optimizers = [make(e.parameters()) for e in (sparse, dense)]
    before = sparse.weight.data.copy()
    for _ in range(4):
        for embedding, optimizer in zip((sparse, dense), optimizers, strict=True):
            optimizer.zero_grad()
            loss(embedding).backward()
            optimizer.step()
    seen, others = [0, 3, 7], [1, 2, 4, 5, 6, 8, 9]
    assert np.allclose(sparse.weight.data[seen], dense.weight.data[seen], rtol=1e-5)
    assert np.array_equal(sparse.weight.data[others], before[others])
    for slot, arrays in optimizers[0].state.items():
        assert np.all(arrays[0][others] == 0)
        assert np.allclose(arrays[0][seen], optimizers[1].state[slot][0][seen], rtol=1e-5)
    assert optimizers[0].counts == [4]


def test_a_row_that_is_not_looked_up_keeps_its_momentum() -> None:
    sparse, dense = tables()
    for embedding in (sparse, dense):
        optimizer = optim.Adam(embedding.parameters(), 0.1)
        for ids in ([[1]], [[2]]):
            optimizer.zero_grad()
            embedding(ids).sum().backward()
            optimizer.step()
    assert not np.allclose(sparse.weight.data[1], dense.weight.data[1])  # dense Adam still updates row 1
    assert np.array_equal(sparse.weight.data[[0, 3]], dense.weight.data[[0, 3]])


def test_arrays_referenced_elsewhere_are_not_changed() -> None:
    embedding, _ = tables()
    optimizer = optim.Adam(embedding.parameters(), 0.1)
    held, copies = [], []
    for _ in range(3):
        held.append((embedding.weight.data, optimizer.state_dict()["m.0"]))
        copies.append([a.copy() for a in held[-1]])
        optimizer.zero_grad()
        loss(embedding).backward()
        optimizer.step()
        assert embedding.weight.data is not held[-1][0]
    for arrays, before in zip(held, copies, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))


def test_clipping() -> None:
    sparse, dense = tables()
    norms = []
    for embedding in (sparse, dense):
        loss(embedding).backward()
        norms.append(optim.clip_by_global_norm([embedding.weight], 0.5))
    assert norms[0] == pytest.approx(norms[1], rel=1e-6)
    assert np.allclose(np.asarray(sparse.weight.grad), dense.weight.grad, rtol=1e-5)
    for embedding in (sparse, dense):
        optim.clip_by_value([embedding.weight], 0.01)
    assert np.allclose(np.asarray(sparse.weight.grad), dense.weight.grad, rtol=1e-5)


def test_its_repr_and_its_numbers() -> None:
    assert repr(nn.Embedding(3, 2, sparse=True)) == "Embedding(3, 2, sparse=True)"
    g = RowGradient(np.array([1, 1]), np.ones((2, 2)), (3, 2))
    assert repr(g) == "RowGradient(2 rows of (3, 2), float64)"
    assert np.asarray(g * 2).tolist() == [[0, 0], [4, 4], [0, 0]]
    assert (np.ones((3, 2)) + g).tolist() == [[1, 1], [3, 3], [1, 1]]
    assert g.astype(np.float32).dtype == np.float32
