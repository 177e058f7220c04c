"""PyTorch's torch.nn.utils: clipping of gradients, and packed sequences in `rnn`."""

from __future__ import annotations

from typing import Any

from ...autodiff.tensor import Tensor
from ...optim import clip_by_global_norm
from . import rnn

__all__ = ["clip_grad_norm_", "rnn"]


def clip_grad_norm_(parameters: Any, max_norm: float) -> float:
    """Scale all gradients by one factor if their joint norm exceeds max_norm; returns the norm before scaling.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.Parameter([0.0, 0.0])
    >>> w.grad = np.array([3.0, 4.0])
    >>> tg.nn.utils.clip_grad_norm_([w], 1.0)
    5.0
    """
    return clip_by_global_norm([parameters] if isinstance(parameters, Tensor) else parameters, max_norm)
