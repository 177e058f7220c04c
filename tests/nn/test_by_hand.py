"""Losses of nn on numbers that can be computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference.drawn import Drawn

import tinygrad_rnn as tg
from tinygrad_rnn import nn


@pytest.mark.parametrize(("reduction", "wanted"), [("none", [1.0, 0.5, 4.0]), ("sum", 5.5), ("mean", 5.5 / 3)])
def test_absolute_differences(reduction: str, wanted: Any) -> None:
    x = tg.tensor([3.0, -1.0, 0.0], requires_grad=True)
    loss = nn.L1Loss(reduction)(x, [2.0, -0.5, 4.0])
    assert loss.tolist() == pytest.approx(wanted)
    loss.sum().backward()
    assert x.grad is not None
    part = 3 if reduction == "mean" else 1
    assert x.grad.tolist() == pytest.approx([1 / part, -1 / part, -1 / part])


def test_layer_norm_of_one_place() -> None:
    """An input of exactly normalized_shape, as PyTorch takes it: (1, 3, 5) has mean 3 and variance 8/3."""
    output = nn.LayerNorm(3, eps=0.0)(tg.tensor([1.0, 3.0, 5.0]))
    assert output.tolist() == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])
    assert nn.LayerNorm((2, 1), eps=0.0)(tg.tensor([[1.0], [3.0]])).tolist() == [[-1.0], [1.0]]


def test_slopes_at_zero_are_pytorchs() -> None:
    """At 0 PyTorch's leaky_relu has the slope of the negative side, its relu 0."""
    for f, wanted in ((lambda x: nn.functional.leaky_relu(x, 0.25), [0.25, 0.25, 1.0]), (tg.relu, [0.0, 0.0, 1.0])):
        x = tg.tensor([-2.0, 0.0, 2.0], requires_grad=True)
        f(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == wanted


def test_two_axes_mean_numpys_where_numpy_takes_them() -> None:
    """For a matrix they are NumPy's order of axes; for more axes, an error in NumPy, PyTorch's transpose."""
    matrix, cube = tg.zeros(2, 3), tg.zeros(2, 3, 4)
    assert [matrix.transpose(*axes).shape for axes in ((0, 1), (1, 0))] == [(2, 3), (3, 2)]
    assert [cube.transpose(*axes).shape for axes in ((0, 2), (1, 0))] == [(4, 3, 2), (3, 2, 4)]


def test_a_clone_has_the_values_and_passes_the_gradient() -> None:
    x = tg.tensor([1.0, -2.0], requires_grad=True)
    copy = x.clone()
    assert copy.tolist() == [1.0, -2.0]
    (copy * tg.tensor([3.0, 5.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 5.0]
    assert tg.tensor([4.0]).clone().tolist() == [4.0]


def test_dropout_is_applied_between_layers_and_not_after_the_last() -> None:
    """With h' = relu(x) and x = 1, three layers apply two dropout masks: each output is 0 or 1 / keep²."""
    net = nn.RNN(2, 2, 3, "relu", bias=False, dropout=0.5, batch_first=True)
    for name, weight in net.named_parameters():
        weight.data = np.eye(2, dtype=np.float32) * ("ih" in name)
    x = np.ones((200, 5, 2), np.float32)
    with tg.training(True):
        output = net(x)[0].data
    assert set(np.unique(output)) == {0.0, 4.0}
    assert (output > 0).mean() == pytest.approx(0.25, abs=0.03)
    with tg.training(False):
        np.testing.assert_array_equal(net(x)[0].data, x)


@pytest.mark.parametrize("make", [nn.Dropout, lambda p, seed: tg.layers.Dropout(p, seed).drop])
@pytest.mark.parametrize(("number", "wanted"), [(0.0, 0), (0.2, 0), (0.25, 4 / 3), (0.3, 4 / 3), (0.99, 4 / 3)])
def test_a_chance_is_that_of_the_numbers_below_it(make: Any, number: float, wanted: float) -> None:
    """Uniform numbers in [0, 1) are below p with probability p; there an element is dropped."""
    with tg.training(True):
        assert make(0.25, seed=Drawn(number))(np.ones(5, np.float32)).tolist() == pytest.approx([wanted] * 5)


def test_the_axes_of_pieces() -> None:
    x = tg.tensor(np.arange(12.0).reshape(2, 6))
    assert [t.tolist() for t in x.unbind()] == x.tolist()
    assert [t.tolist() for t in x.unbind(1)] == x.data.T.tolist()
    assert [t.shape for t in x.chunk(2)] == [(1, 6), (1, 6)]
    assert [t.shape for t in x.chunk(4, dim=1)] == [(2, 2), (2, 2), (2, 2)]
    assert tg.cat([x, x]).shape == (4, 6)
    assert tg.cat([x, x], dim=-1).shape == (2, 12)
    for f in (lambda t: t.softmax(), lambda t: t.log_softmax().exp()):
        np.testing.assert_allclose(f(x).data.sum(axis=1), 1.0)


def test_sizes_to_expand_to() -> None:
    """−1 keeps an axis, and new ones come first."""
    x = tg.tensor([[1.0], [2.0]], requires_grad=True)
    for shape, wanted in (((2, 3), (2, 3)), ((-1, 3), (2, 3)), ((4, -1, 3), (4, 2, 3)), ((5, 4, 2, 1), (5, 4, 2, 1))):
        expanded = x.expand(*shape)
        assert expanded.shape == wanted
        np.testing.assert_array_equal(expanded.data, np.broadcast_to(x.data, wanted))
    np.testing.assert_array_equal(x.expand((-1, 3)).data, x.data.repeat(3, axis=1))
    row = tg.tensor([7.0, 8.0])
    assert row.expand(1, -1).shape == (1, 2)
    assert row.expand(3, 2).tolist() == [[7.0, 8.0]] * 3


def test_classes_of_cubes_are_the_last_axis() -> None:
    x = tg.tensor(np.random.default_rng(0).normal(size=(2, 3, 4)))
    wanted = np.exp(x.data) / np.exp(x.data).sum(-1, keepdims=True)
    softmaxes = (nn.Softmax(), nn.functional.softmax, tg.Tensor.softmax)
    logs = (nn.LogSoftmax(), nn.functional.log_softmax, tg.Tensor.log_softmax)
    for f in softmaxes:
        np.testing.assert_allclose(f(x).data, wanted)
    for f in logs:
        np.testing.assert_allclose(f(x).data, np.log(wanted))
