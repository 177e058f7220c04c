"""A loop for the native interpreter: the registry's ops as its instructions, values as views of rows.

Ops that only rearrange what a row holds (slices, splits, reshapes, new axes) become views: an offset and strides into the
row of another slot. Sums of products accumulate in place. kernels/native/README.md defines slots and instructions.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from .lowering_rules import CODES, RULES
from .lowering_stages import STAGES, Stages
from .plan import Loop
from .program import Instruction, Literal
from .view import (
    CONSTANT,
    NUMBER,
    ONCE,
    ROW,
    SCRATCH,
    SEQUENCE,
    STATE,
    TEMP,
    WEIGHT,
    Unsupported,
    View,
    sliced,
    steps,
)


class Lowering(Stages):
    """A loop as lists of native instructions, built once for a dtype."""

    def __init__(self, loop: Loop, dtype: np.dtype[Any], hoist: bool):
        super().__init__(loop, hoist)
        self.dtype = dtype
        self.slots: list[list[int]] = []  # [storage, index, size]
        self.lists: dict[str, list[Any]] = {stage: [] for stage in STAGES}
        self.views: dict[int, View] = {}
        self.literals: list[np.ndarray[Any, Any]] = []
        self.weight_slots: list[int] = []  # which of the loop's slots is each weight of the interpreter
        self.stage = "once"
        self.transposed_rows: dict[int, int] = {}  # slot of a transposed matrix of rows -> the matrix
        self.sums: list[tuple[int, int, int, int, int, int, int, int]] = []
        self.targets: list[tuple[int, tuple[int, ...]]] = []  # slot and shape of each sum
        self.epilogue: list[Instruction] = []
        self.transposed: dict[int, int] = {}  # slot of a transposed weight -> the weight
        self._allocate_inputs()
        self._lower_all()
        self._allocate_results()

    # -- slots -----------------------------------------------------------------------------------------------------

    def _new_slot(self, storage: int, size: int, index: int = 0) -> int:
        self.slots.append([storage, index, size])
        return len(self.slots) - 1

    def _input(self, slot: int, storage: int, index: int) -> None:
        self._check_dtype(slot)
        shape = self._inner(slot)
        self.views[slot] = View(ROW, self._new_slot(storage, prod(shape), index), 0, shape, steps(shape))

    def _check_dtype(self, slot: int) -> None:
        dtype = self.loop.slots[slot].dtype
        if dtype != self.dtype and dtype != np.bool_:
            raise Unsupported(f"values of dtype {dtype}")

    def _allocate_inputs(self) -> None:
        loop = self.loop
        for k, read in enumerate(loop.reads):
            self._input(read.slot, SEQUENCE, k)
        for k, (old, _) in enumerate(loop.carried):
            self._input(old, STATE, k)
        for k, slot in enumerate(loop.constants):
            self._input(slot, CONSTANT, k)
        self.weight_only = {o: i for i in loop.weight_only for o in i.outputs}
        for slot, instruction in self.weight_only.items():
            if instruction.op.name != "transpose" or instruction.options["axes"] is not None:
                continue
            source = instruction.inputs[0]
            if type(source) is int and len(loop.slots[source].shape) == 2:
                self.transposed[slot] = source

    def _weight(self, slot: int) -> View:
        """A slot without rows as a weight of the interpreter, or as a block of one."""
        self._check_dtype(slot)
        made = self.weight_only.get(slot)
        if made is not None and made.op.name in ("getitem", "split"):
            source = made.inputs[0]
            assert type(source) is int
            whole = self._weight(source)
            if made.op.name == "getitem":
                return sliced(whole, made.options["index"], 0)
            axis = made.options["axis"] % len(whole.shape)
            before = sum(self.loop.slots[o].shape[axis] for o in made.outputs[: made.outputs.index(slot)])
            shape = tuple(int(n) for n in self.loop.slots[slot].shape)
            return whole._replace(offset=whole.offset + before * whole.strides[axis], shape=shape)
        if slot not in self.weight_slots:
            self.weight_slots.append(slot)
        shape = tuple(int(n) for n in self.loop.slots[slot].shape)
        return View(WEIGHT, self.weight_slots.index(slot), 0, shape, steps(shape))

    def _operand(self, value: int | Literal) -> View:
        if isinstance(value, Literal):
            v = value.value
            if isinstance(v, (bool, int, float)):
                return View(NUMBER, 0, 0, (), (), float(v))
            if isinstance(v, np.ndarray) and v.dtype.kind in "fiub":
                if not v.ndim:
                    return View(NUMBER, 0, 0, (), (), float(v))
                self.literals.append(v)
                return View(WEIGHT, -len(self.literals), 0, v.shape, steps(v.shape))
            raise Unsupported(f"a constant of type {type(v).__name__}")
        if self.loop.slots[value].layout.per_row:
            return self.views[value]
        return self._weight(value)

    # -- stages ----------------------------------------------------------------------------------------------------

    def _lower_all(self) -> None:
        for stage in STAGES:
            self.stage = stage
            for instruction in self.stages[stage]:
                if instruction.outputs[0] not in self.folded:
                    self._lower(instruction)
        self.stage = "after"
        for instruction in self.loop.row_sums:
            self._lower_sum(instruction)

    def _result(self, slot: int) -> View:
        """A view for a value that an instruction is about to compute."""
        self._check_dtype(slot)
        shape = self._inner(slot)
        if slot in self.views:  # a concatenation of which some inputs are already there
            return self.views[slot]
        if slot in self.concatenated:
            whole, at = self.concatenated[slot]
            view = self._result(whole)._replace(shape=shape)
            self.views[slot] = view = view._replace(offset=view.offset + at)
            return view
        size = prod(shape)
        if slot in self.written:
            number = self._new_slot(SEQUENCE, size, self.written[slot])
        elif self.stage == "once":
            number = self._new_slot(ONCE, size)
        else:
            number = self._new_slot(TEMP if slot in self.live_out else SCRATCH, size)
        view = View(ROW, number, 0, shape, steps(shape))
        self.views[slot] = view
        return view

    def _scratch(self, shape: tuple[int, ...]) -> View:
        storage = ONCE if self.stage == "once" else SCRATCH
        return View(ROW, self._new_slot(storage, prod(shape)), 0, shape, steps(shape))

    # -- instructions ----------------------------------------------------------------------------------------------

    def _emit(
        self, code: str, shape: tuple[int, ...], out: View, inputs: Iterable[View], extra: tuple[int, ...] = ()
    ) -> None:
        self.lists[self.stage].append((code, shape, out, tuple(inputs), extra))

    def _each(self, code: str, out: View, *inputs: View) -> View:
        """An elementwise instruction over the shape of out."""
        views = [v if v.where == NUMBER else v.to(out.shape) for v in inputs]
        self._emit(code, out.shape, out, views)
        return out

    def _lower(self, instruction: Instruction) -> None:
        name = instruction.op.name
        if instruction.outputs[0] in self.terms:
            return self._sum_of_products(instruction)
        if name in CODES:
            slot = instruction.outputs[0]
            code = "sub" if slot in self.differences else CODES[name]
            inputs = [self._aligned(i, slot) for i in self.differences.get(slot, instruction.inputs)]
            self._each(code, self._result(slot), *inputs)
            return None
        rule = RULES.get(name)
        if rule is None:
            raise Unsupported(name)
        rule(self, instruction)
        return None

    def _aligned(self, value: int | Literal, out: int) -> View:
        """An operand in the inner dimensions of a result: one without rows may have an axis of size 1 for them."""
        view = self._operand(value)
        if view.where == WEIGHT and len(view.shape) == len(self.loop.slots[out].shape):
            view = view._replace(shape=view.shape[1:], strides=view.strides[1:])
        return view

    def _contiguous(self, view: View, stage_slot: bool = False) -> View:
        """The view, or a contiguous copy of it."""
        if view.flat:
            return view
        storage = ONCE if self.stage == "once" else TEMP if stage_slot else SCRATCH
        out = View(ROW, self._new_slot(storage, prod(view.shape)), 0, view.shape, steps(view.shape))
        return self._each("copy", out, view)

    def _axes(self, instruction: Instruction, slot: int) -> tuple[int, ...]:
        """The inner axes that an op's `axis` names."""
        info = self.loop.slots[slot]
        axis = instruction.options.get("axis")
        ndim = len(info.shape)
        some = range(ndim) if axis is None else axis if isinstance(axis, (tuple, list)) else (axis,)
        shift = 0 if info.layout.per_row > 1 else -1
        return tuple(sorted(int(a) % ndim + shift for a in some))

    def _reduced(self, code: str, view: View, axes: tuple[int, ...], out: View | None = None) -> View:
        """A reduction over inner axes; the result has them with size 1."""
        kept = [a for a in range(len(view.shape)) if a not in axes]
        shape = tuple(1 if a in axes else n for a, n in enumerate(view.shape))
        if out is None:
            out = self._scratch(shape)
        out = out._replace(shape=shape, strides=steps(shape))
        order = [*kept, *axes]
        dims = tuple(view.shape[a] for a in order)
        source = view._replace(shape=dims, strides=tuple(view.strides[a] for a in order))
        to = out._replace(shape=tuple(shape[a] for a in kept), strides=tuple(out.strides[a] for a in kept))
        self._emit(code, dims, to, [source], (len(axes),))
        return out

    # -- products --------------------------------------------------------------------------------------------------

    def _sum_of_products(self, instruction: Instruction) -> None:
        slot = instruction.outputs[0]
        terms = self.terms[slot]
        products = [self.producer[t] for t in terms if type(t) is int and t in self.folded]
        others = [t for t in terms if not (type(t) is int and t in self.folded)]
        bias = next((t for t in others if self._is_bias(t, slot)), None)
        base = next((t for t in others if self._may_overwrite(t, slot)), None)
        if base is not None:
            others.remove(base)
            assert type(base) is int
            if slot in self.written:  # the same sum, in the same order, elsewhere
                out = self._each("copy", self._result(slot), self.views[base])
            else:
                out = self.views[slot] = self.views[base]
            if slot in self.live_out and self.slots[out.number][0] == SCRATCH:
                self.slots[out.number][0] = TEMP
            start = None
            accumulate = True
        else:
            out, accumulate, start = self._result(slot), False, None
            if bias is not None:
                others.remove(bias)
                start = self._operand(bias)
        for p in products:
            self._product(p, out, start, accumulate)
            start, accumulate = None, True
        for t in others:
            self._each("add", out, out, self._aligned(t, slot))

    def _is_bias(self, term: int | Literal, out: int) -> bool:
        """A vector without rows, as wide as the result."""
        return (
            type(term) is int
            and not self.loop.slots[term].layout.per_row
            and self.loop.slots[term].shape == self._inner(out)[-1:]
            and len(self._inner(out)) == 1
        )

    def _may_overwrite(self, term: int | Literal, out: int) -> bool:
        """Whether a sum may accumulate into this term: the sum is its only reader, and fills its slot."""
        if (
            type(term) is not int
            or self.uses.get(term) != 1
            or term not in self.producer
            or not self.loop.slots[term].layout.per_row
        ):
            return False
        view = self.views.get(term)
        if view is None or self.stage_of[term] == "once" or term in self.written:
            return False
        if (
            any(term == w.slot for w in self.loop.writes)
            or term in {new for _, new in self.loop.carried}
            or term in self.loop.accumulated
        ):
            return False
        storage, _, size = self.slots[view.number]
        made = self.producer[term]
        return (
            storage in (TEMP, SCRATCH) and view.flat and size == prod(self._inner(out)) and view.shape == self._inner(out)
            and not self._is_view(made)
        )  # fmt: skip

    def _product(self, instruction: Instruction, out: View, start: View | None, accumulate: bool) -> None:
        a, b = instruction.inputs
        assert type(b) is int
        left = self._operand(a)
        if len(left.shape) and left.strides[-1] != 1 and left.shape[-1] != 1:
            left = self._contiguous(left)
        k = left.shape[-1]
        m = prod(left.shape[:-1])
        if m > 1 and not left.flat:
            row = left.strides[-2]
            uniform = all(
                left.strides[d] == left.strides[d + 1] * left.shape[d + 1]
                for d in range(len(left.shape) - 2)
                if left.shape[d] > 1
            )
            if not uniform:
                left = self._contiguous(left)
                row = k
        else:
            row = k
        weight_slot, transposed = b, 0
        while weight_slot in self.transposed:
            weight_slot, transposed = self.transposed[weight_slot], 1 - transposed
        w = self._weight(weight_slot)
        n = w.shape[0] if transposed else w.shape[1]
        inputs = [
            left._replace(shape=(), strides=(row, 0, 1)),
            w._replace(shape=(), strides=(0, w.strides[0], 1)),
        ]
        if start is not None:
            inputs.append(start._replace(shape=(), strides=(0, 1, 0)))
        self._emit("product", (m, n, k), out._replace(strides=(n, 1, 0)), inputs, (transposed, int(accumulate)))

    # -- results ---------------------------------------------------------------------------------------------------

    def _allocate_results(self) -> None:
        loop = self.loop
        first = len(loop.reads)
        self.states = []
        for old, new in loop.carried:
            view = self._live_value(new)
            self.states.append((view.number, view.offset, prod(self._inner(old))))
        self.accumulators: list[tuple[int, int, int]] = []
        self.outer_products: list[tuple[int, int, int, int, int, int, int]] = []
        for number, slot in enumerate(loop.accumulated):
            size = prod(self._inner(slot))
            if slot not in loop.outer_products:
                view = self._live_value(slot)
                self.accumulators.append((view.number, view.offset, size))
                continue
            self.accumulators.append((-1, 0, size))
            for pair in loop.outer_products[slot]:
                left, right = (self._live_view(self._live_value(s)) for s in pair)
                parts = (left.number, left.offset, prod(left.shape), right.number, right.offset, prod(right.shape))
                self.outer_products.append((number, *parts))
        for k, write in enumerate(loop.writes):
            if self.written.get(write.slot) == first + k:
                continue
            view = self._operand(write.slot)
            if view.where == ROW and self.slots[view.number][0] == STATE:
                self.stage = "body"
            else:
                self.stage = max(self.stage_of.get(self._source(write.slot), "before"), "before", key=STAGES.index)
            out = View(ROW, self._new_slot(SEQUENCE, prod(view.shape), first + k), 0, view.shape, steps(view.shape))
            self._each("copy", out, view)

    def _source(self, slot: int) -> int:
        """The slot whose row holds the value: its own, or the one of which it is a view."""
        while slot in self.producer and self._is_view(self.producer[slot]):
            i = self.producer[slot].inputs[0]
            assert type(i) is int
            slot = i
        return slot

    def _live_value(self, slot: int) -> View:
        """A value in a contiguous view whose slot lives as long as the chunk."""
        view = self._operand(slot)
        stage = self.stage_of.get(slot, "body")
        self.stage = stage
        return self._contiguous(view, stage_slot=True)

    # -- sums over rows --------------------------------------------------------------------------------------------

    def _lower_sum(self, instruction: Instruction) -> None:
        name, out = instruction.op.name, instruction.outputs[0]
        layout = self.loop.slots[out].layout
        if layout.transposed:
            source = instruction.inputs[0]
            if name not in ("transpose", "swapaxes") or type(source) is not int:
                raise Unsupported(name)
            self.transposed_rows[out] = source
            return
        reads_rows = any(type(i) is int and (self.loop.slots[i].layout.per_row) for i in instruction.inputs)
        if not reads_rows:
            self.epilogue.append(instruction)
        elif name == "matmul":
            left, right = instruction.inputs
            assert type(left) is int
            self._sum(out, self.transposed_rows[left], right)
        elif name == "sum":
            self._sum(out, None, instruction.inputs[0], instruction)
        else:
            raise Unsupported(name)

    def _sum(self, out: int, left: int | None, right: Any, reduction: Instruction | None = None) -> None:
        shape = tuple(int(n) for n in self.loop.slots[out].shape)
        of = self._live_rows(right)
        if left is None:
            assert reduction is not None
            axes = self._axes(reduction, right)
            inner = tuple(a for a in axes if a >= 0)
            if inner != tuple(range(len(inner))):
                of = self._live_view(self._reduced("sum", of, inner))
                inner = ()
            multiple = prod(of.shape[: len(inner)])
            size = prod(of.shape[len(inner) :])
            entry = (len(self.targets), -1, 0, 0, of.number, of.offset, size, multiple)
        else:
            lhs = self._live_rows(left)
            multiple = self.loop.slots[left].layout.per_row
            k, n = prod(lhs.shape) // multiple, prod(of.shape) // multiple
            entry = (len(self.targets), lhs.number, lhs.offset, k, of.number, of.offset, n, multiple)
        self.sums.append(entry)
        self.targets.append((out, shape))

    def _live_rows(self, slot: int) -> View:
        return self._live_view(self._operand(slot))

    def _live_view(self, view: View) -> View:
        view = self._contiguous(view, stage_slot=True)
        if self.slots[view.number][0] == SCRATCH:
            self.slots[view.number][0] = TEMP
        return view
