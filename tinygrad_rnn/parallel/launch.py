"""Detection of mpiexec without importing mpi4py, and the number of threads of each process."""

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
    """The number of processes that mpiexec (or srun) started; 1 without it, 0 if unknown."""
    for name in SIZES:
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0 if "PMIX_RANK" in os.environ else 1


def rank() -> int:
    """The rank of this process, 0 without mpiexec; it does not need an `MPI()`.

    >>> import tinygrad_rnn as tg
    >>> tg.parallel.rank()
    0
    """
    return next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()), 0)


def warn_of_copies() -> None:
    """Warn on rank 0 if mpiexec started several processes that each train a copy of the model."""
    if launched() > 1 and rank() == 0:
        warnings.warn(
            f"fit: mpiexec started {launched()} processes and each trains a copy of its own; for one model on all of them give "
            "parallel=tg.parallel.MPI() (parallel=tg.parallel.Serial() says that copies are meant)",
            stacklevel=3,
        )


def detect(*, deterministic: bool = False) -> Serial:
    """`MPI(...)` if mpiexec started this process, else `Serial()`, for scripts that run either way.

    >>> import tinygrad_rnn as tg
    >>> tg.parallel.detect().size
    1
    """
    if launched() == 1:
        return Serial()
    from .mpi import MPI

    return MPI(deterministic=deterministic)


def threads_each(affinities: list[set[int]]) -> int:
    """Threads for each process of a node: the number of cores that the processes may use, divided by their number.

    >>> threads_each([{0, 1, 2, 3}, {0, 1, 2, 3}]), threads_each([{0}, {1}]), threads_each([{0}, {0}])
    (2, 1, 1)
    """
    return max(1, len(set().union(*affinities)) // len(affinities))


def cores() -> set[int]:
    """The indices of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def limit_blas(threads: int) -> None:
    """Set the number of threads of NumPy's bundled OpenBLAS. Other BLAS libraries read environment variables."""
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
                    function: Callable[[int], Any] = getattr(library, name)
                    return function
    return None
