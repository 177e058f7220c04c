"""Gradient checks against finite differences, with a report that says what is wrong and where.

A check first compares projections along random directions: cheap, and no wrong element hides from them. On a mismatch
every element of the input at fault is compared, the worst are tabulated, and the pattern of the error is named where it
has one (a sign, a factor, a transpose, a missing reduction, a kink).

Finite differences are central, at steps h and h/2, extrapolated to h → 0 [Richardson 1911]; in float64 they hold some
eleven digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..errors import GradcheckError
from . import engine
from .graph import flat_tensors
from .node import Shape
from .state import recording
from .tensor import Tensor

Arrays = list[np.ndarray[Any, Any]]


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
        """analytic / numeric: −1 tells of a sign, 2 of something counted twice."""
        return self.analytic / self.numeric if self.numeric else float("inf") if self.analytic else 1.0


class Report(NamedTuple):
    """What a failed check found: the function, the order, the input at fault, the worst elements, the likely cause."""

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
            of = m.output if m.output_index is None else f"{m.output}{_index(m.output_index)}"
            by = f"{m.input}{_index(m.input_index)}"
            lines.append(f"  {f'd {of} / d {by}':<44}{m.analytic:>16.8g}{m.numeric:>16.8g}{m.ratio:>10.4g}")
        return "\n".join(lines)


class _Problem(NamedTuple):
    """Functions of the same inputs: their values, and the vector-Jacobian products under test."""

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


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    order: int = 1,
    eps: float = 1e-4,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    directions: int = 3,
    seed: int = 0,
    names: Sequence[str] | None = None,
    observe: Callable[[float], Any] | None = None,
) -> bool:
    """Compare the gradients of fn(*inputs) with finite differences; True, or GradcheckError with a `.report`.

    fn returns a tensor or nested tuples, lists or dicts of them. inputs: one input or a list or tuple of them. Floating
    arrays and tensors that require grad are checked (they must be float64), everything else is passed through; a
    tensor is perturbed in place and restored, so fn may also reach it by itself, as a model reaches its parameters.
    order=2 checks the second derivative instead: the recorded sweep (create_graph) against differences of the plain one.
    directions: how many random projections; seed: of their directions; names: what to call the inputs. An error within
    atol + rtol · |derivative| passes; observe(part) is told the largest, as a part of what is tolerated.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.gradcheck(lambda x: tg.tanh(x) * x, np.linspace(-1, 1, 5))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order is {order!r}, expected 1 or 2")
    name = str(getattr(fn, "__name__", None) or type(fn).__name__)
    given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    arguments, checked, labels = _prepare(given, name, names)
    run = _Run(fn, arguments, checked)
    outputs = run.outputs()
    rng = np.random.default_rng(seed)
    if order == 1:
        problem = _Problem(
            name, 1, labels, run.points(), run.values, run.gradients, _output_names(outputs), eps, rtol, atol
        )
    else:
        cotangents = [rng.normal(size=o.shape) for o in outputs]
        n = len(checked)
        problem = _Problem(
            name,
            2,
            labels + [f"cotangent of {output}" for output in _output_names(outputs)],
            [*run.points(), *cotangents],
            lambda points: run.gradients(points[:n], points[n:]),
            lambda points, w: run.second(points[:n], points[n:], w),
            [f"grad[{label}]" for label in labels],
            eps,
            rtol,
            atol,
        )
    worst = _check(problem, rng, directions)
    if observe is not None:
        observe(worst)
    return True


def gradgradcheck(fn: Callable[..., Any], inputs: Any, **options: Any) -> bool:
    """`gradcheck` of order 2.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.gradgradcheck(tg.tanh, np.linspace(-1, 1, 5))
    True
    """
    return gradcheck(fn, inputs, order=2, **options)


def _prepare(given: list[Any], name: str, names: Sequence[str] | None) -> tuple[list[Any], list[Tensor], list[str]]:
    """The arguments for fn, those of them to check, and what to call these."""
    arguments: list[Any] = []
    checked: list[Tensor] = []
    labels: list[str] = []
    for i, a in enumerate(given):
        label = names[i] if names else getattr(a, "name", None) or _parameter(name, i)
        if isinstance(a, np.ndarray) and a.dtype.kind == "f":
            _demand_float64(name, label, a.dtype)
            a = Tensor(a, requires_grad=True)
        if isinstance(a, Tensor) and a.requires_grad:
            _demand_float64(name, label, a.dtype)
            if not a.is_leaf:
                raise TypeError(
                    f"gradcheck: {name}: {label} was computed from other tensors; pass a leaf: .detach() and requires_grad=True"
                )
            checked.append(a)
            labels.append(label)
        arguments.append(a)
    if not checked:
        raise TypeError(
            f"gradcheck: {name}: no input to check: pass float64 arrays, or tensors made with requires_grad=True"
        )
    return arguments, checked, labels


def _parameter(name: str, i: int) -> str:
    from .tensor import registry

    op = registry.get(name)
    return op.input_name(i) if op is not None and (op.variadic or i < len(op.inputs)) else f"inputs[{i}]"


def _demand_float64(name: str, label: str, dtype: Any) -> None:
    if dtype != np.float64:
        raise TypeError(
            f"gradcheck: {name}: {label} is {dtype}, expected float64: differences of {dtype} are too coarse to tell a wrong "
            "gradient from rounding; convert with .astype(np.float64)"
        )


class _Run:
    """fn as functions of plain arrays: its values, its gradients by the plain sweep, and those differentiated again."""

    def __init__(self, fn: Callable[..., Any], arguments: list[Any], checked: list[Tensor]):
        self.fn, self.arguments, self.checked = fn, arguments, checked
        self.live: list[bool] = []

    def points(self) -> Arrays:
        return [np.array(t.data) for t in self.checked]

    @contextmanager
    def at(self, points: Arrays) -> Iterator[None]:
        """The checked tensors with other data."""
        before = [t.data for t in self.checked]
        try:
            for t, p in zip(self.checked, points, strict=True):
                t.data = p
            yield
        finally:
            for t, old in zip(self.checked, before, strict=True):
                t.data = old

    def outputs(self) -> list[Tensor]:
        """The floating outputs, after a check that two calls give the same."""
        name = getattr(self.fn, "__name__", "fn")
        with recording(True):
            found, again = list(flat_tensors(self.fn(*self.arguments))), list(flat_tensors(self.fn(*self.arguments)))
        if not found:
            raise TypeError(f"gradcheck: {name} returned no tensor")
        for i, (a, b) in enumerate(zip(found, again, strict=True)):
            if not np.array_equal(a.data, b.data, equal_nan=True):
                raise GradcheckError(
                    f"gradcheck: {name} is not deterministic: output {i} differed between two calls; fix its seed"
                )
            if not np.all(np.isfinite(a.data)):
                raise GradcheckError(f"gradcheck: {name}: output {i} holds NaN or infinity at this point")
        self.live = [t.data.dtype.kind == "f" for t in found]
        return [t for t, use in zip(found, self.live, strict=True) if use]

    def _outputs(self) -> list[Tensor]:
        return [t for t, use in zip(flat_tensors(self.fn(*self.arguments)), self.live, strict=True) if use]

    def values(self, points: Arrays) -> Arrays:
        with self.at(points), recording(False):
            return [t.data for t in self._outputs()]

    def gradients(self, points: Arrays, cotangents: Arrays) -> Arrays:
        with self.at(points), recording(True):
            outputs = self._outputs()
            seeds: list[Any] = [(t._node, u) for t, u in zip(outputs, cotangents, strict=True) if t.requires_grad]
            found = engine.sweep(seeds, targets=[t._node for t in self.checked if t._node])
            return [found.get(t._node, np.zeros_like(t.data)) for t in self.checked]

    def second(self, points: Arrays, cotangents: Arrays, w: Arrays) -> Arrays:
        """d/d(points, cotangents) of Σ <gradient, w>, through the recorded sweep."""
        with self.at(points), recording(True):
            outputs = self._outputs()
            dummies = [Tensor(u, requires_grad=True) for u in cotangents]
            seeds: list[Any] = [(t._node, u) for t, u in zip(outputs, dummies, strict=True) if t.requires_grad]
            edges = [t._node for t in self.checked if t._node]
            found = engine.sweep(seeds, targets=edges, wrap=Tensor._made)
            seeds = [
                (found[e]._node, v)
                for e, v in zip(edges, w, strict=True)
                if isinstance(found.get(e), Tensor) and found[e].requires_grad
            ]
            targets = [*edges, *(d._node for d in dummies if d._node)]
            again = engine.sweep(seeds, targets=targets) if seeds else {}
            return [again.get(t._node, np.zeros_like(t.data)) for t in [*self.checked, *dummies]]


def _output_names(outputs: list[Tensor]) -> list[str]:
    return [t.name or ("output" if len(outputs) == 1 else f"output {i}") for i, t in enumerate(outputs)]


def _check(p: _Problem, rng: np.random.Generator, directions: int) -> float:
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


def _difference(p: _Problem, k: int, v: np.ndarray[Any, Any], side: int = 0) -> Arrays:
    """Each output's derivative along v in input k; side ±1: one-sided, to find kinks."""

    def at(step: float) -> Arrays:
        moved = list(p.points)
        moved[k] = moved[k] + step * v
        return p.evaluate(moved)

    if side:
        base = p.evaluate(p.points)
        full, half = at(side * p.eps), at(side * p.eps / 2)
        return [side * (4 * (b - a) - (c - a)) / p.eps for a, b, c in zip(base, half, full, strict=True)]
    ahead, behind, near, nigh = at(p.eps), at(-p.eps), at(p.eps / 2), at(-p.eps / 2)
    return [(8 * (b - c) - (a - d)) / (6 * p.eps) for a, b, c, d in zip(ahead, near, nigh, behind, strict=True)]


def _dot(a: Arrays, b: Arrays) -> Any:
    return sum(np.sum(x * y) for x, y in zip(a, b, strict=True))


def _locate(
    p: _Problem,
    k: int,
    u: Arrays,
    analytic: np.ndarray[Any, Any],
    projected: float,
    expected: float,
    v: np.ndarray[Any, Any],
) -> None:
    """Compare every element of input k, then the worst of them output by output, and raise."""
    size = p.points[k].size
    if analytic.shape != p.points[k].shape:
        raise GradcheckError(
            f"gradcheck: {p.name}: the gradient for {p.inputs[k]} has shape {analytic.shape}, expected {p.points[k].shape}"
        )
    columns = [_difference(p, k, _unit(p.points[k].shape, i)) for i in range(size)]
    numeric = np.array([_dot(u, c) for c in columns]).reshape(analytic.shape)
    error = np.abs(analytic - numeric)
    bad = ~(error <= p.atol + p.rtol * np.abs(numeric))
    if not bad.any():  # only the projection sees it: rounding adds up, or a kink lies within its step
        bad = error == error.max()
    order = sorted(np.flatnonzero(bad), key=lambda i: -np.nan_to_num(error.flat[i], nan=np.inf))
    worst = [
        _by_output(p, k, int(i), columns[int(i)]) or _projected(p, k, int(i), analytic, numeric) for i in order[:5]
    ]
    cause = _kink(p, k, int(order[0]), columns[int(order[0])]) or _cause(analytic, numeric, p)
    report = Report(p.name, p.order, p.inputs[k], p.points[k].shape, int(bad.sum()), tuple(worst), cause)
    raise GradcheckError(str(report), report)


def _projected(p: _Problem, k: int, i: int, analytic: Any, numeric: Any) -> Mismatch:
    index = tuple(int(j) for j in np.unravel_index(i, analytic.shape))
    return Mismatch("random projection", None, p.inputs[k], index, float(analytic.flat[i]), float(numeric.flat[i]))


def _by_output(p: _Problem, k: int, i: int, column: Arrays, most: int = 400) -> Mismatch | None:
    """The output element whose derivative by element i of input k is most wrong; None if there are too many to try."""
    if sum(c.size for c in column) > most:
        return None
    index = tuple(int(j) for j in np.unravel_index(i, p.points[k].shape))
    worst: Mismatch | None = None
    for o, c in enumerate(column):
        for j in range(c.size):
            basis = [np.zeros(x.shape) for x in column]
            basis[o].flat[j] = 1
            found = float(p.pull(p.points, basis)[k].flat[i])
            wanted = float(c.flat[j])
            if worst is None or not abs(found - wanted) <= abs(worst.analytic - worst.numeric):
                at = tuple(int(n) for n in np.unravel_index(j, c.shape))
                worst = Mismatch(p.outputs[o], at, p.inputs[k], index, found, wanted)
    return worst


def _kink(p: _Problem, k: int, i: int, column: Arrays) -> str | None:
    unit = _unit(p.points[k].shape, i)
    right, left = _difference(p, k, unit, 1), _difference(p, k, unit, -1)
    gap = max((float(np.max(np.abs(r - s), initial=0)) for r, s in zip(right, left, strict=True)), default=0.0)
    size = max((float(np.max(np.abs(c), initial=0)) for c in column), default=0.0)
    if gap > 1e-3 * (1e-3 + size):
        index = tuple(int(j) for j in np.unravel_index(i, p.points[k].shape))
        return (
            f"a kink or jump within {p.eps:g} of {p.inputs[k]}{_index(index)} = {p.points[k].flat[i]:.6g}: the derivatives "
            "from the left and from the right differ; check at another point"
        )
    return None


def _cause(analytic: np.ndarray[Any, Any], numeric: np.ndarray[Any, Any], p: _Problem) -> str | None:
    """Name the pattern of an error that has one."""

    def close(a: Any, b: Any) -> bool:
        return bool(np.allclose(a, b, rtol=1e-4, atol=1e-7))

    if np.isnan(analytic).any():
        return "the gradient holds NaN (0·∞ or 0/0 in the vjp?)"
    if close(analytic, 0 * numeric):
        return "no gradient arrives: the path is cut (.detach(), .data, no_grad), or the vjp returns zeros"
    if close(analytic, -numeric):
        return "the sign is flipped"
    alike = float(np.sum(analytic * numeric) / max(float(np.sum(numeric * numeric)), 1e-300))
    if close(analytic, alike * numeric):
        return f"every element is off by the factor {alike:.6g}{_factor(alike, analytic.shape)}"
    if numeric.ndim == 2 and numeric.shape[0] == numeric.shape[1] and close(analytic, numeric.T):
        return "the gradient is transposed"
    for axis in range(numeric.ndim):
        if numeric.shape[axis] > 1 and close(analytic, np.flip(numeric, axis)):
            return f"the gradient is reversed along axis {axis}"
        moved = analytic.sum(axis=axis, keepdims=True)
        if numeric.shape[axis] > 1 and close(numeric, np.broadcast_to(moved, numeric.shape)):
            return f"a reduction over axis {axis} is missing"
    return None


def _factor(factor: float, shape: Shape) -> str:
    for n in (2, 3, 4, *shape):
        if n > 1 and abs(factor - n) < 1e-4 * n:
            return f" (counted {n} times?)"
        if n > 1 and abs(factor * n - 1) < 1e-4:
            return f" (divided by {n}?)"
    return ""


def _unit(shape: Shape, i: int) -> np.ndarray[Any, Any]:
    v = np.zeros(shape)
    v.flat[i] = 1
    return v


def _index(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]" if index else ""
