"""Cells of every cell_type, small, in float64 with all parameters random, and a run of them with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import rnn
from tinygrad_rnn.rnn.cell import map_state

from .golden import IMPLS

D, H = 3, 2


class OwnCell(rnn.RNNCell):
    """A custom cell whose parameters have other names: h' = tanh(x W + a h)."""

    def __init__(self, num_units: int):
        self.state_size = self.output_size = num_units

    def build_parameters(self, input_size: int) -> None:
        self.add("w", (input_size, self.output_size), "glorot_uniform")
        self.add("a", (self.output_size,), "ones")

    def call(self, x: Any, h: Any) -> tuple[Any, Any]:
        h = tg.tanh(x @ self.w + self.a * h)
        return h, h


PLAIN: dict[str, Callable[[], rnn.RNNCell]] = {
    "rnn": lambda: rnn.BasicRNNCell(H),
    "relu": lambda: rnn.BasicRNNCell(H, activation="relu"),
    "linear": lambda: rnn.BasicRNNCell(H, activation="linear"),
    "sigmoid": lambda: rnn.BasicRNNCell(H, activation="sigmoid"),
    "callable": lambda: rnn.BasicRNNCell(H, activation=lambda z: tg.sin(z)),
    "lstm": lambda: rnn.LSTMCell(H),
    "gru": lambda: rnn.GRUCell(H),
    "gru_after": lambda: rnn.GRUCell(H, reset_after=True),
    "own": lambda: OwnCell(H),
}
WRAPPED: dict[str, Callable[[], rnn.RNNCell]] = {
    "stack": lambda: rnn.MultiRNNCell([rnn.LSTMCell(H), rnn.GRUCell(3), OwnCell(H)]),
    "residual": lambda: rnn.ResidualWrapper(rnn.GRUCell(D)),
    "residual_fn": lambda: rnn.ResidualWrapper(rnn.LSTMCell(H), lambda x, o: x[:, :H] * o),
    "zoneout": lambda: rnn.ZoneoutWrapper(rnn.LSTMCell(H), (0.3, 0.1)).eval(),
    "dropout": lambda: rnn.DropoutWrapper(rnn.LSTMCell(H), 0.5, 0.5, 0.5).eval(),
    "nested": lambda: rnn.MultiRNNCell(
        [rnn.DropoutWrapper(rnn.ZoneoutWrapper(rnn.LSTMCell(D), 0.2)), rnn.ResidualWrapper(rnn.GRUCell(D, True))]
    ).eval(),
}
CELLS = {**PLAIN, **WRAPPED}


def make(name: str, seed: int = 0, dtype: Any = np.float64, inputs: int = D) -> rnn.RNNCell:
    """The cell of this name, built, its parameters random (biases too)."""
    rng = np.random.default_rng(seed)
    cell: rnn.RNNCell = CELLS[name]().build(inputs, dtype)
    for p in cell.parameters():
        p.data = (0.7 * rng.normal(size=p.shape)).astype(dtype)
    return cell


def leaves_of(state: Any) -> list[Any]:
    """The parts of a state, in order."""
    return [leaf for part in state for leaf in leaves_of(part)] if isinstance(state, tuple) else [state]


def random_state(cell: rnn.RNNCell, batch: int, seed: int = 0, dtype: Any = np.float64) -> Any:
    """A state that requires grad, of random numbers."""
    rng = np.random.default_rng(seed)
    return map_state(
        lambda size: tg.tensor(rng.normal(size=(batch, size)).astype(dtype), requires_grad=True), cell.state_size
    )


class Run:
    """dynamic_rnn on a case: outputs, final state, and the gradients of a random projection of both."""

    def __init__(
        self,
        cell: rnn.RNNCell,
        x: np.ndarray,
        lengths: Any = None,
        state: Any = None,
        cotangents: tuple[np.ndarray, list[np.ndarray]] | None = None,
        drive: Callable[..., Any] = rnn.dynamic_rnn,
        **options: Any,
    ):
        self.x = tg.tensor(x, requires_grad=True)
        self.initial = (
            None
            if state is None
            else map_state(lambda s: tg.tensor(s.data if isinstance(s, tg.Tensor) else s, requires_grad=True), state)
        )
        self.output, self.state = drive(cell, self.x, lengths, self.initial, **options)
        parts = leaves_of(self.state)
        if cotangents is None:
            rng = np.random.default_rng(5)
            cotangents = rng.normal(size=self.output.shape), [rng.normal(size=p.shape) for p in parts]
        u, vs = cotangents
        loss = (self.output * u.astype(x.dtype)).sum()
        loss = loss + sum((p * v.astype(x.dtype)).sum() for p, v in zip(parts, vs, strict=True))
        wanted = [self.x, *([] if state is None else leaves_of(self.initial)), *cell.parameters()]
        if loss.requires_grad:  # nothing ran and the state is zeros: no gradient
            self.dx, *rest = (g.data for g in tg.grad(loss, wanted))
        else:
            self.dx, *rest = (np.zeros_like(t.data) for t in wanted)
        n = len(parts) if state is not None else 0
        self.dstate, self.dparameters = rest[:n], rest[n:]

    @property
    def everything(self) -> list[np.ndarray]:
        return [self.output.data, *(p.data for p in leaves_of(self.state)), self.dx, *self.dstate, *self.dparameters]


def assert_same(a: Run, b: Run, tolerance: float = 1e-12) -> None:
    for x, y in zip(a.everything, b.everything, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)


__all__ = [
    "CELLS",
    "IMPLS",
    "PLAIN",
    "WRAPPED",
    "D",
    "H",
    "OwnCell",
    "Run",
    "assert_same",
    "leaves_of",
    "make",
    "random_state",
]
