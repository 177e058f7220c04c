"""Check every op's first and second derivatives against finite differences, and its errors, on this machine.

Each op runs on the random samples of its declaration, with the kernels of this installation. "error/limit" is its largest
error divided by the tolerance: at most 1 for a correct derivative, far above it for a wrong one. "refusals" are invalid
calls, for which the op must raise an error that names it and the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from .. import kernels
from ..autodiff.op import Op, operations
from ..check.ops import OpReport, check_op
from . import Usage, near

HEADING = "samples  order 1  order 2  error/limit  refusals      ms"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own arguments."""
    parser.add_argument("--op", action="append", metavar="NAME", help="only this op; may be given several times")
    parser.add_argument("--order", type=int, choices=(1, 2), help="only first or only second derivatives")
    parser.add_argument("--seed", type=int, default=0, help="of the random samples (default: 0)")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(options: argparse.Namespace) -> int:
    """Check and print a table, row by row; 1 if a gradient or an error is wrong."""
    chosen = _chosen(options.op)
    orders = (options.order,) if options.order else (1, 2)
    results = (check_op(op, orders, options.seed) for op in chosen)
    reports = list(results) if options.json else list(_shown(results, chosen, orders))
    failed = [r for r in reports if r.reports]
    if options.json:
        rows = [{**r._asdict(), "worst": None if r.reports else r.worst} for r in reports]
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


def _shown(results: Iterator[OpReport], chosen: list[Op], orders: tuple[int, ...]) -> Iterator[OpReport]:
    """Yield the results, printing each, then print a summary."""
    width = max(len(op.name) for op in chosen)
    info = kernels.info()
    print(f"fused ops run on {info['implementation']} kernels" + (f" ({info['isa']})" if info["isa"] else ""))
    print(f"{'op':<{width}}  {HEADING}")
    done: list[OpReport] = []
    for r in results:
        cells = [
            f"{r.samples:>7}",
            *(f"{r.orders.get(order, '-'):>7}" for order in (1, 2)),
            f"{r.worst:>11.2g}",
            f"{r.refusals:>8}",
        ]
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
