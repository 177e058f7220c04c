"""The gradient of a program is another program, recorded by running the registry's vjps on stand-ins, so there are no
second rules."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.op import Op
from ..autodiff.rows import Layout, Rows
from ..autodiff.state import Ambient, ambient
from ..autodiff.tensor import Tensor, registry
from .program import Instruction, Literal, Program, Slot
from .trace import BATCHES
from .tracer import Traced, Tracer


class Gradient(NamedTuple):
    """The backward program of one step. Its first slots and instructions are the forward program's own.

    cotangents: slots that receive those of the outputs and of the new state (None where no gradient flows). results: for
    each input of the program that needs one, the slot of its cotangent (for an input without rows, of a sum over rows).
    """

    slots: list[Slot]
    instructions: list[Instruction]
    forward: int  # the number of instructions that are the program's
    of_outputs: tuple[int | None, ...]
    of_new_state: tuple[int | None, ...]
    results: dict[int, int]


def active_slots(program: Program, wanted: Collection[int], states: tuple[int, ...]) -> set[int]:
    """The slots through which a gradient flows to inputs that need one, among them a state that later steps read."""
    active = set(wanted)
    while True:
        before = len(active)
        for instruction in program.instructions:
            if not instruction.detached and any(type(i) is int and i in active for i in instruction.inputs):
                active.update(o for o in instruction.outputs if program.slots[o].dtype.kind == "f")
        active.update(s for s, new in zip(states, program.new_state, strict=True) if new in active)
        if len(active) == before:
            return active


def gradient(program: Program, wanted: Collection[int], states: tuple[int, ...], batch: int = BATCHES[0]) -> Gradient:
    """The program that computes the cotangents of a step's inputs from those of its results. `states`: its state inputs.
    batch: the number of rows of the values on which the vjps run; the program does not depend on it.
    """
    active = active_slots(program, wanted, states)
    tracer = Tracer(batch, sums=True)
    outside = ambient.get()
    token = ambient.set(Ambient(True, outside.scope, outside.training, tracer))
    try:
        with np.errstate(all="ignore"):
            traced = _replayed(program, tracer)
            forward = len(tracer.instructions)
            of_outputs = _seeds(program.outputs, active, traced, tracer)
            carried = {new for old, new in zip(states, program.new_state, strict=True) if old in active}
            of_new_state = _seeds(program.new_state, active | carried, traced, tracer)
            cotangents: dict[int, Traced] = {}
            for slot, g in [
                *zip(program.outputs, of_outputs, strict=True),
                *zip(program.new_state, of_new_state, strict=True),
            ]:
                if g is not None:
                    _add(cotangents, slot, g)
            for instruction in reversed(program.instructions):
                if not instruction.detached and any(o in cotangents for o in instruction.outputs):
                    _pull(instruction, program, traced, active, cotangents)
            for slot in states:  # a state that no step reads: only the last one's cotangent comes from outside
                if slot in active and slot not in cotangents:
                    cotangents[slot] = _zeros(traced[slot])
    finally:
        ambient.reset(token)
    instructions, same = _without_repeats(tracer.instructions, forward)
    results = {slot: cotangents[slot].number for slot in (*wanted, *states) if slot in active and slot in cotangents}
    return Gradient(
        tracer.slots,
        instructions,
        forward,
        tuple(None if g is None else g.number for g in of_outputs),
        tuple(None if g is None else g.number for g in of_new_state),
        {slot: same.get(number, number) for slot, number in results.items()},
    )


def _without_repeats(instructions: list[Instruction], forward: int) -> tuple[list[Instruction], dict[int, int]]:
    """The instructions, those of the rules without what another computes: vjps write 1 − σ(z) wherever they need it. And
    which slots stand for the results of those left out."""
    same: dict[int, int] = {}
    known: dict[str, Instruction] = {}
    kept = []
    for number, instruction in enumerate(instructions):
        inputs = tuple([same.get(i, i) if type(i) is int else i for i in instruction.inputs])
        instruction = instruction._replace(inputs=inputs)
        key = repr((instruction.op.name, inputs, instruction.options))
        first = known.setdefault(key, instruction)
        if number < forward or first is instruction or "array(" in key:  # the repr of an array may be abbreviated
            kept.append(instruction)
        else:
            same.update(zip(instruction.outputs, first.outputs, strict=True))
    return kept, same


def _replayed(program: Program, tracer: Tracer) -> dict[int, Traced]:
    """The program's slots in a new trace, under the same numbers. A rule cannot read their values, which are arbitrary (but
    no matrix singular, no index out of range)."""
    numbers = np.random.default_rng(0).normal(size=4093).astype(np.float32)  # a prime: rows of a matrix differ
    traced: dict[int, Traced] = {}
    for number, slot in enumerate(program.slots):
        shape = tuple(slot.layout.per_row * tracer.batch if isinstance(n, Rows) else n for n in slot.shape)
        differentiable = slot.dtype.kind == "f"
        if differentiable:
            size = prod(shape)
            some = numbers[:size].reshape(shape) if size <= len(numbers) else np.resize(numbers, shape)
            value = some.astype(slot.dtype)
        else:
            value = np.zeros(shape, slot.dtype)
        traced[number] = tracer.stand_in(value, slot.layout, differentiable)
    tracer.instructions.extend(program.instructions)
    return traced


def _seeds(slots: tuple[int, ...], active: set[int], traced: dict[int, Traced], tracer: Tracer) -> list[Traced | None]:
    """Stand-ins for the cotangents of the step's results."""
    seeds: list[Traced | None] = []
    for slot in slots:
        t = traced[slot]
        seeds.append(tracer.stand_in(np.ones_like(tracer.values[slot]), Layout(1), True) if slot in active else None)
        assert t.tracer is tracer
    return seeds


def _add(cotangents: dict[int, Traced], slot: int, g: Any) -> None:
    total = cotangents.get(slot)
    cotangents[slot] = g if total is None else registry["add"](total, g)


def _pull(
    instruction: Instruction,
    program: Program,
    traced: dict[int, Traced],
    active: set[int],
    cotangents: dict[int, Traced],
) -> None:
    """Run one op's vjp, and add its results to the cotangents of the op's inputs."""
    op = instruction.op
    arrays = [i.value if isinstance(i, Literal) else traced[i] for i in instruction.inputs]
    outs = [traced[o] for o in instruction.outputs]
    needs = tuple(type(i) is int and i in active for i in instruction.inputs)
    if not any(needs):
        return
    gs = [cotangents.get(o) for o in instruction.outputs]
    if op.several:
        g: Any = [_zeros(t) if one is None else one for one, t in zip(gs, outs, strict=True)]
    else:
        g = gs[0]
    shapes = tuple([a.shape if isinstance(a, Tensor) else np.shape(a) for a in arrays])
    saved = op.pick((*arrays, shapes[0], shapes, outs[0], needs, None))
    grads = op.rule(g, *saved, **instruction.options)
    if type(grads) not in (tuple, list):
        grads = (grads,)
    for slot, need, part in zip(instruction.inputs, needs, grads, strict=True):
        if need and part is not None:
            assert type(slot) is int
            _add(cotangents, slot, _fitted(op, part, traced[slot]))


def _zeros(t: Traced) -> Any:
    return registry["broadcast_to"](np.zeros((), t.dtype), shape=t.shape)


def _fitted(op: Op, g: Any, parent: Traced) -> Any:
    """A cotangent in its input's shape and dtype: summed over the axes along which that was broadcast."""
    shape = parent.shape
    if g.shape != shape or (
        not parent.tracer.slots[parent.number].layout.per_row and parent.tracer.slots[g.number].layout.per_row
    ):
        extra = g.ndim - len(shape)
        if extra:
            g = registry["sum"](g, axis=tuple(range(extra)))
        stretched = tuple(i for i, (have, want) in enumerate(zip(g.shape, shape, strict=True)) if have != want)
        if stretched:
            g = registry["sum"](g, axis=stretched, keepdims=True)
    return g if g.dtype == parent.dtype else registry["astype"](g, dtype=parent.dtype)
