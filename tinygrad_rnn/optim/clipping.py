"""Gradient clipping, by value and by the norm of all gradients together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..autodiff.node import may_overwrite
from ..autodiff.sparse import RowGradient
from ..autodiff.tensor import Tensor
from ..kernels import training
from .checks import limit as check_limit
from .optimizers import Array


def clip_by_value(params: Iterable[Tensor], limit: float) -> None:
    """Clip every element of every gradient to [−limit, limit]. Raises ValueError unless limit > 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.Parameter([1.0, 2.0])
    >>> w.grad = np.array([-3.0, 0.2])
    >>> tg.optim.clip_by_value([w], 0.5)
    >>> w.grad
    array([-0.5,  0.2], dtype=float32)
    """
    check_limit("clip_by_value", limit)
    for p in params:
        if p.grad is not None:
            g: Any = p.grad
            if isinstance(g, RowGradient):
                g = g.summed()
                g.values = np.clip(g.values, -limit, limit)
            else:
                g = np.clip(g, -limit, limit)
            p.grad = g


def clip_by_global_norm(params: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients by one factor if their joint norm exceeds max_norm; returns the norm before scaling.

    norm = √Σ g² over all parameters; g ← g · min(1, max_norm / (norm + 1e-6)), which is PyTorch's factor [Pascanu,
    Mikolov & Bengio 2013]. Raises ValueError unless max_norm > 0.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> w = tg.Parameter([0.0, 0.0])
    >>> w.grad = np.array([3.0, 4.0])
    >>> tg.optim.clip_by_global_norm([w], 1.0), w.grad.round(3).tolist()
    (5.0, [0.6000000238418579, 0.800000011920929])
    """
    check_limit("clip_by_global_norm", max_norm)
    with_grad = [p for p in params if p.grad is not None]
    groups: dict[Any, list[Array]] = {}  # gradients for the native kernels, by dtype
    square = 0.0
    for p in with_grad:
        g: Any = p.grad
        if isinstance(g, RowGradient):
            g = g.summed()
            p.grad = g
            square += float(np.sum(np.square(g.values, dtype=np.float64)))
        elif training.takes(g):
            groups.setdefault(g.dtype, []).append(g)
        else:
            square += float(np.sum(np.square(g, dtype=np.float64)))
    norm = float(np.sqrt(square + sum(map(training.squares, groups.values()))))
    del groups
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        _scale({id(p): p for p in with_grad}.values(), factor)
    return norm


def _scale(params: Iterable[Tensor], factor: float) -> None:
    """Multiply all gradients by a factor, in place if no other reference to them exists."""
    groups: dict[Any, tuple[list[Array], list[Array]]] = {}
    for p in params:
        g: Any = p.grad
        if isinstance(g, RowGradient) or not training.takes(g):
            p.grad = g * factor
            continue
        out = g if may_overwrite(g) else training.empty(g.shape, g.dtype)
        arrays, outs = groups.setdefault(g.dtype, ([], []))
        arrays.append(g)
        outs.append(out)
        p.grad = out
    for arrays, outs in groups.values():
        training.scale(factor, arrays, outs)
