"""Analysis of a loop before any instruction is lowered: which instructions are fused into others, and which values are live
out of their stage.

A sum of products becomes products that accumulate; a sum with a negated term becomes a difference; the inputs of a
concatenation are computed directly in its memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from .lowering_rules import CODES, VIEWS
from .plan import Access, Loop, split_before
from .program import Instruction, Literal
from .view import in_order

STAGES = ("once", "before", "body", "after")


class Stages:
    """The instructions of a loop by stage, and which of them become one native instruction."""

    def __init__(self, loop: Loop, hoist: bool):
        self.loop = loop
        stages = {stage: list(getattr(loop, stage)) for stage in STAGES}
        if not hoist:
            stages["before"], sunk = split_before(loop)
            stages["body"] = sunk + stages["body"]
        self.stages = stages
        self.producer = {o: i for some in stages.values() for i in some for o in i.outputs}
        self.stage_of = {o: stage for stage, some in stages.items() for i in some for o in i.outputs}
        self.live_out: set[int] = {new for _, new in loop.carried} | {*loop.accumulated} | {w.slot for w in loop.writes}
        self.live_out |= {slot for pairs in loop.outer_products.values() for pair in pairs for slot in pair}
        self.uses: dict[int, int] = {}
        for stage, some in [*stages.items(), ("sums", loop.row_sums)]:
            for instruction in some:
                for i in instruction.inputs:
                    if type(i) is int:
                        self.uses[i] = self.uses.get(i, 0) + 1
                        if self.stage_of.get(i, stage) != stage:
                            self.live_out.add(i)
        self._spread_views(stages)
        self.sequences: list[Access] = [*loop.reads, *loop.writes]
        self.written = self._direct_writes()
        self.folded: set[int] = set()  # values whose instructions are fused into another
        self.terms: dict[int, list[int | Literal]] = {}  # sums of which a term is a product
        self.differences: dict[int, tuple[int | Literal, int | Literal]] = {}  # sums with a negated term, as a - b
        self.concatenated: dict[int, tuple[int, int]] = {}  # input of a concatenation -> (its slot, first element)
        self._fold_sums()
        self._fold_negations()
        self._place_concatenated()

    def _is_view(self, instruction: Instruction) -> bool:
        """Whether an op's result is a view of its input: also where a cotangent of a slice is that of the whole."""
        name, source = instruction.op.name, instruction.inputs[0]
        if name == "scatter_add" and type(source) is int:
            whole = prod(self._inner(source)) == prod(self._inner(instruction.outputs[0]))
            return whole and in_order(instruction.options["index"])
        return name in VIEWS

    def _spread_views(self, stages: dict[str, list[Instruction]]) -> None:
        """A view that another stage reads keeps its source's slot alive for that stage."""
        for stage in reversed(STAGES):
            for instruction in reversed(stages[stage]):
                if self._is_view(instruction) and not self.live_out.isdisjoint(instruction.outputs):
                    self.live_out.update(i for i in instruction.inputs if type(i) is int)

    def _direct_writes(self) -> dict[int, int]:
        """Slots whose rows can be written straight into an array over time: slot -> number of the sequence."""
        direct: dict[int, int] = {}
        first = len(self.loop.reads)
        for k, write in enumerate(self.loop.writes):
            made = self.producer.get(write.slot)
            if (
                made is not None
                and write.slot not in direct
                and not self._is_view(made)
                and self.stage_of[write.slot] != "once"
            ):
                direct[write.slot] = first + k
        return direct

    def _fold_negations(self) -> None:
        """b + (−a) is b − a, to the bit."""
        for stage in STAGES:
            for instruction in self.stages[stage]:
                out = instruction.outputs[0]
                if instruction.op.name != "add" or out in self.terms or out in self.folded:
                    continue
                for k in (1, 0):
                    part = self._single(instruction.inputs[k], stage)
                    if part is not None and part.op.name == "negative":
                        self.differences[out] = (instruction.inputs[1 - k], part.inputs[0])
                        self.folded.add(part.outputs[0])
                        break

    def _place_concatenated(self) -> None:
        """Find the values that can be computed where a concatenation, the only one of them, wants them."""
        for stage in ("before", "body", "after"):
            for instruction in self.stages[stage]:
                out = instruction.outputs[0]
                if instruction.op.name != "concatenate" or len(self._inner(out)) != 1:
                    continue
                at = 0
                for part in instruction.inputs:
                    if type(part) is int and self._may_compute_in_place(part, out, stage):
                        self.concatenated[part] = (out, at)
                    at += self._operand_size(part)

    def _operand_size(self, part: int | Literal) -> int:
        return int(np.shape(part.value)[-1]) if isinstance(part, Literal) else int(self.loop.slots[part].shape[-1])

    def _may_compute_in_place(self, part: int, out: int, stage: str) -> bool:
        made = self.producer.get(part)
        return (
            made is not None
            and made.op.name in CODES
            and self.stage_of[part] == stage
            and part not in {*self.concatenated, *self.folded, *self.terms, *self.written}
            and (part not in self.live_out or out in self.live_out)
        )

    def _fold_sums(self) -> None:
        """Find the sums of which a term is a product."""
        for stage in ("before", "body", "after"):
            for instruction in reversed(self.stages[stage]):
                out = instruction.outputs[0]
                if instruction.op.name == "add" and out not in self.folded:
                    terms = list(self._terms(instruction, stage))
                    slots = self.loop.slots
                    whole = [t for t in terms if type(t) is int and slots[t].shape == slots[out].shape]
                    products = [t for t in whole if self._is_product(t, stage)]
                    if products:
                        self.terms[out] = terms
                        self.folded.update((*products, *self._inner_terms(instruction, stage)))

    def _single(self, slot: int | Literal, stage: str) -> Instruction | None:
        """The instruction of this stage that makes a slot which one instruction alone reads."""
        if (
            type(slot) is not int
            or self.uses.get(slot) != 1
            or slot in self.live_out
            or self.stage_of.get(slot) != stage
        ):
            return None
        made: Instruction = self.producer[slot]
        return made

    def _terms(self, instruction: Instruction, stage: str) -> Iterable[int | Literal]:
        whole = self.loop.slots[instruction.outputs[0]].shape
        for i in instruction.inputs:
            part = self._single(i, stage)
            if part is not None and part.op.name == "add" and self.loop.slots[part.outputs[0]].shape == whole:
                yield from self._terms(part, stage)
            else:
                yield i

    def _inner_terms(self, instruction: Instruction, stage: str) -> Iterable[int]:
        whole = self.loop.slots[instruction.outputs[0]].shape
        for i in instruction.inputs:
            part = self._single(i, stage)
            if part is not None and part.op.name == "add" and self.loop.slots[part.outputs[0]].shape == whole:
                yield part.outputs[0]
                yield from self._inner_terms(part, stage)

    def _is_product(self, slot: int, stage: str) -> bool:
        part = self._single(slot, stage)
        return part is not None and part.op.name == "matmul" and self._with_weight(part)

    def _with_weight(self, instruction: Instruction) -> bool:
        a, b = instruction.inputs
        if type(a) is not int or type(b) is not int:
            return False
        return (
            bool(self.loop.slots[a].layout.per_row)
            and not self.loop.slots[b].layout.per_row
            and len(self.loop.slots[b].shape) == 2
        )

    def _inner(self, slot: int) -> tuple[int, ...]:
        return tuple(int(n) for n in self.loop.slots[slot].inner)
