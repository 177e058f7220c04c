"""Leaving out the middle of a long graph before it is read: what is not drawn need not be looked at."""

from __future__ import annotations

from typing import Any

from tinygrad_rnn.autodiff.graph import Graph, NodeInfo, Source
from tinygrad_rnn.autodiff.state import Run, Scope

from .layers import Path, passes_of, times_of
from .sequences import sequence_of
from .unfused import STEPWISE, open_all

Place = tuple[int, int]  # a pass over time, and t


def length_of(graph: Graph) -> int:
    """How many steps of time a graph has, fused or recorded; 0 if that is not one number."""
    return (fused_length(graph) or 0) if has_fused_runs(graph) else recorded_length(graph)


def few_steps(graph: Graph, target: Any, keep: int) -> tuple[Graph, int]:
    """The graph of `target` with the first and last `keep` steps alone, fused runs opened, and how many were left out."""
    if not has_fused_runs(graph):
        return shorten(graph, keep)
    left_out = max((fused_length(graph) or 0) - 2 * keep, 0)
    return open_all(target, STEPWISE, 2 * keep if left_out else None), left_out


def all_steps(graph: Graph, target: Any) -> Graph:
    """The graph of `target` with its fused runs opened."""
    return open_all(target, STEPWISE) if has_fused_runs(graph) else graph


def has_fused_runs(graph: Graph) -> bool:
    """Whether runs over time are single nodes."""
    return any(node.kind == "recurrent" for node in graph.nodes)


def fused_length(graph: Graph) -> int | None:
    """How many steps the graph's fused runs have; None if it has none, they differ, or time steps are recorded as well."""
    lengths = {run.steps for run in map(sequence_of, graph.nodes) if run is not None}
    timed = any(part.kind == "step" for node in graph.nodes for part in node.scope)
    return lengths.pop() if len(lengths) == 1 and not timed else None


def recorded_length(graph: Graph) -> int:
    """How many steps of time are recorded, as their scopes tell."""
    return 1 + max((time.t for time in times_of(graph) if time is not None), default=-1)


def shorten(graph: Graph, keep: int) -> tuple[Graph, int]:
    """The graph with the first and last `keep` steps alone, renumbered, and how many were left out.

    Nothing is left out where the passes over time differ in length, where the steps between are not all alike, or where
    anything but a `stack` reads one of them from outside.
    """
    times = times_of(graph)
    passes = passes_of(times)
    places = [(passes.number[id(time.step.run)], time.t) if time is not None else None for time in times]
    steps: dict[Place, list[int]] = {}
    for i, place in enumerate(places):
        if place is not None:
            steps.setdefault(place, []).append(i)
    total = len({t for _, t in steps})
    skipped = total - 2 * keep
    numbers = {number for number, _ in steps}
    if skipped < 2 or len(steps) != total * len(numbers) or any((n, total - 1) not in steps for n in numbers):
        return graph, 0
    if not all(_alike(graph, steps, number, range(keep - 1, total - keep)) for number in numbers):
        return graph, 0
    shorter = _Cut(graph, places, steps, keep, total).graph()
    return (shorter, skipped) if shorter is not None else (graph, 0)


def _alike(graph: Graph, steps: dict[Place, list[int]], number: int, between: range) -> bool:
    """Whether the same ops ran at each of these steps, in the same order."""
    first = [graph.nodes[i].op for i in steps[number, between[0]]]
    return all([graph.nodes[i].op for i in steps[number, t]] == first for t in between)


class _Cut:
    """Builds the shorter graph; a reader of a step that is left out raises LookupError within."""

    def __init__(self, graph: Graph, places: list[Place | None], steps: dict[Place, list[int]], keep: int, total: int):
        self.old, self.places, self.steps, self.keep, self.total = graph, places, steps, keep, total
        self.ids: dict[int, int] = {}  # new ids by the old
        self.parts: dict[int, Scope] = {}
        self.runs: dict[int, Run] = {}
        self.paths: dict[int, Path] = {}
        self.received: list[tuple[Run, list[tuple[str, Source]]]] = []

    def graph(self) -> Graph | None:
        """The shorter graph, or None if something that is kept reads what is left out."""
        kept = [node for node in self.old.nodes if not self._dropped(node.id)]
        read = {s.id for node in kept for s in node.sources} | {s.id for s in self.old.outputs}
        nodes: list[NodeInfo] = []
        try:
            for node in kept:
                if node.op is not None or node.id in read:
                    nodes.append(self._moved(node, len(nodes)))
            for run, received in self.received:
                run.initial_states = [
                    (name, None if s is None else Source(self.ids[s.id], s.output))
                    for name, s in received
                    if s is None or s.id in self.ids
                ]
            return Graph(tuple(nodes), tuple(self._source(s) for s in self.old.outputs))
        except LookupError:
            return None

    def _dropped(self, i: int) -> bool:
        place = self.places[i]
        return place is not None and self.keep <= place[1] < self.total - self.keep

    def _moved(self, node: NodeInfo, id: int) -> NodeInfo:
        place, sources, shapes = self.places[node.id], node.sources, node.shapes
        if node.effect == "joins" and place is None:
            sources = tuple(s for s in sources if not self._dropped(s.id))
        elif node.effect == "cuts" and len(shapes) == self.total:
            shapes = shapes[: self.keep] + shapes[-self.keep :]
        self.ids[node.id] = id
        sources = tuple([self._source(s, place) for s in sources])
        return node._replace(id=id, sources=sources, shapes=shapes, scope=self._path(node.scope))

    def _path(self, path: Path) -> Path:
        """A path with its step renumbered."""
        if (renumbered := self.paths.get(id(path))) is None:
            renumbered = self.paths[id(path)] = tuple(
                self._part(part) if part.kind == "step" else part for part in path
            )
        return renumbered

    def _part(self, step: Scope) -> Scope:
        if (renumbered := self.parts.get(id(step))) is None:
            t = self._number(step.number)
            renumbered = self.parts[id(step)] = Scope(f"t={t}", "step", t, self._run(step.run))
        return renumbered

    def _run(self, run: Run | None) -> Run | None:
        """A run that tells the states it began with by their new places."""
        if run is None or id(run) in self.runs:
            return None if run is None else self.runs[id(run)]
        self.runs[id(run)] = Run(run.reverse, run.lengths, run.complete, run.number)
        self.received.append((self.runs[id(run)], run.initial_states))
        return self.runs[id(run)]

    def _number(self, t: int) -> int:
        return t if t < self.keep else max(t - self.total, -self.keep) + 2 * self.keep

    def _source(self, source: Source, reader: Place | None = None) -> Source:
        """Where a source is now: of the step before the last ones, its like in the last of the first ones."""
        i, output = source
        there = self.places[i]
        if self._dropped(i):
            if there is None or reader is None or there[1] != reader[1] - 1:
                raise LookupError
            i = self.steps[there[0], self.keep - 1][self.steps[there].index(i)]
        node = self.old.nodes[i]
        if node.effect == "cuts" and there is None and len(node.shapes) == self.total:
            if self.keep <= output < self.total - self.keep:
                raise LookupError
            output = self._number(output)
        return Source(self.ids[i], output)
