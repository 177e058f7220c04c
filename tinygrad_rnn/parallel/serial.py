"""The interface of data-parallel training, for a single process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor
from .shards import Shard, SplitBatches

Array = np.ndarray[Any, np.dtype[Any]]


class Serial:
    """The replacement of `MPI` on a single process: rank 0 of 1. Loops written for several processes run unchanged.

    >>> import tinygrad_rnn as tg
    >>> parallel = tg.parallel.Serial()
    >>> parallel.rank, parallel.size
    (0, 1)
    """

    rank, size = 0, 1

    def shard(self, batches: Any) -> Any:
        """This process's part of the batches: rows B·rank/size to B·(rank + 1)/size of each, possibly none.

        batches: an iterable of arrays (B, ...), or of tuples or dicts of them, or a function of the epoch that returns one.
        Of a `data.TextChunks` or `data.Batches` only this process's part is kept in memory; a `Batches` that shuffles does
        so within the part of each process.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> [batch.tolist() for batch in tg.parallel.Serial().shard([np.arange(3)])]
        [[0, 1, 2]]
        """
        if isinstance(batches, Shard):
            return batches
        if callable(batches):
            return lambda epoch: self.shard(batches(epoch))
        return Shard(SplitBatches(batches, [self.rank], self.size, copied=self.size > 1))

    def average_gradients(self, parameters: Sequence[Tensor], weight: float = 1.0) -> None:
        """Set the gradient of every parameter to the weighted mean over all processes. weight: the number of rows or tokens
        that this process's loss is the mean over; with weight 0 its gradients are ignored, but it must still call this.

        >>> import tinygrad_rnn as tg
        >>> w = tg.Parameter([1.0, 2.0])
        >>> (w * w).sum().backward()
        >>> tg.parallel.Serial().average_gradients([w])
        >>> w.grad.tolist()
        [2.0, 4.0]
        """

    def sum(self, *values: float) -> list[float]:
        """The sum of each number over all processes.

        >>> import tinygrad_rnn as tg
        >>> tg.parallel.Serial().sum(3.0, 4.0)
        [3.0, 4.0]
        """
        return [float(value) for value in values]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every process; it must be picklable."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks, on every process."""
        return [value]

    # -- for fit -------------------------------------------------------------------------------------------------------

    def sum_later(self, values: Sequence[float]) -> Callable[[], Array]:
        """Start sums of numbers over all processes; the returned function waits for them."""
        return lambda: np.array(values, np.float64)

    def reducer(self, parameters: Sequence[Tensor]) -> Any:
        """The object that computes gradients and sums them over all processes."""
        return Accumulator()

    def begin(self, settings: Mapping[str, Any], start: Any) -> None:
        """Check that all processes start with the same settings and values."""

    def check(self, names: Sequence[str], parameters: Sequence[Tensor], step: int) -> None:
        """Check that all processes still have the same parameters."""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """An exception inside ends all processes."""
        yield


class Accumulator:
    """Accumulates the gradients of a single process."""

    def backward(self, loss: Tensor, factor: float, last: bool) -> None:
        """Add the gradients of factor · loss. last: this is the last part of the batch."""
        loss.backward(np.full(loss.shape, factor, loss.dtype))

    def finish(self, values: Sequence[float]) -> list[float]:
        """Wait for the sums of the gradients over all processes; returns those of `values`."""
        return list(values)
