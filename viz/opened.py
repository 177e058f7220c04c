"""Opening fused ops: the same graph with each of them replaced by what it stands for, in primitives."""

from __future__ import annotations

import math
from contextlib import ExitStack
from contextvars import Context
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source, flat_tensors, snapshot
from tinygrad_rnn.autodiff.node import Node, Output
from tinygrad_rnn.autodiff.op import operations
from tinygrad_rnn.autodiff.state import scope
from tinygrad_rnn.autodiff.tensor import Tensor

AFFORDABLE = 2_000_000  # elements of one fused op's result: above it the expansion runs on a batch of none


def take(target: Any) -> Graph:
    """The graph itself, or the snapshot of tensors; scopes without a name are left out of its paths."""
    graph = target if isinstance(target, Graph) else snapshot(target)
    if any("" in node.scope for node in graph.nodes):
        nodes = (node._replace(scope=tuple(part for part in node.scope if part)) for node in graph.nodes)
        return Graph(tuple(nodes), graph.outputs)
    return graph


def open_all(target: Any, kind: str | None = None) -> Graph:
    """The graph of `target` with every fused op (or those of one kind) replaced by its expansion into primitives.

    The expansions run on zeros of the recorded shapes, so it does not matter whether the graph was freed. Of a Graph, whose
    snapshot holds no arrays, lengths are not known and ops that need other arrays stay closed.
    """
    graph = take(target)
    live = {} if isinstance(target, Graph) else _live(target)
    fused = {op.name: op for op in operations() if op.expansion is not None and kind in (None, op.kind)}
    for node in graph.nodes:
        options = {*node.options, "lengths"} if isinstance(target, Graph) else {"lengths"}
        if node.op in fused and isinstance(target, Graph) and not set(fused[node.op].options) <= options:
            del fused[node.op]
    if not any(node.op in fused for node in graph.nodes):
        return graph
    nodes: list[NodeInfo] = []
    moved: dict[Source, Source] = {}
    for node in graph.nodes:
        sources = tuple(moved[s] for s in node.sources)
        if node.op in fused:
            real = live.get(node.id)
            sub = _expansion(
                fused[node.op], node, [graph.nodes[s.id].dtypes[s.output] for s in node.sources], graph, real
            )
            for k, source in enumerate(_splice(nodes, sub, sources)):
                moved[Source(node.id, k)] = source
        else:
            for k in range(len(node.shapes)):
                moved[Source(node.id, k)] = Source(len(nodes), k)
            nodes.append(node._replace(id=len(nodes), sources=sources))
    return Graph(tuple(nodes), tuple(moved[s] for s in graph.outputs))


def _live(target: Any) -> dict[int, Node]:
    """The recorded nodes by their ids in the snapshot: they still know their arrays of lengths and targets."""
    work: list[Any] = [t._node for t in flat_tensors(target) if t._node is not None]
    seen: dict[int, Any] = {}
    while work:
        edge = work.pop()
        node = edge.node if type(edge) is Output else edge
        if node.counter not in seen:
            seen[node.counter] = node
            work.extend(p for p in getattr(node, "parents", ()) if p is not None)
    return {i: seen[c] for i, c in enumerate(sorted(seen)) if type(seen[c]) is Node}


def _expansion(op: Any, node: NodeInfo, dtypes: list[str], graph: Graph, real: Node | None) -> Graph:
    """The snapshot of a fused op's expansion, its inputs leaves named #0, #1 …"""
    shapes = [graph.nodes[s.id].shapes[s.output] for s in node.sources]
    batch = _batch(node)
    none = (
        op.kind == "recurrent" and max(math.prod(shape) for shape in node.shapes) * 8 > AFFORDABLE and batch is not None
    )
    options = {**op.defaults, **(dict(real.options) if real is not None else node.options)}
    if none and options.get("lengths") is not None:
        options["lengths"] = options["lengths"][:0]
    values = []
    for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        if none and i not in _weights(op):
            shape = tuple(0 if axis == _batch_axis(node, len(shape)) else size for axis, size in enumerate(shape))
        values.append(Tensor(np.zeros(shape, dtype), name=f"#{i}", requires_grad=True))
    absent = [p is None for p in real.parents] if real is not None else _absent(op, len(values))
    given = iter(values)
    arguments = [None if gone else next(given) for gone in absent]
    results = Context().run(_run, op, arguments, options, node.scope)
    sub = take(results)
    if none and batch:
        filled = (
            n._replace(shapes=tuple(tuple(batch if d == 0 else d for d in s) for s in n.shapes)) for n in sub.nodes
        )
        sub = Graph(tuple(filled), sub.outputs)
    return sub


def _run(op: Any, arguments: list[Any], options: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The expansion's results, in the scopes of the fused op."""
    with ExitStack() as stack:
        for name in path:
            stack.enter_context(scope(name))
        results = op.expansion(*arguments, **options)
    return results if isinstance(results, (tuple, list)) else (results,)


def _absent(op: Any, count: int) -> list[bool]:
    """Which optional inputs were left out, from how many came."""
    left = len(op.inputs) - count
    absent = []
    for i in range(len(op.inputs)):
        gone = left > 0 and i in op.optional
        left -= gone
        absent.append(gone)
    return absent


def _weights(op: Any) -> set[int]:
    """The places of inputs without a batch axis."""
    return {i for i, name in enumerate(op.inputs) if "kernel" in name or "bias" in name}


def _batch(node: NodeInfo) -> int | None:
    shape = node.shapes[0]
    return shape[1 if node.options.get("time_major") else 0] if len(shape) == 3 else None


def _batch_axis(node: NodeInfo, ndim: int) -> int:
    return 1 if ndim == 3 and node.options.get("time_major") else 0


def _splice(nodes: list[NodeInfo], sub: Graph, sources: tuple[Source, ...]) -> list[Source]:
    """Append an expansion's nodes, its inputs being `sources`; returns where its results are."""
    moved: dict[Source, Source] = {}
    for node in sub.nodes:
        if node.op is None and (node.name or "").startswith("#"):
            moved[Source(node.id, 0)] = sources[int((node.name or "#0")[1:])]
            continue
        for k in range(len(node.shapes)):
            moved[Source(node.id, k)] = Source(len(nodes), k)
        nodes.append(node._replace(id=len(nodes), sources=tuple(moved[s] for s in node.sources)))
    return [moved[s] for s in sub.outputs]


def running(target: Any) -> dict[int, tuple[int, int]]:
    """For each step at which some rows are past their length: how many still run, of how many. Empty if not known."""
    found: dict[int, tuple[int, int]] = {}
    for node in {} if isinstance(target, Graph) else _live(target).values():
        lengths = node.options.get("lengths")
        if node.op.kind == "recurrent" and lengths is not None and len(node.shape[0]) == 3:
            steps = node.shape[0][0 if node.options.get("time_major") else 1]
            found.update((t, (int((lengths > t).sum()), len(lengths))) for t in range(steps))
        elif node.op.name == "where" and node.saved:
            times = [part[2:] for part in node.scope if part.startswith("t=") and part[2:].isdigit()]
            mask = node.saved[0]
            if times and getattr(mask, "ndim", 0) == 2 and mask.dtype == bool:
                found[int(times[0])] = (int(mask.sum()), len(mask))
    return {t: rows for t, rows in sorted(found.items()) if rows[0] < rows[1]}
