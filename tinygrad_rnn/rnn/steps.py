"""Time steps of loops written by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import ops
from ..autodiff.state import Run, step
from ..autodiff.tensor import Tensor


def steps(inputs: Any, time_major: bool = False) -> Iterator[tuple[int, Any]]:
    """The steps (t, x_t) of inputs (B, T, …), or (T, B, …) with time_major, for a loop written by hand. The ops in the
    body of the loop are recorded as time step t, for drawings and `viz.grad_flow`. The inputs are unstacked once. Raises
    ValueError for inputs with fewer than two axes. `tg.step(t)` marks a single step.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell, x = tg.rnn.LSTMCell(3), np.ones((2, 4, 5), np.float32)
    >>> state = cell.zero_state(2)
    >>> for t, x_t in tg.rnn.steps(x):
    ...     h, state = cell(x_t, state)
    >>> tg.viz.folded(h)
    Drawing(5 nodes, 6 edges)
    """
    axis = 0 if time_major else 1
    x = inputs if isinstance(inputs, Tensor) else np.asarray(inputs)
    if x.ndim < 2:
        raise ValueError(f"steps: inputs have shape {x.shape}, expected (B, T, …), or (T, B, …) with time_major=True")
    parts = ops.unstack(x, axis=axis) if isinstance(x, Tensor) else np.moveaxis(x, axis, 0)
    run = Run()
    for t, x_t in enumerate(parts):
        with step(t, run):
            yield t, x_t
