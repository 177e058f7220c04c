"""Drawing an unrolled net into its places."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from tinygrad_rnn.autodiff.graph import Source

from ..net.floors import Origin
from ..net.layers import Layer, Step
from ..net.opened import INPUT, is_mask, picked_axis
from ..net.steps import State, final_states, name_of, parameters_of, passes
from . import legend, style
from .arrows import Arrows, spot
from .picture import Box, Picture, Point
from .places import CELL, EACH, ENDS, ENDS_APART, LINE
from .route import rounded

LETTERS = {"kernel": "W", "recurrent_kernel": "U", "bias": "b", "recurrent_bias": "b′", "weight": "W", "table": "E"}

LETTERS_OF_STARTS = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "b′"}  # PyTorch's


Key = tuple[int, str]  # an input: its leaf (-1: not in the graph), and its name without a number
NAMELESS: Key = (-1, "x")
BESIDE = 62.0  # from one input of a step to the next


class Grid(Arrows):
    """Builds the picture of an unrolled net."""

    # -- drawing -----------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """The whole picture."""
        self.frames()
        for number, layer in enumerate(self.layers):
            self.cells(number, layer)
        for number, bar in self.house.shown_bars():
            self.bar(number, list(bar.origins))
        for number, bar in self.house.shown_bars():
            self.into_bar(number, list(bar.origins))
        for step, origins in sorted(self.feeds.items()):
            self.feed(step, origins)
        self.states()
        self.outputs()
        self.shade()
        for number, layer in enumerate(self.layers):
            if layer.weights and not self.shared_weights(number, layer):
                self.weights(number, layer)
        return legend.add(self.result, self.shading.scale if self.shading else None, self.labels.legend)

    def shade(self) -> None:
        """Shade cells, and the arrows that carry a state, by what was measured there."""
        if self.shading is None:
            return
        scale, values = self.shading.scale, self.shading.values
        for (step, name), value in values.items():
            node = self.drawn.get(f"l{step[0]}t{step[1]}")
            if node is not None and (name == self.shading.of or node.fill is None):
                node.fill = scale.fill(value)
                node.tip = f"{self.shading.tip.format(self.at(name, self.column(step)))} = {value:.3g}"
        for edge in self.result.edges:
            if edge.state in values:
                edge.look = scale.line(values[edge.state])

    def frames(self) -> None:
        """A frame around every step."""
        half = self.pitch / 2 - 13
        for column in self.shown:
            if column is not None:
                x = self.x(column)
                corners = (x - half, self.bottom, x + half, self.top)
                number = self.number(column)
                rows = f"{self.rows[number].sum()} of {len(self.rows[number])} rows" if number in self.rows else ""
                title = f"t={self.time(column)}" + (f"   {rows}" if rows else "")
                self.result.boxes.append(
                    Box(f"t{column}", title, "step", None, corners, step=column, time=self.time(column))
                )

    def cells(self, number: int, layer: Layer) -> None:
        names = " ".join(self.letter(i) for i in layer.weights)
        if style.text_width(names) > CELL[0] - 10:
            names = f"{len(layer.weights)} weight{'s' * (len(layer.weights) != 1)}"
        for t in layer.steps:
            if self.is_shown((number, t)):
                lines = (style.fitted(layer.name, CELL[0]), *([names] if names else ()))
                role = "cell" if number in self.recurrent else "each"
                column, at = layer.column(t), self.place((number, t))
                fields: Any = {"box": f"t{column}", "layer": number, "step": column}
                self.node(f"l{number}t{t}", lines, role, at, self.size(layer), **fields)

    def letter(self, i: int) -> str:
        """The short name of a weight."""
        name = self.found.graph.nodes[i].name or "?"
        last = name.rpartition(".")[2]
        start = next((s for s in LETTERS_OF_STARTS if last.startswith(s)), None)
        return LETTERS_OF_STARTS[start] if start else LETTERS.get(last, style.shown(name, 12))

    # -- upwards: inputs, layers, bars, outputs ----------------------------------------------------------------------

    def read_by(self, origins: list[Origin]) -> list[Step]:
        """The steps shown that a bar reads."""
        read = [(o.layer, o.t) for o in origins if o.layer >= 0]
        steps = [(n, s) for n, t in read for s in (self.layers[n].steps if t is None else [t])]
        return [step for step in steps if self.is_shown(step)]

    def bar(self, number: int, origins: list[Origin]) -> None:
        """Work that is done once: over the columns it reads, or all."""
        bar = self.house.bars[number]
        columns = sorted({self.column(s) for s in self.read_by(origins)})
        if not columns:
            readers = [self.column(step) for step, found in self.feeds.items() if Origin(bar=number) in found]
            lower = [self.drawn[f"bar{o.bar}"].at for o in origins if o.bar >= 0 and f"bar{o.bar}" in self.drawn]
            columns = sorted(set(readers))
            middle = lower[0][0] if lower and lower[0] else None
        weights = " ".join(style.shown(self.found.graph.nodes[i].name or "?", 20) for i in bar.weights)
        lines = (style.shown(bar.name, 30), *([weights] if weights else ()))
        wide, tall = style.fitting_size(lines, "box")
        if columns:
            left, right = self.x(columns[0]), self.x(columns[-1])
            wide, middle = max(wide, right - left + CELL[0]), (left + right) / 2
        self.node(f"bar{number}", lines, "bar", (middle or 0.0, self.height[bar.floor]), (wide, max(tall, 30.0)))

    def into_bar(self, number: int, origins: list[Origin]) -> None:
        """Arrows from the steps and the bars that a bar reads; where other bars are in the way, around them."""
        head = f"bar{number}"
        steps = {step: f"l{step[0]}t{step[1]}" for step in self.read_by(origins)}
        places = [self.place(step) for step in steps]
        if any(self.bars_between(place, head) for place in places):
            for step, id in steps.items():
                self.around(tuple(steps.values()), id, head, self.column(step))
        else:
            for step, id in steps.items():
                label = self.label_of(step, origins) if step[0] in self.recurrent else ""
                self.rise(id, head, self.column(step), label)
        for tail in (f"bar{o.bar}" for o in origins if f"bar{o.bar}" in self.drawn):
            (x0, y0), (w0, h0) = spot(self.drawn[tail])
            (x1, y1), (w1, h1) = spot(self.drawn[head])
            x = x1 if w1 < w0 else x0
            if self.bars_between((x, y0), head):
                self.around((tail,), tail, head, None)
            else:
                self.arrow(tail, head, "data", ((x, y0 + h0 / 2), (x, y1 - h1 / 2)))

    def label_of(self, step: Step, origins: list[Origin]) -> str:
        """What a bar reads of a step: h, by its time."""
        return self.at("h", self.column(step))

    def feed(self, step: Step, origins: list[Origin]) -> None:
        """Arrows into a step from below."""
        column, id = self.column(step), f"l{step[0]}t{step[1]}"
        joined = self._joined(origins)
        if joined:
            self.rise(self.join(joined, column), id, column)
        for key in self.inputs_of(step, origins):
            self.rise(self.input(step, column, key), id, column)
        across = [o for o in origins if o.t is not None and self.column((o.layer, o.t)) != column and o not in joined]
        if across and self._under(across) == self.layers[step[0]].floor - 1:
            self.across(step, across)
            joined = [*joined, *across]
        for o in origins:
            if o.layer >= 0 and o not in joined:
                tail = (o.layer, self.step_at(o, column))
                if self.is_shown(tail):
                    other = o.layer in self.recurrent and step[0] not in self.recurrent
                    self.rise(f"l{tail[0]}t{tail[1]}", id, column, self.at("h", column) if other else "")
            elif o.bar >= 0 and f"bar{o.bar}" in self.drawn:
                self.rise(f"bar{o.bar}", id, column)

    def step_at(self, origin: Origin, column: int) -> int:
        """The step an origin means in a column."""
        if origin.t is not None:
            return origin.t
        return next((t for t in self.layers[origin.layer].steps if self.layers[origin.layer].column(t) == column), 0)

    def join(self, origins: list[Origin], column: int) -> str:
        """The node in which results that stand side by side meet."""
        id = f"j{column}" + "".join(f"l{o.layer}" for o in origins)
        if id not in self.drawn:
            under = self._under(origins)
            y = (self.height[under] + self.height.get(under + 1, self.top)) / 2
            self.node(id, ("concat",), "op", (self.x(column), y), box=f"t{column}")
            for o in origins:
                self.rise(f"l{o.layer}t{self.step_at(o, column)}", id, column)
        return id

    def inputs_of(self, step: Step, origins: list[Origin]) -> list[Key]:
        """The inputs that a step reads: those with a name or a gradient, else one that stands for all."""
        layer = self.layers[step[0]]
        if layer.kind == "each" and all(o.leaf >= 0 for o in origins):  # nothing below it: what its bar was made of
            bar = next(bar for bar in self.house.bars if bar.each == step[0])
            origins = [o for o in bar.origins if o.leaf >= 0][:1] or [Origin(leaf=-1)]
            if origins[0].leaf < 0:
                return [NAMELESS]
        origins = [o for o in origins if o.leaf < 0 or not is_mask(self.found.graph.nodes[o.leaf])]
        leaves = [self.found.graph.nodes[o.leaf] for o in origins if o.leaf >= 0]
        told = [leaf for leaf in leaves if leaf.name or leaf.kind == "input"]
        rest = [leaf for leaf in leaves if leaf.id not in self.fillers]
        rest = rest or [
            leaf for leaf in leaves if len(leaves) == len(origins)
        ]  # all that is read: the input is among it
        return [(leaf.id, _base(leaf.name)) for leaf in told or rest[:1]]

    @cached_property
    def fillers(self) -> set[int]:
        """Leaves that are only chosen from, such as what stands in for padding."""
        graph = self.found.graph
        read = {s.id for node in graph.nodes if node.effect != "selects" for s in node.sources}
        return {node.id for node in graph.nodes if node.op is None and not node.name and node.id not in read}

    def pitch_between(self) -> float:
        """From the middle of one step to the middle of the next: wider where a step has several inputs."""
        most = max(map(len, self.inputs.values()), default=1)
        return max(super().pitch_between(), 70.0 + 2 * BESIDE * (most - 1))

    @cached_property
    def inputs(self) -> dict[int, list[Key]]:
        """The inputs of every column, in order."""
        found: dict[int, list[Key]] = {}
        for step, origins in sorted(self.feeds.items()):
            keys = found.setdefault(self.column(step), [])
            keys.extend(key for key in self.inputs_of(step, origins) if key not in keys)
        return found

    def input_name(self, key: Key) -> str:
        """An input's name, with a prime for each other of that name that stands before it."""
        shared = (keys[: keys.index(key)] for keys in self.inputs.values() if key in keys)
        return key[1] + "′" * max(sum(base == key[1] for _, base in before) for before in shared)

    def input(self, step: Step, column: int, key: Key) -> str:
        """x_t below a column, beside others that are read there."""
        keys = self.inputs[column]
        at = keys.index(key)
        id = f"x{column}" + (f"s{at}" if at else "")
        if id not in self.drawn:
            feeds = self.found.feeds.get(step, [])
            own = [s for s in feeds if key[0] in {o.leaf for o in self.house.origins(s)}]
            lines = (self.at(self.input_name(key), column), *self.input_facts(step, own or feeds))
            aside = at * BESIDE - 8.0 if len(keys) > 1 else 0.0  # clear of the weights' arrow
            self.node(id, lines, "input", (self.x(column) + aside, -ENDS), box=f"t{column}", step=column)
        return id

    def input_facts(self, step: Step, sources: list[Source]) -> tuple[str, ...]:
        """Shape and dtype, as asked for, of one step of what comes in: an array over time without its time axis."""
        if not sources:
            return ()
        graph, source, axis = self.found.graph, sources[0], None
        whole = source  # before what only moved it
        while graph.nodes[source.id].op is not None and graph.nodes[source.id].sources:
            node = graph.nodes[source.id]
            cut = node.options.get("axis", 0) if node.effect == "cuts" else picked_axis(node)
            axis = axis if cut is None else cut
            source = node.sources[1 if node.effect == "selects" else 0]
            whole = whole if cut is None and passes(node) else source
        if axis is None and len(graph.nodes[whole.id].shapes[whole.output]) > 2:
            inside = (graph.nodes[i] for i in self.found.places[step[0]][step[1]])
            axis = next((picked_axis(node) for node in inside if whole in node.sources), None)
        shape = graph.nodes[whole.id].shapes[whole.output]
        if axis is not None and len(shape) > 1:
            shape = shape[:axis] + shape[axis + 1 :]
        return self.labels.of(shape, graph.nodes[whole.id].dtypes[whole.output])

    def outputs(self) -> None:
        """h_t (or y_t) above each step whose result is given out, and the final state at the end of its row."""
        several = {o.layer for origins in self.results.values() for o in origins}
        letter = "h" if len(several) == 1 and several <= self.recurrent else "y"
        for column, origins in self.results.items():
            id = f"y{column}"
            self.node(
                id,
                (self.at(letter, column),),
                "output",
                (self.x(column), self.height[self.high] + ENDS),
                box=f"t{column}",
                step=column,
            )
            for o in origins:
                self.rise(f"l{o.layer}t{o.t}", id, column)
        self.finals()

    def finals(self) -> None:
        """The final states that the picture's graph gives out."""
        for source in final_states(self.found):
            step = self.found.step_of[source.id]
            if self.is_shown(step):
                self.final(source, step)

    # -- along time: states and weights ------------------------------------------------------------------------------

    def offset(self, step: Step, name: str) -> float:
        """How far above the middle of the cells a state's arrow runs."""
        return LINE * min(1.0, 2 / max(len(self.state_names[step[0]]), 1)) * self.rank(step[0], name)

    def states(self) -> None:
        """All that flows from step to step, and the node for the steps left out."""
        for state in self.found.states:
            if not self._upright(state):
                self.state(state)
        self.middle()

    def state(self, state: State) -> None:
        """A state's arrow: from the step before, from where it begins, or to and from the gap."""
        head, tail = state.head, state.tail
        if tail is None:
            if self.is_shown(head):
                self.initial(state)
            return
        if not self.is_shown(head) and not self.is_shown(tail):
            return
        rise, role = self.offset(head, state.name), "memory" if state.name == "c" else "state"
        sign = -1.0 if self.layers[head[0]].backward else 1.0
        label = self.at(state.name, self.column(tail))
        number = len(self.result.edges)
        ids = (f"l{tail[0]}t{tail[1]}", f"l{head[0]}t{head[1]}")
        if tail[0] != head[0] and self.layers[tail[0]].floor > self.layers[head[0]].floor:
            if self.is_shown(tail) and self.is_shown(head):
                self.feedback(*ids, tail, head)
        elif self.is_shown(tail) and self.is_shown(head):
            (x0, y0), (x1, y1) = self.place(tail), self.place(head)
            self.arrow(*ids, role, ((x0 + sign * CELL[0] / 2, y0 + rise), (x1 - sign * CELL[0] / 2, y1 + rise)), label)
            if y0 == y1:  # between the frames, where no arrow goes up
                between = (self.x(self.column(tail)) + self.x(self.column(head))) / 2
                self.result.edges[-1].label_at = (between, y0 + rise + 8)
        elif self.is_shown(tail) or self.is_shown(head):
            gap, (x, y) = self.gap() or 0.0, self.place(tail if self.is_shown(tail) else head)
            inward = 1.0 if gap > x else -1.0
            ends = ((x + inward * CELL[0] / 2, y + rise), (gap - inward * 24, y + rise))
            if self.is_shown(tail):
                self.arrow(ids[0], "more", role, ends, label)
            else:
                self.arrow("more", ids[1], role, (ends[1], ends[0]))
        if len(self.result.edges) > number:
            self.result.edges[number].state = tail, state.name

    def feedback(self, tail_id: str, head_id: str, tail: Step, head: Step) -> None:
        """A result that the next step reads: between the frames, and in from below."""
        (x0, y0), (x1, y1) = self.place(tail), self.place(head)
        low, between = y1 - CELL[1] / 2, x1 - CELL[0] / 2 - 13
        corners = ((x0 + CELL[0] / 2, y0), (between, y0), (between, low - 24), (x1 - 20, low - 24), (x1 - 20, low))
        self.arrow(tail_id, head_id, "data", rounded(corners))

    def initial(self, state: State) -> None:
        """Where a state begins: zeros, or a leaf with a name."""
        head, layer = state.head, self.layers[state.head[0]]
        sign, column = -1.0 if layer.backward else 1.0, self.column(state.head)
        x, y = self.place(head)
        graph, rise = self.found.graph, self.offset(head, state.name)
        leaf = graph.nodes[next(iter(parameters_of(graph, state.source.id)), state.source.id)]
        name = style.shown(leaf.name or self.at(state.name, column + 1 if layer.backward else column - 1), 14)
        id = f"l{head[0]}t{head[1]}{state.name}"
        made = next((o.bar for o in self.house.origins(state.source) if o.bar >= 0), -1)
        if made >= 0 and not self.house.bars[made].begins:
            made = -1
        lines: tuple[str, ...] = (name,)
        if made >= 0:
            bar = self.house.bars[made]
            weights = " ".join(style.shown(graph.nodes[i].name or "?", 20) for i in bar.weights)
            lines = (style.shown(bar.name, 20), *([weights] if weights else ()))
        at = (self.x(column) - sign * (self.pitch / 2 + 34), y + ENDS_APART * self.rank(head[0], state.name))
        role = "bar" if made >= 0 else "constant" if leaf.kind == "constant" else "state"
        wide = max(style.fitting_size(lines, "box")[0] / 2 - 28, 0.0) if made >= 0 else 0.0
        at = (at[0] - sign * wide, at[1])
        before = column + (1 if layer.backward else -1)
        beside = [x for x in self.layers if x.floor == layer.floor and before in map(x.column, x.steps)]
        if beside and self.is_shown_column(before):  # between the columns, below the cells
            below = y - CELL[1] / 2 - 34 - ENDS_APART * len(self.between.setdefault(column, []))
            self.between[column].append(id)
            at = (self.x(column) - sign * self.pitch / 2, below)
        node = self.node(id, lines, role, at, layer=head[0], state=state.name)
        if made >= 0:
            self.begun_from(id, made, at, sign)
        begin = (at[0] + sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if state.name == "c" else "state"
        self.arrow(id, f"l{head[0]}t{head[1]}", role, (begin, (x - sign * CELL[0] / 2, y + rise)))

    @cached_property
    def between(self) -> dict[int, list[str]]:
        """First states that stand between a column and the one before it."""
        return {}

    def begun_from(self, head: str, number: int, at: Point, sign: float) -> None:
        """What a first state is made of, beside the work that makes it."""
        leaves = [self.found.graph.nodes[o.leaf] for o in self.house.bars[number].origins if o.leaf >= 0]
        for leaf in [leaf for leaf in leaves if leaf.name or leaf.kind == "input"][:1]:
            lines = (style.shown(leaf.name or "x", 14), *self.labels.of(leaf.shapes[0], leaf.dtypes[0]))
            wide, beside = style.fitting_size(lines, "ellipse")[0], (self.drawn[head].size or (0.0, 0.0))[0]
            place = (at[0] - sign * (wide / 2 + beside / 2 + 34), at[1])
            self.node(f"{head}of", lines, "input", place)
            ends = (place[0] + sign * wide / 2, place[1]), (at[0] - sign * beside / 2, at[1])
            self.arrow(f"{head}of", head, "data", ends)

    def final(self, source: Source, step: Step) -> None:
        """The state after the last step, at the row's end."""
        layer, name = self.layers[step[0]], name_of(self.found, source)
        sign = -1.0 if layer.backward else 1.0
        (x, y), rise, id = self.place(step), self.offset(step, name), f"l{step[0]}{name}"
        if id in self.drawn:
            return
        at = (self.x(self.column(step)) + sign * (self.pitch / 2 + 34), y + ENDS_APART * self.rank(step[0], name))
        fields: Any = {"value": source, "layer": step[0], "state": name}
        node = self.node(id, (self.at(name, self.column(step)),), "state", at, **fields)
        end = (at[0] - sign * (node.size or (0, 0))[0] / 2, at[1])
        role = "memory" if name == "c" else "state"
        self.arrow(f"l{step[0]}t{step[1]}", id, role, ((x + sign * CELL[0] / 2, y + rise), end))
        self.result.edges[-1].state = step, name

    def middle(self) -> None:
        """The node for the steps that are left out."""
        gap = self.gap()
        if gap is not None:
            hidden = self.total + self.skipped - sum(c is not None for c in self.shown)
            lines = ("…",) if self.open_end else ("…", f"×{hidden}")
            low, high = self.height[self.low], self.height[self.high]
            self.node("more", lines, "more", (gap, (low + high) / 2), (48.0, high - low + CELL[1] + 10))

    def weight_lines(self, layer: Layer) -> tuple[str, ...]:
        """What stands in the box of a layer's weights."""
        lines = []
        for leaf in (self.found.graph.nodes[i] for i in layer.weights):
            letter, name = self.letter(leaf.id), style.shown(leaf.name or "?", 30)
            told = " ".join(style.Labels(True, self.labels.dtypes).of(leaf.shapes[0], leaf.dtypes[0]))
            lines.append(f"{letter}{'' if letter == name else f' = {name}'} {told}")
        return tuple(lines)

    def shared_weights(self, number: int, layer: Layer) -> bool:
        """Whether the weights stand already at a row below, at the left: then an arrow leads up from them."""
        other = next((n for n, x in enumerate(self.layers[:number]) if x.weights == layer.weights), None)
        box = self.drawn.get(f"w{other}")
        first = next((self.drawn[id] for t in layer.steps if (id := f"l{number}t{t}") in self.drawn), None)
        if box is None or first is None or not (box.at and box.size and first.at and first.size):
            return False
        if layer.side or layer.start or layer.backward or first.at[1] <= box.at[1] + box.size[1] or box.at[0] > 0:
            return False
        left, low = box.at[0] - box.size[0] / 2 + 16, first.at[1] - first.size[1] / 2
        under, end = low - 22, first.at[0] - first.size[0] / 2 + 16
        corners = ((left, box.at[1] + box.size[1] / 2), (left, under), (end, under), (end, low))
        self.arrow(box.id, first.id, "weight", rounded(corners))
        return True

    def weights(self, number: int, layer: Layer) -> None:
        """The weights of a layer, once, at the beginning of its row; the cells name them by letter."""
        lines = self.weight_lines(layer)
        wide, tall = style.fitting_size(lines, "box")
        columns = [layer.column(t) for t in layer.steps]
        right = max(columns) == self.total - 1 and (layer.backward or min(columns) > 0)
        column, sign = (max(columns), -1.0) if right else (min(columns), 1.0)
        gap = self.gap()
        if gap is not None and column not in self.shown and self.shown[-1 if right else 0] is None:
            beside, y = gap - sign * 64, self.height[layer.floor]
            self.node(f"w{number}", lines, "parameter", (beside - sign * wide / 2, y), (wide, tall), layer=number)
            self.arrow(f"w{number}", "more", "weight", ((beside, y), (gap - sign * 24, y)))
            return
        if column not in self.shown or (min(columns) > 0 and not right):
            places = [self.x(c) for c in columns if c in self.shown] or [gap or 0.0]
            lowest = min(node.at[1] - node.size[1] / 2 for node in self.drawn.values() if node.at and node.size)
            at = (sum(places) / len(places), min(lowest, self.bottom) - 16 - tall / 2)
            self.node(f"w{number}", lines, "parameter", at, (wide, tall), layer=number)
            return
        x, y = self.x(column) + self.aside(layer), self.height[layer.floor]
        left = self.x(column) - sign * (self.pitch / 2 + 26 + wide / 2)
        t = next(t for t in layer.steps if layer.column(t) == column)
        if layer.kind == "each":
            self.node(f"w{number}", lines, "parameter", (left, y), (wide, tall), layer=number)
            path: tuple[Point, ...] = ((left + sign * wide / 2, y), (x - sign * EACH[0] / 2, y))
        else:
            down = y - 23 - ENDS_APART / 2 * max(len(self.state_names[number]) - 1, 1) - tall / 2
            self.node(f"w{number}", lines, "parameter", (left, down), (wide, tall), layer=number)
            end = (x - sign * (CELL[0] / 2 - 16), y - CELL[1] / 2)
            path = ((left + sign * wide / 2, down), (end[0] - sign * 20, down), (end[0], down), end)
        self.arrow(f"w{number}", f"l{number}t{t}", "weight", path)


def _base(name: str | None) -> str:
    """What an input is called, without the number of a step: x for those that are called so, or nothing."""
    return "x" if not name or INPUT.fullmatch(name) else style.shown(re.sub(r"_?\d+$", "", name) or name, 14)
