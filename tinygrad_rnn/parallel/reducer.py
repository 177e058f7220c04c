"""Gradients on their way: buckets that are summed over all processes while the sweep still computes the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..autodiff import engine
from ..autodiff.tensor import Tensor, add_gradients

Array = np.ndarray[Any, np.dtype[Any]]
BUCKET = 1 << 18  # bytes: small gradients travel together until they are so many


class Sum(Protocol):
    """A sum over all processes that is under way."""

    def progress(self) -> None:
        """Let the transport do what it can without waiting."""

    def wait(self) -> Array:
        """The sum, once it is there."""


class Reducer:
    """Adds up the gradients of parameters over all processes.

    Each gradient goes into a bucket, in the order in which the first sweep of rank 0 finished them; a bucket is sent as
    soon as the sweep has finished its last gradient and the buckets before it are sent. What a process has no gradient for
    is sent as −0.0, which changes no sum. A parameter without a gradient on every process keeps None.
    """

    def __init__(self, start: Callable[[Array], Sum], first: Callable[[Any], Any], parameters: Sequence[Tensor]):
        self.start, self.first, self.parameters = start, first, list(parameters)
        self.buckets: list[list[int]] = []  # numbers of parameters; none before the first step
        self.sums: list[Sum] = []  # those under way, of buckets 0, 1, ...
        self.ready: dict[int, Array] = {}  # gradients that the sweep has finished, in that order

    def backward(self, loss: Tensor, factor: float, last: bool) -> None:
        """Add the gradients of factor · loss. last: no other part of the batch follows, so finished ones are sent."""
        seed = np.full(loss.shape, factor, loss.dtype)
        if not last:
            loss.backward(seed)
            return
        numbers: dict[Any, int] = {p._node: i for i, p in enumerate(self.parameters)}

        def finished(leaf: Any, g: Array) -> None:
            if leaf in numbers:
                self.ready[numbers[leaf]] = g if leaf.grad is None else leaf.grad + g
                self.send()

        found = engine.sweep([loss._seed(seed, "backward")], observe=self.progress, finished=finished)
        add_gradients({leaf: g for leaf, g in found.items() if leaf not in numbers})
        for leaf, g in found.items():
            if leaf in numbers and numbers[leaf] not in self.ready:
                finished(leaf, g)

    def progress(self, *_: Any) -> None:
        """Called at every node of the sweep: MPI moves data only inside its own calls."""
        if self.sums:
            self.sums[-1].progress()

    def send(self) -> None:
        """Send the buckets whose gradients are all there, in order."""
        for bucket in self.buckets[len(self.sums) :]:
            if any(i not in self.ready for i in bucket):
                return
            parts = [self.ready[i] for i in bucket]
            alone = len(parts) == 1
            self.sums.append(
                self.start(np.ascontiguousarray(parts[0]) if alone else np.concatenate([g.reshape(-1) for g in parts]))
            )

    def finish(self, values: Sequence[float]) -> list[float]:
        """Send what is left, wait for all, and give the parameters their gradients; with them, add up these numbers."""
        for i, p in enumerate(self.parameters):
            if i not in self.ready and p.grad is not None:
                self.ready[i] = p.grad
        have = [float(i in self.ready) for i in range(len(self.parameters))]
        if not self.buckets:
            unseen = [i for i in reversed(range(len(self.parameters))) if i not in self.ready]
            self.buckets = self.planned(self.first([*self.ready, *unseen]))
        for i, p in enumerate(self.parameters):
            if i not in self.ready:
                self.ready[i] = np.full(p.shape, -0.0, p.dtype)
        self.send()
        numbers = self.start(np.array([*values, *have], np.float64))
        for bucket, under_way in zip(self.buckets, self.sums, strict=True):
            flat, place = under_way.wait().reshape(-1), 0
            for i in bucket:
                p = self.parameters[i]
                p.grad = flat[place : place + p.size].reshape(p.shape)
                place += p.size
        total: list[float] = numbers.wait().tolist()
        for p, count in zip(self.parameters, total[len(values) :], strict=True):
            if not count:
                p.grad = None
        self.sums, self.ready = [], {}
        return total[: len(values)]

    def planned(self, order: Sequence[int]) -> list[list[int]]:
        """The parameters, in this order, in buckets: of one dtype, and closed once they hold BUCKET bytes."""
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
