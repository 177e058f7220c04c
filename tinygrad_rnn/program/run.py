"""Running a loop in NumPy, op by op: the readable reference, used without native kernels.

Rows are packed: a row is one batch row at one of its steps, ordered by step, and within a step by descending length, so
that the rows still running at a step are a slice. Padding is never read. `before` and `after` run on the packed rows of
many steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from operator import itemgetter
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.op import Op
from ..autodiff.rows import elementwise, holds_rows, with_rows
from .plan import Loop, fused_into_body
from .program import Instruction, Literal

Array = np.ndarray[Any, Any]
# A chunk has as many steps as give the widest array of `before` and `after` no more than CHUNK numbers, but at least ROWS
# rows: a product of fewer rows is slow.
CHUNK = 1 << 15
ROWS = 512


class Schedule:
    """The order of work: the rows that run at each step, and the position of each packed row in the user's arrays."""

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
        self.lengths = ranked
        self.full = lengths is None or bool((ends == steps).all())
        self.straight = self.full and not reverse and batch > 0
        self.first = self.start[1] if self.steps else 0

    def chunks(self, size: int, backward: bool) -> list[tuple[int, int]]:
        """Ranges of steps whose rows have `size` numbers each, in order of running."""
        if not self.total:
            return []
        rows = self.total // self.steps + 1
        most = max(1, CHUNK // (size * rows), ROWS // rows)
        parts = [(s, min(s + most, self.steps)) for s in range(0, self.steps, most)]
        return parts[::-1] if backward else parts

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
        """The state before each packed row's step, from the states after the steps and the ranked initial state."""
        out = np.empty_like(history)
        if self.steps:
            out[: self.first] = initial[: self.first]
            for s in range(1, self.steps):
                lo, hi = self.start[s], self.start[s + 1]
                before = self.start[s - 1]
                out[lo:hi] = history[before : before + hi - lo]
        return out


INFIX = {  # ops whose forward is an operator
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "power": "**"},
    **{"greater": ">", "greater_equal": ">=", "less": "<", "less_equal": "<=", "equal": "==", "not_equal": "!="},
}


class Compiled(NamedTuple):
    """A prepared instruction: the function to call, input registers, options (a function of the number of rows), output
    registers."""

    forward: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    by_rows: tuple[str, ...]
    outputs: tuple[int, ...]
    several: bool


def raw_function(op: Op) -> Callable[..., Any]:
    """What computes an op on arrays: NumPy's ufunc, if the op is no more than that."""
    if isinstance(op.numpy, np.ufunc) and op.rows is elementwise and op.numpy is not np.power:  # x ** 2 is x * x
        return op.numpy
    return op.forward


def is_plain_index(i: Instruction) -> bool:
    """Whether an instruction is x[index] with an index of numbers and slices, the same for any number of rows."""
    if i.op.name != "getitem" or holds_rows(i.options["index"]):
        return False
    index = i.options["index"]
    parts = index if type(index) is tuple else (index,)
    return all(p is None or p is ... or isinstance(p, (int, slice, np.generic, np.ndarray)) for p in parts)


def compiled(instructions: Sequence[Instruction]) -> list[Compiled]:
    """Instructions ready to run. Options keep their Rows; those that name any are listed."""
    ready = []
    for i in instructions:
        by_rows = tuple(k for k, v in i.options.items() if holds_rows(v))
        if is_plain_index(i):
            ready.append(Compiled(itemgetter(i.options["index"]), i.inputs, {}, (), i.outputs, False))
            continue
        ready.append(Compiled(i.op.forward, i.inputs, i.options, by_rows, i.outputs, i.op.several))
    return ready


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
    """The results of a loop: written packed rows, ranked final states, cotangents of weights, ranked sums over time."""

    writes: list[Array]
    final: list[Array]
    results: list[Array | None]
    added: list[Array]


class Body:
    """The instructions of one step as a Python function, written out once: v<slot> are arrays, f, o and c what an instruction
    calls, its options and its constants. It returns the slots in `results`, and writes those in `stored` to the arrays d<slot>:
    a ufunc directly."""

    def __init__(
        self,
        instructions: Sequence[Instruction],
        reads: Sequence[int],
        results: Sequence[int],
        stored: Sequence[int] = (),
    ):
        self.names: dict[str, Any] = {}
        self.by_rows: dict[str, Any] = {}  # options that depend on the number of rows
        lines = [f"def body({', '.join([*(f'v{slot}' for slot in reads), *(f'd{slot}' for slot in stored)])}):"]
        lines += [f"    d{slot}[...] = v{slot}" for slot in stored if slot in reads]
        last = {x: k for k, i in enumerate(instructions) for x in (*i.inputs, *i.outputs) if type(x) is int}
        for k, i in enumerate(instructions):
            args = []
            for j, x in enumerate(i.inputs):
                args.append(f"c{k}_{j}" if isinstance(x, Literal) else f"v{x}")
                if isinstance(x, Literal):
                    self.names[args[-1]] = x.value
            function = raw_function(i.op)
            in_place = isinstance(function, np.ufunc) and i.outputs[0] in stored
            if i.op.name in INFIX and not in_place:
                called = f" {INFIX[i.op.name]} ".join(args)
            elif is_plain_index(i):
                called, self.names[f"o{k}"] = f"{args[0]}[o{k}]", i.options["index"]
            else:
                for name, value in i.options.items():
                    args.append(f"{name}=o{k}_{name}")
                    (self.by_rows if holds_rows(value) else self.names)[f"o{k}_{name}"] = value
                if in_place:
                    args.append(f"out=d{i.outputs[0]}")
                called, self.names[f"f{k}"] = f"f{k}({', '.join(args)})", function
            lines.append(f"    {', '.join(f'v{o}' for o in i.outputs)}{',' if i.op.several else ''} = {called}")
            if not in_place:
                lines += [f"    d{o}[...] = v{o}" for o in i.outputs if o in stored]
            done = sorted({x for x in (*i.inputs, *i.outputs) if type(x) is int and last[x] == k} - {*reads, *results})
            if done:  # the next arrays take their memory, which is still in the cache
                lines.append(f"    del {', '.join(f'v{slot}' for slot in done)}")
        lines.append(f"    return [{', '.join(f'v{slot}' for slot in results)}]")
        exec("\n".join(lines), self.names)
        self.ready: dict[int, Callable[..., list[Array]]] = {}

    def for_rows(self, n: int) -> Callable[..., list[Array]]:
        """The function for a batch of n rows."""
        body = self.ready.get(n if self.by_rows else 0)
        if body is None:
            names = self.names | {k: with_rows(v, n) for k, v in self.by_rows.items()}
            body = self.ready[n if self.by_rows else 0] = FunctionType(self.names["body"].__code__, names)
        return body


def _repeated(rows: Array, ranks: Array, per: int) -> Array:
    """The rows of a constant, one for each packed row of these ranks."""
    if per == 1:
        return np.asarray(rows[ranks])
    return np.asarray(rows.reshape(-1, per, *rows.shape[1:])[ranks]).reshape(-1, *rows.shape[1:])


def _add_outers(total: Array, left: Array, right: Array, schedule: Schedule, first: int, last: int) -> None:
    """Add the sum over time of outer products, columns (m, 1) times rows (1, n), to each rank's own matrix. The rows are
    those of the steps `first` to before `last`."""
    start, begin = schedule.start, schedule.start[first]
    while first < last:
        n, end = start[first + 1] - start[first], first + 1
        while end < last and start[end + 1] - start[end] == n:
            end += 1
        rows = slice(start[first] - begin, start[end] - begin)
        columns, lines = (a[rows].reshape(end - first, n, -1) for a in (left, right))
        total[:n] += columns.transpose(1, 2, 0) @ lines.transpose(1, 0, 2)
        first = end


class Runner:
    """A loop run in NumPy. It goes over time by chunks of steps, so that the arrays of `before` and `after` stay small."""

    hoist_up_to = 16  # the largest batch for which the stages before and after run for many steps at once

    def __init__(self, loop: Loop, hoist: bool = True):
        loop = loop if hoist else fused_into_body(loop)
        self.loop = loop
        self.fixed, self.once, self.before = compiled(loop.weight_only), compiled(loop.once), compiled(loop.before)
        self.after, self.sums = compiled(loop.after), compiled(loop.row_sums)
        made = {o for i in loop.body for o in i.outputs}
        outside = [*loop.after, *loop.row_sums]
        added = {*loop.accumulated} | {
            slot for pairs in loop.outer_products.values() for pair in pairs for slot in pair
        }
        read = {i for x in outside for i in x.inputs if type(i) is int} | {w.slot for w in loop.writes} | added
        self.states_read = [old for old, _ in loop.carried]
        new_states = [new for _, new in loop.carried]
        self.stored = sorted((made | set(self.states_read)) & read)
        weights = {*loop.weights, *(o for i in loop.weight_only for o in i.outputs)}
        constants = {*loop.constants, *(o for i in loop.once for o in i.outputs)}
        in_body = {i for x in loop.body for i in x.inputs if type(i) is int} | {*new_states, *self.stored}
        reads = sorted(in_body - made - set(self.states_read))
        self.weights_read = [i for i in reads if i in weights]
        self.constants_read = [(i, loop.slots[i].layout.per_row) for i in reads if i in constants]
        self.sequences_read = [
            (i, loop.slots[i].layout.per_row) for i in reads if i not in weights and i not in constants
        ]
        order = [
            *self.weights_read,
            *(i for i, _ in self.constants_read),
            *self.states_read,
            *(i for i, _ in self.sequences_read),
        ]
        self.body = Body(loop.body, order, new_states, self.stored)
        in_rest = {i for x in [*loop.before, *outside] for i in x.inputs if type(i) is int}
        self.constants_outside = sorted(constants & (in_rest | {w.slot for w in loop.writes} | added))
        sizes = [
            prod(loop.slots[o].inner)
            for i in (*loop.before, *outside)
            for o in i.outputs
            if loop.slots[o].layout.per_row
        ]
        self.widest = max(sizes, default=1)

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
        fixed: dict[int, Any] = dict(zip(loop.weights, weights, strict=True))
        execute(self.fixed, fixed, 0)
        ranked = {**fixed, **dict(zip(loop.constants, constants, strict=True))}
        execute(self.once, ranked, schedule.batch)
        states = list(initial)
        writes = [self._rows(np.empty, w.slot, schedule.total) for w in loop.writes]
        added = [self._rows(np.zeros, slot, schedule.batch) for slot in loop.accumulated]
        results: list[Any] = [None] * len(loop.weight_cotangents)
        chunks = schedule.chunks(self.widest, backward)
        most = max([schedule.start[last] - schedule.start[first] for first, last in chunks], default=0)
        written = {w.slot: whole for w, whole in zip(loop.writes, writes, strict=True)}
        # The values of the steps go to an array that is written, or to a buffer that every chunk uses again.
        buffers = {slot: self._rows(np.empty, slot, most) for slot in self.stored if slot not in written}
        for first, last in chunks:
            lo, hi = int(schedule.start[first]), int(schedule.start[last])
            registers = dict(fixed)
            for r, rows in zip(loop.reads, reads, strict=True):
                per = loop.slots[r.slot].layout.per_row
                registers[r.slot] = rows[lo * per : hi * per]
            for slot in self.constants_outside:
                registers[slot] = _repeated(ranked[slot], schedule.rank[lo:hi], loop.slots[slot].layout.per_row)
            execute(self.before, registers, hi - lo)
            destinations = []
            for slot in self.stored:
                per = loop.slots[slot].layout.per_row
                rows = buffers[slot][: (hi - lo) * per] if slot in buffers else written[slot][lo * per : hi * per]
                destinations.append(rows)
            self._steps(schedule, range(first, last), registers, ranked, states, destinations, backward)
            execute(self.after, registers, hi - lo)
            execute(self.sums, registers, hi - lo)
            for w, whole in zip(loop.writes, writes, strict=True):
                per = loop.slots[w.slot].layout.per_row
                if w.slot not in self.stored or whole is not written[w.slot]:
                    whole[lo * per : hi * per] = registers[w.slot]
            for slot, total in zip(loop.accumulated, added, strict=True):
                if slot in loop.outer_products:
                    for left, right in loop.outer_products[slot]:
                        _add_outers(total, registers[left], registers[right], schedule, first, last)
                    continue
                for s in range(first, last):
                    n, at = schedule.start[s + 1] - schedule.start[s], schedule.start[s] - lo
                    total[:n] += registers[slot][at : at + n]
            for k, out in enumerate(loop.weight_cotangents):
                if out is not None:
                    results[k] = registers[out] if results[k] is None else results[k] + registers[out]
        for k, out in enumerate(loop.weight_cotangents):
            if out is not None and results[k] is None:  # no step ran
                results[k] = np.zeros(loop.slots[out].shape, loop.slots[out].dtype)
        return Result(writes, states, results, added)

    def _rows(self, made: Any, number: int, n: int) -> Array:
        slot = self.loop.slots[number]
        return np.asarray(made((n * slot.layout.per_row, *slot.shape[1:]), slot.dtype))

    def _steps(
        self,
        schedule: Schedule,
        steps: range,
        registers: dict[int, Any],
        ranked: dict[int, Any],
        states: list[Array],
        destinations: list[Array],
        backward: bool,
    ) -> None:
        """Run the steps of a chunk. Replaces `states`, and stores the values that other stages read in `destinations`."""
        start, batch = schedule.start.tolist(), schedule.batch
        begin = start[steps.start]
        weights = [registers[i] for i in self.weights_read]
        over_time = [(registers[i], per) for i, per in self.sequences_read]
        over_time += [(d, self.loop.slots[i].layout.per_row) for i, d in zip(self.stored, destinations, strict=True)]
        for s in reversed(steps) if backward else steps:
            lo, hi = start[s] - begin, start[s + 1] - begin
            n = hi - lo
            new = self.body.for_rows(n)(
                *weights,
                *[ranked[i][: n * per] for i, per in self.constants_read],
                *(states if n == batch else [state[:n] for state in states]),
                *[rows[lo * per : hi * per] for rows, per in over_time],
            )
            if n < batch:
                new = [np.concatenate([now, old[n:]]) for now, old in zip(new, states, strict=True)]
            states[:] = new
        states[:] = [state.copy() for state in states]  # the next chunk writes to the same memory
        registers.update(zip(self.stored, destinations, strict=True))
