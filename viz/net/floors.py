"""What stands around the time steps, and how high everything stands: work before, between and after the cells.

Ops outside time are gathered into bars by the module they stand in. A bar that treats every step alike is drawn in every
step, as a layer without state; one that mixes the steps (a loss, a pooling) is drawn once, over the steps it reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from tinygrad_rnn.autodiff.graph import NodeInfo, Source

from .layers import Layer, Path
from .steps import Unrolled, hoisted, parameters_of, passes


class Origin(NamedTuple):
    """Where a value comes from: a step of a layer (t None: each in its own column), a bar, or a leaf."""

    layer: int = -1
    t: int | None = None
    bar: int = -1
    leaf: int = -1


@dataclass
class Bar:
    """Work outside time that is drawn once."""

    name: str
    scope: Path
    ops: list[int]
    origins: dict[Origin, None] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    floor: int = 0
    each: int = -1  # the number of the layer it became, if it treats every step alike
    begins: bool = False  # it makes the first state of a layer, and nothing else


class House:
    """Layers and bars on their floors, and what leads from one to another."""

    def __init__(self, found: Unrolled, skipped: int = 0):
        self.found = found
        self.skipped = skipped  # steps between the first and the last that the graph was read without
        self.graph = found.graph
        self.total = max(layer.start + len(layer.steps) for layer in found.layers)
        self.cells = list(found.layers)
        self.bars: list[Bar] = []
        self.bar_of: dict[int, int] = {}
        self.read_by_cells: set[Origin] = set()  # by their first and last steps
        self._gather()
        self._constants()
        self._place_in_time()
        for bar in self.bars:
            self._spread(bar)
        self._begin()
        self._climb()

    # -- tracing back ------------------------------------------------------------------------------------------------

    def origins(self, start: Source, layer: Layer | None = None, pick: int | None = None) -> list[Origin]:
        """What a value is made of, back through ops that only move data and through the layer's own work for all steps.

        Where time was cut (`unstack`) and joined (`stack`) the trail keeps to its own step.
        """
        found: dict[Origin, None] = {}
        work: list[tuple[Source, int | None]] = [(start, pick)]
        seen = set(work)
        while work:
            source, pick = work.pop()
            node = self.graph.nodes[source.id]
            step = self.found.step_of.get(source.id)
            if step is not None:
                found[Origin(step[0], step[1])] = None
            elif source.id in self.bar_of:
                found[self._of_bar(self.bar_of[source.id], pick)] = None
            elif node.op is None:
                if node.kind != "parameter" and (node.name or node.shapes[0]):
                    found[Origin(leaf=node.id)] = None
            elif source.id not in self.found.only_weights:
                for item in self._further(node, source, pick):
                    if item not in seen:
                        seen.add(item)
                        work.append(item)
        return sorted(found)

    def _of_bar(self, number: int, pick: int | None) -> Origin:
        each = self.bars[number].each
        return Origin(bar=number) if each < 0 else Origin(each, pick)

    def _further(self, node: NodeInfo, source: Source, pick: int | None) -> list[tuple[Source, int | None]]:
        """One op back, and which step of time it is about, if one is known."""
        sources = node.sources
        if node.effect == "cuts":
            return [(s, source.output) for s in sources]
        if node.effect == "reverses" and pick is not None:
            return [(s, self.total - 1 - pick) for s in sources]
        if node.effect == "joins" and pick is not None and pick < len(sources):
            return [(sources[pick], None)]
        if node.effect == "selects":
            return [(s, pick) for s in sources if self.graph.nodes[s.id].dtypes[s.output] != "bool"]
        if node.effect == "picks":
            pick = self._picked(node, self.graph.nodes[sources[0].id].shapes[sources[0].output])
        return [(s, pick) for s in sources]

    def _picked(self, node: NodeInfo, shape: tuple[int, ...]) -> int | None:
        """The step that an index picks out of an array over time: outputs[:, -1]."""
        index = node.options.get("index")
        parts = index if isinstance(index, tuple) else (index,)
        for size, part in zip(shape, parts, strict=False):
            if isinstance(part, int) and not isinstance(part, bool) and size in (self.total, self.total + self.skipped):
                step = part % size
                half = self.total // 2  # a step that was left out passes for one between
                return step if size == self.total or step < half else max(step - self.skipped, half)
        return None

    # -- bars --------------------------------------------------------------------------------------------------------

    def _gather(self) -> None:
        """Gather the ops outside time into bars, in order of creation."""
        outer = _common(
            [layer.outer[:-1] if layer.outer[-1:] == (layer.name,) else layer.outer for layer in self.cells]
        )
        for node in self.graph.nodes:
            if (
                node.op is None
                or node.id in self.found.step_of
                or node.id in self.found.only_weights
                or (passes(node) and not self._meets(node))
            ):
                continue
            if any(hoisted(self.found, layer, node) for layer in self.cells):
                continue
            origins = {o for s in node.sources for o in self.origins(s)}
            key = node.scope[: len(_common([outer, node.scope])) + 1]
            key = () if outer[: len(key)] == key else key
            number = self._joins(key, origins)
            if number is None:
                number = len(self.bars)
                self.bars.append(Bar("", key, []))
            bar = self.bars[number]
            bar.ops.append(node.id)
            self.bar_of[node.id] = number
            bar.origins.update(dict.fromkeys(sorted(o for o in origins if o.bar != number)))
            for s in node.sources:
                if s.id in self.found.only_weights:
                    bar.weights.extend(i for i in parameters_of(self.graph, s.id) if i not in bar.weights)
        for bar in self.bars:
            labels = list(dict.fromkeys(self.graph.nodes[i].label for i in bar.ops))
            named = bar.scope and bar.scope[-1].kind != "layer"
            bar.name = bar.scope[-1] if named else " ".join(labels[:3]) + (" …" if len(labels) > 3 else "")

    def _constants(self) -> None:
        """What every step of a layer reads whole, an attention's memory say, is drawn once, with the layer's weights."""
        feeds = self.found.feeds
        for number, layer in enumerate(self.cells):
            each = [feeds.get((number, t), []) for t in layer.steps]
            for source in list(each[0]) if len(each) > 1 else ():
                if all(source in sources for sources in each) and not self._picked_from(source, number):
                    origins = self.origins(source, layer)
                    if origins and all(o.leaf >= 0 for o in origins):
                        layer.weights = [*layer.weights, *(o.leaf for o in origins if o.leaf not in layer.weights)]
                        for sources in each:
                            sources.remove(source)

    def _picked_from(self, source: Source, number: int) -> bool:
        """Whether the steps pick their part of a value themselves, x[:, t]."""
        inside = (self.graph.nodes[i] for i in self.found.places[number][self.found.layers[number].steps[0]])
        return any(source in node.sources and node.effect in ("picks", "gathers") for node in inside)

    def _meets(self, node: NodeInfo) -> bool:
        """Whether single steps of different columns meet in a concatenation."""
        if node.op != "concatenate":
            return False
        each = [[o for o in self.origins(s) if o.leaf < 0] for s in node.sources]
        columns = {self.column(o) for found in each for o in found if o.layer >= 0 and o.t is not None}
        return len(columns) > 1 and all(len(found) == 1 for found in each)

    def _joins(self, key: Path, origins: set[Origin]) -> int | None:
        """The bar that an op belongs to: the last of its module, or for one without a module the one it continues."""
        before = max((o.bar for o in origins), default=-1)
        alike = [i for i, bar in enumerate(self.bars) if bar.scope == key]
        if not alike or (not key and {o.bar for o in origins if o.leaf < 0} != {alike[-1]}):
            return None
        return alike[-1] if alike[-1] >= before else None

    def _spread(self, bar: Bar) -> None:
        """Turn a bar that treats every step alike into a layer that is drawn in every step."""
        columns = self._columns(bar)
        if columns and all(self._each_alike(self.graph.nodes[i], len(columns)) for i in bar.ops):
            bar.each = len(self.found.layers)
            below = {Origin(o.layer, None) if o.layer >= 0 else o for o in bar.origins}
            bar.origins = dict.fromkeys(sorted(below))
            layer = Layer(bar.name, (), steps=columns, weights=bar.weights, kind="each", ops=bar.ops, start=columns[0])
            self.found.layers.append(layer)
            number = self.bars.index(bar)
            for other in self.bars:
                other.origins = {
                    (Origin(bar.each) if o.bar == number and other is not bar else o): None for o in other.origins
                }

    def _begin(self) -> None:
        """Find the bars that make nothing but the first states of layers: they stand where the states begin."""
        read = {o.bar for bar in self.bars for o in bar.origins}
        for (number, _), sources in self.found.feeds.items():
            read |= {o.bar for source in sources for o in self.origins(source, self.found.layers[number])}
        read |= {o.bar for source in self.graph.outputs for o in self.origins(source)}
        for number, bar in enumerate(self.bars):
            bar.begins = number in self.starts and number not in read and not any(o.leaf < 0 for o in bar.origins)

    @cached_property
    def starts(self) -> set[int]:
        """The bars that first states come from."""
        first = (state.source for state in self.found.states if state.tail is None)
        return {o.bar for source in first for o in self.origins(source) if o.bar >= 0}

    def _columns(self, bar: Bar) -> list[int]:
        """The columns of a bar that reads or feeds all the steps of some layers; none if it takes part of them only."""
        numbers = {o.layer for o in bar.origins if o.layer >= 0} or self._readers(bar)
        wanted = {self.found.layers[n].column(t) for n in numbers for t in self.found.layers[n].steps}
        if not any(o.layer >= 0 for o in bar.origins):
            return sorted(wanted)
        reached: set[int] = set()
        for o in bar.origins:
            if o.layer >= 0:
                layer = self.found.layers[o.layer]
                reached.update(layer.column(t) for t in (layer.steps if o.t is None else [o.t]))
        return sorted(wanted) if reached == wanted else []

    def _readers(self, bar: Bar) -> set[int]:
        """The layers whose steps read this bar's result, each step its own part of it."""
        number = self.bars.index(bar)
        readers = set()
        for n, layer in enumerate(self.cells):
            for source in self.found.feeds.get((n, layer.steps[-1]), ()):
                if self.graph.nodes[source.id].effect == "cuts" and number in {
                    o.bar for o in self.origins(source, layer)
                }:
                    readers.add(n)
        for other in self.bars:
            if other is not bar and any(o.bar == number for o in other.origins):
                readers |= self._readers(other)
        return readers

    def _each_alike(self, node: NodeInfo, steps: int) -> bool:
        """Whether an op treats every step alike, as far as can be told: it works on the last axis or element by element."""
        if math.prod(node.shapes[0][:-1]) < steps:
            return False
        if node.kind in ("pointwise", "select") or node.effect in ("picks", "gathers"):
            return True
        if node.effect == "contracts":
            return node.sources[-1].id in self.found.only_weights
        axis = node.options.get("axis", -1)
        return node.kind == "reduce" and axis in (-1, len(node.shapes[0]) - 1)

    # -- places ------------------------------------------------------------------------------------------------------

    def column(self, origin: Origin) -> int:
        """The column of a step."""
        return self.found.layers[origin.layer].column(origin.t or 0)

    def _place_in_time(self) -> None:
        """A layer that takes over another's last state stands to its right."""
        for state in sorted(self.found.states, key=lambda s: s.head):
            head, tail = state.head[0], state.tail
            if tail is not None and tail[0] < head and tail[1] == self.cells[tail[0]].steps[-1]:
                past = self.cells[tail[0]]
                if tail[1] > state.head[1] == self.cells[head].steps[0]:
                    for layer in self.cells:  # all that runs in the same loop stands in the same columns
                        if layer.number == self.cells[head].number:
                            layer.start = past.start + len(past.steps)
        self.total = max(layer.start + len(layer.steps) for layer in self.cells)

    def _climb(self) -> None:
        """Give each layer and bar its floor: above all that it reads in its own step, beside what it continues."""
        layers, bars = self.found.layers, self.bars
        below: dict[int, set[int]] = {}  # layers by number, bars by number after them
        for number in range(len(layers)):
            below[number] = set()
        for i, bar in enumerate(bars):
            below[bar.each if bar.each >= 0 else len(layers) + i] = self._under(list(bar.origins))
        for number, layer in enumerate(self.cells):
            for t in {layer.steps[0], layer.steps[-1]}:
                feeds = [o for s in self.found.feeds.get((number, t), ()) for o in self.origins(s, layer)]
                self.read_by_cells.update(feeds)
                below[number] |= self._under(feeds) - {number}
        beside: dict[int, int] = {}
        for state in self.found.states:
            if state.tail is not None and state.tail[0] != state.head[0]:
                if self.column(Origin(*state.tail)) == self.column(Origin(*state.head)):
                    below[state.head[0]].add(state.tail[0])
                elif state.tail[0] < state.head[0]:
                    beside.setdefault(state.head[0], state.tail[0])
        floors: dict[int, int] = {}
        taken: set[tuple[int, int]] = set()
        for unit in _settled(below, beside):
            floor = max((floors[u] + 1 for u in below[unit] if u in floors), default=0)
            if beside.get(unit) in floors:
                floor = max(floor, floors[beside[unit]])
            columns = range(self.total)
            if unit < len(layers):
                columns = range(layers[unit].start, layers[unit].start + len(layers[unit].steps))
            while any((floor, c) in taken for c in columns):
                floor += 1
            taken.update((floor, c) for c in columns)
            floors[unit] = floor
            if unit < len(layers):
                layers[unit].floor = floor
            else:
                bars[unit - len(layers)].floor = floor

    def _under(self, origins: list[Origin]) -> set[int]:
        return {o.layer if o.layer >= 0 else len(self.found.layers) + o.bar for o in origins if o.leaf < 0}

    def shown_bars(self) -> list[tuple[int, Bar]]:
        return [(i, bar) for i, bar in enumerate(self.bars) if bar.each < 0 and not bar.begins]


def _settled(below: dict[int, set[int]], beside: dict[int, int]) -> list[int]:
    """The units, each after those below it and the one it continues; where that is a circle, by number."""
    order: list[int] = []
    while len(order) < len(below):
        rest = [i for i in sorted(below) if i not in order]
        free = [i for i in rest if below[i] | ({beside[i]} if i in beside else set()) <= {i, *order}]
        order.append((free or rest)[0])
    return order


def _common(scopes: list[Path]) -> Path:
    """What all the paths begin with."""
    same = 0
    while all(len(s) > same and s[same] == scopes[0][same] for s in scopes):
        same += 1
    return scopes[0][:same]
