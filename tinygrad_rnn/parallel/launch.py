"""Whether mpiexec started this process, known without importing mpi4py; and how many threads each process takes."""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .serial import Serial

SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # MPICH and Intel MPI, Open MPI, MVAPICH2
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


def launched() -> int:
    """How many processes mpiexec (or srun) started together with this one; 1 without, 0 if it does not say."""
    for name in SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0 if "PMIX_RANK" in os.environ else 1


def rank() -> int:
    """The rank that mpiexec gave this process, 0 without; known before there is an `MPI()`.

    >>> import tinygrad_rnn as tg
    >>> tg.parallel.rank()
    0
    """
    return next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()), 0)


def warn_of_copies() -> None:
    """Say, once and on one process, that processes which mpiexec started together train one copy each."""
    if launched() > 1 and rank() == 0:
        warnings.warn(
            f"fit: mpiexec started {launched()} processes and each trains a copy of its own; for one model on all of them give "
            "parallel=tg.parallel.MPI() (parallel=tg.parallel.Serial() says that copies are meant)",
            stacklevel=3,
        )


def detect(*, deterministic: bool = False) -> Serial:
    """`MPI(...)` if mpiexec started this process, else `Serial()`: what a script that runs either way asks for.

    >>> import tinygrad_rnn as tg
    >>> tg.parallel.detect().size
    1
    """
    if launched() == 1:
        return Serial()
    from .mpi import MPI

    return MPI(deterministic=deterministic)


def threads_each(affinities: list[set[int]]) -> int:
    """Threads for each process of a node, from the cores each may use: all cores divided by the processes.

    >>> threads_each([{0, 1, 2, 3}, {0, 1, 2, 3}]), threads_each([{0}, {1}]), threads_each([{0}, {0}])
    (2, 1, 1)
    """
    return max(1, len(set().union(*affinities)) // len(affinities))


def cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def limit_blas(threads: int) -> None:
    """Give NumPy's own OpenBLAS so many threads. Another BLAS goes by its environment variables."""
    set_threads = _openblas()
    if set_threads is not None:
        set_threads(threads)


def _openblas() -> Callable[[int], Any] | None:
    """The function that sets the number of threads of the OpenBLAS in NumPy's wheels."""
    packages = Path(np.__file__).parent
    for folder in (packages.parent / "numpy.libs", packages / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for name in (
                "scipy_openblas_set_num_threads64_",
                "scipy_openblas_set_num_threads",
                "openblas_set_num_threads",
            ):
                if hasattr(library, name):
                    found: Callable[[int], Any] = getattr(library, name)
                    return found
    return None
