"""Opening fused ops: the same graph with each of them replaced by what it stands for, in primitives."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Paths, snapshot, unfuse
from tinygrad_rnn.autodiff.node import Leaf, Node, Output
from tinygrad_rnn.autodiff.op import operations
from tinygrad_rnn.autodiff.tensor import Tensor, registry

from .sequences import sequences_read

INPUT = re.compile(r"x(_?\d+)?|inputs?(_?\d+)?|x_data")
MASK = re.compile(r"mask(_\d+)?")
STEPWISE = ("recurrent", "linalg")  # kinds of fused ops that pictures of steps open


def take(target: Any) -> Graph:
    """The graph itself, or the snapshot of tensors, made ready for views.

    Scopes without a name are left out of the paths. A leaf that requires grad and has a name passes for a parameter in a
    snapshot; one that is plainly an input (by its name, or as a sequence that is read) is called one.
    """
    graph = target if isinstance(target, Graph) else snapshot(target)
    inputs = _inputs(graph)
    if not inputs and not any("" in node.scope for node in graph.nodes):
        return graph
    nodes = (
        node._replace(
            scope=tuple(part for part in node.scope if part), kind="input" if node.id in inputs else node.kind
        )
        for node in graph.nodes
    )
    return Graph(tuple(nodes), graph.outputs)


def is_mask(leaf: NodeInfo) -> bool:
    """Whether a leaf is what a cell drew (see `RNNCell.draw`), or a step's part of it."""
    return leaf.op is None and leaf.kind == "constant" and bool(MASK.fullmatch(leaf.name or ""))


def picked_axis(node: NodeInfo) -> int | None:
    """The axis along which one index is picked by number, x[:, 3]; None for any other op or index."""
    index = node.options.get("index") if node.effect == "picks" else None
    parts = index if isinstance(index, tuple) else (index,)
    whole = [isinstance(part, int) and not isinstance(part, bool) for part in parts]
    plain = all(number or isinstance(part, slice) for number, part in zip(whole, parts, strict=True))
    return whole.index(True) if plain and sum(whole) == 1 else None


def _cut_by_hand(graph: Graph, named: set[int]) -> set[int]:
    """Leaves with a time axis of which every step reads an index of its own: y[:, t]."""
    named = {i for i in named if len(graph.nodes[i].shapes[0]) == 3}
    if not named:
        return set()
    times: dict[int, set[str]] = {}  # by a pick: the steps that it is made in, or for
    picks: dict[int, tuple[int, str]] = {}
    for node in graph.nodes:
        step = next((part for part in node.scope if part.kind == "step"), None)
        first = node.sources[0].id if node.sources else -1
        if first in named and picked_axis(node) is not None:
            picks[node.id] = first, repr(node.options["index"])
            times[node.id] = {step} if step else set()
        for source in node.sources:
            if source.id in picks and step is not None:
                times[source.id].add(step)
    read: dict[int, dict[str, set[str]]] = {}
    for i, (leaf, index) in picks.items():
        read.setdefault(leaf, {}).setdefault(index, set()).update(times[i])
    return {leaf for leaf, own in read.items() if own and all(len(steps) == 1 for steps in own.values())}


def _inputs(graph: Graph) -> set[int]:
    """Leaves that are called parameters but are inputs."""
    named = {node.id for node in graph.nodes if node.kind == "parameter" and node.op is None}
    found = {i for i in named if INPUT.fullmatch(graph.nodes[i].name or "")}
    for node in graph.nodes:
        if "run" in node.options and node.kind == "recurrent":
            found.update(s.id for s in node.sources[: sequences_read(node)] if s.id in named)
        elif node.op is not None and node.sources and node.sources[0].id in named:
            long = len(graph.nodes[node.sources[0].id].shapes[0]) == 3
            if long and (node.effect in ("contracts", "cuts") or node.kind == "recurrent"):
                found.add(node.sources[0].id)
    return found | _cut_by_hand(graph, named)


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
    return Leaf(node.shapes[0], np.dtype(node.dtypes[0]), node.kind != "constant", node.name)


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
        if not op.variadic:
            for i in sorted(op.optional):
                if len(parents) < len(op.inputs):
                    parents.insert(i, None)
        options = {**op.defaults, **node.options}
        shape, dtype = zip(*shapes, strict=True) if op.several else shapes[0]
        made = Node(op, tuple(parents), None, options, shape, dtype, paths(node.scope))
        made.name = node.name
        edges[node.id] = [Output(made, k, *shape) for k, shape in enumerate(shapes)] if op.several else [made]
    return [Tensor._from_array(np.zeros(0), edges[s.id][s.output]) for s in graph.outputs]
