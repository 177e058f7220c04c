"""Opening fused ops: the same graph with each of them replaced by what it stands for, in primitives."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Paths, snapshot, unfuse
from tinygrad_rnn.autodiff.node import Leaf, Node, Output
from tinygrad_rnn.autodiff.op import operations
from tinygrad_rnn.autodiff.tensor import Tensor, registry

STEPWISE = ("recurrent", "linalg")  # kinds of fused ops that pictures of steps open


def take(target: Any) -> Graph:
    """The graph itself, or the snapshot of tensors, without scopes that have no name."""
    graph = target if isinstance(target, Graph) else snapshot(target)
    if not any("" in node.scope for node in graph.nodes):
        return graph
    nodes = (node._replace(scope=tuple(part for part in node.scope if part)) for node in graph.nodes)
    return Graph(tuple(nodes), graph.outputs)


def picked_axis(node: NodeInfo) -> int | None:
    """The axis along which one index is picked by number, x[:, 3]; None for any other op or index."""
    index = node.options.get("index") if node.effect == "picks" else None
    parts = index if isinstance(index, tuple) else (index,)
    whole = [isinstance(part, int) and not isinstance(part, bool) for part in parts]
    plain = all(number or isinstance(part, slice) for number, part in zip(whole, parts, strict=True))
    return whole.index(True) if plain and sum(whole) == 1 else None


def open_all(
    target: Any, kinds: str | tuple[str, ...] | None = None, steps: int | None = None, constants: bool = True
) -> Graph:
    """The graph of `target` with every fused op (or those of some kinds) opened; see `autodiff.graph.unfuse`."""
    if isinstance(target, Graph):
        target = _revived(target)
    return take(unfuse(target, kinds, steps, constants))


def opened_maps(target: Any) -> Graph:
    """The graph of `target` with its linear maps opened, if there are any; recurrent ops stay as they are."""
    graph = take(target)
    fused = any(node.op and node.kind == "linalg" and registry[node.op].expansion is not None for node in graph.nodes)
    return open_all(target, ("linalg",)) if fused else graph


def _leaf(node: NodeInfo) -> Leaf:
    """A leaf like a snapshot's."""
    role = node.kind if node.kind in ("parameter", "mask") else ""
    return Leaf(node.shapes[0], np.dtype(node.dtypes[0]), node.kind in ("parameter", "input"), node.name, role)


def _revived(graph: Graph) -> list[Tensor]:
    """Tensors on a graph like a snapshot's, without values. What a snapshot does not hold, lengths say, is not known."""
    ops = {op.name: op for op in operations()}
    leaves = {node.id: _leaf(node) for node in graph.nodes if node.op is None}
    edges: list[list[Any]] = [[leaves.get(node.id)] for node in graph.nodes]
    paths = Paths(lambda source: None if source is None else edges[source.id][source.output])
    for node in graph.nodes:
        shapes = [(shape, np.dtype(dtype)) for shape, dtype in zip(node.shapes, node.dtypes, strict=True)]
        if node.op is None:
            leaves[node.id].scope = paths(node.scope)
            continue
        op, parents = ops[node.op], [edges[s.id][s.output] for s in node.sources]
        for i in node.without:
            parents.insert(i, None)
        options = {**op.defaults, **node.options}
        shape, dtype = zip(*shapes, strict=True) if op.several else shapes[0]
        made = Node(op, tuple(parents), None, options, shape, dtype, paths(node.scope))
        made.name = node.name
        edges[node.id] = [Output(made, k, *shape) for k, shape in enumerate(shapes)] if op.several else [made]
    return [Tensor._from_array(np.zeros(0), edges[s.id][s.output]) for s in graph.outputs]
