"""Optimisers with Keras's names and defaults. Keras adds epsilon in another place than PyTorch, which matters for small
gradients.

One difference remains: with TensorFlow, Keras does not update the rows of an Embedding that are not in a batch; here Adam
and RMSprop keep updating them from their moments, as PyTorch's do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import optim
from ..optim.optimizers import Array


class Adam(optim.Adam):
    """Adam with Keras's epsilon: x ← x − lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε) [Kingma & Ba 2015, end of section 2].

    >>> import tinygrad_rnn as tg
    >>> Adam([tg.Parameter([1.0])])
    Adam(1 parameters, lr=0.001)
    """

    epsilon = 1e-7

    def constants(self, count: int) -> tuple[float, ...]:
        self.eps = self.epsilon / float(np.sqrt(1 - self.betas[1] ** count))
        return super().constants(count)


class AdamW(Adam, optim.AdamW):
    """Adam with decoupled weight decay, 0.004, and Keras's epsilon [Loshchilov & Hutter 2019]."""


class RMSprop(optim.RMSprop):
    """RMSprop with Keras's epsilon: x ← x − lr · g / √(s + ε) [Tieleman & Hinton 2012]."""

    def constants(self, count: int) -> tuple[float, ...]:
        return (self.lr, self.weight_decay, self.alpha, 0.0, self.momentum, self.eps, 0.0)

    def root(self, s: Array) -> Array:
        return np.sqrt(s + self.eps)


OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "adam": partial(Adam, lr=1e-3),
    "adamw": partial(AdamW, lr=1e-3, weight_decay=0.004),
    "rmsprop": partial(RMSprop, lr=1e-3, alpha=0.9, eps=1e-7),
    "sgd": partial(optim.SGD, lr=1e-2),
}
