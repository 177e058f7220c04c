"""Derivatives as functions: grad, jacobian, Hessian-vector and Jacobian-vector products. All nest to any order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import engine
from .node import Edge
from .state import recording
from .tensor import Tensor


def grad(
    output: Tensor,
    inputs: Any,
    grad_output: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """d output / d input for each of `inputs`, contracted with `grad_output` (of output's shape; 1 for a scalar).

    inputs: a tensor, giving a tensor of its shape, or a list or tuple of them, giving a tuple. Leaves' `.grad` stays as
    it is. An input that output does not depend on gets zeros. With create_graph the results carry a graph and can be
    differentiated again; retain_graph (default: create_graph) keeps the graph for another pass. Raises TypeError for an
    input that does not require grad, GraphError on a freed graph.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> dy = tg.grad(x**3, x, create_graph=True)
    >>> dy.item(), tg.grad(dy, x).item()
    (27.0, 18.0)
    """
    wanted = _tensors(inputs, "grad")
    for i, t in enumerate(wanted):
        if not isinstance(t, Tensor) or not t.requires_grad:
            which = f"inputs[{i}]" if isinstance(inputs, (list, tuple)) else "inputs"
            came = "a tensor that does not require grad" if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(f"grad: {which} is {came}, expected a tensor with requires_grad=True or computed from one")
    edges = [t._node for t in wanted]
    edge, g = output._seed(grad_output, "grad")
    if create_graph:
        seed: Any = grad_output if isinstance(grad_output, Tensor) else g
        found = engine.sweep([(edge, seed)], targets=edges, wrap=Tensor._made)
    else:
        found = engine.sweep([(edge, g)], targets=edges, retain=bool(retain_graph))
    results = []
    for t in wanted:
        part = found.get(t._node)
        if part is None:
            part = np.zeros_like(t.data)
        results.append(part if isinstance(part, Tensor) else Tensor._made(np.array(part), None))
    return tuple(results) if isinstance(inputs, (list, tuple)) else results[0]


def jacobian(fn: Callable[..., Tensor], inputs: Any) -> Any:
    """The matrix of all first derivatives of fn(*inputs): for each input a tensor of output.shape + input.shape.

    One reverse sweep per element of the output. inputs: one array or tensor, or a list or tuple of them (then the result
    is a tuple).

    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x, tg.tensor([1.0, 2.0])).numpy()
    array([[2., 0.],
           [0., 4.]], dtype=float32)
    """
    points = _points(inputs, "jacobian")
    out = _call(fn, points, "jacobian")
    rows: list[list[Any]] = [[] for _ in points]
    for k in range(out.size):
        basis = np.zeros(out.size, out.dtype)
        basis[k] = 1
        parts = grad(out, points, basis.reshape(out.shape), retain_graph=True) if out.requires_grad else points
        for row, p, part in zip(rows, points, parts, strict=True):
            row.append(part.data if out.requires_grad else np.zeros_like(p.data))
    results = tuple(
        Tensor(np.stack(row).reshape(out.shape + p.shape) if row else np.zeros(out.shape + p.shape, p.dtype))
        for row, p in zip(rows, points, strict=True)
    )
    return results if isinstance(inputs, (list, tuple)) else results[0]


def hvp(fn: Callable[..., Tensor], inputs: Any, vectors: Any) -> Any:
    """The Hessian of scalar fn(*inputs) times `vectors`: d/dx <d fn / dx, v> [Pearlmutter 1994]. Shapes as the inputs'.

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 1.0])).numpy()
    array([ 6., 12.], dtype=float32)
    """
    points = _points(inputs, "hvp")
    along = _vectors(vectors, points, "hvp", "vectors")
    out = _call(fn, points, "hvp")
    if out.size != 1:
        raise ValueError(f"hvp: fn returned shape {out.shape}, expected a scalar; reduce it, with .sum() say")
    slopes = grad(out, points, create_graph=True) if out.requires_grad else points
    results = _contract(slopes, along, points) if out.requires_grad else _zeros(points)
    return results if isinstance(inputs, (list, tuple)) else results[0]


def jvp(fn: Callable[..., Tensor], inputs: Any, tangents: Any) -> Tensor:
    """The Jacobian of fn(*inputs) times `tangents`, of the output's shape, by differentiating a vjp.

    The vjp u ↦ uᵀJ is linear in u; its own vjp along the tangents is J·tangents.

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0])).numpy()
    array([ 2., 40.], dtype=float32)
    """
    points = _points(inputs, "jvp")
    along = _vectors(tangents, points, "jvp", "tangents")
    out = _call(fn, points, "jvp")
    if not out.requires_grad:
        return _zeros([out])[0]
    dummy = Tensor(np.zeros_like(out.data), requires_grad=True)
    pulled = grad(out, points, dummy, create_graph=True)
    return _contract(pulled, along, [dummy])[0]


def _tensors(inputs: Any, caller: str) -> list[Any]:
    found = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not found:
        raise ValueError(f"{caller}: inputs is empty, expected at least one tensor")
    return found


def _points(inputs: Any, caller: str) -> list[Tensor]:
    """Fresh leaves with the inputs' values."""
    points = []
    for i, t in enumerate(_tensors(inputs, caller)):
        data = t.data if isinstance(t, Tensor) else t
        points.append(Tensor(data, requires_grad=True, name=getattr(t, "name", None) or f"inputs[{i}]"))
    return points


def _vectors(vectors: Any, points: Sequence[Tensor], caller: str, argument: str) -> list[np.ndarray[Any, Any]]:
    """One vector per point, of its shape and dtype."""
    given = list(vectors) if isinstance(vectors, (list, tuple)) and len(points) > 1 else [vectors]
    if (
        isinstance(vectors, (list, tuple))
        and len(points) == 1
        and len(vectors) == 1
        and np.shape(vectors[0]) == points[0].shape
    ):
        given = list(vectors)
    if len(given) != len(points):
        raise ValueError(f"{caller}: got {len(given)} {argument}, expected one for each of {len(points)} inputs")
    out = []
    for i, (v, p) in enumerate(zip(given, points, strict=True)):
        array = np.asarray(v.data if isinstance(v, Tensor) else v, p.dtype)
        if array.shape != p.shape:
            raise ValueError(f"{caller}: {argument}[{i}] has shape {array.shape}, expected the input's shape {p.shape}")
        out.append(array)
    return out


def _call(fn: Callable[..., Any], points: Sequence[Tensor], caller: str) -> Tensor:
    with recording(True):
        out = fn(*points)
    if not isinstance(out, Tensor):
        raise TypeError(f"{caller}: fn returned {type(out).__name__}, expected a tensor")
    return out


def _contract(slopes: Sequence[Tensor], along: Sequence[Any], points: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """d/d points of Σ <slope, v>."""
    seeds: list[tuple[Edge, Any]] = [
        (s._node, v) for s, v in zip(slopes, along, strict=True) if s.requires_grad and s._node is not None
    ]
    edges = [p._node for p in points if p._node is not None]
    found = engine.sweep(seeds, targets=edges)
    return tuple(Tensor._made(np.array(found[p._node]), None) if p._node in found else _zeros([p])[0] for p in points)


def _zeros(like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor._made(np.zeros_like(t.data), None) for t in like)
