"""Cotangents are summed over broadcast axes; any other shape raises an error with the likely cause."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.engine import unbroadcast


@pytest.mark.parametrize(
    ("shape", "to"),
    [
        ((), (2, 3)),
        ((3,), (2, 3)),
        ((1,), (2, 3)),
        ((2, 1), (2, 3)),
        ((1, 3), (2, 3)),
        ((1, 1), (2, 3)),
        ((2, 3), (2, 3)),
        ((3, 1), (4, 2, 3, 5)),
        ((2, 1, 5), (4, 2, 3, 5)),
        ((1, 1), (1, 1)),
        ((1,), (0,)),
    ],
)
def test_sums_over_what_was_broadcast(shape: tuple[int, ...], to: tuple[int, ...]) -> None:
    """The cotangent of an entry is the sum over the positions to which it was copied."""
    g = np.random.default_rng(0).normal(size=to)
    places = np.broadcast_to(np.arange(np.prod(shape, dtype=int)).reshape(shape), to)
    wanted = np.array([g[places == i].sum() for i in range(np.prod(shape, dtype=int))]).reshape(shape)
    actual = unbroadcast(g, shape)
    assert actual is not None
    assert actual.shape == shape
    np.testing.assert_allclose(actual, wanted, atol=1e-12)


@pytest.mark.parametrize(("shape", "g"), [((3,), (2, 4)), ((2, 3), (3, 2)), ((2,), (2, 1)), ((3, 1), (2, 2))])
def test_shapes_that_no_broadcasting_gives(shape: tuple[int, ...], g: tuple[int, ...]) -> None:
    assert unbroadcast(np.ones(g), shape) is None


@pytest.mark.parametrize("broadcasts", [False, True])
@pytest.mark.parametrize(
    ("returned", "hint"),
    [((2, 3), True), ((3, 3), True), ((2, 1), False), ((4,), False), ((), False), ((5, 2, 3), True)],
)
def test_a_cotangent_of_another_shape(returned: tuple[int, ...], hint: bool, broadcasts: bool) -> None:
    """The second of inputs of shapes (2, 3) and (3,) gets the wrong shape. The hint is given if summing would make it
    fit."""

    @tg.primitive(label="wrong_vjp", broadcasts=broadcasts, samples=lambda r: [(r(2, 3), r(3))])
    def wrong_vjp(a: Any, b: Any) -> Any:
        return a + b

    wrong_vjp.vjp(lambda g: (g, np.ones(returned)))
    try:
        b = tg.tensor(np.ones(3), requires_grad=True)
        y = wrong_vjp(np.ones((2, 3)), b).sum()
        if hint and broadcasts:
            y.backward()
            assert b.grad is not None
            assert b.grad.tolist() == [np.prod(returned) / 3] * 3
            return
        with pytest.raises(
            ValueError, match=r"vjp of wrong_vjp: the gradient for b has shape .*, expected \(3,\)"
        ) as caught:
            y.backward()
        assert f"shape {returned}," in str(caught.value)
        assert ("a reduction over a broadcast axis is missing" in str(caught.value)) == hint
    finally:
        del tg.autodiff.tensor.registry["wrong_vjp"]
