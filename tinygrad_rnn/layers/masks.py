"""Keras's masks for our driver, which takes lengths: unmasked steps are moved to the front of each row, outputs back."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor


class Mask:
    """A mask (B, T), True for real steps, and the direction of time: forward, or backward with outputs in that order.

    At a masked step the state is copied forward; the output is 0 if `zero`, else that of the last real step (0 before the
    first).
    """

    def __init__(self, owner: str, mask: Any, x: Tensor, backwards: bool, zero: bool):
        real = np.asarray(mask.data if isinstance(mask, Tensor) else mask)
        if real.ndim == 3 and real.shape[2] == 1:
            real = real[:, :, 0]
        if real.shape != x.shape[:2] or real.dtype.kind not in "biuf":
            raise ValueError(
                f"{owner}: mask has shape {real.shape} and dtype {real.dtype}, expected {x.shape[:2]}, True for real steps"
            )
        real = real.astype(bool)
        self.rows = np.arange(len(real))[:, None]
        self.order = np.argsort(~real, axis=1, kind="stable")
        self.lengths = real.sum(axis=1)
        self.in_order = real[:, ::-1] if backwards else real  # in the direction of time
        self.zero = zero
        self.count = self.in_order.cumsum(axis=1)  # real steps so far
        last = (
            self.lengths[:, None] - self.count if backwards else self.count - 1
        )  # index of the last real step among the packed ones
        self.place = last.clip(0, max(real.shape[1] - 1, 0))

    def packed(self, x: Tensor) -> Tensor:
        """The inputs with the real steps at the front of each row."""
        return x if (self.order[:, 1:] > self.order[:, :-1]).all() else x[self.rows, self.order]

    def spread(self, outputs: Tensor) -> Any:
        """The packed outputs moved back to their steps, in the direction of time."""
        defined = self.in_order if self.zero else self.count > 0
        return ops.where(defined[:, :, None], outputs[self.rows, self.place], 0)

    def last(self, outputs: Tensor) -> Any:
        """The output of the last step in the direction of time (0 if there is none)."""
        last_outputs = outputs[self.rows[:, 0], self.place[:, -1]]
        return ops.where(self.in_order[:, -1:], last_outputs, 0) if self.zero else last_outputs
