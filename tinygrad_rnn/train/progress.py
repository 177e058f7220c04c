"""Progress of a training run: a bar with loss and speed in a terminal or notebook, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Any, TextIO


class Progress:
    """A tqdm bar in a terminal or in Jupyter, otherwise a line every `every` seconds; no output unless `shown`.

    Written to stderr; in Jupyter, which displays stderr as an error, to stdout. total: the steps, or seconds of training,
    at which the run ends.
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
        """Advance to `place` and show `text`. seconds: of training so far, which determines when plain lines are printed."""
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
        """Show the final text and close the bar."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=True)
            self.bar.close()
        elif self.lines:
            print(text, file=self.stream, flush=True)
