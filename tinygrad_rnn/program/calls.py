"""What every call over time checks and reports, whether a scan runs it or a kernel."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor

# While `rnn.explain` listens: (where, path, why) of every cell, scan and fused function that runs.
listener: ContextVar[list[tuple[str, str, str]] | None] = ContextVar("tinygrad_rnn.listener", default=None)


def checked_lengths(caller: str, lengths: Any, batch: int, steps: int, argument: str) -> Any:
    """Sequence lengths as integers within 0 … T, one per row."""
    if lengths is None:
        return None
    try:
        counts = np.asarray(lengths.data if isinstance(lengths, Tensor) else lengths)
    except ValueError:
        raise ValueError(f"{caller}: {argument} is {lengths!r:.60}, expected {batch} integers") from None
    if counts.shape != (batch,):
        raise ValueError(f"{caller}: {argument} has shape {counts.shape}, expected ({batch},): one length for each row")
    if counts.dtype.kind not in "iu" and counts.size:
        at = np.flatnonzero(np.isnan(counts)) if counts.dtype.kind == "f" else np.zeros(0, int)
        hint = f"; {argument}[{at[0]}] is NaN" if len(at) else f"; use np.asarray({argument}, dtype=int)"
        raise TypeError(f"{caller}: {argument} has dtype {counts.dtype}, expected integers{hint}")
    bad = np.flatnonzero((counts < 0) | (counts > steps))
    if len(bad):
        raise ValueError(
            f"{caller}: {argument}[{bad[0]}] is {counts[bad[0]]}, expected 0 <= length <= {steps} (the number of steps)"
        )
    return counts.astype(np.int64)
