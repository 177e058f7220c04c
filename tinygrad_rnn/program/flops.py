"""The floating point operations of programs, from what their ops declare."""

from __future__ import annotations

import numpy as np

from .plan import Loop
from .program import Program


def flops(program: Program, loop: Loop, batch: int, total: int) -> int:
    """Operations of a program whose loop runs `total` rows and steps in all, and once for each of `batch` rows before it."""
    once = {o for instruction in loop.once for o in instruction.outputs}
    count = 0
    for instruction in program.instructions:
        read = [program.slots[i].inner if isinstance(i, int) else np.shape(i.value) for i in instruction.inputs]
        result = program.slots[instruction.outputs[0]]
        work = instruction.op.work
        each = work.flops([(1, *shape) for shape in read], [(1, *result.inner)], instruction.options)
        times = batch if instruction.outputs[0] in once else total
        count += each * (times if result.layout.per_row else 1)
    return count
