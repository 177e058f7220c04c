"""Stacks of matrices, and arrays of more axes, where an operation counts its axes from the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3), (2, 4, 3, 3), (4, 1, 2, 2)])
def test_eigenvectors_and_norms_of_stacks_of_matrices(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=shape)
    symmetric = a + np.swapaxes(a, -1, -2)

    def again(x: Any) -> Any:
        values, vectors = np.linalg.eigh((x + tg.swapaxes(x, -1, -2)) / 2)
        return (vectors * values[..., None, :]) @ tg.swapaxes(vectors, -1, -2)

    x, w = tg.tensor(symmetric, requires_grad=True), rng.normal(size=shape)
    reconstructed = again(x)
    np.testing.assert_allclose(reconstructed.data, symmetric, atol=1e-10)
    (reconstructed * w).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, (w + np.swapaxes(w, -1, -2)) / 2, atol=1e-8)
    for order in (None, "fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf):
        wanted = np.linalg.norm(a, order, axis=(-2, -1))
        np.testing.assert_allclose(np.linalg.norm(tg.tensor(a), order, axis=(-2, -1)).data, wanted, rtol=1e-10)
    for order in (None, 1, 2, 3, np.inf, -np.inf):
        for axis in (0, -1):
            wanted = np.linalg.norm(a, order, axis=axis)
            np.testing.assert_allclose(np.linalg.norm(tg.tensor(a), order, axis=axis).data, wanted, rtol=1e-10)
