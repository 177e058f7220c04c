"""Names of values in a step: gates and states, as drawings, traces and explanations call them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from ..autodiff.node import Node
from ..autodiff.tensor import Tensor
from .tracer import Traced

probe: ContextVar[dict[str, Any] | None] = ContextVar("tinygrad_rnn.probe", default=None)  # collects named values


def gate(name: str, value: Any) -> Any:
    """The value, named: drawings write the name, and `return_trace` gives the values of every step by it.

    >>> import tinygrad_rnn as tg
    >>> tg.rnn.gate("z", tg.sigmoid(tg.tensor(0.0))).item()
    0.5
    """
    if isinstance(value, Traced):
        value.tracer.names.setdefault(value.number, name)
        return value
    seen = probe.get()
    if seen is not None:
        seen.setdefault(name, value)
    node = value._node if isinstance(value, Tensor) else None
    if isinstance(node, Node):
        _enclose(node, name)
    return value


def _enclose(top: Node, name: str) -> None:
    """Put the ops that make a named value, and nothing else, into a scope of its name: those of the same step that are
    not named yet, back to what was cut into parts."""
    scope, first = top.scope, top.counter
    work = [top]
    while work:
        node = work.pop()
        if node.scope != scope:
            continue
        node.scope = (*scope, name)
        work += [
            p
            for p in node.parents
            if type(p) is Node and p.counter < first and not p.op.several and p.op.name != "matmul"
        ]
