"""Drawing a net into its grid: cells, groups of work outside time, inputs and outputs, and how its weights are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from tinygrad_rnn.autodiff.graph import Source

from ..net.layers import Layer, Step
from ..net.ranks import Group, Origin
from ..net.steps import InitialState, parameters_of, passes
from ..net.unfused import picked_axis
from . import legend, style
from .canvas import Canvas, cell_id, place_and_size
from .grid import BESIDE, CELL, ENDS, LINE, NAME, Grid, Key, Shading
from .paths import CLEAR, rounded
from .picture import Picture, Point

LETTERS = {"kernel": "W", "recurrent_kernel": "U", "bias": "b", "recurrent_bias": "b′", "weight": "W", "table": "E"}

TORCH_LETTERS = {"weight_ih": "W", "weight_hh": "U", "bias_ih": "b", "bias_hh": "b′"}  # PyTorch's


class NetScene:
    """Draws a net into its grid, once: what views over time have in common. Each view adds how states and weights look."""

    name: str

    def __init__(self, grid: Grid, shading: Shading | None = None):
        self.grid, self.shading = grid, shading
        self.canvas = Canvas(self.name, grid)
        self.net = grid.net

    def frames(self) -> None:
        """Draw frames around steps."""

    def box(self, column: int) -> str | None:
        """The id of the frame around a column's step."""
        return None

    def states(self) -> None:
        """Draw what flows along time."""
        raise NotImplementedError

    def finals(self) -> None:
        """Draw the final states."""

    def weights(self, number: int, layer: Layer) -> None:
        """Draw the weights of a layer, once."""
        raise NotImplementedError

    # -- drawing -----------------------------------------------------------------------------------------------------

    def picture(self) -> Picture:
        """The whole picture."""
        self.frames()
        for number, layer in enumerate(self.grid.layers):
            self.cells(number, layer)
        for number, group in self.grid.ranked.shown_groups():
            self.group(number, list(group.origins))
        for number, group in self.grid.ranked.shown_groups():
            self.into_group(number, list(group.origins))
        for step, origins in sorted(self.grid.feeds.items()):
            self.feed(step, origins)
        self.states()
        self.outputs()
        for number, layer in enumerate(self.grid.layers):
            if layer.weights and not self.shared_weights(number, layer):
                self.weights(number, layer)
        picture, scale = self.canvas.picture(), None
        if self.shading is not None:
            picture, scale = self.shaded(picture, self.shading), self.shading.scale
        return legend.add(picture, scale, self.grid.labels.legend)

    def shaded(self, picture: Picture, shading: Shading) -> Picture:
        """The picture with cells, and arrows that carry a state, in the colours of what was measured there."""
        scale, values = shading.scale, shading.values
        shown: dict[str, str] = {}  # of a cell: the state whose value it shows
        for (number, t), name in values:
            cell = cell_id((number, t))
            if name == shading.of or cell not in shown:
                shown[cell] = name
        nodes, edges = {node.id: node for node in picture.nodes}, list(picture.edges)
        for (step, name), value in values.items():
            node = nodes.get(cell_id(step))
            if node is not None and shown[node.id] == name:
                tip = f"{shading.tip.format(self.grid.at(name, self.grid.column(step)))} = {value:.3g}"
                nodes[node.id] = replace(node, fill=scale.fill(value), tip=tip)
        for k, edge in enumerate(edges):
            if edge.state in values:
                edges[k] = replace(edge, look=scale.line(values[edge.state]))
        return replace(picture, nodes=tuple(nodes.values()), edges=edges)

    def cells(self, number: int, layer: Layer) -> None:
        names = " ".join(self.letter(i) for i in layer.weights)
        if style.text_width(names) > CELL[0] - 10:
            names = f"{len(layer.weights)} weight{'s' * (len(layer.weights) != 1)}"
        for t in layer.steps:
            if self.grid.is_shown((number, t)):
                lines = (style.fitted(layer.name, NAME), *([names] if names else ()))
                role = "cell" if number in self.grid.recurrent else "each"
                column, at = layer.column(t), self.grid.place((number, t))
                fields: Any = {"box": self.box(column), "layer": number, "step": column}
                self.canvas.node(cell_id((number, t)), lines, role, at, self.grid.size(layer), **fields)

    def letter(self, i: int) -> str:
        """The short name of a weight."""
        name = self.net.graph.nodes[i].name or "?"
        last = name.rpartition(".")[2]
        start = next((s for s in TORCH_LETTERS if last.startswith(s)), None)
        return TORCH_LETTERS[start] if start else LETTERS.get(last, style.shown(name, 12))

    # -- upwards: inputs, layers, groups, outputs ----------------------------------------------------------------------

    def read_by(self, origins: list[Origin]) -> list[Step]:
        """The steps shown that a group reads."""
        read = [(o.layer, o.t) for o in origins if o.layer >= 0]
        steps = [(n, s) for n, t in read for s in (self.grid.layers[n].steps if t is None else [t])]
        return [step for step in steps if self.grid.is_shown(step)]

    def group(self, number: int, origins: list[Origin]) -> None:
        """Work that is done once: over the columns it reads, or all."""
        group = self.grid.ranked.groups[number]
        columns = sorted({self.grid.column(s) for s in self.read_by(origins)})
        if not columns:
            readers = [
                self.grid.column(step)
                for step, origins_of_step in self.grid.feeds.items()
                if Origin(group=number) in origins_of_step
            ]
            lower = [
                self.canvas.drawn[f"group{o.group}"].at
                for o in origins
                if o.group >= 0 and f"group{o.group}" in self.canvas.drawn
            ]
            columns = sorted(set(readers))
            middle = lower[0][0] if lower and lower[0] else None
        weights = " ".join(style.shown(self.net.graph.nodes[i].name or "?", 20) for i in group.weights)
        lines = (style.shown(group.name, 30), *([weights] if weights else ()))
        wide, tall = style.fitting_size(lines, "box")
        if columns:
            left, right = self.grid.x(columns[0]), self.grid.x(columns[-1])
            wide, middle = max(wide, right - left + CELL[0]), (left + right) / 2
        self.canvas.node(
            f"group{number}", lines, "group", (middle or 0.0, self.grid.height[group.rank]), (wide, max(tall, 30.0))
        )

    def into_group(self, number: int, origins: list[Origin]) -> None:
        """Arrows from the steps and the groups that a group reads; where other groups are in the way, around them."""
        head = f"group{number}"
        steps = {step: cell_id(step) for step in self.read_by(origins)}
        places = [self.grid.place(step) for step in steps]
        if any(self.canvas.groups_between(place, head) for place in places):
            for step, id in steps.items():
                self.canvas.arrow_around(tuple(steps.values()), id, head, self.grid.column(step))
        else:
            for step, id in steps.items():
                label = self.label_of(step, origins) if step[0] in self.grid.recurrent else ""
                self.canvas.arrow_up(id, head, self.grid.column(step), label)
        for tail in (f"group{o.group}" for o in origins if f"group{o.group}" in self.canvas.drawn):
            (x0, y0), (w0, h0) = place_and_size(self.canvas.drawn[tail])
            (x1, y1), (w1, h1) = place_and_size(self.canvas.drawn[head])
            x = x1 if w1 < w0 else x0
            if self.canvas.groups_between((x, y0), head):
                self.canvas.arrow_around((tail,), tail, head, None)
            elif abs(x1 - x0) < (w0 + w1) / 2 - 16:
                x = min(max(x, x0 - w0 / 2 + 8, x1 - w1 / 2 + 8), x0 + w0 / 2 - 8, x1 + w1 / 2 - 8)
                self.canvas.arrow(tail, head, "data", ((x, y0 + h0 / 2), (x, y1 - h1 / 2)))
            else:  # none of it is above the other
                turn = y1 - h1 / 2 - 12
                self.canvas.arrow(
                    tail, head, "data", rounded(((x0, y0 + h0 / 2), (x0, turn), (x1, turn), (x1, y1 - h1 / 2)))
                )
        rails = len(self.canvas.rails)  # arrows that go round
        self.input_beside(f"{head}x0", head, origins, 46.0 + 12 * rails if rails else 34.0)

    def input_beside(
        self, id: str, head: str, origins: Iterable[Origin], apart: float = 34.0, sign: float = 1.0
    ) -> None:
        """The first of what comes in once, beside the work that reads it."""
        leaves = [self.net.graph.nodes[o.leaf] for o in origins if o.leaf >= 0]
        (x, y), (wide, _) = place_and_size(self.canvas.drawn[head])
        edge = x - sign * wide / 2
        for leaf in [leaf for leaf in leaves if leaf.kind == "input" or (leaf.name and leaf.kind == "constant")][:1]:
            lines = (style.shown(leaf.name or "x", 14), *self.grid.labels.of(leaf.shapes[0], leaf.dtypes[0]))
            half = style.fitting_size(lines, "ellipse")[0] / 2
            self.canvas.node(id, lines, "input", (edge - sign * (apart + half), y))
            self.canvas.arrow(id, head, "data", ((edge - sign * apart, y), (edge, y)))

    def label_of(self, step: Step, origins: list[Origin]) -> str:
        """What a group reads of a step: h, by its time."""
        return self.grid.at("h", self.grid.column(step))

    def feed(self, step: Step, origins: list[Origin]) -> None:
        """Arrows into a step from below."""
        column, id = self.grid.column(step), cell_id(step)
        joined = self.grid.joined(origins)
        if joined:
            self.canvas.arrow_up(self.join(joined, column), id, column)
        for key in self.grid.inputs_of(step, origins):
            further = 7.0 * max(self.grid.inputs[column].index(key) - 1, 0)
            self.canvas.arrow_up(self.input(step, column, key), id, column, further=further)
        across = self.grid.across(step)
        if across:
            self.canvas.arrows_across(step, across)
            joined = [*joined, *across]
        for o in origins:
            if o.layer >= 0 and o not in joined:
                tail = (o.layer, self.step_at(o, column))
                if self.grid.is_shown(tail):
                    other = o.layer in self.grid.recurrent and step[0] not in self.grid.recurrent
                    self.canvas.arrow_up(cell_id(tail), id, column, self.grid.at("h", column) if other else "")
            elif o.group >= 0 and f"group{o.group}" in self.canvas.drawn:
                self.canvas.arrow_up(f"group{o.group}", id, column)

    def step_at(self, origin: Origin, column: int) -> int:
        """The step an origin means in a column."""
        if origin.t is not None:
            return origin.t
        return next(
            (t for t in self.grid.layers[origin.layer].steps if self.grid.layers[origin.layer].column(t) == column), 0
        )

    def join(self, origins: list[Origin], column: int) -> str:
        """The node in which results that stand side by side meet."""
        id = f"j{column}" + "".join(f"l{o.layer}" for o in origins)
        if id not in self.canvas.drawn:
            under = self.grid.highest_rank(origins)
            y = (self.grid.height[under] + self.grid.height.get(under + 1, self.grid.top)) / 2
            self.canvas.node(id, ("concat",), "op", (self.grid.x(column), y), box=self.box(column), step=column)
            for o in origins:
                self.canvas.arrow_up(cell_id((o.layer, self.step_at(o, column))), id, column)
        return id

    def input_name(self, key: Key) -> str:
        """An input's name, with a prime for each other of that name that stands before it."""
        shared = (keys[: keys.index(key)] for keys in self.grid.inputs.values() if key in keys)
        return key[1] + "′" * max(sum(base == key[1] for _, base in before) for before in shared)

    def input(self, step: Step, column: int, key: Key) -> str:
        """x_t below a column, beside others that are read there."""
        keys = self.grid.inputs[column]
        at = keys.index(key)
        id = f"x{column}" + (f"s{at}" if at else "")
        if id not in self.canvas.drawn:
            feeds = self.net.feeds.get(step, [])
            own = [s for s in feeds if key[0] in {o.leaf for o in self.grid.ranked.origins(s)}]
            lines = (self.grid.at(self.input_name(key), column), *self.input_facts(step, own or feeds))
            aside = at * self.grid.input_pitch - 8.0 if len(keys) > 1 else 0.0  # clear of the weights' arrow
            self.canvas.node(
                id,
                lines,
                "input",
                (self.grid.x(column) + aside, self.grid.input_height()),
                box=self.box(column),
                step=column,
            )
        return id

    def input_facts(self, step: Step, sources: list[Source]) -> tuple[str, ...]:
        """Shape and dtype, as asked for, of one step of what comes in: an array over time without its time axis."""
        if not sources:
            return ()
        graph, source, axis = self.net.graph, sources[0], None
        whole = source  # before what only moved it
        while graph.nodes[source.id].op is not None and graph.nodes[source.id].sources:
            node = graph.nodes[source.id]
            cut = node.options.get("axis", 0) if node.effect == "cuts" else picked_axis(node)
            axis = axis if cut is None else cut
            source = node.sources[1 if node.effect == "selects" else 0]
            whole = whole if cut is None and passes(node) else source
        if axis is None and len(graph.nodes[whole.id].shapes[whole.output]) > 2:
            inside = (graph.nodes[i] for i in self.net.places[step[0]][step[1]])
            axis = next((picked_axis(node) for node in inside if whole in node.sources), None)
        shape = graph.nodes[whole.id].shapes[whole.output]
        if axis is not None and len(shape) > 1:
            shape = shape[:axis] + shape[axis + 1 :]
        return self.grid.labels.of(shape, graph.nodes[whole.id].dtypes[whole.output])

    def outputs(self) -> None:
        """h_t (or y_t) above each step whose result is given out, and the final state at the end of its row."""
        several = {o.layer for outputs in self.grid.results.values() for origins in outputs for o in origins}
        states = {state.name for state in self.grid.net.states if state.tail[0] in several}
        is_state = len(several) == 1 and several <= self.grid.recurrent and (not states or "h" in states)
        letter = "h" if is_state else "y"
        for column, outputs in self.grid.results.items():
            for k, origins in enumerate(outputs):
                id, name = f"y{column}" + (f"s{k}" if k else ""), letter + "′" * k
                aside = (k - (len(outputs) - 1) / 2) * BESIDE
                at = (self.grid.x(column) + aside, self.grid.height[self.grid.high] + ENDS)
                fields: Any = {"box": self.box(column), "step": column}
                self.canvas.node(id, (self.grid.at(name, column),), "output", at, **fields)
                for o in origins:
                    self.canvas.arrow_up(cell_id((o.layer, o.t or 0)), id, column)
        self.finals()

    def initial_lines(self, state: InitialState) -> tuple[tuple[str, ...], str, Group | None]:
        """What stands at an initial state: the lines of its label, its role, and the group that computes it, if one does."""
        graph, layer = self.net.graph, self.grid.layers[state.head[0]]
        name = self.grid.before(state.name, layer)
        if state.source is None:
            return (name,), "constant", None
        group = next((group for number, group in self.groups_of(state) if group.begins), None)
        if group is not None:
            weights = " ".join(style.shown(graph.nodes[i].name or "?", 20) for i in group.weights)
            return (style.shown(group.name, 20), *([weights] if weights else ())), "group", group
        leaf = graph.nodes[next(parameters_of(graph, state.source.id), state.source.id)]
        return (style.shown(leaf.name or name, 14),), "constant" if leaf.kind == "constant" else "state", None

    def groups_of(self, state: InitialState) -> list[tuple[int, Group]]:
        """The groups that compute an initial state."""
        origins = [] if state.source is None else self.grid.ranked.origins(state.source)
        return [(o.group, self.grid.ranked.groups[o.group]) for o in origins if o.group >= 0]

    def from_group(self, state: InitialState) -> bool:
        """The arrow of an initial state from a group over other steps, down to the cell; False if it comes from elsewhere."""
        drawn = (self.canvas.drawn.get(f"group{number}") for number, _ in self.groups_of(state))
        group, layer = next((node for node in drawn if node is not None), None), self.grid.layers[state.head[0]]
        if group is None:
            return False
        step = self.grid.shown_step(state.head[0])
        sign = -1.0 if layer.backward else 1.0
        ((x0, y0), (wide, tall)), (x, y) = place_and_size(group), self.grid.place(step)
        turn, end = x - sign * self.grid.beside_frame(), (x - sign * CELL[0] / 2, y + self.offset(step, state.name))
        begin: tuple[Point, ...] = ((x0 + (wide / 2 if turn > x0 else -wide / 2), y0), (turn, y0))
        if abs(turn - x0) < wide / 2 - 8:
            begin = ((turn, y0 - tall / 2 if y0 > y else y0 + tall / 2),)
        path, role = rounded((*begin, (turn, end[1]), end)), style.state_role(state.name)
        self.canvas.arrow(group.id, cell_id(step), role, path)
        return True

    # -- weights ------------------------------------------------------------------------------------------------------

    def weight_lines(self, layer: Layer) -> tuple[str, ...]:
        """What stands in the box of a layer's weights."""
        lines = []
        for leaf in (self.grid.net.graph.nodes[i] for i in layer.weights):
            letter, name = self.letter(leaf.id), style.shown(leaf.name or "?", 30)
            facts = " ".join(style.Labels(True, self.grid.labels.dtypes).of(leaf.shapes[0], leaf.dtypes[0]))
            lines.append(f"{letter}{'' if letter == name else f' = {name}'} {facts}")
        return tuple(lines)

    def shared_weights(self, number: int, layer: Layer) -> bool:
        """Whether the weights stand already at a row below, at the left: then an arrow leads up from them."""
        other = next((n for n, x in enumerate(self.grid.layers[:number]) if x.weights == layer.weights), None)
        if other is not None and layer.start and self.grid.layers[other].rank == layer.rank:
            return True  # the same row goes on
        box = self.canvas.drawn.get(f"w{other}")
        first = next(
            (self.canvas.drawn[id] for t in layer.steps if (id := cell_id((number, t))) in self.canvas.drawn), None
        )
        if box is None or first is None:
            return False
        ((x, y), (wide, tall)), ((x1, y1), (w1, h1)) = place_and_size(box), place_and_size(first)
        if layer.side or layer.start or layer.backward or y1 <= y + tall or x > 0:
            return False
        low = y1 - h1 / 2
        under, end = low - 22, x1 - w1 / 2 + 16
        between = [
            (at[0] - size[0] / 2, at[0] + size[0] / 2)
            for at, size in (place_and_size(node) for node in self.canvas.drawn.values() if node.role != "cell")
            if y < at[1] < low and at[0] < x1
        ]
        lane = x - wide / 2 + 16
        begin: tuple[Point, ...] = ((lane, y + tall / 2),)
        if any(left - CLEAR < lane < right + CLEAR for left, right in between):  # on the left of all that is in the way
            lane = min(x - wide / 2, *(left for left, _ in between)) - 14
            begin = ((x - wide / 2, y), (lane, y))
        self.canvas.arrow(box.id, first.id, "weight", rounded((*begin, (lane, under), (end, under), (end, low))))
        return True

    def offset(self, step: Step, name: str) -> float:
        """How far above the middle of the cells a state's arrow runs."""
        return LINE * min(1.0, 2 / max(len(self.grid.state_names[step[0]]), 1)) * self.grid.state_order(step[0], name)
