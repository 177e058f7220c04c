"""Activations as modules, for use in a Sequential."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..autodiff.tensor import Tensor
from ..module import Module
from .basics import as_tensor


class Tanh(Module):
    """y = tanh(x), for any shape.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Tanh()(tg.tensor([0.0])).tolist()
    [0.0]
    """

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.tanh(as_tensor(x))
        return result


class ReLU(Module):
    """y = max(x, 0), for any shape.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.ReLU()(tg.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.relu(as_tensor(x))
        return result


class Softmax(Module):
    """y = eˣ / Σ eˣ over the axis dim.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Softmax(dim=-1)(tg.tensor([0.0, 0.0])).tolist()
    [0.5, 0.5]
    """

    def __init__(self, dim: int = -1):
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.softmax(as_tensor(x), axis=self.dim)
        return result

    def describe(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """y = x − log Σ eˣ over the axis dim, stable for any x; the input of NLLLoss.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LogSoftmax(dim=-1)(tg.tensor([0.0, 0.0])).data.round(4)
    array([-0.6931, -0.6931], dtype=float32)
    """

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.log_softmax(as_tensor(x), axis=self.dim)
        return result


class Sigmoid(Module):
    """y = 1 / (1 + e^−x), for any shape.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Sigmoid()(tg.tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.sigmoid(as_tensor(x))
        return result
