"""Every op of the registry as a step, on each of its samples, whichever of its inputs have rows: fused as unrolled, or
refused; and its vjp, traced on batches of two sizes, is one program."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scan_cases import ScanCase, compare_with_unrolled

import tinygrad_rnn as tg
from tinygrad_rnn.autodiff.rows import Rows
from tinygrad_rnn.check.samples import Case, Sampler, as_case
from tinygrad_rnn.program.environment import Environment
from tinygrad_rnn.program.gradient import gradient
from tinygrad_rnn.program.program import Literal
from tinygrad_rnn.program.trace import trace
from tinygrad_rnn.program.tracer import Untraceable
from tinygrad_rnn.program.tree import Hidden, Signature, Spec

OPS = {op.name: op for op in tg.operations() if op.rows is not None}
MORE: dict[str, list[Case]] = {  # calls that keep rows, of ops whose samples have none
    "transpose": [Case((np.arange(24.0).reshape(2, 3, 4),), {"axes": (0, 2, 1)})],
    "swapaxes": [Case((np.arange(24.0).reshape(2, 3, 4),), {"axis1": 1, "axis2": 2})],
    "expand_dims": [Case((np.arange(6.0).reshape(2, 3),), {"axis": 1})],
    "squeeze": [Case((np.arange(6.0).reshape(2, 1, 3),), {"axis": 1})],
    "pad": [Case((np.arange(6.0).reshape(2, 3),), {"width": ((0, 0), (1, 2))})],
    "flip": [Case((np.arange(6.0).reshape(2, 3),), {"axis": 1})],
    "concatenate": [Case((np.arange(6.0).reshape(2, 3), np.arange(2.0).reshape(2, 1)), {"axis": 1})],
    "getitem": [
        Case((np.arange(6.0).reshape(2, 3),), {"index": (slice(None), i)}) for i in (0, [2, 0, 2], slice(1, 3))
    ],
    "cumsum": [Case((np.arange(6.0).reshape(2, 3),), {"axis": 1})],
}
BY_SHAPE = {  # ops that get a shape: as a step would write them
    "reshape": lambda x: tg.reshape(x, (x.shape[0], -1)),
    "broadcast_to": lambda x: tg.broadcast_to(x[:, :1], (x.shape[0], 3)),
    "scatter_add": lambda x: tg.ops.scatter_add(x, index=(slice(None), [0, 2, 2]), shape=(x.shape[0], 4)),
}


def samples(name: str, t: int) -> list[Case]:
    return [as_case(s) for s in OPS[name].samples(Sampler(t))] + MORE.get(name, [])


def calls(name: str) -> list[tuple[int, tuple[int, ...]]]:
    """Samples, each with the inputs that have rows."""
    pairs = []
    for i, case in enumerate(samples(name, 0)):
        arrays = [k for k, a in enumerate(case.arrays) if isinstance(a, np.ndarray) and a.ndim and a.shape[0]]
        subsets = (c for n in range(1, len(arrays) + 1) for c in itertools.combinations(arrays, n))
        pairs += [(i, c) for c in subsets if len({case.arrays[k].shape[0] for k in c}) == 1]
    return pairs


def stepping(name: str, i: int, rows: tuple[int, ...]) -> tuple[Any, tuple[np.ndarray, ...], list[Any]]:
    """The op as a step, the arrays over time that it gets, and the other arrays, which it captures."""
    op, drawn = OPS[name], [samples(name, t)[i] for t in range(2)]
    case = drawn[0]
    floats = [
        isinstance(a, np.ndarray) and a.dtype.kind == "f" and k not in op.constants for k, a in enumerate(case.arrays)
    ]
    captured = [
        tg.tensor(a, requires_grad=floats[k]) if isinstance(a, np.ndarray) and k not in rows else a
        for k, a in enumerate(case.arrays)
    ]
    options = case.options

    def step(x, state):
        args = [x[rows.index(k)] if k in rows else a for k, a in enumerate(captured)]
        if name in BY_SHAPE:
            out = BY_SHAPE[name](args[0])
        else:
            out = op(args, **options) if op.variadic else op(*args, **options)
        return out, state

    xs = tuple(np.stack([c.arrays[k] for c in drawn], axis=1) for k in rows)
    return (
        step,
        xs,
        [a for k, a in enumerate(captured) if isinstance(a, tg.autodiff.tensor.Tensor) and floats[k] and k not in rows],
    )


def scan_case(name: str, i: int, rows: tuple[int, ...], batch: int | None = None) -> ScanCase:
    step, xs, captured = stepping(name, i, rows)
    x = tuple(tg.tensor(a[:batch], requires_grad=a.dtype.kind == "f") for a in xs)
    return ScanCase(step, x, tg.tensor(np.zeros((len(xs[0][:batch]), 1))), weights=lambda: captured)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", OPS)
def test_a_row_alone_gives_the_numbers_it_has_in_a_batch(name):
    paths = set()
    for i, rows in calls(name):
        for batch in (None, 1):
            if not runs(name, i, rows, batch):
                continue
            paths |= {
                path
                for path, _ in compare_with_unrolled(lambda i=i, r=rows, b=batch: scan_case(name, i, r, b), calls=1)
            }
    assert "fused" in paths, "no sample of this op keeps rows"


def runs(name: str, i: int, rows: tuple[int, ...], batch: int | None) -> bool:
    """Whether the op's result has a row for each of the batch, so that it can be a step's output."""
    w = scan_case(name, i, rows, batch)
    try:
        tg.scan(w.step, w.x, w.state, impl="unrolled")
    except (ValueError, TypeError, IndexError):
        return False
    return True


def shown(value: Any) -> Any:
    """A part of a program with multiples of the batch in place of sizes."""
    if isinstance(value, Literal):
        return shown(value.value)
    if isinstance(value, Rows):
        return f"{value.per_row} rows"
    if isinstance(value, (tuple, list)):
        return tuple(map(shown, value))
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.differentiable])
def test_vjps_give_one_program_whatever_the_batch(name):
    programs = 0
    for i, rows in calls(name):
        step, xs, _ = stepping(name, i, rows)
        x = tuple(Hidden(Spec(a.shape[2:], a.dtype, a.dtype.kind == "f")) for a in xs)
        try:
            signature = Signature(x, Hidden(Spec((1,), np.dtype(float), False)), ())
            program, _ = trace(step, Environment(step), signature, 0)
        except Untraceable:
            continue
        leaf = [s for s, a in zip(program.inputs, xs, strict=False) if a.dtype.kind == "f"]
        leaf += [s for s, _ in program.captured]
        if any(0 in np.shape(a) for a in samples(name, 0)[i].arrays):
            continue
        backs = [gradient(program, leaf, program.inputs[len(xs) :][:1], batch) for batch in (2, 5, 7)]
        one, *others = [
            [
                (b.op.name, shown(b.inputs), shown(b.options), [shown(g.slots[o].shape) for o in b.outputs])
                for b in g.instructions
            ]
            for g in backs
        ]
        for other in others:
            np.testing.assert_equal(other, one)
        programs += 1
    assert programs, "no sample of this op keeps rows"
