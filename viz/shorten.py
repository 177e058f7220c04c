"""Leaving out the middle of a long graph before it is read: what is not drawn need not be looked at."""

from __future__ import annotations

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source

from .layers import time_of
from .ops import Scope

Place = tuple[Scope, int]  # the scopes around a pass over time, and t


def recorded_length(graph: Graph) -> int:
    """How many steps of time are recorded, as their scopes tell."""
    return 1 + max((time[1] for node in graph.nodes if (time := time_of(node.scope)) is not None), default=-1)


def shorten(graph: Graph, keep: int) -> tuple[Graph, int]:
    """The graph with the first and last `keep` steps alone, renumbered, and how many were left out.

    Nothing is left out where the passes over time differ in length, where the steps between are not all alike, or where
    anything but a `stack` reads one of them from outside.
    """
    times = [time_of(node.scope) if node.op is not None else None for node in graph.nodes]
    steps: dict[Place, list[int]] = {}
    for i, time in enumerate(times):
        if time is not None:
            steps.setdefault(time[:2], []).append(i)
    total = len({t for _, t in steps})
    skipped = total - 2 * keep
    passes = {outer for outer, _ in steps}
    if skipped < 2 or len(steps) != total * len(passes) or any((outer, total - 1) not in steps for outer in passes):
        return graph, 0
    if not all(_alike(graph, steps, outer, range(keep - 1, total - keep)) for outer in passes):
        return graph, 0
    found = _Cut(graph, times, steps, keep, total).graph()
    return (found, skipped) if found is not None else (graph, 0)


def _alike(graph: Graph, steps: dict[Place, list[int]], outer: Scope, between: range) -> bool:
    """Whether the same ops ran at each of these steps, in the same order."""
    first = [graph.nodes[i].op for i in steps[outer, between[0]]]
    return all([graph.nodes[i].op for i in steps[outer, t]] == first for t in between)


class _Cut:
    """The work of leaving out; a source that would be lost raises LookupError within."""

    def __init__(
        self,
        graph: Graph,
        times: list[tuple[Scope, int, Scope] | None],
        steps: dict[Place, list[int]],
        keep: int,
        total: int,
    ):
        self.old, self.times, self.steps, self.keep, self.total = graph, times, steps, keep, total
        self.ids: dict[int, int] = {}  # new ids by the old
        self.scopes: dict[Scope, Scope] = {}

    def graph(self) -> Graph | None:
        """The shorter graph, or None if something that is kept reads what is left out."""
        kept = [node for node in self.old.nodes if not self._dropped(node.id)]
        read = {s.id for node in kept for s in node.sources} | {s.id for s in self.old.outputs}
        nodes: list[NodeInfo] = []
        try:
            for node in kept:
                if node.op is not None or node.id in read:
                    nodes.append(self._moved(node, len(nodes)))
            return Graph(tuple(nodes), tuple(self._source(s) for s in self.old.outputs))
        except LookupError:
            return None

    def _dropped(self, i: int) -> bool:
        time = self.times[i]
        return time is not None and self.keep <= time[1] < self.total - self.keep

    def _moved(self, node: NodeInfo, id: int) -> NodeInfo:
        time, sources, shapes, scope = self.times[node.id], node.sources, node.shapes, node.scope
        if node.op == "stack" and time is None:
            sources = tuple(s for s in sources if not self._dropped(s.id))
        elif node.op == "unstack" and len(shapes) == self.total:
            shapes = shapes[: self.keep] + shapes[-self.keep :]
        made = time_of(scope) if node.op is None else time
        if made is not None and made[1] >= self.keep:
            scope = self.scopes.get(scope) or self.scopes.setdefault(scope, self._renumbered(scope, made))
        self.ids[node.id] = id
        return node._replace(id=id, sources=tuple([self._source(s, time) for s in sources]), shapes=shapes, scope=scope)

    def _renumbered(self, scope: Scope, time: tuple[Scope, int, Scope]) -> Scope:
        return (*time[0], f"t={self._number(time[1])}", *time[2])

    def _number(self, t: int) -> int:
        return t if t < self.keep else max(t - self.total, -self.keep) + 2 * self.keep

    def _source(self, source: Source, reader: tuple[Scope, int, Scope] | None = None) -> Source:
        """Where a source is now: of the step before the last ones, its like in the last of the first ones."""
        i, output = source
        there = self.times[i]
        if self._dropped(i):
            if there is None or reader is None or there[1] != reader[1] - 1:
                raise LookupError
            i = self.steps[there[0], self.keep - 1][self.steps[there[:2]].index(i)]
        node = self.old.nodes[i]
        if node.op == "unstack" and there is None and len(node.shapes) == self.total:
            if self.keep <= output < self.total - self.keep:
                raise LookupError
            output = self._number(output)
        return Source(self.ids[i], output)
