"""Finding layers in a graph: which ops are one step of time, and which steps are one cell over time.

The drivers push a scope "t=3" for every step and a cell its name; nothing else marks time. Ops of one t that are joined
by edges are one step. A layer is the same place in every step (same outer scopes, same cell, same pass over time), in
steps that hand a state on from one to the next.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field
from functools import lru_cache
from operator import neg

from tinygrad_rnn.autodiff.graph import Graph
from tinygrad_rnn.program.naming import Name

from .ops import Scope

STACK = re.compile(r"cell_(\d+)")
SIDES = ("fw", "bw")  # what the driver calls the two directions
SIDES_OF_NAMES = {"forward_": "fw", "backward_": "bw"}  # how layers.Bidirectional begins the names of its two
OTHER_NAMES = {"forward_": "backward_", "backward_": "forward_"}

Step = tuple[int, int]  # a layer's number and t
Time = tuple[Scope, int, Scope] | None  # of an op: the scopes outside its step, t, those inside
Key = tuple[Scope, int, str, tuple[str, ...]]  # of an op: outer scopes, pass over time, cell, places in stacks


@dataclass
class Layer:
    """One cell over time; or, with kind "each", other work that is done at every step alike, without a state."""

    name: str
    outer: Scope  # the scopes around its time steps
    top: str = ""  # the first scope within a step
    steps: list[int] = field(default_factory=list)  # in the order of running
    weights: list[int] = field(default_factory=list)  # parameters' ids, in order of creation
    floor: int = 0
    start: int = 0  # the column of its first step
    backward: bool = False  # runs from the last column to the first
    side: str = ""  # "fw" or "bw": one direction of a pair …
    pair: Scope = ()  # … that stands in these scopes
    kind: str = "cell"
    ops: list[int] = field(default_factory=list)  # of kind "each"

    def column(self, t: int) -> int:
        down = len(self.steps) > 1 and self.steps[0] > self.steps[-1]
        index = bisect_left(self.steps, -t, key=neg) if down else bisect_left(self.steps, t)
        return self.start + (len(self.steps) - 1 - index if self.backward else index)


def time_of(scope: Scope) -> Time:
    """A scope path cut at its time step: what lies outside, t, what lies inside."""
    i = _place_of_time(scope)
    return None if i < 0 else (scope[:i], int(scope[i][2:]), scope[i + 1 :])


@lru_cache(maxsize=1 << 16)
def _place_of_time(scope: Scope) -> int:
    """Which part of a path is the time step; -1 if none is."""
    return next((i for i, part in enumerate(scope) if part.startswith("t=") and part[2:].isdecimal()), -1)


def gate_of(scope: Scope) -> str:
    """The gate or state in whose scope a path ends, as rnn.gate named it, or by a letter; "" if it ends in none."""
    last = scope[-1] if scope else ""
    return last if type(last) is Name or len(last) == 1 else ""


def find_layers(graph: Graph, times: list[Time]) -> tuple[list[Layer], dict[int, Step]]:
    """Name the layers and say which step every op belongs to."""
    groups = _groups(graph, times)
    falling = _falling(graph, times, groups)
    ranks = _ranks(graph, times, groups, falling)
    keys: dict[int, Key] = {}
    named = {groups[i] for i, time in enumerate(times) if time and _cell_name(time[2])}
    for node, time in zip(graph.nodes, times, strict=True):
        if time is not None and (_cell_name(time[2]) or (time[0] and groups[node.id] not in named)):
            keys[node.id] = (time[0], ranks[node.id], _cell_name(time[2]) or _own_name(time[0]), _stack(time[2]))
    _adopt(graph, times, groups, keys, ranks)
    run_of = _runs(graph, times, groups, keys)
    ends = {run_of[i]: i for i in sorted(keys)}  # a layer ends after all that it reads
    numbers = {run: number for number, run in enumerate(sorted(ends, key=lambda run: ends[run]))}
    found: dict[int, Layer] = {}
    step_of: dict[int, Step] = {}
    steps: dict[int, set[int]] = {}
    for i, key in sorted(keys.items()):
        time = times[i]
        assert time is not None
        number = numbers[run_of[i]]
        if number not in found:
            found[number] = Layer(key[2], key[0], time[2][0] if _cell_name(time[2]) else "")
            found[number].backward = groups[i] in falling
        step_of[i] = (number, time[1])
        steps.setdefault(number, set()).add(time[1])
    layers = [found[number] for number in range(len(found))]
    for number, layer in enumerate(layers):
        layer.steps = sorted(steps[number], reverse=layer.backward)
    _set_sides(layers, {step_of[i][0] for i in sorted(step_of) if _reads_reversed(graph, i)})
    return layers, step_of


def _groups(graph: Graph, times: list[Time]) -> list[int]:
    """For every op in a step, the id of the first op of its step: ops joined by edges within one t (union-find)."""
    joined = _Joined()
    for node, time in zip(graph.nodes, times, strict=True):
        for source in node.sources if time else ():
            other = times[source.id]
            if other is not None and time is not None and other[:2] == time[:2]:
                joined.join(node.id, source.id)
    return [joined.first(i) for i in range(len(graph.nodes))]


class _Joined:
    """Numbers that are joined two by two (union-find); the smallest stands for all that it is joined with."""

    def __init__(self) -> None:
        self.root: dict[int, int] = {}

    def first(self, i: int) -> int:
        root = self.root
        while (above := root.get(i, i)) != i:
            root[i] = root.get(above, above)
            i = above
        return i

    def join(self, a: int, b: int) -> None:
        a, b = self.first(a), self.first(b)
        self.root[max(a, b)] = min(a, b)


def _falling(graph: Graph, times: list[Time], groups: list[int]) -> set[int]:
    """The steps, by their first op, of loops that count down: all their arrows go from a larger t to a smaller."""
    joined, arrows = _Joined(), []
    for node, time in zip(graph.nodes, times, strict=True):
        for source in node.sources if time else ():
            there = times[source.id]
            if time is not None and there is not None and there[0] == time[0] and there[1] != time[1]:
                joined.join(groups[node.id], groups[source.id])
                arrows.append((groups[node.id], there[1] > time[1]))
    rising = {joined.first(group) for group, falls in arrows if not falls}
    down = {joined.first(group) for group, falls in arrows if falls} - rising
    return {group for group in set(groups) if joined.first(group) in down} if down else set()


def _ranks(graph: Graph, times: list[Time], groups: list[int], falling: set[int]) -> list[int]:
    """How many passes over time lie before each node: one ends where its results leave it, or where t falls back (rises, in a
    loop that counts down)."""
    rank = [0] * len(graph.nodes)
    turn = [(-t[1] if groups[i] in falling else t[1]) if t else 0 for i, t in enumerate(times)]
    for _ in range(2):  # a second time, for ops that came before what told their step's rank
        for node in graph.nodes:
            here, best = times[node.id], rank[node.id]
            for source in node.sources:
                there = times[source.id]
                value = rank[groups[source.id]] if there else rank[source.id]
                if there is not None and (here is None or turn[source.id] > turn[node.id]):
                    value += 1
                best = max(best, value)
            rank[node.id] = best
            if here is not None:
                rank[groups[node.id]] = max(rank[groups[node.id]], best)
    return [rank[groups[i]] if times[i] else rank[i] for i in range(len(rank))]


def _runs(graph: Graph, times: list[Time], groups: list[int], keys: dict[int, Key]) -> dict[int, int]:
    """Which run over time each op belongs to: steps of one key that hand something on, and steps that stand alone.

    Runs that share a t are layers of their own, as of two nets with one name, unless they took turns and do different
    work: then they are parts of one cell that have nothing to do with each other.
    """
    pieces: dict[tuple[Key, int], int] = {}
    piece_of = {i: pieces.setdefault((key, groups[i]), len(pieces)) for i, key in sorted(keys.items())}
    joined = _Joined()
    for i, key in keys.items():
        for source in graph.nodes[i].sources:
            other = piece_of.get(source.id)
            if other is not None and other != piece_of[i] and keys[source.id] == key:
                joined.join(piece_of[i], other)
    chains: dict[int, _Chain] = {}
    for i, piece in piece_of.items():
        time = times[i]
        assert time is not None
        chain = chains.setdefault(joined.first(piece), _Chain(keys[i], i))
        chain.last = i
        chain.work.setdefault(time[1], []).append(graph.nodes[i].op)
    runs: dict[Key, list[_Chain]] = {}
    for chain in chains.values():
        alike = runs.setdefault(chain.key, [])
        home = next((run for run in alike if run.takes(chain)), None)
        if home is None:
            alike.append(chain)
        else:
            chain.run = home.run
            home.last = max(home.last, chain.last)
            home.work.update(chain.work)
    return {i: chains[joined.first(piece)].run for i, piece in piece_of.items()}


class _Chain:
    """Steps that hand something on, one to the next."""

    def __init__(self, key: Key, first: int):
        self.key, self.run, self.first, self.last = key, first, first, first
        self.work: dict[int, list[str | None]] = {}  # by t, the ops in order

    def takes(self, other: _Chain) -> bool:
        """Whether both are one layer."""
        common = self.work.keys() & other.work.keys()
        turns = self.first < other.last and other.first < self.last
        return not common or (turns and any(self.work[t] != other.work[t] for t in common))


def _reads_reversed(graph: Graph, i: int) -> bool:
    """Whether an op reads a step of what a driver has turned round."""
    cuts = [graph.nodes[s.id] for s in graph.nodes[i].sources if graph.nodes[s.id].op == "unstack"]
    return any(graph.nodes[cut.sources[0].id].op == "reverse_sequence" for cut in cuts)


def _set_sides(layers: list[Layer], turned: set[int]) -> None:
    """Say which layers are one direction of a pair, by the names that the drivers and layers give to both, or to one
    where the other, of a name of its own, reads what was turned round."""
    places = {layer.outer[: i + 1] for layer in layers for i in range(len(layer.outer))}
    for layer in layers:
        for i, part in enumerate(layer.outer):
            prefix = next((p for p in SIDES_OF_NAMES if part.startswith(p)), "")
            twin = (*layer.outer[:i], OTHER_NAMES.get(prefix, "") + part.removeprefix(prefix))
            if part in SIDES and not (i > 0 and layer.outer[i - 1] in SIDES):  # a cell may be called fw, too
                layer.side, layer.pair = part, layer.outer[:i]
            elif prefix and twin in places:
                layer.side, layer.pair = SIDES_OF_NAMES[prefix], layer.outer[:i]
    for number in sorted(turned):
        layer = layers[number]
        for i in range(len(layer.outer) if not layer.side else 0):
            beside = [
                x for x in layers if x.outer[:i] == layer.outer[:i] and x.outer[i : i + 1] != layer.outer[i : i + 1]
            ]
            alone = [x for x in beside if x.outer[i : i + 1] and x.outer[i].startswith("forward_") and not x.side]
            for other, side in [(layer, "bw"), *((x, "fw") for x in alone)] if alone else []:
                other.side, other.pair = side, layer.outer[:i]
    for layer in layers:
        layer.backward = layer.backward or layer.side == "bw"


def _cell_name(rest: Scope) -> str:
    """What to call the cell of a path inside a step: the part after the last place in a stack; "" if only gates follow."""
    return _name_within(rest[:-1] if gate_of(rest) else rest)


@lru_cache(maxsize=4096)
def _name_within(rest: Scope) -> str:
    marks = [i for i, part in enumerate(rest) if STACK.fullmatch(part)]
    at = marks[-1] + 1 if marks else 0
    inner = [part for part in rest[at:] if len(part) > 1]
    return inner[0] if inner else rest[marks[-1]] if marks else ""


@lru_cache(maxsize=4096)
def _stack(rest: Scope) -> tuple[str, ...]:
    """The places in stacks that a path inside a step names."""
    return tuple(part for part in rest if STACK.fullmatch(part))


@lru_cache(maxsize=4096)
def _own_name(outer: Scope) -> str:
    """What to call a cell by the scopes around its time steps."""
    for i in range(len(outer) - 1, -1, -1):
        side = outer[i] in SIDES and not (i > 0 and outer[i - 1] in SIDES)  # a cell may be called fw, too
        if not side and not STACK.fullmatch(outer[i]):
            return outer[i]
    return "step"


def _adopt(
    graph: Graph,
    times: list[Time],
    groups: list[int],
    keys: dict[int, Key],
    ranks: list[int],
) -> None:
    """Give ops of a step that stand in no cell (or in a stack, but in none of its cells) to the cell they work for."""
    stacked = {groups[i] for i, key in keys.items() if key[3]}
    for i in [i for i, key in keys.items() if groups[i] in stacked and not key[3]]:
        del keys[i]
    users: dict[int, list[int]] = {}
    for node in graph.nodes:
        for source in node.sources:
            users.setdefault(source.id, []).append(node.id)
    lost = [i for i, time in enumerate(times) if time and i not in keys]
    for i in lost:  # sources first: what follows a cell belongs to it
        near = [keys[s.id] for s in graph.nodes[i].sources if s.id in keys and groups[s.id] == groups[i]]
        if near:
            keys[i] = near[-1]
    for i in reversed(lost):  # what comes before a cell, too
        near = [keys[u] for u in users.get(i, ()) if u in keys and groups[u] == groups[i]]
        if i not in keys and near:
            keys[i] = near[0]
    for i in lost:
        time = times[i]
        if i not in keys and time is not None:
            keys[i] = (time[0], ranks[i], "step", ())
