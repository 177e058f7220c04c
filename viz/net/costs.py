"""What an op costs: floating point operations by its name and shapes, one rule a line."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo
from tinygrad_rnn.autodiff.node import Shape

# fused sequences: gates, and element-wise operations for each unit and step (bias, sums, activations, the state)
SEQUENCES = {"rnn_sequence": (1, 3), "lstm_sequence": (4, 17), "gru_sequence": (3, 14)}
RESET_AFTER = 3  # further ones of a GRU with the reset gate after the product: a second bias

# operations for each element that is read; other reductions have 1
READ = {
    "softmax": 4, "log_softmax": 4, "logsumexp": 3, "mean": 1, "var": 4, "mse": 3,
    "softmax_cross_entropy": 5, "binary_cross_entropy_with_logits": 6,
}  # fmt: skip
FREE = frozenset({"shape", "index"})  # kinds of ops that only move numbers
FREE_OPS = frozenset({"where", "astype", "_identity"})


def flops(node: NodeInfo, graph: Graph, rows: int | None = None) -> int:
    """Floating point operations of one op's forward; an element's exp, tanh or σ counts as one.

    rows: for a fused sequence, how many steps its rows run in all; B T if it is not given.

    >>> import tinygrad_rnn as tg
    >>> graph = tg.snapshot(tg.Parameter([[1.0, 2.0]]) @ tg.Parameter([[1.0], [1.0]]))
    >>> flops(graph.nodes[-1], graph)
    4
    """
    if node.op is None:
        return 0
    read = [graph.nodes[s.id].shapes[s.output] for s in node.sources]
    if node.op in SEQUENCES:
        units, size = node.shapes[0][-1], read[0][-1]
        gates, each = SEQUENCES[node.op]
        each += RESET_AFTER if node.options.get("reset_after") else 0
        steps = math.prod(node.shapes[0][:-1]) if rows is None else rows
        return steps * (2 * (size + units) * gates * units + each * units)
    if node.op == "scan":
        return _of_scan(node.options["run"], rows)
    return _of_op(node.op, node.kind, node.options, read, node.shapes[0])


def _of_op(op: str, kind: str, options: dict[str, Any], read: list[Shape], shape: Shape) -> int:
    """Operations of one op by the shapes that it reads and makes."""
    if kind in FREE or op in FREE_OPS:
        return 0
    made = math.prod(shape)
    if op == "matmul":
        return 2 * made * read[0][-1]
    if op == "linear":
        return made * (2 * read[0][-1] + (len(read) == 3))
    if op == "product_of":
        terms = options["formula"].partition("->")[0].split(",")
        sizes = {
            letter: size
            for term, shape in zip(terms, read, strict=True)
            for letter, size in zip(term, shape, strict=True)
        }
        return len(terms) * math.prod(sizes.values())
    if kind in ("reduce", "loss"):
        return READ.get(op, 1) * math.prod(read[0])
    return made


def _of_scan(run: Any, rows: int | None) -> int:
    """Operations of a step's program over time: what has rows once for each row and step."""
    program, loop = run.loops.program, run.loops.plan.forward
    total = run.batch * run.steps if rows is None else rows
    once = {o for instruction in loop.once for o in instruction.outputs}
    count = 0
    for instruction in program.instructions:
        read = [program.slots[i].inner if type(i) is int else np.shape(i.value) for i in instruction.inputs]
        result = program.slots[instruction.outputs[0]]
        op = instruction.op
        each = _of_op(op.name, op.kind, instruction.options, [(1, *s) for s in read], (1, *result.inner))
        times = run.batch if instruction.outputs[0] in once else total
        count += each * (times if result.layout.per else 1)
    return count


def counted(number: float, unit: str) -> str:
    """
    >>> counted(96, "B"), counted(4096, "B"), counted(12_300_000, "flop")
    ('96 B', '4.1 kB', '12.3 Mflop')
    """
    for power, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= power:
            return f"{number / power:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def lasted(seconds: float) -> str:
    """
    >>> lasted(1.3e-6), lasted(1e-4), lasted(0.0214), lasted(3)
    ('1.3 µs', '100 µs', '21 ms', '3 s')
    """
    power, unit = next(((p, u) for p, u in ((1.0, "s"), (1e-3, "ms")) if seconds >= p * 0.9995), (1e-6, "µs"))
    return f"{float(f'{seconds / power:.2g}'):g} {unit}"
