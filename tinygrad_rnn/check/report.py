"""The report of a failed gradient check: the derivatives that differ, and a likely cause."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autodiff.node import Shape


class Mismatch(NamedTuple):
    """One derivative that differs: d output[output_index] / d input[input_index] (output_index None: a projection)."""

    output: str
    output_index: tuple[int, ...] | None
    input: str
    input_index: tuple[int, ...]
    analytic: float
    numeric: float

    @property
    def ratio(self) -> float:
        """analytic / numeric: −1 means a wrong sign, 2 a term counted twice."""
        return self.analytic / self.numeric if self.numeric else float("inf") if self.analytic else 1.0


class Report(NamedTuple):
    """A failed check: the function, the order, the input, its number of wrong elements, the worst of them, the cause."""

    function: str
    order: int
    input: str
    shape: Shape
    wrong: int
    worst: tuple[Mismatch, ...]
    cause: str | None

    def __str__(self) -> str:
        what = "gradient" if self.order == 1 else "second derivative"
        size = int(np.prod(self.shape))
        first = self.worst[0]
        lines = [
            f"gradcheck: {self.function}: the {what} of {first.output} with respect to {self.input} {self.shape} is wrong "
            f"in {self.wrong} of {size} elements"
        ]
        if self.cause:
            lines.append(f"likely cause: {self.cause}")
        lines.append(f"  {'derivative':<44}{'analytic':>16}{'numeric':>16}{'ratio':>10}")
        for m in self.worst:
            of = m.output if m.output_index is None else f"{m.output}{index_text(m.output_index)}"
            by = f"{m.input}{index_text(m.input_index)}"
            lines.append(f"  {f'd {of} / d {by}':<44}{m.analytic:>16.8g}{m.numeric:>16.8g}{m.ratio:>10.4g}")
        return "\n".join(lines)


def likely_cause(analytic: np.ndarray[Any, Any], numeric: np.ndarray[Any, Any]) -> str | None:
    """The likely cause of a wrong gradient, from the pattern of its errors; None if there is none."""

    def close(a: Any, b: Any) -> bool:
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-7))

    if np.isnan(analytic).any():
        return "the gradient holds NaN (0·∞ or 0/0 in the vjp?)"
    if close(analytic, 0 * numeric):
        return "no gradient arrives: the path is cut (.detach(), .data, no_grad), or the vjp returns zeros"
    if close(analytic, -numeric):
        return "the sign is flipped"
    factor = float(np.sum(analytic * numeric) / max(float(np.sum(numeric * numeric)), 1e-300))
    if close(analytic, factor * numeric):
        return f"every element is off by the factor {factor:.6g}{_factor(factor, analytic.shape)}"
    if numeric.ndim == 2 and numeric.shape[0] == numeric.shape[1] and close(analytic, numeric.T):
        return "the gradient is transposed"
    for axis in range(numeric.ndim):
        if numeric.shape[axis] > 1 and close(analytic, np.flip(numeric, axis)):
            return f"the gradient is reversed along axis {axis}"
        summed = analytic.sum(axis=axis, keepdims=True)
        if numeric.shape[axis] > 1 and close(numeric, np.broadcast_to(summed, numeric.shape)):
            return f"a reduction over axis {axis} is missing"
    return None


def _factor(factor: float, shape: Shape) -> str:
    for n in (2, 3, 4, *shape):
        if n > 1 and abs(factor - n) < 1e-4 * n:
            return f" (counted {n} times?)"
        if n > 1 and abs(factor * n - 1) < 1e-4:
            return f" (divided by {n}?)"
    return ""


def index_text(index: tuple[int, ...]) -> str:
    """An index as text, "[1, 2]"; "" for a scalar."""
    return f"[{', '.join(map(str, index))}]" if index else ""
