"""Running a loop in NumPy, op by op: the readable reference, and what a machine without native kernels has.

Rows are packed: a row is one batch row at one of its steps, ordered by step, and within a step by falling length, so that
the rows alive at a step are a slice. Padding is never read. `before` and `after` run on all packed rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.rows import Rows
from .plan import Loop
from .program import Instruction, Literal

Array = np.ndarray[Any, Any]


class Schedule:
    """The order of work: which rows take a step together, and where each packed row stands in the user's arrays."""

    def __init__(self, batch: int, steps: int, lengths: Array | None, reverse: bool):
        self.batch, self.steps_in_all = batch, steps
        ends = np.full(batch, steps, np.int64) if lengths is None else lengths
        self.order = np.argsort(-ends, kind="stable")  # rank -> row
        ranked = ends[self.order]
        self.steps = int(ranked[0]) if batch else 0
        alive = np.searchsorted(-ranked, -np.arange(self.steps), side="left")  # rows longer than s
        self.start = np.concatenate([[0], np.cumsum(alive)]).astype(np.int64)
        self.total = int(self.start[-1])
        step = np.repeat(np.arange(self.steps), alive)
        self.rank = np.arange(self.total) - self.start[step]
        self.row = self.order[self.rank]
        self.time = ranked[self.rank] - 1 - step if reverse else step
        self.full = lengths is None or bool((ends == steps).all())
        self.straight = self.full and not reverse and batch > 0
        self.first = self.start[1] if self.steps else 0

    def packed(self, x: Array) -> Array:
        """The rows of x (B, T, …) in packed order."""
        if self.straight:
            return np.ascontiguousarray(np.swapaxes(x, 0, 1)).reshape(self.total, *x.shape[2:])
        return np.asarray(x[self.row, self.time])

    def unpacked(self, rows: Array) -> Array:
        """Packed rows as (B, T, …), 0 where a row has ended."""
        if self.straight:
            return np.ascontiguousarray(np.swapaxes(rows.reshape(self.steps, self.batch, *rows.shape[1:]), 0, 1))
        out = np.zeros((self.batch, self.steps_in_all, *rows.shape[1:]), rows.dtype)
        out[self.row, self.time] = rows
        return out

    def shifted(self, history: Array, initial: Array) -> Array:
        """What each packed row's step received, from what its steps left behind and from the ranked initial state."""
        out = np.empty_like(history)
        if self.steps:
            out[: self.first] = initial[: self.first]
            for s in range(1, self.steps):
                lo, hi = self.start[s], self.start[s + 1]
                before = self.start[s - 1]
                out[lo:hi] = history[before : before + hi - lo]
        return out


class Compiled(NamedTuple):
    """An instruction made ready: what to call, registers in, options (a function of the rows' number), registers out."""

    forward: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    by_rows: tuple[str, ...]
    outputs: tuple[int, ...]
    several: bool


def compiled(instructions: Sequence[Instruction]) -> list[Compiled]:
    """Instructions ready to run. Options keep their Rows; those that name any are listed."""
    ready = []
    for i in instructions:
        by_rows = tuple(k for k, v in i.options.items() if _has_rows(v))
        ready.append(Compiled(i.op.forward, i.inputs, i.options, by_rows, i.outputs, i.op.several))
    return ready


def _has_rows(value: Any) -> bool:
    return isinstance(value, Rows) or (isinstance(value, (tuple, list)) and any(map(_has_rows, value)))


def with_rows(value: Any, n: int) -> Any:
    """An option for a batch of n: sizes in place of Rows."""
    if isinstance(value, Rows):
        return value.per * n
    if isinstance(value, (tuple, list)):
        return type(value)(with_rows(v, n) for v in value)
    if isinstance(value, dict):
        return {k: with_rows(v, n) for k, v in value.items()}
    return value


def execute(ready: list[Compiled], registers: dict[int, Any], n: int) -> None:
    """Run instructions on n rows; registers are slots."""
    for forward, inputs, options, by_rows, outputs, several in ready:
        if by_rows:
            options = {k: with_rows(v, n) if k in by_rows else v for k, v in options.items()}
        args = [i.value if type(i) is Literal else registers[i] for i in inputs]
        out = forward(*args, **options) if options else forward(*args)
        if several:
            for o, value in zip(outputs, out, strict=True):
                registers[o] = value
        else:
            registers[outputs[0]] = out


class Result(NamedTuple):
    """What a loop gives: packed rows written, ranked final states, weights' cotangents, ranked sums over time."""

    writes: list[Array]
    final: list[Array]
    results: list[Array | None]
    added: list[Array]


class Runner:
    """A loop made ready for NumPy."""

    def __init__(self, loop: Loop):
        self.loop = loop
        self.fixed, self.once, self.before = compiled(loop.fixed), compiled(loop.once), compiled(loop.before)
        self.weights = {*loop.weights, *(o for i in loop.fixed for o in i.outputs)}
        self.body, self.after, self.sums = compiled(loop.body), compiled(loop.after), compiled(loop.sums)
        made = {o for i in loop.body for o in i.outputs}
        outside = [*loop.after, *loop.sums]
        read = {i for x in outside for i in x.inputs if type(i) is int} | {w.slot for w in loop.writes} | {*loop.added}
        self.kept = sorted(made & read)
        news, olds = {new for _, new in loop.carried}, [old for old, _ in loop.carried]
        self.olds_kept = [k for k, old in enumerate(olds) if old in read]
        in_body = {i for x in loop.body for i in x.inputs if type(i) is int} | news
        self.body_reads = sorted(in_body - made - set(olds))
        self.constant = {*loop.constants, *(o for i in loop.once for o in i.outputs)}
        in_rest = {i for x in [*loop.before, *outside] for i in x.inputs if type(i) is int} | {
            w.slot for w in loop.writes
        }
        self.spread = sorted(self.constant & (in_rest | set(loop.added)))
        self.per = {slot: loop.slots[slot].layout.per for slot in (*self.kept, *self.body_reads, *olds)}

    def run(
        self,
        schedule: Schedule,
        reads: Sequence[Array],
        initial: Sequence[Array],
        constants: Sequence[Array],
        weights: Sequence[Array],
        backward: bool = False,
    ) -> Result:
        """Run it. reads are packed, initial and constants ranked."""
        loop = self.loop
        registers: dict[int, Any] = dict(zip(loop.weights, weights, strict=True))
        execute(self.fixed, registers, 0)
        ranked = {**registers, **dict(zip(loop.constants, constants, strict=True))}
        execute(self.once, ranked, schedule.batch)
        for r, rows in zip(loop.reads, reads, strict=True):
            registers[r.slot] = rows
        for slot in self.spread:
            registers[slot] = ranked[slot][schedule.rank]
        execute(self.before, registers, schedule.total)
        final = self._steps(schedule, registers, ranked, list(initial), backward)
        execute(self.after, registers, schedule.total)
        execute(self.sums, registers, schedule.total)
        added = []
        for slot in loop.added:
            total = np.zeros((schedule.batch, *registers[slot].shape[1:]), registers[slot].dtype)
            np.add.at(total, schedule.rank, registers[slot])
            added.append(total)
        return Result(
            [registers[w.slot] for w in loop.writes],
            final,
            [None if r is None else registers[r] for r in loop.results],
            added,
        )

    def _steps(
        self, schedule: Schedule, registers: dict[int, Any], ranked: dict[int, Any], states: list[Array], backward: bool
    ) -> list[Array]:
        loop, per = self.loop, self.per
        fixed = {i: registers[i] for i in self.body_reads if i in self.weights}
        held = [i for i in self.body_reads if i in self.constant]
        timed = [(i, registers[i], per[i]) for i in self.body_reads if i not in fixed and i not in self.constant]
        owned = [False] * len(states)
        for s in range(schedule.steps - 1, -1, -1) if backward else range(schedule.steps):
            lo, hi = int(schedule.start[s]), int(schedule.start[s + 1])
            n = hi - lo
            local = dict(fixed)
            for i in held:
                local[i] = ranked[i][: n * per[i]]
            for i, rows, p in timed:
                local[i] = rows[lo * p : hi * p]
            for (old, _), state in zip(loop.carried, states, strict=True):
                local[old] = state[:n]
            execute(self.body, local, n)
            for i in self.kept:
                value, p = local[i], per[i]
                if i not in registers:
                    registers[i] = np.empty((schedule.total * p, *value.shape[1:]), value.dtype)
                registers[i][lo * p : hi * p] = value
            for k in self.olds_kept:
                old = loop.carried[k][0]
                if old not in registers:
                    registers[old] = np.empty((schedule.total, *states[k].shape[1:]), states[k].dtype)
                registers[old][lo:hi] = local[old]
            news = [local[new] for _, new in loop.carried]
            for k, new in enumerate(news):
                if n == schedule.batch:
                    states[k], owned[k] = new, False
                else:
                    if not owned[k]:
                        states[k], owned[k] = states[k].copy(), True
                    states[k][:n] = new
        for i in self.kept:
            if i not in registers:  # no step ran
                slot = loop.slots[i]
                registers[i] = np.empty((0, *slot.shape[1:]), slot.dtype)
        return states
