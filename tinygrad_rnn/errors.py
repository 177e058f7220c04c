"""The errors this package raises beside Python's own TypeError, ValueError and IndexError.

Each derives from the builtin that a caller would expect, so `except ValueError` keeps working.
"""

from __future__ import annotations

from typing import Any


class GraphError(RuntimeError):
    """The recorded graph cannot do what was asked: it was freed, or it holds no path to a gradient."""


class CheckpointError(ValueError):
    """A file of saved tensors is damaged, or does not fit the model or optimiser it is loaded into."""


class DrawingError(RuntimeError):
    """No Graphviz program could be found or run; the message lists what was tried."""


class GradcheckError(AssertionError):
    """A gradient does not agree with finite differences; `report` holds the findings as plain data."""

    def __init__(self, message: str, report: Any = None):
        super().__init__(message)
        self.report = report
