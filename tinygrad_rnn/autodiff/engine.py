"""The reverse sweep: cotangents are propagated from outputs to inputs, in descending order of creation.

The plain sweep passes ndarrays to the vjps: nothing is recorded, and saved arrays are freed node by node. With `wrap`
(create_graph) the vjps get Tensors connected to the graph and are recorded, so their results can be differentiated again.
The work list is a heap of creation counters, without recursion. A leaf only collects: it is not in the heap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from heapq import heappop, heappush
from typing import Any

import numpy as np

from ..errors import GraphError
from .node import Array, Edge, Leaf, Node, Output, Shape
from .sparse import RowGradient
from .state import recording

ndarray, asarray = np.ndarray, np.asarray
Wrap = Callable[[Any, Edge], Any]
Observer = Callable[[Node | Leaf, Any], None]
Finished = Callable[[Leaf, Any], None]
# What NumPy does about a floating-point error -> what it does during a sweep: an infinite derivative is a valid result.
_QUIET: dict[str, Any] = {"warn": "ignore"}


def sweep(
    seeds: Sequence[tuple[Edge, Array]],
    *,
    targets: Iterable[Edge] | None = None,
    wrap: Wrap | None = None,
    retain: bool = False,
    observe: Observer | None = None,
    finished: Finished | None = None,
) -> dict[Any, Array]:
    """Propagate the cotangents of `seeds` back through the graph.

    Returns the cotangents of `targets` (without those that none reached), or, without targets, those of every leaf that
    requires grad. Nodes older than every target are not visited. `observe(node, cotangent)` is called for each node.
    `finished(leaf, cotangent)` is called with the final cotangent of a leaf once all nodes that read it are done, except
    for leaves read by a node without a cotangent. With `retain` the saved arrays are kept for another sweep.
    """
    settings = np.geterr()
    run = _quiet_run(settings["divide"], settings["invalid"])
    if wrap is not None:
        with recording(True):
            return run(seeds, targets, wrap, True, observe, finished)
    return run(seeds, targets, None, retain, observe, finished)


@cache
def _quiet_run(divide: str, invalid: str) -> Callable[..., dict[Any, Array]]:
    """`_run`, without the warnings about floating-point errors that these settings ask for."""
    return np.errstate(divide=_QUIET.get(divide, divide), invalid=_QUIET.get(invalid, invalid))(_run)


def _run(
    seeds: Sequence[tuple[Edge, Array]],
    targets: Iterable[Edge] | None,
    wrap: Wrap | None,
    retain: bool,
    observe: Observer | None,
    finished: Finished | None,
) -> dict[Any, Array]:
    unread = {} if finished is None else _reads(seeds)
    pending: dict[int, Any] = {}  # counter -> [node, cotangent (or the list of its outputs'), whether it is a sum]
    heap: list[int] = []  # the negated counters of the pending nodes that have a vjp: the newest node first
    stops: dict[int, list[Edge]] = {}
    for edge in targets or ():
        stops.setdefault(_base(edge).counter, []).append(edge)
    oldest = min(stops, default=0)  # nodes created before it are not visited
    cotangents: dict[Any, Array] = {}
    raw = wrap is None
    for edge, g in seeds:
        _receive(pending, heap, edge, g)

    while heap:
        counter = -heappop(heap)
        node, g, _ = pending.pop(counter)
        if observe is not None:
            observe(node, g)
        if counter in stops:
            _collect(cotangents, stops[counter], g)
        if counter <= oldest:
            continue
        op = node.op
        saved = node.saved
        if raw and saved is not None and not op.fills_grads:
            grads = op.rule(g, *saved, **node.options)
        else:
            grads = _pull(node, g, wrap)
        if not retain:
            node.saved = None
        if type(grads) is not tuple and type(grads) is not list:
            grads = (grads,)
        for parent, g in zip(node.parents, grads, strict=True):
            if parent is None or g is None or not parent.requires_grad:
                continue
            if raw and type(g) is not ndarray and (type(g) is not RowGradient or type(parent) is not Leaf):
                g = asarray(g)
            if g.shape != parent.shape:
                g = _fit(node, parent, g)
            if g.dtype is not parent.dtype and g.dtype != parent.dtype:
                g = g.astype(parent.dtype)
            if type(parent) is Output:
                _receive(pending, heap, parent, g)
                continue
            counter = parent.counter  # as _receive, without a call for each edge; a sum is added to in place
            entry = pending.get(counter)
            if entry is None:
                pending[counter] = [parent, g, False]
                if type(parent) is not Leaf:
                    heappush(heap, -counter)
            elif not raw:
                entry[1] = entry[1] + g
            elif entry[2]:
                entry[1] += asarray(g)
            else:
                entry[1] = total = entry[1] + g
                entry[2] = type(total) is not RowGradient
                if entry[2]:
                    entry[1] = asarray(total)
        if finished is not None:
            for leaf in node.parents:
                if leaf in unread:
                    unread[leaf] -= 1
                    if not unread[leaf] and leaf.counter in pending:
                        finished(leaf, pending[leaf.counter][1])
    for leaf, g, _ in pending.values():
        if observe is not None:
            observe(leaf, g)
        if targets is None:
            cotangents[leaf] = g
        elif leaf.counter in stops:
            _collect(cotangents, stops[leaf.counter], g)
    return cotangents


def _collect(cotangents: dict[Any, Array], edges: list[Edge], g: Any) -> None:
    """Put a node's cotangent under those of its edges that were asked for."""
    for edge in edges:
        part = g[edge.index] if type(edge) is Output else g
        if part is not None:
            cotangents[edge] = asarray(part) if type(part) is RowGradient else part


def _reads(seeds: Sequence[tuple[Edge, Array]]) -> dict[Any, int]:
    """How often the nodes below `seeds` read each leaf that requires grad."""
    counts: dict[Any, int] = {}
    work: list[Any] = [_base(edge) for edge, _ in seeds]
    seen = set(work)
    while work:
        for parent in getattr(work.pop(), "parents", ()):
            if type(parent) is Leaf and parent.requires_grad:
                counts[parent] = counts.get(parent, 0) + 1
            elif parent is not None and parent.requires_grad and (base := _base(parent)) not in seen:
                seen.add(base)
                work.append(base)
    return counts


def _receive(pending: dict[int, Any], heap: list[int], edge: Edge, g: Array) -> None:
    """Add a cotangent to the pending one of a seed or of one of several outputs."""
    node = edge.node if isinstance(edge, Output) else edge
    counter = node.counter
    entry = pending.get(counter)
    if entry is None:
        entry = pending[counter] = [node, [None] * len(node.shape) if node is not edge else None, False]
        if type(node) is not Leaf:
            heappush(heap, -counter)
    if isinstance(edge, Output):
        parts, index = entry[1], edge.index
        parts[index] = g if parts[index] is None else parts[index] + g
    else:
        entry[1] = g if entry[1] is None else entry[1] + g


def _base(edge: Edge) -> Node | Leaf:
    return edge.node if isinstance(edge, Output) else edge


def _pull(node: Node, g: Any, wrap: Wrap | None) -> Any:
    """The node's vjp: cotangents of its parents from the cotangent of its result."""
    op, saved = node.op, node.saved
    if saved is None:
        raise GraphError(
            f"backward: the graph below {op.name!r} was freed by an earlier backward pass. Pass retain_graph=True to the "
            "first pass to run a second one; where a state is carried from one chunk of a sequence to the next "
            "(truncated backpropagation through time), carry state.detach() or rnn.detach(state)"
        )
    if op.fills_grads:
        g = [np.zeros(s, d) if part is None else part for part, s, d in zip(g, node.shape, node.dtype, strict=True)]
    if wrap is not None:
        if op.expansion is not None:
            return _splice(node, g, wrap)
        origins = op.origins(len(node.parents))
        saved = tuple(_handle(value, node, origin, wrap) for value, origin in zip(saved, origins, strict=True))
    return op.rule(g, *saved, **node.options)


def _handle(value: Any, node: Node, origin: int, wrap: Wrap) -> Any:
    """A saved value for the recorded sweep: connected to the graph if it is an input or the result."""
    if origin >= 0:
        parent = node.parents[origin]
        return value if parent is None or not parent.requires_grad else wrap(value, parent)
    if origin == -1:
        return wrap(value, node)
    return value


def _splice(node: Node, g: Any, wrap: Wrap) -> list[Any]:
    """The vjp of a fused op as the recorded sweep of its expansion into primitives.

    The expansion runs on identity aliases of the inputs and its sweep stops at them: where one input was computed from
    another, a sweep on the inputs themselves would count that path twice.
    """
    op = node.op
    arrays = fused_inputs(node)
    aliases = []
    for value, parent in zip(arrays, node.parents, strict=True):
        joined = value if parent is None or not parent.requires_grad else wrap(value, parent)
        aliases.append(joined if joined is value else op.alias(joined))
    assert op.expansion is not None
    results = op.expansion(*aliases, **node.options)
    if not op.several:
        results, g = (results,), (g,)
    edges = [getattr(alias, "_node", None) for alias in aliases]
    seeds = [
        (r._node, part)
        for r, part in zip(results, g, strict=True)
        if part is not None and getattr(r, "_node", None) is not None
    ]
    cotangents = sweep(seeds, targets=[e for e in edges if e is not None], wrap=wrap)
    return [None if e is None else cotangents.get(e) for e in edges]


def fused_inputs(node: Node) -> Any:
    """The inputs among the saved values of a fused op: the first ones, or the last ones for a variadic op."""
    n = len(node.parents)
    return node.saved[len(node.saved) - n :] if node.op.variadic else node.saved[:n]


def _fit(node: Node, parent: Edge, g: Array) -> Array:
    """Sum a cotangent over the axes along which its input was broadcast; ValueError for any other shape."""
    op = node.op
    if op.broadcasts and g.ndim >= len(parent.shape):
        out = unbroadcast(g, parent.shape)
        if out is not None:
            return out
    where = next(i for i, p in enumerate(node.parents) if p is parent)
    hint = ""
    if g.ndim >= len(parent.shape) and unbroadcast(g, parent.shape) is not None:
        hint = "; a reduction over a broadcast axis is missing: sum in the vjp, or declare the op with broadcasts=True"
    if type(parent) is Leaf and not hint:
        hint = "; a tensor whose .data has been given another shape gets no gradient: make a new tg.Parameter"
    raise ValueError(
        f"vjp of {op.name}: the gradient for {op.input_name(where)} has shape {g.shape}, expected {parent.shape}{hint}"
    )


def unbroadcast(g: Array, shape: Shape) -> Array | None:
    """Sum g over the axes that broadcasting added or stretched; None if g does not come from `shape` that way."""
    extra = g.ndim - len(shape)
    stretched = []
    for axis, size in enumerate(shape, extra):
        if g.shape[axis] != size:
            if size != 1:
                return None
            stretched.append(axis)
    if extra:
        g = g.sum(axis=tuple(range(extra)))
    if stretched:
        g = g.sum(axis=tuple(axis - extra for axis in stretched), keepdims=True)
    return g
