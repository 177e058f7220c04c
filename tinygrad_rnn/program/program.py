"""A step as data: instructions over slots."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Shape
from ..autodiff.op import Op
from ..autodiff.rows import Layout
from ..autodiff.state import Scope


class Slot(NamedTuple):
    """A value of a program: its shape (sizes that grow with the batch are Rows), its dtype, and where its rows are."""

    shape: Shape
    dtype: np.dtype[Any]
    layout: Layout

    @property
    def inner(self) -> Shape:
        """The shape of the part of one batch row."""
        per = self.layout.per_row
        return self.shape if not per else self.shape[1:] if per == 1 else (per, *self.shape[1:])


class Literal(NamedTuple):
    """A number, None or a constant array as an input of an instruction."""

    value: Any


class Instruction(NamedTuple):
    """One op on slots (their numbers) and literals; `scope`: its path of scopes in the step; `line`: the user's line that
    called it.

    detached: no gradient flows through it (it ran under no_grad, or its op has none).
    """

    op: Op
    inputs: tuple[int | Literal, ...]
    options: dict[str, Any]
    outputs: tuple[int, ...]
    scope: tuple[Scope, ...]
    line: str
    detached: bool = False


class Program(NamedTuple):
    """A step as data: instructions over slots. Inputs are the leaves of x, state and constants, then captured arrays.

    outputs and new_state are the leaves of what the step returns. `names`: the names set by rnn.gate.
    """

    slots: list[Slot]
    instructions: list[Instruction]
    inputs: tuple[int, ...]
    captured: tuple[tuple[int, int], ...]  # (slot, the array's number in the environment)
    outputs: tuple[int, ...]
    new_state: tuple[int, ...]
    names: dict[int, str]
    output_tree: Any
    named: tuple[str, ...] = ()  # names of the last outputs, where named values are outputs too
    fields: tuple[str, ...] = ()  # of the new state's leaves: the fields of their NamedTuple

    def with_named_outputs(self) -> Program:
        """The same program with the named values as further outputs."""
        slots = {name: slot for slot, name in self.names.items() if self.slots[slot].layout == Layout(1)}
        return self._replace(outputs=(*self.outputs, *slots.values()), named=tuple(slots))

    def without_dead_code(self) -> Program:
        """The same program without instructions that no result needs."""
        live = {*self.outputs, *self.new_state, *self.names}
        kept = []
        for instruction in reversed(self.instructions):
            if not live.isdisjoint(instruction.outputs):
                kept.append(instruction)
                live.update(i for i in instruction.inputs if type(i) is int)
        captured = tuple(c for c in self.captured if c[0] in live)
        return self._replace(instructions=kept[::-1], captured=captured)
