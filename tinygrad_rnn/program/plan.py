"""What runs before, in and after the loop over time: a `Loop`, for a program or for its gradient.

Every instruction of a loop belongs to one stage:

- weight_only: it depends on weights alone and has no rows (the transposes that backward needs); it runs once.
- once: it depends on constants, which have rows but no time; it runs once, on the batch.
- before: it depends on the inputs, but not on the carried state; it runs for many steps at once (x W + b is one product).
- body: the next step's state depends on it; it runs step by step.
- after: it depends on the carried state, but the next step does not need it; it runs for many steps at once.
- row_sums: it sums over rows (a weight's gradient); it runs on many steps at once, and the sums are added up.

For example, h' = tanh(x W + h U + b) is traced as the program

    a = x @ W;  r = h @ U;  s = a + r;  z = s + b;  h' = tanh(z)

whose plan is, after `reassociated` has put the bias beside x W, for the loop forward (carried: h is the last step's h')

    before       a = x @ W;  p = a + b
    body         r = h @ U;  z = p + r;  h' = tanh(z)

and for the loop backward, which runs from the last step to the first (carried: the cotangent dh is added to dy as dh')

    weight_only  Uᵀ;  Wᵀ
    before       q = h' * h';  t = 1 - q
    body         g = dy + dh';  dz = g * t;  dh = dz @ Uᵀ
    after        dx = dz @ Wᵀ
    row_sums     db = sum of dz;  dU = hᵀ @ dz;  dW = xᵀ @ dz

Backward reads x, the output h' and, for h, the same output shifted by one step, so forward has nothing more to save.
Instructions of a traced step that have no rows (tanh of a weight) are in no loop: `hoist_weight_code` takes them out.
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


class Access(NamedTuple):
    """A slot whose rows over time are an array that a loop reads or writes.

    role: what the array is, and `leaf` which of these: "x" an input, "output" an output, "state" a new state, "before" a
    state as the steps received it, "saved" a value kept for backward, "d_output" and "d_x" cotangents.
    """

    role: str
    leaf: int
    slot: int


class Loop:
    """Instructions over `slots` by stage (see the module).

    weights, constants: the slots of the inputs that do not change over time. reads, writes: the arrays over time. carried:
    pairs (slot of a state as a step receives it, slot of the state that it returns). accumulated: slots whose rows are added
    up over the steps of each batch row (cotangents of constants). weight_cotangents: a slot, or None, for each weight.
    outer_products: for those slots of `accumulated` that are sums of outer products, the slots of their factors.
    """

    def __init__(
        self,
        slots: list[Slot],
        weights: tuple[int, ...],
        constants: tuple[int, ...],
        reads: tuple[Access, ...],
        writes: tuple[Access, ...],
        carried: tuple[tuple[int, int], ...],
        accumulated: tuple[int, ...] = (),
        weight_cotangents: tuple[int | None, ...] = (),
    ):
        self.slots, self.weights, self.constants = slots, weights, constants
        self.reads, self.writes, self.carried = reads, writes, carried
        self.accumulated, self.weight_cotangents = accumulated, weight_cotangents
        self.outer_products: dict[int, list[tuple[int, int]]] = {}
        self.weight_only: list[Instruction] = []
        self.once: list[Instruction] = []
        self.before: list[Instruction] = []
        self.body: list[Instruction] = []
        self.after: list[Instruction] = []
        self.row_sums: list[Instruction] = []


def hoist_weight_code(program: Program) -> tuple[list[Instruction], Program, tuple[int, ...]]:
    """The instructions that have no rows, the program without them, and the slots without rows that are live into it.
    Blocks of weights that only the rest reads stay with it: it reads them without a copy."""
    hoisted: list[Instruction] = []
    rest: list[Instruction] = []
    blocks = {slot for slot, _ in program.captured}  # captured arrays, and blocks of them
    for instruction in program.instructions:
        if _is_block(instruction, program.slots) and instruction.inputs[0] in blocks:
            blocks.update(instruction.outputs)
    copied: set[int] = {*program.outputs, *program.new_state}  # slots that are read outside the rest
    for instruction in reversed(program.instructions):
        has_rows = any(program.slots[o].layout.per_row for o in instruction.outputs)
        block = not blocks.isdisjoint(instruction.outputs)
        if has_rows or (block and copied.isdisjoint(instruction.outputs)):
            rest.append(instruction)
        else:
            hoisted.append(instruction)
            copied.update(i for i in instruction.inputs if type(i) is int)
    rest.reverse()
    live_in = {i for instruction in rest for i in instruction.inputs if type(i) is int}
    live_in -= {o for instruction in rest for o in instruction.outputs}
    weights = tuple(sorted(i for i in live_in if not program.slots[i].layout.per_row))
    return hoisted[::-1], program._replace(instructions=rest), weights


def _is_block(instruction: Instruction, slots: list[Slot]) -> bool:
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


def reassociated(program: Program, states: Collection[int]) -> Program:
    """The program with its sums reassociated so that terms which do not depend on a state come first: x W + h U + b becomes
    (x W + b) + h U."""
    on_state = _dependents(program.instructions, states)
    uses: Counter[Any] = Counter(
        i for instruction in program.instructions for i in instruction.inputs if type(i) is int
    )
    uses.update([*program.outputs, *program.new_state, *program.names] * 2)
    producer = {instruction.outputs[0]: instruction for instruction in program.instructions}
    slots, out = list(program.slots), []
    chains: dict[int, list[int | Literal]] = {}  # sum -> its terms in the new order
    inner: set[int] = set()  # sums that are only terms of other sums

    def terms(instruction: Instruction, inside: set[int]) -> Iterable[int | Literal]:
        whole = slots[instruction.outputs[0]]
        for i in instruction.inputs:
            part = producer.get(i) if type(i) is int else None
            if part is not None and part.op.name == "add" and uses[i] == 1 and slots[part.outputs[0]] == whole:
                inside.add(part.outputs[0])
                yield from terms(part, inside)
            else:
                yield i

    for instruction in reversed(program.instructions):
        result = instruction.outputs[0]
        if instruction.op.name == "add" and result in on_state and result not in inner:
            inside: set[int] = set()
            parts = list(terms(instruction, inside))
            early = [t for t in parts if type(t) is not int or t not in on_state]
            early.sort(key=lambda t, whole=slots[result]: type(t) is not int or slots[t] != whole)  # type: ignore[misc]
            if 2 <= len(early) < len(parts) and type(early[0]) is int and slots[early[0]] == slots[result]:
                chains[result] = [*early, *(t for t in parts if type(t) is int and t in on_state)]
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


def _dependents(instructions: Iterable[Instruction], start: Collection[int]) -> set[int]:
    """The slots in `start` and all that depend on them."""
    reached = set(start)
    for instruction in instructions:
        if any(type(i) is int and i in reached for i in instruction.inputs):
            reached.update(instruction.outputs)
    return reached


def _dependencies(instructions: list[Instruction], wanted: Iterable[int]) -> set[int]:
    """The slots in `wanted` and all that they depend on."""
    needed = set(wanted)
    for instruction in reversed(instructions):
        if not needed.isdisjoint(instruction.outputs):
            needed.update(i for i in instruction.inputs if type(i) is int)
    return needed


def _assign_stages(
    loop: Loop, instructions: list[Instruction], per_step: Collection[int], wanted: Collection[int]
) -> Loop:
    """Put each instruction that `wanted` or the new state needs into its stage. `per_step`: slots that vary over time."""
    new_state = [new for _, new in loop.carried]
    needed = _dependencies(instructions, (*wanted, *new_state))
    live = [i for i in instructions if not needed.isdisjoint(i.outputs)]
    on_state = _dependents(live, [old for old, _ in loop.carried])
    on_time = _dependents(live, per_step)
    looped = _dependencies(live, new_state)
    for instruction in live:
        out = instruction.outputs[0]
        in_loop = not looped.isdisjoint(instruction.outputs)
        layout = loop.slots[out].layout
        if layout.row_sum or layout.transposed:  # a transposed matrix of rows is only read by sums
            loop.row_sums.append(instruction)
        elif not layout.per_row:
            loop.weight_only.append(instruction)
        elif out not in on_time and out not in on_state:
            loop.once.append(instruction)
        elif out not in on_state:
            loop.before.append(instruction)
        elif in_loop:
            loop.body.append(instruction)
        else:
            loop.after.append(instruction)
    return loop


def _extract_outer_products(loop: Loop) -> Loop:
    """The loop with those cotangents of constants that are sums of outer products taken out of `after`: the sum over the steps
    of a row is one matrix product."""
    producer = {o: i for i in loop.after for o in i.outputs}
    uses = Counter(
        i for some in (loop.body, loop.after, loop.row_sums) for x in some for i in x.inputs if type(i) is int
    )
    uses.update([*(w.slot for w in loop.writes), *(new for _, new in loop.carried), *loop.accumulated])
    gone: set[int] = set()
    for slot in loop.accumulated:
        terms, inner = [producer.get(slot)], {slot}
        while adds := [t for t in terms if t is not None and t.op.name == "add"]:
            terms.remove(adds[0])
            for i in adds[0].inputs:
                if type(i) is not int or uses[i] > 1:
                    terms.append(None)
                    continue
                terms.append(producer.get(i))
                inner.add(i)
        pairs = [None if t is None else _outer_factors(t, loop.slots, slot) for t in terms]
        if uses[slot] == 1 and None not in pairs:
            loop.outer_products[slot] = [p for p in pairs if p is not None]
            gone |= inner
    loop.after = [i for i in loop.after if gone.isdisjoint(i.outputs)]
    return loop


def _outer_factors(term: Instruction, slots: list[Slot], out: int) -> tuple[int, int] | None:
    """The column (m, 1) and the row (1, n) whose outer product an instruction computes in each row."""
    if len(term.inputs) != 2 or len(slots[out].inner) != 2 or slots[term.outputs[0]].inner != slots[out].inner:
        return None
    a, b = term.inputs
    if type(a) is not int or type(b) is not int or slots[a].layout.per_row != 1 or slots[b].layout.per_row != 1:
        return None
    m, n = slots[out].inner
    shapes = slots[a].inner, slots[b].inner
    if term.op.name in ("matmul", "multiply") and shapes == ((m, 1), (1, n)):
        return a, b
    return (b, a) if term.op.name == "multiply" and shapes == ((1, n), (m, 1)) else None


def split_before(loop: Loop) -> tuple[list[Instruction], list[Instruction]]:
    """Splits `before` in two: the instructions to run before the loop, and the cheap ones that only the body reads, which run
    in the body so that their results stay in the cache. A bias added to a product stays with the product."""
    outside = {i for some in (loop.after, loop.row_sums) for x in some for i in x.inputs if type(i) is int}
    outside |= {w.slot for w in loop.writes} | {new for _, new in loop.carried} | {*loop.accumulated}
    outside |= {slot for pairs in loop.outer_products.values() for pair in pairs for slot in pair}
    biased = _biased_products(loop)
    kept: list[Instruction] = []
    in_body: list[Instruction] = []
    for instruction in reversed(loop.before):
        stays = instruction.op.name in PRODUCTS or not biased.isdisjoint(instruction.outputs)
        if stays or not outside.isdisjoint(instruction.outputs):
            kept.append(instruction)
            outside.update(i for i in instruction.inputs if type(i) is int)
        else:
            in_body.append(instruction)
    return kept[::-1], in_body[::-1]


def _biased_products(loop: Loop) -> set[int]:
    """The sums in `before` of a product and a vector without rows."""
    products = {o for i in loop.before if i.op.name in PRODUCTS for o in i.outputs}
    sums: set[int] = set()
    for instruction in loop.before:
        terms = [i for i in instruction.inputs if type(i) is int]
        biases = [t for t in terms if not loop.slots[t].layout.per_row and len(loop.slots[t].shape) == 1]
        if instruction.op.name == "add" and biases and not products.isdisjoint(terms):
            sums.update(instruction.outputs)
    return sums


def fused_into_body(loop: Loop) -> Loop:
    """The loop with all cheap instructions in its body, also those of `before` and `after`, so that the rows of a step
    stay in the cache."""
    before, in_body = split_before(loop)
    on_products: set[int] = set()  # products after the loop, and what depends on them
    from_after, after = [], []
    for instruction in loop.after:
        if instruction.op.name in PRODUCTS or not on_products.isdisjoint(
            i for i in instruction.inputs if type(i) is int
        ):
            after.append(instruction)
            on_products.update(instruction.outputs)
        else:
            from_after.append(instruction)
    fused = copy(loop)
    fused.before, fused.body, fused.after = before, [*in_body, *loop.body, *from_after], after
    return fused


class Plan(NamedTuple):
    """The loops of a step. forward: without a graph. saving: forward, which also writes what backward reads. backward.

    saved: the slots that `saving` keeps. histories: for each leaf of the state that backward reads at every step, the array
    that holds it. carried: the leaves of the state whose cotangents the loop backward carries. accumulated: the constants
    that get a gradient.
    """

    forward: Loop
    saving: Loop
    backward: Loop | None
    saved: tuple[int, ...]
    histories: dict[int, Access]
    carried: tuple[int, ...] = ()
    accumulated: tuple[int, ...] = ()


class InputSlots(NamedTuple):
    """The slots of a program's inputs: the leaves of x, state and constants, and the weights."""

    x: tuple[int, ...]
    state: tuple[int, ...]
    constants: tuple[int, ...]
    weights: tuple[int, ...]


def forward_loop(
    program: Program, inputs: InputSlots, saved: tuple[int, ...] = (), states: tuple[int, ...] = ()
) -> Loop:
    """The loop of a program. It writes the outputs, and `saved` slots and `states` for the loop backward."""
    writes = [Access("output", k, slot) for k, slot in enumerate(program.outputs)]
    writes += [Access("saved", k, slot) for k, slot in enumerate(saved)]
    writes += [Access("state", k, program.new_state[k]) for k in states if program.new_state[k] not in program.outputs]
    loop = Loop(
        program.slots,
        inputs.weights,
        inputs.constants,
        tuple(Access("x", k, slot) for k, slot in enumerate(inputs.x)),
        tuple(writes),
        tuple(zip(inputs.state, program.new_state, strict=True)),
    )
    return _assign_stages(loop, program.instructions, inputs.x, [w.slot for w in writes])


def plan(program: Program, inputs: InputSlots, wanted: Collection[int], recompute: bool) -> Plan:
    """The loops of a step of which the inputs in `wanted` get a gradient."""
    forward = forward_loop(program, inputs)
    if not wanted:
        return Plan(forward, forward, None, (), {})
    back = gradient(program, wanted, inputs.state)
    primal = back.instructions[: back.forward]
    rules = back.instructions[back.forward :]
    ends = [back.results[s] for s in (*wanted, *inputs.state) if s in back.results]
    needed = _dependencies(rules, ends)
    rules = [i for i in rules if not needed.isdisjoint(i.outputs)]
    read = {i for instruction in rules for i in instruction.inputs if type(i) is int} | set(ends)
    free = {*inputs.x, *inputs.state, *inputs.constants, *inputs.weights, *program.new_state, *program.outputs}
    saved, recomputed = _saved_and_recomputed(back.slots, primal, read, free, recompute)
    reads = _reads(program, inputs, back, [*recomputed, *rules], {*read, *saved}, saved)
    read_states = tuple(sorted({r.leaf for r in reads if r.role in ("state", "before")}))
    histories = {}
    for k in read_states:
        slot = program.new_state[k]
        kept = ("output", program.outputs.index(slot)) if slot in program.outputs else ("state", k)
        histories[k] = Access(*kept, slot)
    carried = tuple(k for k, seed in enumerate(back.of_new_state) if seed is not None)
    accumulated = tuple(k for k, slot in enumerate(inputs.constants) if slot in wanted and slot in back.results)
    loop = Loop(
        back.slots,
        inputs.weights,
        inputs.constants,
        tuple(reads),
        tuple(Access("d_x", k, back.results[s]) for k, s in enumerate(inputs.x) if s in wanted and s in back.results),
        tuple((back.of_new_state[k] or 0, back.results[inputs.state[k]]) for k in carried),
        accumulated=tuple(back.results[inputs.constants[k]] for k in accumulated),
        weight_cotangents=tuple(back.results.get(s) if s in wanted else None for s in inputs.weights),
    )
    per_step = [r.slot for r in reads]
    loop = _extract_outer_products(_assign_stages(loop, [*recomputed, *rules], per_step, ends))
    return Plan(
        forward, forward_loop(program, inputs, saved, read_states), loop, saved, histories, carried, accumulated
    )


def _reshapes(instruction: Instruction, slots: list[Slot]) -> bool:
    """Whether an instruction gives its input in another shape, every entry of it."""
    if instruction.op.name == "getitem":
        source = instruction.inputs[0]
        whole = type(source) is int and prod(slots[source].inner) == prod(slots[instruction.outputs[0]].inner)
        return whole and in_order(instruction.options["index"])
    return instruction.op.name in RESHAPES


def _saved_and_recomputed(
    slots: list[Slot], primal: list[Instruction], read: set[int], free: set[int], recompute: bool
) -> tuple[tuple[int, ...], list[Instruction]]:
    """Which slots of the forward program are saved for backward, and which of its instructions backward recomputes: products
    are never recomputed (unless all are), and what follows cheaply from what is saved is not saved."""
    made = {o: instruction for instruction in primal for o in instruction.outputs}
    for instruction in reversed(primal):  # of a value and the same in another shape, the value is kept
        if _reshapes(instruction, slots) and not read.isdisjoint(instruction.outputs):
            read = read | {i for i in instruction.inputs if type(i) is int}
    saved: set[int] = set()
    available = set(free)  # in backward, saved or recomputed
    cheap: set[int] = set()  # instructions by number
    for number, instruction in enumerate(primal):
        if recompute:
            continue
        inputs = [i for i in instruction.inputs if type(i) is int]
        if instruction.op.name not in PRODUCTS and all(i in available for i in inputs):
            available.update(instruction.outputs)
            cheap.add(number)
        else:
            kept = [o for o in instruction.outputs if o in read and o not in free]
            saved.update(kept)
            available.update(kept)
    if recompute:
        cheap = set(range(len(primal)))
    wanted = {s for s in read if s in made and s not in free and s not in saved}
    recomputed = []
    for number in range(len(primal) - 1, -1, -1):
        instruction = primal[number]
        if number in cheap and not wanted.isdisjoint(instruction.outputs):
            recomputed.append(instruction)
            wanted.update(
                i for i in instruction.inputs if type(i) is int and i in made and i not in free and i not in saved
            )
    return tuple(sorted(saved)), recomputed[::-1]


def _reads(
    program: Program,
    inputs: InputSlots,
    back: Gradient,
    instructions: list[Instruction],
    read: set[int],
    saved: tuple[int, ...],
) -> list[Access]:
    """The arrays over time that the loop backward reads."""
    made = {o for instruction in instructions for o in instruction.outputs}
    read = (read | {i for instruction in instructions for i in instruction.inputs if type(i) is int}) - made
    reads = [Access("x", k, slot) for k, slot in enumerate(inputs.x) if slot in read]
    reads += [Access("before", k, slot) for k, slot in enumerate(inputs.state) if slot in read]
    taken = {r.slot for r in reads} | {*inputs.constants, *saved}
    for k, slot in enumerate(program.outputs):
        if slot in read and slot not in taken:
            reads.append(Access("output", k, slot))
            taken.add(slot)
    for k, slot in enumerate(program.new_state):
        if slot in read and slot not in taken:
            reads.append(Access("state", k, slot))
            taken.add(slot)
    reads += [Access("saved", k, slot) for k, slot in enumerate(saved)]
    reads += [
        Access("d_output", k, slot) for k, slot in enumerate(back.of_outputs) if slot is not None and slot in read
    ]
    return reads


__all__ = [
    "Access",
    "InputSlots",
    "Loop",
    "Plan",
    "active_slots",
    "forward_loop",
    "hoist_weight_code",
    "plan",
    "reassociated",
]
