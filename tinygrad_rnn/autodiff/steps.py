"""States in a recorded loop over time: which values are states before and after a step, and their names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .node import Leaf, Node
from .state import Run, Scope, ambient
from .tensor import Tensor


def current_step() -> Scope | None:
    """The innermost open time step."""
    for part in reversed(ambient.get().scope):
        if part.kind == "step":
            return part
    return None


def name_states(states: Sequence[Any], fields: Sequence[str] = (), before: Sequence[Any] = ()) -> tuple[str, ...]:
    """The names of the states after the current step: set by rnn.gate, else the fields of their NamedTuple ("" for none),
    else h, or s1, s2 … for several. The names are added to the scopes of the states' nodes.

    before: the states before the step; those from outside the run are stored as its initial states.
    """
    if ambient.get().tracer is not None:
        return tuple(fields)  # a loop inside a traced step records nothing
    step = current_step()
    nodes = [s._node if isinstance(s, Tensor) else None for s in states]
    own = [n if type(n) is Node and any(part is step for part in n.scope) else None for n in nodes]
    gates = [
        str(n.scope[-1]) if n is not None and n.scope[-1].kind == "gate" and n.scope[-1].number else "" for n in own
    ]
    names = [g or (fields[k] if fields else "") for k, g in enumerate(gates)]
    names = [name or ("h" if len(names) == 1 else f"s{k + 1}") for k, name in enumerate(names)]
    for node, name, gate in zip(own, names, gates, strict=True):
        if node is not None and name != gate and node.scope[-1].kind != "state":
            node.scope = (*node.scope, Scope(name, "state"))
    if step is not None and step.run is not None and before:
        _store_initial_states(step.run, names, before)
    return tuple(names)


def _store_initial_states(run: Run, names: Sequence[str], states: Sequence[Any]) -> None:
    """Store the initial states of a run: those that its own steps did not compute."""
    known = [edge for _, edge in run.initial_states]
    for name, value in zip(names, states, strict=True):
        if isinstance(value, Tensor):
            if value._node is None:
                value._node = Leaf(value.data.shape, value.data.dtype, False)
            edge = value._node
            node: Any = getattr(edge, "node", edge)
            own = type(node) is Node and any(part.run is run for part in node.scope)
            if not own and not any(edge is other for other in known):
                run.initial_states.append((name, edge))


def mask_tensor(array: Any) -> Tensor:
    """A constant that drawings show as a mask: a random array drawn by a cell, or a mask of lengths."""
    return Tensor._from_array(array, Leaf(array.shape, array.dtype, False, "mask", "mask"))


def fields_of(state: Any, name: str = "") -> Iterator[str]:
    """For each leaf of a state, the name of its field in a NamedTuple; "" for none."""
    if isinstance(state, tuple):
        for part, inner in zip(state, getattr(state, "_fields", [""] * len(state)), strict=True):
            yield from fields_of(part, inner)
    elif state is not None:
        yield name
