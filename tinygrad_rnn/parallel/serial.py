"""One process: what training does with the processes it runs on, where there is only this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor
from .shards import Dealt, Own

Array = np.ndarray[Any, np.dtype[Any]]


class Serial:
    """The stand-in for `MPI` on one process: rank 0 of 1. Loops written for many processes run with it as they are.

    >>> import tinygrad_rnn as tg
    >>> parallel = tg.parallel.Serial()
    >>> parallel.rank, parallel.size
    (0, 1)
    """

    rank, size = 0, 1

    def shard(self, batches: Any) -> Any:
        """This process's part of the batches: rows rank/size to (rank + 1)/size of each, which may be none.

        batches: an iterable of arrays (B, ...), tuples or dicts of such, or a function of the epoch that gives one. Of a
        `data.TextChunks` or a `data.Batches` only this process's share is kept in memory; where the latter draws its order,
        each process draws within its share.

        >>> import numpy as np, tinygrad_rnn as tg
        >>> [batch.tolist() for batch in tg.parallel.Serial().shard([np.arange(3)])]
        [[0, 1, 2]]
        """
        if isinstance(batches, Own):
            return batches
        if callable(batches):
            return lambda epoch: self.shard(batches(epoch))
        return Own(Dealt(batches, [self.rank], self.size, own=self.size > 1))

    def average_gradients(self, parameters: Sequence[Tensor], weight: float = 1.0) -> None:
        """Give every parameter the mean of its gradients on all processes, each weighing `weight`: how many rows or tokens
        its loss is the mean of. A process with weight 0 takes part, whatever its gradients are.

        >>> import tinygrad_rnn as tg
        >>> w = tg.Parameter([1.0, 2.0])
        >>> (w * w).sum().backward()
        >>> tg.parallel.Serial().average_gradients([w])
        >>> w.grad.tolist()
        [2.0, 4.0]
        """

    def sum(self, *values: float) -> list[float]:
        """Each number, added up over all processes.

        >>> import tinygrad_rnn as tg
        >>> tg.parallel.Serial().sum(3.0, 4.0)
        [3.0, 4.0]
        """
        return [float(value) for value in values]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every process; it must be one that pickle can write."""
        return value

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in the order of their ranks, on every process."""
        return [value]

    # -- what fit asks for ---------------------------------------------------------------------------------------------

    def sum_later(self, values: Sequence[float]) -> Callable[[], Array]:
        """Begin to add up numbers over all processes; what is returned waits for the sums."""
        return lambda: np.array(values, np.float64)

    def reducer(self, parameters: Sequence[Tensor]) -> Any:
        """What sends gradients on their way."""
        return Accumulator()

    def begin(self, wanted: Mapping[str, Any], start: Any) -> None:
        """Make sure that all processes begin alike."""

    def check(self, names: Sequence[str], parameters: Sequence[Tensor], step: int) -> None:
        """Make sure that all processes still have the same parameters."""

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """An exception inside ends all processes."""
        yield


class Accumulator:
    """Gradients of one process: backward adds them up, and that is all."""

    def backward(self, loss: Tensor, factor: float, last: bool) -> None:
        """Add the gradients of factor · loss. last: no other part of the batch follows."""
        loss.backward(np.full(loss.shape, factor, loss.dtype))

    def finish(self, values: Sequence[float]) -> list[float]:
        """Wait until the gradients of all processes are added up, and with them these numbers."""
        return list(values)
