"""Ctrl-C during training takes effect after the current step."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

# Seconds within which a second signal counts as the same Ctrl-C: the terminal sends it to every process, and so does mpiexec.
TOGETHER = 1.0


class Interrupts:
    """Records a Ctrl-C in `asked`, so that the run ends after the current step; a second one, if `allowed`, raises at once."""

    asked = False
    allowed = True

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self.first = 0.0

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Handle Ctrl-C in this way inside the context, except in threads other than the main one or if it is ignored.

        With several processes SIGTERM too: Open MPI's mpiexec sends it on Ctrl-C, and clusters at the time limit.
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
