"""Keras's masks for our driver, which takes lengths: a row's real steps go to its front, and results back to their places."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..autodiff.tensor import Tensor


class Mask:
    """A mask (B, T) of real steps, and how time is read: forward, or backward with outputs in the order of reading.

    A masked step repeats the output before it (0 before the first), or gives 0; the state is carried through.
    """

    def __init__(self, owner: str, mask: Any, x: Tensor, backwards: bool, zero: bool):
        found = np.asarray(mask.data if isinstance(mask, Tensor) else mask)
        if found.ndim == 3 and found.shape[2] == 1:
            found = found[:, :, 0]
        if found.shape != x.shape[:2] or found.dtype.kind not in "biuf":
            raise ValueError(
                f"{owner}: mask has shape {found.shape} and dtype {found.dtype}, expected {x.shape[:2]}, True for real steps"
            )
        found = found.astype(bool)
        self.rows = np.arange(len(found))[:, None]
        self.order = np.argsort(~found, axis=1, kind="stable")
        self.lengths = found.sum(axis=1)
        self.seen = found[:, ::-1] if backwards else found  # in the order of reading
        self.zero = zero
        self.count = self.seen.cumsum(axis=1)  # real steps read so far
        last = self.lengths[:, None] - self.count if backwards else self.count - 1  # the place of the one read last
        self.place = last.clip(0, max(found.shape[1] - 1, 0))

    def packed(self, x: Tensor) -> Tensor:
        """The inputs with each row's real steps at its front."""
        return x if (self.order[:, 1:] > self.order[:, :-1]).all() else x[self.rows, self.order]

    def spread(self, outputs: Tensor) -> Any:
        """The outputs in their places, in the order of reading."""
        told = self.seen if self.zero else self.count > 0
        return ops.where(told[:, :, None], outputs[self.rows, self.place], 0)

    def last(self, outputs: Tensor) -> Any:
        """The output of the step read last (0 where there is none)."""
        found = outputs[self.rows[:, 0], self.place[:, -1]]
        return ops.where(self.seen[:, -1:], found, 0) if self.zero else found
