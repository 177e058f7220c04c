"""Running a step on stand-ins and recording its ops: `trace` returns a Program. Two traces on batches of different size
and values must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autodiff.rows import NO_ROWS, Layout, Rows
from ..autodiff.state import Ambient, ambient
from ..autodiff.steps import fields_of
from ..autodiff.tensor import Tensor
from .environment import Environment, where
from .naming import enclosed
from .program import Literal, Program
from .tracer import Traced, Tracer, Untraceable, is_user_file
from .tree import Hidden, Signature, form, leaves, rebuilt

BATCHES = (5, 7)  # of the two traces; the second uses the current batch size if it differs and is at least 2


def _line_of(error: BaseException) -> str:
    """The file and line of the user's code from which an error came."""
    from traceback import extract_tb  # slow to import

    lines = [f for f in extract_tb(error.__traceback__) if is_user_file(f.filename)]
    return f"{lines[-1].filename}:{lines[-1].lineno}" if lines else ""


def trace(step: Callable[..., Any], environment: Environment, signature: Signature, batch: int) -> tuple[Program, int]:
    """The program of a step, from two traces that agree, and the batch size of the second one, which is `batch` if
    possible. Raises Untraceable with the reason."""
    other = batch if batch >= 2 and batch != BATCHES[0] else BATCHES[1]
    first, second = (trace_once(step, environment, signature, n) for n in (BATCHES[0], other))
    difference = _difference(first, second)
    if difference:
        raise Untraceable(f"{difference} ({where(step)})" if ".py:" not in difference else difference)
    return first.without_dead_code(), other


def verify(
    program: Program, step: Callable[..., Any], environment: Environment, signature: Signature, batch: int
) -> None:
    """Raise Untraceable if the step runs other ops on a batch of this size."""
    difference = _difference(program, trace_once(step, environment, signature, batch).without_dead_code())
    if difference:
        raise Untraceable(f"{difference} on a batch of {batch}")


def trace_once(step: Callable[..., Any], environment: Environment, signature: Signature, batch: int) -> Program:
    """One trace, on a batch of this size."""
    tracer = Tracer(batch)
    rng = np.random.default_rng(batch)

    def row_leaf(hidden: Hidden) -> Traced:
        spec = hidden.spec
        value = (
            rng.normal(size=(batch, *spec.shape))
            if spec.dtype.kind == "f"
            else rng.integers(2, size=(batch, *spec.shape))
        )
        return tracer.stand_in(value.astype(spec.dtype), Layout(1), spec.needs)

    def captured(number: int, array: Any) -> Traced:
        value = array.data if isinstance(array, Tensor) else array
        t = tracer.stand_in(value, NO_ROWS, isinstance(array, Tensor) and array.requires_grad)
        if isinstance(array, Tensor):
            tracer.types[t.number] = type(array)
        else:
            tracer.ndarray_slots.add(t.number)
        tracer.known[id(array)] = t
        captures.append((t.number, number))
        return t

    captures: list[tuple[int, int]] = []
    trees = [signature.x, signature.state, *signature.constants]
    args = [rebuilt(tree, map(row_leaf, leaves(tree))) for tree in trees]
    inputs = tuple(range(len(tracer.slots)))
    copy, changed = environment.copied(step, captured)
    outside = ambient.get()
    token = ambient.set(Ambient(True, outside.scope, outside.training, tracer))
    refusal: Untraceable | None = None
    try:
        with np.errstate(all="ignore"):
            result = copy(*args)
    except Untraceable as error:
        refusal = error
    except Exception as error:
        line = _line_of(error)
        refusal = Untraceable(
            f"the step fails on a batch of {batch} rows ({line or where(step)}): {type(error).__name__}: {error}; "
            "arrays with a row for each of the batch go in inputs or constants"
        )
    finally:
        ambient.reset(token)
        what = changed()
    if what is not None:
        refusal = Untraceable(f"the step changes {what} ({where(step)})")
    refusal = tracer.refusal or refusal
    if refusal is not None:
        raise refusal from None
    try:
        return _program(tracer, inputs, captures, result, signature)
    except Untraceable as error:
        raise Untraceable(f"{error} ({where(step)})") from None


def _program(
    tracer: Tracer, inputs: tuple[int, ...], captures: list[tuple[int, int]], result: Any, signature: Signature
) -> Program:
    """The recorded program, after a check of the step's result."""
    if not isinstance(result, tuple) or len(result) != 2:
        raise Untraceable(f"the step returns {type(result).__name__}, expected the pair (output, new state)")
    output, state = result
    if form(state, []) != form(signature.state, []):
        raise Untraceable("the new state has another structure than the state")
    numbers = []
    for leaf, part in [*((v, "output") for v in leaves(output)), *((v, "new state") for v in leaves(state))]:
        if not isinstance(leaf, Traced) or tracer.slots[leaf.number].layout != Layout(1):
            raise Untraceable(f"a part of the step's {part} does not come from its inputs")
        numbers.append(leaf.number)
    n = len(list(leaves(output)))
    for leaf, wanted in zip(numbers[n:], leaves(signature.state), strict=True):
        slot = tracer.slots[leaf]
        if slot.shape[1:] != wanted.spec.shape or slot.dtype != wanted.spec.dtype:
            raise Untraceable(
                f"the new state has shape (batch, {', '.join(map(str, slot.shape[1:]))}) and dtype {slot.dtype}, the state "
                f"(batch, {', '.join(map(str, wanted.spec.shape))}) and {wanted.spec.dtype}"
            )
    program = Program(
        tracer.slots, tracer.instructions, inputs, tuple(captures), tuple(numbers[:n]), tuple(numbers[n:]), tracer.names,
        rebuilt(output, iter(numbers[:n])), fields=tuple(fields_of(state)),
    )  # fmt: skip
    return program._replace(instructions=enclosed(program))


def _difference(a: Program, b: Program) -> str | None:
    """How two traces differ; None if they are one program."""
    for one, other in zip(a.instructions, b.instructions, strict=False):
        where = f" ({one.line})" if one.line else ""
        if one.op is not other.op:
            return f"the step runs {one.op.name} on one batch and {other.op.name} on another{where}"
        if not all(map(_same, one.inputs, other.inputs)):
            return f"a constant of the step's {one.op.name} depends on the batch{where}"
        if not _same(one.options, other.options):
            return f"an option of the step's {one.op.name} depends on the batch{where}"
        for s, t in zip(one.outputs, other.outputs, strict=True):
            if (
                a.slots[s].layout != b.slots[t].layout
                or a.slots[s].inner != b.slots[t].inner
                or a.slots[s].dtype != b.slots[t].dtype
            ):
                return f"the result of the step's {one.op.name} depends on the batch{where}"
    if len(a.instructions) != len(b.instructions) or a.outputs != b.outputs or a.new_state != b.new_state:
        return "the step runs other ops on a batch of another size"
    return None


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Literal) and isinstance(b, Literal):
        a, b = a.value, b.value
    if isinstance(a, Rows) or isinstance(b, Rows):
        return isinstance(a, Rows) and isinstance(b, Rows) and a.per_row == b.per_row
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    return bool(a == b)
