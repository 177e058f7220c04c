"""Data-parallel training over MPI, by mpi4py. Every wait notices a process that has failed."""

from __future__ import annotations

import hashlib
import os
import pickle
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import perf_counter, sleep
from typing import Any

import numpy as np

from ..autodiff.tensor import Tensor
from ..kernels import set_num_threads
from . import launch
from .faults import FailureMonitor, library
from .reducer import Reducer
from .serial import Serial

Array = np.ndarray[Any, np.dtype[Any]]


class MPI(Serial):
    """All processes that mpiexec started, for data-parallel training: `train.fit(…, parallel=tg.parallel.MPI())`.

    Each process runs the same script on its own part of every batch. Gradients are summed over all processes, so every
    process makes the same step. Without mpiexec this is rank 0 of 1. All processes must create it and make the same calls.
    deterministic: sum in the order of the ranks, so that the result equals that of `fit(accumulate=size)` on one process,
    bit for bit if NumPy's products use as many threads; otherwise MPI chooses the order (two processes have only one).
    threads: of each process, by default the node's cores divided by its processes. comm: an mpi4py communicator, by default
    of all processes. `waited` is the time in seconds that this process has waited for others.

    Raises ImportError without mpi4py or an MPI library, RuntimeError where mpiexec belongs to another MPI than mpi4py.

        parallel = tg.parallel.MPI()
        for inputs, targets in parallel.shard(batches):
            optimizer.zero_grad()
            if len(inputs):  # a part may be empty
                model.loss(inputs, targets).backward()
            parallel.average_gradients(model.parameters(), weight=targets.size)
            optimizer.step()

    >>> import tinygrad_rnn as tg
    >>> try:
    ...     parallel = tg.parallel.MPI()
    ... except ImportError:  # without the extra: pip install 'tinygrad_rnn[mpi]'
    ...     parallel = tg.parallel.Serial()
    >>> parallel.rank < parallel.size
    True
    """

    def __init__(self, *, deterministic: bool = False, threads: int | None = None, comm: Any = None):
        mpi = library()
        world = mpi.COMM_WORLD if comm is None else comm
        if comm is None and world.size == 1 and launch.launched() > 1:
            raise RuntimeError(
                f"MPI: mpiexec started {launch.launched()} processes, but mpi4py sees only this one: the two belong to "
                "different MPI libraries. Use the mpiexec of the one that mpi4py loads, "
                f"{mpi.Get_library_version().splitlines()[0].strip()}"
            )
        self.comm = world.Dup()
        self.rank, self.size = self.comm.rank, self.comm.size
        self.deterministic = bool(deterministic)
        self.monitor = FailureMonitor.of_this_process() if self.size > 1 else None
        self.waited = 0.0
        self._reducer: Reducer | None = None
        node = self.comm.Split_type(mpi.COMM_TYPE_SHARED)
        self.threads = launch.threads_each(node.allgather(launch.cores())) if threads is None else threads
        node.Free()
        if self.size > 1 or threads is not None:
            set_num_threads(self.threads)
            launch.limit_blas(self.threads)

    def __repr__(self) -> str:
        return f"MPI(rank {self.rank} of {self.size}, {self.threads} thread{'s' * (self.threads != 1)})"

    # -- for user-written loops ------------------------------------------------------------------------------------

    def average_gradients(self, parameters: Sequence[Tensor], weight: float = 1.0) -> None:
        parameters = list(parameters)
        if not weight >= 0:
            raise ValueError(
                f"average_gradients: weight is {weight!r}, expected a number of rows or tokens, at least 0"
            )
        total = self.sum(weight)[0]
        if not total:
            raise ValueError("average_gradients: weight is 0 on every rank, expected rows on one of them at least")
        for p in parameters:
            if p.grad is not None:
                p.grad = p.grad * p.dtype.type(weight / total) if weight else None
        if self._reducer is None or [id(p) for p in self._reducer.parameters] != [id(p) for p in parameters]:
            self._reducer = Reducer(self.start, self.broadcast, parameters)
        self._reducer.finish([])

    def sum(self, *values: float) -> list[float]:
        totals: list[float] = self.sum_later(values)().tolist()
        return totals

    def broadcast(self, value: Any) -> Any:
        content = np.frombuffer(pickle.dumps(value), np.uint8) if self.rank == 0 else np.empty(0, np.uint8)
        size = np.array([len(content)], np.int64)
        self.wait(self.comm.Ibcast(size))
        content = content.copy() if self.rank == 0 else np.empty(int(size[0]), np.uint8)
        self.wait(self.comm.Ibcast(content))
        return pickle.loads(content.tobytes())

    def gather(self, value: Any) -> list[Any]:
        content = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = np.empty(self.size, np.int64)
        self.wait(self.comm.Iallgather(np.array([len(content)], np.int64), sizes))
        contents = np.empty(int(sizes.sum()), np.uint8)
        self.wait(self.comm.Iallgatherv(content, [contents, sizes.tolist()]))
        return [pickle.loads(piece.tobytes()) for piece in np.split(contents, np.cumsum(sizes)[:-1])]

    # -- transport -------------------------------------------------------------------------------------------------

    def wait(self, request: Any) -> None:
        """Wait for a request; raises if a process that it needs has exited."""
        start = looked = perf_counter()
        while not request.Test():
            now = perf_counter()
            sleep(0.001) if now - start > 1 else _give_way()
            if now - looked > 0.05 and self.monitor is not None:
                looked = now
                self.monitor.look()
        self.waited += perf_counter() - start

    def start(self, array: Array) -> _Sum:
        """Start a sum of an array over all processes."""
        return _OrderedSum(self, array) if self.deterministic and self.size > 2 else _Sum(self, array)

    def sum_later(self, values: Sequence[float]) -> Callable[[], Array]:
        return self.start(np.array(values, np.float64)).wait

    def reducer(self, parameters: Sequence[Tensor]) -> Reducer:
        return Reducer(self.start, self.broadcast, parameters)

    # -- for fit ---------------------------------------------------------------------------------------------------

    def begin(self, settings: Mapping[str, Any], start: Any) -> None:
        """Raise ValueError if `settings` differ between processes; set every process to rank 0's initial values.

        settings: what must be equal, by name. start: the initial values (a train.initial_values.InitialValues).
        """
        texts = {name: str(value) for name, value in settings.items()}
        digest = hashlib.sha256(repr(sorted(texts.items())).encode()).digest()
        if len(set(self.gather(digest))) > 1:
            everyone = self.gather(texts)
            for rank, other in enumerate(everyone):
                for name in {**everyone[0], **other}:
                    expected, actual = everyone[0].get(name, "missing"), other.get(name, "missing")
                    if expected != actual:
                        raise ValueError(
                            f"fit: {name} is {actual} on rank {rank} and {expected} on rank 0; every process must build the "
                            "same model and call fit with the same arguments"
                        )
        arrays = start.arrays()
        if (mismatch := self.differing(list(arrays.values()))) is not None:
            rank, number = mismatch
            start.load(self.broadcast(start.state()))
            if self.rank == 0:
                warnings.warn(
                    f"fit: {list(arrays)[number]} differed on rank {rank} at the start; rank 0's parameters were sent to all. "
                    "Call tg.seed with the same number everywhere to begin alike",
                    stacklevel=3,
                )
        start.set_random(self.broadcast(start.random()))

    def check(self, names: Sequence[str], parameters: Sequence[Tensor], step: int) -> None:
        if (mismatch := self.differing([p.data for p in parameters])) is not None:
            rank, number = mismatch
            raise RuntimeError(
                f"fit: after step {step} parameter {names[number]} differs on rank {rank} from rank 0's: something changed it "
                "on one process only (code that looks at the rank, a faulty machine); the run was stopped"
            )

    def differing(self, arrays: Sequence[Array]) -> tuple[int, int] | None:
        """The first rank, and the index of its first array, whose checksum differs from rank 0's; None if all are equal."""
        own = np.array([zlib.crc32(np.ascontiguousarray(a).data) for a in arrays], np.uint32)
        checksums = np.empty((self.size, len(own)), np.uint32)
        self.wait(self.comm.Iallgather(own, checksums))
        mismatches = np.argwhere(checksums != checksums[0])
        return None if not len(mismatches) else (int(mismatches[0][0]), int(mismatches[0][1]))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if self.monitor is not None:
                self.monitor.end(error)
            raise


class _Sum:
    """A pending sum over all processes, in the order that MPI chooses."""

    def __init__(self, link: MPI, array: Array):
        self.link, self.array, self.result = link, array, np.empty_like(array)
        self.request = link.comm.Iallreduce(array, self.result)

    def progress(self) -> None:
        self.request.Test()

    def wait(self) -> Array:
        self.link.wait(self.request)
        return self.result


class _OrderedSum(_Sum):
    """A sum in the order of the ranks: each process sums its share of the elements, then all gather the shares."""

    def __init__(self, link: MPI, array: Array):
        self.link, self.array = link, array
        self.total: Array | None = None
        share = -(-array.size // link.size)
        self.sent = np.zeros((link.size, share), array.dtype)
        self.sent.reshape(-1)[: array.size] = array.reshape(-1)
        self.received = np.empty_like(self.sent)
        self.request = link.comm.Ialltoall(self.sent, self.received)

    def wait(self) -> Array:
        if self.total is None:
            self.link.wait(self.request)
            total = self.received[0]
            for addend in self.received[1:]:
                total = total + addend
            collected = np.empty_like(self.sent)
            self.link.wait(self.link.comm.Iallgather(total, collected))
            self.total = collected.reshape(-1)[: self.array.size].reshape(self.array.shape)
        return self.total


def _give_way() -> None:
    """Yield the core to another process that waits for it."""
    os.sched_yield() if hasattr(os, "sched_yield") else sleep(0)
