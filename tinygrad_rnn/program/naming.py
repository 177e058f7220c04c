"""Names of values in a step: gates and states, as drawings, traces and explanations call them."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..autodiff.node import Node
from ..autodiff.op import Op
from ..autodiff.state import Scope, ambient
from ..autodiff.tensor import Tensor

if TYPE_CHECKING:
    from .program import Instruction, Program

probe: ContextVar[dict[str, Any] | None] = ContextVar("tinygrad_rnn.probe", default=None)  # collects named values


def gate(name: str, value: Any) -> Any:
    """Name a value: drawings show the name, and `return_trace` returns the values of every step under it.

    >>> import tinygrad_rnn as tg
    >>> tg.rnn.gate("z", tg.sigmoid(tg.tensor(0.0))).item()
    0.5
    """
    if (tracer := ambient.get().tracer) is not None and tracer.name(value, name):
        return value
    seen = probe.get()
    if seen is not None:
        seen.setdefault(name, value)
    node = value._node if isinstance(value, Tensor) else None
    if isinstance(node, Node):
        _enclose(node, name)
    return value


def _enclose(top: Node, name: str) -> None:
    """Put the ops that compute a named value into a scope with its name: those of the same step that have no such scope
    yet, back to the ops that split an array."""
    scope, here = top.scope, ambient.get().scope
    common = min(len(scope), len(here))
    if scope[:common] != here[:common] or (scope and scope[-1].kind == "gate"):
        return  # computed in another step, or named already
    work = [top]
    while work:
        node = work.pop()
        if node.scope == scope:
            node.scope = (*scope, Scope(name, "gate", int(node is top)))
            work += [p for p in node.parents if type(p) is Node and _is_inside(p.op)]


def enclosed(program: Program) -> list[Instruction]:
    """The instructions of a program with the ops of every named value in a scope of its name, as `_enclose` puts them."""
    instructions = list(program.instructions)
    made = {o: k for k, instruction in enumerate(instructions) for o in instruction.outputs}
    for slot, name in program.names.items():
        work = [made[slot]] if slot in made and not instructions[made[slot]].op.several else []
        scope = instructions[work[0]].scope if work else ()
        gate_scope = Scope(name, "gate", 1)
        while work:
            k = work.pop()
            if instructions[k].scope == scope and not (scope and scope[-1].kind == "gate"):
                work += [made[i] for i in instructions[k].inputs if i in made and _is_inside(instructions[made[i]].op)]
                instructions[k] = instructions[k]._replace(scope=(*scope, gate_scope))
                gate_scope = Scope(name, "gate") if gate_scope.number else gate_scope
    return instructions


def _is_inside(op: Op) -> bool:
    """Whether an op that a named value depends on belongs to its scope."""
    return not op.several and op.name != "matmul"
