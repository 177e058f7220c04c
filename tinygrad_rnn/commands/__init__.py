"""The commands of `python -m tinygrad_rnn`, one per file: its arguments, and `run(options)`, which returns the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Iterable


class Usage(ValueError):
    """Invalid arguments of a command."""


def near(name: str, names: Iterable[str]) -> str:
    """A hint at a similar name, "" if there is none."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def positive(text: str) -> int:
    """Parse a positive integer."""
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return int(text)
