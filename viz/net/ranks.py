"""Ranks of layers, and of the work before, between and after them: each above all that it reads in its own step.

Ops outside time are gathered into groups by the module they stand in. A group that treats every step alike is drawn in every
step, as a layer without state; one that mixes the steps (a loss, a pooling) is drawn once, over the steps it reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import NamedTuple

from tinygrad_rnn.autodiff.graph import NodeInfo, Source

from .layers import SIDES, Layer, Path, Step, common
from .steps import Net, State, hoisted, parameters_of, passes


class Origin(NamedTuple):
    """Where a value comes from: a step of a layer (t None: each in its own column), a group, or a leaf."""

    layer: int = -1
    t: int | None = None
    group: int = -1
    leaf: int = -1


@dataclass
class Group:
    """Work outside time that is drawn once."""

    name: str
    scope: Path
    ops: list[int]
    origins: dict[Origin, None] = field(default_factory=dict)
    weights: list[int] = field(default_factory=list)
    rank: int = 0
    each: int = -1  # the number of the layer it became, if it treats every step alike
    begins: bool = False  # it makes the first state of a layer, and nothing else


class RankedNet:
    """A net with the work around its layers: layers and groups with their columns and ranks, and the origins of values.

    skipped: how many steps between the first and the last the graph was read without. pairs_share_a_rank: whether the two
    directions of a bidirectional layer stand side by side, not one above the other.
    """

    def __init__(self, net: Net, skipped: int = 0, pairs_share_a_rank: bool = False):
        layers = [replace(layer) for layer in net.layers]  # copies, which get columns and ranks
        self.net = net = replace(net, layers=layers, feeds={step: list(read) for step, read in net.feeds.items()})
        self.skipped = skipped
        self.graph = net.graph
        self.cells = list(net.layers)
        self.groups: list[Group] = []
        self.group_of: dict[int, int] = {}
        self.read_by_cells: set[Origin] = set()  # by their first and last steps
        self._group_ops()
        self._move_shared_inputs()
        self._place_in_time()
        for group in self.groups:
            self._draw_in_every_step(group)
        self._mark_initial()
        self._rank()
        if pairs_share_a_rank:
            self._join_pairs()

    # -- tracing back ------------------------------------------------------------------------------------------------

    def origins(self, start: Source, layer: Layer | None = None, pick: int | None = None) -> list[Origin]:
        """What a value is made of, back through ops that only move data and through the layer's own work for all steps.

        Where time was cut (`unstack`) and joined (`stack`) the trail keeps to its own step.
        """
        origins: dict[Origin, None] = {}
        work: list[tuple[Source, int | None]] = [(start, pick)]
        seen = set(work)
        while work:
            source, pick = work.pop()
            node = self.graph.nodes[source.id]
            step = self.net.step_of.get(source.id)
            if step is not None:
                origins[Origin(step[0], step[1])] = None
            elif source.id in self.group_of:
                origins[self._of_group(self.group_of[source.id], pick)] = None
            elif node.op is None:
                if node.kind != "parameter" and (node.name or node.shapes[0]):
                    origins[Origin(leaf=node.id)] = None
            elif source.id not in self.net.only_weights:
                for item in self._previous(node, source, pick):
                    if item not in seen:
                        seen.add(item)
                        work.append(item)
        return sorted(origins)

    def _of_group(self, number: int, pick: int | None) -> Origin:
        each = self.groups[number].each
        if each < 0:
            return Origin(group=number)
        steps = self.net.layers[each].steps  # its columns, which need not begin at 0
        return Origin(each, steps[pick] if pick is not None and pick < len(steps) else None)

    def _previous(self, node: NodeInfo, source: Source, pick: int | None) -> list[tuple[Source, int | None]]:
        """One op back, and which step of time it is about, if one is known."""
        sources = node.sources
        if node.effect == "cuts":
            return [(s, source.output) for s in sources]
        if node.effect == "reverses" and pick is not None:
            steps = self._length(node.shapes[0][node.options.get("time_axis", 1)])
            return [(s, pick if steps is None else steps - 1 - pick) for s in sources]
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
            steps = self._length(size)
            if isinstance(part, int) and not isinstance(part, bool) and steps is not None:
                step = part % size
                half = steps // 2  # a step that was left out passes for one between
                return step if size == steps or step < half else max(step - self.skipped, half)
        return None

    def _length(self, size: int) -> int | None:
        """How many steps of the graph an axis of this size has; None if it is not time."""
        lengths = {len(layer.steps) for layer in self.cells}
        return next((n for n in (size, size - self.skipped) if n in lengths), None)

    # -- groups --------------------------------------------------------------------------------------------------------

    def _group_ops(self) -> None:
        """Gather the ops outside time into groups, in order of creation."""
        outer = reduce(common, (x.outer[:-1] if x.outer[-1:] == (x.name,) else x.outer for x in self.cells))
        for node in self.graph.nodes:
            if (
                node.op is None
                or node.id in self.net.step_of
                or node.id in self.net.only_weights
                or (passes(node) and not self._joins_columns(node))
            ):
                continue
            if any(hoisted(self.net, layer, node) for layer in self.cells):
                continue
            origins = {o for s in node.sources for o in self.origins(s)}
            key = node.scope[: len(common(outer, node.scope)) + 1]
            key = () if outer[: len(key)] == key else key
            number = self._group_for(key, origins)
            if number is None:
                number = len(self.groups)
                self.groups.append(Group("", key, []))
            group = self.groups[number]
            group.ops.append(node.id)
            self.group_of[node.id] = number
            group.origins.update(dict.fromkeys(sorted(o for o in origins if o.group != number)))
            for s in node.sources:
                if s.id in self.net.only_weights:
                    group.weights.extend(i for i in parameters_of(self.graph, s.id) if i not in group.weights)
        for group in self.groups:
            labels = list(dict.fromkeys(self.graph.nodes[i].label for i in group.ops))
            named = group.scope and group.scope[-1].kind != "layer"
            group.name = group.scope[-1] if named else " ".join(labels[:3]) + (" …" if len(labels) > 3 else "")

    def _move_shared_inputs(self) -> None:
        """What every step of a layer reads whole, an attention's memory say, is drawn once, with the layer's weights."""
        feeds = self.net.feeds
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
        inside = (self.graph.nodes[i] for i in self.net.places[number][self.net.layers[number].steps[0]])
        return any(source in node.sources and node.effect in ("picks", "gathers") for node in inside)

    def _joins_columns(self, node: NodeInfo) -> bool:
        """Whether single steps of different columns meet in a concatenation."""
        if node.effect != "concatenates":
            return False
        each = [[o for o in self.origins(s) if o.leaf < 0] for s in node.sources]
        columns = {self.column(o) for origins in each for o in origins if o.layer >= 0 and o.t is not None}
        return len(columns) > 1 and all(len(origins) == 1 for origins in each)

    def _group_for(self, key: Path, origins: set[Origin]) -> int | None:
        """The group that an op belongs to: the last of its module, or for one without a module the one it continues."""
        before = max((o.group for o in origins), default=-1)
        calls = [id(scope) for scope in key]  # two calls of one module are two groups
        alike = [i for i, group in enumerate(self.groups) if [id(scope) for scope in group.scope] == calls]
        if not alike or (not key and {o.group for o in origins if o.leaf < 0} != {alike[-1]}):
            return None
        return alike[-1] if alike[-1] >= before else None

    def _draw_in_every_step(self, group: Group) -> None:
        """Turn a group that treats every step alike into a layer that is drawn in every step."""
        if self._treats_alike(group):
            columns = self._columns(group)
            group.each = len(self.net.layers)
            below = {Origin(o.layer, None) if o.layer >= 0 else o for o in group.origins}
            group.origins = dict.fromkeys(sorted(below))
            layer = Layer(group.name, (), steps=columns, weights=group.weights, role="each", start=columns[0])
            self.net.layers.append(layer)
            number = self.groups.index(group)
            for other in self.groups:
                other.origins = {
                    (Origin(group.each) if o.group == number and other is not group else o): None for o in other.origins
                }

    def _treats_alike(self, group: Group) -> bool:
        """Whether a group treats every step of the layers around it alike."""
        columns = self._columns(group)
        return bool(columns) and all(self._each_alike(self.graph.nodes[i], len(columns)) for i in group.ops)

    def _mark_initial(self) -> None:
        """Mark the groups that compute nothing but initial states: they are drawn where these states begin."""
        read = {o.group for group in self.groups for o in group.origins}
        for (number, _), sources in self.net.feeds.items():
            read |= {o.group for source in sources for o in self.origins(source, self.net.layers[number])}
        read |= {o.group for source in self.graph.outputs for o in self.origins(source)}
        for number, group in enumerate(self.groups):
            if number in self.starts and number not in read:
                self._merge_with_source(group)
                group.begins = not any(o.leaf < 0 for o in group.origins)

    def _merge_with_source(self, group: Group) -> None:
        """Merge a group that computes an initial state with the group that only it reads: tanh(W x)."""
        while len(group.origins) == 1 and (number := next(iter(group.origins)).group) >= 0:
            other = self.groups[number]
            if sum(Origin(group=number) in g.origins for g in self.groups) > 1 or number in self.starts:
                return
            group.name, group.origins = f"{other.name} {group.name}", other.origins
            group.weights, other.begins = [*other.weights, *group.weights], True

    @cached_property
    def starts(self) -> set[int]:
        """The groups that first states come from."""
        first = (state.source for state in self.net.initial_states if state.source is not None)
        return {o.group for source in first for o in self.origins(source) if o.group >= 0}

    def _columns(self, group: Group) -> list[int]:
        """The columns of a group that reads or feeds all the steps of some layers; none if it takes part of them only."""
        numbers = {o.layer for o in group.origins if o.layer >= 0} or self._readers(group)
        wanted = {self.net.layers[n].column(t) for n in numbers for t in self.net.layers[n].steps}
        if not any(o.layer >= 0 for o in group.origins):
            return sorted(wanted)
        reached: set[int] = set()
        for o in group.origins:
            if o.layer >= 0:
                layer = self.net.layers[o.layer]
                reached.update(layer.column(t) for t in (layer.steps if o.t is None else [o.t]))
        return sorted(wanted) if reached == wanted else []

    def _readers(self, group: Group) -> set[int]:
        """The layers whose steps read this group's result, each step its own part of it."""
        number = self.groups.index(group)
        readers = set()
        for n, layer in enumerate(self.cells):
            for source in self.net.feeds.get((n, layer.steps[-1]), ()):
                if self.graph.nodes[source.id].effect == "cuts" and number in {
                    o.group for o in self.origins(source, layer)
                }:
                    readers.add(n)
        for other in self.groups:
            if other is not group and any(o.group == number for o in other.origins):
                readers |= self._readers(other)
        return readers

    def _each_alike(self, node: NodeInfo, steps: int) -> bool:
        """Whether an op treats every step alike, as far as can be told: it works on the last axis or element by element."""
        if math.prod(node.shapes[0][:-1]) < steps:
            return False
        if node.kind in ("pointwise", "select") or node.effect in ("picks", "gathers"):
            return True
        if node.effect == "contracts":
            return node.sources[-1].id in self.net.only_weights
        axis = node.options.get("axis", -1)
        return node.kind == "reduce" and axis in (-1, len(node.shapes[0]) - 1)

    # -- places ------------------------------------------------------------------------------------------------------

    def column(self, origin: Origin) -> int:
        """The column of a step."""
        return self.net.layers[origin.layer].column(origin.t or 0)

    def _place_in_time(self) -> None:
        """A pass over time that needs the last step of another before its own first one stands to the right of that."""
        for number, layer in enumerate(self.cells):
            ends = {(n, other.steps[-1]): other.start + len(other.steps) for n, other in enumerate(self.cells[:number])}
            starts = [start for step, start in ends.items() if step in self._read_before(number)]
            if starts and max(starts) > layer.start:
                for other in self.cells:  # all that runs in the same loop stands in the same columns
                    if other.number == layer.number:
                        other.start = max(starts)
        self.total = max(layer.start + len(layer.steps) for layer in self.cells)

    def _read_before(self, number: int) -> set[Step]:
        """The steps of other passes that a layer's initial states or all of its steps are made of."""
        layer = self.cells[number]
        first = number, layer.steps[0]
        begun = [s.source for s in self.net.initial_states if s.head == first and s.source is not None]
        begun += [s.source for s in self.net.states if s.head == first and self._hands_on(s)]
        read = [self._steps_behind(self.origins(source, layer)) for source in begun]
        feeds = [
            {step for s in self.net.feeds.get((number, t), ()) for step in self._steps_behind(self.origins(s, layer))}
            for t in {layer.steps[0], layer.steps[len(layer.steps) // 2], layer.steps[-1]}
        ]
        if len(feeds) > 1:
            read.append(set.intersection(*feeds))
        return {step for steps in read for step in steps if self.cells[step[0]].number != layer.number}

    def _hands_on(self, state: State) -> bool:
        """Whether a layer begins with the state with which another one ends."""
        return state.tail[0] != state.head[0] and state.tail[1] == self.cells[state.tail[0]].steps[-1]

    def _steps_behind(self, origins: list[Origin]) -> set[Step]:
        """The steps that origins name, directly or through groups; a group that treats every step alike names none."""
        steps: set[Step] = set()
        work, seen = list(origins), set(origins)
        while work:
            origin = work.pop()
            if origin.layer >= 0:
                steps.add((origin.layer, origin.t or 0))
            elif origin.group >= 0 and not self._treats_alike(self.groups[origin.group]):
                fresh = set(self.groups[origin.group].origins) - seen
                seen |= fresh
                work.extend(fresh)
        return steps

    def _rank(self) -> None:
        """Give each layer and group its rank: above all that it reads in its own step, beside what it continues."""
        layers, groups = self.net.layers, self.groups
        below: dict[int, set[int]] = {}  # layers by number, groups by number after them
        for number in range(len(layers)):
            below[number] = set()
        for i, group in enumerate(groups):
            below[group.each if group.each >= 0 else len(layers) + i] = self._units_of(list(group.origins))
        for number, layer in enumerate(self.cells):
            for t in {layer.steps[0], layer.steps[-1]}:
                feeds = [o for s in self.net.feeds.get((number, t), ()) for o in self.origins(s, layer)]
                self.read_by_cells.update(feeds)
                below[number] |= self._units_of(feeds) - {number}
        beside: dict[int, int] = {}
        for state in self.net.states:
            if state.layer is None:
                if self.column(Origin(*state.tail)) == self.column(Origin(*state.head)):
                    below[state.head[0]].add(state.tail[0])
                elif state.tail[0] < state.head[0]:
                    beside.setdefault(state.head[0], state.tail[0])
        ranks = self._ranks_of(below, beside, {})
        lifted = {tail: ranks[head] for head, tail in beside.items() if ranks[head] > ranks[tail]}
        for unit, rank in (self._ranks_of(below, beside, lifted) if lifted else ranks).items():
            if unit < len(layers):
                layers[unit].rank = rank
            else:
                groups[unit - len(layers)].rank = rank

    def _ranks_of(self, below: dict[int, set[int]], beside: dict[int, int], least: dict[int, int]) -> dict[int, int]:
        """The ranks of units: each at least `least`, and where no other stands in its columns."""
        layers, ranks = self.net.layers, dict[int, int]()
        taken: set[tuple[int, int]] = set()
        begun = {
            len(layers) + i for i, group in enumerate(self.groups) if group.begins
        }  # which stand where states begin
        for unit in (unit for unit in _in_order(below, beside) if unit not in begun):
            rank = max((ranks[u] + 1 for u in below[unit] if u in ranks), default=0)
            rank = max(rank, least.get(unit, 0), ranks.get(beside.get(unit, -1), 0))
            columns = range(self.total)
            if unit < len(layers):
                columns = range(layers[unit].start, layers[unit].start + len(layers[unit].steps))
            while any((rank, c) in taken for c in columns):
                rank += 1
            taken.update((rank, c) for c in columns)
            ranks[unit] = rank
        return ranks

    def _units_of(self, origins: list[Origin]) -> set[int]:
        return {o.layer if o.layer >= 0 else len(self.net.layers) + o.group for o in origins if o.leaf < 0}

    def _join_pairs(self) -> None:
        """Put the two directions of each bidirectional layer side by side, and what stands above them down to them."""
        for pair in dict.fromkeys(layer.pair for layer in self.cells if layer.side):
            fw, bw = ([x for x in self.cells if x.side == side and x.pair == pair] for side in SIDES)
            first, top = min(x.rank for x in bw), max(x.rank for x in bw)
            down = first - min(x.rank for x in fw)
            if down <= max(x.rank for x in fw) - min(x.rank for x in fw):
                continue  # they do not stand one above the other
            height = max(max(x.rank for x in fw), top - down)
            for above in self.net.layers:
                above.rank -= top - height if above.rank > top else 0
            for group in self.groups:
                group.rank -= top - height if group.rank > top else 0
            for layer in bw:
                layer.rank -= down

    def shown_groups(self) -> list[tuple[int, Group]]:
        return [(i, group) for i, group in enumerate(self.groups) if group.each < 0 and not group.begins]


def _in_order(below: dict[int, set[int]], beside: dict[int, int]) -> list[int]:
    """The units, each after those below it and the one it continues; where that is a circle, by number."""
    order: list[int] = []
    while len(order) < len(below):
        rest = [i for i in sorted(below) if i not in order]
        free = [i for i in rest if below[i] | ({beside[i]} if i in beside else set()) <= {i, *order}]
        order.append((free or rest)[0])
    return order
