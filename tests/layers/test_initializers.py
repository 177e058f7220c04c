"""The Keras initializers: variances, supports, names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tinygrad_rnn import initializers as init

SHAPE = (400, 300)


@pytest.mark.parametrize(
    ("make", "variance", "limit"),
    [
        (init.GlorotUniform, 2 / 700, np.sqrt(6 / 700)),
        (init.GlorotNormal, 2 / 700, 2 * np.sqrt(2 / 700) / 0.8796),
        (init.HeUniform, 2 / 400, np.sqrt(6 / 400)),
        (init.HeNormal, 2 / 400, 2 * np.sqrt(2 / 400) / 0.8796),
        (init.LecunUniform, 1 / 400, np.sqrt(3 / 400)),
        (init.LecunNormal, 1 / 400, 2 * np.sqrt(1 / 400) / 0.8796),
    ],
)
def test_variance_and_support(make: Any, variance: float, limit: float) -> None:
    w = make(seed=0)(SHAPE, np.float64)
    assert abs(w.mean()) < 3 * np.sqrt(variance / w.size)
    np.testing.assert_allclose(w.var(), variance, rtol=0.02)
    assert 0.99 * limit < np.abs(w).max() <= limit * 1.0001


def test_truncated_normal_and_identity() -> None:
    w = init.TruncatedNormal(1.0, 0.5, seed=0)(SHAPE, np.float64)
    assert 0 <= w.min() < w.max() <= 2
    assert init.TruncatedNormal(seed=0)((), np.float32).shape == ()
    np.testing.assert_array_equal(init.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])


@pytest.mark.parametrize("name", sorted(init._BY_NAME))
def test_every_name_gives_an_array_of_its_shape_and_dtype(name: str) -> None:
    assert init.get(name)((3, 4), np.float64).shape == (3, 4)
    assert init.get(name)((3, 4), np.float32).dtype == np.float32


@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (4, 6), (1, 3)])
def test_orthogonal_is_the_factor_whose_triangle_has_a_positive_diagonal(shape: tuple[int, int]) -> None:
    """Only with these signs is the Q of a random normal matrix uniform over the orthogonal ones [Mezzadri 2007]."""
    for seed in range(20):
        a = np.random.default_rng(seed).normal(size=(max(shape), min(shape)))
        q = init.Orthogonal(seed=seed)(shape, np.float64)
        q = q if shape[0] >= shape[1] else q.T
        r = q.T @ a
        assert np.all(np.diag(r) > 0)
        np.testing.assert_allclose(np.tril(r, -1), 0, atol=1e-12)
        np.testing.assert_allclose(q.T @ q, np.eye(min(shape)), atol=1e-12)
    scaled = init.Orthogonal(2.5, seed=0)((3, 3), np.float64)
    np.testing.assert_allclose(scaled @ scaled.T, 6.25 * np.eye(3), atol=1e-12)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="mode is 'fan'"):
        init.VarianceScaling(mode="fan")
    with pytest.raises(ValueError, match="distribution is 'normal'"):
        init.VarianceScaling(distribution="normal")
    for make in (init.HeNormal, init.Identity, init.GlorotUniform):
        with pytest.raises(ValueError, match=f"{make.__name__}: got shape"):
            make()((3,))
