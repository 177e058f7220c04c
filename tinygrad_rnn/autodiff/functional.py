"""Derivatives of functions, which can be nested to any order.

`jacobian`, `hessian`, `hvp`, `jvp`, `vjp` and `value_and_grad` evaluate fn at new tensors, its points. If the graph is
recorded and the result depends on another tensor that requires grad (a computed input, the points of an enclosing
derivative, a weight that fn reads), the result has a graph to it. Under `no_grad`, or if nothing else requires grad, the
result is a constant.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import engine
from .node import Leaf, Node, Output
from .op import Op
from .state import ambient, recording
from .tensor import Tensor, data, registry, reshaped


def grad(
    output: Tensor,
    inputs: Any,
    grad_output: Any = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """d output / d input for each of `inputs`, contracted with `grad_output` (of output's shape; 1 for a scalar).

    inputs: a tensor, for a result of its shape, or a list or tuple, for a tuple of results. The `.grad` of leaves is not
    changed. The derivative for an input that output does not depend on is 0. With create_graph the results have a graph and
    can be differentiated again; without it they are constants, also inside jacobian and the others. retain_graph (default:
    create_graph) keeps the graph for another pass. Raises TypeError for an input that does not require grad, GraphError
    on a freed graph.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> dy = tg.grad(x**3, x, create_graph=True)
    >>> dy.item(), tg.grad(dy, x).item()
    (27.0, 18.0)
    """
    tensors = _tensors(inputs, "grad")
    for i, t in enumerate(tensors):
        if not isinstance(t, Tensor) or not t.requires_grad:
            which = f"inputs[{i}]" if isinstance(inputs, (list, tuple)) else "inputs"
            received = "a tensor that does not require grad" if isinstance(t, Tensor) else type(t).__name__
            raise TypeError(
                f"grad: {which} is {received}, expected a tensor with requires_grad=True or computed from one"
            )
    _, g = output._seed(grad_output, "grad")
    seed = grad_output if create_graph and isinstance(grad_output, Tensor) else g
    return _like(inputs, _pull([(output, seed)], tensors, create_graph, retain=bool(retain_graph)))


def jacobian(fn: Callable[..., Tensor], inputs: Any) -> Any:
    """The matrix of all first derivatives of fn(*inputs): for each input a tensor of output.shape + input.shape.

    One reverse sweep per element of the output. inputs: one array or tensor, or a list or tuple of them (then the result
    is a tuple). Warns where the output does not depend on the inputs.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0])
    >>> tg.jacobian(lambda x: x * x, x).numpy()
    array([[2., 0.],
           [0., 4.]], dtype=float32)
    >>> tg.jacobian(lambda x: tg.jacobian(lambda x: (x**3).sum(), x), x).numpy()
    array([[ 6.,  0.],
           [ 0., 12.]], dtype=float32)
    """
    run = _evaluate(fn, inputs, "jacobian")
    return _like(inputs, _rows(run.out, run))


def hessian(fn: Callable[..., Tensor], inputs: Any) -> Any:
    """The matrix of all second derivatives of scalar fn(*inputs): a tensor of input.shape + input.shape.

    For a list or tuple of inputs, a tuple of tuples: hessian[i][j] holds d² fn / dxᵢ dxⱼ. One reverse sweep per element of
    the gradient. Warns where fn does not depend on the inputs.

    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0])).numpy()
    array([[ 6.,  0.],
           [ 0., 12.]], dtype=float32)
    """
    run = _evaluate(fn, inputs, "hessian")
    gradients = _slopes(run, "hessian", record=True)
    return _like(inputs, [_like(inputs, _rows(gradient, run)) for gradient in gradients])


def hvp(fn: Callable[..., Tensor], inputs: Any, vectors: Any) -> Any:
    """The Hessian of scalar fn(*inputs) times `vectors`: d/dx <d fn / dx, v> [Pearlmutter 1994]. Shapes as the inputs'.

    Warns where fn does not depend on the inputs.

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 1.0])).numpy()
    array([ 6., 12.], dtype=float32)
    """
    run = _evaluate(fn, inputs, "hvp", vectors, "vectors")
    gradients = _slopes(run, "hvp", record=True)
    return _like(inputs, _pull(zip(gradients, run.vectors, strict=True), run.points, run.record))


def jvp(fn: Callable[..., Tensor], inputs: Any, tangents: Any) -> Tensor:
    """The Jacobian of fn(*inputs) times `tangents`, of the output's shape, by differentiating a vjp.

    The vjp u ↦ uᵀJ is linear in u; its own vjp along the tangents is J·tangents. Warns where the output does not depend on
    the inputs.

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(lambda x: x * x, tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0])).numpy()
    array([ 2., 40.], dtype=float32)
    """
    run = _evaluate(fn, inputs, "jvp", tangents, "tangents")
    dummy = Tensor(np.zeros_like(run.out.data), requires_grad=True)
    pulled = _pull([(run.out, dummy)], run.points, record=True)
    return _pull(zip(pulled, run.vectors, strict=True), [dummy], run.record)[0]


def vjp(fn: Callable[..., Tensor], inputs: Any) -> tuple[Tensor, Callable[[Any], Any]]:
    """fn(*inputs), and the function that multiplies a cotangent by its Jacobian: u ↦ uᵀJ, of the inputs' shapes.

    The function takes an array or tensor of the output's shape and may be called any number of times. Warns where the
    output does not depend on the inputs.

    >>> import tinygrad_rnn as tg
    >>> y, pull = tg.vjp(lambda x: x * x, tg.tensor([1.0, 2.0]))
    >>> y.numpy(), pull([1.0, 10.0]).numpy()
    (array([1., 4.], dtype=float32), array([ 2., 40.], dtype=float32))
    """
    run = _evaluate(fn, inputs, "vjp")

    def pull(cotangent: Any) -> Any:
        (u,) = _vectors(cotangent, [run.out], "vjp", "cotangent", of="output")
        record = ambient.get().recording and (run.record or (isinstance(u, Tensor) and u.requires_grad))
        return _like(inputs, _pull([(run.out, u)], run.points, record, retain=True))

    return run.value, pull


def value_and_grad(fn: Callable[..., Tensor], inputs: Any) -> tuple[Tensor, Any]:
    """Scalar fn(*inputs) and its gradient, which is a tensor of the input's shape, or a tuple of them.

    Warns where fn does not depend on the inputs.

    >>> import tinygrad_rnn as tg
    >>> value, slope = tg.value_and_grad(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]))
    >>> value.item(), slope.numpy()
    (9.0, array([ 3., 12.], dtype=float32))
    """
    run = _evaluate(fn, inputs, "value_and_grad")
    return run.value, _like(inputs, _slopes(run, "value_and_grad", run.record))


class _Evaluation(NamedTuple):
    """One evaluation of fn: its points, its output, the vectors (if any), and whether the derivatives are recorded."""

    points: list[Tensor]
    out: Tensor
    vectors: list[Any]
    record: bool

    @property
    def value(self) -> Tensor:
        """The output that is returned to the caller."""
        return self.out if self.record else self.out.detach()


def _evaluate(fn: Callable[..., Any], inputs: Any, caller: str, vectors: Any = None, argument: str = "") -> _Evaluation:
    """Evaluate fn at new points with the values of the inputs, connected to the graph of the inputs."""
    recorded = ambient.get().recording
    with recording(True):
        points = _points(inputs, caller, recorded)
        along = _vectors(vectors, points, caller, argument) if argument else []
        out = fn(*points)
    if not isinstance(out, Tensor):
        raise TypeError(f"{caller}: fn returned {type(out).__name__}, expected a tensor")
    depends, outside = _origins(out, points)
    if not depends:
        warnings.warn(
            f"{caller}: the output of fn does not depend on its inputs, so every derivative is 0. Where fn itself calls "
            "tg.grad, pass create_graph=True there: without it a gradient is a constant",
            stacklevel=3,
        )
    outside = outside or any(isinstance(v, Tensor) and v.requires_grad for v in along)
    return _Evaluation(points, out, along, recorded and outside)


def _origins(out: Tensor, points: list[Tensor]) -> tuple[bool, bool]:
    """Whether out depends on the points, and whether on anything else that requires grad."""
    own = {p._node.counter for p in points if isinstance(p._node, (Leaf, Node))}
    first = min(own)
    depends = outside = False
    work: list[Any] = [out._node] if out.requires_grad else []
    seen: set[int] = set()
    while work:
        edge = work.pop()
        node = edge.node if type(edge) is Output else edge
        if node.counter in seen or not node.requires_grad:
            continue
        seen.add(node.counter)
        is_point = node.counter in own
        depends = depends or is_point
        if is_point:
            outside = outside or type(node) is not Leaf  # an alias of an input that requires grad
        elif node.counter < first or type(node) is Leaf:
            outside = True
        else:
            work.extend(p for p in node.parents if p is not None)
    return depends, outside


def _slopes(run: _Evaluation, caller: str, record: bool) -> list[Tensor]:
    """The gradient of a scalar output."""
    if run.out.size != 1:
        raise ValueError(f"{caller}: fn returned shape {run.out.shape}, expected a scalar; reduce it, with .sum() say")
    return _pull([(run.out, np.ones_like(run.out.data))], run.points, record)


def _rows(out: Tensor, run: _Evaluation) -> list[Tensor]:
    """For each point the matrix d out / d point, of out.shape + point.shape, row by row."""
    columns: list[list[Tensor]] = [[] for _ in run.points]
    for k in range(out.size):
        basis = np.zeros(out.size, out.dtype)
        basis[k] = 1
        row = _pull([(out, basis.reshape(out.shape))], run.points, run.record, retain=True)
        for column, entry in zip(columns, row, strict=True):
            column.append(entry)
    return [
        registry["stack"](column).reshape(out.shape + p.shape) if column else _zeros(out.shape + p.shape, p)
        for column, p in zip(columns, run.points, strict=True)
    ]


def _pull(seeds: Any, points: Sequence[Tensor], record: bool, retain: bool = False) -> list[Tensor]:
    """The cotangents of the points, from `seeds`, pairs of a tensor and its cotangent."""
    pairs = [(t._node, g if record else data(g)) for t, g in seeds if t.requires_grad and t._node is not None]
    edges = [p._node for p in points if p._node is not None]
    cotangents = engine.sweep(pairs, targets=edges, wrap=Tensor._from_array if record else None, retain=retain)
    results = []
    for p in points:
        g_p = cotangents.get(p._node)
        if g_p is None:
            g_p = _zeros(p.shape, p)
        elif g_p.shape != p.shape:
            raise ValueError(reshaped("grad", p))
        results.append(g_p if isinstance(g_p, Tensor) else Tensor._from_array(np.array(g_p), None))
    return results


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return Tensor._from_array(np.zeros(shape, like.dtype), None)


def _like(inputs: Any, results: Sequence[Any]) -> Any:
    """One result for one input, a tuple for several."""
    return tuple(results) if isinstance(inputs, (list, tuple)) else results[0]


def _tensors(inputs: Any, caller: str) -> list[Any]:
    tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    if not tensors:
        raise ValueError(f"{caller}: inputs is empty, expected at least one tensor")
    return tensors


def _points(inputs: Any, caller: str, joined: bool) -> list[Tensor]:
    """A point for each input: a new leaf, or, if `joined`, an alias of an input that requires grad."""
    points = []
    for i, t in enumerate(_tensors(inputs, caller)):
        name = getattr(t, "name", None) or f"inputs[{i}]"
        if joined and isinstance(t, Tensor) and t.requires_grad:
            point = Op.alias(t)
            point.name = name
        else:
            point = Tensor(t.data if isinstance(t, Tensor) else t, requires_grad=True, name=name)
        points.append(point)
    return points


def _vectors(vectors: Any, points: Sequence[Tensor], caller: str, argument: str, of: str = "input") -> list[Any]:
    """One vector per point, of its shape and dtype: an array, or the tensor itself if it requires grad."""
    listed_vectors = [vectors]
    if isinstance(vectors, (list, tuple)):
        listed = len(points) > 1 or (len(vectors) == 1 and np.shape(vectors[0]) == points[0].shape)
        listed_vectors = list(vectors) if listed else listed_vectors
    if len(listed_vectors) != len(points):
        raise ValueError(
            f"{caller}: got {len(listed_vectors)} {argument}, expected one for each of {len(points)} inputs"
        )
    checked = []
    for i, (v, p) in enumerate(zip(listed_vectors, points, strict=True)):
        recorded = isinstance(v, Tensor) and v.requires_grad
        vector = v.astype(p.dtype) if recorded else np.asarray(data(v), p.dtype)
        if vector.shape != p.shape:
            raise ValueError(f"{caller}: {argument}[{i}] has shape {vector.shape}, expected the {of}'s shape {p.shape}")
        checked.append(vector)
    return checked
