"""Opening fused ops: the same graph with each of them replaced by what it stands for, in primitives."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from contextvars import Context
from typing import Any

import numpy as np

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source, snapshot
from tinygrad_rnn.autodiff.op import operations
from tinygrad_rnn.autodiff.state import scope
from tinygrad_rnn.autodiff.tensor import Tensor

from .live import nodes_of
from .sequences import resized, resized_shapes, sequence_of, sequences_read

INPUT = re.compile(r"x(_?\d+)?|inputs?(_?\d+)?|x_data")
MASK = re.compile(r"mask(_\d+)?")
GIVEN = re.compile(r"#(\d+)(_\d+)?")  # the names of an expansion's inputs, and of their parts by step
STEPWISE = ("recurrent", "linalg")  # kinds of fused ops that pictures of steps open
AFFORDABLE = 2_000_000  # elements of one fused op's result: above it the expansion runs on a batch of none


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


def _named_parts(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for part in path if part) if "" in path else path


def is_mask(leaf: NodeInfo) -> bool:
    """Whether a leaf is what a cell drew (see `RNNCell.draw`), or a step's part of it."""
    return leaf.op is None and leaf.kind == "constant" and bool(MASK.fullmatch(leaf.name or ""))


def picked_axis(node: NodeInfo) -> int | None:
    """The axis along which one index is picked by number, x[:, 3]; None for any other op or index."""
    index = node.options.get("index") if node.op == "getitem" else None
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
        step = next((part for part in node.scope if part.startswith("t=")), None)
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
        if node.op == "scan":
            found.update(s.id for s in node.sources[: sequences_read(node)] if s.id in named)
        elif node.op is not None and node.sources and node.sources[0].id in named:
            long = len(graph.nodes[node.sources[0].id].shapes[0]) == 3
            if long and (node.op in ("matmul", "linear", "unstack") or node.kind == "recurrent"):
                found.add(node.sources[0].id)
    return found | _cut_by_hand(graph, named)


def open_all(target: Any, kinds: tuple[str, ...] | None = None, steps: int | None = None) -> Graph:
    """The graph of `target` with every fused op (or those of some kinds) replaced by its expansion into primitives.

    The expansions run on zeros of the recorded shapes, so it does not matter whether the graph was freed. Of a Graph, whose
    snapshot holds no arrays, lengths are not known and ops that need other arrays stay closed. steps: open recurrent ops
    with so many steps, and without lengths. Where values are wanted, `autodiff.graph.unfuse` opens on the recorded ones.
    """
    graph = take(target)
    fused = _fused(graph, kinds, isinstance(target, Graph))
    if not any(node.op in fused for node in graph.nodes):
        return graph
    live: Any = [None] * len(graph.nodes) if isinstance(target, Graph) else nodes_of(target)
    nodes: list[NodeInfo] = []
    moved: dict[Source, Source] = {}
    for node in graph.nodes:
        sources = tuple(moved[s] for s in node.sources)
        if node.op in fused:
            results = _on_zeros(fused[node.op], node, graph, live[node.id], steps)
            _splice(nodes, _filled(snapshot(results), node), sources, node, results, moved)
        else:
            for k in range(len(node.shapes)):
                moved[Source(node.id, k)] = Source(len(nodes), k)
            nodes.append(node._replace(id=len(nodes), sources=sources))
    return Graph(tuple(nodes), tuple(moved[s] for s in graph.outputs))


def fused_length(graph: Graph) -> int | None:
    """How many steps the graph's fused runs have; None if it has none, they differ, or time steps are recorded as well."""
    found = {run.steps for run in map(sequence_of, graph.nodes) if run is not None}
    timed = any(part.startswith("t=") for node in graph.nodes for part in node.scope)
    return found.pop() if len(found) == 1 and not timed else None


def _fused(graph: Graph, kinds: tuple[str, ...] | None, dead: bool) -> dict[str, Any]:
    """The ops to open, by name. Of a dead snapshot, those that need no arrays beside lengths."""
    fused = {op.name: op for op in operations() if op.expansion is not None and (kinds is None or op.kind in kinds)}
    for node in graph.nodes if dead else ():
        if node.op in fused and not set(fused[node.op].options) <= {*node.options, "lengths"}:
            del fused[node.op]
    return fused


def _on_zeros(op: Any, node: NodeInfo, graph: Graph, real: Any, steps: int | None) -> Any:
    """What a fused op's expansion makes of zeros: of a batch of none, where a real one would be much work."""
    options = {**op.defaults, **(dict(real.options) if real is not None else node.options)}
    shapes = [graph.nodes[s.id].shapes[s.output] for s in node.sources]
    dtypes = [graph.nodes[s.id].dtypes[s.output] for s in node.sources]
    absent = [p is None for p in real.parents] if real is not None else _absent(op, len(shapes))
    sequence = sequence_of(node)
    if sequence is not None:
        size = 0 if _much(node) else sequence.batch, sequence.steps if steps is None else steps
        names = tuple(name for name, gone in zip(op.inputs, absent, strict=False) if not gone)
        options, shapes = resized(node, options, *size), resized_shapes(node, names, shapes, *size)
    inputs = [
        Tensor(np.zeros(shape, dtype), name=f"#{i}", requires_grad=np.dtype(dtype).kind == "f")
        for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
    ]
    given = iter(inputs)
    arguments = [None if gone else next(given) for gone in absent]
    return Context().run(_run, op, arguments, options, node.scope)


def _much(node: NodeInfo) -> bool:
    return math.prod(node.shapes[0]) * 8 > AFFORDABLE


def _filled(sub: Graph, node: NodeInfo) -> Graph:
    """An expansion of a batch of none with the batch put back into its shapes."""
    sequence = sequence_of(node)
    if sequence is None or not sequence.batch or not _much(node):
        return sub
    filled = (n._replace(shapes=tuple(tuple(d or sequence.batch for d in s) for s in n.shapes)) for n in sub.nodes)
    return Graph(tuple(filled), sub.outputs)


def _run(op: Any, arguments: list[Any], options: dict[str, Any], path: tuple[str, ...]) -> Any:
    """The expansion's results, in the scopes of the fused op."""
    with ExitStack() as stack:
        for name in path:
            stack.enter_context(scope(name))
        results = op.expansion(*arguments, **options)
    return results if isinstance(results, (tuple, list)) else (results,)


def _absent(op: Any, count: int) -> list[bool]:
    """Which optional inputs were left out, from how many came."""
    if op.variadic:
        return [False] * count
    left = len(op.inputs) - count
    absent = []
    for i in range(len(op.inputs)):
        gone = left > 0 and i in op.optional
        left -= gone
        absent.append(gone)
    return absent


def _splice(
    nodes: list[NodeInfo],
    sub: Graph,
    sources: tuple[Source, ...],
    fused: NodeInfo,
    results: Any,
    moved: dict[Source, Source],
) -> None:
    """Append an expansion's nodes, its inputs being `sources`; say where the results are."""
    inner: dict[Source, Source] = {}
    for node in sub.nodes:
        given = GIVEN.fullmatch(node.name or "") if node.op is None else None
        if given is not None and given[2] is None:
            inner[Source(node.id, 0)] = sources[int(given[1])]
            continue
        if given is not None:  # a step's part of a constant
            name = nodes[sources[int(given[1])].id].name
            node = node._replace(name=name and name + given[2], label=name or node.kind)
        for k in range(len(node.shapes)):
            inner[Source(node.id, k)] = Source(len(nodes), k)
        nodes.append(
            node._replace(
                id=len(nodes), sources=tuple([inner[s] for s in node.sources]), scope=_named_parts(node.scope)
            )
        )
    recorded = [k for k, result in enumerate(results) if getattr(result, "_node", None) is not None]
    for k, source in zip(recorded, sub.outputs, strict=True):
        moved[Source(fused.id, k)] = inner[source]
