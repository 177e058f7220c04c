"""Sample runs on which the gradients of the op `scan` are checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor


def scans(r: Any) -> list[Any]:
    """A gated step with two states and a weight used twice, ragged and reversed; attention over a memory."""
    from .scan import sample

    def gated(x: Any, state: Any) -> Any:
        h, c = state
        z, n = ops.split(x @ weights[0] + h @ weights[1], 2, axis=-1)
        c = ops.sigmoid(z) * c + ops.tanh(n)
        h = ops.tanh(c @ ops.tanh(weights[2])) * (z > 0.5)
        return (h + weights[3], x), (h, c)

    def attend(x: Any, h: Any, memory: Any) -> Any:
        scores = ops.softmax((memory @ ops.expand_dims(h, axis=-1))[:, :, 0], axis=-1)
        h = ops.tanh(x + (memory * ops.expand_dims(scores, axis=-1)).sum(axis=1))
        return h, h

    weights = [Tensor(w, requires_grad=True) for w in (r(2, 6), r(3, 6), r(3, 3), r(3))]
    cases = []
    for lengths, reverse, time_major in [(None, False, False), ([3, 0, 2], False, False), ([1, 3, 2], True, True)]:
        ends = None if lengths is None else np.array(lengths)
        state = (r(3, 3), r(3, 3))
        arrays, run = sample(gated, r(3, 3, 2), state, lengths=ends, reverse=reverse, time_major=time_major)
        cases.append(r.call(*arrays, run=run))
    arrays, run = sample(attend, r(2, 3, 4), r(2, 4), (r(2, 3, 4),), lengths=np.array([2, 3]), recompute=True)
    return [*cases, r.call(*arrays, run=run)]


def fusions(r: Any) -> list[Any]:
    """A row norm with a gain, and a chain with two results, on rows of one and of two axes."""
    from .fuse import fuse

    def norm(x: Any, gain: Any) -> Any:
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        return gain * centred / ops.sqrt(ops.mean(centred * centred, axis=-1, keepdims=True) + 0.1)

    def two(x: Any, y: Any) -> Any:
        return ops.tanh(x * y), ops.sum(ops.exp(x) * y, axis=-1)

    cases = []
    for function, arrays in ((norm, (r(3, 4), r(4))), (two, (r(2, 2, 3), r(2, 2, 3)))):
        results = fuse(function)(*[Tensor(a, requires_grad=True) for a in arrays])
        first: Any = (results[0] if isinstance(results, tuple) else results)._node
        cases.append(r.call(*arrays, run=first.node.options["run"]))
    return cases
