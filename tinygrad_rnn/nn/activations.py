"""Activations as modules, to stand in a Sequential."""

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


class Sigmoid(Module):
    """y = 1 / (1 + e^−x), for any shape.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Sigmoid()(tg.tensor([0.0])).tolist()
    [0.5]
    """

    def forward(self, x: Any) -> Tensor:
        result: Tensor = ops.sigmoid(as_tensor(x))
        return result
