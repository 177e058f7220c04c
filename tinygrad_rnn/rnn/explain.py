"""Which path ran, why, and what it keeps in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import kernels
from ..autodiff.graph import kept_bytes
from .cell import RNNCell
from .driver import Run, _prepare


class Explanation(NamedTuple):
    """What `explain` found: for every cell that ran (name, path, why), by what, and the bytes kept for backward.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cell = tg.rnn.MultiRNNCell([tg.rnn.LSTMCell(4), tg.rnn.ZoneoutWrapper(tg.rnn.LSTMCell(4))])
    >>> told = tg.rnn.explain(cell, np.ones((2, 3, 5), np.float32))
    >>> for name, path, why in told.paths:
    ...     print(name, path, why)
    multi_rnn_cell fused the whole sequence is one node
    lstm_cell fused the whole sequence is one node
    zoneout_wrapper unrolled zoneout mixes the states at every step
    """

    paths: tuple[tuple[str, str, str], ...]
    implementation: str
    isa: str | None
    threads: int
    missing: str | None
    bytes_kept: int

    @property
    def path(self) -> str:
        """ "fused" if every cell with a recurrence of its own ran fused, else "unrolled"."""
        return "fused" if all(path == "fused" for _, path, _ in self.paths) else "unrolled"

    def __str__(self) -> str:
        width = max(len(name) for name, _, _ in self.paths)
        lines = [f"{name:<{width}}  {path:<8}  {why}" for name, path, why in self.paths]
        by = f"{self.implementation} kernels" + (f" ({self.isa}, up to {self.threads} threads)" if self.isa else "")
        if self.missing:
            by += f"; no native ones: {self.missing}"
        return "\n".join([*lines, f"fused ops run on {by}", f"{self.bytes_kept:,} bytes are kept for backward"])


def explain(
    cell: RNNCell,
    inputs: Any,
    sequence_length: Any = None,
    initial_state: Any = None,
    dtype: Any = None,
    time_major: bool = False,
    impl: str = "auto",
    *,
    recompute: bool = False,
) -> Explanation:
    """Run the cell as dynamic_rnn would, with the same arguments, and say which path ran and why.

    bytes_kept counts the arrays that the graph holds for the backward pass, beyond parameters and inputs.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.rnn.explain(tg.rnn.LSTMCell(4), np.ones((2, 3, 5), np.float32)).path
    'fused'
    """
    x, lengths, state = _prepare("explain", cell, inputs, sequence_length, initial_state, dtype, time_major, impl)
    run = Run("explain", impl, lengths, time_major, False, recompute, False)
    results = run(cell, x, state)
    given = [x.data, *(p.data for p in cell.parameters())]
    found = kernels.info()
    return Explanation(
        tuple(run.paths),
        str(found["implementation"]),
        found["isa"],
        int(found["threads"]),
        found["missing"],
        kept_bytes(results, without=[a for a in given if isinstance(a, np.ndarray)]),
    )
