"""Checks of an op by its declaration: gradients on its samples, and errors for invalid calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

from ..autodiff.op import Op
from ..errors import GradcheckError
from .gradients import gradcheck
from .samples import Case, Sampler, as_case

NO_OPTION = "an_option_of_no_op"


class OpReport(NamedTuple):
    """The result for one op: "ok" or "WRONG" for each order; the largest error divided by its tolerance; failure reports."""

    op: str
    samples: int
    refusals: int
    orders: dict[int, str]
    worst: float
    ms: float
    reports: list[str]


def check_op(op: Op, orders: tuple[int, ...] = (1, 2), seed: int = 0) -> OpReport:
    """Check an op's gradients on all of its samples, and its errors; see `python -m tinygrad_rnn check`.

    >>> import tinygrad_rnn as tg
    >>> from tinygrad_rnn.check import check_op
    >>> check_op(tg.tanh).orders
    {1: 'ok', 2: 'ok'}
    """
    cases = [as_case(s) for s in op.samples(Sampler(seed))]
    reports: list[str] = []
    errors: list[float] = []
    verdicts, start = {}, perf_counter()
    for order in orders if op.differentiable else ():
        verdicts[order] = "ok"
        for case in cases:
            try:
                gradcheck(function_of(op, case), list(case.arrays), order=order, observe=errors.append)
            except GradcheckError as error:
                verdicts[order] = "WRONG"
                errors.append(float("inf"))
                reports.append(str(error))
    refusals = list(refused(op, seed))
    reports += [report for case, text in refusals if (report := wrong_error(op, case, text))]
    ms = 1e3 * (perf_counter() - start)
    return OpReport(op.name, len(cases), len(refusals), verdicts, max(errors, default=0.0), ms, reports)


def refused(op: Op, seed: int = 0) -> Iterator[tuple[Case, str]]:
    """Invalid calls of the op with the text of their errors: those of its declaration, and two for every op."""
    for case, text in op.errors(Sampler(seed)):
        yield as_case(case), text
    good = as_case(op.samples(Sampler(seed))[0])
    yield Case(good.arrays, {**good.options, NO_OPTION: 1}), f"got an option '{NO_OPTION}'"
    if not op.variadic:
        extra = len(op.inputs) + len(op.options) + 1
        yield Case((*good.arrays, *[1.0] * (extra - len(good.arrays))), {}), f"got {extra} positional arguments"


def wrong_error(op: Op, case: Case, text: str) -> str | None:
    """A report if the call does not raise an error that begins with the op's name and contains the text, else None."""
    shown = ", ".join([*(f"{a!r:.60}" for a in case.arrays), *(f"{k}={v!r:.40}" for k, v in case.options.items())])
    shown = re.sub(r"\s+", " ", shown)
    try:
        function_of(op, case)(*case.arrays)
    except (TypeError, ValueError, IndexError) as error:
        if str(error).startswith(f"{op.name}: ") and text in str(error):
            return None
        return (
            f"{op.name}({shown}): the error is {str(error)!r}, expected one that begins '{op.name}: ' and says {text!r}"
        )
    return f"{op.name}({shown}): no error, expected one that says {text!r}"


def function_of(op: Op, case: Case) -> Callable[..., Any]:
    """The op as a function of a sample's arrays, under its own name."""

    def call(*arrays: Any) -> Any:
        return op(list(arrays), **case.options) if op.variadic else op(*arrays, **case.options)

    call.__name__ = op.name
    return call
