"""Which implementation runs, and on how many threads: `active` is its name, `missing` why there is no native one, or None."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TypedDict

import numpy as np

missing: str | None = None
try:
    import_module("._native", __package__)
except ImportError as error:
    if os.environ.get("TINYGRAD_RNN_REQUIRE_NATIVE", "") not in ("", "0"):
        raise ImportError(
            f"TINYGRAD_RNN_REQUIRE_NATIVE is set and the native kernels cannot be loaded: {error}"
        ) from error
    missing = str(error)
else:
    from . import _native


class Info(TypedDict):
    """What `info` tells."""

    implementation: str
    isa: str | None
    threads: int
    compiler: str | None
    missing: str | None


def implementations() -> tuple[str, ...]:
    """Names of what can run here, the fastest first; "reference" is always the last.

    >>> import tinygrad_rnn as tg
    >>> tg.kernels.implementations()[-1]
    'reference'
    """
    return (*(_native.isas() if missing is None else ()), "reference")


def _choose() -> str:
    name = os.environ.get("TINYGRAD_RNN_ISA", "")
    if not name:
        return implementations()[0]
    if name not in implementations():
        names = ", ".join(implementations())
        raise ImportError(f"TINYGRAD_RNN_ISA is {name!r}, expected one of {names}, which this build and processor have")
    return name


active = _choose()


@contextmanager
def using(name: str) -> Iterator[None]:
    """Within the block every thread of the process runs the implementation `name` (one of `implementations()`).

    >>> import tinygrad_rnn as tg
    >>> with tg.kernels.using("reference"):
    ...     tg.kernels.info()["implementation"]
    'reference'
    """
    global active
    if name not in implementations():
        raise ValueError(f"using: name is {name!r}, expected one of {', '.join(implementations())}")
    before, active = active, name
    try:
        yield
    finally:
        active = before


def info() -> Info:
    """What runs: a dict with implementation, isa, threads, compiler and missing.

    implementation is "native" or "reference"; missing says why native is missing, or is None.

    >>> import tinygrad_rnn as tg
    >>> sorted(tg.kernels.info())
    ['compiler', 'implementation', 'isa', 'missing', 'threads']
    """
    native = active != "reference"
    return {
        "implementation": "native" if native else "reference",
        "isa": active if native else None,
        "threads": get_num_threads() if native else 1,
        "compiler": _native.compiler() if missing is None else None,
        "missing": missing,
    }


def set_num_threads(n: int) -> None:
    """The most threads a native kernel uses, 1 to 1024; small shapes take fewer by themselves. Results are bitwise the
    same for any number. Raises TypeError and ValueError for another n.

    >>> import tinygrad_rnn as tg
    >>> tg.set_num_threads(tg.get_num_threads())
    """
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"set_num_threads: n is {n!r}, expected an integer of at least 1")
    if not 1 <= n <= 1024:
        raise ValueError(f"set_num_threads: n is {n}, expected 1..1024")
    if missing is None:
        _native.set_num_threads(int(n))


def get_num_threads() -> int:
    """The most threads a native kernel uses.

    >>> import tinygrad_rnn as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads() if missing is None else 1
