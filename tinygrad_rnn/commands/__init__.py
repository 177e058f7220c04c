"""What `python -m tinygrad_rnn` can do, one file a command: its arguments, and `run(options)`, which gives the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Iterable


class Usage(ValueError):
    """A command was called in a way that makes no sense; the message says which."""


def near(name: str, names: Iterable[str]) -> str:
    """A hint at the name that may have been meant, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def positive(text: str) -> int:
    """An argument that is a positive integer."""
    if not (text.isdecimal() and text.isascii() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive integer")
    return int(text)
