"""What an op does to its data and how many floating point operations it takes: read by drawings and counts, by nothing
that computes.

Each op declares one of these with `primitive(work=…)`; a file of one family of ops names it once, as WORK. The bytes of
an op are those of its results, so their shapes say them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

from .node import Shape

Flops: TypeAlias = Callable[[Sequence[Shape], Sequence[Shape], dict[str, Any]], int]  # of inputs, results, options

# computes: new values. moves: the same values elsewhere, in another shape or dtype. selects: from several arrays by a
# condition. picks: part of an array by an index. gathers: entries by an array of indices. cuts and joins: an array along
# an axis into results, and back. concatenates: along an axis that stays. reverses: the rows of a sequence in time.
# contracts: sums of products along an axis.
Effect = Literal[
    "computes", "moves", "selects", "picks", "gathers", "cuts", "joins", "concatenates", "reverses", "contracts"
]


class Work(NamedTuple):
    """The floating point operations of an op's forward (exp, tanh or σ of one element counts as one) and its effect."""

    flops: Flops
    effect: Effect = "computes"


def per_result(count: int = 1, effect: Effect = "computes") -> Work:
    """`count` operations for each element of the first result.

    >>> per_result(2).flops([(3, 4), (4,)], [(3, 4)], {})
    24
    """
    return Work(lambda read, made, options: count * prod(made[0]), effect)


def per_input(count: int = 1) -> Work:
    """`count` operations for each element of the first input, as reductions have.

    >>> per_input(5).flops([(3, 4)], [(3,)], {})
    60
    """
    return Work(lambda read, made, options: count * prod(read[0]))


def per_matrix(count: Callable[[int, int, int], float]) -> Work:
    """`count(m, n, k)` operations for each matrix of the first input; m ≥ n: its sizes; k: the columns of the second one.

    >>> per_matrix(lambda m, n, k: n**3 / 3).flops([(2, 6, 6)], [(2, 6, 6)], {})
    144
    """

    def flops(read: Sequence[Shape], made: Sequence[Shape], options: dict[str, Any]) -> int:
        *batch, rows, columns = read[0]
        k = read[1][-1] if len(read) > 1 and len(read[1]) > 1 else 1
        return round(prod(batch) * count(max(rows, columns), min(rows, columns), k))

    return Work(flops)


MOVES = per_result(0, "moves")
UNDECLARED = per_result()  # what is assumed of an op of the user's own that declares nothing
