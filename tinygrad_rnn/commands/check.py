"""Every op's gradients against finite differences, of the first and the second order, on this machine.

Each op runs on the random samples that it was declared with, and on the kernels that run here. "error/limit" is its worst
error as a part of what is tolerated: 1 would be just about right, a wrong derivative is far above it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

from .. import kernels
from ..autodiff.gradcheck import gradcheck
from ..autodiff.op import Op, operations
from ..autodiff.sample import Case, Sampler, as_case
from ..errors import GradcheckError
from . import Usage, near

HEADING = "samples  order 1  order 2  error/limit      ms"


class Result(NamedTuple):
    """How an op did: per order "ok" or "WRONG"; the worst error as a part of what is tolerated; the failures' reports."""

    op: str
    samples: int
    orders: dict[int, str]
    worst: float
    ms: float
    reports: list[str]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--op", action="append", metavar="NAME", help="only this op; may be given several times")
    parser.add_argument("--order", type=int, choices=(1, 2), help="only first or only second derivatives")
    parser.add_argument("--seed", type=int, default=0, help="of the random samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Check and print a table, a row as each op is done; 1 if a gradient is wrong."""
    chosen = _chosen(options.op)
    orders = (options.order,) if options.order else (1, 2)
    results = (_check(op, orders, options.seed) for op in chosen)
    found = list(results) if options.json else list(_shown(results, chosen, orders))
    failed = [r for r in found if r.reports]
    if options.json:
        rows = [{**r._asdict(), "worst": None if r.reports else r.worst} for r in found]
        print(json.dumps({"kernels": kernels.info(), "seed": options.seed, "ops": rows, "failed": len(failed)}))
    for result in failed:
        print("\n" + "\n\n".join(result.reports), file=sys.stderr)
    return 1 if failed else 0


def _chosen(names: list[str] | None) -> list[Op]:
    known = {op.name: op for op in operations() if op.differentiable}
    for name in names or ():
        if name not in known:
            raise Usage(
                f"there is no op {name!r} with a gradient; check without --op lists them all{near(name, known)}"
            )
    return [known[name] for name in dict.fromkeys(names)] if names else list(known.values())


def _check(op: Op, orders: tuple[int, ...], seed: int) -> Result:
    """One op on all of its samples."""
    cases = [as_case(s) for s in op.samples(Sampler(seed))]
    reports: list[str] = []
    errors: list[float] = []
    told, start = {}, perf_counter()
    for order in orders:
        told[order] = "ok"
        for case in cases:
            try:
                gradcheck(_function(op, case), list(case.arrays), order=order, observe=errors.append)
            except GradcheckError as error:
                told[order] = "WRONG"
                errors.append(float("inf"))
                reports.append(str(error))
    return Result(op.name, len(cases), told, max(errors, default=0.0), 1e3 * (perf_counter() - start), reports)


def _function(op: Op, case: Case) -> Callable[..., Any]:
    """The op as a function of a sample's arrays, under its own name."""

    def call(*arrays: Any) -> Any:
        return op(list(arrays), **case.options) if op.variadic else op(*arrays, **case.options)

    call.__name__ = op.name
    return call


def _shown(results: Iterator[Result], chosen: list[Op], orders: tuple[int, ...]) -> Iterator[Result]:
    """The results, each printed as it comes, and a last line that sums them up."""
    width = max(len(op.name) for op in chosen)
    found = kernels.info()
    print(f"fused ops run on {found['implementation']} kernels" + (f" ({found['isa']})" if found["isa"] else ""))
    print(f"{'op':<{width}}  {HEADING}")
    done: list[Result] = []
    for r in results:
        cells = [f"{r.samples:>7}", *(f"{r.orders.get(order, '-'):>7}" for order in (1, 2)), f"{r.worst:>11.2g}"]
        print(f"{r.op:<{width}}  {'  '.join(cells)}  {r.ms:>6.0f}", flush=True)
        done.append(r)
        yield r
    wrong = [r.op for r in done if r.reports]
    worst = max(done, key=lambda r: r.worst)
    verdict = (
        f"{len(wrong)} wrong: {', '.join(wrong)}"
        if wrong
        else f"all right, the worst is {worst.op} ({worst.worst:.2g})"
    )
    print(f"{len(done)} ops, {sum(r.samples for r in done)} samples, order {' and '.join(map(str, orders))}: {verdict}")
