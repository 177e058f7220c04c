"""A whole sequence as one node: the op `scan`, its gradient, and what it stands for in primitives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.rows import elementwise
from ..autodiff.state import ambient, scope
from ..autodiff.tensor import Tensor
from ..ops import reverse_sequence, stack, unstack, where
from .plan import Leaves, Loop, Plan
from .program import Instruction, Literal, Program
from .run import Runner, Schedule, with_rows

__all__ = ["Loops", "Scan"]


@dataclass
class Loops:
    """A planned program with what runs it."""

    program: Program
    inputs: Leaves
    plan: Plan
    forward: Runner = field(init=False)
    saving: Runner = field(init=False)
    backward: Runner | None = field(init=False)

    def __post_init__(self) -> None:
        self.forward, self.saving = Runner(self.plan.forward), Runner(self.plan.saving)
        self.backward = None if self.plan.backward is None else Runner(self.plan.backward)


@dataclass
class Scan:
    """One run of a step over time: which loops, and how time is laid out."""

    loops: Loops
    batch: int
    steps: int
    lengths: np.ndarray[Any, Any] | None = None
    reverse: bool = False
    time_major: bool = False
    recompute: bool = False
    name: str = "scan"

    @property
    def axis(self) -> int:
        """The axis of time."""
        return 0 if self.time_major else 1

    def parts(self, arrays: Any) -> Iterator[Any]:
        """The arrays of the op by what they are: x, state, constants, weights."""
        inputs = self.loops.inputs
        start = 0
        for some in (inputs.x, inputs.state, inputs.constants, inputs.weights):
            yield arrays[start : start + len(some)]
            start += len(some)

    def batch_major(self, x: Array) -> Array:
        """A sequence array with the batch first, as a view."""
        return np.swapaxes(x, 0, 1) if self.time_major else x

    def __repr__(self) -> str:
        return f"<{self.name} over {self.steps} steps>"


class Saved:
    """What a run keeps for its gradient, in packed order: saved slots, and the states that the steps left behind."""

    def __init__(self, schedule: Schedule, rows: dict[tuple[str, int], Array]):
        self.schedule, self.rows = schedule, rows

    @property
    def nbytes(self) -> int:
        return sum(a.nbytes for a in self.rows.values())


def _samples(r: Any) -> list[Any]:
    from .samples import scans

    return scans(r)


@primitive(label="scan", several=True, samples=_samples)
def scan(*arrays: Array, run: Scan, keep: bool = False) -> Any:
    """A step over time in one node. arrays: the leaves of inputs, state and constants, then weights."""
    xs, states, constants, weights = run.parts(arrays)
    schedule = Schedule(run.batch, run.steps, run.lengths, run.reverse)
    order = schedule.order
    loops = run.loops
    runner = loops.saving if keep else loops.forward
    result = runner.run(
        schedule,
        [schedule.packed(run.batch_major(np.asarray(x))) for x in xs],
        [np.asarray(s)[order] for s in states],
        [np.asarray(c)[order] for c in constants],
        [np.asarray(w) for w in weights],
    )
    outputs, rows = [], {}
    for write, value in zip(runner.loop.writes, result.writes, strict=True):
        if write.kind == "output":
            outputs.append(np.asarray(run.batch_major(schedule.unpacked(value))))
            if (
                keep
                and loops.plan.backward
                and any(r.kind == "output" and r.leaf == write.leaf for r in loops.plan.backward.reads)
            ):
                rows["output", write.leaf] = value
        else:
            rows[write.kind, write.leaf] = value
    final = [_unranked(s, order) for s in result.final]
    results = (*outputs, *final)
    return (results, Saved(schedule, rows)) if keep else results


def _unranked(ranked: Array, order: Array) -> Array:
    out = np.empty_like(ranked)
    out[order] = ranked
    return out


@scan.vjp
def _(g: Any, shapes: Any, needs: Any, residuals: Any, *arrays: Array, run: Scan) -> Any:
    xs, states, constants, weights = run.parts(arrays)
    inputs, loops, schedule = run.loops.inputs, run.loops, residuals.schedule
    assert loops.plan.backward is not None
    assert loops.backward is not None
    loop, order = loops.plan.backward, residuals.schedule.order
    outputs = len(loops.program.outputs)
    reads = []
    for r in loop.reads:
        if r.kind == "x":
            reads.append(schedule.packed(run.batch_major(np.asarray(xs[r.leaf]))))
        elif r.kind == "before":
            reads.append(schedule.shifted(residuals.rows["state", r.leaf], np.asarray(states[r.leaf])[order]))
        elif r.kind == "d_output":
            slot = loop.slots[r.slot]
            part = g[r.leaf]
            reads.append(
                np.zeros((schedule.total, *slot.shape[1:]), slot.dtype)
                if part is None
                else schedule.packed(run.batch_major(part))
            )
        else:
            reads.append(residuals.rows[r.kind, r.leaf])
    initial = [
        (np.zeros_like(states[k]) if g[outputs + k] is None else np.asarray(g[outputs + k]))[order]
        for k in loops.plan.carried
    ]
    result = loops.backward.run(
        schedule,
        reads,
        initial,
        [np.asarray(c)[order] for c in constants],
        [np.asarray(w) for w in weights],
        backward=True,
    )
    grads: list[Any] = [None] * len(arrays)
    for write, value in zip(loop.writes, result.writes, strict=True):
        grads[write.leaf] = np.asarray(run.batch_major(schedule.unpacked(value)))
    at = len(inputs.x)
    for k, value in zip(loops.plan.carried, result.final, strict=True):
        grads[at + k] = _unranked(value, order)
    at += len(inputs.state)
    for k, value in zip(loops.plan.added, result.added, strict=True):
        grads[at + k] = _unranked(value, order)
    at += len(inputs.constants)
    grads[at:] = result.results
    return grads


# -- in primitives -------------------------------------------------------------------------------------------------


@scan.expands
def _(*arrays: Array, run: Scan) -> Any:
    xs, states, constants, weights = run.parts(arrays)
    loops, loop = run.loops, run.loops.plan.forward
    fixed: dict[int, Any] = {**dict(zip(loops.inputs.weights, weights, strict=True))}
    fixed |= zip(loops.inputs.constants, constants, strict=True)
    for instruction in loop.once:
        apply(instruction, fixed, run.batch)
    whole = {slot: _in_order_of_running(x, run) for slot, x in zip(loops.inputs.x, xs, strict=True)}
    per_step = []
    for instruction in [*loop.before, *loop.body, *loop.after]:
        if instruction in loop.before and _takes_sequences(instruction, loop, whole):
            apply(instruction, whole | fixed, run.batch, into=whole)
        else:
            per_step.append(instruction)
    per_step.sort(key=loops.program.instructions.index)
    read = {i for p in per_step for i in p.inputs if type(i) is int} | {
        *loops.program.outputs,
        *loops.program.new_state,
    }
    cut = {slot: unstack(x, axis=run.axis) for slot, x in whole.items() if slot in read}
    outputs: list[list[Any]] = [[] for _ in loops.program.outputs]
    for t in range(run.steps):
        with scope(f"t={t}"):
            registers = (
                fixed
                | {slot: parts[t] for slot, parts in cut.items()}
                | dict(zip(loops.inputs.state, states, strict=True))
            )
            for instruction in per_step:
                apply(instruction, registers, run.batch)
            new = [registers[s] for s in loops.program.new_state]
            made = [registers[s] for s in loops.program.outputs]
            alive = alive_at(t, run.lengths)
            if alive is not None:
                made = [masked(alive, value, 0) for value in made]
                new = [masked(alive, n, old) for n, old in zip(new, states, strict=True)]
            states = new
            for some, value in zip(outputs, made, strict=True):
                some.append(value)
    return (*[in_order_of_time(some, run) for some in outputs], *states)


def _in_order_of_running(x: Array, run: Scan) -> Array:
    x = without_padding(x, run.lengths, run.axis)
    return reverse_sequence(x, lengths=run.lengths, time_axis=run.axis) if run.reverse else x


def in_order_of_time(steps: list[Any], run: Scan) -> Array:
    """What the steps gave, one after the other in order of running, as one array over time."""
    whole = stack(steps, axis=run.axis)
    return reverse_sequence(whole, lengths=run.lengths, time_axis=run.axis) if run.reverse else whole


def alive_at(t: int, lengths: Any) -> Any:
    """Which rows have a step t; None if all have."""
    return None if lengths is None or t < lengths.min(initial=t + 1) else t < lengths


def masked(alive: Any, value: Array, otherwise: Any) -> Array:
    """value in rows that are alive, else the other."""
    return where(alive.reshape((-1,) + (1,) * (value.ndim - 1)), value, otherwise)


def without_padding(x: Array, lengths: Any, axis: int) -> Array:
    """Each row's first step in place of what lies past its length (0 where it has none): NaN there cannot spread, and a
    step that is not finite at 0, say, meets no input that it was not given."""
    if lengths is None or lengths.min(initial=x.shape[axis]) >= x.shape[axis]:
        return x
    alive = np.arange(x.shape[axis])[None, :] < lengths[:, None]
    alive = (alive.T if axis == 0 else alive).reshape(*x.shape[:2], *(1,) * (x.ndim - 2))
    values = x.data if isinstance(x, Tensor) else x
    started = (lengths > 0).reshape((-1,) + (1,) * (x.ndim - 2))
    first = np.where(started, values[0] if axis == 0 else values[:, 0], values.dtype.type(0))
    return where(alive, x, np.expand_dims(first, axis))


def _takes_sequences(instruction: Instruction, loop: Loop, whole: dict[int, Any]) -> bool:
    """Whether an instruction can run on (B, T, size) arrays as it runs on rows (B, size)."""
    rows = [i for i in instruction.inputs if type(i) is int and loop.slots[i].layout.per]
    others = [len(loop.slots[i].shape) for i in instruction.inputs if type(i) is int and i not in rows]
    if any(i not in whole or len(loop.slots[i].shape) != 2 for i in rows):
        return False
    if instruction.op.name == "matmul":
        return len(rows) == 1 and instruction.inputs[0] == rows[0] and others == [2]
    return instruction.op.rows is elementwise and max(others, default=0) <= 1 and not instruction.op.several


def apply(instruction: Instruction, registers: dict[int, Any], batch: int, into: dict[int, Any] | None = None) -> None:
    """Run one instruction as its op is called, so that it is recorded."""
    args = [i.value if isinstance(i, Literal) else registers[i] for i in instruction.inputs]
    op, options = instruction.op, with_rows(instruction.options, batch)
    outside = ambient.get()
    token = ambient.set(outside._replace(scope=(*outside.scope, *instruction.scope)))
    try:
        out = op(args, **options) if op.variadic else op(*args, **options)
    finally:
        ambient.reset(token)
    to = registers if into is None else into
    to.update(zip(instruction.outputs, out if op.several else (out,), strict=True))
