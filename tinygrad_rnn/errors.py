"""The errors this package raises beside Python's own TypeError, ValueError and IndexError.

Each derives from the builtin that a caller would expect, so `except ValueError` keeps working.
"""

from __future__ import annotations

from typing import Any


class GraphError(RuntimeError):
    """The recorded graph cannot do what was asked: it was freed, or it holds no path to a gradient.

    >>> import tinygrad_rnn as tg
    >>> loss = (tg.Parameter([1.0]) * 2).sum()
    >>> loss.backward()
    >>> try:
    ...     loss.backward()
    ... except tg.GraphError as error:
    ...     "retain_graph=True" in str(error)
    True
    """


class CheckpointError(ValueError):
    """A file of saved tensors is damaged, or does not fit the model or optimiser it is loaded into.

    >>> import pathlib, tempfile, tinygrad_rnn as tg
    >>> path = pathlib.Path(tempfile.mkdtemp(), "broken.safetensors")
    >>> _ = path.write_text("no tensors")
    >>> try:
    ...     tg.load(path)
    ... except tg.CheckpointError as error:
    ...     isinstance(error, ValueError)
    True
    """


class DrawingError(RuntimeError):
    """No Graphviz program could be found or run; the message lists what was tried.

    >>> import tinygrad_rnn as tg
    >>> try:
    ...     tg.viz.unrolled(tg.rnn.LSTMCell(2)).svg(program="no-such-program")
    ... except tg.DrawingError as error:
    ...     "pip install graphviz-pure" in str(error)
    True
    """


class GradcheckError(AssertionError):
    """A gradient does not agree with finite differences; `report` holds the findings as plain data.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> try:
    ...     tg.gradcheck(lambda x: x * x.detach(), np.array([1.0, 2.0]))
    ... except tg.GradcheckError as error:
    ...     error.report.cause
    'every element is off by the factor 0.5 (divided by 2?)'
    """

    def __init__(self, message: str, report: Any = None):
        super().__init__(message)
        self.report = report
