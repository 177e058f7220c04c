"""Which ops are one time step, and which steps are one layer: read from the scopes that the graph's nodes record.

A scope of kind "step" says which step an op belongs to, and in which pass over time; steps that were marked one by one,
with `tg.step`, are one pass as long as t goes one way. A layer is the same cell in every step of a pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import neg
from typing import Any, TypeVar

from tinygrad_rnn.autodiff.graph import Graph
from tinygrad_rnn.autodiff.state import Run, Scope

Path = tuple[Scope, ...]
Step = tuple[int, int]  # a layer's number and t
SIDES = ("fw", "bw")
Part = TypeVar("Part")


@dataclass(frozen=True)
class Time:
    """The path of an op, cut at its time step."""

    outer: Path
    step: Scope
    inner: Path

    @property
    def t(self) -> int:
        return self.step.number


@dataclass
class Layer:
    """One cell over time; or, with role "each", other work that is done at every step alike, without a state."""

    name: str
    outer: Path  # the scopes around its time steps
    top: Scope | None = None  # the first scope within a step
    steps: list[int] = field(default_factory=list)  # in the order of running
    runs: list[Run] = field(default_factory=list)  # what its steps recorded
    weights: list[int] = field(default_factory=list)  # parameters' ids, in order of creation
    rank: int = 0
    start: int = 0  # the column of its first step
    backward: bool = False  # runs from the last column to the first
    side: str = ""  # "fw" or "bw": one direction of a pair …
    pair: Path = ()  # … that stands in these scopes
    role: str = "cell"
    number: int = -1  # of its pass over time

    def column(self, t: int) -> int:
        down = len(self.steps) > 1 and self.steps[0] > self.steps[-1]
        index = bisect_left(self.steps, -t, key=neg) if down else bisect_left(self.steps, t)
        return self.start + (len(self.steps) - 1 - index if self.backward else index)


def time_of(path: Path) -> Time | None:
    """A path of scopes cut at its time step; None if it has none."""
    for i, part in enumerate(path):
        if part.kind == "step":
            return Time(path[:i], part, path[i + 1 :])
    return None


def common(a: tuple[Part, ...], b: tuple[Part, ...]) -> tuple[Part, ...]:
    """The scope that holds both."""
    same = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        same += 1
    return a[:same]


def times_of(graph: Graph) -> list[Time | None]:
    """The time of every op; None for leaves."""
    known: dict[int, Time | None] = {}
    for node in graph.nodes:
        if id(node.scope) not in known:
            known[id(node.scope)] = time_of(node.scope)
    return [known[id(node.scope)] if node.op is not None else None for node in graph.nodes]


def layer_names(layers: Sequence[Any]) -> list[str]:
    """A name for each layer that no other has: with its direction, and with a number where several are called alike."""
    names = [f"{layer.name} backward" if layer.backward else layer.name for layer in layers]
    return [f"{name} {names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def gate_of(path: Path) -> str:
    """The gate in whose scope a path ends, as rnn.gate named it; "" if it ends in none."""
    ends = [part for part in path if part.kind != "state"][-1:]
    return str(ends[0]) if ends and ends[0].kind == "gate" else ""


def find_layers(graph: Graph, times: list[Time | None]) -> tuple[list[Layer], dict[int, Step]]:
    """The layers, in the order in which they end, and which step every op belongs to."""
    passes = passes_of(times)
    keys = _keys(graph, times, passes)
    ends = {key: i for i, key in sorted(keys.items())}  # a layer ends after all that it reads
    numbers = {key: number for number, key in enumerate(sorted(ends, key=lambda key: ends[key]))}
    layers: dict[int, Layer] = {}
    step_of: dict[int, Step] = {}
    for i, key in sorted(keys.items()):
        time, number = times[i], numbers[key]
        assert time is not None
        if number not in layers:
            cell = _cell(time.inner)
            layers[number] = Layer(key.name, time.outer, time.inner[0] if cell else None, number=key.number)
        layers[number].runs += [r for r in (time.step.run,) if r is not None and r not in layers[number].runs[-1:]]
        step_of[i] = number, time.t
    steps: dict[int, set[int]] = {}
    for number, t in step_of.values():
        steps.setdefault(number, set()).add(t)
    for number, layer in layers.items():
        falling = passes.falls(layer.runs[0])
        layer.steps = sorted(steps[number], reverse=falling)
        layer.backward = falling or layer.runs[0].reverse
        for i, part in enumerate(layer.outer):
            if part.kind == "direction":
                layer.side, layer.pair = SIDES[part.number], layer.outer[:i]
        layer.backward |= layer.side == "bw"
    return [layers[number] for number in range(len(layers))], step_of


class Passes:
    """The passes over time of a graph: a driver's run is one, and so are steps marked one by one while t goes one way."""

    def __init__(self, marked: Iterable[tuple[Path, Scope]]):
        self.number: dict[int, int] = {}  # by a run's identity
        self._falling: set[int] = set()
        loops: dict[Path, list[Scope]] = {}
        for outer, step in marked:
            assert step.run is not None
            if step.run.complete:
                self.number[id(step.run)] = step.run.number
            else:
                loops.setdefault(outer, []).append(step)
        for steps in loops.values():
            self._divide(sorted(steps, key=lambda step: step.run.number if step.run else 0))

    def _divide(self, steps: list[Scope]) -> None:
        """Put steps that were marked one by one into passes. The same t again is more of the same step, unless the loop
        turns there."""
        falls: bool | None = None
        number, last = -1, 0
        for k, step in enumerate(steps):
            assert step.run is not None
            following = next((s.number for s in steps[k:] if s.number != step.number), None)
            turns = falls is not None and following is not None and (following < step.number) != falls
            goes_on = number >= 0 and (
                (step.number == last and not turns) or (step.number != last and falls in (None, step.number < last))
            )
            if not goes_on:
                number, falls = step.run.number, None
            elif step.number != last:
                falls = step.number < last
                if falls:
                    self._falling.add(number)
            self.number[id(step.run)], last = number, step.number

    def falls(self, run: Run) -> bool:
        """Whether a loop of one's own counts down."""
        return self.number[id(run)] in self._falling


def passes_of(times: list[Time | None]) -> Passes:
    """The passes over time that the times of ops belong to."""
    return Passes({id(time.step): (time.outer, time.step) for time in times if time is not None}.values())


@dataclass(frozen=True)
class _Key:
    """What tells layers apart: the pass, the places in stacks, the cell's name, and which of its calls in the step it is."""

    number: int
    places: Path
    name: str
    call: int


def _keys(graph: Graph, times: list[Time | None], passes: Passes) -> dict[int, _Key]:
    """The layer of every op in a step. What stands in no cell belongs to the cell that it works for."""
    calls: dict[tuple[int, int, Path, str], list[int]] = {}
    steps: dict[int, tuple[int, int]] = {}  # of an op: its pass and t
    keys: dict[int, _Key] = {}
    for i, time in enumerate(times):
        if time is None or time.step.run is None:
            continue
        number = passes.number[id(time.step.run)]
        steps[i] = number, time.t
        cell = _cell(time.inner)
        if cell is not None:
            places = tuple(part for part in time.inner if part.kind == "layer")
            made = calls.setdefault((number, time.t, places, cell), [])
            if id(cell) not in made:
                made.append(id(cell))
            keys[i] = _Key(number, places, str(cell), made.index(id(cell)))
    named = {steps[i] for i in keys}
    stacked = {steps[i] for i, key in keys.items() if key.places}
    for i in [i for i, key in keys.items() if steps[i] in stacked and not key.places]:
        del keys[i]  # the work of a stack for one of its cells
    for i, step in steps.items():
        time = times[i]
        if step not in named and time is not None and time.outer:
            keys[i] = _Key(step[0], (), _own_name(time.outer), 0)
    _assign_to_cells(graph, steps, keys)
    return keys


def _assign_to_cells(graph: Graph, steps: dict[int, tuple[int, int]], keys: dict[int, _Key]) -> None:
    """Give ops of a step that stand in no cell to the cell that they work for, else to a layer called step."""
    outside = [i for i in steps if i not in keys]
    wanted = set(outside)
    users: dict[int, list[int]] = {}
    for node in graph.nodes:
        for source in node.sources:
            if source.id in wanted:
                users.setdefault(source.id, []).append(node.id)
    for i in outside:  # sources first: what follows a cell belongs to it
        near = [keys[s.id] for s in graph.nodes[i].sources if s.id in keys and steps[s.id] == steps[i]]
        if near:
            keys[i] = near[-1]
    for i in reversed(outside):  # what comes before a cell, too
        near = [keys[u] for u in users.get(i, ()) if u in keys and steps[u] == steps[i]]
        if i not in keys and near:
            keys[i] = near[0]
    for i in outside:
        keys.setdefault(i, _Key(steps[i][0], (), "step", 0))


def _cell(inner: Path) -> Scope | None:
    """The scope of the cell on a path inside a step: the one after the last place in a stack, or that place itself."""
    marks = [i for i, part in enumerate(inner) if part.kind == "layer"]
    after = (part for part in inner[marks[-1] + 1 if marks else 0 :] if part.kind in ("scope", "direction"))
    return next(after, inner[marks[-1]] if marks else None)


def _own_name(outer: Path) -> str:
    """What to call a cell by the scopes around its time steps."""
    return next((str(part) for part in reversed(outer) if part.kind != "layer"), "step")
