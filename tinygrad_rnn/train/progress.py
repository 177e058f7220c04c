"""How far a training run is: a bar with loss and speed on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO


class Progress:
    """A bar (tqdm) on a terminal and in Jupyter, else a line every `every` seconds; nothing at all unless shown.

    It goes to stderr, but in Jupyter, which shows that as an error, to stdout. total is what `advance` counts up to:
    steps, or seconds of training.
    """

    def __init__(self, shown: bool, total: float | None, start: float = 0.0, every: float = 10.0):
        notebook = type(sys.stderr).__module__.startswith("ipykernel")
        self.stream: TextIO = sys.stdout if notebook else sys.stderr
        self.every, self.last = every, 0.0
        self.bar: Any = None
        self.lines = shown and not (notebook or self.stream.isatty())
        if shown and not self.lines:
            from tqdm import tqdm

            layout = "{percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}" if total else "{elapsed}{postfix}"
            width = {"ncols": 90} if notebook else {"dynamic_ncols": True}
            self.bar = tqdm(total=total, initial=start, bar_format=layout, file=self.stream, leave=True, **width)

    def advance(self, place: float, seconds: float, text: str) -> None:
        """Go to `place`; text says how it stands. seconds: of training so far, which paces the plain lines."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(place - self.bar.n if self.bar.total is None else min(place, self.bar.total) - self.bar.n)
        elif self.lines and seconds - self.last >= self.every:
            self.last = seconds
            print(text, file=self.stream, flush=True)

    def write(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=self.stream)
        elif self.lines:
            print(text, file=self.stream, flush=True)

    def close(self, text: str) -> None:
        """Leave the last state standing."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=True)
            self.bar.close()
        elif self.lines:
            print(text, file=self.stream, flush=True)
