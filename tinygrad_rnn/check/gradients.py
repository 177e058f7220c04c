"""`gradcheck`: compares first and second derivatives of any function of tensors with finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..autodiff import engine
from ..autodiff.graph import flat_tensors
from ..autodiff.state import recording
from ..autodiff.tensor import Tensor, registry
from ..errors import GradcheckError
from .differences import Arrays, Problem, compare


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

    fn returns a tensor or nested tuples, lists or dicts of them. inputs: one input, or a list or tuple of them. Floating
    arrays and tensors that require grad are checked (they must be float64), other inputs are passed through. A tensor's
    data is perturbed and restored, so fn may also read it directly, as a model reads its parameters. order=2 checks the
    second derivative: the recorded sweep (create_graph) against differences of the plain one. directions: the number of
    random projections; seed: of their directions; names: of the inputs, for the report. An error within
    atol + rtol · |derivative| is accepted; observe(ratio) is called with the largest error divided by its tolerance.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.gradcheck(lambda x: tg.tanh(x) * x, np.linspace(-1, 1, 5))
    True
    """
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order is {order!r}, expected 1 or 2")
    name = str(getattr(fn, "__name__", None) or type(fn).__name__)
    values = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    arguments, checked, labels = _prepare(values, name, names)
    run = _Function(fn, arguments, checked)
    outputs = run.outputs()
    rng = np.random.default_rng(seed)
    if order == 1:
        problem = Problem(
            name, 1, labels, run.points(), run.values, run.gradients, _output_names(outputs), eps, rtol, atol
        )
    else:
        cotangents = [rng.normal(size=o.shape) for o in outputs]
        n = len(checked)
        problem = Problem(
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
    worst = compare(problem, rng, directions)
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


def _prepare(values: list[Any], name: str, names: Sequence[str] | None) -> tuple[list[Any], list[Tensor], list[str]]:
    """The arguments of fn, those to check, and the names of these."""
    arguments: list[Any] = []
    checked: list[Tensor] = []
    labels: list[str] = []
    for i, a in enumerate(values):
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
    op = registry.get(name)
    return op.input_name(i) if op is not None and (op.variadic or i < len(op.inputs)) else f"inputs[{i}]"


def _demand_float64(name: str, label: str, dtype: Any) -> None:
    if dtype != np.float64:
        raise TypeError(
            f"gradcheck: {name}: {label} is {dtype}, expected float64: differences of {dtype} are too coarse to tell a wrong "
            "gradient from rounding; convert with .astype(np.float64)"
        )


class _Function:
    """fn as functions of plain arrays: its values, its gradients by the plain sweep, and its second derivatives."""

    def __init__(self, fn: Callable[..., Any], arguments: list[Any], checked: list[Tensor]):
        self.fn, self.arguments, self.checked = fn, arguments, checked
        self.live: list[bool] = []

    def points(self) -> Arrays:
        return [np.array(t.data) for t in self.checked]

    @contextmanager
    def at(self, points: Arrays) -> Iterator[None]:
        """Set the data of the checked tensors; restores it afterwards."""
        before = [t.data for t in self.checked]
        try:
            for t, p in zip(self.checked, points, strict=True):
                t.data = p
            yield
        finally:
            for t, old in zip(self.checked, before, strict=True):
                t.data = old

    def outputs(self) -> list[Tensor]:
        """The floating outputs; raises if they are not finite, or differ between two calls."""
        name = getattr(self.fn, "__name__", "fn")
        with recording(True):
            first, second = list(flat_tensors(self.fn(*self.arguments))), list(flat_tensors(self.fn(*self.arguments)))
        if not first:
            raise TypeError(f"gradcheck: {name} returned no tensor")
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            if not np.array_equal(a.data, b.data, equal_nan=True):
                raise GradcheckError(
                    f"gradcheck: {name} is not deterministic: output {i} differed between two calls; fix its seed"
                )
            if not np.all(np.isfinite(a.data)):
                raise GradcheckError(f"gradcheck: {name}: output {i} holds NaN or infinity at this point")
        self.live = [t.data.dtype.kind == "f" for t in first]
        return [t for t, use in zip(first, self.live, strict=True) if use]

    def _outputs(self) -> list[Tensor]:
        return [t for t, use in zip(flat_tensors(self.fn(*self.arguments)), self.live, strict=True) if use]

    def values(self, points: Arrays) -> Arrays:
        with self.at(points), recording(False):
            return [t.data for t in self._outputs()]

    def gradients(self, points: Arrays, cotangents: Arrays) -> Arrays:
        with self.at(points), recording(True):
            outputs = self._outputs()
            seeds: list[Any] = [(t._node, u) for t, u in zip(outputs, cotangents, strict=True) if t.requires_grad]
            gradients = engine.sweep(seeds, targets=[t._node for t in self.checked if t._node])
            return [gradients.get(t._node, np.zeros_like(t.data)) for t in self.checked]

    def second(self, points: Arrays, cotangents: Arrays, w: Arrays) -> Arrays:
        """d/d(points, cotangents) of Σ <gradient, w>, through the recorded sweep."""
        with self.at(points), recording(True):
            outputs = self._outputs()
            dummies = [Tensor(u, requires_grad=True) for u in cotangents]
            seeds: list[Any] = [(t._node, u) for t, u in zip(outputs, dummies, strict=True) if t.requires_grad]
            edges = [t._node for t in self.checked if t._node]
            gradients = engine.sweep(seeds, targets=edges, wrap=Tensor._from_array)
            seeds = [
                (gradients[e]._node, v)
                for e, v in zip(edges, w, strict=True)
                if isinstance(gradients.get(e), Tensor) and gradients[e].requires_grad
            ]
            targets = [*edges, *(d._node for d in dummies if d._node)]
            second_gradients = engine.sweep(seeds, targets=targets) if seeds else {}
            return [second_gradients.get(t._node, np.zeros_like(t.data)) for t in [*self.checked, *dummies]]


def _output_names(outputs: list[Tensor]) -> list[str]:
    return [t.name or ("output" if len(outputs) == 1 else f"output {i}") for i, t in enumerate(outputs)]
