"""What runs before, in and after the loop over time: a `Loop`, for a program or for its gradient.

before: instructions that do not depend on the carried state, run for all steps at once (x W + b is one product). body:
those that the next step needs. after: the others, again for all steps at once, and the sums over rows (a weight's
gradient). once: those that depend only on constants. Instructions without rows (tanh of a weight, its slices) are no part
of a loop: `prologue` takes them out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from copy import copy
from math import prod
from typing import Any, NamedTuple

from .gradient import Gradient, active_slots, gradient
from .program import Instruction, Literal, Program, Slot
from .view import in_order

PRODUCTS = ("matmul", "product_of")
RESHAPES = ("reshape", "expand_dims", "squeeze", "transpose", "swapaxes")


class Over(NamedTuple):
    """Rows over time that a loop reads or writes. kind: "x" (input `leaf`), "output" (output leaf), "state" (the
    new state's leaf), "before" (that leaf as the step received it), "saved", "d_output" and "d_x" likewise."""

    kind: str
    leaf: int
    slot: int


class Loop:
    """Instructions by stage over `slots`; `carried` are pairs (state's slot as received, slot of the new one).

    added: slots whose rows add up over time, cotangents of constants. results: slots of the weights' cotangents.
    """

    def __init__(
        self,
        slots: list[Slot],
        weights: tuple[int, ...],
        constants: tuple[int, ...],
        reads: tuple[Over, ...],
        writes: tuple[Over, ...],
        carried: tuple[tuple[int, int], ...],
        added: tuple[int, ...] = (),
        results: tuple[int | None, ...] = (),
    ):
        self.slots, self.weights, self.constants = slots, weights, constants
        self.reads, self.writes, self.carried = reads, writes, carried
        self.added, self.results = added, results
        self.outers: dict[
            int, list[tuple[int, int]]
        ] = {}  # slots in `added` that are sums of outer products -> the factors
        self.fixed: list[Instruction] = []  # on weights alone: their transposes, for backward
        self.once: list[Instruction] = []
        self.before: list[Instruction] = []
        self.body: list[Instruction] = []
        self.after: list[Instruction] = []
        self.sums: list[Instruction] = []  # sums over rows, and instructions on them


def prologue(program: Program) -> tuple[list[Instruction], Program, tuple[int, ...]]:
    """The instructions that have no rows, the program without them, and all slots without rows that the rest reads.
    Blocks of weights that only the rest reads stay with it: it reads them where they are."""
    first: list[Instruction] = []
    rest: list[Instruction] = []
    blocks = {slot for slot, _ in program.captured}  # captured arrays, and blocks of them
    for instruction in program.instructions:
        if _takes_block(instruction, program.slots) and instruction.inputs[0] in blocks:
            blocks.update(instruction.outputs)
    elsewhere: set[int] = {*program.outputs, *program.new_state}  # what instructions without rows read
    for instruction in reversed(program.instructions):
        has_rows = any(program.slots[o].layout.per for o in instruction.outputs)
        block = not blocks.isdisjoint(instruction.outputs)
        if has_rows or (block and elsewhere.isdisjoint(instruction.outputs)):
            rest.append(instruction)
        else:
            first.append(instruction)
            elsewhere.update(i for i in instruction.inputs if type(i) is int)
    rest.reverse()
    read = {i for instruction in rest for i in instruction.inputs if type(i) is int}
    read -= {o for instruction in rest for o in instruction.outputs}
    weights = tuple(sorted(i for i in read if not program.slots[i].layout.per))
    return first[::-1], program._replace(instructions=rest), weights


def _takes_block(instruction: Instruction, slots: list[Slot]) -> bool:
    """Whether an instruction takes blocks of rows and columns out of a vector or matrix, or transposes a matrix."""
    source = instruction.inputs[0] if instruction.inputs else None
    if type(source) is not int or len(slots[source].shape) > 2 or instruction.detached:
        return False
    if instruction.op.name == "split":
        return True
    if instruction.op.name == "transpose":
        return instruction.options["axes"] is None and len(slots[source].shape) == 2
    if instruction.op.name != "getitem":
        return False
    index = instruction.options["index"]
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is Ellipsis or (isinstance(p, slice) and p.step in (None, 1)) for p in parts)


def sums_regrouped(program: Program, states: Collection[int]) -> Program:
    """x W + h U + b with its terms so ordered that those which no state enters come first: (x W + b) + h U."""
    late = _reached(program.instructions, states)
    uses: Counter[Any] = Counter(
        i for instruction in program.instructions for i in instruction.inputs if type(i) is int
    )
    uses.update([*program.outputs, *program.new_state, *program.names] * 2)
    made = {instruction.outputs[0]: instruction for instruction in program.instructions}
    slots, out = list(program.slots), []
    chains: dict[int, list[int | Literal]] = {}  # sums in a new order
    inner: set[int] = set()  # sums that are only terms of these

    def terms(instruction: Instruction, inside: set[int]) -> Iterable[int | Literal]:
        whole = slots[instruction.outputs[0]]
        for i in instruction.inputs:
            part = made.get(i) if type(i) is int else None
            if part is not None and part.op.name == "add" and uses[i] == 1 and slots[part.outputs[0]] == whole:
                inside.add(part.outputs[0])
                yield from terms(part, inside)
            else:
                yield i

    for instruction in reversed(program.instructions):
        result = instruction.outputs[0]
        if instruction.op.name == "add" and result in late and result not in inner:
            inside: set[int] = set()
            parts = list(terms(instruction, inside))
            early = [t for t in parts if type(t) is not int or t not in late]
            early.sort(key=lambda t, whole=slots[result]: type(t) is not int or slots[t] != whole)  # type: ignore[misc]
            if 2 <= len(early) < len(parts) and type(early[0]) is int and slots[early[0]] == slots[result]:
                chains[result] = [*early, *(t for t in parts if type(t) is int and t in late)]
                inner |= inside
    for instruction in program.instructions:
        result = instruction.outputs[0]
        if result not in chains:
            if result not in inner:
                out.append(instruction)
            continue
        total, *others = chains[result]
        for term in others[:-1]:
            slots.append(slots[result])
            out.append(instruction._replace(inputs=(total, term), outputs=(len(slots) - 1,)))
            total = len(slots) - 1
        out.append(instruction._replace(inputs=(total, others[-1])))
    return program._replace(slots=slots, instructions=out)


def _reached(instructions: Iterable[Instruction], start: Collection[int]) -> set[int]:
    """The slots that depend on those in `start`, and these."""
    reached = set(start)
    for instruction in instructions:
        if any(type(i) is int and i in reached for i in instruction.inputs):
            reached.update(instruction.outputs)
    return reached


def _needed(instructions: list[Instruction], wanted: Iterable[int]) -> set[int]:
    """The slots from which those in `wanted` are computed, and these."""
    needed = set(wanted)
    for instruction in reversed(instructions):
        if not needed.isdisjoint(instruction.outputs):
            needed.update(i for i in instruction.inputs if type(i) is int)
    return needed


def _staged(loop: Loop, instructions: list[Instruction], per_step: Collection[int], wanted: Collection[int]) -> Loop:
    """Put each instruction that `wanted` or the new state needs into its stage. `per_step`: slots that vary over time."""
    results = [new for _, new in loop.carried]
    needed = _needed(instructions, (*wanted, *results))
    live = [i for i in instructions if not needed.isdisjoint(i.outputs)]
    carried = _reached(live, [old for old, _ in loop.carried])
    timed = _reached(live, per_step)
    looped = _needed(live, results)
    for instruction in live:
        out = instruction.outputs[0]
        in_loop = not looped.isdisjoint(instruction.outputs)
        layout = loop.slots[out].layout
        if layout.summed or layout.last:  # a transposed matrix of rows is only read by sums
            loop.sums.append(instruction)
        elif not layout.per:
            loop.fixed.append(instruction)
        elif out not in timed and out not in carried:
            loop.once.append(instruction)
        elif out not in carried:
            loop.before.append(instruction)
        elif in_loop:
            loop.body.append(instruction)
        else:
            loop.after.append(instruction)
    return loop


def _with_outers(loop: Loop) -> Loop:
    """The cotangents of constants that are sums of outer products: these are one product over all steps of a row."""
    made = {o: i for i in loop.after for o in i.outputs}
    uses = Counter(i for some in (loop.body, loop.after, loop.sums) for x in some for i in x.inputs if type(i) is int)
    uses.update([*(w.slot for w in loop.writes), *(new for _, new in loop.carried), *loop.added])
    gone: set[int] = set()
    for slot in loop.added:
        terms, inner = [made.get(slot)], {slot}
        while adds := [t for t in terms if t is not None and t.op.name == "add"]:
            terms.remove(adds[0])
            for i in adds[0].inputs:
                if type(i) is not int or uses[i] > 1:
                    terms.append(None)
                    continue
                terms.append(made.get(i))
                inner.add(i)
        pairs = [None if t is None else _outer(t, loop.slots, slot) for t in terms]
        if uses[slot] == 1 and None not in pairs:
            loop.outers[slot] = [p for p in pairs if p is not None]
            gone |= inner
    loop.after = [i for i in loop.after if gone.isdisjoint(i.outputs)]
    return loop


def _outer(term: Instruction, slots: list[Slot], out: int) -> tuple[int, int] | None:
    """The column (m, 1) and the row (1, n) whose outer product an instruction computes in each row."""
    if len(term.inputs) != 2 or len(slots[out].inner) != 2 or slots[term.outputs[0]].inner != slots[out].inner:
        return None
    a, b = term.inputs
    if type(a) is not int or type(b) is not int or slots[a].layout.per != 1 or slots[b].layout.per != 1:
        return None
    m, n = slots[out].inner
    shapes = slots[a].inner, slots[b].inner
    if term.op.name in ("matmul", "multiply") and shapes == ((m, 1), (1, n)):
        return a, b
    return (b, a) if term.op.name == "multiply" and shapes == ((1, n), (m, 1)) else None


def sunk_before(loop: Loop) -> tuple[list[Instruction], list[Instruction]]:
    """Splits `before`: the instructions to run before the loop, and the cheap ones that only the body reads, which run in
    the body so that their results stay in the cache."""
    outside = {i for some in (loop.after, loop.sums) for x in some for i in x.inputs if type(i) is int}
    outside |= {w.slot for w in loop.writes} | {new for _, new in loop.carried} | {*loop.added}
    outside |= {slot for pairs in loop.outers.values() for pair in pairs for slot in pair}
    kept: list[Instruction] = []
    sunk: list[Instruction] = []
    for instruction in reversed(loop.before):
        if instruction.op.name in PRODUCTS or not outside.isdisjoint(instruction.outputs):
            kept.append(instruction)
            outside.update(i for i in instruction.inputs if type(i) is int)
        else:
            sunk.append(instruction)
    return kept[::-1], sunk[::-1]


def within_steps(loop: Loop) -> Loop:
    """The loop with all cheap instructions in its body, also those of `before` and `after`, so that the rows of a step
    stay in the cache."""
    kept, sunk = sunk_before(loop)
    late: set[int] = set()  # results of products after the loop, and of what depends on them
    raised, rest = [], []
    for instruction in loop.after:
        if instruction.op.name in PRODUCTS or not late.isdisjoint(i for i in instruction.inputs if type(i) is int):
            rest.append(instruction)
            late.update(instruction.outputs)
        else:
            raised.append(instruction)
    moved = copy(loop)
    moved.before, moved.body, moved.after = kept, [*sunk, *loop.body, *raised], rest
    return moved


class Plan(NamedTuple):
    """How a step runs: forward without a graph, forward that saves, backward; and what is saved."""

    forward: Loop
    saving: Loop
    backward: Loop | None
    saved: tuple[int, ...]
    histories: dict[
        int, Over
    ]  # the leaves of the state that backward reads at every step, and the source of their values
    carried: tuple[int, ...] = ()  # which of them the loop backward carries a cotangent of
    added: tuple[int, ...] = ()  # which constants get a gradient


class Leaves(NamedTuple):
    """The slots of a program's inputs by what they are."""

    x: tuple[int, ...]
    state: tuple[int, ...]
    constants: tuple[int, ...]
    weights: tuple[int, ...]


def forward_loop(program: Program, inputs: Leaves, saved: tuple[int, ...] = (), states: tuple[int, ...] = ()) -> Loop:
    """The loop of a program. It writes the outputs, and `saved` slots and `states` for the loop backward."""
    writes = [Over("output", k, slot) for k, slot in enumerate(program.outputs)]
    writes += [Over("saved", k, slot) for k, slot in enumerate(saved)]
    writes += [Over("state", k, program.new_state[k]) for k in states if program.new_state[k] not in program.outputs]
    loop = Loop(
        program.slots,
        inputs.weights,
        inputs.constants,
        tuple(Over("x", k, slot) for k, slot in enumerate(inputs.x)),
        tuple(writes),
        tuple(zip(inputs.state, program.new_state, strict=True)),
    )
    return _staged(loop, program.instructions, inputs.x, [w.slot for w in writes])


def plan(program: Program, inputs: Leaves, wanted: Collection[int], recompute: bool) -> Plan:
    """The loops of a step of which the inputs in `wanted` get a gradient."""
    forward = forward_loop(program, inputs)
    if not wanted:
        return Plan(forward, forward, None, (), {})
    back = gradient(program, wanted, inputs.state)
    own = back.instructions[: back.forward]
    rules = back.instructions[back.forward :]
    ends = [back.results[s] for s in (*wanted, *inputs.state) if s in back.results]
    needed = _needed(rules, ends)
    rules = [i for i in rules if not needed.isdisjoint(i.outputs)]
    read = {i for instruction in rules for i in instruction.inputs if type(i) is int} | set(ends)
    free = {*inputs.x, *inputs.state, *inputs.constants, *inputs.weights, *program.new_state, *program.outputs}
    saved, again = _saved_and_recomputed(back.slots, own, read, free, recompute)
    reads = _reads(program, inputs, back, [*again, *rules], {*read, *saved}, saved)
    read_states = tuple(sorted({r.leaf for r in reads if r.kind in ("state", "before")}))
    histories = {}
    for k in read_states:
        slot = program.new_state[k]
        kept = ("output", program.outputs.index(slot)) if slot in program.outputs else ("state", k)
        histories[k] = Over(*kept, slot)
    carried = tuple(k for k, seed in enumerate(back.of_new_state) if seed is not None)
    added = tuple(k for k, slot in enumerate(inputs.constants) if slot in wanted and slot in back.results)
    loop = Loop(
        back.slots,
        inputs.weights,
        inputs.constants,
        tuple(reads),
        tuple(Over("d_x", k, back.results[s]) for k, s in enumerate(inputs.x) if s in wanted and s in back.results),
        tuple((back.of_new_state[k] or 0, back.results[inputs.state[k]]) for k in carried),
        added=tuple(back.results[inputs.constants[k]] for k in added),
        results=tuple(back.results.get(s) if s in wanted else None for s in inputs.weights),
    )
    per_step = [r.slot for r in reads]
    loop = _with_outers(_staged(loop, [*again, *rules], per_step, ends))
    return Plan(forward, forward_loop(program, inputs, saved, read_states), loop, saved, histories, carried, added)


def _reshapes(instruction: Instruction, slots: list[Slot]) -> bool:
    """Whether an instruction gives its input in another shape, every entry of it."""
    if instruction.op.name == "getitem":
        source = instruction.inputs[0]
        whole = type(source) is int and prod(slots[source].inner) == prod(slots[instruction.outputs[0]].inner)
        return whole and in_order(instruction.options["index"])
    return instruction.op.name in RESHAPES


def _saved_and_recomputed(
    slots: list[Slot], own: list[Instruction], read: set[int], free: set[int], recompute: bool
) -> tuple[tuple[int, ...], list[Instruction]]:
    """Which forward slots are kept for backward, and which instructions run again there: products never run again
    (unless all do), and what follows cheaply from what is kept is not kept."""
    made = {o: instruction for instruction in own for o in instruction.outputs}
    for instruction in reversed(own):  # of a value and the same in another shape, the value is kept
        if _reshapes(instruction, slots) and not read.isdisjoint(instruction.outputs):
            read = read | {i for i in instruction.inputs if type(i) is int}
    saved: set[int] = set()
    have = set(free)
    again: set[int] = set()
    for number, instruction in enumerate(own):
        if recompute:
            continue
        inputs = [i for i in instruction.inputs if type(i) is int]
        cheap = instruction.op.name not in PRODUCTS and all(i in have for i in inputs)
        if cheap:
            have.update(instruction.outputs)
            again.add(number)
        else:
            kept = [o for o in instruction.outputs if o in read and o not in free]
            saved.update(kept)
            have.update(kept)
    if recompute:
        again = set(range(len(own)))
    wanted = {s for s in read if s in made and s not in free and s not in saved}
    kept_again = []
    for number in range(len(own) - 1, -1, -1):
        instruction = own[number]
        if number in again and not wanted.isdisjoint(instruction.outputs):
            kept_again.append(instruction)
            wanted.update(
                i for i in instruction.inputs if type(i) is int and i in made and i not in free and i not in saved
            )
    return tuple(sorted(saved)), kept_again[::-1]


def _reads(
    program: Program,
    inputs: Leaves,
    back: Gradient,
    instructions: list[Instruction],
    read: set[int],
    saved: tuple[int, ...],
) -> list[Over]:
    """What the loop backward reads over time."""
    made = {o for instruction in instructions for o in instruction.outputs}
    read = (read | {i for instruction in instructions for i in instruction.inputs if type(i) is int}) - made
    reads = [Over("x", k, slot) for k, slot in enumerate(inputs.x) if slot in read]
    reads += [Over("before", k, slot) for k, slot in enumerate(inputs.state) if slot in read]
    taken = {r.slot for r in reads} | {*inputs.constants, *saved}
    for k, slot in enumerate(program.outputs):
        if slot in read and slot not in taken:
            reads.append(Over("output", k, slot))
            taken.add(slot)
    for k, slot in enumerate(program.new_state):
        if slot in read and slot not in taken:
            reads.append(Over("state", k, slot))
            taken.add(slot)
    reads += [Over("saved", k, slot) for k, slot in enumerate(saved)]
    reads += [Over("d_output", k, slot) for k, slot in enumerate(back.of_outputs) if slot is not None and slot in read]
    return reads


__all__ = ["Leaves", "Loop", "Over", "Plan", "active_slots", "forward_loop", "plan", "prologue", "sums_regrouped"]
