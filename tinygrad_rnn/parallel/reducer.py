"""Sums of gradients over all processes, in buckets, which overlap with the rest of the backward sweep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..autodiff import engine
from ..autodiff.tensor import Tensor, add_gradients

Array = np.ndarray[Any, np.dtype[Any]]
BUCKET = 1 << 18  # bytes: small gradients are sent together up to this size


class Sum(Protocol):
    """A pending sum over all processes."""

    def progress(self) -> None:
        """Advance the communication without waiting."""

    def wait(self) -> Array:
        """Wait for the sum and return it."""


class Reducer:
    """Sums the gradients of parameters over all processes.

    Gradients are put into buckets in the order in which the first sweep of rank 0 finished them. A bucket is sent when its
    last gradient is finished and the buckets before it are sent. A process without a gradient for a parameter sends −0.0,
    which changes no sum. A parameter without a gradient on any process keeps None.
    """

    def __init__(self, start: Callable[[Array], Sum], first: Callable[[Any], Any], parameters: Sequence[Tensor]):
        self.start, self.first, self.parameters = start, first, list(parameters)
        self.buckets: list[list[int]] = []  # indices of parameters; empty before the first step
        self.sums: list[Sum] = []  # the pending sums of buckets 0, 1, ...
        self.ready: dict[int, Array] = {}  # gradients that the sweep has finished, in that order

    def backward(self, loss: Tensor, factor: float, last: bool) -> None:
        """Add the gradients of factor · loss. last: this is the last part of the batch, so finished gradients are sent."""
        seed = np.full(loss.shape, factor, loss.dtype)
        if not last:
            loss.backward(seed)
            return
        numbers: dict[Any, int] = {p._node: i for i, p in enumerate(self.parameters)}

        def finished(leaf: Any, g: Array) -> None:
            if leaf in numbers:
                self.ready[numbers[leaf]] = g if leaf.grad is None else leaf.grad + g
                self.send()

        gradients = engine.sweep([loss._seed(seed, "backward")], observe=self.progress, finished=finished)
        add_gradients({leaf: g for leaf, g in gradients.items() if leaf not in numbers})
        for leaf, g in gradients.items():
            if leaf in numbers and numbers[leaf] not in self.ready:
                finished(leaf, g)

    def progress(self, *_: Any) -> None:
        """Called at every node of the sweep, since MPI transfers data only during calls."""
        if self.sums:
            self.sums[-1].progress()

    def send(self) -> None:
        """Send, in order, the buckets whose gradients are all finished."""
        for bucket in self.buckets[len(self.sums) :]:
            if any(i not in self.ready for i in bucket):
                return
            gradients = [self.ready[i] for i in bucket]
            alone = len(gradients) == 1
            self.sums.append(
                self.start(
                    np.ascontiguousarray(gradients[0]) if alone else np.concatenate([g.reshape(-1) for g in gradients])
                )
            )

    def finish(self, values: Sequence[float]) -> list[float]:
        """Send the remaining buckets, wait, and set the gradients; returns the sums of `values` over all processes."""
        for i, p in enumerate(self.parameters):
            if i not in self.ready and p.grad is not None:
                self.ready[i] = p.grad
        has_gradient = [float(i in self.ready) for i in range(len(self.parameters))]
        if not self.buckets:
            missing = [i for i in reversed(range(len(self.parameters))) if i not in self.ready]
            self.buckets = self.planned(self.first([*self.ready, *missing]))
        for i, p in enumerate(self.parameters):
            if i not in self.ready:
                self.ready[i] = np.full(p.shape, -0.0, p.dtype)
        self.send()
        numbers = self.start(np.array([*values, *has_gradient], np.float64))
        for bucket, pending in zip(self.buckets, self.sums, strict=True):
            flat, offset = pending.wait().reshape(-1), 0
            for i in bucket:
                p = self.parameters[i]
                p.grad = flat[offset : offset + p.size].reshape(p.shape)
                offset += p.size
        total: list[float] = numbers.wait().tolist()
        for p, count in zip(self.parameters, total[len(values) :], strict=True):
            if not count:
                p.grad = None
        self.sums, self.ready = [], {}
        return total[: len(values)]

    def planned(self, order: Sequence[int]) -> list[list[int]]:
        """Split the parameters, in this order, into buckets of one dtype and about BUCKET bytes."""
        buckets: list[list[int]] = []
        full, dtype = BUCKET, None
        for i in order:
            data = self.parameters[i].data
            if full >= BUCKET or data.dtype != dtype:
                buckets.append([])
                full, dtype = 0, data.dtype
            buckets[-1].append(i)
            full += data.nbytes
        return buckets
