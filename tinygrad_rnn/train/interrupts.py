"""Ctrl-C while training: it waits for the step at hand."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

TOGETHER = 1.0  # seconds: mpiexec passes on a Ctrl-C that the terminal has sent to every process as well


class Interrupts:
    """Notes a Ctrl-C (`asked`), so that the run ends after the step at hand; a second one, where `allowed`, does not wait."""

    asked = False
    allowed = True

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self.first = 0.0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Handle Ctrl-C so inside; not in other threads, nor where it is ignored.

        Of several processes also SIGTERM: Open MPI's mpiexec turns a Ctrl-C into it, and so does a cluster's time limit.
        """
        current = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT)
        if not callable(current):
            yield
            return
        signals = [signal.SIGINT, signal.SIGTERM] if self.size > 1 else [signal.SIGINT]
        before = [signal.signal(one, self.interrupt) for one in signals]
        try:
            yield
        finally:
            for one, handler in zip(signals, before, strict=True):
                signal.signal(one, handler)

    def interrupt(self, *_: Any) -> None:
        """The signal's handler."""
        now = monotonic()
        if self.asked:
            if self.allowed and (self.size == 1 or now - self.first > TOGETHER):
                raise KeyboardInterrupt
            return
        self.asked, self.first = True, now
        if self.rank == 0:
            print("\nstopping after this step; Ctrl-C again to stop at once", file=sys.stderr)
