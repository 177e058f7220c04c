"""A lowered loop run by the native interpreter: all of it, or its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np

from .. import kernels
from ..kernels.training import empty, is_small
from .lowering import Lowering
from .lowering_rules import REDUCTIONS
from .lowering_stages import STAGES
from .plan import Access, Loop
from .run import Runner, Schedule, compiled, execute
from .view import NUMBER, WEIGHT, Unsupported, View, merged, shared_scratch


class NativeLoop:
    """A loop run by the interpreter. Raises Unsupported for an op that the interpreter does not have."""

    hoist_up_to = 4  # the largest batch for which the stages before and after run for many steps at once

    def __init__(self, loop: Loop, dtype: np.dtype[Any], hoist: bool, histories: dict[int, Access]):
        low = Lowering(loop, dtype, hoist)
        shared_scratch(low.slots, low.lists)
        self.loop, self.dtype = loop, dtype
        self.weight_slots, self.literals = low.weight_slots, [np.ascontiguousarray(a, dtype) for a in low.literals]
        self.sequences = low.sequences
        self.targets = low.targets
        self.epilogue = compiled(low.epilogue)
        self.state_sizes = [size for _, _, size in low.states]
        self.added_sizes = [size for _, _, size in low.accumulators]
        needed = set(self.weight_slots)
        fixed = []
        for i in reversed(loop.weight_only):
            if not needed.isdisjoint(i.outputs):
                fixed.append(i)
                needed.update(x for x in i.inputs if type(x) is int)
        self.fixed = compiled(fixed[::-1])
        layouts = []
        self.shifted: list[int] = []  # leaves of the state: each shifted sequence begins with the initial value of one
        first = len(loop.reads)
        for k, over in enumerate(self.sequences):
            shifted = -1
            if over.role == "before":
                shifted = len(self.shifted)
                self.shifted.append(over.leaf)
            kept = histories[over.leaf] if over.role in ("state", "before") and k < first else over
            layouts.append((kept.role in ("saved", "state"), shifted, k >= first))
        self.sequence_layouts = layouts
        self.keys = [(w.role, w.leaf) for w in loop.writes]
        self.inner = [tuple(int(n) for n in loop.slots[w.slot].inner) for w in loop.writes]  # shape of a row
        self._makers: tuple[Any, list[Callable[[], Any]]] = (None, [])
        # Of each array that is read over time: ("x", leaf), ("d_output", leaf) or ("saved", key).
        self.sources: list[tuple[str, Any]] = []
        for r in loop.reads:
            kept = histories[r.leaf] if r.role in ("state", "before") else r
            own = r.role in ("x", "d_output")
            self.sources.append((r.role, r.leaf) if own else ("saved", (kept.role, kept.leaf)))
        positions = {slot: k for k, slot in enumerate(loop.weights)}
        # Which of the loop's weights the interpreter reads; None if it reads any that is computed from them.
        self.weight_positions: list[int] | None = None
        if (
            not self.fixed
            and not self.literals
            and not self.epilogue
            and all(s in positions for s in self.weight_slots)
        ):
            self.weight_positions = [positions[slot] for slot in self.weight_slots]
        self.in_order = self.weight_positions == [*range(len(loop.weights))]
        sums = {slot: k for k, (slot, _) in enumerate(self.targets)}
        self.sum_of_weight: list[int | None] | None = None  # of each weight, if every cotangent is a sum
        if not self.epilogue and all(r is None or r in sums for r in loop.weight_cotangents):
            self.sum_of_weight = [None if r is None else sums[r] for r in loop.weight_cotangents]
        self._low = low
        self._built: Any = None

    def built(self) -> Any:
        """The native loop."""
        if self._built is None:
            low = self._low
            once, before, body, after = ([self._encoded(*i) for i in low.lists[stage]] for stage in STAGES)
            slots = [(storage, index, size) for storage, index, size in low.slots]
            sizes = [prod(low._inner(c)) for c in self.loop.constants]
            self._built = kernels._native.Loop(
                str(self.dtype),
                slots,
                once,
                before,
                body,
                after,
                self.sequence_layouts,
                low.states,
                sizes,
                low.sums,
                low.accumulators,
                low.outer_products,
            )
        return self._built

    def _encoded(
        self, code: str, shape: tuple[int, ...], out: View, inputs: tuple[View, ...], extra: tuple[int, ...]
    ) -> Any:
        if code == "product" or code == "rowproduct":
            dims, strides = shape, [v.strides for v in (out, *inputs)]
        elif code in REDUCTIONS.values():
            n = len(shape) - extra[0]
            (source,) = inputs
            kept, of_kept = merged(shape[:n], [out, source._replace(strides=source.strides[:n])])
            over, of_over = merged(shape[n:], [source._replace(strides=source.strides[n:])])
            if not over:
                over, of_over = (1,), [(0,)]
            dims, strides, extra = kept + over, [of_kept[0], of_kept[1] + of_over[0]], (len(over),)
        else:
            views = [v if v.where != NUMBER else v.to(shape) for v in (out, *inputs)]
            dims, strides = merged(shape, views)
        if len(dims) > 5:
            raise Unsupported(f"{code} over {len(dims)} dimensions")
        operands = [self._operand(v, s) for v, s in zip((out, *inputs), strides, strict=True)]
        return code, dims, operands[0], tuple(operands[1:]), extra

    def _operand(self, v: View, strides: tuple[int, ...]) -> Any:
        index = v.number
        if v.where == WEIGHT and index < 0:
            index = len(self.weight_slots) - index - 1
        return v.where, index, v.offset, strides, v.value

    def makers(self, leading: tuple[int, int], total: int) -> list[Callable[[], Any]]:
        """A function for each array that the loop forward writes, which allocates it: outputs begin with two axes, saved values
        have a row for each step."""
        asked, makers = self._makers
        if asked != (leading, total):
            outputs = [role == "output" for role, _ in self.keys]
            shapes = [leading + n if out else (total, prod(n)) for out, n in zip(outputs, self.inner, strict=True)]
            makers = [partial(np.empty if is_small(shape) else empty, shape, self.dtype) for shape in shapes]
            self._makers = (leading, total), makers
        return makers

    def weights_of(self, weights: Sequence[Any]) -> tuple[Sequence[Any], dict[int, Any]]:
        """The arrays that the interpreter reads as weights; and, if some are computed from the loop's weights, all by slot."""
        if self.weight_positions is not None:
            return (weights if self.in_order else [weights[k] for k in self.weight_positions]), {}
        registers = dict(zip(self.loop.weights, weights, strict=True))
        execute(self.fixed, registers, 0)
        return [registers[s] for s in self.weight_slots] + self.literals, registers

    def results(self, targets: list[Any], registers: dict[int, Any]) -> list[Any]:
        """The weights' cotangents: the sums, or the results of the epilogue on them."""
        if self.sum_of_weight is not None:
            return [None if k is None else targets[k] for k in self.sum_of_weight]
        registers |= {slot: target for (slot, _), target in zip(self.targets, targets, strict=True)}
        execute(self.epilogue, registers, 0)
        return [None if r is None else registers[r] for r in self.loop.weight_cotangents]


class NativeSteps(Runner):
    """A loop whose steps run in the interpreter and the rest in NumPy. Raises Unsupported for an op in the steps that the
    interpreter does not have."""

    def __init__(self, loop: Loop, dtype: np.dtype[Any]):
        super().__init__(loop)
        constants = [slot for slot, _ in self.constants_read]
        reads = [Access("saved", k, slot) for k, (slot, _) in enumerate(self.sequences_read)]
        writes = [Access("saved", k, slot) for k, slot in enumerate(self.stored)]
        steps = Loop(loop.slots, loop.weights, tuple(constants), tuple(reads), tuple(writes), loop.carried)
        steps.weight_only, steps.body = loop.weight_only, loop.body
        self.steps = NativeLoop(steps, dtype, True, {})

    def built(self) -> Any:
        """The native loop of the steps."""
        return self.steps.built()

    def _steps(
        self,
        schedule: Schedule,
        steps: range,
        registers: dict[int, Any],
        ranked: dict[int, Any],
        states: list[Any],
        destinations: list[Any],
        backward: bool,
    ) -> None:
        dtype = self.steps.dtype
        begin, end = (int(schedule.start[s]) for s in (steps.start, steps.stop))
        batch, n = int(schedule.start[steps.start + 1]) - begin, end - begin
        lengths = np.minimum(schedule.lengths[:batch] - steps.start, len(steps))
        # The native loop writes floats only: a boolean is 0 or 1 in an array beside its destination.
        kept = [np.empty(d.shape, dtype) if d.dtype != dtype else d for d in destinations]
        final = [np.empty((batch, *state.shape[1:]), dtype) for state in states]
        weights, _ = self.steps.weights_of([registers[slot] for slot in self.loop.weights])
        over_time = [registers[slot] for slot, _ in self.sequences_read] + kept
        constants = [ranked[slot][: batch * per].reshape(batch, -1) for slot, per in self.constants_read]
        self.built().run(
            kernels.choice.active, batch, len(steps), lengths, False, backward, [rows.reshape(n, -1) for rows in over_time],
            [state[:batch] for state in states], final, constants, weights, (), (), (), None,
        )  # fmt: skip
        states[:] = [np.concatenate([new, old[batch:]]) for new, old in zip(final, states, strict=True)]
        for slot, destination, rows in zip(self.stored, destinations, kept, strict=True):
            if rows is not destination:
                destination[...] = rows
            registers[slot] = destination
