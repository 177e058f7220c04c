"""Saliency, compared with the gradients of a model known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, train


def test_of_a_linear_model_it_is_the_difference_of_two_rows() -> None:
    random = np.random.default_rng(0)
    weight, x = random.normal(size=(4, 3, 5, 2)), random.normal(size=(5, 2))  # T, C, S, D

    def fn(vectors: tg.Tensor) -> tg.Tensor:
        return (vectors * weight).sum(axis=(2, 3))

    scores = np.einsum("tcsd,sd->tc", weight, x)
    wanted = []
    for t, row in enumerate(scores):
        second, first = np.argsort(row)[-2:]
        wanted.append(np.linalg.norm(weight[t, first] - weight[t, second], axis=-1))
    np.testing.assert_allclose(train.saliency(fn, x), wanted)
    np.testing.assert_allclose(train.saliency(lambda v: tg.log_softmax(fn(v)), tg.tensor(x)), wanted)


def test_outputs_depend_on_past_inputs_only() -> None:
    net, head = nn.GRU(3, 4, batch_first=True, seed=0), nn.Linear(4, 3, seed=0)
    moved = train.saliency(
        lambda x: head(net(x[None])[0])[0], np.random.default_rng(0).normal(size=(6, 3)).astype("f4")
    )
    assert moved.shape == (6, 6)
    assert (moved[np.tri(6, k=0) > 0] > 0).all()
    assert (moved[np.tri(6, k=0) == 0] == 0).all()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"saliency: inputs have shape \(1, 2, 3\), expected \(S, D\)"):
        train.saliency(lambda x: x, np.zeros((1, 2, 3)))
    with pytest.raises(ValueError, match=r"saliency: fn gives scores of shape \(2,\), expected \(T, C\)"):
        train.saliency(lambda x: x.sum(axis=1), np.zeros((2, 3)))
