"""The op `fused`: a chain of elementwise and row-wise ops as one node."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Array
from ..autodiff.op import primitive
from ..autodiff.work import Work
from ..ops import reshape
from .flops import flops
from .node import Loops, Scan, apply
from .node import scan as scan_op
from .samples import fusions


class Fused(NamedTuple):
    """One run of a chain: its loops, the axes that are rows, and the shape of what a row of each array holds."""

    loops: Loops
    leading: tuple[int, ...]
    inner: tuple[tuple[int, ...], ...]

    @property
    def scan(self) -> Scan:
        """The rows as a batch that makes one step."""
        return Scan(self.loops, prod(self.leading), 1, name="fused")

    def flat(self, arrays: Any) -> list[Array]:
        """The op's arrays as those of the scan: rows (N, 1, ·), then what has no rows."""
        n = prod(self.leading)
        rows = [np.reshape(a, (n, 1, *inner)) for a, inner in zip(arrays, self.inner, strict=False)]
        return [*rows, *arrays[len(rows) :]]

    def __repr__(self) -> str:
        return f"<fused over {prod(self.leading)} rows>"


def _flops(read: Any, made: Any, options: dict[str, Any]) -> int:
    run: Fused = options["run"]
    rows = prod(run.leading)
    return flops(run.loops.program, run.loops.plan.forward, rows, rows)


@primitive(
    label="fused",
    work=Work(_flops),
    several=True,
    converts=False,
    materialize_grads=False,
    samples=lambda r: fusions(r),
)
def fused(*arrays: Array, run: Fused, keep: bool = False) -> Any:
    """A chain of ops on rows in one node. arrays: those with rows, then weights."""
    outcome = scan_op.forward(*run.flat(arrays), run=run.scan, keep=keep)
    results, saved = outcome if keep else (outcome, None)
    shaped = tuple([r.reshape(*run.leading, *r.shape[2:]) for r in results])
    return (shaped, saved) if keep else shaped


@fused.vjp
def _(g: Any, shapes: Any, residuals: Any, *arrays: Array, run: Fused) -> Any:
    n, skip = prod(run.leading), len(run.leading)
    gs = [None if one is None else np.reshape(one, (n, 1, *one.shape[skip:])) for one in g]
    grads = scan_op.rule(gs, residuals, *run.flat(arrays), run=run.scan)
    return [None if d is None else np.reshape(d, shape) for d, shape in zip(grads, shapes, strict=True)]


@fused.expands
def _(*arrays: Array, run: Fused) -> Any:
    loops, n = run.loops, prod(run.leading)
    inputs = [*loops.inputs.x, *loops.inputs.weights]
    rows = [reshape(a, shape=(n, *inner)) for a, inner in zip(arrays, run.inner, strict=False)]
    registers: dict[int, Any] = dict(zip(inputs, [*rows, *arrays[len(rows) :]], strict=True))
    for instruction in loops.program.instructions:
        apply(instruction, registers, n)
    made = [registers[slot] for slot in loops.program.outputs]
    return tuple([reshape(m, shape=(*run.leading, *m.shape[1:])) for m in made])


__all__ = ["Fused", "fused"]
