"""`snapshot`: a recorded graph as plain data, for drawing and counting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from operator import is_
from typing import Any, NamedTuple

import numpy as np

from .engine import fused_inputs
from .node import Leaf, Node, Output, Shape
from .state import Ambient, Run, Scope, ambient
from .tensor import Tensor, registry
from .work import UNDECLARED, Work

STEP = "step"  # the kind of ops that stand for one step of a cell: every view of a graph opens them


class Source(NamedTuple):
    """The source of an input: the id of a node and the index of its result."""

    id: int
    output: int


class NodeInfo(NamedTuple):
    """One node of a snapshot. Leaves have op None and kind "parameter" (a Parameter), "mask" (drawn by a cell, or of lengths),
    "input" (any other tensor that requires grad) or "constant". without: the places of an op's inputs that have no source:
    None or a number was given."""

    id: int
    op: str | None
    label: str
    kind: str
    name: str | None
    scope: tuple[Scope, ...]
    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    sources: tuple[Source, ...]
    options: dict[str, Any]
    bytes: int
    without: tuple[int, ...] = ()

    @property
    def work(self) -> Work:
        """The op's floating point operations and effect on data, as it declares them."""
        return registry[self.op].work if self.op in registry else UNDECLARED

    @property
    def effect(self) -> str:
        """What the op does to its data, see autodiff/work.py; "" for a leaf."""
        return "" if self.op is None else self.work.effect


class Graph(NamedTuple):
    """A graph in order of creation: a node's sources come before it. `outputs`: the sources of the snapshot's tensors."""

    nodes: tuple[NodeInfo, ...]
    outputs: tuple[Source, ...]

    def count(self, op: str | None) -> int:
        """The number of nodes of this op (None: leaves)."""
        return sum(node.op == op for node in self.nodes)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Jupyter's display: the drawing, or text without viz."""
        try:
            bundle: dict[str, Any] = import_module("tinygrad_rnn.viz").mimebundle(self)
        except ImportError:
            return {"text/plain": repr(self)}
        return bundle

    def __repr__(self) -> str:
        ops = sum(node.op is not None for node in self.nodes)
        return f"Graph({ops} ops, {len(self.nodes) - ops} leaves, {len(self.outputs)} outputs)"


def snapshot(outputs: Any, unfused: bool = False) -> Graph:
    """The graph of `outputs` (tensors, nested in tuples, lists or dicts) as plain data.

    A step of a cell, cell(x, state), is expanded into primitives; with unfused=True so is every fused op (see `unfuse`).

    Ids are 0, 1, 2 … in order of creation, so the same program gives the same graph. The graph references no arrays and
    can be taken before or after backward. Raises TypeError if nothing was recorded.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    >>> graph = tg.snapshot((tg.tanh(x) * 2).sum())
    >>> graph, [node.op or node.name for node in graph.nodes]
    (Graph(3 ops, 1 leaves, 1 outputs), ['x', 'tanh', 'multiply', 'sum'])
    """
    edges = [t._node for t in unfuse(outputs, None if unfused else (STEP,)) if t._node is not None]
    if not edges:
        raise TypeError(
            "snapshot: no tensor with a graph was given; a tensor has one when it was computed (outside no_grad) from a "
            "tensor that requires grad"
        )
    seen = reachable(edges)
    order = sorted(seen)
    ids = {counter: i for i, counter in enumerate(order)}
    names = _output_names(seen, edges)
    paths = Paths(lambda edge: _source(edge, ids) if getattr(edge, "node", edge).counter in ids else None)
    nodes = tuple(_info(seen[c], ids, names, paths) for c in order)
    return Graph(nodes, tuple(_source(e, ids) for e in edges))


def unfuse(
    outputs: Any, kinds: str | tuple[str, ...] | None = None, steps: int | None = None, constants: bool = False
) -> list[Tensor]:
    """The tensors in `outputs` on a new graph, in which every fused op (of these kinds, and every single step of a cell) is
    replaced by its expansion.

    The new graph shares leaves, and nodes that depend on no fused op, with the old one; it can be drawn and swept. If the
    old graph was freed the expansion runs on zeros: the structure is right, the values are not. steps: expand only the
    first steps of ops over time, without lengths; values then differ from the computed ones. constants: also record
    computations on constants alone, for drawings.
    """
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    tensors = list(flat_tensors(outputs))
    old = reachable([t._node for t in tensors if t._node is not None])
    new: dict[int, Any] = {}  # counter of an old node: its edges in the new graph, one per output

    def moved(edge: Any) -> Any:
        if edge is None:
            return None
        node, index = (edge.node, edge.index) if type(edge) is Output else (edge, 0)
        if node.counter not in new:
            return edge
        result = new[node.counter][index]
        if type(edge) is Output and edge.name and result is not None and not result.name:
            result.name = edge.name
        return result

    paths = Paths(moved)
    for counter in sorted(old):
        node = old[counter]
        if type(node) is Leaf:
            continue
        assert type(node) is Node
        parents = tuple(moved(p) for p in node.parents)
        complete = all(option in node.options for option in node.op.options)  # False in a graph made from a snapshot
        opens = kinds is None or node.op.kind in (*kinds, STEP)
        if node.op.expansion is not None and opens and complete:
            new[counter] = _expanded(node, parents, paths(node.scope), steps, constants)
        elif parents != node.parents or paths(node.scope) is not node.scope:
            copy = Node(node.op, parents, node.saved, node.options, node.shape, node.dtype, paths(node.scope))
            copy.name = node.name
            new[counter] = (
                [Output(copy, i, s, d) for i, (s, d) in enumerate(zip(node.shape, node.dtype, strict=True))]
                if node.op.several
                else [copy]
            )
    return [Tensor._from_array(t.data, moved(t._node)) for t in tensors]


def _expanded(
    node: Node, parents: tuple[Any, ...], path: tuple[Scope, ...], steps: int | None, constants: bool
) -> list[Any]:
    """The edges of the results of a fused node's expansion on these parents."""
    values = fused_inputs(node) if node.saved else [None if p is None else np.zeros(p.shape, p.dtype) for p in parents]
    options = node.options
    if steps is not None and node.op.first_steps is not None:
        values, options = node.op.first_steps(values, options, steps)
    inputs = [None if p is None else Tensor._from_array(value, p) for p, value in zip(parents, values, strict=False)]
    for tensor in inputs if constants else ():
        if tensor is not None and tensor.data.dtype.kind == "f":
            tensor._needs = True
    outside = ambient.set(Ambient(True, path, False))
    try:
        assert node.op.expansion is not None
        results = node.op.expansion(*inputs, **options)
    finally:
        ambient.reset(outside)
    return [getattr(r, "_node", None) for r in (results if node.op.several else (results,))]


def saved_bytes(outputs: Any, without: Sequence[Any] = ()) -> int:
    """The size in bytes of the arrays that the graph of `outputs` keeps for backward; shared memory is counted once.

    Arrays in `without` (such as inputs and parameters) and their views are not counted.
    """
    seen = reachable([t._node for t in flat_tensors(outputs) if t._node is not None])
    owned = {id(_owner(a)) for a in without}
    total = 0
    for node in seen.values():
        for value in (node.saved or ()) if type(node) is Node else ():
            values = value if isinstance(value, (tuple, list)) else [value]
            for array in values:
                array = _owner(array) if isinstance(array, np.ndarray) else array
                if hasattr(array, "nbytes") and id(array) not in owned:
                    owned.add(id(array))
                    total += int(array.nbytes)
    return total


def _owner(array: Any) -> Any:
    """The array that owns the memory of a view."""
    while isinstance(getattr(array, "base", None), np.ndarray):
        array = array.base
    return array


def reachable(edges: list[Any]) -> dict[int, Node | Leaf]:
    """Every node that the edges depend on, by counter."""
    seen: dict[int, Node | Leaf] = {}
    work = list(edges)
    while work:
        edge = work.pop()
        node = edge.node if type(edge) is Output else edge
        if node.counter not in seen:
            seen[node.counter] = node
            if type(node) is Node:
                work.extend(p for p in node.parents if p is not None)
    return seen


def flat_tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from flat_tensors(v)
    elif isinstance(value, dict):
        yield from flat_tensors(list(value.values()))


def _source(edge: Any, ids: dict[int, int]) -> Source:
    if type(edge) is Output:
        return Source(ids[edge.node.counter], edge.index)
    return Source(ids[edge.counter], 0)


def _output_names(seen: dict[int, Node | Leaf], edges: list[Any]) -> dict[int, str]:
    """The names of single outputs of nodes with several."""
    names: dict[int, str] = {}
    for edge in [*edges, *(p for n in seen.values() if type(n) is Node for p in n.parents)]:
        if type(edge) is Output and edge.name:
            names.setdefault(edge.node.counter, edge.name)
    return names


@lru_cache(maxsize=4096)
def _results(shapes: tuple[Any, ...], dtypes: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[str, ...], int]:
    """Shapes, names of dtypes and size in bytes of results; cached."""
    size = sum(math.prod(shape) * dtype.itemsize for shape, dtype in zip(shapes, dtypes, strict=True))
    return shapes, tuple(str(dtype) for dtype in dtypes), size


class Paths:
    """Copies paths of scopes to another graph: the initial states of their runs are replaced by those of that graph."""

    def __init__(self, place: Callable[[Any], Any]):
        self.place = place
        self.runs: dict[int, Run] = {}
        self.parts: dict[int, Scope] = {}
        self.paths: dict[int, tuple[Scope, ...]] = {}

    def __call__(self, path: tuple[Scope, ...]) -> tuple[Scope, ...]:
        if not path:
            return path
        if (moved := self.paths.get(id(path))) is None:  # ids stay valid: the nodes keep the paths alive
            moved = tuple([part if part.run is None else self._part(part) for part in path])
            moved = self.paths[id(path)] = path if all(map(is_, path, moved)) else moved
        return moved

    def _part(self, part: Scope) -> Scope:
        if (moved := self.parts.get(id(part))) is None:
            assert part.run is not None
            run = self._run(part.run)
            moved = part if run is part.run else Scope(str(part), part.kind, part.number, run)
            self.parts[id(part)] = moved
        return moved

    def _run(self, run: Run) -> Run:
        if (moved := self.runs.get(id(run))) is None:
            moved = run
            states = [(name, self.place(edge)) for name, edge in run.initial_states]
            if any(a is not b for (_, a), (_, b) in zip(states, run.initial_states, strict=True)):
                moved = Run(run.reverse, run.lengths, run.complete, run.number)
                moved.initial_states = states
            self.runs[id(run)] = moved
        return moved


def _info(node: Node | Leaf, ids: dict[int, int], names: dict[int, str], paths: Paths) -> NodeInfo:
    """The plain data of one node."""
    if type(node) is Node:
        op, several = node.op, node.op.several
        results = (tuple(node.shape), tuple(node.dtype)) if several else ((node.shape,), (node.dtype,))
        sources = tuple([_source(p, ids) for p in node.parents if p is not None])
        without = tuple([i for i, p in enumerate(node.parents) if p is None])
        options = {k: v for k, v in node.options.items() if not hasattr(v, "shape")}
        name, label, kind = node.name or names.get(node.counter), op.label, op.kind
    else:
        assert type(node) is Leaf
        results, sources, without, options, name = ((node.shape,), (node.dtype,)), (), (), {}, node.name
        kind = node.role or ("input" if node.requires_grad else "constant")
        label = name or kind
    shapes, dtypes, size = _results(*results)
    return NodeInfo(
        ids[node.counter],
        None if node.op is None else node.op.name,
        label,
        kind,
        name,
        paths(node.scope),
        shapes,
        dtypes,
        sources,
        options,
        size,
        without,
    )
