"""Comparison of vector-Jacobian products with finite differences, and the report if they differ.

Random projections are compared first: they are cheap, and a wrong element changes them with probability 1. On a mismatch
every element of that input is compared, and the worst are located output by output.

Differences are central, at steps h and h/2, extrapolated to h → 0 [Richardson 1911]; in float64 they have about eleven
correct digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..errors import GradcheckError
from .report import Mismatch, Report, index_text, likely_cause

Arrays = list[np.ndarray[Any, Any]]


class Problem(NamedTuple):
    """The function to check: its values (`evaluate`), and the vector-Jacobian products under test (`pull`)."""

    name: str
    order: int
    inputs: list[str]
    points: Arrays
    evaluate: Callable[[Arrays], Arrays]
    pull: Callable[[Arrays, Arrays], Arrays]
    outputs: list[str]
    eps: float
    rtol: float
    atol: float


def compare(p: Problem, rng: np.random.Generator, directions: int) -> float:
    """The largest error along random directions, divided by the tolerance; GradcheckError if one exceeds it."""
    worst = 0.0
    shapes = [v.shape for v in p.evaluate(p.points)]
    for _ in range(directions):
        u = [rng.normal(size=s) for s in shapes]
        gradients = p.pull(p.points, u)
        for k, point in enumerate(p.points):
            v = np.asarray(rng.normal(size=point.shape))
            analytic = float(np.sum(gradients[k] * v))
            numeric = float(_dot(u, _difference(p, k, v)))
            scale = float(np.sum(np.abs(gradients[k] * v)))
            error = abs(analytic - numeric)
            tolerance = p.atol + p.rtol * max(abs(numeric), min(scale, 1e3 * abs(numeric)))
            if not error <= tolerance:
                _locate(p, k, u, gradients[k], analytic, numeric, v)
            worst = max(worst, error / (tolerance or 1))
    return worst


def _difference(p: Problem, k: int, v: np.ndarray[Any, Any], side: int = 0) -> Arrays:
    """The derivative of each output along v in input k; side ±1: one-sided, to detect kinks."""

    def at(step: float) -> Arrays:
        moved = list(p.points)
        moved[k] = moved[k] + step * v
        return p.evaluate(moved)

    if side:
        base = p.evaluate(p.points)
        full, half = at(side * p.eps), at(side * p.eps / 2)
        return [side * (4 * (b - a) - (c - a)) / p.eps for a, b, c in zip(base, half, full, strict=True)]
    ahead, behind, near_ahead, near_behind = at(p.eps), at(-p.eps), at(p.eps / 2), at(-p.eps / 2)
    return [
        (8 * (b - c) - (a - d)) / (6 * p.eps) for a, b, c, d in zip(ahead, near_ahead, near_behind, behind, strict=True)
    ]


def _dot(a: Arrays, b: Arrays) -> Any:
    return sum(np.sum(x * y) for x, y in zip(a, b, strict=True))


def _locate(
    p: Problem,
    k: int,
    u: Arrays,
    analytic: np.ndarray[Any, Any],
    projected: float,
    expected: float,
    v: np.ndarray[Any, Any],
) -> None:
    """Compare every element of input k, then the worst output by output, and raise GradcheckError."""
    size = p.points[k].size
    if analytic.shape != p.points[k].shape:
        raise GradcheckError(
            f"gradcheck: {p.name}: the gradient for {p.inputs[k]} has shape {analytic.shape}, expected {p.points[k].shape}"
        )
    columns = [_difference(p, k, _unit(p.points[k].shape, i)) for i in range(size)]
    numeric = np.array([_dot(u, c) for c in columns]).reshape(analytic.shape)
    error = np.abs(analytic - numeric)
    bad = ~(error <= p.atol + p.rtol * np.abs(numeric))
    if not bad.any():  # only the projection differs: rounding errors, or a kink within its step
        bad = error == error.max()
    order = sorted(np.flatnonzero(bad), key=lambda i: -np.nan_to_num(error.flat[i], nan=np.inf))
    worst = [
        _by_output(p, k, int(i), columns[int(i)]) or _projected(p, k, int(i), analytic, numeric) for i in order[:5]
    ]
    cause = _kink(p, k, int(order[0]), columns[int(order[0])]) or likely_cause(analytic, numeric)
    report = Report(p.name, p.order, p.inputs[k], p.points[k].shape, int(bad.sum()), tuple(worst), cause)
    raise GradcheckError(str(report), report)


def _projected(p: Problem, k: int, i: int, analytic: Any, numeric: Any) -> Mismatch:
    index = tuple(int(j) for j in np.unravel_index(i, analytic.shape))
    return Mismatch("random projection", None, p.inputs[k], index, float(analytic.flat[i]), float(numeric.flat[i]))


def _by_output(p: Problem, k: int, i: int, column: Arrays, limit: int = 400) -> Mismatch | None:
    """The output element whose derivative with respect to element i of input k has the largest error; None if there are
    more than `limit` outputs."""
    if sum(c.size for c in column) > limit:
        return None
    index = tuple(int(j) for j in np.unravel_index(i, p.points[k].shape))
    worst: Mismatch | None = None
    for o, c in enumerate(column):
        for j in range(c.size):
            basis = [np.zeros(x.shape) for x in column]
            basis[o].flat[j] = 1
            analytic = float(p.pull(p.points, basis)[k].flat[i])
            numeric = float(c.flat[j])
            if worst is None or not abs(analytic - numeric) <= abs(worst.analytic - worst.numeric):
                at = tuple(int(n) for n in np.unravel_index(j, c.shape))
                worst = Mismatch(p.outputs[o], at, p.inputs[k], index, analytic, numeric)
    return worst


def _kink(p: Problem, k: int, i: int, column: Arrays) -> str | None:
    unit = _unit(p.points[k].shape, i)
    right, left = _difference(p, k, unit, 1), _difference(p, k, unit, -1)
    gap = max((float(np.max(np.abs(r - s), initial=0)) for r, s in zip(right, left, strict=True)), default=0.0)
    size = max((float(np.max(np.abs(c), initial=0)) for c in column), default=0.0)
    if gap > 1e-3 * (1e-3 + size):
        index = tuple(int(j) for j in np.unravel_index(i, p.points[k].shape))
        return (
            f"a kink or jump within {p.eps:g} of {p.inputs[k]}{index_text(index)} = {p.points[k].flat[i]:.6g}: the derivatives "
            "from the left and from the right differ; check at another point"
        )
    return None


def _unit(shape: tuple[int, ...], i: int) -> np.ndarray[Any, Any]:
    v = np.zeros(shape)
    v.flat[i] = 1
    return v
