"""Failures: an exception on one process, or a process that exits while others wait for it, ends all processes."""

from __future__ import annotations

import atexit
import sys
import traceback
from functools import cache
from time import perf_counter, sleep
from typing import Any

import numpy as np


def library() -> Any:
    """mpi4py's MPI, which starts MPI when first imported. Raises ImportError that names the extra."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        what = "mpi4py is not installed" if isinstance(error, ModuleNotFoundError) else f"no MPI library loads: {error}"
        raise ImportError(
            f"MPI: {what}. The extra brings both, pip install 'tinygrad_rnn[mpi]'; on a cluster, pip install mpi4py after "
            "loading its MPI"
        ) from error
    return MPI


def fail(error: BaseException) -> None:
    """Print an error in one line and end all processes; returns if this is the only one.

    For programs that catch exceptions and report them themselves. Uncaught exceptions end all processes anyway.

    >>> import tinygrad_rnn as tg
    >>> tg.parallel.fail(ValueError("alone"))
    """
    if FailureMonitor.of_this_process.cache_info().currsize:
        FailureMonitor.of_this_process().end(error, brief=True)


class FailureMonitor:
    """Notices processes that have exited, and ends all processes if one fails."""

    @staticmethod
    @cache
    def of_this_process() -> FailureMonitor:
        """The monitor of this process, for all processes that mpiexec started."""
        return FailureMonitor()

    def __init__(self) -> None:
        self.mpi = library()
        self.comm = self.mpi.COMM_WORLD.Dup()
        self.since: float | None = None  # the time when another process was first seen to have exited
        self.hook, sys.excepthook = sys.excepthook, self.uncaught
        atexit.register(self.leave)

    def look(self) -> None:
        """Raise RuntimeError if another process exited more than 2 seconds ago."""
        status = self.mpi.Status()
        if not self.comm.Iprobe(source=self.mpi.ANY_SOURCE, status=status):
            return
        self.since = self.since or perf_counter()
        if perf_counter() - self.since > 2:
            raise RuntimeError(
                f"rank {status.Get_source()} exited while rank {self.comm.rank} waits for it; all processes must "
                "take the same number of steps"
            )

    def uncaught(self, error_type: Any, error: BaseException, trace: Any) -> None:
        """sys.excepthook: end all processes."""
        self.end(error)

    def end(self, error: BaseException, brief: bool = False) -> None:
        """Print the error and end all processes. brief: without the traceback."""
        rank, size = self.comm.rank, self.comm.size
        sleep(min(0.25 * rank, 2.0))  # an error that occurs on all processes is printed by rank 0
        if isinstance(error, KeyboardInterrupt):
            text, code = f"rank {rank} of {size}: interrupted, all processes end\n", 130
        else:
            trace = "" if brief else "".join(traceback.format_exception(error))
            text, code = f"{trace}rank {rank} of {size} failed, all processes end: {type(error).__name__}: {error}\n", 1
        sys.stdout.flush()
        sys.stderr.write(text)
        sys.stderr.flush()
        self.comm.Abort(code)

    def leave(self) -> None:
        """At exit: notify the other processes, and wait until they have ended."""
        if self.mpi.Is_finalized():
            return
        others = [rank for rank in range(self.comm.size) if rank != self.comm.rank]
        nothing = np.empty(0, np.uint8)
        requests = [self.comm.Isend(nothing, rank) for rank in others]
        requests += [self.comm.Irecv(np.empty(0, np.uint8), rank) for rank in others]
        while not self.mpi.Request.Testall(requests):
            sleep(0.005)
