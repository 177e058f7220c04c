"""The package as a typed program sees it: mypy --strict checks this file in the gate, and here it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import layers, nn, optim, rnn, train


class Leaky(rnn.RNNCell):
    """h' = h / 2 + tanh(x W) / 2."""

    def __init__(self, units: int) -> None:
        self.state_size = self.output_size = units

    def build_parameters(self, input_size: int) -> None:
        self.add("W", (input_size, self.output_size), "glorot_uniform")

    def call(self, x: Any, state: Any, drawn: Any = None) -> tuple[Any, Any]:
        h = state / 2 + tg.tanh(x @ self.W) / 2
        return h, h


class Classifier(tg.Module):
    """A cell over time and a linear head on its last state."""

    def __init__(self) -> None:
        self.cell = Leaky(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Any) -> tg.Tensor:
        scores: tg.Tensor = self.head(rnn.dynamic_rnn(self.cell, x, dtype=np.float32)[1])
        return scores


def test_a_typed_program_trains(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    targets = (x.sum(axis=(1, 2)) > 0).astype(np.int64)
    model = Classifier()
    model(x)
    optimizer: optim.Optimizer = optim.Adam(model.parameters(), lr=0.05)

    def loss_of(batch: Any) -> tg.Tensor:
        loss: tg.Tensor = tg.softmax_cross_entropy(model(batch), targets)
        return loss

    history = train.fit(loss_of, [x], optimizer, steps=40, progress=False)
    losses: list[float] = history.losses
    assert losses[-1] < losses[0] / 2
    path = tmp_path / "model.safetensors"
    tg.save(path, model.state_dict())
    model.load_state_dict(dict(tg.load(path)))


def test_tensors_and_derivatives() -> None:
    x: tg.Tensor = tg.tensor([1.0, 2.0], requires_grad=True)
    y: tg.Tensor = (x * x + tg.sigmoid(x)).sum()
    y.backward()
    gradient: np.ndarray[Any, Any] | None = x.grad
    assert gradient is not None
    with tg.no_grad():
        z: tg.Tensor = x[0] - 1.0
    assert not z.requires_grad
    assert tg.gradcheck(tg.tanh, np.linspace(-1, 1, 3))
    assert tg.hessian(lambda t: (t * t).sum(), np.ones(2)).shape == (2, 2)


def test_faces() -> None:
    h: tg.Tensor = layers.LSTM(3)(np.ones((2, 4, 5), np.float32))
    state: rnn.LSTMState = rnn.LSTMCell(3).zero_state(2)
    output, (h_n, c_n) = nn.LSTM(5, 3, batch_first=True)(np.ones((2, 4, 5), np.float32))
    assert h.shape == state.h.shape == (2, 3)
    assert (output.shape, h_n.shape, c_n.shape) == ((2, 4, 3), (1, 2, 3), (1, 2, 3))


def test_every_public_name_is_there() -> None:
    for module in (tg, rnn, nn, layers, optim, train):
        for name in module.__all__:
            assert getattr(module, name) is not None, f"{module.__name__}.{name}"
